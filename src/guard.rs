//! The row guard: whether a change of a row is newer than what the target has of the row.
//!
//! A partition has the changes of a key in the source's order, and that is enough as long as a key
//! stays in its partition and no log is read again. Where that does not hold, positions in the
//! source's log decide. They are no order by themselves: a transaction that was open while a snapshot
//! was taken has lower positions than the snapshot, and is newer.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::checkpoint::Step;
use crate::rows::{Origin, Rows};

/// A place in the source's log; the greater one is later, except as the module says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogPlace {
    /// The number of the binlog's file; 0 where the log is one (PostgreSQL).
    pub file: i64,
    /// The position in the file, or the LSN.
    pub pos: i64,
    /// The row behind the position, where one holds several.
    pub row: i64,
}

impl LogPlace {
    /// Puts a place together from its parts, of which all are there or none.
    pub(crate) fn of(file: Option<i64>, pos: Option<i64>, row: Option<i64>) -> Option<Self> {
        Some(Self { file: file?, pos: pos?, row: row? })
    }
}

/// What a change says of its age.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Age {
    /// Where it stands in the source's log; `None` where the record does not say it, such as a
    /// tombstone.
    pub place: Option<LogPlace>,
    /// Whether a snapshot has read it.
    pub is_snapshot: bool,
    /// Commit time at the source in milliseconds since the epoch.
    pub source_time: Option<i64>,
}

/// The newest change of a row that the target has seen: its age, and the record that brought it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Its age.
    pub age: Age,
    /// The place of the newest change before it, where a snapshot has read it.
    pub changed: Option<LogPlace>,
    /// When its record was sent, in milliseconds since the epoch.
    pub sent_at: i64,
    /// The record's topic; `None` for one of a log that is gone.
    pub topic: Option<Arc<str>>,
    /// The record's partition.
    pub partition: i32,
    /// The record's offset.
    pub offset: i64,
}

/// How a change stands to what the target has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is newer, or the same once more.
    Newer,
    /// It is older: it must not be written.
    Older,
    /// It was committed later at a place before: the source has gone back.
    WentBack,
}

impl Version {
    /// Makes the version of a change; its step must be one of the batch's.
    fn of(origin: Origin, age: Age, steps: &[Step]) -> Option<Self> {
        let Origin { step, offset, sent_at } = origin;
        let partition = &steps.get(step)?.partition;
        let (topic, partition) = (Some(Arc::clone(&partition.topic)), partition.partition);
        Some(Self { age, changed: None, sent_at, topic, partition, offset })
    }

    /// Compares a change with what the target has of its row.
    pub fn over(&self, known: &Self) -> Standing {
        let is_same_log = self.topic.is_some()
            && (&self.topic, self.partition) == (&known.topic, known.partition);
        if is_same_log && self.offset <= known.offset {
            return standing(self.offset == known.offset);
        }
        // A connector sends in the order of the log.
        let was_sent_later = is_same_log || self.sent_at > known.sent_at;
        let (Some(mine), Some(theirs)) = (self.age.place, known.age.place) else {
            return standing(was_sent_later);
        };
        if self.age.is_snapshot {
            // What is before it may be of a transaction that it did not see.
            return standing(was_sent_later && (mine > theirs || known.age.is_snapshot));
        }
        if mine >= theirs && !(mine == theirs && known.age.is_snapshot) {
            return Standing::Newer;
        }
        // A row's changes follow one another in the log, whatever a snapshot has read meanwhile.
        let is_again = known.last_change().is_some_and(|changed| mine <= changed);
        if known.age.is_snapshot && !is_again {
            // Of a transaction before the snapshot, or of one that was open then.
            return standing(was_sent_later);
        }
        match self.age.source_time.zip(known.age.source_time) {
            Some((mine, theirs)) if mine > theirs => Standing::WentBack,
            _ => Standing::Older,
        }
    }

    /// Compares a change with what the target has of its row, and of a truncate of its table.
    fn over_both(&self, known: Option<&Self>, truncate: Option<&Self>) -> Standing {
        let mut standing = Standing::Newer;
        for seen in [truncate, known].into_iter().flatten() {
            match self.over(seen) {
                Standing::Newer => {}
                Standing::Older => standing = Standing::Older,
                Standing::WentBack => return Standing::WentBack,
            }
        }
        standing
    }

    /// Returns whether what has this stays though a truncate comes.
    pub fn outlasts(&self, truncate: &Self) -> bool {
        truncate.over(self) != Standing::Newer
    }

    /// Compares a truncate with the newest one that the target has seen of the table.
    pub fn over_truncate(&self, known: Option<&Self>) -> Standing {
        match known {
            // The same once more: what was older is gone.
            Some(known) if self.age.place == known.age.place => Standing::Older,
            Some(known) => self.over(known),
            None => Standing::Newer,
        }
    }

    /// Returns what the target has seen once it has this over what it had. A connector gives what it
    /// reads for a snapshot the place of the last change that it has sent, which may be before others.
    pub fn raised(mut self, known: &Self) -> Self {
        if self.age.is_snapshot {
            self.age.place = self.age.place.max(known.age.place);
            self.changed = known.last_change();
        }
        self
    }

    fn last_change(&self) -> Option<LogPlace> {
        if self.age.is_snapshot { self.changed } else { self.age.place }
    }
}

fn standing(is_newer: bool) -> Standing {
    if is_newer { Standing::Newer } else { Standing::Older }
}

/// What the guard lets through.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sifted {
    /// Rows that are older than what the target has, as indexes into the batch's.
    pub older: Vec<usize>,
    /// The newest version of each key that moves on, with its row.
    pub versions: Vec<(usize, Version)>,
}

/// Returns the first row of each key, in no order.
pub fn keys(rows: &Rows) -> Vec<usize> {
    let index = rows.index().iter().enumerate();
    let mut first = HashMap::with_capacity(index.len());
    for (at, row) in index {
        first.entry(rows.key(row)).or_insert(at);
    }
    first.into_values().collect()
}

/// Compares every row with what the target has of its key, with those before it, and with the newest
/// truncate of the table.
///
/// `known` has a version for each key that the target knows, by any row of the key.
///
/// # Errors
///
/// The source has gone back: where the row comes from that shows it.
pub fn sift(
    rows: &Rows,
    steps: &[Step],
    known: impl IntoIterator<Item = (usize, Version)>,
    truncate: Option<&Version>,
) -> Result<Sifted, Origin> {
    let key_of = |at: usize| rows.index().get(at).map(|row| rows.key(row));
    let known = known.into_iter().filter_map(|(at, version)| Some((key_of(at)?, (None, version))));
    let mut newest = known.collect::<HashMap<&[u8], (Option<usize>, Version)>>();
    let mut older = Vec::new();
    for (at, row) in rows.index().iter().enumerate() {
        let version = rows.age(at).and_then(|age| Version::of(row.origin(), age, steps));
        let (Some(version), key) = (version, rows.key(row)) else { continue };
        let known = newest.get(key).map(|(_, known)| known);
        match version.over_both(known, truncate) {
            Standing::Older => older.push(at),
            Standing::WentBack => return Err(row.origin()),
            Standing::Newer => {
                let version =
                    known.map_or_else(|| version.clone(), |it| version.clone().raised(it));
                newest.insert(key, (Some(at), version));
            }
        }
    }
    let moved = newest.into_values().filter_map(|(at, version)| Some((at?, version)));
    let mut versions = moved.collect::<Vec<_>>();
    versions.sort_by_key(|(at, _)| *at);
    Ok(Sifted { older, versions })
}

/// Returns the truncates of a table in the order they came, each with where it comes from.
pub fn truncates(rows: &Rows, steps: &[Step]) -> Vec<(Origin, Version)> {
    let found = rows.truncates().iter();
    found.filter_map(|it| Some((it.origin, Version::of(it.origin, it.age, steps)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `r110@P1:7 t5 c9`: a snapshot's place (or `s` for the stream's), the partition and the
    /// offset, when it was sent, when it was committed.
    fn version(text: &str) -> Version {
        let mut words = text.split(' ');
        let (age, record) = words.next().unwrap().split_once('@').unwrap();
        let (partition, offset) = record.split_once(':').unwrap();
        let number = |prefix: char| {
            let word = words.clone().find_map(|word| word.strip_prefix(prefix));
            word.map(|digits| digits.parse().unwrap())
        };
        let pos = age.get(1..).unwrap().parse().ok();
        let age = Age {
            place: pos.map(|pos| LogPlace { file: 0, pos, row: 0 }),
            is_snapshot: age.starts_with('r'),
            source_time: number('c'),
        };
        let sent_at = number('t').unwrap_or_default();
        let (partition, offset) = (partition.parse().unwrap(), offset.parse().unwrap());
        Version { age, changed: None, sent_at, topic: Some("t".into()), partition, offset }
    }

    fn check(new: &str, known: &str, expected: Standing) {
        assert_eq!(version(new).over(&version(known)), expected, "{new} over {known}");
    }

    #[test]
    fn in_one_log_the_offset_decides_and_the_place_tells_repetitions() {
        check("s200@0:8", "s100@0:7", Standing::Newer);
        check("s100@0:7", "s100@0:7", Standing::Newer);
        check("s90@0:6", "s100@0:7", Standing::Older);
        check("s90@0:8 c5", "s100@0:7 c5", Standing::Older);
        check("s100@0:8", "s100@0:7", Standing::Newer);
        check("s@0:8", "s100@0:7", Standing::Newer);
        check("s@0:6", "s100@0:7", Standing::Older);
    }

    #[test]
    fn between_logs_the_place_decides() {
        check("s200@1:3", "s100@0:7", Standing::Newer);
        check("s90@1:30", "s100@0:7", Standing::Older);
        check("s@1:3 t5", "s100@0:7 t4", Standing::Newer);
        check("s@1:3 t4", "s100@0:7 t4", Standing::Older);
    }

    #[test]
    fn a_snapshot_is_newer_than_what_was_there_when_it_was_taken() {
        check("r110@1:3 t9", "s100@0:7 t5", Standing::Newer);
        check("r110@1:3 t5", "s100@0:7 t9", Standing::Older);
        check("r110@0:8", "s110@0:7", Standing::Older);
        check("r110@0:8", "s120@0:7", Standing::Older);
        check("r110@1:8 t5", "r120@0:7 t9", Standing::Older);
        check("r110@1:8 t9", "r120@0:7 t5", Standing::Newer);
    }

    #[test]
    fn a_transaction_that_a_snapshot_did_not_see_is_newer_than_it() {
        check("s100@0:8", "r110@0:7", Standing::Newer);
        check("s100@1:3 t9", "r110@0:7 t5", Standing::Newer);
        check("s100@1:3 t5", "r110@0:7 t9", Standing::Older);
        check("r105@0:9", "s100@0:8", Standing::Newer);
    }

    #[test]
    fn a_change_that_comes_again_behind_a_snapshot_is_older_than_it() {
        let read = version("r110@0:8 t6 c9").raised(&version("s100@0:7 t5 c5"));
        let again = version("r120@0:10 t8 c9").raised(&read);
        for known in [&read, &again] {
            let check = |new: &str, expected| {
                assert_eq!(version(new).over(known), expected, "{new} over {known:?}");
            };
            check("s90@0:11 t9 c4", Standing::Older);
            check("s100@0:11 t9 c5", Standing::Older);
            check("s90@1:3 t9 c4", Standing::Older);
            check("s105@0:11 t9 c9", Standing::Newer);
            check("s105@1:3 t9 c9", Standing::Newer);
            check("s90@0:11 t9 c10", Standing::WentBack);
        }
    }

    /// What a source with open transactions, snapshots and a connector that restarts has sent, while
    /// the partitions of keys changed.
    #[derive(Debug)]
    struct Sent {
        partitions: Vec<Vec<Record>>,
        rows: HashMap<i64, i64>,
    }

    /// A key, or none for a truncate; how new it is, and the row's value.
    type Record = (Option<i64>, Version, Option<i64>);

    const KEYS: i64 = 3;
    const PARTITIONS: i64 = 3;

    /// An event of the source's log, in the order of commits.
    #[derive(Clone, Copy, Debug)]
    enum Event {
        Change {
            key: i64,
            pos: i64,
            value: Option<i64>,
            at: i64,
        },
        /// All rows go; it waits until no transaction with a change of the table is open.
        Truncate {
            pos: i64,
        },
        /// All rows are read when the connector comes here.
        Snapshot,
        /// Keys go to other partitions from here on.
        Rehash,
        /// The connector has sent up to here, and begins anew so many events before.
        Restart(usize),
    }

    /// Has the source commit: a change's place is drawn when it is made, before its commit.
    fn history(choices: &[(u8, u8, u8)]) -> Vec<Event> {
        let (mut events, mut open) = (Vec::new(), HashMap::new());
        for (now, &(what, key, count)) in (1..).zip(choices) {
            let key = i64::from(key) % KEYS;
            match what % 11 {
                // The row is locked until the commit.
                0..=2 => _ = open.entry(key).or_insert(now),
                3..=6 => {
                    let pos = open.remove(&key).unwrap_or(now);
                    let value = (count % 4 > 0).then_some(now);
                    events.push(Event::Change { key, pos, value, at: now });
                }
                7 => events.push(Event::Snapshot),
                8 => events.push(Event::Rehash),
                9 if open.is_empty() => events.push(Event::Truncate { pos: now }),
                9 => {}
                _ => events.push(Event::Restart(usize::from(count % 8))),
            }
        }
        events
    }

    fn send(events: &[Event]) -> Sent {
        let mut sent = Sent { partitions: vec![Vec::new(); 3], rows: HashMap::new() };
        let (mut clock, mut regime, mut last) = (0, 0, 0);
        let mut put = |key: Option<i64>, regime: i64, clock: &mut i64, age: Age, value| {
            *clock += 1;
            // Without a key, any partition will do.
            let partition = (key.unwrap_or(*clock) + regime).rem_euclid(PARTITIONS);
            let records = &mut sent.partitions[usize::try_from(partition).unwrap()];
            let offset = i64::try_from(records.len()).unwrap();
            let partition = i32::try_from(partition).unwrap();
            let topic = Some(Arc::from("t"));
            let version = Version { age, changed: None, sent_at: *clock, topic, partition, offset };
            records.push((key, version, value));
        };
        let (mut at, mut reached) = (0, 0);
        let mut restarted = vec![false; events.len()];
        while let Some(event) = events.get(at) {
            reached = reached.max(at);
            match *event {
                Event::Change { key, pos, value, at } => {
                    last = pos;
                    let place = Some(LogPlace { file: 0, pos, row: 0 });
                    let age = Age { place, is_snapshot: false, source_time: Some(at) };
                    put(Some(key), regime, &mut clock, age, value);
                }
                Event::Truncate { pos } => {
                    last = pos;
                    let place = Some(LogPlace { file: 0, pos, row: 0 });
                    let age = Age { place, is_snapshot: false, source_time: Some(pos) };
                    put(None, regime, &mut clock, age, None);
                }
                Event::Snapshot => {
                    // What the source has by now, which the connector may not have sent yet.
                    let place = Some(LogPlace { file: 0, pos: last, row: 0 });
                    for (key, value) in rows_behind(&events[..=reached]) {
                        let age = Age { place, is_snapshot: true, source_time: None };
                        put(Some(key), regime, &mut clock, age, Some(value));
                    }
                }
                Event::Rehash => regime += 1,
                Event::Restart(back) if !restarted[at] => {
                    restarted[at] = true;
                    (at, last) = (at.saturating_sub(back), 0);
                    continue;
                }
                Event::Restart(_) => {}
            }
            at += 1;
        }
        sent.rows = rows_behind(events);
        sent
    }

    /// What the source has behind these events.
    fn rows_behind(events: &[Event]) -> HashMap<i64, i64> {
        let mut rows = HashMap::new();
        for event in events {
            match *event {
                Event::Change { key, value: Some(value), .. } => _ = rows.insert(key, value),
                Event::Change { key, value: None, .. } => _ = rows.remove(&key),
                Event::Truncate { .. } => rows.clear(),
                Event::Snapshot | Event::Rehash | Event::Restart(_) => {}
            }
        }
        rows
    }

    /// Reads the partitions in some order, now and then one from an earlier offset again.
    fn read(sent: &Sent, choices: &[(u8, u8)]) -> HashMap<i64, i64> {
        let mut rows = HashMap::<i64, (Version, Option<i64>)>::new();
        let mut truncate = None;
        let mut next = [0; 3];
        let mut choices = choices.iter().cycle().take(choices.len() + 200);
        while next.iter().zip(&sent.partitions).any(|(next, records)| *next < records.len()) {
            let &(which, back) = choices.next().unwrap_or(&(0, 0));
            let rest = (0..3).map(|it| (it + usize::from(which)) % 3);
            let partition = rest.into_iter().find(|it| next[*it] < sent.partitions[*it].len());
            let Some(partition) = partition else { break };
            if back > 250 {
                next[partition] = next[partition].saturating_sub(usize::from(back - 248));
            }
            let (key, version, value) = &sent.partitions[partition][next[partition]];
            next[partition] += 1;
            let known = key.and_then(|key| Some(&rows.get(&key)?.0));
            let standing = match key {
                Some(_) => version.over_both(known, truncate.as_ref()),
                None => version.over_truncate(truncate.as_ref()),
            };
            match (standing, key) {
                (Standing::Older, _) => {}
                (Standing::WentBack, _) => panic!("it never did"),
                (Standing::Newer, Some(key)) => {
                    let version = known.map_or(version.clone(), |it| version.clone().raised(it));
                    rows.insert(*key, (version, *value));
                }
                (Standing::Newer, None) => {
                    let older = rows.values_mut().filter(|(known, _)| !known.outlasts(version));
                    older.for_each(|(_, value)| *value = None);
                    truncate = Some(version.clone());
                }
            }
        }
        rows.into_iter().filter_map(|(key, (_, value))| Some((key, value?))).collect()
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(10_000))]

        #[test]
        fn whatever_moves_goes_at_once_and_comes_again_the_newest_image_stays(
            events in proptest::collection::vec(proptest::prelude::any::<(u8, u8, u8)>(), 1..40),
            order in proptest::collection::vec(proptest::prelude::any::<(u8, u8)>(), 1..40),
        ) {
            let sent = send(&history(&events));
            proptest::prop_assert_eq!(read(&sent, &order), sent.rows);
        }
    }

    #[test]
    fn a_later_commit_at_an_earlier_place_is_a_source_that_went_back() {
        check("s90@0:8 c6", "s100@0:7 c5", Standing::WentBack);
        check("s90@1:8 c6", "s100@0:7 c5", Standing::WentBack);
        check("r90@0:8 c6", "s100@0:7 c5", Standing::Older);
        let gone = Version { topic: None, ..version("s100@0:7 c5") };
        assert_eq!(version("s90@0:3 c4").over(&gone), Standing::Older);
        assert_eq!(version("s110@0:3").over(&gone), Standing::Newer);
    }
}

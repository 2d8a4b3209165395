//! Dead letters: what an operator sees of them, and what becomes of them.

use super::*;
use crate::batch::{KeyMark, Replay};
use crate::target::inspect::Deed;
use crate::target::letters::{DISCARD, Filter, KeptLetter, LetterState, Letters as _};

const DEED: Deed<'_> = Deed { actor: "me", command: DISCARD, reason: "mended" };

const MARKS: &str = "SELECT CAST(key AS TEXT), since_offset FROM afterimage_refused_key ORDER BY 1";

const EPOCH: &str = "SELECT epoch FROM afterimage_checkpoint";

impl World {
    /// Has a batch keep dead letters of these keys, by offset; those with a mark are the first that
    /// is not applied of their keys.
    async fn refuse(&self, target: &mut Sqlite, claimed: &Claimed, of: &[(&str, bool)]) {
        let mut batch = Batch::default();
        let step = batch.step(&self.partition, claimed.claim, claimed.next);
        for (offset, (key, is_marked)) in (claimed.next.get()..).zip(of) {
            let key = key.as_bytes().to_vec();
            let partition = self.partition.clone();
            if *is_marked {
                let (partition, key) = (partition.clone(), key.clone());
                batch.key_marks.push(KeyMark { partition, key, is_refused: true, offset });
            }
            let record = KeptRecord { key: Some(key), ..kept(offset) };
            let refusal = Refusal::new(Reason::ValueUnfit, "too long");
            batch.dead_letters.push(DeadLetter { partition, record, refusal });
            batch.advance(step, last(offset));
        }
        batch.schema_changes.push(creation());
        assert_eq!(target.apply(&batch.fold()).await.unwrap(), COMMITTED);
    }
}

/// The replay of a dead letter that puts a row.
async fn replay(target: &mut Sqlite, id: i64, put: &Change<'_>) -> Folded {
    let kept = target.letter(id).await.unwrap().unwrap();
    let standing = target.standing(&kept).await.unwrap();
    let KeptLetter { letter, record } = kept;
    let claim = crate::checkpoint::Claim { epoch: 0, token: Uuid::nil() };
    let mut batch = Batch::default();
    let step = batch.step(&letter.partition, claim, NextOffset::at(letter.offset));
    let Put(row, name, _) = put else { panic!("a replay here puts a row") };
    let shape = shape(Deletes::Hard);
    let mut writer = batch.rows(&shape).unwrap().upsert();
    for value in [Value::Int(*row), *name, Value::Null] {
        writer.push(value).unwrap();
    }
    writer.finish(Origin { step, offset: letter.offset, sent_at: 0 }, record.clone()).unwrap();
    let mut folded = batch.fold();
    let (actor, reason) = ("me".to_owned(), "mended".to_owned());
    let (partition, offset, key) = (letter.partition, letter.offset, record.key);
    folded.replay = Some(Replay { id, partition, offset, key, standing, actor, reason });
    folded
}

fn put(id: i64, name: &'static str) -> Change<'static> {
    Put(id, Value::Text(name), Value::Null)
}

async fn ids(target: &mut Sqlite, filter: &Filter) -> Vec<i64> {
    target.letters(filter).await.unwrap().iter().map(|letter| letter.id).collect()
}

#[tokio::test]
async fn letters_are_listed_by_what_they_are_and_shown_whole() {
    let world = World::new();
    assert_eq!(world.target().letters(&Filter::default()).await.unwrap(), []);
    assert!(world.is_empty(), "looking makes no file");
    let (mut target, claimed) = world.claimed().await;
    world.refuse(&mut target, &claimed, &[("a", true), ("b", true), ("a", false)]).await;
    assert_eq!(target.discard(&[2, 2, 9], DEED).await.unwrap(), [2]);

    let mut other = world.target();
    assert_eq!(ids(&mut other, &Filter::default()).await, [1, 2, 3]);
    let state = Some(LetterState::Open);
    assert_eq!(ids(&mut other, &Filter { state, ..Filter::default() }).await, [1, 3]);
    let limit = Some(1);
    assert_eq!(ids(&mut other, &Filter { limit, ..Filter::default() }).await, [3], "the newest");
    for (topic, reason, count) in [
        (Some("t"), None, 3),
        (Some("u"), None, 0),
        (None, Some("value_unfit"), 3),
        (None, Some("x"), 0),
    ] {
        let (topic, reason) = (topic.map(str::to_owned), reason.map(str::to_owned));
        let filter = Filter { topic, reason, ..Filter::default() };
        assert_eq!(ids(&mut other, &filter).await.len(), count, "{filter:?}");
    }
    let shown = other.letter(1).await.unwrap().unwrap();
    assert_eq!(shown.record, KeptRecord { key: Some(b"a".to_vec()), ..kept(0) });
    assert_eq!(shown.letter.error.as_deref(), Some("too long"));
    assert_eq!(shown.letter.timestamp, Some(1_700_000_000_123));
    assert_eq!(other.letter(9).await.unwrap(), None);
}

#[tokio::test]
async fn a_replay_writes_its_row_with_its_state_and_the_key_is_free_again() {
    let world = World::new();
    let (mut target, claimed) = world.claimed().await;
    world.refuse(&mut target, &claimed, &[("a", true), ("a", false)]).await;

    let first = replay(&mut target, 1, &put(1, "first")).await;
    assert_eq!(target.apply(&first).await.unwrap(), COMMITTED);
    assert_eq!(world.items().await, ["1|first|NULL"]);
    assert_eq!(world.read(MARKS).await, ["a|1"], "the second is not applied yet");
    assert_eq!(world.read(EPOCH).await, ["1"], "nothing is new to the member");
    let again = target.apply(&first).await.unwrap();
    assert_eq!(again, Applied::Fenced { partitions: vec![world.partition.clone()] });

    let second = replay(&mut target, 2, &put(1, "second")).await;
    assert_eq!(target.apply(&second).await.unwrap(), COMMITTED);
    assert_eq!(world.items().await, ["1|second|NULL"]);
    assert!(world.read(MARKS).await.is_empty());
    assert_eq!(world.read(EPOCH).await, ["2"], "the member must read the marks anew");
    let states = "SELECT state FROM afterimage_dead_letter ORDER BY id";
    assert_eq!(world.read(states).await, ["replayed", "replayed"]);
    let audit = "SELECT actor, command, topic, \"partition\", before_offset, reason
        FROM afterimage_audit ORDER BY before_offset";
    let line = |offset| format!("me|dead-letters replay|t|0|{offset}|mended");
    assert_eq!(world.read(audit).await, [line(0), line(1)]);
    let stale = batch(&after(&claimed, 2), &shape(Deletes::Hard), &[put(1, "x")]);
    let stale = target.apply(&stale).await.unwrap();
    assert!(matches!(stale, Applied::Fenced { .. }), "the old claim's steps are void");
    let (partition, claim, next) = (world.partition.clone(), claimed.claim, NextOffset::at(2));
    let claims = [(partition.clone(), claim)];
    world.run("UPDATE afterimage_checkpoint SET updated_at = '2024'").await;
    let touched = target.touch(&[Holding { partition, claim, next }]).await.unwrap();
    assert_eq!(touched.elsewhere.as_slice(), std::slice::from_ref(&world.partition));
    assert!(
        world.read("SELECT 1 FROM afterimage_checkpoint WHERE updated_at > '2025'").await.len()
            == 1
    );
    target.release(&claims).await.unwrap();
    assert_eq!(world.read("SELECT owner FROM afterimage_checkpoint").await, ["NULL"]);
}

#[tokio::test]
async fn a_replay_that_a_later_record_has_overtaken_meanwhile_writes_nothing() {
    let world = World::new();
    let (mut target, claimed) = world.claimed().await;
    world.refuse(&mut target, &claimed, &[("a", true)]).await;
    let prepared = replay(&mut target, 1, &put(1, "old")).await;
    let mut newer = batch(&after(&claimed, 1), &shape(Deletes::Hard), &[put(1, "new")]);
    let (partition, key) = (world.partition.clone(), b"a".to_vec());
    newer.key_marks.push(KeyMark { partition, key, is_refused: false, offset: 1 });
    assert_eq!(target.apply(&newer).await.unwrap(), COMMITTED);

    let overtaken = target.apply(&prepared).await.unwrap();
    assert_eq!(overtaken, Applied::Fenced { partitions: vec![world.partition.clone()] });
    assert_eq!(world.items().await, ["1|new|NULL"]);
    let state = "SELECT state FROM afterimage_dead_letter";
    assert_eq!(world.read(state).await, ["open"]);
    let kept = target.letter(1).await.unwrap().unwrap();
    assert!(!target.standing(&kept).await.unwrap().is_newest(0));
}

#[tokio::test]
async fn a_letter_knows_what_of_its_key_is_open_before_it() {
    let world = World::new();
    let (mut target, claimed) = world.claimed().await;
    world
        .refuse(&mut target, &claimed, &[("a", false), ("a", true), ("b", true), ("a", false)])
        .await;
    let standing = async |target: &mut Sqlite, id| {
        let kept = target.letter(id).await.unwrap().unwrap();
        let standing = target.standing(&kept).await.unwrap();
        (standing.since, standing.is_newest(kept.letter.offset), standing.is_behind)
    };
    assert_eq!(standing(&mut target, 1).await, (Some(1), false, false), "overtaken");
    assert_eq!(standing(&mut target, 2).await, (Some(1), true, false));
    assert_eq!(standing(&mut target, 3).await, (Some(2), true, false));
    assert_eq!(standing(&mut target, 4).await, (Some(1), true, true));
    target.discard(&[2], DEED).await.unwrap();
    assert_eq!(standing(&mut target, 4).await, (Some(3), true, false), "it was given up");
    assert_eq!(world.read(MARKS).await, ["a|3", "b|2"]);
    target.discard(&[4], DEED).await.unwrap();
    assert_eq!(world.read(MARKS).await, ["b|2"], "what is overtaken holds no key up");
    assert_eq!(world.read(EPOCH).await, ["2"]);
}

#[tokio::test]
async fn a_refusal_at_the_replay_is_kept_and_the_letter_stays_open() {
    let world = World::new();
    let (mut target, claimed) = world.claimed().await;
    world.refuse(&mut target, &claimed, &[("a", true)]).await;
    target.refuse_again(1, &Refusal::new(Reason::KeyMissing, "no key")).await.unwrap();
    let refusal = Refusal::new(Reason::RowRefused, "still none");
    let refusal = Refusal { sqlstate: Some("23505".to_owned()), ..refusal };
    target.refuse_again(1, &refusal).await.unwrap();
    let letter = target.letter(1).await.unwrap().unwrap().letter;
    assert_eq!((&*letter.reason, letter.error.as_deref()), ("row_refused", Some("still none")));
    assert_eq!(letter.sqlstate.as_deref(), Some("23505"));
    assert!(letter.is_open());
    assert_eq!(world.read(MARKS).await, ["a|0"]);
}

#[tokio::test]
async fn what_is_being_copied_is_nobody_elses_for_a_minute() {
    let world = World::new();
    let (mut target, claimed) = world.claimed().await;
    world.refuse(&mut target, &claimed, &[("a", true), ("b", true), ("c", true)]).await;
    target.discard(&[3], DEED).await.unwrap();
    let offsets = |letters: Vec<KeptLetter>| {
        letters.iter().map(|kept| kept.record.offset).collect::<Vec<_>>()
    };
    assert_eq!(offsets(target.uncopied(1).await.unwrap()), [0]);
    assert_eq!(offsets(target.uncopied(9).await.unwrap()), [1], "the first is taken");
    target.copied(&[2]).await.unwrap();
    assert!(target.uncopied(9).await.unwrap().is_empty());
    world.run("UPDATE afterimage_dead_letter SET copying_until = '2024'").await;
    assert_eq!(offsets(target.uncopied(9).await.unwrap()), [0], "whoever had it is gone");
}

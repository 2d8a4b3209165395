//! A world: all that the members of one group share, and the weather that they live in.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Planted;
use super::chance::Chance;
use super::database::Database;
use super::group::Group;
use super::history::{History, Met};
use super::source::Source;
use crate::record::TopicPartition;

/// How often what goes wrong by itself, one in so many times; and what is out of order until when.
#[derive(Debug)]
pub(super) struct Weather {
    pub(super) is_calm: bool,
    /// Sessions and answers that are lost.
    pub(super) lost: u64,
    /// Orders that meet a lock.
    pub(super) busy: u64,
    /// Proofs of membership without an answer.
    pub(super) unproven: u64,
    pub(super) slow_until: Instant,
    pub(super) away_until: Instant,
    pub(super) uncoordinated_until: Instant,
    /// What has become of the log that jumps.
    pub(super) jump: Jump,
    pub(super) has_jumped: bool,
    /// When something last went wrong: nobody need be in time before a while after that.
    pub(super) disturbed_at: Instant,
}

/// What becomes of a log without its members: the one of the topic with one partition, because a row
/// of any other may wait for what another partition would have brought.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Jump {
    /// Where the log begins.
    pub(super) low: i64,
    /// How often its topic was made again.
    pub(super) remade: u128,
    /// Whether the records are others, at the same offsets.
    pub(super) is_replaced: bool,
}

impl Jump {
    /// The partition whose log may jump.
    pub(super) fn is_of(partition: &TopicPartition) -> bool {
        &*partition.topic == "s.public.u"
    }

    /// Returns when a record was written, as it says.
    pub(super) fn timestamp(self, sent_at: i64) -> i64 {
        if self.is_replaced { sent_at + 1_000_000 } else { sent_at }
    }
}

impl Weather {
    fn new(chance: &mut Chance) -> Self {
        let now = Instant::now();
        let mut rate = || *chance.pick(&[0, 6, 15, 40, 100]);
        Self {
            is_calm: false,
            lost: rate(),
            busy: rate(),
            unproven: rate(),
            slow_until: now,
            away_until: now,
            uncoordinated_until: now,
            jump: Jump::default(),
            has_jumped: false,
            disturbed_at: now,
        }
    }

    /// Ends all that goes wrong.
    pub(super) fn calm(&mut self) {
        let now = Instant::now();
        (self.is_calm, self.lost, self.busy, self.unproven) = (true, 0, 0, 0);
        (self.slow_until, self.away_until, self.uncoordinated_until) = (now, now, now);
        self.disturbed_at = now;
    }
}

/// What all share.
pub(super) struct World {
    chance: Mutex<Chance>,
    history: Mutex<History>,
    pub(super) source: Arc<Source>,
    database: Mutex<Database>,
    group: Mutex<Group>,
    weather: Mutex<Weather>,
    pub(super) planted: Option<Planted>,
    pub(super) began: Instant,
}

impl World {
    pub(super) fn new(
        mut chance: Chance,
        source: Source,
        planted: Option<Planted>,
        is_traced: bool,
    ) -> Self {
        let mut history = History::new(is_traced);
        history.met.extend(source.met.iter().copied());
        let source = Arc::new(source);
        let weather = Weather::new(&mut chance);
        Self {
            chance: Mutex::new(chance),
            history: Mutex::new(history),
            database: Mutex::new(Database::new(Arc::clone(&source), planted)),
            source,
            group: Mutex::default(),
            weather: Mutex::new(weather),
            planted,
            began: Instant::now(),
        }
    }

    pub(super) fn draw<T>(&self, draw: impl FnOnce(&mut Chance) -> T) -> T {
        draw(&mut self.chance.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn one_in(&self, times: u64) -> bool {
        self.draw(|chance| chance.one_in(times))
    }

    pub(super) fn millis(&self, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.draw(|chance| chance.between(low, high)))
    }

    /// Lets some time pass; who goes first of several that wake at one moment is drawn, too.
    pub(super) async fn pause(&self, low: u64, high: u64) {
        tokio::time::sleep(self.millis(low, high)).await;
        for _ in 0..self.draw(|chance| chance.between(0, 2)) {
            tokio::task::yield_now().await;
        }
    }

    pub(super) fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn met(&self, met: Met) {
        self.history().met.insert(met);
    }

    pub(super) fn note(&self, who: &str, what: impl FnOnce() -> String) {
        self.history().note(who, what);
    }

    /// Notes something that goes wrong, with its line in the trace.
    pub(super) fn strike(&self, met: Met, who: &str, what: impl FnOnce() -> String) {
        self.weather().disturbed_at = Instant::now();
        self.met(met);
        self.note(who, what);
    }

    /// Returns the database as it is now.
    pub(super) fn database(&self) -> MutexGuard<'_, Database> {
        let mut database = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        for session in database.settle(Instant::now()) {
            self.met(Met::CommittedLate);
            self.note("database", || {
                format!("session {session} has committed, whose client is gone")
            });
        }
        if let Some(violation) = &database.violation {
            self.history().violate(violation);
        }
        database
    }

    pub(super) fn group(&self) -> MutexGuard<'_, Group> {
        self.group.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn weather(&self) -> MutexGuard<'_, Weather> {
        self.weather.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how long a way to the database and back takes now, in milliseconds.
    pub(super) fn database_pace(&self) -> (u64, u64) {
        let is_slow = self.weather().slow_until > Instant::now();
        if is_slow { (200, 2_500) } else { (1, 20) }
    }

    /// Returns what has become of a partition's log.
    pub(super) fn jump(&self, partition: &TopicPartition) -> Jump {
        if Jump::is_of(partition) { self.weather().jump } else { Jump::default() }
    }

    /// Returns the partitions that there are by now.
    pub(super) fn partitions(&self) -> impl Iterator<Item = &TopicPartition> {
        self.source.partitions(self.began.elapsed())
    }

    /// Returns the offset behind the newest record, for each partition.
    pub(super) fn end(&self, partition: &TopicPartition) -> i64 {
        self.source.end(partition, self.began.elapsed())
    }
}

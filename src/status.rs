//! What a member shows of itself: published by its loops, read by whoever asks over HTTP.
//!
//! Not on the data's path: a lane publishes on a change of state and a few times a second, and the
//! lock is held only to exchange a value.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::checkpoint::NextOffset;
use crate::record::TopicPartition;
use crate::stopped::Stop;

/// What a partition waits for whose schema the registry does not give.
pub const SCHEMA: &str = "schema";

/// Where a partition of this member stands.
#[derive(Clone, Debug, PartialEq)]
pub struct PartitionStatus {
    /// Which partition.
    pub partition: TopicPartition,
    /// What happens with it.
    pub state: PartitionState,
    /// The checkpoint, once it is claimed.
    pub next: Option<NextOffset>,
    /// The end of the log, once it is known.
    pub high_watermark: Option<NextOffset>,
    /// Offsets behind that end, which nobody may read before a producer's transaction ends.
    pub held_back: Option<u64>,
    /// The epoch of our claim, once there is one.
    pub epoch: Option<i64>,
    /// When the checkpoint last moved, or stood at the end of the log.
    pub moved_at: Instant,
}

/// What happens with a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartitionState {
    /// Its row at the target is being claimed.
    Claiming,
    /// Its records are applied.
    Running,
    /// It waits for something that comes by itself, such as the registry.
    Waiting(String),
    /// An operator must act.
    Stopped(Stop),
}

impl PartitionState {
    /// Every state's name, in the order of the list in README.
    pub const NAMES: [&'static str; 4] = ["claiming", "running", "waiting", "stopped"];

    /// Returns the state as metrics and `/status` spell it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Claiming => "claiming",
            Self::Running => "running",
            Self::Waiting(_) => "waiting",
            Self::Stopped(_) => "stopped",
        }
    }

    /// Returns why it does not run, where there is a reason to tell.
    pub fn reason(&self) -> Option<String> {
        match self {
            Self::Claiming | Self::Running => None,
            Self::Waiting(reason) => Some(reason.clone()),
            Self::Stopped(stop) => Some(stop.to_string()),
        }
    }
}

impl PartitionStatus {
    /// Returns how many offsets lie between the checkpoint and the end of the log.
    pub fn lag(&self) -> Option<u64> {
        let behind = self.high_watermark?.get().saturating_sub(self.next?.get());
        Some(u64::try_from(behind).unwrap_or(0))
    }
}

/// Whether a lane's connection to the target stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TargetState {
    /// It was never there yet.
    #[default]
    Connecting,
    /// It stands.
    Reachable,
    /// It is lost, and why.
    Unreachable(String),
}

/// What a lane shows of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LaneStatus {
    /// Its connection.
    pub target: TargetState,
    /// Its partitions.
    pub partitions: Vec<PartitionStatus>,
    /// What it has written since it started.
    pub written: Written,
}

/// What is committed to the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Rows, after folding.
    pub rows: u64,
    /// Dead letters.
    pub dead_letters: u64,
}

/// What a member shows of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MemberStatus {
    /// Whether the group has taken us in.
    pub is_joined: bool,
    /// Whether no broker is connected.
    pub is_cut_off: bool,
    /// Its lanes, by number.
    pub lanes: BTreeMap<usize, LaneStatus>,
}

impl MemberStatus {
    /// Iterates over the partitions of all lanes.
    pub fn partitions(&self) -> impl Iterator<Item = &PartitionStatus> {
        self.lanes.values().flat_map(|lane| &lane.partitions)
    }

    /// Returns why the member is not ready; empty when it is.
    ///
    /// A member without partitions is ready: it stands by.
    pub fn unready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if !self.is_joined {
            reasons.push("the group is not joined".to_owned());
        }
        if self.is_cut_off {
            reasons.push("no broker answers".to_owned());
        }
        if self.lanes.is_empty() {
            reasons.push("the target is not connected yet".to_owned());
        }
        for (number, lane) in &self.lanes {
            match &lane.target {
                TargetState::Connecting => {
                    reasons.push(format!("lane {number}: the target is not connected yet"));
                }
                TargetState::Reachable => {}
                TargetState::Unreachable(error) => reasons.push(format!("lane {number}: {error}")),
            }
        }
        for partition in self.partitions() {
            let name = &partition.partition;
            match &partition.state {
                PartitionState::Claiming => {
                    reasons.push(format!("{name} is not claimed yet"));
                }
                PartitionState::Waiting(what) if what == SCHEMA => {
                    reasons.push(format!("{name} waits for the registry"));
                }
                PartitionState::Running | PartitionState::Waiting(_) => {}
                PartitionState::Stopped(stop) => reasons.push(format!("{name} is stopped: {stop}")),
            }
        }
        reasons
    }

    /// Returns how long the most belated partition's checkpoint has not moved while records wait.
    pub fn checkpoint_age(&self, now: Instant) -> Duration {
        let late = self.partitions().filter(|partition| partition.lag() != Some(0));
        let ages = late.map(|partition| now.saturating_duration_since(partition.moved_at));
        ages.max().unwrap_or_default()
    }
}

/// Where the loops publish, and where the last state is read; a handle, cheap to clone.
#[derive(Clone, Debug)]
pub struct StatusBoard(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    started: Instant,
    member: Mutex<MemberStatus>,
    loops: Mutex<Vec<Arc<Loop>>>,
}

#[derive(Debug)]
struct Loop {
    name: String,
    /// Milliseconds after `Shared::started`.
    turned: AtomicU64,
}

/// A loop's sign of life; the loop counts as ended when it is dropped.
#[derive(Debug)]
pub struct Pulse {
    shared: Arc<Shared>,
    one: Arc<Loop>,
}

impl Default for StatusBoard {
    fn default() -> Self {
        let (member, loops) = (Mutex::default(), Mutex::default());
        Self(Arc::new(Shared { started: Instant::now(), member, loops }))
    }
}

impl StatusBoard {
    /// Says whether the group has taken us in.
    pub fn set_joined(&self, is_joined: bool) {
        lock(&self.0.member).is_joined = is_joined;
    }

    /// Says whether no broker is connected.
    pub fn set_cut_off(&self, is_cut_off: bool) {
        lock(&self.0.member).is_cut_off = is_cut_off;
    }

    /// Replaces what a lane shows of itself.
    pub fn publish(&self, lane: usize, status: LaneStatus) {
        lock(&self.0.member).lanes.insert(lane, status);
    }

    /// Returns what the member shows of itself.
    pub fn member(&self) -> MemberStatus {
        lock(&self.0.member).clone()
    }

    /// Starts to watch a loop, which must beat more often than once a minute.
    pub fn watch(&self, name: impl Into<String>) -> Pulse {
        let one = Arc::new(Loop { name: name.into(), turned: AtomicU64::new(0) });
        lock(&self.0.loops).push(Arc::clone(&one));
        let pulse = Pulse { shared: Arc::clone(&self.0), one };
        pulse.beat();
        pulse
    }

    /// Returns each watched loop and how long ago it turned.
    pub fn loops(&self) -> Vec<(String, Duration)> {
        let now = self.0.started.elapsed();
        let age = |one: &Arc<Loop>| {
            let turned = Duration::from_millis(one.turned.load(Ordering::Relaxed));
            (one.name.clone(), now.saturating_sub(turned))
        };
        lock(&self.0.loops).iter().map(age).collect()
    }
}

impl Pulse {
    /// Says that the loop has turned.
    pub fn beat(&self) {
        let since = self.shared.started.elapsed().as_millis();
        self.one.turned.store(u64::try_from(since).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        lock(&self.shared.loops).retain(|one| !Arc::ptr_eq(one, &self.one));
    }
}

/// The values behind these locks are whole at any time, also where a thread has panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Display for PartitionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stopped::StopReason;

    fn partition(state: PartitionState) -> PartitionStatus {
        PartitionStatus {
            partition: TopicPartition::new("t", 0),
            state,
            next: Some(NextOffset::at(7)),
            high_watermark: Some(NextOffset::at(10)),
            held_back: None,
            epoch: Some(1),
            moved_at: Instant::now(),
        }
    }

    fn board(states: Vec<PartitionState>) -> StatusBoard {
        let board = StatusBoard::default();
        board.set_joined(true);
        let partitions = states.into_iter().map(partition).collect();
        board.publish(
            0,
            LaneStatus { target: TargetState::Reachable, partitions, ..LaneStatus::default() },
        );
        board
    }

    #[test]
    fn a_member_without_partitions_is_ready() {
        assert_eq!(board(vec![]).member().unready(), Vec::<String>::new());
    }

    #[test]
    fn a_member_that_has_not_begun_says_why() {
        assert_eq!(
            StatusBoard::default().member().unready(),
            ["the group is not joined", "the target is not connected yet"]
        );
    }

    #[test]
    fn partitions_make_unready_that_do_not_go_on_by_themselves_or_wait_for_a_service() {
        let stop = Stop::new(StopReason::LogGap, "3..9 are gone");
        let states = vec![
            PartitionState::Running,
            PartitionState::Waiting("move".into()),
            PartitionState::Waiting(SCHEMA.into()),
            PartitionState::Claiming,
            PartitionState::Stopped(stop),
        ];
        assert_eq!(
            board(states).member().unready(),
            [
                "t[0] waits for the registry",
                "t[0] is not claimed yet",
                "t[0] is stopped: log_gap: 3..9 are gone"
            ]
        );
    }

    #[test]
    fn brokers_that_are_away_make_unready() {
        let board = board(vec![PartitionState::Running]);
        board.set_cut_off(true);
        assert_eq!(board.member().unready(), ["no broker answers"]);
        board.set_cut_off(false);
        assert!(board.member().unready().is_empty());
    }

    #[test]
    fn an_unreachable_target_makes_unready() {
        let board = board(vec![PartitionState::Running]);
        let target = TargetState::Unreachable("connection refused".into());
        board.publish(0, LaneStatus { target, ..LaneStatus::default() });
        assert_eq!(board.member().unready(), ["lane 0: connection refused"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_ages_until_it_turns_and_is_forgotten_when_it_ends() {
        let board = StatusBoard::default();
        let pulse = board.watch("poll");
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!(board.loops(), [("poll".to_owned(), Duration::from_secs(30))]);

        pulse.beat();
        assert_eq!(board.loops(), [("poll".to_owned(), Duration::ZERO)]);

        drop(pulse);
        assert_eq!(board.loops(), []);
    }

    #[tokio::test(start_paused = true)]
    async fn the_age_counts_only_partitions_with_records_waiting() {
        let board = board(vec![PartitionState::Running]);
        let moved_at = Instant::now();
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(board.member().checkpoint_age(Instant::now()), Duration::from_secs(5));

        let next = Some(NextOffset::at(10));
        let at_end = PartitionStatus { next, moved_at, ..partition(PartitionState::Running) };
        let partitions = vec![at_end];
        board.publish(
            0,
            LaneStatus { target: TargetState::Reachable, partitions, ..LaneStatus::default() },
        );
        assert_eq!(board.member().checkpoint_age(Instant::now()), Duration::ZERO);
    }
}

//! A life: members come and go under whatever strikes them, until it is calm and all must be well.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::chance::Chance;
use super::database::short;
use super::group::coordinate;
use super::history::Met;
use super::member::Member;
use super::oracle::Expected;
use super::world::{Jump, World};
use crate::record::TopicPartition;
use crate::stopped::StopReason;

/// How long the rightful owner of a partition may stand still while nothing goes wrong.
const PROGRESS_WAIT_MAX: Duration = Duration::from_secs(20);

/// How long an owner may take to find out that the database went back to an older state, where nothing
/// else shows it.
const FIND_OUT_MAX: Duration = Duration::from_secs(30);

/// How long all may take to catch up once it is calm.
const CATCH_UP_MAX: Duration = Duration::from_secs(120);

/// How long a member may take to end.
const END_WAIT_MAX: Duration = Duration::from_secs(40);

/// What can strike.
#[derive(Clone, Copy, Debug)]
enum Strike {
    Crash,
    Freeze,
    ShutDown,
    Expel,
    Rebalance,
    Slow,
    Away,
    Restore,
    EndSessions,
    Alter,
    Uncoordinated,
    Retain,
    Remake,
    Replace,
}

impl Strike {
    const ALL: [Self; 14] = [
        Self::Crash,
        Self::Freeze,
        Self::ShutDown,
        Self::Expel,
        Self::Rebalance,
        Self::Slow,
        Self::Away,
        Self::Restore,
        Self::EndSessions,
        Self::Alter,
        Self::Uncoordinated,
        Self::Retain,
        Self::Remake,
        Self::Replace,
    ];
}

/// The members, and what strikes them.
struct Life {
    world: Arc<World>,
    members: Vec<Member>,
    wanted: usize,
    last_lane: u64,
    strikes: Vec<Strike>,
    wakes: Vec<(Instant, u64)>,
    altered: usize,
}

/// Lives through strikes for so long, then through the calm behind them.
pub(super) async fn live(world: &Arc<World>, strikes_for: Duration) {
    let mut background = JoinSet::new();
    background.spawn(coordinate(Arc::clone(world)));
    let strikes = world.draw(|chance| {
        // Not everything in every world: what is rare beside the rest would never be met alone.
        let mut some = Strike::ALL.to_vec();
        some.retain(|_| !chance.one_in(3));
        some
    });
    let wanted = world.draw(|chance| *chance.pick(&[1, 2, 2, 3, 3]));
    let mut life = Life {
        world: Arc::clone(world),
        members: Vec::new(),
        wanted,
        last_lane: 0,
        strikes,
        wakes: Vec::new(),
        altered: 0,
    };
    let pace = world.draw(|chance| *chance.pick(&[300, 1_000, 3_000]));
    while world.began.elapsed() < strikes_for && life.is_well() {
        life.tend();
        world.pause(20, pace).await;
        let member = world.draw(|chance| chance.index(life.members.len()));
        aim(world, life.members[member].lane).await;
        life.strike(member);
    }
    life.calm().await;
}

impl Life {
    fn is_well(&mut self) -> bool {
        for partition in self.world.source.logs.keys() {
            self.check_progress(partition);
        }
        // What is due happens now, and is looked at.
        drop(self.world.database());
        self.world.history().violation.is_none()
    }

    /// Wakes whom it is time to wake, and starts members in the place of those that are no more.
    fn tend(&mut self) {
        let now = Instant::now();
        for (_, lane) in self.wakes.extract_if(.., |(at, _)| *at <= now) {
            self.members.iter().filter(|member| member.lane == lane).for_each(Member::wake);
        }
        self.members.retain_mut(|member| !member.has_ended());
        while self.members.len() < self.wanted {
            self.last_lane += 1;
            self.members.push(Member::start(&self.world, self.last_lane));
        }
    }

    fn strike(&mut self, member: usize) {
        if self.strikes.is_empty() {
            return;
        }
        let world = Arc::clone(&self.world);
        let strike = world.draw(|chance| *chance.pick(&self.strikes));
        let until = Instant::now() + world.millis(300, 6_000);
        match strike {
            Strike::Crash => self.members.remove(member).crash(),
            Strike::Freeze => {
                self.members[member].freeze();
                let until = Instant::now() + world.millis(100, 10_000);
                self.wakes.push((until, self.members[member].lane));
            }
            Strike::ShutDown => self.members[member].shut_down(),
            Strike::Expel => {
                let lane = self.members[member].lane;
                if world.group().expel(lane) {
                    world.note("group", || format!("expels lane {lane}"));
                }
            }
            Strike::Rebalance => world.group().is_rebalance_due = true,
            Strike::Slow => {
                world.weather().slow_until = until;
                world.strike(Met::DatabaseSlow, "database", || "is slow".to_owned());
            }
            Strike::Away => {
                world.weather().away_until = until;
                world.database().end_all();
                world.strike(Met::DatabaseAway, "database", || "is away".to_owned());
            }
            Strike::Restore => self.restore(),
            Strike::EndSessions => {
                world.database().end_all();
                world.strike(Met::SessionLost, "database", || "ends all sessions".to_owned());
            }
            Strike::Alter => self.alter(),
            Strike::Retain | Strike::Remake | Strike::Replace => self.jump(strike),
            Strike::Uncoordinated => {
                world.weather().uncoordinated_until = until;
                world.strike(Met::CoordinatorAway, "group", || "does not answer".to_owned());
            }
        }
    }

    /// Has a log jump, once in a world and once all partitions have their rows: before, nobody can
    /// tell.
    fn jump(&self, strike: Strike) {
        let world = &self.world;
        let Some(partition) = world.source.logs.keys().find(|it| Jump::is_of(it)) else { return };
        let (next, is_known) = {
            let database = world.database();
            let row = database.state.checkpoints.get(partition);
            let is_known = database.past_count() > 0
                && row.is_some_and(|row| row.remembered.topic_id.is_some());
            (row.map_or(0, |row| row.next), is_known)
        };
        let has_jumped = world.weather().has_jumped;
        if !is_known || has_jumped || !world.one_in(2) {
            return;
        }
        let ahead = world.end(partition).max(next);
        let low = world.draw(|chance| chance.between(0, ahead.unsigned_abs()));
        let (low, who) = (i64::try_from(low).expect("an offset"), short(partition));
        let mut weather = world.weather();
        weather.has_jumped = true;
        match strike {
            Strike::Retain => weather.jump.low = low,
            Strike::Remake => weather.jump.remade += 1,
            _ => weather.jump.is_replaced = true,
        }
        drop(weather);
        let (met, what) = match strike {
            Strike::Retain => (Met::LogRetained, format!("{who} begins at {low}")),
            Strike::Remake => (Met::TopicRecreated, format!("the topic of {who} is another one")),
            _ => (Met::LogReplaced, format!("the records of {who} are others")),
        };
        world.strike(met, "log", || what);
    }

    /// Returns whether a partition stands for good, because its log has jumped.
    fn is_stopped(&self, partition: &TopicPartition) -> bool {
        let jump = self.world.jump(partition);
        let database = self.world.database();
        let Some(row) = database.state.checkpoints.get(partition) else { return false };
        match row.stopped {
            Some(StopReason::LogGap) => row.next < jump.low,
            Some(StopReason::TopicRecreated) => jump.remade > 0,
            Some(StopReason::LogReplaced) => jump.is_replaced,
            _ => false,
        }
    }

    fn restore(&self) {
        let count = self.world.database().past_count();
        if count == 0 {
            return;
        }
        let to = self.world.draw(|chance| chance.index(count));
        if self.world.database().restore(to) {
            self.world.met(Met::RestoredInFlight);
        }
        self.world.strike(Met::DatabaseRestored, "database", || {
            format!("goes back by {} commits", count - to)
        });
    }

    /// Adds a column to a table, as somebody might by hand; not under a transaction's lock.
    fn alter(&mut self) {
        let mut database = self.world.database();
        if !database.is_idle() {
            return;
        }
        let Some(table) = database.state.catalogue.values_mut().next() else { return };
        self.altered += 1;
        let mut column = table.column("note").expect("all tables have it").clone();
        column.name = format!("extra_{}", self.altered);
        table.columns.push(column);
        drop(database);
        self.world.strike(Met::TableAltered, "database", || "has its table altered".to_owned());
    }

    /// Makes sure that a partition which has records goes on in its rightful owner's hands.
    fn check_progress(&self, partition: &TopicPartition) {
        let world = &self.world;
        let Some(owned_since) = world.group().owned_since(partition) else { return };
        let database = world.database();
        let next = database.state.checkpoints.get(partition).map_or(0, |row| row.next);
        let log = &world.source.logs[partition];
        let first = log.partition_point(|record| record.offset < next);
        let Some(record) = log.get(first) else { return };
        // What has jumped is stopped, or will be: at the latest, in the end.
        if Jump::is_of(partition) && world.weather().has_jumped {
            return;
        }
        let moved_at = database.moved_at.get(partition).copied().unwrap_or(world.began);
        let restored_at = database.restored_at;
        drop(database);
        let disturbed_at = world.weather().disturbed_at;
        let since = [owned_since, moved_at, disturbed_at, world.began + record.at];
        let since = since.into_iter().max().expect("four moments");
        // A row that waits for another partition's record waits as long as that one needs.
        let mut patience = PROGRESS_WAIT_MAX * if record.sent.is_awaiting() { 4 } else { 1 };
        if restored_at.is_some_and(|restored_at| restored_at >= moved_at) {
            patience += FIND_OUT_MAX;
        }
        if since.elapsed() > patience {
            let what = format!("{} stands at {next} though nothing is wrong", short(partition));
            world.history().violate(&what);
        }
    }

    /// Lets all catch up, ends all members, and compares the target with the source.
    async fn calm(mut self) {
        let world = Arc::clone(&self.world);
        world.weather().calm();
        world.note("world", || "is calm".to_owned());
        self.members.iter().for_each(Member::wake);
        self.wakes.clear();
        let until = Instant::now() + CATCH_UP_MAX;
        while self.is_well() && !self.has_caught_up() {
            if Instant::now() > until {
                world.history().violate("the partitions do not reach their ends");
            }
            self.tend();
            world.pause(100, 500).await;
        }
        // Each commit was compared at the places where it left the partitions; what follows is the end.
        let is_whole = !world.source.logs.keys().any(|partition| self.is_stopped(partition));
        if self.is_well() && is_whole {
            let rows = world.database().state.rows.len();
            let expected =
                world.source.rows.iter().map(|(key, row)| (*key, Expected::only(Some(row))));
            if let Err(wrong) = world.database().state.check_rows(expected) {
                world.history().violate(&format!("the target's {rows} rows: {wrong}"));
            }
        }
        self.members.iter().for_each(Member::leave);
        let until = Instant::now() + END_WAIT_MAX;
        while self.is_well() && !self.members.is_empty() {
            self.members.retain_mut(|member| !member.has_ended());
            if Instant::now() > until {
                world.history().violate("a member does not end");
            }
            world.pause(100, 500).await;
        }
    }

    fn has_caught_up(&self) -> bool {
        let world = &self.world;
        world.source.logs.iter().all(|(partition, log)| {
            let end = log.last().map_or(0, |last| last.end);
            let next = {
                let database = world.database();
                database.state.checkpoints.get(partition).map(|row| row.next)
            };
            let has_jumped = Jump::is_of(partition) && world.jump(partition).remade > 0;
            let is_at_end = !has_jumped && next.is_some_and(|next| next >= end);
            is_at_end || self.is_stopped(partition)
        })
    }
}

/// Waits, now and then, until a lane is in the middle of a transaction, where a strike hurts most.
async fn aim(world: &World, lane: u64) {
    if world.one_in(2) {
        return;
    }
    let until = Instant::now() + world.millis(0, 800);
    while Instant::now() < until && !world.database().holds_locks(lane) {
        world.pause(1, 8).await;
    }
    world.pause(0, 30).await;
}

/// Draws how long strikes last, and what the source does meanwhile.
pub(super) fn lengths(chance: &mut Chance) -> (Duration, Duration) {
    let strikes = chance.between(5, 30);
    (Duration::from_secs(strikes), Duration::from_secs(chance.between(3, strikes)))
}

//! The group: its coordinator, who gives partitions to members, takes them back, and loses members.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::database::short;
use super::history::Met;
use super::world::World;
use crate::checkpoint::NextOffset;
use crate::kafka::{Coordinator, Membership};
use crate::record::TopicPartition;

/// How long a member may be silent before it is expelled.
const SESSION_TIMEOUT: Duration = Duration::from_secs(4);

/// What the coordinator tells a member's client.
#[derive(Debug)]
pub(super) enum Said {
    Assigned(Vec<TopicPartition>),
    Revoked(Vec<TopicPartition>, oneshot::Sender<()>),
    Expelled,
}

/// A member as the coordinator knows it.
#[derive(Debug)]
struct Member {
    lane: u64,
    said: mpsc::UnboundedSender<Said>,
    silent_since: Option<Instant>,
}

/// What the coordinator knows.
#[derive(Debug, Default)]
pub(super) struct Group {
    members: BTreeMap<u64, Member>,
    last_member: u64,
    /// The members that have partitions, and since when.
    owners: BTreeMap<TopicPartition, (u64, Instant)>,
    /// The lane that had a partition before.
    before: BTreeMap<TopicPartition, u64>,
    pub(super) committed: BTreeMap<TopicPartition, NextOffset>,
    is_rebalancing: bool,
    /// Whether members have come or gone, or somebody wants to change them.
    pub(super) is_rebalance_due: bool,
}

impl Group {
    /// Takes a member in.
    pub(super) fn join(&mut self, lane: u64, said: mpsc::UnboundedSender<Said>) -> u64 {
        self.last_member += 1;
        self.members.insert(self.last_member, Member { lane, said, silent_since: None });
        self.is_rebalance_due = true;
        self.last_member
    }

    /// Lets a member go; its partitions are nobody's.
    pub(super) fn leave(&mut self, member: u64) {
        self.members.remove(&member);
        self.owners.retain(|_, (owner, _)| *owner != member);
        self.is_rebalance_due = true;
    }

    /// Expels the member of a lane, which learns of it when it can.
    pub(super) fn expel(&mut self, lane: u64) -> bool {
        let Some(id) = self.member_of(lane) else { return false };
        if let Some(member) = self.members.get(&id) {
            _ = member.said.send(Said::Expelled);
        }
        self.leave(id);
        true
    }

    fn member_of(&self, lane: u64) -> Option<u64> {
        self.members.iter().find(|(_, member)| member.lane == lane).map(|(id, _)| *id)
    }

    /// Notes that a lane's client sends no heartbeat, or one again.
    pub(super) fn hear(&mut self, lane: u64, is_silent: bool) {
        for member in self.members.values_mut().filter(|member| member.lane == lane) {
            member.silent_since = is_silent.then(Instant::now);
        }
    }

    pub(super) fn is_member(&self, lane: u64) -> bool {
        self.member_of(lane).is_some()
    }

    pub(super) fn is_owner(&self, lane: u64, partition: &TopicPartition) -> bool {
        let member = self.owners.get(partition).and_then(|(owner, _)| self.members.get(owner));
        member.is_some_and(|member| member.lane == lane)
    }

    /// Returns since when a partition is a living member's.
    pub(super) fn owned_since(&self, partition: &TopicPartition) -> Option<Instant> {
        let (owner, since) = self.owners.get(partition)?;
        let member = self.members.get(owner)?;
        (!self.is_rebalancing && member.silent_since.is_none()).then_some(*since)
    }

    fn expel_silent(&mut self) {
        let is_over = |member: &Member| {
            member.silent_since.is_some_and(|since| since.elapsed() >= SESSION_TIMEOUT)
        };
        let silent = self.members.values().filter(|member| is_over(member));
        for lane in silent.map(|member| member.lane).collect::<Vec<_>>() {
            self.expel(lane);
        }
    }
}

/// Keeps the group: expels who is silent, and shares the partitions out.
pub(super) async fn coordinate(world: Arc<World>) {
    loop {
        world.pause(50, 500).await;
        world.group().expel_silent();
        let is_due = {
            let group = world.group();
            let is_ownerless = group.owners.len() < world.partitions().count();
            !group.members.is_empty() && (group.is_rebalance_due || is_ownerless)
        };
        if is_due {
            rebalance(&world).await;
        }
    }
}

/// Takes partitions back from whom they are no longer meant for, waits, and gives them away.
async fn rebalance(world: &World) {
    let wanted = share_out(world);
    let mut leaving = BTreeMap::<u64, Vec<TopicPartition>>::new();
    {
        let mut group = world.group();
        (group.is_rebalancing, group.is_rebalance_due) = (true, false);
        for (partition, (owner, _)) in &group.owners {
            // Now and then one is taken away only to come back.
            if wanted.get(partition) != Some(owner) || world.one_in(10) {
                leaving.entry(*owner).or_default().push(partition.clone());
            }
        }
        for (member, partitions) in &leaving {
            if group.owners.values().filter(|(owner, _)| owner == member).count() > partitions.len()
            {
                world.met(Met::RevokedPartly);
            }
        }
    }
    if !leaving.is_empty() {
        world.met(Met::Rebalanced);
    }
    let mut waits = Vec::new();
    for (member, partitions) in leaving {
        let (released, wait) = oneshot::channel();
        let group = world.group();
        if let Some(member) = group.members.get(&member) {
            let said = Said::Revoked(partitions.clone(), released);
            _ = member.said.send(said);
        }
        waits.push((member, partitions, wait));
    }
    for (member, partitions, mut wait) in waits {
        while wait.try_recv() == Err(oneshot::error::TryRecvError::Empty) {
            world.pause(20, 100).await;
            world.group().expel_silent();
            if !world.group().members.contains_key(&member) {
                break;
            }
        }
        let mut group = world.group();
        let lane = group.members.get(&member).map(|member| member.lane);
        for partition in partitions {
            group.before.extend(lane.map(|lane| (partition.clone(), lane)));
            if group.owners.get(&partition).is_some_and(|(owner, _)| *owner == member) {
                group.owners.remove(&partition);
            }
        }
    }
    give_away(world, &wanted);
}

/// Chooses a member for each partition: mostly the one that has it.
fn share_out(world: &World) -> BTreeMap<TopicPartition, u64> {
    let group = world.group();
    let members = group.members.keys().copied().collect::<Vec<_>>();
    let choose = |partition: &TopicPartition| {
        let owner = group.owners.get(partition).map(|(owner, _)| *owner);
        let stays = owner.filter(|owner| members.contains(owner) && !world.one_in(3));
        let member = stays.unwrap_or_else(|| world.draw(|chance| *chance.pick(&members)));
        (partition.clone(), member)
    };
    world.partitions().map(choose).collect()
}

fn give_away(world: &World, wanted: &BTreeMap<TopicPartition, u64>) {
    let mut group = world.group();
    group.is_rebalancing = false;
    let mut given = BTreeMap::<u64, Vec<TopicPartition>>::new();
    for (partition, member) in wanted {
        if !group.owners.contains_key(partition) && group.members.contains_key(member) {
            given.entry(*member).or_default().push(partition.clone());
            group.owners.insert(partition.clone(), (*member, Instant::now()));
        }
    }
    let mut came_back = BTreeSet::new();
    for (id, partitions) in given {
        let Some(member) = group.members.get(&id) else { continue };
        let is_back =
            |partition: &&TopicPartition| group.before.get(*partition) == Some(&member.lane);
        came_back.extend(partitions.iter().filter(is_back).cloned());
        world.note("group", || {
            let names = partitions.iter().map(|it| format!(" {}", short(it))).collect::<String>();
            format!("gives lane {} as member {id}{names}", member.lane)
        });
        _ = member.said.send(Said::Assigned(partitions));
    }
    if !came_back.is_empty() {
        world.met(Met::AssignedAgain);
    }
}

/// A client's way to the coordinator: under the id of the member that it is at present.
pub(super) struct Seat {
    pub(super) world: Arc<World>,
    pub(super) lane: u64,
    pub(super) member: AtomicU64,
}

impl Seat {
    fn is_member(&self) -> bool {
        self.world.group().members.contains_key(&self.member.load(Ordering::Relaxed))
    }

    fn commit(&self, offsets: &[(TopicPartition, NextOffset)]) {
        let mut group = self.world.group();
        for (partition, next) in offsets {
            if group.is_owner(self.lane, partition) {
                group.committed.insert(partition.clone(), *next);
            }
        }
    }
}

impl Coordinator for Seat {
    fn mirror(&self, offsets: &[(TopicPartition, NextOffset)]) {
        if self.is_member() && self.world.weather().uncoordinated_until <= Instant::now() {
            self.commit(offsets);
            self.world.met(Met::Mirrored);
        }
    }

    fn prove(
        self: Arc<Self>,
        offsets: Vec<(TopicPartition, NextOffset)>,
    ) -> BoxFuture<'static, Membership> {
        Box::pin(async move {
            self.world.pause(1, 50).await;
            let (is_away, unproven) = {
                let weather = self.world.weather();
                (weather.uncoordinated_until > Instant::now(), weather.unproven)
            };
            let is_unknown = is_away || self.world.group().is_rebalancing;
            let (membership, met) = if is_unknown || self.world.one_in(unproven) {
                (Membership::Unknown, Met::ProofUnknown)
            } else if self.is_member() {
                self.commit(&offsets);
                (Membership::Member, Met::ProofGiven)
            } else {
                (Membership::Expelled, Met::ProofRefused)
            };
            self.world.met(met);
            let who = format!("lane {}", self.lane);
            self.world.note(&who, || format!("asks the group: {membership:?}"));
            self.world.pause(1, 50).await;
            membership
        })
    }
}

//! The fence: claims of checkpoint rows, and the end of former owners that stand in the way.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::time::Duration;

use sqlx::Row;
use sqlx::error::DatabaseError;
use sqlx::postgres::{PgArguments, PgRow};
use tracing::{debug, warn};
use uuid::Uuid;

use crate::checkpoint::{Claim, Deleted, NextOffset, Step};
use crate::identity::{Remembered, Trace};
use crate::record::TopicPartition;
use crate::stopped::Stop;
use crate::target::postgres::error::sqlstate;
use crate::target::postgres::session::{Address, Session, Token, bind};
use crate::target::postgres::sql;
use crate::target::{Claimed, Claims, Holding, Known, Sink, Touched};

/// How long a former owner may hold us up, and how often we look who does.
const PATIENCE: Duration = Duration::from_secs(1);

/// From how many first rows on the server counts them at once; fewer wait until it does so by itself.
const ANALYZED_ROWS_MIN: usize = 100;

/// Whose rows, and under which name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lane<'a> {
    pub(super) sink: &'a Sink,
    pub(super) token: &'a Token,
}

/// A claim to make.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) partitions: &'a [TopicPartition],
    pub(super) token: Uuid,
    pub(super) take_over: bool,
}

/// Who owned a partition before us without handing it over, and still has a session.
pub(super) type FormerOwners = BTreeMap<TopicPartition, Vec<String>>;

/// Claims what is free to be claimed, and says what is not.
pub(super) async fn claim(
    session: &mut Session,
    lane: Lane<'_>,
    wanted: Wanted<'_>,
) -> Result<(Claims, FormerOwners), sqlx::Error> {
    let mut arguments = partition_arguments(lane.sink, wanted.partitions.iter())?;
    bind(&mut arguments, wanted.token)?;
    bind(&mut arguments, lane.token.as_str())?;
    bind(&mut arguments, lane.sink.group_id.as_str())?;
    bind(&mut arguments, wanted.take_over)?;
    bind(&mut arguments, Token::LENGTH)?;
    let (mut claims, mut former) = (Claims::default(), FormerOwners::new());
    for row in session.fetch(sql::CLAIM.to_owned(), arguments).await? {
        let partition = partition(&row)?;
        former.insert(partition.clone(), row.try_get(4)?);
        claims.claimed.push(Claimed {
            partition,
            claim: Claim { epoch: row.try_get(3)?, token: wanted.token },
            next: NextOffset::at(row.try_get(2)?),
            remembered: remembered(&row)?,
            refused_keys: Vec::new(),
            deleted: deleted(&row)?,
            unowned: Duration::from_millis(row.try_get::<i64, _>(11)?.try_into().unwrap_or(0)),
        });
    }
    claims.claimed.sort_by(|a, b| a.partition.cmp(&b.partition));
    explain_unclaimed(session, lane.sink, wanted.partitions, &mut claims).await?;
    read_refused_keys(session, lane.sink, &mut claims.claimed).await?;
    Ok((claims, former))
}

/// Sorts what the claim did not get into held and unknown.
async fn explain_unclaimed(
    session: &mut Session,
    sink: &Sink,
    wanted: &[TopicPartition],
    claims: &mut Claims,
) -> Result<(), sqlx::Error> {
    let claimed = claims.claimed.iter().map(|claimed| &claimed.partition).collect::<BTreeSet<_>>();
    let missing = wanted.iter().filter(|partition| !claimed.contains(partition));
    let missing = missing.collect::<BTreeSet<_>>();
    if missing.is_empty() {
        return Ok(());
    }
    let topics = missing.iter().map(|partition| &*partition.topic).collect::<BTreeSet<_>>();
    let mut arguments = PgArguments::default();
    bind(&mut arguments, sink.name.as_str())?;
    bind(&mut arguments, topics.into_iter().collect::<Vec<_>>())?;
    let (mut groups, mut clusters) = (BTreeMap::new(), BTreeMap::new());
    for row in session.fetch(sql::UNCLAIMED.to_owned(), arguments).await? {
        let (partition, cluster) = (partition(&row)?, row.try_get::<String, _>(3)?);
        if cluster == sink.cluster_id {
            groups.insert(partition, row.try_get::<String, _>(2)?);
        } else {
            clusters.insert(partition.topic, cluster);
        }
    }
    for partition in missing {
        if let Some(group) = groups.get(partition) {
            claims.held.push((partition.clone(), group.clone()));
            continue;
        }
        let known = if groups.keys().any(|known| known.topic == partition.topic) {
            Known::Topic
        } else {
            let cluster = clusters.get(&partition.topic).cloned();
            cluster.map_or(Known::Nothing, Known::OtherCluster)
        };
        claims.unknown.push((partition.clone(), known));
    }
    Ok(())
}

/// Reads what a claimed row remembers of its log.
fn remembered(row: &PgRow) -> Result<Remembered, sqlx::Error> {
    let (timestamp, leader_epoch) = (row.try_get(8)?, row.try_get(9)?);
    let last = row.try_get::<Option<i64>, _>(7)?;
    let last = last.map(|offset| Trace { offset, timestamp, leader_epoch });
    Ok(Remembered { topic_id: row.try_get(5)?, partitions_seen: row.try_get(6)?, last })
}

/// Reads the last record that was applied, if it is a delete.
fn deleted(row: &PgRow) -> Result<Option<Deleted>, sqlx::Error> {
    let (offset, key) = (row.try_get::<Option<i64>, _>(7)?, row.try_get::<Option<Vec<u8>>, _>(10)?);
    Ok(offset.zip(key).map(|(offset, key)| Deleted { offset, key }))
}

async fn read_refused_keys(
    session: &mut Session,
    sink: &Sink,
    claimed: &mut [Claimed],
) -> Result<(), sqlx::Error> {
    if claimed.is_empty() {
        return Ok(());
    }
    let arguments = partition_arguments(sink, claimed.iter().map(|claimed| &claimed.partition))?;
    for row in session.fetch(sql::REFUSED_KEYS.to_owned(), arguments).await? {
        let partition = partition(&row)?;
        if let Some(claimed) = claimed.iter_mut().find(|claimed| claimed.partition == partition) {
            claimed.refused_keys.push(row.try_get(2)?);
        }
    }
    Ok(())
}

/// Makes first rows, and has the server count them where they are many.
pub(super) async fn begin(
    session: &mut Session,
    sink: &Sink,
    first: &[(TopicPartition, NextOffset)],
) -> Result<(), sqlx::Error> {
    let mut arguments = partition_arguments(sink, first.iter().map(|(partition, _)| partition))?;
    bind(&mut arguments, first.iter().map(|(_, next)| next.get()).collect::<Vec<_>>())?;
    session.run(sql::BEGIN.to_owned(), arguments).await?;
    if first.len() < ANALYZED_ROWS_MIN {
        return Ok(());
    }
    // Without statistics every look-up of some partitions reads the rows of all; but the rows are there.
    match session.run_all(sql::ANALYZE.to_owned()).await {
        Err(error @ sqlx::Error::Database(_)) => {
            debug!(%error, "the server does not count the checkpoint's rows");
            Ok(())
        }
        done => done,
    }
}

/// Shows that the owner lives, or gives its claims up.
pub(super) async fn touch(
    session: &mut Session,
    sink: &Sink,
    claims: &[(TopicPartition, Claim)],
    is_given_up: bool,
) -> Result<(), sqlx::Error> {
    let mut arguments = partition_arguments(sink, claims.iter().map(|(partition, _)| partition))?;
    bind(&mut arguments, claims.iter().map(|(_, claim)| claim.epoch).collect::<Vec<_>>())?;
    bind(&mut arguments, claims.iter().map(|(_, claim)| claim.token).collect::<Vec<_>>())?;
    bind(&mut arguments, is_given_up)?;
    session.run(sql::TOUCH.to_owned(), arguments).await.map(drop)
}

/// Writes why a partition is stopped, or that it runs.
pub(super) async fn mark(
    session: &mut Session,
    sink: &Sink,
    (partition, claim): (&TopicPartition, Claim),
    stop: Option<&Stop>,
) -> Result<(), sqlx::Error> {
    let mut arguments = sink_arguments(sink)?;
    bind(&mut arguments, &*partition.topic)?;
    bind(&mut arguments, partition.partition)?;
    bind(&mut arguments, claim.epoch)?;
    bind(&mut arguments, claim.token)?;
    bind(&mut arguments, if stop.is_some() { "stopped" } else { "running" })?;
    bind(&mut arguments, stop.map(|stop| stop.to_string().replace('\0', "\\0")))?;
    session.run(sql::MARK.to_owned(), arguments).await.map(drop)
}

/// Moves the partitions that have a step to make, and commits; returns whether all of them did.
pub(super) async fn advance(
    session: &mut Session,
    lane: Lane<'_>,
    steps: &[&Step],
) -> Result<bool, sqlx::Error> {
    if steps.is_empty() {
        session.run_all(sql::COMMIT.to_owned()).await?;
        return Ok(true);
    }
    let last = || steps.iter().map(|step| step.last.as_ref());
    let positions = last().map(|last| last?.source_position.as_ref());
    let positions = positions.map(|position| Some(position?.to_string().replace('\0', "\\0")));
    let deleted = last().map(|last| last?.deleted_key.as_deref().map(sql::bytea));
    let step = sql::step(&[
        sql::literal(&lane.sink.name),
        sql::literal(&lane.sink.cluster_id),
        sql::array(steps.iter().map(|step| Some(&step.partition.topic))),
        sql::array(steps.iter().map(|step| Some(step.partition.partition))),
        sql::array(steps.iter().map(|step| Some(step.claim.epoch))),
        sql::array(steps.iter().map(|step| Some(step.claim.token))),
        sql::array(steps.iter().map(|step| Some(step.from.get()))),
        sql::array(steps.iter().map(|step| Some(step.to.get()))),
        sql::array(last().map(|last| Some(last?.offset))),
        sql::array(last().map(|last| last?.timestamp)),
        sql::array(positions),
        sql::literal(lane.token.as_str()),
        sql::literal(&lane.sink.group_id),
        sql::array(last().map(|last| last?.leader_epoch)),
        sql::array(deleted),
    ]);
    match session.run_all(format!("{step};\n{}", sql::COMMIT)).await {
        Ok(()) => Ok(true),
        Err(error) if is_not_moved(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

fn is_not_moved(error: &sqlx::Error) -> bool {
    let says_so = |error: &dyn DatabaseError| error.message().contains(sql::NOT_MOVED);
    sqlstate(error).as_deref() == Some("22P02") && error.as_database_error().is_some_and(says_so)
}

/// Where the partitions of a batch stand, seen from the batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// All are ours and stand where the batch begins.
    Before,
    /// All are ours and stand where the batch ends: it has been applied.
    After,
    /// These are neither.
    Elsewhere(Vec<TopicPartition>),
}

/// Reads where the partitions stand.
pub(super) async fn standing(
    session: &mut Session,
    sink: &Sink,
    steps: &[&Step],
) -> Result<Standing, sqlx::Error> {
    let found = positions(session, sink, steps.iter().map(|step| &step.partition)).await?;
    let is_at = |step: &Step, next: NextOffset| {
        let found = found.get(&step.partition);
        found.is_some_and(|(at, _)| *at == position(step.claim, next))
    };
    let elsewhere = steps.iter().filter(|step| !is_at(step, step.from));
    let elsewhere = elsewhere.map(|step| step.partition.clone()).collect::<Vec<_>>();
    if elsewhere.is_empty() {
        return Ok(Standing::Before);
    }
    let is_after = steps.iter().all(|step| is_at(step, step.to));
    Ok(if is_after { Standing::After } else { Standing::Elsewhere(elsewhere) })
}

/// Returns which partitions stand elsewhere than their owner believes, and which are stopped.
pub(super) async fn stand(
    session: &mut Session,
    sink: &Sink,
    holdings: &[Holding],
) -> Result<Touched, sqlx::Error> {
    let found = positions(session, sink, holdings.iter().map(|held| &held.partition)).await?;
    let mut touched = Touched::default();
    for Holding { partition, claim, next } in holdings {
        match found.get(partition) {
            Some((at, is_stopped)) if *at == position(*claim, *next) => {
                touched.stopped.extend(is_stopped.then(|| partition.clone()));
            }
            Some(_) | None => touched.elsewhere.push(partition.clone()),
        }
    }
    Ok(touched)
}

/// Epoch, token and next offset of a row.
type Position = (i64, Option<Uuid>, i64);

fn position(claim: Claim, next: NextOffset) -> Position {
    (claim.epoch, Some(claim.token), next.get())
}

async fn positions<'p>(
    session: &mut Session,
    sink: &Sink,
    partitions: impl Iterator<Item = &'p TopicPartition>,
) -> Result<BTreeMap<TopicPartition, (Position, bool)>, sqlx::Error> {
    let arguments = partition_arguments(sink, partitions)?;
    let mut found = BTreeMap::new();
    for row in session.fetch(sql::POSITIONS.to_owned(), arguments).await? {
        let position = (row.try_get(2)?, row.try_get(3)?, row.try_get(4)?);
        found.insert(partition(&row)?, (position, row.try_get(5)?));
    }
    Ok(found)
}

/// Who may be ended when they stand in the way.
#[derive(Clone, Copy, Debug)]
pub(super) enum Suspects<'a> {
    /// The owners that stand in the rows of a claim.
    Owners(Wanted<'a>),
    /// The owners before us of what we hold.
    Known(&'a FormerOwners),
}

/// What watches over an operation that another session may hold up.
#[derive(Clone)]
pub(super) struct Guard<'a> {
    pub(super) address: &'a Address,
    pub(super) lane: Lane<'a>,
    /// The [`Session::name`] of the operation's session.
    pub(super) name: String,
    pub(super) suspects: Suspects<'a>,
}

impl Guard<'_> {
    /// Runs the operation; once it has taken a second, looks every second over a connection of its
    /// own who blocks it, and ends those among the suspects. Nobody else is ever ended; who it is, is
    /// told once.
    pub(super) async fn watch<T>(&self, operation: impl Future<Output = T>) -> T {
        tokio::select! {
            // The operation first: when it is done, there is nothing to watch.
            biased;
            done = operation => done,
            never = self.look_out() => match never {},
        }
    }

    async fn look_out(&self) -> Infallible {
        let (mut session, mut told) = (None, BTreeSet::new());
        loop {
            tokio::time::sleep(PATIENCE).await;
            let looked = match session.take() {
                Some(session) => self.look(session, &mut told).await,
                None => match Session::open(self.address, self.lane.token, 0).await {
                    Ok(session) => self.look(session, &mut told).await,
                    Err(error) => Err(error),
                },
            };
            match looked {
                Ok(open) => session = Some(open),
                Err(error) => debug!(%error, "could not look who is in the way"),
            }
        }
    }

    /// Looks once, and hands the session back.
    async fn look(
        &self,
        mut session: Session,
        told: &mut BTreeSet<i32>,
    ) -> Result<Session, sqlx::Error> {
        let mut suspects = self.suspects(&mut session).await?;
        // A connection of ours that was lost may still hold locks.
        suspects.insert(self.lane.token.as_str().to_owned(), None);
        let mut arguments = PgArguments::default();
        bind(&mut arguments, self.name.as_str())?;
        bind(&mut arguments, i32::try_from(self.name.len()).unwrap_or(i32::MAX))?;
        bind(&mut arguments, suspects.keys().cloned().collect::<Vec<_>>())?;
        bind(&mut arguments, Token::LENGTH)?;
        for row in session.fetch(sql::BLOCKERS.to_owned(), arguments).await? {
            let owner = row.try_get::<String, _>(0)?;
            let (pid, ended) = (row.try_get::<i32, _>(1)?, row.try_get::<Option<bool>, _>(2)?);
            let Some(ended) = ended else {
                if told.insert(pid) {
                    let application = row.try_get::<String, _>(3)?;
                    let user = row.try_get::<Option<String>, _>(4)?;
                    warn!(pid, application, user, "waits for a lock of another session");
                }
                continue;
            };
            match suspects.get(&owner).cloned().flatten() {
                Some(TopicPartition { topic, partition }) => {
                    warn!(%topic, partition, owner, pid, ended, "ended a former owner in the way");
                }
                None => warn!(pid, ended, "ended a lost connection of ours in the way"),
            }
        }
        Ok(session)
    }

    /// Returns the tokens of former owners, each with a partition that it owned.
    async fn suspects(
        &self,
        session: &mut Session,
    ) -> Result<BTreeMap<String, Option<TopicPartition>>, sqlx::Error> {
        let wanted = match self.suspects {
            Suspects::Known(known) => {
                let pairs = known.iter().flat_map(|(at, owners)| {
                    owners.iter().map(|owner| (owner.clone(), Some(at.clone())))
                });
                return Ok(pairs.collect());
            }
            Suspects::Owners(wanted) => wanted,
        };
        let sink = self.lane.sink;
        let mut arguments = partition_arguments(sink, wanted.partitions.iter())?;
        bind(&mut arguments, sink.group_id.as_str())?;
        bind(&mut arguments, wanted.take_over)?;
        let mut owners = BTreeMap::new();
        for row in session.fetch(sql::FORMER_OWNERS.to_owned(), arguments).await? {
            owners.insert(row.try_get(2)?, Some(partition(&row)?));
        }
        Ok(owners)
    }
}

/// Reads a row's first two columns.
pub(super) fn partition(row: &PgRow) -> Result<TopicPartition, sqlx::Error> {
    Ok(TopicPartition::new(row.try_get::<String, _>(0)?, row.try_get(1)?))
}

/// Begins arguments with the sink and the cluster.
pub(super) fn sink_arguments(sink: &Sink) -> Result<PgArguments, sqlx::Error> {
    let mut arguments = PgArguments::default();
    bind(&mut arguments, sink.name.as_str())?;
    bind(&mut arguments, sink.cluster_id.as_str())?;
    Ok(arguments)
}

/// Begins arguments with the sink, the cluster, topics and partitions.
pub(super) fn partition_arguments<'p>(
    sink: &Sink,
    partitions: impl Iterator<Item = &'p TopicPartition>,
) -> Result<PgArguments, sqlx::Error> {
    let (topics, numbers) = partitions
        .map(|partition| (&*partition.topic, partition.partition))
        .unzip::<_, _, Vec<_>, Vec<_>>();
    let mut arguments = sink_arguments(sink)?;
    bind(&mut arguments, topics)?;
    bind(&mut arguments, numbers)?;
    Ok(arguments)
}

//! The bench's target: an actor that says each call on one line, and the answers it may be given.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use uuid::Uuid;

use super::{Caller, REMEMBERED, TargetAnswer, names, partition};
use crate::batch::{Folded, Lead, Leader};
use crate::checkpoint::{Claim, Deleted, NextOffset};
use crate::decode::value::kind::{Kind, SourceColumn, SourceName};
use crate::identity::{KeyMet, Remembered};
use crate::lane::writer::Outcome;
use crate::moves::{MoveRequest, Moved};
use crate::record::TopicPartition;
use crate::refused::DeadLetter;
use crate::rows::Rows;
use crate::stopped::Stop;
use crate::table::{Table, TableName};
use crate::target::sqlite::Sqlite;
use crate::target::{
    Applied, Claimed, Claims, Dialect, Existing, Fault, Holding, Known, RefusedRow, Target,
    TargetError, Touched,
};

/// Asks the test at each call.
pub(super) struct Actor {
    caller: Caller<TargetAnswer>,
    foreign_keys: Arc<Mutex<Vec<String>>>,
}

impl Actor {
    pub(super) fn new(caller: Caller<TargetAnswer>, foreign_keys: Arc<Mutex<Vec<String>>>) -> Self {
        Self { caller, foreign_keys }
    }
}

impl Target for Actor {
    const DIALECT: Dialect = Sqlite::DIALECT;

    async fn claim(
        &mut self,
        partitions: &[TopicPartition],
        _token: Uuid,
        _take_over: bool,
    ) -> Result<Claims, TargetError> {
        match self.caller.ask(format!("claim{}", names(partitions))).await? {
            Outcome::Claims(claims) => Ok(claims),
            other => panic!("a claim cannot end so: {other:?}"),
        }
    }

    async fn begin(&mut self, first: &[(TopicPartition, NextOffset)]) -> Result<(), TargetError> {
        let text = |(partition, next): &(TopicPartition, NextOffset)| {
            format!(" {partition}@{}", next.get())
        };
        let first = first.iter().map(text).collect::<String>();
        self.caller.ask(format!("begin{first}")).await.map(drop)
    }

    async fn release(&mut self, claims: &[(TopicPartition, Claim)]) -> Result<(), TargetError> {
        self.caller.ask(format!("release{}", epochs(claims))).await.map(drop)
    }

    async fn touch(&mut self, holdings: &[Holding]) -> Result<Touched, TargetError> {
        let claims = holdings.iter().map(|held| (held.partition.clone(), held.claim));
        let claims = epochs(&claims.collect::<Vec<_>>());
        match self.caller.ask(format!("touch{claims}")).await? {
            Outcome::Touched(touched) => Ok(touched),
            Outcome::Done => Ok(Touched::default()),
            other => panic!("a touch cannot end so: {other:?}"),
        }
    }

    async fn identify(
        &mut self,
        claims: &[(TopicPartition, Claim, Remembered)],
    ) -> Result<(), TargetError> {
        let text = |(partition, _, remembered): &(TopicPartition, Claim, Remembered)| {
            let id = remembered.topic_id.map_or(0, |id| id.as_u128());
            format!(" {partition} {id} of {}", remembered.partitions_seen.unwrap_or_default())
        };
        let claims = claims.iter().map(text).collect::<String>();
        self.caller.ask(format!("identify{claims}")).await.map(drop)
    }

    async fn places(
        &mut self,
        topic: &str,
    ) -> Result<Vec<(TopicPartition, NextOffset)>, TargetError> {
        match self.caller.ask(format!("places {topic}")).await? {
            Outcome::Places(places) => Ok(places),
            other => panic!("a question for places cannot end so: {other:?}"),
        }
    }

    /// Knows all encodings but those that the test has set; the test is asked about all when one of
    /// those is among them.
    async fn meet_keys(&mut self, met: &[KeyMet]) -> Result<Vec<bool>, TargetError> {
        let foreign = self.foreign_keys.lock().unwrap().clone();
        if !met.iter().any(|met| foreign.contains(&met.encoding)) {
            return Ok(vec![true; met.len()]);
        }
        let of = |met: &KeyMet| {
            let alone = if met.is_alone { " alone" } else { "" };
            format!("key of {} in {}{alone}", met.source, met.topic)
        };
        match self.caller.ask(met.iter().map(of).collect::<Vec<_>>().join(", ")).await? {
            Outcome::KeysMet(accepted) => Ok(accepted),
            other => panic!("a question for a key cannot end so: {other:?}"),
        }
    }

    async fn mark(
        &mut self,
        partition: &TopicPartition,
        _claim: Claim,
        stop: Option<&Stop>,
    ) -> Result<(), TargetError> {
        let stop = stop.map(ToString::to_string).unwrap_or_default();
        self.caller.ask(format!("mark {partition} {stop}")).await.map(drop)
    }

    async fn tables(&mut self, names: &[TableName]) -> Result<Vec<Existing>, TargetError> {
        let names = names.iter().map(ToString::to_string).collect::<Vec<_>>();
        match self.caller.ask(format!("table {}", names.join(", "))).await? {
            Outcome::Tables(existing) => Ok(existing),
            other => panic!("a question for a table cannot end so: {other:?}"),
        }
    }

    async fn contest(&mut self, lead: &Lead) -> Result<(), TargetError> {
        self.caller
            .ask(format!("contest {} by {}", lead.target, lead.leader.source))
            .await
            .map(drop)
    }

    async fn moved(&mut self, request: &MoveRequest) -> Result<Option<Moved>, TargetError> {
        let of = if request.leaves.is_some() { " of the batch" } else { "" };
        match self.caller.ask(format!("moved {} {}{of}", request.place, request.offset)).await? {
            Outcome::Moved(moved) => Ok(moved),
            other => panic!("a question for what was left cannot end so: {other:?}"),
        }
    }

    async fn apply(&mut self, batch: &Folded) -> Result<Applied, TargetError> {
        match self.caller.ask(format!("apply{}", describe(batch))).await? {
            Outcome::Applied(applied) => Ok(applied),
            other => panic!("an apply cannot end so: {other:?}"),
        }
    }
}

fn epochs(claims: &[(TopicPartition, Claim)]) -> String {
    claims.iter().map(|(partition, claim)| format!(" {partition}#{}", claim.epoch)).collect()
}

/// Says a batch: each step that moves, tables to create, what leads to them, rows by their offsets (`+` written, `~`
/// partly, `-` deleted, `!` all before them), dead letters.
fn describe(batch: &Folded) -> String {
    let mut text = String::new();
    for step in batch.steps.iter().filter(|step| step.moves()) {
        text += &format!(" {} {}..{}", step.partition, step.from.get(), step.to.get());
    }
    for change in &batch.schema_changes {
        text += &format!(", creates {}", change.after.name);
    }
    for lead in &batch.leads {
        text += &format!(", {} leads to {}", lead.leader.source, lead.target);
    }
    for (rows, winners) in &batch.tables {
        text += &format!(", {}", rows.shape().table.name);
        text += if rows.is_truncated() { " !" } else { "" };
        let offsets = |sign: char, of: &[usize]| {
            of.iter().map(|&row| format!(" {sign}{}", offset(rows, row))).collect::<String>()
        };
        text += &offsets('-', &winners.deletes);
        text += &offsets('+', &winners.upserts);
        text += &offsets('~', &winners.partial);
        let left = rows.departures().iter().map(|left| format!(" left {}", left.place));
        text += &left.collect::<String>();
    }
    for letter in &batch.dead_letters {
        text += &format!(", {} {}", letter.record.offset, letter.refusal.reason);
    }
    for mark in batch.key_marks.iter().filter(|mark| mark.is_refused) {
        let is_of_letter = |letter: &DeadLetter| letter.record.offset == mark.offset;
        if !batch.dead_letters.iter().any(is_of_letter) {
            text += &format!(", outdates {}", String::from_utf8_lossy(&mark.key));
        }
    }
    text
}

fn offset(rows: &Rows, row: usize) -> i64 {
    rows.index()[row].offset
}

/// Nothing is claimed, and nothing is unknown.
pub(in crate::lane) fn nothing() -> TargetAnswer {
    Ok(Outcome::Claims(Claims::default()))
}

/// Partitions are ours, in their first epoch, and stand there.
pub(in crate::lane) fn claims(claimed: &[(&str, i64)]) -> TargetAnswer {
    let claimed = claimed.iter().map(|(name, next)| claimed_in(1, name, *next)).collect();
    Ok(Outcome::Claims(Claims { claimed, ..Claims::default() }))
}

/// A partition is ours in another epoch.
pub(in crate::lane) fn claim_in(epoch: i64, name: &str, next: i64) -> TargetAnswer {
    let claimed = vec![claimed_in(epoch, name, next)];
    Ok(Outcome::Claims(Claims { claimed, ..Claims::default() }))
}

fn claimed_in(epoch: i64, name: &str, next: i64) -> Claimed {
    let (partition, next) = (partition(name), NextOffset::at(next));
    Claimed {
        partition,
        claim: Claim { epoch, token: Uuid::nil() },
        next,
        remembered: REMEMBERED,
        refused_keys: Vec::new(),
        deleted: None,
        unowned: Duration::ZERO,
    }
}

/// A partition is ours and stands there, behind a delete that was applied.
pub(in crate::lane) fn behind_delete(name: &str, next: i64, deleted: Deleted) -> TargetAnswer {
    let claimed = vec![Claimed { deleted: Some(deleted), ..claimed_in(1, name, next) }];
    Ok(Outcome::Claims(Claims { claimed, ..Claims::default() }))
}

/// Another group holds a partition.
pub(in crate::lane) fn held_by(group: &str, name: &str) -> TargetAnswer {
    let held = vec![(partition(name), group.to_owned())];
    Ok(Outcome::Claims(Claims { held, ..Claims::default() }))
}

/// A partition has no row, and the sink knows that of its topic.
pub(in crate::lane) fn unknown(name: &str, known: Known) -> TargetAnswer {
    let unknown = vec![(partition(name), known)];
    Ok(Outcome::Claims(Claims { unknown, ..Claims::default() }))
}

/// The batch is applied.
pub(in crate::lane) fn committed() -> TargetAnswer {
    Ok(Outcome::Applied(Applied::Committed { refused: Vec::new(), older: 0 }))
}

/// The target refuses the rows of records, each with an offset and a SQLSTATE.
pub(in crate::lane) fn refused(name: &str, records: &[(i64, &str)]) -> TargetAnswer {
    let row = |(offset, sqlstate): &(i64, &str)| {
        let (sqlstate, text) = (sqlstate.to_string(), "no".to_owned());
        let fault = Fault { table: Some("t".to_owned()), sqlstate, constraint: None, text };
        RefusedRow { partition: partition(name), offset: *offset, fault }
    };
    Ok(Outcome::Applied(Applied::Refused { rows: records.iter().map(row).collect() }))
}

/// Partitions are somebody else's.
pub(in crate::lane) fn fenced(partitions: &[&str]) -> TargetAnswer {
    let partitions = partitions.iter().map(|name| partition(name)).collect();
    Ok(Outcome::Applied(Applied::Fenced { partitions }))
}

/// It is done.
pub(in crate::lane) fn done() -> TargetAnswer {
    Ok(Outcome::Done)
}

/// There is no such table.
pub(in crate::lane) fn absent() -> TargetAnswer {
    Ok(Outcome::Tables(vec![Existing::default()]))
}

/// What the target has of several tables.
pub(in crate::lane) fn together<const N: usize>(answers: [TargetAnswer; N]) -> TargetAnswer {
    let existing = answers.into_iter().flat_map(|answer| match answer {
        Ok(Outcome::Tables(existing)) => existing,
        other => panic!("no answer about tables: {other:?}"),
    });
    Ok(Outcome::Tables(existing.collect()))
}

/// As the answer says, and source tables of these names lead to the table, each through its topic.
pub(in crate::lane) fn led_by(leaders: &[(&str, &str)], answer: TargetAnswer) -> TargetAnswer {
    let leader = |(table, topic): &(&str, &str)| {
        let (server, schema, table) = ("s".to_owned(), "public".to_owned(), (*table).to_owned());
        let source = SourceName { server, database: None, schema, table };
        Leader { source, topic: format!("s.public.{topic}").into() }
    };
    match answer {
        Ok(Outcome::Tables(existing)) => {
            let led = |it| Existing { leaders: leaders.iter().map(leader).collect(), ..it };
            Ok(Outcome::Tables(existing.into_iter().map(led).collect()))
        }
        answer => answer,
    }
}

/// The owner is seen to live, and so many source tables lead to a table beside another one.
pub(in crate::lane) fn touched(met: u64) -> TargetAnswer {
    Ok(Outcome::Touched(Touched { met, ..Touched::default() }))
}

/// A partition is ours, and its row remembers that of its log.
pub(in crate::lane) fn remembering(name: &str, next: i64, remembered: Remembered) -> TargetAnswer {
    let claimed = vec![Claimed { remembered, ..claimed_in(1, name, next) }];
    Ok(Outcome::Claims(Claims { claimed, ..Claims::default() }))
}

/// Partitions stand there.
pub(in crate::lane) fn places(places: &[(&str, i64)]) -> TargetAnswer {
    let place = |(name, next): &(&str, i64)| (partition(name), NextOffset::at(*next));
    Ok(Outcome::Places(places.iter().map(place).collect()))
}

/// There is the table that an insert would have made.
pub(in crate::lane) fn found(name: &str) -> TargetAnswer {
    let column = |name: &str, kind, optional| {
        let source = SourceColumn { name: name.to_owned(), kind, optional, source_type: None };
        (Sqlite::DIALECT.column)(&source, !optional).unwrap()
    };
    let columns = vec![column("id", Kind::Int64, false), column("note", Kind::Text, true)];
    let (name, unique_keys) = (name.to_owned(), vec![vec!["id".to_owned()]]);
    let name = TableName { schema: None, table: name };
    let table = Some(Table { name, columns, unique_keys });
    Ok(Outcome::Tables(vec![Existing { table, leaders: Vec::new() }]))
}

/// Partitions stand elsewhere than their owner believes.
pub(in crate::lane) fn elsewhere(partitions: &[&str]) -> TargetAnswer {
    let elsewhere = partitions.iter().map(|name| partition(name)).collect();
    Ok(Outcome::Touched(Touched { elsewhere, ..Touched::default() }))
}

/// Partitions are ours, and their rows say that they are stopped.
pub(in crate::lane) fn stopped(partitions: &[&str]) -> TargetAnswer {
    let stopped = partitions.iter().map(|name| partition(name)).collect();
    Ok(Outcome::Touched(Touched { stopped, ..Touched::default() }))
}

/// The connection is lost.
pub(in crate::lane) fn unreachable() -> TargetAnswer {
    Err(TargetError::Unreachable("gone".into()))
}

/// The table is no longer as it was read, or led to by another source table.
pub(in crate::lane) fn stale(table: &str) -> TargetAnswer {
    let table = TableName { schema: None, table: table.to_owned() };
    Err(TargetError::StaleLayout { table })
}

/// A right is missing.
pub(in crate::lane) fn denied() -> TargetAnswer {
    Err(TargetError::Denied("no right".into()))
}

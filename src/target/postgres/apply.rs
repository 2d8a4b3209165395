//! Apply: one transaction that carries rows, dead letters, schema changes and the checkpoint.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::Row as _;
use sqlx::postgres::PgArguments;
use tracing::{debug, warn};

use crate::batch::{Folded, Part, without_row};
use crate::checkpoint::Step;
use crate::fold::Winners;
use crate::refused::DeadLetter;
use crate::rows::Rows;
use crate::table::{Column, TableName};
use crate::target::postgres::catalog::{Described, Wire};
use crate::target::postgres::copy::Copying;
use crate::target::postgres::error::{Doing, sqlstate, target_error};
use crate::target::postgres::fence::{self, Lane, Standing};
use crate::target::postgres::guard::{self, Guarded};
use crate::target::postgres::known::{self, Held};
use crate::target::postgres::session::{Session, bind};
use crate::target::postgres::writer::{Way, Writer, Written};
use crate::target::postgres::{ddl, kept, leads, letters, moves, sql, taken};
use crate::target::search::{Search, Try};
use crate::target::{Applied, Fault, RefusedRow, TargetError, went_back};

/// Applies the batch; after an error the session must be dropped.
pub(super) async fn apply(
    session: &mut Session,
    lane: Lane<'_>,
    batch: &Folded,
    copying: &mut Copying,
) -> Result<Applied, TargetError> {
    let steps = batch.steps.iter().filter(|step| step.moves()).collect::<Vec<_>>();
    assert!(batch.steps.iter().all(|step| step.from <= step.to), "no step goes back");
    let has_end = !steps.is_empty() || batch.replay.is_some();
    assert!(has_end || batch.tables.is_empty(), "rows come with a step");
    let (one_by_one, copied) = (BTreeSet::new(), BTreeMap::new());
    let mut attempt = Attempt {
        lane,
        batch,
        steps: &steps,
        copying,
        may_copy: true,
        copied,
        one_by_one,
        has_deferrable: false,
        older: 0,
    };
    let mut fault = None;
    loop {
        attempt.older = 0;
        let ended = match &fault {
            None => attempt.run(session).await,
            Some(fault) => attempt.search(session, fault).await,
        };
        // At most once in vain: what comes behind it is settled by other ways.
        attempt.may_copy = false;
        let failure = match ended {
            Ok(refused) => return Ok(Applied::Committed { refused, older: attempt.older }),
            Err(failure) => failure,
        };
        match failure {
            Failure::NotMoved { refused } => {
                let standing = roll_back(session, lane, &steps).await?;
                // Before cannot be, unless the claim came back meanwhile: claiming again is safe.
                let all = || steps.iter().map(|step| step.partition.clone()).collect();
                return Ok(match standing {
                    Standing::After => Applied::Committed { refused, older: attempt.older },
                    Standing::Before => Applied::Fenced { partitions: all() },
                    Standing::Elsewhere(partitions) => Applied::Fenced { partitions },
                });
            }
            Failure::Again => {
                session.run_all(sql::ROLLBACK.to_owned()).await.map_err(other)?;
            }
            Failure::Refused(rows) => {
                let settled = settled(roll_back(session, lane, &steps).await?);
                return Ok(settled.unwrap_or(Applied::Refused { rows }));
            }
            Failure::Target(error) => match verdict(session, lane, &steps, error).await {
                Err(TargetError::Row(found)) if fault.is_none() => fault = Some(found),
                verdict => return verdict,
            },
        }
    }
}

/// Passes an error on, if the partitions are still ours: a stale member's rows meet all kinds.
async fn verdict(
    session: &mut Session,
    lane: Lane<'_>,
    steps: &[&Step],
    error: TargetError,
) -> Result<Applied, TargetError> {
    match error {
        TargetError::Unreachable(_)
        | TargetError::Untrusted(_)
        | TargetError::NotAdmitted(_)
        | TargetError::Busy(_)
        | TargetError::Exhausted(_) => return Err(error),
        TargetError::StaleLayout { .. }
        | TargetError::Denied(_)
        | TargetError::Row(_)
        | TargetError::WentBack { .. }
        | TargetError::Statement(_) => {}
    }
    settled(roll_back(session, lane, steps).await?).ok_or(error)
}

/// Says what has become of the batch; `None` while its partitions stand where it begins.
fn settled(standing: Standing) -> Option<Applied> {
    match standing {
        Standing::Before => None,
        Standing::After => Some(Applied::Committed { refused: Vec::new(), older: 0 }),
        Standing::Elsewhere(partitions) => Some(Applied::Fenced { partitions }),
    }
}

async fn roll_back(
    session: &mut Session,
    lane: Lane<'_>,
    steps: &[&Step],
) -> Result<Standing, TargetError> {
    session.run_all(sql::ROLLBACK.to_owned()).await.map_err(other)?;
    fence::standing(session, lane.sink, steps).await.map_err(other)
}

fn other(error: sqlx::Error) -> TargetError {
    target_error(error, Doing::Other)
}

/// Why an attempt was not committed.
#[derive(Debug)]
enum Failure {
    /// A partition was not where the batch begins, or not ours.
    NotMoved {
        refused: Vec<DeadLetter>,
    },
    /// A table's rows must go another way.
    Again,
    /// The database refuses rows.
    Refused(Vec<RefusedRow>),
    Target(TargetError),
}

impl From<TargetError> for Failure {
    fn from(error: TargetError) -> Self {
        Self::Target(error)
    }
}

/// One transaction.
struct Attempt<'a> {
    lane: Lane<'a>,
    batch: &'a Folded,
    /// The steps that move.
    steps: &'a [&'a Step],
    /// What is known of COPY, and whether this attempt may try it.
    copying: &'a mut Copying,
    may_copy: bool,
    /// Tables whose new rows go by COPY, with the time of the transaction.
    copied: BTreeMap<TableName, Vec<u8>>,
    /// Tables whose rows go one by one, in the order they came: the server finds two keys of the
    /// batch equal that differ as bytes, or an image before is no row of a table without a key.
    one_by_one: BTreeSet<TableName>,
    /// Whether some constraint may be checked only at the end.
    has_deferrable: bool,
    /// How many rows the guard has kept out.
    older: usize,
}

impl Attempt<'_> {
    /// Does everything; returns the partial rows that found no row.
    async fn run(&mut self, session: &mut Session) -> Result<Vec<DeadLetter>, Failure> {
        let all_wires = self.start(session).await?;
        let mut refused = Vec::new();
        for ((rows, winners), wires) in self.batch.tables.iter().zip(&all_wires) {
            self.clear(session, rows, wires).await?;
            refused.extend(self.write(session, (rows, winners), wires).await?);
        }
        if self.has_deferrable {
            let check = session.run_all(sql::CHECK_CONSTRAINTS.to_owned()).await;
            check.map_err(deferred)?;
        }
        self.finish(session, refused).await
    }

    /// Does the same in parts, until all rows are written or those are found that the server refuses.
    async fn search(
        &mut self,
        session: &mut Session,
        fault: &Fault,
    ) -> Result<Vec<DeadLetter>, Failure> {
        let all_wires = self.start(session).await?;
        for ((rows, _), wires) in self.batch.tables.iter().zip(&all_wires) {
            self.clear(session, rows, wires).await?;
        }
        let mut letters = Vec::new();
        let mut search = Search::new(self.batch, fault);
        while let Some(next) = search.next() {
            if next.is_vacated && !self.may_vacate(session, &next).await? {
                search.skip();
                continue;
            }
            let outcome = self.attempt(session, &next, &all_wires).await?;
            search.learn(outcome.map(|refused| letters.extend(refused)));
        }
        let tries = search.tries();
        let refused = search.refused();
        debug!(tries, refused = refused.len(), %fault, "tried a refused batch in parts");
        if !refused.is_empty() {
            return Err(Failure::Refused(refused));
        }
        self.finish(session, letters).await
    }

    /// Writes parts of the batch, one behind the other; after a fault nothing of them is left.
    async fn attempt(
        &mut self,
        session: &mut Session,
        next: &Try,
        all_wires: &[Vec<Wire>],
    ) -> Result<Result<Vec<DeadLetter>, Fault>, Failure> {
        loop {
            let older = self.older;
            session.run_all(sql::BEGIN_PART.to_owned()).await.map_err(other)?;
            let written = self.write_parts(session, next, all_wires).await;
            let failure = match written {
                Ok(refused) => match session.run_all(sql::END_PART.to_owned()).await {
                    Ok(()) => return Ok(Ok(refused)),
                    Err(error) => deferred(error),
                },
                Err(failure) => failure,
            };
            let fault = match failure {
                Failure::Target(TargetError::Row(fault)) => Some(fault),
                Failure::Again => None,
                failure => return Err(failure),
            };
            session.run_all(sql::UNDO_PART.to_owned()).await.map_err(other)?;
            self.older = older;
            if let Some(fault) = fault {
                return Ok(Err(fault));
            }
        }
    }

    async fn write_parts(
        &mut self,
        session: &mut Session,
        next: &Try,
        all_wires: &[Vec<Wire>],
    ) -> Result<Vec<DeadLetter>, Failure> {
        let mut refused = Vec::new();
        for part in &next.parts {
            let part = self.batch.part(part);
            let part = if next.is_vacated { part.vacated() } else { part };
            refused.extend(part.refused);
            for (rows, winners) in &part.tables {
                let name = &rows.shape().table.name;
                let mut tables = self.batch.tables.iter().zip(all_wires);
                let of_name = tables.find(|((rows, _), _)| rows.shape().table.name == *name);
                let (_, wires) = of_name.expect("a part has the batch's tables");
                refused.extend(self.write(session, (rows, winners), wires).await?);
            }
        }
        Ok(refused)
    }

    /// Returns whether no other row goes or changes with those of the try, which come again.
    async fn may_vacate(&self, session: &mut Session, next: &Try) -> Result<bool, Failure> {
        let tables = next.parts.iter().flatten().map(|place| place.table).collect::<BTreeSet<_>>();
        for (rows, _) in tables.iter().filter_map(|table| self.batch.tables.get(*table)) {
            let name = &rows.shape().table.name;
            let mut arguments = PgArguments::default();
            bind(&mut arguments, sql::schema(name)).map_err(other)?;
            bind(&mut arguments, name.table.as_str()).map_err(other)?;
            let found = session.fetch(sql::IS_FOLLOWED.to_owned(), arguments).await;
            let found = found.map_err(other)?;
            let is_followed = found.first().map(|row| row.try_get(0)).transpose();
            if is_followed.map_err(other)? != Some(false) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Lets a table's rows leave what they have under their old keys, and empties the table where the
    /// batch says so.
    async fn clear(
        &self,
        session: &mut Session,
        rows: &Rows,
        wires: &[Wire],
    ) -> Result<(), Failure> {
        let table = &rows.shape().table.name;
        let failed = |error| Failure::Target(target_error(error, Doing::Rows(table)));
        let (table, departures) = ((&**rows.shape(), wires), rows.departures());
        let (sink, steps) = (self.lane.sink, &self.batch.steps);
        moves::leave(session, sink, table, departures, steps).await.map_err(failed)?;
        let outdated = guard::outdate(session, sink, (rows, wires), steps).await;
        outdated.map_err(failed)?.map_err(|origin| went_back(rows, origin, steps))?;
        Writer { session, rows, wires }.truncate().await.map_err(failed)
    }

    /// Writes a table's rows that are no older than what the target has; returns the dead letters of
    /// those that found none to lean on.
    async fn write(
        &mut self,
        session: &mut Session,
        (rows, winners): (&Rows, &Winners),
        wires: &[Wire],
    ) -> Result<Vec<DeadLetter>, Failure> {
        let older = self.sift(session, rows).await?;
        if older.is_empty() {
            return self.write_all(session, (rows, winners), wires).await;
        }
        self.older += older.len();
        let Part { tables, mut refused } = self.batch.without(rows, &older);
        for (rows, winners) in &tables {
            refused.extend(self.write_all(session, (rows, winners), wires).await?);
        }
        Ok(refused)
    }

    /// Finds the rows that are older than what the target has.
    async fn sift(&mut self, session: &mut Session, rows: &Rows) -> Result<Vec<usize>, Failure> {
        if !rows.shape().is_guarded {
            return Ok(Vec::new());
        }
        let (table, steps) = (&rows.shape().table.name, &self.batch.steps);
        let trusts_new = self.copied.contains_key(table);
        let guarded = guard::sift(session, self.lane.sink, rows, steps, trusts_new).await;
        match guarded.map_err(other)? {
            Guarded::Sifted(older) => Ok(older),
            Guarded::Again => {
                if trusts_new {
                    self.copying.refused(table);
                }
                Err(Failure::Again)
            }
            Guarded::WentBack(origin) => Err(went_back(rows, origin, steps).into()),
        }
    }

    async fn write_all(
        &mut self,
        session: &mut Session,
        (rows, winners): (&Rows, &Winners),
        wires: &[Wire],
    ) -> Result<Vec<DeadLetter>, Failure> {
        let (table, steps) = (&rows.shape().table.name, &self.batch.steps);
        let settled = taken::settle(session, self.lane.sink, (rows, winners), wires, steps).await;
        let settled = settled.map_err(|error| self.rows_failure(error, table))?;
        let winners = settled.as_ref().unwrap_or(winners);
        let way = match self.copied.get(table) {
            _ if self.one_by_one.contains(table) => Way::OneByOne,
            Some(now) => Way::Copied(now),
            None => Way::AtOnce,
        };
        let written = Writer { session, rows, wires }.write(winners, way).await;
        match written.map_err(|error| self.rows_failure(error, table))? {
            Written::Without(missing) => {
                if self.copied.contains_key(table) {
                    self.copying.done(table);
                }
                Ok(without_row(rows, &missing, steps))
            }
            Written::NotAtOnce => {
                self.one_by_one.insert(table.clone());
                Err(Failure::Again)
            }
            Written::NotCopied(state) => {
                debug!(%table, sqlstate = state, "new rows do not go by COPY");
                self.copying.refused(table);
                Err(Failure::Again)
            }
        }
    }

    fn rows_failure(&mut self, error: sqlx::Error, table: &TableName) -> Failure {
        if sqlstate(&error).as_deref() == Some("21000") {
            if self.one_by_one.insert(table.clone()) {
                return Failure::Again;
            }
            // One row at a time can meet it only in somebody's trigger.
            let text = format!("a trigger of table \"{table}\" touches more than one row");
            return Failure::Target(TargetError::Statement(text.into()));
        }
        let error = target_error(error, Doing::Rows(table));
        if matches!(error, TargetError::StaleLayout { .. }) {
            warn!(%table, "the server does not know the table as the catalogue has it");
        }
        Failure::Target(error)
    }

    /// Keeps what is refused, moves the checkpoint, and commits.
    async fn finish(
        &self,
        session: &mut Session,
        refused: Vec<DeadLetter>,
    ) -> Result<Vec<DeadLetter>, Failure> {
        let all = self.batch.dead_letters.iter().chain(&refused).collect::<Vec<_>>();
        let sink = self.lane.sink;
        letters::keep(session, sink, &all).await.map_err(other)?;
        letters::mark_keys(session, sink, &self.batch.key_marks).await.map_err(other)?;
        taken::forget(session, sink, self.batch).await.map_err(other)?;
        let ended = match &self.batch.replay {
            Some(replay) if all.is_empty() && self.older == 0 => {
                kept::settle(session, sink, replay).await
            }
            _ => fence::advance(session, self.lane, self.steps).await,
        };
        // A constraint that was made deferrable meanwhile speaks only at COMMIT.
        match ended.map_err(deferred)? {
            true => Ok(refused),
            false => Err(Failure::NotMoved { refused }),
        }
    }

    /// Begins, changes tables where the batch says so, holds the tables as they are, and finds the way
    /// of their cells.
    async fn start(&mut self, session: &mut Session) -> Result<Vec<Vec<Wire>>, Failure> {
        let tables = self.batch.tables.iter().map(|(rows, _)| rows.shape().table.as_ref());
        let names = tables.map(|table| &table.name).collect::<Vec<_>>();
        let held = self.begin(session, &names).await?;
        leads::enter(session, &self.batch.leads).await?;
        let mut all_wires = Vec::with_capacity(names.len());
        self.copied.clear();
        self.has_deferrable = held.has_deferrable;
        for (changes, described) in self.batch.tables.iter().zip(&held.tables) {
            let (shape, table) = (changes.0.shape(), &changes.0.shape().table.name);
            let wires = wires(&shape.columns, described);
            let wires = wires.ok_or_else(|| TargetError::StaleLayout { table: table.clone() })?;
            if self.may_copy && self.copying.may(changes, &wires, described) {
                self.copied.insert(table.clone(), held.now.clone());
            }
            all_wires.push(wires);
        }
        Ok(all_wires)
    }

    async fn begin(&self, session: &mut Session, names: &[&TableName]) -> Result<Held, Failure> {
        let changes = &self.batch.schema_changes;
        let unknown = session.known.unknown(names);
        let hold = (!names.is_empty()).then(|| sql::hold(names, &unknown));
        let answer = if changes.is_empty() {
            session.begin(hold).await
        } else {
            ddl::add_labels(session, changes).await?;
            session.begin(None).await.map_err(other)?;
            ddl::change(session, changes).await?;
            match hold {
                Some(hold) => session.fetch_all(hold).await,
                None => Ok(Vec::new()),
            }
        };
        let answer = answer.map_err(|error| {
            let message = error.to_string();
            let quoted = |name: &TableName| {
                message.contains(&format!("\"{name}\""))
                    || message.contains(&format!("\"{}\"", sql::schema(name)))
            };
            let is_ours = message.contains("\"afterimage.");
            let table = names.iter().find(|name| quoted(name)).or(names.first());
            let table = table.filter(|_| !is_ours);
            let doing = table.map_or(Doing::Other, |table| Doing::Rows(table));
            Failure::Target(target_error(error, doing))
        });
        Ok(known::held(session, names, &unknown, answer?).await.map_err(other)?)
    }
}

/// Finds the way of each column's cells; `None` when the table is not as they were encoded for.
pub(super) fn wires(columns: &[Column], described: &Described) -> Option<Vec<Wire>> {
    let facts = |column: &Column| (column.type_id, column.modifier, column.generated);
    columns
        .iter()
        .map(|column| {
            let found = described.column(&column.name)?;
            let is_same =
                facts(&found.column) == facts(column) && found.column.has_labels_of(column);
            is_same.then(|| found.wire.clone())
        })
        .collect()
}

/// Says what a deferred constraint means; the server names its table.
fn deferred(error: sqlx::Error) -> Failure {
    Failure::Target(other(error))
}

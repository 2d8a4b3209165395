//! A batch: the rows of all tables, the refused records and the steps that one transaction carries.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use crate::checkpoint::{Claim, LastRecord, NextOffset, Step};
use crate::decode::value::kind::SourceName;
use crate::fold::{Winners, fold, last_halves};
use crate::moves::{Departure, MoveRequest};
use crate::record::TopicPartition;
use crate::refused::{DeadLetter, KeptRecord, Reason, Refusal};
use crate::rows::{Keyless, Move, Row, Rows, Shape};
use crate::table::{Table, TableName};

mod part;

pub use part::{Part, Place};

/// What was collected since the last batch, in the order it came.
#[derive(Debug, Default)]
pub struct Batch {
    tables: Vec<Rows>,
    table_by_name: HashMap<TableName, usize>,
    /// The table of the last change, which is mostly that of the next one.
    last_table: usize,
    steps: Vec<Step>,
    step_by_partition: HashMap<TopicPartition, usize>,
    /// Records refused while they were decoded.
    pub dead_letters: Vec<DeadLetter>,
    /// Tables to create or to extend before the rows.
    pub schema_changes: Vec<SchemaChange>,
    /// Keys whose records may not lean on the target's row, or may again.
    pub key_marks: Vec<KeyMark>,
}

/// A table that this batch's transaction creates or changes before it writes rows.
#[derive(Clone, Debug, PartialEq)]
pub struct SchemaChange {
    /// The table as it was when the change was planned; `None` when it did not exist.
    pub before: Option<Table>,
    /// The table as the batch's rows are encoded for.
    pub after: Arc<Table>,
    /// What leads from one to the other.
    pub statements: Vec<String>,
    /// What gives enums new labels, of which each must be there before the transaction begins.
    pub labels: Vec<String>,
}

/// A source table that leads to a target table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// As its records name it.
    pub source: SourceName,
    /// The topic of those records: one without a value does not name its table.
    pub topic: Arc<str>,
}

/// That a source table leads to a target table: kept in the target, so that no other leads there
/// unseen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lead {
    /// Where it leads.
    pub target: TableName,
    /// What leads there.
    pub leader: Leader,
    /// The others that lead there, as it was decided that this one may too.
    pub beside: Vec<SourceName>,
}

impl Lead {
    /// Returns whether all that the target knows to lead there were there when it was decided.
    pub fn stands_among(&self, leaders: &[Leader]) -> bool {
        leaders
            .iter()
            .map(|it| &it.source)
            .all(|other| other.is_same_table(&self.leader.source) || self.beside.contains(other))
    }
}

/// A change of what is known about a record key with a dead letter behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyMark {
    /// The partition that the key lives in.
    pub partition: TopicPartition,
    /// The record key's bytes.
    pub key: Vec<u8>,
    /// Whether the key's newest image was refused.
    pub is_refused: bool,
    /// The record that this is from: of a refused key, no image at or behind it is applied.
    pub offset: i64,
}

/// That a batch is the replay of a dead letter: with its rows, what is kept about it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    /// The dead letter.
    pub id: i64,
    /// Where its record stands.
    pub partition: TopicPartition,
    /// Its record's offset.
    pub offset: i64,
    /// Its record's key.
    pub key: Option<Vec<u8>>,
    /// What was known of the key when the record was decoded: otherwise nothing is applied.
    pub standing: Standing,
    /// Who replays it, for the audit.
    pub actor: String,
    /// Why, for the audit.
    pub reason: String,
}

/// How a dead letter stands among the records of its key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The first record of those that are not applied, if the key's newest image was refused.
    pub since: Option<i64>,
    /// Whether another open dead letter is among those before this one.
    pub is_behind: bool,
}

impl Standing {
    /// Returns whether no image at or behind this offset is applied.
    pub fn is_newest(&self, offset: i64) -> bool {
        self.since.is_some_and(|since| since <= offset)
    }
}

/// What the target applies in one transaction.
#[derive(Debug)]
pub struct Folded {
    /// Rows with their winners, in the order of the tables' names.
    pub tables: Vec<(Rows, Winners)>,
    /// The steps of the checkpoint, as the rows index them; some may not move.
    pub steps: Vec<Step>,
    /// Refused records.
    pub dead_letters: Vec<DeadLetter>,
    /// Tables to create or to extend.
    pub schema_changes: Vec<SchemaChange>,
    /// Keys to mark or to clear.
    pub key_marks: Vec<KeyMark>,
    /// The half of a changed key of each partition that is the last in the source's log, by its
    /// step's index.
    pub last_halves: HashMap<usize, Move>,
    /// What leads to tables of this batch, and is not kept in the target yet.
    pub leads: Vec<Lead>,
    /// The dead letter that this is the replay of; the steps then do not move.
    pub replay: Option<Replay>,
}

impl Batch {
    /// Returns the partition's step, the [`Origin`](crate::rows::Origin) of its rows; one that does
    /// not move yet begins here, also where there was one under an older claim.
    pub fn step(&mut self, partition: &TopicPartition, claim: Claim, from: NextOffset) -> usize {
        let new = || Step { partition: partition.clone(), claim, from, to: from, last: None };
        if let Some(&index) = self.step_by_partition.get(partition) {
            if let Some(step) = self.steps.get_mut(index).filter(|step| !step.moves()) {
                *step = new();
            }
            return index;
        }
        let index = self.steps.len();
        self.step_by_partition.insert(partition.clone(), index);
        self.steps.push(new());
        index
    }

    /// Moves a step over a record that is dealt with.
    pub fn advance(&mut self, step: usize, last: LastRecord) {
        if let Some(step) = self.steps.get_mut(step) {
            step.extend(last);
        }
    }

    /// Moves a step to the end of its partition's log.
    pub fn reach(&mut self, step: usize, end: NextOffset) {
        if let Some(step) = self.steps.get_mut(step) {
            step.reach(end);
        }
    }

    /// Returns the rows of the shape's table, or `None` when the batch holds rows of that table
    /// in another shape: the batch must end before this change.
    pub fn rows(&mut self, shape: &Arc<Shape>) -> Option<&mut Rows> {
        let last = self.tables.get(self.last_table);
        if !last.is_some_and(|rows| Arc::ptr_eq(rows.shape(), shape)) {
            self.last_table = self.table(shape);
        }
        let rows = self.tables.get_mut(self.last_table)?;
        if rows.is_empty() && !Arc::ptr_eq(rows.shape(), shape) {
            *rows = Rows::new(Arc::clone(shape));
        }
        Arc::ptr_eq(rows.shape(), shape).then_some(rows)
    }

    /// Returns the place of the shape's table, which gets one if it has none.
    fn table(&mut self, shape: &Arc<Shape>) -> usize {
        match self.table_by_name.get(&shape.table.name) {
            Some(&index) => index,
            None => {
                let index = self.tables.len();
                self.tables.push(Rows::new(Arc::clone(shape)));
                self.table_by_name.insert(shape.table.name.clone(), index);
                index
            }
        }
    }

    /// Returns whether there are rows of the table.
    pub fn holds(&self, table: &TableName) -> bool {
        let rows = self.table_by_name.get(table).and_then(|index| self.tables.get(*index));
        rows.is_some_and(|rows| !rows.is_empty())
    }

    /// Returns the delete whose row goes on as the create that asks, if the batch has it.
    pub fn leaves(&self, request: &MoveRequest) -> Option<(&Departure, &Step)> {
        let rows = self.tables.get(*self.table_by_name.get(&request.shape.table.name)?)?;
        // It is seldom far away.
        let mut departures = rows.departures().iter().rev();
        let departure = departures.find(|departure| departure.place == request.place)?;
        let step = self.steps.get(departure.step)?;
        (step.partition.topic == request.topic).then_some((departure, step))
    }

    /// Returns the steps so far, those that do not move included.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    #[cfg(test)]
    pub(crate) fn tables(&self) -> &[Rows] {
        &self.tables
    }

    /// Returns how many changes of rows were collected.
    pub fn row_count(&self) -> usize {
        self.tables.iter().map(|rows| rows.index().len()).sum()
    }

    /// Returns whether all rows are of tables without a key, which no other change replaces.
    pub fn is_keyless(&self) -> bool {
        self.tables.iter().all(|rows| rows.is_empty() || rows.shape().key.is_empty())
    }

    /// Returns whether all rows are of tables with a row guard.
    pub fn is_guarded(&self) -> bool {
        self.tables.iter().all(|rows| rows.is_empty() || rows.shape().is_guarded)
    }

    /// Returns how many bytes the cells and the refused records take.
    pub fn byte_count(&self) -> usize {
        let refused = |letter: &DeadLetter| letter.record.byte_count();
        self.tables.iter().map(Rows::byte_count).sum::<usize>()
            + self.dead_letters.iter().map(refused).sum::<usize>()
    }

    /// Returns whether no offset was collected.
    pub fn is_empty(&self) -> bool {
        !self.steps.iter().any(Step::moves)
    }

    /// Ends the batch: finds the winners, and turns what the fold refuses into dead letters.
    pub fn fold(self) -> Folded {
        let Self { tables, steps, mut dead_letters, schema_changes, key_marks, .. } = self;
        let last_halves = last_halves(tables.iter());
        let (tables, refused) = fold_tables(tables, &last_halves, &steps);
        dead_letters.extend(refused);
        let leads = Vec::new();
        Folded {
            tables,
            steps,
            dead_letters,
            schema_changes,
            key_marks,
            last_halves,
            leads,
            replay: None,
        }
    }
}

/// Finds the winners of tables, which come in the order of their names, and what the fold refuses.
fn fold_tables(
    tables: Vec<Rows>,
    last_halves: &HashMap<usize, Move>,
    steps: &[Step],
) -> (Vec<(Rows, Winners)>, Vec<DeadLetter>) {
    let mut folded = Vec::with_capacity(tables.len());
    let mut dead_letters = Vec::new();
    for mut rows in tables.into_iter().filter(|rows| !rows.is_empty()) {
        let mut winners = fold(&mut rows);
        let is_last = |create: usize| {
            let step = rows.index().get(create).map(Row::step);
            let last = step.and_then(|step| last_halves.get(&step)).map(|half| half.transaction);
            last == rows.half(create).map(|half| half.transaction)
        };
        // In a transaction that another has followed, a key was taken only if it was left.
        winners.unsettled.arrived.retain(|it| it.left_at.is_some() || is_last(it.create));
        let kept = rows.kept().filter(|(row, _)| winners.refused.binary_search(row).is_ok());
        dead_letters.extend(kept.filter_map(|kept| letter(&rows, kept, steps, WITHOUT_ROW)));
        folded.push((rows, winners));
    }
    folded.sort_by(|(a, _), (b, _)| a.shape().table.name.cmp(&b.shape().table.name));
    (folded, dead_letters)
}

const WITHOUT_ROW: (Reason, &str) = (
    Reason::UnavailableWithoutRow,
    "a value is unavailable and the target has no row to keep it from",
);

/// Makes the dead letters of rows that find no row of the target's to lean on: of each, and of the
/// partial ones before it that it was laid over.
pub fn without_row(rows: &Rows, missing: &[usize], steps: &[Step]) -> Vec<DeadLetter> {
    let key_at = |row: usize| rows.index().get(row).map(|row| rows.key(row));
    let (keys, missing) = (missing.iter().map(|&row| key_at(row)), missing.iter().copied());
    let (keys, missing) = (keys.collect::<HashSet<_>>(), missing.collect::<HashSet<_>>());
    if rows.shape().key.is_empty() && rows.shape().keyless == Keyless::Match {
        let why = (Reason::NoMatch, "the target has no row that is equal to the row before");
        let kept = rows.kept().filter(|(row, _)| missing.contains(row));
        return kept.filter_map(|kept| letter(rows, kept, steps, why)).collect();
    }
    // A row that is partial to the end has had only partial ones of its key before it.
    let kept = rows.kept().filter(|(row, _)| keys.contains(&key_at(*row)));
    kept.filter_map(|kept| letter(rows, kept, steps, WITHOUT_ROW)).collect()
}

fn letter(
    rows: &Rows,
    (row, record): (usize, &KeptRecord),
    steps: &[Step],
    (reason, detail): (Reason, &str),
) -> Option<DeadLetter> {
    let step = rows.index().get(row).and_then(|row| steps.get(row.step()))?;
    let table = Some(rows.shape().table.name.to_string());
    let refusal = Refusal { table, ..Refusal::new(reason, detail) };
    let (partition, record) = (step.partition.clone(), record.clone());
    Some(DeadLetter { partition, record, refusal })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::{Deletes, Keyless};

    #[test]
    fn rows_of_another_shape_are_replaced_only_while_there_are_none() {
        let (first, second) = (shape("t"), shape("t"));
        let mut batch = Batch::default();
        assert!(batch.rows(&first).is_some());
        assert!(batch.rows(&second).is_some(), "nothing is in the first shape");
        batch.rows(&second).unwrap().truncate();
        assert!(batch.rows(&first).is_none(), "a truncate is");
    }

    #[test]
    fn tables_that_take_turns_keep_their_rows_apart() {
        let (a, b) = (shape("a"), shape("b"));
        let mut batch = Batch::default();
        for shape in [&a, &b, &a, &a, &b] {
            let rows = batch.rows(shape).unwrap();
            assert!(Arc::ptr_eq(rows.shape(), shape));
            rows.truncate();
        }
        assert!(batch.rows(&shape("a")).is_none(), "another shape of a table that has rows");
        assert!(Arc::ptr_eq(batch.rows(&b).unwrap().shape(), &b));
        assert_eq!(batch.tables().len(), 2);
    }

    fn shape(table: &str) -> Arc<Shape> {
        let name = TableName { schema: None, table: table.to_owned() };
        let table = Arc::new(Table { name, columns: Vec::new(), unique_keys: Vec::new() });
        let (columns, key, deletes) = (Vec::new(), Vec::new(), Deletes::Hard);
        let keyless = Keyless::Refuse;
        Arc::new(Shape {
            table,
            columns,
            key,
            keyless,
            deletes,
            synced_at: None,
            is_guarded: false,
            skips_unchanged: false,
        })
    }
}

//! What a walk over a record finds besides its row, or why it broke off.

use crate::checkpoint::SourcePosition;
use crate::decode::layout::Layout;
use crate::decode::schema::envelope::Letter;
use crate::decode::{Change, Decoded, Op};
use crate::guard::{Age, LogPlace};
use crate::refused::Reason;
use crate::stopped::{Stop, StopReason};

/// What one pass over an envelope found besides the row.
#[derive(Debug, Default)]
pub struct Found {
    /// `op`.
    pub letter: Option<Letter>,
    /// Whether `after` was an object.
    pub has_after: bool,
    /// Whether `before` was an object, and wanted.
    pub has_before: bool,
    /// `source.ts_ms`.
    pub source_time: Option<i64>,
    /// `source.lsn`.
    pub lsn: Option<i64>,
    /// `source.file`.
    pub file: Option<String>,
    /// `source.pos`.
    pub pos: Option<i64>,
    /// `source.row`, where a position holds several rows, as in MariaDB.
    pub row: Option<i64>,
    /// `source.txId`, where it is a number, as in PostgreSQL.
    pub transaction: Option<i64>,
    /// Whether a flat record says that its row is gone.
    pub is_deleted: bool,
    /// Where a change log orders its record.
    pub order: Option<i64>,
}

impl Found {
    /// Stands for a record that says nothing but what it does.
    pub fn of(letter: Letter) -> Self {
        Self { letter: Some(letter), ..Self::default() }
    }

    /// Returns the row's place in the source's log, which no other row's change has.
    pub fn place(&self) -> Option<String> {
        match (&self.lsn, &self.file, &self.pos, &self.row) {
            (Some(lsn), ..) => Some(lsn.to_string()),
            (None, Some(file), Some(pos), Some(row)) => Some(format!("{file}:{pos}:{row}")),
            _ => None,
        }
    }

    /// Tells the lane what is known of the change besides its row.
    pub fn change(&self, op: Op, is_whole: bool) -> Change {
        let source_position = match (self.lsn, &self.file, self.pos) {
            (Some(lsn), _, _) => Some(SourcePosition::Lsn(lsn)),
            (None, Some(file), Some(pos)) => {
                Some(SourcePosition::Binlog { file: file.clone(), pos })
            }
            _ => None,
        };
        let age = Age {
            place: self.log_place(),
            is_snapshot: op == Op::Read,
            source_time: self.source_time,
        };
        Change { op, is_whole, source_position, age }
    }

    /// Returns the change's place in the source's log, which a snapshot's rows share.
    fn log_place(&self) -> Option<LogPlace> {
        if let Some(pos) = self.lsn {
            return Some(LogPlace { file: 0, pos, row: 0 });
        }
        // The server counts its files behind a name that it keeps.
        let file = self.file.as_deref()?.rsplit_once('.')?.1.parse().ok()?;
        Some(LogPlace { file, pos: self.pos?, row: self.row.unwrap_or_default() })
    }
}

/// A value that no conversion leads from to its column, where only the record says its type.
#[derive(Debug)]
pub struct Unheld {
    /// The column's name.
    pub column: String,
    /// The value's type.
    pub source_type: &'static str,
    /// The column's type at the target.
    pub target_type: String,
}

/// Why a walk broke off.
#[derive(Debug)]
pub enum Broken {
    /// The fields are not those of the layout, or the table is another.
    Mismatch,
    /// A value does not fit its column; names and types.
    Unfit(String),
    /// A column of the key, which is named here, is NULL.
    KeyNull(String),
    /// A column's enum lacks a label.
    Label {
        /// The column.
        column: String,
        /// The label.
        label: String,
    },
    /// The column takes no value of this type, so that the next record would fare as this one.
    Unheld(Unheld),
    /// The text is no JSON.
    Malformed(String),
}

/// Says that a column of the key has no value.
pub fn key_null(column: &str) -> String {
    format!("the key's column \"{column}\" is null or unavailable")
}

/// A record that is not a row of its layout.
#[derive(Debug)]
pub(super) enum Failed {
    /// It is of another table, or has other fields.
    Mismatch,
    /// A column's enum must get a label first.
    Label { column: String, label: String },
    /// It is refused.
    Refused(Reason, String),
    /// A column takes no value like one of its.
    Unheld(Unheld),
}

impl From<Broken> for Failed {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Mismatch => Self::Mismatch,
            Broken::Unheld(unheld) => Self::Unheld(unheld),
            Broken::Unfit(detail) => Self::Refused(Reason::ValueUnfit, detail),
            Broken::KeyNull(column) => Self::Refused(Reason::KeyMissing, key_null(&column)),
            Broken::Label { column, label } => Self::Label { column, label },
            Broken::Malformed(detail) => Self::Refused(Reason::Malformed, detail),
        }
    }
}

impl Unheld {
    /// Stops its partition: the next record would fare the same.
    pub(super) fn stop(self, layout: &Layout) -> Decoded {
        let Self { column, source_type, target_type } = self;
        let table = &layout.shape.table.name;
        let detail = format!(
            "column \"{column}\" of table \"{table}\": no conversion from {source_type} to \
             {target_type}"
        );
        Decoded::Stopped(Stop::new(StopReason::ColumnUnfit, detail))
    }
}

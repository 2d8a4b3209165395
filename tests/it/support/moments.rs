//! The moments of a member's transaction that a test can pick, told by the SQL that goes by.

use std::fmt;

/// Where a member is stopped, killed or watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Moment {
    /// Before its transaction begins: a batch is filled, nothing is written.
    Filled,
    /// Before the first row of a table is written, inside the transaction.
    FirstWrite,
    /// In the middle of a COPY: some of its rows are sent, and half of the next message.
    MidCopy,
    /// Before a part of a refused batch is written again, inside the transaction.
    Part,
    /// Before the checkpoint moves: all rows are written, and locked.
    Step,
    /// In the middle of the statement that moves the checkpoint: half of it is sent.
    MidStep,
    /// Before COMMIT: rows and checkpoint are written. The member says both in one message.
    Commit,
    /// After COMMIT was sent and done; the answer is held back.
    CommitSent,
    /// After the answer to COMMIT; Kafka does not know yet.
    Mirror,
}

impl Moment {
    /// Returns whether the transaction is open then.
    pub(crate) fn is_inside(self) -> bool {
        match self {
            Self::FirstWrite
            | Self::MidCopy
            | Self::Part
            | Self::Step
            | Self::MidStep
            | Self::Commit => true,
            Self::Filled | Self::CommitSent | Self::Mirror => false,
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Filled => "filling",
            Self::FirstWrite => "in the transaction, before its rows",
            Self::MidCopy => "in the transaction, in a COPY",
            Self::Part => "in the transaction, before a part of it",
            Self::Step => "in the transaction, before its checkpoint",
            Self::MidStep => "in the transaction, in mid-statement",
            Self::Commit => "in the transaction, before COMMIT",
            Self::CommitSent => "commit sent",
            Self::Mirror => "mirror",
        })
    }
}

/// What a statement does, as far as a moment depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Statement {
    Begin,
    /// Writes rows of a replicated table.
    Write,
    /// Begins a part that may be taken back.
    Part,
    /// Moves the checkpoint, and commits.
    Step,
    Other,
}

impl Statement {
    /// Reads a statement; `schema` is where the replicated tables stand.
    pub(crate) fn of(sql: &str, schema: &str) -> Self {
        let writes = ["INSERT INTO", "DELETE FROM", "UPDATE", "COPY"];
        if sql.starts_with("BEGIN") || sql.starts_with("START TRANSACTION") {
            Self::Begin
        } else if sql.starts_with("SAVEPOINT") {
            Self::Part
        } else if sql.starts_with("EXECUTE afterimage_step") {
            Self::Step
        } else if sql.contains("afterimage.checkpoint") {
            Self::Other
        } else if sql.contains(schema) && writes.iter().any(|verb| sql.contains(verb)) {
            Self::Write
        } else {
            Self::Other
        }
    }

    /// Returns whether a message that runs this is where a member is to be held.
    pub(crate) fn begins(self, moment: Moment) -> bool {
        match moment {
            Moment::Filled => self == Self::Begin,
            Moment::FirstWrite => self == Self::Write,
            Moment::Part => self == Self::Part,
            Moment::Step | Moment::MidStep | Moment::Commit => self == Self::Step,
            Moment::MidCopy | Moment::CommitSent | Moment::Mirror => false,
        }
    }
}

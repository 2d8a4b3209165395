//! Dead letters as commands see them: what is kept of each, and what an operator does about it.

use std::fmt;

use crate::batch::{Folded, Standing};
use crate::moves::{MoveRequest, Moved};
use crate::record::TopicPartition;
use crate::refused::{self, KeptHeaders, KeptRecord, Refusal};
use crate::target::inspect::{Deed, Opened};
use crate::target::{Applied, Target as _, TargetError};

/// How the audit names a replay.
pub(super) const REPLAY: &str = "dead-letters replay";

/// How the audit names [`Letters::discard`].
pub const DISCARD: &str = "dead-letters discard";

/// What became of a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LetterState {
    /// Nothing yet.
    Open,
    /// Its record is applied.
    Replayed,
    /// An operator has given its record up.
    Discarded,
}

impl LetterState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Open, Self::Replayed, Self::Discarded];

    /// Returns the state as the table spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Replayed => "replayed",
            Self::Discarded => "discarded",
        }
    }
}

impl fmt::Display for LetterState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A dead letter without its record; times in milliseconds since the epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Its number.
    pub id: i64,
    /// Where its record stands.
    pub partition: TopicPartition,
    /// Its record's offset.
    pub offset: i64,
    /// Its record's timestamp.
    pub timestamp: Option<i64>,
    /// The target's table, where it was known.
    pub table: Option<String>,
    /// Why it was refused, as the version spelled it that did.
    pub reason: String,
    /// What that version said of it.
    pub error: Option<String>,
    /// The five characters of the SQL standard, where the target refused it.
    pub sqlstate: Option<String>,
    /// When it was refused first.
    pub first_seen: Option<i64>,
    /// When it was refused last.
    pub last_seen: Option<i64>,
    /// What became of it.
    pub state: String,
}

impl Letter {
    /// Returns whether nobody has done anything about it yet.
    pub fn is_open(&self) -> bool {
        self.state == LetterState::Open.name()
    }
}

/// A dead letter with its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptLetter {
    /// What is known of it.
    pub letter: Letter,
    /// The record, whole.
    pub record: KeptRecord,
}

/// Which dead letters are wanted: those that fit all that is given.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// These numbers.
    pub ids: Option<Vec<i64>>,
    /// Of records of this topic.
    pub topic: Option<String>,
    /// Refused for this reason.
    pub reason: Option<String>,
    /// In this state.
    pub state: Option<LetterState>,
    /// The newest ones, as many as this.
    pub limit: Option<u32>,
}

/// A target whose dead letters can be dealt with; each method is one attempt, and concerns this sink
/// and cluster.
///
/// A replay is [`Target::apply`](crate::target::Target::apply) of a batch that says so. Where it or a
/// discard ends what is known of a key, the claim of its partition counts up, so that the member that
/// holds it learns of it: its batch under way is applied by nobody, and collected again.
pub trait Letters: Send {
    /// Returns dead letters, the newest last.
    fn letters(
        &mut self,
        filter: &Filter,
    ) -> impl Future<Output = Result<Vec<Letter>, TargetError>> + Send;

    /// Returns a dead letter with its record; `None` when there is none of that number.
    fn letter(
        &mut self,
        id: i64,
    ) -> impl Future<Output = Result<Option<KeptLetter>, TargetError>> + Send;

    /// Returns how a dead letter stands among the records of its key.
    fn standing(
        &mut self,
        kept: &KeptLetter,
    ) -> impl Future<Output = Result<Standing, TargetError>> + Send;

    /// Keeps why an open dead letter was refused when it was replayed.
    fn refuse_again(
        &mut self,
        id: i64,
        refusal: &Refusal,
    ) -> impl Future<Output = Result<(), TargetError>> + Send;

    /// Gives the records of open dead letters up, with their audit rows, in one transaction.
    ///
    /// Returns the numbers of those that were open.
    fn discard(
        &mut self,
        ids: &[i64],
        deed: Deed<'_>,
    ) -> impl Future<Output = Result<Vec<i64>, TargetError>> + Send;

    /// Returns the oldest open dead letters that nobody has copied, or is copying: for a minute they
    /// are ours to copy.
    fn uncopied(
        &mut self,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<KeptLetter>, TargetError>> + Send;

    /// Keeps that dead letters were copied.
    fn copied(&mut self, ids: &[i64]) -> impl Future<Output = Result<(), TargetError>> + Send;
}

impl Letters for Opened {
    async fn letters(&mut self, filter: &Filter) -> Result<Vec<Letter>, TargetError> {
        match self {
            Self::Postgres(target) => target.letters(filter).await,
            Self::Sqlite(target) => target.letters(filter).await,
        }
    }

    async fn letter(&mut self, id: i64) -> Result<Option<KeptLetter>, TargetError> {
        match self {
            Self::Postgres(target) => target.letter(id).await,
            Self::Sqlite(target) => target.letter(id).await,
        }
    }

    async fn standing(&mut self, kept: &KeptLetter) -> Result<Standing, TargetError> {
        match self {
            Self::Postgres(target) => target.standing(kept).await,
            Self::Sqlite(target) => target.standing(kept).await,
        }
    }

    async fn refuse_again(&mut self, id: i64, refusal: &Refusal) -> Result<(), TargetError> {
        match self {
            Self::Postgres(target) => target.refuse_again(id, refusal).await,
            Self::Sqlite(target) => target.refuse_again(id, refusal).await,
        }
    }

    async fn discard(&mut self, ids: &[i64], deed: Deed<'_>) -> Result<Vec<i64>, TargetError> {
        match self {
            Self::Postgres(target) => target.discard(ids, deed).await,
            Self::Sqlite(target) => target.discard(ids, deed).await,
        }
    }

    async fn uncopied(&mut self, limit: u32) -> Result<Vec<KeptLetter>, TargetError> {
        match self {
            Self::Postgres(target) => target.uncopied(limit).await,
            Self::Sqlite(target) => target.uncopied(limit).await,
        }
    }

    async fn copied(&mut self, ids: &[i64]) -> Result<(), TargetError> {
        match self {
            Self::Postgres(target) => target.copied(ids).await,
            Self::Sqlite(target) => target.copied(ids).await,
        }
    }
}

impl Opened {
    /// Applies the replay of a dead letter, as [`Target::apply`](crate::target::Target::apply) does.
    ///
    /// # Errors
    ///
    /// As there; [`Applied::Fenced`] says that something else is known of the letter meanwhile.
    pub async fn apply(&mut self, replay: &Folded) -> Result<Applied, TargetError> {
        match self {
            Self::Postgres(target) => target.apply(replay).await,
            Self::Sqlite(target) => target.apply(replay).await,
        }
    }

    /// Reads what a row has left under its old key, as
    /// [`Target::moved`](crate::target::Target::moved) does.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn moved(&mut self, request: &MoveRequest) -> Result<Option<Moved>, TargetError> {
        match self {
            Self::Postgres(target) => target.moved(request).await,
            Self::Sqlite(target) => target.moved(request).await,
        }
    }
}

/// Reads the headers of a kept record.
pub(super) fn read_headers(text: Option<&str>) -> Result<KeptHeaders, TargetError> {
    let unreadable = || TargetError::Statement("the headers are not as they were kept".into());
    refused::read_headers(text.unwrap_or("[]")).ok_or_else(unreadable)
}

//! History: what occurred in a world, and its trace for whoever must understand a failure.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use tokio::time::Instant;

/// The lines of a trace that are printed: the newest.
const LINES_MAX: usize = 1_500;

/// Lists the faults and transitions whose counts a run reports.
macro_rules! occurrences {
    ($($name:ident: $text:literal,)*) => {
        /// A fault or a transition.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(super) enum Met {
            $(#[doc = $text] $name,)*
        }

        impl Met {
            /// All of them, with what they are.
            pub(super) const ALL: &[(Self, &str)] = &[$((Self::$name, $text),)*];
        }
    };
}

occurrences! {
    MemberCrashed: "a member crashed",
    CrashedInTransaction: "a crash left a transaction open for a while",
    CrashedAtCommit: "a crash fell between COMMIT and its answer",
    MemberFroze: "a member froze",
    FrozenInTransaction: "a member froze while its transaction held locks",
    ZombieWoke: "a frozen member woke after its partitions were given away",
    SessionLost: "a session was lost before COMMIT",
    AnswerLostUncommitted: "the answer to a COMMIT that failed was lost",
    AnswerLostCommitted: "the answer to a COMMIT that took effect was lost",
    CommittedLate: "a lost COMMIT took effect later",
    DatabaseSlow: "the database was slow",
    DatabaseAway: "the database was away",
    DatabaseRestored: "the database went back to an older state",
    RestoredInFlight: "a transaction was in flight at a restore",
    TargetBusy: "a lock or a deadlock refused an order",
    TableAltered: "a table was altered by hand",
    LayoutStale: "a batch found its table altered",
    Rebalanced: "partitions changed hands",
    RevokedInFlight: "partitions were revoked with a batch in flight",
    RevokedPartly: "some partitions of a member were revoked, and others kept",
    ReleasedLate: "a revocation did not wait for the release any longer",
    PartitionLost: "partitions were lost",
    AssignedAgain: "a partition came back to the member that had it",
    ClaimInTime: "a claim gave the callback its position",
    ClaimLate: "a claim came behind the callback's wait",
    OldRecordsInFlight: "records of an older assignment were in flight",
    LaneFull: "a full lane had its partitions paused",
    ConnectorRepeated: "the connector repeated itself",
    KeysExchanged: "rows took each other's keys in one transaction",
    KeysExchangedPartly: "rows took each other's keys without their unchanged values",
    OlderKeptOut: "the guard kept an older image out",
    RowsRead: "a snapshot read the rows again",
    TopicGrown: "a topic got more partitions, and its keys moved",
    GrowthSeen: "a lane asked where a grown topic's partitions stand",
    LogRetained: "retention took the start of a log",
    LogGap: "a partition stopped because records were gone",
    TopicRecreated: "a topic was made again",
    TopicStopped: "a partition stopped because its topic was made again",
    LogReplaced: "another log came under a topic's name",
    LogStopped: "a partition stopped because its log was another one",
    CoordinatorAway: "the coordinator was away",
    ProofGiven: "a membership was proven",
    ProofRefused: "a membership was refused",
    ProofUnknown: "a proof of membership had no answer",
    ShutDown: "a member was shut down",
    ShutDownInFlight: "a member was shut down with a batch in flight",
    FirstPlaced: "a partition without a checkpoint was placed",
    ClaimTaken: "a claim took a partition from another owner",
    ClaimStale: "a stale member claimed",
    OwnerEnded: "a former owner's session was ended",
    Released: "partitions were released",
    FoundElsewhere: "an owner found its row elsewhere",
    Applied: "a batch was applied",
    AppliedAgain: "a repeated batch had been applied before",
    Fenced: "a batch was fenced",
    StaleFenced: "a stale member's batch was fenced",
    EndReached: "a checkpoint moved over what is no record",
    LetterKept: "a refused record was kept",
    ValueKept: "an unavailable value was kept from the target's row",
    ValueAwaited: "a row waited for what it had left",
    LookedAhead: "tables were asked for that were ahead",
    ValueBrought: "a row got what it had left",
    Mirrored: "offsets were mirrored",
    Sought: "a lane had the client seek",
    Paused: "a lane had the client pause",
}

/// What occurred, and why the world is wrong, if it is.
#[derive(Debug)]
pub(super) struct History {
    began: Instant,
    pub(super) met: BTreeSet<Met>,
    /// The lines, if they are wanted.
    trace: Option<Vec<String>>,
    pub(super) violation: Option<String>,
}

impl History {
    pub(super) fn new(is_traced: bool) -> Self {
        let trace = is_traced.then(Vec::new);
        Self { began: Instant::now(), met: BTreeSet::new(), trace, violation: None }
    }

    /// Adds a line, made only if it is wanted.
    pub(super) fn note(&mut self, who: &str, what: impl FnOnce() -> String) {
        let at = self.began.elapsed().as_secs_f64();
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{at:9.3} {who:8} {}", what()));
        }
    }

    /// Keeps the first thing that is wrong.
    pub(super) fn violate(&mut self, what: &str) {
        if self.violation.is_none() {
            self.note("CHECK", || what.to_owned());
            self.violation = Some(what.to_owned());
        }
    }

    /// Returns the newest lines.
    pub(super) fn text(&self) -> String {
        let lines = self.trace.as_deref().unwrap_or_default();
        let skipped = lines.len().saturating_sub(LINES_MAX);
        let mut text = String::new();
        for line in &lines[skipped..] {
            _ = writeln!(text, "{line}");
        }
        text
    }
}

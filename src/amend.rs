//! Amending: what an operator may do to a checkpoint's row, and what would be right where not.
//!
//! Pure: a target reads a row under its lock, asks here, and writes what is decided with its audit.

use uuid::Uuid;

use crate::checkpoint::NextOffset;
use crate::identity::TopicIdentity;
use crate::kafka::log::Watermarks;
use crate::record::TopicPartition;
use crate::stopped::StopReason;

/// A checkpoint's row as it stands under its lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Where the partition stands.
    pub next: NextOffset,
    /// The id of the topic that it stands in.
    pub topic_id: Option<Uuid>,
    /// Why it is stopped; `None` where it is not.
    pub stopped: Option<String>,
    /// Whether a member owns it that has lately shown that it lives.
    pub is_owned: bool,
}

/// What is known of the partition's log.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// The ends.
    pub range: Watermarks,
    /// The topic as it is now.
    pub topic: TopicIdentity,
}

/// What becomes of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is written, or made.
    Amend(Amendment),
    /// It is left as it is, for a reason that is told; the others are not concerned.
    Leave(String),
    /// Nothing at all is written, and the text says what would be right.
    Refuse(String),
}

/// What is written into a row; its stop goes, and whoever owns it has to claim it anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amendment {
    /// Where it stands afterwards.
    pub next: NextOffset,
    /// What the row remembers of its topic; `None` leaves that.
    pub topic: Option<TopicIdentity>,
    /// Whether the last record proves nothing any more.
    pub forgets_last: bool,
    /// What becomes of the encodings of the topic's keys.
    pub keys: Keys,
    /// What becomes of what the row guard has seen of the topic.
    pub versions: Versions,
}

/// What becomes of what the row guard has seen of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versions {
    /// It stays.
    Keep,
    /// The places in the source's log stay: the topic is another one.
    Untie,
    /// Nothing: the source's log is another one.
    Forget,
}

/// What becomes of what is known of a topic's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// It stays.
    Keep,
    /// All encodings that were met are accepted.
    Accept,
    /// None was met: the topic is another one.
    Forget,
}

/// What an operator asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Begin here, where there is no row, or where the row is of another log.
    Adopt(NextOffset),
    /// Read again from here.
    Rewind(NextOffset),
    /// Go on from here, without what lies before it.
    Skip(NextOffset),
    /// Go on at the log's beginning, which has left the row behind.
    SkipGap,
    /// Go on though keys have moved, or the source has gone back.
    Release,
}

impl Wish {
    /// Returns how the audit names it.
    pub fn command(self) -> &'static str {
        match self {
            Self::Adopt(_) => "checkpoint adopt",
            Self::Rewind(_) => "checkpoint rewind",
            Self::Skip(_) | Self::SkipGap => "checkpoint skip",
            Self::Release => "checkpoint release",
        }
    }

    /// Decides about one row; `None` stands for a row that is not there.
    pub fn decide(self, at: &TopicPartition, row: Option<&Standing>, ends: Ends) -> Decision {
        let Some(row) = row else {
            return match self {
                Self::Adopt(next) => Decision::Amend(adopted(next, ends)),
                _ => Decision::Refuse(format!(
                    "{at} has no checkpoint: consumer checkpoint adopt sets its first position"
                )),
            };
        };
        // Who is stopped applies nothing; anybody else would only be confused.
        if row.is_owned && row.stopped.is_none() && !matches!(self, Self::Adopt(_)) {
            return Decision::Refuse(format!(
                "{at} is being applied by a member: stop the members of the group first"
            ));
        }
        let is_other = row.topic_id.zip(ends.topic.id).is_some_and(|(stored, id)| stored != id);
        match self {
            Self::Adopt(next) if is_other || is_stopped_for(row, &REPLACED) => {
                Decision::Amend(adopted(next, ends))
            }
            Self::Adopt(_) => {
                Decision::Leave(format!("{at} has a checkpoint already, which is left as it is"))
            }
            Self::Rewind(to) | Self::Skip(to) if to == row.next && !is_other => {
                Decision::Leave(format!("{at} stands at {} already", to.get()))
            }
            _ if is_other => Decision::Refuse(format!(
                "{at} stands in a topic that was deleted and made again: consumer checkpoint adopt \
                 --at earliest begins with the new one"
            )),
            Self::Rewind(to) => rewind(at, row.next, to, ends.range),
            Self::Skip(to) => skip(at, row.next, to, ends.range),
            Self::SkipGap if row.next < ends.range.low => Decision::Amend(moved(ends.range.low)),
            Self::SkipGap => Decision::Leave(format!(
                "{at} stands at {}, and the log is there from {} on: --to says where to go on",
                row.next.get(),
                ends.range.low.get()
            )),
            Self::Release => release(at, row, ends.topic),
        }
    }
}

/// The stops that say that the row is of another log.
const REPLACED: [StopReason; 2] = [StopReason::TopicRecreated, StopReason::LogReplaced];

/// The stops that say that keys have moved.
const MOVED: [StopReason; 2] = [StopReason::PartitionsIncreased, StopReason::KeyEncodingChanged];

fn is_stopped_for(row: &Standing, reasons: &[StopReason]) -> bool {
    let name = row.stopped.as_deref().map(|stop| stop.split(':').next().unwrap_or_default());
    name.is_some_and(|name| reasons.iter().any(|reason| reason.name() == name))
}

fn adopted(next: NextOffset, ends: Ends) -> Amendment {
    Amendment {
        next,
        topic: Some(ends.topic),
        forgets_last: true,
        keys: Keys::Forget,
        versions: Versions::Untie,
    }
}

fn moved(next: NextOffset) -> Amendment {
    Amendment { next, topic: None, forgets_last: true, keys: Keys::Keep, versions: Versions::Keep }
}

fn rewind(at: &TopicPartition, next: NextOffset, to: NextOffset, range: Watermarks) -> Decision {
    if to > next {
        return Decision::Refuse(format!(
            "{at} stands at {}, and {} is behind that: consumer checkpoint skip passes over records",
            next.get(),
            to.get()
        ));
    }
    within(at, to, range)
}

fn skip(at: &TopicPartition, next: NextOffset, to: NextOffset, range: Watermarks) -> Decision {
    if to < next {
        return Decision::Refuse(format!(
            "{at} stands at {}, and {} is before that: consumer checkpoint rewind reads again",
            next.get(),
            to.get()
        ));
    }
    within(at, to, range)
}

fn within(at: &TopicPartition, to: NextOffset, range: Watermarks) -> Decision {
    let (low, high) = (range.low.get(), range.high.get());
    if to < range.low || to > range.high {
        let to = to.get();
        return Decision::Refuse(format!(
            "{at} has a log from {low} to {high}, and {to} is outside"
        ));
    }
    Decision::Amend(moved(to))
}

fn release(at: &TopicPartition, row: &Standing, topic: TopicIdentity) -> Decision {
    let Some(stop) = &row.stopped else {
        return Decision::Leave(format!("{at} is not stopped"));
    };
    if is_stopped_for(row, &MOVED) {
        let (next, topic) = (row.next, Some(topic));
        let (keys, versions) = (Keys::Accept, Versions::Keep);
        return Decision::Amend(Amendment { next, topic, forgets_last: false, keys, versions });
    }
    if is_stopped_for(row, &[StopReason::SourceWentBack]) {
        let (keys, versions) = (Keys::Keep, Versions::Forget);
        let (next, topic) = (row.next, None);
        return Decision::Amend(Amendment { next, topic, forgets_last: false, keys, versions });
    }
    let right = if is_stopped_for(row, &REPLACED) {
        "consumer checkpoint adopt --at earliest reads the new log"
    } else if is_stopped_for(row, &[StopReason::LogGap]) {
        "consumer checkpoint skip goes on behind the gap"
    } else if is_stopped_for(row, &[StopReason::LogTruncated]) {
        "consumer checkpoint rewind goes back to what is there"
    } else {
        "mend what it names, and restart the member"
    };
    Decision::Leave(format!("{at} is stopped by {stop}: {right}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPIC: TopicIdentity = TopicIdentity { id: Some(Uuid::from_u128(1)), partition_count: 3 };

    fn row(next: i64, stopped: Option<&str>) -> Standing {
        let (next, stopped) = (NextOffset::at(next), stopped.map(str::to_owned));
        Standing { next, topic_id: TOPIC.id, stopped, is_owned: false }
    }

    /// Decides about a log from 10 to 20: `@` and an offset, `left`, or what would be right.
    fn check(wish: Wish, row: Option<&Standing>) -> String {
        let (low, high) = (NextOffset::at(10), NextOffset::at(20));
        let ends = Ends { range: Watermarks { low, high }, topic: TOPIC };
        match wish.decide(&TopicPartition::new("t", 0), row, ends) {
            Decision::Amend(amendment) => format!("@{}", amendment.next.get()),
            Decision::Leave(_) => "left".to_owned(),
            Decision::Refuse(text) => text,
        }
    }

    fn to(offset: i64) -> NextOffset {
        NextOffset::at(offset)
    }

    #[test]
    fn a_rewind_goes_back_within_the_log_only() {
        let stands = row(15, None);
        assert_eq!(check(Wish::Rewind(to(12)), Some(&stands)), "@12");
        assert_eq!(check(Wish::Rewind(to(20)), Some(&row(90, None))), "@20", "a truncated log");
        let outside = "t[0] has a log from 10 to 20, and 9 is outside";
        assert_eq!(check(Wish::Rewind(to(9)), Some(&stands)), outside);
        assert_eq!(check(Wish::Rewind(to(15)), Some(&stands)), "left");
        assert!(check(Wish::Rewind(to(25)), Some(&stands)).contains("checkpoint skip"));
        assert!(check(Wish::Rewind(to(12)), None).contains("checkpoint adopt"));
    }

    #[test]
    fn a_skip_goes_on_within_the_log_or_past_a_gap() {
        let stands = row(15, None);
        assert_eq!(check(Wish::Skip(to(17)), Some(&stands)), "@17");
        assert!(check(Wish::Skip(to(21)), Some(&stands)).contains("outside"));
        assert!(check(Wish::Skip(to(8)), Some(&row(3, None))).contains("outside"));
        assert_eq!(check(Wish::Skip(to(15)), Some(&stands)), "left");
        assert!(check(Wish::Skip(to(14)), Some(&stands)).contains("checkpoint rewind"));
        assert_eq!(check(Wish::SkipGap, Some(&row(3, Some("log_gap: x")))), "@10");
        assert_eq!(check(Wish::SkipGap, Some(&stands)), "left");
    }

    #[test]
    fn a_release_is_for_moved_keys_only_and_tells_the_others_what_helps() {
        let moved = row(15, Some("partitions_increased: t"));
        assert_eq!(check(Wish::Release, Some(&moved)), "@15");
        assert_eq!(check(Wish::Release, Some(&row(15, Some("key_encoding_changed: t")))), "@15");
        assert_eq!(check(Wish::Release, Some(&row(15, Some("log_gap: t")))), "left");
        assert_eq!(check(Wish::Release, Some(&row(15, None))), "left");
    }

    #[test]
    fn an_adoption_makes_rows_and_takes_only_those_of_another_log() {
        let adopt = Wish::Adopt(to(10));
        assert_eq!(check(adopt, None), "@10");
        assert_eq!(check(adopt, Some(&row(15, None))), "left");
        assert_eq!(check(adopt, Some(&row(15, Some("log_replaced: x")))), "@10");
        let other = Standing { topic_id: Some(Uuid::from_u128(9)), ..row(15, None) };
        assert_eq!(check(adopt, Some(&other)), "@10");
        assert!(check(Wish::Skip(to(17)), Some(&other)).contains("checkpoint adopt"));
    }

    #[test]
    fn what_a_living_member_applies_is_left_to_it_unless_it_is_stopped() {
        let mut owned = Standing { is_owned: true, ..row(15, None) };
        for wish in [Wish::Rewind(to(12)), Wish::Skip(to(17)), Wish::Release, Wish::SkipGap] {
            assert!(check(wish, Some(&owned)).contains("stop the members"), "{wish:?}");
        }
        owned.stopped = Some("record_refused: x".to_owned());
        assert_eq!(check(Wish::Skip(to(17)), Some(&owned)), "@17");
    }
}

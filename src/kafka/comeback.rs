//! What a member with an instance id finds when it comes back.
//!
//! The coordinator gives such a member what it had before, whatever it subscribes to now
//! (KAFKA-12759): topics that are new meanwhile would be nobody's, and those that it no longer wants
//! would still be its own. It leaves the group and joins it anew then.

use std::collections::HashSet;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use tokio::time::Instant;
use tracing::{debug, info};

/// How long the coordinator may take to tell of the group, and the pause before it is asked again.
const GROUP_WAIT: Duration = Duration::from_secs(1);
const GROUP_PAUSE: Duration = Duration::from_secs(2);

/// Compares the first assignment of a member with an instance id with its subscription.
#[derive(Debug)]
pub(super) struct Comeback {
    group: String,
    next: Option<Instant>,
    is_new: bool,
}

impl Comeback {
    /// Begins with a client that has no assignment yet; `None` where the coordinator compares by
    /// itself.
    pub(super) fn of(config: &ClientConfig) -> Option<Self> {
        let is_static = config.get("group.instance.id").is_some();
        let is_classic = config.get("group.protocol").is_none_or(|protocol| protocol != "consumer");
        let group = config.get("group.id").filter(|_| is_static && is_classic)?.to_owned();
        Some(Self { group, next: None, is_new: true })
    }

    /// Takes that the group has assigned something, or nothing.
    pub(super) fn assigned(&mut self) {
        if std::mem::take(&mut self.is_new) {
            self.next = Some(Instant::now());
        }
    }

    /// Returns whether only a new member gets what it subscribes to, as soon as the group stands.
    pub(super) fn is_stale<C: ConsumerContext>(
        &mut self,
        consumer: &BaseConsumer<C>,
        subscribed: &HashSet<String>,
    ) -> bool {
        if self.next.take_if(|at| *at <= Instant::now()).is_none() {
            return false;
        }
        let Some(assigned) = self.assigned_topics(consumer) else {
            self.next = Some(Instant::now() + GROUP_PAUSE);
            return false;
        };
        let of_nobody = subscribed.difference(&assigned).collect::<Vec<_>>();
        let mine = consumer.assignment().map(|list| list.to_topic_map()).unwrap_or_default();
        let mut mine = mine.keys().map(|(topic, _)| topic);
        let unwanted = mine.find(|topic| !subscribed.contains(*topic));
        let is_stale = !of_nobody.is_empty() || unwanted.is_some();
        if is_stale {
            info!(?of_nobody, unwanted, "joins anew: the group has not heard of what has changed");
        }
        is_stale
    }

    /// Returns the topics of which members have partitions; `None` while the group moves.
    fn assigned_topics<C: ConsumerContext>(
        &self,
        consumer: &BaseConsumer<C>,
    ) -> Option<HashSet<String>> {
        let found = consumer.fetch_group_list(Some(&self.group), GROUP_WAIT);
        let groups = found.inspect_err(|error| debug!(%error, "could not look at the group"));
        let groups = groups.ok()?;
        let group = groups.groups().iter().find(|group| group.name() == self.group)?;
        let assignments = group.members().iter().map(|member| topics_of(member.assignment()?));
        let topics = assignments.collect::<Option<Vec<_>>>().filter(|_| group.state() == "Stable");
        Some(topics?.into_iter().flatten().collect())
    }
}

/// Reads the topics of an assignment of the consumer protocol: a version, then for each topic its
/// name and its partitions.
fn topics_of(assignment: &[u8]) -> Option<Vec<String>> {
    let (_version, rest) = assignment.split_first_chunk::<2>()?;
    let (count, mut rest) = rest.split_first_chunk::<4>()?;
    let mut topics = Vec::new();
    for _ in 0..i32::from_be_bytes(*count) {
        let (length, behind) = rest.split_first_chunk::<2>()?;
        let length = usize::try_from(i16::from_be_bytes(*length)).ok()?;
        let (name, behind) = behind.split_at_checked(length)?;
        let (partitions, behind) = behind.split_first_chunk::<4>()?;
        let partitions = usize::try_from(i32::from_be_bytes(*partitions)).ok()?;
        rest = behind.get(partitions.checked_mul(4)?..)?;
        topics.push(String::from_utf8(name.to_vec()).ok()?);
    }
    Some(topics)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topics_of_an_assignment_are_read() {
        let two =
            b"\0\x03\0\0\0\x02\0\x01t\0\0\0\x02\0\0\0\0\0\0\0\x01\0\x02uv\0\0\0\0\xff\xff\xff\xff";
        assert_eq!(topics_of(two), Some(vec!["t".to_owned(), "uv".to_owned()]));
        assert_eq!(topics_of(b"\0\x03\0\0\0\0"), Some(vec![]));
        assert_eq!(topics_of(two.get(..20).unwrap()), None);
        assert_eq!(topics_of(b""), None, "of a member that has no assignment yet");
    }

    #[test]
    fn only_a_member_with_an_instance_id_of_the_older_protocol_looks() {
        let config = |pairs: &[(&str, &str)]| {
            let mut config = ClientConfig::new();
            pairs.iter().for_each(|(name, value)| _ = config.set(*name, *value));
            Comeback::of(&config).is_some()
        };
        assert!(config(&[("group.id", "g"), ("group.instance.id", "i")]));
        assert!(!config(&[("group.id", "g")]));
        let broker_decides = [("group.instance.id", "i"), ("group.protocol", "consumer")];
        assert!(!config(
            &[("group.id", "g")].into_iter().chain(broker_decides).collect::<Vec<_>>()
        ));
    }
}

//! The topics that a member wants: its subscription follows them.

use std::collections::HashSet;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use tokio::time::Instant;
use tracing::debug;

use super::comeback::Comeback;

/// How long the brokers may take to tell of a topic, and the pause before they are asked again.
const METADATA_WAIT: Duration = Duration::from_secs(1);
const METADATA_PAUSE: Duration = Duration::from_secs(2);

/// What is subscribed to, and what is to be.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    next: Option<(Instant, Vec<String>)>,
    topics: HashSet<String>,
    comeback: Option<Comeback>,
    // Whether it has left the group, to join it anew.
    is_leaving: bool,
}

impl Wanted {
    /// Wants nothing yet.
    pub(super) fn of(config: &ClientConfig) -> Self {
        Self { comeback: Comeback::of(config), ..Self::default() }
    }

    /// Wants these topics from now on.
    pub(super) fn want(&mut self, topics: Vec<String>) {
        self.next = Some((Instant::now(), topics));
    }

    /// Takes that the group has assigned something, or nothing.
    pub(super) fn assigned(&mut self) {
        self.comeback.iter_mut().for_each(Comeback::assigned);
    }

    /// Subscribes to what is wanted, once the brokers have told this client of the topics that are
    /// new to it: having to look for them amid a rebalance, librdkafka (2.12) aborts the process.
    pub(super) fn take_up<C: ConsumerContext>(
        &mut self,
        consumer: &BaseConsumer<C>,
    ) -> Result<(), String> {
        if let Some(comeback) = &mut self.comeback
            && comeback.is_stale(consumer, &self.topics)
        {
            let topics = self.topics.drain().collect();
            self.next.get_or_insert_with(|| (Instant::now(), topics));
            self.is_leaving = true;
            consumer.unsubscribe();
        }
        // It has left once nothing is assigned any more.
        if self.is_leaving && consumer.assignment().is_ok_and(|assigned| assigned.count() > 0) {
            return Ok(());
        }
        self.is_leaving = false;
        let Some((_, topics)) = self.next.take_if(|(at, _)| *at <= Instant::now()) else {
            return Ok(());
        };
        if topics.is_empty() {
            self.topics.clear();
            consumer.unsubscribe();
            return Ok(());
        }
        let is_new = |topic: &&String| !self.topics.is_empty() && !self.topics.contains(*topic);
        for topic in topics.iter().filter(is_new) {
            if let Err(error) = consumer.fetch_metadata(Some(topic), METADATA_WAIT) {
                debug!(%topic, %error, "could not look a new topic up");
                self.next = Some((Instant::now() + METADATA_PAUSE, topics));
                return Ok(());
            }
        }
        let names = topics.iter().map(String::as_str).collect::<Vec<_>>();
        consumer.subscribe(&names).map_err(|error| error.to_string())?;
        self.topics = topics.into_iter().collect();
        Ok(())
    }
}

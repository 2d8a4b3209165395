//! The checks before the start: every service is asked, and all problems are told together.

use anyhow::bail;
use tokio::time::Instant;
use tracing::{info, warn};
use uuid::Uuid;

use crate::decode::registry::Registry;
use crate::kafka::log::Log;
use crate::settings::{Settings, TopicPattern};
use crate::target::{Sink, Target};

/// The pause before services are asked again that did not answer.
const ASK_AGAIN: std::time::Duration = std::time::Duration::from_secs(1);

/// What is checked.
pub(super) struct Checks<'a> {
    pub(super) settings: &'a Settings,
    pub(super) log: &'a Log,
    pub(super) registry: Option<&'a Registry>,
}

/// What one round of questions found.
#[derive(Default)]
struct Round {
    cluster_id: Option<String>,
    // Worth asking again.
    unanswered: Vec<String>,
    // Will not change by itself.
    refused: Vec<String>,
}

impl Checks<'_> {
    /// Asks until every service has answered, and returns whose checkpoint rows are ours.
    ///
    /// # Errors
    ///
    /// A service refuses us, or did not answer within the start-up time.
    pub(super) async fn pass<T: Target>(
        &self,
        connect: &impl Fn(Sink) -> anyhow::Result<T>,
    ) -> anyhow::Result<Sink> {
        let deadline = Instant::now() + self.settings.startup_timeout;
        let mut is_told = false;
        loop {
            let round = self.ask(connect).await?;
            let is_late = Instant::now() >= deadline;
            if !round.refused.is_empty() || (is_late && !round.unanswered.is_empty()) {
                bail!("{}", [round.refused, round.unanswered].concat().join("; "));
            }
            if let Some(cluster_id) = round.cluster_id.filter(|_| round.unanswered.is_empty()) {
                return Ok(self.sink(cluster_id));
            }
            if !is_told {
                info!(problems = round.unanswered.join("; "), "waits for services");
                is_told = true;
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    fn sink(&self, cluster_id: String) -> Sink {
        let (name, group_id) = (self.settings.sink.clone(), self.settings.kafka.group.clone());
        Sink { name, cluster_id, group_id }
    }

    async fn ask<T: Target>(
        &self,
        connect: &impl Fn(Sink) -> anyhow::Result<T>,
    ) -> anyhow::Result<Round> {
        let mut round = Round::default();
        match self.log.cluster_id().await {
            Ok(cluster_id) => {
                round.cluster_id = Some(cluster_id);
                self.ask_topics(&mut round).await;
            }
            Err(error) => round.unanswered.push(format!("{error:#}")),
        }
        if let Some(registry) = self.registry
            && let Err(error) = registry.check().await
        {
            round.unanswered.push(format!("{error:#}"));
        }
        // A claim of nothing connects, and makes or finds our own tables.
        let mut target = connect(self.sink(String::new()))?;
        if let Err(error) = target.claim(&[], Uuid::nil(), false).await {
            let text = format!("{:#}", anyhow::Error::new(error));
            round.unanswered.push(text);
        }
        Ok(round)
    }

    /// A listed topic must exist; a pattern may wait for its first.
    async fn ask_topics(&self, round: &mut Round) {
        let topics = match self.log.topics().await {
            Ok(topics) => topics,
            Err(error) => return round.unanswered.push(format!("{error:#}")),
        };
        for pattern in &self.settings.kafka.topics {
            let is_there = topics.iter().any(|topic| pattern.matches(&topic.name));
            match pattern {
                TopicPattern::Literal(name) if !is_there => {
                    round.refused.push(format!("topic \"{name}\" does not exist"));
                }
                TopicPattern::Regex(_) if !is_there => {
                    warn!(pattern = pattern.as_str(), "no topic matches yet: waits for the first");
                }
                TopicPattern::Literal(_) | TopicPattern::Regex(_) => {}
            }
        }
    }
}

//! The checks before the start: every service is asked, and all problems are told together.

use anyhow::bail;
use tokio::time::Instant;
use tracing::{info, warn};
use uuid::Uuid;

use crate::decode::schema::registry::Registry;
use crate::kafka::log::{Log, LogError, Topics};
use crate::settings::{Settings, TopicPattern};
use crate::target::{Disposition, Sink, Target, TargetError};

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
            Ok(cluster_id) => round.cluster_id = Some(cluster_id),
            Err(error) => round.log_problem(&error),
        }
        if round.cluster_id.is_some() {
            match self.log.topics(&self.settings.kafka.topics).await {
                Ok(topics) => self.compare(&topics, &mut round),
                Err(error) => round.log_problem(&error),
            }
        }
        if let Some(topic) = &self.settings.dead_letter_topic
            && round.cluster_id.is_some()
        {
            match self.log.partition_count(topic).await {
                Ok(_) => {}
                Err(LogError::TopicMissing { topic }) => {
                    round.refused.push(format!("--dead-letter-topic \"{topic}\" does not exist"));
                }
                Err(error) => round.log_problem(&error),
            }
        }
        if let Some(registry) = self.registry
            && let Err(error) = registry.check().await
        {
            round.tell(error.is_passing(), chain(error));
        }
        // A claim of nothing connects, and makes or finds our own tables.
        let mut target = connect(self.sink(String::new()))?;
        if let Err(error) = target.claim(&[], Uuid::nil(), false).await {
            let is_passing = match (error.disposition(), &error) {
                // The service waits for a new certificate or password; at its start the old one is a
                // wrong one.
                (Disposition::Stop(_) | Disposition::StopOne(..), _)
                | (_, TargetError::Untrusted(_) | TargetError::NotAdmitted(_)) => false,
                (Disposition::Retry(_) | Disposition::Rewind, _) => true,
            };
            round.tell(is_passing, chain(error));
        }
        Ok(round)
    }

    /// A listed topic must exist; a pattern may wait for its first.
    fn compare(&self, topics: &Topics, round: &mut Round) {
        for name in &topics.missing {
            round.refused.push(format!("topic \"{name}\" does not exist"));
        }
        if topics.missing.is_empty() && topics.partition_counts.is_empty() {
            let patterns = self.settings.kafka.topics.iter().map(TopicPattern::as_str);
            let patterns = patterns.collect::<Vec<_>>().join(", ");
            warn!(patterns, "no topic matches yet: waits for the first");
        }
    }
}

impl Round {
    fn log_problem(&mut self, error: &LogError) {
        self.tell(error.is_passing(), error.to_string());
    }

    fn tell(&mut self, is_passing: bool, text: String) {
        if is_passing { self.unanswered.push(text) } else { self.refused.push(text) }
    }
}

fn chain(error: impl Into<anyhow::Error>) -> String {
    format!("{:#}", error.into())
}

//! Which topics the group reads: what a pattern means is decided here alone, not by the client, whose
//! expressions are others, nor by the broker, whose are others again.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::Link;
use super::log::Log;
use crate::settings::TopicPattern;

/// How often topics are looked for that are new, or gone.
const LOOK: Duration = Duration::from_secs(5);

/// Keeps the group's subscription at the topics that the patterns stand for, until the shutdown.
pub async fn follow(
    log: Log,
    patterns: Vec<TopicPattern>,
    link: Link,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let mut subscribed = BTreeSet::new();
    while !shutdown.is_cancelled() {
        match log.topics(&patterns).await {
            Ok(topics) => {
                // One that is listed by name may come, and is waited for.
                let names = topics.partition_counts.into_keys().chain(topics.missing);
                let names = names.collect::<BTreeSet<_>>();
                if names != subscribed {
                    info!(count = names.len(), "subscribes");
                    debug!(topics = ?names);
                    link.subscribe(names.iter().cloned().collect());
                    subscribed = names;
                }
            }
            Err(error) => debug!(%error, "could not look for topics"),
        }
        _ = shutdown.run_until_cancelled(tokio::time::sleep(LOOK)).await;
    }
    Ok(())
}

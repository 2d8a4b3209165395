//! Copies of dead letters into a topic, beside the data's path: a broker that takes none holds nothing
//! up, and what is not copied yet stays so in the target until it is.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::kafka::copies::{Copies, Copy};
use crate::target::letters::{KeptLetter, Letters};
use crate::telemetry;

/// How many are copied in one go: each may be as large as a record can be.
const COPIES_MAX: u32 = 100;

/// The pause before it is looked again whether something is to be copied.
const PAUSE: Duration = Duration::from_secs(1);

/// The pause after a failure.
const LONG_PAUSE: Duration = Duration::from_secs(5);

/// How long the last copies may hold up the end.
const LAST_MAX: Duration = Duration::from_secs(3);

/// What copies dead letters.
pub(super) struct Copier<T> {
    pub(super) target: T,
    pub(super) copies: Copies,
    pub(super) sink: String,
}

impl<T: Letters> Copier<T> {
    /// Copies what is not copied yet, until the shutdown; then what the last batch has left.
    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        let mut is_failing = false;
        let mut pause = Duration::ZERO;
        loop {
            let waited = shutdown.run_until_cancelled(tokio::time::sleep(pause)).await;
            if waited.is_none() {
                // What cannot be copied now is copied at the next start.
                _ = tokio::time::timeout(LAST_MAX, self.copy_some()).await;
                return;
            }
            let Some(outcome) = self.copy_on(&shutdown).await else { return };
            pause = match &outcome {
                Ok(COPIES_MAX) => Duration::ZERO,
                Ok(_) => PAUSE,
                Err(_) => LONG_PAUSE,
            };
            match outcome {
                Ok(count) if is_failing && count > 0 => {
                    info!("copies refused records again");
                    is_failing = false;
                }
                Ok(_) => {}
                Err(error) => {
                    metrics::counter!(telemetry::RETRIES, "reason" => "copy").increment(1);
                    if !is_failing {
                        let error = format!("{error:#}");
                        warn!(error, "could not copy refused records: trying again");
                    }
                    is_failing = true;
                }
            }
        }
    }

    /// Copies some, also when the shutdown comes meanwhile, but not for long then: what is on its way
    /// may come twice.
    async fn copy_on(&mut self, shutdown: &CancellationToken) -> Option<anyhow::Result<u32>> {
        let mut copying = std::pin::pin!(self.copy_some());
        match shutdown.run_until_cancelled(&mut copying).await {
            Some(outcome) => Some(outcome),
            None => tokio::time::timeout(LAST_MAX, copying).await.ok(),
        }
    }

    /// Copies some, and returns how many.
    async fn copy_some(&mut self) -> anyhow::Result<u32> {
        let letters = self.target.uncopied(COPIES_MAX).await?;
        let results = self.copies.send(&self.described(&letters)).await;
        let is_copied = |(letter, result): (&KeptLetter, &Result<_, _>)| {
            result.is_ok().then_some(letter.letter.id)
        };
        let copied: Vec<i64> = letters.iter().zip(&results).filter_map(is_copied).collect();
        if !copied.is_empty() {
            self.target.copied(&copied).await?;
        }
        if let Some(failed) = results.into_iter().find_map(Result::err) {
            return Err(failed.into());
        }
        Ok(u32::try_from(copied.len()).unwrap_or(u32::MAX))
    }

    fn described<'a>(&'a self, letters: &'a [KeptLetter]) -> Vec<Copy<'a>> {
        let describe = |kept: &'a KeptLetter| Copy {
            sink: &self.sink,
            partition: &kept.letter.partition,
            record: &kept.record,
            reason: &kept.letter.reason,
            error: kept.letter.error.as_deref().unwrap_or_default(),
        };
        letters.iter().map(describe).collect()
    }
}

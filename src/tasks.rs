//! Named tasks that live and die together.

use std::future::Future;
use std::time::Duration;

use anyhow::Context as _;
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

/// The tasks of one running service.
#[derive(Debug, Default)]
pub struct Tasks {
    running: JoinSet<(String, anyhow::Result<()>)>,
}

impl Tasks {
    /// Starts a task under a name.
    pub fn spawn<F>(&mut self, name: impl Into<String>, task: F) -> AbortHandle
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let name = name.into();
        self.running.spawn(async move { (name, task.await) })
    }

    /// Starts a task that blocks a thread of its own, under a name.
    pub fn spawn_blocking<F>(&mut self, name: impl Into<String>, task: F) -> AbortHandle
    where
        F: FnOnce() -> anyhow::Result<()> + Send + 'static,
    {
        let name = name.into();
        self.running.spawn_blocking(move || (name, task()))
    }

    /// Waits for every task, asking the rest to stop as soon as one has ended.
    ///
    /// Those that have not stopped `grace` after they were asked are dropped and named in the error.
    ///
    /// # Errors
    /// The first error of a task, with its name.
    pub async fn join_all(
        mut self,
        shutdown: CancellationToken,
        grace: Duration,
    ) -> anyhow::Result<()> {
        let mut outcome = Ok(());
        let is_late = async {
            shutdown.cancelled().await;
            tokio::time::sleep(grace).await;
        };
        tokio::pin!(is_late);
        loop {
            tokio::select! {
                biased;
                // An ended task first: the last one ends the wait even when the grace is over.
                joined = self.running.join_next() => {
                    let Some(joined) = joined else { return outcome };
                    shutdown.cancel();
                    let result = joined
                        .context("join a task")
                        .and_then(|(name, result)| result.with_context(|| format!("run {name}")));
                    outcome = outcome.and(result);
                }
                () = &mut is_late => {
                    let count = self.running.len();
                    let late = anyhow::anyhow!("{count} tasks did not stop within {grace:?}");
                    return outcome.and(Err(late));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(10);

    async fn until(shutdown: CancellationToken) -> anyhow::Result<()> {
        shutdown.cancelled().await;
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_ended_task_stops_the_others_and_its_error_is_named() {
        let (mut tasks, shutdown) = (Tasks::default(), CancellationToken::new());
        tasks.spawn("waits", until(shutdown.clone()));
        tasks.spawn("breaks", async { anyhow::bail!("no more") });

        let error = tasks.join_all(shutdown, GRACE).await.unwrap_err();
        assert_eq!(format!("{error:#}"), "run breaks: no more");
    }

    #[tokio::test(start_paused = true)]
    async fn a_shutdown_ends_all_without_an_error() {
        let (mut tasks, shutdown) = (Tasks::default(), CancellationToken::new());
        tasks.spawn("waits", until(shutdown.clone()));
        tasks.spawn_blocking("blocks", || Ok(()));
        shutdown.cancel();
        tasks.join_all(shutdown, GRACE).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_does_not_stop_is_dropped_after_the_grace() {
        let (mut tasks, shutdown) = (Tasks::default(), CancellationToken::new());
        tasks.spawn("hangs", std::future::pending());
        shutdown.cancel();
        let error = tasks.join_all(shutdown, GRACE).await.unwrap_err();
        assert_eq!(format!("{error:#}"), "1 tasks did not stop within 10s");
    }
}

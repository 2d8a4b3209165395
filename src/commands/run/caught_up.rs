//! `--until-caught-up`: ends the member once all that was there at assignment is applied.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use tokio::time::Instant;
use tracing::info;

use super::Service;
use crate::checkpoint::NextOffset;
use crate::kafka::log::{Log, Watermarks};
use crate::record::TopicPartition;
use crate::status::{PartitionState, PartitionStatus};

/// How often the partitions are looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Where a partition's log ends.
#[derive(Clone, Copy, Debug)]
struct End {
    /// What it was at assignment.
    goal: NextOffset,
    /// What it was when it was last asked for.
    latest: NextOffset,
}

impl End {
    /// Returns whether a checkpoint has come to the goal. One beyond the log's end has not: the log
    /// has lost what was applied, and the lane is about to stop the partition.
    fn is_reached_at(self, next: NextOffset) -> bool {
        self.goal <= next && next <= self.latest
    }
}

/// Waits until each assigned partition has reached the end that it had at assignment, or is
/// stopped.
///
/// # Errors
///
/// Nothing was assigned within the start-up time.
pub(super) async fn reach(service: &Service, log: &Log) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let mut ends = BTreeMap::<TopicPartition, End>::new();
    while !service.shutdown.is_cancelled() {
        tokio::time::sleep(LOOK).await;
        let member = service.board.member();
        let assigned = member.partitions().cloned().collect::<Vec<_>>();
        if assigned.is_empty() {
            if started.elapsed() > service.settings.startup_timeout {
                bail!("no partition was assigned within {:?}", service.settings.startup_timeout);
            }
            continue;
        }
        let is_asked = |status: &&PartitionStatus| {
            ends.get(&status.partition).is_none_or(|end| status.next > Some(end.latest))
        };
        let asked = assigned.iter().filter(is_asked).map(|status| status.partition.clone());
        let asked = asked.collect::<Vec<_>>();
        if !asked.is_empty() {
            let Ok(found) = log.watermarks(&asked).await else { continue };
            for (partition, Watermarks { high, .. }) in found {
                let fresh = End { goal: high, latest: high };
                ends.entry(partition).or_insert(fresh).latest = high;
            }
        }
        let is_done = |status: &PartitionStatus| {
            let end = ends.get(&status.partition);
            matches!(status.state, PartitionState::Stopped(_))
                || end.zip(status.next).is_some_and(|(end, next)| end.is_reached_at(next))
        };
        if assigned.iter().all(is_done) {
            let stopped = assigned.iter().filter_map(|status| match &status.state {
                PartitionState::Stopped(stop) => Some((&status.partition, stop)),
                _ => None,
            });
            let mut code = ExitCode::SUCCESS;
            for (partition, stop) in stopped {
                info!(%partition, %stop, "is stopped");
                code = ExitCode::from(1);
            }
            let lanes = member.lanes.values().map(|lane| lane.written);
            let (rows, letters) = lanes.fold((0, 0), |(rows, letters), written| {
                (rows + written.rows, letters + written.dead_letters)
            });
            writeln!(io::stdout(), "caught up: {rows} rows, {letters} dead letters")?;
            return Ok(code);
        }
    }
    Ok(ExitCode::SUCCESS)
}

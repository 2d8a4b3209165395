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
use crate::kafka::log::Log;
use crate::record::TopicPartition;
use crate::status::PartitionState;

/// How often the partitions are looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Waits until each assigned partition has reached the end that it had at assignment, or is
/// stopped.
///
/// # Errors
///
/// Nothing was assigned within the start-up time.
pub(super) async fn reach(service: &Service, log: &Log) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let mut ends = BTreeMap::<TopicPartition, NextOffset>::new();
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
        let is_new = |partition: &&TopicPartition| !ends.contains_key(*partition);
        let fresh = assigned.iter().map(|status| &status.partition).filter(is_new).cloned();
        let fresh = fresh.collect::<Vec<_>>();
        if !fresh.is_empty() {
            let Ok(found) = log.watermarks(&fresh).await else { continue };
            ends.extend(found.into_iter().map(|(partition, ends)| (partition, ends.high)));
        }
        let is_done =
            |state: &PartitionState, next: Option<NextOffset>, end: Option<&NextOffset>| {
                matches!(state, PartitionState::Stopped(_))
                    || end.is_some_and(|end| next.is_some_and(|next| next >= *end))
            };
        let all_done = assigned
            .iter()
            .all(|status| is_done(&status.state, status.next, ends.get(&status.partition)));
        if all_done {
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

//! The log and the metrics: every metric's name, label and meaning.

use std::io::stderr;
use std::time::Duration;

use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::settings::LogFormat;

/// Records read, by `topic`.
pub const RECORDS: &str = "afterimage_records_total";
/// Changes decoded, by `table` and `op`.
pub const CHANGES: &str = "afterimage_changes_total";
/// Records that write nothing, by `kind`.
pub const IGNORED: &str = "afterimage_ignored_total";
/// Rows written after folding, by `table` and `op`.
pub const ROWS_WRITTEN: &str = "afterimage_rows_written_total";
/// Changes of guarded tables that were older than the target's row.
pub const OLDER: &str = "afterimage_older_changes_total";
/// Changes of a batch.
pub const BATCH_ROWS: &str = "afterimage_batch_rows";
/// Time of a batch's transaction.
pub const BATCH_APPLY: &str = "afterimage_batch_apply_seconds";
/// Time from the source's commit to the target's.
pub const END_TO_END: &str = "afterimage_end_to_end_seconds";
/// Records behind the high watermark, by `topic` and `partition`.
pub const LAG: &str = "afterimage_lag_records";
/// Records that wait for a producer's transaction to end, by `topic` and `partition`.
pub const HELD_BACK: &str = "afterimage_held_back_records";
/// Time since the most belated partition's checkpoint moved or stood at the end.
pub const CHECKPOINT_AGE: &str = "afterimage_checkpoint_age_seconds";
/// Dead letters written, by `reason`.
pub const DEAD_LETTERS: &str = "afterimage_dead_letters_total";
/// Attempts that are made again, by `reason`.
pub const RETRIES: &str = "afterimage_retries_total";
/// This member's partitions, by `state`.
pub const PARTITIONS: &str = "afterimage_partitions";
/// Rebalances that this member took part in.
pub const REBALANCES: &str = "afterimage_rebalances_total";
/// Batches that found another owner.
pub const FENCED: &str = "afterimage_fenced_total";
/// The program, by `version`; always 1.
pub const BUILD_INFO: &str = "afterimage_build_info";

/// A metric as README and `/metrics` describe it.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// How it moves.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it means.
    pub help: &'static str,
}

/// How a metric moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// It counts values by size.
    Histogram,
}

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind: Kind::Counter, labels, help }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, labels, help }
}

const fn histogram(name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Histogram, labels: &[], help }
}

/// Every metric, in the order of the list in README.
pub const METRICS: [Metric; 17] = [
    counter(RECORDS, &["topic"], "Records read"),
    counter(CHANGES, &["table", "op"], "Changes decoded"),
    counter(IGNORED, &["kind"], "Records that write nothing"),
    counter(ROWS_WRITTEN, &["table", "op"], "Rows written, after folding"),
    counter(OLDER, &[], "Changes of guarded tables that were older than the target's row"),
    histogram(BATCH_ROWS, "Changes of a batch"),
    histogram(BATCH_APPLY, "Time of a batch's transaction"),
    histogram(END_TO_END, "Time from the source's commit to the target's"),
    gauge(LAG, &["topic", "partition"], "Records between checkpoint and high watermark"),
    gauge(HELD_BACK, &["topic", "partition"], "Records behind a transaction that is open"),
    gauge(CHECKPOINT_AGE, &[], "Time since the most belated checkpoint moved or stood at the end"),
    counter(DEAD_LETTERS, &["reason"], "Dead letters written"),
    counter(RETRIES, &["reason"], "Attempts that are made again"),
    gauge(PARTITIONS, &["state"], "This member's partitions"),
    counter(REBALANCES, &[], "Rebalances that this member took part in"),
    counter(FENCED, &[], "Batches that found another owner"),
    gauge(BUILD_INFO, &["version"], "The program; always 1"),
];

/// Every `reason` of [`RETRIES`], in the order of the list in README.
pub const RETRY_REASONS: [&str; 9] =
    ["unreachable", "untrusted", "busy", "exhausted", "stale", "registry", "log", "mirror", "copy"];

/// From one row to the largest batch.
const ROW_BUCKETS: [f64; 9] =
    [1.0, 10.0, 100.0, 1_000.0, 5_000.0, 10_000.0, 20_000.0, 50_000.0, 100_000.0];
/// From a transaction on one row to a target that hardly answers.
const APPLY_BUCKETS: [f64; 11] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
/// From the usual delay to the backlog of an hour.
const DELAY_BUCKETS: [f64; 12] =
    [0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 600.0, 3600.0];
/// Histograms gather their samples until they are drained, also when nobody asks.
const UPKEEP: Duration = Duration::from_secs(5);

/// Starts the log on standard error; `RUST_LOG` filters it, without it `default` does.
pub fn install_log(format: LogFormat, filter: Option<&str>, default: &str) {
    let filter = EnvFilter::new(filter.unwrap_or(default));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    // Refused only where a log is installed already, as in tests.
    _ = match format {
        LogFormat::Text => {
            let colour = std::io::IsTerminal::is_terminal(&stderr());
            log.with_ansi(colour).try_init()
        }
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
}

/// Makes the recorder that `/metrics` renders.
pub fn recorder() -> PrometheusRecorder {
    let buckets = [
        (BATCH_ROWS, &ROW_BUCKETS[..]),
        (BATCH_APPLY, &APPLY_BUCKETS[..]),
        (END_TO_END, &DELAY_BUCKETS[..]),
    ];
    let builder = buckets.into_iter().fold(PrometheusBuilder::new(), |builder, (name, bounds)| {
        let name = Matcher::Full(name.to_owned());
        builder.set_buckets_for_metric(name, bounds).expect("every list of buckets has some")
    });
    builder.build_recorder()
}

/// Starts the metrics of this process and describes them.
///
/// Until this is called, or when it never is, counting costs next to nothing.
pub fn install_metrics() -> PrometheusHandle {
    let recorder = recorder();
    let handle = recorder.handle();
    // Refused only where metrics are installed already, as in tests.
    _ = metrics::set_global_recorder(recorder);
    describe();
    handle
}

/// Tells the recorder what each metric means; the gauges are written by [`gauges`](crate::http).
pub fn describe() {
    for metric in METRICS {
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(metric.name, metric.help),
            Kind::Gauge => {}
            Kind::Histogram => metrics::describe_histogram!(metric.name, metric.help),
        }
    }
}

/// Keeps the histograms small until it is told to stop.
pub async fn upkeep(handle: PrometheusHandle, shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut tick = tokio::time::interval(UPKEEP);
    while shutdown.run_until_cancelled(tick.tick()).await.is_some() {
        handle.run_upkeep();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_is_rendered_with_its_buckets_and_its_help() {
        let recorder = recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            describe();
            metrics::histogram!(BATCH_ROWS).record(7.0);
            metrics::counter!(RECORDS, "topic" => "t").increment(2);
        });

        let text = handle.render();
        assert!(text.contains("# HELP afterimage_batch_rows Changes of a batch"), "{text}");
        assert!(text.contains("afterimage_batch_rows_bucket{le=\"10\"} 1"), "{text}");
        assert!(text.contains("afterimage_records_total{topic=\"t\"} 2"), "{text}");
    }

    #[test]
    fn names_carry_prefix_and_unit() {
        for metric in METRICS {
            assert!(metric.name.starts_with("afterimage_"), "{}", metric.name);
            assert_eq!(metric.kind == Kind::Counter, metric.name.ends_with("_total"));
        }
    }
}

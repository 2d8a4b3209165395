//! Health, metrics and status over HTTP.

use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::checkpoint::NextOffset;
use crate::settings::Listen;
use crate::status::{MemberStatus, PartitionState, PartitionStatus, StatusBoard, TargetState};
use crate::telemetry::{BUILD_INFO, CHECKPOINT_AGE, HELD_BACK, LAG, METRICS, PARTITIONS};

/// Where we listen when nothing else is said.
pub const USUAL: (&str, u16) = ("127.0.0.1", 9187);
/// As many members as one host may reasonably run.
const PORTS_TRIED: u16 = 50;
/// A loop that has not turned for this long will not turn again.
const STALLED_AFTER: Duration = Duration::from_secs(60);

/// The address cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen at \"{address}\" (--http, HTTP_LISTEN)")]
pub struct ListenError {
    /// The address.
    pub address: String,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// Takes the address; `None` when nothing is to be served.
///
/// # Errors
/// A given address is taken, or none of the usual ports is free.
pub async fn bind(listen: &Listen) -> Result<Option<TcpListener>, ListenError> {
    let (host, first) = USUAL;
    match listen {
        Listen::Off => Ok(None),
        Listen::Given(address) => bound(address, TcpListener::bind(address).await).map(Some),
        Listen::Usual => bind_from(host, first, PORTS_TRIED).await.map(Some),
    }
}

/// Takes the first free port of `count`.
async fn bind_from(host: &str, first: u16, count: u16) -> Result<TcpListener, ListenError> {
    for port in first..first.saturating_add(count) {
        match TcpListener::bind((host, port)).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            result => return bound(&format!("{host}:{port}"), result),
        }
    }
    let address = format!("{host}:{first}-{}", first.saturating_add(count - 1));
    Err(ListenError { address, source: io::ErrorKind::AddrInUse.into() })
}

fn bound(address: &str, result: io::Result<TcpListener>) -> Result<TcpListener, ListenError> {
    let listener = result.map_err(|source| ListenError { address: address.to_owned(), source })?;
    // With port 0 the system chooses.
    let local = listener.local_addr().map_or_else(|_| address.to_owned(), |at| at.to_string());
    info!(address = local, "serving health and metrics");
    Ok(listener)
}

/// Answers until it is told to stop.
pub async fn serve(
    listener: TcpListener,
    board: StatusBoard,
    metrics: PrometheusHandle,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let router = Router::new()
        .route("/livez", get(|State((board, _)): State<Shown>| async move { livez(&board) }))
        .route("/readyz", get(|State((board, _)): State<Shown>| async move { readyz(&board) }))
        .route(
            "/status",
            get(|State((board, _)): State<Shown>| async move { axum::Json(status(&board)) }),
        )
        .route(
            "/metrics",
            get(|State((board, metrics)): State<Shown>| async move {
                exposition(metrics.render() + &gauges(&board.member()))
            }),
        )
        .with_state((board, metrics));
    match shutdown.run_until_cancelled(axum::serve(listener, router).into_future()).await {
        Some(ended) => Ok(ended?),
        None => Ok(()),
    }
}

type Shown = (StatusBoard, PrometheusHandle);

/// 200 as long as every loop turns, whatever is unreachable: a restart would mend nothing.
fn livez(board: &StatusBoard) -> (StatusCode, String) {
    let stalled = board.loops().into_iter().filter(|(_, age)| *age >= STALLED_AFTER);
    let reasons: Vec<String> = stalled
        .map(|(name, age)| format!("{name} has not turned for {} s", age.as_secs()))
        .collect();
    verdict(&reasons)
}

/// 200 when everything that is ours is being applied.
fn readyz(board: &StatusBoard) -> (StatusCode, String) {
    verdict(&board.member().unready())
}

fn verdict(reasons: &[String]) -> (StatusCode, String) {
    if reasons.is_empty() {
        return (StatusCode::OK, "ok\n".to_owned());
    }
    (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n")
}

fn exposition(text: String) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

fn status(board: &StatusBoard) -> Value {
    let (member, now) = (board.member(), Instant::now());
    let partitions: Vec<Value> = member
        .partitions()
        .map(|partition| {
            json!({
                "topic": partition.partition.topic.as_ref(),
                "partition": partition.partition.partition,
                "state": partition.state.name(),
                "reason": partition.state.reason(),
                "next_offset": partition.next.map(NextOffset::get),
                "high_watermark": partition.high_watermark.map(NextOffset::get),
                "lag": partition.lag(),
                "epoch": partition.epoch,
            })
        })
        .collect();
    let lanes: Vec<Value> = member
        .lanes
        .iter()
        .map(|(lane, status)| json!({"lane": lane, "target": target_state(&status.target)}))
        .collect();
    let loops: Vec<Value> = board
        .loops()
        .into_iter()
        .map(|(name, age)| json!({"name": name, "turned_seconds_ago": age.as_secs()}))
        .collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "joined": member.is_joined,
        "unready": member.unready(),
        "checkpoint_age_seconds": member.checkpoint_age(now).as_secs_f64(),
        "lanes": lanes,
        "partitions": partitions,
        "loops": loops,
    })
}

fn target_state(state: &TargetState) -> Value {
    match state {
        TargetState::Connecting => json!({"state": "connecting"}),
        TargetState::Reachable => json!({"state": "reachable"}),
        TargetState::Unreachable(error) => json!({"state": "unreachable", "error": error}),
    }
}

/// Writes the gauges as they are now: a partition that went to another member leaves no stale one.
fn gauges(member: &MemberStatus) -> String {
    let mut text = String::new();
    let mut family = |name: &str, samples: Vec<(String, String)>| {
        let help = METRICS.iter().find(|metric| metric.name == name).map_or("", |found| found.help);
        // Writing to a string cannot fail.
        _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
        for (labels, value) in samples {
            _ = writeln!(text, "{name}{labels} {value}");
        }
        text.push('\n');
    };

    let each = |value: fn(&PartitionStatus) -> Option<u64>| {
        let samples = member.partitions().filter_map(|partition| {
            let (topic, number) = (&partition.partition.topic, partition.partition.partition);
            let labels = format!("{{topic=\"{topic}\",partition=\"{number}\"}}");
            Some((labels, value(partition)?.to_string()))
        });
        samples.collect()
    };
    family(LAG, each(PartitionStatus::lag));
    family(HELD_BACK, each(|partition| partition.held_back));

    let age = member.checkpoint_age(Instant::now()).as_secs_f64();
    family(CHECKPOINT_AGE, vec![(String::new(), age.to_string())]);

    let count = |name: &str| {
        member.partitions().filter(|partition| partition.state.name() == name).count().to_string()
    };
    let states = PartitionState::NAMES.iter();
    let states = states.map(|name| (format!("{{state=\"{name}\"}}"), count(name)));
    family(PARTITIONS, states.collect());

    let version = format!("{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    family(BUILD_INFO, vec![(version, "1".to_owned())]);
    text
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::record::TopicPartition;
    use crate::status::LaneStatus;
    use crate::telemetry;

    fn board() -> StatusBoard {
        let board = StatusBoard::default();
        board.set_joined(true);
        let running = PartitionStatus {
            partition: TopicPartition::new("t", 3),
            state: PartitionState::Running,
            next: Some(NextOffset::at(7)),
            high_watermark: Some(NextOffset::at(10)),
            held_back: Some(4),
            epoch: Some(2),
            moved_at: Instant::now(),
        };
        let partitions = vec![running];
        let target = TargetState::Reachable;
        board.publish(0, LaneStatus { target, partitions, ..LaneStatus::default() });
        board
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_loop_that_stands_still_for_a_minute_ends_life() {
        let board = StatusBoard::default();
        let _pulse = board.watch("poll");
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(livez(&board).0, StatusCode::OK);
        tokio::time::advance(Duration::from_secs(1)).await;
        let stalled = "poll has not turned for 60 s\n".to_owned();
        assert_eq!(livez(&board), (StatusCode::SERVICE_UNAVAILABLE, stalled));
        // An outage is no reason to be restarted.
        assert_eq!(readyz(&board).0, StatusCode::SERVICE_UNAVAILABLE);
    }

    #[tokio::test]
    async fn a_usual_port_that_is_taken_is_passed_over_and_a_given_one_is_not() {
        let first = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let taken = first.local_addr().unwrap();

        let next = bind_from("127.0.0.1", taken.port(), 50).await.unwrap();
        assert!(next.local_addr().unwrap().port() > taken.port());

        let error = bind(&Listen::Given(taken.to_string())).await.unwrap_err();
        let named = format!("cannot listen at \"{taken}\" (--http, HTTP_LISTEN)");
        assert_eq!(error.to_string(), named);
        assert!(bind_from("127.0.0.1", taken.port(), 1).await.is_err());
        assert!(bind(&Listen::Off).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn every_page_answers() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (shutdown, recorder) = (CancellationToken::new(), telemetry::recorder());
        let server = serve(listener, board(), recorder.handle(), shutdown.clone());
        let asking = async {
            let mut pages = Vec::new();
            for path in ["/livez", "/readyz", "/status", "/metrics", "/"] {
                let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
                let request =
                    format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
                socket.write_all(request.as_bytes()).await.unwrap();
                let mut answer = String::new();
                socket.read_to_string(&mut answer).await.unwrap();
                pages.push(answer);
            }
            shutdown.cancel();
            pages
        };
        let (served, pages) = tokio::join!(server, asking);
        served.unwrap();

        let codes: Vec<&str> = pages.iter().map(|page| &page[9..12]).collect();
        assert_eq!(codes, ["200", "200", "200", "200", "404"]);
        assert!(pages[2].contains(r#""state":"running""#), "{}", pages[2]);
        assert!(pages[2].contains(r#""lag":3"#), "{}", pages[2]);
        let lag = "afterimage_lag_records{topic=\"t\",partition=\"3\"} 3";
        assert!(pages[3].contains(lag), "{}", pages[3]);
        assert!(pages[3].contains("afterimage_partitions{state=\"running\"} 1"), "{}", pages[3]);
    }
}

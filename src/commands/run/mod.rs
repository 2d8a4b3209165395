//! The service: assembles the data's path and supervises it.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use super::Context;
use crate::cli::RunArgs;
use crate::decode::schema::registry::Registry;
use crate::kafka::copies::Copies;
use crate::kafka::log::Log;
use crate::kafka::{self, LaneEnds, RUNS_WAITING, Start, Watermarks, subscription};
use crate::lane::{Jitter, Lane, Limits, Parts, Window};
use crate::mapping::Mapping;
use crate::settings::{OnRefused, Settings, TargetAddress};
use crate::status::StatusBoard;
use crate::target::letters::Letters;
use crate::target::postgres::Postgres;
use crate::target::sqlite::Sqlite;
use crate::target::{Sink, Target};
use crate::tasks::Tasks;
use crate::{http, telemetry};

mod caught_up;
mod checks;
mod copies;

use copies::Copier;

/// How long the end may take: the batch in flight, the release, the group's goodbye.
const GRACE: Duration = Duration::from_secs(10);

/// How long one question to the brokers may take.
const ASK_WAIT: Duration = Duration::from_secs(10);

/// The pause before a client is built anew that could not go on.
const REBUILD_PAUSE: Duration = Duration::from_secs(1);

/// Runs the service until it is told to stop.
pub async fn run(args: RunArgs, context: Context) -> anyhow::Result<ExitCode> {
    let settings = Settings::new(&args, &context.secrets, &context.file)?;
    telemetry::install_log(settings.log_format, context.log_filter.as_deref(), "info");
    let handle = telemetry::install_metrics();
    let shutdown = CancellationToken::new();
    let board = StatusBoard::default();
    let mut around = Tasks::default();
    around.spawn("upkeep", telemetry::upkeep(handle.clone(), shutdown.clone()));
    if let Some(listener) = http::bind(&settings.http).await? {
        around.spawn("http", http::serve(listener, board.clone(), handle, shutdown.clone()));
    }
    let ended = CancellationToken::new();
    around.spawn("signals", stop_at_signal(shutdown.clone(), ended.clone()));
    let service = Service { settings, board, shutdown: shutdown.clone() };
    let code = Box::pin(service.run()).await;
    ended.cancel();
    shutdown.cancel();
    around.join_all(shutdown, GRACE).await?;
    code
}

/// Cancels at the first signal; the second one ends the process at once, and nothing is lost.
async fn stop_at_signal(
    shutdown: CancellationToken,
    ended: CancellationToken,
) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let mut is_stopping = false;
    loop {
        tokio::select! {
            biased;
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = ended.cancelled() => return Ok(()),
        }
        if is_stopping {
            std::process::exit(130);
        }
        info!("stopping: a second signal ends at once");
        is_stopping = true;
        shutdown.cancel();
    }
}

/// What one member of the group runs with.
pub struct Service {
    /// What the user wants.
    pub settings: Settings,
    /// Where the member shows itself.
    pub board: StatusBoard,
    /// Ends the member after it has left the group.
    pub shutdown: CancellationToken,
}

impl Service {
    /// Runs the member, and the task that ends it when it has caught up, if that is wanted.
    ///
    /// # Errors
    ///
    /// The member cannot start; all problems are told together.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self.settings.target.clone() {
            TargetAddress::Postgres { url, password_file } => {
                let connect =
                    move |sink| Ok(Postgres::new(url.expose(), password_file.clone(), sink)?);
                Box::pin(self.run_on(connect)).await
            }
            TargetAddress::Sqlite(path) => {
                self.run_on(move |sink| Ok(Sqlite::new(&path, sink))).await
            }
        }
    }

    async fn run_on<T: Target + Letters>(
        self,
        connect: impl Fn(Sink) -> anyhow::Result<T>,
    ) -> anyhow::Result<ExitCode> {
        let log = Log::new(&self.settings.kafka, ASK_WAIT)?;
        let registry = self.settings.registry.as_ref().map(Registry::new).transpose()?;
        let checks =
            checks::Checks { settings: &self.settings, log: &log, registry: registry.as_ref() };
        let Some(sink) = self.shutdown.run_until_cancelled(checks.pass(&connect)).await else {
            return Ok(ExitCode::SUCCESS);
        };
        let sink = sink?;
        let member = Member { service: &self, log, registry, sink, connect };
        let goal = async {
            if !self.settings.until_caught_up {
                return Ok(ExitCode::SUCCESS);
            }
            let code = caught_up::reach(&self, &member.log).await;
            self.shutdown.cancel();
            code
        };
        let (code, ended) = tokio::join!(goal, member.run());
        ended.and(code)
    }
}

/// A member that has passed its checks.
struct Member<'a, F> {
    service: &'a Service,
    log: Log,
    registry: Option<Registry>,
    sink: Sink,
    connect: F,
}

impl<F> Member<'_, F> {
    /// Runs the data's path until the shutdown, with a new client whenever one cannot go on.
    async fn run<T: Target + Letters>(&self) -> anyhow::Result<()>
    where
        F: Fn(Sink) -> anyhow::Result<T>,
    {
        let shutdown = &self.service.shutdown;
        while let Err(error) = self.run_once().await {
            if shutdown.is_cancelled() {
                return Err(error);
            }
            warn!(error = format!("{error:#}"), "builds the client anew");
            _ = shutdown.run_until_cancelled(tokio::time::sleep(REBUILD_PAUSE)).await;
        }
        Ok(())
    }

    async fn run_once<T: Target + Letters>(&self) -> anyhow::Result<()>
    where
        F: Fn(Sink) -> anyhow::Result<T>,
    {
        let Service { settings, board, shutdown } = self.service;
        let (watermarks_tx, watermarks) = watch::channel(Watermarks::new());
        let lanes = (0..settings.lanes.get()).map(|_| Channels::new()).collect::<Vec<_>>();
        let client_shutdown = shutdown.child_token();
        // The poll thread outlives a future that is dropped, and must not.
        let _guard = client_shutdown.clone().drop_guard();
        let (link, poll) = kafka::start(Start {
            config: kafka::config::consumer(&settings.kafka),
            token: settings.kafka.token.clone(),
            lanes: lanes.iter().map(|lane| lane.ends.clone()).collect(),
            watermarks: watermarks_tx,
            shutdown: client_shutdown.clone(),
            board: board.clone(),
        })?;
        let mut tasks = Tasks::default();
        tasks.spawn_blocking("poll", || poll().map_err(anyhow::Error::msg));
        for (number, Channels { events, runs, .. }) in lanes.into_iter().enumerate() {
            let pulse = board.watch(format!("lane {number}"));
            let window = Window {
                board: board.clone(),
                lane: number,
                pulse,
                watermarks: watermarks.clone(),
            };
            let parts = Parts {
                limits: limits(settings),
                link: link.clone(),
                log: Arc::new(self.log.clone()),
                registry: self.registry.clone().map(|registry| Arc::new(registry) as _),
                mapping: Mapping::new(settings.tables.clone(), T::DIALECT),
                events,
                runs,
                window,
                jitter: Jitter::new(Uuid::new_v4().as_u64_pair().0),
            };
            let target = (self.connect)(self.sink.clone())?;
            let (lane, writer) = Lane::with_writer(parts, target, settings.take_over);
            tasks.spawn(format!("lane {number}"), async {
                lane.run().await;
                Ok(())
            });
            tasks.spawn(format!("writer {number}"), async {
                writer.run().await;
                Ok(())
            });
        }
        if let Some(topic) = &settings.dead_letter_topic {
            let (target, sink) = ((self.connect)(self.sink.clone())?, self.sink.name.clone());
            let copies = Copies::new(&settings.kafka, topic)?;
            let copier = Copier { target, copies, sink };
            let shutdown = client_shutdown.clone();
            tasks.spawn("copies", async {
                copier.run(shutdown).await;
                Ok(())
            });
        }
        let (log, patterns) = (self.log.clone(), settings.kafka.topics.clone());
        let topics = subscription::follow(log, patterns, link, client_shutdown.clone());
        tasks.spawn("subscription", topics);
        tasks.join_all(client_shutdown, GRACE).await
    }
}

/// The channels between the poll thread and one lane.
struct Channels {
    ends: LaneEnds,
    events: mpsc::UnboundedReceiver<kafka::Event>,
    runs: mpsc::Receiver<crate::record::Run>,
}

impl Channels {
    fn new() -> Self {
        let (events_tx, events) = mpsc::unbounded_channel();
        let (runs_tx, runs) = mpsc::channel(RUNS_WAITING);
        Self { ends: LaneEnds { events: events_tx, runs: runs_tx }, events, runs }
    }
}

fn limits(settings: &Settings) -> Limits {
    Limits {
        batch_rows: settings.batch.rows_max.get(),
        batch_bytes: settings.batch.bytes_max.get(),
        batch_age: settings.batch.age_max,
        stop_on_refused: settings.on_refused == OnRefused::Stop,
    }
}

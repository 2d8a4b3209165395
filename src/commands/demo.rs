//! `consumer demo`: shows rows arriving, then proves that source and target are equal.

use std::ffi::OsString;
use std::io::{IsTerminal as _, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cli::{self, Command, DemoArgs, Environment};
use crate::commands::Context;
use crate::commands::run::Service;
use crate::demo::{Demo, Member, Progress, Proof};
use crate::settings::{LogFormat, Settings, TargetAddress};
use crate::status::StatusBoard;
use crate::telemetry;

/// Enough to show that partitions are shared out.
const MEMBERS: usize = 2;

/// How often the progress is drawn on a terminal.
const DRAW_INTERVAL: Duration = Duration::from_millis(100);

/// How often it is told where no terminal is.
const TELL_INTERVAL: Duration = Duration::from_secs(5);

/// Runs the demo; the exit code says whether source and target were equal.
///
/// # Errors
///
/// The demo could not be run to its end.
pub async fn run(
    args: DemoArgs,
    context: &Context,
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    telemetry::install_log(LogFormat::Text, context.log_filter.as_deref(), "warn");
    let mut demo = Demo::start(args.database.as_deref()).await?;
    let (stop, shutdown) = (CancellationToken::new(), CancellationToken::new());
    let mut members = JoinSet::new();
    for _ in 0..MEMBERS {
        members.spawn(serve(demo.member(), shutdown.clone()));
    }
    let (bar, progress) = (bar(args.rows), demo.progress());
    let is_equal = tokio::select! {
        // In no order: the others end only when the demo cannot be brought to its end.
        is_equal = work(&mut demo, &args, &stop, &bar, out) => is_equal?,
        ended = members.join_next() => return Err(early(ended)),
        () = show(progress, &bar) => bail!("the progress ended before the demo"),
        error = interrupted(&stop) => return Err(error),
    };
    shutdown.cancel();
    while let Some(ended) = members.join_next().await {
        ended.context("join a member")?.context("stop a member")?;
    }
    Ok(if is_equal { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Loads, proves, and if asked to goes on and proves again; returns whether all was equal.
async fn work(
    demo: &mut Demo,
    args: &DemoArgs,
    stop: &CancellationToken,
    bar: &ProgressBar,
    out: &mut impl Write,
) -> anyhow::Result<bool> {
    let file = demo.database().display().to_string();
    writeln!(out, "{} changes, {MEMBERS} members, target {file}", grouped(args.rows))?;
    let started = Instant::now();
    demo.load(args.rows, stop).await?;
    demo.finish_load().await?;
    let took = started.elapsed();
    bar.finish_and_clear();
    let proof = demo.prove().await?;
    report(&proof, Some(took), out)?;
    if !args.keep_running || stop.is_cancelled() || !proof.is_equal() {
        return Ok(proof.is_equal());
    }
    writeln!(out, "the source goes on; Ctrl-C ends it with another proof")?;
    bar.reset();
    demo.trickle(stop).await?;
    demo.finish_load().await?;
    bar.finish_and_clear();
    let proof = demo.prove().await?;
    report(&proof, None, out)?;
    Ok(proof.is_equal())
}

/// Runs one member, the real service, until it is told to stop.
async fn serve(member: Member, shutdown: CancellationToken) -> anyhow::Result<()> {
    let service = Service { settings: settings(member)?, board: StatusBoard::default(), shutdown };
    service.run().await.map(|_| ())
}

/// Makes the settings that the same flags would make, whatever this process's variables say.
fn settings(member: Member) -> anyhow::Result<Settings> {
    let Member { brokers, topics, kafka_properties, registry_url, database } = member;
    let mut args = ["consumer", "run", "--http", "off", "--target", "sqlite://demo"]
        .map(str::to_owned)
        .to_vec();
    args.extend([
        "--brokers".to_owned(),
        brokers,
        "--schema-registry-url".to_owned(),
        registry_url,
    ]);
    for topic in topics {
        args.extend(["--topics".to_owned(), topic]);
    }
    for (name, value) in kafka_properties {
        args.extend(["--kafka-property".to_owned(), format!("{name}={value}")]);
    }
    let args = args.into_iter().map(OsString::from).collect::<Vec<_>>();
    let asked = cli::parse(&args, &Environment::default())?;
    let Command::Run(run) = asked.command else { bail!("the members' flags run no service") };
    let mut settings = Settings::new(&run, &asked.secrets, &asked.file)?;
    // Any file's name can be taken this way, also one that no URL holds.
    settings.target = TargetAddress::Sqlite(database);
    Ok(settings)
}

fn early(ended: Option<Result<anyhow::Result<()>, tokio::task::JoinError>>) -> anyhow::Error {
    match ended {
        Some(Ok(Ok(()))) | None => anyhow::anyhow!("a member ended before the demo"),
        Some(Ok(Err(error))) => error.context("run a member"),
        Some(Err(error)) => anyhow::Error::new(error).context("run a member"),
    }
}

/// Lets the first Ctrl-C end the load, with a proof of what was sent, and the second all.
async fn interrupted(stop: &CancellationToken) -> anyhow::Error {
    for _ in 0..2 {
        if let Err(error) = tokio::signal::ctrl_c().await {
            return anyhow::Error::new(error).context("wait for Ctrl-C");
        }
        if stop.is_cancelled() {
            break;
        }
        stop.cancel();
    }
    anyhow::anyhow!("interrupted before the proof")
}

/// Makes a bar, which draws nothing where no terminal is.
fn bar(changes: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(changes), ProgressDrawTarget::stderr());
    let style = "{bar:30} {human_pos} of {human_len} changes sent, {msg}";
    match ProgressStyle::with_template(style) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Shows the progress: by the bar on a terminal, by a line now and then elsewhere; never ends.
async fn show(mut progress: watch::Receiver<Progress>, bar: &ProgressBar) {
    let is_terminal = std::io::stderr().is_terminal();
    let interval = if is_terminal { DRAW_INTERVAL } else { TELL_INTERVAL };
    loop {
        tokio::time::sleep(interval).await;
        let Progress { changes, sent, applied } = *progress.borrow_and_update();
        let message = format!("{} of {} records applied", grouped(applied), grouped(sent));
        if is_terminal && !bar.is_finished() {
            bar.set_length(changes.max(bar.length().unwrap_or_default()));
            bar.set_position(changes);
            bar.set_message(message);
        } else if !is_terminal && applied < sent {
            // Nobody to tell when it is closed.
            _ = writeln!(std::io::stderr(), "{} changes sent, {message}", grouped(changes));
        }
    }
}

fn report(proof: &Proof, took: Option<Duration>, out: &mut impl Write) -> std::io::Result<()> {
    let counts = proof.counts;
    writeln!(
        out,
        "source   {} snapshot reads, {} creates, {} updates ({} without their unchanged long value), \
         {} deletes, {} key changes",
        grouped(counts.reads),
        grouped(counts.creates),
        grouped(counts.updates),
        grouped(counts.unavailable),
        grouped(counts.deletes),
        grouped(counts.key_changes),
    )?;
    let records = grouped(counts.records);
    match took {
        Some(took) => {
            let rate = u128::from(counts.records) * 1000 / took.as_millis().max(1);
            let rate = grouped(u64::try_from(rate).unwrap_or(u64::MAX));
            let seconds = took.as_secs_f64();
            writeln!(out, "records  {records} in {seconds:.1} s, {rate} a second")?;
        }
        None => writeln!(out, "records  {records}")?,
    }
    let rows = proof.rows.iter().map(|(table, rows)| {
        let rows = grouped(u64::try_from(*rows).unwrap_or(u64::MAX));
        format!("{table} {rows} rows")
    });
    let verdict = if proof.is_equal() { "equal" } else { "NOT equal" };
    writeln!(
        out,
        "proof    {}: source and target are {verdict}",
        rows.collect::<Vec<_>>().join(", ")
    )?;
    for difference in &proof.differences {
        writeln!(out, "         {difference}")?;
    }
    let told = u64::try_from(proof.differences.len()).unwrap_or(u64::MAX);
    if proof.difference_count > told {
        writeln!(out, "         and {} more", grouped(proof.difference_count - told))?;
    }
    Ok(())
}

/// Writes a number with commas between the thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::demo::{Counts, Difference};

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (number, expected) in
            [(0, "0"), (999, "999"), (1000, "1,000"), (5_000_000, "5,000,000")]
        {
            assert_eq!(grouped(number), expected);
        }
    }

    #[tokio::test]
    async fn a_member_is_told_where_everything_is() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a?b %20.sqlite");
        let demo = Demo::start(Some(&file)).await.unwrap();

        let settings = settings(demo.member()).unwrap();

        assert!(settings.kafka.brokers.starts_with("127.0.0.1:"), "{}", settings.kafka.brokers);
        assert_eq!(settings.kafka.topics.len(), 2);
        assert_eq!(settings.kafka.properties["session.timeout.ms"].expose(), "1500");
        assert!(settings.registry.is_some());
        assert!(matches!(settings.target, TargetAddress::Sqlite(path) if path == file));
        assert!(Path::exists(&file));
    }

    #[test]
    fn a_report_names_the_differences() {
        let proof = Proof {
            counts: Counts { reads: 20_000, records: 3, ..Counts::default() },
            rows: vec![("users", 1), ("orders", 2)],
            differences: vec![Difference::Missing { table: "users", id: 7 }],
            difference_count: 1001,
        };
        let mut out = Vec::new();
        report(&proof, Some(Duration::from_millis(1500)), &mut out).unwrap();
        expect_test::expect![[r#"
            source   20,000 snapshot reads, 0 creates, 0 updates (0 without their unchanged long value), 0 deletes, 0 key changes
            records  3 in 1.5 s, 2 a second
            proof    users 1 rows, orders 2 rows: source and target are NOT equal
                     users 7: missing in the target
                     and 1,000 more
        "#]].assert_eq(&String::from_utf8(out).unwrap());
    }
}

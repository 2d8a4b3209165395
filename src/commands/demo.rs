//! `consumer demo`: shows rows arriving, then proves that source and target are equal.

use std::io::{IsTerminal as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::demo::{Demo, Member, Progress, Proof};

/// Enough to show that partitions are shared out.
const MEMBERS: usize = 2;

/// How often the progress is drawn on a terminal.
const DRAW_INTERVAL: Duration = Duration::from_millis(100);

/// How often it is told where no terminal is.
const TELL_INTERVAL: Duration = Duration::from_secs(5);

/// What the user asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many changes the source makes.
    pub rows: u64,
    /// The target's file; a new temporary one if there is none.
    pub database: Option<PathBuf>,
    /// Whether the source goes on until it is interrupted.
    pub keep_running: bool,
}

/// Runs the demo; the exit code says whether source and target were equal.
///
/// # Errors
///
/// The demo could not be run to its end.
pub async fn run(options: Options, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let mut demo = Demo::start(options.database.as_deref()).await?;
    let (stop, shutdown) = (CancellationToken::new(), CancellationToken::new());
    let mut members = JoinSet::new();
    for _ in 0..MEMBERS {
        members.spawn(serve(demo.member(), shutdown.clone()));
    }
    let (bar, progress) = (bar(options.rows), demo.progress());
    let is_equal = tokio::select! {
        // In no order: the others end only when the demo cannot be brought to its end.
        is_equal = work(&mut demo, &options, &stop, &bar, out) => is_equal?,
        ended = members.join_next() => return Err(early(ended)),
        () = show(progress, &bar) => anyhow::bail!("the progress ended before the demo"),
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
    options: &Options,
    stop: &CancellationToken,
    bar: &ProgressBar,
    out: &mut impl Write,
) -> anyhow::Result<bool> {
    let file = demo.database().display().to_string();
    writeln!(out, "{} changes, {MEMBERS} members, target {file}", grouped(options.rows))?;
    let started = Instant::now();
    demo.load(options.rows, stop).await?;
    demo.finish_load().await?;
    let took = started.elapsed();
    bar.finish_and_clear();
    let proof = demo.prove().await?;
    report(&proof, Some(took), out)?;
    if !options.keep_running || stop.is_cancelled() || !proof.is_equal() {
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
#[expect(clippy::unused_async, reason = "the service is joined to it here")]
async fn serve(member: Member, _shutdown: CancellationToken) -> anyhow::Result<()> {
    anyhow::bail!("no service for {}", member.brokers)
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

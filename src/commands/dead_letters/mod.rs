//! Dead letters as the operator sees them, has them applied after all, or gives them up.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow, bail};
use serde_json::{Value, json};

use crate::cli::{DeadLettersCommand, DiscardArgs, LettersArgs, StateArg};
use crate::commands::look::{Places, time};
use crate::commands::table::Listing;
use crate::commands::{Context, say};
use crate::refused::Reason;
use crate::target::inspect::{Deed, Opened};
use crate::target::letters::{DISCARD, Filter, Letter, LetterState, Letters as _};

mod replay;
mod show;

/// Does what is asked for.
pub async fn run(
    what: DeadLettersCommand,
    context: &Context,
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    match what {
        DeadLettersCommand::List(args) => list(&args, context, out).await?,
        DeadLettersCommand::Show(args) => Box::pin(show::run(&args, context, out)).await?,
        DeadLettersCommand::Replay(args) => {
            return Box::pin(replay::run(&args, context, out)).await;
        }
        DeadLettersCommand::Discard(args) => return discard(&args, context, out).await,
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(args: &LettersArgs, context: &Context, out: &mut impl Write) -> anyhow::Result<()> {
    let is_known = |reason: &String| Reason::ALL.iter().any(|known| known.name() == *reason);
    if let Some(reason) = args.reason.as_ref().filter(|reason| !is_known(reason)) {
        let known = Reason::ALL.map(Reason::name).join(", ");
        bail!("--reason \"{reason}\" must be one of {known}");
    }
    let state = match args.state {
        StateArg::Open => Some(LetterState::Open),
        StateArg::Replayed => Some(LetterState::Replayed),
        StateArg::Discarded => Some(LetterState::Discarded),
        StateArg::All => None,
    };
    let places = Places::new(&args.kafka, &args.target, context)?;
    let mut target = places.required_target().await?;
    let filter = Filter {
        ids: None,
        topic: args.topic.clone(),
        reason: args.reason.clone(),
        state,
        limit: Some(args.limit),
    };
    let letters = target.letters(&filter).await.context("read the dead letters")?;
    if u32::try_from(letters.len()) == Ok(args.limit) {
        say(format_args!("the newest {} are listed: --limit lists more", args.limit));
    }
    let mut listing = Listing::new([
        "id",
        "topic",
        "partition",
        "offset",
        "timestamp",
        "first_seen",
        "last_seen",
        "state",
        "table",
        "reason",
        "sqlstate",
        "error",
    ]);
    for letter in letters {
        listing.push([
            json!(letter.id),
            json!(*letter.partition.topic),
            json!(letter.partition.partition),
            json!(letter.offset),
            json!(letter.timestamp.map(time)),
            json!(letter.first_seen.map(time)),
            json!(letter.last_seen.map(time)),
            json!(letter.state),
            json!(letter.table),
            json!(letter.reason),
            json!(letter.sqlstate),
            json!(letter.error),
        ]);
    }
    Ok(listing.write(args.format.format, out)?)
}

async fn discard(
    args: &DiscardArgs,
    context: &Context,
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    check_reason(&args.reason)?;
    let places = Places::new(&args.kafka, &args.target, context)?;
    let mut target = places.required_target().await?;
    let letters = find(&mut target, &args.ids).await?;
    let ids: Vec<i64> = letters.iter().map(|letter| letter.id).collect();
    let deed = Deed { actor: context.actor(), command: DISCARD, reason: &args.reason };
    let discarded = target.discard(&ids, deed).await.context("discard the dead letters")?;
    let mut results = Results::default();
    for letter in &letters {
        match discarded.contains(&letter.id) {
            true => results.push(letter, LetterState::Discarded.name(), Value::Null),
            false => results.leave(letter, "is not open any more"),
        }
    }
    results.listing.write(args.format.format, out)?;
    Ok(results.code())
}

/// Finds dead letters by their numbers, in the order of their records.
async fn find(target: &mut Opened, ids: &[i64]) -> anyhow::Result<Vec<Letter>> {
    let filter = Filter { ids: Some(ids.to_vec()), ..Filter::default() };
    let letters = target.letters(&filter).await.context("read the dead letters")?;
    let known: BTreeSet<i64> = letters.iter().map(|letter| letter.id).collect();
    let unknown = ids.iter().filter(|id| !known.contains(id)).collect::<BTreeSet<_>>();
    if !unknown.is_empty() {
        let unknown: Vec<String> = unknown.into_iter().map(i64::to_string).collect();
        return Err(missing(&unknown.join(", ")));
    }
    Ok(in_order(letters))
}

fn missing(ids: &str) -> anyhow::Error {
    anyhow!(
        "this sink has no dead letter {ids}: `consumer dead-letters list --state all` lists them"
    )
}

/// Sorts dead letters as their records are: those of a key must be applied in that order.
fn in_order(mut letters: Vec<Letter>) -> Vec<Letter> {
    letters.sort_by(|a, b| (&a.partition, a.offset).cmp(&(&b.partition, b.offset)));
    letters
}

fn check_reason(reason: &str) -> anyhow::Result<()> {
    if reason.trim().is_empty() {
        bail!("--reason must say why: it is kept in the audit table");
    }
    Ok(())
}

/// What became of each dead letter.
struct Results {
    listing: Listing,
    has_left: bool,
}

impl Default for Results {
    fn default() -> Self {
        let listing = Listing::new(["id", "topic", "partition", "offset", "state", "detail"]);
        Self { listing, has_left: false }
    }
}

impl Results {
    fn push(&mut self, letter: &Letter, state: &str, detail: Value) {
        let Letter { id, partition, offset, .. } = letter;
        let (topic, number) = (json!(*partition.topic), json!(partition.partition));
        self.listing.push([json!(id), topic, number, json!(offset), json!(state), detail]);
    }

    /// Takes one that is left as it is, and why.
    fn leave(&mut self, letter: &Letter, why: &str) {
        self.has_left = true;
        self.push(letter, &letter.state, json!(why));
    }

    fn code(&self) -> ExitCode {
        ExitCode::from(u8::from(self.has_left))
    }
}

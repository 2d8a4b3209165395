//! Replays: records of dead letters applied after all, each in one transaction with its state.
//!
//! A record may be older than what the target has of its row. Whatever of its key was applied at or
//! behind it is newer, and stays: only where nothing was, the record is applied.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::batch::{Batch, Folded, Replay, Standing};
use crate::cli::ReplayArgs;
use crate::commands::dead_letters::{Results, check_reason, find, in_order};
use crate::commands::look::Places;
use crate::commands::trial::{self, Again, Judged, Trial};
use crate::commands::{Context, say};
use crate::decode::Decoded;
use crate::kafka::log::Log;
use crate::refused::{Reason, Refusal};
use crate::stopped::{Stop, StopReason};
use crate::target::inspect::Opened;
use crate::target::letters::{Filter, KeptLetter, Letter, LetterState, Letters as _};
use crate::target::{Applied, Disposition};

/// How often a replay begins anew because somebody else has changed what it rests on.
const TRIES_MAX: u32 = 5;

pub(super) async fn run(
    args: &ReplayArgs,
    context: &Context,
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    check_reason(&args.reason)?;
    let (registry, tables) = trial::means(&args.registry, &args.tables, context)?;
    let places = Places::new(&args.kafka, &args.target, context)?;
    let mut target = places.required_target().await?;
    let letters = if args.all {
        let filter = Filter { state: Some(LetterState::Open), ..Filter::default() };
        in_order(target.letters(&filter).await.context("read the dead letters")?)
    } else {
        find(&mut target, &args.ids).await?
    };
    if letters.is_empty() {
        say("no dead letter is open");
    }
    let trial = Trial::new(registry, tables, Some(target));
    let (actor, reason) = (context.actor().to_owned(), args.reason.clone());
    let mut replayer = Replayer { trial, log: places.log.clone(), actor, reason };
    let mut results = Results::default();
    for letter in &letters {
        match replayer.replay(letter).await? {
            Ended::Applied => results.push(letter, LetterState::Replayed.name(), Value::Null),
            Ended::NothingToWrite => {
                results.push(letter, LetterState::Replayed.name(), json!("nothing to write"));
            }
            Ended::Left(why) => results.leave(letter, &why),
        }
    }
    results.listing.write(args.format.format, out)?;
    Ok(results.code())
}

/// How a replay ended.
enum Ended {
    /// The row is written.
    Applied,
    /// By the rules of now, the record writes nothing.
    NothingToWrite,
    /// The dead letter is as it was, or has a new error.
    Left(String),
}

/// What a record has come to before the target is asked to write it.
enum Ready {
    /// It may be applied; whether it writes a row.
    Batch(Box<Batch>, bool),
    /// It is refused again.
    Refused(Refusal),
    /// It cannot or must not be applied.
    Left(String),
}

struct Replayer {
    trial: Trial,
    log: Log,
    actor: String,
    reason: String,
}

impl Replayer {
    async fn replay(&mut self, letter: &Letter) -> anyhow::Result<Ended> {
        let place = format!("replay dead letter {}", letter.id);
        for _ in 0..TRIES_MAX {
            if let Some(ended) = self.try_once(letter.id).await.with_context(|| place.clone())? {
                return Ok(ended);
            }
        }
        Ok(Ended::Left("the target or its key's records change all the time: try again".to_owned()))
    }

    /// Tries once; `None` when something has changed in between.
    async fn try_once(&mut self, id: i64) -> anyhow::Result<Option<Ended>> {
        let Some(kept) = self.target().letter(id).await? else {
            return Ok(Some(Ended::Left("is gone".to_owned())));
        };
        if !kept.letter.is_open() {
            let why = format!("is {} already", kept.letter.state);
            return Ok(Some(Ended::Left(why)));
        }
        let standing = self.target().standing(&kept).await?;
        let (batch, writes) = match self.prepare(&kept, standing).await? {
            Ready::Batch(batch, writes) => (batch, writes),
            Ready::Left(why) => return Ok(Some(Ended::Left(why))),
            Ready::Refused(refusal) => return self.refuse_again(id, &refusal).await.map(Some),
        };
        let folded = self.fold(*batch, &kept, standing);
        let refused = folded.dead_letters.first().map(|letter| letter.refusal.clone());
        match self.target().apply(&folded).await {
            Ok(Applied::Committed { older: 1.., .. }) => Ok(Some(Ended::Left(older(&kept)))),
            Ok(Applied::Committed { refused: missing, .. }) => {
                let refused = missing.into_iter().next().map(|letter| letter.refusal).or(refused);
                Ok(Some(match refused {
                    Some(Refusal { reason, detail, .. }) => {
                        Ended::Left(format!("{reason}: {detail}"))
                    }
                    None if writes => Ended::Applied,
                    None => Ended::NothingToWrite,
                }))
            }
            Ok(Applied::Fenced { .. }) => Ok(None),
            Ok(Applied::Refused { rows }) => {
                let fault = rows.into_iter().next().context("no row is named")?.fault;
                let (table, sqlstate) = (fault.table, Some(fault.sqlstate));
                let refusal = Refusal::new(Reason::RowRefused, fault.text);
                let refusal = Refusal { table, sqlstate, ..refusal };
                self.refuse_again(id, &refusal).await.map(Some)
            }
            Err(error) => match error.disposition() {
                Disposition::Rewind | Disposition::Retry("busy") => Ok(None),
                Disposition::Retry(_) | Disposition::Stop(_) | Disposition::StopOne(..) => {
                    Err(error.into())
                }
            },
        }
    }

    async fn refuse_again(&mut self, id: i64, refusal: &Refusal) -> anyhow::Result<Ended> {
        self.target().refuse_again(id, refusal).await?;
        let Refusal { reason, detail, .. } = refusal;
        Ok(Ended::Left(format!("{reason}: {detail}")))
    }

    fn target(&mut self) -> &mut Opened {
        self.trial.target().expect("a replay has a target")
    }

    /// Decodes a record again, and decides whether it may be applied.
    async fn prepare(&mut self, kept: &KeptLetter, standing: Standing) -> anyhow::Result<Ready> {
        let partition = &kept.letter.partition;
        let run = kept.record.run(partition.clone());
        let record = run.get(0).expect("the run has one record");
        let is_tainted = standing.is_behind;
        let mut again = Again { partition, record, is_tainted, is_alone: None };
        let mut judged = self.trial.again(again).await?;
        if matches!(judged, Judged::Decoded(Decoded::NeedsPartitionCount, _)) {
            let count = self.log.partition_count(&partition.topic).await;
            again.is_alone = Some(count.context("count the topic's partitions")? == 1);
            judged = self.trial.again(again).await?;
        }
        Ok(match judged {
            Judged::TableGone(table) => Ready::Left(format!(
                "table \"{table}\" does not exist: `consumer plan` prints what makes it; create \
                 it and replay again, or discard the dead letter"
            )),
            Judged::Decoded(Decoded::Change(_), batch) => {
                // Where there is a row guard, it knows better.
                let is_judged = batch.row_count() > 0 && !batch.is_keyless() && !batch.is_guarded();
                match is_judged && !standing.is_newest(kept.letter.offset) {
                    true => Ready::Left(older(kept)),
                    false => Ready::Batch(batch, true),
                }
            }
            Judged::Decoded(Decoded::Ignored(_), batch) => Ready::Batch(batch, false),
            Judged::Decoded(Decoded::Refused(refusal), _) => Ready::Refused(refusal),
            Judged::Decoded(Decoded::Truncate(_), _) => Ready::Left(emptied()),
            Judged::Decoded(Decoded::Stopped(stop), _) => Ready::Left(stopped(&stop)),
            Judged::Decoded(
                Decoded::NeedsSchema(_)
                | Decoded::NeedsLayout(_)
                | Decoded::NeedsMoved(_)
                | Decoded::NeedsPartitionCount
                | Decoded::NeedsNewBatch,
                _,
            ) => bail!("the decoder asks for what it was given"),
        })
    }

    fn fold(&self, batch: Batch, kept: &KeptLetter, standing: Standing) -> Folded {
        let mut folded = batch.fold();
        // What the partition's member knows of the source's transaction it is in must stay.
        folded.last_halves.clear();
        folded.replay = Some(Replay {
            id: kept.letter.id,
            partition: kept.letter.partition.clone(),
            offset: kept.letter.offset,
            key: kept.record.key.clone(),
            standing,
            actor: self.actor.clone(),
            reason: self.reason.clone(),
        });
        folded
    }
}

/// Says why a record is not put over its row.
fn older(kept: &KeptLetter) -> String {
    let may_be = if kept.record.key.is_some() {
        "a later record of its row may be applied, and is newer"
    } else {
        "the record has no key, so nobody knows whether a later one of its row is applied"
    };
    format!(
        "{may_be}: discard the dead letter if the row is right, else have the source send the row \
         again"
    )
}

fn emptied() -> String {
    "a truncate would also take what came after it: empty the table by hand if that is still right, \
     and discard the dead letter"
        .to_owned()
}

/// Says what keeps every record of the table from being applied.
fn stopped(stop: &Stop) -> String {
    match stop.reason {
        StopReason::TruncatePartitioned => emptied(),
        _ => format!("{stop}: once that is mended, replay again"),
    }
}

//! The DDL that would run, from the topics' newest schemas; nothing is run.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;

use crate::cli::PlanArgs;
use crate::commands::look::Places;
use crate::commands::peek::{Peeked, Wanted};
use crate::commands::trial::Trial;
use crate::commands::{Context, say};
use crate::decode::schema::registry::Registry;
use crate::decode::value::kind::{SourceName, SourceTable};
use crate::kafka::log::Watermarks;
use crate::settings::{self, Problems, SchemaChanges, Tables, TargetAddress};
use crate::table::TableName;
use crate::target::inspect::{Inspect as _, Opened};

/// How many of a partition's newest records are read first: rows of several tables may meet in one
/// topic, and the last records may be tombstones.
const TAIL: usize = 32;

/// How far the look back grows in a topic whose newest records are no rows.
const TAIL_MAX: usize = 8192;

/// Prints the statements, each with its semicolon.
pub async fn run(
    args: PlanArgs,
    context: &Context,
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let mut problems = Problems::default();
    let address = problems.collect(TargetAddress::required(&args.target, &context.secrets));
    let registry = problems.collect(settings::Registry::new(&args.registry, &context.secrets));
    let tables = problems.collect(Tables::new(&args.tables, &context.file));
    let (Some(_), Some(registry), Some(mut tables)) = (address, registry, tables) else {
        return Err(problems.into());
    };
    if args.bootstrap {
        // What the writer may not do itself is done by hand, whatever it does about it.
        tables.schema_changes = SchemaChanges::Apply;
    }
    let places = Places::new(&args.kafka, &args.target, context)?;
    let target = places.required_target().await?;
    let registry = registry.as_ref().map(Registry::new).transpose()?;
    let mut trial = Trial::new(registry, tables, Some(target));
    let mut plan = Plan::default();
    for source in sources(&places, &mut trial).await? {
        plan.add(&mut trial, &source).await?;
    }

    let target = trial.target().context("the target was opened")?;
    let own = own_tables(target, args.bootstrap).await?;
    let grants = match args.bootstrap {
        true => target.grants(&plan.tables).await.context("ask for our role")?,
        false => Vec::new(),
    };
    print(&[own, plan.statements, grants].concat(), out)?;
    plan.problems.iter().for_each(say);
    Ok(if plan.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Returns what makes our own tables, if it is wanted or they are missing.
async fn own_tables(target: &mut Opened, is_wanted: bool) -> anyhow::Result<Vec<String>> {
    let is_there = target.is_bootstrapped().await.context("look for our own tables")?;
    Ok(if is_wanted || !is_there { (target.dialect().bootstrap)() } else { Vec::new() })
}

fn print(statements: &[String], out: &mut impl Write) -> anyhow::Result<()> {
    let mut printed: Vec<&String> = Vec::new();
    for statement in statements {
        // Several tables may stand in one schema that is made first.
        if !printed.contains(&statement) {
            writeln!(out, "{};\n", statement.trim_end().trim_end_matches(';'))?;
            printed.push(statement);
        }
    }
    Ok(())
}

/// What the tables of all topics need.
#[derive(Default)]
struct Plan {
    statements: Vec<String>,
    tables: Vec<TableName>,
    problems: Vec<String>,
}

impl Plan {
    async fn add(&mut self, trial: &mut Trial, source: &SourceTable) -> anyhow::Result<()> {
        let (name, change) = match trial.plan(source, false).await? {
            Ok(Some(plan)) => (plan.mapped.shape.table.name.clone(), plan.change.clone()),
            Ok(None) => return Ok(()),
            Err(stop) => {
                self.problems.push(format!("table \"{}\" stops its topic: {stop}", source.name));
                return Ok(());
            }
        };
        self.tables.push(name);
        if let (Some(change), Some(target)) = (change, trial.target()) {
            let needed = target.needed(&change).await.context("look for schemas")?;
            self.statements.extend(needed);
        }
        Ok(())
    }
}

/// Returns the tables of all topics, each as its newest record describes it.
async fn sources(places: &Places, trial: &mut Trial) -> anyhow::Result<Vec<SourceTable>> {
    let mut topics = BTreeMap::<Arc<str>, BTreeMap<i32, Watermarks>>::new();
    for (partition, ends) in places.ends().await? {
        topics.entry(partition.topic).or_default().insert(partition.partition, ends);
    }
    let mut sources = Vec::new();
    for (topic, ends) in topics {
        let mut wanted = Wanted { log: &places.log, topic: &topic, ends, limit: TAIL, key: None };
        let found = loop {
            let newest = wanted.newest_of_each().await?;
            let found = newest_sources(&topic, &newest, trial).await?;
            let is_whole = newest.len() < wanted.limit;
            if !found.is_empty() || is_whole || wanted.limit >= TAIL_MAX {
                break found;
            }
            wanted.limit *= 16;
        };
        if found.is_empty() && wanted.ends.values().any(|ends| ends.low < ends.high) {
            say(format_args!("topic \"{topic}\" has no row in its newest records"));
        }
        sources.extend(found);
    }
    Ok(sources)
}

/// Returns the tables that records describe, each by the newest record that is not only a key.
async fn newest_sources(
    topic: &Arc<str>,
    records: &[Peeked],
    trial: &mut Trial,
) -> anyhow::Result<Vec<SourceTable>> {
    let mut newest = BTreeMap::<SourceName, SourceTable>::new();
    let is_row = |peeked: &&Peeked| peeked.record().value.is_some_and(|value| value != b"null");
    for peeked in records.iter().filter(is_row) {
        if let Some(source) = trial.source(topic, peeked.record()).await? {
            newest.insert(source.name.clone(), source);
        }
    }
    Ok(newest.into_values().collect())
}

//! A trial: records go through the real decoder and the real mapping, and nothing is applied.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context as _, bail};

use crate::batch::{Batch, Leader};
use crate::checkpoint::{Claim, NextOffset};
use crate::cli::{RegistryArgs, TableArgs};
use crate::commands::{Context, say};
use crate::decode::inspect::Inspected;
use crate::decode::schema::registry::Registry;
use crate::decode::value::kind::{Kind, SourceName, SourceTable};
use crate::decode::{Arrival, Decoded, Decoder, SchemaId};
use crate::mapping::{Mapping, Plan};
use crate::moves::Moved;
use crate::record::{Record, TopicPartition};
use crate::rows::Origin;
use crate::settings::{self, Problems, SchemaChanges, Tables};
use crate::stopped::Stop;
use crate::table::{Table, TableName};
use crate::target::Target as _;
use crate::target::inspect::{Inspect as _, Opened};
use crate::target::postgres::Postgres;

/// What a lane has to decode records with, against the target, or against tables designed from the
/// source where no target is given.
pub(crate) struct Trial {
    decoder: Decoder,
    registry: Option<Registry>,
    mapping: Mapping,
    target: Option<Opened>,
    plans: Vec<Planned>,
    /// The tables as they would be after the plans so far.
    changed: HashMap<TableName, Table>,
    /// What would lead to the target's tables after the plans so far.
    leading: Vec<Leader>,
    is_told: bool,
}

/// Returns what a trial decodes and maps by, of what was written.
pub(crate) fn means(
    registry: &RegistryArgs,
    tables: &TableArgs,
    context: &Context,
) -> anyhow::Result<(Option<Registry>, Tables)> {
    let mut problems = Problems::default();
    let registry = problems.collect(settings::Registry::new(registry, &context.secrets));
    let tables = problems.collect(Tables::new(tables, &context.file));
    let (Some(registry), Some(tables)) = (registry, tables) else { return Err(problems.into()) };
    Ok((registry.as_ref().map(Registry::new).transpose()?, tables))
}

/// A kept record that is to be decoded again.
#[derive(Clone, Copy)]
pub(crate) struct Again<'a> {
    /// Where it stands.
    pub(crate) partition: &'a TopicPartition,
    /// The record.
    pub(crate) record: Record<'a>,
    /// Whether it may not lean on the target's row.
    pub(crate) is_tainted: bool,
    /// Whether its partition is the topic's only one, once that is known.
    pub(crate) is_alone: Option<bool>,
}

/// What a kept record comes to.
pub(crate) enum Judged {
    /// What a lane would make of it, with the batch that its row is in.
    Decoded(Decoded, Box<Batch>),
    /// The target has no table for it.
    TableGone(TableName),
}

/// A table as records describe it, and how it is written.
struct Planned {
    source: SourceTable,
    /// Whether the records have no row, but only a key.
    is_partial: bool,
    /// No plan where there is nothing to delete from.
    plan: Result<Option<Plan>, Stop>,
}

impl Trial {
    /// Starts with nothing learned.
    pub(crate) fn new(
        registry: Option<Registry>,
        mut tables: Tables,
        target: Option<Opened>,
    ) -> Self {
        if target.is_none() {
            tables.schema_changes = SchemaChanges::Apply;
        }
        let dialect = target.as_ref().map_or(Postgres::DIALECT, Opened::dialect);
        Self {
            decoder: Decoder::default(),
            registry,
            mapping: Mapping::new(tables, dialect),
            target,
            plans: Vec::new(),
            changed: HashMap::new(),
            leading: Vec::new(),
            is_told: false,
        }
    }

    /// Returns the target, if one is given.
    pub(crate) fn target(&mut self) -> Option<&mut Opened> {
        self.target.as_mut()
    }

    /// Returns the table that a record's own schema describes; `None` for a record without a row.
    pub(crate) async fn source(
        &mut self,
        topic: &Arc<str>,
        record: Record<'_>,
    ) -> anyhow::Result<Option<SourceTable>> {
        // JSON without a schema is compared with what was met before, which may have other fields.
        self.decoder.forget_layouts();
        match self.decode(topic, record).await? {
            Decoded::NeedsLayout(request) if !request.is_partial => Ok(Some(request.source)),
            _ => Ok(None),
        }
    }

    /// Returns what a lane would make of a record; [`Decoded::NeedsLayout`] only where there is no
    /// target to say what JSON without a schema means.
    pub(crate) async fn judge(
        &mut self,
        topic: &Arc<str>,
        record: Record<'_>,
    ) -> anyhow::Result<Decoded> {
        // Each record by itself: one that would stop its partition says nothing of the next.
        self.decoder.forget_layouts();
        loop {
            let decoded = self.decode(topic, record).await?;
            let Decoded::NeedsLayout(request) = decoded else { return Ok(decoded) };
            if self.target.is_none() && is_untyped(&request.source) {
                return Ok(Decoded::NeedsLayout(request));
            }
            match self.plan(&request.source, request.is_partial).await? {
                Ok(Some(plan)) => {
                    let mapped = plan.mapped.clone();
                    self.decoder.learn_layout(request.id, mapped);
                }
                Ok(None) => self.decoder.learn_absent(request.id),
                Err(stop) => return Ok(Decoded::Stopped(stop.clone())),
            }
        }
    }

    /// Decodes a kept record again, by all that holds now, into a batch of its own.
    pub(crate) async fn again(&mut self, again: Again<'_>) -> anyhow::Result<Judged> {
        self.decoder.forget_layouts();
        (self.plans, self.leading) = (Vec::new(), Vec::new());
        self.changed = HashMap::new();
        let mut change = None;
        loop {
            let (decoded, mut batch) = self.collect(again).await?;
            match decoded {
                Decoded::NeedsLayout(request) => {
                    if let Ok(name) = self.mapping.target(&request.source.name)
                        && self.existing(&request.source).await?.is_ok_and(|it| it.is_none())
                    {
                        return Ok(Judged::TableGone(name));
                    }
                    match self.plan(&request.source, request.is_partial).await? {
                        Ok(Some(plan)) => {
                            let mapped = plan.mapped.clone();
                            change = plan.change.clone();
                            self.decoder.learn_layout(request.id, mapped);
                        }
                        Ok(None) => self.decoder.learn_absent(request.id),
                        Err(stop) => {
                            let stopped = Decoded::Stopped(stop.clone());
                            return Ok(Judged::Decoded(stopped, Box::new(batch)));
                        }
                    }
                }
                Decoded::NeedsMoved(request) => {
                    let Some(target) = &mut self.target else { bail!("no target is given") };
                    let moved = target.moved(&request).await.context("look for the old row")?;
                    // Who is late with the old row's delete need not be waited for: there is a later
                    // replay.
                    let moved = moved.unwrap_or(Moved::Gone);
                    self.decoder.learn_moved(again.partition, again.record.offset, moved);
                }
                decoded => {
                    batch.schema_changes.extend(change);
                    return Ok(Judged::Decoded(decoded, Box::new(batch)));
                }
            }
        }
    }

    /// Lays a record open.
    pub(crate) async fn inspect(
        &mut self,
        topic: &str,
        record: Record<'_>,
    ) -> anyhow::Result<Inspected> {
        loop {
            match self.decoder.inspect(topic, record) {
                Ok(seen) => return Ok(seen),
                Err(id) => self.fetch(id).await?,
            }
        }
    }

    /// Decodes as far as schemas alone lead.
    async fn decode(&mut self, topic: &Arc<str>, record: Record<'_>) -> anyhow::Result<Decoded> {
        let partition = TopicPartition::new(Arc::clone(topic), 0);
        // Nothing is written: whether a truncate may be is for the lane to find out.
        let (is_tainted, is_alone) = (false, Some(true));
        let again = Again { partition: &partition, record, is_tainted, is_alone };
        self.collect(again).await.map(|(decoded, _)| decoded)
    }

    /// Does the same, and hands out the batch.
    async fn collect(&mut self, again: Again<'_>) -> anyhow::Result<(Decoded, Batch)> {
        let Again { partition, record, is_tainted, is_alone } = again;
        loop {
            let mut batch = Batch::default();
            let claim = Claim { epoch: 0, token: uuid::Uuid::nil() };
            let step = batch.step(partition, claim, NextOffset::at(record.offset));
            let origin = Origin {
                step,
                offset: record.offset,
                sent_at: record.timestamp.unwrap_or_default(),
            };
            let (topic, partition) = (&partition.topic, partition.partition);
            let arrival = Arrival { topic, partition, record, origin, is_tainted, is_alone };
            match self.decoder.decode(arrival, &mut batch) {
                Decoded::NeedsSchema(id) => self.fetch(id).await?,
                decoded => return Ok((decoded, batch)),
            }
        }
    }

    /// Fetches a schema for the decoder.
    async fn fetch(&mut self, id: SchemaId) -> anyhow::Result<()> {
        let schema = match &self.registry {
            Some(registry) => registry.schema(id).await.context("fetch a schema")?,
            None => None,
        };
        if self.registry.is_none() && !self.is_told {
            say("Avro needs a schema registry: --schema-registry-url (SCHEMA_REGISTRY_URL)");
            self.is_told = true;
        }
        self.decoder.learn_schema(id, schema);
        Ok(())
    }

    /// Plans how a source table is written; the same table again has the same plan. `None` where
    /// only a key is known, and no table to delete from.
    pub(crate) async fn plan(
        &mut self,
        source: &SourceTable,
        is_partial: bool,
    ) -> anyhow::Result<Result<Option<&Plan>, &Stop>> {
        let is_same = |known: &Planned| known.is_partial == is_partial && known.source == *source;
        let known = match self.plans.iter().position(is_same) {
            Some(known) => known,
            None => {
                let plan = self.plan_anew(source, is_partial).await?;
                if let Ok(Some(Plan { change: Some(change), .. })) = &plan {
                    self.changed.insert(change.after.name.clone(), Table::clone(&change.after));
                }
                self.plans.push(Planned { source: source.clone(), is_partial, plan });
                self.plans.len() - 1
            }
        };
        let known = self.plans.get(known).expect("the plan is there now");
        Ok(known.plan.as_ref().map(Option::as_ref))
    }

    async fn plan_anew(
        &mut self,
        source: &SourceTable,
        is_partial: bool,
    ) -> anyhow::Result<Result<Option<Plan>, Stop>> {
        let existing = match self.existing(source).await? {
            Ok(None) if is_partial => return Ok(Ok(None)),
            Ok(existing) => existing,
            Err(stop) => return Ok(Err(stop)),
        };
        // Where only the topic names the table, a lane knows whose records came through it.
        if !is_partial {
            let leader = Leader { source: source.name.clone(), topic: Arc::from("") };
            let known = self.leaders(&source.name).await?;
            if let Err(stop) = self.mapping.lead(leader.clone(), &known) {
                return Ok(Err(stop));
            }
            self.leading.push(leader);
        }
        let plan = match existing {
            Some(existing) if is_partial => self.mapping.plan_partial(source.clone(), existing),
            existing => self.mapping.plan(source.clone(), existing),
        };
        Ok(plan.map(Some))
    }

    /// Returns what leads to the same table: as the target knows it, and by earlier plans.
    async fn leaders(&mut self, source: &SourceName) -> anyhow::Result<Vec<Leader>> {
        let mut leaders = Vec::new();
        if let (Some(target), Ok(name)) = (&mut self.target, self.mapping.target(source)) {
            let found = target.leaders_of(&name).await;
            leaders = found.with_context(|| format!("read what leads to table \"{name}\""))?;
        }
        let meets = |it: &&Leader| self.mapping.is_same_target(&it.source, source);
        leaders.extend(self.leading.iter().filter(meets).cloned());
        Ok(leaders)
    }

    /// Returns the target's table as it is, or as an earlier plan leaves it.
    async fn existing(
        &mut self,
        source: &SourceTable,
    ) -> anyhow::Result<Result<Option<Table>, Stop>> {
        let name = match self.mapping.target(&source.name) {
            Ok(name) => name,
            Err(stop) => return Ok(Err(stop)),
        };
        if let Some(changed) = self.changed.get(&name) {
            return Ok(Ok(Some(changed.clone())));
        }
        let Some(target) = &mut self.target else { return Ok(Ok(None)) };
        let found = target.describe(&name).await;
        found.map(Ok).with_context(|| format!("read table \"{name}\""))
    }
}

/// Returns whether only a target's columns can say what the values are.
fn is_untyped(source: &SourceTable) -> bool {
    source.columns.iter().any(|column| column.kind == Kind::Untyped)
}

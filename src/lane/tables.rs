//! Tables: what the lane asks of the target when it meets a table, and what comes of the answer.

use std::sync::Arc;

use tracing::info;

use super::writer::Order;
use super::{Blocked, Lane};
use crate::batch::{Lead, Leader, SchemaChange};
use crate::decode::LayoutRequest;
use crate::decode::value::kind::SourceTable;
use crate::identity::KeyMet;
use crate::mapping::Plan;
use crate::record::Run;
use crate::stopped::{Stop, StopReason};
use crate::table::TableName;
use crate::target::Existing;

impl Lane {
    /// Returns the question whether the head's keys may come in their encoding, and those that are
    /// ahead.
    pub(super) fn keys_due(&mut self) -> Option<Order> {
        let Some(Blocked::Layout(request)) = &self.blocked else { return None };
        let mut met = vec![self.key_met(self.current.as_ref()?, request)?];
        self.look_ahead();
        met.extend(self.ahead.requests().filter_map(|(run, request)| self.key_met(run, request)));
        // All members meet them in one order.
        met.sort();
        Some(Order::MeetKeys(met))
    }

    fn key_met(&self, run: &Run, request: &LayoutRequest) -> Option<KeyMet> {
        let encoding = request.key_encoding.clone()?;
        let seen = self.held.get(&run.partition).and_then(|held| held.remembered.partitions_seen);
        Some(KeyMet {
            topic: Arc::clone(&run.partition.topic),
            source: request.source.name.rule_name(),
            encoding,
            is_alone: seen == Some(1),
        })
    }

    /// Takes whether keys may come in their encodings, where it is still of use: a rebalance may have
    /// taken the runs away while the target was asked.
    pub(super) fn learn_keys(&mut self, met: &[KeyMet], accepted: Vec<bool>) {
        for (met, is_accepted) in met.iter().zip(accepted) {
            let is_accepted = is_accepted || self.mapping.is_guarded(&met.source);
            self.learn_key(met, is_accepted);
            self.learn_key_ahead(met, is_accepted);
        }
    }

    /// Has the head go on whose keys are encoded as before, and stops it where not: keys have moved,
    /// and another partition may hold older records of them.
    fn learn_key(&mut self, met: &KeyMet, is_accepted: bool) {
        let (Some(Blocked::Layout(request)), Some(run)) = (&mut self.blocked, &self.current) else {
            return;
        };
        if !is_about(met, &run.partition.topic, request) {
            return;
        }
        if is_accepted {
            request.key_encoding = None;
            return;
        }
        let detail = format!(
            "keys of table \"{}\" come as {} now, and did not before: they have moved between the \
             topic's partitions; consumer checkpoint release goes on",
            met.source, met.encoding
        );
        self.stop_head(Stop::new(StopReason::KeyEncodingChanged, detail));
    }

    /// Returns the question for the table that the head waits for, and for those that are ahead.
    pub(super) fn tables_due(&mut self) -> Option<Order> {
        let Some(Blocked::Layout(request)) = &self.blocked else { return None };
        if self.is_before(request) {
            return None;
        }
        let mut names = match self.mapping.target(&request.source.name) {
            Ok(name) => vec![name],
            Err(stop) => {
                self.stop_head(stop);
                return None;
            }
        };
        self.look_ahead();
        for (_, request) in self.ahead.requests() {
            if request.key_encoding.is_none()
                && !self.is_before(request)
                && let Ok(name) = self.mapping.target(&request.source.name)
                && !names.contains(&name)
            {
                names.push(name);
            }
        }
        Some(Order::Tables(names))
    }

    /// Returns whether the batch must be applied before a table is looked at: what it changes is not
    /// there yet, and its rows of the table are as the table is.
    fn is_before(&self, request: &LayoutRequest) -> bool {
        let target = self.mapping.target(&request.source.name);
        let is_held = target.is_ok_and(|table| self.filling.holds(&table));
        !self.filling.is_empty() && (!self.filling.schema_changes.is_empty() || is_held)
    }

    /// Takes what the target has of tables.
    pub(super) fn learn_tables(&mut self, names: &[TableName], existing: Vec<Existing>) {
        for (name, existing) in names.iter().zip(existing) {
            if self.head_wants(name) {
                self.lay_out(existing);
            } else {
                self.lay_out_ahead(name, existing);
            }
        }
    }

    /// Returns whether the head still waits for this table: a rebalance may have changed the head
    /// while the catalogue was asked.
    pub(super) fn head_wants(&self, name: &TableName) -> bool {
        let Some(Blocked::Layout(request)) = &self.blocked else { return false };
        self.mapping.leads_to(&request.source.name, name)
    }

    /// Gives the decoder the target's side of the table that the head waits for.
    fn lay_out(&mut self, existing: Existing) {
        let Some(Blocked::Layout(request)) = self.blocked.take() else { return };
        let Some(run) = &self.current else { return };
        let LayoutRequest { id, source, is_partial, .. } = *request;
        let leader =
            Leader { source: source.name.clone(), topic: Arc::clone(&run.partition.topic) };
        let planned = match existing {
            Existing { table: None, .. } if is_partial => return self.miss_table(id, &source),
            // Only the topic names its table: it leads nowhere by itself.
            Existing { table: Some(table), leaders } if is_partial => {
                let allowed = self.mapping.follow(&leader, &leaders);
                let plan = allowed.and_then(|()| self.mapping.plan_partial(source, table));
                plan.map(|plan| (plan, None))
            }
            existing => self.plan(leader.clone(), source, existing),
        };
        match planned {
            Ok((plan, lead)) => {
                if lead.as_ref().is_some_and(|lead| self.leads.drop_others(lead)) {
                    // They were looked at ahead, and must see each other.
                    return self.forget_layouts();
                }
                if let Some(change) = plan.change {
                    let SchemaChange { after, statements, labels, .. } = &change;
                    let statements = labels.iter().chain(statements).collect::<Vec<_>>();
                    info!(table = %after.name, ?statements, "changes the target's schema");
                    self.filling.schema_changes.push(change);
                    // It goes with the table's first rows.
                    self.is_ended = false;
                }
                self.leads.open(lead);
                self.decoder.learn_layout(id, plan.mapped);
            }
            Err(stop) => {
                if stop.reason == StopReason::TableShared && !is_partial {
                    self.contest(leader);
                    // A table of this lane that came first learns of it at its next record.
                    self.forget_layouts();
                }
                self.stop_head(stop);
            }
        }
    }

    /// Plans how rows of a source table are written, and whether it leads there.
    pub(super) fn plan(
        &self,
        leader: Leader,
        source: SourceTable,
        existing: Existing,
    ) -> Result<(Plan, Option<Lead>), Stop> {
        let lead = self.mapping.lead(leader, &existing.leaders)?;
        self.mapping.plan(source, existing.table).map(|plan| (plan, lead))
    }
}

/// Returns whether the encoding is that of the keys of a table that a record of the topic asks for.
pub(super) fn is_about(met: &KeyMet, topic: &str, request: &LayoutRequest) -> bool {
    request.key_encoding.as_ref() == Some(&met.encoding)
        && *met.topic == *topic
        && met.source == request.source.name.rule_name()
}

//! Leads: what a lane has to tell the target of the source tables that lead to its tables.

use tracing::info;

use super::Lane;
use super::writer::Order;
use crate::batch::{Folded, Lead, Leader};

/// What a lane knows of leads.
#[derive(Debug, Default)]
pub(super) struct Leads {
    /// Those of layouts whose tables no committed batch has written yet.
    open: Vec<Lead>,
    /// Those that may not write, and of which the target does not know yet.
    contested: Vec<Lead>,
    /// How many source tables lead to a table beside another one, as the target last said.
    met: u64,
}

impl Leads {
    /// Returns those that a batch is the first to write.
    pub(super) fn of(&self, batch: &Folded) -> Vec<Lead> {
        let is_written = |lead: &&Lead| {
            let mut tables = batch.tables.iter().map(|(rows, _)| &rows.shape().table.name);
            tables.any(|name| *name == lead.target)
        };
        self.open.iter().filter(is_written).cloned().collect()
    }

    /// Takes the lead of a layout, if the target does not know it.
    pub(super) fn open(&mut self, lead: Option<Lead>) {
        let Some(lead) = lead else { return };
        self.open.retain(|it| (&it.target, &it.leader) != (&lead.target, &lead.leader));
        self.open.push(lead);
    }

    /// Returns whether another source table's lead to the same table is open.
    pub(super) fn has_other(&self, lead: &Lead) -> bool {
        self.open.iter().any(|it| is_other(it, lead))
    }

    /// Forgets the open leads of other source tables to the same table; returns whether there are
    /// some, whose layouts must go too.
    pub(super) fn drop_others(&mut self, lead: &Lead) -> bool {
        let has_other = self.has_other(lead);
        self.open.retain(|it| !is_other(it, lead));
        has_other
    }

    /// Takes that a batch has committed.
    pub(super) fn close(&mut self, batch: &Folded) {
        self.open.retain(|lead| !batch.leads.contains(lead));
    }
}

impl Lane {
    /// Has the catalogue read anew for the next records; leads stay open whose rows may be collected.
    pub(super) fn forget_layouts(&mut self) {
        self.decoder.forget_layouts();
        self.ahead.look_away();
    }

    /// The same when no row is collected.
    pub(super) fn forget_tables(&mut self) {
        self.forget_layouts();
        self.leads.open.clear();
    }

    /// Has the target told of a source table that leads where another one does.
    pub(super) fn contest(&mut self, leader: Leader) {
        if let Ok(target) = self.mapping.target(&leader.source) {
            self.leads.contested.push(Lead { target, leader, beside: Vec::new() });
        }
    }

    pub(super) fn contest_due(&mut self) -> Option<Order> {
        self.leads.contested.pop().map(Order::Contest)
    }

    /// Has a contest told again, which the target could not take.
    pub(super) fn contest_again(&mut self, lead: Lead) {
        self.leads.contested.push(lead);
    }

    /// Has all tables looked at anew when source tables have met somewhere: those that were there
    /// first learn of it at their next records.
    pub(super) fn learn_met(&mut self, met: u64) {
        if std::mem::replace(&mut self.leads.met, met) != met {
            info!(met, "source tables have met: looks at all target tables anew");
            self.forget_layouts();
        }
    }
}

fn is_other(one: &Lead, lead: &Lead) -> bool {
    one.target == lead.target && one.leader != lead.leader
}

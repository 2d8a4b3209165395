//! Looking ahead: while the head waits to learn of its table, the runs behind it are looked at, and
//! what they will need is asked for with it.
//!
//! A lane that meets a thousand tables would otherwise wait a thousand times. What is learned ahead
//! only spares questions: whatever is still unknown when a run comes to the head is asked for then.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use super::held::Held;
use super::tables::is_about;
use super::{Blocked, Lane};
use crate::batch::Leader;
use crate::decode::LayoutRequest;
use crate::identity::KeyMet;
use crate::mapping::Plan;
use crate::record::Run;
use crate::table::TableName;
use crate::target::Existing;

/// How many runs are looked at, and how many bytes of them are held at most but for the last one.
const RUNS_MAX: usize = 64;
const BYTES_MAX: usize = 8 * 1024 * 1024;

/// The runs behind the head, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Ahead(VecDeque<Next>);

/// A run that will be collected, and what it will ask of its table.
#[derive(Debug)]
struct Next {
    run: Run,
    request: Option<Box<LayoutRequest>>,
}

impl Ahead {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn pop(&mut self) -> Option<Run> {
        self.0.pop_front().map(|next| next.run)
    }

    fn is_full(&self) -> bool {
        let bytes = self.0.iter().map(|next| next.run.byte_count()).sum::<usize>();
        self.0.len() >= RUNS_MAX || bytes >= BYTES_MAX
    }

    /// Forgets what will be asked: each run asks when it is the head.
    pub(super) fn look_away(&mut self) {
        self.0.iter_mut().for_each(|next| next.request = None);
    }

    pub(super) fn requests(&self) -> impl Iterator<Item = (&Run, &LayoutRequest)> {
        self.0.iter().filter_map(|next| Some((&next.run, next.request.as_deref()?)))
    }
}

impl Lane {
    /// Returns whether another run may come: all are collected, or the head waits for what others may
    /// wait for as well.
    pub(super) fn takes_runs(&self) -> bool {
        let is_learning = matches!(self.blocked, Some(Blocked::Schema(..) | Blocked::Layout(_)));
        let is_idle = self.current.is_none() && self.ahead.is_empty();
        is_idle || (is_learning && !self.ahead.is_full())
    }

    /// Takes a run; behind a head that waits it sends for the schemas that the run will need.
    pub(super) fn take_run(&mut self, run: Run) {
        if self.current.is_some()
            && let Some(first) = run.get(0)
        {
            self.fetch_schemas(first);
        }
        self.is_followed = run.is_followed;
        self.ahead.0.push_back(Next { run, request: None });
    }

    /// Finds out what the runs behind the head will ask of tables that nothing is known of.
    ///
    /// Only the next record of a topic shows it: what a later one means may depend on those before.
    pub(super) fn look_ahead(&mut self) {
        let head = self.current.iter().map(|run| Arc::clone(&run.partition.topic));
        let mut topics = head.collect::<HashSet<_>>();
        for Next { run, request } in &mut self.ahead.0 {
            let held = self.held.get(&run.partition).filter(|held| held.takes(run.assignment));
            let next = |held: &Held| run.iter().find(|it| it.offset >= held.expected.get());
            let Some(next) = held.and_then(next) else {
                *request = None;
                continue;
            };
            if topics.insert(Arc::clone(&run.partition.topic)) && request.is_none() {
                *request = self.decoder.foresee(&run.partition.topic, next);
            }
        }
    }

    /// Takes whether the keys of a run ahead may come in their encoding; where not, its partition
    /// stops when the run is the head.
    pub(super) fn learn_key_ahead(&mut self, met: &KeyMet, is_accepted: bool) {
        for Next { run, request } in &mut self.ahead.0 {
            let asked = request.as_mut().filter(|it| is_about(met, &run.partition.topic, it));
            if let Some(asked) = asked {
                asked.key_encoding = None;
                request.take_if(|_| !is_accepted);
            }
        }
    }

    /// Gives the decoder the target's side of a table that is ahead. One that is to be made, changed
    /// or refused, or shared, is left until it is the head's.
    pub(super) fn lay_out_ahead(&mut self, name: &TableName, existing: Existing) {
        let is_asked = |next: &mut Next| {
            let request = next.request.take_if(|request| {
                request.key_encoding.is_none() && self.mapping.leads_to(&request.source.name, name)
            });
            Some((Arc::clone(&next.run.partition.topic), request?))
        };
        let Some((topic, request)) = self.ahead.0.iter_mut().find_map(is_asked) else { return };
        let LayoutRequest { id, source, .. } = *request;
        let leader = Leader { source: source.name.clone(), topic };
        let planned = self.plan(leader, source, existing);
        if let Ok((Plan { mapped, change: None }, lead)) = planned
            // Two that lead there must see each other.
            && !lead.as_ref().is_some_and(|lead| self.leads.has_other(lead))
        {
            self.leads.open(lead);
            self.decoder.learn_layout(id, mapped);
        }
    }
}

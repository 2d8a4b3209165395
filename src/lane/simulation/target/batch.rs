//! A batch's transaction, as a connection carries it out.

use super::{Connection, partitions};
use crate::batch::Folded;
use crate::checkpoint::Step;
use crate::lane::simulation::database::{Commit, Lock};
use crate::lane::simulation::history::Met;
use crate::lane::simulation::state::row_key;
use crate::record::TopicPartition;
use crate::target::{Applied, TargetError};

impl Connection {
    /// One transaction up to its COMMIT; says what became of it.
    pub(super) async fn attempt(
        &mut self,
        batch: &Folded,
        steps: &[Step],
    ) -> Result<Applied, TargetError> {
        self.set_out().await?;
        let former = self.former();
        let locks = batch
            .tables
            .iter()
            .flat_map(|(rows, _)| (0..rows.index().len()).map(|row| Lock::Row(row_key(rows, row))));
        let locks = locks.collect::<Vec<_>>();
        self.lock(&locks, |_| former.clone()).await?;
        let planned = self.world.database().state.plan(batch, self.world.planted);
        let planned = match planned {
            Ok(planned) => planned,
            Err(error) => return self.verdict(steps, error).await,
        };
        self.travel().await;
        self.risk()?;
        self.lock_checkpoint(steps.iter().map(|step| &step.partition), |_| former.clone()).await?;
        if !self.world.database().unmatched(steps).is_empty() {
            return self.standing(steps).await?.map_or_else(
                || Ok(Applied::Fenced { partitions: partitions(steps) }),
                |partitions| match partitions.is_empty() {
                    true => {
                        Ok(Applied::Committed { refused: planned.refused, older: planned.older })
                    }
                    false => Ok(Applied::Fenced { partitions }),
                },
            );
        }
        self.travel().await;
        self.risk()?;
        let has_kept = planned.has_kept;
        self.commit(Commit { writes: planned.writes, steps: steps.to_vec() }).await?;
        if planned.older > 0 {
            self.world.met(Met::OlderKeptOut);
        }
        if has_kept {
            self.world.met(Met::ValueKept);
        }
        Ok(Applied::Committed { refused: planned.refused, older: planned.older })
    }

    /// Rolls back and looks where the partitions stand: nowhere else when all of them stand where the
    /// batch begins, else those that do not stand where it ends.
    async fn standing(
        &mut self,
        steps: &[Step],
    ) -> Result<Option<Vec<TopicPartition>>, TargetError> {
        self.free();
        self.travel().await;
        self.risk()?;
        let database = self.world.database();
        let elsewhere = database.unmatched(steps);
        if elsewhere.is_empty() {
            return Ok(None);
        }
        let is_after = database.unreached(steps).is_empty();
        Ok(Some(if is_after { Vec::new() } else { elsewhere }))
    }

    /// Passes an error on, if the partitions are still ours.
    async fn verdict(
        &mut self,
        steps: &[Step],
        error: TargetError,
    ) -> Result<Applied, TargetError> {
        match self.standing(steps).await? {
            None => {
                self.world.met(Met::LayoutStale);
                Err(error)
            }
            Some(partitions) if partitions.is_empty() => {
                Ok(Applied::Committed { refused: Vec::new(), older: 0 })
            }
            Some(partitions) => Ok(Applied::Fenced { partitions }),
        }
    }

    pub(super) fn count(&self, batch: &Folded, applied: &Applied, is_again: bool) {
        match applied {
            Applied::Committed { .. } => {
                self.world.met(Met::Applied);
                if is_again {
                    self.world.met(Met::AppliedAgain);
                }
                if !batch.dead_letters.is_empty() {
                    self.world.met(Met::LetterKept);
                }
                let mut steps = batch.steps.iter().filter(|step| step.moves());
                if steps
                    .any(|step| step.last.as_ref().is_none_or(|it| it.offset + 1 < step.to.get()))
                {
                    self.world.met(Met::EndReached);
                }
            }
            Applied::Refused { .. } => unreachable!("no table of the worlds has a constraint"),
            Applied::Fenced { partitions } => {
                self.world.met(Met::Fenced);
                let group = self.world.group();
                if partitions.iter().any(|partition| !group.is_owner(self.lane, partition)) {
                    drop(group);
                    self.world.met(Met::StaleFenced);
                }
            }
        }
    }
}

//! The writer: the one task that talks to a lane's target connection, an order at a time.

use std::sync::Arc;

use tokio::sync::mpsc;
use uuid::Uuid;

use super::Leaving;
use crate::batch::{Folded, Lead};
use crate::checkpoint::{Claim, NextOffset};
use crate::identity::{KeyMet, Remembered};
use crate::moves::{MoveRequest, Moved};
use crate::record::TopicPartition;
use crate::stopped::Stop;
use crate::table::TableName;
use crate::target::{Applied, Claims, Existing, Holding, Target, TargetError, Touched};

/// What a lane asks of its target.
#[derive(Debug)]
pub(super) enum Order {
    /// Take the partitions under this token.
    Claim(Vec<TopicPartition>, Uuid),
    /// Make rows at first positions.
    Begin(Vec<(TopicPartition, NextOffset)>),
    /// Give partitions up, and let the callbacks go on that wait for it.
    Release(Vec<(TopicPartition, Claim)>, Vec<Leaving>),
    /// Show that the owner lives, and find out whether the rows are still as it believes.
    Touch(Vec<Holding>),
    /// Write why a partition is stopped.
    Mark(TopicPartition, Claim, Stop),
    /// Write what tells logs from others.
    Identify(Vec<(TopicPartition, Claim, Remembered)>),
    /// Read where every partition of a topic stands.
    Places(Arc<str>),
    /// Keep how the keys of tables are encoded, and say whether such records may be applied.
    MeetKeys(Vec<KeyMet>),
    /// Keep that a source table leads where it may not write.
    Contest(Lead),
    /// Read tables from the catalogue, and what leads to them.
    Tables(Vec<TableName>),
    /// Find what a row has left under its old key.
    Moved(Box<MoveRequest>),
    /// Apply a batch.
    Apply(Box<Folded>),
}

/// What came of an order that went well.
#[derive(Debug)]
pub(super) enum Outcome {
    /// What a claim found.
    Claims(Claims),
    /// What the target has of each table.
    Tables(Vec<Existing>),
    /// What an owner has learned from its rows.
    Touched(Touched),
    /// Where a topic's partitions stand.
    Places(Vec<(TopicPartition, NextOffset)>),
    /// Of each encoding whether records with such keys may be applied.
    KeysMet(Vec<bool>),
    /// What the row has left; `None` while its delete is not applied.
    Moved(Option<Moved>),
    /// How the batch ended.
    Applied(Applied),
    /// Done.
    Done,
}

/// An order that was carried out once, and what came of it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) order: Order,
    pub(super) result: Result<Outcome, TargetError>,
}

/// The lane's end of the writer's channels.
#[derive(Debug)]
pub(super) struct Desk {
    orders: mpsc::Sender<Order>,
    pub(super) answers: mpsc::Receiver<Answer>,
}

impl Desk {
    /// Makes the desk and the writer behind it; one order is under way at a time.
    pub(super) fn new<T: Target>(target: T, take_over: bool) -> (Self, Writer<T>) {
        let (orders, orders_rx) = mpsc::channel(1);
        let (answers_tx, answers) = mpsc::channel(1);
        (Self { orders, answers }, Writer { target, take_over, orders: orders_rx, answers_tx })
    }

    /// Hands an order over; the lane waits for its answer before the next one.
    pub(super) fn send(&self, order: Order) {
        self.orders.try_send(order).expect("the writer is free: its last order was answered");
    }
}

/// The task's side.
pub struct Writer<T> {
    target: T,
    take_over: bool,
    orders: mpsc::Receiver<Order>,
    answers_tx: mpsc::Sender<Answer>,
}

impl<T: Target> Writer<T> {
    /// Carries out orders until the lane has ended.
    pub async fn run(mut self) {
        while let Some(order) = self.orders.recv().await {
            let result = self.carry_out(&order).await;
            if self.answers_tx.send(Answer { order, result }).await.is_err() {
                return;
            }
        }
    }

    async fn carry_out(&mut self, order: &Order) -> Result<Outcome, TargetError> {
        let target = &mut self.target;
        match order {
            Order::Claim(partitions, token) => {
                target.claim(partitions, *token, self.take_over).await.map(Outcome::Claims)
            }
            Order::Tables(names) => target.tables(names).await.map(Outcome::Tables),
            Order::Contest(lead) => target.contest(lead).await.map(|()| Outcome::Done),
            Order::Moved(request) => target.moved(request).await.map(Outcome::Moved),
            Order::Apply(batch) => target.apply(batch).await.map(Outcome::Applied),
            Order::Begin(first) => target.begin(first).await.map(|()| Outcome::Done),
            Order::Release(claims, _) => target.release(claims).await.map(|()| Outcome::Done),
            Order::Touch(holdings) => target.touch(holdings).await.map(Outcome::Touched),
            Order::Identify(claims) => target.identify(claims).await.map(|()| Outcome::Done),
            Order::Places(topic) => target.places(topic).await.map(Outcome::Places),
            Order::MeetKeys(met) => target.meet_keys(met).await.map(Outcome::KeysMet),
            Order::Mark(partition, claim, stop) => {
                target.mark(partition, *claim, Some(stop)).await.map(|()| Outcome::Done)
            }
        }
    }
}

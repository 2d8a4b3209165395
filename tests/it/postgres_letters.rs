//! PostgreSQL as a target: replays of dead letters beside the member that holds their partition.

use std::sync::Arc;

use afterimage::batch::{Batch, Folded, KeyMark, Replay};
use afterimage::checkpoint::{Claim, NextOffset};
use afterimage::decode::value::Value;
use afterimage::decode::value::kind::Kind;
use afterimage::record::TopicPartition;
use afterimage::refused::{DeadLetter, KeptRecord, Reason, Refusal};
use afterimage::rows::{Deletes, Origin, Shape};
use afterimage::target::inspect::Deed;
use afterimage::target::letters::{DISCARD, Filter, KeptLetter, LetterState, Letters as _};
use afterimage::target::postgres::Postgres;
use afterimage::target::{Applied, Claimed, Target as _};
use uuid::Uuid;

use crate::postgres_support::{Does, World, batch, claim, creation, last, record, shape, sql};

const COMMITTED: Applied = Applied::Committed { refused: Vec::new(), older: 0 };

/// A table with a row of each key, and a partition with dead letters of keys, by offset; those with a
/// mark are the first of their keys that is not applied.
struct Place {
    world: World,
    target: Postgres,
    claimed: Claimed,
    shape: Arc<Shape>,
}

impl Place {
    async fn new(refused: &[(&str, bool)]) -> Self {
        let world = World::new().await;
        let table = world.table("t", &[("id", Kind::Int64), ("name", Kind::Text)], &["id"]);
        let shape = shape(&table, &["id"], Deletes::Hard);
        let mut target = world.target();
        let partition = TopicPartition::new("topic", 0);
        let claimed = claim(&mut target, std::slice::from_ref(&partition)).await.pop().unwrap();
        let mut batch = Batch::default();
        let step = batch.step(&partition, claimed.claim, claimed.next);
        batch.schema_changes.push(creation(&table));
        for (offset, (key, is_marked)) in (0..).zip(refused) {
            let key = key.as_bytes().to_vec();
            let (partition, is_refused) = (partition.clone(), true);
            if *is_marked {
                let (partition, key) = (partition.clone(), key.clone());
                batch.key_marks.push(KeyMark { partition, key, is_refused, offset });
            }
            let record = KeptRecord { key: Some(key), ..record(offset) };
            let refusal = Refusal::new(Reason::ValueUnfit, "too long");
            batch.dead_letters.push(DeadLetter { partition, record, refusal });
            batch.advance(step, last(offset));
        }
        assert_eq!(Box::pin(target.apply(&batch.fold())).await.unwrap(), COMMITTED);
        let next = NextOffset::at(i64::try_from(refused.len()).unwrap());
        Self { world, target, claimed: Claimed { next, ..claimed }, shape }
    }

    /// Returns the number of the dead letter of an offset.
    async fn id(&mut self, offset: i64) -> i64 {
        let letters = self.target.letters(&Filter::default()).await.unwrap();
        letters.iter().find(|letter| letter.offset == offset).unwrap().id
    }

    /// Returns the replay of a dead letter that writes the row 1.
    async fn replay(&mut self, offset: i64, name: &str) -> Folded {
        let id = self.id(offset).await;
        let kept = self.target.letter(id).await.unwrap().unwrap();
        let standing = self.target.standing(&kept).await.unwrap();
        let KeptLetter { letter, record } = kept;
        let mut batch = Batch::default();
        let claim = Claim { epoch: 0, token: Uuid::nil() };
        let step = batch.step(&letter.partition, claim, NextOffset::at(offset));
        let mut writer = batch.rows(&self.shape).unwrap().upsert();
        writer.push(Value::Int(1)).unwrap();
        writer.push(Value::Text(name)).unwrap();
        writer.finish(Origin { step, offset, sent_at: 0 }, record.clone()).unwrap();
        let mut folded = batch.fold();
        let (actor, reason) = ("me".to_owned(), "mended".to_owned());
        let (partition, key) = (letter.partition, record.key);
        folded.replay = Some(Replay { id, partition, offset, key, standing, actor, reason });
        folded
    }

    /// Returns a batch of the member's: a newer image of the row 1, whose key is `a`.
    fn newer(&self, name: &str) -> Folded {
        let upsert = [Value::Int(1), Value::Text(name)];
        let mut newer = batch(&self.claimed, &self.shape, &[Does::Upsert(&upsert)]);
        let (partition, key) = (self.claimed.partition.clone(), b"a".to_vec());
        let offset = self.claimed.next.get();
        newer.key_marks.push(KeyMark { partition, key, is_refused: false, offset });
        newer
    }

    async fn read(&self, text: &str) -> String {
        let text = text.replace("SINK", &self.world.sink.name);
        let rows =
            self.world.sql(&text.replace("TABLE", &format!("{}.t", self.world.schema))).await;
        rows.iter().flatten().map(|it| it.clone().unwrap_or_default()).collect::<Vec<_>>().join(" ")
    }

    async fn name(&self) -> String {
        self.read("SELECT name FROM TABLE WHERE id = 1").await
    }

    async fn states(&self) -> String {
        self.read(
            "SELECT state FROM afterimage.dead_letter WHERE sink = 'SINK' ORDER BY record_offset",
        )
        .await
    }

    async fn marks(&self) -> String {
        self.read(
            "SELECT encode(key, 'escape') || since_offset FROM afterimage.refused_key
             WHERE sink = 'SINK' ORDER BY key",
        )
        .await
    }
}

#[tokio::test]
async fn a_replay_moves_the_mark_of_its_key_and_voids_the_claims_steps_at_last() {
    let mut place = Place::new(&[("a", true), ("a", false), ("b", true)]).await;
    let first = place.replay(0, "first").await;
    assert_eq!(place.target.apply(&first).await.unwrap(), COMMITTED);
    assert_eq!((place.name().await, place.marks().await), ("first".into(), "a1 b2".into()));
    assert!(matches!(place.target.apply(&first).await.unwrap(), Applied::Fenced { .. }));
    let second = place.replay(1, "second").await;
    assert_eq!(place.target.apply(&second).await.unwrap(), COMMITTED);
    assert_eq!((place.name().await, place.marks().await), ("second".into(), "b2".into()));
    assert_eq!(place.states().await, "replayed replayed open");

    let stale = place.newer("stale");
    assert!(matches!(place.target.apply(&stale).await.unwrap(), Applied::Fenced { .. }));
    assert_eq!(place.name().await, "second");
    let claims = [(place.claimed.partition.clone(), place.claimed.claim)];
    place.target.release(&claims).await.unwrap();
    let owner = "SELECT owner FROM afterimage.checkpoint WHERE sink = 'SINK'";
    assert_eq!(place.read(owner).await, "", "the claim itself is still the member's");
}

#[tokio::test]
async fn a_replay_that_the_member_has_overtaken_writes_nothing() {
    let mut place = Place::new(&[("a", true)]).await;
    let prepared = place.replay(0, "old").await;
    let newer = place.newer("new");
    assert_eq!(place.target.apply(&newer).await.unwrap(), COMMITTED);
    assert!(matches!(place.target.apply(&prepared).await.unwrap(), Applied::Fenced { .. }));
    assert_eq!((place.name().await, place.states().await), ("new".into(), "open".into()));
    let kept = place.id(0).await;
    let kept = place.target.letter(kept).await.unwrap().unwrap();
    assert!(!place.target.standing(&kept).await.unwrap().is_newest(0));
}

#[tokio::test]
async fn a_replay_waits_for_the_members_transaction_and_sees_what_it_did() {
    let mut place = Place::new(&[("a", true)]).await;
    let prepared = place.replay(0, "old").await;
    // Plays the member at the end of its transaction, with the checkpoint in its hands.
    let mut member = place.world.stranger("member").await;
    let sink = place.world.sink.name.clone();
    sql(
        &mut member,
        &format!(
            "BEGIN; DELETE FROM afterimage.refused_key WHERE sink = '{sink}';
         UPDATE afterimage.checkpoint SET next_offset = next_offset + 1 WHERE sink = '{sink}'"
        ),
    )
    .await;

    let mut operator = place.world.target();
    let (applied, ()) = tokio::join!(operator.apply(&prepared), async {
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'
            AND datname = current_database() AND query LIKE '%afterimage.checkpoint%'";
        while place.read(waits).await == "0" {}
        sql(&mut member, "COMMIT").await;
    });
    assert!(matches!(applied.unwrap(), Applied::Fenced { .. }));
    assert_eq!((place.name().await, place.states().await), (String::new(), "open".into()));
}

#[tokio::test]
async fn a_discard_frees_the_key_once_nothing_of_it_is_open() {
    let deed = Deed { actor: "me", command: DISCARD, reason: "given up" };
    let mut place = Place::new(&[("a", false), ("a", true), ("a", false), ("b", true)]).await;
    let (second, third) = (place.id(1).await, place.id(2).await);
    let kept = place.target.letter(third).await.unwrap().unwrap();
    assert!(place.target.standing(&kept).await.unwrap().is_behind);
    assert_eq!(place.target.discard(&[second, second], deed).await.unwrap(), [second]);
    assert!(!place.target.standing(&kept).await.unwrap().is_behind);
    assert_eq!(place.marks().await, "a2 b3");
    assert_eq!(place.target.discard(&[third], deed).await.unwrap(), [third]);
    assert_eq!(place.marks().await, "b3");
    assert_eq!(place.states().await, "open discarded discarded open");
    let state = Some(LetterState::Discarded);
    let filter = Filter { state, limit: Some(1), ..Filter::default() };
    let listed = place.target.letters(&filter).await.unwrap();
    assert_eq!(listed.iter().map(|letter| letter.id).collect::<Vec<_>>(), [third]);
}

#[tokio::test]
async fn what_is_being_copied_is_nobody_elses() {
    let mut place = Place::new(&[("a", true), ("b", true)]).await;
    let mut other = place.world.target();
    let offsets = |letters: Vec<KeptLetter>| {
        letters.iter().map(|kept| kept.record.offset).collect::<Vec<_>>()
    };
    assert_eq!(offsets(place.target.uncopied(1).await.unwrap()), [0]);
    assert_eq!(offsets(other.uncopied(9).await.unwrap()), [1]);
    let first = place.id(0).await;
    place.target.copied(&[first]).await.unwrap();
    let sink = &place.world.sink.name;
    let expire =
        format!("UPDATE afterimage.dead_letter SET copying_until = now() WHERE sink = '{sink}'");
    place.world.sql(&expire).await;
    assert_eq!(offsets(other.uncopied(9).await.unwrap()), [1], "whoever had it is gone");
}

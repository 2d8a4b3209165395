//! PostgreSQL as a target: rows of the checkpoint that lie beside ours, of other sinks, clusters,
//! topics and partitions, and claims that are not the row's.

use afterimage::batch::{Batch, Folded};
use afterimage::checkpoint::{Claim, NextOffset};
use afterimage::identity::{KeyMet, Remembered};
use afterimage::record::TopicPartition;
use afterimage::stopped::{Stop, StopReason};
use afterimage::target::postgres::Postgres;
use afterimage::target::{Applied, Claimed, Holding, Known, Target};
use sqlx::Connection;
use tokio::time::timeout;
use uuid::Uuid;

use crate::postgres_fence::{BOUND, frozen};
use crate::postgres_support::{World, claim, last};

/// What tells a neighbour's row from ours.
const NEIGHBOURS: [&str; 4] = [
    r#""sink": "beside""#,
    r#""cluster_id": "beside""#,
    r#""topic": "beside""#,
    r#""partition": 1"#,
];

fn partition() -> TopicPartition {
    TopicPartition::new("topic", 0)
}

fn is_ours(world: &World) -> String {
    format!(
        "sink = '{}' AND cluster_id = 'cluster' AND topic = 'topic' AND \"partition\" = 0",
        world.sink.name
    )
}

/// Copies our row, with these columns changed.
async fn beside(world: &World, changes: &[&str]) {
    let (changes, ours) = (changes.join(", "), is_ours(world));
    let copied = format!("jsonb_populate_record(c, '{{{changes}}}')");
    let from = format!("FROM afterimage.checkpoint AS c WHERE {ours}");
    world.sql(&format!("INSERT INTO afterimage.checkpoint SELECT ({copied}).* {from}")).await;
}

async fn set(world: &World, values: &str, rows: &str) {
    world.sql(&format!("UPDATE afterimage.checkpoint SET {values} WHERE {rows}")).await;
}

async fn rows(world: &World, rows: &str) -> Vec<Vec<Option<String>>> {
    let from = format!("FROM afterimage.checkpoint AS c WHERE {rows} ORDER BY 1");
    world.sql(&format!("SELECT c::text {from}")).await
}

/// A world in a database of its own, with a claimed row.
async fn claimed() -> (World, Postgres, Claimed) {
    let world = World::alone("writer").await;
    let mut target = world.target();
    let claimed = claim(&mut target, &[partition()]).await.remove(0);
    set(&world, "updated_at = '2024-01-01'", "true").await;
    (world, target, claimed)
}

/// A batch of one record that writes nothing.
fn step(claimed: &Claimed) -> Folded {
    let mut batch = Batch::default();
    let step = batch.step(&claimed.partition, claimed.claim, claimed.next);
    batch.advance(step, last(claimed.next.get()));
    batch.fold()
}

/// What an owner writes into its row.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Release,
    Mark,
    Touch,
    Identify,
}

impl Deed {
    const ALL: [Self; 4] = [Self::Release, Self::Mark, Self::Touch, Self::Identify];

    async fn done(self, target: &mut Postgres, claim: Claim) {
        let (partition, next) = (partition(), NextOffset::at(0));
        let stop = Stop::new(StopReason::TableMissing, "x");
        let remembered = Remembered { topic_id: Some(Uuid::max()), ..Remembered::default() };
        match self {
            Self::Release => target.release(&[(partition, claim)]).await.unwrap(),
            Self::Mark => target.mark(&partition, claim, Some(&stop)).await.unwrap(),
            Self::Touch => _ = target.touch(&[Holding { partition, claim, next }]).await.unwrap(),
            Self::Identify => target.identify(&[(partition, claim, remembered)]).await.unwrap(),
        }
    }
}

#[tokio::test]
async fn nothing_changes_but_the_row_that_is_meant() {
    let deeds = Deed::ALL.map(Some).into_iter().chain([None, None]);
    for (number, deed) in deeds.enumerate() {
        let (world, mut target, claimed) = claimed().await;
        for change in NEIGHBOURS {
            beside(&world, &[change]).await;
        }
        let (ours, others) = (is_ours(&world), format!("NOT ({})", is_ours(&world)));
        let before = (rows(&world, &ours).await, rows(&world, &others).await);
        match deed {
            Some(deed) => deed.done(&mut target, claimed.claim).await,
            None if number == 4 => {
                target.claim(&[partition()], Uuid::new_v4(), false).await.unwrap();
            }
            None => {
                let applied = target.apply(&step(&claimed)).await.unwrap();
                assert!(matches!(applied, Applied::Committed { .. }));
            }
        }
        assert_ne!(rows(&world, &ours).await, before.0, "{number} {deed:?}");
        assert_eq!(rows(&world, &others).await, before.1, "{number} {deed:?}");
    }
}

#[tokio::test]
async fn who_has_another_claim_changes_nothing() {
    let (world, mut target, claimed) = claimed().await;
    let ours = is_ours(&world);
    let row = rows(&world, &ours).await;
    let Claim { epoch, token } = claimed.claim;
    let newer = Claim { epoch: epoch + 1, token };
    let other = Claim { epoch, token: Uuid::new_v4() };
    for deed in Deed::ALL {
        for claim in [newer, other] {
            deed.done(&mut target, claim).await;
            assert_eq!(rows(&world, &ours).await, row, "{deed:?} {claim:?}");
        }
    }
    // One that an operator has counted up is the same claim, but for the log that it is of.
    let before = Claim { epoch: epoch - 1, token };
    Deed::Identify.done(&mut target, before).await;
    assert_eq!(rows(&world, &ours).await, row);
    Deed::Touch.done(&mut target, before).await;
    assert_ne!(rows(&world, &ours).await, row);

    let fenced = Applied::Fenced { partitions: vec![partition()] };
    let others = [newer, other, before].map(|claim| Claimed { claim, ..claimed.clone() });
    let behind = Claimed { next: NextOffset::at(1), ..claimed.clone() };
    for claimed in others.into_iter().chain([behind]) {
        assert_eq!(target.apply(&step(&claimed)).await.unwrap(), fenced, "{claimed:?}");
    }
}

#[tokio::test]
async fn what_neighbours_have_is_not_ours() {
    let [sink, cluster, topic, other] = NEIGHBOURS;
    // One that comes behind ours where rows are read in the order of their key.
    let later = r#""cluster_id": "later""#;
    let elsewhere = |cluster: &str| Known::OtherCluster(cluster.to_owned());
    for (changes, known) in [
        (&[sink][..], Known::Nothing),
        (&[cluster], elsewhere("beside")),
        (&[later], elsewhere("later")),
        (&[topic], Known::Nothing),
        (&[other], Known::Topic),
        (&[sink, cluster], Known::Nothing),
        (&[topic, cluster], Known::Nothing),
    ] {
        let (world, mut target, claimed) = claimed().await;
        let ours = is_ours(&world);
        beside(&world, changes).await;
        // Where the neighbour stands, our row does not.
        set(&world, "partitions_seen = 9, next_offset = 1", &format!("NOT ({ours})")).await;
        let (partition, claim) = (partition(), claimed.claim);
        let held = Holding { partition, claim, next: NextOffset::at(1) };
        let touched = target.touch(&[held]).await.unwrap();
        assert_eq!(touched.elsewhere.len(), 1, "{changes:?}");
        let refused = "sink, cluster_id, topic, \"partition\"";
        let rows = format!(
            "SELECT {refused}, sha256('k'), 'k' FROM afterimage.checkpoint WHERE NOT ({ours})"
        );
        world
            .sql(&format!("INSERT INTO afterimage.refused_key ({refused}, key_hash, key) {rows}"))
            .await;
        let asked = [claimed.partition.clone()];
        let again = target.claim(&asked, Uuid::new_v4(), false).await.unwrap().claimed.remove(0);
        let seen = again.remembered.partitions_seen;
        assert_eq!(seen, (known == Known::Topic).then_some(9), "{changes:?}");
        assert_eq!(again.refused_keys, Vec::<Vec<u8>>::new(), "{changes:?}");
        let places = target.places("topic").await.unwrap().len();
        assert_eq!(places, 1 + usize::from(known == Known::Topic), "{changes:?}");

        world.sql(&format!("DELETE FROM afterimage.checkpoint WHERE {ours}")).await;
        let claims = target.claim(&asked, Uuid::new_v4(), false).await.unwrap();
        assert_eq!(claims.unknown, [(claimed.partition, known)], "{changes:?}");
        assert_eq!(claims.held, []);
    }
}

#[tokio::test]
async fn an_owner_of_neighbours_is_not_ended() {
    const TOKEN: &str = "ai-0123456789abcdef";
    for change in NEIGHBOURS {
        let (world, target, _) = claimed().await;
        drop(target);
        let ours = is_ours(&world);
        beside(&world, &[change]).await;
        set(&world, &format!("owner = '{TOKEN}'"), &format!("NOT ({ours})")).await;
        let locks = format!("SELECT 1 FROM afterimage.checkpoint WHERE {ours} FOR UPDATE");
        let mut session = frozen(&world, &format!("{TOKEN} 1 afterimage"), &locks).await;

        let (mut other, asked) = (world.target(), [partition()]);
        let claim = other.claim(&asked, Uuid::new_v4(), false);
        assert!(timeout(BOUND, claim).await.is_err(), "{change}");
        session.ping().await.unwrap();
    }
}

#[tokio::test]
async fn how_neighbours_encode_their_keys_says_nothing_of_ours() {
    let (world, mut target, _) = claimed().await;
    let sink = &world.sink.name;
    for row in [
        "'x', 'cluster', 'topic', 'a'".to_owned(),
        format!("'{sink}', 'x', 'topic', 'a'"),
        format!("'{sink}', 'cluster', 'x', 'a'"),
        format!("'{sink}', 'cluster', 'topic', 'x'"),
    ] {
        let columns = "sink, cluster_id, topic, source_table, encoding, is_accepted";
        let into = format!("INSERT INTO afterimage.key_encoding ({columns})");
        world
            .sql(&format!(
                "DELETE FROM afterimage.key_encoding; {into} VALUES ({row}, 'one', true)"
            ))
            .await;
        let met = |encoding: &str| KeyMet {
            topic: "topic".into(),
            source: "a".to_owned(),
            encoding: encoding.to_owned(),
            is_alone: false,
        };
        let both = [met("two"), met("three")];
        assert_eq!(target.meet_keys(&both).await.unwrap(), [true, false], "{row}");
    }
}

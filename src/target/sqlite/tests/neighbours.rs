//! Rows of the checkpoint that lie beside ours: other sinks, clusters, topics and partitions, and
//! claims that are not the row's.

use super::*;
use crate::identity::{KeyMet, Remembered};
use crate::target::Known;

/// What tells a neighbour's row from ours.
const NEIGHBOURS: [(&str, &str); 4] =
    [("sink", "'beside'"), ("cluster_id", "'beside'"), ("topic", "'beside'"), ("partition", "1")];

const OURS: &str = "sink = 'sink' AND cluster_id = 'cluster' AND topic = 't' AND \"partition\" = 0";

/// Copies our row, with these columns changed.
async fn beside(world: &World, changes: &[(&str, &str)]) {
    let names = world.read("SELECT name FROM pragma_table_info('afterimage_checkpoint')").await;
    let value = |name: &String| match changes.iter().find(|(changed, _)| changed == name) {
        Some((_, value)) => (*value).to_owned(),
        None => format!("\"{name}\""),
    };
    let values = names.iter().map(value).collect::<Vec<_>>().join(", ");
    let from = "FROM afterimage_checkpoint WHERE";
    world.run(&format!("INSERT INTO afterimage_checkpoint SELECT {values} {from} {OURS}")).await;
}

async fn ours(world: &World) -> Vec<String> {
    world
        .read(
            "SELECT * FROM afterimage_checkpoint WHERE sink = 'sink' AND cluster_id = 'cluster' \
             AND topic = 't' AND \"partition\" = 0",
        )
        .await
}

async fn neighbours(world: &World) -> Vec<String> {
    world
        .read(
            "SELECT * FROM afterimage_checkpoint WHERE NOT (sink = 'sink' \
             AND cluster_id = 'cluster' AND topic = 't' AND \"partition\" = 0) ORDER BY 1, 2, 3, 4",
        )
        .await
}

/// What an owner writes into its row.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Deed {
    Release,
    Mark,
    Touch,
    Identify,
}

impl Deed {
    const ALL: [Self; 4] = [Self::Release, Self::Mark, Self::Touch, Self::Identify];

    async fn done(self, target: &mut Sqlite, partition: &TopicPartition, claim: Claim) {
        let next = NextOffset::at(0);
        let stop = Stop::new(StopReason::TableMissing, "x");
        let remembered = Remembered { topic_id: Some(Uuid::max()), ..Remembered::default() };
        let partition = partition.clone();
        match self {
            Self::Release => target.release(&[(partition, claim)]).await.unwrap(),
            Self::Mark => target.mark(&partition, claim, Some(&stop)).await.unwrap(),
            Self::Touch => {
                _ = target.touch(&[Holding { partition, claim, next }]).await.unwrap();
            }
            Self::Identify => target.identify(&[(partition, claim, remembered)]).await.unwrap(),
        }
    }
}

#[tokio::test]
async fn nothing_changes_but_the_row_that_is_meant() {
    let deeds = Deed::ALL.map(Some).into_iter().chain([None, None]);
    for (number, deed) in deeds.enumerate() {
        let world = World::new();
        let (mut target, claimed) = world.claimed().await;
        world.run("UPDATE afterimage_checkpoint SET updated_at = '2024-01-01'").await;
        for change in NEIGHBOURS {
            beside(&world, &[change]).await;
        }
        let (row, others) = (ours(&world).await, neighbours(&world).await);
        match deed {
            Some(deed) => deed.done(&mut target, &world.partition, claimed.claim).await,
            None if number == 4 => _ = claim(&mut target, &world.partition).await,
            None => {
                let moved = batch(&claimed, &shape(Deletes::Hard), &[Delete(1)]);
                assert_eq!(target.apply(&moved).await.unwrap(), COMMITTED);
            }
        }
        assert_ne!(ours(&world).await, row, "{number} {deed:?}");
        assert_eq!(neighbours(&world).await, others, "{number} {deed:?}");
    }
}

#[tokio::test]
async fn who_has_another_claim_changes_nothing() {
    let world = World::new();
    let (mut target, claimed) = world.claimed().await;
    world.run("UPDATE afterimage_checkpoint SET updated_at = '2024-01-01'").await;
    let row = ours(&world).await;
    let Claim { epoch, token } = claimed.claim;
    let newer = Claim { epoch: epoch + 1, token };
    let other = Claim { epoch, token: Uuid::new_v4() };
    for deed in Deed::ALL {
        for claim in [newer, other] {
            deed.done(&mut target, &world.partition, claim).await;
            assert_eq!(ours(&world).await, row, "{deed:?} {claim:?}");
        }
    }
    // One that an operator has counted up is the same claim, but for the log that it is of.
    let before = Claim { epoch: epoch - 1, token };
    Deed::Identify.done(&mut target, &world.partition, before).await;
    assert_eq!(ours(&world).await, row);
    Deed::Touch.done(&mut target, &world.partition, before).await;
    assert_ne!(ours(&world).await, row);

    let fenced = Applied::Fenced { partitions: vec![world.partition.clone()] };
    let behind = NextOffset::at(1);
    let others = [newer, other, before].map(|claim| Claimed { claim, ..claimed.clone() });
    for claimed in others.into_iter().chain([Claimed { next: behind, ..claimed.clone() }]) {
        let stale = batch(&claimed, &shape(Deletes::Hard), &[Delete(1)]);
        assert_eq!(target.apply(&stale).await.unwrap(), fenced, "{claimed:?}");
    }
}

#[tokio::test]
async fn a_batch_has_arrived_only_where_its_own_row_says_so() {
    for change in
        ["next_offset = 9", "next_offset = 1, epoch = 9", "next_offset = 1, claim_token = 'x'"]
    {
        let world = World::new();
        let (mut target, claimed) = world.claimed().await;
        world.run("UPDATE afterimage_checkpoint SET next_offset = 1").await;
        for neighbour in NEIGHBOURS {
            beside(&world, &[neighbour]).await;
        }
        world.run(&format!("UPDATE afterimage_checkpoint SET {change} WHERE {OURS}")).await;
        let moved = batch(&claimed, &shape(Deletes::Hard), &[Delete(1)]);
        let fenced = Applied::Fenced { partitions: vec![world.partition.clone()] };
        assert_eq!(target.apply(&moved).await.unwrap(), fenced, "{change}");
        let (partition, claim) = (world.partition.clone(), claimed.claim);
        let held = Holding { partition, claim, next: NextOffset::at(1) };
        let touched = target.touch(&[held]).await.unwrap();
        assert_eq!(touched.elsewhere, std::slice::from_ref(&world.partition), "{change}");
    }
}

#[tokio::test]
async fn what_neighbours_have_is_not_ours() {
    let [sink, cluster, topic, partition] = NEIGHBOURS;
    let elsewhere = || Known::OtherCluster("beside".to_owned());
    for (changes, known) in [
        (&[sink][..], Known::Nothing),
        (&[cluster], elsewhere()),
        (&[topic], Known::Nothing),
        (&[partition], Known::Topic),
        (&[sink, cluster], Known::Nothing),
        (&[topic, cluster], Known::Nothing),
    ] {
        let world = World::new();
        let (mut target, _) = world.claimed().await;
        beside(&world, changes).await;
        world.run("UPDATE afterimage_checkpoint SET partitions_seen = 9").await;
        world
            .run(&format!("UPDATE afterimage_checkpoint SET partitions_seen = NULL WHERE {OURS}"))
            .await;
        let seen = claim(&mut target, &world.partition).await.remembered.partitions_seen;
        assert_eq!(seen, (known == Known::Topic).then_some(9), "{changes:?}");
        let places = target.places("t").await.unwrap().len();
        assert_eq!(places, 1 + usize::from(known == Known::Topic), "{changes:?}");

        world.run(&format!("DELETE FROM afterimage_checkpoint WHERE {OURS}")).await;
        let asked = [world.partition.clone()];
        let claims = target.claim(&asked, Uuid::new_v4(), false).await.unwrap();
        assert_eq!(claims.unknown, [(world.partition.clone(), known)], "{changes:?}");
        assert_eq!(claims.held, []);
    }
}

#[tokio::test]
async fn how_neighbours_encode_their_keys_says_nothing_of_ours() {
    for row in [
        "'x', 'cluster', 't', 'a'",
        "'sink', 'x', 't', 'a'",
        "'sink', 'cluster', 'x', 'a'",
        "'sink', 'cluster', 't', 'x'",
    ] {
        let world = World::new();
        let (mut target, _) = world.claimed().await;
        let columns = "sink, cluster_id, topic, source_table, encoding, is_accepted, at";
        let into = format!("INSERT INTO afterimage_key_encoding ({columns})");
        world.run(&format!("{into} VALUES ({row}, 'one', 1, '2024-01-01')")).await;
        let met = |encoding: &str| KeyMet {
            topic: "t".into(),
            source: "a".to_owned(),
            encoding: encoding.to_owned(),
            is_alone: false,
        };
        let both = [met("two"), met("three")];
        assert_eq!(target.meet_keys(&both).await.unwrap(), [true, false], "{row}");
    }
}

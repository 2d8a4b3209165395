//! The demo's own changes, applied to SQLite and to PostgreSQL, give both the same rows.

use afterimage::demo::Demo;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::support::{LATER, Member, World, judge};

/// Few enough for the demo's broker to keep them until PostgreSQL has them too: it waits for the
/// member that writes the demo's own file only.
const CHANGES: u64 = 3_000;

#[test]
fn the_demos_changes_give_both_databases_the_same_rows() {
    let world = World::new("engines");
    let runtime = Runtime::new().unwrap();
    let file = world.folder().join("demo.sqlite");
    let mut demo = runtime.block_on(Demo::start(Some(&file))).unwrap();
    let told = demo.member();
    let sqlite = format!("sqlite://{}", told.database.display());
    let members = [("sqlite", sqlite.as_str()), ("postgres", &world.target_url())].map(
        |(label, target)| -> Member {
            let setup = world
                .member(label)
                .target(target)
                .topics(&told.topics.join(","))
                .variable("KAFKA_GROUP_ID", label)
                .variable("KAFKA_BOOTSTRAP_SERVERS", &told.brokers)
                .variable("SCHEMA_REGISTRY_URL", &told.registry_url);
            setup.start()
        },
    );

    let proof = runtime.block_on(async {
        demo.load(CHANGES, &CancellationToken::new()).await.unwrap();
        demo.finish_load().await.unwrap();
        demo.prove().await.unwrap()
    });
    assert!(proof.is_equal(), "{:?}", proof.differences);
    let tables = proof.rows.iter().map(|(table, rows)| {
        assert!(*rows > 300, "{table} has {rows} rows");
        format!("public.{table}={table}")
    });
    judge::until_equal(LATER, world.target.url(), &sqlite, &tables.collect::<Vec<_>>());

    assert_eq!(world.dead_letters(), []);
    assert_eq!(members.map(Member::terminate), [0, 0]);
}

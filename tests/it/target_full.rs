//! A target that can take no rows for a while: its disk is full, or it only reads.

use tokio::time::Instant;

use crate::support::kafka::{Draft, produce};
use crate::support::server::{Server, SmallDisk};
use crate::support::{Database, LATER, Member, SOON, World, until};

fn users(ids: std::ops::Range<u32>) -> Vec<Draft> {
    let user = |id: u32| Draft::fixture("json/users-create").with("9001", &id.to_string());
    ids.map(user).collect()
}

fn until_count(target: &Database, count: i64) {
    until(LATER, &format!("there are {count} rows"), || {
        target.has("public.users") && target.number("SELECT count(*) FROM public.users") == count
    });
}

/// Waits until the member says that the target cannot do it, for that reason.
fn until_unready(member: &Member, reason: &str) {
    let label = format!("afterimage_retries_total{{reason=\"{reason}\"}}");
    until(SOON, "the member is not ready, and tries again", || {
        let retries = member.get("/metrics").body;
        let is_counted = |line: &str| line.starts_with(&label) && !line.ends_with(" 0");
        member.get("/readyz").status == 503 && retries.lines().any(is_counted)
    });
    assert_eq!(member.get("/livez").status, 200);
}

#[test]
fn f48_a_full_disk_a_server_that_only_reads_and_no_connection_left_are_waited_out() {
    let disk = SmallDisk::mount();
    let server = Server::start("");
    let target = server.open();
    target.run(&format!("CREATE TABLESPACE small LOCATION '{}'", disk.path()));
    target.run("GRANT CREATE ON TABLESPACE small TO writer");
    target.run("ALTER DATABASE mirror SET default_tablespace = small");
    let world = World::new("f48");
    let topic = world.topic("public.users", &[]);
    produce(&topic, 0, &users(0..1));
    let member = world.member("member").target(&server.target()).start();
    until_count(&target, 1);

    target.run(
        "CREATE TABLE filler (page text) TABLESPACE small;
         ALTER TABLE filler ALTER COLUMN page SET STORAGE PLAIN",
    );
    until(SOON, "the disk is full", || {
        let filled = target.try_run("INSERT INTO filler VALUES (repeat('x', 8000))");
        filled.is_err_and(|error| error.contains("No space left"))
    });
    produce(&topic, 0, &users(1..400));
    until_unready(&member, "exhausted");
    member.until_logged(&["trying again", "53100"]);
    until_count(&target, 1);
    target.run("DROP TABLE filler");
    let mended = Instant::now();
    until_count(&target, 400);
    eprintln!("all rows are there {:?} after the disk had room", mended.elapsed());
    member.until_ready();

    server.set("default_transaction_read_only", "on");
    produce(&topic, 0, &users(400..500));
    until_unready(&member, "unreachable");
    member.until_logged(&["trying again", "25006"]);
    until_count(&target, 400);
    server.set("default_transaction_read_only", "");
    let mended = Instant::now();
    until_count(&target, 500);
    eprintln!("all rows are there {:?} after the server could write", mended.elapsed());
    member.until_ready();

    target.run(
        "ALTER ROLE writer CONNECTION LIMIT 0;
         SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'writer'",
    );
    produce(&topic, 0, &users(500..600));
    until_unready(&member, "exhausted");
    member.until_logged(&["trying again", "53300"]);
    until_count(&target, 500);
    target.run("ALTER ROLE writer CONNECTION LIMIT -1");
    until_count(&target, 600);
    member.until_ready();
    assert_eq!(target.number("SELECT count(*) FROM afterimage.dead_letter"), 0);
    drop((member, target, server));
    drop(disk);
}

//! A target that somebody else has changed: its tables, the checkpoint's, its triggers and policies,
//! and what the server keeps for a connection.

use tokio::time::Instant;

use crate::support::kafka::{Draft, produce};
use crate::support::proxy::{Proxy, Sabotage};
use crate::support::{LATER, Member, SOON, World, until};

fn user(id: u32) -> Draft {
    Draft::fixture("json/users-create").with("9001", &id.to_string())
}

/// Waits until the users with their names are these.
fn until_users(world: &World, expected: &str) {
    until_column(world, "public.users", "id || ' ' || name", expected);
}

/// Waits until these are a column of a table's rows, in the order of their ids.
fn until_column(world: &World, table: &str, column: &str, expected: &str) {
    let sql = format!("SELECT string_agg({column}, ', ' ORDER BY id) FROM {table}");
    let mut found = None;
    let since = Instant::now();
    until(LATER, &format!("the rows of {table} are {expected}"), || {
        // A member may be changing the table.
        let is_there = world.target.try_run(&format!("TABLE {table}")).is_ok();
        found = if is_there { world.target.value(&sql) } else { None };
        found.as_deref() == Some(expected)
    });
    eprintln!("{expected} after {:?}", since.elapsed());
}

fn until_stopped(world: &World, member: &Member, reason: &str) -> String {
    let stopped = "SELECT count(*) FROM afterimage.checkpoint WHERE state = 'stopped'";
    until(LATER, "the partition stops", || world.target.number(stopped) == 1);
    member.until_logged(&["stopped a partition", reason])
}

#[test]
fn f51_f55_a_table_that_is_altered_and_dropped_by_hand_is_read_anew() {
    let world = World::new("f51");
    let topic = world.topic("public.users", &[]);
    produce(&topic, 0, &[user(1)]);
    let member = world.member("member").start();
    until_users(&world, "1 Alan");

    // The statements of the first batch are prepared, and no longer fit.
    world.target.run("ALTER TABLE public.users ALTER COLUMN age TYPE bigint");
    produce(&topic, 0, &[user(2)]);
    until_users(&world, "1 Alan, 2 Alan");
    world.target.run("ALTER TABLE public.users DROP COLUMN name");
    produce(&topic, 0, &[user(3)]);
    let name = "SELECT name FROM public.users WHERE id = 3";
    until(LATER, "the column is there again", || {
        world.target.try_run(name).is_ok() && world.target.value(name).as_deref() == Some("Alan")
    });
    world.target.run("DROP TABLE public.users");
    produce(&topic, 0, &[user(4)]);
    until_users(&world, "4 Alan");
    assert_eq!(member.terminate(), 0);

    let member = world.member("check").args(["--schema-changes", "check"]).start();
    produce(&topic, 0, &[user(5)]);
    until_users(&world, "4 Alan, 5 Alan");
    world.target.run("DROP TABLE public.users");
    produce(&topic, 0, &[user(6)]);
    until_stopped(&world, &member, "table_missing");
    let tries = member.log().matches("reads the table anew").count();
    assert!(tries <= 2, "{tries} tries in a row");
    assert_eq!(world.dead_letters(), []);
}

#[test]
fn f51_digits_that_a_column_loses_by_hand_are_not_rounded_away() {
    let world = World::new("f51digits");
    let topic = world.topic("public.orders", &[]);
    let amounts = |expected| until_column(&world, "public.orders", "amount::text", expected);
    let order = |id: u32| Draft::fixture("json/orders-create").with("9001", &id.to_string());
    let member = world.member("member").start();
    produce(&topic, 0, &[order(1)]);
    amounts("-0.01");
    // A batch that knows the table from the one before.
    produce(&topic, 0, &[order(2)]);
    amounts("-0.01, -0.01");

    world.target.run("ALTER TABLE public.orders ALTER COLUMN amount TYPE numeric(12, 1)");
    amounts("0.0, 0.0");
    produce(&topic, 0, &[order(3)]);
    amounts("0.00, 0.00, -0.01");
    assert_eq!(member.terminate(), 0);
}

#[test]
fn f53_a_checkpoint_that_is_restored_without_its_rows_is_read_again_from_there() {
    let world = World::new("f53");
    let topic = world.topic("public.users", &[]);
    produce(&topic, 0, &[user(1)]);
    let member = world.member("member").start();
    until_users(&world, "1 Alan");
    world.target.run("CREATE TABLE public.kept AS TABLE afterimage.checkpoint");
    let renamed = user(1).with("\"Alan\"", "\"Ada\"").with("\"op\":\"c\"", "\"op\":\"u\"");
    produce(&topic, 0, &[renamed, user(2)]);
    until_users(&world, "1 Ada, 2 Alan");

    world.target.run(
        "BEGIN; DELETE FROM afterimage.checkpoint;
         INSERT INTO afterimage.checkpoint TABLE public.kept; COMMIT",
    );
    produce(&topic, 0, &[user(3)]);
    until_users(&world, "1 Ada, 2 Alan, 3 Alan");
    member.until_logged(&["went back"]);
    world.until_at_ends(&world.name);
}

#[test]
fn f54_what_a_trigger_may_change_is_told_and_what_a_policy_hides_stops() {
    let world = World::new("f54");
    let topic = world.topic("public.users", &[]);
    produce(&topic, 0, &[user(1)]);
    let member = world.member("first").start();
    until_users(&world, "1 Alan");
    assert!(!member.log().contains("triggers"), "there are none yet");
    assert_eq!(member.terminate(), 0);

    world.target.run(
        "CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN new.name = upper(new.name); RETURN new; END';
         CREATE TRIGGER shouting BEFORE INSERT OR UPDATE ON public.users
             FOR EACH ROW EXECUTE FUNCTION shout()",
    );
    produce(&topic, 0, &[user(2)]);
    let member = world.member("second").start();
    until_users(&world, "1 Alan, 2 ALAN");
    member.until_logged(&["triggers", "public.users", "shouting"]);
    assert_eq!(member.terminate(), 0);

    // As README has it: a role for which no trigger fires.
    let name = &world.name;
    world.target.run(&format!(
        "ALTER ROLE writer IN DATABASE {name} SET session_replication_role = replica"
    ));
    produce(&topic, 0, &[user(3)]);
    let member = world.member("third").start();
    until_users(&world, "1 Alan, 2 ALAN, 3 Alan");
    assert!(!member.log().contains("triggers"), "none fires");

    // The writer owns the table, whom a policy counts for only when it is forced.
    world.target.run(
        "CREATE POLICY others ON public.users USING (id <> 2);
         ALTER TABLE public.users ENABLE ROW LEVEL SECURITY;
         ALTER TABLE public.users FORCE ROW LEVEL SECURITY",
    );
    // A delete would find no row, and nobody would know.
    produce(&topic, 0, &[Draft::fixture("json/users-delete").with("9002", "2")]);
    let line = until_stopped(&world, &member, "right_missing");
    assert!(line.contains("would be affected by row-level security policy"), "{line}");
    assert_eq!(world.dead_letters(), []);
}

#[test]
fn f55_a_pooler_that_drops_a_sessions_settings_is_refused_by_name() {
    let world = World::new("f55pooler");
    let topic = world.topic("public.users", &[]);
    produce(&topic, 0, &[user(1)]);
    let proxy = Proxy::start(&world, Some(Sabotage::OptionsDropped));
    let target = world.target_url_through(&proxy);
    let ended = world.member("member").target(&target).run(&["run", "--until-caught-up"], SOON);
    assert_eq!(ended.code, 2, "{}", ended.error);
    assert!(ended.error.contains("a pooler stands between"), "{}", ended.error);
    let ended = world.member("direct").run(&["run", "--until-caught-up"], LATER);
    assert_eq!(ended.code, 0, "{}", ended.error);
}

#[test]
fn f55_statements_that_a_pooler_forgets_are_prepared_again() {
    let world = World::new("f55");
    let topic = world.topic("public.users", &[]);
    let proxy = Proxy::start(&world, Some(Sabotage::StatementsForgotten));
    let member = world.member("member").target(&world.target_url_through(&proxy)).start();
    let mut expected = Vec::new();
    for id in 1..=5 {
        produce(&topic, 0, &[user(id)]);
        expected.push(format!("{id} Alan"));
        until_users(&world, &expected.join(", "));
    }
    member.until_logged(&["trying again", "26000"]);
    assert!(proxy.sabotaged() >= 4, "{}", proxy.sabotaged());

    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND usename = 'writer'";
    world.target.run(end);
    produce(&topic, 0, &[user(6)]);
    expected.push("6 Alan".to_owned());
    until_users(&world, &expected.join(", "));
    assert_eq!(world.dead_letters(), []);
}

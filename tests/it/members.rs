//! Members of one group and of two: many at once, a target that is away, and who may write at all.

use std::time::Duration;

use tokio::time::Instant;

use crate::scale::until_owners;
use crate::support::kafka::{Draft, produce};
use crate::support::proxy::Proxy;
use crate::support::{LATER, Member, SOON, World, heavy, let_pass, until};

fn user(id: i32) -> Draft {
    Draft::fixture("json/users-create").with("9001", &id.to_string())
}

fn until_unready(member: &Member, why: &str) {
    until(SOON, &format!("the member is not ready: {why}"), || {
        let ready = member.get("/readyz");
        ready.status == 503 && ready.body.contains(why)
    });
}

#[test]
fn f09_a_second_deployment_of_a_sink_waits_until_the_move_is_meant() {
    let world = World::new("f09");
    let topic = world.topic("public.users", &[]);
    produce(&topic, 0, &[user(1)]);
    let first = world.member("first").start();
    world.until_at_ends(&world.name);
    let other = format!("{}_other", world.name);
    let is = |group: &str| format!("SELECT group_id = '{group}' FROM afterimage.checkpoint");

    let second = world.member("second").variable("KAFKA_GROUP_ID", &other).start();
    until_unready(&second, "held_by_group");
    produce(&topic, 0, &[user(2)]);
    world.until_at_ends(&world.name);
    first.until_ready();
    assert!(world.target.holds(&is(&world.name)), "the first one holds it");
    assert_eq!(second.terminate(), 0);

    let taker = world.member("taker").variable("KAFKA_GROUP_ID", &other).args(["--take-over"]);
    let taker = taker.start();
    until(SOON, "the other group holds it", || world.target.holds(&is(&other)));
    produce(&topic, 0, &[user(3)]);
    until_unready(&first, "held_by_group");
    world.until_at_ends(&world.name);
    assert!(world.target.holds(&is(&other)), "the first one does not fight");
    taker.until_ready();
    assert!(world.target.holds("SELECT array_agg(id ORDER BY id) = '{1,2,3}' FROM public.users"));
}

#[test]
fn f12_a_member_with_an_instance_id_restarts_and_the_others_keep_their_partitions() {
    let world = World::new("f12");
    let topic = world.topic_of(4, "public.users", &[]);
    let start = |label: &str| {
        let member = world.member(label).property("heartbeat.interval.ms=500");
        member.property(&format!("group.instance.id={label}")).start()
    };
    let stays = start("stays");
    let restarts = start("restarts");
    until_owners(&world, 2);
    for id in 0..4 {
        produce(&topic, id, &[user(id)]);
    }
    world.until_at_ends(&world.name);
    // A claim of a partition counts its epoch up: those of who stays must stand as they do.
    let epochs = "SELECT epoch FROM afterimage.checkpoint ORDER BY partition";
    let (before, revoked) = (world.target.rows(epochs), stays.log().matches(" revoked ").count());

    assert_eq!(restarts.terminate(), 0);
    // Longer than a member takes to hear that another has left.
    let_pass(Duration::from_secs(2));
    assert_eq!(world.target.rows(epochs), before, "nobody takes its partitions");
    let over = Instant::now();
    let restarts = start("restarts");
    until_owners(&world, 2);
    eprintln!("f12: recovered in {:?}, with the start of the process", over.elapsed());
    for id in 0..4 {
        produce(&topic, id, &[user(10 + id)]);
    }
    world.until_at_ends(&world.name);

    let after = world.target.rows(epochs);
    let moved = before.iter().zip(&after).filter(|(before, after)| before != after).count();
    assert_eq!(moved, 2, "only who restarted claims: {before:?} {after:?}");
    assert_eq!(stays.log().matches(" revoked ").count(), revoked, "{}", stays.log());
    assert_eq!(restarts.terminate(), 0);
}

#[test]
fn f19_a_client_that_its_group_fences_is_built_anew() {
    let world = World::new("f19");
    let topic = world.topic("public.users", &[]);
    produce(&topic, 0, &[user(1)]);
    let start = |label: &str| world.member(label).property("group.instance.id=phoenix").start();
    let first = start("first");
    world.until_at_ends(&world.name);

    // By mistake there are two of them: each is fatal to the other's client.
    let second = start("second");
    first.until_logged(&["builds the client anew"]);
    assert_eq!(second.terminate(), 0);
    produce(&topic, 0, &[user(2)]);
    until(LATER, "the second row", || world.target.holds("SELECT max(id) = 2 FROM public.users"));
    first.until_ready();
    assert_eq!(first.terminate(), 0);
}

#[test]
fn f12_a_member_with_an_instance_id_that_comes_back_reads_what_is_new_meanwhile() {
    let world = World::new("f12new");
    let users = world.topic("public.users", &[]);
    produce(&users, 0, &[user(1)]);
    let start = |label: &str| world.member(label).property("group.instance.id=phoenix").start();
    let first = start("first");
    world.until_at_ends(&world.name);
    first.kill();

    // The coordinator gives back what the member had, whatever it subscribes to now.
    let employees = world.topic("public.employees", &[]);
    produce(&employees, 0, &[Draft::fixture("json/employees-create")]);
    let second = start("second");
    world.until_at_ends(&world.name);
    second.until_ready();
    assert_eq!(world.target.number("SELECT count(*) FROM public.employees"), 1);
    second.kill();

    // Nor does it read on what it no longer subscribes to.
    produce(&users, 0, &[user(2)]);
    produce(&employees, 0, &[Draft::fixture("json/employees-create").with("9001", "9002")]);
    let narrow = world.member("narrow").property("group.instance.id=phoenix");
    let narrow = narrow.topics(&employees).start();
    until(SOON, "the topic goes on", || {
        world.checkpoint().get(&(employees.clone(), 0)) == Some(&2)
    });
    assert_eq!(world.checkpoint().get(&(users, 0)), Some(&1));
    assert_eq!(narrow.terminate(), 0);
}

#[test]
fn f13_ten_members_that_start_at_once_share_the_partitions() {
    let _heavy = heavy();
    let world = World::new("f13");
    let topic = world.topic_of(20, "public.users", &[]);
    for id in 0..20 {
        produce(&topic, id, &[user(id)]);
    }
    let begun = Instant::now();
    let members = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map(|it| world.member(&format!("m{it}")).start());
    until_owners(&world, 10);
    eprintln!("f13: ten share the partitions after {:?}", begun.elapsed());
    for id in 0..20 {
        produce(&topic, id, &[user(100 + id)]);
    }
    world.until_at_ends(&world.name);

    assert_eq!(world.target.number("SELECT count(*) FROM public.users"), 40);
    assert_eq!(world.sessions_killed(), 0, "nobody froze");
    drop(members);
}

#[test]
fn f17_partitions_that_come_while_the_target_is_away_are_claimed_when_it_is_back() {
    let world = World::new("f17");
    let users = world.topic("public.users", &[]);
    produce(&users, 0, &[user(1)]);
    let proxy = Proxy::start(&world, None);
    let member = world.member("member").target(&world.target_url_through(&proxy)).start();
    world.until_at_ends(&world.name);

    proxy.shut();
    let orders = world.topic("public.orders", &[]);
    produce(&orders, 0, &[Draft::fixture("json/orders-create")]);
    member.until_logged(&["assigned paused: claims are still under way"]);
    until_unready(&member, "");
    assert_eq!(member.get("/livez").status, 200);
    proxy.open();
    let over = Instant::now();
    world.until_at_ends(&world.name);
    eprintln!("f17: recovered in {:?}", over.elapsed());

    member.until_ready();
    assert_eq!(world.target.number("SELECT count(*) FROM public.orders"), 1);
    assert_eq!(member.terminate(), 0);
}

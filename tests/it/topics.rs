//! Topics come and go while a member runs.

use crate::support::kafka::{self, Draft, produce};
use crate::support::{SOON, World, until};

#[test]
fn a_deleted_topic_is_named_and_harms_no_other() {
    let world = World::new("gone");
    let (users, orders) = (world.topic("public.users", &[]), world.topic("public.orders", &[]));
    produce(&users, 0, &[Draft::fixture("json/users-create")]);
    produce(&orders, 0, &[Draft::fixture("json/orders-create")]);
    let member = world.member("member").start();
    world.until_at_ends(&world.name);

    kafka::delete_topics(std::slice::from_ref(&orders));
    produce(&users, 0, &[Draft::fixture("json/users-read")]);
    member.until_logged(&["stopped a partition", &orders, "topic_gone"]);
    let count = "SELECT count(*) FROM public.users";
    until(SOON, "the other topic goes on", || world.target.number(count) == 2);
    member.until_ready();
    let row = format!("SELECT state FROM afterimage.checkpoint WHERE topic = '{orders}'");
    until(SOON, "the row says it", || world.target.value(&row).as_deref() == Some("stopped"));
    let status = world.member("status").run(&["status"], SOON);
    let line = status.out.lines().find(|line| line.contains(&orders)).unwrap_or_default();
    assert!(line.contains("stopped") && line.contains("topic_gone"), "{}", status.out);

    // A topic of another table comes, and nothing must be restarted for it.
    let employees = world.topic("public.employees", &[]);
    produce(&employees, 0, &[Draft::fixture("json/employees-create")]);
    let arrived = "SELECT to_regclass('public.employees') IS NOT NULL";
    until(SOON, "the new topic's table is there", || world.target.holds(arrived));
    assert_eq!(world.target.number("SELECT count(*) FROM public.orders"), 1, "rows stay");
    assert_eq!(member.terminate(), 0);
}

//! Topics come and go while a member runs.

use crate::support::kafka::{self, Draft, delete_before, produce};
use crate::support::{LATER, SOON, World, until};

#[test]
fn what_was_gone_before_the_first_start_is_told_once_unless_the_topic_is_compacted() {
    let world = World::new("begun");
    let policy = [("cleanup.policy", "compact,delete")];
    let (users, orders) = (world.topic("public.users", &[]), world.topic("public.orders", &policy));
    for (topic, fixture) in [(&users, "json/users-create"), (&orders, "json/orders-create")] {
        produce(topic, 0, &[(); 3].map(|()| Draft::fixture(fixture)));
        delete_before(topic, 2);
    }

    let ended = world.member("member").run(&["run", "--until-caught-up"], LATER);

    assert_eq!(ended.code, 0, "{}", ended.error);
    let told = ended.lines_with(&["already gone before the first start"]);
    assert_eq!(told.len(), 1, "{}", ended.error);
    assert!(told[0].contains(&users) && told[0].contains("count=2"), "{}", told[0]);
}

#[test]
fn f22_a_deleted_topic_is_named_and_harms_no_other() {
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
    until(SOON, "the new topic's table is there", || world.target.has("public.employees"));
    assert_eq!(world.target.number("SELECT count(*) FROM public.orders"), 1, "rows stay");
    assert_eq!(kafka::topics(&orders), Vec::<String>::new(), "nothing makes it again");
    assert_eq!(member.terminate(), 0);
}

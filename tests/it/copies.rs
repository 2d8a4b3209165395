//! Copies of refused records in a topic: what they carry, and that none is lost.

use crate::support::kafka::{Draft, produce, read};
use crate::support::{LATER, SOON, World, until};

/// A record that cannot be a row, with headers of its own.
fn bad(number: usize) -> Draft {
    Draft {
        key: Some(format!("key {number}").into_bytes()),
        value: Some(b"no JSON at all".to_vec()),
        headers: vec![("own".to_owned(), Some(b"\xff\0".to_vec())), ("none".to_owned(), None)],
    }
}

fn copied(world: &World) -> i64 {
    world.target.number("SELECT count(copied_at) FROM afterimage.dead_letter")
}

#[test]
fn a_refused_record_is_copied_with_connects_headers() {
    let world = World::new("copied");
    let users = world.topic("public.users", &[]);
    let letters = world.other_topic("letters");
    produce(&users, 0, &[Draft::fixture("json/users-create"), bad(1)]);
    let tombstone = Draft { value: None, ..bad(2) };
    produce(&users, 0, std::slice::from_ref(&tombstone));

    let _member = world.member("member").args(["--dead-letter-topic", &letters]).start();

    let copies = read(&letters, 2);
    assert_eq!(copies.len(), 2, "{copies:?}");
    for (copy, (record, offset)) in copies.iter().zip([(&bad(1), "1"), (&tombstone, "2")]) {
        assert_eq!((&copy.key, &copy.value), (&record.key, &record.value));
        assert_eq!(copy.headers.get(..2), Some(record.headers.as_slice()));
        let added = |name: &str| {
            let name = format!("__connect.errors.{name}");
            let found = copy.headers.iter().find(|(key, _)| *key == name);
            let value = found.and_then(|(_, value)| value.clone());
            String::from_utf8(value.unwrap_or_else(|| panic!("no {name} in {copy:?}"))).unwrap()
        };
        assert_eq!((added("topic"), added("partition")), (users.clone(), "0".to_owned()));
        assert_eq!((added("offset"), added("task.id")), (offset.to_owned(), "0".to_owned()));
        assert_eq!(added("connector.name"), world.name);
        assert_eq!(added("exception.class.name"), "malformed");
        assert_eq!(added("stage"), "VALUE_CONVERTER");
        assert!(!added("exception.message").is_empty() && !added("class.name").is_empty());
    }
    until(SOON, "the copies are known", || copied(&world) == 2);
}

#[test]
fn a_kill_between_commit_and_copy_loses_no_copy() {
    let world = World::new("uncopied");
    let users = world.topic("public.users", &[]);
    let letters = world.other_topic("letters");
    produce(&users, 0, &[bad(1), bad(2)]);
    let setup = |label: &str| world.member(label).variable("DEAD_LETTER_TOPIC", &letters);
    // The producer waits for more to send.
    let slow = setup("slow").property("linger.ms=29000").start();
    until(LATER, "the copies are on their way", || {
        let taken = "SELECT count(copying_until) FROM afterimage.dead_letter";
        world.target.has("afterimage.dead_letter") && world.target.number(taken) == 2
    });
    slow.kill();
    assert_eq!(copied(&world), 0);
    // What the dead member has taken is free again after a minute.
    world.target.run("UPDATE afterimage.dead_letter SET copying_until = now()");

    let member = setup("next").start();
    let keys: Vec<_> = read(&letters, 2).into_iter().map(|copy| copy.key).collect();
    assert_eq!(keys, [bad(1).key, bad(2).key]);
    until(SOON, "the copies are known", || copied(&world) == 2);
    produce(&users, 0, &[bad(3)]);
    assert_eq!(read(&letters, 3).len(), 3, "nothing is copied again that is known to be");
    assert_eq!(member.terminate(), 0);
}

#[test]
fn a_topic_of_copies_must_exist_and_be_no_source() {
    let world = World::new("nocopies");
    let users = world.topic("public.users", &[]);
    for (topic, told) in
        [("no_such_letters", "does not exist"), (&*users, "is one of the topics that are read")]
    {
        let ended = world.member("member").args(["--dead-letter-topic", topic]).run(&["run"], SOON);
        assert_eq!(ended.code, 2, "{}", ended.error);
        assert!(!ended.lines_with(&[topic, told]).is_empty(), "{}", ended.error);
    }
}

#[test]
fn a_broker_that_takes_no_copy_holds_nothing_up() {
    let world = World::new("toolarge");
    let users = world.topic("public.users", &[("max.message.bytes", "10485760")]);
    let letters = world.other_topic("letters");
    let large = Draft { value: Some(vec![b'x'; 3_000_000]), ..bad(1) };
    produce(&users, 0, &[large, bad(2), Draft::fixture("json/users-create")]);
    // The program may send no more than this.
    let setup = world.member("member").property("message.max.bytes=1000000");

    let member = setup.args(["--dead-letter-topic", &letters]).start();

    world.until_at_ends(&world.name);
    assert_eq!(world.target.number("SELECT count(*) FROM public.users"), 1);
    assert_eq!(read(&letters, 1).first().map(|copy| copy.key.clone()), Some(bad(2).key));
    member.until_logged(&["could not copy refused records", &letters]);
    member.until_ready();
    until(SOON, "the one that was sent is marked", || copied(&world) == 1);
}

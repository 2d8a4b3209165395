//! Records that are no longer on the broker's disk as they were sent.

use std::fs;
use std::os::unix::fs::FileExt;

use crate::support::kafka::{Draft, produce};
use crate::support::{LATER, SOON, World, lib, until};

fn user(id: u32, name: &str) -> Draft {
    let draft = Draft::fixture("json/users-create").with("9001", &id.to_string());
    draft.with("\"name\":\"Alan\"", &format!("\"name\":\"{name}\""))
}

/// Changes a letter of a word in the segment of a topic's only partition, as a failing disk may.
fn damage(topic: &str, word: &str) {
    let data = lib("printf '%s' \"$STACK\"", &[]);
    let segment = format!("{data}/kafka/data/{topic}-0/00000000000000000000.log");
    let bytes = fs::read(&segment).unwrap();
    let at = bytes.windows(word.len()).position(|found| found == word.as_bytes()).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&segment).unwrap();
    file.write_all_at(b"x", u64::try_from(at).unwrap()).unwrap();
}

#[test]
fn f40_a_damaged_record_stops_its_partition_before_it_until_it_is_skipped() {
    let world = World::new("f40");
    let topic = world.topic("public.users", &[]);
    produce(&topic, 0, &[user(1, "whole")]);
    produce(&topic, 0, &[user(2, "DAMAGED")]);
    produce(&topic, 0, &[user(3, "whole"), user(4, "whole")]);
    damage(&topic, "DAMAGED");

    let member = world.member("member").start();
    let line = member.until_logged(&["stopped a partition", "log_damaged"]);
    assert!(line.contains("the records at 1 are damaged"), "{line}");
    let ids = "SELECT string_agg(id || name, ' ' ORDER BY id) FROM public.users";
    until(SOON, "what was before", || {
        world.target.has("public.users") && world.target.value(ids).as_deref() == Some("1whole")
    });

    assert_eq!(member.terminate(), 0);
    let skip = ["checkpoint", "skip", "--topic", &topic, "--to", "2", "--reason", "a bad disk"];
    let skipped = world.member("operator").run(&skip, SOON);
    assert_eq!(skipped.code, 0, "{}", skipped.error);
    let ended = world.member("heir").run(&["run", "--until-caught-up"], LATER);
    assert_eq!(ended.code, 0, "{}", ended.error);
    assert_eq!(world.target.value(ids).as_deref(), Some("1whole 3whole 4whole"));
}

//! Logs that are not the ones that were read: one partition stops, and an operator has it go on.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::framing::{Subjects, confluent};
use crate::support::kafka::{self, Draft, delete_before, produce};
use crate::support::{Ended, LATER, Member, SOON, World, until};

/// A world with a topic that something happens to, and another one that must not care.
struct Scene {
    world: World,
    users: String,
    employees: String,
}

impl Scene {
    /// Has two users of partition 0 and an employee applied by a member, which is ended.
    fn new(name: &str, partitions: i32) -> Self {
        let world = World::new(name);
        let users = world.topic_of(partitions, "public.users", &[]);
        let employees = world.topic("public.employees", &[]);
        produce(&users, 0, &[user(1), user(2)]);
        produce(&employees, 0, &[Draft::fixture("json/employees-create")]);
        let scene = Self { world, users, employees };
        scene.caught_up(0);
        scene
    }

    fn caught_up(&self, code: i32) -> Ended {
        let ended = self.world.member("caught").run(&["run", "--until-caught-up"], LATER);
        assert_eq!(ended.code, code, "{}", ended.error);
        ended
    }

    fn start(&self) -> Member {
        self.world.member("member").start()
    }

    /// Runs `consumer checkpoint` on the topic of the users.
    fn checkpoint(&self, command: &[&str]) -> Ended {
        let args = [&["checkpoint"], command, &["--reason", "a test"]].concat();
        let setup = self.world.member("checkpoint").topics(&self.users);
        let setup = setup.variable("USER", "ada");
        match command.first() {
            Some(&"adopt") => setup.run(&args, SOON),
            _ => setup.run(&[&args[..], &["--topic", &self.users]].concat(), SOON),
        }
    }

    /// Runs a command that must be refused, and say what would be right.
    fn refused(&self, command: &[&str], right: &str) {
        let ended = self.checkpoint(command);
        assert_eq!(ended.code, 2, "{}", ended.out);
        assert!(ended.error.contains(right), "{}", ended.error);
    }

    /// Runs a command that must be done, and kept in the audit.
    fn done(&self, command: &[&str]) {
        let before = self.audit();
        let ended = self.checkpoint(command);
        assert_eq!(ended.code, 0, "{}", ended.error);
        assert!(self.audit() > before, "{}", ended.out);
    }

    fn audit(&self) -> i64 {
        self.world.target.number(
            "SELECT count(*) FROM afterimage.audit
             WHERE command LIKE 'checkpoint %' AND reason = 'a test' AND after_offset IS NOT NULL",
        )
    }

    /// Runs SQL on the row of a partition of the users.
    fn set_row(&self, partition: i32, what: &str) {
        self.world.target.run(&format!(
            "UPDATE afterimage.checkpoint SET {what}
             WHERE topic = '{}' AND partition = {partition}",
            self.users
        ));
    }

    /// Waits until a partition of the users is stopped for that reason wherever one may look, and
    /// makes sure that the other topic goes on.
    fn until_stopped(&self, member: &Member, reason: &str) {
        member.until_logged(&["stopped a partition", &self.users, reason]);
        until(SOON, "all shows it", || {
            let ready = member.get("/readyz");
            let gauge = member.get("/metrics").body;
            let mut gauge = gauge.lines().filter(|line| line.contains(r#"state="stopped""#));
            ready.status == 503
                && ready.body.contains(reason)
                && member.get("/status").body.contains(reason)
                && gauge.any(|line| !line.ends_with(" 0"))
        });
        let count = "SELECT count(*) FROM public.employees";
        let before = self.world.target.number(count);
        let id = format!("90{before}");
        let more = Draft::fixture("json/employees-create").with("9001", &id);
        produce(&self.employees, 0, &[more]);
        until(SOON, "the other topic goes on", || self.world.target.number(count) > before);
    }

    /// Waits until the row says so too.
    fn until_row_stopped(&self, reason: &str) {
        let row = format!(
            "SELECT count(*) FROM afterimage.checkpoint
             WHERE topic = '{}' AND state = 'stopped' AND state_reason LIKE '{reason}:%'",
            self.users
        );
        until(SOON, "the row says it", || self.world.target.number(&row) > 0);
    }

    /// Waits until the member runs everything, to the logs' ends.
    fn until_running(&self, member: &Member) {
        self.world.until_at_ends(&self.world.name);
        member.until_ready();
    }

    fn ids(&self) -> String {
        let ids = "SELECT coalesce(string_agg(id::text, ' ' ORDER BY id), '') FROM public.users";
        self.world.target.value(ids).unwrap_or_default()
    }

    /// Makes the topic of the users anew.
    fn make_again(&self, records: &[Draft]) {
        kafka::delete_topics(std::slice::from_ref(&self.users));
        until(SOON, "the topic is gone", || kafka::topics(&self.users).is_empty());
        kafka::create_topic(&self.users, 1, &[]);
        produce(&self.users, 0, records);
    }
}

fn user(id: u32) -> Draft {
    Draft::fixture("json/users-create").with("9001", &id.to_string())
}

#[test]
fn f20_records_that_retention_took_stop_their_partition_until_a_skip() {
    let scene = Scene::new("f20", 1);
    produce(&scene.users, 0, &[user(3), user(4), user(5)]);
    delete_before(&scene.users, 4);
    let member = scene.start();
    scene.until_stopped(&member, "log_gap");
    scene.until_row_stopped("log_gap");

    scene.refused(&["release"], "checkpoint skip");
    scene.refused(&["skip", "--to", "3"], "outside");
    scene.refused(&["skip", "--to", "9"], "outside");
    scene.done(&["skip"]);
    scene.until_running(&member);
    assert_eq!(scene.ids(), "1 2 5");
}

#[test]
fn f23_a_topic_that_is_made_again_shorter_stops_until_it_is_adopted() {
    let scene = Scene::new("f23", 1);
    scene.make_again(&[user(7)]);
    let member = scene.start();
    scene.until_stopped(&member, "topic_recreated");
    scene.until_row_stopped("topic_recreated");

    scene.refused(&["rewind", "--to", "earliest"], "checkpoint adopt");
    scene.done(&["adopt", "--at", "earliest"]);
    scene.until_running(&member);
    assert_eq!(scene.ids(), "1 2 7");
    let ids = "SELECT count(DISTINCT topic_id) FROM afterimage.checkpoint";
    assert_eq!(scene.world.target.number(ids), 2, "each topic's own");
}

#[test]
fn f24_a_topic_that_is_made_again_longer_stops_until_it_is_adopted() {
    let scene = Scene::new("f24", 1);
    scene.make_again(&[user(7), user(8), user(9), user(10)]);
    let ended = scene.caught_up(1);
    assert_eq!(ended.lines_with(&["topic_recreated", &scene.users, "ERROR"]).len(), 1);
    assert_eq!(scene.ids(), "1 2", "nothing of it was read");

    scene.done(&["adopt", "--at", "earliest"]);
    scene.caught_up(0);
    assert_eq!(scene.ids(), "1 2 7 8 9 10");
}

#[test]
fn f24_a_topic_that_is_made_again_under_a_running_member_stops() {
    let scene = Scene::new("f24run", 1);
    let member = scene.start();
    member.until_ready();
    scene.make_again(&[user(7), user(8), user(9), user(10)]);
    // The client itself may not notice, and the member looks every 30 s.
    until(LATER, "it is noticed", || member.log().contains("topic_recreated"));
    scene.until_stopped(&member, "topic_recreated");
    scene.done(&["adopt", "--at", "earliest"]);
    scene.until_running(&member);
    assert_eq!(scene.ids(), "1 2 7 8 9 10");
}

#[test]
fn f24_a_row_without_a_topic_id_is_taken_over_once_if_its_last_record_is_there() {
    let scene = Scene::new("f24old", 1);
    scene.set_row(0, "topic_id = NULL, partitions_seen = NULL, leader_epoch = NULL");
    produce(&scene.users, 0, &[user(3)]);
    scene.caught_up(0);
    assert_eq!(scene.ids(), "1 2 3");

    scene.set_row(0, "topic_id = NULL, last_timestamp = last_timestamp - 1");
    let member = scene.start();
    scene.until_stopped(&member, "log_replaced");
    scene.until_row_stopped("log_replaced");
    scene.done(&["adopt", "--at", "earliest"]);
    scene.until_running(&member);
}

#[test]
fn f25_another_cluster_is_refused_until_its_topics_are_adopted() {
    let scene = Scene::new("f25", 1);
    scene.set_row(0, "cluster_id = 'another'");
    produce(&scene.users, 0, &[user(3)]);
    let member = scene.start();
    scene.until_stopped(&member, "cluster_changed");

    scene.done(&["adopt", "--at", "latest"]);
    produce(&scene.users, 0, &[user(4)]);
    let rows = "SELECT count(*) FROM public.users WHERE id = 4";
    until(LATER, "it goes on", || scene.world.target.number(rows) == 1);
    assert_eq!(scene.ids(), "1 2 4");
}

#[test]
fn f27_an_offset_beyond_the_end_stops_until_a_rewind() {
    let scene = Scene::new("f27", 1);
    scene.set_row(0, "next_offset = 100, last_offset = 99");
    let member = scene.start();
    scene.until_stopped(&member, "log_truncated");
    scene.until_row_stopped("log_truncated");

    scene.refused(&["rewind", "--to", "50"], "outside");
    scene.refused(&["rewind", "--to", "101"], "checkpoint skip");
    scene.refused(&["rewind", "--to", "soon"], "neither an offset");
    scene.refused(&["rewind", "--to", "1", "--partition", "7"], "no 7");
    scene.done(&["rewind", "--to", "2"]);
    produce(&scene.users, 0, &[user(3)]);
    scene.until_running(&member);
    assert_eq!(scene.ids(), "1 2 3");
}

#[test]
fn f28_more_partitions_stop_a_topic_that_was_behind_until_it_is_released() {
    let scene = Scene::new("f28", 2);
    produce(&scene.users, 1, &[user(3)]);
    kafka::add_partitions(&scene.users, 3);
    produce(&scene.users, 2, &[user(4)]);
    let member = scene.start();
    scene.until_stopped(&member, "partitions_increased");
    scene.until_row_stopped("partitions_increased");
    assert_eq!(scene.ids(), "1 2");

    scene.done(&["release"]);
    scene.until_running(&member);
    assert_eq!(scene.ids(), "1 2 3 4");
}

#[test]
fn f28_more_partitions_change_nothing_where_all_was_applied() {
    let scene = Scene::new("f28end", 2);
    let member = scene.start();
    member.until_ready();
    kafka::add_partitions(&scene.users, 3);
    member.until_logged(&["the topic has more partitions, and all is applied", &scene.users]);
    produce(&scene.users, 2, &[user(4)]);
    scene.until_running(&member);
    assert_eq!(scene.ids(), "1 2 4");
    let seen = "SELECT count(*) FROM afterimage.checkpoint WHERE partitions_seen = 3";
    until(SOON, "the rows know", || scene.world.target.number(seen) == 3);
}

#[test]
fn f29_a_topic_that_is_made_again_with_fewer_partitions_stops_until_it_is_adopted() {
    let scene = Scene::new("f29", 2);
    produce(&scene.users, 1, &[user(3)]);
    scene.caught_up(0);
    scene.make_again(&[user(4)]);
    let member = scene.start();
    scene.until_stopped(&member, "topic_recreated");
    scene.done(&["adopt", "--at", "earliest"]);
    let rows = "SELECT count(*) FROM public.users WHERE id = 4";
    until(LATER, "it goes on", || scene.world.target.number(rows) == 1);
    assert_eq!(scene.ids(), "1 2 3 4");
    member.until_ready();
}

#[test]
fn f38_f39_what_the_group_has_committed_changes_nothing() {
    let scene = Scene::new("f38", 1);
    scene.world.target.run("UPDATE public.users SET name = 'kept'");
    kafka::commit(&scene.world.name, &scene.users, 0);
    produce(&scene.users, 0, &[user(3)]);
    scene.caught_up(0);
    kafka::delete_group(&scene.world.name);
    produce(&scene.users, 0, &[user(4)]);
    scene.caught_up(0);
    let kept = "SELECT count(*) FROM public.users WHERE name = 'kept'";
    assert_eq!(scene.world.target.number(kept), 2, "nothing was read again");
    assert_eq!(scene.ids(), "1 2 3 4");
}

#[test]
fn f52_a_lost_checkpoint_stops_until_it_is_adopted() {
    let scene = Scene::new("f52", 1);
    kafka::commit(&scene.world.name, &scene.users, 2);
    let lose = format!("DELETE FROM afterimage.checkpoint WHERE topic = '{}'", scene.users);
    scene.world.target.run(&lose);
    produce(&scene.users, 0, &[user(3)]);
    let member = scene.start();
    scene.until_stopped(&member, "position_unknown");
    scene.done(&["adopt", "--at", "committed"]);
    scene.until_running(&member);
    assert_eq!(scene.ids(), "1 2 3");
}

#[test]
fn f63_keys_in_another_encoding_stop_until_they_are_released() {
    let scene = Scene::new("f63", 2);
    let other = |id| user(id).with("dbserver1.public.users.Key", "dbserver1.public.users.Key2");
    produce(&scene.users, 0, &[user(3), other(4)]);
    produce(&scene.users, 1, &[other(5)]);
    let member = scene.start();
    scene.until_stopped(&member, "key_encoding_changed");
    until(SOON, "what came before is applied", || scene.ids() == "1 2 3");
    assert_eq!(member.terminate(), 0);
    let ended = scene.caught_up(1);
    assert!(!ended.lines_with(&["key_encoding_changed"]).is_empty(), "{}", ended.error);
    assert_eq!(scene.ids(), "1 2 3", "a restart forgets nothing");

    scene.done(&["release"]);
    produce(&scene.users, 1, &[user(6)]);
    scene.caught_up(0);
    assert_eq!(scene.ids(), "1 2 3 4 5 6");
}

#[test]
fn f63_another_schema_of_the_registry_is_another_encoding() {
    let scene = Scene::new("f63avro", 1);
    let topic = scene.world.topic_of(2, "public.t", &[]);
    let mut subjects = Subjects::default();
    let name = &scene.world.name;
    let record = |name: &str, fields: serde_json::Value| json!({"type": "record", "name": name, "namespace": "s", "fields": fields});
    let id = json!([{"name": "id", "type": "long"}]);
    let value = json!([{"name": "after", "type": ["null", record("Row", id.clone())]},
        {"name": "op", "type": "string"}]);
    let mut register = |what: &str, fields: &serde_json::Value| {
        subjects.register(&format!("{name}-{what}"), &record(what, fields.clone()), &json!([]))
    };
    // The same octets behind another id.
    let (one, other) = (register("Key", &id), register("Key2", &id));
    let value = register("Envelope", &value);
    let row = |key: u32, id: u8| Draft {
        key: Some(confluent(key, &[2 * id])),
        value: Some(confluent(value, &[2, 2 * id, 2, b'c'])),
        headers: Vec::new(),
    };
    produce(&topic, 0, &[row(one, 1)]);
    scene.caught_up(0);
    produce(&topic, 0, &[row(other, 2)]);
    produce(&topic, 1, &[row(other, 3)]);

    let ended = scene.caught_up(1);
    let stopped = ended.lines_with(&["stopped a partition", "key_encoding_changed"]);
    assert!(!stopped.is_empty(), "{}", ended.error);
    let rows = "SELECT string_agg(id::text, ' ' ORDER BY id) FROM public.t WHERE id < 3";
    assert_eq!(scene.world.target.value(rows).as_deref(), Some("1"));

    let setup = scene.world.member("operator").topics(&topic);
    let release = ["checkpoint", "release", "--topic", &topic, "--reason", "a test"];
    let ended = setup.run(&release, SOON);
    assert_eq!(ended.code, 0, "{}", ended.error);
    scene.caught_up(0);
    assert_eq!(scene.world.target.value(&rows.replace("< 3", "< 9")).as_deref(), Some("1 2 3"));
}

#[test]
fn f63_a_topic_of_one_partition_takes_keys_in_any_encoding() {
    let scene = Scene::new("f63one", 1);
    let other = user(3).with("dbserver1.public.users.Key", "dbserver1.public.users.Key2");
    produce(&scene.users, 0, &[other]);
    scene.caught_up(0);
    assert_eq!(scene.ids(), "1 2 3");
}

#[test]
fn what_a_member_applies_is_not_taken_from_it_and_a_rewind_reads_again() {
    let scene = Scene::new("rewind", 1);
    let member = scene.start();
    member.until_ready();
    scene.refused(&["rewind", "--to", "earliest"], "stop the members");
    assert_eq!(member.terminate(), 0);

    scene.world.target.run("DELETE FROM public.users WHERE id = 2");
    scene.done(&["rewind", "--to", "1"]);
    scene.refused(&["rewind", "--to", "1"], "stands at 1 already");
    scene.refused(&["rewind", "--to", "2"], "checkpoint skip");
    scene.caught_up(0);
    assert_eq!(scene.ids(), "1 2");
    let line = "SELECT actor || command || before_offset || after_offset FROM afterimage.audit";
    assert_eq!(scene.world.target.value(line).as_deref(), Some("adacheckpoint rewind21"));

    let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    produce(&scene.users, 0, &[user(3)]);
    scene.caught_up(0);
    scene.world.target.run("DELETE FROM public.users");
    scene.done(&["rewind", "--to", &format!("@{before}")]);
    scene.caught_up(0);
    assert_eq!(scene.ids(), "3", "what was sent since then is read again");
}

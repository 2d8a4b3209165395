//! Source tables that would meet in one table of the target: in two members, in two lanes, one after
//! the other, and by a rule.

use crate::support::kafka::{Draft, produce};
use crate::support::{LATER, Member, MemberSetup, World, until_some};

/// A world with the table of users of two connectors, one and two, whose rows have other keys.
struct Meeting {
    world: World,
    topics: [String; 2],
}

/// One of both.
#[derive(Clone, Copy)]
enum Which {
    One,
    Two,
}
use Which::{One, Two};

impl Which {
    fn label(self) -> &'static str {
        match self {
            One => "one",
            Two => "two",
        }
    }
}

impl Meeting {
    fn new(name: &str) -> Self {
        let world = World::new(name);
        let topic = |which: Which| world.topic(&format!("{}.public.users", which.label()), &[]);
        let topics = [One, Two].map(topic);
        Self { world, topics }
    }

    fn topic(&self, which: Which) -> &str {
        let [one, two] = &self.topics;
        match which {
            One => one,
            Two => two,
        }
    }

    /// Puts a record of one of both.
    fn send(&self, which: Which) {
        let prefix = format!("{}.{}", self.world.name, which.label());
        let id = match which {
            One => "1001",
            Two => "2002",
        };
        let record =
            Draft::fixture("json/users-create").with("dbserver1", &prefix).with("9001", id);
        produce(self.topic(which), 0, &[record]);
    }

    /// Begins a deployment of its own that reads only one of both.
    fn member(&self, which: Which) -> MemberSetup {
        let name = format!("{}_{}", self.world.name, which.label());
        let setup = self.world.member(which.label()).topics(self.topic(which));
        setup.variable("SINK_NAME", &name).variable("KAFKA_GROUP_ID", &name)
    }

    fn both(&self, label: &str) -> MemberSetup {
        self.world.member(label).args(["--until-caught-up"])
    }

    /// Returns whether both tables are named as the reason of a stop of this topic.
    fn is_stopped(&self, which: Which, log: &str) -> bool {
        let [one, two] = self.topics.each_ref().map(|topic| format!("\"{topic}\""));
        let topic = format!("topic={}", self.topic(which));
        let words = ["stopped a partition", "table_shared", &topic];
        let is_stop = |line: &str| {
            let line = line.replace('\\', "");
            words.iter().all(|word| line.contains(word))
                && line.contains(&one)
                && line.contains(&two)
        };
        log.lines().any(is_stop)
    }

    /// Runs a deployment to its end: it applies what there is, or stops.
    fn runs(&self, which: Which, is_written: bool) {
        let ended = self.member(which).args(["--until-caught-up"]).run(&["run"], LATER);
        assert_eq!(ended.code, i32::from(!is_written), "{}", ended.error);
        assert_eq!(self.is_stopped(which, &ended.error), !is_written, "{}", ended.error);
    }

    fn ids(&self, table: &str) -> String {
        let ids =
            format!("SELECT coalesce(string_agg(id::text, ' ' ORDER BY id), '') FROM {table}");
        self.world.target.value(&ids).unwrap()
    }
}

fn one_after_the_other(first: Which, second: Which, name: &str, id: &str) {
    let meeting = Meeting::new(name);
    meeting.send(first);
    meeting.send(second);
    meeting.runs(first, true);
    meeting.runs(second, false);
    assert_eq!(meeting.ids("public.users"), id, "rows of two tables never meet");

    // It has written the table for long, and yet it is not known which of both is right.
    meeting.send(first);
    meeting.runs(first, false);
    let release = format!(
        "DELETE FROM afterimage.source_table
         WHERE target_table = 'users' AND topic = '{}'",
        meeting.topic(second)
    );
    meeting.world.target.run(&release);
    meeting.runs(first, true);
    assert_eq!(meeting.ids("public.users"), id);
}

#[test]
fn the_second_of_two_deployments_stops_and_the_first_at_its_next_start() {
    one_after_the_other(One, Two, "leads12", "1001");
}

#[test]
fn whichever_comes_first_the_other_one_writes_nothing() {
    one_after_the_other(Two, One, "leads21", "2002");
}

#[test]
fn a_member_that_runs_stops_too_once_another_one_has_come() {
    let meeting = Meeting::new("leadsrun");
    meeting.send(One);
    let member = meeting.member(One).start();
    until_some(LATER, "the first row arrives", || {
        (meeting.world.target.has("public.users") && meeting.ids("public.users") == "1001")
            .then_some(())
    });
    meeting.send(Two);
    meeting.runs(Two, false);

    until_some(LATER, "the first learns of it", || {
        member.log().contains("source tables have met").then_some(())
    });
    meeting.send(One);
    until_some(LATER, "the first stops", || meeting.is_stopped(One, &member.log()).then_some(()));
    assert_eq!(member.terminate(), 0);
}

#[test]
fn two_members_at_once_write_one_of_two_tables() {
    let meeting = Meeting::new("leadstwo");
    let members = [One, Two].map(|which| meeting.member(which).start());
    members.iter().for_each(Member::until_ready);
    meeting.send(One);
    meeting.send(Two);
    let logs = || members.each_ref().map(Member::log);
    until_some(LATER, "one of both stops", || {
        let [one, two] = logs();
        (meeting.is_stopped(One, &one) || meeting.is_stopped(Two, &two)).then_some(())
    });
    until_some(LATER, "one of both is written", || {
        (meeting.world.target.has("public.users") && !meeting.ids("public.users").is_empty())
            .then_some(())
    });
    for member in members {
        assert_eq!(member.terminate(), 0);
    }
    let ids = meeting.ids("public.users");
    assert!(ids == "1001" || ids == "2002", "{ids}");

    meeting.send(One);
    meeting.send(Two);
    meeting.runs(One, false);
    meeting.runs(Two, false);
}

#[test]
fn two_lanes_write_one_of_two_tables_and_both_stop() {
    let meeting = Meeting::new("leadslane");
    meeting.send(One);
    meeting.send(Two);
    let ended = meeting.both("first").variable("LANES", "2").run(&["run"], LATER);
    assert_eq!(ended.code, 1, "{}", ended.error);
    let ids = meeting.ids("public.users");
    assert!(ids == "1001" || ids == "2002", "{ids}");

    meeting.send(One);
    meeting.send(Two);
    let ended = meeting.both("second").variable("LANES", "2").run(&["run"], LATER);
    assert_eq!(ended.code, 1, "{}", ended.error);
    for which in [One, Two] {
        assert!(meeting.is_stopped(which, &ended.error), "{}", ended.error);
    }
    assert_eq!(meeting.ids("public.users"), ids);
}

#[test]
fn a_file_is_no_more_shared_than_a_server() {
    let meeting = Meeting::new("leadsfile");
    meeting.send(One);
    meeting.send(Two);
    let file = format!("sqlite://{}", meeting.world.folder().join("target.db").display());
    for (which, code) in [(One, 0), (Two, 1)] {
        let setup = meeting.member(which).target(&file).args(["--until-caught-up"]);
        let ended = setup.run(&["run"], LATER);
        assert_eq!(ended.code, code, "{}", ended.error);
        assert_eq!(meeting.is_stopped(which, &ended.error), code == 1, "{}", ended.error);
    }
}

#[test]
fn tables_meet_where_a_rule_means_them_to() {
    let meeting = Meeting::new("leadsrule");
    meeting.send(One);
    meeting.send(Two);
    let run = |which, rule: &str| {
        let config = format!("[table.\"{rule}\"]\ntarget = \"mirror.users\"");
        let setup = meeting.member(which).config(&config).args(["--until-caught-up"]);
        setup.run(&["run"], LATER)
    };
    for which in [One, Two] {
        let ended = run(which, "*.users");
        assert_eq!(ended.code, 0, "{}", ended.error);
    }
    assert_eq!(meeting.ids("mirror.users"), "1001 2002");

    // A rule for one name does not mean the table of that name of another connector.
    meeting.send(One);
    let ended = run(One, "public.users");
    assert_eq!(ended.code, 1, "{}", ended.error);
    assert!(meeting.is_stopped(One, &ended.error), "{}", ended.error);
}

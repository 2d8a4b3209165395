//! TLS and SASL at a real broker: every way in that is right carries rows, every wrong one is refused
//! at once by name, and no output shows a secret.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::support::broker::{Broker, PASSWORD, USER};
use crate::support::certificates::{Authority, write};
use crate::support::kafka::{Draft, create_topic_at, produce_to};
use crate::support::member::Ended;
use crate::support::{LATER, Member, MemberSetup, SOON, World, until};

const WRONG: &str = "another-pw-that-no-log-may-show";

/// Returns an unsecured JSON Web Token, which this broker takes, from now on for that long.
fn token(life: Duration) -> String {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let claims =
        format!(r#"{{"sub":"carol","iat":{},"exp":{}}}"#, now.as_secs(), (now + life).as_secs());
    let [head, claims] = [r#"{"alg":"none"}"#, &claims].map(|it| BASE64_URL_SAFE_NO_PAD.encode(it));
    format!("{head}.{claims}.")
}

/// A broker with one record, and who wants it.
struct Scene {
    world: World,
    broker: Broker,
    topic: String,
    authority: String,
}

impl Scene {
    fn new(test: &str, authority: &Authority) -> Self {
        let world = World::new(test);
        let broker = Broker::start(authority);
        let topic = format!("{}.public.users", world.name);
        create_topic_at(&broker.plain(), &topic, 1, &[]);
        produce_to(&broker.plain(), &topic, 0, &[Draft::fixture("json/users-create")]);
        let authority = write(&world.folder(), "authority.pem", &authority.pem());
        Self { world, broker, topic, authority }
    }

    /// Begins a member whose rows go into a schema of its own; its log tells all.
    fn member(&self, label: &str, brokers: &str) -> MemberSetup {
        self.world
            .member(label)
            .variable("KAFKA_BOOTSTRAP_SERVERS", brokers)
            .variable("KAFKA_GROUP_ID", label)
            .variable("SINK_NAME", label)
            .variable("TABLES", &format!("public.*={label}.{{table}}"))
            .variable("RUST_LOG", "trace,sqlx=info,mio=info")
            .property(&format!("ssl.ca.location={}", self.authority))
    }

    fn by_sasl(&self, label: &str, mechanism: &str) -> MemberSetup {
        self.member(label, &self.broker.secured())
            .property("security.protocol=SASL_SSL")
            .property(&format!("sasl.mechanism={mechanism}"))
    }

    fn by_password(&self, label: &str, mechanism: &str, password: &str) -> MemberSetup {
        let file = write(&self.world.folder(), &format!("{label}.password"), password);
        self.by_sasl(label, mechanism)
            .variable("KAFKA_SASL_USERNAME", USER)
            .variable("KAFKA_SASL_PASSWORD_FILE", &file)
    }

    fn by_token(&self, label: &str, token: &str) -> MemberSetup {
        let file = write(&self.world.folder(), &format!("{label}.token"), token);
        self.by_sasl(label, "OAUTHBEARER").variable("KAFKA_SASL_TOKEN_FILE", &file)
    }

    fn rows(&self, label: &str) -> i64 {
        let table = format!("{label}.users");
        if !self.world.target.has(&table) {
            return 0;
        }
        self.world.target.number(&format!("SELECT count(*) FROM {table}"))
    }

    fn assert_carried(&self, label: &str, setup: MemberSetup) {
        let ended = setup.args(["--until-caught-up"]).run(&["run"], LATER);
        assert_eq!(ended.code, 0, "{label}: {}", ended.error);
        assert_eq!(self.rows(label), 1, "{label}");
        assert_no_secret(&ended);
    }
}

/// Before the start-up time is over, exit 2 and a line with these words.
fn assert_refused(setup: MemberSetup, words: &[&str]) {
    let ended = setup.run(&["run"], SOON);
    assert_eq!(ended.code, 2, "{}", ended.error);
    let told = [&["error: ", "refuse access"], words].concat();
    assert!(!ended.lines_with(&told).is_empty(), "no {told:?} in:\n{}", ended.error);
    assert_no_secret(&ended);
}

fn assert_no_secret(ended: &Ended) {
    for secret in [PASSWORD, WRONG, &token(Duration::ZERO)[..30]] {
        assert!(!ended.out.contains(secret) && !ended.error.contains(secret), "{secret} is shown");
    }
}

#[test]
fn copies_of_refused_records_come_in_by_the_same_way() {
    let scene = Scene::new("seccopies", &Authority::new());
    create_topic_at(&scene.broker.plain(), "letters", 1, &[]);
    let bad = Draft::fixture("json/users-create").with_value(Some(b"no JSON".to_vec()));
    produce_to(&scene.broker.plain(), &scene.topic, 0, &[bad]);
    let by_password = scene.by_password("password", "SCRAM-SHA-512", PASSWORD);
    let by_token = scene.by_token("token", &token(Duration::from_secs(600)));

    for (label, setup) in [("password", by_password), ("token", by_token)] {
        scene.assert_carried(label, setup.args(["--dead-letter-topic", "letters"]));
        let copied =
            format!("SELECT count(copied_at) FROM afterimage.dead_letter WHERE sink = '{label}'");
        assert_eq!(scene.world.target.number(&copied), 1, "{label}");
    }
}

#[test]
fn every_right_way_in_carries_rows_and_every_wrong_one_is_refused_by_name() {
    let authority = Authority::new();
    let scene = Scene::new("seckafka", &authority);
    let folder = scene.world.folder();
    let user = authority.user("carol");
    let certificate = write(&folder, "carol.pem", &user.certificate);
    let key = write(&folder, "carol.key", &user.key);
    let hour = Duration::from_secs(3600);
    let by_tls =
        |label| scene.member(label, &scene.broker.mutual()).property("security.protocol=SSL");

    for (label, mechanism) in
        [("plain", "PLAIN"), ("scram256", "SCRAM-SHA-256"), ("scram512", "SCRAM-SHA-512")]
    {
        scene.assert_carried(label, scene.by_password(label, mechanism, PASSWORD));
        let setup = scene.by_password(&format!("{label}_wrong"), mechanism, WRONG);
        assert_refused(setup, &["uthentication"]);
    }
    scene.assert_carried("token", scene.by_token("token", &token(hour)));
    for command in [["debug", "topics"].as_slice(), &["debug", "messages", &scene.topic]] {
        let ended = scene.by_token("look", &token(hour)).run(command, SOON);
        assert_eq!(ended.code, 0, "{}", ended.error);
        assert!(ended.out.contains("users"), "{}", ended.out);
        assert_no_secret(&ended);
    }
    let setup = by_tls("certificate").property(&format!("ssl.certificate.location={certificate}"));
    scene.assert_carried("certificate", setup.property(&format!("ssl.key.location={key}")));

    assert_refused(by_tls("no_certificate"), &["certificate required"]);
    assert_refused(scene.by_token("opaque", "an-opaque-token"), &["invalid_token"]);
    let stale = scene.by_token("stale", "e30.eyJleHAiOjE3MDAwMDAwMDB9.");
    assert_refused(stale, &["stale.token\" has expired at 2023-11-14T22:13:20Z"]);
    let other = write(&folder, "other.pem", &Authority::new().pem());
    let setup = scene.by_password("other", "PLAIN", PASSWORD);
    assert_refused(
        setup.property(&format!("ssl.ca.location={other}")),
        &["certificate verify failed"],
    );
    let setup = scene.by_password("system", "PLAIN", PASSWORD).property("ssl.ca.location=probe");
    assert_refused(setup, &["certificate verify failed"]);
    let setup = scene.by_password("elsewhere", "PLAIN", PASSWORD);
    let setup = setup.variable("KAFKA_BOOTSTRAP_SERVERS", &scene.broker.elsewhere());
    assert_refused(setup, &["certificate verify failed", "for another host"]);
}

#[test]
fn a_token_is_read_again_when_it_is_renewed_in_time_and_when_it_is_late() {
    let scene = Scene::new("sectoken", &Authority::new());
    let (life, hour) = (Duration::from_secs(20), Duration::from_secs(3600));
    let folder = scene.world.folder();
    let started = |label: &str| {
        let member = scene.by_token(label, &token(life)).start();
        until(SOON, "the first row is there", || scene.rows(label) == 1);
        member
    };
    let renew = |label: &str| write(&folder, &format!("{label}.token"), &token(hour));

    let in_time = started("in_time");
    renew("in_time");
    let late = started("late");
    late.until_logged(&["kafka client", "late.token", "has expired at"]);
    // The other's first token has expired before.
    let second = Draft::fixture("json/users-create").with("9001", "9002");
    produce_to(&scene.broker.plain(), &scene.topic, 0, &[second]);
    until(SOON, "a renewed token lets the row in", || scene.rows("in_time") == 2);
    renew("late");
    until(LATER, "a late token lets the row in", || scene.rows("late") == 2);

    assert!(!in_time.log().contains("has expired at"), "the token was not renewed in time");
    for member in [&in_time, &late] {
        assert!(!member.log().contains(&token(life)[..30]), "the token is shown");
    }
    assert_eq!([in_time, late].map(Member::terminate), [0, 0]);
}

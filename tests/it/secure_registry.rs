//! TLS, basic credentials and bearer tokens before the real registry: what is right brings schemas,
//! what is wrong is refused at once by name, and no output shows a secret.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;
use tokio::time::Instant;

use crate::framing::{Subjects, confluent, own_ids};
use crate::support::certificates::{Authority, write};
use crate::support::gate::Gate;
use crate::support::kafka::{Draft, produce};
use crate::support::{LATER, MemberSetup, SOON, World, until};

const PASSWORD: &str = "pw-that-no-log-may-show";
const TOKEN: &str = "token-that-no-log-may-show";
const RENEWED: &str = "renewed-token-that-no-log-may-show";

/// A gate before the registry, a topic, and a schema for each row in it.
struct Scene {
    world: World,
    gate: Gate,
    topic: String,
    subjects: Subjects,
    authority: String,
}

/// How a record names its schema.
enum Name {
    BeforeTheBytes,
    InAHeader,
}

impl Scene {
    fn new(test: &str) -> Self {
        let world = World::new(test);
        let topic = world.topic("public.t", &[]);
        let authority = Authority::new();
        let gate = Gate::open(&authority.host("127.0.0.1"));
        let authority = write(&world.folder(), "authority.pem", &authority.pem());
        Self { world, gate, topic, subjects: Subjects::default(), authority }
    }

    /// Puts a row into the topic, under a schema that nobody has asked for yet.
    fn put(&mut self, id: u8, name: &Name) {
        let subject = format!("{}-{id}", self.world.name);
        let field = json!({"name": "id", "type": "long"});
        let schema = json!({"type": "record", "name": "Row", "namespace": subject.replace('-', "_"),
            "fields": [field]});
        let schema_id = self.subjects.register(&subject, &schema, &json!([]));
        // The number in zig-zag form.
        let body = [id * 2];
        let (frame, headers) = match name {
            Name::BeforeTheBytes => (confluent(schema_id, b""), Vec::new()),
            Name::InAHeader => {
                let (global, _) = own_ids(&subject);
                let header = |name: &str| (name.to_owned(), Some(global.to_be_bytes().to_vec()));
                let names = ["apicurio.key.globalId", "apicurio.value.globalId"];
                (Vec::new(), names.map(header).to_vec())
            }
        };
        let bytes = Some([frame.as_slice(), &body].concat());
        produce(&self.topic, 0, &[Draft { key: bytes.clone(), value: bytes, headers }]);
    }

    fn member(&self, label: &str) -> MemberSetup {
        self.world
            .member(label)
            .variable("KAFKA_GROUP_ID", label)
            .variable("SINK_NAME", label)
            .variable("TABLES", &format!("*={label}.{{table}}"))
            .variable("SCHEMA_REGISTRY_URL", &self.gate.url("127.0.0.1"))
            .variable("SCHEMA_REGISTRY_CA_FILE", &self.authority)
            .variable("RUST_LOG", "trace,sqlx=info,mio=info")
    }

    fn by_password(&self, label: &str, password: &str) -> MemberSetup {
        let file = write(&self.world.folder(), &format!("{label}.password"), password);
        self.member(label)
            .variable("SCHEMA_REGISTRY_USER", "carol")
            .variable("SCHEMA_REGISTRY_PASSWORD_FILE", &file)
    }

    fn by_token(&self, label: &str, token: &str) -> MemberSetup {
        let file = write(&self.world.folder(), &format!("{label}.token"), token);
        self.member(label).variable("SCHEMA_REGISTRY_TOKEN_FILE", &file)
    }

    fn rows(&self, label: &str) -> i64 {
        let table = format!("{label}.t");
        if !self.world.target.has(&table) {
            return 0;
        }
        self.world.target.number(&format!("SELECT count(*) FROM {table}"))
    }

    fn assert_carried(&self, label: &str, setup: MemberSetup, rows: i64) {
        let ended = setup.args(["--until-caught-up"]).run(&["run"], LATER);
        assert_eq!(ended.code, 0, "{label}: {}", ended.error);
        assert_eq!(self.rows(label), rows, "{label}: {}", ended.error);
        assert_no_secret(&ended.error);
    }
}

fn basic(password: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("carol:{password}")))
}

/// Before the start-up time is over, exit 2 and a line with these words.
fn assert_refused(setup: MemberSetup, words: &[&str]) {
    let ended = setup.run(&["run"], SOON);
    assert_eq!(ended.code, 2, "{}", ended.error);
    let told = [&["error: ", "schema registry \"https://"], words].concat();
    assert!(!ended.lines_with(&told).is_empty(), "no {told:?} in:\n{}", ended.error);
    assert_no_secret(&ended.error);
}

fn assert_no_secret(output: &str) {
    for secret in [PASSWORD, TOKEN, RENEWED, basic(PASSWORD).trim_start_matches("Basic ")] {
        assert!(!output.contains(secret), "{secret} is shown");
    }
}

#[test]
fn right_credentials_bring_schemas_and_wrong_ones_are_refused_by_name() {
    let mut scene = Scene::new("secregistry");
    scene.put(1, &Name::BeforeTheBytes);
    scene.put(2, &Name::InAHeader);

    scene.gate.want(&basic(PASSWORD));
    scene.assert_carried("password", scene.by_password("password", PASSWORD), 2);
    assert!(scene.gate.has_passed("/globalIds/"), "Apicurio's own API was not asked");
    let in_url = scene.gate.url("127.0.0.1").replace("://", &format!("://carol:{PASSWORD}@"));
    let setup = scene.member("in_url").variable("SCHEMA_REGISTRY_URL", &in_url);
    scene.assert_carried("in_url", setup, 2);
    assert_refused(
        scene.by_password("wrong", "wrong"),
        &["401 Unauthorized: credentials are missing or wrong"],
    );
    assert_refused(scene.member("nobody"), &["401 Unauthorized: credentials are missing or wrong"]);

    let other = write(&scene.world.folder(), "other.pem", &Authority::new().pem());
    let setup = scene.by_password("other", PASSWORD).variable("SCHEMA_REGISTRY_CA_FILE", &other);
    assert_refused(setup, &["invalid peer certificate"]);
    let setup = scene.by_password("system", PASSWORD).variable("SCHEMA_REGISTRY_CA_FILE", "");
    assert_refused(setup, &["invalid peer certificate"]);
    let setup = scene.by_password("elsewhere", PASSWORD);
    let setup = setup.variable("SCHEMA_REGISTRY_URL", &scene.gate.url("localhost"));
    assert_refused(setup, &["localhost", "not valid for name"]);

    scene.gate.want(&format!("Bearer {RENEWED}"));
    assert_refused(
        scene.by_token("expired", TOKEN),
        &["401 Unauthorized: credentials are missing or wrong"],
    );
}

#[test]
fn a_token_is_read_again_for_each_schema() {
    let mut scene = Scene::new("secbearer");
    scene.put(1, &Name::BeforeTheBytes);
    scene.gate.want(&format!("Bearer {TOKEN}"));
    let member = scene.by_token("bearer", TOKEN).start();
    until(SOON, "the first row is there", || scene.rows("bearer") == 1);

    scene.gate.want(&format!("Bearer {RENEWED}"));
    write(&scene.world.folder(), "bearer.token", RENEWED);
    scene.put(2, &Name::BeforeTheBytes);
    scene.put(3, &Name::InAHeader);

    until(SOON, "rows under new schemas are there", || scene.rows("bearer") == 3);
    assert_no_secret(&member.log());
    assert!(!member.log().contains("401 Unauthorized"), "the old token was shown");
    assert_eq!(member.terminate(), 0);
}

#[test]
fn f41_a_registry_that_is_down_holds_up_its_partition_until_it_answers() {
    let mut scene = Scene::new("f41");
    let other = scene.world.topic("public.users", &[]);
    scene.gate.want(&basic(PASSWORD));
    scene.put(1, &Name::BeforeTheBytes);
    let member = scene.by_password("outage", PASSWORD).start();
    until(SOON, "the first row is there", || scene.rows("outage") == 1);

    for (status, id) in ["", "503 Service Unavailable", "429 Too Many Requests"].iter().zip(2..) {
        scene.gate.fail(Some(status));
        let tries = || member.log().matches("asking again").count();
        let before = tries();
        scene.put(id, &Name::BeforeTheBytes);
        until(SOON, "the member asks again", || tries() > before);
        let user = Draft::fixture("json/users-create").with("9001", &id.to_string());
        produce(&other, 0, &[user]);
        let users = "SELECT count(*) FROM outage.users";
        until(SOON, "the other topic goes on", || {
            scene.world.target.try_run(users).is_ok()
                && scene.world.target.number(users) == i64::from(id) - 1
        });
        assert_eq!(scene.rows("outage"), i64::from(id) - 1);
        until(SOON, "the member says what it waits for", || {
            let ready = member.get("/readyz");
            ready.status == 503 && ready.body.contains("waits for the registry")
        });
        scene.gate.fail(None);
        let answers = Instant::now();
        until(LATER, "the row is there", || scene.rows("outage") == i64::from(id));
        eprintln!("behind {status:?}: the row is there {:?} after the registry", answers.elapsed());
    }
    assert_eq!(scene.world.dead_letters(), []);
    member.until_ready();
}

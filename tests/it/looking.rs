//! What operators look at: topics, records in all formats, tables, status, checkpoints, plans.
//!
//! The program is called as an operator calls it; each test has topics, a sink and a database of its
//! own.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _};
use tempfile::TempDir;
use url::Url;
use uuid::Uuid;

const WAIT: Duration = Duration::from_secs(30);

/// What JSON without schemas does not say of the connector that the fixtures come from.
const CONFIG: &str = r#"
[source."dbserver1_plain"]
time_precision_mode = "adaptive"
decimal_handling_mode = "precise"
"#;

/// Topics, a sink and a database that nobody else uses.
struct Place {
    name: String,
    brokers: String,
    registry: String,
    target: String,
    admin: String,
    dir: TempDir,
    topics: Vec<String>,
}

/// What a call of the program came to.
struct Called {
    code: i32,
    out: String,
    talk: String,
}

impl Called {
    /// Returns the objects of a listing in JSON.
    fn rows(&self) -> Vec<Value> {
        assert!(self.code < 2, "{}", self.talk);
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Returns one field of each object.
    fn each(&self, field: &str) -> Vec<Value> {
        self.rows().iter().map(|row| row[field].clone()).collect()
    }

    /// Returns the output of a call that must have succeeded.
    fn done(&self) -> &str {
        assert_eq!(self.code, 0, "{}", self.talk);
        &self.out
    }
}

fn variable(name: &str) -> String {
    #[expect(clippy::disallowed_methods, reason = "tests have no command line")]
    let found = std::env::var(name);
    found.unwrap_or_else(|_| panic!("{name} is not set: `make stack`, then `source .stack.env`"))
}

impl Place {
    async fn new() -> Self {
        let name = format!("looking_{}", Uuid::new_v4().simple());
        let (admin, target) = (variable("TARGET_ADMIN_URL"), variable("TARGET_DATABASE_URL"));
        let mut connection = PgConnection::connect(&admin).await.unwrap();
        let create = format!("CREATE DATABASE {name} OWNER postgres");
        connection.execute(AssertSqlSafe(create)).await.unwrap();
        let inside = |url: &str| {
            let mut url = url.parse::<Url>().unwrap();
            url.set_path(&name);
            url.to_string()
        };
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("consumer.toml"), CONFIG).unwrap();
        Self {
            brokers: variable("KAFKA_BOOTSTRAP_SERVERS"),
            registry: registry(),
            target: inside(&target),
            admin: inside(&admin),
            name,
            dir,
            topics: Vec::new(),
        }
    }

    /// Uses a file of its own as target.
    async fn on_sqlite() -> Self {
        let place = Self::new().await;
        let target = format!("sqlite://{}", place.dir.path().join("target.db").display());
        Self { target, ..place }
    }

    /// Makes a topic and fills it with fixtures.
    async fn topic(&mut self, fixtures: &[&str]) -> String {
        let table = fixtures[0].split(['/', '-']).nth(1).unwrap();
        let topic = format!("{}_{}.public.{table}", self.name, self.topics.len());
        let new = NewTopic::new(&topic, 1, TopicReplication::Fixed(1));
        let admin = self.admin_client();
        admin.create_topics([&new], &AdminOptions::new()).await.unwrap()[0].as_ref().unwrap();
        self.topics.push(topic.clone());
        self.send(&topic, fixtures);
        topic
    }

    fn admin_client(&self) -> AdminClient<DefaultClientContext> {
        ClientConfig::new().set("bootstrap.servers", &self.brokers).create().unwrap()
    }

    fn send(&self, topic: &str, fixtures: &[&str]) {
        for name in fixtures {
            let fixture = fixture(name);
            let bytes =
                |side: &str| fixture[side].as_str().map(|text| STANDARD.decode(text).unwrap());
            self.produce(topic, bytes("key").as_deref(), bytes("value").as_deref());
        }
    }

    fn produce(&self, topic: &str, key: Option<&[u8]>, value: Option<&[u8]>) {
        let mut config = ClientConfig::new();
        let producer: BaseProducer =
            config.set("bootstrap.servers", &self.brokers).create().unwrap();
        let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(0);
        (record.key, record.payload) = (key, value);
        producer.send(record).map_err(|(error, _)| error).unwrap();
        producer.flush(WAIT).unwrap();
    }

    /// Calls the program with the place's variables and no others.
    fn call(&self, line: &str) -> Called {
        let topics = self.topics.join(",");
        let ended = Command::new(env!("CARGO_BIN_EXE_consumer"))
            .args(line.split_whitespace())
            .env_clear()
            .env("USER", "ada")
            .env("KAFKA_BOOTSTRAP_SERVERS", &self.brokers)
            .env("KAFKA_GROUP_ID", &self.name)
            .env("KAFKA_TOPICS", topics)
            .env("SCHEMA_REGISTRY_URL", &self.registry)
            .env("SINK_NAME", &self.name)
            .env("TARGET_DATABASE_URL", &self.target)
            .env("CONSUMER_CONFIG", self.dir.path().join("consumer.toml"))
            .env("HTTP_LISTEN", "off")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let (out, talk) = (text(ended.stdout), text(ended.stderr));
        Called { code: ended.status.code().unwrap(), out, talk }
    }

    /// Runs SQL as an administrator; returns the first column as text.
    async fn sql(&self, text: &str) -> Vec<String> {
        let mut connection = PgConnection::connect(&self.admin).await.unwrap();
        let rows = connection.fetch_all(sqlx::raw_sql(AssertSqlSafe(text))).await.unwrap();
        rows.iter().map(|row| row.try_get_unchecked(0).unwrap()).collect()
    }

    /// Takes everything away again.
    async fn end(self) {
        let names = self.topics.iter().map(String::as_str).collect::<Vec<_>>();
        self.admin_client().delete_topics(&names, &AdminOptions::new()).await.unwrap();
        let mut connection = PgConnection::connect(&variable("TARGET_ADMIN_URL")).await.unwrap();
        let drop = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        connection.execute(AssertSqlSafe(drop)).await.unwrap();
    }
}

fn fixture(name: &str) -> Value {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join(format!("tests/fixtures/{name}.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Serves the schemas of the fixtures under the ids that the records carry.
pub(crate) fn registry() -> String {
    let schemas = fixture("avro/schemas");
    let schemas = serde_json::from_value::<BTreeMap<String, String>>(schemas).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that goes away needs no answer.
            _ = answer(stream, &schemas);
        }
    });
    format!("http://{address}")
}

fn answer(stream: TcpStream, schemas: &BTreeMap<String, String>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let path = first.split([' ', '?']).nth(1).unwrap_or_default();
    let found = path.strip_prefix("/schemas/ids/").and_then(|id| schemas.get(id));
    let (status, body) = match (found, path) {
        (Some(schema), _) => ("200 OK", json!({ "schema": schema })),
        (None, "/subjects") => ("200 OK", json!([])),
        (None, _) => ("404 Not Found", json!({ "error_code": 40403, "message": "not found" })),
    };
    let body = body.to_string();
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\n");
    let length = body.len();
    write!(reader.get_mut(), "{head}content-length: {length}\r\nconnection: close\r\n\r\n{body}")
}

const ORDERS: [&str; 4] =
    ["orders-read", "orders-update-unavailable", "orders-delete", "orders-tombstone"];

fn of(format: &str, names: &[&str]) -> Vec<String> {
    names.iter().map(|name| format!("{format}/{name}")).collect()
}

fn names(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

#[tokio::test]
async fn a_record_looks_the_same_in_every_format() {
    let mut place = Place::new().await;
    let json = place.topic(&names(&of("json", &ORDERS))).await;
    let plan = place.call("plan --bootstrap");
    place.sql(plan.done()).await;
    let plain = place.topic(&names(&of("plain", &ORDERS))).await;
    let avro = place.topic(&names(&of("avro", &ORDERS))).await;

    let look = |topic: &str| place.call(&format!("debug messages {topic} --format json"));
    let (json, plain, avro) = (look(&json), look(&plain), look(&avro));
    assert_eq!(json.each("format"), ["json"; 4]);
    assert_eq!(plain.each("format"), ["json without schema"; 4]);
    assert_eq!(avro.each("format"), ["avro"; 4]);
    assert_eq!(avro.each("schema_id"), [4, 4, 4, 3]);
    assert_eq!(json.each("refused"), [const { Value::Null }; 4]);
    for field in ["op", "table", "target", "key", "refused"] {
        assert_eq!(plain.each(field), json.each(field), "{field}");
        assert_eq!(avro.each(field), json.each(field), "{field}");
    }
    for field in ["before", "after"] {
        assert_eq!(avro.each(field), json.each(field), "{field}");
        // Without a schema the types are those that the target's columns stand for.
        let values = |called: &Called| {
            let rows = called.each(field).into_iter();
            let value = |cell: &Value| (cell["value"].clone(), cell["target"].clone());
            rows.map(|row| row.as_object().map(|row| row.values().map(value).collect::<Vec<_>>()))
                .collect::<Vec<_>>()
        };
        assert_eq!(values(&plain), values(&json), "{field}");
    }
    assert_eq!(json.each("op"), ["r", "u", "d", "tombstone"]);
    let cell = &json.each("after")[0]["amount"];
    assert_eq!(cell["type"], "decimal(12,2)");
    assert_eq!(cell["target"], "numeric(12,2)");
    place.end().await;
}

#[tokio::test]
async fn a_look_at_a_record_says_why_it_would_be_refused() {
    let mut place = Place::new().await;
    let topic = place.topic(&["plain/users-create"]).await;
    place.produce(&topic, Some(b"{\"id\":1}"), Some(b"\xff"));
    place.produce(&topic, Some(b"{\"id\":1}"), Some(b"{}"));
    place.produce(&topic, None, Some(b"\0\0\0\x27\x0f\0"));

    let looked = place.call(&format!("debug messages {topic} --format json"));
    let refused = looked.each("refused");
    let begins = [
        "stops the partition: table_missing: table \"public.users\" does not exist",
        "malformed: the value is neither UTF-8 nor framed Avro",
        "not_an_envelope: ",
        "schema_not_found: the registry has no schema with the id 9999",
    ];
    for (refused, begin) in refused.iter().zip(begins) {
        assert!(refused.as_str().unwrap().starts_with(begin), "{refused}");
    }
    let table = place.call(&format!("debug messages {topic}"));
    assert!(table.done().starts_with("PARTITION  OFFSET  TIMESTAMP"), "{}", table.out);

    // Without a target nothing says what the values are, so nothing is known to be wrong.
    let without = Place { target: String::new(), ..place };
    let looked = without.call(&format!("debug messages {topic} --format json --limit 4"));
    assert_eq!(looked.each("refused")[0], Value::Null);
    assert_eq!(looked.each("after")[0]["name"]["value"], "Alan");
    without.end().await;
}

#[tokio::test]
async fn a_key_is_found_by_what_it_says() {
    let mut place = Place::new().await;
    let topic = place.topic(&["avro/users-create", "avro/orders-create", "json/users-read"]).await;
    let found = |key: &str| {
        let line = format!("debug messages {topic} --format json --key {key}");
        place.call(&line).each("key")
    };
    assert_eq!(found("emp_id"), Vec::<Value>::new());
    assert_eq!(found("9001"), [json!({ "id": 9001 }), json!({ "id": 9001 })]);
    assert_eq!(found("\"id\":1}"), [json!({ "id": 1 })]);
    place.end().await;
}

/// Runs the service to the end of the topics and looks at what it leaves, step by step.
async fn look_around(place: &mut Place) {
    let topic = place.topic(&["avro/users-read", "avro/users-create"]).await;
    let planned = place.call("plan").done().to_owned();
    assert!(planned.contains("checkpoint"), "our own tables are missing: {planned}");
    assert!(planned.contains("\"token\""), "{planned}");
    let status = place.call("status --format json");
    assert_eq!(status.each("state"), ["no checkpoint"]);
    assert_eq!(status.each("lag"), [2]);
    assert_eq!(place.call("debug topics --format json").each("checkpoint"), [Value::Null]);
    assert_eq!(place.call("debug target").done(), "");
    assert_eq!(place.call("checkpoint list").done(), "");

    place.call("run --until-caught-up").done();
    assert_eq!(place.call("plan").done(), "");
    let status = place.call("status --check --lag-max 0 --format json");
    assert_eq!((status.code, status.each("lag")), (0, vec![json!(0)]));
    assert_eq!(status.each("state"), ["running"]);
    let topics = place.call("debug topics --format json").rows();
    assert_eq!(topics[0]["topic"], *topic);
    assert_eq!((&topics[0]["checkpoint"], &topics[0]["lag"]), (&json!(2), &json!(0)));
    let tables = place.call("debug target --format json").rows();
    assert_eq!((tables.len(), &tables[0]["rows"]), (1, &json!(2)));
    assert!(tables[0]["newest"].as_str().unwrap().starts_with("20"));
    let name = tables[0]["table"].as_str().unwrap();
    let newest = place.call(&format!("debug target {name} --limit 1 --format json"));
    assert_eq!(newest.rows().len(), 1);
    assert_eq!(place.call("debug target nowhere").code, 2);
    let listed = place.call("checkpoint list --format json").rows();
    assert_eq!((&listed[0]["next_offset"], &listed[0]["epoch"]), (&json!(2), &json!(1)));

    place.send(&topic, &["avro/users-delete", "avro/users-tombstone"]);
    let late = place.call("status --check --lag-max 1");
    assert_eq!(late.code, 1);
    assert!(late.talk.contains("is 2 records behind"), "{}", late.talk);
    assert_eq!(place.call("status --check --lag-max 2 --age-max 1h").code, 0);
}

#[tokio::test]
async fn the_commands_agree_with_what_the_service_did() {
    let mut place = Place::new().await;
    place.sql(&format!("ALTER DATABASE {} OWNER TO writer", place.name)).await;
    place.sql("GRANT CREATE ON SCHEMA public TO writer").await;
    look_around(&mut place).await;
    place.end().await;
}

#[tokio::test]
async fn the_commands_look_at_a_sqlite_file_alike() {
    let mut place = Place::on_sqlite().await;
    look_around(&mut place).await;
    place.end().await;
}

#[tokio::test]
async fn a_writer_that_may_create_nothing_needs_only_the_bootstrap() {
    let mut place = Place::new().await;
    place.topic(&["json/users-read"]).await;
    place.topic(&["json/orders-read"]).await;
    let bootstrap = place.call("plan --bootstrap --schema-changes check");
    place.sql(bootstrap.done()).await;
    place.sql("REVOKE CREATE ON SCHEMA public FROM PUBLIC, writer").await;

    assert_eq!(place.call("plan --schema-changes check").done(), "");
    place.call("run --until-caught-up --schema-changes check").done();
    let tables = place.call("debug target --format json");
    assert_eq!(tables.each("table"), ["public.orders", "public.users"]);
    assert_eq!(tables.each("rows"), [1, 1]);
    place.end().await;
}

#[tokio::test]
async fn a_plan_names_what_would_stop() {
    let mut place = Place::new().await;
    let users = place.topic(&["json/users-read"]).await;
    place.topic(&["avro/users-read"]).await;
    let plan = place.call("plan");
    assert_eq!(plan.code, 1);
    assert!(plan.talk.contains("stops its topic: table_shared"), "{}", plan.talk);
    let checked = place.call(&format!("plan --schema-changes check --topics {users}"));
    assert_eq!(checked.code, 1);
    assert!(checked.talk.contains("table_missing"), "{}", checked.talk);
    place.end().await;
}

#[tokio::test]
async fn a_first_position_is_adopted_once_with_its_reason() {
    let mut place = Place::new().await;
    place.sql(&format!("ALTER DATABASE {} OWNER TO writer", place.name)).await;
    let topic = place.topic(&["json/users-read", "json/users-create"]).await;
    assert_eq!(place.call("checkpoint adopt --at latest --reason ").code, 2);
    assert_eq!(place.call("checkpoint adopt --at committed --reason move").code, 2);
    let adopted = place.call("checkpoint adopt --at latest --reason move");
    assert!(adopted.done().contains(&topic), "{}", adopted.out);
    let again = place.call("checkpoint adopt --at earliest --reason again");
    assert_eq!(again.done(), "");
    assert!(again.talk.contains("has a checkpoint already"), "{}", again.talk);
    assert_eq!(place.call("status --format json").each("checkpoint"), [2]);
    let audit = "SELECT concat_ws('|', actor, command, topic, \"partition\", after_offset, reason) \
                 FROM afterimage.audit";
    assert_eq!(place.sql(audit).await, [format!("ada|checkpoint adopt|{topic}|0|2|move")]);
    place.end().await;
}

//! What names a schema in the registry: ids before the bytes or in headers, and schemas that refer to
//! others; the registry is the real one, the records are framed by hand.

use serde_json::{Value, json};

use crate::support::kafka::{Draft, produce};
use crate::support::{LATER, SOON, Stack, World, http, until};

/// Subjects of a test; they go with it.
#[derive(Default)]
pub(crate) struct Subjects(Vec<String>);

impl Subjects {
    /// Registers a schema under a subject and returns its id.
    pub(crate) fn register(&mut self, subject: &str, schema: &Value, references: &Value) -> u32 {
        self.post(subject, &json!({"schema": schema.to_string(), "references": references}))
    }

    /// Registers a Protobuf file.
    pub(crate) fn register_protobuf(&mut self, subject: &str, file: &str) -> u32 {
        self.post(subject, &json!({"schemaType": "PROTOBUF", "schema": file}))
    }

    fn post(&mut self, subject: &str, body: &Value) -> u32 {
        self.0.push(subject.to_owned());
        let url = format!("{}/subjects/{subject}/versions", Stack::get().registry);
        let answer = http::send("POST", &url, Some(&body.to_string())).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        let id = serde_json::from_str::<Value>(&answer.body).unwrap()["id"].as_u64().unwrap();
        u32::try_from(id).unwrap()
    }
}

impl Drop for Subjects {
    fn drop(&mut self) {
        for subject in self.0.iter().rev() {
            let url = format!("{}/subjects/{subject}", Stack::get().registry);
            _ = http::send("DELETE", &url, None);
        }
    }
}

/// Returns the ids that Apicurio itself knows a subject's first version by: global, content.
pub(crate) fn own_ids(subject: &str) -> (i64, i64) {
    let registry = &Stack::get().registry;
    let root = registry.split("/apis/").next().unwrap();
    let url = format!("{root}/apis/registry/v3/groups/default/artifacts/{subject}/versions/1");
    let answer = http::get(&url).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    let version = serde_json::from_str::<Value>(&answer.body).unwrap();
    (version["globalId"].as_i64().unwrap(), version["contentId"].as_i64().unwrap())
}

/// Puts Confluent's frame before an Avro body.
pub(crate) fn confluent(id: u32, body: &[u8]) -> Vec<u8> {
    [&[0][..], &id.to_be_bytes(), body].concat()
}

/// The key or the value of a created row, behind a frame.
fn framed(frame: &[u8], body: &[u8]) -> Option<Vec<u8>> {
    Some([frame, body].concat())
}

#[test]
fn a_schema_is_found_by_whatever_names_it() {
    let world = World::new("framing");
    let topic = world.topic("public.t", &[]);
    let mut subjects = Subjects::default();
    let name = &world.name;
    let id = json!({"name": "id", "type": "long"});
    let key = json!({"type": "record", "name": "Key", "namespace": name, "fields": [id]});
    let row = json!({"type": "record", "name": "Row", "namespace": name, "fields": [id]});
    let value = json!({"type": "record", "name": "Envelope", "namespace": name, "fields": [
        {"name": "after", "type": ["null", format!("{name}.Row")]},
        {"name": "op", "type": "string"}]});
    let (key_subject, row_subject) = (format!("{name}-key"), format!("{name}-row"));
    let value_subject = format!("{name}-value");
    let key_id = subjects.register(&key_subject, &key, &json!([]));
    subjects.register(&row_subject, &row, &json!([]));
    let reference = json!([{"name": format!("{name}.Row"), "subject": row_subject, "version": 1}]);
    let value_id = subjects.register(&value_subject, &value, &reference);
    let ((key_global, key_content), (value_global, value_content)) =
        (own_ids(&key_subject), own_ids(&value_subject));

    let header = |name: &str, id: i64| (name.to_owned(), Some(id.to_be_bytes().to_vec()));
    // Rows 1, 2 and 3, in zig-zag form.
    let drafts = [
        Draft {
            key: Some(confluent(key_id, b"\x02")),
            value: Some(confluent(value_id, b"\x02\x02\x02c")),
            headers: Vec::new(),
        },
        Draft {
            key: framed(b"", b"\x04"),
            value: framed(b"", b"\x02\x04\x02c"),
            headers: vec![
                header("apicurio.key.globalId", key_global),
                header("apicurio.value.globalId", value_global),
            ],
        },
        Draft {
            key: framed(b"", b"\x06"),
            value: framed(b"", b"\x02\x06\x02c"),
            headers: vec![
                header("apicurio.key.contentId", key_content),
                header("apicurio.value.contentId", value_content),
            ],
        },
    ];
    produce(&topic, 0, &drafts);

    let member = world.member("member").start();

    until(LATER, "all rows are there", || {
        world.target.has("public.t") && world.target.number("SELECT count(*) FROM public.t") == 3
    });
    assert_eq!(world.target.number("SELECT sum(id) FROM public.t"), 6);
    assert_eq!(world.dead_letters(), []);
    drop(member);
    until(SOON, "the checkpoint is at the end", || world.progress() == 3);
}

//! The captured records of `tests/fixtures`, read once.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use afterimage::decode::RegisteredSchema;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// What names the schemas of Avro's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// An id of four bytes before the bytes.
    Four,
    /// Apicurio's of eight.
    Eight,
    /// Apicurio's `globalId` in a header.
    Global,
    /// Its `contentId` in a header.
    Content,
}

/// Avro's bytes without their frames.
pub(super) struct Avro<'a> {
    pub(super) frame: Frame,
    /// The id of the value's schema.
    pub(super) id: u32,
    pub(super) key: &'a [u8],
    pub(super) value: &'a [u8],
}

/// A captured record.
pub(super) struct Fixture {
    /// Its folder and situation, such as `json/users-create`.
    pub(super) name: String,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Fixture {
    /// Finds a record that the targets build on.
    pub(super) fn named(name: &str) -> &'static Self {
        let found = fixtures().iter().find(|fixture| fixture.name == name);
        found.unwrap_or_else(|| panic!("no fixture {name}"))
    }

    /// Returns the value when it is JSON.
    pub(super) fn json_value(&self) -> Option<&[u8]> {
        self.value.as_deref().filter(|value| value.first() == Some(&b'{'))
    }

    /// Takes the record out of its frames when its value is Avro.
    pub(super) fn avro(&self) -> Option<Avro<'_>> {
        let value = self.value.as_deref()?;
        let named = |header: &str| {
            let mut headers = self.headers.iter();
            let (_, id) = headers.find(|(name, _)| name == header.as_bytes())?;
            u32::try_from(u64::from_be_bytes(id.as_deref()?.try_into().ok()?)).ok()
        };
        let (frame, id, length) = match (named("apicurio.value.globalId"), value) {
            (Some(id), _) => (Frame::Global, id, 0),
            (None, _) if let Some(id) = named("apicurio.value.contentId") => {
                (Frame::Content, id, 0)
            }
            (None, [0, 0, 0, 0, 0, id @ ..]) => {
                (Frame::Eight, u32::from_be_bytes(*id.first_chunk()?), 9)
            }
            (None, [0, id @ ..]) => (Frame::Four, u32::from_be_bytes(*id.first_chunk()?), 5),
            _ => return None,
        };
        let key = self.key.as_deref().and_then(|key| key.get(length..)).unwrap_or_default();
        Some(Avro { frame, id, key, value: value.get(length..)? })
    }

    fn read(name: String, json: &Value) -> Self {
        let bytes = |json: &Value| json.as_str().map(|text| STANDARD.decode(text).expect("base64"));
        let header = |pair: &Value| {
            let name = pair[0].as_str().expect("a name").as_bytes().to_vec();
            (name, bytes(&pair[1]))
        };
        let headers = json["headers"].as_array().expect("headers").iter().map(header).collect();
        Self { name, key: bytes(&json["key"]), value: bytes(&json["value"]), headers }
    }
}

/// Returns the package's folder.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors()
        .find(|folder| folder.join("tests/fixtures").exists())
        .expect("fixtures")
        .to_owned()
}

/// Returns every captured record, by name.
pub(super) fn fixtures() -> &'static [Fixture] {
    static FIXTURES: OnceLock<Vec<Fixture>> = OnceLock::new();
    FIXTURES.get_or_init(|| {
        let records = files().into_iter().filter(|(name, _)| !name.ends_with("/schemas"));
        records.map(|(name, json)| Fixture::read(name, &json)).collect()
    })
}

/// Returns every captured schema by its number, whatever named it, and that of a change log.
pub(super) fn schemas() -> &'static BTreeMap<u32, RegisteredSchema> {
    static SCHEMAS: OnceLock<BTreeMap<u32, RegisteredSchema>> = OnceLock::new();
    SCHEMAS.get_or_init(|| {
        let lists = files().into_iter().filter(|(name, _)| name.ends_with("/schemas"));
        let lists = lists.flat_map(|(_, list)| list.as_object().expect("a list").clone());
        let schema = |(name, listed): (String, Value)| {
            let mut words = name.split(' ');
            let id = words.find_map(|word| word.parse().ok()).expect("a number");
            (id, registered(&listed))
        };
        let log = RegisteredSchema { text: LOG.to_owned(), references: Vec::new() };
        lists.map(schema).chain([(LOG_ID, log)]).collect()
    })
}

/// Reads a schema: its text, or a list of those that it refers to and its own.
fn registered(listed: &Value) -> RegisteredSchema {
    let texts = listed.as_array().map_or(std::slice::from_ref(listed), Vec::as_slice);
    let texts = texts.iter().map(|text| text.as_str().expect("a text").to_owned());
    let mut references = texts.collect::<Vec<_>>();
    RegisteredSchema { text: references.pop().expect("a schema"), references }
}

/// The id under which the schema of a change log is registered.
pub(super) const LOG_ID: u32 = 1_000_000;

/// The schema of a change log.
const LOG: &str = r#"{"type":"record","name":"Value","namespace":"dbserver1.public.log","fields":[
    {"name":"action_id","type":"long"},{"name":"id","type":"int"},
    {"name":"note","type":["null","string"]},{"name":"action","type":"string"}]}"#;

/// A record of a change log in JSON, of which nobody has captured one.
pub(super) fn logged(action: &str, has_schema: bool) -> String {
    let row = format!(r#"{{"action_id":7,"id":1,"note":"n","action":"{action}"}}"#);
    if !has_schema {
        return row;
    }
    let fields = ["int64 action_id", "int32 id", "string note", "string action"].map(|field| {
        let (literal, name) = field.split_once(' ').expect("two words");
        format!(r#"{{"type":"{literal}","optional":{},"field":"{name}"}}"#, name == "note")
    });
    let schema = format!(
        r#"{{"type":"struct","name":"dbserver1.public.log.Value","fields":[{}]}}"#,
        fields.join(",")
    );
    format!(r#"{{"schema":{schema},"payload":{row}}}"#)
}

/// The same in Avro, without a frame.
pub(super) fn logged_in_avro(action: &str) -> Vec<u8> {
    let length = u8::try_from(action.len() * 2).expect("a word");
    [&[14, 2, 2, 2, b'n', length], action.as_bytes()].concat()
}

fn files() -> BTreeMap<String, Value> {
    let fixtures = root().join("tests/fixtures");
    let entries = |folder: &Path| {
        let entries = fs::read_dir(folder).expect("a folder of fixtures");
        entries.map(|entry| entry.expect("an entry").path()).collect::<Vec<_>>()
    };
    let folders = entries(&fixtures).into_iter().filter(|path| path.is_dir());
    let mut files = BTreeMap::new();
    for path in folders.flat_map(|folder| entries(&folder)) {
        let name = path.strip_prefix(&fixtures).expect("below").with_extension("");
        let text = fs::read(&path).expect("a fixture");
        let name = name.to_str().expect("a name").to_owned();
        files.insert(name, serde_json::from_slice(&text).expect("JSON"));
    }
    files
}

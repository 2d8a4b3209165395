//! The captured records of `tests/fixtures`, read once.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

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

    /// Returns the schema's id and the bytes behind it when the value is framed Avro.
    pub(super) fn avro_value(&self) -> Option<(u32, &[u8])> {
        let (frame, body) = self.value.as_deref()?.split_first_chunk::<5>()?;
        let [0, id @ ..] = *frame else { return None };
        Some((u32::from_be_bytes(id), body))
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

/// Returns the text of every captured schema that is whole, by its id in four bytes.
pub(super) fn schemas() -> &'static BTreeMap<u32, String> {
    static SCHEMAS: OnceLock<BTreeMap<u32, String>> = OnceLock::new();
    SCHEMAS.get_or_init(|| {
        let lists = files().into_iter().filter(|(name, _)| name.ends_with("/schemas"));
        let mut schemas = BTreeMap::new();
        for (id, text) in lists.flat_map(|(_, list)| list.as_object().expect("a list").clone()) {
            if let (Ok(id), Some(text)) = (id.parse(), text.as_str()) {
                schemas.insert(id, text.to_owned());
            }
        }
        schemas
    })
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

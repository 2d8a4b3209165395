//! Avro schemas: the registry's text, compiled once into readers of bytes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use crate::decode::RegisteredSchema;
use crate::decode::schema::connect::Field;
use crate::decode::schema::envelope::EnvelopeField;

/// How to read one type's bytes.
#[derive(Clone, Debug)]
pub enum Reader {
    /// Nothing.
    Null,
    /// One byte.
    Bool,
    /// A zig-zag number: `int` and `long`.
    Int,
    /// Four bytes.
    Float,
    /// Eight bytes.
    Double,
    /// A length and octets.
    Bytes,
    /// A length and UTF-8.
    Text,
    /// Octets of a fixed length.
    Fixed(usize),
    /// The index of a symbol.
    Enum(Arc<[String]>),
    /// Blocks of items.
    Array(Arc<Reader>),
    /// Blocks of texts and items.
    Map(Arc<Reader>),
    /// One reader after the other.
    Record(Arc<[RecordField]>),
    /// The index of a branch, and its bytes.
    Union(Arc<[Reader]>),
}

/// A field of a record.
#[derive(Clone, Debug)]
pub struct RecordField {
    /// Its name.
    pub name: String,
    /// What it is in an envelope or a source block.
    pub part: Option<EnvelopeField>,
    /// The branch that stands for null in a union of null and one value; `None` for all else.
    pub null: Option<i64>,
    /// How its bytes are read; of such a union, those of the value.
    pub reader: Reader,
}

impl RecordField {
    fn new(name: &str, reader: Reader) -> Self {
        let (null, reader) = match &reader {
            Reader::Union(branches) => match &**branches {
                // Avro has no union in a union.
                [Reader::Null, value] => (Some(0), value.clone()),
                [value, Reader::Null] => (Some(1), value.clone()),
                _ => (None, reader),
            },
            _ => (None, reader),
        };
        Self { name: name.to_owned(), part: EnvelopeField::of(name), null, reader }
    }
}

/// A compiled schema: how its bytes are read, and what they mean.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// How the bytes are read.
    pub reader: Reader,
    /// What they mean, in Connect's terms.
    pub field: Field,
}

/// Compiles a schema of the registry.
///
/// # Errors
///
/// The text is no Avro schema, or refers to what is not there; the reason.
pub fn compile(schema: &RegisteredSchema) -> Result<Compiled, String> {
    if let Some(other) = other_format(&schema.text) {
        return Err(format!("is {other}, which is not supported: use Avro or JSON"));
    }
    // The library knows the whole of Avro's rules; what it accepts is compiled from the text,
    // because it drops the attributes that Connect puts on plain types.
    apache_avro::Schema::parse_str_with_list(&schema.text, &schema.references)
        .map_err(|error| error.to_string())?;
    let parse = |text: &String| serde_json::from_str(text).map_err(|error| error.to_string());
    let mut compiler = Compiler::default();
    let mut open = schema.references.iter().map(parse).collect::<Result<Vec<Json>, _>>()?;
    // What is referred to comes in any order: each round takes those whose types are known by now.
    while !open.is_empty() {
        let before = open.len();
        open.retain(|json| compiler.compile(json, "", "").is_err());
        if open.len() == before {
            break;
        }
    }
    compiler.compile(&parse(&schema.text)?, "", "")
}

/// Names the format of a schema that is none of Avro's.
fn other_format(text: &str) -> Option<&'static str> {
    match serde_json::from_str::<Json>(text) {
        Ok(json) if json.get("$schema").is_some() || json.get("properties").is_some() => {
            Some("JSON Schema")
        }
        Ok(_) => None,
        Err(_) => text.contains("message ").then_some("Protobuf"),
    }
}

/// Knows the named types so far.
#[derive(Default)]
struct Compiler {
    named: HashMap<String, Compiled>,
}

impl Compiler {
    /// Compiles a schema that stands for the field `name` in `namespace`.
    fn compile(&mut self, schema: &Json, namespace: &str, name: &str) -> Result<Compiled, String> {
        let mut compiled = match schema {
            Json::String(type_name) => self.simple(type_name, namespace, &Map::new())?,
            Json::Array(branches) => self.union(branches, namespace)?,
            Json::Object(object) => self.object(object, namespace)?,
            _ => return Err("a schema is neither text, list nor object".to_owned()),
        };
        name.clone_into(&mut compiled.field.name);
        Ok(compiled)
    }

    fn object(&mut self, object: &Map<String, Json>, namespace: &str) -> Result<Compiled, String> {
        let type_name = match object.get("type") {
            Some(Json::String(type_name)) => type_name.as_str(),
            Some(nested) => return self.compile(nested, namespace, ""),
            None => return Err("a schema has no type".to_owned()),
        };
        match type_name {
            "record" => self.record(object, namespace),
            "enum" => {
                let symbols = list(object, "symbols")?;
                let symbols = symbols.iter().filter_map(Json::as_str).map(str::to_owned).collect();
                self.name(
                    object,
                    namespace,
                    Compiled { reader: Reader::Enum(symbols), field: field("string", object) },
                )
            }
            "fixed" => {
                let size = object.get("size").and_then(Json::as_u64);
                let size = size.and_then(|size| usize::try_from(size).ok());
                let reader = Reader::Fixed(size.ok_or("a fixed type has no size")?);
                self.name(object, namespace, Compiled { reader, field: field("bytes", object) })
            }
            "array" => {
                let items = object.get("items").ok_or("an array has no items")?;
                let items = self.compile(items, namespace, "")?;
                let reader = Reader::Array(Arc::new(items.reader));
                let mut described = field("array", object);
                described.element = Some(Box::new(items.field));
                Ok(Compiled { reader, field: entries_as_map(described) })
            }
            "map" => {
                let values = object.get("values").ok_or("a map has no values")?;
                let values = self.compile(values, namespace, "")?;
                let reader = Reader::Map(Arc::new(values.reader));
                let mut described = field("map", object);
                described.element = Some(Box::new(values.field));
                Ok(Compiled { reader, field: described })
            }
            type_name => self.simple(type_name, namespace, object),
        }
    }

    fn simple(
        &self,
        type_name: &str,
        namespace: &str,
        attributes: &Map<String, Json>,
    ) -> Result<Compiled, String> {
        let (reader, literal) = match type_name {
            "null" => (Reader::Null, "null"),
            "boolean" => (Reader::Bool, "boolean"),
            "int" => (Reader::Int, "int32"),
            "long" => (Reader::Int, "int64"),
            "float" => (Reader::Float, "float"),
            "double" => (Reader::Double, "double"),
            "bytes" => (Reader::Bytes, "bytes"),
            "string" => (Reader::Text, "string"),
            named => {
                let found = self.named.get(&full_name(named, namespace));
                let found = found.or_else(|| self.named.get(named));
                return found.cloned().ok_or_else(|| format!("type \"{named}\" is not defined"));
            }
        };
        Ok(Compiled { reader, field: field(literal, attributes) })
    }

    fn record(&mut self, object: &Map<String, Json>, namespace: &str) -> Result<Compiled, String> {
        let name =
            full_name(text(object, "name").ok_or("a record has no name")?, own(object, namespace));
        let inner = name.rsplit_once('.').map_or("", |(namespace, _)| namespace).to_owned();
        let (mut readers, mut fields) = (Vec::new(), Vec::new());
        for entry in list(object, "fields")? {
            let entry = entry.as_object().ok_or("a field is no object")?;
            let field_name = text(entry, "name").ok_or("a field has no name")?;
            let schema = entry.get("type").ok_or("a field has no type")?;
            let compiled = self.compile(schema, &inner, field_name)?;
            readers.push(RecordField::new(field_name, compiled.reader));
            fields.push(compiled.field);
        }
        let mut described = field("struct", object);
        // The converter leaves the name away where it is the record's own.
        described.schema_name.get_or_insert_with(|| name.clone());
        described.fields = fields;
        let compiled = Compiled { reader: Reader::Record(readers.into()), field: described };
        self.named.insert(name, compiled.clone());
        Ok(compiled)
    }

    fn name(
        &mut self,
        object: &Map<String, Json>,
        namespace: &str,
        compiled: Compiled,
    ) -> Result<Compiled, String> {
        let name = text(object, "name").ok_or("a named type has no name")?;
        self.named.insert(full_name(name, own(object, namespace)), compiled.clone());
        Ok(compiled)
    }

    /// A union with null is an optional value; one of several values has no Connect type.
    fn union(&mut self, branches: &[Json], namespace: &str) -> Result<Compiled, String> {
        let mut readers = Vec::new();
        let mut values = Vec::new();
        for branch in branches {
            let compiled = self.compile(branch, namespace, "")?;
            if !matches!(compiled.reader, Reader::Null) {
                values.push(compiled.field);
            }
            readers.push(compiled.reader);
        }
        let is_optional = values.len() < readers.len();
        let mut described = match (values.pop(), values.is_empty()) {
            (Some(only), true) => only,
            _ => field("union", &Map::new()),
        };
        described.is_optional |= is_optional;
        Ok(Compiled { reader: Reader::Union(readers.into()), field: described })
    }
}

/// Describes a type by the attributes that Connect's converter writes.
fn field(literal: &str, attributes: &Map<String, Json>) -> Field {
    let mut parameters = BTreeMap::new();
    if let Some(Json::Object(given)) = attributes.get("connect.parameters") {
        for (key, value) in given {
            parameters.extend(value.as_str().map(|value| (key.clone(), value.to_owned())));
        }
    }
    let mut schema_name = text(attributes, "connect.name").map(str::to_owned);
    let logical = text(attributes, "logicalType");
    if schema_name.is_none() {
        schema_name = logical.and_then(connect_name).map(str::to_owned);
    }
    if logical == Some("decimal") {
        for (key, parameter) in [("scale", "scale"), ("precision", "connect.decimal.precision")] {
            let given = attributes.get(key).and_then(Json::as_i64);
            // The converter writes 64 where the source says nothing.
            let given = given.filter(|given| key == "scale" || *given != 64);
            if let Some(given) = given {
                parameters.entry(parameter.to_owned()).or_insert_with(|| given.to_string());
            }
        }
        parameters.entry("scale".to_owned()).or_insert_with(|| "0".to_owned());
    }
    let literal = text(attributes, "connect.type").unwrap_or(literal);
    let literal = match literal {
        "float32" => "float",
        "float64" => "double",
        literal => literal,
    };
    Field {
        name: String::new(),
        literal: literal.to_owned(),
        schema_name,
        parameters,
        is_optional: false,
        fields: Vec::new(),
        element: None,
    }
}

/// Recognises a map whose keys Avro has no map for, which the converter writes as a list of
/// entries.
fn entries_as_map(array: Field) -> Field {
    let entry = array.element.as_deref();
    let value = entry.filter(|entry| {
        let name = entry.schema_name.as_deref().unwrap_or_default();
        name.ends_with("MapEntry") && entry.fields.len() == 2 && entry.field("key").is_some()
    });
    match value.and_then(|entry| entry.field("value")).cloned() {
        Some(value) => {
            let literal = "map".to_owned();
            Field { literal, element: Some(Box::new(value)), ..array }
        }
        None => array,
    }
}

/// Returns Connect's name of what Avro calls a logical type.
fn connect_name(logical: &str) -> Option<&'static str> {
    Some(match logical {
        "decimal" => "org.apache.kafka.connect.data.Decimal",
        "date" => "org.apache.kafka.connect.data.Date",
        "time-millis" => "org.apache.kafka.connect.data.Time",
        "timestamp-millis" => "org.apache.kafka.connect.data.Timestamp",
        _ => return None,
    })
}

fn text<'a>(object: &'a Map<String, Json>, key: &str) -> Option<&'a str> {
    object.get(key).and_then(Json::as_str)
}

fn list<'a>(object: &'a Map<String, Json>, key: &str) -> Result<&'a [Json], String> {
    let list = object.get(key).and_then(Json::as_array);
    list.map(Vec::as_slice).ok_or_else(|| format!("a schema has no {key}"))
}

fn own<'a>(object: &'a Map<String, Json>, namespace: &'a str) -> &'a str {
    text(object, "namespace").unwrap_or(namespace)
}

fn full_name(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() {
        return name.to_owned();
    }
    format!("{namespace}.{name}")
}

//! Connect's schemas: names, literals and parameters, and the [`Kind`] they mean.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::decode::value::kind::{FigureForm, Kind, SourceColumn, SourceType, Unit};

/// The types that PostgreSQL's connector sends as geometries, though they are none of PostGIS'.
const FIGURES: [&str; 4] = ["BOX", "LSEG", "PATH", "POLYGON"];

/// Stands for the literal type of a field that has no schema.
pub const UNTYPED: &str = "untyped";

/// A field of a Connect struct, whichever converter wrote its schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// The literal type as JSON schemas spell it: `int8` … `int64`, `float`, `double`, `boolean`,
    /// `string`, `bytes`, `array`, `map`, `struct`.
    pub literal: String,
    /// The schema's name, such as `io.debezium.time.Date`.
    pub schema_name: Option<String>,
    /// The schema's parameters.
    pub parameters: BTreeMap<String, String>,
    /// Whether null is allowed.
    pub is_optional: bool,
    /// The fields of a struct.
    pub fields: Vec<Field>,
    /// What an array or a map holds.
    pub element: Option<Box<Field>>,
}

impl Field {
    /// Finds a field of a struct.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// Returns the struct's fields as columns.
    pub fn columns(&self) -> Vec<SourceColumn> {
        self.fields.iter().map(Field::column).collect()
    }

    fn column(&self) -> SourceColumn {
        SourceColumn {
            name: self.name.clone(),
            kind: self.kind(),
            optional: self.is_optional,
            source_type: self.source_type(),
        }
    }

    fn source_type(&self) -> Option<SourceType> {
        let parameter =
            |name: &str| self.parameters.get(&format!("__debezium.source.column.{name}"));
        Some(SourceType {
            name: parameter("type")?.clone(),
            length: parameter("length").and_then(|text| text.parse().ok()),
            scale: parameter("scale").and_then(|text| text.parse().ok()),
        })
    }

    /// Returns what the schema's name means, when it stands on the literal that it should; else
    /// what the literal means.
    fn kind(&self) -> Kind {
        let named = self.schema_name.as_deref().and_then(|name| self.named(name));
        match named.unwrap_or_else(|| self.plain()) {
            Kind::Int64 if self.is_unsigned() => Kind::Unsigned,
            // The length is the most that it may have.
            Kind::Bits { .. } if self.type_words().next() == Some("VARBIT") => {
                Kind::Bits { length: None }
            }
            Kind::Geometry if self.is_figure() => Kind::Figure(FigureForm::Geometry, None),
            kind => kind,
        }
    }

    /// Returns whether a geometry is of one of PostgreSQL's own types; MySQL's POLYGON has no length.
    fn is_figure(&self) -> bool {
        let parameter =
            |name: &str| self.parameters.get(&format!("__debezium.source.column.{name}"));
        let is_named = |name: &String| FIGURES.contains(&name.as_str());
        parameter("type").is_some_and(is_named) && parameter("length").is_some()
    }

    /// Returns the labels of an enum. A comma in one is told from those between them by nothing.
    fn labels(&self) -> Arc<[String]> {
        let allowed = self.parameters.get("allowed").map(String::as_str).unwrap_or_default();
        allowed.split(',').filter(|label| !label.is_empty()).map(str::to_owned).collect()
    }

    /// Returns whether the source's column is one of MySQL's names for `BIGINT UNSIGNED`: `ZEROFILL`
    /// and `SERIAL` have no sign either.
    fn is_unsigned(&self) -> bool {
        let mut words = self.type_words();
        match words.next() {
            Some("BIGINT" | "INT8") => words.any(|word| matches!(word, "UNSIGNED" | "ZEROFILL")),
            Some("SERIAL") => true,
            _ => false,
        }
    }

    /// Returns the words of the source type that the connector propagates.
    fn type_words(&self) -> impl Iterator<Item = &str> {
        let name = self.parameters.get("__debezium.source.column.type");
        name.into_iter().flat_map(|name| name.split_whitespace())
    }

    fn plain(&self) -> Kind {
        match self.literal.as_str() {
            "boolean" => Kind::Bool,
            "int8" => Kind::Int8,
            "int16" => Kind::Int16,
            "int32" => Kind::Int32,
            "int64" => Kind::Int64,
            "float" => Kind::Float32,
            "double" => Kind::Float64,
            "string" => Kind::Text,
            "bytes" => Kind::Bytes,
            "array" => match &self.element {
                Some(element) => element.listed(),
                None => self.unsupported(),
            },
            "map" => match self.element.as_deref().map(Field::kind) {
                Some(Kind::Text) => Kind::Map,
                _ => self.unsupported(),
            },
            UNTYPED => Kind::Untyped,
            _ => self.unsupported(),
        }
    }

    /// Returns the kind of an array of this.
    fn listed(&self) -> Kind {
        match self.kind() {
            Kind::Unsupported(name) => Kind::Unsupported(format!("array of {name}")),
            element => Kind::Array(Box::new(element)),
        }
    }

    fn unsupported(&self) -> Kind {
        Kind::Unsupported(self.schema_name.clone().unwrap_or_else(|| self.literal.clone()))
    }

    fn named(&self, name: &str) -> Option<Kind> {
        let number = |key: &str| self.parameters.get(key).and_then(|text| text.parse().ok());
        let (kind, literal) = match name {
            "org.apache.kafka.connect.data.Decimal" => {
                let scale = self.parameters.get("scale").and_then(|text| text.parse().ok())?;
                (Kind::Decimal { scale, precision: number("connect.decimal.precision") }, "bytes")
            }
            "org.apache.kafka.connect.data.Date" => (Kind::Date, "int32"),
            "org.apache.kafka.connect.data.Time" => (Kind::Time(Unit::Millis), "int32"),
            "org.apache.kafka.connect.data.Timestamp" => (Kind::Timestamp(Unit::Millis), "int64"),
            other => {
                let (package, short) = other.strip_prefix("io.debezium.")?.split_once('.')?;
                match package {
                    "time" => time(short)?,
                    "data" if short == "Enum" => (Kind::Enum(self.labels()), "string"),
                    "data" => data(short, number("length"))?,
                    _ => return None,
                }
            }
        };
        (self.literal == literal).then_some(kind)
    }
}

/// Debezium's temporal types with their literals.
fn time(name: &str) -> Option<(Kind, &'static str)> {
    Some(match name {
        "Date" => (Kind::Date, "int32"),
        "Time" => (Kind::Time(Unit::Millis), "int32"),
        "MicroTime" => (Kind::Time(Unit::Micros), "int64"),
        "NanoTime" => (Kind::Time(Unit::Nanos), "int64"),
        "Timestamp" => (Kind::Timestamp(Unit::Millis), "int64"),
        "MicroTimestamp" => (Kind::Timestamp(Unit::Micros), "int64"),
        "NanoTimestamp" => (Kind::Timestamp(Unit::Nanos), "int64"),
        "ZonedTime" => (Kind::ZonedTime, "string"),
        "ZonedTimestamp" => (Kind::ZonedTimestamp, "string"),
        "IsoDate" => (Kind::IsoDate, "string"),
        "IsoTime" => (Kind::IsoTime, "string"),
        "IsoTimestamp" => (Kind::IsoTimestamp, "string"),
        "MicroDuration" => (Kind::MicroDuration, "int64"),
        "NanoDuration" => (Kind::NanoDuration, "int64"),
        "Interval" => (Kind::Interval, "string"),
        "Year" => (Kind::Year, "int32"),
        "StructuredDate" => (Kind::StructuredDate, "struct"),
        "StructuredTime" => (Kind::StructuredTime, "struct"),
        "StructuredZonedTime" => (Kind::StructuredZonedTime, "struct"),
        "StructuredTimestamp" => (Kind::StructuredTimestamp, "struct"),
        "StructuredZonedTimestamp" => (Kind::StructuredZonedTimestamp, "struct"),
        "StructuredDuration" => (Kind::StructuredDuration, "struct"),
        _ => return None,
    })
}

/// Debezium's other types with their literals.
fn data(name: &str, length: Option<u32>) -> Option<(Kind, &'static str)> {
    // PostgreSQL's connector writes this for a bit string without a limit.
    const UNBOUNDED: u32 = 2_147_483_647;
    Some(match name {
        "VariableScaleDecimal" => (Kind::VariableScaleDecimal, "struct"),
        "Bits" => (Kind::Bits { length: length.filter(|length| *length != UNBOUNDED) }, "bytes"),
        "Json" => (Kind::Json, "string"),
        "Xml" => (Kind::Xml, "string"),
        "Uuid" => (Kind::Uuid, "string"),
        "EnumSet" => (Kind::EnumSet, "string"),
        "Ltree" => (Kind::Ltree, "string"),
        "Tsvector" => (Kind::Tsvector, "string"),
        "FloatVector" => (Kind::Array(Box::new(Kind::Float32)), "array"),
        "DoubleVector" => (Kind::Array(Box::new(Kind::Float64)), "array"),
        "SparseDoubleVector" => (Kind::SparseVector, "struct"),
        "geometry.Point" => (Kind::Point, "struct"),
        "geometry.Geometry" | "geometry.Geography" => (Kind::Geometry, "struct"),
        "geometry.Circle" => (Kind::Figure(FigureForm::Circle, None), "struct"),
        "geometry.Line" => (Kind::Figure(FigureForm::Line, None), "struct"),
        _ => return None,
    })
}

//! What a schema says of a column: Debezium's semantic types, as plain data.

use std::fmt;
use std::sync::Arc;

use crate::decode::value::figure::Figure;
use crate::decode::value::packed::{Packing, Parts};
use crate::decode::value::spelling::Spelling;
use crate::decode::value::structured;
use crate::decode::value::{Day, Decimal, Geometry, Interval, Items, Moment, Pairs, Point, Value};

/// The type of a column in a record's schema: a Connect literal refined by Debezium's schema name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `boolean`.
    Bool,
    /// `int8`.
    Int8,
    /// `int16`.
    Int16,
    /// `int32`.
    Int32,
    /// `int64`.
    Int64,
    /// `float32`.
    Float32,
    /// `float64`.
    Float64,
    /// `string`.
    Text,
    /// `bytes`.
    Bytes,
    /// `org.apache.kafka.connect.data.Decimal`.
    Decimal {
        /// Digits after the point; may be negative.
        scale: i32,
        /// Digits in all, where the schema has it.
        precision: Option<u32>,
    },
    /// `io.debezium.data.VariableScaleDecimal`.
    VariableScaleDecimal,
    /// A decimal as a text, where no schema says which texts are some
    /// (`decimal.handling.mode=string`).
    DecimalText,
    /// `io.debezium.time.Date` and Connect's `Date`: days.
    Date,
    /// `io.debezium.time.Time`, `MicroTime`, `NanoTime` and Connect's `Time`.
    Time(Unit),
    /// The same from MySQL and MariaDB, whose TIME is a span: below zero, or beyond a day.
    Span(Unit),
    /// `io.debezium.time.Timestamp`, `MicroTimestamp`, `NanoTimestamp` and Connect's `Timestamp`.
    Timestamp(Unit),
    /// `io.debezium.time.ZonedTime`.
    ZonedTime,
    /// `io.debezium.time.ZonedTimestamp`.
    ZonedTimestamp,
    /// `io.debezium.time.IsoDate`.
    IsoDate,
    /// `io.debezium.time.IsoTime`.
    IsoTime,
    /// `io.debezium.time.IsoTimestamp`.
    IsoTimestamp,
    /// `io.debezium.time.MicroDuration`.
    MicroDuration,
    /// `io.debezium.time.NanoDuration`.
    NanoDuration,
    /// `io.debezium.time.Interval`.
    Interval,
    /// `io.debezium.time.Year`.
    Year,
    /// `io.debezium.data.Bits`.
    Bits {
        /// The declared length; `None` when unbounded.
        length: Option<u32>,
    },
    /// `io.debezium.data.Json`.
    Json,
    /// `io.debezium.data.Xml`.
    Xml,
    /// `io.debezium.data.Uuid`.
    Uuid,
    /// `io.debezium.data.Enum`, with its labels as far as they are known, in the source's order.
    Enum(Arc<[String]>),
    /// `io.debezium.data.EnumSet`.
    EnumSet,
    /// `io.debezium.data.Ltree`.
    Ltree,
    /// `io.debezium.data.Tsvector`.
    Tsvector,
    /// `array`, of a kind; vectors too.
    Array(Box<Kind>),
    /// `map` of `string` to optional `string`.
    Map,
    /// `io.debezium.data.geometry.Point`.
    Point,
    /// `io.debezium.data.geometry.Geometry` and `Geography`.
    Geometry,
    /// One of PostgreSQL's own figures: `io.debezium.data.geometry.Circle` and `Line`, and a
    /// `Geometry` for a column of another. Without a schema it may also be a text that spells the
    /// octets of its text, as connectors before 3.7 send it.
    Figure(FigureForm, Option<Spelling>),
    /// `io.debezium.data.SparseDoubleVector`.
    SparseVector,
    /// `int64` whose bits are an unsigned integer: MySQL's `BIGINT UNSIGNED` in the connector's
    /// mode `long`, known by its propagated type.
    Unsigned,
    /// `string` that spells octets (`binary.handling.mode`), known by the target's column.
    Encoded(Spelling),
    /// `io.debezium.time.StructuredDate`.
    StructuredDate,
    /// `io.debezium.time.StructuredTime`.
    StructuredTime,
    /// `io.debezium.time.StructuredZonedTime`.
    StructuredZonedTime,
    /// `io.debezium.time.StructuredTimestamp`.
    StructuredTimestamp,
    /// `io.debezium.time.StructuredZonedTimestamp`.
    StructuredZonedTimestamp,
    /// `io.debezium.time.StructuredDuration`.
    StructuredDuration,
    /// A type that no conversion exists for yet; the schema's own name for it.
    Unsupported(String),
    /// JSON without a schema: only the target's column can say, together with the `[source]`
    /// settings of the connector.
    Untyped,
    /// JSON without a schema for a column that may hold either: an object is of the second kind, and
    /// all else of the first.
    Either(Box<[Kind; 2]>),
}

impl Kind {
    /// Returns how a literal of this kind is packed.
    pub fn packing(&self) -> Packing<'_> {
        use Packing::{Decimal, Digits, Fields, List, Octets, Pairs, Plain, Scaled, Single};
        match self {
            Self::Bytes | Self::Bits { .. } => Octets,
            Self::Float32 => Single,
            Self::Decimal { .. } => Decimal,
            Self::Array(element) => List(element),
            Self::Map => Pairs,
            Self::VariableScaleDecimal => Scaled,
            Self::DecimalText => Digits,
            Self::Point => Fields(&[("x", Plain), ("y", Plain), ("wkb", Octets), ("srid", Plain)]),
            Self::Geometry => Fields(&[("wkb", Octets), ("srid", Plain), ("extensions", Pairs)]),
            Self::Figure(FigureForm::Geometry, _) => Self::Geometry.packing(),
            Self::Figure(FigureForm::Circle, _) => {
                Fields(&[("center", Fields(&[("x", Plain), ("y", Plain)])), ("radius", Plain)])
            }
            Self::Figure(FigureForm::Line, _) => {
                Fields(&[("a", Plain), ("b", Plain), ("c", Plain)])
            }
            Self::SparseVector => Fields(&[("dimensions", Plain), ("vector", Pairs)]),
            Self::StructuredDate => Fields(&structured::DATE),
            Self::StructuredTime | Self::StructuredZonedTime => Fields(&structured::TIME),
            Self::StructuredTimestamp | Self::StructuredZonedTimestamp => {
                Fields(&structured::TIMESTAMP)
            }
            Self::StructuredDuration => Fields(&structured::DURATION),
            Self::Either(_) => self.of_value().packing(),
            _ => Plain,
        }
    }

    /// Returns the kind of what is no object.
    pub fn of_value(&self) -> &Self {
        match self {
            Self::Either(kinds) => {
                let [kind, _] = &**kinds;
                kind
            }
            kind => kind,
        }
    }

    /// Returns the kind of an object, where that is another.
    pub fn of_object(&self) -> Option<&Self> {
        match self {
            Self::Either(kinds) => {
                let [_, kind] = &**kinds;
                Some(kind)
            }
            _ => None,
        }
    }

    /// Returns the labels of an enum, or of one that this is an array of.
    pub fn labels(&self) -> Option<&Arc<[String]>> {
        match self {
            Self::Enum(labels) => Some(labels),
            Self::Array(element) => element.labels(),
            _ => None,
        }
    }

    /// Takes a label that an enum has got since its schema was made.
    pub fn add_label(&mut self, label: &str) {
        match self {
            Self::Enum(labels) => {
                let all = labels.iter().cloned().chain([label.to_owned()]);
                *labels = all.collect();
            }
            Self::Array(element) => element.add_label(label),
            _ => {}
        }
    }

    /// Returns a value of this kind, to ask a column whether it takes the kind at all; `None` when
    /// there is no conversion for the kind.
    pub fn sample(&self) -> Option<Value<'_>> {
        let midnight = Moment::Finite { seconds: 0, nanos: 0 };
        Some(match self {
            Self::Bool => Value::Bool(true),
            Self::Int8 | Self::Int16 | Self::Int32 | Self::Int64 | Self::Year => Value::Int(1),
            Self::Float32 => Value::Float32(1.0),
            Self::Float64 => Value::Float64(1.0),
            Self::Text
            | Self::Xml
            | Self::Enum(_)
            | Self::EnumSet
            | Self::Ltree
            | Self::Tsvector => Value::Text(""),
            Self::Bytes => Value::Bytes(&[]),
            Self::Encoded(spelling) => Value::Spelled { spelling: *spelling, text: "" },
            Self::Decimal { .. } | Self::VariableScaleDecimal | Self::DecimalText => {
                Value::Decimal(Decimal::Binary { unscaled: &[1], scale: 0 })
            }
            Self::Date | Self::IsoDate | Self::StructuredDate => Value::Date(Day::Finite(0)),
            Self::Time(_) | Self::Span(_) | Self::IsoTime | Self::StructuredTime => Value::Time(0),
            Self::Timestamp(_) | Self::IsoTimestamp | Self::StructuredTimestamp => {
                Value::Timestamp(midnight)
            }
            Self::ZonedTime | Self::StructuredZonedTime => Value::TimeZoned { nanos: 0, offset: 0 },
            Self::ZonedTimestamp | Self::StructuredZonedTimestamp => {
                Value::TimestampZoned(midnight)
            }
            Self::MicroDuration
            | Self::NanoDuration
            | Self::Interval
            | Self::StructuredDuration => Value::Interval(Interval::default()),
            Self::Bits { length } => Value::Bits { octets: &[1], length: *length },
            Self::Json => Value::Json("{}"),
            Self::Uuid => Value::Uuid(uuid::Uuid::nil()),
            Self::Array(element) => {
                element.sample()?;
                Value::Array(Items { kind: element, parts: Parts::default() })
            }
            Self::Map => Value::Map(Pairs(Parts::default())),
            Self::Point => Value::Point(Point::default()),
            Self::Geometry => Value::Geometry(Geometry::default()),
            Self::Figure(..) => Value::Figure(Figure::Line([1.0; 3])),
            Self::SparseVector => Value::SparseVector { dimensions: 1, elements: Parts::default() },
            Self::Unsigned => Value::Unsigned(1),
            Self::Either(_) => return self.of_value().sample(),
            Self::Unsupported(_) | Self::Untyped => return None,
        })
    }
}

/// The struct in which a figure is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FigureForm {
    /// A geometry that says beside its octets which figure it is.
    Geometry,
    /// A center and a radius.
    Circle,
    /// The three numbers of an equation.
    Line,
}

/// The unit of a time that is counted as an integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Milliseconds.
    Millis,
    /// Microseconds.
    Micros,
    /// Nanoseconds.
    Nanos,
    /// Nanoseconds of a column that has microseconds: what is left of one shows that MySQL's or
    /// MariaDB's connector has let the count wrap around, as it does beyond 1677 and 2262.
    WholeMicrosInNanos,
}

/// The columns of a source table as one record's schema gives them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceTable {
    /// Which table.
    pub name: SourceName,
    /// The columns, in the record's order.
    pub columns: Vec<SourceColumn>,
    /// The key's columns, in the key's order; empty for a table without a key.
    pub key: Vec<String>,
    /// Those of the key's columns that the key's schema types otherwise than the row's: a transform
    /// may have changed one of the two.
    pub retyped: Vec<SourceColumn>,
    /// How its records carry a row.
    pub form: Form,
    /// Whether the connector of MySQL or MariaDB sent it.
    pub is_mysql: bool,
}

/// How a record carries its row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Inside an envelope, which says what happened to it.
    #[default]
    Enveloped,
    /// The value is the row, with fields beside the row's own.
    Flat,
    /// As [`Form::Flat`], and the record's key is no struct of columns.
    FlatUnkeyed,
}

impl SourceTable {
    /// Returns whether the connector is MySQL's or MariaDB's; `None` where the records name none.
    pub fn is_of_mysql(&self) -> Option<bool> {
        (self.is_mysql || self.form == Form::Enveloped).then_some(self.is_mysql)
    }

    /// Reads the columns as MySQL and MariaDB mean them: a time is a span, a point has a reference
    /// system, and bits are always as many as the column has.
    pub fn read_as_mysql(&mut self) {
        self.is_mysql = true;
        for column in self.columns.iter_mut().chain(&mut self.retyped) {
            match column.kind {
                Kind::Time(unit) => column.kind = Kind::Span(unit),
                Kind::Timestamp(Unit::Nanos) => {
                    column.kind = Kind::Timestamp(Unit::WholeMicrosInNanos);
                }
                Kind::Point => column.kind = Kind::Geometry,
                Kind::Bits { length } => {
                    let bit = SourceType { name: "BIT".to_owned(), length, scale: None };
                    column.source_type.get_or_insert(bit);
                }
                _ => {}
            }
        }
    }
}

impl Form {
    /// Returns whether the value is the row itself.
    pub fn is_flat(self) -> bool {
        self != Self::Enveloped
    }
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.server, self.schema, self.table)
    }
}

/// The name of a table at the source.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceName {
    /// The connector's `topic.prefix`.
    pub server: String,
    /// The database, where the source block names it.
    pub database: Option<String>,
    /// The schema (PostgreSQL) or the database (MariaDB, MySQL).
    pub schema: String,
    /// The table.
    pub table: String,
}

impl SourceName {
    /// Returns the name as the rules for tables spell it; a topic without a point is a table alone.
    pub fn rule_name(&self) -> String {
        if self.schema.is_empty() {
            return self.table.clone();
        }
        format!("{}.{}", self.schema, self.table)
    }

    /// Returns whether both name one table; a record without a value does not say its database.
    pub fn is_same_table(&self, other: &Self) -> bool {
        let is_same_database = match (&self.database, &other.database) {
            (Some(database), Some(other)) => database == other,
            _ => true,
        };
        is_same_database
            && (&self.server, &self.schema, &self.table)
                == (&other.server, &other.schema, &other.table)
    }
}

/// A column of a source table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceColumn {
    /// Its name in the record.
    pub name: String,
    /// Its type.
    pub kind: Kind,
    /// Whether the schema allows NULL; `true` where it does not say.
    pub optional: bool,
    /// The source's own type, where the connector propagates it.
    pub source_type: Option<SourceType>,
}

/// The source's own type of a column (`column.propagate.source.type`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceType {
    /// Upper-case name, such as `VARCHAR`.
    pub name: String,
    /// Length or precision.
    pub length: Option<u32>,
    /// Digits after the point.
    pub scale: Option<i32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_database_may_be_of_any() {
        let name = |database: Option<&str>, table: &str| SourceName {
            server: "s".to_owned(),
            database: database.map(str::to_owned),
            schema: "public".to_owned(),
            table: table.to_owned(),
        };
        assert!(name(Some("a"), "t").is_same_table(&name(None, "t")));
        assert!(!name(Some("a"), "t").is_same_table(&name(Some("b"), "t")));
        assert!(!name(Some("a"), "t").is_same_table(&name(None, "u")));
    }
}

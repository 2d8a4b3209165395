//! The catalogue: tables as the server has them, and how each type takes cells.

use std::collections::BTreeSet;
use std::sync::Arc;

use sqlx::Row;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArguments, PgRow};

use crate::rows::NULL;
use crate::table::{Column, Enumeration, Identity, Table, TableName};
use crate::target::postgres::session::{Session, bind};
use crate::target::postgres::sql;

mod types;

use types::{ARRAY_CELL, Base, FIRST_FREE, Form, MONEY, taker};
pub(super) use types::{
    BIT, BOOL, BPCHAR, BYTEA, CIDR, CIRCLE, DATE, FLOAT4, FLOAT8, INET, INT2, INT4, INT8, INTERVAL,
    JSON, JSONB, LINE, MACADDR, MACADDR8, NUMERIC, OID, POINT, TEXT, TEXTUAL, TIME, TIMESTAMP,
    TIMESTAMPTZ, TIMETZ, TSVECTOR, UUID, VARBIT, VARCHAR, XML, array_of, encode_of,
    encode_of_chosen,
};

/// A table as a transaction sees it.
#[derive(Clone, Debug, Default)]
pub(super) struct Described {
    /// None of a table that does not exist.
    pub(super) columns: Vec<DescribedColumn>,
    /// Whether rules rewrite statements on it.
    pub(super) has_rules: bool,
}

impl Described {
    /// Returns the column of that name.
    pub(super) fn column(&self, name: &str) -> Option<&DescribedColumn> {
        self.columns.iter().find(|it| it.column.name == name)
    }

    /// Returns whether its types stay as they are: they are the server's, of which nothing changes but
    /// the digits of `money`.
    pub(super) fn is_of_lasting_types(&self) -> bool {
        let mut types = self.columns.iter().map(|it| it.column.type_id);
        types.all(|id| id < FIRST_FREE && id != MONEY)
    }

    /// Returns whether a unique index has just these columns.
    pub(super) fn is_unique(&self, names: &BTreeSet<&str>) -> bool {
        let columns_of = |index: &Oid| {
            let columns = self.columns.iter().filter(|it| it.unique_indexes.contains(index));
            columns.map(|it| it.column.name.as_str()).collect::<BTreeSet<_>>()
        };
        let mut indexes = self.columns.iter().flat_map(|it| &it.unique_indexes);
        indexes.any(|index| columns_of(index) == *names)
    }
}

/// A column with the way of its cells.
#[derive(Clone, Debug)]
pub(super) struct DescribedColumn {
    pub(super) column: Column,
    pub(super) wire: Wire,
    /// The unique indexes that ON CONFLICT can name and the column is in, by their numbers.
    pub(super) unique_indexes: Vec<Oid>,
}

/// How a column's cells reach the server: as an array of which type, and what becomes of an element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wire {
    /// The array's type, without modifiers.
    pub(super) array: String,
    /// The number of the elements' type, as the array itself says it.
    pub(super) element: u32,
    /// What an element is cast to, where it travels as text.
    pub(super) cast: Option<String>,
    /// The field of a row that an element is, where it is an array itself: the elements of an array
    /// of arrays would all come out side by side.
    pub(super) field: Option<Field>,
}

/// A field of a row whose other fields are NULL, in the row type's binary form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    /// Its name.
    pub(super) name: String,
    /// What stands before its cell: the count of fields, those before it, its type.
    pub(super) head: Vec<u8>,
    /// The fields behind it.
    pub(super) tail: Vec<u8>,
}

impl Field {
    /// Finds a field in its row; `None` when none is like it.
    fn find(row: &[(String, u32)], is_it: impl FnMut(&(String, u32)) -> bool) -> Option<Self> {
        let null =
            |(_, type_id): &(String, u32)| [type_id.to_be_bytes(), NULL.to_be_bytes()].concat();
        let (before, rest) = row.split_at(row.iter().position(is_it)?);
        let ((name, type_id), behind) = rest.split_first()?;
        let mut head = u32::try_from(row.len()).unwrap_or(u32::MAX).to_be_bytes().to_vec();
        head.extend(before.iter().flat_map(null));
        head.extend(type_id.to_be_bytes());
        Some(Self { name: name.clone(), head, tail: behind.iter().flat_map(null).collect() })
    }
}

/// The row type in which the arrays of a table travel: its own, or the one of `afterimage.array_cell`
/// where sqlx, which asks for every type within a type, does not know one of the table's.
#[derive(Clone, Debug, Default)]
struct Carrier {
    /// The number of the table's row type.
    row_type: u32,
    /// The number of the other one.
    array_cell: u32,
    /// Whether sqlx fails on the table's.
    is_unknown: bool,
    /// For each column the array type that it is below all domains, where it travels so.
    arrays: Vec<Option<u32>>,
}

impl Carrier {
    /// Puts the arrays among a table's columns into rows.
    fn carry(self, columns: &mut [DescribedColumn], table: &TableName) {
        let (array, element, row) = if self.is_unknown {
            let row = ARRAY_CELL.map(|(name, array)| (name.to_owned(), array)).to_vec();
            (sql::array_type("afterimage", "array_cell"), self.array_cell, row)
        } else {
            let row = columns.iter().map(|it| (it.column.name.clone(), it.column.type_id));
            (sql::row_array(table), self.row_type, row.collect())
        };
        for (described, carried) in columns.iter_mut().zip(self.arrays) {
            let Some(carried) = carried else { continue };
            let field = Field::find(&row, |(name, type_id)| match self.is_unknown {
                true => *type_id == carried,
                false => *name == described.column.name,
            });
            described.wire = Wire { array: array.clone(), element, cast: None, field };
        }
    }
}

fn base(row: &PgRow) -> Result<Base, sqlx::Error> {
    let element = match row.try_get::<Option<Oid>, _>("element_id")? {
        Some(id) => Some(Box::new(Base {
            id: id.0,
            kind: row.try_get("element_kind")?,
            name: row.try_get("element_name")?,
            element: None,
        })),
        None => None,
    };
    let id = row.try_get::<Oid, _>(9)?.0;
    Ok(Base { id, kind: row.try_get(10)?, name: row.try_get(11)?, element })
}

fn identity(letter: &str) -> Option<Identity> {
    match letter {
        "a" => Some(Identity::Always),
        "d" => Some(Identity::ByDefault),
        _ => None,
    }
}

fn enumeration(row: &PgRow) -> Result<Option<Arc<Enumeration>>, sqlx::Error> {
    let name = row.try_get::<Option<String>, _>("enum_name")?;
    let Some(name) = name else { return Ok(None) };
    // As JSON: of an array in text sqlx reads the label NULL as none.
    let labels = serde_json::from_str(row.try_get("enum_labels")?);
    let labels = labels.map_err(|error| sqlx::Error::Decode(error.into()))?;
    Ok(Some(Arc::new(Enumeration { name, labels })))
}

/// Reads tables.
pub(super) async fn describe(
    session: &mut Session,
    names: &[&TableName],
) -> Result<Vec<Described>, sqlx::Error> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    described(names, &session.fetch(sql::COLUMNS.to_owned(), arguments(names)?).await?)
}

/// Makes tables of what [`sql::COLUMNS`] reads.
pub(super) fn described(
    names: &[&TableName],
    columns: &[PgRow],
) -> Result<Vec<Described>, sqlx::Error> {
    let mut tables = vec![Described::default(); names.len()];
    let mut carriers = vec![Carrier::default(); names.len()];
    for row in columns {
        let (type_id, base) = (row.try_get::<Oid, _>(3)?.0, base(row)?);
        let (taker, enumeration) = (taker(&base), enumeration(row)?);
        // sqlx asks the server for a type that it does not know, and fails on the label NULL.
        let is_null_among = |it: &Arc<Enumeration>| it.labels.iter().any(|label| label == "NULL");
        let has_null_label = enumeration.as_ref().is_some_and(is_null_among);
        let (schema, name): (String, String) = (row.try_get(7)?, row.try_get(8)?);
        let column = Column {
            name: row.try_get(1)?,
            type_name: row.try_get(2)?,
            type_id,
            modifier: row.try_get(4)?,
            not_null: row.try_get(5)?,
            generated: row.try_get(6)?,
            has_default: row.try_get(12)?,
            identity: identity(row.try_get("identity")?),
            base_name: row.try_get("base_name")?,
            enumeration,
            encode: taker.map(|(encode, _)| encode),
        };
        let wire = if has_null_label || matches!(taker, Some((_, Form::Text))) {
            let array = sql::array_type("pg_catalog", "text");
            let cast = Some(sql::qualified_type(&schema, &name));
            Wire { array, element: TEXT, cast, field: None }
        } else {
            let array = sql::array_type(&schema, &name);
            Wire { array, element: type_id, cast: None, field: None }
        };
        let place = place(row)?;
        if let (Some(table), Some(carrier)) = (tables.get_mut(place), carriers.get_mut(place)) {
            carrier.row_type = row.try_get::<Oid, _>("row_id")?.0;
            carrier.array_cell = row.try_get::<Option<Oid>, _>("array_cell")?.unwrap_or_default().0;
            carrier.is_unknown |= has_null_label || base.may_have_multiranges();
            let is_array = matches!(taker, Some((_, Form::Row)));
            carrier.arrays.push(is_array.then_some(base.id));
            let unique_indexes = row.try_get("unique_indexes")?;
            table.columns.push(DescribedColumn { column, wire, unique_indexes });
            table.has_rules = row.try_get("has_rules")?;
        }
    }
    for ((table, name), carrier) in tables.iter_mut().zip(names).zip(carriers) {
        carrier.carry(&mut table.columns, name);
    }
    Ok(tables)
}

/// Reads tables; `None` for one that does not exist.
pub(super) async fn tables(
    session: &mut Session,
    names: &[&TableName],
) -> Result<Vec<Option<Table>>, sqlx::Error> {
    let mut keys = vec![Vec::new(); names.len()];
    let described = describe(session, names).await?;
    for row in session.fetch(sql::UNIQUE_KEYS.to_owned(), arguments(names)?).await? {
        if let Some(keys) = keys.get_mut(place(&row)?) {
            keys.push(row.try_get::<Vec<String>, _>(1)?);
        }
    }
    let parts = names.iter().zip(described).zip(keys);
    let table = |((name, described), unique_keys): ((&&TableName, Described), _)| {
        let columns = described.columns.into_iter().map(|it| it.column).collect::<Vec<_>>();
        (!columns.is_empty()).then(|| Table { name: (*name).clone(), columns, unique_keys })
    };
    Ok(parts.map(table).collect())
}

/// Returns which triggers of each table may change the rows that we write.
pub(super) async fn changing_triggers(
    session: &mut Session,
    names: &[&TableName],
) -> Result<Vec<Vec<String>>, sqlx::Error> {
    let mut triggers = vec![Vec::new(); names.len()];
    for row in session.fetch(sql::CHANGING_TRIGGERS.to_owned(), arguments(names)?).await? {
        if let Some(triggers) = triggers.get_mut(place(&row)?) {
            *triggers = row.try_get(1)?;
        }
    }
    Ok(triggers)
}

/// Returns which table of a question a row of its answer is about.
pub(super) fn place(row: &PgRow) -> Result<usize, sqlx::Error> {
    Ok(usize::try_from(row.try_get::<i64, _>(0)? - 1).unwrap_or(usize::MAX))
}

/// Asks about tables: schemas and names.
pub(super) fn arguments(names: &[&TableName]) -> Result<PgArguments, sqlx::Error> {
    let schemas = names.iter().map(|name| sql::schema(name)).collect::<Vec<_>>();
    let tables = names.iter().map(|name| name.table.as_str()).collect::<Vec<_>>();
    let mut arguments = PgArguments::default();
    bind(&mut arguments, schemas)?;
    bind(&mut arguments, tables)?;
    Ok(arguments)
}

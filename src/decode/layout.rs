//! A layout: a schema and a target table, compiled into the steps that walk a record.

use std::sync::Arc;

use crate::decode::Mapped;
use crate::decode::flat::{Role, role};
use crate::decode::found::{Broken, Unheld};
use crate::decode::placeholder::Placeholder;
use crate::decode::value::Value;
use crate::decode::value::kind::{Form, Kind, SourceName, SourceTable};
use crate::decode::value::semantic::{Literal, Unfit, value};
use crate::refused::{Reason, Refusal};
use crate::rows::{Keyless, RowWriter, Shape};
use crate::rules::AfterRefused;
use crate::table::Misfit;

/// How the records of a schema become rows.
#[derive(Debug)]
pub struct Layout {
    /// The source's table, which the records' source block must name.
    pub source: SourceName,
    /// The target's side.
    pub shape: Arc<Shape>,
    /// One step for each field of the row.
    pub row: Vec<Step>,
    /// One step for each field of the record's key.
    pub key: Vec<Step>,
    /// How the records carry the row.
    pub form: Form,
    /// The cells that may be unavailable in a row.
    pub toasted: Arc<[usize]>,
    /// Whether what happened stands in a column, so that a delete brings its row.
    pub is_changelog: bool,
    /// The column whose octets a snapshot's record may have in the wrong order.
    pub turned: Option<String>,
    /// What becomes of records behind a refused one of their key.
    pub after_refused: AfterRefused,
}

/// What happens to one field.
#[derive(Clone, Debug)]
pub struct Step {
    /// The field's name.
    pub name: String,
    /// The name as JSON has it between two values.
    spelled: String,
    /// Its type.
    pub kind: Kind,
    /// That of an object, where it is another.
    pub object: Option<Kind>,
    /// Whether the row's next cell takes it.
    pub is_written: bool,
    /// Whether that cell is left unavailable, because only the key matters.
    pub is_blank: bool,
    /// What the field of a flat record says besides.
    pub role: Option<Role>,
    /// What stands for an unavailable value; `None` for a field of the key, which is always there.
    placeholder: Option<Placeholder>,
    /// The labels that the target's enum has or was asked to have; `None` where it is no enum, or
    /// the source's schema does not say that it is one.
    labels: Option<Vec<String>>,
}

impl Layout {
    /// Compiles a mapping.
    pub fn new(mapped: Mapped) -> Self {
        let Mapped { source, is_written, shape, placeholder, changelog, after_refused } = mapped;
        let turned = turned(&source, &is_written);
        let placeholder = Placeholder::new(&placeholder);
        let changelog = changelog.filter(|_| source.form.is_flat()).map(Arc::new);
        let role = |field: &str| {
            let role = || role(field, &source.name, changelog.as_ref());
            source.form.is_flat().then(role).flatten()
        };
        let is_key = |name: &String| source.key.contains(name);
        let mut columns = shape.columns.iter();
        let row = source
            .columns
            .iter()
            .zip(is_written)
            .map(|(column, is_written)| Step {
                labels: is_written.then(|| columns.next()).flatten().and_then(|target| {
                    let known = column.kind.labels().filter(|labels| !labels.is_empty())?;
                    let target = target.enumeration.as_ref()?;
                    Some(target.labels.iter().chain(&**known).cloned().collect())
                }),
                name: column.name.clone(),
                spelled: spelled(&column.name),
                kind: column.kind.of_value().clone(),
                object: column.kind.of_object().cloned(),
                is_written,
                is_blank: false,
                role: role(&column.name),
                placeholder: (!is_key(&column.name)).then(|| placeholder.clone()),
            })
            .collect::<Vec<_>>();
        // The shape's key has its columns in the order of the record's key.
        let written = row.iter().filter(|step: &&Step| step.is_written).collect::<Vec<_>>();
        let identifies = |name: &String| {
            let mut columns = shape.key.iter().filter_map(|column| written.get(*column));
            columns.any(|step| step.name == *name)
        };
        let key = source.key.iter().map(|name| {
            let mut columns = source.retyped.iter().chain(&source.columns);
            let column = columns.find(|column| column.name == *name);
            let kind = column.map_or(&Kind::Untyped, |column| &column.kind);
            let (kind, object) = (kind.of_value().clone(), kind.of_object().cloned());
            let (name, is_written) = (name.clone(), identifies(name));
            let (role, placeholder, labels) = (None, None, None);
            let spelled = spelled(&name);
            Step {
                name,
                spelled,
                kind,
                object,
                is_written,
                is_blank: false,
                role,
                placeholder,
                labels,
            }
        });
        let key = key.collect::<Vec<_>>();
        let (form, is_changelog) = (source.form, changelog.is_some());
        let cells = written.iter().enumerate().filter(|(cell, _)| !shape.key.contains(cell));
        let toasted = cells.filter(|(_, step)| Placeholder::is_for(&step.kind));
        let toasted = toasted.map(|(cell, _)| cell).collect();
        let source = source.name;
        Self { source, shape, row, key, form, toasted, is_changelog, turned, after_refused }
    }

    /// Returns the layout for a row in which every value is there, also one that looks like the
    /// placeholder.
    pub fn without_placeholder(&self) -> Self {
        self.with_row(|_, step| Step { placeholder: None, ..step })
    }

    /// Returns the layout for a row of which only the key matters, because it is gone.
    pub fn of_key_only(&self) -> Self {
        self.with_row(|cell, step| Step { is_blank: !self.shape.key.contains(&cell), ..step })
    }

    /// Returns whether the image before is what finds a row.
    pub fn reads_before(&self) -> bool {
        self.shape.key.is_empty() && self.shape.keyless == Keyless::Match
    }

    /// Changes the row's steps; each knows the cell that it fills, if it is written.
    fn with_row(&self, change: impl Fn(usize, Step) -> Step) -> Self {
        let mut cell = 0;
        let step = |step: &Step| {
            let changed = change(cell, step.clone());
            cell += usize::from(step.is_written);
            changed
        };
        let row = self.row.iter().map(step).collect();
        let (source, shape, key) = (self.source.clone(), self.shape.clone(), self.key.clone());
        let (form, toasted, turned) = (self.form, self.toasted.clone(), self.turned.clone());
        let is_changelog = self.is_changelog;
        let after_refused = self.after_refused;
        Self { source, shape, row, key, form, toasted, is_changelog, turned, after_refused }
    }

    /// Finishes a refusal with the table's name.
    pub fn refusal(&self, reason: Reason, detail: String) -> Refusal {
        let table = Some(self.shape.table.name.to_string());
        Refusal { table, ..Refusal::new(reason, detail) }
    }
}

fn spelled(name: &str) -> String {
    format!(",{}:", serde_json::to_string(name).expect("a text is JSON"))
}

/// Finds a bit string of several octets in the record's key: MariaDB's connector (3.5.0) has those
/// the other way round in a snapshot's records, in the key and in the row alike.
fn turned(source: &SourceTable, is_written: &[bool]) -> Option<String> {
    const OCTET_BITS: u32 = 8;
    let mut columns = source.columns.iter().zip(is_written).filter(|_| source.is_mysql);
    let found = columns.find(|(column, is_written)| {
        let Kind::Bits { length } = column.kind else { return false };
        let is_long = length.is_none_or(|length| length > OCTET_BITS);
        **is_written && is_long && source.key.contains(&column.name)
    });
    found.map(|(column, _)| column.name.clone())
}

/// Finds a label that is none of these: the source's enum has got it since its schema was made, which
/// PostgreSQL's connector (3.6.3) does not notice before it starts again. MariaDB puts the empty text
/// in the place of what is no label.
fn new_label(labels: &[String], value: Value<'_>) -> Option<String> {
    match value {
        Value::Text("") => None,
        Value::Text(label) => labels.iter().all(|known| known != label).then(|| label.to_owned()),
        Value::Array(items) => items.values().flatten().find_map(|item| new_label(labels, item)),
        _ => None,
    }
}

impl Step {
    /// Returns the name as JSON has it before a value, with the comma that the first has not.
    pub fn spelled(&self, is_first: bool) -> &str {
        self.spelled.get(usize::from(is_first)..).unwrap_or_default()
    }

    /// Writes a field's literal as the row's next cell.
    ///
    /// # Errors
    ///
    /// The value does not fit: the detail names column and type. Or it is a label that the target's
    /// enum must get first.
    #[inline]
    pub fn write(&self, writer: &mut RowWriter<'_>, literal: Literal<'_>) -> Result<(), Broken> {
        self.write_as(&self.kind, writer, literal)
    }

    /// Writes a literal of this kind as the row's next cell.
    ///
    /// # Errors
    ///
    /// As for [`Step::write`].
    pub fn write_as(
        &self,
        kind: &Kind,
        writer: &mut RowWriter<'_>,
        literal: Literal<'_>,
    ) -> Result<(), Broken> {
        if self.is_blank {
            let pushed = writer.push(Value::Unavailable);
            return pushed.map_err(|misfit| Broken::Unfit(misfit.to_string()));
        }
        let value = match self.value(kind, literal) {
            Ok(value) => value,
            Err(unfit) => return Err(self.no_value(kind, unfit)),
        };
        if let Some(labels) = &self.labels
            && let Some(label) = new_label(labels, value)
        {
            return Err(Broken::Label { column: self.name.clone(), label });
        }
        match writer.push(value) {
            Ok(()) => Ok(()),
            Err(misfit) => Err(self.misfit(misfit, value, writer)),
        }
    }

    #[cold]
    fn no_value(&self, kind: &Kind, Unfit(why): Unfit) -> Broken {
        Broken::Unfit(format!("column \"{}\" {why} ({kind:?})", self.name))
    }

    #[cold]
    fn misfit(&self, misfit: Misfit, value: Value<'_>, writer: &RowWriter<'_>) -> Broken {
        let column = &self.name;
        let target_type =
            writer.column().map(|column| column.type_name.clone()).unwrap_or_default();
        let why = match (misfit, value) {
            (Misfit::Type, Value::Figure(figure)) => {
                let (column, source_type) = (column.clone(), figure.type_name());
                return Broken::Unheld(Unheld { column, source_type, target_type });
            }
            (_, Value::Null) if writer.is_at_key() => return Broken::KeyNull(column.clone()),
            (_, Value::Null) => "is null".to_owned(),
            (misfit, _) => misfit.to_string(),
        };
        Broken::Unfit(format!("column \"{column}\" {why} ({target_type})"))
    }

    fn value<'a>(&self, kind: &'a Kind, literal: Literal<'a>) -> Result<Value<'a>, Unfit> {
        let placeholder = self.placeholder.as_ref();
        if placeholder.is_some_and(|placeholder| placeholder.is(kind, literal)) {
            return Ok(Value::Unavailable);
        }
        value(kind, literal)
    }

    /// Names the column and its type, for a record that breaks there.
    pub fn place(&self) -> String {
        format!("column \"{}\" ({:?})", self.name, self.kind)
    }
}

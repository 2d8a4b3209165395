//! Labels: a layout is asked for again where a row has one that neither schema nor target has told.

use std::sync::Arc;

use crate::batch::Batch;
use crate::decode::testing::{Bench, Sample};
use crate::decode::tests::keys::mapping;
use crate::decode::{Decoded, LayoutRequest};
use crate::table::{Enumeration, Table};
use crate::target::Target as _;
use crate::target::postgres::Postgres;

fn sample(label: &str, labels: &str) -> Sample {
    let of_enum =
        r#""type":"string","name":"io.debezium.data.Enum","parameters":{"allowed":"sad,happy"}"#;
    let field = |name: &str, kind: &str| format!(r#"{{{kind},"optional":false,"field":"{name}"}}"#);
    let listed = format!(r#""type":"array","items":{{{of_enum}}}"#);
    let id = field("id", r#""type":"int64""#);
    let columns = [id.clone(), field("mood", of_enum), field("moods", &listed)].join(",");
    let schema = format!(
        r#"{{"type":"struct","name":"s.public.t.Envelope","fields":[
            {{"type":"struct","field":"after","fields":[{columns}]}},
            {{"type":"string","field":"op"}}]}}"#
    );
    let after = format!(r#"{{"id":1,"mood":"{label}","moods":[{labels}]}}"#);
    let value = format!(r#"{{"schema":{schema},"payload":{{"after":{after},"op":"c"}}}}"#);
    let key = format!(r#"{{"schema":{{"type":"struct","fields":[{id}]}},"payload":{{"id":1}}}}"#);
    Sample::new("s.public.t", Some(&key), Some(&value))
}

/// A target whose columns are of an enum, which the plans of a table extend.
struct World {
    bench: Bench,
    labels: Vec<String>,
}

impl World {
    /// Decodes a record; returns how each plan that must come first adds labels.
    fn added(&mut self, sample: &Sample) -> Vec<String> {
        let mut added = Vec::new();
        for _ in 0..4 {
            match self.bench.once(sample) {
                Decoded::NeedsLayout(request) => added.push(self.plan(*request)),
                Decoded::NeedsNewBatch => self.bench.batch = Batch::default(),
                Decoded::Change(_) => return added,
                other => panic!("{other:?}"),
            }
        }
        panic!("the decoder asks for the same again and again");
    }

    fn plan(&mut self, request: LayoutRequest) -> String {
        let mapping = mapping("", Postgres::DIALECT);
        let plan = mapping.plan(request.source.clone(), None).unwrap();
        let mut table = Table::clone(&plan.mapped.shape.table);
        let enumeration = Enumeration { name: "mood".to_owned(), labels: self.labels.clone() };
        let enumeration = Some(Arc::new(enumeration));
        table.columns[1..].iter_mut().for_each(|it| it.enumeration.clone_from(&enumeration));
        let plan = mapping.plan(request.source, Some(table)).unwrap();
        let now = plan.mapped.shape.table.columns[1].enumeration.as_ref().unwrap();
        self.labels.clone_from(&now.labels);
        self.bench.decoder.learn_layout(request.id, plan.mapped);
        plan.change.map(|change| change.labels.join("; ")).unwrap_or_default()
    }
}

#[test]
fn a_label_that_only_a_row_tells_is_asked_for_once() {
    let mut world =
        World { bench: Bench::default(), labels: vec!["sad".to_owned(), "happy".to_owned()] };
    assert_eq!(world.added(&sample("sad", r#""happy""#)), [""], "both have the labels");
    let add = |label: &str| [format!("ALTER TYPE mood ADD VALUE IF NOT EXISTS '{label}'")];
    assert_eq!(world.added(&sample("gl,ad", "")), add("gl,ad"));
    assert_eq!(world.added(&sample("gl,ad", "")), [""; 0]);
    assert_eq!(world.added(&sample("sad", r#""sad","mad""#)), add("mad"));
    // MariaDB puts the empty text in the place of what is no label: the target is to refuse it.
    assert_eq!(world.added(&sample("", "")), [""; 0]);
}

//! Keys: a delete finds the row that an upsert wrote, whatever order rule and record name columns in.

use crate::decode::Decoded;
use crate::decode::testing::{Bench, Sample};
use crate::mapping::Mapping;
use crate::rules::{ConfigFile, DeletePolicy, Rules};
use crate::settings::{SchemaChanges, Tables};
use crate::target::Target as _;
use crate::target::postgres::Postgres;

#[test]
fn a_delete_by_a_rules_key_in_another_order_is_of_the_row_that_was_written() {
    for rule in [r#"["b", "a"]"#, r#"["a", "b"]"#, r#"["b"]"#] {
        let bench = &mut bench(rule);
        assert!(matches!(bench.settle(&record("c", r#"{"a":1,"b":2,"c":3}"#)), Decoded::Change(_)));
        assert!(matches!(bench.settle(&record("d", "null")), Decoded::Change(_)));
        let folded = std::mem::take(&mut bench.batch).fold();
        let (rows, _) = &folded.tables[0];
        let [upsert, delete] = rows.index() else { panic!("two rows") };
        assert_eq!(rows.key(upsert), rows.key(delete), "{rule}");
    }
}

#[test]
fn a_delete_is_refused_when_the_records_key_lacks_a_column_of_the_rules() {
    for rule in [r#"["c"]"#, r#"["c", "a"]"#] {
        let bench = &mut bench(rule);
        let expected =
            "key_missing: the record's key lacks a column of the table's key, or it is null";
        assert_eq!(bench.decode(&record("d", "null")), expected, "{rule}");
    }
}

fn bench(key: &str) -> Bench {
    let file = format!("[table.\"public.t\"]\nkey = {key}");
    let file = ConfigFile::parse(&file, &[]).unwrap();
    let rules = Rules {
        targets: Vec::new(),
        tables: file.tables,
        sources: file.sources,
        deletes: DeletePolicy::Hard,
        deleted_at_column: "deleted_at".to_owned(),
    };
    let schema_changes = SchemaChanges::Apply;
    let tables = Tables { rules, schema_changes, synced_at_column: None };
    let mut bench = Bench::default();
    bench.mapping = Some(Mapping::new(tables, Postgres::DIALECT));
    bench
}

/// A record whose key is of a and b, in that order.
fn record(op: &str, after: &str) -> Sample {
    let fields = |names: &[&str]| {
        let field =
            |name: &&str| format!(r#"{{"type":"int64","optional":false,"field":"{name}"}}"#);
        names.iter().map(field).collect::<Vec<_>>().join(",")
    };
    let key = format!(
        r#"{{"schema":{{"type":"struct","fields":[{}]}},"payload":{{"a":1,"b":2}}}}"#,
        fields(&["a", "b"])
    );
    let row =
        format!(r#"{{"type":"struct","field":"after","fields":[{}]}}"#, fields(&["a", "b", "c"]));
    let schema = format!(
        r#"{{"type":"struct","name":"s.public.t.Envelope","fields":[{row},{{"type":"string","field":"op"}}]}}"#
    );
    let source = r#"{"name":"s","db":"d","schema":"public","table":"t"}"#;
    let payload = format!(r#"{{"after":{after},"source":{source},"op":"{op}"}}"#);
    let value = format!(r#"{{"schema":{schema},"payload":{payload}}}"#);
    Sample::new("s.public.t", Some(&key), Some(&value))
}

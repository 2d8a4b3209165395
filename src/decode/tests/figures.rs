//! PostgreSQL's own figures as the connector 3.7.0 sends them, which the stack does not run.

use expect_test::expect;

use crate::decode::testing::{Bench, captured_names, encode};
use crate::decode::value::Value;
use crate::decode::value::kind::{FigureForm, Kind};
use crate::table::Misfit;

/// Decodes the records of a format, one line each.
fn lines(bench: &mut Bench, format: &str) -> String {
    let names = captured_names("figures");
    let ours = names.iter().filter_map(|name| {
        let situation = name.strip_prefix("figures/")?.strip_prefix(format)?;
        Some(format!("{situation}: {}\n", bench.captured(name)))
    });
    ours.collect()
}

#[test]
fn figures_become_the_sources_values() {
    expect![[r#"
        closed: Create t id=3 ln=Line([0.0, 1.0, 0.0]) sg=Segment([[1.0, 2.0], [1.0, 2.0]]) bx=Box([[1.0, 1.0], [1.0, 1.0]]) pa=path true [[0.5, 0.5], [1.5, 1.5], [2.5, 0.5]] pg=polygon [[0.0, 0.0], [1.0, 1.0], [1.0, 0.0]] ci=Circle { center: [1.0, 2.0], radius: 0.0 } bxs=null
        extreme: Create t id=4 ln=Line([0.1, 1e-300, -0.0]) sg=Segment([[0.1, -0.0], [1e300, 5e-324]]) bx=Box([[0.1, 1e300], [-0.1, -1e300]]) pa=path false [[0.1, 1e300]] pg=polygon [[0.1, 1e300]] ci=Circle { center: [-0.1, 1.7976931348623157e308], radius: 5e-324 } bxs=null
        infinite: Create t id=5 ln=Line([1.0, 0.0, inf]) sg=Segment([[inf, -inf], [0.0, 0.0]]) bx=Box([[inf, inf], [-inf, -inf]]) pa=path true [[inf, 0.0], [0.0, -inf]] pg=polygon [[inf, 0.0], [0.0, 0.0]] ci=Circle { center: [inf, 0.0], radius: inf } bxs=null
        nan: Create t id=6 ln=Line([1.0, 0.0, NaN]) sg=Segment([[NaN, 0.0], [0.0, 0.0]]) bx=Box([[1.0, NaN], [0.0, 2.0]]) pa=path false [[NaN, 0.0], [0.0, 0.0]] pg=polygon [[NaN, 0.0], [NaN, 0.0]] ci=Circle { center: [NaN, 0.0], radius: NaN } bxs=null
        null: Create t id=2 ln=null sg=null bx=null pa=null pg=null ci=null bxs=null
        ordinary: Create t id=1 ln=Line([1.5, -1.5, 0.5]) sg=Segment([[0.5, 0.5], [1.5, -1.5]]) bx=Box([[1.5, 2.5], [0.5, 0.25]]) pa=path false [[0.5, 0.5], [1.5, 1.5], [2.5, 0.5]] pg=polygon [[0.5, 0.5], [1.5, 1.5], [2.5, 0.5]] ci=Circle { center: [1.5, 2.5], radius: 3.5 } bxs=[]
    "#]].assert_eq(&lines(&mut Bench::default(), "json-"));
}

#[test]
fn every_format_says_the_same() {
    let json = lines(&mut Bench::default(), "json-");
    assert_eq!(lines(&mut Bench::default(), "avro-"), json);
    // The kind comes from the connector's types, or else the record alone says it.
    assert_eq!(lines(&mut Bench::default(), "untyped-"), json);
    let form = |form| Kind::Figure(form, None);
    let kinds = vec![
        ("t.id", Kind::Int32),
        ("t.ln", form(FigureForm::Line)),
        ("t.sg", form(FigureForm::Geometry)),
        ("t.bx", form(FigureForm::Geometry)),
        ("t.pa", form(FigureForm::Geometry)),
        ("t.pg", form(FigureForm::Geometry)),
        ("t.ci", form(FigureForm::Circle)),
        ("t.bxs", Kind::Array(Box::new(form(FigureForm::Geometry)))),
    ];
    let mut bench = Bench::default();
    bench.kinds = kinds;
    assert_eq!(lines(&mut bench, "plain-"), json);
}

#[test]
fn a_column_that_takes_no_figures_stops_its_partition() {
    let refuse = |value: Value<'_>, modifier, out: &mut Vec<u8>| match value {
        Value::Figure(_) => Err(Misfit::Type),
        value => encode(value, modifier, out),
    };
    let mut bench = Bench::default();
    bench.encode = refuse;
    expect!["Create t id=2 ln=null sg=null bx=null pa=null pg=null ci=null bxs=null"]
        .assert_eq(&bench.captured("figures/untyped-null"));
    expect![[r#"column_unfit: column "ln" of table "t": no conversion from line to text"#]]
        .assert_eq(&bench.captured("figures/untyped-ordinary"));
}

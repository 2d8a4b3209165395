//! PostgreSQL as a target, for values with parts: arrays, maps, points, geometries.

use afterimage::decode::value::figure::Figure;
use afterimage::decode::value::kind::{Kind, Unit};
use afterimage::decode::value::packed::{Packer, Parts};
use afterimage::decode::value::semantic::Literal;
use afterimage::decode::value::spelling::Spelling;
use afterimage::decode::value::{Geometry, Items, Pairs, Point, Value};
use afterimage::record::TopicPartition;
use afterimage::rows::Deletes;
use afterimage::target::Target;

use crate::postgres_support::{Does, One as _, batch, claim, shape};
use crate::postgres_types::{check, world};

fn packed(literals: &[Literal<'_>]) -> Vec<u8> {
    let mut packed = Vec::new();
    let mut packer = Packer::new(&mut packed);
    literals.iter().for_each(|literal| packer.push(*literal));
    packed
}

/// A column's type, the kind of its elements, their literals, and what the server prints.
type ArrayCase<'a> = (&'a str, Kind, &'a [Literal<'a>], &'a str);

async fn check_arrays(world: &crate::postgres_support::World, cases: &[ArrayCase<'_>]) {
    let packed = cases.iter().map(|(_, _, literals, _)| packed(literals)).collect::<Vec<_>>();
    let cases = cases.iter().zip(&packed).map(|((column, kind, _, expected), packed)| {
        let items = Items { kind, parts: Parts::new(packed) };
        (*column, Value::Array(items), *expected)
    });
    check(world, &cases.collect::<Vec<_>>()).await;
}

const NULL: Literal<'static> = Literal::Null;

fn int(value: i64) -> Literal<'static> {
    Literal::Int(value)
}

fn text(text: &str) -> Literal<'_> {
    Literal::Text(text)
}

#[tokio::test]
async fn arrays_of_built_in_types_arrive_as_they_were() {
    let two = |scale| Kind::Decimal { scale, precision: None };
    let (micros, millis) = (Kind::Timestamp(Unit::Micros), Kind::Time(Unit::Millis));
    let uuid = "b68a35a7-17ad-35b3-af2a-ae46edb4545b";
    check_arrays(
        &world().await,
        &[
            ("int2[]", Kind::Int16, &[int(1), NULL, int(-32_768)], "{1,NULL,-32768}"),
            ("int4[]", Kind::Int32, &[], "{}"),
            ("int4[]", Kind::Int32, &[NULL], "{NULL}"),
            ("int8[]", Kind::Int64, &[int(i64::MIN)], "{-9223372036854775808}"),
            ("oid[]", Kind::Int64, &[int(4_294_967_295)], "{4294967295}"),
            ("bool[]", Kind::Bool, &[Literal::Bool(true), NULL], "{t,NULL}"),
            ("real[]", Kind::Float32, &[Literal::Float32(0.1), text("NaN")], "{0.1,NaN}"),
            ("float8[]", Kind::Float64, &[Literal::Float64(0.1), text("-Infinity")], {
                "{0.1,-Infinity}"
            }),
            ("text[]", Kind::Text, &[text("a,b"), text(""), text("NULL"), text("q\"\\")], {
                r#"{"a,b","","NULL","q\"\\"}"#
            }),
            ("varchar(3)[]", Kind::Text, &[text("äöü")], "{äöü}"),
            ("char(5)[]", Kind::Text, &[text("ab   "), NULL], "{\"ab   \",NULL}"),
            ("name[]", Kind::Text, &[text("n")], "{n}"),
            ("numeric(10,2)[]", two(2), &[Literal::Bytes(&[120]), NULL], "{1.20,NULL}"),
            ("numeric[]", two(3), &[Literal::Bytes(&[0xcf, 0xc7])], "{-12.345}"),
            ("uuid[]", Kind::Uuid, &[text(uuid)], "{b68a35a7-17ad-35b3-af2a-ae46edb4545b}"),
            ("json[]", Kind::Json, &[text("{\"a\":  1}")], r#"{"{\"a\":  1}"}"#),
            ("jsonb[]", Kind::Json, &[text("1.10"), NULL, text("null")], "{1.10,NULL,\"null\"}"),
            ("xml[]", Kind::Xml, &[text("<a/>")], "{<a/>}"),
            ("bytea[]", Kind::Bytes, &[Literal::Bytes(&[0, 255])], r#"{"\\x00ff"}"#),
            ("bytea[]", Kind::Encoded(Spelling::Hex), &[text("00ff")], r#"{"\\x00ff"}"#),
            ("date[]", Kind::Date, &[int(17_109), int(-622_191_234)], "{2016-11-04,infinity}"),
            ("time(3)[]", millis, &[int(86_400_000)], "{24:00:00}"),
            ("timestamp[]", micros, &[int(1_585_699_262_000_000)], "{\"2020-04-01 00:01:02\"}"),
            ("timestamptz[]", Kind::ZonedTimestamp, &[text("2020-04-01T11:51:02.5Z"), NULL], {
                "{\"2020-04-01 11:51:02.5+00\",NULL}"
            }),
            ("timetz[]", Kind::ZonedTime, &[text("11:51:30Z")], "{11:51:30+00}"),
            ("interval[]", Kind::Interval, &[text("P1Y2DT3S")], "{\"1 year 2 days 00:00:03\"}"),
            ("bit(3)[]", Kind::Bits { length: Some(3) }, &[Literal::Bytes(&[5])], "{101}"),
        ],
    )
    .await;
}

#[tokio::test]
async fn arrays_of_other_types_arrive_as_they_were() {
    let world = world().await;
    let schema = world.schema.clone();
    world
        .sql(&format!(
            "CREATE EXTENSION IF NOT EXISTS ltree SCHEMA public; \
             CREATE EXTENSION IF NOT EXISTS citext SCHEMA public; \
             CREATE EXTENSION IF NOT EXISTS hstore SCHEMA public; \
             CREATE TYPE {schema}.mood AS ENUM ('sad', 'hap,py'); \
             CREATE DOMAIN {schema}.tags AS int[]"
        ))
        .await;
    let (mood, tags) = (format!("{schema}.mood[]"), format!("{schema}.tags"));
    let range = "[\"2019-03-31 15:30:00\",infinity)";
    check_arrays(
        &world,
        &[
            ("inet[]", Kind::Text, &[text("192.168.1.1/24"), NULL], "{192.168.1.1/24,NULL}"),
            ("cidr[]", Kind::Text, &[text("10.0.0.0/8")], "{10.0.0.0/8}"),
            ("macaddr[]", Kind::Text, &[text("08:00:2b:01:02:03")], "{08:00:2b:01:02:03}"),
            (
                &mood,
                Kind::Enum(std::sync::Arc::default()),
                &[text("sad"), text("hap,py"), NULL],
                "{sad,\"hap,py\",NULL}",
            ),
            ("public.citext[]", Kind::Text, &[text("AbC")], "{AbC}"),
            ("public.ltree[]", Kind::Ltree, &[text("a.b")], "{a.b}"),
            ("int4range[]", Kind::Text, &[text("[1,5)"), NULL], "{\"[1,5)\",NULL}"),
            ("tsrange[]", Kind::Text, &[text(range)], {
                r#"{"[\"2019-03-31 15:30:00\",infinity)"}"#
            }),
            ("box[]", Kind::Bytes, &[Literal::Bytes(b"(3.0,4),(1,2)"), NULL], {
                "{(3,4),(1,2);NULL}"
            }),
            (&tags, Kind::Int32, &[int(7)], "{7}"),
            ("public.hstore[]", Kind::Json, &[text(r#"{"a":"\"","n":null}"#), NULL], {
                r#"{"\"a\"=>\"\\\"\", \"n\"=>NULL",NULL}"#
            }),
        ],
    )
    .await;
    let multiranges = [Literal::Bytes(b"{[1,3),[5,7)}"), NULL];
    let expected = "{\"{[1,3),[5,7)}\",NULL}";
    let beside = [
        ("int4multirange[]", Kind::Bytes, &multiranges[..], expected),
        ("int4[]", Kind::Int32, &[int(7), NULL], "{7,NULL}"),
        ("text[]", Kind::Text, &[], "{}"),
        ("varchar(3)[]", Kind::Text, &[text("ab")], "{ab}"),
    ];
    check_arrays(&world, &beside).await;
}

#[tokio::test]
async fn maps_points_and_octets_in_texts_arrive_as_they_were() {
    let world = world().await;
    world.sql("CREATE EXTENSION IF NOT EXISTS hstore SCHEMA public").await;
    let pairs = packed(&[text("q\"\\"), text("x,y"), text("n"), NULL]);
    let map = Value::Map(Pairs(Parts::new(&pairs)));
    let expected = r#""n"=>NULL, "q\"\\"=>"x,y""#;
    let object = Value::Json(r#"{"q\"\\":"x,y","n":null}"#);
    let geometry = Geometry { wkb: &[1, 1, 0, 0, 0, 7], srid: Some(4326) };
    let wkb = [&[0, 0, 0, 0, 1][..], &[1.5_f64, -2.0].map(f64::to_be_bytes).concat()].concat();
    let place = Value::Geometry(Geometry { wkb: &wkb, srid: Some(0) });
    let circle = Figure::Circle { center: [f64::NEG_INFINITY, 0.1], radius: 3.5 };
    let numbers = [1.5_f64, -2.0, 0.5, 0.25].map(f64::to_be_bytes).concat();
    let line = [&[0, 0, 0, 0, 2, 0, 0, 0, 2][..], &numbers].concat();
    let marks = |closed| packed(&["type", "path", "closed", closed].map(text));
    let (open, closed) = (marks("false"), marks("true"));
    let path = |marks| {
        let geometry = Geometry { wkb: &line, srid: None };
        Figure::read(geometry, Pairs(Parts::new(marks))).unwrap()
    };
    let pair = format!("{}.\"Pa ir\"", world.schema);
    let couple = format!("{}.couple", world.schema);
    world.sql(&format!("CREATE TYPE {pair} AS (a int, b text)")).await;
    world.sql(&format!("CREATE DOMAIN {couple} AS {pair} CHECK ((value).a > 0)")).await;
    let base64 = Value::Spelled { spelling: Spelling::Base64, text: "AP8=" };
    check(
        &world,
        &[
            ("public.hstore", map, expected),
            ("public.hstore", object, expected),
            ("public.hstore", Value::Map(Pairs(Parts::default())), ""),
            ("jsonb", map, r#"{"n": null, "q\"\\": "x,y"}"#),
            ("point", Value::Point(Point { x: 1.5, y: -2.0, ..Point::default() }), "(1.5,-2)"),
            ("point", place, "(1.5,-2)"),
            (&pair, Value::Bytes(b"(1,\"a b\")"), "(1,\"a b\")"),
            (&couple, Value::Bytes(b"(2,)"), "(2,)"),
            ("bytea", Value::Geometry(geometry), "\\x0101000020e610000007"),
            ("bytea", base64, "\\x00ff"),
            ("circle", Value::Bytes(b"<(1.0,2.0),3.0>"), "<(1,2),3>"),
            ("box", Value::Bytes(b"(3.0,4.0),(1.0,2.0)"), "(3,4),(1,2)"),
            ("line", Value::Bytes(b"{1.0,2.0,3.0}"), "{1,2,3}"),
            ("lseg", Value::Figure(Figure::Segment([[0.1, -0.0], [1e300, 5e-324]])), {
                "[(0.1,-0),(1e+300,5e-324)]"
            }),
            ("box", Value::Figure(Figure::Box([[1.0, f64::NAN], [0.5, 2.0]])), "(1,NaN),(0.5,2)"),
            ("line", Value::Figure(Figure::Line([1.0, 0.5, f64::INFINITY])), "{1,0.5,Infinity}"),
            ("circle", Value::Figure(circle), "<(-Infinity,0.1),3.5>"),
            ("path", Value::Figure(path(&closed)), "((1.5,-2),(0.5,0.25))"),
            ("path", Value::Figure(path(&open)), "[(1.5,-2),(0.5,0.25)]"),
            ("text", Value::Figure(path(&open)), "[(1.5,-2),(0.5,0.25)]"),
            ("pg_lsn", Value::Bytes(b"16/B374D848"), "16/B374D848"),
            ("tsquery", Value::Bytes(b"'a' & 'b'"), "'a' & 'b'"),
            ("int4multirange", Value::Bytes(b"{[1,3),[5,7)}"), "{[1,3),[5,7)}"),
            ("numeric(20,0)", Value::Unsigned(u64::MAX), "18446744073709551615"),
            ("boolean", Value::Int(1), "true"),
            ("smallint", Value::Bool(true), "1"),
        ],
    )
    .await;
}

#[tokio::test]
async fn arrays_are_updated_and_deleted_by_as_other_columns_are() {
    let world = world().await;
    let schema = &world.schema;
    world
        .sql(&format!(
            "CREATE TABLE {schema}.v (tags text[], a int, gone int, \"l\"\"ist\" int[], \
             spans int4multirange, PRIMARY KEY (tags)); ALTER TABLE {schema}.v DROP COLUMN gone; \
             GRANT ALL ON {schema}.v TO writer"
        ))
        .await;
    let mut target = world.target();
    let table = target.table(&world.name("v")).await.unwrap().unwrap();
    let topic = TopicPartition::new("topic", 0);
    let claimed = claim(&mut target, &[topic]).await.remove(0);
    let (one, two, numbers) =
        (packed(&[text("one")]), packed(&[text("two"), NULL]), packed(&[int(1), NULL]));
    let texts = |parts| Value::Array(Items { kind: &Kind::Text, parts: Parts::new(parts) });
    let list = Value::Array(Items { kind: &Kind::Int32, parts: Parts::new(&numbers) });
    let spans = Value::Bytes(b"{[1,3),[5,7)}");
    let shape = shape(&table, &["tags"], Deletes::Hard);
    let rows = batch(
        &claimed,
        &shape,
        &[
            Does::Upsert(&[texts(&one), Value::Int(1), list, Value::Null]),
            Does::Upsert(&[texts(&two), Value::Int(2), Value::Null, Value::Null]),
        ],
    );
    target.apply(&rows).await.unwrap();
    let next = afterimage::target::Claimed {
        next: afterimage::checkpoint::NextOffset::at(2),
        ..claimed.clone()
    };
    let rows = batch(
        &next,
        &shape,
        &[
            Does::Delete(&[texts(&one)]),
            Does::Upsert(&[texts(&two), Value::Unavailable, list, spans]),
        ],
    );
    target.apply(&rows).await.unwrap();
    let query =
        format!("SELECT tags::text, a::text, \"l\"\"ist\"::text, spans::text FROM {schema}.v");
    let found = world.sql(&query).await;
    let expected =
        ["{two,NULL}", "2", "{1,NULL}", "{[1,3),[5,7)}"].map(|text| Some(text.to_owned()));
    assert_eq!(found, [expected]);
}

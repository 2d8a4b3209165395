//! Micro-benchmarks of what a record costs in memory: decode (its values are encoded on the way),
//! encode alone, and fold.

use std::hint::black_box;
use std::time::Duration;

use afterimage::batch::Batch;
use afterimage::decode::value::{Moment, Value};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

mod path;

use path::{Format, Path};

/// As a batch at full load.
const BATCH: i64 = 50_000;
/// Records that are decoded again and again: few enough for the caches, as a run of the lane is.
const RUN: i64 = 500;
/// Rows of which a batch of hot keys has its images.
const HOT: i64 = 1_000;

const SURPRISE: &str = "captured records decode";

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(RUN.cast_unsigned()));
    for format in Format::ALL {
        let run = path::records(format, 0..RUN).expect(SURPRISE);
        let mut path = Path::new(format).expect(SURPRISE);
        group.bench_function(format.name(), |bencher| {
            bencher.iter(|| {
                path.fill(black_box(&run)).expect(SURPRISE);
                if path.batch.row_count() >= BATCH.unsigned_abs().try_into().unwrap_or(usize::MAX) {
                    path.batch = Default::default();
                }
            });
        });
    }
    group.finish();
}

fn encode(criterion: &mut Criterion) {
    let table = Path::new(Format::Avro).and_then(|mut path| path.table(Format::Avro));
    let table = table.expect(SURPRISE);
    let moment = Moment::Finite { seconds: 1_714_979_289, nanos: 123_456_000 };
    let mut group = criterion.benchmark_group("encode");
    for (name, value) in [
        ("bigint", Value::Int(9001)),
        ("text", Value::Text("leave it at the door")),
        ("integer", Value::Int(7)),
        ("timestamp", Value::Timestamp(moment)),
        ("timestamptz", Value::TimestampZoned(moment)),
    ] {
        let is_of_type = |type_name: &str| match name {
            "timestamp" => type_name.starts_with("timestamp") && !type_name.contains("with time"),
            "timestamptz" => type_name.contains("with time zone"),
            other => type_name == other,
        };
        let column = table.columns.iter().find(|column| is_of_type(&column.type_name));
        let column = column.expect("orders has a column of the type");
        let encode = column.encode.expect("it takes values");
        let mut out = Vec::with_capacity(64);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                out.clear();
                encode(black_box(value), column.modifier, &mut out)
            });
        });
    }
    group.finish();
}

fn fold(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fold");
    group.throughput(Throughput::Elements(BATCH.cast_unsigned()));
    let mut path = Path::new(Format::Avro).expect(SURPRISE);
    for (name, rows) in [("creates", BATCH), ("hot keys", HOT)] {
        let run = path::records(Format::Avro, (0..BATCH).map(|number| number * 7919 % rows));
        let run = run.expect(SURPRISE);
        group.bench_function(name, |bencher| {
            let filled = || {
                path.fill(&run).expect(SURPRISE);
                std::mem::take(&mut path.batch)
            };
            bencher.iter_batched(filled, Batch::fold, BatchSize::PerIteration);
        });
    }
    group.finish();
}

criterion_group! {
    name = micro;
    config = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .sample_size(20);
    targets = decode, encode, fold
}
criterion_main!(micro);

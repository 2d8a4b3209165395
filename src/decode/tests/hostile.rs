//! Hostile bytes: whatever a record holds, it is decoded or refused, and leaves no half row.

use proptest::prelude::*;

use crate::decode::testing::{Bench, Sample, captured_names};
use crate::decode::{Decoded, Decoder};
use crate::rows::{Cells, RowOp, Rows};

const FOLDERS: [&str; 10] = [
    "json",
    "plain",
    "avro",
    "mariadb",
    "flat",
    "cloudevents",
    "apicurio",
    "events",
    "structured",
    "figures",
];

/// How many cases the mutations have; each is a parse of a few kilobytes.
const CASES: u32 = 256;

/// One change of a record's bytes.
#[derive(Clone, Debug)]
enum Mutation {
    /// Another byte at a place.
    Set(usize, u8),
    /// The end cut off.
    Cut(usize),
    /// Bytes put in.
    Insert(usize, Vec<u8>),
    /// Bytes taken out.
    Remove(usize, usize),
    /// Bytes twice.
    Double(usize, usize),
}

impl Mutation {
    fn any() -> impl Strategy<Value = Self> {
        let place = any::<usize>;
        // What JSON and Avro give a meaning to, more often than the rest.
        let byte =
            prop_oneof![any::<u8>(), prop::sample::select(b"\"{}[],:\\0-en\x00\x02\xff".to_vec())];
        prop_oneof![
            (place(), byte.clone()).prop_map(|(at, byte)| Self::Set(at, byte)),
            place().prop_map(Self::Cut),
            (place(), prop::collection::vec(byte, 1..8)).prop_map(|(at, it)| Self::Insert(at, it)),
            (place(), 1..40_usize).prop_map(|(at, count)| Self::Remove(at, count)),
            (place(), 1..40_usize).prop_map(|(at, count)| Self::Double(at, count)),
        ]
    }

    fn apply(&self, bytes: &mut Vec<u8>) {
        let length = bytes.len();
        let span = |at: usize, count: usize| {
            let start = at % (length + 1);
            start..(start + count).min(length)
        };
        match self {
            Self::Set(at, byte) => bytes[span(*at, 1)].fill(*byte),
            Self::Cut(at) => bytes.truncate(at % (length + 1)),
            Self::Insert(at, new) => {
                let start = span(*at, 0).start;
                bytes.splice(start..start, new.iter().copied());
            }
            Self::Remove(at, count) => _ = bytes.drain(span(*at, *count)),
            Self::Double(at, count) => {
                let twice = bytes[span(*at, *count)].to_vec();
                let start = span(*at, 0).start;
                bytes.splice(start..start, twice);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, ..ProptestConfig::default() })]

    #[test]
    fn mutated_records_are_decoded_or_refused(
        folder in prop::sample::select(FOLDERS.to_vec()),
        index in any::<usize>(),
        is_key in any::<bool>(),
        mutations in prop::collection::vec(Mutation::any(), 1..4),
    ) {
        let names = captured_names(folder);
        let name = &names[index % names.len()];
        let mut mutant = Sample::captured(name);
        let part = if is_key { &mut mutant.key } else { &mut mutant.value };
        if let Some(bytes) = part {
            mutations.iter().for_each(|mutation| mutation.apply(bytes));
        }
        // Into a decoder that knows the record's schemas, and into one that does not.
        for is_known in [true, false] {
            let mut bench = Bench::default();
            bench.captured(if is_known { name } else { "avro/heartbeat" });
            check(&mut bench, &mutant);
        }
    }

    #[test]
    fn arbitrary_bytes_are_decoded_or_refused(
        key in prop::option::of(prop::collection::vec(any::<u8>(), 0..40)),
        value in prop::option::of(prop::collection::vec(any::<u8>(), 0..80)),
        schema in prop::option::of(prop::sample::select(vec![1_u8, 2, 3, 4, 5, 6])),
    ) {
        let framed = |bytes: Vec<u8>| match schema {
            Some(id) => [vec![0, 0, 0, 0, id], bytes].concat(),
            None => bytes,
        };
        let (key, value) = (key.map(framed), value.map(framed));
        let mut bench = Bench::default();
        bench.captured("avro/heartbeat");
        let topic = "dbserver1.public.users".to_owned();
        check(&mut bench, &Sample { topic, key, value, headers: Vec::new() });
    }
}

/// Decodes a hostile record between two good ones, and makes sure that it leaves a whole row or none.
fn check(bench: &mut Bench, hostile: &Sample) {
    let good = Sample::captured("json/users-create");
    bench.settle(&good);
    let (before, bytes) = (show(bench), bench.batch.byte_count());
    let decoded = bench.settle(hostile);
    let after = show(bench);
    match decoded {
        Decoded::Truncate(_) | Decoded::NeedsNewBatch => {}
        Decoded::Change(_) => assert!(after.len() <= before.len() + 1, "one row at most"),
        other if after.is_empty() => assert_eq!(bench.batch.byte_count(), 0, "{other:?}"),
        other => {
            assert_eq!((after, bench.batch.byte_count()), (before.clone(), bytes), "{other:?}");
        }
    }
    bench.batch = crate::batch::Batch::default();
    bench.decoder = Decoder::default();
    assert!(matches!(bench.settle(&good), Decoded::Change(_)));
    assert_eq!(show(bench).last(), before.last());
}

/// Shows every row of the batch by its cells.
fn show(bench: &mut Bench) -> Vec<String> {
    let batch = std::mem::take(&mut bench.batch);
    let shown = |rows: &Rows| {
        let row = |row: &crate::rows::Row| match row.op {
            RowOp::Upsert => format!("{:?}", Cells::new(rows.cells(row)).collect::<Vec<_>>()),
            RowOp::Delete => format!("delete {:?}", Cells::new(rows.key(row)).collect::<Vec<_>>()),
        };
        rows.index().iter().map(row).collect::<Vec<_>>()
    };
    let lines = batch.tables().iter().flat_map(shown).collect();
    bench.batch = batch;
    lines
}

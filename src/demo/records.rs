//! Changes as Debezium's records: `users` as JSON with schemas, `orders` as Avro.
//!
//! The tests compare with records that the real Debezium has sent, byte for byte.

use std::io::Write as _;

use crate::demo::avro;
use crate::demo::source::{Change, Order, Source, Table, User, What};

/// The topic of `users`.
pub(super) const USERS: &str = "dbserver1.public.users";
/// The topic of `orders`.
pub(super) const ORDERS: &str = "dbserver1.public.orders";
/// The connector's `topic.prefix`.
const SERVER: &str = "dbserver1";
/// What Debezium writes for a value that did not change and is stored out of line.
const UNAVAILABLE: &str = "__debezium_unavailable_value";

const USERS_KEY_SCHEMA: &str = include_str!("users-key-schema.json");
const USERS_VALUE_SCHEMA: &str = include_str!("users-value-schema.json");

/// A record to send.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    pub(super) topic: &'static str,
    pub(super) key: Vec<u8>,
    /// `None` for a tombstone.
    pub(super) value: Option<Vec<u8>>,
    /// The header that links the two halves of a changed key.
    pub(super) link: Option<(&'static str, String)>,
    /// How much of it is the same in every record, so that compression takes it away.
    pub(super) repeated: usize,
}

/// Where a change stands in the source's log, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) server: &'a str,
    pub(super) lsn: i64,
    pub(super) committed_lsn: Option<i64>,
    pub(super) transaction: i64,
    pub(super) snapshot: &'a str,
    pub(super) commit_micros: i64,
    pub(super) sent_nanos: i64,
}

impl Place<'static> {
    /// Starts a log.
    pub(super) fn first() -> Self {
        Self {
            server: SERVER,
            lsn: 31_897_744,
            committed_lsn: None,
            transaction: 750,
            snapshot: "true",
            commit_micros: 0,
            sent_nanos: 0,
        }
    }
}

impl Place<'_> {
    /// Returns `source.sequence`: the positions of the last commit and of this change.
    pub(super) fn sequence(&self) -> String {
        match self.committed_lsn {
            Some(committed) => format!("[\"{committed}\",\"{}\"]", self.lsn),
            None => format!("[null,\"{}\"]", self.lsn),
        }
    }
}

/// The rows of one event.
#[derive(Clone, Copy, Debug)]
pub(super) enum Images<'a, R> {
    /// There is only a row afterwards.
    After(i64, &'a R),
    /// There is only a key before.
    Before(i64),
}

/// Writes the records of a change, in the order of the source's log.
pub(super) fn write(source: &Source, change: Change, place: Place<'_>, out: &mut Vec<Outgoing>) {
    let after = |id, op, link| match change.table {
        Table::Users => {
            let user = source.users.by_id.get(&id)?;
            Some(user_record(op, Images::After(id, user), place, link))
        }
        Table::Orders => {
            let order = source.orders.by_id.get(&id)?;
            Some(order_record(op, Images::After(id, order), place, link))
        }
    };
    let gone = |id, link: Option<(&'static str, String)>| {
        let event = match change.table {
            Table::Users => user_record("d", Images::Before(id), place, link.clone()),
            Table::Orders => order_record("d", Images::Before(id), place, link.clone()),
        };
        let (topic, key) = (event.topic, event.key.clone());
        [event, Outgoing { topic, key, value: None, link, repeated: 0 }]
    };
    let key_text = |id: i64| format!("{{\"id\":{id}}}");
    match change.what {
        What::Read(id) => out.extend(after(id, "r", None)),
        What::Create(id) => out.extend(after(id, "c", None)),
        What::Update { id, is_note_unavailable: false } => out.extend(after(id, "u", None)),
        What::Update { id, is_note_unavailable: true } => {
            out.extend(source.orders.by_id.get(&id).map(|order| {
                let order = Order { note: Some(UNAVAILABLE.into()), ..order.clone() };
                order_record("u", Images::After(id, &order), place, None)
            }));
        }
        What::Delete(id) => out.extend(gone(id, None)),
        What::Move { from, to } => {
            out.extend(gone(from, Some(("__debezium.newkey", key_text(to)))));
            out.extend(after(to, "c", Some(("__debezium.oldkey", key_text(from)))));
        }
    }
}

type Link = Option<(&'static str, String)>;

fn order_record(op: &str, images: Images<'_, Order>, place: Place<'_>, link: Link) -> Outgoing {
    let (Images::After(id, _) | Images::Before(id)) = images;
    let (key, value) = (avro::order_key(id), avro::order_value(op, images, place));
    Outgoing { topic: ORDERS, key, value: Some(value), link, repeated: 0 }
}

fn user_record(op: &str, images: Images<'_, User>, place: Place<'_>, link: Link) -> Outgoing {
    let (Images::After(id, _) | Images::Before(id)) = images;
    let (key_schema, value_schema) = (USERS_KEY_SCHEMA.trim_end(), USERS_VALUE_SCHEMA.trim_end());
    let mut key = Vec::new();
    put(&mut key, format_args!("{{\"schema\":{key_schema},\"payload\":{{\"id\":{id}}}}}"));
    let mut value = Vec::with_capacity(value_schema.len() + 1024);
    put(&mut value, format_args!("{{\"schema\":{value_schema},\"payload\":{{"));
    match images {
        Images::After(id, user) => {
            put(&mut value, format_args!("\"before\":null,\"after\":"));
            put_user(&mut value, id, user);
        }
        Images::Before(id) => {
            // Under the default identity the log has the key only; Debezium fills in what is NOT NULL.
            let rest = "\"name\":\"\",\"email\":null,\"active\":true,\
                \"token\":\"00000000-0000-0000-0000-000000000000\",\"profile\":null,\"age\":null,\
                \"created_at\":\"1970-01-01T00:00:00.000000Z\"";
            put(&mut value, format_args!("\"before\":{{\"id\":{id},{rest}}},\"after\":null"));
        }
    }
    put_source(&mut value, place);
    let nanos = place.sent_nanos;
    put(&mut value, format_args!(",\"transaction\":null,\"op\":\"{op}\""));
    put(&mut value, format_args!(",\"ts_ms\":{}", nanos / 1_000_000));
    put(&mut value, format_args!(",\"ts_us\":{},\"ts_ns\":{nanos}}}}}", nanos / 1000));
    let repeated = key_schema.len() + value_schema.len();
    Outgoing { topic: USERS, key, value: Some(value), link, repeated }
}

fn put_user(out: &mut Vec<u8>, id: i64, user: &User) {
    put(out, format_args!("{{\"id\":{id},\"name\":"));
    put_json(out, &user.name);
    put(out, format_args!(",\"email\":"));
    put_json(out, &user.email);
    put(out, format_args!(",\"active\":{},\"token\":\"{}\"", user.active, uuid(user.token)));
    put(out, format_args!(",\"profile\":"));
    put_json(out, &user.profile);
    put(out, format_args!(",\"age\":"));
    put_json(out, &user.age);
    put(out, format_args!(",\"created_at\":\"{}Z\"}}", user.created_at));
}

fn put_source(out: &mut Vec<u8>, place: Place<'_>) {
    let Place { server, lsn, transaction, snapshot, commit_micros, .. } = place;
    let millis = commit_micros / 1000;
    put(
        out,
        format_args!(",\"source\":{{\"version\":\"3.6.3.Final\",\"connector\":\"postgresql\""),
    );
    put(out, format_args!(",\"name\":\"{server}\",\"ts_ms\":{millis},\"snapshot\":\"{snapshot}\""));
    put(out, format_args!(",\"db\":\"inventory\",\"sequence\":"));
    put_json(out, &place.sequence());
    put(out, format_args!(",\"ts_us\":{commit_micros},\"ts_ns\":{}", commit_micros * 1000));
    put(out, format_args!(",\"schema\":\"public\",\"table\":\"users\",\"txId\":{transaction}"));
    put(out, format_args!(",\"lsn\":{lsn},\"xmin\":null,\"origin\":null,\"origin_lsn\":null}}"));
}

/// Returns the usual form of a UUID.
pub(super) fn uuid(value: u128) -> String {
    let hex = format!("{value:032x}");
    let part = |range| hex.get(range).unwrap_or_default();
    [part(0..8), part(8..12), part(12..16), part(16..20), part(20..32)].join("-")
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a vector takes every byte");
}

fn put_json(out: &mut Vec<u8>, value: &impl serde::Serialize) {
    serde_json::to_writer(out, value).expect("texts and numbers are JSON");
}

#[cfg(test)]
pub(super) mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;

    use super::*;
    use crate::demo::source::Time;

    /// Reads the key and the value of a record that the real Debezium has sent.
    pub(in crate::demo) fn captured(fixture: &str) -> (Vec<u8>, Vec<u8>) {
        let fixture = serde_json::from_str::<serde_json::Value>(fixture).unwrap();
        let part = |name: &str| BASE64.decode(fixture[name].as_str().unwrap()).unwrap();
        (part("key"), part("value"))
    }

    fn check(record: &Outgoing, fixture: &str) {
        let (key, value) = captured(fixture);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        assert_eq!(text(&record.key), text(&key));
        assert_eq!(text(record.value.as_ref().unwrap()), text(&value));
    }

    #[test]
    fn users_are_written_as_debezium_writes_them() {
        let user = User {
            name: "Alan".into(),
            email: Some("alan@example.org".into()),
            active: true,
            token: 0x6f1d_2c3b_4a59_4687_9788_99aa_bbcc_ddee,
            profile: Some("{\"a\": [1, 2.5, null], \"b\": \"ü\"}".into()),
            age: Some(41),
            created_at: Time {
                year: 2024,
                month: 5,
                day: 6,
                hour: 5,
                minute: 8,
                second: 9,
                micros: 123_456,
            },
        };
        let place = Place {
            lsn: 32_489_640,
            committed_lsn: Some(32_424_128),
            transaction: 916,
            snapshot: "false",
            commit_micros: 1_795_206_519_077_528,
            sent_nanos: 1_795_206_519_084_218_886,
            ..Place::first()
        };
        let create = user_record("c", Images::After(9001, &user), place, None);
        check(&create, include_str!("../../tests/fixtures/json/users-create.json"));

        let place = Place {
            lsn: 32_490_448,
            committed_lsn: Some(32_490_448),
            transaction: 919,
            commit_micros: 1_795_206_520_224_560,
            sent_nanos: 1_795_206_520_603_729_158,
            ..place
        };
        let delete = user_record("d", Images::Before(9002), place, None);
        check(&delete, include_str!("../../tests/fixtures/json/users-delete.json"));
    }

    #[test]
    fn a_changed_key_is_a_delete_a_tombstone_and_a_create() {
        let mut source = Source::new(7);
        let change = loop {
            let change = source.change();
            if let What::Move { .. } = change.what {
                break change;
            }
        };
        let What::Move { from, to } = change.what else { unreachable!() };

        let mut records = Vec::new();
        write(&source, change, Place::first(), &mut records);

        let links = records.iter().map(|record| record.link.clone().unwrap());
        let (old, new) = (format!("{{\"id\":{from}}}"), format!("{{\"id\":{to}}}"));
        let newkey = ("__debezium.newkey", new);
        let expected = [newkey.clone(), newkey, ("__debezium.oldkey", old)];
        assert_eq!(links.collect::<Vec<_>>(), expected);
        let is_tombstone = records.iter().map(|record| record.value.is_none()).collect::<Vec<_>>();
        assert_eq!(is_tombstone, [false, true, false]);
        assert!(records[0].key == records[1].key && records[1].key != records[2].key);
    }
}

//! The envelope of `orders` as Avro in Confluent's frame: the encoding, written out by hand.
//!
//! The order of the fields is that of `schemas/orders-value.avsc`
//! (<https://avro.apache.org/docs/1.12.0/specification/#binary-encoding>).

use crate::demo::records::{Images, Place};
use crate::demo::registry::{ORDERS_KEY_ID, ORDERS_VALUE_ID};
use crate::demo::source::Order;

/// Encodes the key of an order.
pub(super) fn order_key(id: i64) -> Vec<u8> {
    let mut out = frame(ORDERS_KEY_ID);
    put_long(&mut out, id);
    out
}

/// Encodes an event of an order.
pub(super) fn order_value(op: &str, images: Images<'_, Order>, place: Place<'_>) -> Vec<u8> {
    let mut out = frame(ORDERS_VALUE_ID);
    match images {
        Images::After(id, order) => {
            put_branch(&mut out, 0);
            put_branch(&mut out, 1);
            put_order(&mut out, id, order);
        }
        Images::Before(id) => {
            put_branch(&mut out, 1);
            put_before(&mut out, id);
            put_branch(&mut out, 0);
        }
    }
    put_source(&mut out, place);
    // No transaction block.
    put_branch(&mut out, 0);
    put_text(&mut out, op);
    let nanos = place.sent_nanos;
    for time in [nanos / 1_000_000, nanos / 1000, nanos] {
        put_branch(&mut out, 1);
        put_long(&mut out, time);
    }
    out
}

fn put_order(out: &mut Vec<u8>, id: i64, order: &Order) {
    put_long(out, id);
    put_long(out, order.user_id);
    put_text(out, order.status);
    put_bytes(out, &shortest(order.amount));
    put_long(out, i64::from(order.quantity));
    put_optional(out, order.note.as_deref());
    put_long(out, order.created_at.micros_since_1970());
    put_optional(out, order.updated_at.map(|time| format!("{time}Z")).as_deref());
}

/// Under the default identity the log has the key only; Debezium fills in what is NOT NULL.
fn put_before(out: &mut Vec<u8>, id: i64) {
    put_long(out, id);
    put_long(out, 0);
    put_text(out, "");
    put_bytes(out, &[0]);
    put_long(out, 1);
    put_optional(out, None);
    put_long(out, 0);
    put_optional(out, None);
}

fn put_source(out: &mut Vec<u8>, place: Place<'_>) {
    put_text(out, "3.6.3.Final");
    put_text(out, "postgresql");
    put_text(out, place.server);
    put_long(out, place.commit_micros / 1000);
    // The one union here whose first branch is the text.
    put_branch(out, 0);
    put_text(out, place.snapshot);
    put_text(out, "inventory");
    put_optional(out, Some(&place.sequence()));
    for time in [place.commit_micros, place.commit_micros * 1000] {
        put_branch(out, 1);
        put_long(out, time);
    }
    put_text(out, "public");
    put_text(out, "orders");
    for number in [place.transaction, place.lsn] {
        put_branch(out, 1);
        put_long(out, number);
    }
    // xmin, origin, origin_lsn.
    (0..3).for_each(|_| put_branch(out, 0));
}

fn frame(schema: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    out.push(0);
    out.extend_from_slice(&schema.to_be_bytes());
    out
}

fn put_branch(out: &mut Vec<u8>, branch: i64) {
    put_long(out, branch);
}

fn put_optional(out: &mut Vec<u8>, text: Option<&str>) {
    put_branch(out, i64::from(text.is_some()));
    if let Some(text) = text {
        put_text(out, text);
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_bytes(out, text.as_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_long(out, i64::try_from(bytes.len()).unwrap_or(i64::MAX));
    out.extend_from_slice(bytes);
}

/// Zigzag, then seven bits a byte, the lowest first.
fn put_long(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    loop {
        let low = u8::try_from(rest & 0x7f).unwrap_or_default();
        rest >>= 7;
        if rest == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

/// Returns the fewest big-endian bytes whose two's complement is the number.
fn shortest(value: i64) -> Vec<u8> {
    let mut bytes = value.to_be_bytes().to_vec();
    while let [first, second, ..] = bytes.as_slice() {
        let is_needless = matches!((first, second), (0, 0..=0x7f) | (0xff, 0x80..=0xff));
        if !is_needless {
            break;
        }
        bytes.remove(0);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::records::tests::captured;
    use crate::demo::source::Time;

    /// Compares with a captured record but for the schemas' ids, which its registry gave.
    fn check(key: &[u8], value: &[u8], fixture: &str) {
        let (captured_key, captured_value) = captured(fixture);
        assert_eq!(key[5..], captured_key[5..]);
        assert_eq!(value[5..], captured_value[5..]);
        assert_eq!(key[..5], [0, 0, 0, 0, 1]);
        assert_eq!(value[..5], [0, 0, 0, 0, 2]);
    }

    #[test]
    fn orders_are_written_as_debezium_writes_them() {
        let time = |day, hour, minute, second, micros| Time {
            year: 2024,
            month: 5,
            day,
            hour,
            minute,
            second,
            micros,
        };
        let order = Order {
            user_id: 1,
            status: "new",
            amount: -1,
            quantity: 3,
            note: Some("first".into()),
            created_at: time(6, 7, 8, 9, 123_456),
            updated_at: Some(time(6, 7, 8, 9, 500_000)),
        };
        let place = Place {
            server: "dbserver1_avro",
            lsn: 32_503_808,
            committed_lsn: Some(32_503_808),
            transaction: 954,
            snapshot: "false",
            commit_micros: 1_795_206_548_030_174,
            sent_nanos: 1_795_206_548_043_960_367,
        };
        let value = order_value("c", Images::After(9001, &order), place);
        let fixture = include_str!("../../tests/fixtures/avro/orders-create.json");
        check(&order_key(9001), &value, fixture);

        let place = Place {
            lsn: 32_504_456,
            committed_lsn: Some(32_504_456),
            transaction: 957,
            commit_micros: 1_795_206_549_535_694,
            sent_nanos: 1_795_206_549_563_001_796,
            ..place
        };
        let value = order_value("d", Images::Before(9002), place);
        let fixture = include_str!("../../tests/fixtures/avro/orders-delete.json");
        check(&order_key(9002), &value, fixture);
    }

    #[test]
    fn numbers_take_the_fewest_bytes() {
        for (value, expected) in [
            (0, &[0][..]),
            (-1, &[0xff]),
            (127, &[0x7f]),
            (128, &[0, 0x80]),
            (-128, &[0x80]),
            (-129, &[0xff, 0x7f]),
            (12_345, &[0x30, 0x39]),
        ] {
            assert_eq!(shortest(value), expected, "{value}");
        }
    }
}

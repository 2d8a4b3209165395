//! Points and geometries: PostgreSQL's own `point`, PostGIS' types, and octets that hold both.

use std::io::Write as _;

use crate::decode::value::{Geometry, Point, Value};
use crate::table::Misfit;
use crate::target::ewkb;

/// Writes a `point`, which knows no reference system, also from a geometry that is one.
pub(in crate::target::postgres) fn point(
    value: Value<'_>,
    _: i32,
    out: &mut Vec<u8>,
) -> Result<(), Misfit> {
    let ([x, y], geometry) = match value {
        Value::Point(Point { x, y, geometry }) => ([x, y], geometry),
        Value::Geometry(geometry) => (ewkb::point(geometry.wkb)?, geometry),
        _ => return Err(Misfit::Type),
    };
    if geometry.srid.is_some_and(|srid| srid != 0) {
        return Err(Misfit::Range);
    }
    out.extend_from_slice(&x.to_be_bytes());
    out.extend_from_slice(&y.to_be_bytes());
    Ok(())
}

/// Writes a `geometry` or `geography` of PostGIS as hexadecimal digits, which it reads as a literal.
pub(in crate::target::postgres) fn geometry(
    value: Value<'_>,
    _: i32,
    out: &mut Vec<u8>,
) -> Result<(), Misfit> {
    let geometry = of(value)?;
    let mut octets = Vec::with_capacity(geometry.wkb.len() + 4);
    ewkb::write(geometry, &mut octets)?;
    for octet in octets {
        write!(out, "{octet:02x}").expect("a vector takes every byte");
    }
    Ok(())
}

fn of(value: Value<'_>) -> Result<Geometry<'_>, Misfit> {
    match value {
        Value::Geometry(geometry) | Value::Point(Point { geometry, .. }) => Ok(geometry),
        _ => Err(Misfit::Type),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Encode;

    fn check(encode: Encode, value: Value<'_>, expected: Result<&[u8], Misfit>) {
        let mut out = Vec::new();
        let found = encode(value, -1, &mut out).map(|()| out);
        assert_eq!(found.as_deref(), expected.as_deref(), "{value:?}");
    }

    #[test]
    fn a_point_is_two_numbers_and_knows_no_reference_system() {
        let at = |srid| {
            let geometry = Geometry { wkb: &[1, 1, 0, 0, 0], srid };
            Value::Point(Point { x: 1.0, y: -2.0, geometry })
        };
        let numbers = [1.0_f64, -2.0].map(f64::to_be_bytes).concat();
        check(point, at(None), Ok(&numbers));
        check(point, at(Some(0)), Ok(&numbers));
        check(point, at(Some(4326)), Err(Misfit::Range));
        let wkb = &[&[1, 1, 0, 0, 0][..], &[1.0_f64, -2.0].map(f64::to_le_bytes).concat()].concat();
        check(point, Value::Geometry(Geometry { wkb, srid: None }), Ok(&numbers));
        check(point, Value::Geometry(Geometry { wkb, srid: Some(0) }), Ok(&numbers));
        check(point, Value::Geometry(Geometry { wkb, srid: Some(4326) }), Err(Misfit::Range));
        check(point, Value::Geometry(Geometry { wkb: &wkb[..13], srid: None }), Err(Misfit::Form));
        check(geometry, at(Some(4326)), Ok(b"0101000020e6100000"));
        check(geometry, Value::Point(Point::default()), Err(Misfit::Form));
        check(geometry, Value::Text("POINT(1 2)"), Err(Misfit::Type));
    }
}

//! Extended well-known binary: a geometry with its reference system in it, as PostGIS keeps it.

use crate::decode::value::Geometry;
use crate::table::Misfit;

/// The bit of a geometry's type that says that the reference system follows.
const HAS_SRID: u32 = 0x2000_0000;

/// The type of a point of a plane.
const POINT: u32 = 1;

/// Reads a geometry that is a point of a plane, and has no reference system in it.
pub(crate) fn point(wkb: &[u8]) -> Result<[f64; 2], Misfit> {
    let (is_little, geometry_type, rest) = head(wkb)?;
    let (x, y) = rest.split_first_chunk::<8>().ok_or(Misfit::Form)?;
    let y = <&[u8; 8]>::try_from(y).map_err(|_| Misfit::Form)?;
    let read = if is_little { f64::from_le_bytes } else { f64::from_be_bytes };
    let [x, y] = [x, y].map(|octets| read(*octets));
    // Without a number at either place, a point is an empty one.
    if geometry_type != POINT || x.is_nan() || y.is_nan() {
        return Err(Misfit::Form);
    }
    Ok([x, y])
}

/// Takes off the order of the octets and the type.
fn head(wkb: &[u8]) -> Result<(bool, u32, &[u8]), Misfit> {
    let (order, rest) = wkb.split_first().ok_or(Misfit::Form)?;
    let (type_octets, rest) = rest.split_first_chunk::<4>().ok_or(Misfit::Form)?;
    match order {
        0 => Ok((false, u32::from_be_bytes(*type_octets), rest)),
        1 => Ok((true, u32::from_le_bytes(*type_octets), rest)),
        _ => Err(Misfit::Form),
    }
}

/// Writes a geometry with its reference system; without one, as it is.
pub(crate) fn write(geometry: Geometry<'_>, out: &mut Vec<u8>) -> Result<(), Misfit> {
    let (is_little, geometry_type, rest) = head(geometry.wkb)?;
    let read = |octets: &[u8; 4]| {
        if is_little { u32::from_le_bytes(*octets) } else { u32::from_be_bytes(*octets) }
    };
    let write = |number: u32| if is_little { number.to_le_bytes() } else { number.to_be_bytes() };
    let srid = geometry.srid.filter(|srid| *srid != 0).map(i32::cast_unsigned);
    if geometry_type & HAS_SRID != 0 {
        let inner = rest.first_chunk::<4>().ok_or(Misfit::Form)?;
        if srid.is_some_and(|srid| srid != read(inner)) {
            return Err(Misfit::Form);
        }
        out.extend_from_slice(geometry.wkb);
        return Ok(());
    }
    let Some(srid) = srid else {
        out.extend_from_slice(geometry.wkb);
        return Ok(());
    };
    out.push(u8::from(is_little));
    out.extend_from_slice(&write(geometry_type | HAS_SRID));
    out.extend_from_slice(&write(srid));
    out.extend_from_slice(rest);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(wkb: &[u8], srid: Option<i32>, expected: Result<&[u8], Misfit>) {
        let mut out = Vec::new();
        let found = write(Geometry { wkb, srid }, &mut out).map(|()| out);
        assert_eq!(found.as_deref(), expected.as_deref());
    }

    #[test]
    fn a_point_is_read_in_either_order_and_nothing_else_for_one() {
        let wkb = |octets: [u8; 5], numbers: &[[u8; 8]]| [&octets[..], &numbers.concat()].concat();
        let (little, big) = ([1, 1, 0, 0, 0], [0, 0, 0, 0, 1]);
        let of = |numbers: [f64; 2]| numbers.map(f64::to_le_bytes);
        assert_eq!(point(&wkb(little, &of([1.5, -2.0]))), Ok([1.5, -2.0]));
        assert_eq!(point(&wkb(big, &[1.5, -2.0].map(f64::to_be_bytes))), Ok([1.5, -2.0]));
        let empty = wkb(little, &of([f64::NAN; 2]));
        let line = wkb([1, 2, 0, 0, 0], &of([1.5, -2.0]));
        let with_srid = wkb([1, 1, 0, 0, 0x20], &of([1.5, -2.0]));
        let with_height = wkb(little, &[1.5, -2.0, 3.0].map(f64::to_le_bytes));
        for other in [empty, line, with_srid, with_height, little.to_vec(), Vec::new()] {
            assert_eq!(point(&other), Err(Misfit::Form), "{other:?}");
        }
    }

    #[test]
    fn a_reference_system_is_written_into_the_geometry_once() {
        let plain = [1, 1, 0, 0, 0, 7];
        check(&plain, None, Ok(&plain));
        check(&plain, Some(0), Ok(&plain));
        let with = [1, 1, 0, 0, 0x20, 0xe6, 0x10, 0, 0, 7];
        check(&plain, Some(4326), Ok(&with));
        check(&with, Some(4326), Ok(&with));
        check(&with, None, Ok(&with));
        check(&with, Some(3187), Err(Misfit::Form));
        check(&[0, 0, 0, 0, 1, 7], Some(1), Ok(&[0, 0x20, 0, 0, 1, 0, 0, 0, 1, 7]));
        check(&[2, 0, 0, 0, 1], None, Err(Misfit::Form));
        check(&[1, 0, 0], None, Err(Misfit::Form));
        check(&[], None, Err(Misfit::Form));
    }
}

//! Extended well-known binary: a geometry with its reference system in it, as PostGIS keeps it.

use crate::decode::value::Geometry;
use crate::table::Misfit;

/// The bit of a geometry's type that says that the reference system follows.
const HAS_SRID: u32 = 0x2000_0000;

/// Writes a geometry with its reference system; without one, as it is.
pub(crate) fn write(geometry: Geometry<'_>, out: &mut Vec<u8>) -> Result<(), Misfit> {
    let (order, rest) = geometry.wkb.split_first().ok_or(Misfit::Form)?;
    let (type_octets, rest) = rest.split_first_chunk::<4>().ok_or(Misfit::Form)?;
    let is_little = match order {
        0 => false,
        1 => true,
        _ => return Err(Misfit::Form),
    };
    let read = |octets: &[u8; 4]| {
        if is_little { u32::from_le_bytes(*octets) } else { u32::from_be_bytes(*octets) }
    };
    let write = |number: u32| if is_little { number.to_le_bytes() } else { number.to_be_bytes() };
    let geometry_type = read(type_octets);
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
    out.push(*order);
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

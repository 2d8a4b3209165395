//! What goes into columns of octets.

use crate::decode::value::Value;
use crate::table::Misfit;
use crate::target::ewkb;

/// Writes octets, those that a text spells, or a geometry with its reference system in it.
pub(crate) fn write(value: Value<'_>, out: &mut Vec<u8>) -> Result<(), Misfit> {
    match value {
        Value::Bytes(value) => out.extend_from_slice(value),
        Value::Spelled { spelling, text } => spelling.read(text, out).ok_or(Misfit::Form)?,
        Value::Geometry(geometry) => ewkb::write(geometry, out)?,
        Value::Point(point) => ewkb::write(point.geometry, out)?,
        _ => return Err(Misfit::Type),
    }
    Ok(())
}

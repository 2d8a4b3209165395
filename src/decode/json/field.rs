//! One column's value in JSON: from its text into the row's next cell.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeSeed as _;
use serde_json::Number;

use crate::decode::found::Broken;
use crate::decode::json::cursor::Met;
use crate::decode::json::parts::PackSeed;
use crate::decode::layout::Step;
use crate::decode::value::kind::Kind;
use crate::decode::value::packed::{Packer, Packing, Parts, single};
use crate::decode::value::semantic::Literal;
use crate::rows::RowWriter;

/// Writes one field as the row's next cell.
///
/// # Errors
///
/// The value does not fit, or is no JSON.
pub(super) fn write(
    step: &Step,
    met: Met<'_>,
    writer: &mut RowWriter<'_>,
    scratch: &mut Vec<u8>,
) -> Result<(), Broken> {
    let text = met.text;
    if step.is_blank {
        return step.write(writer, Literal::Null);
    }
    let packing = step.kind.packing();
    let of_parts = match &step.object {
        Some(kind) => text.starts_with('{').then_some(kind),
        None => packing.has_parts().then_some(&step.kind),
    };
    if let Some(kind) = of_parts {
        return write_parts((step, kind), text, writer, scratch);
    }
    // Of a number its own digits: a decimal's no double holds, and a single's it may round.
    let number = match packing {
        _ if step.object.is_some() => None,
        Packing::Decimal | Packing::Digits => {
            let is_number = text.starts_with(|it: char| it == '-' || it.is_ascii_digit());
            is_number.then_some(Literal::Text(text))
        }
        Packing::Single => single(text),
        _ => None,
    };
    match number {
        Some(literal) => step.write(writer, literal),
        None => write_plain(step, met, writer, scratch),
    }
}

/// Takes what has no parts.
fn write_plain(
    step: &Step,
    met: Met<'_>,
    writer: &mut RowWriter<'_>,
    scratch: &mut Vec<u8>,
) -> Result<(), Broken> {
    let malformed = |_| Broken::Malformed(step.place());
    match (met.plain, met.text.as_bytes()) {
        (Some(Literal::Text(text)), _) => write_text(step, text, writer, scratch),
        (Some(literal), _) => step.write(writer, literal),
        (None, [b'"', ..]) => {
            let text = serde_json::from_str::<String>(met.text).map_err(malformed)?;
            write_text(step, &text, writer, scratch)
        }
        // As unfit as a number for a text, whatever the parts.
        (None, [b'{' | b'[', ..]) => step.write(writer, Literal::Parts(Parts::default())),
        (None, _) => {
            let number = serde_json::from_str::<Number>(met.text).map_err(malformed)?;
            match (number.as_i64(), number.is_u64(), number.as_f64()) {
                (Some(int), ..) => step.write(writer, Literal::Int(int)),
                (None, false, Some(float)) => step.write(writer, Literal::Float64(float)),
                _ => {
                    let detail = format!("column \"{}\" is beyond 64 bits", step.name);
                    Err(Broken::Unfit(detail))
                }
            }
        }
    }
}

/// Takes a text, or the octets that it stands for.
fn write_text(
    step: &Step,
    text: &str,
    writer: &mut RowWriter<'_>,
    scratch: &mut Vec<u8>,
) -> Result<(), Broken> {
    if !matches!(step.kind.packing(), Packing::Octets | Packing::Decimal) {
        return step.write(writer, Literal::Text(text));
    }
    scratch.clear();
    if STANDARD.decode_vec(text, scratch).is_err() {
        let detail = format!("column \"{}\" is no base64 ({:?})", step.name, step.kind);
        return Err(Broken::Unfit(detail));
    }
    step.write(writer, Literal::Bytes(scratch))
}

/// Takes an array, a map or a struct.
fn write_parts(
    (step, kind): (&Step, &Kind),
    text: &str,
    writer: &mut RowWriter<'_>,
    scratch: &mut Vec<u8>,
) -> Result<(), Broken> {
    scratch.clear();
    let mut packer = Packer::new(scratch);
    let mut json = serde_json::Deserializer::from_str(text);
    let packed = PackSeed { packing: kind.packing(), packer: &mut packer }.deserialize(&mut json);
    match packed.ok().and_then(|()| Parts::new(scratch).next()) {
        Some(literal) => step.write_as(kind, writer, literal),
        None => Err(Broken::Unfit(format!("column \"{}\" is no {kind:?}", step.name))),
    }
}

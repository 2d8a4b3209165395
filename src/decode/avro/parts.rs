//! Avro arrays, maps and records: one walk over their bytes into packed literals.

use crate::decode::avro::Cursor;
use crate::decode::schema::avro::Reader;
use crate::decode::value::packed::{Packer, Packing};
use crate::decode::value::semantic::Literal;

impl Cursor<'_> {
    /// Packs one value; `None` when the bytes break off, or have other parts than the packing's.
    pub(super) fn pack(
        &mut self,
        reader: &Reader,
        packing: Packing<'_>,
        packer: &mut Packer<'_>,
    ) -> Option<()> {
        match (reader, packing) {
            (Reader::Union(branches), _) => {
                let branch = self.branch(branches)?;
                return self.pack(branch, packing, packer);
            }
            (Reader::Array(items), Packing::List(kind)) => {
                let opened = packer.open();
                self.blocks(|cursor| cursor.pack(items, kind.packing(), packer))?;
                packer.close(&opened);
            }
            (Reader::Map(values), Packing::Pairs) => {
                let opened = packer.open();
                self.blocks(|cursor| {
                    packer.push(cursor.literal(&Reader::Text)?);
                    cursor.pack(values, Packing::Plain, packer)
                })?;
                packer.close(&opened);
            }
            // A map whose keys are no texts is a list of entries.
            (Reader::Array(items), Packing::Pairs) => {
                let opened = packer.open();
                self.blocks(|cursor| {
                    let [key, value] = cursor.record(items)?? else { return None };
                    for field in [key, value] {
                        let reader = cursor.reader(field)?;
                        cursor.pack(reader, Packing::Plain, packer)?;
                    }
                    Some(())
                })?;
                packer.close(&opened);
            }
            (Reader::Record(_), Packing::Scaled) => {
                return self.pack(reader, Packing::SCALED, packer);
            }
            (Reader::Record(fields), Packing::Fields(known)) => {
                let opened = packer.open();
                for field in &**fields {
                    let (name, reader) = (&field.name, self.reader(field)?);
                    let mut known = (0..).zip(known);
                    let Some((index, (_, packing))) = known.find(|(_, (it, _))| it == name) else {
                        self.skip(reader)?;
                        continue;
                    };
                    packer.push(Literal::Int(index));
                    self.pack(reader, *packing, packer)?;
                }
                packer.close(&opened);
            }
            (Reader::Array(_) | Reader::Map(_) | Reader::Record(_), _) => return None,
            _ => packer.push(self.literal(reader)?),
        }
        Some(())
    }
}

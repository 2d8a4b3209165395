//! Avro's numbers: zig-zag, seven bits in a byte, the lowest ones first.

use crate::decode::avro::Cursor;

impl Cursor<'_> {
    /// Reads a number in zig-zag form.
    #[inline(always)]
    pub(super) fn long(&mut self) -> Option<i64> {
        // Most are lengths, branches or counts.
        if let [byte @ ..0x80, rest @ ..] = self.0 {
            self.0 = rest;
            return Some(signed(u64::from(*byte)));
        }
        self.long_of_some()
    }

    /// Reads a number of up to eight bytes at once, where as many are left.
    fn long_of_some(&mut self) -> Option<i64> {
        let Some(word) = self.0.first_chunk().map(|word| u64::from_le_bytes(*word)) else {
            return self.long_of_many();
        };
        let Some(length) = length_of_long(word) else { return self.long_of_many() };
        // Seven bits of each byte move together, by twos, fours and eights.
        let bits = word & (u64::MAX >> (64 - 8 * length)) & 0x7f7f_7f7f_7f7f_7f7f;
        let bits = bits & 0x007f_007f_007f_007f | (bits & 0x7f00_7f00_7f00_7f00) >> 1;
        let bits = bits & 0x0000_3fff_0000_3fff | (bits & 0x3fff_0000_3fff_0000) >> 2;
        let bits = bits & 0x0000_0000_0fff_ffff | (bits & 0x0fff_ffff_0000_0000) >> 4;
        self.take(usize::try_from(length).ok()?)?;
        Some(signed(bits))
    }

    #[inline(always)]
    pub(super) fn skip_long(&mut self) -> Option<()> {
        let word = self.0.first_chunk().map(|word| u64::from_le_bytes(*word));
        match word.and_then(length_of_long) {
            Some(length) => self.take(usize::try_from(length).ok()?).map(drop),
            None => self.skip_long_of_many(),
        }
    }

    /// Skips a number that the first eight bytes, if there are as many, do not end: one of nine, as
    /// nanoseconds since the epoch are, or any other.
    fn skip_long_of_many(&mut self) -> Option<()> {
        if let [_, _, _, _, _, _, _, 0x80..=0xff, 0..0x80, rest @ ..] = self.0 {
            self.0 = rest;
            return Some(());
        }
        self.long_of_many().map(drop)
    }

    fn long_of_many(&mut self) -> Option<i64> {
        let mut number = 0_u64;
        for (byte, shift) in self.0.iter().zip((0..64).step_by(7)) {
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                self.0 = self.0.get(shift / 7 + 1..)?;
                return Some(signed(number));
            }
        }
        None
    }
}

/// Undoes the zig-zag, which has the sign in the lowest bit.
fn signed(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

/// Returns of how many bytes a number is whose first eight these are, the first one lowest; `None`
/// where it has more.
#[inline]
fn length_of_long(word: u64) -> Option<u32> {
    // Only the last byte lacks the highest bit.
    let ends = !word & 0x8080_8080_8080_8080;
    (ends != 0).then(|| ends.trailing_zeros() / 8 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_length_are_read_and_skipped() {
        for shift in 0..64 {
            for number in [1_u64 << shift, u64::MAX >> shift, (1 << shift) - 1] {
                let (mut bytes, mut rest) = (Vec::new(), number);
                while rest >= 0x80 {
                    bytes.push(rest.to_le_bytes()[0] | 0x80);
                    rest >>= 7;
                }
                bytes.push(rest.to_le_bytes()[0]);
                let length = bytes.len();
                for behind in 0..10 {
                    bytes.resize(length + behind, 0xff);
                    let (mut read, mut skipped) = (Cursor(&bytes), Cursor(&bytes));
                    assert_eq!(read.long(), Some(signed(number)), "{bytes:?}");
                    assert_eq!(skipped.skip_long(), Some(()), "{bytes:?}");
                    assert_eq!([read.0.len(), skipped.0.len()], [behind; 2], "{bytes:?}");
                }
                let broken = bytes.get(..length - 1).unwrap();
                assert_eq!((Cursor(broken).long(), Cursor(broken).skip_long()), (None, None));
            }
        }
        let endless = [0xff; 12];
        assert_eq!((Cursor(&endless).long(), Cursor(&endless).skip_long()), (None, None));
        // More bytes than needed say the same.
        let (mut read, mut skipped) = (Cursor(&[0x82, 0x80, 0]), Cursor(&[0x82, 0x80, 0]));
        assert_eq!((read.long(), skipped.skip_long()), (Some(1), Some(())));
        assert_eq!((read.0, skipped.0), (&[][..], &[][..]));
    }
}

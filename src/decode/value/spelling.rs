//! Spellings: texts that stand for octets (`binary.handling.mode`).

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

/// How a text spells octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// Standard base64 with padding.
    Base64,
    /// The same with the alphabet for URLs.
    Base64UrlSafe,
    /// Two hexadecimal digits each.
    Hex,
}

impl Spelling {
    /// Appends the octets that a text spells; `None` when it spells none.
    pub fn read(self, text: &str, out: &mut Vec<u8>) -> Option<()> {
        match self {
            Self::Base64 => STANDARD.decode_vec(text, out).ok(),
            Self::Base64UrlSafe => URL_SAFE.decode_vec(text, out).ok(),
            Self::Hex => {
                let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
                for [high, low] in pairs {
                    out.push(digit(*high)? << 4 | digit(*low)?);
                }
                Some(())
            }
        }
    }
}

fn digit(letter: u8) -> Option<u8> {
    match letter {
        b'0'..=b'9' => Some(letter - b'0'),
        b'a'..=b'f' => Some(letter - b'a' + 10),
        b'A'..=b'F' => Some(letter - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_spells_octets_in_its_own_way_only() {
        let check = |spelling: Spelling, text: &str, expected: Option<&[u8]>| {
            let mut out = Vec::new();
            let found = spelling.read(text, &mut out).map(|()| out);
            assert_eq!(found.as_deref(), expected, "{spelling:?} {text}");
        };
        check(Spelling::Base64, "++//", Some(&[0xfb, 0xef, 0xff]));
        check(Spelling::Base64UrlSafe, "--__", Some(&[0xfb, 0xef, 0xff]));
        check(Spelling::Base64UrlSafe, "++//", None);
        check(Spelling::Base64, "AA", None);
        check(Spelling::Hex, "00fF", Some(&[0, 255]));
        check(Spelling::Hex, "00f", None);
        check(Spelling::Hex, "0g", None);
        for spelling in [Spelling::Base64, Spelling::Base64UrlSafe, Spelling::Hex] {
            check(spelling, "", Some(&[]));
        }
    }
}

//! JSON's text, walked from its front.
//!
//! Names and texts without escapes, whole numbers and the three words are read here: nearly all of a
//! record is those. Whatever else comes is `serde_json`'s.

use serde_json::value::RawValue;

use crate::decode::value::semantic::Literal;

/// What is left of a text. Every method that returns an option returns `None` when the text goes on
/// with something else, or is no JSON.
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

/// A value that was met.
#[derive(Clone, Copy)]
pub(super) struct Met<'a> {
    /// Its text.
    pub(super) text: &'a str,
    /// What it says, where that needs no library.
    pub(super) plain: Option<Literal<'a>>,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Returns how far it has come, in bytes.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Returns what it has passed over since it was there.
    pub(super) fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    /// Takes exactly this, if it comes next.
    #[inline]
    pub(super) fn take(&mut self, known: &str) -> bool {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let is_next = rest.starts_with(known.as_bytes());
        self.at += if is_next { known.len() } else { 0 };
        is_next
    }

    /// Makes sure that nothing is left.
    pub(super) fn end(&mut self) -> Option<()> {
        self.next().is_none().then_some(())
    }

    /// Enters an object; `false` where null stands for it.
    pub(super) fn object(&mut self) -> Option<bool> {
        match self.next()? {
            b'{' => {
                self.at += 1;
                Some(true)
            }
            _ => self.null().map(|()| false),
        }
    }

    /// Goes to the next field of an object; `false` at its end, which it takes.
    pub(super) fn field(&mut self, is_first: bool) -> Option<bool> {
        match self.next()? {
            b'}' => {
                self.at += 1;
                Some(false)
            }
            b',' if !is_first => {
                self.at += 1;
                (self.next()? == b'"').then_some(true)
            }
            _ => is_first.then_some(true),
        }
    }

    /// Takes a field's name, and the colon behind it.
    pub(super) fn name<T>(&mut self, read: impl FnOnce(&str) -> T) -> Option<T> {
        let read = self.string(read)?;
        if self.next()? != b':' {
            return None;
        }
        self.at += 1;
        Some(read)
    }

    /// Takes a value.
    pub(super) fn value(&mut self) -> Option<Met<'a>> {
        let first = self.next()?;
        let start = self.at;
        let plain = match first {
            b'"' => self.plain_string().map(Literal::Text),
            b'n' => self.word("null", Literal::Null),
            b't' => self.word("true", Literal::Bool(true)),
            b'f' => self.word("false", Literal::Bool(false)),
            _ => self.whole_number().map(Literal::Int),
        };
        match plain {
            Some(_) => Some(Met { text: self.text.get(start..self.at)?, plain }),
            None => self.raw().map(|text| Met { text, plain }),
        }
    }

    /// Passes over a value.
    pub(super) fn skip(&mut self) -> Option<()> {
        match self.next()? {
            b'"' if self.skip_string() => Some(()),
            b'1'..=b'9' if self.skip_whole_number() => Some(()),
            _ => self.value().map(drop),
        }
    }

    /// Passes over a string whose escapes are of one letter, at whose quote this is.
    fn skip_string(&mut self) -> bool {
        let mut at = self.at + 1;
        loop {
            let rest = self.text.as_bytes().get(at..).unwrap_or_default();
            let Some(length) = special(rest) else { return false };
            match rest.get(length..) {
                Some([b'"', ..]) => {
                    self.at = at + length + 1;
                    return true;
                }
                Some([b'\\', b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..]) => {
                    at += length + 2;
                }
                _ => return false,
            }
        }
    }

    /// Passes over a number without sign, fraction and exponent, at whose first digit this is.
    fn skip_whole_number(&mut self) -> bool {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let length = digits(rest);
        let is_whole = !matches!(rest.get(length), Some(b'.' | b'e' | b'E'));
        self.at += if is_whole { length } else { 0 };
        is_whole
    }

    /// Takes a text; the inner `None` is null.
    #[expect(clippy::option_option, reason = "the outer one is another value, the inner one null")]
    pub(super) fn text<T>(&mut self, read: impl FnOnce(&str) -> T) -> Option<Option<T>> {
        if self.next()? == b'"' {
            return self.string(read).map(Some);
        }
        self.null().map(|()| None)
    }

    /// Takes a whole number; the inner `None` is null.
    #[expect(clippy::option_option, reason = "the outer one is another value, the inner one null")]
    pub(super) fn int(&mut self) -> Option<Option<i64>> {
        let Met { text, plain } = self.value()?;
        match plain {
            Some(Literal::Int(int)) => Some(Some(int)),
            Some(Literal::Null) => Some(None),
            Some(_) => None,
            None => text.parse().ok().map(Some),
        }
    }

    fn null(&mut self) -> Option<()> {
        (self.value()?.plain? == Literal::Null).then_some(())
    }

    /// Passes over blanks; returns what comes behind them.
    fn next(&mut self) -> Option<u8> {
        loop {
            let byte = *self.text.as_bytes().get(self.at)?;
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    fn string<T>(&mut self, read: impl FnOnce(&str) -> T) -> Option<T> {
        if self.next()? != b'"' {
            return None;
        }
        match self.plain_string() {
            Some(text) => Some(read(text)),
            None => serde_json::from_str::<String>(self.raw()?).ok().map(|text| read(&text)),
        }
    }

    /// Takes a string without escapes, at whose quote this is.
    fn plain_string(&mut self) -> Option<&'a str> {
        let start = self.at + 1;
        let rest = self.text.as_bytes().get(start..)?;
        let length = special(rest).filter(|at| rest.get(*at) == Some(&b'"'))?;
        self.at = start + length + 1;
        self.text.get(start..start + length)
    }

    fn word(&mut self, word: &str, literal: Literal<'a>) -> Option<Literal<'a>> {
        self.text.get(self.at..)?.starts_with(word).then(|| {
            self.at += word.len();
            literal
        })
    }

    /// Takes a number without fraction and exponent that 64 bits hold.
    fn whole_number(&mut self) -> Option<i64> {
        const DIGITS_MAX: usize = 19;
        let rest = self.text.as_bytes().get(self.at..)?;
        let digits = rest.strip_prefix(b"-").unwrap_or(rest);
        let is_negative = digits.len() < rest.len();
        let count = self::digits(digits);
        if count > DIGITS_MAX {
            return None;
        }
        let (words, last) = digits.get(..count)?.as_chunks();
        let number = words.iter().fold(0, |number, word| number * 100_000_000 + eight(*word));
        let append = |number, digit: &u8| number * 10 + u64::from(digit - b'0');
        let number = last.iter().fold(number, append);
        let is_whole = match (digits.get(..count)?, digits.get(count)) {
            (_, Some(b'.' | b'e' | b'E')) | ([], _) => false,
            // As -0 is a double, and a zero in front is no number.
            ([b'0', ..], _) => count == 1 && !is_negative,
            _ => true,
        };
        let number = i64::try_from(number).ok().filter(|_| is_whole)?;
        self.at += rest.len() - digits.len() + count;
        Some(if is_negative { -number } else { number })
    }

    /// Takes any value.
    fn raw(&mut self) -> Option<&'a str> {
        let json = serde_json::Deserializer::from_str(self.text.get(self.at..)?);
        let mut values = json.into_iter::<&RawValue>();
        let raw = values.next()?.ok()?;
        self.at += values.byte_offset();
        Some(raw.get())
    }
}

/// Counts the digits at the front, eight at a time.
fn digits(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        // The high half of a digit is a 3, also six above it; no byte of a text reaches the next.
        let high = |word: u64| word & 0xf0f0_f0f0_f0f0_f0f0 ^ 0x3030_3030_3030_3030;
        let others = high(word) | high(word.wrapping_add(0x0606_0606_0606_0606));
        if others != 0 {
            return index * 8 + usize::try_from(others.trailing_zeros() / 8).unwrap_or_default();
        }
    }
    let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    words.len() * 8 + count
}

/// Reads eight digits: pairs become numbers below 100, those below 10,000, and those one.
fn eight(digits: [u8; 8]) -> u64 {
    let ones = u64::from_le_bytes(digits) & 0x0f0f_0f0f_0f0f_0f0f;
    let pairs = (ones.wrapping_mul(10 << 8 | 1) >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs.wrapping_mul(100 << 16 | 1) >> 16) & 0x0000_ffff_0000_ffff;
    fours.wrapping_mul(10_000 << 32 | 1) >> 32
}

/// Finds the first quote, backslash or control character, eight bytes at a time.
fn special(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let below = |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word;
    let (words, rest) = bytes.as_chunks();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let quote = below(word ^ (ONES * u64::from(b'"')), 1);
        let backslash = below(word ^ (ONES * u64::from(b'\\')), 1);
        // The lowest mark is right; what is above it may be a borrow's.
        let marks = (below(word, b' ') | quote | backslash) & (ONES << 7);
        if marks != 0 {
            return Some(index * 8 + usize::try_from(marks.trailing_zeros() / 8).ok()?);
        }
    }
    let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | ..b' ');
    rest.iter().position(is_special).map(|index| words.len() * 8 + index)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Prints what comes at the front of a text, and where the cursor is then.
    fn value(text: &str) -> String {
        let mut cursor = Cursor::new(text);
        match cursor.value() {
            Some(Met { text, plain: Some(plain) }) => format!("{plain:?} {text} {}", cursor.at()),
            Some(Met { text, plain: None }) => format!("{text} {}", cursor.at()),
            None => "broken".to_owned(),
        }
    }

    #[test]
    fn digits_end_where_another_byte_comes() {
        for other in (0..=u8::MAX).filter(|byte| !byte.is_ascii_digit() && *byte < 0xf5) {
            for length in 0..20 {
                let mut bytes = vec![b'9'; length];
                bytes.extend([other; 20]);
                assert_eq!(digits(&bytes), length, "{other}");
                bytes.truncate(length);
                assert_eq!(digits(&bytes), length);
            }
        }
    }

    #[test]
    fn what_is_passed_over_ends_where_it_would_be_read_to() {
        let numbers =
            ["0", "7", "-7", "1234567890123456789012", "1.5", "1e3", "01", "-", "1.", "1x"];
        let others = [
            "null",
            "true",
            "\"a\"",
            "\"a\\\"b\"",
            "\"\\n\"",
            "\"\\u0041\"",
            "\"\\x\"",
            "\"\\\"",
            "[1, 2]",
            "{\"a\": {}}",
            "nul",
            "\"a",
        ];
        for text in numbers.iter().chain(&others) {
            for behind in ["", ",", " }"] {
                let text = format!(" {text}{behind}");
                let (mut skipped, mut read) = (Cursor::new(&text), Cursor::new(&text));
                assert_eq!(skipped.skip().is_some(), read.value().is_some(), "{text}");
                assert_eq!(skipped.at(), read.at(), "{text}");
            }
        }
    }

    #[test]
    fn what_is_plain_is_read_at_once() {
        assert_eq!(value(" null,"), "Null null 5");
        assert_eq!(value("true}"), "Bool(true) true 4");
        assert_eq!(value("false"), "Bool(false) false 5");
        assert_eq!(value("\n\t\r -12 "), "Int(-12) -12 7");
        assert_eq!(value("0]"), "Int(0) 0 1");
        assert_eq!(value("999999999999999999,"), "Int(999999999999999999) 999999999999999999 18");
        assert_eq!(value("\"\" "), "Text(\"\") \"\" 2");
        assert_eq!(
            value("\"äöü in many bytes\","),
            "Text(\"äöü in many bytes\") \"äöü in many bytes\" 22"
        );
    }

    #[test]
    fn what_is_not_is_the_librarys() {
        for (text, expected) in [
            ("1.5,", "1.5 3"),
            ("1e3 ", "1e3 3"),
            ("-0,", "-0 2"),
            ("9223372036854775808,", "9223372036854775808 19"),
            ("12345678901234567890,", "12345678901234567890 20"),
            ("\"a\\\"b\",", "\"a\\\"b\" 6"),
            ("{\"a\":[1,{}]},1", "{\"a\":[1,{}]} 12"),
            (" [ ] ", "[ ] 4"),
        ] {
            assert_eq!(value(text), expected);
        }
        for text in
            ["", "nul", "01", "-", "+1", "\"a", "\"a\u{1}\"", "\"a\\x\"", "[1,]", "{\"a\"}", "x"]
        {
            assert_eq!(value(text), "broken", "{text}");
        }
    }

    #[test]
    fn the_end_of_a_string_is_found_wherever_it_is() {
        for length in 0..40 {
            for end in ['"', '\\', '\n', '\u{1f}'] {
                let text = format!("{}{end}{}", "é".repeat(length), "\"\\\u{0}".repeat(9));
                assert_eq!(special(text.as_bytes()), Some(length * 2), "{text:?}");
            }
        }
        assert_eq!(special("é!# no such end \u{7f}".as_bytes()), None);
    }

    #[test]
    fn fields_come_one_by_one() {
        let mut cursor = Cursor::new(" { \"a\" : 1 , \"\\u0062\":\"x\"} ");
        assert_eq!(cursor.object(), Some(true));
        assert_eq!(cursor.field(true), Some(true));
        assert_eq!(cursor.name(str::to_owned).as_deref(), Some("a"));
        assert_eq!(cursor.int(), Some(Some(1)));
        assert_eq!(cursor.field(false), Some(true));
        assert_eq!(cursor.name(str::to_owned).as_deref(), Some("b"));
        assert_eq!(cursor.text(str::len), Some(Some(1)));
        assert_eq!(cursor.field(false), Some(false));
        assert_eq!(cursor.end(), Some(()));
        for (text, is_first) in [(",\"a\":1", true), ("\"a\" 1", true), (",}", false)] {
            let mut cursor = Cursor::new(text);
            assert_eq!(cursor.field(is_first).and_then(|_| cursor.name(str::len)), None, "{text}");
        }
        for text in ["\"a\":1", ",}", ","] {
            assert_eq!(Cursor::new(text).field(false), None, "{text}");
        }
        assert_eq!(Cursor::new("null").object(), Some(false));
        assert_eq!(Cursor::new("[]").object(), None);
        assert_eq!(Cursor::new("1.5").int(), None);
        assert_eq!(Cursor::new("-9223372036854775807").int(), Some(Some(-i64::MAX)));
        assert_eq!(Cursor::new("-9223372036854775808").int(), Some(Some(i64::MIN)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn whole_numbers_are_read_at_every_length(number: i64, cut in 0..20_u32) {
            let number = number.checked_div(10_i64.checked_pow(cut).unwrap_or(1)).unwrap_or(number);
            let text = format!("{number},");
            let plain = Cursor::new(&text).value().and_then(|met| met.plain);
            prop_assert_eq!(plain, Some(Literal::Int(number)));
        }

        /// Of what nobody would write the library has the last word.
        #[test]
        fn a_value_is_what_the_library_takes_for_one(text in r#"[ \n]?["\\\[\]{},:0-9.eE+\-nultrfasb\x01é]{1,12}"#) {
            let mut values = serde_json::Deserializer::from_str(&text).into_iter::<&RawValue>();
            let expected = values.next().and_then(Result::ok);
            let mut cursor = Cursor::new(&text);
            let met = cursor.value();
            // What comes behind a value is the next step's to judge.
            if let Some(expected) = expected {
                prop_assert_eq!(met.map(|met| met.text), Some(expected.get()));
                prop_assert_eq!(cursor.at(), values.byte_offset());
            }
            let Some(Met { text, plain }) = met else { return Ok(()) };
            prop_assert!(serde_json::from_str::<&RawValue>(text).is_ok(), "{}", text);
            match plain {
                Some(Literal::Text(plain)) => {
                    prop_assert_eq!(plain, serde_json::from_str::<String>(text).unwrap());
                }
                Some(Literal::Int(plain)) => {
                    prop_assert_eq!(plain, serde_json::from_str::<i64>(text).unwrap());
                }
                _ => {}
            }
        }
    }
}

//! The names of an envelope's fields, as the record before spelled them.

use crate::decode::json::cursor::Cursor;
use crate::decode::schema::envelope::EnvelopeField;

/// How many are remembered: an envelope of Debezium's has some thirty.
const NAMES_MAX: usize = 64;

/// The fields of the last envelope and its source block in their order: nearly always those of the
/// next one, so that its names need not be read.
#[derive(Debug, Default)]
pub struct Names {
    known: Vec<Known>,
    next: usize,
}

/// A field that was met.
#[derive(Debug)]
struct Known {
    /// Its name with the comma before it, unless it is an object's first, and the colon behind it.
    spelled: Box<str>,
    is_first: bool,
    part: Option<EnvelopeField>,
}

/// What comes next in an envelope or a source block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A field: a part, or any other.
    Field(Option<EnvelopeField>),
    /// Nothing more.
    End,
}

impl Names {
    /// Begins an envelope.
    pub(super) fn begin(&mut self) {
        self.next = 0;
    }

    /// Goes to the next field of an object, and takes its name and the colon behind it, or to the
    /// object's end, which it takes; `None` when the text goes on with something else.
    pub(super) fn take(&mut self, cursor: &mut Cursor<'_>, is_first: bool) -> Option<Next> {
        let index = self.next;
        if let Some(known) = self.known.get(index)
            && known.is_first == is_first
            && cursor.take(&known.spelled)
        {
            self.next += 1;
            return Some(Next::Field(known.part));
        }
        let start = cursor.at();
        if !cursor.field(is_first)? {
            return Some(Next::End);
        }
        self.next += 1;
        let part = cursor.name(EnvelopeField::of)?;
        let known = Known { spelled: cursor.since(start).into(), is_first, part };
        match self.known.get_mut(index) {
            Some(other) => *other = known,
            None if index < NAMES_MAX => self.known.push(known),
            None => {}
        }
        Some(Next::Field(part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(names: &mut Names, text: &str) -> Vec<Option<Next>> {
        let mut cursor = Cursor::new(text);
        assert_eq!(cursor.object(), Some(true));
        names.begin();
        let mut found = vec![names.take(&mut cursor, true)];
        while let Some(Some(Next::Field(_))) = found.last() {
            cursor.skip();
            found.push(names.take(&mut cursor, false));
        }
        if found.last() == Some(&Some(Next::End)) {
            assert_eq!(cursor.at(), text.len());
        }
        found
    }

    #[test]
    fn names_mean_the_same_whatever_the_record_before_had() {
        let mut names = Names::default();
        let field = |part| Some(Next::Field(part));
        let (op, time) = (field(Some(EnvelopeField::Op)), field(Some(EnvelopeField::Time)));
        let (other, end) = (field(None), Some(Next::End));
        let texts = [
            (r#"{"op":1,"ts_ms":2}"#, vec![op, time, end]),
            (r#"{"ts_ms":1,"op":2}"#, vec![time, op, end]),
            (r#"{"\u006fp":1 , "other" :2}"#, vec![op, other, end]),
            (r#"{"op_":1,"op":2,"op":3}"#, vec![other, op, op, end]),
            (r#"{"op":1}"#, vec![op, end]),
            (r#"{"op":1,}"#, vec![op, None]),
            (r#"{,"op":1}"#, vec![None]),
            (r#"{"op":1"op":2}"#, vec![op, None]),
            ("{}", vec![end]),
        ];
        for (text, expected) in texts {
            for _ in 0..2 {
                assert_eq!(take(&mut names, text), expected, "{text}");
            }
        }
    }

    #[test]
    fn a_comma_stands_only_where_a_field_was_before() {
        let mut names = Names::default();
        let next = |names: &mut Names, text: &str, is_first| {
            let mut cursor = Cursor::new(text);
            names.begin();
            names.take(&mut cursor, is_first)
        };
        // As the first field of a source block has stood where another record has a later one.
        for (text, is_first) in [(r#""op":"#, true), (r#","op":"#, false)] {
            let op = Some(Next::Field(Some(EnvelopeField::Op)));
            assert_eq!(next(&mut names, text, is_first), op);
            assert_eq!(next(&mut names, text, !is_first), None, "{text}");
            assert_eq!(next(&mut names, text, is_first), op);
        }
    }

    #[test]
    fn no_record_makes_them_many() {
        let fields = (0..1000).map(|number| format!("\"{number}\":0")).collect::<Vec<_>>();
        let mut names = Names::default();
        assert_eq!(take(&mut names, &format!("{{{}}}", fields.join(","))).len(), 1001);
        assert_eq!(names.known.len(), NAMES_MAX);
    }
}

//! Labels: what an enum of the target lacks of its source's, and where it goes.

use crate::table::Enumeration;
use crate::target::postgres::sql::{self, Beside};

/// The most octets of a label.
const LABEL_BYTES_MAX: usize = 63;

/// Returns the enum with the labels that it lacks of these, each where the source has it, and the
/// statements that add them.
pub(super) fn labelled(existing: &Enumeration, wanted: &[String]) -> (Enumeration, Vec<String>) {
    let (mut now, mut statements) = (existing.clone(), Vec::new());
    let mut wanted = whole(wanted, &existing.labels);
    wanted.retain(|label| label.len() <= LABEL_BYTES_MAX);
    let mut before: Option<&String> = None;
    for (at, label) in wanted.iter().enumerate() {
        let place = |of: &str| now.labels.iter().position(|it| it == of);
        if place(label).is_none() {
            let mut later = wanted.iter().skip(at);
            let beside = match (before, later.find(|it| place(it).is_some())) {
                (Some(before), Some(_)) => Some(Beside::After(before)),
                (None, Some(later)) => Some(Beside::Before(later)),
                // One that only a row has told comes last, as one does whose place nobody says.
                (_, None) => None,
            };
            let end = now.labels.len();
            let index = match beside {
                Some(Beside::After(of)) => place(of).map_or(end, |of| of + 1),
                Some(Beside::Before(of)) => place(of).unwrap_or(end),
                None => end,
            };
            now.labels.insert(index, label.clone());
            statements.push(sql::add_label(&now.name, label, beside));
        }
        before = Some(label);
    }
    (now, statements)
}

/// Puts labels together that a schema has parted at their commas, as far as the enum has them.
fn whole(parts: &[String], labels: &[String]) -> Vec<String> {
    let mut rest = parts;
    let mut whole = Vec::new();
    while let [first, behind @ ..] = rest {
        let joined = |count: &usize| rest.get(..*count).unwrap_or_default().join(",");
        let found = (2..=rest.len()).rev().find(|count| labels.contains(&joined(count)));
        match found {
            Some(count) => {
                whole.push(joined(&count));
                rest = rest.get(count..).unwrap_or_default();
            }
            None => {
                whole.push(first.clone());
                rest = behind;
            }
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(labels: &str, wanted: &str, expected: &str, statements: &[&str]) {
        let split = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let existing = Enumeration { name: "s.mood".to_owned(), labels: split(labels) };
        let (now, added) = labelled(&existing, &split(wanted));
        assert_eq!(now.labels, split(expected), "{labels} to {wanted}");
        let added = added.iter().map(|it| it.strip_prefix("ALTER TYPE s.mood ADD VALUE ").unwrap());
        assert_eq!(added.collect::<Vec<_>>(), statements);
    }

    #[test]
    fn a_new_label_goes_where_the_source_has_it() {
        check("a c", "a b c", "a b c", &["IF NOT EXISTS 'b' AFTER 'a'"]);
        check("b", "a b", "a b", &["IF NOT EXISTS 'a' BEFORE 'b'"]);
        check("a x", "a b c", "a x b c", &["IF NOT EXISTS 'b'", "IF NOT EXISTS 'c'"]);
        let two = ["IF NOT EXISTS 'b' AFTER 'a'", "IF NOT EXISTS 'c' AFTER 'b'"];
        check("a d", "a b c d", "a b c d", &two);
        check("", "a", "a", &["IF NOT EXISTS 'a'"]);
        check("x", "a", "x a", &["IF NOT EXISTS 'a'"]);
        check("a x b", "a it's b", "a it's x b", &["IF NOT EXISTS 'it''s' AFTER 'a'"]);
    }

    #[test]
    fn what_the_target_has_stays_as_it_is() {
        check("b a x", "a b", "b a x", &[]);
        check("a b,c,d e", "a b c d e", "a b,c,d e", &[]);
        let long = "l".repeat(64);
        check("a", &format!("a {long}"), "a", &[]);
    }
}

//! The members of one JSON object as they stood, read strictly.

use std::borrow::Cow;

use serde::de::DeserializeSeed;
use serde_json::Value;

use super::json::{Context, JsonError, Refused, StrictObject, parse_strict, strict_utf8};

/// Names among which a second one is looked for by comparing all. Tokens have about a dozen; more are sorted.
const FEW: usize = 32;

/// An object's members in their order, no name twice.
///
/// For objects with a dozen members that are asked for a few of them: to compare a name with all of them is less work than to
/// build a tree. What is inside a member is read as [`parse_strict`] reads it.
#[derive(Clone, Debug, PartialEq)]
pub struct Members(Vec<(Box<str>, Value)>);

impl Members {
    /// Reads a document with at most `max_depth` arrays and objects inside each other; `None` when it is strict JSON and no object.
    ///
    /// # Errors
    /// As [`parse_strict`].
    pub fn parse(text: &[u8], max_depth: usize) -> Result<Option<Self>, JsonError> {
        if text.trim_ascii_start().first() != Some(&b'{') {
            return parse_strict(text, max_depth).map(|_| None);
        }
        let context = Context::new(max_depth);
        let mut members: Vec<(Box<str>, Value)> = Vec::with_capacity(16);
        let mut marks = 0_u64;
        let object = StrictObject {
            context: &context,
            each: |name: Cow<'_, str>, value| {
                let mark = mark(&name);
                if marks & mark != 0
                    && members.len() < FEW
                    && members.iter().any(|(other, _)| **other == *name)
                {
                    return Err(Refused::Duplicate);
                }
                marks |= mark;
                members.push((name.into(), value));
                Ok(())
            },
        };
        let mut deserializer = serde_json::Deserializer::from_str(strict_utf8(text)?);
        object
            .deserialize(&mut deserializer)
            .and_then(|()| deserializer.end())
            .map_err(|error| context.explain(&error))?;
        if members.len() > FEW && has_a_name_twice(&members) {
            // Of so many nobody is told which.
            return Err(JsonError::DuplicateMember { line: 0, column: 0 });
        }
        Ok(Some(Self(members)))
    }

    /// Each name and its value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }

    /// The value at a place in [`Self::iter`].
    pub fn at(&self, place: usize) -> Option<&Value> {
        self.0.get(place).map(|(_, value)| value)
    }

    /// The member of that name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        let found = self.0.iter().find(|(other, _)| **other == *name);
        found.map(|(_, value)| value)
    }
}

/// One bit of 64, by length and ends: names that differ in it are not the same, and most that are not the same do.
fn mark(name: &str) -> u64 {
    let end = |octet: Option<&u8>| usize::from(octet.copied().unwrap_or_default());
    let octets = name.as_bytes();
    let sum = octets.len() * 5 + end(octets.first()) + 3 * end(octets.last());
    1 << (sum % 64)
}

fn has_a_name_twice(members: &[(Box<str>, Value)]) -> bool {
    let mut names: Vec<&str> = members.iter().map(|(name, _)| &**name).collect();
    names.sort_unstable();
    names
        .iter()
        .zip(names.iter().skip(1))
        .any(|(one, next)| one == next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn parse(text: &str) -> Result<Option<Members>, JsonError> {
        Members::parse(text.as_bytes(), 4)
    }

    /// As many members as are wanted, and one more.
    fn object(members: usize, last: &str) -> String {
        let all: String = (0..members).map(|i| format!("\"m{i}\":{i},")).collect();
        format!("{{{all}\"{last}\":null}}")
    }

    #[test]
    fn reads_what_the_other_reader_reads() {
        for text in [
            "{}",
            " {\"a\":{\"b\":[1,2.5]},\"\\u0062\":\"\\n\",\"\":null} ",
            &object(FEW - 1, "x"),
            &object(FEW, "x"),
            &object(1000, "x"),
        ] {
            let members = parse(text).unwrap().unwrap();
            let other = parse_strict(text.as_bytes(), 4).unwrap();
            let other = other.as_object().unwrap();
            assert_eq!(members.0.len(), other.len());
            for (name, value) in other {
                assert_eq!(members.get(name), Some(value), "{name}");
            }
            assert_eq!(members.get("nothing"), None);
        }
    }

    #[test]
    fn no_name_stands_twice_however_many_there_are() {
        for members in [1, 2, FEW - 1, FEW, FEW + 1, FEW + 2, 1000] {
            for twice in [0, members / 2, members - 1] {
                for last in [format!("m{twice}"), format!("\\u006d{twice}")] {
                    assert!(
                        matches!(
                            parse(&object(members, &last)),
                            Err(JsonError::DuplicateMember { .. })
                        ),
                        "{members} {last}"
                    );
                }
            }
        }
        let inside = r#"{"a":{"x":1,"x":2}}"#;
        assert!(matches!(
            parse(inside),
            Err(JsonError::DuplicateMember { .. })
        ));
    }

    #[test]
    fn what_is_no_object_is_said_to_be_none() {
        for text in ["[]", " \n[{}]", "\"{}\"", "1", "null", "true"] {
            assert_eq!(parse(text), Ok(None), "{text}");
        }
        for text in [
            "",
            " ",
            "{",
            "{}{}",
            "{} x",
            "x{}",
            "[",
            "\u{feff}{}",
            "{\"a\":1,}",
            "\u{c}{}",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
        assert_eq!(
            parse("{\"a\":[[[[1]]]]}"),
            Err(JsonError::TooDeep { limit: 4 })
        );
        assert_eq!(
            Members::parse(b"{}", 0),
            Err(JsonError::TooDeep { limit: 0 })
        );
        assert_eq!(
            parse(r#"{"a":1}"#).unwrap().unwrap().get("a"),
            Some(&json!(1))
        );
    }
}

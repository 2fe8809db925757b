//! Strict JSON (RFC 8259): one document, UTF-8, bounded nesting, and no member
//! name twice in one object, at any depth.
//!
//! Two readers that disagree on which of two equal members counts can be played
//! off against each other, so such a text is refused (RFC 7515 section 4,
//! RFC 7519 section 4). Everything else strict is serde_json's own: no
//! comments, no trailing commas, no lone surrogates, no numbers beyond a double.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Why a text is not the strict JSON we read. Carries positions only: the text
/// may be part of a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonError {
    /// Not JSON, not UTF-8, or a number or escape that cannot be represented.
    Syntax {
        /// Line, from 1.
        line: usize,
        /// Column in octets, from 1; 0 when it is unknown.
        column: usize,
    },
    /// The text ended in the middle of the document.
    UnexpectedEnd,
    /// A member name stands twice in one object.
    DuplicateMember {
        /// Line, from 1; 0 when it is unknown.
        line: usize,
        /// Column in octets, from 1; 0 when it is unknown.
        column: usize,
    },
    /// Nested deeper than allowed.
    TooDeep {
        /// The limit that was exceeded.
        limit: usize,
    },
}

/// Parses one JSON document with at most `max_depth` arrays and objects inside
/// each other (a bare scalar has depth 0).
///
/// # Errors
///
/// [`JsonError`]; a depth over 120 counts as a limit of 120, serde_json's own.
pub fn parse_strict(text: &[u8], max_depth: usize) -> Result<Value, JsonError> {
    let context = Context::new(max_depth);
    let mut deserializer = serde_json::Deserializer::from_str(strict_utf8(text)?);
    let value = StrictValue::new(&context)
        .deserialize(&mut deserializer)
        .map_err(|error| context.explain(&error))?;
    deserializer
        .end()
        .map_err(|error| context.explain(&error))?;
    Ok(value)
}

/// The text, if it is UTF-8: to look at it as a whole takes less than to look at each string of it. `Err` is the line and the column
/// of the first octet that is not.
pub(crate) fn utf8(text: &[u8]) -> Result<&str, (usize, usize)> {
    std::str::from_utf8(text).map_err(|error| {
        let sound = text.get(..error.valid_up_to()).unwrap_or_default();
        let last_line = sound.rsplit(|octet| *octet == b'\n').next();
        let line = sound.iter().filter(|octet| **octet == b'\n').count() + 1;
        (line, last_line.map_or(0, <[u8]>::len) + 1)
    })
}

/// As [`utf8`], for what is read strictly.
pub(super) fn strict_utf8(text: &[u8]) -> Result<&str, JsonError> {
    utf8(text).map_err(|(line, column)| JsonError::Syntax { line, column })
}

/// What one parse shares between its levels: the limit, and which of our own
/// rules was broken (serde errors can carry text only).
pub(super) struct Context {
    max_depth: usize,
    broken: Cell<Option<Broken>>,
}

#[derive(Clone, Copy)]
enum Broken {
    Duplicate,
    Depth,
}

impl Context {
    pub(super) fn new(max_depth: usize) -> Self {
        Self {
            max_depth: max_depth.min(120),
            broken: Cell::new(None),
        }
    }

    /// A serde error for a duplicate member, remembered as such.
    pub(super) fn duplicate<E: serde::de::Error>(&self) -> E {
        self.broken.set(Some(Broken::Duplicate));
        E::custom("duplicate member")
    }

    pub(super) fn explain(&self, error: &serde_json::Error) -> JsonError {
        let (line, column) = (error.line(), error.column());
        match self.broken.get() {
            Some(Broken::Duplicate) => JsonError::DuplicateMember { line, column },
            Some(Broken::Depth) => JsonError::TooDeep {
                limit: self.max_depth,
            },
            None if error.is_eof() => JsonError::UnexpectedEnd,
            None => JsonError::Syntax { line, column },
        }
    }
}

/// Reads one value, strictly, at `depth` levels below the document.
#[derive(Clone, Copy)]
pub(super) struct StrictValue<'c> {
    context: &'c Context,
    depth: usize,
}

impl<'c> StrictValue<'c> {
    pub(super) fn new(context: &'c Context) -> Self {
        Self { context, depth: 0 }
    }

    /// The seed for what stands inside an array or object that this one stands for.
    pub(super) fn enter<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth >= self.context.max_depth {
            self.context.broken.set(Some(Broken::Depth));
            return Err(E::custom("nested too deep"));
        }
        Ok(Self {
            context: self.context,
            depth: self.depth + 1,
        })
    }
}

impl<'de> DeserializeSeed<'de> for StrictValue<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for StrictValue<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON without duplicate members")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.enter()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inner = self.enter()?;
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            // Looked up before the value is read, so that the position is the name's.
            if object.contains_key(&name) {
                return Err(self.context.duplicate());
            }
            let value = members.next_value_seed(inner)?;
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

/// A member name, borrowed where it holds no escape.
pub(super) struct Name<'de>(pub(super) Cow<'de, str>);

impl<'de> serde::Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a member name")
            }
            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(name)))
            }
            fn visit_str<E>(self, name: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
            fn visit_string<E>(self, name: String) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(name)))
            }
        }
        deserializer.deserialize_str(NameVisitor)
    }
}

/// Reads an object member by member with `each(name, values)` in place of a map.
/// The caller refuses duplicates and reads values with the seed it is given.
pub(super) struct StrictObject<'c, F> {
    pub(super) context: &'c Context,
    pub(super) each: F,
}

impl<'de, F> DeserializeSeed<'de> for StrictObject<'_, F>
where
    F: FnMut(Cow<'de, str>, Value) -> Result<(), Refused>,
{
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

/// What a [`StrictObject`] closure says of a member that ends the parse.
pub(super) enum Refused {
    /// This name was there before.
    Duplicate,
    /// The closure keeps its own reason.
    Otherwise,
}

impl<'de, F> Visitor<'de> for StrictObject<'_, F>
where
    F: FnMut(Cow<'de, str>, Value) -> Result<(), Refused>,
{
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<(), A::Error> {
        let inner = StrictValue::new(self.context).enter()?;
        while let Some(Name(name)) = members.next_key()? {
            let value = members.next_value_seed(inner)?;
            match (self.each)(name, value) {
                Ok(()) => {}
                Err(Refused::Duplicate) => return Err(self.context.duplicate()),
                Err(Refused::Otherwise) => return Err(A::Error::custom("refused")),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn parse(text: &str) -> Result<Value, JsonError> {
        parse_strict(text.as_bytes(), 4)
    }

    #[test]
    fn reads_every_kind_of_value() {
        let text = r#" {"a":[1,-2,2.5,1e3,true,false,null,"\u0041\n"],"b":{"c":""}} "#;
        assert_eq!(
            parse(text),
            Ok(json!({"a":[1,-2,2.5,1000.0,true,false,null,"A\n"],"b":{"c":""}}))
        );
        assert_eq!(parse("\"x\""), Ok(json!("x")));
    }

    #[test]
    fn refuses_duplicate_members_at_any_depth() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"b":2,"\u0061":3}"#,
            r#"{"x":[{"a":1,"a":2}]}"#,
            r#"{"x":{"y":{"a":1,"a":2}}}"#,
            r#"{"":1,"":2}"#,
        ] {
            assert!(
                matches!(parse(text), Err(JsonError::DuplicateMember { .. })),
                "{text}"
            );
        }
        assert!(parse(r#"{"a":1,"A":2,"x":{"a":1},"y":{"a":1}}"#).is_ok());
    }

    #[test]
    fn bounds_the_nesting() {
        assert!(parse("[[[[1]]]]").is_ok());
        assert_eq!(parse("[[[[[1]]]]]"), Err(JsonError::TooDeep { limit: 4 }));
        assert_eq!(
            parse(r#"{"a":{"a":{"a":{"a":{}}}}}"#),
            Err(JsonError::TooDeep { limit: 4 })
        );
        assert_eq!(parse_strict(b"[", 0), Err(JsonError::TooDeep { limit: 0 }));
        let deep = "[".repeat(100_000);
        assert_eq!(
            parse_strict(deep.as_bytes(), usize::MAX),
            Err(JsonError::TooDeep { limit: 120 })
        );
    }

    #[test]
    fn refuses_what_is_not_one_document() {
        for text in [
            "",
            " ",
            "{",
            "{}x",
            "{} {}",
            "{,}",
            "{\"a\":1,}",
            "[1,]",
            "{'a':1}",
            "{a:1}",
            "{\"a\":01}",
            "{\"a\":0x1}",
            "{\"a\":NaN}",
            "{\"a\":1e400}",
            "{\"a\":\"\n\"}",
            "{\"a\":/**/1}",
            "\u{feff}{}",
            "{}\0",
            "\"\\ud800\"",
        ] {
            let error = parse(text);
            assert!(
                matches!(
                    error,
                    Err(JsonError::Syntax { .. } | JsonError::UnexpectedEnd)
                ),
                "{text:?} {error:?}"
            );
        }
        assert!(parse_strict(b"{\"a\":\"\xff\"}", 4).is_err());
        assert!(parse_strict(b"{\"a\":\"\xc0\xaf\"}", 4).is_err());
        assert!(parse_strict(b"{\"\xff\":1}", 4).is_err());
    }

    #[test]
    fn says_where() {
        assert_eq!(
            parse("{\"a\":1,\n\"a\":2}"),
            Err(JsonError::DuplicateMember { line: 2, column: 3 })
        );
        assert_eq!(parse("{\"a\""), Err(JsonError::UnexpectedEnd));
        assert_eq!(
            parse_strict(b"{\"a\":1,\n\"b\":\"\xff\"}", 4),
            Err(JsonError::Syntax { line: 2, column: 6 })
        );
    }
}

//! Reading typed values out of JSON, with the path of everything that is wrong.
//!
//! A value that can't be read is reported and left out, and reading goes on: an operator who made
//! five mistakes sees five lines. Whoever finds a value missing therefore reports that only
//! where nothing was reported before; [`Errors::push_after`] does.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value};

use super::error::{ConfigError, Problem};

/// Where in the document we are. Made while descending, written out only for an error.
#[derive(Clone, Copy)]
pub(super) struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    segment: Segment<'a>,
}

#[derive(Clone, Copy)]
enum Segment<'a> {
    Root,
    Key(&'a str),
    Index(usize),
}

impl<'a> Path<'a> {
    pub(super) const ROOT: Path<'static> = Path {
        parent: None,
        segment: Segment::Root,
    };

    pub(super) const fn key(&'a self, key: &'a str) -> Path<'a> {
        Path {
            parent: Some(self),
            segment: Segment::Key(key),
        }
    }

    pub(super) const fn index(&'a self, index: usize) -> Path<'a> {
        Path {
            parent: Some(self),
            segment: Segment::Index(index),
        }
    }
}

impl Path<'_> {
    /// Whether this is `auth.providers[…].settings`.
    pub(super) fn is_provider_settings(&self) -> bool {
        let is = |path: Option<&Path<'_>>, name: &str| matches!(path, Some(Path { segment: Segment::Key(k), .. }) if *k == name);
        let index = self.parent;
        let providers = index.and_then(|p| p.parent);
        let auth = providers.and_then(|p| p.parent);
        is(Some(self), "settings")
            && matches!(
                index,
                Some(Path {
                    segment: Segment::Index(_),
                    ..
                })
            )
            && is(providers, "providers")
            && is(auth, "auth")
            && matches!(
                auth.and_then(|p| p.parent),
                Some(Path {
                    segment: Segment::Root,
                    ..
                })
            )
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        let at_root = self.parent.is_none_or(|p| p.parent.is_none());
        match self.segment {
            Segment::Root => Ok(()),
            Segment::Index(index) => write!(f, "[{index}]"),
            Segment::Key(key) => {
                let plain = !key.is_empty()
                    && key
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
                match (plain, at_root) {
                    (true, true) => f.write_str(key),
                    (true, false) => write!(f, ".{key}"),
                    // Quoted and escaped: a key may have line feeds, and each error is one line.
                    (false, _) => write!(f, "[{:?}]", shorten(key)),
                }
            }
        }
    }
}

/// At most 64 characters of a text that someone else wrote.
pub(super) fn shorten(text: &str) -> String {
    let mut out: String = text.chars().take(64).collect();
    if out.len() < text.len() {
        out.push('…');
    }
    out
}

/// The errors so far.
#[derive(Default)]
pub(super) struct Errors(Vec<ConfigError>);

impl Errors {
    pub(super) fn push(&mut self, path: &Path<'_>, problem: Problem) {
        self.0.push(ConfigError {
            path: path.to_string(),
            problem,
        });
    }

    /// Adds what only follows from a value being absent, unless that value was reported before:
    /// at the same place, or below it.
    pub(super) fn push_after(&mut self, path: &Path<'_>, problem: Problem) {
        if !self.any_at(path) {
            self.push(path, problem);
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether anything was reported at that place or below it.
    pub(super) fn any_at(&self, path: &Path<'_>) -> bool {
        let path = path.to_string();
        self.0.iter().any(|e| {
            e.path
                .strip_prefix(&path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })
    }

    pub(super) fn into_vec(self) -> Vec<ConfigError> {
        self.0
    }
}

/// A type that can be read out of JSON.
pub(super) trait Read: Sized {
    /// What a value of this type is, after "must be": `a string`.
    const EXPECTED: &'static str;

    /// Reads a value; `None` when it was reported to `errors`.
    fn read(value: &Value, at: &Path<'_>, errors: &mut Errors) -> Option<Self>;
}

/// Reports a value of another type.
pub(super) fn wrong_type<T: Read>(value: &Value, at: &Path<'_>, errors: &mut Errors) -> Option<T> {
    let found = match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    };
    let expected = T::EXPECTED;
    errors.push(at, Problem::WrongType { expected, found });
    None
}

/// Reads one member of an object.
pub(super) fn field<T: Read>(
    object: &Map<String, Value>,
    key: &str,
    at: &Path<'_>,
    errors: &mut Errors,
) -> Option<T> {
    T::read(object.get(key)?, &at.key(key), errors)
}

/// Reports every member of an object that is not one of `known`.
pub(super) fn refuse_unknown(
    object: &Map<String, Value>,
    known: &'static [&'static str],
    at: &Path<'_>,
    errors: &mut Errors,
) {
    for key in object.keys().filter(|k| !known.contains(&k.as_str())) {
        let nearest = nearest(key, known);
        errors.push(&at.key(key), Problem::UnknownKey { nearest, known });
    }
}

/// The word that was probably meant, when one is near enough to be meant.
pub(super) fn nearest(written: &str, known: &[&'static str]) -> Option<&'static str> {
    // `allowedSubjects` and `Allowed-Subjects` are `allowed_subjects`.
    let plain = |s: &str| {
        s.chars()
            .filter(char::is_ascii_alphanumeric)
            .map(|c| c.to_ascii_lowercase())
            .collect::<String>()
    };
    if written.len() > 64 {
        return None;
    }
    let written = plain(written);
    known
        .iter()
        .map(|k| (strsim::osa_distance(&written, &plain(k)), *k))
        .filter(|(distance, k)| *distance <= k.len() / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, k)| k)
}

/// Declares an object of the configuration: the Rust type, how it is read, and its JSON Schema.
/// Every member may be absent; what is required, the compiler of the policy asks for.
macro_rules! object {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $($(#[$field_meta:meta])* $field:ident: $ty:ty $(= $default:literal)?,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
        pub struct $name {
            $(
                $(#[$field_meta])*
                $(#[cfg_attr(feature = "schema", schemars(extend("default" = $default)))])?
                pub $field: Option<$ty>,
            )*
        }

        impl $crate::config::read::Read for $name {
            const EXPECTED: &'static str = "a map";

            fn read(
                value: &serde_json::Value,
                at: &$crate::config::read::Path<'_>,
                errors: &mut $crate::config::read::Errors,
            ) -> Option<Self> {
                const KNOWN: &[&str] = &[$(stringify!($field)),*];
                let Some(object) = value.as_object() else {
                    return $crate::config::read::wrong_type(value, at, errors);
                };
                $crate::config::read::refuse_unknown(object, KNOWN, at, errors);
                Some(Self {
                    $($field: $crate::config::read::field(object, stringify!($field), at, errors),)*
                })
            }
        }
    };
}
pub(super) use object;

/// Declares words of the configuration of which one is chosen: the Rust type, how it is read, and its JSON Schema.
macro_rules! choice {
    (
        $(#[$meta:meta])*
        pub enum $name:ident = $expected:literal {
            $($(#[$variant_meta:meta])* $variant:ident = $text:literal,)+
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        pub enum $name {
            $(
                $(#[$variant_meta])*
                #[cfg_attr(feature = "schema", schemars(rename = $text))]
                $variant,
            )+
        }

        impl $crate::config::read::Read for $name {
            const EXPECTED: &'static str = $expected;

            fn read(
                value: &serde_json::Value,
                at: &$crate::config::read::Path<'_>,
                errors: &mut $crate::config::read::Errors,
            ) -> Option<Self> {
                match <String as $crate::config::read::Read>::read(value, at, errors)?.as_str() {
                    $($text => Some(Self::$variant),)+
                    other => {
                        $crate::config::read::no_choice(other, &[$($text),+], at, errors);
                        None
                    }
                }
            }
        }
    };
}
pub(super) use choice;

/// Reports a word that is none of those that can stand here.
pub(super) fn no_choice(
    written: &str,
    choices: &'static [&'static str],
    at: &Path<'_>,
    errors: &mut Errors,
) {
    let nearest = nearest(written, choices);
    errors.push(at, Problem::NotAChoice { choices, nearest });
}

impl Read for bool {
    const EXPECTED: &'static str = "true or false";
    fn read(value: &Value, at: &Path<'_>, errors: &mut Errors) -> Option<Self> {
        value.as_bool().or_else(|| wrong_type(value, at, errors))
    }
}

impl Read for String {
    const EXPECTED: &'static str = "a string";
    fn read(value: &Value, at: &Path<'_>, errors: &mut Errors) -> Option<Self> {
        match value {
            Value::String(s) if s.is_empty() => {
                errors.push(at, Problem::EmptyString);
                None
            }
            Value::String(s) => Some(s.clone()),
            other => wrong_type(other, at, errors),
        }
    }
}

impl Read for u64 {
    const EXPECTED: &'static str = "a whole number";
    fn read(value: &Value, at: &Path<'_>, errors: &mut Errors) -> Option<Self> {
        let whole = value.as_u64().or_else(|| {
            // Envoy's Struct knows only doubles, and some tools write 1024 as 1024.0.
            let double = value.as_f64()?;
            let whole = double >= 0.0 && double.fract() == 0.0 && double < 9e15;
            whole.then_some(double as u64)
        });
        if whole.is_none() && value.is_number() {
            let (expected, found) = (Self::EXPECTED, "a fraction or a negative number");
            errors.push(at, Problem::WrongType { expected, found });
            return None;
        }
        whole.or_else(|| wrong_type(value, at, errors))
    }
}

/// One value, or a list of them.
#[derive(Clone, Debug)]
pub struct Many<T>(pub Vec<T>);

impl<T: Read> Read for Many<T> {
    const EXPECTED: &'static str = "a string or a list of strings";
    fn read(value: &Value, at: &Path<'_>, errors: &mut Errors) -> Option<Self> {
        match value {
            Value::Array(list) => Some(Self(read_list(list, at, errors))),
            Value::String(_) => T::read(value, at, errors).map(|one| Self(vec![one])),
            other => wrong_type(other, at, errors),
        }
    }
}

impl<T: Read> Read for Vec<T> {
    const EXPECTED: &'static str = "a list";
    fn read(value: &Value, at: &Path<'_>, errors: &mut Errors) -> Option<Self> {
        match value {
            Value::Array(list) => Some(read_list(list, at, errors)),
            other => wrong_type(other, at, errors),
        }
    }
}

fn read_list<T: Read>(list: &[Value], at: &Path<'_>, errors: &mut Errors) -> Vec<T> {
    list.iter()
        .enumerate()
        .filter_map(|(i, value)| T::read(value, &at.index(i), errors))
        .collect()
}

impl<T: Read> Read for BTreeMap<String, T> {
    const EXPECTED: &'static str = "a map";
    fn read(value: &Value, at: &Path<'_>, errors: &mut Errors) -> Option<Self> {
        let Value::Object(object) = value else {
            return wrong_type(value, at, errors);
        };
        let entries = object
            .iter()
            .filter_map(|(k, v)| Some((k.clone(), T::read(v, &at.key(k), errors)?)));
        Some(entries.collect())
    }
}

/// A duration as it is written: `30s`, `15m`, `1h30m`, `500ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl Span {
    /// Reads numbers with the units `d`, `h`, `m`, `s`, `ms`, each unit at most once and the greater first.
    pub fn parse(text: &str) -> Option<Self> {
        const UNITS: [(&str, u64); 5] = [
            ("d", 86_400_000_u64),
            ("h", 3_600_000),
            ("m", 60_000),
            ("s", 1_000),
            ("ms", 1),
        ];
        let mut units = UNITS.iter();
        let mut millis = 0u64;
        let mut rest = text;
        while !rest.is_empty() || rest.len() == text.len() {
            let digits = rest.find(|c: char| !c.is_ascii_digit())?;
            let (number, tail) = rest.split_at(digits);
            let end = tail
                .find(|c: char| !c.is_ascii_lowercase())
                .unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(end);
            let (_, factor) = units.find(|(name, _)| *name == unit)?;
            let number: u64 = number.parse().ok()?;
            millis = millis.checked_add(number.checked_mul(*factor)?)?;
            rest = tail;
        }
        Some(Self(Duration::from_millis(millis)))
    }
}

/// As [`Span::parse`] reads it.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut millis = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if millis == 0 {
            return f.write_str("0s");
        }
        for (unit, factor) in [
            ("d", 86_400_000_u64),
            ("h", 3_600_000),
            ("m", 60_000),
            ("s", 1_000),
            ("ms", 1),
        ] {
            // Never by zero; so written, the compiler knows.
            let (whole, rest) = (millis.checked_div(factor), millis.checked_rem(factor));
            if let (Some(whole @ 1..), Some(rest)) = (whole, rest) {
                write!(f, "{whole}{unit}")?;
                millis = rest;
            }
        }
        Ok(())
    }
}

impl Read for Span {
    const EXPECTED: &'static str = "a duration such as 30s";
    fn read(value: &Value, at: &Path<'_>, errors: &mut Errors) -> Option<Self> {
        let Value::String(text) = value else {
            return wrong_type(value, at, errors);
        };
        let span = Self::parse(text);
        if span.is_none() {
            errors.push(at, Problem::BadDuration);
        }
        span
    }
}

/// A text that never shows in a log, an error or a `Debug`.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// The text, for hashing.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl Read for Secret {
    const EXPECTED: &'static str = "a string";
    fn read(value: &Value, at: &Path<'_>, errors: &mut Errors) -> Option<Self> {
        String::read(value, at, errors).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn durations() {
        let table = [
            ("30s", Some(30_000)),
            ("300s", Some(300_000)),
            ("15m", Some(900_000)),
            ("1h", Some(3_600_000)),
            ("500ms", Some(500)),
            ("1h30m", Some(5_400_000)),
            ("1m500ms", Some(60_500)),
            ("1d", Some(86_400_000)),
            ("0s", Some(0)),
            ("", None),
            ("30", None),
            ("s", None),
            ("-1s", None),
            ("1.5h", None),
            ("30m1h", None),
            ("1s1s", None),
            ("30 s", None),
            ("30S", None),
            ("1w", None),
            ("99999999999999999999s", None),
            ("18446744073709551615h", None),
        ];
        for (text, millis) in table {
            let expected = millis.map(|m| Span(Duration::from_millis(m)));
            assert_eq!(Span::parse(text), expected, "{text}");
        }
        for text in ["30s", "1h30m", "500ms", "1d", "0s", "1m500ms"] {
            assert_eq!(Span::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn the_nearest_word_is_near() {
        const KNOWN: &[&str] = &["allowed_subjects", "audience", "issuer"];
        let table = [
            ("allowed_subject", Some("allowed_subjects")),
            ("allowedSubjects", Some("allowed_subjects")),
            ("Audience", Some("audience")),
            ("audiance", Some("audience")),
            ("audiences", Some("audience")),
            ("isuser", Some("issuer")),
            ("subjects", None),
            ("x", None),
            ("", None),
        ];
        for (written, expected) in table {
            assert_eq!(nearest(written, KNOWN), expected, "{written}");
        }
    }

    #[test]
    fn paths() {
        let providers = Path::ROOT.key("auth");
        let providers = providers.key("providers");
        let second = providers.index(1);
        assert_eq!(second.to_string(), "auth.providers[1]");
        assert_eq!(
            second.key("x y\n").to_string(),
            "auth.providers[1][\"x y\\n\"]"
        );
        assert_eq!(Path::ROOT.key("a.b").to_string(), "[\"a.b\"]");
        assert_eq!(Path::ROOT.to_string(), "");
    }
}

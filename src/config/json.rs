//! Strict JSON for configurations: a key that stands twice is reported with its path, all of them.
//!
//! [`crate::jose::json`] reads what callers and issuers send and stops at the first fault; an
//! operator wants to see every fault at once, and by its path.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};

use super::error::Problem;
use super::read::{Errors, Path, Read, wrong_type};
use crate::jose::json::utf8;

/// Parses one JSON document; duplicate keys go to `errors`, and the first of them stays.
pub(super) fn parse(text: &[u8], errors: &mut Errors) -> Option<Value> {
    let document = match utf8(text) {
        Ok(document) => document,
        Err((line, column)) => {
            errors.push(&Path::ROOT, Problem::NotJson { line, column });
            return None;
        }
    };
    let mut deserializer = serde_json::Deserializer::from_str(document);
    let seed = Strict {
        path: Path::ROOT,
        errors: &mut *errors,
    };
    let outcome = seed
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value));
    match outcome {
        Ok(value) => Some(value),
        Err(error) => {
            let problem = if text.iter().all(u8::is_ascii_whitespace) {
                Problem::NoText
            } else if error.to_string().starts_with("recursion limit") {
                Problem::TooDeep
            } else {
                // serde_json's own words would quote the text, and with it perhaps a secret.
                Problem::NotJson {
                    line: error.line(),
                    column: error.column(),
                }
            };
            errors.push(&Path::ROOT, problem);
            None
        }
    }
}

/// Reads a list that [`parse`] left as text, one entry at a time, so that a long one never stands in memory as values. `take` gets
/// each entry with its path, and says whether to go on. Whether all is read; if not, `errors` says why.
pub(super) fn each<T: Read>(
    text: &str,
    at: &Path<'_>,
    errors: &mut Errors,
    take: &mut dyn FnMut(Value, &Path<'_>, &mut Errors) -> bool,
) -> bool {
    let before = errors.len();
    let mut deserializer = serde_json::Deserializer::from_str(text);
    if !text.trim_start().starts_with('[') {
        let seed = Strict { path: *at, errors };
        match seed.deserialize(&mut deserializer) {
            Ok(value) => {
                wrong_type::<T>(&value, at, errors);
            }
            Err(_) => errors.push(at, Problem::TooDeep),
        }
        return false;
    }
    let entries = Entries { at, errors, take };
    let outcome = deserializer
        .deserialize_seq(entries)
        .and_then(|all| deserializer.end().map(|()| all));
    // Its syntax was read before; what is left to fail on is depth, and whoever took the entries having seen enough.
    if outcome.is_err() && errors.len() == before {
        errors.push(at, Problem::TooDeep);
    }
    outcome.is_ok()
}

struct Entries<'a, 'e, 't> {
    at: &'a Path<'a>,
    errors: &'e mut Errors,
    take: &'t mut dyn FnMut(Value, &Path<'_>, &mut Errors) -> bool,
}

impl<'de> Visitor<'de> for Entries<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let mut count = 0;
        loop {
            let path = self.at.index(count);
            let errors = &mut *self.errors;
            let Some(value) = seq.next_element_seed(Strict { path, errors })? else {
                return Ok(());
            };
            if !(self.take)(value, &path, self.errors) {
                return Err(serde::de::Error::custom("enough"));
            }
            count += 1;
        }
    }
}

struct Strict<'a, 'e> {
    path: Path<'a>,
    errors: &'e mut Errors,
}

impl<'de> DeserializeSeed<'de> for Strict<'_, '_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_, '_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }
    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(Value::Number(v.into()))
    }
    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(Value::Number(v.into()))
    }
    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(Number::from_f64(v).map_or(Value::Null, Value::Number))
    }
    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::String(v.to_owned()))
    }
    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(Value::String(v))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        loop {
            let next = seq.next_element_seed(Strict {
                path: self.path.index(list.len()),
                errors: &mut *self.errors,
            })?;
            match next {
                Some(value) => list.push(value),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let path = self.path.key(&key);
            // Perhaps a hundred thousand records, of a kilobyte each as values: left as text, to be read one by one.
            if key == "keys" && self.path.is_provider_settings() && !object.contains_key(&key) {
                let text: Box<RawValue> = map.next_value()?;
                object.insert(key, Value::String(String::from(Box::<str>::from(text))));
                continue;
            }
            let value = map.next_value_seed(Strict {
                path,
                errors: &mut *self.errors,
            })?;
            if object.contains_key(&key) {
                self.errors.push(&path, Problem::DuplicateKey);
            } else {
                object.insert(key, value);
            }
        }
        Ok(Value::Object(object))
    }
}

//! The plugin configuration as a host hands it over, as JSON text.
//!
//! A `google.protobuf.StringValue` or `BytesValue` arrives unwrapped: the text itself. A `google.protobuf.Struct`,
//! which is how Envoy's users write YAML, arrives as the serialized message (seen in Envoy 1.40, although its
//! documentation says JSON). Its fields come in no particular order, so the JSON made here is sorted: the same
//! configuration has the same `config_version` in every worker and after every restart.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Map, Number, Value};

/// Deeper than any configuration; a bound on the stack.
const MAX_DEPTH: usize = 64;

/// The configuration as JSON text: as it is, or made from a serialized `google.protobuf.Struct`.
///
/// A Struct begins with 0x0a, the tag of its only field, which is also a newline that JSON may begin with. No text is a
/// well-formed Struct, since the byte after it would have to be both a length and the beginning of the text, so what does
/// not parse as one is taken for text.
pub fn json(bytes: &[u8]) -> Cow<'_, [u8]> {
    match bytes.first() {
        Some(&FIELDS) => match read_struct(bytes, MAX_DEPTH) {
            Some(value) => Cow::Owned(value.to_string().into_bytes()),
            None => Cow::Borrowed(bytes),
        },
        _ => Cow::Borrowed(bytes),
    }
}

// Tags: the field's number, then its wire type (0 varint, 1 eight bytes, 2 a length and that many bytes).
const FIELDS: u8 = 1 << 3 | 2; // Struct.fields, and the key of one of its entries, and ListValue.values
const ENTRY_VALUE: u8 = 2 << 3 | 2;
const NULL_VALUE: u8 = 1 << 3;
const NUMBER_VALUE: u8 = 2 << 3 | 1;
const STRING_VALUE: u8 = 3 << 3 | 2;
const BOOL_VALUE: u8 = 4 << 3;
const STRUCT_VALUE: u8 = 5 << 3 | 2;
const LIST_VALUE: u8 = 6 << 3 | 2;

/// `message Struct { map<string, Value> fields = 1; }`. A field given twice is refused: the two might differ.
fn read_struct(mut bytes: &[u8], depth: usize) -> Option<Value> {
    let mut fields = BTreeMap::new();
    while !bytes.is_empty() {
        let (entry, rest) = delimited(bytes, FIELDS)?;
        let (name, value) = read_entry(entry, depth.checked_sub(1)?)?;
        if fields.insert(name, value).is_some() {
            return None;
        }
        bytes = rest;
    }
    Some(Value::Object(fields.into_iter().collect::<Map<_, _>>()))
}

/// One entry of the map: `key = 1`, `value = 2`, in either order, either of them left out when it is empty.
fn read_entry(mut bytes: &[u8], depth: usize) -> Option<(String, Value)> {
    let (mut name, mut value) = (String::new(), Value::Null);
    while let Some(tag) = bytes.first() {
        let (content, rest) = delimited(bytes, *tag)?;
        match *tag {
            FIELDS => name = text(content)?,
            ENTRY_VALUE => value = read_value(content, depth)?,
            _ => return None,
        }
        bytes = rest;
    }
    Some((name, value))
}

/// `message Value`: one of six kinds.
fn read_value(bytes: &[u8], depth: usize) -> Option<Value> {
    let (tag, after) = bytes.split_first()?;
    let (value, rest) = match *tag {
        NULL_VALUE => (Value::Null, varint(after)?.1),
        BOOL_VALUE => {
            let (flag, rest) = varint(after)?;
            (Value::Bool(flag != 0), rest)
        }
        NUMBER_VALUE => {
            let (number, rest) = after.split_first_chunk::<8>()?;
            (number_of(f64::from_le_bytes(*number))?, rest)
        }
        STRING_VALUE => {
            let (content, rest) = delimited(bytes, *tag)?;
            (Value::String(text(content)?), rest)
        }
        STRUCT_VALUE => {
            let (content, rest) = delimited(bytes, *tag)?;
            (read_struct(content, depth.checked_sub(1)?)?, rest)
        }
        LIST_VALUE => {
            let (content, rest) = delimited(bytes, *tag)?;
            (read_list(content, depth.checked_sub(1)?)?, rest)
        }
        _ => return None,
    };
    rest.is_empty().then_some(value)
}

/// `message ListValue { repeated Value values = 1; }`
fn read_list(mut bytes: &[u8], depth: usize) -> Option<Value> {
    let mut values = Vec::new();
    while !bytes.is_empty() {
        let (value, rest) = delimited(bytes, FIELDS)?;
        values.push(read_value(value, depth)?);
        bytes = rest;
    }
    Some(Value::Array(values))
}

/// Protobuf knows doubles only; a whole one is written without a fraction, as the user wrote it.
fn number_of(number: f64) -> Option<Value> {
    /// Beyond 2^53 a double no longer says which integer was meant.
    const WHOLE: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() <= WHOLE {
        #[allow(clippy::cast_possible_truncation)] // whole, and within 54 bits
        return Some(Value::from(number as i64));
    }
    Number::from_f64(number).map(Value::Number)
}

fn text(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).ok().map(str::to_owned)
}

/// The content of a length-delimited field with that tag, and what follows it.
fn delimited(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = bytes.split_first()?;
    if *first != tag {
        return None;
    }
    let (length, rest) = varint(rest)?;
    rest.split_at_checked(usize::try_from(length).ok()?)
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    for (i, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f).checked_shl(u32::try_from(i * 7).ok()?)?;
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(i + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Serialized by Python's protobuf.
    const FOREIGN: &str = "0a1d0a016112182a160a080a016312031a01640a0a0a02c3a912041a02c3bc0a410a0162123c323a0a0911000000000000f03f\
        0a091100000000000004400a091100000000000008c00a0208000a0220010a0220000a031a01780a022a000a023200";

    fn serialized(value: &Value) -> Vec<u8> {
        fn field(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
            out.push(tag);
            let mut length = content.len();
            while length >= 0x80 {
                out.push((length & 0x7f) as u8 | 0x80);
                length >>= 7;
            }
            out.push(length as u8);
            out.extend_from_slice(content);
        }
        fn of_struct(map: &Map<String, Value>) -> Vec<u8> {
            let mut out = Vec::new();
            for (name, value) in map {
                let mut entry = Vec::new();
                field(&mut entry, FIELDS, name.as_bytes());
                field(&mut entry, ENTRY_VALUE, &of_value(value));
                field(&mut out, FIELDS, &entry);
            }
            out
        }
        fn of_value(value: &Value) -> Vec<u8> {
            let mut out = Vec::new();
            match value {
                Value::Null => out.extend([NULL_VALUE, 0]),
                Value::Bool(b) => out.extend([BOOL_VALUE, u8::from(*b)]),
                Value::Number(n) => {
                    out.push(NUMBER_VALUE);
                    out.extend(n.as_f64().unwrap().to_le_bytes());
                }
                Value::String(s) => field(&mut out, STRING_VALUE, s.as_bytes()),
                Value::Object(map) => field(&mut out, STRUCT_VALUE, &of_struct(map)),
                Value::Array(values) => {
                    let mut list = Vec::new();
                    for value in values {
                        field(&mut list, FIELDS, &of_value(value));
                    }
                    field(&mut out, LIST_VALUE, &list);
                }
            }
            out
        }
        of_struct(value.as_object().unwrap())
    }

    fn as_text(bytes: &[u8]) -> String {
        String::from_utf8(json(bytes).into_owned()).unwrap()
    }

    #[test]
    fn a_foreign_struct() {
        let bytes: Vec<u8> = FOREIGN
            .as_bytes()
            .chunks(2)
            .map(|hex| u8::from_str_radix(std::str::from_utf8(hex).unwrap(), 16).unwrap())
            .collect();
        assert_eq!(
            as_text(&bytes),
            "{\"a\":{\"c\":\"d\",\"é\":\"ü\"},\"b\":[1,2.5,-3,null,true,false,\"x\",{},[]]}"
        );
    }

    #[test]
    fn text_stays_as_it_is() {
        for text in [
            "{}",
            "",
            " {}",
            "\n{\"auth\": 1}",
            "\n\n{}",
            "not json",
            "\n",
            "\n\u{1}",
        ] {
            assert_eq!(as_text(text.as_bytes()), text);
        }
    }

    #[test]
    fn a_struct_becomes_sorted_json() {
        let long = "x".repeat(300);
        let value = serde_json::json!({
            "b": [1, 2.5, -3, null, true, false, "x", {}, []],
            "a": {"z": long, "é": "ü", "": 0},
        });
        let text = as_text(&serialized(&value));
        assert!(text.starts_with("{\"a\":{\"\":0,"), "{text}");
        assert!(
            text.contains("[1,2.5,-3,null,true,false,\"x\",{},[]]"),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }

    #[test]
    fn the_order_of_fields_makes_no_difference() {
        let one = serialized(&serde_json::json!({"a": 1, "b": 2}));
        let other = serialized(&serde_json::json!({"b": 2, "a": 1}));
        assert_ne!(one, other);
        assert_eq!(json(&one), json(&other));
    }

    #[test]
    fn what_is_not_a_struct_is_left_alone() {
        let good = serialized(&serde_json::json!({"a": {"b": [1, "x"]}}));
        for end in 1..good.len() {
            let cut = &good[..end];
            assert_eq!(json(cut), Cow::Borrowed(cut), "cut at {end}");
        }
        let twice = [good.clone(), good.clone()].concat();
        assert_eq!(json(&twice), Cow::Borrowed(twice.as_slice()));
        let mut deep = serde_json::json!({});
        for _ in 0..200 {
            deep = serde_json::json!({"a": deep});
        }
        let deep = serialized(&deep);
        assert_eq!(json(&deep), Cow::Borrowed(deep.as_slice()));
    }
}

//! The JSON Schema and the reference page, both made from the types that are read.

use std::borrow::Cow;
use std::fmt::Write as _;

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, json_schema};
use serde_json::{Map, Value, json};

use super::key_records::{Expiry, KeyList, KeyRecord, Seconds};
use super::provider;
use super::raw::{Config, ProviderConfig, UnavailableStatus};
use super::read::{Many, Secret, Span};

/// The JSON Schema (draft 2020-12) of a plugin configuration.
pub fn schema() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<Config>().to_value();
    refuse_null(&mut schema);
    if let Some(root) = schema.as_object_mut() {
        root.insert("title".into(), json!("Portcullis"));
    }
    schema
}

/// What a provider's entry may hold beside its settings, in the words of the reference page.
const PROVIDER_KEYS: [(&str, &str); 2] = [
    (
        "name",
        "Unique in the chain; 1 to 64 letters, digits, `_` or `-`. Absent: the type, with `-2` and so on for further ones.",
    ),
    (
        "agents",
        "Globs on the names of the agents that identities from this provider may call; needs `agent`. Absent: any.",
    ),
];

impl JsonSchema for ProviderConfig {
    fn schema_name() -> Cow<'static, str> {
        "Provider".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let agents = generator.subschema_for::<Many<String>>().to_value();
        let kinds: Vec<Value> = provider::schemas(generator)
            .into_iter()
            .map(|(name, settings)| {
                let mut properties = Map::new();
                properties.insert("type".into(), json!({"const": name}));
                properties.insert("settings".into(), settings.to_value());
                for (key, description) in PROVIDER_KEYS {
                    let mut value = match key {
                        "agents" => agents.clone(),
                        _ => json!({"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}),
                    };
                    if let Some(value) = value.as_object_mut() {
                        value.insert("description".into(), json!(description));
                    }
                    properties.insert(key.into(), value);
                }
                json!({
                    "type": "object",
                    "properties": properties,
                    "required": ["type", "settings"],
                    "additionalProperties": false,
                })
            })
            .collect();
        json_schema!({"description": "One link of the chain.", "oneOf": kinds})
    }
}

impl<T: JsonSchema> JsonSchema for Many<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("OneOrMany{}", T::schema_name()).into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({"anyOf": [one, {"type": "array", "items": one}]})
    }
}

impl JsonSchema for KeyList {
    fn schema_name() -> Cow<'static, str> {
        "KeyList".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let record = generator.subschema_for::<KeyRecord>();
        json_schema!({"type": "array", "items": record})
    }
}

macro_rules! inline {
    ($($ty:ty, $name:literal, $schema:tt;)+) => {$(
        impl JsonSchema for $ty {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }
            fn inline_schema() -> bool {
                true
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )+};
}

inline! {
    Span, "Duration", {"type": "string", "pattern": "^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$", "minLength": 2};
    Seconds, "Seconds", {"type": "integer", "minimum": 0, "maximum": 253_402_300_799_u64};
    Expiry, "Expiry", {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 253_402_300_799_u64}, {"enum": ["never"]}]};
    Secret, "Secret", {"type": "string", "minLength": 1};
    UnavailableStatus, "UnavailableStatus", {"enum": [503, 401]};
    provider::Ids, "Ids", {"anyOf": [{"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "array", "minItems": 1, "items": {"type": ["string", "integer"]}}]};
    provider::Jwks, "Jwks", {"anyOf": [{"type": "object", "required": ["keys"]}, {"type": "string"}]};
}

/// A key that may be absent may not be null: in YAML that is a value which was forgotten.
fn refuse_null(schema: &mut Value) {
    match schema {
        Value::Array(list) => list.iter_mut().for_each(refuse_null),
        Value::Object(object) => {
            if let Some(Value::Array(types)) = object.get_mut("type") {
                types.retain(|t| t != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    object.insert("type".into(), only);
                }
            }
            if let Some(Value::Array(choices)) = object.get_mut("enum") {
                choices.retain(|c| !c.is_null());
            }
            let null = json!({"type": "null"});
            if let Some(Value::Array(any)) = object.get_mut("anyOf") {
                any.retain(|s| *s != null);
                if let [Value::Object(only)] = any.as_slice() {
                    let only = only.clone();
                    object.shift_remove("anyOf");
                    for (key, value) in only {
                        object.entry(key).or_insert(value);
                    }
                }
            }
            // `format: uint64` and a minimum of 0 say nothing to a reader.
            if object.get("format") == Some(&json!("uint64")) {
                object.shift_remove("format");
            }
            object.values_mut().for_each(refuse_null);
        }
        _ => {}
    }
}

/// The reference page, `docs/configuration.md`.
pub fn markdown() -> String {
    let schema = schema();
    let mut out = String::from(INTRODUCTION);
    let root = Page { schema: &schema };
    root.object("", &schema, &mut out);
    for key in [
        "auth", "agent", "agents", "callouts", "identity", "audit", "crypto", "limits",
    ] {
        let block = root.resolve(at(&schema, &["properties", key]));
        let _ = write!(out, "\n## `{key}`\n");
        let block = match block.get("additionalProperties") {
            Some(entry) if entry.is_object() => {
                out.push_str("\nBy name, for each:\n");
                root.resolve(entry)
            }
            _ => block,
        };
        root.object(key, block, &mut out);
        if key == "auth" {
            root.providers(&mut out);
        }
    }
    out
}

const INTRODUCTION: &str = "# Configuration

<!-- Generated from src/config by `portcullis schema --markdown`; a test compares the two. -->

The plugin configuration is JSON. In Envoy it is written as YAML in a `google.protobuf.Struct`, or as
JSON text in a `google.protobuf.StringValue`. `portcullis check FILE` says what is wrong with one before
a proxy sees it, and `schema/portcullis.schema.json` is for editors.

* An unknown key is an error, never ignored. So is a key without a value.
* Durations are written `30s`, `15m`, `1h30m`, `500ms`. Lists of strings accept one string.
* Globs: `*` and `?` match within one path segment, `[a-z]` and `[^a-z]` are classes, `\\` escapes; nothing else is special.
";

fn at<'s>(value: &'s Value, path: &[&str]) -> &'s Value {
    path.iter()
        .try_fold(value, |v, key| v.get(key))
        .unwrap_or(&Value::Null)
}

struct Page<'s> {
    schema: &'s Value,
}

impl<'s> Page<'s> {
    fn resolve(&self, value: &'s Value) -> &'s Value {
        match value.get("$ref").and_then(Value::as_str) {
            Some(name) => at(self.schema, &["$defs", name.trim_start_matches("#/$defs/")]),
            None => value,
        }
    }

    fn providers(&self, out: &mut String) {
        out.push_str("\n### A provider\n\n| key | | |\n|---|---|---|\n| **`type`** | string | One of the types below. |\n| **`settings`** | map | By type, below. |\n");
        for (key, description) in PROVIDER_KEYS {
            let kind = if key == "agents" {
                "string or list"
            } else {
                "string"
            };
            let _ = writeln!(out, "| `{key}` | {kind} | {description} |");
        }
        let kinds = at(self.schema, &["$defs", "Provider", "oneOf"]);
        for kind in kinds.as_array().into_iter().flatten() {
            let name = at(kind, &["properties", "type", "const"])
                .as_str()
                .unwrap_or_default();
            let settings = self.resolve(at(kind, &["properties", "settings"]));
            let _ = write!(out, "\n### `{name}`\n\n{}\n", text(settings));
            self.object(name, settings, out);
        }
    }

    fn object(&self, name: &str, object: &'s Value, out: &mut String) {
        let required: Vec<&str> = at(object, &["required"])
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let properties = at(object, &["properties"]).as_object();
        out.push_str("\n| key | type | default | |\n|---|---|---|---|\n");
        let mut nested = Vec::new();
        for (key, value) in properties.into_iter().flatten() {
            let target = self.resolve(value);
            let default = value.get("default").map_or_else(String::new, |d| {
                format!(
                    "`{}`",
                    d.as_str().map_or_else(|| d.to_string(), str::to_owned)
                )
            });
            let shown = if required.contains(&key.as_str()) {
                format!("**`{key}`**")
            } else {
                format!("`{key}`")
            };
            let description = if value.get("description").is_some() {
                text(value)
            } else {
                text(target)
            };
            let _ = writeln!(
                out,
                "| {shown} | {} | {default} | {description} |",
                self.kind(value)
            );
            let entry = self.resolve(at(target, &["items"]));
            if !name.is_empty() && target.get("properties").is_some() {
                nested.push(("", key, target));
            } else if !name.is_empty() && entry.get("properties").is_some() {
                nested.push(("Each of ", key, entry));
            }
        }
        for (each, key, target) in nested {
            let _ = write!(out, "\n#### {each}`{key}` of `{name}`\n");
            self.object(key, target, out);
        }
    }

    fn kind(&self, value: &'s Value) -> String {
        let target = self.resolve(value);
        if let Some(any) = target.get("anyOf").and_then(Value::as_array) {
            let kinds: Vec<String> = any.iter().map(|v| self.kind(v)).collect();
            return kinds.join(" or ");
        }
        if let Some(choices) = target.get("enum").and_then(Value::as_array) {
            let choices: Vec<String> = choices.iter().map(Value::to_string).collect();
            return choices.join(" or ");
        }
        if target.get("pattern").is_some() {
            return "duration".to_owned();
        }
        if target.get("oneOf").is_some() {
            return "string".to_owned();
        }
        match target.get("type").and_then(Value::as_str) {
            Some("array") => "list".to_owned(),
            Some("object") => "map".to_owned(),
            Some("integer") => "number".to_owned(),
            Some(other) => other.to_owned(),
            None => String::new(),
        }
    }
}

fn text(value: &Value) -> String {
    let text = value
        .get("description")
        .and_then(Value::as_str)
        .unwrap_or_default();
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}

//! The filter's metadata for Kong: the configuration's JSON Schema, in the words of the draft that Kong knows.

use serde_json::{Map, Value, json};

/// `portcullis.meta.json`, which lies beside `portcullis.wasm` in Kong's `wasm_filters_path`.
///
/// Kong reads `config_schema` as JSON Schema draft 4 and nothing newer, refuses another `$schema`, and ignores what stands
/// beside a `$ref`. <https://developer.konghq.com/gateway/wasm/> (its "filter configuration" page)
pub fn meta(schema: &Value) -> Value {
    let mut schema = draft_4(schema);
    if let Value::Object(root) = &mut schema {
        root.insert(
            "$schema".to_owned(),
            json!("http://json-schema.org/draft-04/schema#"),
        );
    }
    json!({ "config_schema": schema })
}

fn draft_4(schema: &Value) -> Value {
    let Value::Object(schema) = schema else {
        return schema.clone();
    };
    if let Some(Value::String(to)) = schema.get("$ref") {
        return json!({ "$ref": to.replace("#/$defs/", "#/definitions/") });
    }
    let mut out = Map::new();
    for (word, value) in schema {
        match word.as_str() {
            // Of 2019-09 and later.
            "$defs" => {
                out.insert("definitions".to_owned(), each(value));
            }
            // Of draft 6.
            "const" => {
                out.insert("enum".to_owned(), json!([value]));
            }
            "properties" | "patternProperties" => {
                out.insert(word.clone(), each(value));
            }
            "items" | "additionalProperties" | "not" => {
                out.insert(word.clone(), draft_4(value));
            }
            "anyOf" | "oneOf" | "allOf" => {
                let branches = value.as_array().into_iter().flatten().map(draft_4);
                out.insert(word.clone(), branches.collect());
            }
            // The filter has the defaults; a gateway that wrote them into configurations would freeze them.
            "default" | "$schema" => {}
            _ => {
                out.insert(word.clone(), value.clone());
            }
        }
    }
    Value::Object(out)
}

/// A map of names to schemas.
fn each(schemas: &Value) -> Value {
    let Value::Object(schemas) = schemas else {
        return schemas.clone();
    };
    Value::Object(
        schemas
            .iter()
            .map(|(name, schema)| (name.clone(), draft_4(schema)))
            .collect(),
    )
}

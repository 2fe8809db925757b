//! The description that is served, and that it tells of every route.

use serde_json::Value;

#[test]
fn describes_what_there_is() {
    let text = portcullis_service::api::openapi().to_json().unwrap();
    let value: Value = serde_json::from_str(&text).unwrap();
    assert!(value["openapi"].as_str().unwrap().starts_with("3.1"));
    let paths = value["paths"].as_object().unwrap();
    for (path, methods) in [
        ("/api/v1/agents", vec!["get", "post"]),
        ("/api/v1/agents/{name}", vec!["get", "put", "delete"]),
        ("/api/v1/keys", vec!["get", "post"]),
        ("/api/v1/keys/{id}/rotate", vec!["post"]),
        ("/api/v1/keys/{id}/revoke", vec!["post"]),
        ("/api/v1/owners/{owner}/revoke", vec!["post"]),
        ("/api/v1/feed", vec!["get"]),
        ("/api/v1/usage", vec!["post"]),
        ("/api/v1/audit/export", vec!["get"]),
    ] {
        for method in methods {
            let operation = &paths[path][method];
            assert!(operation["responses"].is_object(), "{method} {path}");
            assert!(
                !operation["summary"].as_str().unwrap_or_default().is_empty(),
                "{method} {path}"
            );
        }
    }
    // Every reference leads somewhere.
    let mut rest = text.as_str();
    while let Some((_, after)) = rest.split_once("\"$ref\":\"#") {
        let (pointer, after) = after.split_once('"').unwrap();
        assert!(value.pointer(pointer).is_some(), "{pointer}");
        rest = after;
    }
}

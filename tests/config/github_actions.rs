//! `github_actions`: whose repositories, and what is weak about names.

use std::time::Duration;

use portcullis_core::policy::{GithubPolicy, KeyOrigin, ProviderKind};
use serde_json::{Value, json};

#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

const SETTINGS: &str = "auth.providers[0].settings";

fn github(settings: Value) -> Value {
    json!({"auth": {"providers": [{"type": "github_actions", "settings": settings}]}})
}

fn policy(settings: Value) -> GithubPolicy {
    let mut policy = super::policy(&github(settings));
    match policy.providers.remove(0).kind {
        ProviderKind::GithubActions(policy) => *policy,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_defaults() {
    let policy = policy(json!({"audience": "a", "allowed_owner_ids": ["65", 66]}));
    assert_eq!(policy.issuer, "https://token.actions.githubusercontent.com");
    let KeyOrigin::Remote(keys) = &policy.keys else {
        panic!("{:?}", policy.keys);
    };
    assert_eq!(
        keys.discovery.as_ref().unwrap().to_string(),
        "https://token.actions.githubusercontent.com/.well-known/openid-configuration"
    );
    assert_eq!(keys.issuer, policy.issuer);
    assert_eq!(keys.cache_ttl, Duration::from_secs(3600));
    assert_eq!(policy.owner_ids, ["65", "66"]);
    assert_eq!(policy.clock_skew, Duration::from_secs(30));
    assert!(policy.refs.is_none() && policy.events.is_none());
}

#[test]
fn an_enterprise_server() {
    let policy = policy(json!({
        "audience": "a", "allowed_owner_ids": 65.0, "issuer": "https://ghes.example/_services/token/",
    }));
    assert_eq!(policy.issuer, "https://ghes.example/_services/token");
    let KeyOrigin::Remote(keys) = &policy.keys else {
        panic!("{:?}", policy.keys);
    };
    assert_eq!(
        keys.discovery.as_ref().unwrap().to_string(),
        "https://ghes.example/_services/token/.well-known/openid-configuration"
    );
    assert_eq!(policy.owner_ids, ["65"]);
}

#[test]
fn errors() {
    for (settings, expected) in [
        (json!({"allowed_owner_ids": "65"}), ".audience: is required"),
        (
            json!({"audience": [], "allowed_owner_ids": "65"}),
            ".audience: must not be empty; add an entry or leave the key out",
        ),
        (
            json!({"audience": "a", "allowed_refs": "refs/heads/main"}),
            ": needs one of allowed_repository_ids, allowed_owner_ids, allowed_repositories",
        ),
        (
            json!({"audience": "a", "allowed_owner_ids": []}),
            ".allowed_owner_ids: must not be empty; add an entry or leave the key out",
        ),
        (
            json!({"audience": "a", "allowed_owner_ids": ["octo-org"]}),
            ".allowed_owner_ids[0]: must be a numeric id of at most 20 digits, not a name",
        ),
        (
            json!({"audience": "a", "allowed_repository_ids": -1}),
            ".allowed_repository_ids: must be a whole number, not a fraction or a negative number",
        ),
        (
            json!({"audience": "a", "allowed_repository_ids": true}),
            ".allowed_repository_ids: must be a numeric id or a list of them, not a boolean",
        ),
        (
            json!({"audience": "a", "allowed_repositories": [], "allowed_owner_ids": 1}),
            ".allowed_repositories: must not be empty; add an entry or leave the key out",
        ),
        (
            json!({"audience": "a", "allowed_owner_ids": 1, "allowed_events": ["push", "["]}),
            ".allowed_events[1]: is not a glob: ",
        ),
        (
            json!({"audience": "a", "allowed_owner_ids": 1, "issuer": "ghes.example"}),
            ".issuer: is not an absolute URL that can be called: it must start with https:// (or http://)",
        ),
        (
            json!({"audience": "a", "allowed_owner_ids": 1, "issuer": "https://ghes.example/?a=b"}),
            ".issuer: must not have a query; write the issuer as its tokens' `iss` has it",
        ),
        (
            json!({"audience": "a", "allowed_owner_ids": 1, "allowed_workflow": "x"}),
            ".allowed_workflow: unknown key; did you mean `allowed_workflows`?",
        ),
    ] {
        let errors = super::errors(&github(settings));
        assert!(
            matches!(errors.as_slice(), [one] if one.starts_with(&format!("{SETTINGS}{expected}"))),
            "{errors:?}"
        );
    }
}

#[test]
fn warnings() {
    let warnings = |mut settings: Value| {
        settings["audience"] = json!("a");
        super::warnings(&github(settings))
    };
    assert!(warnings(json!({"allowed_owner_ids": 1})).is_empty());
    assert!(
        warnings(json!({"allowed_owner_ids": 1, "allowed_repositories": "octo-org/*"})).is_empty()
    );
    assert_eq!(
        warnings(json!({"allowed_repositories": ["octo-org/*", "*/deploy"]})),
        [
            format!(
                "{SETTINGS}.allowed_repositories[1]: matches repositories of anybody on GitHub; begin with the owner's name, or add `allowed_owner_ids`"
            ),
            format!(
                "{SETTINGS}.allowed_repositories: names pass to whoever takes them after a renaming or deletion; add `allowed_owner_ids` or `allowed_repository_ids`"
            ),
        ]
    );
    assert_eq!(
        warnings(json!({"allowed_owner_ids": 1, "issuer": "http://ghes.example/_services/token"})),
        [format!(
            "{SETTINGS}.issuer: is plain http: whoever sits between can replace the keys, unless the proxy's cluster adds TLS"
        )]
    );
}

//! `azure_ad`: one tenant, several or all of them, and the clouds they are in.

use std::time::Duration;

use portcullis_core::policy::{AzurePolicy, AzureTokenType, KeyOrigin, ProviderKind, Tenants};
use serde_json::{Value, json};

#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

const SETTINGS: &str = "auth.providers[0].settings";
const TENANT: &str = "aaaabbbb-0000-cccc-1111-dddd2222eeee";
const OTHER: &str = "bbbbcccc-1111-dddd-2222-eeee3333ffff";

fn azure(settings: Value) -> Value {
    json!({"auth": {"providers": [{"type": "azure_ad", "settings": settings}]}})
}

fn policy(settings: Value) -> AzurePolicy {
    let mut policy = super::policy(&azure(settings));
    match policy.providers.remove(0).kind {
        ProviderKind::AzureAd(policy) => *policy,
        other => panic!("{other:?}"),
    }
}

fn discovery(policy: &AzurePolicy) -> (String, String) {
    let KeyOrigin::Remote(keys) = &policy.keys else {
        panic!("{:?}", policy.keys);
    };
    assert!(keys.jwks.is_none());
    (
        keys.discovery.as_ref().unwrap().to_string(),
        keys.issuer.clone(),
    )
}

#[test]
fn one_tenant() {
    let policy = policy(json!({"audience": "a", "tenant_id": TENANT.to_uppercase()}));
    assert_eq!(policy.tenants, Tenants::One(TENANT.to_owned()));
    assert_eq!(
        discovery(&policy),
        (
            format!(
                "https://login.microsoftonline.com/{TENANT}/v2.0/.well-known/openid-configuration"
            ),
            format!("https://login.microsoftonline.com/{TENANT}/v2.0")
        )
    );
    assert!(policy.graph.is_none() && policy.apps.is_empty() && policy.token_type.is_none());
    assert!(!policy.require_confidential_client);
    assert_eq!(policy.clock_skew, Duration::from_secs(30));
}

#[test]
fn many_tenants_share_one_set_of_keys() {
    let policy = policy(json!({
        "audience": "a", "allow_multi_tenant": true, "allowed_tenants": [TENANT, OTHER],
        "authority": "login.microsoftonline.us", "groups_mode": "graph", "graph_dod": true,
        "graph_timeout": "2s", "token_type": "app", "require_confidential_client": true, "allowed_apps": OTHER,
    }));
    assert_eq!(
        policy.tenants,
        Tenants::Listed(vec![TENANT.to_owned(), OTHER.to_owned()])
    );
    assert_eq!(
        discovery(&policy),
        (
            "https://login.microsoftonline.us/common/v2.0/.well-known/openid-configuration"
                .to_owned(),
            "https://login.microsoftonline.us/{tenantid}/v2.0".to_owned()
        )
    );
    let graph = policy.graph.unwrap();
    assert_eq!(graph.host, "dod-graph.microsoft.us");
    assert_eq!(graph.timeout, Duration::from_secs(2));
    assert_eq!(graph.cache_ttl, Duration::from_secs(300));
    assert_eq!(policy.token_type, Some(AzureTokenType::App));
    assert!(policy.require_confidential_client);
    assert_eq!(policy.apps, [OTHER]);
}

#[test]
fn errors() {
    let guid =
        "must be an id such as `aaaabbbb-0000-cccc-1111-dddd2222eeee`, not a name or a domain";
    for (settings, expected) in [
        (json!({"tenant_id": TENANT}), "audience: is required".to_owned()),
        (json!({"audience": "a"}), "tenant_id: is required".to_owned()),
        (
            json!({"audience": "a", "tenant_id": "corp.onmicrosoft.com"}),
            format!("tenant_id: {guid}"),
        ),
        (json!({"audience": "a", "tenant_id": "common"}), format!("tenant_id: {guid}")),
        (
            json!({"audience": "a", "tenant_id": TENANT, "allow_multi_tenant": true}),
            "tenant_id: can't stand beside `allow_multi_tenant`; keep one of them".to_owned(),
        ),
        (
            json!({"audience": "a", "tenant_id": TENANT, "any_tenant": true}),
            "tenant_id: can't stand beside `any_tenant`; keep one of them".to_owned(),
        ),
        (
            json!({"audience": "a", "tenant_id": TENANT, "allowed_tenants": TENANT}),
            "allowed_tenants: can't stand beside `tenant_id`; keep one of them".to_owned(),
        ),
        (
            json!({"audience": "a", "allowed_tenants": TENANT}),
            "allowed_tenants: means nothing without `allow_multi_tenant: true`; add it".to_owned(),
        ),
        (
            json!({"audience": "a", "allow_multi_tenant": true}),
            "allow_multi_tenant: means nothing without `allowed_tenants`; add it".to_owned(),
        ),
        (
            json!({"audience": "a", "allow_multi_tenant": true, "allowed_tenants": []}),
            "allowed_tenants: must not be empty; add an entry or leave the key out".to_owned(),
        ),
        (
            json!({"audience": "a", "allow_multi_tenant": true, "allowed_tenants": ["*"]}),
            format!("allowed_tenants[0]: {guid}"),
        ),
        (
            json!({"audience": "a", "any_tenant": true, "allowed_tenants": TENANT}),
            "allowed_tenants: can't stand beside `any_tenant`; keep one of them".to_owned(),
        ),
        (
            json!({"audience": "a", "tenant_id": TENANT, "allowed_apps": []}),
            "allowed_apps: must not be empty; add an entry or leave the key out".to_owned(),
        ),
        (
            json!({"audience": "a", "tenant_id": TENANT, "allowed_apps": [OTHER, "my-app"]}),
            format!("allowed_apps[1]: {guid}"),
        ),
        (
            json!({"audience": "a", "tenant_id": TENANT, "authority": "login.microsoftonline.co"}),
            "authority: unknown value; did you mean `login.microsoftonline.com`?".to_owned(),
        ),
        (
            json!({"audience": "a", "tenant_id": TENANT, "authority": "evil.example"}),
            "authority: unknown value; must be one of login.microsoftonline.com, login.microsoftonline.us, login.partner.microsoftonline.cn".to_owned(),
        ),
        (
            json!({"audience": "a", "tenant_id": TENANT, "token_type": "device"}),
            "token_type: unknown value; must be one of app, user".to_owned(),
        ),
        (
            json!({"audience": "a", "tenant_id": TENANT, "groups_mode": "both"}),
            "groups_mode: unknown value; must be one of claim, graph".to_owned(),
        ),
        (
            json!({"audience": "a", "tenant_id": TENANT, "graph_timeout": "2s"}),
            "graph_timeout: means nothing without `groups_mode: graph`; add it".to_owned(),
        ),
        (
            json!({"audience": "a", "tenant_id": TENANT, "groups_mode": "graph", "graph_timeout": "2m"}),
            "graph_timeout: must be between 10ms and 1m".to_owned(),
        ),
        (
            json!({"audience": "a", "tenant_id": TENANT, "groups_mode": "graph", "graph_dod": true}),
            "graph_dod: means nothing without `authority: login.microsoftonline.us`; add it".to_owned(),
        ),
    ] {
        let errors = super::errors(&azure(settings));
        assert_eq!(errors, [format!("{SETTINGS}.{expected}")]);
    }
}

#[test]
fn warnings() {
    let warnings = |settings| super::warnings(&azure(settings));
    assert!(warnings(json!({"audience": "a", "tenant_id": TENANT})).is_empty());
    assert_eq!(
        warnings(json!({"audience": "a", "any_tenant": true})),
        [format!(
            "{SETTINGS}.any_tenant: every tenant of this cloud is let in, and anybody can make himself one; prefer `allow_multi_tenant` with `allowed_tenants`"
        )]
    );
}

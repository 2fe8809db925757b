//! The documentation's configurations, loaded as they stand on the page, and tokens of published shapes against the presets.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]

mod common;

use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::{Dir, root};
use ed25519_dalek::{Signer, SigningKey};
use portcullis_core::decision::{Allow, Decision, Step};
use portcullis_core::jose::RustVerifier;
use portcullis_core::request::RequestHead;
use portcullis_core::time::UnixTime;
use portcullis_core::{Authenticator, Stores, config};
use serde_json::{Value, json};

const PAGES: [&str; 5] = [
    "docs/auth/README.md",
    "docs/auth/azure-ad.md",
    "docs/auth/gcp-iap.md",
    "docs/auth/oidc-presets.md",
    "docs/integrations/github-actions.md",
];

const NOW: u64 = 1_795_000_000;

fn page(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap()
}

/// The table of providers is written by hand.
#[test]
fn every_provider_type_has_a_row() {
    let page = page("docs/auth/README.md");
    for kind in config::OFFERED {
        assert!(page.contains(&format!("\n| `{kind}` |")), "{kind} has none");
    }
}

/// The YAML blocks of a page, each with the heading it stands under.
fn blocks(page: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut heading = String::new();
    let mut block: Option<String> = None;
    for line in page.lines() {
        match &mut block {
            Some(text) if line == "```" => {
                found.push((heading.clone(), std::mem::take(text)));
                block = None;
            }
            Some(text) => {
                text.push_str(line);
                text.push('\n');
            }
            None if line == "```yaml" => block = Some(String::new()),
            None => {
                if let Some(title) = line.strip_prefix("## ") {
                    title.clone_into(&mut heading);
                }
            }
        }
    }
    assert!(block.is_none(), "a block without end");
    found
}

#[test]
fn every_configuration_of_the_pages_loads_without_a_warning() {
    let dir = Dir::new("docs");
    let mut loaded = 0;
    for name in PAGES {
        for (heading, text) in blocks(&page(name)) {
            if !text.starts_with("auth:") {
                continue;
            }
            dir.write("block.yaml", &text);
            let ran = dir.run(&["check", "--deny-warnings", "block.yaml"]);
            assert_eq!(ran.code, 0, "{name}, {heading}: {ran:?}");
            loaded += 1;
        }
    }
    assert_eq!(loaded, 12);
}

#[test]
fn the_workflows_are_yaml_and_ask_for_what_they_need() {
    let page = page("docs/integrations/github-actions.md");
    let workflows: Vec<Value> = blocks(&page)
        .iter()
        .filter(|(_, text)| text.starts_with("name:"))
        .map(|(_, text)| serde_saphyr::from_str(text).unwrap())
        .collect();
    let [oidc, key] = workflows.as_slice() else {
        panic!("{}", workflows.len());
    };
    assert_eq!(oidc["permissions"]["id-token"], "write");
    assert!(!oidc.to_string().contains("secrets."));
    assert_eq!(key["permissions"].get("id-token"), None);
    assert!(key.to_string().contains("secrets.AGENT_KEY"));
    for workflow in [oidc, key] {
        assert_eq!(workflow["jobs"]["call"]["environment"], "production");
    }
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[9; 32])
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The block under a heading of the presets, with a key set of ours in the place of the issuer's.
fn preset(heading: &str, key_use: &str) -> Authenticator {
    let blocks = blocks(&page("docs/auth/oidc-presets.md"));
    let (_, text) = blocks.iter().find(|(h, _)| h == heading).unwrap();
    let mut document: Value = serde_saphyr::from_str(text).unwrap();
    let settings = document["auth"]["providers"][0]["settings"]
        .as_object_mut()
        .unwrap();
    settings.remove("jwks_url");
    settings.insert(
        "jwks".to_owned(),
        json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k", "use": key_use,
            "x": b64(key().verifying_key().as_bytes())}]}),
    );
    let (policy, _) = config::load(document.to_string().as_bytes(), &|_| None).unwrap();
    let now = UnixTime::from_secs(NOW);
    Authenticator::new(policy, Stores::new(1), Rc::new(RustVerifier), now)
}

fn send(auth: &mut Authenticator, claims: &Value) -> Result<Allow, String> {
    let signed = format!(
        "{}.{}",
        b64(r#"{"alg":"EdDSA","kid":"k","typ":"JWT"}"#),
        b64(claims.to_string())
    );
    let value = format!(
        "Bearer {signed}.{}",
        b64(key().sign(signed.as_bytes()).to_bytes())
    );
    let headers: [(&[u8], &[u8]); 1] = [(b"authorization", value.as_bytes())];
    let head = RequestHead {
        method: b"POST",
        path: b"/rest/orders",
        authority: b"agents.example.com",
        headers: &headers,
        remote_addr: None,
    };
    match auth.begin(&head, UnixTime::from_secs(NOW)) {
        Step::Done(Decision::Allow(allow)) => Ok(allow),
        Step::Done(Decision::Deny(denial)) => Err(denial.code.to_string()),
        _ => panic!("neither let in nor refused"),
    }
}

/// What the upstream learns, under the names without their prefix.
fn told(allow: &Allow) -> Value {
    let told = allow
        .set
        .iter()
        .filter_map(|(n, v)| Some((n.strip_prefix("x-auth-")?.to_owned(), json!(v))))
        .filter(|(n, _)| n != "provider");
    Value::Object(told.collect())
}

fn over(base: &Value, path: &str, value: Value) -> Value {
    let mut changed = base.clone();
    *changed.pointer_mut(path).unwrap() = value;
    changed
}

/// A genuine token is let in as `identity`, and each change to it is refused with the code beside it.
fn holds(heading: &str, token: &Value, identity: Value, refused: &[(&str, Value, &str)]) {
    let mut auth = preset(heading, "sig");
    let allow = send(&mut auth, token).unwrap_or_else(|code| panic!("{heading}: {code}"));
    assert_eq!(told(&allow), identity, "{heading}");
    for (path, value, code) in refused {
        let changed = over(token, path, value.clone());
        let outcome = send(&mut auth, &changed).map(|_| ());
        assert_eq!(outcome, Err((*code).to_owned()), "{heading} {path} {value}");
    }
}

#[test]
fn google() {
    // https://cloud.google.com/compute/docs/instances/verifying-instance-identity#payload
    let token = json!({
        "iss": "https://accounts.google.com", "iat": NOW, "exp": NOW + 3600, "aud": "api://agents",
        "sub": "107517467455664443765", "azp": "107517467455664443765",
        "email": "orders@agent-fleet-prod.iam.gserviceaccount.com", "email_verified": true,
        "google": {"compute_engine": {"project_id": "agent-fleet-prod", "project_number": 739_419_398_126_u64,
            "zone": "us-west1-a", "instance_id": "152986662232938449", "instance_name": "example"}},
    });
    holds(
        "Google service accounts",
        &token,
        json!({"user-id": "107517467455664443765", "email": "orders@agent-fleet-prod.iam.gserviceaccount.com"}),
        &[
            (
                "/email",
                json!("x@other.iam.gserviceaccount.com"),
                "subject_not_allowed",
            ),
            ("/email_verified", json!(false), "email_not_verified"),
            ("/aud", json!("api://else"), "audience_mismatch"),
        ],
    );
}

#[test]
fn aws_outbound_web_identity() {
    // https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_outbound_token_claims.html
    let token = json!({
        "iss": "https://abc123-def456-ghi789-jkl012.tokens.sts.global.api.aws", "aud": "api://agents",
        "sub": "arn:aws:iam::123456789012:role/DataProcessingRole", "iat": NOW, "exp": NOW + 900,
        "jti": "xyz123-def456-ghi789-jkl012",
        "https://sts.amazonaws.com/": {
            "aws_account": "123456789012", "source_region": "us-east-1", "org_id": "o-abc1234567",
            "ou_path": "o-a1b2c3d4e5/r-ab12/ou-ab12-11111111/ou-ab12-22222222/",
            "principal_tags": {"environment": "production", "team": "data-engineering", "cost-center": "engineering"},
            "lambda_source_function_arn": "arn:aws:lambda:us-east-1:123456789012:function:process-data",
            "request_tags": {"job-id": "job-2024-001", "priority": "high", "data-classification": "sensitive"}},
    });
    let at = |name: &str| format!("/https:~1~1sts.amazonaws.com~1/{name}");
    holds(
        "AWS outbound web identity",
        &token,
        json!({"user-id": "arn:aws:iam::123456789012:role/DataProcessingRole", "org-id": "123456789012", "workspace-id": "data-engineering"}),
        &[
            (
                &at("aws_account"),
                json!("999999999999"),
                "claim_not_allowed",
            ),
            (&at("org_id"), json!("o-other"), "claim_not_allowed"),
            (
                &at("principal_tags/team"),
                json!("marketing"),
                "claim_not_allowed",
            ),
            (&at("principal_tags"), json!({}), "claim_not_allowed"),
            (
                "/sub",
                json!("arn:aws:iam::999999999999:role/DataProcessingRole"),
                "subject_not_allowed",
            ),
            (
                "/iss",
                json!("https://other.tokens.sts.global.api.aws"),
                "not_for_me",
            ),
        ],
    );
}

#[test]
fn kubernetes() {
    // https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#bound-service-account-tokens
    let token = json!({
        "aud": ["agents.example.com"], "exp": NOW + 600, "iat": NOW, "nbf": NOW,
        "iss": "https://kubernetes.default.svc.cluster.local", "jti": "ed28c89a-1cfd-4ac2-a9d6-1a1b9f7b7b9e",
        "kubernetes.io": {"namespace": "fleet",
            "node": {"name": "127.0.0.1", "uid": "58456cb0-dd00-45ed-b797-5578fdceaced"},
            "pod": {"name": "planner-69cbfb9798-jv9gn", "uid": "778a530c-b3f4-47c0-9cd5-ab018fb64f33"},
            "serviceaccount": {"name": "planner", "uid": "a087d5a0-e1dd-43ec-93ac-f13d89cd13af"},
            "warnafter": NOW + 300},
        "sub": "system:serviceaccount:fleet:planner",
    });
    holds(
        "Kubernetes service accounts",
        &token,
        json!({"user-id": "system:serviceaccount:fleet:planner", "org-id": "fleet", "workspace-id": "planner-69cbfb9798-jv9gn"}),
        &[
            (
                "/sub",
                json!("system:serviceaccount:kube-system:planner"),
                "subject_not_allowed",
            ),
            (
                "/aud",
                json!(["https://kubernetes.default.svc.cluster.local"]),
                "audience_mismatch",
            ),
        ],
    );
}

#[test]
fn spiffe() {
    let token = json!({
        "iss": "https://spire.example.org", "aud": ["spiffe://example.org/agents"],
        "sub": "spiffe://example.org/ns/fleet/sa/planner", "iat": NOW, "exp": NOW + 300,
    });
    let mut auth = preset("SPIFFE JWT-SVID", "jwt-svid");
    let allow = send(&mut auth, &token).unwrap();
    assert_eq!(
        told(&allow),
        json!({"user-id": "spiffe://example.org/ns/fleet/sa/planner"})
    );
    for (path, value, code) in [
        (
            "/sub",
            json!("spiffe://evil.org/ns/fleet/sa/planner"),
            "subject_not_allowed",
        ),
        (
            "/sub",
            json!("spiffe://example.org/ns/fleet/sa/a/b"),
            "subject_not_allowed",
        ),
        (
            "/aud",
            json!(["spiffe://example.org/else"]),
            "audience_mismatch",
        ),
        ("/iat", json!(NOW - 7200), "too_old"),
    ] {
        let outcome = send(&mut auth, &over(&token, path, value)).map(|_| ());
        assert_eq!(outcome, Err(code.to_owned()), "{path}");
    }
    // A key for something else is worth nothing, and a key for SVIDs nothing anywhere else.
    let outcome = send(&mut preset("SPIFFE JWT-SVID", "sig"), &token).map(|_| ());
    assert_eq!(outcome, Err("key_mismatch".to_owned()));
    let google = json!({"iss": "https://accounts.google.com", "aud": "api://agents", "sub": "1", "exp": NOW + 1});
    let outcome = send(&mut preset("Google service accounts", "jwt-svid"), &google).map(|_| ());
    assert_eq!(outcome, Err("key_mismatch".to_owned()));
}

#[test]
fn auth0() {
    // https://auth0.com/docs/secure/tokens/access-tokens/access-token-profiles
    let token = json!({
        "iss": "https://acme.eu.auth0.com/", "sub": "a1b2c3d4e5f6g7h8@clients", "aud": "https://agents.example.com",
        "iat": NOW, "exp": NOW + 86400, "azp": "a1b2c3d4e5f6g7h8", "gty": "client-credentials",
        "scope": "agents:call", "permissions": ["agents:call"],
    });
    holds(
        "Auth0",
        &token,
        json!({"user-id": "a1b2c3d4e5f6g7h8@clients"}),
        &[
            (
                "/sub",
                json!("auth0|507f1f77bcf86cd799439011"),
                "subject_not_allowed",
            ),
            ("/gty", json!("password"), "claim_not_allowed"),
            (
                "/aud",
                json!("https://acme.eu.auth0.com/api/v2/"),
                "audience_mismatch",
            ),
        ],
    );
}

#[test]
fn okta() {
    // https://developer.okta.com/docs/api/openapi/okta-oauth/guides/overview/#access-token
    let token = json!({
        "ver": 1, "jti": "AT.0mP4JKAZX1iACIT4vbEDF7LpvDVjxypPMf0D7uX39RE",
        "iss": "https://acme.okta.com/oauth2/default", "aud": "api://agents", "sub": "0oa1fleet2aaaa3bbb4c5",
        "iat": NOW, "exp": NOW + 3600, "cid": "0oa1fleet2aaaa3bbb4c5", "scp": ["agents.call"],
    });
    holds(
        "Okta",
        &token,
        json!({"user-id": "0oa1fleet2aaaa3bbb4c5", "workspace-id": "0oa1fleet2aaaa3bbb4c5"}),
        &[
            ("/cid", json!("0oa1other"), "claim_not_allowed"),
            ("/scp", json!(["openid"]), "claim_not_allowed"),
            ("/iss", json!("https://acme.okta.com"), "not_for_me"),
        ],
    );
}

#[test]
fn keycloak() {
    let token = json!({
        "exp": NOW + 300, "iat": NOW, "jti": "trrtcc:0d2ac5b5", "iss": "https://sso.example.com/realms/fleet",
        "aud": ["agents", "account"], "sub": "5f3ef0c7-7b3c-4a0e-9a0c-3d2b1a0f9e8d", "typ": "Bearer", "azp": "planner",
        "acr": "1", "realm_access": {"roles": ["agent-caller", "offline_access"]},
        "resource_access": {"account": {"roles": ["manage-account"]}}, "scope": "email profile",
        "clientId": "planner", "preferred_username": "service-account-planner",
    });
    holds(
        "Keycloak",
        &token,
        json!({"user-id": "5f3ef0c7-7b3c-4a0e-9a0c-3d2b1a0f9e8d", "workspace-id": "planner", "groups": "agent-caller,offline_access"}),
        &[
            ("/typ", json!("ID"), "claim_not_allowed"),
            (
                "/realm_access/roles",
                json!(["offline_access"]),
                "claim_not_allowed",
            ),
            ("/aud", json!("account"), "audience_mismatch"),
        ],
    );
}

//! `aws_sigv4`: regions, endpoints, lists and what is dangerous about leaving them out.

use std::time::Duration;

use portcullis_core::policy::{AwsSigV4Policy, ProviderKind};
use serde_json::{Value, json};

#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

const SETTINGS: &str = "auth.providers[0].settings";

fn aws(settings: Value) -> Value {
    json!({"auth": {"providers": [{"type": "aws_sigv4", "settings": settings}]}})
}

fn policy(settings: Value) -> AwsSigV4Policy {
    let mut policy = super::policy(&aws(settings));
    match policy.providers.remove(0).kind {
        ProviderKind::AwsSigV4(policy) => *policy,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_defaults() {
    let policy = policy(json!({"region": "eu-west-1"}));
    let [endpoint] = policy.endpoints.as_slice() else {
        panic!("{:?}", policy.endpoints);
    };
    assert_eq!(endpoint.host, "sts.eu-west-1.amazonaws.com");
    assert_eq!(
        endpoint.url.to_string(),
        "https://sts.eu-west-1.amazonaws.com/"
    );
    let prefixes: Vec<_> = policy
        .prefixes
        .iter()
        .map(|p| (p.prefix.as_str(), p.audience_header.as_str()))
        .collect();
    assert_eq!(
        prefixes,
        [
            ("forge-aws-v1.", "x-portcullis-audience"),
            ("k8s-aws-v1.", "x-k8s-aws-id")
        ]
    );
    assert_eq!(policy.audience, None);
    assert!(!policy.require_audience);
    assert!(policy.allowed_principals.is_none() && policy.allowed_accounts.is_empty());
    assert_eq!(policy.identity_cache_ttl, Duration::from_secs(60));
    assert_eq!(policy.max_token_expires, Duration::from_secs(900));
    assert_eq!(policy.clock_skew, Duration::from_secs(300));
}

#[test]
fn hosts_by_partition() {
    let policy = policy(json!({"region": ["us-east-1", "cn-north-1", "us-gov-west-1"]}));
    let hosts: Vec<_> = policy.endpoints.iter().map(|e| e.host.as_str()).collect();
    assert_eq!(
        hosts,
        [
            "sts.us-east-1.amazonaws.com",
            "sts.cn-north-1.amazonaws.com.cn",
            "sts.us-gov-west-1.amazonaws.com"
        ]
    );
}

#[test]
fn scopes_are_equal_only_where_the_question_is() {
    let scope = |settings: Value| policy(settings).scope;
    let base = scope(json!({"region": "eu-west-1"}));
    assert_eq!(
        base,
        scope(json!({"region": "eu-west-1", "allowed_accounts": "123456789012"})),
        "who is let in shapes no question"
    );
    for other in [
        json!({"region": "eu-west-2"}),
        json!({"region": "eu-west-1", "audience": "a"}),
        json!({"region": "eu-west-1", "audience_header": "x-other"}),
        json!({"region": "eu-west-1", "token_prefixes": "forge-aws-v1."}),
        json!({"region": "eu-west-1", "sts_endpoint": "https://vpce-1.sts.eu-west-1.vpce.amazonaws.com"}),
        json!({"region": "eu-west-1", "identity_cache_ttl": "1s"}),
    ] {
        assert_ne!(base, scope(other));
    }
}

#[test]
fn errors() {
    for (settings, expected) in [
        (json!({}), "region: is required"),
        (
            json!({"region": []}),
            "region: must not be empty; add an entry or leave the key out",
        ),
        (
            json!({"region": ["eu-west-1", "eu_west_1"]}),
            "region[1]: is not the name of an AWS region such as `eu-west-1`",
        ),
        (
            json!({"region": "evil.test/"}),
            "region[0]: is not the name of an AWS region such as `eu-west-1`",
        ),
        (
            json!({"region": "eu-west-1", "allowed_accounts": ["1234567890123"]}),
            "allowed_accounts[0]: is not an AWS account's number of 12 digits; quote it, or leading zeros are lost",
        ),
        (
            json!({"region": "eu-west-1", "allowed_principals": ["arn:aws:iam::1:role/["]}),
            "allowed_principals[0]: is not a glob: ",
        ),
        (
            json!({"region": "eu-west-1", "require_audience": true}),
            "require_audience: means nothing without `audience`; add it",
        ),
        (
            json!({"region": "eu-west-1", "audience": "a b"}),
            "audience: must be 1 to 256 visible ASCII characters without spaces",
        ),
        (
            json!({"region": "eu-west-1", "audience_header": "Host"}),
            "audience_header: is not the name of a header: letters, digits and `-`, in lower case",
        ),
        (
            json!({"region": "eu-west-1", "token_prefixes": ["a."]}),
            "token_prefixes[0]: must be 4 to 64 letters, digits, `-`, `_` or `.`, and end in `.`",
        ),
        (
            json!({"region": "eu-west-1", "max_token_expires": "1h"}),
            "max_token_expires: must be between 1s and 15m",
        ),
        (
            json!({"region": "eu-west-1", "sts_endpoint": "https://sts.example/path"}),
            "sts_endpoint[0]: must have no path or query: callers sign for the path `/`",
        ),
        (
            json!({"region": "eu-west-1", "sts_endpoint": "sts.example"}),
            "sts_endpoint[0]: is not an absolute URL that can be called: it must start with https:// (or http://)",
        ),
        (
            json!({"region": "eu-west-1", "allowed_principal": "x"}),
            "allowed_principal: unknown key; did you mean `allowed_principals`?",
        ),
    ] {
        let errors = super::errors(&aws(settings));
        assert!(
            matches!(errors.as_slice(), [one] if one.starts_with(&format!("{SETTINGS}.{expected}"))),
            "{errors:?}"
        );
    }
}

#[test]
fn warnings() {
    let unbound = format!(
        "{SETTINGS}.require_audience: tokens that callers made for another service are accepted here; set `audience` and `require_audience: true` once callers sign it"
    );
    let anyone = format!(
        "{SETTINGS}: every principal of every AWS account is let in; set `allowed_principals` or `allowed_accounts`"
    );
    let warnings = |settings| super::warnings(&aws(settings));
    assert_eq!(
        warnings(json!({"region": "eu-west-1"})),
        [unbound.as_str(), &anyone]
    );
    let careful = json!({"region": "eu-west-1", "allowed_accounts": "123456789012", "audience": "a", "require_audience": true});
    assert!(warnings(careful).is_empty());
    assert_eq!(
        warnings(json!({
            "region": "eu-west-1", "allowed_accounts": [], "allowed_principals": "arn:aws:iam::123456789012:role/ci",
            "audience": "a", "require_audience": true, "sts_endpoint": "http://127.0.0.1:8080"
        })),
        [
            format!(
                "{SETTINGS}.sts_endpoint[0]: is plain http: whoever sits between can say who a caller is, unless the proxy's cluster adds TLS"
            ),
            format!(
                "{SETTINGS}.allowed_accounts: is empty, so it allows everyone; list some, or leave the key out"
            ),
        ]
    );
}

#[test]
fn globs_that_match_nobody_are_noticed() {
    let warned = |glob: &str| {
        let settings = json!({"region": "eu-west-1", "audience": "a", "require_audience": true, "allowed_principals": [glob]});
        let warnings = super::warnings(&aws(settings));
        let at = format!("{SETTINGS}.allowed_principals[0]: matches no caller: ");
        assert!(warnings.iter().all(|w| w.starts_with(&at)), "{warnings:?}");
        !warnings.is_empty()
    };
    for never in [
        "ci-deploy",
        "role/ci-deploy",
        "123456789012",
        "arn:aws:iam::123456789012:role/teams/ci-deploy",
        "arn:aws:iam::*:role/aws-reserved/sso.amazonaws.com/*",
    ] {
        assert!(warned(never), "{never}");
    }
    for fine in [
        "arn:aws:iam::123456789012:role/ci-deploy",
        "arn:aws:iam::123456789012:role/*",
        "arn:aws:sts::123456789012:assumed-role/batch/*",
        // STS does tell a user's path.
        "arn:aws:iam::123456789012:user/division/alice",
        "arn:aws*:iam::123456789012:role/ci",
        "*",
    ] {
        assert!(!warned(fine), "{fine}");
    }
}

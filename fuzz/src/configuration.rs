//! A plugin configuration as a host hands it over.

use std::collections::BTreeSet;
use std::rc::Rc;

use portcullis_core::config;
use portcullis_core::decision::{Decision, Step};
use portcullis_core::jose::RustVerifier;
use portcullis_core::policy::{KeyOrigin, Policy, ProviderKind};
use portcullis_core::reason::Code;
use portcullis_core::request::{RequestHead, canonical_path};
use portcullis_core::time::UnixTime;
use portcullis_core::{Authenticator, Stores};
use portcullis_host::plugin_config;

/// `data` as text, or as a serialized `google.protobuf.Struct`.
pub fn run(data: &[u8]) {
    let text = plugin_config::json(data);
    let env = |name: &str| (name == "SET").then(|| "a-long-enough-secret".to_owned());
    let (first, second) = (config::load(&text, &env), config::load(&text, &env));
    match (first, second) {
        (Ok((policy, warnings)), Ok((same, again))) => {
            assert_eq!(format!("{policy:?}"), format!("{same:?}"));
            assert_eq!(warnings, again);
            assert!(config::parse(&text).is_ok(), "compiled what can't be read");
            complete(&policy);
            in_force(policy);
        }
        (Err(errors), Err(again)) => {
            assert_eq!(errors, again);
            assert!(!errors.0.is_empty(), "refused without a word");
            for error in &errors.0 {
                let words = error.problem.to_string();
                assert!(!words.is_empty() && !words.contains('\n'), "{words}");
            }
        }
        _ => panic!("good once and bad once"),
    }
}

/// What every request relies on.
fn complete(policy: &Policy) {
    assert_eq!(policy.version.len(), 12);
    assert!(!policy.providers.is_empty());
    assert!(matches!(policy.unavailable_status, 401 | 503));
    let prefix = &policy.identity.header_prefix;
    assert!(
        prefix.ends_with('-')
            && prefix
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    );
    let mut names = BTreeSet::new();
    for provider in &policy.providers {
        assert!(names.insert(&provider.name), "two providers of one name");
        assert!((1..=64).contains(&provider.name.len()));
        assert!(
            provider
                .name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        );
        if let ProviderKind::Oidc(oidc) = &provider.kind {
            assert!(!oidc.issuer.is_empty());
            assert!(!oidc.audiences.is_empty() && oidc.audiences.iter().all(|a| !a.is_empty()));
            assert!(oidc.client_id.as_deref() != Some(""));
            match &oidc.keys {
                KeyOrigin::Inline(keys) => assert!(!keys.keys().is_empty()),
                KeyOrigin::Remote(remote) => {
                    assert!(remote.discovery.is_some() || remote.jwks.is_some())
                }
            }
        }
        if let ProviderKind::StaticToken(token) = &provider.kind {
            assert!(!token.token_sha256.is_empty());
        }
    }
    for skip in &policy.skip {
        assert_eq!(
            canonical_path(skip.path.as_bytes()).as_deref(),
            Some(&*skip.path)
        );
        assert!(!skip.method.is_empty());
    }
    let limits = &policy.limits;
    assert!(limits.token_bytes >= 256 && limits.jwks_bytes >= 256 && limits.jwks_keys >= 1);
    assert!(limits.waiting_requests >= 1 && limits.unknown_kids >= 1);
}

/// It decides, and asks for a bounded number of things.
fn in_force(policy: Policy) {
    let now = UnixTime::from_secs(1_800_000_000);
    let (required, skip) = (policy.required, policy.skip.clone());
    let sources = policy.providers.len();
    let mut auth = Authenticator::new(policy, Stores::new(1), Rc::new(RustVerifier), now);
    let mut begin = |path: &str, headers: &[(&[u8], &[u8])]| {
        let head = RequestHead {
            method: b"GET",
            path: path.as_bytes(),
            authority: b"agents.example",
            headers,
            remote_addr: None,
        };
        match auth.begin(&head, now) {
            Step::Done(Decision::Allow(_)) => None,
            Step::Done(Decision::Limited(_)) => panic!("nobody presents a key"),
            Step::Done(Decision::Deny(denial)) => Some(denial.code),
            Step::NeedCallout(_) | Step::NeedBody(_) => {
                panic!("waits for what no token can prove")
            }
        }
    };
    let path = "/not/skipped/by/anyone";
    if !skip.iter().any(|s| s.path == path) {
        assert_eq!(begin(path, &[]), required.then_some(Code::MissingToken));
        let forged: &[u8] = b"Bearer eyJhbGciOiJub25lIn0.e30.AA";
        assert!(begin(path, &[(b"authorization", forged)]).is_some());
    }
    for rule in skip.iter().filter(|s| s.method == "GET") {
        assert_eq!(begin(&rule.path, &[]), None);
    }
    let mut callouts = 0;
    while auth.poll_callout(now).is_some() {
        callouts += 1;
        assert!(callouts <= sources, "asks for more than it has sources");
    }
}

//! GitHub Actions: tokens of the published shape, and every rule on them.

use serde_json::{Value, json};
#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use crate::support::*;

const GITHUB: &str = "https://token.actions.githubusercontent.com";

pub fn provider(settings: Value) -> Value {
    let all = over(
        json!({"audience": AUDIENCE, "allowed_owner_ids": "65"}),
        settings,
    );
    json!({"type": "github_actions", "settings": all})
}

fn config(settings: Value) -> Value {
    json!({"auth": {"providers": [provider(settings)]}})
}

/// What GitHub's host answers.
pub fn answer(path: &str) -> String {
    if path.ends_with("openid-configuration") {
        json!({"issuer": GITHUB, "jwks_uri": format!("{GITHUB}/.well-known/jwks")}).to_string()
    } else {
        keys()
    }
}

/// The example of GitHub's documentation, with its environment.
fn job(changes: Value) -> Value {
    let now = start().as_secs();
    over(
        json!({
            "jti": "example-id", "iss": GITHUB, "aud": AUDIENCE,
            "sub": "repo:octo-org/octo-repo:environment:prod",
            "environment": "prod", "ref": "refs/heads/main", "sha": "example-sha",
            "repository": "octo-org/octo-repo", "repository_owner": "octo-org",
            "actor_id": "12", "repository_visibility": "private", "repository_id": "74",
            "repository_owner_id": "65", "run_id": "example-run-id", "run_number": "10",
            "run_attempt": "2", "runner_environment": "github-hosted", "actor": "octocat",
            "workflow": "example-workflow", "head_ref": "", "base_ref": "",
            "event_name": "workflow_dispatch", "ref_type": "branch",
            "job_workflow_ref": "octo-org/octo-automation/.github/workflows/oidc.yml@refs/heads/main",
            "workflow_ref": "octo-org/octo-repo/.github/workflows/deploy.yml@refs/heads/main",
            "iat": now, "nbf": now - 600, "exp": now + 300,
        }),
        changes,
    )
}

pub fn token(changes: Value) -> String {
    genuine(
        &json!({"typ": "JWT", "alg": "RS256", "x5t": "example-thumbprint", "kid": "example-key-id"}),
        &job(changes),
    )
}

fn keys() -> String {
    json!({"keys": [rsa_jwk("example-key-id", json!({"alg": "RS256"}))]}).to_string()
}

/// A bench whose issuer has handed out its keys.
fn bench(settings: Value) -> Bench {
    let mut bench = Bench::new(&config(settings));
    warm(&mut bench, GITHUB);
    bench
}

fn warm(bench: &mut Bench, issuer: &str) {
    let callout = bench.callout();
    let at = &callout.callout;
    assert_eq!(
        format!("https://{}{}", at.authority, at.path),
        format!("{issuer}/.well-known/openid-configuration")
    );
    let document = json!({"issuer": issuer, "jwks_uri": format!("{issuer}/.well-known/jwks")});
    bench.respond(&callout, 200, &[], &document.to_string());
    let callout = bench.callout();
    bench.respond(&callout, 200, &[], &keys());
}

#[test]
fn a_job_is_its_repository() {
    let mut bench = bench(json!({}));
    let allow = bench.allow(&bearer(&token(json!({}))));
    assert_eq!(
        set(&allow, "x-auth-user-id"),
        Some("repo:octo-org/octo-repo")
    );
    assert_eq!(set(&allow, "x-auth-org-id"), Some("octo-org"));
    assert_eq!(set(&allow, "x-auth-email"), None);
    let event = event(allow.audit);
    assert_eq!(event["fields"]["provider"], "github_actions");
    assert_eq!(
        event["fields"]["claims"],
        json!({
            "repository_id": "74", "ref": "refs/heads/main",
            "workflow": "octo-org/octo-automation/.github/workflows/oidc.yml@refs/heads/main",
            "run_id": "example-run-id", "actor": "octocat",
            "event_name": "workflow_dispatch", "environment": "prod",
        })
    );
}

#[test]
fn what_the_event_repeats_is_bounded_and_plain() {
    let mut bench = bench(json!({}));
    let long = "é".repeat(1000);
    let allow = bench.allow(&bearer(&token(
        json!({"actor": "a\n\"b\u{7f}", "run_id": long, "event_name": 7, "environment": null,
               "sub": "repo:octo-org/octo-repo:ref:refs/heads/main"}),
    )));
    let claims = &event(allow.audit)["fields"]["claims"];
    assert_eq!(claims["actor"], "a\"b");
    assert_eq!(claims["run_id"], "é".repeat(128));
    assert!(claims.get("event_name").is_none() && claims.get("environment").is_none());
}

#[test]
fn every_rule() {
    let id_form = "repo:octo-org@65/octo-repo@74:ref:refs/heads/main";
    let reusable = "octo-org/octo-automation/.github/workflows/oidc.yml@refs/heads/main";
    for (settings, changes, expected) in [
        // Who owns the repository.
        (json!({}), json!({}), "ok"),
        (
            json!({}),
            json!({"repository_owner_id": "66"}),
            "repository_not_allowed",
        ),
        (
            json!({}),
            json!({"repository_owner_id": null}),
            "repository_not_allowed",
        ),
        (
            json!({}),
            json!({"repository_owner_id": 65}),
            "repository_not_allowed",
        ),
        (json!({"allowed_owner_ids": [64, 65]}), json!({}), "ok"),
        (
            json!({"allowed_owner_ids": null, "allowed_repository_ids": ["74"]}),
            json!({}),
            "ok",
        ),
        (
            json!({"allowed_owner_ids": null, "allowed_repository_ids": ["7"]}),
            json!({}),
            "repository_not_allowed",
        ),
        (
            json!({"allowed_owner_ids": null, "allowed_repositories": "octo-org/*"}),
            json!({}),
            "ok",
        ),
        (
            json!({"allowed_owner_ids": null, "allowed_repositories": "octo-org/octo"}),
            json!({}),
            "repository_not_allowed",
        ),
        (
            json!({"allowed_owner_ids": null, "allowed_repositories": "octo-*"}),
            json!({}),
            "repository_not_allowed",
        ),
        // All that are there must match: a name taken over by somebody else has other ids.
        (
            json!({"allowed_repositories": "octo-org/octo-repo"}),
            json!({"repository_owner_id": "666"}),
            "repository_not_allowed",
        ),
        (
            json!({"allowed_repositories": "other/*"}),
            json!({}),
            "repository_not_allowed",
        ),
        // Audience, time.
        (
            json!({}),
            json!({"aud": "https://github.com/octo-org"}),
            "audience_mismatch",
        ),
        (json!({}), json!({"exp": start().as_secs() - 31}), "expired"),
        (json!({}), json!({"exp": null}), "missing_expiry"),
        (
            json!({}),
            json!({"nbf": start().as_secs() + 31}),
            "not_yet_valid",
        ),
        // Ref, environment, workflow, event.
        (json!({"allowed_refs": "refs/heads/main"}), json!({}), "ok"),
        (
            json!({"allowed_refs": "refs/heads/*"}),
            json!({"ref": "refs/heads/a/b", "sub": "repo:octo-org/octo-repo:ref:refs/heads/a/b"}),
            "ref_not_allowed",
        ),
        (
            json!({"allowed_refs": "refs/heads/*"}),
            json!({"ref": null}),
            "ref_not_allowed",
        ),
        (
            json!({"allowed_environments": ["staging", "prod"]}),
            json!({}),
            "ok",
        ),
        (
            json!({"allowed_environments": "staging"}),
            json!({}),
            "environment_not_allowed",
        ),
        (
            json!({"allowed_environments": "*"}),
            json!({"environment": null, "sub": id_form}),
            "environment_not_allowed",
        ),
        (json!({"allowed_workflows": reusable}), json!({}), "ok"),
        (
            json!({"allowed_workflows": "octo-org/octo-repo/.github/workflows/deploy.yml@*"}),
            json!({}),
            "workflow_not_allowed",
        ),
        (
            json!({"allowed_workflows": "octo-org/octo-repo/.github/workflows/deploy.yml@refs/heads/*"}),
            json!({"job_workflow_ref": null}),
            "ok",
        ),
        (
            json!({"allowed_workflows": "octo-org/octo-repo/.github/workflows/deploy.yml@refs/heads/*"}),
            json!({"job_workflow_ref": 1}),
            "workflow_not_allowed",
        ),
        (
            json!({"allowed_events": ["push", "workflow_dispatch"]}),
            json!({}),
            "ok",
        ),
        (
            json!({"allowed_events": "push"}),
            json!({"event_name": "pull_request_target"}),
            "event_not_allowed",
        ),
        // `sub` and the claims tell the same.
        (json!({}), json!({"sub": id_form}), "ok"),
        (
            json!({}),
            json!({"sub": "repo:octo-org@65/octo-repo@74:environment:prod"}),
            "ok",
        ),
        (
            json!({}),
            json!({"sub": "repo:octo-org@65/octo-repo@75:environment:prod"}),
            "subject_mismatch",
        ),
        (
            json!({}),
            json!({"sub": "repo:octo-org@66/octo-repo@74:environment:prod"}),
            "subject_mismatch",
        ),
        (
            json!({}),
            json!({"sub": "repo:octo-org@/octo-repo:environment:prod"}),
            "subject_mismatch",
        ),
        (
            json!({}),
            json!({"sub": "repo:octo-org/other:environment:prod"}),
            "subject_mismatch",
        ),
        (
            json!({}),
            json!({"sub": "repo:octo-org:environment:prod"}),
            "subject_mismatch",
        ),
        (
            json!({}),
            json!({"sub": "repo:octo-org/octo-repo:environment:staging"}),
            "subject_mismatch",
        ),
        (
            json!({}),
            json!({"sub": "repo:octo-org/octo-repo:ref:refs/heads/evil"}),
            "subject_mismatch",
        ),
        (
            json!({}),
            json!({"sub": "repo:octo-org/octo-repo:ref:refs/heads/main2"}),
            "subject_mismatch",
        ),
        (
            json!({}),
            json!({"sub": "repo:octo-org/octo-repo:ref:refs/heads/main:actor:octocat"}),
            "ok",
        ),
        (
            json!({}),
            json!({"sub": "repo:octo-org/octo-repo:environment:a%3Ab", "environment": "a:b"}),
            "ok",
        ),
        (
            json!({}),
            json!({"sub": "repo:octo-org/octo-repo:pull_request"}),
            "ok",
        ),
        (
            json!({}),
            json!({"sub": "repository_owner_id:65:repository_id:74"}),
            "ok",
        ),
        (json!({}), json!({"sub": null}), "missing_subject"),
        (
            json!({}),
            json!({"repository_owner": "evil"}),
            "subject_mismatch",
        ),
        (json!({}), json!({"repository": null}), "missing_subject"),
        (
            json!({}),
            json!({"repository": "octo-org/octo-repo/x", "sub": "x"}),
            "malformed_claims",
        ),
        (
            json!({}),
            json!({"repository": "/octo-repo", "repository_owner": "", "sub": "x"}),
            "malformed_claims",
        ),
        (
            json!({}),
            json!({"repository": "octo-org/a\nb", "sub": "x"}),
            "missing_subject",
        ),
    ] {
        let mut bench = bench(settings.clone());
        assert_eq!(
            bench.with_token(&token(changes.clone())),
            expected,
            "{settings} {changes}"
        );
    }
}

#[test]
fn an_enterprise_server_has_its_own_issuer() {
    let issuer = "https://ghes.example/_services/token";
    let mut bench = Bench::new(&config(json!({"issuer": issuer})));
    warm(&mut bench, issuer);
    assert_eq!(bench.with_token(&token(json!({"iss": issuer}))), "ok");
    assert_eq!(
        bench.with_token(&token(json!({"iss": "https://ghes.example/_services"}))),
        "not_for_me"
    );
    assert_eq!(bench.with_token(&token(json!({}))), "not_for_me");
}

#[test]
fn lists_are_those_of_the_policy_in_force() {
    let mut bench = bench(json!({}));
    let token = token(json!({}));
    assert_eq!(bench.with_token(&token), "ok");
    bench.reload(&config(json!({"allowed_owner_ids": "66"})));
    assert_eq!(bench.with_token(&token), "repository_not_allowed");
    assert_eq!(bench.verifier.0.get(), 1, "verified once");
}

#[test]
fn the_event_names_whose_job_a_list_refuses() {
    let mut bench = bench(json!({"allowed_refs": "refs/heads/other"}));
    let fields = event(bench.deny(&bearer(&token(json!({})))).audit)["fields"].clone();
    assert_eq!(fields["code"], "ref_not_allowed");
    assert_eq!(fields["user_id"], "repo:octo-org/octo-repo");
}

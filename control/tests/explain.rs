//! `portcullis explain` on real files and really signed tokens.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]

mod common;

use std::io::{Read, Write};
use std::net::TcpListener;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::{Dir, Ran};
use ed25519_dalek::{Signer, SigningKey};
use serde_json::{Value, json};

const NOW: u64 = 1_795_329_912;

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn jwks() -> String {
    let x = b64(key().verifying_key().as_bytes());
    json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": x}]}).to_string()
}

fn token(changes: Value) -> String {
    let mut claims = json!({
        "iss": "https://accounts.google.com", "sub": "1234567890", "aud": "api://agents",
        "email": "orders@fleet.example", "email_verified": true, "iat": NOW - 60, "exp": NOW + 720,
    });
    for (key, value) in changes.as_object().unwrap() {
        claims[key] = value.clone();
    }
    let header = json!({"alg": "EdDSA", "kid": "k1", "typ": "JWT"});
    let signed = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
    let signature = key().sign(signed.as_bytes());
    format!("{signed}.{}", b64(signature.to_bytes()))
}

const CONFIG: &str = "\
auth:
  skip: [GET /healthz]
  providers:
    - type: oidc
      name: other
      settings: { issuer: https://issuer.example, audience: a }
    - type: oidc
      name: google-agents
      agents: [orders, 'fraud-*']
      settings:
        issuer: https://accounts.google.com
        audience: api://agents
        allowed_subjects: ['*@fleet.example']
    - type: static_token
      name: ci
      settings: { token_sha256: 4b1c3cf4d3d4c1c9eb1b22b6c9e9ce3ab2b0c6ce6d9a0f6e5c5c1f4c2f2f3a11, identity: { user_id: ci } }
agent: { path: '/rest/{agent}' }
";

fn dir(name: &str) -> Dir {
    let dir = Dir::new(name);
    dir.write("config.yaml", CONFIG);
    dir.write("jwks.json", &jwks());
    dir
}

fn explain(dir: &Dir, token: &str, path: &str, more: &[&str]) -> Ran {
    dir.write("token", token);
    let now = NOW.to_string();
    let mut args = vec![
        "explain",
        "--config",
        "config.yaml",
        "--token",
        "@token",
        "--at",
        &now,
        "--path",
        path,
    ];
    args.extend(["--jwks", "https://accounts.google.com=jwks.json"]);
    args.extend(more);
    let ran = dir.run(&args);
    let signature = token.rsplit('.').next().unwrap();
    assert!(
        !ran.out.contains(signature) && !ran.err.contains(signature),
        "the credential shows"
    );
    ran
}

#[test]
fn a_caller_who_is_let_in() {
    let dir = dir("allowed");
    let token = token(json!({}));
    let ran = explain(&dir, &token, "/rest/orders/v1?x=y", &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let expected = format!(
        "request      POST /rest/orders/v1
as of        2026-11-22T06:45:12.000Z
agent        orders
credential   jwt, {} characters
  header     alg EdDSA, kid \"k1\", typ \"JWT\"
  iss        \"https://accounts.google.com\"
  sub        \"1234567890\"
  email      \"orders@fleet.example\", verified
  aud        \"api://agents\"
  iat        2026-11-22T06:44:12.000Z, 60s ago
  exp        2026-11-22T06:57:12.000Z, in 12m

provider 1 other (oidc)
  issuer \"https://issuer.example\" is not the token's
  not for me: the next provider is asked

provider 2 google-agents (oidc)
  issuer \"https://accounts.google.com\" is the token's
  key: found, kid \"k1\", among 1 from jwks.json
  signature: genuine
  audience: one of \"api://agents\"
  allowed_subjects: sub matches none, email matches \"*@fleet.example\" and must be verified
  verified: 1234567890
  its identities may call \"orders\", which matches \"orders\"

The word of provider 2 is final: 1 more not asked.

decision     allow
",
        token.len()
    );
    assert!(ran.out.starts_with(&expected), "{}", ran.out);
    assert!(
        ran.out.contains("  remove     authorization\n"),
        "{}",
        ran.out
    );
    assert!(
        ran.out
            .contains("  set        x-auth-user-id: 1234567890\n"),
        "{}",
        ran.out
    );
}

#[test]
fn callers_who_are_kept_out() {
    let dir = dir("denied");
    let table = [
        (
            json!({"exp": NOW - 60}),
            "/rest/orders",
            "refused: expired:",
            "401, reason rejected, code expired",
        ),
        (
            json!({"aud": "b"}),
            "/rest/orders",
            "audience: none of \"api://agents\"",
            "401, reason rejected, code audience_mismatch",
        ),
        (
            json!({"email": "orders@fleet.example.evil"}),
            "/rest/orders",
            "allowed_subjects: neither sub nor email matches any",
            "401, reason rejected, code subject_not_allowed",
        ),
        (
            json!({"email_verified": false}),
            "/rest/orders",
            "  email      \"orders@fleet.example\", not verified",
            "401, reason rejected, code email_not_verified",
        ),
        (
            json!({}),
            "/rest/billing",
            "its identities may not call \"billing\", only \"orders\", \"fraud-*\"",
            "403, reason forbidden_agent, code forbidden_agent",
        ),
        (
            json!({}),
            "/",
            "the request names no agent",
            "403, reason forbidden_agent, code unknown_agent",
        ),
        (
            json!({"iss": "https://nobody.example"}),
            "/rest/orders",
            "the token is none of the 1 it knows",
            "401, reason not_for_me, code not_for_me",
        ),
    ];
    for (claims, path, why, decision) in table {
        let ran = explain(&dir, &token(claims.clone()), path, &[]);
        assert_eq!(ran.code, 1, "{claims} {ran:?}");
        assert!(ran.out.contains(why), "{claims}: {}", ran.out);
        assert!(
            ran.out.contains(&format!("\ndecision     {decision}\n")),
            "{claims}: {}",
            ran.out
        );
        assert!(ran.out.contains("\"error\":"), "{}", ran.out);
    }
}

#[test]
fn a_forged_signature_is_not_called_genuine() {
    let dir = dir("forged");
    let mut forged = token(json!({}));
    let end = forged.len() - 10;
    let replacement = if forged.as_bytes()[end] == b'A' {
        "B"
    } else {
        "A"
    };
    forged.replace_range(end..=end, replacement);
    let ran = explain(&dir, &forged, "/rest/orders", &[]);
    assert_eq!(ran.code, 1);
    assert!(!ran.out.contains("genuine\n  audience"), "{}", ran.out);
    assert!(ran.out.contains("code bad_signature"), "{}", ran.out);
}

#[test]
fn a_token_that_is_none_and_no_token() {
    let dir = dir("none");
    let ran = explain(&dir, "an-opaque-token.of-some-kind", "/rest/orders", &[]);
    assert!(
        ran.out.contains("credential   opaque, 28 characters"),
        "{}",
        ran.out
    );
    assert!(ran.out.contains("the credential is no JWT"), "{}", ran.out);
    let ran = dir.run(&["explain", "--config", "config.yaml"]);
    assert_eq!(ran.code, 1);
    assert!(ran.out.contains("credential   none\n"), "{}", ran.out);
    assert!(ran.out.contains("401, reason missing_token"), "{}", ran.out);
    let ran = dir.run(&[
        "explain",
        "--config",
        "config.yaml",
        "--method",
        "GET",
        "--path",
        "/healthz",
    ]);
    assert_eq!(ran.code, 0);
    assert!(
        ran.out.contains("this request needs no credential"),
        "{}",
        ran.out
    );
}

#[test]
fn a_whole_request() {
    let dir = dir("request");
    let token = token(json!({}));
    dir.write(
        "request.txt",
        &format!("POST /rest/fraud-eu HTTP/1.1\r\nHost: agents.example\r\nAuthorization: bearer {token}\r\nX-Auth-User-Id: root\r\n\r\n{{}}"),
    );
    let now = NOW.to_string();
    let base = [
        "explain",
        "--config",
        "config.yaml",
        "--request",
        "request.txt",
        "--at",
        now.as_str(),
    ];
    let keys = ["--jwks", "https://accounts.google.com/=jwks.json"];
    let ran = dir.run(&[&base[..], &keys[..]].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("agent        fraud-eu\n"), "{}", ran.out);
    assert!(
        ran.out
            .to_lowercase()
            .contains("  remove     x-auth-user-id\n"),
        "{}",
        ran.out
    );
    assert!(!ran.out.contains(&token), "{}", ran.out);
    // Without keys nothing is decided.
    let ran = dir.run(&base);
    assert_eq!(ran.code, 1);
    assert!(
        ran.out.contains("waits for the issuer's keys"),
        "{}",
        ran.out
    );
    assert!(ran.out.contains("decision     none yet"), "{}", ran.out);
    // Two credentials are none.
    dir.write(
        "request.txt",
        "GET / HTTP/1.1\nAuthorization: Bearer a\nAuthorization: Bearer b\n\n",
    );
    let ran = dir.run(&base);
    assert!(
        ran.out.contains("credential   ambiguous_credentials: "),
        "{}",
        ran.out
    );
    dir.write("request.txt", "hello");
    let ran = dir.run(&base);
    assert_eq!(ran.code, 1);
    assert!(ran.err.starts_with("error: request.txt: "), "{ran:?}");
}

#[test]
fn wrong_usage_and_wrong_files() {
    let dir = dir("usage");
    let base = ["explain", "--config", "config.yaml"];
    let run = |more: &[&str]| dir.run(&[&base[..], more].concat());
    assert_eq!(dir.run(&["explain"]).code, 2);
    assert_eq!(run(&["--token", "x", "--request", "y"]).code, 2);
    assert_eq!(
        run(&["--at", "yesterday"]).err,
        "error: --at yesterday: is neither RFC 3339 nor a number of seconds\n"
    );
    assert_eq!(
        run(&["--jwks", "https://nobody.example=jwks.json"]).err,
        "error: --jwks https://nobody.example=jwks.json: no provider of the configuration has the issuer https://nobody.example\n"
    );
    assert_eq!(
        run(&["--header", "nothing"]).err,
        "error: --header: a header must be written `name: value`\n"
    );
    let ran = run(&["--at", "2026-11-22T06:45:12Z"]);
    assert!(
        ran.out.contains("as of        2026-11-22T06:45:12.000Z\n"),
        "{ran:?}"
    );
    dir.write("config.yaml", "auth: {}");
    assert_eq!(run(&[]).err, "error: auth.providers: is required\n");
}

/// What `explain --online` says with the configuration of that folder.
fn explained_online(dir: &Dir, more: &[&str]) -> Ran {
    let args = ["explain", "--config", "config.json", "--online"];
    dir.run(&[&args, more].concat())
}

/// An issuer on this machine: discovery, then keys.
#[test]
fn online() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    let server = {
        let issuer = issuer.clone();
        std::thread::spawn(move || {
            let mut paths = Vec::new();
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().unwrap();
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                    head.push(byte[0]);
                }
                let path = String::from_utf8(head)
                    .unwrap()
                    .split(' ')
                    .nth(1)
                    .unwrap()
                    .to_owned();
                let body = if path == "/keys" {
                    jwks()
                } else {
                    json!({"issuer": issuer, "jwks_uri": format!("{issuer}/keys")}).to_string()
                };
                write!(
                    stream,
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                )
                .unwrap();
                paths.push(path);
            }
            paths
        })
    };
    let dir = Dir::new("online");
    dir.write(
        "config.json",
        &json!({"auth": {"providers": [{"type": "oidc", "settings": {"issuer": issuer, "audience": "api://agents"}}]}}).to_string(),
    );
    dir.write("token", &token(json!({"iss": issuer})));
    let now = NOW.to_string();
    let ran = explained_online(&dir, &["--token", "@token", "--at", &now]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.out.contains(&format!(
            "fetched {issuer}/.well-known/openid-configuration: 200, "
        )),
        "{}",
        ran.out
    );
    assert!(
        ran.out.contains(&format!("fetched {issuer}/keys: 200, ")),
        "{}",
        ran.out
    );
    assert!(ran.out.contains("signature: genuine"), "{}", ran.out);
    assert_eq!(
        server.join().unwrap(),
        ["/.well-known/openid-configuration", "/keys"]
    );

    // The issuer is gone now.
    let ran = explained_online(&dir, &["--token", "@token", "--at", &now]);
    assert_eq!(ran.code, 1);
    assert!(ran.out.contains("can't fetch "), "{}", ran.out);
    assert!(
        ran.out
            .contains("decision     503, reason provider_unavailable, code keys_unavailable"),
        "{}",
        ran.out
    );
}

/// STS is asked with the credential itself, which is in the URL.
#[test]
fn a_presigned_url_is_not_printed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let sts = format!("https://{}", listener.local_addr().unwrap());
    drop(listener);
    let dir = Dir::new("presigned");
    let settings = json!({"region": "eu-west-1", "audience": "a", "require_audience": true, "sts_endpoint": sts});
    dir.write(
        "config.json",
        &json!({"auth": {"providers": [{"type": "aws_sigv4", "settings": settings}]}}).to_string(),
    );
    let credentials = [
        ("AWS_ACCESS_KEY_ID", "ASIAIOSFODNN7EXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_SESSION_TOKEN", "the-sessions-token"),
    ];
    let args = [
        "aws-token",
        "--region",
        "eu-west-1",
        "--audience",
        "a",
        "--sts-endpoint",
        &sts,
    ];
    let made = dir.run_with(&args, &credentials);
    assert_eq!(made.code, 0, "{made:?}");
    dir.write("token", &made.out);
    let ran = explained_online(&dir, &["--token", "@token"]);
    assert!(
        ran.out.contains(&format!("can't fetch {sts}/: ")),
        "{ran:?}"
    );
    for secret in ["Signature", "Security-Token", "the-sessions-token"] {
        assert!(
            !ran.out.contains(secret) && !ran.err.contains(secret),
            "{ran:?}"
        );
    }
}

#[test]
fn an_authority_of_ones_own() {
    let dir = Dir::new("ca");
    dir.write("config.json", &json!({"auth": {"providers": [{"type": "oidc", "settings": {"issuer": "https://issuer.example", "audience": "a"}}]}}).to_string());
    dir.write("empty.pem", "nothing\n");
    let ran = explained_online(&dir, &["--ca", "empty.pem"]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.err
            .contains("empty.pem: holds no certificate in PEM form"),
        "{ran:?}"
    );
    let ran = dir.run(&["explain", "--config", "config.json", "--ca", "empty.pem"]);
    assert_eq!(ran.code, 2, "without --online nobody is asked: {ran:?}");
}

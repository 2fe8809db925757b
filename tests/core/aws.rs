//! Presigned STS identities, with STS played by the test.

use std::time::Duration;

use portcullis_core::authenticator::{BackgroundCallout, Purpose};
use portcullis_core::decision::Decision;
use portcullis_core::jose::base64url;
use portcullis_core::time::UnixTime;
use serde_json::{Value, json};

#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use crate::support::*;

const HOST: &str = "sts.eu-west-1.amazonaws.com";
pub const ALICE: &str = "arn:aws:iam::123456789012:user/alice";
const CI: &str = "arn:aws:sts::123456789012:assumed-role/ci/run-7";

fn config(settings: Value) -> Value {
    let mut all = json!({"region": "eu-west-1"});
    for (name, value) in settings.as_object().unwrap() {
        all[name] = value.clone();
    }
    json!({"auth": {"providers": [{"type": "aws_sigv4", "settings": all}]}})
}

/// A presigned URL as the SDKs make it, with the parameters of `changes` over it; `null` removes one.
fn url_at(now: UnixTime, changes: Value) -> String {
    let date = now
        .to_string()
        .replace(['-', ':'], "")
        .replace(".000Z", "Z");
    let mut parameters = json!({
        "Action": "GetCallerIdentity",
        "Version": "2011-06-15",
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": format!("AKIAIOSFODNN7EXAMPLE%2F{}%2Feu-west-1%2Fsts%2Faws4_request", &date[..8]),
        "X-Amz-Date": date,
        "X-Amz-Expires": "900",
        "X-Amz-SignedHeaders": "host",
        "X-Amz-Signature": "0123456789abcdef".repeat(4),
    });
    for (name, value) in changes.as_object().unwrap() {
        parameters[name] = value.clone();
    }
    let query: Vec<String> = parameters
        .as_object()
        .unwrap()
        .iter()
        .filter_map(|(n, v)| Some(format!("{n}={}", v.as_str()?)))
        .collect();
    format!("https://{HOST}/?{}", query.join("&"))
}

fn url(changes: Value) -> String {
    url_at(start(), changes)
}

fn token_of(url: &str) -> String {
    format!("forge-aws-v1.{}", base64url::encode(url.as_bytes()))
}

pub fn token_with(changes: Value) -> String {
    token_of(&url(changes))
}

pub fn answer(arn: &str) -> String {
    let account = arn.split(':').nth(4).unwrap();
    json!({"GetCallerIdentityResponse": {
        "GetCallerIdentityResult": {"Account": account, "Arn": arn, "UserId": "AIDAEXAMPLE"},
        "ResponseMetadata": {"RequestId": "r"}}})
    .to_string()
}

const JSON: (&str, &str) = ("content-type", "application/json");
const XML: (&str, &str) = ("content-type", "text/xml");

/// Sends a token, answers the question it raises, and says what became of it.
fn exchange(
    bench: &mut Bench,
    token: &str,
    reply: impl FnOnce(&mut Bench, &BackgroundCallout),
) -> Decision {
    let need = bench.waits(&bearer(token));
    let callout = bench.callout();
    reply(bench, &callout);
    bench.no_callout();
    assert!(need.ready(&bench.auth, bench.now));
    match need.resume(&mut bench.auth, bench.now) {
        portcullis_core::decision::Step::Done(decision) => decision,
        _ => panic!("waits on"),
    }
}

fn says(arn: &str) -> impl FnOnce(&mut Bench, &BackgroundCallout) {
    let body = answer(arn);
    move |bench, callout| bench.respond(callout, 200, &[JSON], &body)
}

#[test]
fn what_was_signed_reaches_sts_and_nothing_else() {
    let mut bench = Bench::new(&config(json!({"identity_cache_ttl": "60s"})));
    let url = url(json!({"X-Amz-Security-Token": "IQoJ%2F%2b%3D"}));
    let token = token_of(&url);
    let request = bearer(&token)
        .header("cookie", "a=b")
        .header("x-amz-date", "evil");
    let need = bench.waits(&request);
    let callout = bench.callout();
    assert_eq!(callout.purpose, Purpose::Lookup(HOST.into()));
    let sent = &callout.callout;
    assert_eq!(
        (sent.method, sent.scheme, sent.upstream.as_str()),
        ("GET", "https", HOST)
    );
    assert_eq!(format!("https://{}{}", sent.authority, sent.path), url);
    assert_eq!(
        sent.headers,
        [("accept".to_owned(), "application/json".to_owned())]
    );
    assert!(sent.body.is_empty());
    bench.respond(&callout, 200, &[JSON], &answer(CI));
    let Decision::Allow(allow) = (match need.resume(&mut bench.auth, bench.now) {
        portcullis_core::decision::Step::Done(decision) => decision,
        _ => panic!("waits on"),
    }) else {
        panic!("refused");
    };
    assert_eq!(set(&allow, "x-auth-user-id"), Some(CI));
    assert_eq!(set(&allow, "x-auth-org-id"), Some("123456789012"));
    assert!(removed(&allow).contains(&"authorization"));
    let event = event(allow.audit);
    assert_eq!(event["fields"]["token_kind"], "sigv4");
    assert_eq!(event["fields"]["provider"], "aws_sigv4");
    assert_eq!(event["fields"]["user_id"], CI);
    assert_eq!(event["fields"]["cache"], "miss");
    // Padded it is another token for the same request.
    let again = bench.allow(&bearer(&token));
    assert_eq!(crate::support::event(again.audit)["fields"]["cache"], "hit");
}

#[test]
fn one_question_for_many_requests_and_none_for_a_known_token() {
    let mut bench = Bench::new(&config(json!({})));
    let token = token_with(json!({}));
    let needs: Vec<_> = (0..10).map(|_| bench.waits(&bearer(&token))).collect();
    let callout = bench.callout();
    bench.no_callout();
    bench.respond(&callout, 200, &[JSON], &answer(ALICE));
    for need in needs {
        assert_eq!(bench.resume(need), "ok");
    }
    bench.pass(Duration::from_secs(59));
    assert_eq!(bench.with_token(&token), "ok");
    bench.no_callout();
    bench.pass(Duration::from_secs(1));
    bench.waits(&bearer(&token));
    bench.callout();
}

#[test]
fn a_forged_signature_does_not_ride_on_its_victims_entry() {
    let mut bench = Bench::new(&config(json!({})));
    let good = token_with(json!({}));
    assert_eq!(verdict(exchange(&mut bench, &good, says(ALICE))), "ok");
    // The same access key id, the same day, all the same but for the signature.
    let forged = token_with(json!({"X-Amz-Signature": "f".repeat(64)}));
    let denied = exchange(&mut bench, &forged, |bench, callout| {
        let error =
            json!({"Error": {"Code": "SignatureDoesNotMatch", "Message": "no", "Type": "Sender"}});
        bench.respond(callout, 403, &[JSON], &error.to_string());
    });
    let Decision::Deny(denial) = denied else {
        panic!("let in");
    };
    assert_eq!(denial.code.as_str(), "rejected_upstream");
    assert_eq!(denial.status, 401);
    let event = event(denial.audit);
    assert_eq!(event["fields"]["detail"], "SignatureDoesNotMatch");
    assert_eq!(event["fields"]["reason"], "rejected");
    assert!(!event.to_string().contains(ALICE));
    // For a while it is refused without asking; then it is asked again.
    assert_eq!(bench.with_token(&forged), "rejected_upstream");
    bench.no_callout();
    assert_eq!(bench.with_token(&good), "ok");
    bench.pass(Duration::from_secs(5));
    bench.waits(&bearer(&forged));
}

#[test]
fn nothing_is_remembered_longer_than_the_token_is_good() {
    let mut bench = Bench::new(&config(
        json!({"identity_cache_ttl": "15m", "clock_skew": "5s"}),
    ));
    let token = token_with(json!({"X-Amz-Expires": "60"}));
    assert_eq!(verdict(exchange(&mut bench, &token, says(ALICE))), "ok");
    bench.pass(Duration::from_millis(64_999));
    assert_eq!(bench.with_token(&token), "ok");
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.with_token(&token), "expired");
    bench.no_callout();
}

#[test]
fn an_answer_that_comes_after_the_tokens_end_lets_nobody_in() {
    let mut bench = Bench::new(&config(json!({"clock_skew": "0s"})));
    let token = token_with(json!({"X-Amz-Expires": "1"}));
    let denied = exchange(&mut bench, &token, |bench, callout| {
        bench.pass(Duration::from_secs(1));
        bench.respond(callout, 200, &[JSON], &answer(ALICE));
    });
    assert_eq!(verdict(denied), "expired");
}

#[test]
fn lists_are_those_of_the_policy_in_force() {
    let mut bench = Bench::new(&config(json!({})));
    let token = token_with(json!({}));
    assert_eq!(verdict(exchange(&mut bench, &token, says(CI))), "ok");
    for (settings, expected) in [
        (
            json!({"allowed_principals": "arn:aws:sts::123456789012:assumed-role/ci/*"}),
            "ok",
        ),
        (
            json!({"allowed_principals": "arn:aws:iam::123456789012:role/ci"}),
            "ok",
        ),
        (
            json!({"allowed_principals": ["arn:aws:iam::123456789012:role/*"]}),
            "ok",
        ),
        (
            json!({"allowed_principals": "arn:aws:iam::123456789012:role/c"}),
            "principal_not_allowed",
        ),
        (
            json!({"allowed_principals": "arn:aws:sts::123456789012:assumed-role/*"}),
            "principal_not_allowed",
        ),
        (json!({"allowed_accounts": "123456789012"}), "ok"),
        (
            json!({"allowed_accounts": ["999999999999"]}),
            "account_not_allowed",
        ),
        (
            json!({"allowed_accounts": ["999999999999"], "allowed_principals": "*/*/*"}),
            "account_not_allowed",
        ),
        (json!({"max_token_expires": "14m"}), "too_long_lived"),
    ] {
        bench.reload(&config(settings.clone()));
        assert_eq!(bench.with_token(&token), expected, "{settings}");
        bench.no_callout();
        if expected != "ok" {
            let event = event(bench.deny(&bearer(&token)).audit);
            assert_eq!(event["fields"]["user_id"], CI, "whom the list refuses");
        }
    }
}

#[test]
fn bound_to_an_audience_by_a_signed_header_that_we_supply() {
    let bound = json!({"X-Amz-SignedHeaders": "host%3Bx-portcullis-audience"});
    let mut bench = Bench::new(&config(
        json!({"audience": "prod", "require_audience": true}),
    ));
    assert_eq!(bench.with_token(&token_with(json!({}))), "missing_audience");
    bench.no_callout();
    let token = token_with(bound.clone());
    let mut seen = Vec::new();
    let decision = exchange(&mut bench, &token, |bench, callout| {
        seen = callout.callout.headers.clone();
        bench.respond(callout, 200, &[JSON], &answer(ALICE));
    });
    assert_eq!(verdict(decision), "ok");
    assert!(seen.contains(&("x-portcullis-audience".to_owned(), "prod".to_owned())));
    // What was proven for one audience proves nothing for another, and a bound token means nothing without one.
    bench.reload(&config(json!({"audience": "test"})));
    bench.waits(&bearer(&token));
    bench.reload(&config(json!({})));
    assert_eq!(bench.with_token(&token), "unexpected_signed_headers");
    // An EKS token is bound by its own header, and ours is not.
    let eks = |changes| format!("k8s-aws-v1.{}", base64url::encode(url(changes).as_bytes()));
    bench.reload(&config(json!({"audience": "cluster"})));
    assert_eq!(bench.with_token(&eks(bound)), "unexpected_signed_headers");
    let need = bench.waits(&bearer(&eks(
        json!({"X-Amz-SignedHeaders": "host%3Bx-k8s-aws-id"}),
    )));
    // The earlier one's question is still waiting to be sent.
    let callout = [bench.callout(), bench.callout()]
        .into_iter()
        .find(|c| c.callout.headers.iter().any(|(n, _)| n == "x-k8s-aws-id"))
        .unwrap();
    bench.respond(&callout, 200, &[JSON], &answer(ALICE));
    assert_eq!(bench.resume(need), "ok");
}

#[test]
fn refused_without_asking() {
    let mut bench = Bench::new(&config(json!({"audience": "prod"})));
    let good = url(json!({}));
    let swap = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        good.replacen(from, to, 1)
    };
    let with = url;
    let malformed = [
        String::new(),
        "https://".to_owned(),
        swap("https", "ftp"),
        swap("https", "HTTPS"),
        swap("/?", "?"),
        swap("/?", "//?"),
        swap("/?", "/a?"),
        swap("/?", "/%2e?"),
        swap("https://", "https://u@"),
        swap("https://", "https://@"),
        swap("https://", " https://"),
        format!("{good}#"),
        format!("{good} "),
        format!("{good}\0"),
        format!("{good}\r\nx: y"),
        format!("{good}&"),
        format!("{good}&X-Amz-Expires=900"),
        format!("{good}&x-amz-expires=900"),
        format!("{good}&X-Amz-Foo=1"),
        format!("{good}&=1"),
        format!("{good}&Action"),
        swap("&Version", "&&Version"),
        swap("Action=", "action="),
        swap("Action=", "%41ction="),
        with(json!({"Action": "AssumeRole"})),
        with(json!({"Action": null})),
        with(json!({"Version": "2012-01-01"})),
        with(json!({"X-Amz-Algorithm": "AWS4-ECDSA-P256-SHA256"})),
        with(json!({"X-Amz-Algorithm": null})),
        with(json!({"X-Amz-Security-Token": ""})),
        with(json!({"X-Amz-Signature": "fakesig"})),
        with(json!({"X-Amz-Signature": "F".repeat(64)})),
        with(json!({"X-Amz-Signature": null})),
        with(json!({"X-Amz-Date": "20260101T000000"})),
        with(json!({"X-Amz-Date": null})),
        with(json!({"X-Amz-Date": "20270115T080000+Z"})),
        with(json!({"X-Amz-Expires": "0"})),
        with(json!({"X-Amz-Expires": "-1"})),
        with(json!({"X-Amz-Expires": "0900"})),
        with(json!({"X-Amz-Expires": "9e2"})),
        with(json!({"X-Amz-Expires": "18446744073709551617"})),
        with(json!({"X-Amz-Expires": null})),
        swap("eu-west-1%2Fsts", "us-east-1%2Fsts"),
        swap("%2Fsts%2F", "%2Fs3%2F"),
        swap("aws4_request", "aws4_request%2Fx"),
        swap("AKIAIOSFODNN7EXAMPLE", "AKIA"),
        swap("AKIAIOSFODNN7EXAMPLE", "AKIA%20IOSFODNN7EXAMP"),
        swap("AKIAIOSFODNN7EXAMPLE%2F", "AKIAIOSFODNN7EXAMPLE+"),
        swap("AKIAIOSFODNN7EXAMPLE%2F2027", "AKIAIOSFODNN7EXAMPLE%2F2026"),
        swap("%2F", "%2"),
        swap("%2F", "%2G"),
        swap("%2F", "%0a"),
        swap("%2F", "%c3%a9"),
    ];
    for url in &malformed {
        assert_eq!(
            bench.with_token(&token_of(url)),
            "malformed_presigned_url",
            "{url}"
        );
    }
    for host in [
        "sts.amazonaws.com",
        "sts.us-east-1.amazonaws.com",
        "sts.eu-west-1.amazonaws.com.",
        "sts.eu-west-1.amazonaws.com:443",
        "sts.eu-west-1.amazonaws.com.evil.test",
        "evil-sts.eu-west-1.amazonaws.com",
        "sts-fips.eu-west-1.amazonaws.com",
        "sts.eu-west-1.amazonaws.com.cn",
        "127.0.0.1",
    ] {
        let verdict = bench.with_token(&token_of(&swap(HOST, host)));
        assert_eq!(verdict, "foreign_sts_endpoint", "{host}");
    }
    assert_eq!(
        bench.with_token(&token_of(&swap("https", "http"))),
        "foreign_sts_endpoint"
    );
    for host in [
        "STS.eu-west-1.amazonaws.com",
        "sts.eu-west-1.amazonaws.com\\@evil",
        "sts%2eeu-west-1.amazonaws.com",
        "[::1]",
    ] {
        let verdict = bench.with_token(&token_of(&swap(HOST, host)));
        assert_eq!(verdict, "malformed_presigned_url", "{host}");
    }
    for headers in [
        "",
        "x-portcullis-audience",
        "x-portcullis-audience%3Bhost",
        "host%3Bx-k8s-aws-id",
        "host%3Bhost",
        "Host",
        "host%3Bx-portcullis-audience%3Bx-z",
        "host;x-portcullis-audience",
    ] {
        let verdict = bench.with_token(&token_of(&with(json!({"X-Amz-SignedHeaders": headers}))));
        let expected = if headers.contains(';') {
            "malformed_presigned_url"
        } else {
            "unexpected_signed_headers"
        };
        assert_eq!(verdict, expected, "{headers}");
    }
    for (url, expected) in [
        (with(json!({"X-Amz-Expires": "901"})), "too_long_lived"),
        (
            url_at(start() - Duration::from_secs(1200), json!({})),
            "expired",
        ),
        (
            url_at(start() + Duration::from_secs(301), json!({})),
            "not_yet_valid",
        ),
    ] {
        assert_eq!(bench.with_token(&token_of(&url)), expected, "{url}");
    }
    let encoded = base64url::encode(good.as_bytes());
    for (text, expected) in [
        (format!("{encoded}===="), "malformed_presigned_url"),
        (format!("{encoded}."), "malformed_presigned_url"),
        (format!("{encoded}!"), "malformed_presigned_url"),
        (format!("forge-aws-v1.{encoded}"), "malformed_presigned_url"),
        ("A".repeat(8193), "token_too_large"),
    ] {
        assert_eq!(
            bench.with_token(&format!("forge-aws-v1.{text}")),
            expected,
            "{text}"
        );
    }
    for other in [
        "forge-aws-v2.",
        "FORGE-AWS-V1.",
        "forge-aws-v1:",
        "forge-aws-v1",
    ] {
        assert_eq!(
            bench.with_token(&format!("{other}{encoded}")),
            "not_for_me",
            "{other}"
        );
    }
    bench.no_callout();
    // And the good one is asked about, padded or not.
    bench.waits(&bearer(&token_of(&good)));
    let padded = format!("{encoded}{}", "=".repeat((4 - encoded.len() % 4) % 4));
    bench.waits(&bearer(&format!("forge-aws-v1.{padded}")));
}

fn xml(arn: &str) -> String {
    format!(
        "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\n  <GetCallerIdentityResult>\n    <Arn>{arn}</Arn>\n    <UserId>AIDAEXAMPLE</UserId>\n    <Account>123456789012</Account>\n  </GetCallerIdentityResult>\n  <ResponseMetadata>\n    <RequestId>r</RequestId>\n  </ResponseMetadata>\n</GetCallerIdentityResponse>\n"
    )
}

#[test]
fn answers_are_read_strictly() {
    let mut bench = Bench::new(&config(json!({})));
    let mut n = 0;
    let mut ask = |status: u16, headers: &[(&str, &str)], body: &str| {
        n += 1;
        bench.pass(Duration::from_secs(20));
        let token = token_of(&url_at(
            bench.now,
            json!({"X-Amz-Signature": format!("{n:064x}")}),
        ));
        verdict(exchange(&mut bench, &token, |bench, callout| {
            bench.respond(callout, status, headers, body);
        }))
    };
    let good = answer(ALICE);
    let good_xml = xml(ALICE);
    assert_eq!(ask(200, &[JSON], &good), "ok");
    assert_eq!(
        ask(
            200,
            &[("content-type", "application/json; charset=utf-8")],
            &good
        ),
        "ok"
    );
    assert_eq!(ask(200, &[XML], &good_xml), "ok");
    assert_eq!(ask(200, &[], &good), "ok");
    assert_eq!(ask(200, &[], &good_xml), "ok");
    assert_eq!(
        ask(
            200,
            &[XML],
            &format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{good_xml}")
        ),
        "ok"
    );
    assert_eq!(
        ask(
            200,
            &[XML],
            &good_xml
                .replace("xmlns=", "xmlns:s=")
                .replace("</", "</s:")
                .replace("<Get", "<s:Get")
                .replace("<Arn", "<s:Arn")
                .replace("<User", "<s:User")
                .replace("<Acc", "<s:Acc")
                .replace("<Resp", "<s:Resp")
                .replace("<Requ", "<s:Requ")
        ),
        "ok"
    );
    for (status, headers, body) in [
        (
            200,
            vec![("content-type", "text/html")],
            "<html>Sign in</html>",
        ),
        (200, vec![JSON], ""),
        (200, vec![JSON], "{}"),
        (200, vec![JSON], "null"),
        (200, vec![XML], good.as_str()),
        (200, vec![JSON], good_xml.as_str()),
        (200, vec![JSON, ("content-encoding", "gzip")], good.as_str()),
        (204, vec![JSON], good.as_str()),
        (206, vec![JSON], good.as_str()),
        (
            301,
            vec![JSON, ("location", "https://evil.test/")],
            good.as_str(),
        ),
        (304, vec![JSON], good.as_str()),
        (500, vec![JSON], good.as_str()),
        (503, vec![JSON], good.as_str()),
        (429, vec![JSON], good.as_str()),
        (
            200,
            vec![JSON],
            &good.replace(
                "\"Arn\":",
                "\"Arn\":\"arn:aws:iam::123456789012:user/admin\",\"Arn\":",
            ),
        ),
        (
            200,
            vec![JSON],
            &good.replace("Account\":\"123456789012", "Account\":\"999999999999"),
        ),
        (200, vec![JSON], &good.replace(ALICE, "")),
        (
            200,
            vec![JSON],
            &good.replace(ALICE, "arn:aws:iam::123456789012:user/a\\r\\nx: y"),
        ),
        (200, vec![JSON], &good.replace("AIDAEXAMPLE", "")),
        (200, vec![JSON], &good.replace("}}}", "}},\"x\":1}")),
        (
            200,
            vec![XML],
            &good_xml
                .replace("<Arn>", "<Arn><Arn>")
                .replace("</Arn>", "</Arn></Arn>"),
        ),
        (
            200,
            vec![XML],
            &good_xml.replace("<UserId>", &format!("<Arn>{ALICE}</Arn><UserId>")),
        ),
        (
            200,
            vec![XML],
            &good_xml.replace("user/alice", "user/ad<!-- x -->min"),
        ),
        (
            200,
            vec![XML],
            &good_xml.replace("GetCallerIdentityResponse", "AssumeRoleResponse"),
        ),
        (
            200,
            vec![XML],
            &good_xml.replace("sts.amazonaws.com/doc", "evil.test/doc"),
        ),
        (200, vec![XML], &good_xml[..good_xml.len() - 30]),
        (
            200,
            vec![XML],
            &format!(
                "<!DOCTYPE x [<!ENTITY e SYSTEM \"file:///etc/passwd\">]>{}",
                xml("&e;")
            ),
        ),
        (
            200,
            vec![XML],
            &format!("<!DOCTYPE x [<!ENTITY e \"{ALICE}\">]>{}", xml("&e;")),
        ),
        (200, vec![XML], &xml("&undefined;")),
        (200, vec![XML], &xml(&"<a>".repeat(10_000))),
        (200, vec![XML], &xml(&"<a/>".repeat(1000))),
        (400, vec![JSON], r#"{"Error":{"Code":"Throttling"}}"#),
        (
            400,
            vec![XML],
            "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Code>ThrottlingException</Code></Error></ErrorResponse>",
        ),
    ] {
        assert_eq!(
            ask(status, &headers, body),
            "lookup_unavailable",
            "{status} {headers:?} {body}"
        );
    }
    for (status, headers, body) in [
        (403, vec![JSON], good.as_str()),
        (403, vec![], ""),
        (
            400,
            vec![XML],
            "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Code>ExpiredToken</Code></Error></ErrorResponse>",
        ),
        (404, vec![("content-type", "text/html")], "<html>"),
    ] {
        assert_eq!(
            ask(status, &headers, body),
            "rejected_upstream",
            "{status} {headers:?} {body}"
        );
    }
}

#[test]
fn an_outage_is_503_and_over_when_it_is_over() {
    let mut bench = Bench::new(&config(json!({})));
    let token = token_with(json!({}));
    let Decision::Deny(denial) = exchange(&mut bench, &token, Bench::fail) else {
        panic!("let in");
    };
    assert_eq!(
        (denial.status, denial.code.as_str()),
        (503, "lookup_unavailable")
    );
    assert!(denial.headers.iter().any(|(n, _)| *n == "retry-after"));
    // Not asked again at once, and soon after.
    assert_eq!(bench.with_token(&token), "lookup_unavailable");
    bench.no_callout();
    bench.pass(Duration::from_millis(100));
    assert_eq!(verdict(exchange(&mut bench, &token, says(ALICE))), "ok");
}

#[test]
fn a_reply_that_never_comes_ends_the_wait() {
    let mut bench = Bench::new(&config(json!({})));
    let token = token_with(json!({}));
    let need = bench.waits(&bearer(&token));
    let callout = bench.callout();
    bench.pass(Duration::from_secs(5));
    assert_eq!(bench.resume(need), "lookup_unavailable");
    // It comes late, and is good for the next.
    bench.respond(&callout, 200, &[JSON], &answer(ALICE));
    assert_eq!(bench.with_token(&token), "ok");
}

#[test]
fn the_region_chooses_between_providers() {
    let provider = |name: &str, region: &str| json!({"type": "aws_sigv4", "name": name, "settings": {"region": region}});
    let mut bench = Bench::new(&json!({"auth": {"providers": [
        provider("us", "us-east-1"), provider("eu", "eu-west-1"), provider("cn", "cn-north-1")]}}));
    let Decision::Allow(allow) = exchange(&mut bench, &token_with(json!({})), says(ALICE)) else {
        panic!("refused");
    };
    assert_eq!(set(&allow, "x-auth-provider"), Some("eu"));
    let china = url(json!({}))
        .replace(HOST, "sts.cn-north-1.amazonaws.com.cn")
        .replace("eu-west-1", "cn-north-1");
    bench.waits(&bearer(&token_of(&china)));
    assert_eq!(
        bench.callout().callout.authority,
        "sts.cn-north-1.amazonaws.com.cn"
    );
    let nobody = url(json!({})).replace("eu-west-1", "eu-west-3");
    assert_eq!(bench.with_token(&token_of(&nobody)), "foreign_sts_endpoint");
}

#[test]
fn a_configured_endpoint_takes_the_regional_ones_place() {
    let mut bench = Bench::new(&config(
        json!({"sts_endpoint": ["https://sts-fips.eu-west-1.amazonaws.com"]}),
    ));
    assert_eq!(
        bench.with_token(&token_with(json!({}))),
        "foreign_sts_endpoint"
    );
    let fips = url(json!({})).replace("sts.eu", "sts-fips.eu");
    bench.waits(&bearer(&token_of(&fips)));
    assert_eq!(
        bench.callout().callout.authority,
        "sts-fips.eu-west-1.amazonaws.com"
    );
}

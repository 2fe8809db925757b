//! What a verifier answers, read strictly: `{"valid","error","user_id","org_id","email","workspace_id"}`.

use std::rc::Rc;

use serde_json::{Map, Value};

use crate::callout::HttpResponse;
use crate::identity::{Identity, is_part};
use crate::jose::json::parse_strict;
use crate::lookup::Failure;
use crate::reason::Code;

/// Nesting of an answer; its own members have 1, and it may have more of its own.
const MAX_DEPTH: usize = 16;

/// Characters of the verifier's `error` in an audit event.
const MAX_DETAIL: usize = 128;

/// A run of this many characters in common with the token is taken for a part of it.
const TELLTALE: usize = 8;

/// Why an answer names nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoIdentity {
    /// The verifier refuses the token; with what it said about why.
    Refused(Code, Option<Rc<str>>),
    /// Nothing can be said.
    Failed(Failure),
}

const UNUSABLE: NoIdentity = NoIdentity::Failed(Failure::Unusable);

/// Whom the token belongs to.
///
/// Only a 200 with a whole, plain answer lets anybody in. 401 refuses the token, as in Forge; any other 4xx refuses *us* and says
/// nothing about the token. A redirect is not followed: the token was for one host.
pub(super) fn read(response: &HttpResponse<'_>, token: &str) -> Result<Identity, NoIdentity> {
    match response.status {
        200 => {
            let answer = object(response).ok_or(UNUSABLE)?;
            match answer.get("valid") {
                Some(Value::Bool(true)) => identity(&answer),
                Some(Value::Bool(false)) => Err(NoIdentity::Refused(
                    Code::RejectedUpstream,
                    answer
                        .get("error")
                        .and_then(Value::as_str)
                        .and_then(|error| detail(error, token)),
                )),
                _ => Err(UNUSABLE),
            }
        }
        401 => Err(NoIdentity::Refused(
            Code::RejectedUpstream,
            Some("http 401".into()),
        )),
        429 => Err(NoIdentity::Failed(Failure::Throttled)),
        408 | 500..=599 => Err(NoIdentity::Failed(Failure::Unreachable)),
        _ => Err(UNUSABLE),
    }
}

fn object(response: &HttpResponse<'_>) -> Option<Map<String, Value>> {
    // We ask for no encoding, so one would be somebody else's answer.
    if response.header("content-encoding").is_some() || !is_json(response) {
        return None;
    }
    match parse_strict(response.body, MAX_DEPTH) {
        Ok(Value::Object(object)) => Some(object),
        _ => None,
    }
}

/// `application/json`, `application/…+json`, or no word about it (RFC 9110 section 8.3).
fn is_json(response: &HttpResponse<'_>) -> bool {
    let named = |(name, _): &&(&[u8], &[u8])| *name == b"content-type";
    if !response.headers.iter().any(|field| named(&field)) {
        return true;
    }
    let Some(content_type) = response.header("content-type") else {
        return false;
    };
    let media_type = content_type.split(';').next().unwrap_or_default();
    let media_type = media_type.trim().to_ascii_lowercase();
    media_type
        .strip_prefix("application/")
        .is_some_and(|subtype| subtype == "json" || subtype.ends_with("+json"))
}

fn identity(answer: &Map<String, Value>) -> Result<Identity, NoIdentity> {
    // Valid, and an error: one of the two is a mistake, and we don't know which.
    if part(answer, "error")?.is_some() {
        return Err(UNUSABLE);
    }
    let Some(user_id) = part(answer, "user_id")? else {
        return Err(NoIdentity::Refused(Code::MissingSubject, None));
    };
    Ok(Identity {
        user_id,
        email: part(answer, "email")?,
        org_id: part(answer, "org_id")?,
        workspace_id: part(answer, "workspace_id")?,
        groups: Vec::new(),
    })
}

/// A part of an identity. Absent, null and empty are one to the services that answer.
fn part(answer: &Map<String, Value>, name: &str) -> Result<Option<Rc<str>>, NoIdentity> {
    match answer.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        // Left out, a malformed organisation would be one that no header can contradict.
        Some(Value::String(text)) if is_part(text) => Ok(Some(text.as_str().into())),
        Some(_) => Err(UNUSABLE),
    }
}

/// What the verifier said, fit for a log: bounded, plain, and without the token that it may have quoted.
fn detail(error: &str, token: &str) -> Option<Rc<str>> {
    if quotes(error, token) {
        return None;
    }
    let plain: String = error
        .chars()
        .take(MAX_DETAIL)
        .map(|c| if matches!(c, ' '..='~') { c } else { '?' })
        .collect();
    (!plain.is_empty()).then(|| plain.into())
}

/// Whether a text repeats the token, or a telling run of it. Looks at no more of the text than will be kept.
fn quotes(text: &str, token: &str) -> bool {
    let kept: Vec<char> = text.chars().take(MAX_DETAIL).collect();
    let run = TELLTALE.min(token.len());
    run > 0
        && kept
            .windows(run)
            .any(|window| token.contains(&window.iter().collect::<String>()))
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const TOKEN: &str = "opaque-0123456789-token";

    fn answer(status: u16, content_type: Option<&str>, body: &str) -> Result<Identity, NoIdentity> {
        let headers: Vec<(&[u8], &[u8])> = content_type
            .iter()
            .map(|t| (b"content-type".as_slice(), t.as_bytes()))
            .collect();
        let response = HttpResponse {
            status,
            headers: &headers,
            body: body.as_bytes(),
        };
        read(&response, TOKEN)
    }

    fn json(body: &str) -> Result<Identity, NoIdentity> {
        answer(200, Some("application/json"), body)
    }

    fn refused(detail: Option<&str>) -> Result<Identity, NoIdentity> {
        Err(NoIdentity::Refused(
            Code::RejectedUpstream,
            detail.map(Rc::from),
        ))
    }

    #[test]
    fn who_it_is() {
        let who = json(
            r#"{"valid":true,"error":"","user_id":"u1","org_id":"o1","email":"a@b","workspace_id":"w1","roles":["x"],"n":{"a":[1]}}"#,
        )
        .unwrap();
        assert_eq!(
            who,
            Identity {
                user_id: "u1".into(),
                email: Some("a@b".into()),
                org_id: Some("o1".into()),
                workspace_id: Some("w1".into()),
                groups: Vec::new(),
            }
        );
        let who = json(r#"{"valid":true,"user_id":"u1","org_id":null,"email":"","error":null}"#);
        let who = who.unwrap();
        assert_eq!((who.org_id, who.email), (None, None));
        for nobody in [
            r#"{"valid":true}"#,
            r#"{"valid":true,"user_id":""}"#,
            r#"{"valid":true,"user_id":null,"org_id":"o"}"#,
        ] {
            assert_eq!(
                json(nobody),
                Err(NoIdentity::Refused(Code::MissingSubject, None)),
                "{nobody}"
            );
        }
    }

    #[test]
    fn what_is_no_answer() {
        for body in [
            "",
            "null",
            "true",
            "[]",
            "{}",
            "valid",
            "{\"valid\":true,\"user_id\":\"u\"",
            r#"{"valid":true,"user_id":"u"}{}"#,
            r#"{"valid":"true","user_id":"u"}"#,
            r#"{"valid":1,"user_id":"u"}"#,
            r#"{"valid":null,"user_id":"u"}"#,
            r#"{"Valid":true,"user_id":"u"}"#,
            r#"{"valid":false,"valid":true,"user_id":"u"}"#,
            r#"{"valid":true,"user_id":"u","user_id":"v"}"#,
            r#"{"valid":true,"user_id":"u","x":{"a":1,"a":2}}"#,
            r#"{"valid":true,"user_id":7}"#,
            r#"{"valid":true,"user_id":["u"]}"#,
            r#"{"valid":true,"user_id":"u\n"}"#,
            r#"{"valid":true,"user_id":"u","org_id":"o\r\nx-auth-user-id: root"}"#,
            r#"{"valid":true,"user_id":"u","org_id":5}"#,
            r#"{"valid":true,"user_id":"u","email":{}}"#,
            r#"{"valid":true,"user_id":"u","workspace_id":false}"#,
            r#"{"valid":true,"user_id":"u","error":"expired"}"#,
        ] {
            assert_eq!(json(body), Err(UNUSABLE), "{body}");
        }
        let long = format!(r#"{{"valid":true,"user_id":"{}"}}"#, "u".repeat(2049));
        assert_eq!(json(&long), Err(UNUSABLE));
        let deep = format!(
            r#"{{"valid":true,"user_id":"u","x":{}{}}}"#,
            "[".repeat(20),
            "]".repeat(20)
        );
        assert_eq!(json(&deep), Err(UNUSABLE));
    }

    #[test]
    fn only_200_and_json() {
        let good = r#"{"valid":true,"user_id":"u"}"#;
        for media_type in [
            None,
            Some("application/json"),
            Some("Application/JSON; charset=utf-8"),
            Some("application/vnd.example+json"),
        ] {
            assert!(answer(200, media_type, good).is_ok(), "{media_type:?}");
        }
        for media_type in [
            "",
            "text/html",
            "text/plain",
            "text/json",
            "application/jsonx",
            "application/xml",
            "json",
        ] {
            assert_eq!(
                answer(200, Some(media_type), good),
                Err(UNUSABLE),
                "{media_type}"
            );
        }
        let encoded = HttpResponse {
            status: 200,
            headers: &[(b"content-encoding", b"gzip")],
            body: good.as_bytes(),
        };
        assert_eq!(read(&encoded, TOKEN), Err(UNUSABLE));
        let binary = HttpResponse {
            status: 200,
            headers: &[(b"content-type", b"application/json\xff")],
            body: good.as_bytes(),
        };
        assert_eq!(read(&binary, TOKEN), Err(UNUSABLE));
        for (status, expected) in [
            (201, Failure::Unusable),
            (202, Failure::Unusable),
            (204, Failure::Unusable),
            (301, Failure::Unusable),
            (302, Failure::Unusable),
            (304, Failure::Unusable),
            (307, Failure::Unusable),
            (308, Failure::Unusable),
            (400, Failure::Unusable),
            (403, Failure::Unusable),
            (404, Failure::Unusable),
            (408, Failure::Unreachable),
            (429, Failure::Throttled),
            (500, Failure::Unreachable),
            (503, Failure::Unreachable),
        ] {
            let got = answer(status, Some("application/json"), good);
            assert_eq!(got, Err(NoIdentity::Failed(expected)), "{status}");
        }
        assert_eq!(answer(401, None, good), refused(Some("http 401")));
    }

    #[test]
    fn what_it_says_about_a_refusal_is_fit_for_a_log() {
        let says = |error: &str| {
            json(&serde_json::json!({"valid": false, "error": error, "user_id": 7}).to_string())
        };
        assert_eq!(says("revoked"), refused(Some("revoked")));
        assert_eq!(says(""), refused(None));
        assert_eq!(json(r#"{"valid":false}"#), refused(None));
        assert_eq!(json(r#"{"valid":false,"error":[1]}"#), refused(None));
        assert_eq!(says("a\r\nb\u{202e}\u{e9}"), refused(Some("a??b??")));
        assert_eq!(says(&"x".repeat(5000)), refused(Some(&"x".repeat(128))));
        assert_eq!(says(&format!("no such token: {TOKEN}")), refused(None));
        assert_eq!(says("unknown: …123456789-to…"), refused(None));
        assert_eq!(says("token unknown"), refused(Some("token unknown")));
        // Beyond what is kept, it is not kept.
        let late = format!("{}{TOKEN}", "y".repeat(128));
        assert_eq!(says(&late), refused(Some(&"y".repeat(128))));
        // Cut in the middle of a token, too little of it is left to be told by.
        let cut = format!("{}{TOKEN}", "y".repeat(120));
        assert_eq!(says(&cut), refused(None));
        assert!(quotes("the key is abc", "abc"));
    }
}

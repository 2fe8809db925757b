//! What STS answers to `GetCallerIdentity`, read strictly, as JSON or as XML.

use std::rc::Rc;

use roxmltree::{Document, Node, ParsingOptions};
use serde_json::Value;

use super::arn::Arn;
use crate::callout::HttpResponse;
use crate::jose::json::parse_strict;
use crate::lookup::Failure;

const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// Elements, attributes and texts of an answer; a genuine one has about 20 with white space.
const MAX_NODES: u32 = 64;

/// Nesting of a JSON answer; a genuine one has 3.
const MAX_DEPTH: usize = 8;

/// Error codes of STS that say "less", not "no" (AWS STS API reference, "Common errors"; AWS SDKs' retry tables).
const THROTTLING: [&str; 8] = [
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestThrottled",
    "RequestThrottledException",
    "RequestLimitExceeded",
    "TooManyRequestsException",
    "SlowDown",
];

/// Why an answer names nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoIdentity {
    /// STS refuses the signature; with its error code.
    Refused(Option<Rc<str>>),
    /// Nothing can be said.
    Failed(Failure),
}

/// Who signed.
pub(super) fn read(response: &HttpResponse<'_>) -> Result<Arn, NoIdentity> {
    const UNUSABLE: NoIdentity = NoIdentity::Failed(Failure::Unusable);
    match response.status {
        200 => {
            // No client of ours asks for an encoding, so one would be somebody else's answer.
            if response.header("content-encoding").is_some() {
                return Err(UNUSABLE);
            }
            match form(response) {
                Some(Form::Json) => json_identity(response.body),
                Some(Form::Xml) => xml_identity(response.body),
                None => None,
            }
            .ok_or(UNUSABLE)
        }
        429 => Err(NoIdentity::Failed(Failure::Throttled)),
        408 | 500..=599 => Err(NoIdentity::Failed(Failure::Unreachable)),
        400..=499 => {
            let code = match form(response) {
                Some(Form::Json) => json_error(response.body),
                Some(Form::Xml) => xml_error(response.body),
                None => None,
            };
            Err(match code {
                Some(code) if THROTTLING.contains(&&*code) => {
                    NoIdentity::Failed(Failure::Throttled)
                }
                code => NoIdentity::Refused(code),
            })
        }
        // A redirect is never followed: the caller signed for one host.
        _ => Err(UNUSABLE),
    }
}

enum Form {
    Json,
    Xml,
}

fn form(response: &HttpResponse<'_>) -> Option<Form> {
    let Some(content_type) = response.header("content-type") else {
        // Whoever left it out says one of the two all the same (RFC 9110 section 8.3).
        return Some(match response.body.first() {
            Some(b'{') => Form::Json,
            _ => Form::Xml,
        });
    };
    let media_type = content_type.split(';').next()?.trim();
    match media_type.to_ascii_lowercase().as_str() {
        "application/json" | "application/x-amz-json-1.0" | "application/x-amz-json-1.1" => {
            Some(Form::Json)
        }
        "text/xml" | "application/xml" => Some(Form::Xml),
        _ => None,
    }
}

fn identity(arn: &str, account: &str, user_id: &str) -> Option<Arn> {
    let arn = Arn::parse(arn)?;
    let fine = account == arn.account()
        && (1..=256).contains(&user_id.len())
        && user_id.bytes().all(|b| b.is_ascii_graphic());
    fine.then_some(arn)
}

fn json_identity(body: &[u8]) -> Option<Arn> {
    let document = parse_strict(body, MAX_DEPTH).ok()?;
    let response = sole_member(&document, "GetCallerIdentityResponse")?;
    let result = response.get("GetCallerIdentityResult")?;
    let text = |name| result.get(name).and_then(Value::as_str);
    identity(text("Arn")?, text("Account")?, text("UserId")?)
}

/// The member of that name, of an object that has no other.
fn sole_member<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    let object = value.as_object()?;
    (object.len() == 1).then(|| object.get(name)).flatten()
}

fn json_error(body: &[u8]) -> Option<Rc<str>> {
    let document = parse_strict(body, MAX_DEPTH).ok()?;
    error_code(document.get("Error")?.get("Code")?.as_str()?)
}

/// Letters, digits and dots: nobody's words but AWS's.
fn error_code(text: &str) -> Option<Rc<str>> {
    let fine = (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.');
    fine.then(|| text.into())
}

fn xml(body: &[u8]) -> Option<Document<'_>> {
    let text = std::str::from_utf8(body).ok()?;
    let options = ParsingOptions {
        // A document type could define entities.
        allow_dtd: false,
        nodes_limit: MAX_NODES,
        ..ParsingOptions::default()
    };
    Document::parse_with_options(text, options).ok()
}

fn xml_identity(body: &[u8]) -> Option<Arn> {
    let document = xml(body)?;
    let root = document.root_element();
    if !is(&root, "GetCallerIdentityResponse") {
        return None;
    }
    let result = only_child(&root, "GetCallerIdentityResult")?;
    identity(
        text_of(&result, "Arn")?,
        text_of(&result, "Account")?,
        text_of(&result, "UserId")?,
    )
}

fn xml_error(body: &[u8]) -> Option<Rc<str>> {
    let document = xml(body)?;
    let root = document.root_element();
    if !is(&root, "ErrorResponse") {
        return None;
    }
    error_code(text_of(&only_child(&root, "Error")?, "Code")?)
}

fn is(node: &Node<'_, '_>, name: &str) -> bool {
    node.has_tag_name((NAMESPACE, name))
}

/// The child element of that name, if there is exactly one.
fn only_child<'a, 'i>(node: &Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    let mut named = node.children().filter(|n| is(n, name));
    let first = named.next()?;
    named.next().is_none().then_some(first)
}

/// The text of the only child of that name, which holds nothing but one run of text.
fn text_of<'a>(node: &Node<'a, '_>, name: &str) -> Option<&'a str> {
    let element = only_child(node, name)?;
    let mut children = element.children();
    let text = children.next()?;
    if children.next().is_some() || !text.is_text() {
        return None;
    }
    text.text().map(str::trim)
}

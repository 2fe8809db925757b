//! A presigned `GetCallerIdentity` URL, read strictly (AWS general reference, "Create a signed AWS API request": query parameters).

use std::collections::BTreeMap;
use std::time::Duration;

use crate::jose::base64url;
use crate::policy::StsEndpoint;
use crate::reason::Code;
use crate::sigv4::ALGORITHM;
use crate::sigv4::date::AmzDate;
use crate::time::UnixTime;

/// Characters of an encoded token. A session token of 4,096, percent-encoded and in base64url, fits in.
const MAX_ENCODED: usize = 8 * 1024;

/// The parameters that may be there, in the documented case. No other may: STS reads some of them in any case, so what we
/// don't look at could say something else than what we do look at (CVE-2022-2385).
const PARAMETERS: [&str; 9] = [
    "Action",
    "Version",
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
    "X-Amz-Security-Token",
];

/// What is left of a presigned URL when all of it is as it must be.
#[derive(Debug)]
pub(super) struct Presigned<'e> {
    /// Where it goes.
    pub endpoint: &'e StsEndpoint,
    /// Path and query, as signed.
    pub path: String,
    pub signed_at: UnixTime,
    pub expires: Duration,
    /// Whether the header that names the audience is signed.
    pub audience_signed: bool,
}

impl<'e> Presigned<'e> {
    /// Reads what follows a token's prefix: the URL in base64url, padded or not.
    pub(super) fn parse(
        encoded: &str,
        endpoints: &'e [StsEndpoint],
        audience_header: &str,
    ) -> Result<Self, Code> {
        if encoded.len() > MAX_ENCODED {
            return Err(Code::TokenTooLarge);
        }
        const BAD: Code = Code::MalformedPresignedUrl;
        let url = decode(encoded).ok_or(BAD)?;
        let (scheme, rest) = url.split_once("://").ok_or(BAD)?;
        let (host, query) = rest.split_once("/?").ok_or(BAD)?;
        if !is_plain_host(host) || !matches!(scheme, "https" | "http") {
            return Err(BAD);
        }
        let of_host = |e: &&StsEndpoint| e.host == host && e.url.https == (scheme == "https");
        if !endpoints.iter().any(|e| of_host(&e)) {
            return Err(Code::ForeignStsEndpoint);
        }
        let parameters = parameters(query).ok_or(BAD)?;
        let required = |name: &str| parameters.get(name).ok_or(BAD);
        let constant =
            |name: &str, value: &str| (required(name)? == value).then_some(()).ok_or(BAD);
        constant("Action", "GetCallerIdentity")?;
        constant("X-Amz-Algorithm", ALGORITHM)?;
        if parameters.get("Version").is_some_and(|v| v != "2011-06-15")
            || !is_signature(required("X-Amz-Signature")?)
            || parameters
                .get("X-Amz-Security-Token")
                .is_some_and(String::is_empty)
        {
            return Err(BAD);
        }
        let date = required("X-Amz-Date")?;
        let signed_at = AmzDate::parse(date.as_bytes()).ok_or(BAD)?.at();
        let region = region_of(required("X-Amz-Credential")?, date).ok_or(BAD)?;
        let endpoint = endpoints
            .iter()
            .find(|e| of_host(e) && e.region == region)
            .ok_or(BAD)?;
        let expires = seconds(required("X-Amz-Expires")?).ok_or(BAD)?;
        let audience_signed = match required("X-Amz-SignedHeaders")?.split_once(';') {
            None if required("X-Amz-SignedHeaders")? == "host" => false,
            Some(("host", header)) if header == audience_header => true,
            _ => return Err(Code::UnexpectedSignedHeaders),
        };
        Ok(Self {
            path: format!("/?{query}"),
            endpoint,
            signed_at,
            expires,
            audience_signed,
        })
    }
}

/// Strict base64url; `=` only as much as belongs there, or none.
fn decode(encoded: &str) -> Option<String> {
    let bare = encoded.trim_end_matches('=');
    if bare.len() != encoded.len()
        && (!encoded.len().is_multiple_of(4) || encoded.len() - bare.len() > 2)
    {
        return None;
    }
    String::from_utf8(base64url::decode(bare.as_bytes()).ok()?).ok()
}

/// A host without anything that a URL parser elsewhere might read differently.
fn is_plain_host(host: &str) -> bool {
    !host.is_empty()
        && host.bytes().all(|b| {
            b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b':')
        })
}

/// Names and decoded values: known names only, each once, every value percent-encoded as the SDKs do.
fn parameters(query: &str) -> Option<BTreeMap<&'static str, String>> {
    let mut out = BTreeMap::new();
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=')?;
        let name = PARAMETERS.iter().find(|p| **p == name)?;
        if out.insert(*name, percent_decode(value)?).is_some() {
            return None;
        }
    }
    Some(out)
}

/// RFC 3986 unreserved characters and `/` stand for themselves, all else is percent-encoded, and decodes to visible ASCII.
fn percent_decode(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        let b = match b {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            b if b.is_ascii_alphanumeric() || b"-_.~/".contains(&b) => b,
            _ => return None,
        };
        if !b.is_ascii_graphic() {
            return None;
        }
        out.push(char::from(b));
    }
    Some(out)
}

fn is_signature(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// The region of a credential scope `AKID/YYYYMMDD/REGION/sts/aws4_request` of that day.
fn region_of<'c>(credential: &'c str, date: &str) -> Option<&'c str> {
    let mut parts = credential.split('/');
    let (id, day, region, service, end) = (
        parts.next()?,
        parts.next()?,
        parts.next()?,
        parts.next()?,
        parts.next()?,
    );
    // IAM API reference, AccessKeyId: 16 to 128 word characters.
    let fine = parts.next().is_none()
        && (16..=128).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && date.get(..8) == Some(day)
        && service == "sts"
        && end == "aws4_request";
    fine.then_some(region)
}

/// A whole number of seconds from 1, in one spelling. Anything beyond a week is no presigned URL of AWS.
fn seconds(text: &str) -> Option<Duration> {
    if text.len() > 6 || text.starts_with('0') || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().map(Duration::from_secs)
}

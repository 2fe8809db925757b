//! Settings that several providers of JWTs share.

use std::time::Duration;

use serde_json::Value;

use crate::config::compile::{Compiler, HOUR, MINUTE, SECOND};
use crate::config::error::Problem;
use crate::config::hazard::Hazard;
use crate::config::read::{Errors, Many, Path, Read, Span, wrong_type};
use crate::glob::Globs;
use crate::policy::Url;
use crate::url::without_slash;

/// `audience`: required, and not empty.
pub(super) fn audiences(
    written: Option<&Many<String>>,
    at: &Path<'_>,
    compiler: &mut Compiler<'_>,
) -> Option<Vec<String>> {
    let at = at.key("audience");
    let audiences = compiler.required(written, &at)?.0.clone();
    if audiences.is_empty() {
        compiler.error_after(&at, Problem::EmptyList);
    }
    Some(audiences)
}

/// `jwks_cache_ttl` of keys that are fetched.
pub(super) fn cache_ttl(
    written: Option<Span>,
    at: &Path<'_>,
    compiler: &mut Compiler<'_>,
) -> Duration {
    let at = at.key("jwks_cache_ttl");
    let ttl = compiler.span(written, HOUR, SECOND..=7 * 24 * HOUR, &at);
    if written.is_some() && ttl < MINUTE {
        compiler.warn(&at, Hazard::ShortCacheTtl);
    }
    ttl
}

/// `clock_skew`.
pub(super) fn clock_skew(
    written: Option<Span>,
    at: &Path<'_>,
    compiler: &mut Compiler<'_>,
) -> Duration {
    compiler.span(
        written,
        30 * SECOND,
        Duration::ZERO..=10 * MINUTE,
        &at.key("clock_skew"),
    )
}

/// Where an issuer's discovery document is (OpenID Connect Discovery 1.0 section 4).
pub(super) fn discovery(issuer: &Url) -> Url {
    Url {
        path: format!(
            "{}/.well-known/openid-configuration",
            without_slash(&issuer.path)
        ),
        ..issuer.clone()
    }
}

/// An allow-list of globs. An empty one is an error: to say that nothing is allowed, or that everything is, there are
/// plainer ways.
pub(super) fn allow_list(
    written: Option<&Many<String>>,
    at: &Path<'_>,
    compiler: &mut Compiler<'_>,
) -> Option<Globs> {
    compiler.non_empty_globs(&written?.0, at)
}

/// An allow-list of globs which, empty, allows everyone, with a warning.
pub(super) fn allow_list_or_all(
    written: Option<&Many<String>>,
    at: &Path<'_>,
    compiler: &mut Compiler<'_>,
) -> Option<Globs> {
    let globs = &written?.0;
    if globs.is_empty() {
        // Every entry may have been wrong, and reported.
        compiler.warn(at, Hazard::EmptyAllowList);
        return None;
    }
    compiler.globs(globs, at)
}

/// Numeric ids, as strings or as numbers: both are what people write.
#[derive(Clone, Debug)]
pub struct Ids(pub Vec<String>);

impl Read for Ids {
    const EXPECTED: &'static str = "a numeric id or a list of them";
    fn read(value: &Value, at: &Path<'_>, errors: &mut Errors) -> Option<Self> {
        fn one(value: &Value, at: &Path<'_>, errors: &mut Errors) -> Option<String> {
            let id = match value {
                Value::String(text) => text.clone(),
                Value::Number(_) => u64::read(value, at, errors)?.to_string(),
                other => return wrong_type::<Ids>(other, at, errors).map(|_| String::new()),
            };
            let fine = (1..=20).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_digit());
            if !fine {
                errors.push(at, Problem::BadNumericId);
                return None;
            }
            Some(id)
        }
        match value {
            Value::Array(list) => {
                if list.is_empty() {
                    errors.push(at, Problem::EmptyList);
                }
                let ids = list.iter().enumerate();
                Some(Self(
                    ids.filter_map(|(i, v)| one(v, &at.index(i), errors))
                        .collect(),
                ))
            }
            other => one(other, at, errors).map(|id| Self(vec![id])),
        }
    }
}

//! `http_verifier`: a service of the operator's own that says whom a token belongs to.

use std::time::Duration;

use crate::config::compile::{Compiler, HOUR, MINUTE, SECOND};
use crate::config::error::Problem;
use crate::config::hazard::Hazard;
use crate::config::read::{Many, Path, Span, object};
use crate::lookup::Scope;
use crate::policy::{HttpVerifierPolicy, ProviderKind};

/// What Forge reads, `_` and `-` being one.
const ORG_HEADERS: [&str; 2] = ["x-org-id", "org-id"];

object! {
    /// A service of your own that says whom a token belongs to: it is sent `{"token","org_id"}` and answers
    /// `{"valid","error","user_id","org_id","email","workspace_id"}`. It is asked about bearer tokens that no other provider of the
    /// chain recognises, wherever it stands, and has the last word on them.
    pub struct HttpVerifierSettings {
        /// Where tokens are sent to by POST. A redirect is not followed.
        #[cfg_attr(feature = "schema", schemars(required))]
        url: String,
        /// The `org_id` that is sent when a request names none.
        default_org: String,
        /// The headers a request may name its `org_id` by; `_` counts as `-`. An empty list: none, and `default_org` is always sent. What
        /// the verifier answers is the caller's organisation; a request that names another one is refused.
        org_header: Many<String> = "x-org-id, org-id",
        /// How long an answer may take, and a request waits for it: `10ms` to `1m`.
        timeout: Span = "10s",
        /// How long it is remembered that a token is valid: `0s` to `1h`. With `0s` each request asks, but for those that wait for
        /// one answer.
        cache_ttl: Span = "0s",
        /// How long it is remembered that a token is not valid: `0s` to `1h`.
        negative_cache_ttl: Span = "0s",
    }
}

impl HttpVerifierSettings {
    pub(super) fn compile(
        &self,
        at: &Path<'_>,
        compiler: &mut Compiler<'_>,
    ) -> Option<ProviderKind> {
        let at_url = at.key("url");
        let url = compiler
            .required(self.url.as_ref(), &at_url)
            .and_then(|text| compiler.url(text, &at_url));
        if url.as_ref().is_some_and(|url| !url.https) {
            compiler.warn(&at_url, Hazard::PlainHttpVerifier);
        }
        if let Some(org) = &self.default_org
            && (org.len() > 256 || !org.bytes().all(|b| b.is_ascii_graphic()))
        {
            compiler.error(&at.key("default_org"), Problem::BadHeaderValue);
        }
        let timeout = compiler.span(
            self.timeout,
            10 * SECOND,
            Duration::from_millis(10)..=MINUTE,
            &at.key("timeout"),
        );
        let mut ttl = |written, key| {
            compiler.span(written, Duration::ZERO, Duration::ZERO..=HOUR, &at.key(key))
        };
        let cache_ttl = ttl(self.cache_ttl, "cache_ttl");
        let negative_cache_ttl = ttl(self.negative_cache_ttl, "negative_cache_ttl");
        let org_headers = self.org_headers(at, compiler);
        let url = url?;
        let ttls = format!(
            "{} {}",
            cache_ttl.as_millis(),
            negative_cache_ttl.as_millis()
        );
        Some(ProviderKind::HttpVerifier(Box::new(HttpVerifierPolicy {
            scope: Scope::new(&url.authority, &["http_verifier", &url.to_string(), &ttls]),
            url,
            default_org: self.default_org.clone(),
            org_headers,
            timeout,
            cache_ttl,
            negative_cache_ttl,
        })))
    }

    fn org_headers(&self, at: &Path<'_>, compiler: &mut Compiler<'_>) -> Vec<String> {
        let Some(Many(written)) = &self.org_header else {
            return ORG_HEADERS.map(str::to_owned).to_vec();
        };
        let at = at.key("org_header");
        for (i, name) in written.iter().enumerate() {
            let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            if !name.bytes().all(fine) {
                compiler.error(&at.index(i), Problem::BadHeaderName);
            } else if matches!(name.as_str(), "authorization" | "host" | "cookie") {
                compiler.error(&at.index(i), Problem::ReservedHeader);
            }
        }
        written.clone()
    }
}

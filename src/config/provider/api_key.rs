//! `api_key`: keys that are kept as digests only.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use crate::apikey::feed::{FeedPolicy, FeedToken, UsagePolicy};
use crate::apikey::format::is_prefix;
use crate::apikey::record::Pepper;
use crate::config::compile::{Compiler, HOUR, MINUTE, SECOND, is_header_name};
use crate::config::error::Problem;
use crate::config::hazard::Hazard;
use crate::config::key_records::KeyList;
use crate::config::read::{Many, Path, Span, object};
use crate::policy::{ApiKeyPolicy, ProviderKind, Url};

const DAY: Duration = Duration::from_secs(24 * HOUR.as_secs());

object! {
    /// API keys of the form `gak_<id>_<secret>_<check>`, each bound to one agent, workspace, organisation or user. Needs the
    /// top-level `agent`. `portcullis key` makes them and keeps their records.
    pub struct ApiKeySettings {
        /// Request headers that carry a key and nothing else; none of them reaches the agent. Absent: `x-gofannon-key` and `x-api-key`.
        headers: Many<String>,
        /// Whether `Authorization: Bearer` may carry a key as well.
        bearer: bool = true,
        /// What keys begin with, before the first `_`: `[a-z][a-z0-9]{1,15}`.
        prefix: String = "gak",
        /// What service-account tokens begin with.
        service_prefix: String = "gsa",
        /// The records of the keys. `portcullis key publish` puts them here.
        keys: KeyList,
        /// Where records come from that don't stand here.
        feed: FeedSettings,
        /// The longest that a key may live after it was made, whatever its record says: `1m` to `3650d`.
        max_ttl: Span,
        /// An environment variable of the proxy's VM with the pepper of `hmac-sha256` digests: 16 bytes or more.
        pepper_env: String,
    }
}

object! {
    /// A service that is polled for keys and agents, such as `portcullis serve`, and told what the keys are used for. A key that it revokes is
    /// refused within `interval` in every worker. docs/keys-feed.md has the wire format.
    pub struct FeedSettings {
        /// What is polled. A redirect is not followed.
        #[cfg_attr(feature = "schema", schemars(required))]
        url: String,
        /// An environment variable of the proxy's VM with the token that the service knows this fleet by.
        #[cfg_attr(feature = "schema", schemars(required))]
        token_env: String,
        /// How often each worker asks: `200ms` to `10m`.
        interval: Span = "1s",
        /// How long the service may give no usable answer before its keys are refused with 503: twice the interval to `7d`.
        max_staleness: Span = "1m",
        /// How long one answer may take, and a request waits for the first one: `10ms` to `1m`.
        timeout: Span = "5s",
        /// Where uses of keys are reported to by POST. Absent: nowhere.
        usage_url: String,
        /// How long uses are gathered before they are reported: `1s` to `10m`.
        usage_interval: Span = "10s",
    }
}

impl FeedSettings {
    fn compile(&self, at: &Path<'_>, compiler: &mut Compiler<'_>) -> Option<FeedPolicy> {
        let at_url = at.key("url");
        let url = compiler.required(self.url.as_ref(), &at_url);
        let url = url.and_then(|text| Self::url(text, &at_url, compiler));
        let at_usage = at.key("usage_url");
        let usage_url = self.usage_url.as_ref();
        let usage_url = usage_url.map(|text| Self::url(text, &at_usage, compiler));
        let token = self.token(&at.key("token_env"), compiler);
        let at_interval = at.key("interval");
        let bounds = Duration::from_millis(200)..=10 * MINUTE;
        let interval = compiler.span(self.interval, SECOND, bounds, &at_interval);
        // A poll that fails once must not lock everybody out.
        let bounds = interval.saturating_mul(2)..=7 * DAY;
        let default = MINUTE.max(*bounds.start());
        let at_staleness = at.key("max_staleness");
        let max_staleness = compiler.span(self.max_staleness, default, bounds, &at_staleness);
        let bounds = Duration::from_millis(10)..=MINUTE;
        let timeout = compiler.span(self.timeout, 5 * SECOND, bounds, &at.key("timeout"));
        let at_interval = at.key("usage_interval");
        if self.usage_interval.is_some() && usage_url.is_none() {
            compiler.error(&at_interval, Problem::Needs { key: "usage_url" });
        }
        let bounds = SECOND..=10 * MINUTE;
        let usage_interval = compiler.span(self.usage_interval, 10 * SECOND, bounds, &at_interval);
        let usage = match usage_url {
            Some(url) => Some(UsagePolicy {
                url: url?,
                interval: usage_interval,
            }),
            None => None,
        };
        Some(FeedPolicy {
            url: url?,
            token: token?,
            token_env: self.token_env.clone()?,
            interval,
            max_staleness,
            timeout,
            usage,
        })
    }

    fn url(text: &str, at: &Path<'_>, compiler: &mut Compiler<'_>) -> Option<Url> {
        let url = compiler.url(text, at)?;
        if !url.https {
            compiler.warn(at, Hazard::PlainHttpFeed);
        }
        Some(url)
    }

    fn token(&self, at: &Path<'_>, compiler: &mut Compiler<'_>) -> Option<FeedToken> {
        let name = compiler.required(self.token_env.as_ref(), at)?;
        let Some(text) = compiler.variable(name).filter(|t| !t.is_empty()) else {
            compiler.error(at, Problem::MissingVariable { name: name.clone() });
            return None;
        };
        if text.len() < 16 {
            compiler.warn(at, Hazard::ShortToken);
        }
        let token = FeedToken::new(&text);
        if token.is_none() {
            compiler.error(at, Problem::BadToken);
        }
        token
    }
}

impl ApiKeySettings {
    pub(super) fn compile(
        &self,
        at: &Path<'_>,
        compiler: &mut Compiler<'_>,
    ) -> Option<ProviderKind> {
        let headers = self.headers(&at.key("headers"), compiler);
        let prefixes = self.prefixes(at, compiler);
        let pepper = self.pepper(&at.key("pepper_env"), compiler);
        let max_ttl = self.max_ttl.map(|written| {
            let bounds = Duration::from_secs(60)..=3650 * DAY;
            compiler.span(Some(written), DAY, bounds, &at.key("max_ttl"))
        });
        let at_keys = at.key("keys");
        let written = self.feed.as_ref();
        let feed = written.map(|feed| feed.compile(&at.key("feed"), compiler));
        if feed.is_none() && self.keys.as_ref().is_none_or(|k| k.table.is_empty()) {
            compiler.warn_unless_wrong(&at_keys, Hazard::NoKeys);
        }
        let keys = self.keys.clone().unwrap_or_default();
        for entry in keys.table.iter() {
            let id = || entry.id().to_string();
            if entry.digest().is_peppered() && self.pepper_env.is_none() {
                compiler.error(&at_keys, Problem::NoPepper { id: id() });
                break;
            }
            if max_ttl.is_some() && !entry.has_birth() {
                compiler.error(&at_keys, Problem::NoBirth { id: id() });
                break;
            }
        }
        if let (Some((count, first)), None) = (keys.endless, max_ttl) {
            let first = first.to_string();
            compiler.warn(&at_keys, Hazard::EndlessKeys { count, first });
        }
        Some(ProviderKind::ApiKey(Box::new(ApiKeyPolicy {
            headers,
            prefixes: prefixes?,
            bearer: self.bearer.unwrap_or(true),
            keys: keys.table,
            feed: match feed {
                Some(feed) => Some(feed?),
                None => None,
            },
            max_ttl,
            pepper,
        })))
    }

    fn headers(&self, at: &Path<'_>, compiler: &mut Compiler<'_>) -> Vec<Rc<str>> {
        let Some(Many(written)) = &self.headers else {
            return vec!["x-gofannon-key".into(), "x-api-key".into()];
        };
        let mut headers = Vec::new();
        for (i, name) in written.iter().enumerate() {
            let name = name.to_ascii_lowercase();
            if !is_header_name(&name) {
                compiler.error(&at.index(i), Problem::BadHeaderName);
            } else if matches!(name.as_str(), "authorization" | "host" | "connection") {
                compiler.error(&at.index(i), Problem::ReservedHeader);
            } else if !headers.iter().any(|h: &Rc<str>| **h == name) {
                headers.push(name.into());
            }
        }
        if headers.is_empty() && self.bearer == Some(false) {
            compiler.error_after(at, Problem::EmptyList);
        }
        headers
    }

    fn prefixes(&self, at: &Path<'_>, compiler: &mut Compiler<'_>) -> Option<[Rc<str>; 2]> {
        let mut prefix = |written: &Option<String>, default: &str, key: &'static str| {
            let text = written.as_deref().unwrap_or(default);
            if !is_prefix(text) {
                compiler.error(&at.key(key), Problem::BadKeyPrefix);
                return None;
            }
            let place = at.key(key);
            compiler.take_key_prefix(text, &place);
            Some(Rc::from(text))
        };
        let key = prefix(&self.prefix, "gak", "prefix");
        let service = prefix(&self.service_prefix, "gsa", "service_prefix");
        Some([key?, service?])
    }

    fn pepper(&self, at: &Path<'_>, compiler: &mut Compiler<'_>) -> Option<Pepper> {
        let name = self.pepper_env.as_ref()?;
        let Some(text) = compiler.variable(name).filter(|t| !t.is_empty()) else {
            compiler.error(at, Problem::MissingVariable { name: name.clone() });
            return None;
        };
        let pepper = Pepper::new(&text);
        if pepper.is_none() {
            compiler.error(at, Problem::ShortPepper);
        }
        pepper
    }
}

/// The prefixes that the providers of a chain have taken, and where.
pub(in crate::config) type TakenPrefixes = BTreeMap<String, String>;

//! Every metric of the filter, in one list. The core names and counts; a host only carries it out.
//!
//! Envoy shows them as `wasmcustom.<name>` in `/stats`. Names are dotted, so that Envoy's
//! `stats_tags` can cut provider, outcome and code out of them.

use std::rc::Rc;

use crate::reason::Code;

/// How a host should keep a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only goes up.
    Counter,
    /// Set to a value.
    Gauge,
    /// A distribution; values are milliseconds.
    Histogram,
}

/// One metric of the fixed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// The dotted name.
    pub name: &'static str,
    /// How it is kept.
    pub kind: Kind,
    /// What it tells an operator.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($id:ident: $kind:ident $name:literal, $help:literal;)+) => {
        /// The metrics that are not per provider. The variant's number is its place in [`LIST`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(usize)]
        pub enum Id { $(#[doc = $help] $id,)+ }

        /// Name, kind and help of each [`Id`], in the same order.
        pub const LIST: &[Metric] = &[$(Metric { name: $name, kind: Kind::$kind, help: $help },)+];
    };
}

metrics! {
    Skipped: Counter "portcullis.skipped", "Requests let through by a skip rule.";
    ResourceMetadata: Counter "portcullis.resource_metadata", "Requests for the protected-resource metadata, answered by the filter.";
    TokenCacheHit: Counter "portcullis.token_cache.hit", "Tokens whose signature had been verified before.";
    TokenCacheMiss: Counter "portcullis.token_cache.miss", "Tokens whose signature had to be verified.";
    TokenCacheFailedHit: Counter "portcullis.token_cache.failed_hit", "Tokens refused because the same one had just failed.";
    TokenCacheEntries: Gauge "portcullis.token_cache.entries", "Verified tokens remembered by the worker that reported last.";
    LookupEntries: Gauge "portcullis.lookup.entries", "Answers of others (STS, verifiers) remembered by the worker that reported last.";
    LookupsOpen: Gauge "portcullis.lookup.open", "Questions to others that the reporting worker has open.";
    GroupsMissing: Counter "portcullis.groups.missing", "Requests let in without some of the caller's groups, because the directory could not be asked.";
    CalloutOk: Counter "portcullis.callout.ok", "Callouts answered as expected.";
    CalloutFailed: Counter "portcullis.callout.failed", "Callouts that brought nothing usable.";
    CalloutMs: Histogram "portcullis.callout.ms", "How long callouts took, in milliseconds.";
    JwksAge: Gauge "portcullis.jwks.age_seconds", "Age of the oldest key set in force, in seconds.";
    JwksUsable: Gauge "portcullis.jwks.usable", "Key sources with a key set in force.";
    FeedInForce: Gauge "portcullis.feed.in_force", "Key feeds that the reporting worker has read completely, and lately enough.";
    FeedRevision: Gauge "portcullis.feed.revision", "The revision that its key feed is at (of several: the least).";
    FeedAge: Gauge "portcullis.feed.age_seconds", "How long ago it last heard all that its key feed had to say, in seconds (of several: the greatest).";
    FeedKeys: Gauge "portcullis.feed.keys", "Keys that it has from key feeds.";
    FeedPages: Counter "portcullis.feed.pages", "Pages of key feeds that were taken.";
    FeedFailed: Counter "portcullis.feed.failed", "Questions to key feeds without a usable answer.";
    FeedUnreadable: Counter "portcullis.feed.unreadable", "Records of key feeds that could not be read; their keys are refused.";
    UsesOpen: Gauge "portcullis.usage.open", "Uses of keys (a row for each key, agent and minute) that the reporting worker has still to report.";
    UsesDropped: Counter "portcullis.usage.dropped", "Uses of keys that will never be reported: they were too many, or the service refused them.";
    ConfigVersion: Gauge "portcullis.config.version", "The first 7 hex digits of config_version as a number.";
    ConfigLoaded: Counter "portcullis.config.loaded", "Configurations that were put in force.";
    ConfigRefused: Counter "portcullis.config.refused", "Configurations that were refused.";
    Waiting: Gauge "portcullis.waiting", "Requests of the reporting worker that wait for a callout.";
    CryptoSelfTestFailed: Counter "portcullis.crypto.self_test_failed", "Self-tests of the filter's own crypto that came out wrong, so that it is not used.";
    AuditDropped: Counter "portcullis.audit.dropped", "Audit events that could not be handed to a sink.";
}

impl Id {
    /// The dotted name.
    pub fn name(self) -> &'static str {
        LIST.get(self as usize).map_or("", |m| m.name)
    }
}

/// What a judged request counts as.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tally {
    /// The provider that answered; `None` when none did.
    pub provider: Option<Rc<str>>,
    /// What came out.
    pub outcome: Outcome,
    /// Whether the token cache spared the signature.
    pub cache: Cache,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// A skip rule let it through.
    Skipped,
    /// Asked for the protected-resource metadata, and got it.
    ResourceMetadata,
    /// Let through with an identity.
    Allowed,
    /// Let through without credential, because `auth.required` is false.
    Anonymous,
    /// Refused.
    Denied(Code),
}

/// What the cache of verified tokens did for a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Cache {
    /// Nothing to look up.
    #[default]
    None,
    /// The signature had been verified before.
    Hit,
    /// The signature was verified now.
    Miss,
    /// The same token had just failed.
    FailedHit,
}

impl Cache {
    /// The name in audit events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::FailedHit => "failed_hit",
        }
    }

    /// The counter to increment, if any.
    pub const fn counter(self) -> Option<Id> {
        match self {
            Self::None => None,
            Self::Hit => Some(Id::TokenCacheHit),
            Self::Miss => Some(Id::TokenCacheMiss),
            Self::FailedHit => Some(Id::TokenCacheFailedHit),
        }
    }
}

impl Tally {
    /// The counter's name: `portcullis.requests.<provider|none>.<outcome>.<code>`; `portcullis.skipped` for skipped requests.
    pub fn counter_name(&self) -> String {
        let provider = self.provider.as_deref().unwrap_or("none");
        match self.outcome {
            Outcome::Skipped => Id::Skipped.name().to_owned(),
            Outcome::ResourceMetadata => Id::ResourceMetadata.name().to_owned(),
            Outcome::Allowed => format!("portcullis.requests.{provider}.allow.ok"),
            Outcome::Anonymous => format!("portcullis.requests.{provider}.allow.anonymous"),
            Outcome::Denied(code) => {
                format!("portcullis.requests.{provider}.deny.{code}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn names_are_unique_and_plain() {
        let mut seen = std::collections::HashSet::new();
        for m in LIST {
            assert!(seen.insert(m.name), "{} twice", m.name);
            assert!(m.name.starts_with("portcullis."));
            assert!(
                m.name
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c == '.' || c == '_')
            );
        }
    }

    #[test]
    fn a_refusal_is_counted_by_provider_and_code() {
        let tally = Tally {
            provider: Some("google".into()),
            outcome: Outcome::Denied(Code::Expired),
            cache: Cache::Miss,
        };
        assert_eq!(
            tally.counter_name(),
            "portcullis.requests.google.deny.expired"
        );
    }
}

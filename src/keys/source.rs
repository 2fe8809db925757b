//! The life of one issuer's key set, without IO.
//!
//! The loop that a host runs, and the one invariant:
//!
//! 1. [`KeySource::poll`] says what to fetch now, if anything. It starts at most one fetch: while one is in
//!    flight, here or in another worker, it says nothing.
//! 2. The host sends it, or answers [`KeySource::defer`] when another worker holds the lease.
//! 3. [`KeySource::reply`], [`KeySource::adopt`] or [`KeySource::peer_failed`] ends the attempt, and [`KeySource::attempts`]
//!    counts it. A discovery reply leads back to 1 for the key set itself.
//!
//! Invariant: a set in force is only ever replaced by a whole good one.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::callout::{Callout, CalloutReply};
use crate::jose::jwks::KeySet;
use crate::keys::discovery;
use crate::limits::Limits;
use crate::policy::{CalloutPolicy, RemoteKeys, Url};
use crate::time::UnixTime;

/// The first wait after a failed fetch; doubles with each further failure.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// The longest wait: an issuer that comes back is noticed within seconds, because callers with a key that is new are refused until
/// then; one request in ten seconds from each proxy is nothing to an issuer that is down.
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// `jwks_uri` is asked for anew after this, and after any failed fetch.
const DISCOVERY_TTL: Duration = Duration::from_secs(24 * 3600);

/// One key set that is fetched.
#[derive(Debug)]
pub struct KeySource {
    spec: RemoteKeys,
    name: String,
    seed: u64,
    in_force: Option<InForce>,
    jwks_uri: Option<(Url, UnixTime)>,
    fetch: Fetch,
    attempts: u64,
    failures: u32,
    retry_at: UnixTime,
    refetch_wanted: bool,
    refetched_at: Option<UnixTime>,
    unknown_kids: BTreeSet<String>,
}

#[derive(Debug)]
struct InForce {
    keys: Rc<KeySet>,
    fetched_at: UnixTime,
    refresh_at: UnixTime,
    etag: Option<String>,
    /// As it was fetched, to hand on to workers that have none.
    text: Rc<str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fetch {
    /// Nothing under way.
    Idle,
    /// Discovery answered; the key set comes next.
    Discovered,
    /// Sent; given up at `until`, should the host never answer.
    InFlight { step: Step, until: UnixTime },
    /// Another worker holds the lease until then.
    Elsewhere { until: UnixTime },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Discovery,
    Jwks,
}

/// A fetch that one request does by itself, beside whatever else is under way.
#[derive(Clone, Copy, Debug)]
pub struct OwnFetch {
    step: Step,
    sent_at: UnixTime,
    /// The ended attempts then.
    attempts: u64,
}

/// What came of it.
#[derive(Debug)]
pub enum OwnEnd {
    /// Nothing of use.
    Failed,
    /// There is something new: discovery has answered, or someone else was faster.
    Moved,
    /// A new set is in force; for the other workers.
    Fetched(FetchOutcome),
}

/// A reply as it was understood.
enum Answer {
    JwksUri(Url),
    Keys {
        keys: Rc<KeySet>,
        text: Rc<str>,
        etag: Option<String>,
    },
}

/// What a request finds.
#[derive(Debug)]
pub enum Keys {
    /// A set in force: fresh, or stale within its grace.
    InForce(Rc<KeySet>),
    /// None yet; a fetch is due or under way.
    Wait,
    /// None, and the last attempt failed; the next one starts then.
    Unavailable(UnixTime),
}

/// What to do about a `kid` that the set in force doesn't have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownKid {
    /// A fetch that may bring it is due or under way.
    Wait,
    /// The issuer has no such key.
    Refuse,
    /// The issuer can't be asked; the next attempt starts then.
    Unavailable(UnixTime),
}

/// A fetched set as workers hand it to each other.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shared {
    source: String,
    fetched_at: u64,
    etag: Option<String>,
    /// What discovery said, so that the next refresh may be any worker's.
    jwks_uri: Option<String>,
    keys: Rc<str>,
}

/// How an attempt ended, for the other workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchOutcome {
    /// Give the document to [`KeySource::adopt`] of the others.
    Fetched {
        /// Opaque; a few bytes longer than the key set.
        document: Vec<u8>,
        /// When it was fetched.
        at: UnixTime,
    },
    /// Give it to [`KeySource::peer_failed`] of the others.
    Failed {
        /// When it failed.
        at: UnixTime,
        /// When the next attempt is due.
        retry_at: UnixTime,
    },
}

impl KeySource {
    /// A source that has fetched nothing yet. `seed` spreads the refreshes of many workers and hosts.
    pub fn new(spec: RemoteKeys, seed: u64) -> Self {
        Self {
            name: name_of(&spec),
            spec,
            seed,
            in_force: None,
            jwks_uri: None,
            fetch: Fetch::Idle,
            attempts: 0,
            failures: 0,
            retry_at: UnixTime::default(),
            refetch_wanted: false,
            refetched_at: None,
            unknown_kids: BTreeSet::new(),
        }
    }

    /// The name it has in every worker of the process.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many attempts have ended, well or not.
    pub const fn attempts(&self) -> u64 {
        self.attempts
    }

    /// When the set in force was fetched.
    pub fn fetched_at(&self) -> Option<UnixTime> {
        self.in_force.as_ref().map(|f| f.fetched_at)
    }

    /// Whether another worker is fetching.
    pub const fn is_elsewhere(&self) -> bool {
        matches!(self.fetch, Fetch::Elsewhere { .. })
    }

    /// The keys a token may be verified with now.
    pub fn keys(&self, now: UnixTime, limits: &Limits) -> Keys {
        if let Some(f) = &self.in_force
            && now < f.fetched_at + self.spec.cache_ttl + limits.jwks_grace
        {
            return Keys::InForce(f.keys.clone());
        }
        if self.failures > 0 && self.fetch == Fetch::Idle && self.backs_off(now) {
            return Keys::Unavailable(self.retry_at);
        }
        Keys::Wait
    }

    /// Judges a `kid` that the set in force does not have. `waited_since` is the number of [`Self::attempts`] when the request
    /// began to wait; `None` when it has not waited.
    ///
    /// Callers choose `kid`s freely, so they may cause one fetch per `limits.unknown_kid_interval` and no more, however
    /// that fetch ends.
    pub fn unknown_kid(
        &mut self,
        kid: &str,
        waited_since: Option<u64>,
        now: UnixTime,
        limits: &Limits,
    ) -> UnknownKid {
        let waited = waited_since.is_some_and(|n| self.attempts > n);
        if waited && self.failures == 0 {
            if self.unknown_kids.len() < limits.unknown_kids {
                self.unknown_kids.insert(kid.to_owned());
            }
            return UnknownKid::Refuse;
        }
        if self.failures > 0 && (waited || (self.fetch == Fetch::Idle && self.backs_off(now))) {
            return UnknownKid::Unavailable(self.retry_at.max(now));
        }
        // A refetch in the future was before the clock was set back.
        let lately = self
            .refetched_at
            .is_some_and(|at| at <= now && now.since(at) < limits.unknown_kid_interval);
        if lately && self.unknown_kids.contains(kid) {
            return UnknownKid::Refuse;
        }
        if self.fetch != Fetch::Idle || self.refetch_wanted {
            return UnknownKid::Wait;
        }
        if lately && self.failures > 0 {
            // It could not be asked and is not asked again so soon; nobody knows whether it has such a key.
            let next = self.refetched_at.unwrap_or(now) + limits.unknown_kid_interval;
            return UnknownKid::Unavailable(next);
        }
        if lately {
            return UnknownKid::Refuse;
        }
        self.unknown_kids.clear();
        self.refetch_wanted = true;
        self.refetched_at = Some(now);
        UnknownKid::Wait
    }

    /// What to fetch now, whether it begins an attempt, and how long the rest of the attempt may take.
    pub fn poll(
        &mut self,
        now: UnixTime,
        callouts: &CalloutPolicy,
        limits: &Limits,
    ) -> Option<(Callout, bool, Duration)> {
        match self.fetch {
            Fetch::InFlight { until, .. } if now >= until => self.fail(now),
            Fetch::Elsewhere { until } if now >= until => self.fetch = Fetch::Idle,
            _ => {}
        }
        let first = match self.fetch {
            Fetch::Idle if self.is_due(now) => true,
            Fetch::Discovered => false,
            _ => return None,
        };
        self.refetch_wanted = false;
        let Some((step, callout)) = self.next_callout(now, callouts, limits) else {
            // A source without either URL can't be made by the compiler; should it be, it never has keys.
            self.fail(now);
            return None;
        };
        // The host reports its own timeout; this one is for replies that never come, whatever the reason.
        let until = now + callout.timeout + Duration::from_secs(1);
        let lease = callout.timeout * 2 + Duration::from_secs(2);
        self.fetch = Fetch::InFlight { step, until };
        Some((callout, first, lease))
    }

    /// The callout that comes next on the way to the keys.
    fn next_callout(
        &self,
        now: UnixTime,
        callouts: &CalloutPolicy,
        limits: &Limits,
    ) -> Option<(Step, Callout)> {
        let known = self.spec.jwks.clone().or_else(|| {
            self.jwks_uri
                .as_ref()
                .filter(|(_, at)| now.since(*at) < DISCOVERY_TTL)
                .map(|(url, _)| url.clone())
        });
        let (step, url, etag) = match (known, &self.spec.discovery) {
            (Some(url), _) => (
                Step::Jwks,
                url,
                self.in_force.as_ref().and_then(|f| f.etag.clone()),
            ),
            (None, Some(url)) => (Step::Discovery, url.clone(), None),
            (None, None) => return None,
        };
        let upstream = callouts.upstream(&url.authority).to_owned();
        let mut callout = Callout::get_json(&upstream, url, callouts.timeout, limits.jwks_bytes);
        if let Some(etag) = etag {
            callout.add_header("if-none-match", etag);
        }
        Some((step, callout))
    }

    /// What a request that waits fetches by itself. It stands beside the fetch that [`Self::poll`] began: the request may go away at
    /// any time, and nobody is to wait for it then.
    pub fn own_callout(
        &self,
        now: UnixTime,
        callouts: &CalloutPolicy,
        limits: &Limits,
    ) -> Option<(OwnFetch, Callout)> {
        let (step, callout) = self.next_callout(now, callouts, limits)?;
        let fetch = OwnFetch {
            step,
            sent_at: now,
            attempts: self.attempts,
        };
        Some((fetch, callout))
    }

    /// What that brought.
    pub fn own_reply(
        &mut self,
        fetch: OwnFetch,
        reply: CalloutReply<'_>,
        now: UnixTime,
        limits: &Limits,
    ) -> OwnEnd {
        // It may be older than what is in force.
        if self.fetched_at().is_some_and(|at| at > fetch.sent_at) {
            return OwnEnd::Moved;
        }
        match self.understand(fetch.step, reply, limits) {
            Some(Answer::JwksUri(url)) => {
                self.jwks_uri = Some((url, now));
                OwnEnd::Moved
            }
            Some(Answer::Keys { keys, text, etag }) => {
                self.refetch_wanted = false;
                OwnEnd::Fetched(self.fetched(keys, text, etag, now))
            }
            None => {
                // A thousand who asked at once and were not answered are one failure, and the fetch under way may still succeed.
                if self.attempts == fetch.attempts && self.fetch == Fetch::Idle {
                    self.fail(now);
                }
                OwnEnd::Failed
            }
        }
    }

    fn is_due(&self, now: UnixTime) -> bool {
        // A set from the future was fetched before the clock was set back, and its refresh may be hours away.
        let stale = |f: &InForce| now >= f.refresh_at || now < f.fetched_at;
        !self.backs_off(now) && (self.refetch_wanted || self.in_force.as_ref().is_none_or(stale))
    }

    /// Whether the next attempt has to wait. A time further ahead than any backoff was set before the clock was set back.
    fn backs_off(&self, now: UnixTime) -> bool {
        now < self.retry_at && self.retry_at <= now + BACKOFF_MAX
    }

    /// When [`Self::poll`] may have something to say next.
    pub fn poll_timeout(&self) -> UnixTime {
        match self.fetch {
            Fetch::Discovered => UnixTime::default(),
            Fetch::InFlight { until, .. } | Fetch::Elsewhere { until } => until,
            Fetch::Idle if self.refetch_wanted => self.retry_at,
            Fetch::Idle => self
                .in_force
                .as_ref()
                .map_or(self.retry_at, |f| f.refresh_at.max(self.retry_at)),
        }
    }

    /// The fetch just polled is another worker's until then.
    pub fn defer(&mut self, until: UnixTime) {
        if matches!(self.fetch, Fetch::InFlight { .. }) {
            self.fetch = Fetch::Elsewhere { until };
        }
    }

    /// The fetch ended with nobody's fault: whoever was at it is gone (its configuration was replaced, say). It is due again at once,
    /// and who waits for it waits on.
    pub fn give_up(&mut self) {
        if matches!(self.fetch, Fetch::InFlight { .. } | Fetch::Elsewhere { .. }) {
            self.fetch = Fetch::Idle;
            self.refetch_wanted = true;
        }
    }

    /// What the callout brought. Returns how the attempt ended, `None` while it goes on.
    pub fn reply(
        &mut self,
        reply: CalloutReply<'_>,
        now: UnixTime,
        limits: &Limits,
    ) -> Option<FetchOutcome> {
        let Fetch::InFlight { step, .. } = self.fetch else {
            // Late: the attempt was given up. Its answer may be older than what is in force.
            return None;
        };
        match self.understand(step, reply, limits) {
            Some(Answer::JwksUri(url)) => {
                self.jwks_uri = Some((url, now));
                self.fetch = Fetch::Discovered;
                None
            }
            Some(Answer::Keys { keys, text, etag }) => Some(self.fetched(keys, text, etag, now)),
            None => Some(self.failed(now)),
        }
    }

    /// Reads a reply; `None` for one that is of no use.
    fn understand(&self, step: Step, reply: CalloutReply<'_>, limits: &Limits) -> Option<Answer> {
        let response = match reply {
            CalloutReply::Response(r) if r.body.len() <= limits.jwks_bytes => r,
            _ => return None,
        };
        match (step, response.status, &self.in_force) {
            (Step::Discovery, 200, _) => {
                let https = self.spec.discovery.as_ref().is_some_and(|u| u.https);
                discovery::jwks_uri(response.body, &self.spec.issuer, https)
                    .ok()
                    .map(Answer::JwksUri)
            }
            (Step::Jwks, 200, _) => Some(Answer::Keys {
                keys: Rc::new(KeySet::parse(response.body, &limits.jose()).ok()?),
                text: Rc::from(std::str::from_utf8(response.body).ok()?),
                etag: response.header("etag").map(str::to_owned),
            }),
            (Step::Jwks, 304, Some(f)) if f.etag.is_some() => Some(Answer::Keys {
                keys: f.keys.clone(),
                text: f.text.clone(),
                etag: f.etag.clone(),
            }),
            _ => None,
        }
    }

    fn fetched(
        &mut self,
        keys: Rc<KeySet>,
        text: Rc<str>,
        etag: Option<String>,
        now: UnixTime,
    ) -> FetchOutcome {
        let document = serde_json::to_vec(&Shared {
            source: self.name.clone(),
            fetched_at: now.as_millis(),
            etag: etag.clone(),
            jwks_uri: self.jwks_uri.as_ref().map(|(url, _)| url.to_string()),
            keys: text.clone(),
        })
        .unwrap_or_default();
        self.put_in_force(keys, text, etag, now);
        FetchOutcome::Fetched { document, at: now }
    }

    /// Takes over what another worker fetched. Anything that is not newer or not good is ignored.
    pub fn adopt(&mut self, document: &[u8], now: UnixTime, limits: &Limits) -> bool {
        let text = std::str::from_utf8(document).ok();
        let Some(shared) = text.and_then(|text| serde_json::from_str::<Shared>(text).ok()) else {
            return false;
        };
        let at = UnixTime::from_millis(shared.fetched_at).min(now);
        if shared.source != self.name || self.fetched_at().is_some_and(|mine| mine >= at) {
            return false;
        }
        let Ok(keys) = KeySet::parse(shared.keys.as_bytes(), &limits.jose()) else {
            return false;
        };
        if let Some(url) = shared.jwks_uri.and_then(|u| Url::parse(&u).ok()) {
            self.jwks_uri = Some((url, at));
        }
        self.put_in_force(Rc::new(keys), shared.keys, shared.etag, at);
        true
    }

    /// The worker that was fetching has failed.
    pub fn peer_failed(&mut self, retry_at: UnixTime) {
        if matches!(self.fetch, Fetch::Elsewhere { .. }) {
            self.fetch = Fetch::Idle;
            self.attempts += 1;
            self.failures = self.failures.saturating_add(1);
            self.retry_at = retry_at;
        }
    }

    fn put_in_force(
        &mut self,
        keys: Rc<KeySet>,
        text: Rc<str>,
        etag: Option<String>,
        at: UnixTime,
    ) {
        // Refreshed after 80 % of the time it is fresh, give or take 10 %: before it expires, and not all workers and
        // hosts at once.
        let ttl = self.spec.cache_ttl;
        let spread = self.roll() % 201;
        let refresh_at = at + ttl * 7 / 10 + ttl * u32::try_from(spread).unwrap_or(0) / 1000;
        self.in_force = Some(InForce {
            keys,
            fetched_at: at,
            refresh_at,
            etag,
            text,
        });
        self.fetch = Fetch::Idle;
        self.attempts += 1;
        self.failures = 0;
        self.retry_at = UnixTime::default();
    }

    fn failed(&mut self, now: UnixTime) -> FetchOutcome {
        self.fail(now);
        FetchOutcome::Failed {
            at: now,
            retry_at: self.retry_at,
        }
    }

    fn fail(&mut self, now: UnixTime) {
        let backoff = BACKOFF_MIN
            .saturating_mul(1 << self.failures.min(6))
            .min(BACKOFF_MAX);
        // Up to a tenth less, so that workers do not come back in step.
        let less = backoff * u32::try_from(self.roll() % 101).unwrap_or(0) / 1000;
        self.fetch = Fetch::Idle;
        self.jwks_uri = None;
        self.attempts += 1;
        self.failures = self.failures.saturating_add(1);
        self.retry_at = now + (backoff - less);
    }

    /// A number that differs between hosts, workers and attempts (SplitMix64); spreads load, protects nothing.
    fn roll(&self) -> u64 {
        let mut z = self
            .seed
            .wrapping_add((self.attempts + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// The name of a source: equal in all workers, different for all that may not share a set.
pub fn name_of(spec: &RemoteKeys) -> String {
    let url = |u: &Option<Url>| u.as_ref().map(ToString::to_string).unwrap_or_default();
    format!(
        "{} {} {} {}",
        spec.issuer,
        url(&spec.discovery),
        url(&spec.jwks),
        spec.cache_ttl.as_millis()
    )
}

//! The life of one feed in one worker, without IO.
//!
//! 1. [`FeedSource::poll`] says what to ask now, if anything: one question at a time.
//! 2. [`FeedSource::reply`] takes the answer. A delta changes what is in force at once; the pages of a snapshot are put together aside
//!    and put in force with the last of them.
//! 3. [`FeedSource::view`] says what a request may rely on.
//!
//! Invariant: what is in force is what the service said, up to one revision; a page that is refused leaves it as it was.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::rc::Rc;
use std::time::Duration;

use super::notice::{FeedProblem, Notice};
use super::page::Page;
use super::policy::FeedPolicy;
use super::usage::{SharedUses, UsageLog};
use crate::apikey::KeyTable;
use crate::callout::{Callout, CalloutFailure, CalloutReply, OVERDUE};
use crate::limits::Limits;
use crate::policy::{AgentFacts, Url};
use crate::time::UnixTime;

/// Changes asked for at once: a page of them is parsed in some milliseconds, and a worker does nothing else meanwhile.
const PAGE: usize = 2000;

/// The first wait after a failure, unless the interval is longer; doubles with each further one.
const BACKOFF_MIN: Duration = Duration::from_millis(500);

/// The longest wait, unless the interval is longer: a service that comes back is noticed within seconds.
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// The longest entity tag that is repeated.
const MAX_ETAG: usize = 256;

/// What one feed says, up to a revision.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// The keys.
    pub keys: KeyTable,
    /// Who agents belong to.
    pub agents: BTreeMap<Rc<str>, AgentFacts>,
    epoch: String,
    revision: u64,
}

/// What a request may rely on.
#[derive(Debug)]
pub enum View<'s> {
    /// Up to date.
    InForce(&'s Snapshot),
    /// Nothing yet, or nothing recent; it is being asked for.
    Loading,
    /// Nothing, and the last attempt failed; the next one begins then.
    Unavailable(UnixTime),
    /// What was in force, too long ago; the next attempt begins then.
    Stale(&'s Snapshot, UnixTime),
}

/// One feed.
#[derive(Debug)]
pub struct FeedSource {
    name: Rc<str>,
    spec: Spec,
    seed: u64,
    in_force: Option<Snapshot>,
    /// A snapshot of which more pages are to come.
    building: Option<Snapshot>,
    /// Of what is in force.
    etag: Option<String>,
    /// When the question was sent that was last answered with all there was.
    confirmed_at: Option<UnixTime>,
    /// Since when it is asked.
    since: Option<UnixTime>,
    fetch: Option<InFlight>,
    /// Ask for everything anew: what is in force can't be built upon.
    from_the_beginning: bool,
    /// How many times everything there was has been read, or that has failed.
    attempts: u64,
    failures: u32,
    next_at: UnixTime,
    uses: SharedUses,
}

#[derive(Debug)]
struct InFlight {
    sent_at: UnixTime,
    until: UnixTime,
}

/// A feed's settings, and where its authorities are.
#[derive(Clone, Debug)]
pub(super) struct Spec {
    pub feed: FeedPolicy,
    pub upstream: String,
    pub usage_upstream: Option<String>,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// This worker of this proxy, unlike any other and any earlier one.
    pub instance: &'a str,
    /// [`crate::policy::Policy::version`].
    pub config_version: &'a str,
}

impl FeedSource {
    pub(super) fn new(spec: Spec, seed: u64) -> Self {
        Self {
            name: spec.feed.name(),
            seed,
            in_force: None,
            building: None,
            etag: None,
            confirmed_at: None,
            since: None,
            fetch: None,
            from_the_beginning: false,
            attempts: 0,
            failures: 0,
            next_at: UnixTime::default(),
            uses: UsageLog::shared(seed),
            spec,
        }
    }

    /// The name in logs: its URL.
    pub const fn name(&self) -> &Rc<str> {
        &self.name
    }

    pub(super) const fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Takes over the settings of another policy for the same feed.
    pub(super) fn respecify(&mut self, spec: Spec) {
        self.spec = spec;
    }

    /// How long a request should be ready to wait for it.
    pub const fn patience(&self) -> Duration {
        self.spec.feed.timeout
    }

    /// How many attempts have ended, well or not.
    pub const fn attempts(&self) -> u64 {
        self.attempts
    }

    /// What is in force, however old.
    pub const fn snapshot(&self) -> Option<&Snapshot> {
        self.in_force.as_ref()
    }

    /// How old what is in force is, at most; how long it has been asked for in vain where nothing is.
    pub fn age(&self, now: UnixTime) -> Duration {
        let since = self.confirmed_at.or(self.since);
        since.map_or(Duration::ZERO, |at| now.since(at))
    }

    /// The uses of its keys; `None` where nobody wants to know.
    pub fn uses(&self) -> Option<&SharedUses> {
        self.spec.feed.usage.as_ref().map(|_| &self.uses)
    }

    pub(super) const fn log(&self) -> &SharedUses {
        &self.uses
    }

    /// What a request may rely on, where nothing older than `max_staleness` is good enough.
    pub fn view(&self, now: UnixTime, max_staleness: Duration) -> View<'_> {
        let fresh = |at: UnixTime| now.since(at) <= max_staleness;
        match &self.in_force {
            Some(snapshot) if self.confirmed_at.is_some_and(fresh) => View::InForce(snapshot),
            // Not asked for a while, because no policy wanted it.
            _ if self.failures == 0 => View::Loading,
            Some(snapshot) => View::Stale(snapshot, self.next_at),
            None if self.fetch.is_some() || now >= self.next_at => View::Loading,
            None => View::Unavailable(self.next_at),
        }
    }

    /// What to ask now.
    pub fn poll(&mut self, asker: Asker<'_>, now: UnixTime, limits: &Limits) -> Option<Callout> {
        self.since = Some(self.since.map_or(now, |at| at.min(now)));
        // A clock that was set back must neither stop the polling nor make what is in force younger than it is.
        self.confirmed_at = self.confirmed_at.map(|at| at.min(now));
        self.next_at = self.next_at.min(now + self.longest_wait());
        match &self.fetch {
            Some(fetch) if now < fetch.until && now >= fetch.sent_at => return None,
            Some(_) => {
                self.fetch = None;
                // Nobody is told: the host says why, if it says anything.
                self.fail(now);
            }
            None => {}
        }
        if now < self.next_at {
            return None;
        }
        let timeout = self.spec.feed.timeout;
        self.fetch = Some(InFlight {
            sent_at: now,
            until: now + timeout + OVERDUE,
        });
        let base = self.building.as_ref().or_else(|| {
            let base = self.in_force.as_ref();
            base.filter(|_| !self.from_the_beginning)
        });
        let mut path = self.spec.feed.url.path.clone();
        path.push(if path.contains('?') { '&' } else { '?' });
        match base {
            Some(base) => {
                let _ = write!(path, "after={}&epoch=", base.revision);
                percent_encode(&base.epoch, &mut path);
            }
            None => path.push_str("after=0"),
        }
        let _ = write!(path, "&limit={PAGE}");
        let (upstream, url) = (&self.spec.upstream, &self.spec.feed.url);
        let max_body = limits.feed_page_bytes;
        let mut callout = callout(&self.spec, upstream, url, path, max_body, asker);
        if base.is_some()
            && self.building.is_none()
            && let Some(etag) = &self.etag
        {
            callout.add_header("if-none-match", etag.as_str());
        }
        Some(callout)
    }

    /// The callout will not be answered, for no fault of the feed's.
    pub(super) fn give_up(&mut self) {
        self.fetch = None;
    }

    /// When [`Self::poll`] may have something to say next.
    pub fn poll_timeout(&self) -> UnixTime {
        self.fetch.as_ref().map_or(self.next_at, |f| f.until)
    }

    /// What the callout brought; whether it was of use. What an operator should know of it goes to `notices`.
    pub fn reply(
        &mut self,
        reply: CalloutReply<'_>,
        now: UnixTime,
        limits: &Limits,
        notices: &mut VecDeque<Notice>,
    ) -> bool {
        let Some(InFlight { sent_at, .. }) = self.fetch.take() else {
            // Late: it was given up, and a later answer may be in force.
            return true;
        };
        match self.take(reply, sent_at, limits, notices) {
            Ok(()) => true,
            Err(problem) => {
                if matches!(problem, FeedProblem::Order(_)) {
                    self.building = None;
                    self.from_the_beginning = true;
                }
                self.fail(now);
                let feed = self.name.clone();
                notices.push_back(Notice::Failed { feed, problem });
                false
            }
        }
    }

    fn take(
        &mut self,
        reply: CalloutReply<'_>,
        sent_at: UnixTime,
        limits: &Limits,
        notices: &mut VecDeque<Notice>,
    ) -> Result<(), FeedProblem> {
        let response = match reply {
            CalloutReply::Response(response) => response,
            CalloutReply::Failed(CalloutFailure::TooLarge) => return Err(FeedProblem::TooLarge),
            CalloutReply::Failed(_) => return Err(FeedProblem::NoAnswer),
        };
        match response.status {
            200 if response.body.len() > limits.feed_page_bytes => Err(FeedProblem::TooLarge),
            200 => {
                let page = Page::parse(response.body).map_err(FeedProblem::Page)?;
                let etag = response
                    .header("etag")
                    .filter(|e| e.len() <= MAX_ETAG && e.bytes().all(|b| (0x20..0x7f).contains(&b)))
                    .map(str::to_owned);
                self.take_page(page, etag, sent_at, limits, notices)
            }
            // Nothing new. To whom has nothing, or half of it, that is no answer.
            204 | 304
                if self.in_force.is_some()
                    && self.building.is_none()
                    && !self.from_the_beginning =>
            {
                self.up_to_date(sent_at);
                Ok(())
            }
            204 | 304 => Err(FeedProblem::Order(Disorder::NothingToBuildOn)),
            status => Err(FeedProblem::Status(status)),
        }
    }

    fn take_page(
        &mut self,
        page: Page,
        etag: Option<String>,
        sent_at: UnixTime,
        limits: &Limits,
        notices: &mut VecDeque<Notice>,
    ) -> Result<(), FeedProblem> {
        let again = page.reset && self.building.is_some();
        if page.reset {
            self.building = Some(Snapshot {
                epoch: page.epoch.clone(),
                ..Snapshot::default()
            });
        }
        let asked_for_all = self.from_the_beginning;
        let base = match &mut self.building {
            Some(building) => building,
            None => self
                .in_force
                .as_mut()
                .filter(|_| !asked_for_all)
                .ok_or(FeedProblem::Order(Disorder::NothingToBuildOn))?,
        };
        if let Err(problem) = base.take(&page, limits) {
            // What was being built can't be gone on with, and what is in force was not touched.
            if page.reset {
                self.building = None;
            }
            return Err(problem);
        }
        let feed = &self.name;
        if page.unreadable > 0 {
            notices.push_back(Notice::Unreadable {
                feed: feed.clone(),
                count: page.unreadable,
                first: page.reasons.into_iter().next(),
            });
        }
        notices.push_back(Notice::Page);
        if page.more {
            self.failures = 0;
            // At once, but no faster than the interval for a service that begins again and again.
            self.next_at = if again {
                sent_at + self.spec.feed.interval
            } else {
                sent_at
            };
            return Ok(());
        }
        if let Some(whole) = self.building.take() {
            notices.push_back(Notice::Loaded {
                feed: feed.clone(),
                keys: whole.keys.len(),
                agents: whole.agents.len(),
                revision: whole.revision,
            });
            self.in_force = Some(whole);
            self.from_the_beginning = false;
        }
        self.etag = etag;
        self.up_to_date(sent_at);
        Ok(())
    }

    fn up_to_date(&mut self, sent_at: UnixTime) {
        self.confirmed_at = Some(sent_at);
        self.attempts += 1;
        self.failures = 0;
        // Sooner than the interval by a tenth to a fifth: the question, its answer and the host's timer take time, too, and all of
        // it together should be within the interval. Which part of it differs, so that workers don't ask in step.
        let interval = self.spec.feed.interval;
        let less = interval / 10 + self.up_to(interval / 10);
        self.next_at = sent_at + (interval - less);
    }

    fn fail(&mut self, now: UnixTime) {
        self.attempts += 1;
        self.failures = self.failures.saturating_add(1);
        let doublings = self.failures.saturating_sub(1).min(10);
        let backoff = BACKOFF_MIN.saturating_mul(1 << doublings).min(BACKOFF_MAX);
        let backoff = backoff.max(self.spec.feed.interval);
        self.next_at = now + (backoff - self.up_to(backoff / 10));
    }

    fn longest_wait(&self) -> Duration {
        self.spec.feed.interval.max(BACKOFF_MAX)
    }

    /// Some part of it that differs between workers and attempts.
    fn up_to(&self, most: Duration) -> Duration {
        let thousandth = u32::try_from(roll(self.seed, self.attempts) % 1001).unwrap_or(0);
        most * thousandth / 1000
    }
}

/// Why a page does not follow what came before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disorder {
    /// Changes to something that this worker does not have.
    NothingToBuildOn,
    /// Of another history, and not from its beginning.
    OtherEpoch,
    /// A revision from before what is known.
    Backwards,
    /// Changes, or more to come, without a newer revision.
    NoProgress,
}

impl Snapshot {
    /// The revision it is at.
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// Makes a page's changes, all of them or none.
    fn take(&mut self, page: &Page, limits: &Limits) -> Result<(), FeedProblem> {
        let disorder = |what| Err(FeedProblem::Order(what));
        if page.epoch != self.epoch {
            return disorder(Disorder::OtherEpoch);
        }
        if page.revision < self.revision {
            return disorder(Disorder::Backwards);
        }
        let empty = page.keys.is_empty()
            && page.removed_keys.is_empty()
            && page.agents.is_empty()
            && page.removed_agents.is_empty();
        // The first page of a history may be at revision 0 and have nothing yet, or what was there before anything was counted.
        let stands_still = page.revision == self.revision && !page.reset;
        if stands_still && !empty || page.more && page.revision == self.revision {
            return disorder(Disorder::NoProgress);
        }
        let new = page
            .keys
            .iter()
            .filter(|k| self.keys.find(k.id()).is_none());
        let named = page
            .agents
            .iter()
            .filter(|(name, _)| !self.agents.contains_key(name));
        if self.keys.len() + new.count() > limits.feed_keys
            || self.agents.len() + named.count() > limits.feed_keys
        {
            return Err(FeedProblem::TooManyKeys);
        }
        self.keys.apply(&page.keys, &page.removed_keys);
        for (name, facts) in &page.agents {
            self.agents.insert(name.clone(), facts.clone());
        }
        for name in &page.removed_agents {
            self.agents.remove(name.as_str());
        }
        self.revision = page.revision;
        Ok(())
    }
}

/// A request to the service, with what each of them says of who asks.
pub(super) fn callout(
    spec: &Spec,
    upstream: &str,
    url: &Url,
    path: String,
    max_body: usize,
    asker: Asker<'_>,
) -> Callout {
    let url = Url {
        path,
        ..url.clone()
    };
    let mut callout = Callout::get_json(upstream, url, spec.feed.timeout, max_body);
    callout.add_header(
        "authorization",
        format!("Bearer {}", spec.feed.token.expose()),
    );
    callout.add_header("x-portcullis-instance", asker.instance);
    callout.add_header("x-portcullis-config", asker.config_version);
    callout
}

/// RFC 3986 section 2.1: all but unreserved characters.
fn percent_encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

/// A number that differs between workers and attempts (SplitMix64); spreads load, protects nothing.
pub(super) fn roll(seed: u64, attempts: u64) -> u64 {
    let mut z = seed.wrapping_add((attempts + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

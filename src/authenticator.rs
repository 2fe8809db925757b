//! One request from head to decision, and the background work that keys need.
//!
//! The loop that a host runs:
//!
//! 1. [`Authenticator::begin`] for each request head. [`Step::Done`]: carry it out. [`Step::NeedCallout`]: hold the request back.
//!    [`Step::NeedBody`]: hold it back as well, give the body as it comes to [`NeedBody::update`] and [`NeedBody::finish`] at its end.
//! 2. After each `begin` that needs a callout, each reply, and at [`Authenticator::poll_timeout`]: send what
//!    [`Authenticator::poll_callout`] hands out until it hands out nothing. Take the process-wide lease for it first, or
//!    [`Authenticator::defer`] it to the worker that has the lease.
//! 3. [`Authenticator::reply`] with what came back; tell the other workers what [`Authenticator::poll_finished`] says.
//! 4. Then [`NeedCallout::resume`] every held request that [`NeedCallout::ready`] says is ready.
//!
//! Where a host can let a request go only in the callback of a callout that the request itself has sent, 2 to 4 are for the background
//! alone: each held request sends [`NeedCallout::callout`] and is judged by [`NeedCallout::reply`].
//!
//! ```
//! # use std::rc::Rc;
//! use portcullis_core::callout::{CalloutFailure, CalloutReply};
//! # use portcullis_core::decision::{Decision, Step};
//! # use portcullis_core::jose::RustVerifier;
//! # use portcullis_core::request::RequestHead;
//! # use portcullis_core::time::UnixTime;
//! # use portcullis_core::{Authenticator, Stores, config};
//! # let text = br#"{"auth": {"providers": [{"type": "oidc", "settings": {
//! #     "issuer": "https://issuer.example", "audience": "a", "allowed_subjects": "*"}}]}, "agent": {"fixed": "x"}}"#;
//! # let (policy, _) = config::load(text, &|_| None)?;
//! let now = UnixTime::from_secs(1_800_000_000);
//! let mut auth = Authenticator::new(policy, Stores::new(1), Rc::new(RustVerifier), now);
//! # let token = b"Bearer eyJhbGciOiJSUzI1NiIsImtpZCI6ImsifQ.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlIiwiYXVkIjoiYSIsInN1YiI6InMifQ.AAAA";
//! # let headers = [(&b"authorization"[..], &token[..])];
//! # let head = RequestHead { method: b"GET", path: b"/", authority: b"h", headers: &headers, remote_addr: None };
//! // 1: a token of an issuer whose keys are not there yet.
//! let Step::NeedCallout(need) = auth.begin(&head, now) else { panic!() };
//! // 2: ask for its discovery document.
//! let asked = auth.poll_callout(now).unwrap();
//! assert_eq!(asked.callout.path, "/.well-known/openid-configuration");
//! // 3: nobody answers.
//! auth.reply(asked.id, CalloutReply::Failed(CalloutFailure::NoResponse), now);
//! // 4: the request goes no further, and is told when to come back.
//! assert!(need.ready(&auth, now));
//! let Step::Done(Decision::Deny(denial)) = need.resume(&mut auth, now) else { panic!() };
//! assert_eq!((denial.status, denial.code.as_str()), (503, "keys_unavailable"));
//! # Ok::<(), config::ConfigErrors>(())
//! ```
//!
//! Invariant: a request is judged by the policy that was in force when it began, and by no other.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use crate::apikey::feed::source::Asker;
use crate::apikey::feed::{FeedId, FeedSource, Notice, Snapshot, View};
use crate::body::NeedBody;
use crate::callout::{Callout, CalloutId, CalloutReply};
use crate::decision::Step;
use crate::jose::verify::SignatureVerifier;
use crate::judge::{Inputs, Judge, Wait};
use crate::keys::source::FetchOutcome;
use crate::keys::store::SourceId;
use crate::lookup::LookupId;
use crate::metrics;
use crate::policy::{Policy, ProviderKind};
use crate::provider::Awaited;
use crate::request::RequestHead;
use crate::stores::Live;
pub use crate::stores::Stores;
use crate::time::UnixTime;
use crate::trace::{Trace, Verdict};
pub use crate::waiting::NeedCallout;
use crate::waiting::Waited;

/// The filter's brain: one per root context.
pub struct Authenticator {
    live: Rc<Live>,
    pub(crate) stores: Rc<RefCell<Stores>>,
    pub(crate) verifier: Rc<dyn SignatureVerifier>,
    in_flight: Vec<(CalloutId, Errand)>,
    pub(crate) finished: VecDeque<Finished>,
}

/// What a callout was sent for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Errand {
    Keys(SourceId),
    Lookup(LookupId),
    Feed(FeedId),
    Uses(FeedId),
}

/// A callout that the host is to send.
#[derive(Debug)]
pub struct BackgroundCallout {
    /// Names it in [`Authenticator::reply`] and [`Authenticator::defer`].
    pub id: CalloutId,
    /// The request to send.
    pub callout: Callout,
    /// On whose behalf.
    pub purpose: Purpose,
}

/// What a callout is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A key set, of which one fetch serves every worker of the process.
    Keys {
        /// The key source's name, equal in every worker.
        source: String,
        /// `Some` when it begins an attempt: take a lease of this length first. The later callouts of an attempt go out
        /// under the same lease.
        lease: Option<Duration>,
    },
    /// A question about one credential, asked by this worker alone. Its name is for the log.
    Lookup(Rc<str>),
    /// The next page of a key feed, for this worker alone. Its name is for the log.
    Feed(Rc<str>),
    /// A report of what keys were used for, to the service of a key feed. Its name is for the log.
    Uses(Rc<str>),
}

/// An ended fetch, for the other workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// The key source's name.
    pub source: String,
    /// How it ended.
    pub outcome: FetchOutcome,
}

/// A key source as the other workers' news are matched with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceState {
    /// Its name.
    pub source: String,
    /// Whether this worker waits for another one's fetch.
    pub deferred: bool,
    /// When the set in force was fetched.
    pub fetched_at: Option<UnixTime>,
}

impl Authenticator {
    /// A filter with this policy in force.
    pub fn new(
        policy: Policy,
        stores: Rc<RefCell<Stores>>,
        verifier: Rc<dyn SignatureVerifier>,
        _now: UnixTime,
    ) -> Self {
        Self {
            live: Live::new(policy, &stores),
            stores,
            verifier,
            in_flight: Vec::new(),
            finished: VecDeque::new(),
        }
    }

    /// Puts another policy in force. Requests that wait keep theirs; key sets and verified tokens stay.
    pub fn reload(&mut self, policy: Policy, _now: UnixTime) {
        // The new one takes its sources before the old one lets go of them.
        self.live = Live::new(policy, &self.stores);
    }

    /// Has signatures verified by another backend from now on. Which one is no matter of policy: all give the same verdict.
    pub fn verify_with(&mut self, verifier: Rc<dyn SignatureVerifier>) {
        self.verifier = verifier;
    }

    /// The policy in force.
    pub fn policy(&self) -> &Policy {
        &self.live.policy
    }

    /// Whether the peer's address makes a difference. If not, a host need not ask for it.
    pub fn wants_remote_addr(&self) -> bool {
        self.live.chain.wants_remote_addr
    }

    /// Judges a request, or says what that has to wait for.
    pub fn begin(&mut self, head: &RequestHead<'_>, now: UnixTime) -> Step {
        let inputs = Inputs::take(&self.live, head);
        self.judge(inputs, None, now, None)
    }

    /// As [`Self::begin`], and says how it came about.
    pub fn begin_traced(&mut self, head: &RequestHead<'_>, now: UnixTime) -> (Step, Trace) {
        let inputs = Inputs::take(&self.live, head);
        let mut trace = inputs.trace();
        let step = self.judge(inputs, None, now, Some(&mut trace.verdicts));
        (step, trace)
    }

    pub(crate) fn judge(
        &self,
        inputs: Inputs<'_>,
        waited: Option<Waited>,
        now: UnixTime,
        verdicts: Option<&mut Vec<(usize, Verdict)>>,
    ) -> Step {
        let live = match &waited {
            Some(w) => w.live.clone(),
            None => self.live.clone(),
        };
        let mut stores = self.stores.borrow_mut();
        let judge = Judge {
            live: &live,
            stores: &mut stores,
            verifier: &*self.verifier,
            now,
            waited: waited.as_ref(),
            seq: waited.as_ref().map(|w| w.seq),
            verdicts,
        };
        match judge.run(&inputs) {
            Ok(decision) => Step::Done(decision),
            Err(Wait::Body(proof, provider)) => {
                let seq = match &waited {
                    Some(waited) => waited.seq,
                    None => stores.next_seq(),
                };
                Step::NeedBody(NeedBody::new(
                    inputs.into_owned(),
                    live.clone(),
                    seq,
                    proof,
                    provider,
                ))
            }
            Err(Wait::Callout(awaited)) => {
                let attempts = match awaited {
                    Awaited::Keys(source) => stores.keys.get(source).map_or(0, |s| s.attempts()),
                    Awaited::Feed(feed) => stores.feeds.get(feed).map_or(0, |f| f.attempts()),
                    Awaited::Lookup(_) => 0,
                };
                let patience = match awaited {
                    Awaited::Keys(_) => live.policy.callouts.timeout,
                    Awaited::Lookup(id) => stores.lookups.patience(&id),
                    Awaited::Feed(feed) => {
                        let feed = stores.feeds.get(feed);
                        feed.map_or(Duration::ZERO, FeedSource::patience)
                    }
                };
                let waited = match waited {
                    None => Waited {
                        seq: stores.next_seq(),
                        deadline: now + patience,
                        live,
                        awaited,
                        since: now,
                        attempts,
                        asked: 0,
                    },
                    // Keys first and then an answer: each is worth its own wait. Nothing else makes it longer.
                    Some(w) => Waited {
                        deadline: match (w.awaited, awaited) {
                            (Awaited::Keys(_), Awaited::Lookup(_)) => now + patience,
                            _ => w.deadline,
                        },
                        since: if w.awaited == awaited { w.since } else { now },
                        awaited,
                        attempts,
                        ..w
                    },
                };
                Step::NeedCallout(NeedCallout::new(inputs.into_owned(), waited))
            }
        }
    }

    /// The next callout to send; call until `None`.
    pub fn poll_callout(&mut self, now: UnixTime) -> Option<BackgroundCallout> {
        let policy = &self.live.policy;
        let mut borrowed = self.stores.borrow_mut();
        let stores = &mut *borrowed;
        for id in self.live.sources.iter().flatten() {
            let Some(source) = stores.keys.get_mut(*id) else {
                continue;
            };
            if let Some((callout, first, lease)) =
                source.poll(now, &policy.callouts, &policy.limits)
            {
                let source = source.name().to_owned();
                let callout_id = stores.callouts.next();
                return Some(BackgroundCallout {
                    id: sent(&mut self.in_flight, callout_id, Errand::Keys(*id)),
                    callout,
                    purpose: Purpose::Keys {
                        source,
                        lease: first.then_some(lease),
                    },
                });
            }
        }
        let asker = Asker {
            instance: &stores.instance,
            config_version: &policy.version,
        };
        for id in self.live.feeds.iter().flatten() {
            if let Some((name, callout)) = stores.feeds.poll(*id, asker, now, &policy.limits) {
                let callout_id = stores.callouts.next();
                let id = sent(&mut self.in_flight, callout_id, Errand::Feed(*id));
                let purpose = Purpose::Feed(name);
                return Some(BackgroundCallout {
                    id,
                    callout,
                    purpose,
                });
            }
        }
        let Some(due) = stores.lookups.poll(now, &policy.limits) else {
            let (feed, name, callout) = stores.feeds.poll_usage(asker, now, &policy.limits)?;
            let callout_id = stores.callouts.next();
            let id = sent(&mut self.in_flight, callout_id, Errand::Uses(feed));
            let purpose = Purpose::Uses(name);
            return Some(BackgroundCallout {
                id,
                callout,
                purpose,
            });
        };
        let callout_id = stores.callouts.next();
        // Callouts that the host never answered.
        if self.in_flight.len() > policy.limits.lookups_in_flight.saturating_mul(2) {
            let lookups = &stores.lookups;
            self.in_flight.retain(|(_, errand)| match errand {
                Errand::Keys(_) | Errand::Feed(_) | Errand::Uses(_) => true,
                Errand::Lookup(id) => lookups.is_pending(id),
            });
        }
        self.in_flight.push((callout_id, Errand::Lookup(due.id)));
        Some(BackgroundCallout {
            id: callout_id,
            callout: due.callout,
            purpose: Purpose::Lookup(due.scope),
        })
    }

    /// What became of a callout, and whether it was of use: a 200 with a body that is no key set is not. Unknown and late
    /// ids are ignored.
    pub fn reply(&mut self, id: CalloutId, reply: CalloutReply<'_>, now: UnixTime) -> bool {
        let Some(place) = self.in_flight.iter().position(|(i, _)| *i == id) else {
            return true;
        };
        let (_, errand) = self.in_flight.swap_remove(place);
        let mut stores = self.stores.borrow_mut();
        let limits = &self.live.policy.limits;
        let source_id = match errand {
            Errand::Keys(source) => source,
            Errand::Lookup(id) => return stores.lookups.reply(&id, reply, now, limits),
            Errand::Feed(id) => return stores.feeds.reply(id, reply, now, limits),
            Errand::Uses(id) => return stores.feeds.reply_usage(id, reply, now),
        };
        if let Some(source) = stores.keys.get_mut(source_id)
            && let Some(outcome) = source.reply(reply, now, &self.live.policy.limits)
        {
            let of_use = matches!(outcome, FetchOutcome::Fetched { .. });
            self.finished.push_back(Finished {
                source: source.name().to_owned(),
                outcome,
            });
            return of_use;
        }
        true
    }

    /// A callout will not be answered because this root context goes away. What it was for stays wanted: the next root context
    /// that polls sends it anew, and nothing counts as failed.
    pub fn give_up(&mut self, id: CalloutId) {
        let Some(place) = self.in_flight.iter().position(|(i, _)| *i == id) else {
            return;
        };
        let (_, errand) = self.in_flight.swap_remove(place);
        let mut stores = self.stores.borrow_mut();
        match errand {
            Errand::Lookup(id) => stores.lookups.give_up(&id),
            Errand::Keys(source) => {
                if let Some(source) = stores.keys.get_mut(source) {
                    source.give_up();
                }
            }
            Errand::Feed(id) => stores.feeds.give_up(id),
            Errand::Uses(id) => stores.feeds.give_up_usage(id),
        }
    }

    /// Another worker has the lease of this fetch until then.
    pub fn defer(&mut self, id: CalloutId, until: UnixTime) {
        if let Some(place) = self.in_flight.iter().position(|(i, _)| *i == id) {
            let (_, errand) = self.in_flight.swap_remove(place);
            if let Errand::Keys(source) = errand
                && let Some(source) = self.stores.borrow_mut().keys.get_mut(source)
            {
                source.defer(until);
            }
        }
    }

    /// The next thing about key feeds to log and count.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.stores.borrow_mut().feeds.poll_notice()
    }

    /// The next ended fetch to tell the other workers of.
    pub fn poll_finished(&mut self) -> Option<Finished> {
        self.finished.pop_front()
    }

    /// The key sources of the policy in force.
    pub fn sources(&self) -> Vec<SourceState> {
        let stores = self.stores.borrow();
        self.live
            .sources
            .iter()
            .flatten()
            .filter_map(|id| stores.keys.get(*id))
            .map(|s| SourceState {
                source: s.name().to_owned(),
                deferred: s.is_elsewhere(),
                fetched_at: s.fetched_at(),
            })
            .collect()
    }

    /// Takes over a key set that another worker fetched; whether it was newer and good.
    pub fn adopt(&mut self, source: &str, document: &[u8], now: UnixTime) -> bool {
        let limits = &self.live.policy.limits;
        self.with_source(source, |s| s.adopt(document, now, limits))
            .unwrap_or(false)
    }

    /// The worker that was fetching for this one has failed.
    pub fn peer_failed(&mut self, source: &str, retry_at: UnixTime, _now: UnixTime) {
        self.with_source(source, |s| s.peer_failed(retry_at));
    }

    /// The worker that was fetching for this one does so no longer, and nothing is known against the issuer.
    pub fn peer_gave_up(&mut self, source: &str) {
        self.with_source(source, crate::keys::source::KeySource::give_up);
    }

    fn with_source<T>(
        &self,
        name: &str,
        f: impl FnOnce(&mut crate::keys::source::KeySource) -> T,
    ) -> Option<T> {
        let mut stores = self.stores.borrow_mut();
        let id = self
            .live
            .sources
            .iter()
            .flatten()
            .find(|id| stores.keys.get(**id).is_some_and(|s| s.name() == name))?;
        stores.keys.get_mut(*id).map(f)
    }

    /// When to call [`Self::poll_callout`] at the latest.
    pub fn poll_timeout(&self) -> Option<UnixTime> {
        let stores = self.stores.borrow();
        self.live
            .sources
            .iter()
            .flatten()
            .filter_map(|id| stores.keys.get(*id))
            .map(crate::keys::source::KeySource::poll_timeout)
            .chain(self.feeds(&stores).map(FeedSource::poll_timeout))
            .min()
    }

    fn feeds<'s>(&'s self, stores: &'s Stores) -> impl Iterator<Item = &'s FeedSource> {
        let ids = self.live.feeds.iter().flatten();
        ids.filter_map(|id| stores.feeds.get(*id))
    }

    /// The gauges as they stand.
    pub fn gauges(&self, now: UnixTime) -> Vec<(metrics::Id, u64)> {
        let stores = self.stores.borrow();
        let ages: Vec<u64> = self
            .live
            .sources
            .iter()
            .flatten()
            .filter_map(|id| stores.keys.get(*id)?.fetched_at())
            .map(|at| now.since(at).as_secs())
            .collect();
        let version = self.live.policy.version.get(..7).unwrap_or_default();
        let mut gauges = self.feed_gauges(&stores, now);
        gauges.extend([
            (
                metrics::Id::JwksAge,
                ages.iter().copied().max().unwrap_or(0),
            ),
            (metrics::Id::JwksUsable, ages.len() as u64),
            (metrics::Id::LookupsOpen, stores.lookups.open() as u64),
            (
                metrics::Id::ConfigVersion,
                u64::from_str_radix(version, 16).unwrap_or(0),
            ),
        ]);
        // A worker that was never asked (Envoy's main thread is one) would set them to nothing after the others.
        let entries = [
            (metrics::Id::TokenCacheEntries, stores.tokens.entries()),
            (metrics::Id::LookupEntries, stores.lookups.entries()),
        ];
        gauges.extend(
            entries
                .into_iter()
                .filter_map(|(id, entries)| Some((id, entries? as u64))),
        );
        gauges
    }

    /// Those of key feeds, where there are any.
    fn feed_gauges(&self, stores: &Stores, now: UnixTime) -> Vec<(metrics::Id, u64)> {
        if self.feeds(stores).next().is_none() {
            return Vec::new();
        }
        let wanted = |p: &crate::policy::Provider| match &p.kind {
            ProviderKind::ApiKey(keys) => keys.feed.as_ref().map(|f| f.max_staleness),
            _ => None,
        };
        let policies = self.live.policy.providers.iter().map(wanted);
        let in_force = self.live.feeds.iter().zip(policies).filter(|(id, wanted)| {
            let source = id.and_then(|id| stores.feeds.get(id));
            let view = source.zip(*wanted).map(|(s, w)| s.view(now, w));
            matches!(view, Some(View::InForce(_)))
        });
        let snapshots = || self.feeds(stores).map(FeedSource::snapshot);
        let revisions = snapshots().map(|s| s.map_or(0, Snapshot::revision));
        let keys = snapshots().flatten().map(|s| s.keys.len() as u64);
        let ages = self.feeds(stores).map(|f| f.age(now).as_secs());
        let uses = self.feeds(stores).filter_map(FeedSource::uses);
        let open = uses.filter_map(|u| Some(u.try_borrow().ok()?.len() as u64));
        vec![
            (metrics::Id::FeedInForce, in_force.count() as u64),
            (metrics::Id::FeedRevision, revisions.min().unwrap_or(0)),
            (metrics::Id::FeedAge, ages.max().unwrap_or(0)),
            (metrics::Id::FeedKeys, keys.sum()),
            (metrics::Id::UsesOpen, open.sum()),
        ]
    }
}

/// Remembers what a callout is for. An earlier one for the same was given up.
fn sent(in_flight: &mut Vec<(CalloutId, Errand)>, id: CalloutId, errand: Errand) -> CalloutId {
    in_flight.retain(|(_, e)| *e != errand);
    in_flight.push((id, errand));
    id
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authenticator")
            .field("config_version", &self.live.policy.version)
            .finish_non_exhaustive()
    }
}

//! What someone else has to be asked about one credential: one question in flight for each, the answers remembered, everything
//! bounded.
//!
//! A provider that can't judge a credential by itself (STS, a verifier, a directory of groups) names what it wants to know by a
//! [`LookupId`] made of the whole credential and of all that shapes the question. It looks the id up, and if nothing is known
//! it asks a [`Question`]; the request then waits until that has ended. What is remembered is what was answered, never
//! what a policy made of it.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::hash::BuildHasher;
use std::rc::Rc;
use std::time::Duration;

use foldhash::quality::FixedState;
use sha2::{Digest, Sha256};

use crate::callout::{Callout, CalloutReply, OVERDUE};
use crate::generations::{Bounds, Generations, Kept};
use crate::identity::Identity;
use crate::limits::Limits;
use crate::provider::aws::CallerIdentity;
use crate::provider::azure::graph::DirectoryGroups;
use crate::reason::Code;
use crate::time::UnixTime;

/// Failures in a row, of whatever credentials, after which an upstream is spared. Fewer happen to a healthy one.
const FAILURES_TO_OPEN: u32 = 5;

/// How long a failed question is not asked again, and an open breaker stays open, at first. Doubles with each failure.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);

/// The longest of these.
const MAX_BACKOFF: Duration = Duration::from_secs(10);

/// Weight of an entry beside its strings.
const ENTRY_BYTES: usize = 256;

/// Whom a provider asks, and how. Two providers with equal scopes share their answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    name: Rc<str>,
    digest: [u8; 32],
}

impl Scope {
    /// `name` is for logs and metrics; `parts` are everything that shapes the question beside the credential.
    pub fn new(name: &str, parts: &[&str]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            // With its length, so that no two lists of parts run together.
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Self {
            name: name.into(),
            digest: hash.finalize().into(),
        }
    }

    /// The name in logs.
    pub const fn name(&self) -> &Rc<str> {
        &self.name
    }

    /// The id of a question about one credential.
    pub fn id(&self, credential: &[u8]) -> LookupId {
        let mut hash = Sha256::new_with_prefix(self.digest);
        hash.update(credential);
        LookupId(hash.finalize().into())
    }

    /// The id of a question about a credential in several parts, or about more than the credential.
    pub fn id_of(&self, parts: &[&str]) -> LookupId {
        let mut hash = Sha256::new_with_prefix(self.digest);
        for part in parts {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        LookupId(hash.finalize().into())
    }
}

/// One question about one credential: SHA-256 over the scope and the whole credential.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LookupId([u8; 32]);

impl fmt::Debug for LookupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LookupId(…)")
    }
}

/// Something to ask, in one callout or several.
pub trait Question: fmt::Debug {
    /// The next request to send.
    fn callout(&self) -> Callout;

    /// Reads what came back.
    fn read(self: Box<Self>, reply: CalloutReply<'_>, now: UnixTime) -> Progress;
}

/// Where a question stands after a reply.
#[derive(Debug)]
pub enum Progress {
    /// There is more to ask.
    Ask(Box<dyn Question>),
    /// Answered. The answer is good until then, and is not remembered longer.
    Found(Finding, UnixTime),
    /// Not answered.
    Failed(Failure),
}

/// Why a question was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The upstream could not be reached, or said that it can't answer now (5xx). Counts against the upstream.
    Unreachable,
    /// The upstream wants less of this. It may mean this caller alone, so it does not count against the upstream.
    Throttled,
    /// It answered something that is no answer.
    Unusable,
}

/// An answer.
#[derive(Clone, Debug)]
pub enum Finding {
    /// AWS STS says who signed.
    Caller(Rc<CallerIdentity>),
    /// A verifier says who it is.
    Identity(Rc<Identity>),
    /// A directory says in which groups the caller is.
    Groups(Rc<DirectoryGroups>),
    /// Whoever was asked refuses the credential, with what it said about why, for the audit log.
    Refused(Code, Option<Rc<str>>),
}

impl Finding {
    fn weight(&self) -> usize {
        ENTRY_BYTES
            + match self {
                Self::Caller(caller) => caller.weight(),
                Self::Identity(identity) => identity.weight(),
                Self::Groups(groups) => groups.weight(),
                Self::Refused(_, detail) => detail.as_deref().map_or(0, str::len),
            }
    }
}

/// What is known about a question.
#[derive(Clone, Debug)]
pub enum Known {
    /// The answer.
    Found(Finding),
    /// It has just failed, and is not asked again before then.
    Failed(UnixTime),
    /// It is being asked.
    Pending,
    /// Nothing.
    Nothing,
}

/// Why a question is not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAsked {
    /// The upstream has failed too often; worth trying then.
    Spared(UnixTime),
    /// As many questions are open as `limits.lookups_in_flight` allows.
    TooMany,
}

#[derive(Clone, Debug)]
struct Remembered {
    id: LookupId,
    /// Of the id.
    hash: u64,
    outcome: Outcome,
    at: UnixTime,
    /// Not given to others any longer, and asked again, from then on.
    until: UnixTime,
}

#[derive(Clone, Debug)]
enum Outcome {
    Found(Finding),
    /// The failures in a row.
    Failed(u32),
}

impl Kept for Remembered {
    fn hash(&self) -> u64 {
        self.hash
    }

    fn is_same(&self, other: &Self) -> bool {
        self.id == other.id
    }

    fn weight(&self) -> usize {
        match &self.outcome {
            Outcome::Found(finding) => finding.weight(),
            Outcome::Failed(_) => ENTRY_BYTES,
        }
    }
}

#[derive(Debug)]
struct Pending {
    /// `None` only while a reply is being read.
    question: Option<Box<dyn Question>>,
    scope: Scope,
    timeout: Duration,
    /// When it was sent, once it was.
    sent_at: Option<UnixTime>,
    /// Earlier failures in a row.
    failures: u32,
    /// Its number among all questions, which an id is not: the same may be asked again later.
    serial: u64,
    /// Replies that were read.
    stage: u32,
    /// Requests that are asking it by themselves.
    waiters: u32,
}

/// A part of a question that one request asks by itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnQuestion {
    id: LookupId,
    serial: u64,
    stage: u32,
}

#[derive(Debug)]
struct Breaker {
    failures: u32,
    retry_at: UnixTime,
    /// One question may go out to try.
    probing: bool,
}

/// A callout that a question wants sent.
#[derive(Debug)]
pub(crate) struct Due {
    pub id: LookupId,
    pub callout: Callout,
    pub scope: Rc<str>,
}

/// The questions and answers of one VM.
#[derive(Debug)]
pub struct Lookups {
    hasher: FixedState,
    remembered: Generations<Remembered>,
    pending: BTreeMap<LookupId, Pending>,
    due: VecDeque<LookupId>,
    breakers: BTreeMap<[u8; 32], Breaker>,
    last_serial: u64,
}

impl Lookups {
    pub(crate) fn new(hasher: &FixedState) -> Self {
        Self {
            hasher: hasher.clone(),
            remembered: Generations::new(),
            pending: BTreeMap::new(),
            due: VecDeque::new(),
            breakers: BTreeMap::new(),
            last_serial: 0,
        }
    }

    /// What is known about a question now. A request that has waited for the answer since `waited_since` is given it even
    /// if it is not good any longer, or was never to be remembered.
    pub fn known(
        &mut self,
        id: &LookupId,
        waited_since: Option<UnixTime>,
        now: UnixTime,
        limits: &Limits,
    ) -> Known {
        if self.pending.contains_key(id) {
            return Known::Pending;
        }
        let Some(Remembered {
            outcome, at, until, ..
        }) = self.remembered(id, limits)
        else {
            return Known::Nothing;
        };
        // An answer from the future is from before the clock was set back, and is good for nobody knows how long.
        if (now >= until || now < at) && waited_since.is_none_or(|since| at < since) {
            return Known::Nothing;
        }
        match outcome {
            Outcome::Found(finding) => Known::Found(finding),
            Outcome::Failed(_) => Known::Failed(until),
        }
    }

    fn remembered(&mut self, id: &LookupId, limits: &Limits) -> Option<Remembered> {
        let hash = self.hasher.hash_one(id);
        self.remembered
            .get(hash, |known| known.id == *id, bounds(limits))
    }

    /// Whether a question is open.
    pub fn is_pending(&self, id: &LookupId) -> bool {
        self.pending.contains_key(id)
    }

    /// How long a request should be ready to wait for an open question.
    pub(crate) fn patience(&self, id: &LookupId) -> Duration {
        self.pending.get(id).map_or(Duration::ZERO, |p| p.timeout)
    }

    /// Opens a question, unless it is open.
    ///
    /// # Errors
    /// [`NotAsked`].
    pub fn ask(
        &mut self,
        id: LookupId,
        scope: &Scope,
        question: Box<dyn Question>,
        now: UnixTime,
        limits: &Limits,
    ) -> Result<(), NotAsked> {
        if self.pending.contains_key(&id) {
            return Ok(());
        }
        if self.pending.len() >= limits.lookups_in_flight {
            return Err(NotAsked::TooMany);
        }
        if let Some(breaker) = self.breakers.get_mut(&scope.digest)
            && breaker.failures >= FAILURES_TO_OPEN
        {
            // One try at a time, and that one is not brought forward by others.
            // Further ahead than any backoff: the clock was set back.
            let spared = now < breaker.retry_at && breaker.retry_at <= now + MAX_BACKOFF;
            if breaker.probing || spared {
                return Err(NotAsked::Spared(breaker.retry_at.max(now + FIRST_BACKOFF)));
            }
            breaker.probing = true;
        }
        let failures = match self.remembered(&id, limits).map(|r| r.outcome) {
            Some(Outcome::Failed(failures)) => failures,
            _ => 0,
        };
        self.last_serial += 1;
        self.pending.insert(
            id,
            Pending {
                serial: self.last_serial,
                stage: 0,
                waiters: 0,
                timeout: question.callout().timeout,
                question: Some(question),
                scope: scope.clone(),
                sent_at: None,
                failures,
            },
        );
        self.due.push_back(id);
        Ok(())
    }

    /// The next callout to send.
    pub(crate) fn poll(&mut self, now: UnixTime, limits: &Limits) -> Option<Due> {
        self.give_up_overdue(now, limits);
        while let Some(id) = self.due.pop_front() {
            if let Some(pending) = self.pending.get_mut(&id)
                // A request may have sent it by itself meanwhile.
                && pending.sent_at.is_none()
                && let Some(question) = &pending.question
            {
                let callout = question.callout();
                pending.sent_at = Some(now);
                pending.timeout = callout.timeout;
                return Some(Due {
                    id,
                    callout,
                    scope: pending.scope.name.clone(),
                });
            }
        }
        None
    }

    /// What became of a callout; whether it was of use.
    pub(crate) fn reply(
        &mut self,
        id: &LookupId,
        reply: CalloutReply<'_>,
        now: UnixTime,
        limits: &Limits,
    ) -> bool {
        let Some(pending) = self.pending.get_mut(id) else {
            return true;
        };
        let Some(question) = pending.question.take() else {
            return true;
        };
        pending.stage = pending.stage.saturating_add(1);
        match question.read(reply, now) {
            Progress::Ask(next) => {
                pending.question = Some(next);
                pending.sent_at = None;
                self.due.push_back(*id);
                true
            }
            Progress::Found(finding, until) => {
                self.end(id, Outcome::Found(finding), until, None, now, limits);
                true
            }
            Progress::Failed(failure) => {
                self.fail(id, failure, now, limits);
                false
            }
        }
    }

    /// The callout of an open question, for one of those who wait to send by itself, and who is asked.
    pub(crate) fn own_callout(
        &mut self,
        id: LookupId,
        now: UnixTime,
    ) -> Option<(OwnQuestion, Callout, Rc<str>)> {
        let pending = self.pending.get_mut(&id)?;
        let callout = pending.question.as_ref()?.callout();
        pending.sent_at = Some(now);
        pending.timeout = callout.timeout;
        pending.waiters = pending.waiters.saturating_add(1);
        let own = OwnQuestion {
            id,
            serial: pending.serial,
            stage: pending.stage,
        };
        Some((own, callout, pending.scope.name.clone()))
    }

    /// What one of those who wait was answered; whether it was of use. Nobody reads it if another was answered sooner.
    pub(crate) fn own_reply(
        &mut self,
        own: OwnQuestion,
        reply: CalloutReply<'_>,
        now: UnixTime,
        limits: &Limits,
    ) -> bool {
        match self.pending.get_mut(&own.id) {
            Some(pending) if pending.serial == own.serial => {
                pending.waiters = pending.waiters.saturating_sub(1);
                pending.stage != own.stage || self.reply(&own.id, reply, now, limits)
            }
            _ => true,
        }
    }

    /// One of those who wait is gone. With the last of them the question goes, and it says nothing about whom it was put to.
    pub(crate) fn own_leave(&mut self, own: OwnQuestion) {
        if let Some(pending) = self.pending.get_mut(&own.id)
            && pending.serial == own.serial
        {
            pending.waiters = pending.waiters.saturating_sub(1);
            if pending.waiters == 0 {
                self.forget(&own.id);
            }
        }
    }

    /// Whoever opened a question can't wait for its answer, and nobody has sent it.
    pub(crate) fn unasked(&mut self, id: &LookupId) {
        let nobody = |p: &Pending| p.waiters == 0 && p.sent_at.is_none();
        if self.pending.get(id).is_some_and(nobody) {
            self.forget(id);
        }
    }

    fn forget(&mut self, id: &LookupId) {
        if let Some(pending) = self.pending.remove(id)
            && let Some(breaker) = self.breakers.get_mut(&pending.scope.digest)
        {
            // The try may have been this one; the next question is one, then.
            breaker.probing = false;
        }
    }

    /// A callout that was sent will not be answered, and not by the upstream's fault: another root context is to send it again.
    pub(crate) fn give_up(&mut self, id: &LookupId) {
        if let Some(pending) = self.pending.get_mut(id)
            && pending.sent_at.take().is_some()
        {
            self.due.push_back(*id);
        }
    }

    fn fail(&mut self, id: &LookupId, failure: Failure, now: UnixTime, limits: &Limits) {
        let failures = self
            .pending
            .get(id)
            .map_or(0, |p| p.failures)
            .saturating_add(1);
        self.end(
            id,
            Outcome::Failed(failures),
            now + backoff(failures),
            Some(failure),
            now,
            limits,
        );
    }

    fn end(
        &mut self,
        id: &LookupId,
        outcome: Outcome,
        until: UnixTime,
        failure: Option<Failure>,
        now: UnixTime,
        limits: &Limits,
    ) {
        let Some(pending) = self.pending.remove(id) else {
            return;
        };
        let scope = pending.scope.digest;
        if failure == Some(Failure::Unreachable) {
            let breaker = self.breakers.entry(scope).or_insert(Breaker {
                failures: 0,
                retry_at: now,
                probing: false,
            });
            breaker.failures = breaker.failures.saturating_add(1);
            breaker.probing = false;
            let beyond = breaker.failures.saturating_sub(FAILURES_TO_OPEN);
            breaker.retry_at = now + backoff(beyond.saturating_add(1));
        } else {
            self.breakers.remove(&scope);
        }
        let remembered = Remembered {
            id: *id,
            hash: self.hasher.hash_one(id),
            outcome,
            at: now,
            until,
        };
        self.remembered.insert(remembered, bounds(limits));
    }

    /// A host that never calls back must not keep a question open for good.
    fn give_up_overdue(&mut self, now: UnixTime, limits: &Limits) {
        let overdue: Vec<LookupId> = self
            .pending
            .iter()
            .filter(|(_, p)| p.sent_at.is_some_and(|at| now > at + p.timeout + OVERDUE))
            .map(|(id, _)| *id)
            .collect();
        for id in overdue {
            self.fail(&id, Failure::Unreachable, now, limits);
        }
    }

    /// How many answers are remembered; `None` where nothing was ever asked.
    pub fn entries(&self) -> Option<usize> {
        (self.last_serial > 0).then(|| self.remembered.len())
    }

    /// How many questions are open.
    pub fn open(&self) -> usize {
        self.pending.len()
    }
}

fn backoff(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    FIRST_BACKOFF
        .saturating_mul(1 << doublings)
        .min(MAX_BACKOFF)
}

fn bounds(limits: &Limits) -> Bounds {
    Bounds {
        entries: limits.lookups,
        bytes: limits.lookup_bytes,
    }
}

#[cfg(test)]
mod tests;

//! `api_key`: keys that are known by their digests, each bound to one agent, workspace, organisation or user.
//!
//! In this order: form and check characters, the record of the id, one digest and a constant-time comparison, validity, and
//! only then what the key may do. Who does not have the secret learns nothing about a key but that it does not get him in;
//! the finer codes go to the audit event.

use std::rc::Rc;
use std::time::Duration;

use crate::apikey::bucket::RateLimit;
use crate::apikey::failures::{Failures, Source};
use crate::apikey::feed::usage::SharedUses;
use crate::apikey::feed::{KeyUse, View};
use crate::apikey::record::{KeyDigest, ScopeKind};
use crate::apikey::table::Entry;
use crate::apikey::{ApiKey, KeyId};
use crate::identity::Identity;
use crate::limits::Limits;
use crate::policy::{AgentFacts, ApiKeyPolicy, Policy};
use crate::reason::Code;
use crate::time::UnixTime;

/// A request as far as a key is concerned.
#[derive(Clone, Copy)]
pub struct Use<'a> {
    /// The agent it is for.
    pub agent: Option<&'a Rc<str>>,
    /// Its method.
    pub method: &'a str,
    /// Where it comes from.
    pub source: Option<Source>,
}

/// What a provider has beside its own records.
#[derive(Debug)]
pub struct Feed<'a> {
    /// What its feed says.
    pub view: View<'a>,
    /// Where uses of the feed's keys are counted.
    pub uses: Option<&'a SharedUses>,
}

/// What the provider says of a key.
#[derive(Debug)]
pub enum KeyAnswer {
    /// No key of this provider's prefixes.
    NotForMe,
    /// Not in force, or not genuine.
    Refused {
        /// Why.
        code: Code,
        /// The record, if there is one.
        id: Option<KeyId>,
        /// When it is worth trying again.
        retry_at: Option<UnixTime>,
        /// To be counted, if the key is genuine.
        used: Option<KeyUse>,
    },
    /// Can be judged once the feed has been read.
    Loading,
    /// Can't be judged, because the feed can't be asked; worth trying again then.
    Unavailable(Code, UnixTime),
    /// Genuine and in force.
    Verified(Proven),
}

/// A key that was proven to be genuine and in force.
#[derive(Debug)]
pub struct Proven {
    /// Who presents it.
    pub identity: Rc<Identity>,
    /// Its record.
    pub id: KeyId,
    /// Why it is not good for this request, if it is not.
    pub forbidden: Option<Code>,
    /// Its rate limit.
    pub rate_limit: Option<RateLimit>,
    /// To be counted.
    pub used: Option<KeyUse>,
}

/// Judges a presented text.
///
/// A key may have two records, one in the configuration and one of the feed. It then has to be good by both, and the configuration says
/// whose it is. Before the feed has been read nobody knows what it has revoked, so no key is judged.
pub fn judge(
    provider: &ApiKeyPolicy,
    policy: &Policy,
    text: &str,
    usage: Use<'_>,
    feed: Option<Feed<'_>>,
    failures: &mut Failures,
    now: UnixTime,
) -> KeyAnswer {
    let Some(prefix) = provider.prefix_of(text) else {
        return KeyAnswer::NotForMe;
    };
    let refused = |code, id, retry_at, used| KeyAnswer::Refused {
        code,
        id,
        retry_at,
        used,
    };
    let Some(key) = ApiKey::parse(text, prefix) else {
        return refused(Code::MalformedKey, None, None, None);
    };
    let uses = feed.as_ref().and_then(|f| f.uses);
    let (snapshot, stale) = match feed.map(|f| f.view) {
        None => (None, None),
        Some(View::InForce(snapshot)) => (Some(snapshot), None),
        Some(View::Stale(snapshot, retry_at)) => (Some(snapshot), Some(retry_at)),
        Some(View::Loading) => return KeyAnswer::Loading,
        Some(View::Unavailable(retry_at)) => {
            return KeyAnswer::Unavailable(Code::FeedUnavailable, retry_at);
        }
    };
    let own = provider.keys.find(&key.id);
    let fed = snapshot.and_then(|s| s.keys.find(&key.id));
    // What the configuration knows and the feed has never heard of does not hang on the feed.
    let unsure = stale.filter(|_| fed.is_some() || own.is_none());
    let limits = &policy.limits;
    let over = over_budget(usage.source, failures, limits, now);
    let pepper = provider.pepper.as_ref();
    let is_genuine = |entry: &Entry<'_>| entry.digest().is_of(&key, pepper);
    let genuine = match (&own, &fed) {
        (None, None) => {
            // The same work as for a known id, so that the time it takes does not tell which ids there are. Not worth it to whoever
            // has guessed too often.
            over.is_none() && KeyDigest::nobodys(pepper).is_of(&key, pepper)
        }
        (Some(one), None) | (None, Some(one)) => is_genuine(one),
        // Both, whatever the first one says: for the same reason.
        (Some(own), Some(fed)) => is_genuine(own) & is_genuine(fed),
    };
    let (Some(entry), true) = (own.or(fed), genuine) else {
        if let Some(retry_at) = unsure {
            return KeyAnswer::Unavailable(Code::FeedStale, retry_at);
        }
        let id = own.or(fed).map(|e| e.id());
        if fed.is_some_and(|e| e.is_unreadable()) {
            return refused(Code::UnreadableKey, id, None, None);
        }
        if let Some(source) = usage.source {
            failures.count(source, limits.key_failure_sources, now);
        }
        return match over {
            Some(wait) => refused(Code::TooManyFailures, id, Some(now + wait), None),
            None if id.is_some() => refused(Code::WrongKey, id, None, None),
            None => refused(Code::UnknownKey, id, None, None),
        };
    };
    let described = |agent: &Rc<str>| {
        let own = policy.agents.get(agent);
        own.or_else(|| snapshot.filter(|_| stale.is_none())?.agents.get(agent))
    };
    let facts = usage.agent.and_then(described);
    let used = uses.filter(|_| fed.is_some()).map(|log| KeyUse {
        log: log.clone(),
        key: key.id,
        // No name that somebody made up.
        agent: usage
            .agent
            .filter(|agent| facts.is_some() || entry.scope() == (ScopeKind::Agent, &***agent))
            .cloned(),
        at: now,
    });
    for entry in [own, fed].iter().flatten() {
        if let Err(code) = entry.in_force(now, provider.max_ttl) {
            return refused(code, Some(key.id), None, used);
        }
    }
    // It may have been revoked since. And where nobody but the feed knows whose the agent is, nobody knows.
    let unsure =
        unsure.or_else(|| stale.filter(|_| facts.is_none() && entry.scope().0 != ScopeKind::Agent));
    if let Some(retry_at) = unsure {
        return KeyAnswer::Unavailable(Code::FeedStale, retry_at);
    }
    let forbidden = [own, fed]
        .iter()
        .flatten()
        .find_map(|e| forbidden(e, usage, facts));
    KeyAnswer::Verified(Proven {
        identity: Rc::new(identity(&entry, facts.filter(|_| forbidden.is_none()))),
        id: key.id,
        forbidden,
        rate_limit: entry.rate_limit().or_else(|| fed?.rate_limit()),
        used,
    })
}

fn over_budget(
    source: Option<Source>,
    failures: &mut Failures,
    limits: &Limits,
    now: UnixTime,
) -> Option<Duration> {
    let budget = u32::try_from(limits.key_failures).unwrap_or(u32::MAX);
    if budget == 0 {
        return None;
    }
    failures.exhausted(source?, budget, now)
}

/// Why a key is not good for a request, if it is not.
fn forbidden(entry: &Entry<'_>, usage: Use<'_>, facts: Option<&AgentFacts>) -> Option<Code> {
    match usage.agent {
        None => Some(Code::UnknownAgent),
        Some(agent) if !covers(entry, agent, facts) => Some(Code::ForbiddenAgent),
        Some(_) if !entry.allows_method(usage.method) => Some(Code::MethodNotAllowed),
        Some(_) => None,
    }
}

/// Whether the key is good for this agent. An agent that nobody has described belongs to nobody.
fn covers(entry: &Entry<'_>, agent: &str, facts: Option<&AgentFacts>) -> bool {
    let (kind, name) = entry.scope();
    let of = |fact: Option<&String>| fact.is_some_and(|f| f == name);
    match kind {
        ScopeKind::Agent => name == agent,
        ScopeKind::Workspace => of(facts.and_then(|f| f.workspace.as_ref())),
        ScopeKind::Org => of(facts.and_then(|f| f.org.as_ref())),
        ScopeKind::User => of(facts.and_then(|f| f.owner.as_ref())),
    }
}

/// The user of a service-account token, else the key's owner, else the key itself.
fn identity(entry: &Entry<'_>, facts: Option<&AgentFacts>) -> Identity {
    let (kind, name) = entry.scope();
    let only = |wanted| (kind == wanted).then_some(name);
    let fact = |fact: Option<&str>| fact.map(Rc::from);
    Identity {
        user_id: only(ScopeKind::User)
            .or(entry.owner())
            .map_or_else(|| format!("key:{}", entry.id()).into(), Rc::from),
        email: None,
        org_id: fact(only(ScopeKind::Org).or(facts.and_then(|f| f.org.as_deref()))),
        workspace_id: fact(
            only(ScopeKind::Workspace).or(facts.and_then(|f| f.workspace.as_deref())),
        ),
        groups: Vec::new(),
    }
}

//! `api_key`: keys that are known by their digests, each bound to one agent, workspace, organisation or user.
//!
//! In this order: form and check characters, the record of the id, one digest and a constant-time comparison, validity, and
//! only then what the key may do. Who does not have the secret learns nothing about a key but that it does not get him in;
//! the finer codes go to the audit event.

use std::rc::Rc;
use std::time::Duration;

use crate::apikey::bucket::RateLimit;
use crate::apikey::failures::{Failures, Source};
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
    },
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
}

/// Judges a presented text.
pub fn judge(
    provider: &ApiKeyPolicy,
    policy: &Policy,
    text: &str,
    usage: Use<'_>,
    failures: &mut Failures,
    now: UnixTime,
) -> KeyAnswer {
    let refused = |code, id, retry_at| KeyAnswer::Refused { code, id, retry_at };
    let Some(prefix) = provider.prefix_of(text) else {
        return KeyAnswer::NotForMe;
    };
    let Some(key) = ApiKey::parse(text, prefix) else {
        return refused(Code::MalformedKey, None, None);
    };
    let limits = &policy.limits;
    let over = over_budget(usage.source, failures, limits, now);
    let pepper = provider.pepper.as_ref();
    let entry = provider.keys.find(&key.id);
    let genuine = match &entry {
        Some(entry) => entry.digest().is_of(&key, pepper),
        // Not worth a digest to whoever has guessed too often.
        None if over.is_some() => false,
        // The same work as for a known id, so that the time it takes does not tell which ids there are.
        None => KeyDigest::nobodys(pepper).is_of(&key, pepper),
    };
    let (Some(entry), true) = (entry, genuine) else {
        if let Some(source) = usage.source {
            failures.count(source, limits.key_failure_sources, now);
        }
        let id = entry.map(|e| e.id());
        return match over {
            Some(wait) => refused(Code::TooManyFailures, id, Some(now + wait)),
            None if id.is_some() => refused(Code::WrongKey, id, None),
            None => refused(Code::UnknownKey, id, None),
        };
    };
    if let Err(code) = entry.in_force(now, provider.max_ttl) {
        return refused(code, Some(entry.id()), None);
    }
    KeyAnswer::Verified(proven(&entry, policy, usage))
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

fn proven(entry: &Entry<'_>, policy: &Policy, usage: Use<'_>) -> Proven {
    let facts = usage.agent.and_then(|agent| policy.agents.get(agent));
    let forbidden = match usage.agent {
        None => Some(Code::UnknownAgent),
        Some(agent) if !covers(entry, agent, facts) => Some(Code::ForbiddenAgent),
        Some(_) if !entry.allows_method(usage.method) => Some(Code::MethodNotAllowed),
        Some(_) => None,
    };
    Proven {
        identity: Rc::new(identity(entry, facts.filter(|_| forbidden.is_none()))),
        id: entry.id(),
        forbidden,
        rate_limit: entry.rate_limit(),
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

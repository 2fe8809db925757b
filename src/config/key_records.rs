//! Records of API keys: read one by one into a compact table, because there may be a hundred thousand of them.

use serde_json::Value;

use super::agent::AgentFactsConfig;
use super::error::{ConfigErrors, Problem};
use super::json;
use super::read::{Errors, Many, Path, Read, Span, no_choice, object, wrong_type};
use crate::agent::is_agent_name;
use crate::apikey::bucket::RateLimit;
use crate::apikey::record::{KeyDigest, Record, ScopeKind};
use crate::apikey::{KeyId, KeyTable};
use crate::policy::AgentFacts;

/// Errors of one list that are worth reading.
const MAX_ERRORS: usize = 100;

/// The last second of the year 9999. What lies beyond was written in milliseconds.
const LAST_SECOND: u64 = 253_402_300_799;

/// The longest name; it goes into headers and audit events.
const MAX_NAME: usize = 256;

object! {
    /// One key. Only its digest is kept; `portcullis key create` makes both.
    pub struct KeyRecord {
        /// The 12 characters after the key's prefix.
        #[cfg_attr(feature = "schema", schemars(required))]
        id: String,
        /// `sha256:` or `hmac-sha256:` and 64 hexadecimal digits, of the whole key.
        #[cfg_attr(feature = "schema", schemars(required))]
        hash: String,
        /// What the key is good for: exactly one of the keys.
        #[cfg_attr(feature = "schema", schemars(required))]
        scope: KeyScope,
        /// For people.
        name: String,
        /// Who answers for the key; `user-id` of whoever presents it, unless the scope is a user.
        owner: String,
        /// When it was made, in seconds since 1970. Needed where `max_ttl` is set.
        created_at: Seconds,
        /// Not valid before.
        not_before: Seconds,
        /// Not valid from then on: seconds since 1970, or `never`.
        #[cfg_attr(feature = "schema", schemars(required))]
        expires_at: Expiry,
        /// Rotated: not valid from then on.
        grace_until: Seconds,
        /// Revoked. The key is refused whatever time stands here.
        revoked_at: Seconds,
        /// For people.
        revoked_reason: String,
        /// The id of the key that this one came in place of.
        replaces: String,
        /// How many requests the key may make.
        rate_limit: KeyRateLimit,
        /// The methods it may be used with, in capitals. Absent: all.
        methods: Many<String>,
    }
}

object! {
    /// What a key is good for: exactly one of these. All but `agent` need the top-level `agents`.
    pub struct KeyScope {
        /// This agent.
        agent: String,
        /// The agents of this workspace.
        workspace: String,
        /// The agents of this organisation.
        org: String,
        /// The agents that this user owns: a service-account token.
        user: String,
    }
}

object! {
    /// A token bucket, shared by all workers of the proxy.
    pub struct KeyRateLimit {
        /// Requests in each `per`: 1 to 1000000.
        #[cfg_attr(feature = "schema", schemars(required))]
        requests: u64,
        /// What they are counted over: `1s` to `1d`.
        #[cfg_attr(feature = "schema", schemars(required))]
        per: Span,
        /// Requests that may come at once: 1 to 1000000. Absent: as many as `requests`.
        burst: u64,
    }
}

/// Seconds since 1970.
#[derive(Clone, Copy, Debug)]
pub struct Seconds(pub u64);

impl Read for Seconds {
    const EXPECTED: &'static str = "seconds since 1970";
    fn read(value: &Value, at: &Path<'_>, errors: &mut Errors) -> Option<Self> {
        if !value.is_number() {
            return wrong_type(value, at, errors);
        }
        match u64::read(value, at, errors)? {
            seconds if seconds <= LAST_SECOND => Some(Self(seconds)),
            _ => {
                errors.push(at, Problem::Milliseconds);
                None
            }
        }
    }
}

/// When a key ends.
#[derive(Clone, Copy, Debug)]
pub enum Expiry {
    /// Then.
    At(Seconds),
    /// Not at all.
    Never,
}

impl Read for Expiry {
    const EXPECTED: &'static str = "seconds since 1970, or `never`";
    fn read(value: &Value, at: &Path<'_>, errors: &mut Errors) -> Option<Self> {
        match value {
            Value::Number(_) => Seconds::read(value, at, errors).map(Self::At),
            Value::String(word) if word == "never" => Some(Self::Never),
            Value::String(word) => {
                no_choice(word, &["never"], at, errors);
                None
            }
            other => wrong_type(other, at, errors),
        }
    }
}

/// All records of a provider.
#[derive(Clone, Debug, Default)]
pub struct KeyList {
    /// What requests are judged by.
    pub table: std::rc::Rc<KeyTable>,
    /// How many never expire, and the first of them.
    pub(super) endless: Option<(usize, KeyId)>,
}

impl Read for KeyList {
    const EXPECTED: &'static str = "a list of key records";
    fn read(value: &Value, at: &Path<'_>, errors: &mut Errors) -> Option<Self> {
        // `json` leaves this list unread.
        let Value::String(text) = value else {
            return wrong_type(value, at, errors);
        };
        let mut table = KeyTable::new();
        let mut endless = None;
        let before = errors.len();
        let all = json::each::<Self>(text, at, errors, &mut |value, at, errors| {
            if let Some(record) = record(&value, at, errors) {
                if record.expires_at.is_none() && !record.revoked {
                    let (count, first) = endless.unwrap_or((0, record.id));
                    endless = Some((count + 1, first));
                }
                table.push(&record);
            }
            errors.len() - before < MAX_ERRORS
        });
        if let Err(id) = table.seal() {
            let id = id.to_string();
            errors.push(at, Problem::DuplicateKeyId { id });
        }
        let table = table.into();
        all.then_some(Self { table, endless })
    }
}

/// Reads one record by itself: JSON text, as a feed sends it.
///
/// # Errors
/// Everything that is wrong with it.
pub(crate) fn read_record(text: &str) -> Result<Record, ConfigErrors> {
    read_alone(text, record)
}

/// Reads who an agent belongs to, by itself: JSON text, as a feed sends it.
///
/// # Errors
/// Everything that is wrong with it.
pub(crate) fn read_agent(text: &str) -> Result<AgentFacts, ConfigErrors> {
    read_alone(text, |value, at, errors| {
        let facts = AgentFactsConfig::read(value, at, errors)?;
        Some(agent_facts(&facts, at, errors))
    })
}

/// One place for lists and single records: fourteen members are a good deal of code.
#[inline(never)]
fn record(value: &Value, at: &Path<'_>, errors: &mut Errors) -> Option<Record> {
    KeyRecord::read(value, at, errors)?.check(at, errors)
}

fn read_alone<T>(
    text: &str,
    read: impl FnOnce(&Value, &Path<'_>, &mut Errors) -> Option<T>,
) -> Result<T, ConfigErrors> {
    let mut errors = Errors::default();
    let read = json::parse(text.as_bytes(), &mut errors)
        .and_then(|value| read(&value, &Path::ROOT, &mut errors));
    match read {
        Some(value) if errors.is_empty() => Ok(value),
        _ => Err(ConfigErrors(errors.into_vec())),
    }
}

/// Who an agent belongs to, as it is written.
pub(super) fn agent_facts(
    facts: &AgentFactsConfig,
    at: &Path<'_>,
    errors: &mut Errors,
) -> AgentFacts {
    for (key, text) in [
        ("owner", &facts.owner),
        ("workspace", &facts.workspace),
        ("org", &facts.org),
    ] {
        if let Some(text) = text {
            name(text, &at.key(key), errors);
        }
    }
    AgentFacts {
        owner: facts.owner.clone(),
        workspace: facts.workspace.clone(),
        org: facts.org.clone(),
    }
}

impl KeyRecord {
    /// The record, if it makes sense.
    fn check(&self, at: &Path<'_>, errors: &mut Errors) -> Option<Record> {
        let id = checked(self.id.as_ref(), &at.key("id"), errors, |id| {
            KeyId::parse(id).ok_or(Problem::BadKeyId)
        });
        let digest = checked(self.hash.as_ref(), &at.key("hash"), errors, |hash| {
            KeyDigest::parse(hash).ok_or(Problem::BadKeyDigest)
        });
        let scope = match &self.scope {
            Some(scope) => scope.check(&at.key("scope"), errors),
            None => {
                errors.push_after(&at.key("scope"), Problem::Missing);
                None
            }
        };
        for (key, text) in [("name", &self.name), ("owner", &self.owner)] {
            if let Some(text) = text {
                name(text, &at.key(key), errors);
            }
        }
        if self.expires_at.is_none() {
            errors.push_after(&at.key("expires_at"), Problem::NoExpiry);
        }
        let rate_limit = self
            .rate_limit
            .as_ref()
            .map(|limit| limit.check(&at.key("rate_limit"), errors));
        if let Some(Many(methods)) = &self.methods {
            let at = at.key("methods");
            if methods.is_empty() {
                errors.push_after(&at, Problem::EmptyList);
            }
            for (i, method) in methods.iter().enumerate() {
                if !method.bytes().all(|b| b.is_ascii_uppercase() || b == b'-') {
                    errors.push(&at.index(i), Problem::BadMethod);
                }
            }
        }
        let (scope, scope_name) = scope?;
        let seconds = |s: Option<Seconds>| s.map(|s| s.0);
        Some(Record {
            id: id?,
            digest: digest?,
            scope,
            scope_name,
            owner: self.owner.clone(),
            born: seconds(self.created_at.or(self.not_before)).unwrap_or(0),
            not_before: seconds(self.not_before).unwrap_or(0),
            expires_at: match self.expires_at? {
                Expiry::At(Seconds(at)) => Some(at),
                Expiry::Never => None,
            },
            grace_until: seconds(self.grace_until),
            revoked: self.revoked_at.is_some(),
            rate_limit: match rate_limit {
                None => None,
                Some(limit) => Some(limit?),
            },
            methods: self.methods.as_ref().map(|m| m.0.clone()),
        })
    }
}

impl KeyScope {
    fn check(&self, at: &Path<'_>, errors: &mut Errors) -> Option<(ScopeKind, String)> {
        let written = [
            (ScopeKind::Agent, &self.agent),
            (ScopeKind::Workspace, &self.workspace),
            (ScopeKind::Org, &self.org),
            (ScopeKind::User, &self.user),
        ];
        let mut given = written
            .into_iter()
            .filter_map(|(kind, text)| Some((kind, text.as_ref()?)));
        let (Some((kind, text)), None) = (given.next(), given.next()) else {
            let keys = &["agent", "workspace", "org", "user"];
            errors.push_after(at, Problem::NotExactlyOneOf { keys });
            return None;
        };
        let at = at.key(kind.as_str());
        if kind == ScopeKind::Agent && !is_agent_name(text) {
            errors.push(&at, Problem::BadAgentName);
            return None;
        }
        name(text, &at, errors)?;
        Some((kind, text.clone()))
    }
}

impl KeyRateLimit {
    fn check(&self, at: &Path<'_>, errors: &mut Errors) -> Option<RateLimit> {
        const MILLION: u64 = 1_000_000;
        const DAY_MS: u128 = 86_400_000;
        let mut number = |value: Option<u64>, key: &'static str| {
            if value.is_some_and(|n| !(1..=MILLION).contains(&n)) {
                let (min, max) = ("1".to_owned(), MILLION.to_string());
                errors.push(&at.key(key), Problem::OutOfRange { min, max });
            }
            value
        };
        let requests = number(self.requests, "requests");
        let burst = number(self.burst, "burst");
        let per = self.per.map(|s| s.0);
        if per.is_some_and(|p| !(1000..=DAY_MS).contains(&p.as_millis())) {
            let (min, max) = ("1s".to_owned(), "1d".to_owned());
            errors.push(&at.key("per"), Problem::OutOfRange { min, max });
        }
        for (key, missing) in [("requests", requests.is_none()), ("per", per.is_none())] {
            if missing {
                errors.push_after(&at.key(key), Problem::Missing);
            }
        }
        RateLimit::new(requests?, per?, burst.or(requests)?)
    }
}

fn checked<T>(
    text: Option<&String>,
    at: &Path<'_>,
    errors: &mut Errors,
    read: impl FnOnce(&str) -> Result<T, Problem>,
) -> Option<T> {
    let Some(text) = text else {
        errors.push_after(at, Problem::Missing);
        return None;
    };
    read(text).map_err(|problem| errors.push(at, problem)).ok()
}

/// What can stand in a header: anything but control characters.
fn name(text: &str, at: &Path<'_>, errors: &mut Errors) -> Option<()> {
    let fine = text.len() <= MAX_NAME && text.trim() == text && !text.chars().any(char::is_control);
    if !fine {
        errors.push(at, Problem::BadText);
    }
    fine.then_some(())
}

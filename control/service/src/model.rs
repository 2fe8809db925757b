//! What the service speaks of: agents, keys, tokens, as the API and the page show them.

use portcullis_core::apikey::record::ScopeKind;
use portcullis_core::config::Span;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::state::{Moments, State};

/// An agent: what keys are good for.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Agent {
    /// Its name in the proxy's routes: `[A-Za-z0-9._~-]{1,128}`.
    #[schema(example = "orders")]
    pub name: String,
    /// The person who answers for it; their service-account tokens are good for it.
    #[schema(example = "alice@example.com")]
    pub owner: Option<String>,
    /// The workspace it belongs to.
    pub workspace: Option<String>,
    /// The organisation it belongs to.
    pub org: Option<String>,
    /// For people.
    pub description: String,
    /// Seconds since 1970.
    pub created_at: i64,
    /// Who registered it.
    pub created_by: String,
}

/// What a key is good for: exactly one of these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// This agent.
    Agent(String),
    /// The agents of this workspace.
    Workspace(String),
    /// The agents of this organisation.
    Org(String),
    /// The agents that this user owns: a service-account token.
    User(String),
}

impl Scope {
    /// Which of the four.
    pub const fn kind(&self) -> ScopeKind {
        match self {
            Self::Agent(_) => ScopeKind::Agent,
            Self::Workspace(_) => ScopeKind::Workspace,
            Self::Org(_) => ScopeKind::Org,
            Self::User(_) => ScopeKind::User,
        }
    }

    /// The agent's, workspace's, organisation's or user's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Agent(name) | Self::Workspace(name) | Self::Org(name) | Self::User(name) => name,
        }
    }

    /// From its two parts.
    pub fn new(kind: &str, name: &str) -> Option<Self> {
        let name = name.to_owned();
        Some(match kind {
            "agent" => Self::Agent(name),
            "workspace" => Self::Workspace(name),
            "org" => Self::Org(name),
            "user" => Self::User(name),
            _ => return None,
        })
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.kind().as_str(), self.name())
    }
}

/// How many requests a key may make, on each proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// Requests in each `per`.
    #[schema(example = 600)]
    pub requests: i64,
    /// What they are counted over: `1s` to `1d`.
    #[schema(example = "1m")]
    pub per: String,
    /// Requests that may come at once. Absent: as many as `requests`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<i64>,
}

impl RateLimit {
    /// `600/1m`, or `600/1m:60`; as `portcullis key create --rate` reads it.
    pub fn parse(text: &str) -> Option<Self> {
        let (requests, rest) = text.trim().split_once('/')?;
        let (per, burst) = match rest.split_once(':') {
            Some((per, burst)) => (per, Some(burst.trim().parse().ok()?)),
            None => (rest, None),
        };
        Some(Self {
            requests: requests.trim().parse().ok()?,
            per: Span::parse(per.trim())?.to_string(),
            burst,
        })
    }
}

impl std::fmt::Display for RateLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.requests, self.per)?;
        self.burst.map_or(Ok(()), |burst| write!(f, ":{burst}"))
    }
}

/// A key, without its secret, which nobody has but whoever made it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Key {
    /// The 12 characters after the prefix; not secret.
    #[schema(example = "Ab3dEf6hIj9k")]
    pub id: String,
    /// `gak`, or `gsa` for a service-account token, unless configured otherwise.
    pub prefix: String,
    /// What it is good for.
    pub scope: Scope,
    /// For people.
    pub name: String,
    /// Who answers for it; the agent sees it as `x-auth-user-id`.
    pub owner: String,
    /// Where it stands now.
    pub state: State,
    /// Seconds since 1970.
    pub created_at: i64,
    /// Who made it.
    pub created_by: String,
    /// Not valid before, in seconds since 1970.
    pub not_before: Option<i64>,
    /// Not valid from then on, in seconds since 1970; null: never expires.
    pub expires_at: Option<i64>,
    /// Rotated: not valid from then on.
    pub grace_until: Option<i64>,
    /// When it was revoked.
    pub revoked_at: Option<i64>,
    /// By whom.
    pub revoked_by: Option<String>,
    /// Why.
    pub revoked_reason: Option<String>,
    /// The key it came in place of.
    pub replaces: Option<String>,
    /// The key that came in its place.
    pub replaced_by: Option<String>,
    /// Its rate limit.
    pub rate_limit: Option<RateLimit>,
    /// The methods it may be used with. Null: all.
    pub methods: Option<Vec<String>>,
    /// The minute of its last use that a filter has told of.
    pub last_used_at: Option<i64>,
    #[serde(skip)]
    pub(crate) hash: String,
    #[serde(skip)]
    pub(crate) revision: i64,
}

impl Key {
    /// Where it stands then.
    pub fn state_at(&self, now: i64) -> State {
        let moments = Moments {
            revoked: self.revoked_at.is_some(),
            not_before: self.not_before,
            expires_at: self.expires_at,
            grace_until: self.grace_until,
        };
        State::at(now, &moments)
    }

    /// The record as filters read it: design section 5.
    pub(crate) fn record(&self) -> FeedRecord<'_> {
        FeedRecord {
            id: &self.id,
            hash: &self.hash,
            scope: &self.scope,
            name: (!self.name.is_empty()).then_some(self.name.as_str()),
            owner: (!self.owner.is_empty()).then_some(self.owner.as_str()),
            created_at: self.created_at,
            not_before: self.not_before,
            expires_at: self.expires_at.map_or(Expiry::Never("never"), Expiry::At),
            grace_until: self.grace_until,
            revoked_at: self.revoked_at,
            replaces: self.replaces.as_deref(),
            rate_limit: self.rate_limit.as_ref(),
            methods: self.methods.as_deref(),
        }
    }
}

/// A record of the feed. What only people read (reasons, who made it) stays here.
#[derive(Serialize)]
pub(crate) struct FeedRecord<'k> {
    id: &'k str,
    hash: &'k str,
    scope: &'k Scope,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'k str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<&'k str>,
    created_at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_before: Option<i64>,
    expires_at: Expiry,
    #[serde(skip_serializing_if = "Option::is_none")]
    grace_until: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replaces: Option<&'k str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_limit: Option<&'k RateLimit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    methods: Option<&'k [String]>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Expiry {
    At(i64),
    Never(&'static str),
}

/// A management token, without its secret.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Token {
    /// Not secret.
    pub id: String,
    /// `api`: acts as its person. `fleet`: follows the feed and reports usage, and nothing else.
    pub kind: TokenKind,
    /// Whose it is.
    pub person: String,
    /// For people.
    pub name: String,
    /// May look, and change nothing.
    pub read_only: bool,
    /// Seconds since 1970.
    pub created_at: i64,
    /// Who made it.
    pub created_by: String,
    /// Not valid from then on; null: never expires.
    pub expires_at: Option<i64>,
    /// When it was revoked.
    pub revoked_at: Option<i64>,
}

/// What a management token is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TokenKind {
    /// The API, as its person.
    Api,
    /// The feed and usage, for proxies.
    Fleet,
}

impl TokenKind {
    /// What such a token begins with.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Api => "gapi",
            Self::Fleet => "gfleet",
        }
    }

    /// As it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Fleet => "fleet",
        }
    }
}

/// Someone who may sign in.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Person {
    /// As the identity provider names them: an e-mail address as a rule.
    pub id: String,
    /// May do everything.
    pub admin: bool,
    /// The workspaces that they administer by a grant made here; those of their groups are not listed.
    pub workspaces: Vec<String>,
    /// Seconds since 1970.
    pub created_at: i64,
    /// When they last signed in.
    pub last_seen_at: Option<i64>,
    /// Since when they may not.
    pub disabled_at: Option<i64>,
}

/// A proxy that follows the feed.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Follower {
    /// As it names itself: the proxy's node and worker.
    pub instance: String,
    /// The version of its policy.
    pub config_version: String,
    /// The history that it follows.
    pub epoch: String,
    /// How far it has come.
    pub revision: i64,
    /// Whether it has everything there is.
    pub up_to_date: bool,
    /// From where it asks.
    pub remote_addr: String,
    /// The fleet token it asks with.
    pub token_id: String,
    /// Seconds since 1970.
    pub first_contact: i64,
    /// Seconds since 1970.
    pub last_contact: i64,
}

/// One act of management.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AuditEntry {
    /// Counts up without gaps.
    pub seq: i64,
    /// Seconds since 1970.
    pub at: i64,
    /// Who.
    pub actor: String,
    /// How they proved it.
    pub via: String,
    /// From where.
    pub remote_addr: String,
    /// What.
    #[schema(example = "key.revoke")]
    pub action: String,
    /// To what: `key:<id>`, `agent:<name>` …
    pub target: String,
    /// The agent that it concerns.
    pub agent: Option<String>,
    /// The workspace that it concerns.
    pub workspace: Option<String>,
    /// What else there is to know; never a secret.
    #[schema(value_type = Object)]
    pub details: serde_json::Value,
}

/// Calls in a span of time.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct UsagePoint {
    /// When it begins, in seconds since 1970.
    pub start: i64,
    /// Requests let in.
    pub allowed: i64,
    /// Requests refused.
    pub refused: i64,
}

//! The life of a key: made, rotated, revoked.

use portcullis_core::apikey::record::KeyDigest;
use portcullis_core::config::{self, Span};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::{Answer, Done, Idempotency, MAX_NAME, Manage, plain, remember, replay};
use crate::access::Principal;
use crate::model::{Agent, Key, RateLimit, Scope};
use crate::problem::{Fault, Problem};
use crate::secret;
use crate::state::State;
use crate::store::Write;
use crate::store::audit::Act;
use crate::store::keys::KeyChange;

/// A key to be.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyDraft {
    /// What it shall be good for: exactly one of `agent`, `workspace`, `org`, `user`. With `user` it is a service-account token.
    pub scope: Scope,
    /// For people.
    #[schema(example = "nightly")]
    #[serde(default)]
    pub name: String,
    /// Who answers for it. Absent: who makes it.
    pub owner: Option<String>,
    /// When it ends: a span (`90d`), a time (`2027-01-31T00:00:00Z`), seconds since 1970, or `never`. Absent: `90d`.
    #[schema(example = "90d")]
    pub expires: Option<String>,
    /// When it begins, likewise.
    pub not_before: Option<String>,
    /// Its rate limit on each proxy.
    pub rate_limit: Option<RateLimit>,
    /// The methods it may be used with. Absent: all.
    #[serde(default)]
    pub methods: Vec<String>,
}

/// How to rotate.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateDraft {
    /// How long the old key goes on working. Absent: `24h`.
    #[schema(example = "24h")]
    pub grace: Option<String>,
    /// When the new key ends. Absent: it lives as long from now on as the old one was to live.
    pub expires: Option<String>,
}

/// A new key and its record.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct MadeKey {
    /// The key itself. It is shown this once, and stored nowhere.
    #[schema(example = "gak_Ab3dEf6hIj9k_…")]
    pub key: String,
    /// Its record.
    pub record: Key,
}

/// What was revoked.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Revoked {
    /// How many keys.
    pub revoked: usize,
    /// Their ids.
    pub ids: Vec<String>,
}

const DEFAULT_LIFE: &str = "90d";
const DEFAULT_GRACE: &str = "24h";

impl Manage {
    /// The key, if the principal may see it.
    pub async fn key(&self, by: &Principal, id: &str) -> Done<Key> {
        let key = self
            .store
            .key(id_of(id))
            .await?
            .ok_or(Problem::NotFound("key"))?;
        let agent = match &key.scope {
            Scope::Agent(name) => self.store.agent(name).await?,
            _ => None,
        };
        if by.manages_scope(&key.scope, agent.as_ref()) {
            Ok(key)
        } else {
            Err(Problem::NotFound("key"))
        }
    }

    /// Makes a key. Its secret is in the answer and nowhere else.
    pub async fn create_key(
        &self,
        by: &Principal,
        draft: &KeyDraft,
        idempotency: Option<&Idempotency>,
    ) -> Done<Answer<MadeKey>> {
        let mut write = self.begin(by).await?;
        if let Some(answer) = replay(&mut write, by, idempotency).await? {
            return Ok(Answer::Again(answer));
        }
        let agent = self.may_make(&mut write, by, &draft.scope).await?;
        let mut faults = Vec::new();
        let now = write.now;
        let expires_at = self.end(
            draft.expires.as_deref().unwrap_or(DEFAULT_LIFE),
            now,
            &mut faults,
        );
        let not_before = draft
            .not_before
            .as_deref()
            .map(str::trim)
            .filter(|t| !t.is_empty());
        let not_before = match not_before.map(|text| moment(text, now)) {
            None => None,
            Some(Some(Some(at))) => Some(at),
            Some(_) => {
                faults.push(Fault::new(
                    "not_before",
                    "write a time such as 12h or 2027-01-31T00:00:00Z",
                ));
                None
            }
        };
        let owner = plain("owner", draft.owner.as_deref(), MAX_NAME, &mut faults)
            .unwrap_or_else(|| by.person.clone());
        // A key says who calls. In another's name it may be made by those who have power over them.
        if owner != by.person && !self.speaks_for(by, &draft.scope, agent.as_ref()) {
            faults.push(Fault::new(
                "owner",
                "an owner of an agent makes keys in their own name only",
            ));
        }
        let methods: Vec<String> = draft
            .methods
            .iter()
            .map(|m| m.trim().to_ascii_uppercase())
            .filter(|m| !m.is_empty())
            .collect();
        let key = Key {
            id: String::new(),
            prefix: String::new(),
            scope: draft.scope.clone(),
            name: plain("name", Some(&draft.name), MAX_NAME, &mut faults).unwrap_or_default(),
            owner,
            state: State::Active,
            created_at: now,
            created_by: by.person.clone(),
            not_before,
            expires_at,
            grace_until: None,
            revoked_at: None,
            revoked_by: None,
            revoked_reason: None,
            replaces: None,
            replaced_by: None,
            rate_limit: draft.rate_limit.clone(),
            methods: (!methods.is_empty()).then_some(methods),
            last_used_at: None,
            hash: String::new(),
            revision: 0,
        };
        let made = self.make(&mut write, key, faults).await?;
        write.insert_key(&made.record).await?;
        let details = json!({
            "scope": made.record.scope, "name": made.record.name, "owner": made.record.owner,
            "expires_at": made.record.expires_at, "rate_limit": made.record.rate_limit, "methods": made.record.methods,
        });
        write
            .audit(&act("key.create", &made.record, agent.as_ref()).details(details))
            .await?;
        remember(&mut write, by, idempotency, &json!({"record": made.record})).await?;
        write.commit().await?;
        Ok(Answer::New(made))
    }

    /// Makes a key in place of one, which goes on working for a grace.
    pub async fn rotate_key(
        &self,
        by: &Principal,
        id: &str,
        draft: &RotateDraft,
        idempotency: Option<&Idempotency>,
    ) -> Done<Answer<MadeKey>> {
        let mut write = self.begin(by).await?;
        if let Some(answer) = replay(&mut write, by, idempotency).await? {
            return Ok(Answer::Again(answer));
        }
        let (old, agent) = self.key_to_change(&mut write, by, id).await?;
        // Whoever has the new secret calls in its owner's name, as with a new key.
        if old.owner != by.person && !self.speaks_for(by, &old.scope, agent.as_ref()) {
            return Err(Problem::Forbidden(
                "a key in another's name is rotated by them, or by an admin of the workspace",
            ));
        }
        if !old.state.is_live() {
            let state = old.state.words();
            return Err(Problem::Conflict(format!(
                "this key is {state}, so there is nothing to go on with; make a new one"
            )));
        }
        if let Some(other) = &old.replaced_by {
            return Err(Problem::Conflict(format!(
                "this key was rotated already; {other} came in its place"
            )));
        }
        let (now, mut faults) = (write.now, Vec::new());
        let grace = draft
            .grace
            .as_deref()
            .map(str::trim)
            .filter(|t| !t.is_empty())
            .unwrap_or(DEFAULT_GRACE);
        let grace_until = match Span::parse(grace) {
            Some(Span(span)) if span.as_secs() <= MAX_GRACE => {
                now + i64::try_from(span.as_secs()).unwrap_or(0)
            }
            _ => {
                faults.push(Fault::new(
                    "grace",
                    "write a time such as 24h, at most 365d",
                ));
                now
            }
        };
        let expires_at = match draft
            .expires
            .as_deref()
            .map(str::trim)
            .filter(|t| !t.is_empty())
        {
            Some(text) => self.end(text, now, &mut faults),
            None => old
                .expires_at
                .map(|end| now.saturating_add(end.saturating_sub(old.created_at))),
        };
        let new = Key {
            created_at: now,
            created_by: by.person.clone(),
            not_before: None,
            expires_at,
            grace_until: None,
            replaces: Some(old.id.clone()),
            replaced_by: None,
            last_used_at: None,
            state: State::Active,
            ..old.clone()
        };
        let made = self.make(&mut write, new, faults).await?;
        write.insert_key(&made.record).await?;
        let change = KeyChange::Rotate {
            replaced_by: &made.record.id,
            grace_until,
        };
        write.change_key(&old.id, &change).await?;
        let details = json!({"replaced_by": made.record.id, "grace_until": grace_until, "expires_at": made.record.expires_at});
        write
            .audit(&act("key.rotate", &old, agent.as_ref()).details(details))
            .await?;
        remember(&mut write, by, idempotency, &json!({"record": made.record})).await?;
        write.commit().await?;
        Ok(Answer::New(made))
    }

    /// Makes a key worthless. When this has answered, it is durable. Once more changes nothing.
    pub async fn revoke_key(&self, by: &Principal, id: &str, reason: Option<&str>) -> Done<Key> {
        let reason = reason_of(reason)?;
        let mut write = self.begin(by).await?;
        let (key, agent) = self.key_to_change(&mut write, by, id).await?;
        if key.revoked_at.is_some() {
            return Ok(key);
        }
        write
            .change_key(&key.id, &KeyChange::Revoke { reason: &reason })
            .await?;
        write
            .audit(&act("key.revoke", &key, agent.as_ref()).details(json!({"reason": reason})))
            .await?;
        let after = write.key(&key.id).await?.ok_or(Problem::NotFound("key"))?;
        write.commit().await?;
        Ok(after)
    }

    /// Makes all keys of an owner worthless, and their service-account tokens, as far as the principal manages them.
    pub async fn revoke_owner(
        &self,
        by: &Principal,
        owner: &str,
        reason: Option<&str>,
    ) -> Done<Revoked> {
        let reason = reason_of(reason)?;
        let mut faults = Vec::new();
        let owner = plain("owner", Some(owner), MAX_NAME, &mut faults).unwrap_or_default();
        if owner.is_empty() || !faults.is_empty() {
            return Err(Problem::invalid(
                "owner",
                "name the owner whose keys shall be revoked",
            ));
        }
        let mut write = self.begin(by).await?;
        let keys = write.keys_of_owner(by, &owner).await?;
        for key in &keys {
            write
                .change_key(&key.id, &KeyChange::Revoke { reason: &reason })
                .await?;
            let agent = match &key.scope {
                Scope::Agent(name) => write.agent(name).await?,
                _ => None,
            };
            let details = json!({"reason": reason, "owner": owner, "bulk": true});
            write
                .audit(&act("key.revoke", key, agent.as_ref()).details(details))
                .await?;
        }
        let ids: Vec<String> = keys.into_iter().map(|k| k.id).collect();
        let details = json!({"reason": reason, "revoked": ids.len()});
        write
            .audit(&Act::new("owner.revoke", format!("owner:{owner}")).details(details))
            .await?;
        write.commit().await?;
        Ok(Revoked {
            revoked: ids.len(),
            ids,
        })
    }

    /// The key and its agent, if the principal manages it.
    async fn key_to_change(
        &self,
        write: &mut Write,
        by: &Principal,
        id: &str,
    ) -> Done<(Key, Option<Agent>)> {
        let key = write
            .key(id_of(id))
            .await?
            .ok_or(Problem::NotFound("key"))?;
        let agent = match &key.scope {
            Scope::Agent(name) => write.agent(name).await?,
            _ => None,
        };
        if by.manages_scope(&key.scope, agent.as_ref()) {
            Ok((key, agent))
        } else {
            Err(Problem::NotFound("key"))
        }
    }

    async fn may_make(
        &self,
        write: &mut Write,
        by: &Principal,
        scope: &Scope,
    ) -> Done<Option<Agent>> {
        let agent = match scope {
            Scope::Agent(name) => {
                let agent = write.agent(name).await?.filter(|a| by.manages(a));
                Some(agent.ok_or(Problem::NotFound("agent"))?)
            }
            _ => None,
        };
        if by.manages_scope(scope, agent.as_ref()) {
            return Ok(agent);
        }
        Err(Problem::Forbidden(match scope {
            Scope::Agent(_) => "you don't manage this agent",
            Scope::Workspace(_) => "keys of a workspace are made by its admins",
            Scope::Org(_) => "keys of an organisation are made by admins",
            Scope::User(_) => {
                "a service-account token is made by the user it is for, or by an admin"
            }
        }))
    }

    fn speaks_for(&self, by: &Principal, scope: &Scope, agent: Option<&Agent>) -> bool {
        match scope {
            Scope::Agent(_) => agent.is_some_and(|a| by.administers(a.workspace.as_deref())),
            Scope::Workspace(name) => by.administers(Some(name)),
            Scope::Org(_) | Scope::User(_) => by.admin,
        }
    }

    /// Gives the key its id, secret and hash; the record must be one that filters accept.
    async fn make(&self, write: &mut Write, mut key: Key, mut faults: Vec<Fault>) -> Done<MadeKey> {
        let prefix = match key.scope {
            Scope::User(_) => &self.form.service_prefix,
            _ => &self.form.prefix,
        };
        let (id, text) = loop {
            let (id, text) = secret::key(prefix).ok_or(Problem::Unavailable)?;
            // Twelve characters of 62 do not meet by chance, but a database may hold imported keys.
            if write.key(id.as_str()).await?.is_none() {
                break (id, text);
            }
        };
        key.id = id.to_string();
        key.prefix = prefix.clone();
        key.hash = KeyDigest::of(&text, self.form.pepper.as_ref()).to_string();
        faults.extend(opinion_of_the_filter(&key));
        if faults.is_empty() {
            Ok(MadeKey {
                key: text,
                record: key,
            })
        } else {
            Err(Problem::Invalid(faults))
        }
    }

    /// When a key ends; `None` for never.
    fn end(&self, text: &str, now: i64, faults: &mut Vec<Fault>) -> Option<i64> {
        let text = match text.trim() {
            "" => DEFAULT_LIFE,
            text => text,
        };
        let at = match moment(text, now) {
            Some(at) => at,
            None => {
                faults.push(Fault::new(
                    "expires",
                    "write a time such as 90d or 2027-01-31T00:00:00Z, or never",
                ));
                return None;
            }
        };
        if at.is_some_and(|at| at <= now) {
            faults.push(Fault::new("expires", "the key would end before it is made"));
        }
        if let Some(max) = self.form.max_life
            && at.is_none_or(|at| at - now > max)
        {
            let days = max / 86_400;
            faults.push(Fault::new(
                "expires",
                format!("keys live at most {days} days here"),
            ));
        }
        at
    }
}

const MAX_GRACE: u64 = 365 * 86_400;

/// `Some(None)` for `never`; `None` for what is no time.
fn moment(text: &str, now: i64) -> Option<Option<i64>> {
    if text == "never" {
        return Some(None);
    }
    if let Some(Span(span)) = Span::parse(text) {
        return Some(Some(
            now.saturating_add(i64::try_from(span.as_secs()).ok()?),
        ));
    }
    if let Ok(seconds) = text.parse::<i64>() {
        return Some(Some(seconds));
    }
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Some(Some(time.as_second()));
    }
    // A day, as a date field gives it: to its end, in UTC.
    let day: jiff::civil::Date = text.parse().ok()?;
    let end = day
        .tomorrow()
        .ok()?
        .to_zoned(jiff::tz::TimeZone::UTC)
        .ok()?;
    Some(Some(end.timestamp().as_second()))
}

fn reason_of(reason: Option<&str>) -> Done<String> {
    let mut faults = Vec::new();
    let reason = plain("reason", reason, 500, &mut faults).unwrap_or_default();
    if faults.is_empty() {
        Ok(reason)
    } else {
        Err(Problem::Invalid(faults))
    }
}

/// The id in a whole key, or what is an id already. Whoever reports a leaked key has the whole of it.
pub(crate) fn id_of(text: &str) -> &str {
    text.split('_').nth(1).unwrap_or(text)
}

/// What the filter would say to the record.
fn opinion_of_the_filter(key: &Key) -> Vec<Fault> {
    let record = serde_json::to_string(&[key.record()]).unwrap_or_default();
    match config::load_keys(&record) {
        Ok(_) => Vec::new(),
        Err(errors) => errors
            .0
            .iter()
            .map(|e| {
                let field = e
                    .path
                    .split_once("].")
                    .map_or(e.path.as_str(), |(_, rest)| rest);
                let field = if field == "expires_at" {
                    "expires"
                } else {
                    field
                };
                let words = e.to_string();
                let message = words
                    .split_once(": ")
                    .map_or(words.as_str(), |(_, rest)| rest);
                Fault::new(field, message)
            })
            .collect(),
    }
}

fn act(action: &'static str, key: &Key, agent: Option<&Agent>) -> Act {
    let act = Act::new(action, format!("key:{}", key.id));
    match &key.scope {
        Scope::Agent(name) => act
            .agent(name)
            .workspace(agent.and_then(|a| a.workspace.as_deref())),
        Scope::Workspace(name) => act.workspace(Some(name)),
        Scope::Org(_) | Scope::User(_) => act,
    }
}

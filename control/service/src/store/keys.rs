//! Keys, their idempotent making, and which of them want attention.

use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::sql::Sql;
use super::{Store, StoreError, Stored, Write, contains, int, maybe_int, maybe_text, now, text};
use crate::access::Principal;
use crate::model::{Key, RateLimit, Scope};

const COLUMNS: &str = "SELECT k.id, k.hash, k.prefix, k.scope_kind, k.scope_name, k.name, k.owner, k.created_at, k.created_by, \
     k.not_before, k.expires_at, k.grace_until, k.revoked_at, k.revoked_by, k.revoked_reason, k.replaces, k.replaced_by, \
     k.rate_requests, k.rate_per, k.rate_burst, k.methods, k.revision, u.last_used_at \
     FROM keys k LEFT JOIN key_uses u ON u.key_id = k.id ";

/// The same without uses, for the feed, which does not tell of them.
pub(super) const FEED_COLUMNS: &str = "SELECT k.id, k.hash, k.prefix, k.scope_kind, k.scope_name, k.name, k.owner, k.created_at, \
     k.created_by, k.not_before, k.expires_at, k.grace_until, k.revoked_at, k.revoked_by, k.revoked_reason, k.replaces, \
     k.replaced_by, k.rate_requests, k.rate_per, k.rate_burst, k.methods, k.revision, k.forgotten_at AS last_used_at FROM keys k ";

/// Which keys.
#[derive(Clone, Debug, Default)]
pub struct KeyFilter {
    /// Of this scope.
    pub scope: Option<Scope>,
    /// Of this kind of scope.
    pub scope_kind: Option<String>,
    /// Of this owner.
    pub owner: Option<String>,
    /// Part of the name, the id or the scope's name.
    pub search: Option<String>,
    /// Only those that get somebody in, or will.
    pub live: bool,
    /// Live, and ending before then.
    pub ends_before: Option<i64>,
    /// Live, made before then and not used since.
    pub unused_since: Option<i64>,
}

/// Where a list goes on: after the key that was made then, with that id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyCursor {
    /// Seconds since 1970.
    pub created_at: i64,
    /// Of that second.
    pub id: String,
}

const LIVE: &str = " AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > ";

fn live(sql: &mut Sql, now: i64) {
    sql.push(LIVE).bind(now);
    sql.push(") AND (k.grace_until IS NULL OR k.grace_until > ")
        .bind(now);
    sql.push(")");
}

/// The condition that the principal manages the key; the same as [`Principal::manages_scope`].
fn visible(sql: &mut Sql, principal: &Principal) {
    if principal.admin {
        return;
    }
    sql.push(" AND ((k.scope_kind = 'agent' AND k.scope_name IN ");
    super::agents::names(sql, principal);
    sql.push(") OR (k.scope_kind = 'workspace' AND k.scope_name IN ")
        .list(principal.workspaces());
    sql.push(") OR (k.scope_kind = 'user' AND k.scope_name = ")
        .bind(principal.person.as_str());
    sql.push("))");
}

impl Store {
    /// The key of that id, whoever asks.
    pub async fn key(&self, id: &str) -> Stored<Option<Key>> {
        let mut sql = Sql::new(COLUMNS);
        sql.push("WHERE k.id = ").bind(id);
        let row = sql.query().fetch_optional(&self.read).await?;
        row.as_ref().map(|row| key(row, now())).transpose()
    }

    /// Keys that this principal manages, the newest first.
    pub async fn keys(
        &self,
        principal: &Principal,
        filter: &KeyFilter,
        after: Option<&KeyCursor>,
        limit: i64,
    ) -> Stored<Vec<Key>> {
        let now = now();
        let mut sql = Sql::new(COLUMNS);
        sql.push("WHERE k.created_at <= ")
            .bind(after.map_or(i64::MAX, |c| c.created_at));
        if let Some(cursor) = after {
            sql.push(" AND (k.created_at < ").bind(cursor.created_at);
            sql.push(" OR k.id < ").bind(cursor.id.as_str()).push(")");
        }
        if let Some(scope) = &filter.scope {
            sql.push(" AND k.scope_kind = ").bind(scope.kind().as_str());
            sql.push(" AND k.scope_name = ").bind(scope.name());
        }
        if let Some(kind) = &filter.scope_kind {
            sql.push(" AND k.scope_kind = ").bind(kind.as_str());
        }
        if let Some(owner) = &filter.owner {
            sql.push(" AND k.owner = ").bind(owner.as_str());
        }
        if let Some(search) = filter.search.as_deref().filter(|s| !s.is_empty()) {
            let pattern = contains(search);
            sql.push(" AND (LOWER(k.name) LIKE ").bind(pattern.clone());
            sql.push(" ESCAPE '\\' OR LOWER(k.id) LIKE ")
                .bind(pattern.clone());
            sql.push(" ESCAPE '\\' OR LOWER(k.owner) LIKE ")
                .bind(pattern.clone());
            sql.push(" ESCAPE '\\' OR LOWER(k.scope_name) LIKE ")
                .bind(pattern);
            sql.push(" ESCAPE '\\')");
        }
        if filter.live || filter.ends_before.is_some() || filter.unused_since.is_some() {
            live(&mut sql, now);
        }
        if let Some(before) = filter.ends_before {
            sql.push(" AND (k.expires_at < ").bind(before);
            sql.push(" OR k.grace_until < ").bind(before).push(")");
        }
        if let Some(since) = filter.unused_since {
            sql.push(" AND k.created_at < ").bind(since);
            sql.push(" AND (u.last_used_at IS NULL OR u.last_used_at < ")
                .bind(since)
                .push(")");
        }
        visible(&mut sql, principal);
        sql.push(" ORDER BY k.created_at DESC, k.id DESC LIMIT ")
            .bind(limit);
        let rows = sql.query().fetch_all(&self.read).await?;
        rows.iter().map(|row| key(row, now)).collect()
    }
}

impl Store {
    /// Keys that have been worthless since before `before` and are still in the feed. What is worthless stays so, and this may
    /// read the whole table: no lock is held meanwhile.
    pub async fn forgettable_keys(&self, before: i64, limit: i64) -> Stored<Vec<String>> {
        let mut sql = Sql::new("SELECT id FROM keys WHERE forgotten_at IS NULL AND (revoked_at < ");
        sql.bind(before);
        sql.push(" OR expires_at < ").bind(before);
        sql.push(" OR grace_until < ").bind(before);
        sql.push(") LIMIT ").bind(limit);
        let rows = sql.query().fetch_all(&self.read).await?;
        rows.iter().map(|row| text(row, "id")).collect()
    }
}

/// A change of one key.
pub enum KeyChange<'c> {
    /// Worthless from now on.
    Revoke {
        /// Why.
        reason: &'c str,
    },
    /// Another one has come in its place.
    Rotate {
        /// That one.
        replaced_by: &'c str,
        /// How long this one goes on working.
        grace_until: i64,
    },
}

impl Write {
    /// The key as it is within this change.
    pub async fn key(&mut self, id: &str) -> Stored<Option<Key>> {
        let mut sql = Sql::new(COLUMNS);
        sql.push("WHERE k.id = ").bind(id);
        let row = sql.query().fetch_optional(&mut *self.tx).await?;
        let now = self.now;
        row.as_ref().map(|row| key(row, now)).transpose()
    }

    /// Stores a new key. The record is one that filters accept.
    pub async fn insert_key(&mut self, key: &Key) -> Stored<()> {
        let revision = self.next_revision();
        let per = key.rate_limit.as_ref().map(rate_seconds);
        let mut sql = Sql::new(
            "INSERT INTO keys (id, hash, prefix, scope_kind, scope_name, name, owner, created_at, created_by, not_before, \
             expires_at, replaces, rate_requests, rate_per, rate_burst, methods, revision) VALUES (",
        );
        sql.bind(key.id.as_str())
            .push(", ")
            .bind(key.hash.as_str())
            .push(", ")
            .bind(key.prefix.as_str());
        sql.push(", ")
            .bind(key.scope.kind().as_str())
            .push(", ")
            .bind(key.scope.name());
        sql.push(", ")
            .bind(key.name.as_str())
            .push(", ")
            .bind(key.owner.as_str());
        sql.push(", ")
            .bind(key.created_at)
            .push(", ")
            .bind(key.created_by.as_str());
        sql.push(", ")
            .bind(key.not_before)
            .push(", ")
            .bind(key.expires_at);
        sql.push(", ").bind(key.replaces.clone());
        sql.push(", ")
            .bind(key.rate_limit.as_ref().map(|r| r.requests))
            .push(", ")
            .bind(per);
        sql.push(", ")
            .bind(key.rate_limit.as_ref().and_then(|r| r.burst));
        sql.push(", ")
            .bind(key.methods.as_ref().map(|m| m.join(",")));
        sql.push(", ").bind(revision).push(")");
        sql.query().execute(&mut *self.tx).await?;
        Ok(())
    }

    /// Changes a key.
    pub async fn change_key(&mut self, id: &str, change: &KeyChange<'_>) -> Stored<()> {
        let revision = self.next_revision();
        let mut sql = Sql::new("UPDATE keys SET revision = ");
        sql.bind(revision);
        match change {
            KeyChange::Revoke { reason } => {
                sql.push(", revoked_at = ").bind(self.now);
                sql.push(", revoked_by = ").bind(self.actor.person.clone());
                sql.push(", revoked_reason = ").bind(*reason);
            }
            KeyChange::Rotate {
                replaced_by,
                grace_until,
            } => {
                sql.push(", replaced_by = ").bind(*replaced_by);
                sql.push(", grace_until = ").bind(*grace_until);
            }
        }
        sql.push(" WHERE id = ").bind(id);
        match sql.query().execute(&mut *self.tx).await?.rows_affected() {
            1 => Ok(()),
            _ => Err(StoreError::Corrupt("key")),
        }
    }

    /// The keys of that owner or service account that are not revoked and that the principal manages.
    pub async fn keys_of_owner(&mut self, principal: &Principal, owner: &str) -> Stored<Vec<Key>> {
        let mut sql = Sql::new(COLUMNS);
        sql.push("WHERE k.revoked_at IS NULL AND k.forgotten_at IS NULL AND (k.owner = ")
            .bind(owner);
        sql.push(" OR (k.scope_kind = 'user' AND k.scope_name = ")
            .bind(owner)
            .push("))");
        visible(&mut sql, principal);
        self.keys_by(sql).await
    }

    /// The keys of an agent that are not revoked.
    pub async fn keys_of_agent(&mut self, agent: &str) -> Stored<Vec<Key>> {
        let mut sql = Sql::new(COLUMNS);
        sql.push("WHERE k.revoked_at IS NULL AND k.forgotten_at IS NULL AND k.scope_kind = 'agent' AND k.scope_name = ");
        sql.bind(agent);
        self.keys_by(sql).await
    }

    async fn keys_by(&mut self, sql: Sql) -> Stored<Vec<Key>> {
        let now = self.now;
        let rows = sql.query().fetch_all(&mut *self.tx).await?;
        rows.iter().map(|row| key(row, now)).collect()
    }

    /// Takes keys out of the feed. They stay in the lists.
    pub async fn forget_keys(&mut self, ids: &[String]) -> Stored<()> {
        for id in ids {
            let revision = self.next_revision();
            sqlx::query("UPDATE keys SET forgotten_at = $1, revision = $2 WHERE id = $3 AND forgotten_at IS NULL")
                .bind(self.now)
                .bind(revision)
                .bind(id.clone())
                .execute(&mut *self.tx)
                .await?;
        }
        Ok(())
    }

    /// What was answered to this idempotency key: its request's digest, status and body.
    pub async fn answered(
        &mut self,
        principal: &str,
        key_hash: &str,
    ) -> Stored<Option<(String, i64, String)>> {
        let row = sqlx::query("SELECT request_hash, status, body FROM idempotency WHERE principal = $1 AND key_hash = $2")
            .bind(principal.to_owned())
            .bind(key_hash.to_owned())
            .fetch_optional(&mut *self.tx)
            .await?;
        row.map(|row| {
            Ok((
                text(&row, "request_hash")?,
                int(&row, "status")?,
                text(&row, "body")?,
            ))
        })
        .transpose()
    }

    /// Remembers an answer, without secrets, in the transaction that does what it tells of.
    pub async fn remember_answer(
        &mut self,
        principal: &str,
        key_hash: &str,
        request_hash: &str,
        status: i64,
        body: String,
    ) -> Stored<()> {
        sqlx::query(
            "INSERT INTO idempotency (principal, key_hash, request_hash, status, body, created_at) VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(principal.to_owned())
        .bind(key_hash.to_owned())
        .bind(request_hash.to_owned())
        .bind(status)
        .bind(body)
        .bind(self.now)
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }
}

fn rate_seconds(rate: &RateLimit) -> i64 {
    let span = portcullis_core::config::Span::parse(&rate.per);
    span.map_or(0, |s| i64::try_from(s.0.as_secs()).unwrap_or(0))
}

pub(super) fn key(row: &AnyRow, now: i64) -> Stored<Key> {
    let scope = Scope::new(&text(row, "scope_kind")?, &text(row, "scope_name")?);
    let rate_limit = match (
        maybe_int(row, "rate_requests")?,
        maybe_int(row, "rate_per")?,
    ) {
        (Some(requests), Some(per)) => Some(RateLimit {
            requests,
            per: span(per),
            burst: maybe_int(row, "rate_burst")?,
        }),
        _ => None,
    };
    let methods = maybe_text(row, "methods")?;
    let mut key = Key {
        id: text(row, "id")?,
        prefix: text(row, "prefix")?,
        scope: scope.ok_or(StoreError::Corrupt("key"))?,
        name: text(row, "name")?,
        owner: text(row, "owner")?,
        state: crate::state::State::Active,
        created_at: int(row, "created_at")?,
        created_by: text(row, "created_by")?,
        not_before: maybe_int(row, "not_before")?,
        expires_at: maybe_int(row, "expires_at")?,
        grace_until: maybe_int(row, "grace_until")?,
        revoked_at: maybe_int(row, "revoked_at")?,
        revoked_by: maybe_text(row, "revoked_by")?,
        revoked_reason: maybe_text(row, "revoked_reason")?,
        replaces: maybe_text(row, "replaces")?,
        replaced_by: maybe_text(row, "replaced_by")?,
        rate_limit,
        methods: methods.map(|m| m.split(',').map(str::to_owned).collect()),
        last_used_at: row.try_get::<Option<i64>, _>("last_used_at")?,
        hash: text(row, "hash")?,
        revision: int(row, "revision")?,
    };
    key.state = key.state_at(now);
    Ok(key)
}

fn span(seconds: i64) -> String {
    let seconds = u64::try_from(seconds).unwrap_or(0);
    portcullis_core::config::Span(std::time::Duration::from_secs(seconds)).to_string()
}

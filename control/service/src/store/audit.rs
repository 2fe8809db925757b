//! Who did what, when and from where. Nothing here is ever changed; the database itself refuses to.

use serde_json::Value;
use sqlx::any::AnyRow;

use super::sql::Sql;
use super::{Store, Stored, Write, contains, int, maybe_text, text};
use crate::access::Principal;
use crate::model::AuditEntry;

/// An act, to be written down in the transaction that does it.
pub struct Act {
    action: &'static str,
    target: String,
    agent: Option<String>,
    workspace: Option<String>,
    details: Value,
}

impl Act {
    /// `action` is `thing.verb`, `target` `thing:name`.
    pub fn new(action: &'static str, target: impl Into<String>) -> Self {
        Self {
            action,
            target: target.into(),
            agent: None,
            workspace: None,
            details: Value::Object(serde_json::Map::new()),
        }
    }

    /// The agent that it concerns: its owner may read of it.
    #[must_use]
    pub fn agent(mut self, name: &str) -> Self {
        self.agent = Some(name.to_owned());
        self
    }

    /// The workspace that it concerns: its admins may read of it.
    #[must_use]
    pub fn workspace(mut self, name: Option<&str>) -> Self {
        self.workspace = name.map(str::to_owned);
        self
    }

    /// What else there is to know; never a secret.
    #[must_use]
    pub fn details(mut self, details: Value) -> Self {
        self.details = details;
        self
    }
}

/// Which entries.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Part of the actor's id.
    pub actor: Option<String>,
    /// What the action begins with: `key.` or `key.revoke`.
    pub action: Option<String>,
    /// Exactly this agent.
    pub agent: Option<String>,
    /// Part of the target.
    pub target: Option<String>,
    /// Not before, in seconds since 1970.
    pub from: Option<i64>,
    /// Before, in seconds since 1970.
    pub to: Option<i64>,
}

impl Write {
    /// Writes an act down.
    pub async fn audit(&mut self, act: &Act) -> Stored<()> {
        self.seq += 1;
        sqlx::query(
            "INSERT INTO audit (seq, at, actor, via, remote_addr, action, target, agent, workspace, details) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind(self.seq)
        .bind(self.now)
        .bind(self.actor.person.clone())
        .bind(self.actor.via.clone())
        .bind(self.actor.remote_addr.clone())
        .bind(act.action)
        .bind(act.target.clone())
        .bind(act.agent.clone())
        .bind(act.workspace.clone())
        .bind(act.details.to_string())
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }
}

impl Store {
    /// The newest first: entries before `before` that this principal may read of.
    pub async fn audit(
        &self,
        principal: &Principal,
        filter: &AuditFilter,
        before: Option<i64>,
        limit: i64,
    ) -> Stored<Vec<AuditEntry>> {
        let mut sql = Sql::new(
            "SELECT seq, at, actor, via, remote_addr, action, target, agent, workspace, details FROM audit WHERE seq < ",
        );
        sql.bind(before.unwrap_or(i64::MAX));
        if let Some(from) = filter.from {
            sql.push(" AND at >= ").bind(from);
        }
        if let Some(to) = filter.to {
            sql.push(" AND at < ").bind(to);
        }
        if let Some(actor) = &filter.actor {
            sql.push(" AND LOWER(actor) LIKE ")
                .bind(contains(actor))
                .push(" ESCAPE '\\'");
        }
        if let Some(action) = &filter.action {
            // From the action's beginning on.
            let pattern = contains(action).split_off(1);
            sql.push(" AND action LIKE ")
                .bind(pattern)
                .push(" ESCAPE '\\'");
        }
        if let Some(agent) = &filter.agent {
            sql.push(" AND agent = ").bind(agent.as_str());
        }
        if let Some(target) = &filter.target {
            sql.push(" AND LOWER(target) LIKE ")
                .bind(contains(target))
                .push(" ESCAPE '\\'");
        }
        if !principal.admin {
            sql.push(" AND (actor = ").bind(principal.person.as_str());
            sql.push(" OR agent IN (SELECT name FROM agents WHERE deleted_at IS NULL AND owner = ");
            sql.bind(principal.person.as_str());
            sql.push(") OR workspace IN ")
                .list(principal.workspaces())
                .push(")");
        }
        sql.push(" ORDER BY seq DESC LIMIT ").bind(limit);
        let rows = sql.query().fetch_all(&self.read).await?;
        rows.iter().map(entry).collect()
    }
}

fn entry(row: &AnyRow) -> Stored<AuditEntry> {
    Ok(AuditEntry {
        seq: int(row, "seq")?,
        at: int(row, "at")?,
        actor: text(row, "actor")?,
        via: text(row, "via")?,
        remote_addr: text(row, "remote_addr")?,
        action: text(row, "action")?,
        target: text(row, "target")?,
        agent: maybe_text(row, "agent")?,
        workspace: maybe_text(row, "workspace")?,
        details: serde_json::from_str(&text(row, "details")?).unwrap_or(Value::Null),
    })
}

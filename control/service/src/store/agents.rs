//! Agents.

use sqlx::any::AnyRow;

use super::sql::Sql;
use super::{Store, StoreError, Stored, Write, contains, int, maybe_text, text};
use crate::access::Principal;
use crate::model::Agent;

const COLUMNS: &str =
    "SELECT name, owner, workspace, org, description, created_at, created_by FROM agents ";

impl Store {
    /// The agent of that name, whoever asks.
    pub async fn agent(&self, name: &str) -> Stored<Option<Agent>> {
        let mut sql = Sql::new(COLUMNS);
        sql.push("WHERE deleted_at IS NULL AND name = ").bind(name);
        let row = sql.query().fetch_optional(&self.read).await?;
        row.as_ref().map(agent).transpose()
    }

    /// Agents that this principal manages, by name, after `after`.
    pub async fn agents(
        &self,
        principal: &Principal,
        search: Option<&str>,
        after: Option<&str>,
        limit: i64,
    ) -> Stored<Vec<Agent>> {
        let mut sql = Sql::new(COLUMNS);
        sql.push("WHERE deleted_at IS NULL AND name > ")
            .bind(after.unwrap_or_default());
        if let Some(search) = search.filter(|s| !s.is_empty()) {
            let pattern = contains(search);
            sql.push(" AND (LOWER(name) LIKE ").bind(pattern.clone());
            sql.push(" ESCAPE '\\' OR LOWER(owner) LIKE ")
                .bind(pattern.clone());
            sql.push(" ESCAPE '\\' OR LOWER(workspace) LIKE ")
                .bind(pattern.clone());
            sql.push(" ESCAPE '\\' OR LOWER(description) LIKE ")
                .bind(pattern);
            sql.push(" ESCAPE '\\')");
        }
        visible(&mut sql, principal);
        sql.push(" ORDER BY name LIMIT ").bind(limit);
        let rows = sql.query().fetch_all(&self.read).await?;
        rows.iter().map(agent).collect()
    }
}

/// Goes on with the condition that the principal manages the agent; the same as [`Principal::manages`].
fn visible(sql: &mut Sql, principal: &Principal) {
    if !principal.admin {
        sql.push(" AND (owner = ").bind(principal.person.as_str());
        sql.push(" OR workspace IN ")
            .list(principal.workspaces())
            .push(")");
    }
}

/// Goes on with a list of the agents that the principal manages.
pub(super) fn names(sql: &mut Sql, principal: &Principal) {
    sql.push("(SELECT name FROM agents WHERE deleted_at IS NULL");
    visible(sql, principal);
    sql.push(")");
}

impl Write {
    /// The agent as it is within this change.
    pub async fn agent(&mut self, name: &str) -> Stored<Option<Agent>> {
        let mut sql = Sql::new(COLUMNS);
        sql.push("WHERE deleted_at IS NULL AND name = ").bind(name);
        let row = sql.query().fetch_optional(&mut *self.tx).await?;
        row.as_ref().map(agent).transpose()
    }

    /// Registers an agent, or changes it.
    pub async fn put_agent(&mut self, agent: &Agent) -> Stored<()> {
        let revision = self.next_revision();
        sqlx::query(
            "INSERT INTO agents (name, owner, workspace, org, description, created_at, created_by, deleted_at, revision) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, NULL, $8) \
             ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, workspace = excluded.workspace, org = excluded.org, \
             description = excluded.description, created_at = excluded.created_at, created_by = excluded.created_by, \
             deleted_at = NULL, revision = excluded.revision",
        )
        .bind(agent.name.clone())
        .bind(agent.owner.clone())
        .bind(agent.workspace.clone())
        .bind(agent.org.clone())
        .bind(agent.description.clone())
        .bind(agent.created_at)
        .bind(agent.created_by.clone())
        .bind(revision)
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Takes an agent out. Its row stays, so that followers hear of it.
    pub async fn delete_agent(&mut self, name: &str) -> Stored<()> {
        let revision = self.next_revision();
        let done = sqlx::query("UPDATE agents SET deleted_at = $1, revision = $2 WHERE name = $3 AND deleted_at IS NULL")
            .bind(self.now)
            .bind(revision)
            .bind(name.to_owned())
            .execute(&mut *self.tx)
            .await?;
        match done.rows_affected() {
            1 => Ok(()),
            _ => Err(StoreError::Corrupt("agent")),
        }
    }
}

fn agent(row: &AnyRow) -> Stored<Agent> {
    Ok(Agent {
        name: text(row, "name")?,
        owner: maybe_text(row, "owner")?,
        workspace: maybe_text(row, "workspace")?,
        org: maybe_text(row, "org")?,
        description: text(row, "description")?,
        created_at: int(row, "created_at")?,
        created_by: text(row, "created_by")?,
    })
}

//! Who called what, how often: taken in from the filters, counted by minute and by hour.

use std::collections::{BTreeMap, BTreeSet};

use super::sql::Sql;
use super::{Store, Stored, int, now};
use crate::model::UsagePoint;

/// How long minutes are kept.
const KEEP_MINUTES: i64 = 3 * 86_400;
/// How long hours are kept.
const KEEP_HOURS: i64 = 400 * 86_400;
/// How long a batch is known to have been taken in.
const KEEP_BATCHES: i64 = 7 * 86_400;

/// Rows of one statement: SQLite takes 32,766 parameters, PostgreSQL 65,535.
const ROWS: usize = 500;

/// One key's use of one agent within a minute.
#[derive(Clone, Debug, serde::Deserialize, utoipa::ToSchema)]
pub struct Use {
    /// The key's id.
    pub key: String,
    /// The agent, if the request was for one.
    pub agent: Option<String>,
    /// Seconds since 1970, a multiple of 60.
    pub minute: i64,
    /// Requests let in.
    #[serde(default)]
    pub allowed: i64,
    /// Requests refused.
    #[serde(default)]
    pub refused: i64,
    /// Seconds since 1970.
    pub last_used_at: Option<i64>,
}

/// Whose calls.
#[derive(Clone, Copy, Debug)]
pub enum UsageOf<'u> {
    /// Of one key, for any agent.
    Key(&'u str),
    /// For one agent, with any key.
    Agent(&'u str),
}

impl Store {
    /// Takes a batch in, once: `false` if it was taken in before.
    ///
    /// Uses of keys that are not there are dropped; a filter may have them from another source.
    pub async fn take_usage(&self, instance: &str, batch: &str, uses: &[Use]) -> Stored<bool> {
        let mut tx = self.begin_quietly().await?;
        let taken = sqlx::query("INSERT INTO usage_batches (instance, batch, taken_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
            .bind(instance.to_owned())
            .bind(batch.to_owned())
            .bind(now())
            .execute(&mut *tx)
            .await?;
        if taken.rows_affected() == 0 {
            return Ok(false);
        }
        let ids: BTreeSet<&str> = uses.iter().map(|u| u.key.as_str()).collect();
        let ids: Vec<&str> = ids.into_iter().collect();
        let mut known = BTreeSet::new();
        for some in ids.chunks(ROWS) {
            let mut sql = Sql::new("SELECT id FROM keys WHERE id IN ");
            sql.list(some.iter().copied());
            for row in sql.query().fetch_all(&mut *tx).await? {
                known.insert(super::text(&row, "id")?);
            }
        }
        // Sorted, so that two replicas that count at once lock the rows in the same order.
        let mut counts: BTreeMap<(&str, &str, i64, i64), (i64, i64)> = BTreeMap::new();
        let mut last: BTreeMap<&str, (i64, &str)> = BTreeMap::new();
        for u in uses.iter().filter(|u| known.contains(&u.key)) {
            let agent = u.agent.as_deref().unwrap_or_default();
            for width in [60, 3600] {
                let start = u.minute.div_euclid(width) * width;
                let count = counts
                    .entry((u.key.as_str(), agent, width, start))
                    .or_default();
                count.0 += u.allowed;
                count.1 += u.refused;
            }
            if let Some(at) = u.last_used_at {
                let minute = at.div_euclid(60) * 60;
                let entry = last.entry(u.key.as_str()).or_insert((minute, agent));
                if minute >= entry.0 {
                    *entry = (minute, agent);
                }
            }
        }
        let counts: Vec<_> = counts.into_iter().collect();
        for some in counts.chunks(ROWS) {
            let mut sql = Sql::new(
                "INSERT INTO usage (key_id, agent, width, start, allowed, refused) VALUES ",
            );
            for (i, ((key, agent, width, start), (allowed, refused))) in some.iter().enumerate() {
                sql.push(if i == 0 { "(" } else { ", (" })
                    .bind(*key)
                    .push(", ")
                    .bind(*agent);
                sql.push(", ").bind(*width).push(", ").bind(*start);
                sql.push(", ")
                    .bind(*allowed)
                    .push(", ")
                    .bind(*refused)
                    .push(")");
            }
            sql.push(
                " ON CONFLICT (key_id, agent, width, start) DO UPDATE SET allowed = usage.allowed + excluded.allowed, \
                 refused = usage.refused + excluded.refused",
            );
            sql.query().execute(&mut *tx).await?;
        }
        let last: Vec<_> = last.into_iter().collect();
        for some in last.chunks(ROWS) {
            let mut sql = Sql::new("INSERT INTO key_uses (key_id, last_used_at, agent) VALUES ");
            for (i, (key, (at, agent))) in some.iter().enumerate() {
                sql.push(if i == 0 { "(" } else { ", (" })
                    .bind(*key)
                    .push(", ")
                    .bind(*at);
                sql.push(", ").bind(*agent).push(")");
            }
            // Only forward: batches may come late and out of order.
            sql.push(
                " ON CONFLICT (key_id) DO UPDATE SET last_used_at = excluded.last_used_at, agent = excluded.agent \
                 WHERE key_uses.last_used_at < excluded.last_used_at",
            );
            sql.query().execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    /// Counts from `from` on, in steps of `step` seconds (a multiple of 60); steps without calls are left out.
    pub async fn usage(
        &self,
        of: UsageOf<'_>,
        from: i64,
        to: i64,
        step: i64,
    ) -> Stored<Vec<UsagePoint>> {
        let step = step.max(60);
        // Hours where they will do: there are fewer of them, and they go back further.
        let width = if step % 3600 == 0 { 3600 } else { 60 };
        let mut sql = Sql::new("SELECT start - start % ");
        sql.bind(step);
        sql.push(" AS begins, CAST(SUM(allowed) AS BIGINT) AS allowed, CAST(SUM(refused) AS BIGINT) AS refused FROM usage WHERE ");
        match of {
            UsageOf::Key(id) => sql.push("key_id = ").bind(id),
            UsageOf::Agent(name) => sql.push("agent = ").bind(name),
        };
        sql.push(" AND width = ").bind(width);
        sql.push(" AND start >= ")
            .bind(from.div_euclid(step) * step);
        sql.push(" AND start < ").bind(to);
        sql.push(" GROUP BY 1 ORDER BY 1");
        let rows = sql.query().fetch_all(&self.read).await?;
        rows.iter()
            .map(|row| {
                Ok(UsagePoint {
                    start: int(row, "begins")?,
                    allowed: int(row, "allowed")?,
                    refused: int(row, "refused")?,
                })
            })
            .collect()
    }

    /// Forgets what is no longer needed: old counts, batches, sessions, links, answers.
    pub async fn tidy(&self) -> Stored<()> {
        let now = now();
        let mut tx = self.begin_quietly().await?;
        for (statement, before) in [
            (
                "DELETE FROM usage WHERE width = 60 AND start < $1",
                now - KEEP_MINUTES,
            ),
            (
                "DELETE FROM usage WHERE width = 3600 AND start < $1",
                now - KEEP_HOURS,
            ),
            (
                "DELETE FROM usage_batches WHERE taken_at < $1",
                now - KEEP_BATCHES,
            ),
            ("DELETE FROM sessions WHERE expires_at < $1", now),
            ("DELETE FROM sign_ins WHERE expires_at < $1", now),
            ("DELETE FROM links WHERE expires_at < $1", now),
            (
                "DELETE FROM idempotency WHERE created_at < $1",
                now - 86_400,
            ),
            (
                "DELETE FROM followers WHERE last_contact < $1",
                now - 7 * 86_400,
            ),
        ] {
            sqlx::query(statement)
                .bind(before)
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(())
    }
}

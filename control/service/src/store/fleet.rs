//! The proxies that follow the feed.

use std::collections::HashMap;

use super::sql::Sql;
use super::{Store, Stored, int, text};
use crate::model::Follower;

/// A proxy's last contact.
#[derive(Clone, Debug)]
pub struct Contact {
    /// The version of its policy.
    pub config_version: String,
    /// The history that it follows.
    pub epoch: String,
    /// How far it had come when it asked.
    pub revision: i64,
    /// From where it asked.
    pub remote_addr: String,
    /// The fleet token it asked with.
    pub token_id: String,
    /// Seconds since 1970.
    pub at: i64,
}

impl Store {
    /// Writes contacts down, by instance.
    pub async fn take_contacts(&self, contacts: &HashMap<String, Contact>) -> Stored<()> {
        // Sorted, so that two replicas lock the rows in the same order.
        let mut sorted: Vec<_> = contacts.iter().collect();
        sorted.sort_by_key(|(instance, _)| instance.as_str());
        let mut tx = self.begin_quietly().await?;
        for some in sorted.chunks(200) {
            let mut sql = Sql::new(
                "INSERT INTO followers (instance, config_version, epoch, revision, remote_addr, token_id, first_contact, last_contact) VALUES ",
            );
            for (i, (instance, c)) in some.iter().enumerate() {
                sql.push(if i == 0 { "(" } else { ", (" })
                    .bind(instance.as_str());
                sql.push(", ")
                    .bind(c.config_version.as_str())
                    .push(", ")
                    .bind(c.epoch.as_str());
                sql.push(", ")
                    .bind(c.revision)
                    .push(", ")
                    .bind(c.remote_addr.as_str());
                sql.push(", ")
                    .bind(c.token_id.as_str())
                    .push(", ")
                    .bind(c.at)
                    .push(", ")
                    .bind(c.at)
                    .push(")");
            }
            sql.push(
                " ON CONFLICT (instance) DO UPDATE SET config_version = excluded.config_version, epoch = excluded.epoch, \
                 revision = excluded.revision, remote_addr = excluded.remote_addr, token_id = excluded.token_id, \
                 last_contact = excluded.last_contact WHERE followers.last_contact <= excluded.last_contact",
            );
            sql.query().execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// All followers by name, after `after`.
    pub async fn followers(&self, after: Option<&str>, limit: i64) -> Stored<Vec<Follower>> {
        let (epoch, head) = self.head().await?;
        let mut sql = Sql::new("SELECT * FROM followers WHERE instance > ");
        sql.bind(after.unwrap_or_default())
            .push(" ORDER BY instance LIMIT ")
            .bind(limit);
        let rows = sql.query().fetch_all(&self.read).await?;
        rows.iter()
            .map(|row| {
                let (its_epoch, revision) = (text(row, "epoch")?, int(row, "revision")?);
                Ok(Follower {
                    instance: text(row, "instance")?,
                    config_version: text(row, "config_version")?,
                    up_to_date: its_epoch == epoch && revision >= head,
                    epoch: its_epoch,
                    revision,
                    remote_addr: text(row, "remote_addr")?,
                    token_id: text(row, "token_id")?,
                    first_contact: int(row, "first_contact")?,
                    last_contact: int(row, "last_contact")?,
                })
            })
            .collect()
    }
}

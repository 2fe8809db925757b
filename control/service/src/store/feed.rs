//! What filters follow: all keys and agents in the order of their last changes.

use std::fmt::Write as _;

use super::keys::FEED_COLUMNS;
use super::sql::Sql;
use super::{Store, Stored, int, maybe_int, maybe_text, now, text};

/// Most records in a page.
pub const MAX_RECORDS: i64 = 10_000;

/// A page ends with the record that reaches this many bytes; the filter takes pages of a few MiB.
const MAX_BYTES: usize = 4 << 20;

/// What a follower asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FeedQuery {
    /// The revision it has.
    pub after: i64,
    /// Of which history.
    pub epoch: Option<String>,
    /// At most so many records.
    pub limit: i64,
}

/// A page of the feed, as it is sent.
#[derive(Debug)]
pub struct FeedPage {
    /// The history that the revisions belong to.
    pub epoch: String,
    /// That of the last change in the page; with nothing in it, that of the last change of all.
    pub revision: i64,
    /// Whether there is more.
    pub more: bool,
    /// Whether it begins anew.
    pub reset: bool,
    /// How many records, removals and agents it tells of.
    pub changes: usize,
    /// The page as JSON.
    pub body: String,
}

/// One changed row.
enum Change {
    Key { json: String },
    NoKey { id: String },
    Agent { name: String, json: String },
    NoAgent { name: String },
}

impl Store {
    /// The history and the last revision.
    pub async fn head(&self) -> Stored<(String, i64)> {
        let row = sqlx::query("SELECT epoch, revision FROM service")
            .fetch_one(&self.read)
            .await?;
        Ok((text(&row, "epoch")?, int(&row, "revision")?))
    }

    /// The page that follows what the follower has.
    pub async fn feed(&self, query: &FeedQuery) -> Stored<FeedPage> {
        let limit = query.limit.clamp(1, MAX_RECORDS);
        // Keys and agents from one moment: with two, a change between them could be skipped.
        let mut tx = self.snapshot().await?;
        let row = sqlx::query("SELECT epoch, revision FROM service")
            .fetch_one(&mut *tx)
            .await?;
        let (epoch, head) = (text(&row, "epoch")?, int(&row, "revision")?);
        let known = query.epoch.as_deref() == Some(&epoch) && (0..=head).contains(&query.after);
        // The first page of all is a beginning as well.
        let reset = !known || query.after == 0;
        let after = if known { query.after } else { 0 };

        let mut sql = Sql::new(FEED_COLUMNS);
        sql.push("WHERE k.revision > ").bind(after);
        if reset {
            sql.push(" AND k.forgotten_at IS NULL");
        }
        sql.push(" ORDER BY k.revision LIMIT ").bind(limit + 1);
        let keys = sql.query().fetch_all(&mut *tx).await?;
        let mut sql = Sql::new(
            "SELECT name, owner, workspace, org, deleted_at, revision FROM agents WHERE revision > ",
        );
        sql.bind(after);
        if reset {
            sql.push(" AND deleted_at IS NULL");
        }
        sql.push(" ORDER BY revision LIMIT ").bind(limit + 1);
        let agents = sql.query().fetch_all(&mut *tx).await?;
        tx.commit().await?;

        let now = now();
        let mut changes = Vec::with_capacity(keys.len() + agents.len());
        for row in &keys {
            let forgotten = maybe_int(row, "last_used_at")?.is_some();
            let key = super::keys::key(row, now)?;
            let change = if forgotten {
                Change::NoKey { id: key.id }
            } else {
                let json = serde_json::to_string(&key.record()).unwrap_or_default();
                Change::Key { json }
            };
            changes.push((key.revision, change));
        }
        for row in &agents {
            let name = text(row, "name")?;
            let change = match maybe_int(row, "deleted_at")? {
                Some(_) => Change::NoAgent { name },
                None => {
                    let mut fields = serde_json::Map::new();
                    for field in ["owner", "workspace", "org"] {
                        if let Some(value) = maybe_text(row, field)? {
                            fields.insert(field.to_owned(), value.into());
                        }
                    }
                    let json = serde_json::Value::Object(fields).to_string();
                    Change::Agent { name, json }
                }
            };
            changes.push((int(row, "revision")?, change));
        }
        changes.sort_by_key(|(revision, _)| *revision);
        Ok(page(
            epoch,
            head,
            reset,
            &changes,
            usize::try_from(limit).unwrap_or(1),
        ))
    }
}

fn page(
    epoch: String,
    head: i64,
    reset: bool,
    changes: &[(i64, Change)],
    limit: usize,
) -> FeedPage {
    let mut lists: [String; 4] = Default::default();
    let [keys, no_keys, agents, no_agents] = &mut lists;
    let (mut bytes, mut taken, mut revision) = (0, 0, 0);
    for (at, change) in changes.iter().take(limit) {
        let (list, added) = match change {
            Change::Key { json } => (&mut *keys, json.clone()),
            Change::NoKey { id } => (&mut *no_keys, quoted(id)),
            Change::Agent { name, json } => (&mut *agents, format!("{}:{json}", quoted(name))),
            Change::NoAgent { name } => (&mut *no_agents, quoted(name)),
        };
        if !list.is_empty() {
            list.push(',');
        }
        list.push_str(&added);
        bytes += added.len();
        taken += 1;
        revision = *at;
        if bytes >= MAX_BYTES {
            break;
        }
    }
    let more = taken < changes.len();
    if !more {
        revision = head;
    }
    let mut body = String::with_capacity(bytes + 256);
    let _ = write!(
        body,
        "{{\"format\":\"portcullis-feed/1\",\"epoch\":{},\"revision\":{revision},\"reset\":{reset},\"more\":{more},\
         \"keys\":[{keys}],\"removed_keys\":[{no_keys}],\"agents\":{{{agents}}},\"removed_agents\":[{no_agents}]}}",
        quoted(&epoch)
    );
    FeedPage {
        epoch,
        revision,
        more,
        reset,
        changes: taken,
        body,
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

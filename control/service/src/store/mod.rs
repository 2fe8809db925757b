//! What is kept, in SQLite or PostgreSQL, by the same SQL.
//!
//! Every change of agents and keys goes through [`Write`], which holds a lock on the row `service` from its first statement to its
//! commit. So revisions are committed in their order, and whoever has seen revision R will never find a later change below it.
//! A change is answered only after its commit, which is durable: SQLite with `synchronous=FULL`, PostgreSQL with its default.

pub mod agents;
pub mod audit;
pub mod feed;
pub mod fleet;
pub mod keys;
pub mod people;
mod sql;
pub mod tokens;
pub mod usage;

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions, AnyRow};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::PgListener;
use sqlx::{
    Any, AnyPool, ConnectOptions as _, Executor as _, Row as _, SqlSafeStr as _, Transaction,
};
use tokio::sync::watch;

use crate::secret;

/// What is wrong with the database. Its words are for the log only.
#[derive(Debug)]
pub enum StoreError {
    /// The database says no, or does not answer.
    Database(sqlx::Error),
    /// It can't be brought to this program's tables.
    Migration(String),
    /// A row that this program did not write.
    Corrupt(&'static str),
}

impl std::fmt::Display for StoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Database(e) => write!(f, "the database: {e}"),
            Self::Migration(words) => write!(f, "the database's tables: {words}"),
            Self::Corrupt(what) => write!(f, "the database holds a {what} that can't be read"),
        }
    }
}

impl std::error::Error for StoreError {}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

/// What a store answers.
pub type Stored<T> = Result<T, StoreError>;

/// Who did something, and from where.
#[derive(Clone, Debug)]
pub struct Actor {
    /// A person's id, or `system`.
    pub person: String,
    /// How they proved it: `session`, `header`, `token:<id>`, `link`, `cli`, `system`.
    pub via: String,
    /// The peer's address.
    pub remote_addr: String,
}

impl Actor {
    /// The service itself, or whoever runs it.
    pub fn system(via: &str) -> Self {
        Self {
            person: "system".to_owned(),
            via: via.to_owned(),
            remote_addr: String::new(),
        }
    }
}

/// Which database it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One file, one replica.
    Sqlite,
    /// A server, any number of replicas.
    Postgres,
}

/// The database. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    read: AnyPool,
    write: AnyPool,
    kind: Kind,
    url: Arc<str>,
    revision: Arc<watch::Sender<i64>>,
    /// For CSRF tokens; the same on every replica.
    secret: Arc<str>,
}

/// Wakes other replicas.
const CHANNEL: &str = "portcullis_feed";

impl Store {
    /// Opens the database and brings its tables up to date.
    ///
    /// `url` is `postgres://…`, `sqlite:path` or a path.
    pub async fn open(url: &str) -> Stored<Self> {
        sqlx::any::install_default_drivers();
        let kind = match url.split_once(':') {
            Some(("postgres" | "postgresql", _)) => Kind::Postgres,
            _ => Kind::Sqlite,
        };
        let url = match kind {
            Kind::Postgres => url.to_owned(),
            Kind::Sqlite => {
                let path = url.strip_prefix("sqlite:").unwrap_or(url);
                let path = path.strip_prefix("//").unwrap_or(path);
                restrict(path).map_err(|e| StoreError::Migration(format!("{path}: {e}")))?;
                format!("sqlite://{path}?mode=rwc")
            }
        };
        let options = AnyConnectOptions::from_str(&url)?.disable_statement_logging();
        let pool = |size: u32| {
            AnyPoolOptions::new()
                .max_connections(size)
                .acquire_timeout(Duration::from_secs(10))
                .after_connect(move |connection, _| {
                    Box::pin(async move {
                        let settings = match kind {
                            // FULL: in WAL mode NORMAL may lose what was committed last when power fails.
                            Kind::Sqlite => {
                                "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA busy_timeout=10000; \
                                 PRAGMA cache_size=-32000; PRAGMA temp_store=MEMORY"
                            }
                            // A replica that hangs in a transaction must not keep the others waiting for ever.
                            Kind::Postgres => {
                                "SET idle_in_transaction_session_timeout = '15s'; SET lock_timeout = '10s'; \
                                 SET synchronous_commit = on"
                            }
                        };
                        connection.execute(settings).await?;
                        Ok(())
                    })
                })
        };
        let (read, write) = match kind {
            Kind::Postgres => {
                let pool = pool(20).connect_with(options).await?;
                (pool.clone(), pool)
            }
            Kind::Sqlite => {
                // SQLite has one writer; waiting for a connection is fairer than its busy handler.
                let write = pool(1).connect_with(options.clone()).await?;
                (pool(8).connect_with(options).await?, write)
            }
        };
        migrations(kind)
            .run(&write)
            .await
            .map_err(|e| StoreError::Migration(e.to_string()))?;
        sqlx::query(
            "INSERT INTO service (id, epoch, revision, secret, created_at) VALUES (1, $1, 0, $2, $3) ON CONFLICT DO NOTHING",
        )
        .bind(secret::base62(16))
        .bind(secret::base62(43))
        .bind(now())
        .execute(&write)
        .await?;
        let row = sqlx::query("SELECT revision, secret FROM service")
            .fetch_one(&read)
            .await?;
        Ok(Self {
            read,
            write,
            kind,
            url: url.into(),
            revision: Arc::new(watch::Sender::new(int(&row, "revision")?)),
            secret: text(&row, "secret")?.into(),
        })
    }

    /// Which database it is.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// A secret that all replicas share, for tokens that are not stored.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// Tells of each new revision.
    pub fn revisions(&self) -> watch::Receiver<i64> {
        self.revision.subscribe()
    }

    /// Begins a change of what filters follow, or of what is audited.
    pub async fn begin(&self, actor: &Actor) -> Stored<Write> {
        let mut tx = self.begin_quietly().await?;
        let row = sqlx::query("UPDATE service SET revision = revision RETURNING revision")
            .fetch_one(&mut *tx)
            .await?;
        let revision = int(&row, "revision")?;
        let row = sqlx::query("SELECT COALESCE(MAX(seq), 0) AS seq FROM audit")
            .fetch_one(&mut *tx)
            .await?;
        Ok(Write {
            tx,
            store: self.clone(),
            actor: actor.clone(),
            now: now(),
            revision,
            began_at: revision,
            seq: int(&row, "seq")?,
        })
    }

    /// Begins a change of what nobody follows: sessions, usage, contacts.
    async fn begin_quietly(&self) -> Stored<Transaction<'static, Any>> {
        let statement = match self.kind {
            // From the start, since a read lock can't be turned into a write lock when another came first.
            Kind::Sqlite => "BEGIN IMMEDIATE",
            Kind::Postgres => "BEGIN",
        };
        Ok(self.write.begin_with(statement).await?)
    }

    /// Begins to read, all of it from one moment.
    async fn snapshot(&self) -> Stored<Transaction<'static, Any>> {
        let statement = match self.kind {
            Kind::Sqlite => "BEGIN DEFERRED",
            Kind::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        };
        Ok(self.read.begin_with(statement).await?)
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Stored<()> {
        sqlx::query("SELECT 1 AS one").fetch_one(&self.read).await?;
        Ok(())
    }

    /// Looks for changes that other processes made, once.
    async fn look(&self) -> Stored<()> {
        let row = sqlx::query("SELECT revision FROM service")
            .fetch_one(&self.read)
            .await?;
        self.announce(int(&row, "revision")?);
        Ok(())
    }

    fn announce(&self, revision: i64) {
        self.revision.send_if_modified(|known| {
            let newer = revision > *known;
            if newer {
                *known = revision;
            }
            newer
        });
    }

    /// Follows the changes of other replicas for as long as the program runs: woken by PostgreSQL's NOTIFY, and looking
    /// once a second all the same, since a connection can be dead without anybody knowing.
    pub async fn follow(self) {
        let mut listener: Option<PgListener> = None;
        loop {
            if self.kind == Kind::Postgres && listener.is_none() {
                listener = self.listen().await;
            }
            if let Err(error) = self.look().await {
                tracing::warn!(%error, "can't look for changes");
            }
            let second = tokio::time::sleep(Duration::from_secs(1));
            match &mut listener {
                None => second.await,
                Some(live) => {
                    let lost = tokio::select! {
                        () = second => false,
                        heard = live.recv() => heard.is_err(),
                    };
                    if lost {
                        listener = None;
                    }
                }
            }
        }
    }

    async fn listen(&self) -> Option<PgListener> {
        let mut listener = PgListener::connect(&self.url).await.ok()?;
        listener.listen(CHANNEL).await.ok()?;
        Some(listener)
    }

    /// Gives the revisions a new history, so that every filter begins anew: after a backup was restored.
    pub async fn new_epoch(&self) -> Stored<String> {
        let epoch = secret::base62(16);
        let mut write = self.begin(&Actor::system("cli")).await?;
        sqlx::query("UPDATE service SET epoch = $1")
            .bind(epoch.clone())
            .execute(&mut *write.tx)
            .await?;
        write
            .audit(&audit::Act::new("service.new_epoch", "service"))
            .await?;
        write.next_revision();
        write.commit().await?;
        Ok(epoch)
    }

    /// Copies a SQLite database to a new file while the service runs. The copy has an epoch of its own, so that filters begin
    /// anew should it ever be put in the place of the original.
    pub async fn backup(&self, to: &str) -> Stored<()> {
        if self.kind != Kind::Sqlite {
            return Err(StoreError::Migration(
                "this is for SQLite; use pg_dump for PostgreSQL".to_owned(),
            ));
        }
        if std::path::Path::new(to).exists() {
            return Err(StoreError::Migration(format!("{to} is there already")));
        }
        // SQLite writes into an empty file, and this one nobody else can read.
        restrict(to).map_err(|e| StoreError::Migration(format!("{to}: {e}")))?;
        sqlx::query("VACUUM INTO $1")
            .bind(to.to_owned())
            .execute(&self.read)
            .await?;
        let copy = Box::pin(Self::open(to)).await?;
        copy.new_epoch().await?;
        sqlx::query("PRAGMA journal_mode=DELETE")
            .execute(&copy.write)
            .await
            .ok();
        copy.close().await;
        Ok(())
    }

    /// Ends all connections in order.
    pub async fn close(&self) {
        self.read.close().await;
        self.write.close().await;
    }
}

/// A change under way. Dropped without [`Write::commit`] it has not been.
pub struct Write {
    tx: Transaction<'static, Any>,
    store: Store,
    /// Who changes.
    pub actor: Actor,
    /// When, in seconds since 1970.
    pub now: i64,
    revision: i64,
    began_at: i64,
    seq: i64,
}

impl Write {
    /// A revision for one changed row.
    const fn next_revision(&mut self) -> i64 {
        self.revision += 1;
        self.revision
    }

    /// Makes it durable, then tells those who wait. The revision that it is part of.
    pub async fn commit(mut self) -> Stored<i64> {
        let changed = self.revision > self.began_at;
        if changed {
            sqlx::query("UPDATE service SET revision = $1")
                .bind(self.revision)
                .execute(&mut *self.tx)
                .await?;
            if self.store.kind == Kind::Postgres {
                // Sent by PostgreSQL when, and only when, the transaction commits.
                self.tx.execute("NOTIFY portcullis_feed").await?;
            }
        }
        self.tx.commit().await?;
        if changed {
            self.store.announce(self.revision);
        }
        Ok(self.revision)
    }
}

/// Seconds since 1970.
pub fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

fn migrations(kind: Kind) -> Migrator {
    let append_only = match kind {
        Kind::Sqlite => include_str!("../../migrations/0002_append_only.sqlite.sql"),
        Kind::Postgres => include_str!("../../migrations/0002_append_only.postgres.sql"),
    };
    let all = [
        (1, "base", include_str!("../../migrations/0001_base.sql")),
        (2, "append only", append_only),
    ];
    let all = all.into_iter().map(|(version, name, sql)| {
        Migration::new(
            version,
            name.into(),
            MigrationType::Simple,
            sql.into_sql_str(),
            false,
        )
    });
    Migrator::with_migrations(all.collect())
}

/// A database file is its owner's only, from the first moment on.
fn restrict(path: &str) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let made = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match made {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => Err(e),
        _ => Ok(()),
    }
}

fn int(row: &AnyRow, column: &'static str) -> Stored<i64> {
    Ok(row.try_get::<i64, _>(column)?)
}

fn maybe_int(row: &AnyRow, column: &'static str) -> Stored<Option<i64>> {
    Ok(row.try_get::<Option<i64>, _>(column)?)
}

fn text(row: &AnyRow, column: &'static str) -> Stored<String> {
    Ok(row.try_get::<String, _>(column)?)
}

fn maybe_text(row: &AnyRow, column: &'static str) -> Stored<Option<String>> {
    Ok(row.try_get::<Option<String>, _>(column)?)
}

/// A pattern for LIKE … ESCAPE '\' that finds the text anywhere.
fn contains(text: &str) -> String {
    let mut out = String::from("%");
    for c in text.chars().filter(|c| !c.is_control()) {
        if matches!(c, '%' | '_' | '\\') {
            out.push('\\');
        }
        out.extend(c.to_lowercase());
    }
    out.push('%');
    out
}

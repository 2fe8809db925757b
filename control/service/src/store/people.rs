//! People, what they were granted, and how they are signed in.

use std::collections::HashMap;

use sqlx::any::AnyRow;

use super::sql::Sql;
use super::{Store, Stored, Write, int, maybe_int, maybe_text, now, text};
use crate::access::Principal;
use crate::model::Person;

/// A session, of which only the digest of its token is stored.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// SHA-256 of the cookie's value.
    pub hash: String,
    /// Whose.
    pub person: String,
    /// Admin by their groups at the identity provider.
    pub group_admin: bool,
    /// Admin of these workspaces by their groups.
    pub group_workspaces: Vec<String>,
    /// Seconds since 1970.
    pub expires_at: i64,
}

/// A sign-in that has gone to the identity provider and not come back yet.
pub struct SignIn {
    /// That the ID token must carry.
    pub nonce: String,
    /// Of PKCE.
    pub verifier: String,
}

impl Store {
    /// Everybody, by id, after `after`.
    pub async fn people(&self, after: Option<&str>, limit: i64) -> Stored<Vec<Person>> {
        let mut sql = Sql::new("SELECT * FROM people WHERE id > ");
        sql.bind(after.unwrap_or_default())
            .push(" ORDER BY id LIMIT ")
            .bind(limit);
        let rows = sql.query().fetch_all(&self.read).await?;
        let mut people = rows.iter().map(person).collect::<Stored<Vec<_>>>()?;
        let mut sql = Sql::new("SELECT person, workspace FROM workspace_admins WHERE person IN ");
        sql.list(people.iter().map(|p| p.id.as_str()))
            .push(" ORDER BY workspace");
        let mut grants: HashMap<String, Vec<String>> = HashMap::new();
        for row in sql.query().fetch_all(&self.read).await? {
            grants
                .entry(text(&row, "person")?)
                .or_default()
                .push(text(&row, "workspace")?);
        }
        for person in &mut people {
            person.workspaces = grants.remove(&person.id).unwrap_or_default();
        }
        Ok(people)
    }

    /// One person.
    pub async fn person(&self, id: &str) -> Stored<Option<Person>> {
        let row = sqlx::query("SELECT * FROM people WHERE id = $1")
            .bind(id.to_owned())
            .fetch_optional(&self.read)
            .await?;
        let Some(mut found) = row.as_ref().map(person).transpose()? else {
            return Ok(None);
        };
        for row in sqlx::query(
            "SELECT workspace FROM workspace_admins WHERE person = $1 ORDER BY workspace",
        )
        .bind(id.to_owned())
        .fetch_all(&self.read)
        .await?
        {
            found.workspaces.push(text(&row, "workspace")?);
        }
        Ok(Some(found))
    }

    /// Whether anybody is admin by a grant made here.
    pub async fn has_admin(&self) -> Stored<bool> {
        let row =
            sqlx::query("SELECT COUNT(*) AS n FROM people WHERE admin = 1 AND disabled_at IS NULL")
                .fetch_one(&self.read)
                .await?;
        Ok(int(&row, "n")? > 0)
    }

    /// The rights of a person: what was granted here, and what comes from groups. `None`: may not sign in.
    pub async fn principal(
        &self,
        id: &str,
        group_admin: bool,
        group_workspaces: Vec<String>,
    ) -> Stored<Option<Principal>> {
        let row = sqlx::query("SELECT * FROM people WHERE id = $1")
            .bind(id.to_owned())
            .fetch_optional(&self.read)
            .await?;
        let person = row.as_ref().map(person).transpose()?;
        if person.as_ref().is_some_and(|p| p.disabled_at.is_some()) {
            return Ok(None);
        }
        let mut workspaces = group_workspaces;
        for row in sqlx::query("SELECT workspace FROM workspace_admins WHERE person = $1")
            .bind(id.to_owned())
            .fetch_all(&self.read)
            .await?
        {
            workspaces.push(text(&row, "workspace")?);
        }
        let admin = group_admin || person.is_some_and(|p| p.admin);
        Ok(Some(Principal::new(id, admin, workspaces)))
    }

    /// Who is signed in with that session token's digest.
    pub async fn session(&self, hash: &str) -> Stored<Option<Principal>> {
        let row = sqlx::query("SELECT person, group_admin, group_workspaces FROM sessions WHERE hash = $1 AND expires_at > $2")
            .bind(hash.to_owned())
            .bind(now())
            .fetch_optional(&self.read)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let workspaces = serde_json::from_str(&text(&row, "group_workspaces")?).unwrap_or_default();
        self.principal(
            &text(&row, "person")?,
            int(&row, "group_admin")? == 1,
            workspaces,
        )
        .await
    }

    /// Signs out.
    pub async fn end_session(&self, hash: &str) -> Stored<()> {
        let mut tx = self.begin_quietly().await?;
        sqlx::query("DELETE FROM sessions WHERE hash = $1")
            .bind(hash.to_owned())
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }

    /// Remembers a sign-in until it comes back, ten minutes at most.
    pub async fn begin_sign_in(&self, state_hash: &str, nonce: &str, verifier: &str) -> Stored<()> {
        let mut tx = self.begin_quietly().await?;
        sqlx::query("INSERT INTO sign_ins (state_hash, nonce, verifier, expires_at) VALUES ($1, $2, $3, $4)")
            .bind(state_hash.to_owned())
            .bind(nonce.to_owned())
            .bind(verifier.to_owned())
            .bind(now() + 600)
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }

    /// The sign-in of that state, which is good once.
    pub async fn take_sign_in(&self, state_hash: &str) -> Stored<Option<SignIn>> {
        let mut tx = self.begin_quietly().await?;
        let row = sqlx::query("DELETE FROM sign_ins WHERE state_hash = $1 AND expires_at > $2 RETURNING nonce, verifier")
            .bind(state_hash.to_owned())
            .bind(now())
            .fetch_optional(&mut *tx)
            .await?;
        let found = row
            .map(|row| {
                Ok::<_, super::StoreError>(SignIn {
                    nonce: text(&row, "nonce")?,
                    verifier: text(&row, "verifier")?,
                })
            })
            .transpose()?;
        tx.commit().await?;
        Ok(found)
    }

    /// Whether a one-time link is still good; whose it is, where that is settled.
    pub async fn link(&self, hash: &str) -> Stored<Option<Option<String>>> {
        let row = sqlx::query("SELECT person FROM links WHERE hash = $1 AND expires_at > $2")
            .bind(hash.to_owned())
            .bind(now())
            .fetch_optional(&self.read)
            .await?;
        row.map(|row| maybe_text(&row, "person")).transpose()
    }
}

impl Write {
    /// Makes a one-time link. For a person it comes in place of all earlier ones of theirs; those for the first admin stand beside
    /// each other, since every replica that starts prints one.
    pub async fn put_link(
        &mut self,
        hash: &str,
        person: Option<&str>,
        lifetime: i64,
    ) -> Stored<()> {
        if let Some(person) = person {
            let mut sql = Sql::new("DELETE FROM links WHERE person = ");
            sql.bind(person);
            sql.query().execute(&mut *self.tx).await?;
        }
        sqlx::query("INSERT INTO links (hash, person, expires_at) VALUES ($1, $2, $3)")
            .bind(hash.to_owned())
            .bind(person.map(str::to_owned))
            .bind(self.now + lifetime)
            .execute(&mut *self.tx)
            .await?;
        Ok(())
    }

    /// Forgets the links for the first admin: there is one.
    pub async fn drop_first_links(&mut self) -> Stored<()> {
        sqlx::query("DELETE FROM links WHERE person IS NULL")
            .execute(&mut *self.tx)
            .await?;
        Ok(())
    }

    /// Uses a one-time link up. `None`: it was not good any more.
    pub async fn take_link(&mut self, hash: &str) -> Stored<Option<Option<String>>> {
        let row =
            sqlx::query("DELETE FROM links WHERE hash = $1 AND expires_at > $2 RETURNING person")
                .bind(hash.to_owned())
                .bind(self.now)
                .fetch_optional(&mut *self.tx)
                .await?;
        row.map(|row| maybe_text(&row, "person")).transpose()
    }

    /// Writes down that the person has signed in.
    pub async fn insert_session(&mut self, session: &NewSession) -> Stored<()> {
        sqlx::query(
            "INSERT INTO people (id, admin, created_at, last_seen_at) VALUES ($1, 0, $2, $2) \
             ON CONFLICT (id) DO UPDATE SET last_seen_at = excluded.last_seen_at",
        )
        .bind(session.person.clone())
        .bind(self.now)
        .execute(&mut *self.tx)
        .await?;
        sqlx::query(
            "INSERT INTO sessions (hash, person, group_admin, group_workspaces, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(session.hash.clone())
        .bind(session.person.clone())
        .bind(i64::from(session.group_admin))
        .bind(serde_json::json!(session.group_workspaces).to_string())
        .bind(self.now)
        .bind(session.expires_at)
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Grants or takes away what a person may. Takes effect with their next request. `disabled` ends their sessions.
    pub async fn put_person(
        &mut self,
        id: &str,
        admin: bool,
        workspaces: &[String],
        disabled: bool,
    ) -> Stored<()> {
        let mut sql = Sql::new("INSERT INTO people (id, admin, created_at, disabled_at) VALUES (");
        sql.bind(id)
            .push(", ")
            .bind(i64::from(admin))
            .push(", ")
            .bind(self.now);
        sql.push(", ").bind(disabled.then_some(self.now));
        sql.push(
            ") ON CONFLICT (id) DO UPDATE SET admin = excluded.admin, \
             disabled_at = CASE WHEN excluded.disabled_at IS NULL THEN NULL ELSE COALESCE(people.disabled_at, excluded.disabled_at) END",
        );
        sql.query().execute(&mut *self.tx).await?;
        let mut sql = Sql::new("DELETE FROM workspace_admins WHERE person = ");
        sql.bind(id);
        sql.query().execute(&mut *self.tx).await?;
        for workspace in workspaces {
            sqlx::query("INSERT INTO workspace_admins (person, workspace) VALUES ($1, $2) ON CONFLICT DO NOTHING")
                .bind(id.to_owned())
                .bind(workspace.clone())
                .execute(&mut *self.tx)
                .await?;
        }
        if disabled {
            sqlx::query("DELETE FROM sessions WHERE person = $1")
                .bind(id.to_owned())
                .execute(&mut *self.tx)
                .await?;
        }
        Ok(())
    }

    /// Whether another admin than that person would remain.
    pub async fn has_other_admin(&mut self, id: &str) -> Stored<bool> {
        let row = sqlx::query(
            "SELECT COUNT(*) AS n FROM people WHERE admin = 1 AND disabled_at IS NULL AND id <> $1",
        )
        .bind(id.to_owned())
        .fetch_one(&mut *self.tx)
        .await?;
        Ok(int(&row, "n")? > 0)
    }

    /// What a person is within this change.
    pub async fn person(&mut self, id: &str) -> Stored<Option<Person>> {
        let row = sqlx::query("SELECT * FROM people WHERE id = $1")
            .bind(id.to_owned())
            .fetch_optional(&mut *self.tx)
            .await?;
        row.as_ref().map(person).transpose()
    }
}

fn person(row: &AnyRow) -> Stored<Person> {
    Ok(Person {
        id: text(row, "id")?,
        admin: int(row, "admin")? == 1,
        workspaces: Vec::new(),
        created_at: int(row, "created_at")?,
        last_seen_at: maybe_int(row, "last_seen_at")?,
        disabled_at: maybe_int(row, "disabled_at")?,
    })
}

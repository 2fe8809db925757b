//! Tokens for machines: `api` and `fleet`.

use sqlx::any::AnyRow;

use super::sql::Sql;
use super::{Store, Stored, Write, int, maybe_int, now, text};
use crate::access::Principal;
use crate::model::{Token, TokenKind};

const COLUMNS: &str = "SELECT id, hash, kind, person, name, read_only, created_at, created_by, expires_at, revoked_at FROM tokens ";

impl Store {
    /// The token of that id if it is good now, and the digest that the presented one must have.
    pub async fn good_token(&self, id: &str) -> Stored<Option<(Token, String)>> {
        let mut sql = Sql::new(COLUMNS);
        sql.push("WHERE revoked_at IS NULL AND id = ").bind(id);
        sql.push(" AND (expires_at IS NULL OR expires_at > ")
            .bind(now())
            .push(")");
        let row = sql.query().fetch_optional(&self.read).await?;
        row.map(|row| Ok((token(&row)?, text(&row, "hash")?)))
            .transpose()
    }

    /// Tokens: their own, or for an admin everybody's; by id, after `after`.
    pub async fn tokens(
        &self,
        principal: &Principal,
        kind: Option<TokenKind>,
        after: Option<&str>,
        limit: i64,
    ) -> Stored<Vec<Token>> {
        let mut sql = Sql::new(COLUMNS);
        sql.push("WHERE id > ").bind(after.unwrap_or_default());
        if let Some(kind) = kind {
            sql.push(" AND kind = ").bind(kind.as_str());
        }
        if !principal.admin {
            sql.push(" AND kind = 'api' AND person = ")
                .bind(principal.person.as_str());
        }
        sql.push(" ORDER BY id LIMIT ").bind(limit);
        let rows = sql.query().fetch_all(&self.read).await?;
        rows.iter().map(token).collect()
    }
}

impl Write {
    /// Stores a token.
    pub async fn insert_token(&mut self, token: &Token, hash: &str) -> Stored<()> {
        let mut sql = Sql::new(
            "INSERT INTO tokens (id, hash, kind, person, name, read_only, created_at, created_by, expires_at) VALUES (",
        );
        sql.bind(token.id.as_str())
            .push(", ")
            .bind(hash)
            .push(", ")
            .bind(token.kind.as_str());
        sql.push(", ")
            .bind(token.person.as_str())
            .push(", ")
            .bind(token.name.as_str());
        sql.push(", ")
            .bind(i64::from(token.read_only))
            .push(", ")
            .bind(token.created_at);
        sql.push(", ")
            .bind(token.created_by.as_str())
            .push(", ")
            .bind(token.expires_at)
            .push(")");
        sql.query().execute(&mut *self.tx).await?;
        Ok(())
    }

    /// The token of that id.
    pub async fn token(&mut self, id: &str) -> Stored<Option<Token>> {
        let mut sql = Sql::new(COLUMNS);
        sql.push("WHERE id = ").bind(id);
        let row = sql.query().fetch_optional(&mut *self.tx).await?;
        row.as_ref().map(token).transpose()
    }

    /// Makes a token worthless.
    pub async fn revoke_token(&mut self, id: &str) -> Stored<()> {
        sqlx::query("UPDATE tokens SET revoked_at = $1 WHERE id = $2 AND revoked_at IS NULL")
            .bind(self.now)
            .bind(id.to_owned())
            .execute(&mut *self.tx)
            .await?;
        Ok(())
    }
}

fn token(row: &AnyRow) -> Stored<Token> {
    Ok(Token {
        id: text(row, "id")?,
        kind: if text(row, "kind")? == "fleet" {
            TokenKind::Fleet
        } else {
            TokenKind::Api
        },
        person: text(row, "person")?,
        name: text(row, "name")?,
        read_only: int(row, "read_only")? == 1,
        created_at: int(row, "created_at")?,
        created_by: text(row, "created_by")?,
        expires_at: maybe_int(row, "expires_at")?,
        revoked_at: maybe_int(row, "revoked_at")?,
    })
}

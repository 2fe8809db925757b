//! Tokens for machines.

use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::keys::id_of;
use super::{Answer, Done, Idempotency, MAX_NAME, Manage, plain, remember, replay};
use crate::access::Principal;
use crate::model::{Token, TokenKind};
use crate::problem::{Fault, Problem};
use crate::secret;
use crate::store::audit::Act;
use portcullis_core::apikey::ApiKey;
use portcullis_core::config::Span;

/// A token to be.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenDraft {
    /// `api` acts as whoever makes it. `fleet` is for proxies, and made by admins.
    pub kind: TokenKind,
    /// For people.
    #[serde(default)]
    pub name: String,
    /// May look, and change nothing.
    #[serde(default)]
    pub read_only: bool,
    /// How long it is good: `90d`, or `never`. Absent: `365d`.
    pub expires: Option<String>,
}

/// A new token.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct MadeToken {
    /// The token itself. It is shown this once, and stored nowhere.
    pub token: String,
    /// Its record.
    pub record: Token,
}

impl Manage {
    /// Makes a token, for one who asks once.
    pub async fn create_token(&self, by: &Principal, draft: &TokenDraft) -> Done<MadeToken> {
        match self.create_token_once(by, draft, None).await? {
            Answer::New(made) => Ok(made),
            Answer::Again(_) => Err(Problem::Unavailable),
        }
    }

    /// Makes a token, however often that very request comes.
    pub async fn create_token_once(
        &self,
        by: &Principal,
        draft: &TokenDraft,
        key: Option<&Idempotency>,
    ) -> Done<Answer<MadeToken>> {
        if draft.kind == TokenKind::Fleet && !by.admin {
            return Err(Problem::Forbidden("fleet tokens are made by admins"));
        }
        let mut write = self.begin(by).await?;
        if let Some(answer) = replay(&mut write, by, key).await? {
            return Ok(Answer::Again(answer));
        }
        let mut faults = Vec::new();
        let name = plain("name", Some(&draft.name), MAX_NAME, &mut faults).unwrap_or_default();
        let expires = draft
            .expires
            .as_deref()
            .map(str::trim)
            .filter(|t| !t.is_empty())
            .unwrap_or("365d");
        let expires_at = match (expires, Span::parse(expires)) {
            ("never", _) => None,
            (_, Some(Span(span))) => Some(
                write
                    .now
                    .saturating_add(i64::try_from(span.as_secs()).unwrap_or(0)),
            ),
            (_, None) => {
                faults.push(Fault::new("expires", "write a time such as 90d, or never"));
                None
            }
        };
        if !faults.is_empty() {
            return Err(Problem::Invalid(faults));
        }
        let (id, text) = secret::key(draft.kind.prefix()).ok_or(Problem::Unavailable)?;
        let record = Token {
            id: id.to_string(),
            kind: draft.kind,
            person: by.person.clone(),
            name,
            read_only: draft.read_only,
            created_at: write.now,
            created_by: by.person.clone(),
            expires_at,
            revoked_at: None,
        };
        write.insert_token(&record, &secret::digest(&text)).await?;
        let details = json!({"kind": record.kind, "name": record.name, "read_only": record.read_only, "expires_at": expires_at});
        write
            .audit(&Act::new("token.create", format!("token:{}", record.id)).details(details))
            .await?;
        remember(&mut write, by, key, &json!({"record": record})).await?;
        write.commit().await?;
        Ok(Answer::New(MadeToken {
            token: text,
            record,
        }))
    }

    /// Makes a token worthless.
    pub async fn revoke_token(&self, by: &Principal, id: &str) -> Done<()> {
        let mut write = self.begin(by).await?;
        let token = write.token(id_of(id)).await?;
        let mine = |t: &Token| by.admin || (t.kind == TokenKind::Api && t.person == by.person);
        let token = token.filter(mine).ok_or(Problem::NotFound("token"))?;
        write.revoke_token(&token.id).await?;
        let details = json!({"kind": token.kind, "name": token.name});
        write
            .audit(&Act::new("token.revoke", format!("token:{}", token.id)).details(details))
            .await?;
        write.commit().await?;
        Ok(())
    }

    /// The token's record, if the presented text is that token and it is good now.
    pub async fn check_token(&self, kind: TokenKind, presented: &str) -> Done<Token> {
        let key = ApiKey::parse(presented, kind.prefix()).ok_or(Problem::Unauthenticated)?;
        let found = self.store.good_token(key.id.as_str()).await?;
        let (token, hash) = found.ok_or(Problem::Unauthenticated)?;
        if token.kind == kind && secret::same(&hash, &secret::digest(presented)) {
            Ok(token)
        } else {
            Err(Problem::Unauthenticated)
        }
    }
}

//! `/api/v1/keys`: API keys and service-account tokens.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Asked, List, Sent, limit, made};
use crate::app::App;
use crate::auth::Caller;
use crate::manage::{KeyDraft, MadeKey, Revoked, RotateDraft};
use crate::model::{Key, Scope, UsagePoint};
use crate::problem::{Problem, ProblemBody};
use crate::store::keys::{KeyCursor, KeyFilter};
use crate::store::now;
use crate::store::usage::UsageOf;

/// Which keys.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct KeyQuery {
    /// `agent:orders`, `workspace:…`, `org:…`, `user:…`, or only the word before the colon.
    scope: Option<String>,
    /// Of this owner.
    owner: Option<String>,
    /// Part of name, id, owner or scope.
    search: Option<String>,
    /// Only those that get somebody in, or will.
    #[serde(default)]
    live: bool,
    /// Live, and ending within so many days.
    ends_within: Option<i64>,
    /// Live, and not used for so many days.
    unused_for: Option<i64>,
    /// The `next` of the part before.
    after: Option<String>,
    /// At most so many: 1 to 1000.
    limit: Option<i64>,
}

impl KeyQuery {
    fn filter(&self) -> Result<KeyFilter, Problem> {
        const DAY: i64 = 86_400;
        let mut filter = KeyFilter {
            owner: self.owner.clone(),
            search: self.search.clone(),
            live: self.live,
            ends_before: self
                .ends_within
                .map(|d| now().saturating_add(d.saturating_mul(DAY))),
            unused_since: self
                .unused_for
                .map(|d| now().saturating_sub(d.saturating_mul(DAY))),
            ..KeyFilter::default()
        };
        match self.scope.as_deref().map(|s| (s, s.split_once(':'))) {
            None => {}
            Some((_, Some((kind, name)))) if Scope::new(kind, name).is_some() => {
                filter.scope = Scope::new(kind, name)
            }
            Some((kind, None)) if Scope::new(kind, "").is_some() => {
                filter.scope_kind = Some(kind.to_owned())
            }
            Some(_) => {
                return Err(Problem::invalid(
                    "scope",
                    "write it as agent:orders, workspace:…, org:… or user:…",
                ));
            }
        }
        Ok(filter)
    }
}

/// Why.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeDraft {
    /// In words, at most 500 bytes; for the audit log.
    #[schema(example = "leaked in a build log")]
    reason: Option<String>,
}

/// From when to when, and how fine.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct SpanQuery {
    /// Seconds since 1970. Absent: a day before `to`.
    from: Option<i64>,
    /// Seconds since 1970. Absent: now.
    to: Option<i64>,
    /// Seconds that a point counts, a multiple of 60. Absent: 3600. Minutes are kept for 3 days, hours for 400.
    step: Option<i64>,
}

/// A span of time that can be counted.
pub struct Span {
    pub from: i64,
    pub to: i64,
    pub step: i64,
}

impl SpanQuery {
    /// At most 2000 points.
    pub fn read(&self) -> Result<Span, Problem> {
        let to = self.to.unwrap_or_else(|| now().saturating_add(60));
        let from = self
            .from
            .unwrap_or_else(|| to.saturating_sub(86_400))
            .max(0);
        let step = self.step.unwrap_or(3600);
        if step < 60 || step % 60 != 0 {
            return Err(Problem::invalid("step", "must be a multiple of 60"));
        }
        if to < from || (to - from) / step > 2000 {
            return Err(Problem::invalid(
                "from",
                "there must be at most 2000 steps between `from` and `to`",
            ));
        }
        Ok(Span { from, to, step })
    }
}

/// The keys that you manage, the newest first.
#[utoipa::path(get, path = "/api/v1/keys", tag = "keys", params(KeyQuery), responses((status = 200, body = List<Key>), (status = "4XX", body = ProblemBody)))]
pub async fn list(
    State(app): State<App>,
    Caller(by): Caller,
    Asked(q): Asked<KeyQuery>,
) -> Result<Json<List<Key>>, Problem> {
    let limit = limit(q.limit);
    let after = match q.after.as_deref() {
        None => None,
        Some(text) => {
            Some(read_cursor(text).ok_or(Problem::invalid("after", "is no `next` of this list"))?)
        }
    };
    let keys = app
        .store()
        .keys(&by, &q.filter()?, after.as_ref(), limit + 1)
        .await?;
    Ok(Json(List::new(keys, limit, cursor)))
}

/// Where a list goes on after that key.
pub fn cursor(key: &Key) -> String {
    format!("{}.{}", key.created_at, key.id)
}

/// What [`cursor`] wrote.
pub fn read_cursor(text: &str) -> Option<KeyCursor> {
    let (created_at, id) = text.split_once('.')?;
    Some(KeyCursor {
        created_at: created_at.parse().ok()?,
        id: id.to_owned(),
    })
}

/// Makes a key, or with a `user` scope a service-account token. The secret is in this answer and nowhere else.
#[utoipa::path(post, path = "/api/v1/keys", tag = "keys", request_body = KeyDraft, params(("idempotency-key" = Option<String>, Header, description = "The same request with the same key is done once. The second answer lacks the secret.")), responses((status = 201, body = MadeKey), (status = "4XX", body = ProblemBody)))]
pub async fn create(
    State(app): State<App>,
    Caller(by): Caller,
    sent: Sent<KeyDraft>,
) -> Result<Response, Problem> {
    Ok(made(
        app.manage
            .create_key(&by, &sent.value, sent.idempotency.as_ref())
            .await?,
    ))
}

/// One key. The whole key may stand in place of its id.
#[utoipa::path(get, path = "/api/v1/keys/{id}", tag = "keys", params(("id" = String, Path,)), responses((status = 200, body = Key), (status = "4XX", body = ProblemBody)))]
pub async fn show(
    State(app): State<App>,
    Caller(by): Caller,
    Path(id): Path<String>,
) -> Result<Json<Key>, Problem> {
    Ok(Json(app.manage.key(&by, &id).await?))
}

/// Makes a key in place of one, which goes on working for a grace.
#[utoipa::path(post, path = "/api/v1/keys/{id}/rotate", tag = "keys", params(("id" = String, Path,), ("idempotency-key" = Option<String>, Header,)), request_body = RotateDraft, responses((status = 201, body = MadeKey), (status = "4XX", body = ProblemBody)))]
pub async fn rotate(
    State(app): State<App>,
    Caller(by): Caller,
    Path(id): Path<String>,
    sent: Sent<RotateDraft>,
) -> Result<Response, Problem> {
    Ok(made(
        app.manage
            .rotate_key(&by, &id, &sent.value, sent.idempotency.as_ref())
            .await?,
    ))
}

/// Makes a key worthless. When this has answered, it is durable; filters know within their interval.
#[utoipa::path(post, path = "/api/v1/keys/{id}/revoke", tag = "keys", params(("id" = String, Path,)), request_body = RevokeDraft, responses((status = 200, body = Key), (status = "4XX", body = ProblemBody)))]
pub async fn revoke(
    State(app): State<App>,
    Caller(by): Caller,
    Path(id): Path<String>,
    sent: Sent<RevokeDraft>,
) -> Result<Json<Key>, Problem> {
    Ok(Json(
        app.manage
            .revoke_key(&by, &id, sent.value.reason.as_deref())
            .await?,
    ))
}

/// Makes all keys of an owner worthless, and their service-account tokens, as far as you manage them.
#[utoipa::path(post, path = "/api/v1/owners/{owner}/revoke", tag = "keys", params(("owner" = String, Path,)), request_body = RevokeDraft, responses((status = 200, body = Revoked), (status = "4XX", body = ProblemBody)))]
pub async fn revoke_owner(
    State(app): State<App>,
    Caller(by): Caller,
    Path(owner): Path<String>,
    sent: Sent<RevokeDraft>,
) -> Result<Json<Revoked>, Problem> {
    Ok(Json(
        app.manage
            .revoke_owner(&by, &owner, sent.value.reason.as_deref())
            .await?,
    ))
}

/// Calls with a key over time.
#[utoipa::path(get, path = "/api/v1/keys/{id}/usage", tag = "usage", params(("id" = String, Path,), SpanQuery), responses((status = 200, body = Vec<UsagePoint>), (status = "4XX", body = ProblemBody)))]
pub async fn usage(
    State(app): State<App>,
    Caller(by): Caller,
    Path(id): Path<String>,
    Asked(q): Asked<SpanQuery>,
) -> Result<Json<Vec<UsagePoint>>, Problem> {
    let key = app.manage.key(&by, &id).await?;
    let Span { from, to, step } = q.read()?;
    Ok(Json(
        app.store()
            .usage(UsageOf::Key(&key.id), from, to, step)
            .await?,
    ))
}

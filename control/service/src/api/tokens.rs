//! `/api/v1/tokens`: for machines that use this API, and for proxies.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::{Asked, List, Paging, Sent, made};
use crate::app::App;
use crate::auth::Caller;
use crate::manage::{MadeToken, TokenDraft};
use crate::model::Token;
use crate::problem::{Problem, ProblemBody};

/// Your tokens; for an admin everybody's.
#[utoipa::path(get, path = "/api/v1/tokens", tag = "tokens", params(Paging), responses((status = 200, body = List<Token>), (status = "4XX", body = ProblemBody)))]
pub async fn list(
    State(app): State<App>,
    Caller(by): Caller,
    Asked(q): Asked<Paging>,
) -> Result<Json<List<Token>>, Problem> {
    let limit = q.limit();
    let tokens = app
        .store()
        .tokens(&by, None, q.after.as_deref(), limit + 1)
        .await?;
    Ok(Json(List::new(tokens, limit, |t| t.id.clone())))
}

/// Makes a token. It is in this answer and nowhere else.
#[utoipa::path(post, path = "/api/v1/tokens", tag = "tokens", request_body = TokenDraft, params(("idempotency-key" = Option<String>, Header, description = "The same request with the same key is done once. The second answer lacks the token.")), responses((status = 201, body = MadeToken), (status = "4XX", body = ProblemBody)))]
pub async fn create(
    State(app): State<App>,
    Caller(by): Caller,
    sent: Sent<TokenDraft>,
) -> Result<Response, Problem> {
    Ok(made(
        app.manage
            .create_token_once(&by, &sent.value, sent.idempotency.as_ref())
            .await?,
    ))
}

/// Makes a token worthless.
#[utoipa::path(delete, path = "/api/v1/tokens/{id}", tag = "tokens", params(("id" = String, Path,)), responses((status = 204), (status = "4XX", body = ProblemBody)))]
pub async fn revoke(
    State(app): State<App>,
    Caller(by): Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    app.manage.revoke_token(&by, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

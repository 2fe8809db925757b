//! `/api/v1/agents`.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use super::keys::{Span, SpanQuery};
use super::{Asked, List, Sent, limit, made};
use crate::app::App;
use crate::auth::Caller;
use crate::manage::AgentDraft;
use crate::model::{Agent, UsagePoint};
use crate::problem::{Problem, ProblemBody};
use crate::store::usage::UsageOf;

/// Which agents.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct AgentQuery {
    /// Part of name, owner, workspace or description.
    search: Option<String>,
    /// The `next` of the part before.
    after: Option<String>,
    /// At most so many: 1 to 1000.
    limit: Option<i64>,
}

/// The agents that you manage, by name.
#[utoipa::path(get, path = "/api/v1/agents", tag = "agents", params(AgentQuery), responses((status = 200, body = List<Agent>), (status = "4XX", body = ProblemBody)))]
pub async fn list(
    State(app): State<App>,
    Caller(by): Caller,
    Asked(q): Asked<AgentQuery>,
) -> Result<Json<List<Agent>>, Problem> {
    let limit = limit(q.limit);
    let agents = app
        .store()
        .agents(&by, q.search.as_deref(), q.after.as_deref(), limit + 1)
        .await?;
    Ok(Json(List::new(agents, limit, |a| a.name.clone())))
}

/// Registers an agent.
#[utoipa::path(post, path = "/api/v1/agents", tag = "agents", request_body = AgentDraft, params(("idempotency-key" = Option<String>, Header,)), responses((status = 201, body = Agent), (status = "4XX", body = ProblemBody)))]
pub async fn create(
    State(app): State<App>,
    Caller(by): Caller,
    sent: Sent<AgentDraft>,
) -> Result<Response, Problem> {
    Ok(made(
        app.manage
            .create_agent(&by, &sent.value, sent.idempotency.as_ref())
            .await?,
    ))
}

/// One agent.
#[utoipa::path(get, path = "/api/v1/agents/{name}", tag = "agents", params(("name" = String, Path,)), responses((status = 200, body = Agent), (status = "4XX", body = ProblemBody)))]
pub async fn show(
    State(app): State<App>,
    Caller(by): Caller,
    Path(name): Path<String>,
) -> Result<Json<Agent>, Problem> {
    Ok(Json(app.manage.agent(&by, &name).await?))
}

/// Gives an agent another owner, workspace, organisation or description. What is left out is none.
#[utoipa::path(put, path = "/api/v1/agents/{name}", tag = "agents", params(("name" = String, Path,)), request_body = AgentDraft, responses((status = 200, body = Agent), (status = "4XX", body = ProblemBody)))]
pub async fn update(
    State(app): State<App>,
    Caller(by): Caller,
    Path(name): Path<String>,
    sent: Sent<AgentDraft>,
) -> Result<Json<Agent>, Problem> {
    Ok(Json(
        app.manage.update_agent(&by, &name, &sent.value).await?,
    ))
}

/// Takes an agent out and revokes its keys.
#[utoipa::path(delete, path = "/api/v1/agents/{name}", tag = "agents", params(("name" = String, Path,)), responses((status = 204), (status = "4XX", body = ProblemBody)))]
pub async fn delete(
    State(app): State<App>,
    Caller(by): Caller,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    app.manage.delete_agent(&by, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Calls of an agent over time, with keys of this service.
#[utoipa::path(get, path = "/api/v1/agents/{name}/usage", tag = "usage", params(("name" = String, Path,), SpanQuery), responses((status = 200, body = Vec<UsagePoint>), (status = "4XX", body = ProblemBody)))]
pub async fn usage(
    State(app): State<App>,
    Caller(by): Caller,
    Path(name): Path<String>,
    Asked(q): Asked<SpanQuery>,
) -> Result<Json<Vec<UsagePoint>>, Problem> {
    let agent = app.manage.agent(&by, &name).await?;
    let Span { from, to, step } = q.read()?;
    Ok(Json(
        app.store()
            .usage(UsageOf::Agent(&agent.name), from, to, step)
            .await?,
    ))
}

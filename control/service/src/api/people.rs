//! `/api/v1/me` and `/api/v1/people`.

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Asked, List, Paging, Sent};
use crate::app::App;
use crate::auth::Caller;
use crate::manage::PersonDraft;
use crate::model::Person;
use crate::problem::{Problem, ProblemBody};

/// Who you are here.
#[derive(Debug, Serialize, ToSchema)]
pub struct Me {
    person: String,
    admin: bool,
    workspaces: Vec<String>,
    read_only: bool,
}

/// Who you are here.
#[utoipa::path(get, path = "/api/v1/me", tag = "people", responses((status = 200, body = Me), (status = "4XX", body = ProblemBody)))]
pub async fn me(Caller(by): Caller) -> Json<Me> {
    Json(Me {
        workspaces: by.workspaces().map(str::to_owned).collect(),
        admin: by.admin,
        read_only: by.read_only,
        person: by.person,
    })
}

/// Everybody; for admins.
#[utoipa::path(get, path = "/api/v1/people", tag = "people", params(Paging), responses((status = 200, body = List<Person>), (status = "4XX", body = ProblemBody)))]
pub async fn list(
    State(app): State<App>,
    Caller(by): Caller,
    Asked(q): Asked<Paging>,
) -> Result<Json<List<Person>>, Problem> {
    if !by.admin {
        return Err(Problem::Forbidden("people are listed for admins"));
    }
    let limit = q.limit();
    let people = app.store().people(q.after.as_deref(), limit + 1).await?;
    Ok(Json(List::new(people, limit, |p| p.id.clone())))
}

/// Grants or takes away what a person may; for admins.
#[utoipa::path(put, path = "/api/v1/people/{id}", tag = "people", params(("id" = String, Path,)), request_body = PersonDraft, responses((status = 200, body = Person), (status = "4XX", body = ProblemBody)))]
pub async fn update(
    State(app): State<App>,
    Caller(by): Caller,
    Path(id): Path<String>,
    sent: Sent<PersonDraft>,
) -> Result<Json<Person>, Problem> {
    Ok(Json(app.manage.put_person(&by, &id, &sent.value).await?))
}

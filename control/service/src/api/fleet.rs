//! `/api/v1/fleet`.

use axum::Json;
use axum::extract::State;

use super::{Asked, List, Paging};
use crate::app::App;
use crate::auth::Caller;
use crate::model::Follower;
use crate::problem::{Problem, ProblemBody};

/// The proxies that follow the feed; for admins.
#[utoipa::path(get, path = "/api/v1/fleet", tag = "fleet", params(Paging), responses((status = 200, body = List<Follower>), (status = "4XX", body = ProblemBody)))]
pub async fn list(
    State(app): State<App>,
    Caller(by): Caller,
    Asked(q): Asked<Paging>,
) -> Result<Json<List<Follower>>, Problem> {
    if !by.admin {
        return Err(Problem::Forbidden("the fleet is shown to admins"));
    }
    let limit = q.limit();
    let all = app.store().followers(q.after.as_deref(), limit + 1).await?;
    Ok(Json(List::new(all, limit, |f| f.instance.clone())))
}

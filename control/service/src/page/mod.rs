//! The web page: server-rendered, with htmx for what should not load a whole page. It works without scripts.

mod admin;
mod agents;
mod assets;
mod chart;
mod filters;
mod frame;
mod key_lists;
mod keys;
mod signin;

use axum::Router;
use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};

use self::frame::{ErrorPage, Frame, show};
use crate::access::Principal;
use crate::app::App;
use crate::auth::Caller;
use crate::problem::{Fault, Problem};

/// The page's routes.
pub fn router() -> Router<App> {
    Router::new()
        .route("/", get(|| async { Redirect::to("/agents") }))
        .route("/signin", get(signin::show))
        .route("/signin/oidc", get(signin::begin))
        .route("/signin/callback", get(signin::callback))
        .route("/welcome", get(signin::welcome).post(signin::use_link))
        .route("/signout", post(signin::sign_out))
        .route("/agents", get(agents::list).post(agents::create))
        .route("/agents/new", get(agents::new))
        .route("/agents/{name}", get(agents::details))
        .route("/agents/{name}/keys", post(agents::create_key))
        .route("/agents/{name}/edit", get(agents::edit).post(agents::save))
        .route(
            "/agents/{name}/delete",
            get(agents::ask_delete).post(agents::delete),
        )
        .route(
            "/keys",
            get(key_lists::shared).post(key_lists::create_shared),
        )
        .route(
            "/service-accounts",
            get(key_lists::accounts).post(key_lists::create_account),
        )
        .route("/keys/{id}", get(keys::details))
        .route(
            "/keys/{id}/rotate",
            get(keys::ask_rotate).post(keys::rotate),
        )
        .route(
            "/keys/{id}/revoke",
            get(keys::ask_revoke).post(keys::revoke),
        )
        .route(
            "/owners/revoke",
            get(keys::ask_revoke_owner).post(keys::revoke_owner),
        )
        .route("/attention", get(key_lists::attention))
        .route("/audit", get(admin::audit))
        .route("/fleet", get(admin::fleet).post(admin::create_fleet_token))
        .route("/tokens", get(admin::tokens).post(admin::create_token))
        .route(
            "/tokens/{id}/revoke",
            get(admin::ask_revoke_token).post(admin::revoke_token),
        )
        .route("/people", get(admin::people).post(admin::save_person))
        .merge(assets::router())
}

/// What is not there: a problem for programs, a page for people.
pub async fn not_found(uri: Uri) -> Response {
    if uri.path().starts_with("/api/") {
        return Problem::NotFound("resource").into_response();
    }
    Failed(Problem::NotFound("page"), None).into_response()
}

/// Someone signed in who looks at a page; anybody else is sent to sign in.
pub struct Viewer(pub Principal);

impl FromRequestParts<App> for Viewer {
    type Rejection = Failed;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failed> {
        match <Caller as FromRequestParts<App>>::from_request_parts(parts, app).await {
            Ok(Caller(by)) => Ok(Self(by)),
            Err(problem) => Err(Failed(problem, None)),
        }
    }
}

impl OptionalFromRequestParts<App> for Viewer {
    type Rejection = std::convert::Infallible;
    async fn from_request_parts(
        parts: &mut Parts,
        app: &App,
    ) -> Result<Option<Self>, Self::Rejection> {
        let caller = <Caller as FromRequestParts<App>>::from_request_parts(parts, app).await;
        Ok(caller.ok().map(|Caller(by)| Self(by)))
    }
}

/// A problem as a page.
pub struct Failed(pub Problem, pub Option<Box<Principal>>);

impl From<Problem> for Failed {
    fn from(problem: Problem) -> Self {
        Self(problem, None)
    }
}

impl From<crate::store::StoreError> for Failed {
    fn from(error: crate::store::StoreError) -> Self {
        Self(error.into(), None)
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let Self(problem, me) = self;
        if matches!(problem, Problem::Unauthenticated) {
            // htmx follows a redirect inside the page; this makes the whole page go there.
            return ([("hx-redirect", "/signin")], Redirect::to("/signin")).into_response();
        }
        let title = match problem.status() {
            StatusCode::NOT_FOUND => "There is nothing here",
            StatusCode::FORBIDDEN => "You may not do this",
            StatusCode::TOO_MANY_REQUESTS => "Too often",
            StatusCode::SERVICE_UNAVAILABLE => "Not available right now",
            _ => "That did not work",
        };
        let page = ErrorPage {
            frame: Frame::new(title, me.as_deref(), ""),
            words: problem.detail(),
        };
        (problem.status(), show(&page)).into_response()
    }
}

/// What a page answers.
type Shown = Result<Response, Failed>;

/// The faults of what was sent; any other problem goes on.
fn faults_of(problem: Problem) -> Result<Vec<Fault>, Failed> {
    match problem {
        Problem::Invalid(faults) => Ok(faults),
        Problem::Conflict(words) => Ok(vec![Fault::new("", words)]),
        Problem::Forbidden(words) => Ok(vec![Fault::new("", words)]),
        other => Err(Failed(other, None)),
    }
}

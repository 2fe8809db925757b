//! The HTTP API under `/api/v1`. Its description is made from the code: `/api/v1/openapi.json`.

mod agents;
mod audit;
mod feed;
mod fleet;
mod keys;
mod people;
mod tokens;

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) use self::audit::{AuditQuery, rows as audit_rows};
pub(crate) use self::keys::{cursor as key_cursor, read_cursor as read_key_cursor};

use crate::app::App;
use crate::auth::session;
use crate::manage::{Answer, Idempotency};
use crate::problem::Problem;
use crate::secret;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Portcullis key service",
        description = "Agents, API keys and service-account tokens; the feed that proxies follow; usage and audit. \
            Errors are `application/problem+json` (RFC 9457). Lists go on with `after` where `next` says. \
            POST requests that make something take an `Idempotency-Key`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    security(("api_token" = []), ("session" = [])),
    modifiers(&Schemes),
    components(schemas(crate::problem::ProblemBody))
)]
struct Description;

struct Schemes;

impl Modify for Schemes {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        let bearer = |words: &str| {
            let scheme = HttpBuilder::new()
                .scheme(HttpAuthScheme::Bearer)
                .description(Some(words));
            SecurityScheme::Http(scheme.build())
        };
        components.add_security_scheme("api_token", bearer("a `gapi_` token: acts as its person"));
        components.add_security_scheme(
            "fleet_token",
            bearer("a `gfleet_` token: the feed and usage"),
        );
        let cookie = ApiKeyValue::new(session::name(true));
        components.add_security_scheme("session", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
    }
}

fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(agents::list, agents::create))
        .routes(routes!(agents::show, agents::update, agents::delete))
        .routes(routes!(agents::usage))
        .routes(routes!(keys::list, keys::create))
        .routes(routes!(keys::show))
        .routes(routes!(keys::rotate))
        .routes(routes!(keys::revoke))
        .routes(routes!(keys::revoke_owner))
        .routes(routes!(keys::usage))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::revoke))
        .routes(routes!(people::me))
        .routes(routes!(people::list))
        .routes(routes!(people::update))
        .routes(routes!(audit::list))
        .routes(routes!(audit::export))
        .routes(routes!(fleet::list))
        .routes(routes!(feed::feed))
        .routes(routes!(feed::usage))
}

/// The API's description: OpenAPI 3.1.
pub fn openapi() -> utoipa::openapi::OpenApi {
    routes().split_for_parts().1
}

/// The API's routes.
pub fn router() -> Router<App> {
    let (router, description) = routes().split_for_parts();
    let text = description.to_pretty_json().unwrap_or_default();
    let answer = move || {
        let text = text.clone();
        async move { ([(header::CONTENT_TYPE, "application/json")], text) }
    };
    router.route("/api/v1/openapi.json", get(answer))
}

/// A list and where it goes on.
#[derive(Debug, Serialize, ToSchema)]
pub struct List<T> {
    /// Some of it.
    pub items: Vec<T>,
    /// Ask again with `after` set to this; null: that was all.
    pub next: Option<String>,
}

impl<T> List<T> {
    /// From one item more than was asked for, if there is one.
    pub fn new(mut items: Vec<T>, limit: i64, cursor: impl FnOnce(&T) -> String) -> Self {
        let limit = usize::try_from(limit).unwrap_or(1);
        let more = items.len() > limit;
        items.truncate(limit);
        let next = if more { items.last().map(cursor) } else { None };
        Self { items, next }
    }
}

/// Which part of a list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Paging {
    /// The `next` of the part before.
    pub after: Option<String>,
    /// At most so many: 1 to 1000.
    pub limit: Option<i64>,
}

impl Paging {
    /// How many.
    pub fn limit(&self) -> i64 {
        limit(self.limit)
    }
}

/// How many items a request may have; 50 if it does not say.
pub fn limit(asked: Option<i64>) -> i64 {
    asked.unwrap_or(50).clamp(1, 1000)
}

/// The query, or a problem that names what is wrong with it.
pub struct Asked<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<App> for Asked<T> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        match Query::from_request_parts(parts, app).await {
            Ok(Query(value)) => Ok(Self(value)),
            Err(error) => Err(Problem::invalid("query", error.body_text())),
        }
    }
}

/// A JSON body, or a problem that names what is wrong with it; and how to recognise the request when it comes again.
pub struct Sent<T> {
    /// What was sent.
    pub value: T,
    /// If the caller wants it.
    pub idempotency: Option<Idempotency>,
}

impl<T: DeserializeOwned> FromRequest<App> for Sent<T> {
    type Rejection = Problem;
    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let headers = request.headers();
        let kind = headers
            .get(header::CONTENT_TYPE)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default();
        // A form can't send this type, so no other site's form gets anything done here.
        let is_json = kind
            .split(';')
            .next()
            .is_some_and(|k| k.trim().eq_ignore_ascii_case("application/json"));
        let path = format!("{} {}", request.method(), request.uri());
        let key = idempotency_key(headers)?;
        let body = Bytes::from_request(request, app)
            .await
            .map_err(|error| Problem::invalid("body", error.body_text()))?;
        if !is_json && !body.is_empty() {
            return Err(Problem::invalid("content-type", "must be application/json"));
        }
        let text: &[u8] = if body.is_empty() { b"{}" } else { &body };
        let value = serde_json::from_slice(text)
            .map_err(|error| Problem::invalid("body", error.to_string()))?;
        let idempotency = key.map(|key| Idempotency {
            key_hash: secret::digest(&key),
            request_hash: secret::digest(&format!("{path}\n{}", String::from_utf8_lossy(&body))),
        });
        Ok(Self { value, idempotency })
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    match value.to_str() {
        Ok(key) if (8..=255).contains(&key.len()) => Ok(Some(key.to_owned())),
        _ => Err(Problem::invalid(
            "idempotency-key",
            "must be 8 to 255 printable ASCII characters",
        )),
    }
}

/// 201 with what was made, or with what was made when this request came before.
fn made<T: Serialize>(answer: Answer<T>) -> Response {
    match answer {
        Answer::New(value) => (StatusCode::CREATED, Json(value)).into_response(),
        Answer::Again(value) => {
            let mut response = (StatusCode::CREATED, Json(value)).into_response();
            let yes = HeaderValue::from_static("true");
            response.headers_mut().insert("idempotency-replayed", yes);
            response
        }
    }
}

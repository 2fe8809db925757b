//! What the API answers when it says no: RFC 9457.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::store::StoreError;

/// One fault in what was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Fault {
    /// The member that is wrong: `expires_at`, `rate_limit.per`.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

impl Fault {
    /// A fault of that member.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            message: message.into(),
        }
    }
}

/// Why something was not done.
#[derive(Debug)]
pub enum Problem {
    /// No credential, or none that is good.
    Unauthenticated,
    /// They may not, and know that it is there.
    Forbidden(&'static str),
    /// There is none, or none that they may know of.
    NotFound(&'static str),
    /// It can't be done as things stand.
    Conflict(String),
    /// What was sent makes no sense.
    Invalid(Vec<Fault>),
    /// An idempotency key was used for something else.
    KeyReused,
    /// Too often; seconds to wait.
    TooMany(u64),
    /// The database, or the identity provider.
    Unavailable,
}

impl Problem {
    /// One fault.
    pub fn invalid(field: &str, message: impl Into<String>) -> Self {
        Self::Invalid(vec![Fault::new(field, message)])
    }

    /// The status it is answered with.
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::Invalid(_) | Self::KeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// In words, for people.
    pub fn detail(&self) -> String {
        match self {
            Self::Unauthenticated => "sign in, or send a token that is good".to_owned(),
            Self::Forbidden(why) => (*why).to_owned(),
            Self::NotFound(what) => format!("there is no such {what}, or you may not see it"),
            Self::Conflict(why) => why.clone(),
            Self::Invalid(faults) => {
                let all: Vec<String> = faults
                    .iter()
                    .map(|f| format!("{}: {}", f.field, f.message))
                    .collect();
                all.join("; ")
            }
            Self::KeyReused => "this Idempotency-Key was used for another request".to_owned(),
            Self::TooMany(seconds) => format!("too often; try again in {seconds} s"),
            Self::Unavailable => {
                "the service can't do this right now; nothing was changed".to_owned()
            }
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        // The words may hold names of tables; they are for whoever runs the service.
        tracing::error!(%error, "a request failed");
        Self::Unavailable
    }
}

/// A problem as it is sent: `application/problem+json`.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProblemBody {
    /// Always `about:blank`: the status says it.
    #[serde(rename = "type")]
    #[schema(example = "about:blank")]
    pub kind: &'static str,
    /// The status in words.
    pub title: String,
    /// The status.
    pub status: u16,
    /// What is wrong, in words.
    pub detail: String,
    /// What is wrong with what was sent, one by one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Fault>,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status();
        let body = ProblemBody {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or_default().to_owned(),
            status: status.as_u16(),
            detail: self.detail(),
            errors: match &self {
                Self::Invalid(faults) => faults.clone(),
                _ => Vec::new(),
            },
        };
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        match self {
            Self::TooMany(seconds) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            }
            Self::Unauthenticated => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::Unavailable => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}

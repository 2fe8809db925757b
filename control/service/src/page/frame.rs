//! What every page has around it.

use askama::Template;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};

use super::assets;
use crate::access::Principal;

/// The head and the navigation.
pub struct Frame {
    pub title: String,
    pub me: Option<Me>,
    pub style: &'static str,
    pub script: &'static str,
    pub htmx: &'static str,
    here: &'static str,
}

/// Who looks at it.
pub struct Me {
    pub person: String,
    pub admin: bool,
    session: bool,
}

impl Frame {
    pub fn new(title: impl Into<String>, me: Option<&Principal>, here: &'static str) -> Self {
        Self {
            title: title.into(),
            me: me.map(|me| Me {
                person: me.person.clone(),
                admin: me.admin,
                session: me.via == "session",
            }),
            style: assets::style(),
            script: assets::script(),
            htmx: assets::htmx(),
            here,
        }
    }

    pub fn places(&self) -> Vec<(&'static str, &'static str)> {
        let mut places = vec![
            ("/agents", "Agents"),
            ("/service-accounts", "Service accounts"),
            ("/keys", "All keys"),
            ("/attention", "Attention"),
            ("/audit", "Audit"),
            ("/tokens", "API tokens"),
        ];
        if self.me.as_ref().is_some_and(|me| me.admin) {
            places.extend([("/fleet", "Fleet"), ("/people", "People")]);
        }
        places
    }

    pub fn is_here(&self, path: &str) -> bool {
        self.here == path
    }

    /// Whom the proxy in front names, it names again with the next request.
    pub fn can_sign_out(&self) -> bool {
        self.me.as_ref().is_some_and(|me| me.session)
    }
}

/// A problem.
#[derive(Template)]
#[template(path = "error.html")]
pub struct ErrorPage {
    pub frame: Frame,
    pub words: String,
}

/// A page as an answer.
pub fn show(page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => Html(text).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page can't be shown");
            (
                StatusCode::INTERNAL_SERVER_ERROR,
                "this page can't be shown\n",
            )
                .into_response()
        }
    }
}

/// Something to copy.
pub struct Snippet {
    pub title: &'static str,
    pub text: String,
}

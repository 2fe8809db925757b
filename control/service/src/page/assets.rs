//! Script and style, in the program. Their names change with their content, so browsers may keep them for ever.

use std::sync::LazyLock;

use axum::Router;
use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::Failed;
use crate::app::App;
use crate::problem::Problem;
use crate::secret;

struct Asset {
    path: String,
    kind: &'static str,
    content: &'static str,
}

impl Asset {
    fn new(name: &str, kind: &'static str, content: &'static str) -> Self {
        let digest: String = secret::digest(content).chars().take(12).collect();
        Self {
            path: format!("/assets/{digest}/{name}"),
            kind,
            content,
        }
    }
}

const SCRIPT: &str = "text/javascript; charset=utf-8";

static STYLE: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new(
        "style.css",
        "text/css; charset=utf-8",
        include_str!("../../assets/style.css"),
    )
});
static APP: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("app.js", SCRIPT, include_str!("../../assets/app.js")));
static HTMX: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new(
        "htmx.js",
        SCRIPT,
        include_str!("../../assets/htmx-2.0.11.min.js"),
    )
});

pub fn style() -> &'static str {
    &STYLE.path
}

pub fn script() -> &'static str {
    &APP.path
}

pub fn htmx() -> &'static str {
    &HTMX.path
}

pub fn router() -> Router<App> {
    Router::new().route("/assets/{digest}/{name}", get(asset))
}

async fn asset(Path((digest, name)): Path<(String, String)>) -> Response {
    let path = format!("/assets/{digest}/{name}");
    match [&STYLE, &APP, &HTMX].into_iter().find(|a| a.path == path) {
        None => Failed(Problem::NotFound("page"), None).into_response(),
        Some(asset) => {
            let headers = [
                (header::CONTENT_TYPE, asset.kind),
                (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
            ];
            (headers, asset.content).into_response()
        }
    }
}

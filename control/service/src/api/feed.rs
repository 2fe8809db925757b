//! `/api/v1/feed` and `/api/v1/usage`: what proxies ask for, and what they report.

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tokio::time::Instant;
use utoipa::ToSchema;

use super::{Asked, Sent};
use crate::app::App;
use crate::auth::Fleet;
use crate::problem::{Problem, ProblemBody};
use crate::store::feed::{FeedQuery, MAX_RECORDS};
use crate::store::fleet::Contact;
use crate::store::now;
use crate::store::usage::Use;

/// The longest a request is held.
const MAX_WAIT: u64 = 55;

/// What a follower has, and how long it will wait for more.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Following {
    /// The revision it has; 0 at first.
    #[serde(default)]
    after: i64,
    /// The history that this revision belongs to.
    epoch: Option<String>,
    /// Seconds to hold the answer for until something changes, at most 55. Absent: answer at once.
    wait: Option<u64>,
    /// Most changes in the answer: 1 to 10000.
    limit: Option<i64>,
}

/// What changed since. A follower that has nothing, or something of another history, gets all of it from the beginning, with `reset`.
#[utoipa::path(get, path = "/api/v1/feed", tag = "fleet", params(Following), security(("fleet_token" = [])), responses((status = 200, description = "`portcullis-feed/1`", content_type = "application/json"), (status = 304, description = "nothing new"), (status = "4XX", body = ProblemBody)))]
pub async fn feed(
    State(app): State<App>,
    fleet: Fleet,
    Asked(q): Asked<Following>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let query = FeedQuery {
        after: q.after,
        epoch: q.epoch.filter(|e| !e.is_empty()),
        limit: q.limit.unwrap_or(MAX_RECORDS).clamp(1, MAX_RECORDS),
    };
    app.contact(
        fleet.instance.clone(),
        Contact {
            config_version: fleet.config_version,
            epoch: query.epoch.clone().unwrap_or_default(),
            revision: query.after,
            remote_addr: fleet.remote_addr,
            token_id: fleet.token.id,
            at: now(),
        },
    );
    let until = Instant::now() + Duration::from_secs(q.wait.unwrap_or(0).min(MAX_WAIT));
    // Subscribed before looking: what changes in between is not missed.
    let mut revisions = app.store().revisions();
    let mut ending = app.ending.clone();
    loop {
        revisions.borrow_and_update();
        let (epoch, head) = app.store().head().await?;
        let up_to_date = query.epoch.as_deref() == Some(&epoch) && query.after == head;
        if !up_to_date {
            let page = app.pages.page(app.store(), &query, head).await?;
            let etag = format!("\"{}.{}\"", page.epoch, page.revision);
            let headers = [
                (header::CONTENT_TYPE, "application/json".to_owned()),
                (header::ETAG, etag),
            ];
            return Ok((headers, page.body.clone()).into_response());
        }
        let over = Instant::now() >= until || *ending.borrow();
        if over {
            let etag = format!("\"{epoch}.{head}\"");
            // Only who has the page can be told that it is still the same.
            let knows = headers
                .get(header::IF_NONE_MATCH)
                .is_some_and(|v| v.as_bytes() == etag.as_bytes());
            let status = if knows {
                StatusCode::NOT_MODIFIED
            } else {
                StatusCode::NO_CONTENT
            };
            return Ok((status, [(header::ETAG, etag)]).into_response());
        }
        tokio::select! {
            _ = revisions.changed() => {}
            _ = ending.changed() => {}
            () = tokio::time::sleep_until(until) => {}
        }
    }
}

/// A batch of uses.
#[derive(Debug, Deserialize, ToSchema)]
pub struct UsageBatch {
    /// `portcullis-usage/1`.
    #[schema(example = "portcullis-usage/1")]
    format: String,
    /// Who reports.
    instance: String,
    /// Unique for the instance: a batch that comes twice is counted once.
    batch: String,
    /// At most 20000.
    uses: Vec<Use>,
}

/// Takes in what keys were used for.
#[utoipa::path(post, path = "/api/v1/usage", tag = "fleet", request_body = UsageBatch, security(("fleet_token" = [])), responses((status = 204), (status = "4XX", body = ProblemBody)))]
pub async fn usage(
    State(app): State<App>,
    _: Fleet,
    sent: Sent<UsageBatch>,
) -> Result<StatusCode, Problem> {
    let batch = sent.value;
    let short = |text: &str| (1..=200).contains(&text.len()) && !text.chars().any(char::is_control);
    if batch.format != "portcullis-usage/1" {
        return Err(Problem::invalid("format", "must be portcullis-usage/1"));
    }
    if !short(&batch.instance) || !short(&batch.batch) {
        return Err(Problem::invalid(
            "batch",
            "`instance` and `batch` must be 1 to 200 characters",
        ));
    }
    if batch.uses.len() > 20_000 {
        return Err(Problem::invalid("uses", "must be at most 20000"));
    }
    let soon = now() + 3600;
    for (i, u) in batch.uses.iter().enumerate() {
        let counts =
            (0..=1_000_000_000).contains(&u.allowed) && (0..=1_000_000_000).contains(&u.refused);
        let times = (0..=soon).contains(&u.minute)
            && u.minute % 60 == 0
            && u.last_used_at.is_none_or(|t| (0..=soon).contains(&t));
        let names = short(&u.key) && u.agent.as_deref().is_none_or(short);
        if !(counts && times && names) {
            return Err(Problem::invalid(&format!("uses[{i}]"), "makes no sense"));
        }
    }
    app.store()
        .take_usage(&batch.instance, &batch.batch, &batch.uses)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

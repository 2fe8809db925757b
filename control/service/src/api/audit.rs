//! `/api/v1/audit`.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Deserialize;

use super::{Asked, List, limit};
use crate::access::Principal;
use crate::app::App;
use crate::auth::Caller;
use crate::model::AuditEntry;
use crate::problem::{Problem, ProblemBody};
use crate::store::audit::AuditFilter;

/// Which acts.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct AuditQuery {
    /// Part of who did it.
    pub actor: Option<String>,
    /// What the action begins with: `key.` or `key.revoke`.
    pub action: Option<String>,
    /// This agent.
    pub agent: Option<String>,
    /// Part of what it was done to.
    pub target: Option<String>,
    /// Not before: `2026-11-01`, a time, or seconds since 1970.
    pub from: Option<String>,
    /// Before.
    pub to: Option<String>,
    /// The `next` of the part before.
    pub after: Option<String>,
    /// At most so many: 1 to 1000.
    pub limit: Option<i64>,
    /// `csv` or `ndjson`; for the export.
    pub format: Option<String>,
}

impl AuditQuery {
    /// The filter. What is empty, as an empty field of a form is, asks for nothing.
    pub fn filter(&self) -> Result<AuditFilter, Problem> {
        let some = |text: &Option<String>| {
            text.as_deref()
                .map(str::trim)
                .filter(|t| !t.is_empty())
                .map(str::to_owned)
        };
        let time = |field: &'static str, text: &Option<String>| match some(text) {
            None => Ok(None),
            Some(text) => moment(&text)
                .map(Some)
                .ok_or(Problem::invalid(field, "write a day or a time: 2026-11-01")),
        };
        Ok(AuditFilter {
            actor: some(&self.actor),
            action: some(&self.action),
            agent: some(&self.agent),
            target: some(&self.target),
            from: time("from", &self.from)?,
            to: time("to", &self.to)?,
        })
    }

    fn before(&self) -> Result<Option<i64>, Problem> {
        match self.after.as_deref().filter(|t| !t.is_empty()) {
            None => Ok(None),
            Some(text) => text
                .parse()
                .map(Some)
                .map_err(|_| Problem::invalid("after", "is no `next` of this list")),
        }
    }
}

fn moment(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse::<i64>() {
        return Some(seconds);
    }
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Some(time.as_second());
    }
    let day: jiff::civil::Date = text.parse().ok()?;
    Some(
        day.to_zoned(jiff::tz::TimeZone::UTC)
            .ok()?
            .timestamp()
            .as_second(),
    )
}

/// A part of the log, for the page.
pub async fn rows(app: &App, by: &Principal, q: &AuditQuery) -> Result<List<AuditEntry>, Problem> {
    let limit = limit(q.limit);
    let entries = app
        .store()
        .audit(by, &q.filter()?, q.before()?, limit + 1)
        .await?;
    Ok(List::new(entries, limit, |e| e.seq.to_string()))
}

/// What was done, the newest first: all of it for admins, else what concerns your agents and workspaces, and what you did.
#[utoipa::path(get, path = "/api/v1/audit", tag = "audit", params(AuditQuery), responses((status = 200, body = List<AuditEntry>), (status = "4XX", body = ProblemBody)))]
pub async fn list(
    State(app): State<App>,
    Caller(by): Caller,
    Asked(q): Asked<AuditQuery>,
) -> Result<Json<List<AuditEntry>>, Problem> {
    Ok(Json(rows(&app, &by, &q).await?))
}

/// The same as a file, all of it, CSV or NDJSON.
#[utoipa::path(get, path = "/api/v1/audit/export", tag = "audit", params(AuditQuery), responses((status = 200, content((String = "text/csv"), (String = "application/x-ndjson"))), (status = "4XX", body = ProblemBody)))]
pub async fn export(
    State(app): State<App>,
    Caller(by): Caller,
    Asked(q): Asked<AuditQuery>,
) -> Result<Response, Problem> {
    let filter = q.filter()?;
    let csv = match q.format.as_deref() {
        None | Some("csv") => true,
        Some("ndjson") => false,
        Some(_) => return Err(Problem::invalid("format", "is csv or ndjson")),
    };
    let head = if csv {
        csv_lines(&[HEAD.map(str::to_owned)])
    } else {
        String::new()
    };
    // Page by page, so that a long log needs little memory.
    let start = (Some(head), q.before()?);
    let body = stream::try_unfold(start, move |(head, before)| {
        let (app, by, filter) = (app.clone(), by.clone(), filter.clone());
        async move {
            let Some(mut text) = head else {
                return Ok(None);
            };
            let entries = app.store().audit(&by, &filter, before, 1000).await?;
            let Some(last) = entries.last().map(|e| e.seq) else {
                return Ok((!text.is_empty()).then_some((text, (None, None))));
            };
            if csv {
                let lines: Vec<_> = entries.iter().map(line).collect();
                text.push_str(&csv_lines(&lines));
            } else {
                for entry in &entries {
                    text.push_str(&serde_json::to_string(entry).unwrap_or_default());
                    text.push('\n');
                }
            }
            Ok::<_, crate::store::StoreError>(Some((text, (Some(String::new()), Some(last)))))
        }
    });
    let (kind, name) = if csv {
        (
            "text/csv; charset=utf-8",
            "attachment; filename=\"audit.csv\"",
        )
    } else {
        (
            "application/x-ndjson",
            "attachment; filename=\"audit.ndjson\"",
        )
    };
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_DISPOSITION, name),
    ];
    Ok((headers, Body::from_stream(body)).into_response())
}

const HEAD: [&str; 10] = [
    "seq",
    "time",
    "actor",
    "via",
    "remote_addr",
    "action",
    "target",
    "agent",
    "workspace",
    "details",
];

fn line(e: &AuditEntry) -> [String; 10] {
    let time =
        jiff::Timestamp::from_second(e.at).map_or_else(|_| e.at.to_string(), |t| t.to_string());
    [
        e.seq.to_string(),
        time,
        cell(&e.actor),
        cell(&e.via),
        cell(&e.remote_addr),
        cell(&e.action),
        cell(&e.target),
        cell(e.agent.as_deref().unwrap_or_default()),
        cell(e.workspace.as_deref().unwrap_or_default()),
        cell(&e.details.to_string()),
    ]
}

/// A spreadsheet takes what begins like this for a formula, and names are others' to choose.
fn cell(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        format!("'{text}")
    } else {
        text.to_owned()
    }
}

fn csv_lines(lines: &[[String; 10]]) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for line in lines {
        let _ = writer.write_record(line);
    }
    writer
        .into_inner()
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .unwrap_or_default()
}

//! One key by itself: its details, rotation and revocation; and all of an owner's at once.

use askama::Template;
use axum::Form;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::chart::{Chart, RangeQuery};
use super::filters;
use super::frame::{Frame, Snippet, show};
use super::{Failed, Shown, Viewer, faults_of};
use crate::access::Principal;
use crate::app::App;
use crate::manage::{Answer, RotateDraft};
use crate::model::{Key, Scope};
use crate::problem::{Fault, Problem};
use crate::store::keys::KeyFilter;
use crate::store::usage::UsageOf;

#[derive(Template)]
#[template(path = "key.html")]
struct KeyPage {
    frame: Frame,
    key: Key,
    back: Option<String>,
    made: Option<String>,
    snippets: Vec<Snippet>,
    chart: Chart,
    path: String,
}

#[derive(Template)]
#[template(path = "confirm.html")]
pub struct ConfirmPage {
    pub frame: Frame,
    pub faults: Vec<Fault>,
    pub action: String,
    pub words: String,
    pub fields: Vec<Field>,
    pub button: &'static str,
    pub danger: bool,
    pub back: String,
}

/// A field of a confirmation.
pub struct Field {
    pub name: &'static str,
    pub label: &'static str,
    pub value: String,
    pub required: bool,
}

impl Field {
    pub const fn new(name: &'static str, label: &'static str, value: String) -> Self {
        Self {
            name,
            label,
            value,
            required: false,
        }
    }
}

/// How to call with a new key.
pub fn snippets(app: &App, scope: &Scope, key: &str) -> Vec<Snippet> {
    let template = app
        .options
        .agents_url
        .as_deref()
        .unwrap_or("https://agents.example.com/rest/{agent}");
    let agent = match scope {
        Scope::Agent(name) => name.as_str(),
        _ => "AGENT",
    };
    let url = template.replace("{agent}", agent);
    let curl = format!("AGENT_KEY='{key}'\ncurl -H \"X-Gofannon-Key: $AGENT_KEY\" {url}");
    let actions = format!(
        "# once, it asks for the key:  gh secret set AGENT_KEY\n- name: Call {agent}\n  env:\n    AGENT_KEY: ${{{{ secrets.AGENT_KEY }}}}\n  \
         run: >-\n    curl --fail-with-body --silent --show-error\n    -H \"X-Gofannon-Key: $AGENT_KEY\"\n    {url}"
    );
    vec![
        Snippet {
            title: "curl",
            text: curl,
        },
        Snippet {
            title: "GitHub Actions",
            text: actions,
        },
    ]
}

async fn key_page(app: &App, by: &Principal, key: Key, made: Option<String>, range: &str) -> Shown {
    let chart = Chart::of(app.store(), UsageOf::Key(&key.id), range).await?;
    let back = match &key.scope {
        Scope::Agent(name) => Some(format!("/agents/{name}")),
        Scope::User(_) => Some("/service-accounts".to_owned()),
        _ => Some("/keys".to_owned()),
    };
    let snippets = made
        .as_deref()
        .map(|m| snippets(app, &key.scope, m))
        .unwrap_or_default();
    Ok(show(&KeyPage {
        frame: Frame::new(format!("Key {}", key.id), Some(by), ""),
        path: format!("/keys/{}", key.id),
        back,
        made,
        snippets,
        chart,
        key,
    }))
}

/// One key.
pub async fn details(
    State(app): State<App>,
    Viewer(by): Viewer,
    Path(id): Path<String>,
    Query(q): Query<RangeQuery>,
) -> Shown {
    let key = app.manage.key(&by, &id).await?;
    key_page(&app, &by, key, None, &q.range).await
}

fn rotate_page(
    by: &Principal,
    key: &Key,
    faults: Vec<Fault>,
    grace: String,
    expires: String,
) -> Response {
    show(&ConfirmPage {
        frame: Frame::new(format!("Rotate key {}", key.id), Some(by), ""),
        faults,
        action: format!("/keys/{}/rotate", key.id),
        words: "A second key is made with the same scope, owner, methods and limit. The old one goes on working for the grace, so that \
             callers can change over."
            .to_owned(),
        fields: vec![
            Field::new("grace", "The old key goes on working for", grace),
            Field::new("expires", "The new key ends (empty: it lives as long as the old one was to)", expires),
        ],
        button: "Rotate",
        danger: false,
        back: format!("/keys/{}", key.id),
    })
}

/// Asks before a rotation.
pub async fn ask_rotate(
    State(app): State<App>,
    Viewer(by): Viewer,
    Path(id): Path<String>,
) -> Shown {
    let key = app.manage.key(&by, &id).await?;
    Ok(rotate_page(
        &by,
        &key,
        Vec::new(),
        "24h".to_owned(),
        String::new(),
    ))
}

/// Rotates a key and shows the new one.
pub async fn rotate(
    State(app): State<App>,
    Viewer(by): Viewer,
    Path(id): Path<String>,
    Form(draft): Form<RotateDraft>,
) -> Shown {
    match app.manage.rotate_key(&by, &id, &draft, None).await {
        Ok(Answer::New(made)) => key_page(&app, &by, made.record, Some(made.key), "").await,
        Ok(Answer::Again(_)) => Err(Failed(Problem::Unavailable, Some(Box::new(by)))),
        Err(problem) => {
            let faults = faults_of(problem)?;
            let key = app.manage.key(&by, &id).await?;
            let page = rotate_page(
                &by,
                &key,
                faults,
                draft.grace.unwrap_or_default(),
                draft.expires.unwrap_or_default(),
            );
            Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
        }
    }
}

/// A reason.
#[derive(Debug, Default, Deserialize)]
pub struct ReasonForm {
    #[serde(default)]
    reason: String,
    #[serde(default)]
    owner: String,
}

/// Asks before a revocation.
pub async fn ask_revoke(
    State(app): State<App>,
    Viewer(by): Viewer,
    Path(id): Path<String>,
) -> Shown {
    let key = app.manage.key(&by, &id).await?;
    Ok(show(&ConfirmPage {
        frame: Frame::new(format!("Revoke key {}", key.id), Some(&by), ""),
        faults: Vec::new(),
        action: format!("/keys/{}/revoke", key.id),
        words: format!(
            "{} ({}, {}) stops working on every proxy within a second. This can’t be undone.",
            key.id,
            if key.name.is_empty() {
                "no name"
            } else {
                &key.name
            },
            key.scope
        ),
        fields: vec![Field::new(
            "reason",
            "Reason, for the audit log",
            String::new(),
        )],
        button: "Revoke",
        danger: true,
        back: format!("/keys/{}", key.id),
    }))
}

/// Revokes a key.
pub async fn revoke(
    State(app): State<App>,
    Viewer(by): Viewer,
    Path(id): Path<String>,
    Form(form): Form<ReasonForm>,
) -> Shown {
    let key = app.manage.revoke_key(&by, &id, Some(&form.reason)).await?;
    Ok(Redirect::to(&format!("/keys/{}", key.id)).into_response())
}

/// Asks before all keys of an owner are revoked.
pub async fn ask_revoke_owner(
    State(app): State<App>,
    Viewer(by): Viewer,
    Query(q): Query<ReasonForm>,
) -> Shown {
    let filter = KeyFilter {
        owner: Some(q.owner.clone()),
        live: true,
        ..KeyFilter::default()
    };
    let keys = app.store().keys(&by, &filter, None, 1000).await?;
    let count = if keys.len() >= 1000 {
        "1000 or more".to_owned()
    } else {
        keys.len().to_string()
    };
    Ok(show(&ConfirmPage {
        frame: Frame::new("Revoke all keys of an owner", Some(&by), ""),
        faults: Vec::new(),
        action: "/owners/revoke".to_owned(),
        words: format!(
            "{count} live keys of {} that you manage stop working within a second, and their service-account tokens with them. This can’t be undone.",
            q.owner
        ),
        fields: vec![
            Field {
                required: true,
                ..Field::new("owner", "Owner", q.owner)
            },
            Field::new("reason", "Reason, for the audit log", String::new()),
        ],
        button: "Revoke all of them",
        danger: true,
        back: "/keys".to_owned(),
    }))
}

/// Revokes all keys of an owner.
pub async fn revoke_owner(
    State(app): State<App>,
    Viewer(by): Viewer,
    Form(form): Form<ReasonForm>,
) -> Shown {
    app.manage
        .revoke_owner(&by, &form.owner, Some(&form.reason))
        .await?;
    Ok(Redirect::to("/audit?action=owner.revoke").into_response())
}

//! The audit log, the fleet, people, and tokens for machines.

use askama::Template;
use axum::Form;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect};
use serde::Deserialize;

use super::filters;
use super::frame::{Frame, Snippet, show};
use super::keys::ConfirmPage;
use super::{Failed, Shown, Viewer, faults_of};
use crate::access::Principal;
use crate::api::{AuditQuery, audit_rows};
use crate::app::App;
use crate::manage::{MadeToken, PersonDraft, TokenDraft};
use crate::model::{AuditEntry, Follower, Person, Token, TokenKind};
use crate::problem::{Fault, Problem};
use crate::store::now;

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditPage {
    frame: Frame,
    faults: Vec<Fault>,
    q: AuditQuery,
    query: String,
    entries: Vec<AuditEntry>,
    next: Option<String>,
    actions: &'static [&'static str],
}

#[derive(Template)]
#[template(path = "fleet.html")]
struct FleetPage {
    frame: Frame,
    faults: Vec<Fault>,
    made: Option<String>,
    snippets: Vec<Snippet>,
    followers: Vec<Follower>,
    more: bool,
    tokens: Vec<Token>,
    head: i64,
    epoch: String,
    now: i64,
}

#[derive(Template)]
#[template(path = "tokens.html")]
struct TokensPage {
    frame: Frame,
    faults: Vec<Fault>,
    made: Option<String>,
    snippets: Vec<Snippet>,
    tokens: Vec<Token>,
}

#[derive(Template)]
#[template(path = "people.html")]
struct PeoplePage {
    frame: Frame,
    faults: Vec<Fault>,
    people: Vec<Person>,
    next: Option<String>,
    edit: Option<Person>,
}

const ACTIONS: &[&str] = &[
    "agent.create",
    "agent.update",
    "agent.delete",
    "key.create",
    "key.rotate",
    "key.revoke",
    "owner.revoke",
    "token.create",
    "token.revoke",
    "person.update",
    "session.begin",
    "link.create",
    "service.new_epoch",
];

/// The audit log.
pub async fn audit(
    State(app): State<App>,
    Viewer(by): Viewer,
    Query(q): Query<AuditQuery>,
) -> Shown {
    let (entries, next, faults) = match audit_rows(&app, &by, &q).await {
        Ok(list) => (list.items, list.next, Vec::new()),
        Err(problem) => (Vec::new(), None, faults_of(problem)?),
    };
    let mut query = String::new();
    let fields = [
        ("actor", &q.actor),
        ("action", &q.action),
        ("agent", &q.agent),
        ("target", &q.target),
        ("from", &q.from),
        ("to", &q.to),
    ];
    for (name, value) in fields {
        if let Some(value) = value.as_deref().filter(|v| !v.is_empty()) {
            if !query.is_empty() {
                query.push('&');
            }
            query.push_str(&format!(
                "{name}={}",
                askama::filters::urlencode(value)
                    .map(|v| v.to_string())
                    .unwrap_or_default()
            ));
        }
    }
    let status = if faults.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::UNPROCESSABLE_ENTITY
    };
    let page = AuditPage {
        frame: Frame::new("Audit log", Some(&by), "/audit"),
        faults,
        q,
        query,
        entries,
        next,
        actions: ACTIONS,
    };
    Ok((status, show(&page)).into_response())
}

fn only_admins(by: &Principal) -> Result<(), Failed> {
    if by.admin {
        Ok(())
    } else {
        Err(Failed(
            Problem::Forbidden("this is for admins"),
            Some(Box::new(by.clone())),
        ))
    }
}

async fn fleet_page(
    app: &App,
    by: &Principal,
    faults: Vec<Fault>,
    made: Option<MadeToken>,
) -> Shown {
    only_admins(by)?;
    const SHOWN: usize = 200;
    let mut followers = app.store().followers(None, 201).await?;
    let more = followers.len() > SHOWN;
    followers.truncate(SHOWN);
    let (epoch, head) = app.store().head().await?;
    let snippets = made.as_ref().map_or_else(Vec::new, |m| {
        vec![Snippet {
            title: "For the proxy's environment",
            text: format!("PORTCULLIS_FEED_TOKEN={}", m.token),
        }]
    });
    let status = if faults.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::UNPROCESSABLE_ENTITY
    };
    let page = FleetPage {
        frame: Frame::new("Fleet", Some(by), "/fleet"),
        faults,
        made: made.map(|m| m.token),
        snippets,
        followers,
        more,
        tokens: app
            .store()
            .tokens(by, Some(TokenKind::Fleet), None, 200)
            .await?,
        head,
        epoch,
        now: now(),
    };
    Ok((status, show(&page)).into_response())
}

/// The proxies.
pub async fn fleet(State(app): State<App>, Viewer(by): Viewer) -> Shown {
    fleet_page(&app, &by, Vec::new(), None).await
}

/// The form for a token.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct TokenForm {
    name: String,
    expires: String,
    read_only: bool,
}

impl TokenForm {
    fn draft(self, kind: TokenKind) -> TokenDraft {
        TokenDraft {
            kind,
            name: self.name,
            read_only: self.read_only,
            expires: Some(self.expires),
        }
    }
}

/// Makes a fleet token.
pub async fn create_fleet_token(
    State(app): State<App>,
    Viewer(by): Viewer,
    Form(form): Form<TokenForm>,
) -> Shown {
    only_admins(&by)?;
    match app
        .manage
        .create_token(&by, &form.draft(TokenKind::Fleet))
        .await
    {
        Ok(made) => fleet_page(&app, &by, Vec::new(), Some(made)).await,
        Err(problem) => fleet_page(&app, &by, faults_of(problem)?, None).await,
    }
}

async fn tokens_page(
    app: &App,
    by: &Principal,
    faults: Vec<Fault>,
    made: Option<MadeToken>,
) -> Shown {
    let status = if faults.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::UNPROCESSABLE_ENTITY
    };
    let page = TokensPage {
        frame: Frame::new("API tokens", Some(by), "/tokens"),
        faults,
        snippets: made.as_ref().map_or_else(Vec::new, |m| {
            vec![Snippet {
                title: "curl",
                text: format!(
                    "curl -H 'Authorization: Bearer {}' {}/api/v1/me",
                    m.token, app.options.public_url
                ),
            }]
        }),
        made: made.map(|m| m.token),
        tokens: app
            .store()
            .tokens(by, Some(TokenKind::Api), None, 200)
            .await?,
    };
    Ok((status, show(&page)).into_response())
}

/// API tokens.
pub async fn tokens(State(app): State<App>, Viewer(by): Viewer) -> Shown {
    tokens_page(&app, &by, Vec::new(), None).await
}

/// Makes an API token.
pub async fn create_token(
    State(app): State<App>,
    Viewer(by): Viewer,
    Form(form): Form<TokenForm>,
) -> Shown {
    match app
        .manage
        .create_token(&by, &form.draft(TokenKind::Api))
        .await
    {
        Ok(made) => tokens_page(&app, &by, Vec::new(), Some(made)).await,
        Err(problem) => tokens_page(&app, &by, faults_of(problem)?, None).await,
    }
}

/// Asks before a token is revoked.
pub async fn ask_revoke_token(Viewer(by): Viewer, Path(id): Path<String>) -> Shown {
    Ok(show(&ConfirmPage {
        frame: Frame::new(format!("Revoke token {id}"), Some(&by), ""),
        faults: Vec::new(),
        action: format!("/tokens/{id}/revoke"),
        words: "Whatever uses it is refused from now on. Proxies go on with the keys they have until their max_staleness.".to_owned(),
        fields: Vec::new(),
        button: "Revoke",
        danger: true,
        back: "/tokens".to_owned(),
    }))
}

/// Revokes a token.
pub async fn revoke_token(
    State(app): State<App>,
    Viewer(by): Viewer,
    Path(id): Path<String>,
) -> Shown {
    app.manage.revoke_token(&by, &id).await?;
    Ok(Redirect::to("/tokens").into_response())
}

/// Which people.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct PeopleQuery {
    after: Option<String>,
    edit: Option<String>,
}

async fn people_page(app: &App, by: &Principal, q: PeopleQuery, faults: Vec<Fault>) -> Shown {
    only_admins(by)?;
    let mut people = app.store().people(q.after.as_deref(), 51).await?;
    let more = people.len() > 50;
    people.truncate(50);
    let edit = match &q.edit {
        None => None,
        Some(id) => Some(
            app.store()
                .person(id)
                .await?
                .ok_or(Problem::NotFound("person"))?,
        ),
    };
    let next = if more {
        people.last().map(|p| p.id.clone())
    } else {
        None
    };
    let status = if faults.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::UNPROCESSABLE_ENTITY
    };
    let page = PeoplePage {
        frame: Frame::new("People", Some(by), "/people"),
        faults,
        people,
        next,
        edit,
    };
    Ok((status, show(&page)).into_response())
}

/// People.
pub async fn people(
    State(app): State<App>,
    Viewer(by): Viewer,
    Query(q): Query<PeopleQuery>,
) -> Shown {
    people_page(&app, &by, q, Vec::new()).await
}

/// The form for a person.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct PersonForm {
    id: String,
    workspaces: String,
    admin: bool,
    disabled: bool,
}

/// Changes what a person may.
pub async fn save_person(
    State(app): State<App>,
    Viewer(by): Viewer,
    Form(form): Form<PersonForm>,
) -> Shown {
    let draft = PersonDraft {
        admin: form.admin,
        workspaces: form.workspaces.split(',').map(str::to_owned).collect(),
        disabled: form.disabled,
    };
    match app.manage.put_person(&by, &form.id, &draft).await {
        Ok(_) => Ok(Redirect::to("/people").into_response()),
        Err(problem) => people_page(&app, &by, PeopleQuery::default(), faults_of(problem)?).await,
    }
}

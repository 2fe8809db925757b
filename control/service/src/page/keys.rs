//! Keys by themselves: details, rotation, revocation, service accounts, and what wants attention.

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
use crate::api::{key_cursor, read_key_cursor};
use crate::app::App;
use crate::manage::{Answer, KeyDraft, RotateDraft};
use crate::model::{Key, RateLimit, Scope};
use crate::problem::{Fault, Problem};
use crate::store::keys::KeyFilter;
use crate::store::now;
use crate::store::usage::UsageOf;

/// Keys on a page.
pub const PAGE: i64 = 50;

/// The form for a new key, as it was filled in.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct KeyFields {
    pub scope_kind: String,
    pub scope_name: String,
    pub name: String,
    pub owner: String,
    pub expires: String,
    pub rate_limit: String,
    pub methods: String,
    /// What there is to choose from; none: the scope is settled.
    #[serde(skip)]
    pub scopes: Vec<(&'static str, &'static str)>,
    #[serde(skip)]
    pub scope_label: &'static str,
}

impl KeyFields {
    pub fn empty() -> Self {
        Self {
            expires: "90d".to_owned(),
            scope_label: "Name",
            ..Self::default()
        }
    }

    /// Whether this kind of scope is chosen.
    pub fn is_scope(&self, kind: &str) -> bool {
        self.scope_kind == kind
    }

    /// What the service is asked for.
    pub fn draft(&self, scope: Scope) -> Result<KeyDraft, Problem> {
        let rate = self.rate_limit.trim();
        let rate_limit = if rate.is_empty() {
            None
        } else {
            let wrong = || Problem::invalid("rate_limit", "write it as 600/1m, or 600/1m:60");
            Some(RateLimit::parse(rate).ok_or_else(wrong)?)
        };
        Ok(KeyDraft {
            scope,
            name: self.name.clone(),
            owner: Some(self.owner.clone()),
            expires: Some(self.expires.clone()),
            not_before: None,
            rate_limit,
            methods: self.methods.split(',').map(str::to_owned).collect(),
        })
    }
}

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

#[derive(Template)]
#[template(path = "keys.html")]
struct KeysPage {
    frame: Frame,
    words: &'static str,
    path: &'static str,
    faults: Vec<Fault>,
    made: Option<String>,
    snippets: Vec<Snippet>,
    keys: Vec<Key>,
    next: Option<String>,
    search: String,
    show: String,
    form: KeyFields,
    own: String,
    may_create: bool,
    create_words: &'static str,
    may_revoke_owner: bool,
}

#[derive(Template)]
#[template(path = "attention.html")]
struct AttentionPage {
    frame: Frame,
    ending: Vec<Key>,
    unused: Vec<Key>,
    days: i64,
    unused_days: i64,
    shown: i64,
    more: bool,
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

/// Which keys a list shows.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ListQuery {
    search: String,
    show: String,
    after: Option<String>,
}

/// A list and its form.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ListOf {
    All,
    Accounts,
}

async fn list_page(
    app: &App,
    by: &Principal,
    of: ListOf,
    q: ListQuery,
    form: Option<KeyFields>,
    faults: Vec<Fault>,
    made: Option<(String, Scope)>,
) -> Shown {
    let filter = KeyFilter {
        scope_kind: (of == ListOf::Accounts).then(|| "user".to_owned()),
        search: Some(q.search.clone()),
        live: q.show == "live",
        ..KeyFilter::default()
    };
    let after = q.after.as_deref().and_then(read_key_cursor);
    let mut keys = app
        .store()
        .keys(by, &filter, after.as_ref(), PAGE + 1)
        .await?;
    let next = more(&mut keys);
    let mut form = form.unwrap_or_else(KeyFields::empty);
    let all = of == ListOf::All;
    form.scope_label = if all { "Which one" } else { "User" };
    form.scopes = if all {
        let mut scopes = vec![("agent", "an agent"), ("workspace", "a workspace")];
        if by.admin {
            scopes.push(("org", "an organisation"));
        }
        scopes
    } else {
        if form.scope_name.is_empty() {
            form.scope_name.clone_from(&by.person);
        }
        vec![("user", "the agents of a user")]
    };
    let status = if faults.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::UNPROCESSABLE_ENTITY
    };
    let page = KeysPage {
        frame: Frame::new(
            if all { "All keys" } else { "Service accounts" },
            Some(by),
            if all { "/keys" } else { "/service-accounts" },
        ),
        words: if all {
            "Every key that you manage: of agents, workspaces and organisations."
        } else {
            "Tokens that are good for all agents of one user: for a program that calls in their name."
        },
        path: if all { "/keys" } else { "/service-accounts" },
        snippets: made
            .as_ref()
            .map(|(key, scope)| snippets(app, scope, key))
            .unwrap_or_default(),
        made: made.map(|(key, _)| key),
        faults,
        keys,
        next,
        search: q.search,
        show: q.show,
        form,
        own: by.person.clone(),
        may_create: true,
        create_words: if all {
            "Create a key"
        } else {
            "Create a service-account token"
        },
        may_revoke_owner: all,
    };
    Ok((status, show(&page)).into_response())
}

/// Cuts the list to a page; where the next one begins.
pub fn more(keys: &mut Vec<Key>) -> Option<String> {
    let page = usize::try_from(PAGE).unwrap_or(1);
    let more = keys.len() > page;
    keys.truncate(page);
    if more {
        keys.last().map(key_cursor)
    } else {
        None
    }
}

/// All keys.
pub async fn shared(
    State(app): State<App>,
    Viewer(by): Viewer,
    Query(q): Query<ListQuery>,
) -> Shown {
    list_page(&app, &by, ListOf::All, q, None, Vec::new(), None).await
}

/// Service accounts.
pub async fn accounts(
    State(app): State<App>,
    Viewer(by): Viewer,
    Query(q): Query<ListQuery>,
) -> Shown {
    list_page(&app, &by, ListOf::Accounts, q, None, Vec::new(), None).await
}

async fn create(app: App, by: Principal, of: ListOf, form: KeyFields) -> Shown {
    let done = async {
        let scope = Scope::new(&form.scope_kind, form.scope_name.trim());
        let scope = scope.ok_or(Problem::invalid("scope_kind", "is none of the choices"))?;
        let draft = form.draft(scope)?;
        match app.manage.create_key(&by, &draft, None).await? {
            Answer::New(made) => Ok((made.key, made.record.scope)),
            Answer::Again(_) => Err(Problem::Unavailable),
        }
    };
    match done.await {
        Ok(made) => {
            list_page(
                &app,
                &by,
                of,
                ListQuery::default(),
                None,
                Vec::new(),
                Some(made),
            )
            .await
        }
        Err(Problem::NotFound(_)) => {
            let faults = vec![Fault::new(
                "scope_name",
                "there is no such agent, or you may not see it",
            )];
            list_page(
                &app,
                &by,
                of,
                ListQuery::default(),
                Some(form),
                faults,
                None,
            )
            .await
        }
        Err(problem) => {
            let faults = faults_of(problem)?;
            list_page(
                &app,
                &by,
                of,
                ListQuery::default(),
                Some(form),
                faults,
                None,
            )
            .await
        }
    }
}

/// Makes a key of any scope.
pub async fn create_shared(
    State(app): State<App>,
    Viewer(by): Viewer,
    Form(form): Form<KeyFields>,
) -> Shown {
    create(app, by, ListOf::All, form).await
}

/// Makes a service-account token.
pub async fn create_account(
    State(app): State<App>,
    Viewer(by): Viewer,
    Form(form): Form<KeyFields>,
) -> Shown {
    create(app, by, ListOf::Accounts, form).await
}

/// Keys that end soon, and keys that nobody uses.
pub async fn attention(State(app): State<App>, Viewer(by): Viewer) -> Shown {
    const DAY: i64 = 86_400;
    let (days, unused_days) = (14, 30);
    let ending = KeyFilter {
        ends_before: Some(now() + days * DAY),
        ..KeyFilter::default()
    };
    let unused = KeyFilter {
        unused_since: Some(now() - unused_days * DAY),
        ..KeyFilter::default()
    };
    let mut ending = app.store().keys(&by, &ending, None, PAGE + 1).await?;
    let mut unused = app.store().keys(&by, &unused, None, PAGE + 1).await?;
    let many = [more(&mut ending), more(&mut unused)];
    Ok(show(&AttentionPage {
        frame: Frame::new("Attention", Some(&by), "/attention"),
        ending,
        unused,
        days,
        unused_days,
        shown: PAGE,
        more: many.iter().any(Option::is_some),
    }))
}

//! Lists of keys: all, service accounts, and what wants attention; and the form for a new one.

use askama::Template;
use axum::Form;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::Deserialize;

use super::filters;
use super::frame::{Frame, Snippet, show};
use super::keys::snippets;
use super::{Shown, Viewer, faults_of};
use crate::access::Principal;
use crate::api::{key_cursor, read_key_cursor};
use crate::app::App;
use crate::manage::{Answer, KeyDraft};
use crate::model::{Key, RateLimit, Scope};
use crate::problem::{Fault, Problem};
use crate::store::keys::KeyFilter;
use crate::store::now;

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
    let (form, faults, made) = match done.await {
        Ok(made) => (None, Vec::new(), Some(made)),
        Err(Problem::NotFound(_)) => {
            let words = "there is no such agent, or you may not see it";
            (Some(form), vec![Fault::new("scope_name", words)], None)
        }
        Err(problem) => (Some(form), faults_of(problem)?, None),
    };
    list_page(&app, &by, of, ListQuery::default(), form, faults, made).await
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

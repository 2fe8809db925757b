//! Agents, and one agent with its keys.

use askama::Template;
use axum::Form;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect};
use serde::Deserialize;

use super::chart::{Chart, RangeQuery};
use super::filters;
use super::frame::{Frame, Snippet, show};
use super::key_lists::{KeyFields, PAGE, more};
use super::keys::{ConfirmPage, snippets};
use super::{Failed, Shown, Viewer, faults_of};
use crate::access::Principal;
use crate::api::read_key_cursor;
use crate::app::App;
use crate::manage::{AgentDraft, Answer};
use crate::model::{Agent, Key, Scope};
use crate::problem::{Fault, Problem};
use crate::store::keys::KeyFilter;
use crate::store::usage::UsageOf;

#[derive(Template)]
#[template(path = "agents.html")]
struct AgentsPage {
    frame: Frame,
    agents: Vec<Agent>,
    next: Option<String>,
    search: String,
    may_create: bool,
}

#[derive(Template)]
#[template(path = "agent_form.html")]
struct AgentForm {
    frame: Frame,
    faults: Vec<Fault>,
    action: String,
    back: String,
    is_new: bool,
    draft: AgentDraft,
}

#[derive(Template)]
#[template(path = "agent.html")]
struct AgentPage {
    frame: Frame,
    agent: Agent,
    faults: Vec<Fault>,
    made: Option<String>,
    snippets: Vec<Snippet>,
    keys: Vec<Key>,
    next: Option<String>,
    form: KeyFields,
    own: String,
    action: String,
    path: String,
    chart: Chart,
}

/// Which agents.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ListQuery {
    search: String,
    after: Option<String>,
}

/// A name as it stands in a path.
fn path_of(name: &str) -> String {
    // Agents' names are made of characters that need no encoding.
    format!("/agents/{name}")
}

/// The agents.
pub async fn list(State(app): State<App>, Viewer(by): Viewer, Query(q): Query<ListQuery>) -> Shown {
    let mut agents = app
        .store()
        .agents(&by, Some(&q.search), q.after.as_deref(), PAGE + 1)
        .await?;
    let page = usize::try_from(PAGE).unwrap_or(1);
    let more = agents.len() > page;
    agents.truncate(page);
    let next = if more {
        agents.last().map(|a| a.name.clone())
    } else {
        None
    };
    Ok(show(&AgentsPage {
        frame: Frame::new("Agents", Some(&by), "/agents"),
        may_create: by.admin || by.has_workspaces(),
        agents,
        next,
        search: q.search,
    }))
}

fn form_page(
    by: &Principal,
    name: Option<&str>,
    draft: AgentDraft,
    faults: Vec<Fault>,
) -> AgentForm {
    AgentForm {
        frame: Frame::new(
            name.map_or_else(|| "Register an agent".to_owned(), |n| format!("Edit {n}")),
            Some(by),
            "/agents",
        ),
        faults,
        action: name.map_or_else(|| "/agents".to_owned(), |n| format!("{}/edit", path_of(n))),
        back: name.map_or_else(|| "/agents".to_owned(), path_of),
        is_new: name.is_none(),
        draft,
    }
}

/// The form for a new agent.
pub async fn new(Viewer(by): Viewer) -> Shown {
    let draft = AgentDraft {
        owner: Some(by.person.clone()),
        workspace: by.workspaces().next().map(str::to_owned),
        ..AgentDraft::default()
    };
    Ok(show(&form_page(&by, None, draft, Vec::new())))
}

/// Registers an agent.
pub async fn create(
    State(app): State<App>,
    Viewer(by): Viewer,
    Form(draft): Form<AgentDraft>,
) -> Shown {
    match app.manage.create_agent(&by, &draft, None).await {
        Ok(_) => Ok(Redirect::to(&path_of(&draft.name)).into_response()),
        Err(problem) => {
            let page = form_page(&by, None, draft, faults_of(problem)?);
            Ok((StatusCode::UNPROCESSABLE_ENTITY, show(&page)).into_response())
        }
    }
}

/// The form for an agent that there is.
pub async fn edit(State(app): State<App>, Viewer(by): Viewer, Path(name): Path<String>) -> Shown {
    let agent = app.manage.agent(&by, &name).await?;
    let draft = AgentDraft {
        name: agent.name.clone(),
        owner: agent.owner,
        workspace: agent.workspace,
        org: agent.org,
        description: agent.description,
    };
    Ok(show(&form_page(&by, Some(&name), draft, Vec::new())))
}

/// Changes an agent.
pub async fn save(
    State(app): State<App>,
    Viewer(by): Viewer,
    Path(name): Path<String>,
    Form(draft): Form<AgentDraft>,
) -> Shown {
    match app.manage.update_agent(&by, &name, &draft).await {
        Ok(agent) => Ok(Redirect::to(&path_of(&agent.name)).into_response()),
        Err(problem) => {
            let faults = faults_of(problem)?;
            let page = form_page(&by, Some(&name), draft, faults);
            Ok((StatusCode::UNPROCESSABLE_ENTITY, show(&page)).into_response())
        }
    }
}

/// Asks before an agent is deleted.
pub async fn ask_delete(
    State(app): State<App>,
    Viewer(by): Viewer,
    Path(name): Path<String>,
) -> Shown {
    let agent = app.manage.agent(&by, &name).await?;
    Ok(show(&ConfirmPage {
        frame: Frame::new(format!("Delete {}", agent.name), Some(&by), "/agents"),
        faults: Vec::new(),
        action: format!("{}/delete", path_of(&agent.name)),
        words: "The agent is taken out, and all of its keys are revoked. Keys of its workspace, organisation or owner are no longer good for \
             it. This can’t be undone."
            .to_owned(),
        fields: Vec::new(),
        button: "Delete",
        danger: true,
        back: path_of(&agent.name),
    }))
}

/// Deletes an agent.
pub async fn delete(State(app): State<App>, Viewer(by): Viewer, Path(name): Path<String>) -> Shown {
    app.manage.delete_agent(&by, &name).await?;
    Ok(Redirect::to("/agents").into_response())
}

async fn page(
    app: &App,
    by: &Principal,
    name: &str,
    q: &RangeQuery,
    form: Option<KeyFields>,
    faults: Vec<Fault>,
    made: Option<String>,
) -> Result<AgentPage, Failed> {
    let agent = app.manage.agent(by, name).await?;
    let scope = Scope::Agent(agent.name.clone());
    let filter = KeyFilter {
        scope: Some(scope.clone()),
        ..KeyFilter::default()
    };
    let after = q.after.as_deref().and_then(read_key_cursor);
    let mut keys = app
        .store()
        .keys(by, &filter, after.as_ref(), PAGE + 1)
        .await?;
    let next = more(&mut keys);
    Ok(AgentPage {
        frame: Frame::new(agent.name.clone(), Some(by), "/agents"),
        faults,
        snippets: made
            .as_deref()
            .map(|m| snippets(app, &scope, m))
            .unwrap_or_default(),
        made,
        keys,
        next,
        form: form.unwrap_or_else(KeyFields::empty),
        own: by.person.clone(),
        action: format!("{}/keys", path_of(&agent.name)),
        path: path_of(&agent.name),
        chart: Chart::of(app.store(), UsageOf::Agent(&agent.name), &q.range).await?,
        agent,
    })
}

/// One agent and its keys.
pub async fn details(
    State(app): State<App>,
    Viewer(by): Viewer,
    Path(name): Path<String>,
    Query(q): Query<RangeQuery>,
) -> Shown {
    Ok(show(
        &page(&app, &by, &name, &q, None, Vec::new(), None).await?,
    ))
}

/// Makes a key for an agent and shows it.
pub async fn create_key(
    State(app): State<App>,
    Viewer(by): Viewer,
    Path(name): Path<String>,
    Form(form): Form<KeyFields>,
) -> Shown {
    let q = RangeQuery::default();
    let done = async {
        let draft = form.draft(Scope::Agent(name.clone()))?;
        match app.manage.create_key(&by, &draft, None).await? {
            Answer::New(made) => Ok(made.key),
            Answer::Again(_) => Err(Problem::Unavailable),
        }
    };
    match done.await {
        Ok(key) => Ok(show(
            &page(&app, &by, &name, &q, None, Vec::new(), Some(key)).await?,
        )),
        Err(problem) => {
            let faults = faults_of(problem)?;
            let page = page(&app, &by, &name, &q, Some(form), faults, None).await?;
            Ok((StatusCode::UNPROCESSABLE_ENTITY, show(&page)).into_response())
        }
    }
}

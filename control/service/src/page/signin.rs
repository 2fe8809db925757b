//! Signing in: by an OpenID provider, or by a one-time link.

use askama::Template;
use axum::Form;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::CookieJar;
use serde::Deserialize;

use super::frame::{Frame, show as render};
use super::{Failed, Shown, Viewer, faults_of};
use crate::app::App;
use crate::auth::{Client, session};
use crate::problem::{Fault, Problem};
use crate::secret;
use crate::store::Actor;
use crate::store::audit::Act;

#[derive(Template)]
#[template(path = "signin.html")]
struct SignInPage {
    frame: Frame,
    faults: Vec<Fault>,
    oidc: bool,
    provider: String,
}

#[derive(Template)]
#[template(path = "welcome.html")]
struct WelcomePage {
    frame: Frame,
    faults: Vec<Fault>,
    person: String,
}

fn page(app: &App, faults: Vec<Fault>) -> Response {
    let oidc = app.options.oidc.as_ref();
    let provider = oidc.map(|o| o.issuer.clone()).unwrap_or_default();
    let host = provider.split("//").nth(1).unwrap_or(&provider);
    render(&SignInPage {
        frame: Frame::new("Sign in", None, ""),
        faults,
        oidc: oidc.is_some(),
        provider: host.split('/').next().unwrap_or(host).to_owned(),
    })
}

/// How to sign in.
pub async fn show(State(app): State<App>, viewer: Option<Viewer>) -> Response {
    if viewer.is_some() {
        return Redirect::to("/agents").into_response();
    }
    page(&app, Vec::new())
}

/// The cookie that ties a sign-in to the browser that began it: whoever else comes back with its state is refused.
const fn state_cookie(secure: bool) -> &'static str {
    if secure {
        "__Host-portcullis-signin"
    } else {
        "portcullis-signin"
    }
}

/// Sends the browser to the provider.
pub async fn begin(State(app): State<App>, Client(from): Client, jar: CookieJar) -> Shown {
    app.may_try(from)?;
    let oidc = app.oidc.clone().ok_or(Problem::NotFound("page"))?;
    let (url, state) = oidc.begin(app.store()).await?;
    let cookie = session::cookie(&app, state_cookie(app.is_secure()), state);
    Ok((jar.add(cookie), Redirect::to(&url)).into_response())
}

/// What the provider sends the browser back with.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Callback {
    code: String,
    state: String,
    error: String,
}

/// The browser is back.
pub async fn callback(
    State(app): State<App>,
    Client(from): Client,
    jar: CookieJar,
    Query(q): Query<Callback>,
) -> Shown {
    app.may_try(from)?;
    let oidc = app.oidc.clone().ok_or(Problem::NotFound("page"))?;
    let name = state_cookie(app.is_secure());
    let ours = jar
        .get(name)
        .map(|c| c.value().to_owned())
        .unwrap_or_default();
    let jar = jar.add(session::removal(&app, name));
    if !q.error.is_empty() {
        let words = "the identity provider did not sign you in";
        let page = page(&app, vec![Fault::new("", words)]);
        return Ok((StatusCode::FORBIDDEN, jar, page).into_response());
    }
    if ours.is_empty() || !secret::same(&ours, &q.state) {
        return Err(Problem::Forbidden("this sign-in was begun elsewhere; begin again").into());
    }
    let who = oidc.finish(app.store(), &q.state, q.code).await?;
    let rights = app.options.groups.rights(&who.groups);
    let cookie = session::begin(&app, &who.person, rights, "oidc", from.to_string()).await?;
    Ok((jar.add(cookie), Redirect::to("/agents")).into_response())
}

/// Where the one-time link leads. Looking at it uses nothing up: mail scanners look, too.
pub async fn welcome() -> Response {
    render(&WelcomePage {
        frame: Frame::new("Welcome", None, ""),
        faults: Vec::new(),
        person: String::new(),
    })
}

/// The form of the one-time link.
#[derive(Deserialize)]
pub struct WelcomeForm {
    token: String,
    #[serde(default)]
    person: String,
}

/// Uses a one-time link.
pub async fn use_link(
    State(app): State<App>,
    Client(from): Client,
    jar: CookieJar,
    Form(form): Form<WelcomeForm>,
) -> Shown {
    app.may_try(from)?;
    let hash = secret::digest(&form.token);
    let refuse = |faults| {
        let page = WelcomePage {
            frame: Frame::new("Welcome", None, ""),
            faults,
            person: form.person.clone(),
        };
        Ok((StatusCode::FORBIDDEN, render(&page)).into_response())
    };
    let spent = || {
        vec![Fault::new(
            "",
            "this link is not good, or not good any more; have a new one made",
        )]
    };
    let Some(settled) = app.store().link(&hash).await? else {
        return refuse(spent());
    };
    let person = settled
        .clone()
        .unwrap_or_else(|| form.person.trim().to_lowercase());
    if person.is_empty() {
        return refuse(vec![Fault::new("person", "say who you are")]);
    }
    if settled.is_none() {
        // The first admin. The link is used up in the same step, so two who hold it do not both become one.
        if let Err(problem) = app.manage.put_first_admin(&person, &hash, from).await {
            return match problem {
                Problem::Unauthenticated => refuse(spent()),
                other => refuse(faults_of(other)?),
            };
        }
    } else {
        let actor = Actor {
            person: person.clone(),
            via: "link".to_owned(),
            remote_addr: from.to_string(),
        };
        let mut write = app.store().begin(&actor).await?;
        if write.take_link(&hash).await?.is_none() {
            return refuse(spent());
        }
        write
            .audit(&Act::new("link.use", format!("person:{person}")))
            .await?;
        write.commit().await?;
    }
    let cookie =
        session::begin(&app, &person, (false, Vec::new()), "link", from.to_string()).await?;
    Ok((jar.add(cookie), Redirect::to("/agents")).into_response())
}

/// Signs out.
pub async fn sign_out(
    State(app): State<App>,
    Viewer(_): Viewer,
    headers: HeaderMap,
    jar: CookieJar,
) -> Shown {
    if let Some(token) = session::token(&app, &headers) {
        app.store().end_session(&secret::digest(&token)).await?;
    }
    let jar = jar.add(session::removal(&app, session::name(app.is_secure())));
    Ok::<_, Failed>((jar, Redirect::to("/signin")).into_response())
}

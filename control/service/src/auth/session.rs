//! Sessions in a cookie.

use axum::http::HeaderMap;
use axum_extra::extract::CookieJar;
use axum_extra::extract::cookie::{Cookie, SameSite};

use crate::app::App;
use crate::problem::Problem;
use crate::secret;
use crate::store::audit::Act;
use crate::store::people::NewSession;
use crate::store::{Actor, now};

/// `__Host-`: browsers take it over TLS, for this host and `/` only. Without TLS (loopback, tests) there is no such thing.
pub const fn name(app_is_secure: bool) -> &'static str {
    if app_is_secure {
        "__Host-portcullis"
    } else {
        "portcullis"
    }
}

/// The session token that came along.
pub fn token(app: &App, headers: &HeaderMap) -> Option<String> {
    let jar = CookieJar::from_headers(headers);
    jar.get(name(app.is_secure())).map(|c| c.value().to_owned())
}

/// A cookie as all of ours are. It ends with the browser; the service may end it sooner.
pub fn cookie(app: &App, name: &'static str, value: String) -> Cookie<'static> {
    Cookie::build((name, value))
        .path("/")
        .http_only(true)
        .secure(app.is_secure())
        // Not `Strict`: coming back from the identity provider, the browser would not send it.
        .same_site(SameSite::Lax)
        .build()
}

/// What makes the browser forget it.
pub fn removal(app: &App, name: &'static str) -> Cookie<'static> {
    let mut cookie = cookie(app, name, String::new());
    cookie.make_removal();
    cookie
}

/// Signs someone in: the session's cookie.
pub async fn begin(
    app: &App,
    person: &str,
    groups: (bool, Vec<String>),
    via: &str,
    remote_addr: String,
) -> Result<Cookie<'static>, Problem> {
    let (token, hash) = secret::token().ok_or(Problem::Unavailable)?;
    let life = app.options.session_life;
    let actor = Actor {
        person: person.to_owned(),
        via: via.to_owned(),
        remote_addr,
    };
    let mut write = app.store().begin(&actor).await?;
    if write
        .person(person)
        .await?
        .is_some_and(|p| p.disabled_at.is_some())
    {
        return Err(Problem::Forbidden("this person may not sign in"));
    }
    write
        .insert_session(&NewSession {
            hash,
            person: person.to_owned(),
            group_admin: groups.0,
            group_workspaces: groups.1,
            expires_at: now() + life,
        })
        .await?;
    write
        .audit(&Act::new("session.begin", format!("person:{person}")))
        .await?;
    write.commit().await?;
    Ok(cookie(app, name(app.is_secure()), token))
}

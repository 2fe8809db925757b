//! Who is there.
//!
//! In this order, and the first that is there decides: a bearer token, the identity headers of a proxy that proves to be
//! ours, the session cookie. One that is there and not good is refused; nothing falls through.

pub mod oidc;
pub mod session;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};

use crate::access::Principal;
use crate::app::App;
use crate::model::{Token, TokenKind};
use crate::options::ProxyOptions;
use crate::problem::Problem;
use crate::secret;

/// How the proxy in front proves that it is ours.
const PROXY_SECRET: &str = "x-portcullis-proxy-secret";

/// Someone signed in.
pub struct Caller(pub Principal);

/// A proxy with its fleet token.
pub struct Fleet {
    /// The token.
    pub token: Token,
    /// From where it asks.
    pub remote_addr: String,
    /// As it names itself.
    pub instance: String,
    /// The version of its policy.
    pub config_version: String,
}

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let headers = &parts.headers;
        let addr = client(app, parts).to_string();
        let named = |mut principal: Principal, via: &str| {
            principal.via = via.to_owned();
            principal.remote_addr.clone_from(&addr);
            Ok(Self(principal))
        };
        // What the proxy lets through of a caller's own credential is the identity provider's, and judged; a token of ours is ours to judge.
        let own = bearer(headers).is_some_and(|b| b.starts_with("gapi_"));
        if headers.contains_key(header::AUTHORIZATION) && (own || !from_proxy(app, headers)) {
            let presented = bearer(headers).ok_or(Problem::Unauthenticated)?;
            let token = app.manage.check_token(TokenKind::Api, presented).await?;
            let principal = app
                .store()
                .principal(&token.person, false, Vec::new())
                .await?;
            let mut principal = principal.ok_or(Problem::Unauthenticated)?;
            principal.read_only = token.read_only;
            return named(principal, &format!("token:{}", token.id));
        }
        if let Some(proxy) = &app.options.proxy
            && from_proxy(app, headers)
        {
            let principal = identity(app, proxy, headers).await?;
            return named(principal, "header");
        }
        let token = session::token(app, headers).ok_or(Problem::Unauthenticated)?;
        // Tower's layer refuses requests from elsewhere; one that says nothing of where it is from is no browser's,
        // and nobody else has our cookie.
        let says = headers.contains_key("sec-fetch-site") || headers.contains_key(header::ORIGIN);
        if !says && !matches!(parts.method, Method::GET | Method::HEAD) {
            return Err(Problem::Forbidden(
                "a request with a session must say its origin",
            ));
        }
        let principal = app.store().session(&secret::digest(&token)).await?;
        named(principal.ok_or(Problem::Unauthenticated)?, "session")
    }
}

impl FromRequestParts<App> for Fleet {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let presented = bearer(&parts.headers).ok_or(Problem::Unauthenticated)?;
        let token = app.manage.check_token(TokenKind::Fleet, presented).await?;
        let text = |name: &str| -> String {
            let value = parts
                .headers
                .get(name)
                .and_then(|v| v.to_str().ok())
                .unwrap_or_default();
            value
                .chars()
                .filter(|c| !c.is_control())
                .take(200)
                .collect()
        };
        let remote_addr = client(app, parts).to_string();
        Ok(Self {
            token,
            instance: match text("x-portcullis-instance") {
                none if none.is_empty() => remote_addr.clone(),
                name => name,
            },
            config_version: text("x-portcullis-config"),
            remote_addr,
        })
    }
}

/// Whether the request comes by way of our proxy. With the wrong secret it does not.
fn from_proxy(app: &App, headers: &HeaderMap) -> bool {
    let presented = headers.get(PROXY_SECRET).and_then(|v| v.to_str().ok());
    match (&app.options.proxy, presented) {
        (Some(proxy), Some(presented)) => secret::same(&proxy.secret, presented),
        _ => false,
    }
}

/// Who the proxy says is there.
async fn identity(
    app: &App,
    proxy: &ProxyOptions,
    headers: &HeaderMap,
) -> Result<Principal, Problem> {
    let one = |name: &str| -> Result<Option<String>, Problem> {
        let mut all = headers
            .get_all(format!("{}{name}", proxy.header_prefix))
            .iter();
        match (all.next(), all.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => Ok(value.to_str().ok().map(str::to_owned)),
            (Some(_), Some(_)) => Err(Problem::Unauthenticated),
        }
    };
    let person = one("user-id")?
        .filter(|p| !p.is_empty())
        .ok_or(Problem::Unauthenticated)?;
    let groups: Vec<String> = one("groups")?
        .unwrap_or_default()
        .split(',')
        .map(|g| g.trim().to_owned())
        .filter(|g| !g.is_empty())
        .collect();
    let (admin, workspaces) = app.options.groups.rights(&groups);
    let principal = app.store().principal(&person, admin, workspaces).await?;
    principal.ok_or(Problem::Forbidden("this person may not sign in"))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (value, None) = (all.next()?.to_str().ok()?, all.next()) else {
        return None;
    };
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Where the request comes from: the peer, or what our proxy says of its peer.
pub fn client(app: &App, parts: &Parts) -> IpAddr {
    let peer = parts
        .extensions
        .get::<ConnectInfo<SocketAddr>>()
        .map(|c| c.0.ip());
    let told = || {
        let value = parts.headers.get("x-envoy-external-address")?;
        value.to_str().ok()?.trim().parse().ok()
    };
    let told = if from_proxy(app, &parts.headers) {
        told()
    } else {
        None
    };
    told.or(peer).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}

/// The client's address, for handlers.
pub struct Client(pub IpAddr);

impl FromRequestParts<App> for Client {
    type Rejection = std::convert::Infallible;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Self::Rejection> {
        Ok(Self(client(app, parts)))
    }
}

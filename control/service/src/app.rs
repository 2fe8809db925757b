//! The running service: its parts, its routes, its start and its end.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tower_http::compression::CompressionLayer;
use tower_http::csrf::CsrfLayer;

use crate::api;
use crate::auth::oidc::Oidc;
use crate::feed::PageCache;
use crate::manage::Manage;
use crate::options::Options;
use crate::page;
use crate::problem::Problem;
use crate::secret;
use crate::store::fleet::Contact;
use crate::store::{Actor, Store, StoreError, now};

/// The parts. Cheap to clone.
#[derive(Clone)]
pub struct App {
    /// The operations.
    pub manage: Manage,
    /// What was decided.
    pub options: Arc<Options>,
    pub(crate) oidc: Option<Arc<Oidc>>,
    pub(crate) pages: Arc<PageCache>,
    pub(crate) contacts: Arc<Mutex<HashMap<String, Contact>>>,
    pub(crate) sign_ins: Arc<DefaultKeyedRateLimiter<IpAddr>>,
    pub(crate) ending: watch::Receiver<bool>,
    end: Arc<watch::Sender<bool>>,
}

/// Nobody has a fleet of so many; what is beyond is not written down.
const MAX_CONTACTS: usize = 20_000;

impl App {
    /// Opens the database and puts the parts together.
    pub async fn open(options: Options) -> Result<Self, StoreError> {
        let store = Store::open(&options.database).await?;
        let quota = NonZeroU32::new(options.sign_ins_a_minute).unwrap_or(NonZeroU32::MIN);
        let (end, ending) = watch::channel(false);
        Ok(Self {
            manage: Manage::new(store, options.keys.clone()),
            oidc: options
                .oidc
                .clone()
                .map(|o| Arc::new(Oidc::new(o, &options.public_url))),
            options: Arc::new(options),
            pages: Arc::default(),
            contacts: Arc::default(),
            sign_ins: Arc::new(RateLimiter::keyed(Quota::per_minute(quota))),
            ending,
            end: Arc::new(end),
        })
    }

    /// The database.
    pub const fn store(&self) -> &Store {
        &self.manage.store
    }

    /// Whether cookies travel over TLS only.
    pub fn is_secure(&self) -> bool {
        self.options.public_url.starts_with("https://")
    }

    /// One more try to sign in from there, or how long to wait.
    pub(crate) fn may_try(&self, from: IpAddr) -> Result<(), Problem> {
        self.sign_ins
            .check_key(&from)
            .map_err(|_| Problem::TooMany(60))
    }

    /// Remembers a contact, to be written down with others.
    pub(crate) fn contact(&self, instance: String, contact: Contact) {
        // Poisoned by nothing: no code panics with the lock held.
        if let Ok(mut contacts) = self.contacts.lock()
            && (contacts.len() < MAX_CONTACTS || contacts.contains_key(&instance))
        {
            contacts.insert(instance, contact);
        }
    }

    /// A one-time link that makes whoever opens it the first admin, or signs that person in.
    pub async fn link(&self, person: Option<&str>) -> Result<String, StoreError> {
        let (token, hash) = secret::token().ok_or(StoreError::Migration(
            "the system gives no randomness".to_owned(),
        ))?;
        let mut write = self.store().begin(&Actor::system("cli")).await?;
        write.put_link(&hash, person, 24 * 3600).await?;
        let target = person.map_or_else(|| "first admin".to_owned(), |p| format!("person:{p}"));
        write
            .audit(&crate::store::audit::Act::new("link.create", target))
            .await?;
        write.commit().await?;
        // In the fragment, so that it stands in nobody's access log.
        Ok(format!("{}/welcome#{token}", self.options.public_url))
    }

    /// The link for the first admin, if there is no other way to become one.
    pub async fn first_link(&self) -> Result<Option<String>, StoreError> {
        if self.options.groups.admin.is_some() || self.store().has_admin().await? {
            return Ok(None);
        }
        self.link(None).await.map(Some)
    }

    /// All routes.
    pub fn router(&self) -> Router {
        let csrf = match CsrfLayer::new().add_trusted_origin(self.options.public_url.as_str()) {
            Ok(layer) => layer,
            Err(error) => {
                tracing::warn!(%error, "the public URL is no origin");
                CsrfLayer::new()
            }
        };
        let api = api::router().layer(CompressionLayer::new());
        Router::new()
            .merge(api)
            .merge(page::router().layer(CompressionLayer::new()))
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(ready))
            .fallback(page::not_found)
            .layer(DefaultBodyLimit::max(4 << 20))
            .layer(csrf)
            .layer(axum::middleware::from_fn_with_state(self.clone(), harden))
            .with_state(self.clone())
    }

    /// Serves until `end` is done, then lets running requests finish.
    pub async fn serve(
        self,
        listener: TcpListener,
        end: impl Future<Output = ()> + Send + 'static,
    ) -> std::io::Result<()> {
        let tasks = [
            tokio::spawn(self.store().clone().follow()),
            tokio::spawn(flush(self.clone())),
            tokio::spawn(tidy(self.clone())),
        ];
        let router = self
            .router()
            .into_make_service_with_connect_info::<SocketAddr>();
        let ending = self.end.clone();
        let graceful = async move {
            end.await;
            // Long polls answer at once, or they would hold the end up.
            ending.send_replace(true);
        };
        let mut ended = self.ending.clone();
        let served = axum::serve(listener, router).with_graceful_shutdown(graceful);
        let late = async move {
            let _ = ended.wait_for(|end| *end).await;
            tokio::time::sleep(Duration::from_secs(10)).await;
        };
        let result = tokio::select! {
            result = async { served.await } => result,
            () = late => Ok(()),
        };
        for task in tasks {
            task.abort();
        }
        self.flush_contacts().await;
        self.store().close().await;
        result
    }

    async fn flush_contacts(&self) {
        let contacts = self
            .contacts
            .lock()
            .map(|mut c| std::mem::take(&mut *c))
            .unwrap_or_default();
        if !contacts.is_empty()
            && let Err(error) = self.store().take_contacts(&contacts).await
        {
            tracing::warn!(%error, "can't write down who follows the feed");
        }
    }
}

async fn ready(State(app): State<App>) -> Response {
    match app.store().ping().await {
        Ok(()) => "ready\n".into_response(),
        Err(error) => {
            tracing::warn!(%error, "not ready");
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "the database does not answer\n",
            )
                .into_response()
        }
    }
}

async fn flush(app: App) {
    loop {
        tokio::time::sleep(Duration::from_secs(2)).await;
        app.flush_contacts().await;
    }
}

async fn tidy(app: App) {
    loop {
        if let Err(error) = tidy_once(&app).await {
            tracing::warn!(%error, "can't tidy up");
        }
        app.sign_ins.retain_recent();
        tokio::time::sleep(Duration::from_secs(600)).await;
    }
}

async fn tidy_once(app: &App) -> Result<(), StoreError> {
    app.store().tidy().await?;
    loop {
        let before = now() - app.options.forget_after;
        let ids = app.store().forgettable_keys(before, 500).await?;
        if ids.is_empty() {
            return Ok(());
        }
        let mut write = app.store().begin(&Actor::system("system")).await?;
        write.forget_keys(&ids).await?;
        write.commit().await?;
    }
}

/// What a page may load: what this service serves. No inline script or style.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
     form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

async fn harden(State(app): State<App>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(POLICY),
    );
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    // Not `no-referrer`: with it browsers send `Origin: null` with forms.
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("same-origin"),
    );
    headers.insert(
        "cross-origin-opener-policy",
        HeaderValue::from_static("same-origin"),
    );
    headers.insert(
        "cross-origin-resource-policy",
        HeaderValue::from_static("same-origin"),
    );
    if app.is_secure() {
        headers.insert(
            header::STRICT_TRANSPORT_SECURITY,
            HeaderValue::from_static("max-age=31536000"),
        );
    }
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

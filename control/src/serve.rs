//! `portcullis serve`: the key service.

use std::net::SocketAddr;
use std::process::ExitCode;

use portcullis_core::config::Span;
use portcullis_service::access::Principal;
use portcullis_service::app::App;
use portcullis_service::demo;
use portcullis_service::manage::{KeyForm, TokenDraft};
use portcullis_service::model::TokenKind;
use portcullis_service::options::{GroupRules, OidcOptions, Options, ProxyOptions};
use portcullis_service::store::Store;

use crate::key;
use crate::output;

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = false)]
pub struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    /// The database: a file for SQLite, or postgres://user@host/name
    #[arg(
        long,
        global = true,
        value_name = "WHERE",
        env = "PORTCULLIS_DATABASE",
        default_value = "portcullis.db",
        hide_env_values = true
    )]
    database: String,
    /// Where to listen
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        env = "PORTCULLIS_LISTEN",
        default_value = "127.0.0.1:8420"
    )]
    listen: SocketAddr,
    /// How browsers reach it: `https://keys.example.com` [default: `http://`, and where it listens]
    #[arg(long, global = true, value_name = "URL", env = "PORTCULLIS_PUBLIC_URL")]
    public_url: Option<String>,
    /// How callers reach an agent, for the snippets on the page: `https://agents.example.com/rest/{agent}`
    #[arg(long, value_name = "URL", env = "PORTCULLIS_AGENTS_URL")]
    agents_url: Option<String>,
    /// What a key begins with; as in the filter's configuration
    #[arg(long, value_name = "PREFIX", default_value = "gak")]
    prefix: String,
    /// What a service-account token begins with
    #[arg(long, value_name = "PREFIX", default_value = "gsa")]
    service_prefix: String,
    /// The variable with the pepper, if hashes shall be HMACs; the filters need it too
    #[arg(long, value_name = "VARIABLE")]
    pepper_env: Option<String>,
    /// The longest life of a key: 365d [default: none, and keys may live for ever]
    #[arg(long, value_name = "TIME")]
    max_key_life: Option<String>,
    /// Sign-in with this OpenID provider
    #[arg(
        long,
        value_name = "URL",
        env = "PORTCULLIS_OIDC_ISSUER",
        requires = "oidc_client_id"
    )]
    oidc_issuer: Option<String>,
    /// This service's client id there; its redirect URI is PUBLIC_URL/signin/callback
    #[arg(long, value_name = "ID", env = "PORTCULLIS_OIDC_CLIENT_ID")]
    oidc_client_id: Option<String>,
    /// The variable with the client's secret; none for a public client
    #[arg(long, value_name = "VARIABLE")]
    oidc_client_secret_env: Option<String>,
    /// The claim that names a person; `email` has to be verified
    #[arg(long, value_name = "CLAIM", default_value = "email")]
    oidc_person_claim: String,
    /// The claim that lists groups
    #[arg(long, value_name = "CLAIM", default_value = "groups")]
    oidc_groups_claim: String,
    /// Scopes to ask for, beside openid
    #[arg(
        long,
        value_name = "SCOPES",
        value_delimiter = ',',
        default_value = "email,profile"
    )]
    oidc_scopes: Vec<String>,
    /// The variable with the secret by which the proxy in front proves that identity headers are its own; 32 characters or more
    #[arg(long, value_name = "VARIABLE")]
    proxy_secret_env: Option<String>,
    /// What the proxy's identity headers begin with
    #[arg(long, value_name = "PREFIX", default_value = "x-auth-")]
    identity_header_prefix: String,
    /// Whoever is in this group is admin
    #[arg(long, value_name = "GROUP")]
    admin_group: Option<String>,
    /// Whoever is in such a group administers that workspace: team-{workspace}-admins
    #[arg(long, value_name = "TEMPLATE")]
    workspace_group: Option<String>,
    /// How long a session lasts
    #[arg(long, value_name = "TIME", default_value = "12h")]
    session_life: String,
    /// Keys that have been worthless for so long are no longer sent to filters
    #[arg(long, value_name = "TIME", default_value = "30d")]
    forget_after: String,
    /// Sign-ins from one address in a minute
    #[arg(long, value_name = "N", default_value_t = 20)]
    sign_ins_per_minute: u32,
    /// How log lines are written
    #[arg(long, value_enum, default_value_t = LogForm::Text)]
    log: LogForm,
    /// Begin with the demo's agents, if the database is empty
    #[arg(long)]
    demo: bool,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum LogForm {
    Text,
    Json,
}

/// What else can be done with the database.
#[derive(clap::Subcommand)]
pub enum Action {
    /// Print a one-time link that signs somebody in, or without --person one for the first admin
    AdminLink {
        /// Whom it signs in
        #[arg(long)]
        person: Option<String>,
    },
    /// Make a token for proxies that follow the feed, and print it, this once
    FleetToken {
        /// What it is for, in words
        #[arg(long, default_value = "")]
        name: String,
        /// How long it is good: 90d, or never
        #[arg(long, default_value = "365d")]
        expires: String,
    },
    /// Copy a SQLite database to a new file while the service runs
    Backup {
        /// The new file
        to: String,
    },
    /// After a backup was restored by other means than `backup`: every filter begins anew
    NewEpoch,
    /// Print the API's description, OpenAPI 3.1
    Openapi,
}

/// Runs the service, or does what else was asked for.
pub fn run(args: Args) -> ExitCode {
    if matches!(args.action, Some(Action::Openapi)) {
        let text = portcullis_service::api::openapi()
            .to_pretty_json()
            .unwrap_or_default();
        output::result(&format!("{text}\n"));
        return ExitCode::SUCCESS;
    }
    let filter = tracing_subscriber::EnvFilter::try_from_env("PORTCULLIS_LOG")
        .unwrap_or_else(|_| "info,sqlx=warn".into());
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match args.log {
        LogForm::Text => log.init(),
        LogForm::Json => log.json().init(),
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("no threads: {error}")),
    };
    match runtime.block_on(act(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(words) => fail(&words),
    }
}

fn fail(words: &str) -> ExitCode {
    output::message("error", words);
    ExitCode::FAILURE
}

async fn act(args: Args) -> Result<(), String> {
    let words = |e: portcullis_service::store::StoreError| e.to_string();
    match &args.action {
        None => serve(args).await,
        Some(Action::AdminLink { person }) => {
            let app = App::open(options(&args)?).await.map_err(words)?;
            let link = app.link(person.as_deref()).await.map_err(words)?;
            output::result(&format!("{link}\n"));
            Ok(())
        }
        Some(Action::FleetToken { name, expires }) => {
            let app = App::open(options(&args)?).await.map_err(words)?;
            let mut by = Principal::new("system", true, []);
            by.via = "cli".to_owned();
            let draft = TokenDraft {
                kind: TokenKind::Fleet,
                name: name.clone(),
                read_only: false,
                expires: Some(expires.clone()),
            };
            let made = app
                .manage
                .create_token(&by, &draft)
                .await
                .map_err(|p| p.detail())?;
            output::result(&format!("{}\n", made.token));
            Ok(())
        }
        Some(Action::Backup { to }) => {
            let store = Store::open(&args.database).await.map_err(words)?;
            store.backup(to).await.map_err(words)
        }
        Some(Action::NewEpoch) => {
            let store = Store::open(&args.database).await.map_err(words)?;
            let epoch = store.new_epoch().await.map_err(words)?;
            output::result(&format!("{epoch}\n"));
            Ok(())
        }
        Some(Action::Openapi) => Ok(()),
    }
}

async fn serve(args: Args) -> Result<(), String> {
    let mut options = options(&args)?;
    if options.listen.ip().is_loopback() {
        // Nobody else can listen in.
    } else if options.public_url.starts_with("http://") && args.public_url.is_none() {
        return Err(
            "listening beyond this machine needs --public-url, and TLS in front of it".to_owned(),
        );
    } else if options.public_url.starts_with("http://") {
        output::message(
            "warning",
            "--public-url is without TLS: sessions and keys travel in the clear",
        );
    }
    let listener = tokio::net::TcpListener::bind(options.listen)
        .await
        .map_err(|e| format!("can't listen at {}: {e}", options.listen))?;
    if args.public_url.is_none() {
        let address = listener.local_addr().map_err(|e| e.to_string())?;
        options.public_url = format!("http://{address}");
    }
    let public_url = options.public_url.clone();
    let app = App::open(options).await.map_err(|e| e.to_string())?;
    if args.demo {
        demo::fill(&app).await.map_err(|p| p.detail())?;
    }
    if let Some(link) = app.first_link().await.map_err(|e| e.to_string())? {
        output::result(&format!(
            "Whoever opens this link first becomes admin; it is good once, and for a day:\n  {link}\n"
        ));
    }
    output::result(&format!("Serving {public_url}\n"));
    app.serve(listener, end()).await.map_err(|e| e.to_string())
}

/// Until SIGINT or SIGTERM.
async fn end() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        // Without signals only SIGKILL ends it, which loses nothing that was answered.
        return std::future::pending().await;
    };
    let first = std::pin::pin!(interrupt.recv());
    let second = std::pin::pin!(terminate.recv());
    either(first, second).await;
}

/// Until one of the two is done.
async fn either(
    mut first: std::pin::Pin<&mut impl Future>,
    mut second: std::pin::Pin<&mut impl Future>,
) {
    std::future::poll_fn(|context| {
        if first.as_mut().poll(context).is_ready() || second.as_mut().poll(context).is_ready() {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
}

fn options(args: &Args) -> Result<Options, String> {
    let seconds = |name: &str, text: &str| match Span::parse(text) {
        Some(Span(span)) => Ok(i64::try_from(span.as_secs()).unwrap_or(i64::MAX)),
        None => Err(format!("{name}: write a time such as 12h or 90d")),
    };
    let variable = |name: &str| match std::env::var(name) {
        Ok(value) if !value.is_empty() => Ok(value),
        _ => Err(format!("the variable {name} is not set")),
    };
    let oidc = match (&args.oidc_issuer, &args.oidc_client_id) {
        (Some(issuer), Some(client_id)) => Some(OidcOptions {
            issuer: issuer.clone(),
            client_id: client_id.clone(),
            client_secret: args
                .oidc_client_secret_env
                .as_deref()
                .map(variable)
                .transpose()?,
            person_claim: args.oidc_person_claim.clone(),
            groups_claim: args.oidc_groups_claim.clone(),
            scopes: args.oidc_scopes.clone(),
        }),
        _ => None,
    };
    let proxy = match args.proxy_secret_env.as_deref().map(variable).transpose()? {
        None => None,
        Some(secret) if secret.len() < 32 => {
            return Err("the proxy's secret must have 32 characters or more".to_owned());
        }
        Some(secret) => Some(ProxyOptions {
            secret,
            header_prefix: args.identity_header_prefix.to_ascii_lowercase(),
        }),
    };
    if args
        .workspace_group
        .as_deref()
        .is_some_and(|t| !t.contains("{workspace}"))
    {
        return Err(
            "--workspace-group: write {workspace} where the workspace's name stands".to_owned(),
        );
    }
    for (name, prefix) in [
        ("--prefix", &args.prefix),
        ("--service-prefix", &args.service_prefix),
    ] {
        if !portcullis_core::apikey::format::is_prefix(prefix) {
            return Err(format!(
                "{name}: must be 2 to 16 lower-case letters and digits, a letter first"
            ));
        }
    }
    let public_url = args
        .public_url
        .clone()
        .unwrap_or_else(|| format!("http://{}", args.listen));
    if !public_url.starts_with("https://") && !public_url.starts_with("http://") {
        return Err("--public-url: must begin with https://".to_owned());
    }
    Ok(Options {
        database: args.database.clone(),
        listen: args.listen,
        public_url: public_url.trim_end_matches('/').to_owned(),
        agents_url: args.agents_url.clone(),
        keys: KeyForm {
            prefix: args.prefix.clone(),
            service_prefix: args.service_prefix.clone(),
            pepper: key::pepper(args.pepper_env.as_deref())?,
            max_life: args
                .max_key_life
                .as_deref()
                .map(|t| seconds("--max-key-life", t))
                .transpose()?,
        },
        oidc,
        proxy,
        groups: GroupRules {
            admin: args.admin_group.clone(),
            workspace: args.workspace_group.clone(),
        },
        session_life: seconds("--session-life", &args.session_life)?,
        forget_after: seconds("--forget-after", &args.forget_after)?,
        sign_ins_a_minute: args.sign_ins_per_minute,
    })
}

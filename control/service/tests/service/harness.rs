//! A service on a database of its own, and a PostgreSQL server for the run.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, StatusCode};
use axum::response::Response;
use portcullis_service::access::Principal;
use portcullis_service::app::App;
use portcullis_service::manage::{KeyForm, PersonDraft, TokenDraft};
use portcullis_service::model::TokenKind;
use portcullis_service::options::{GroupRules, Options, ProxyOptions};
use serde_json::Value;
use sqlx::{Connection as _, PgConnection};
use tower::ServiceExt as _;

/// Each named test on both databases.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test] async fn $name() {
                super::$name($crate::harness::Service::sqlite().await).await;
            })*
        }
        mod postgres {
            $(#[tokio::test] async fn $name() {
                super::$name($crate::harness::Service::postgres().await).await;
            })*
        }
    };
}

pub const PROXY_SECRET: &str = "a secret of the proxy's, long enough";

/// A service and its database.
pub struct Service {
    pub app: App,
    pub database: String,
    _folder: Option<Folder>,
}

/// A folder that is gone with its test.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "portcullis-service-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn options(database: &str) -> Options {
    Options {
        database: database.to_owned(),
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        public_url: "http://keys.test".to_owned(),
        agents_url: None,
        keys: KeyForm {
            prefix: "gak".to_owned(),
            service_prefix: "gsa".to_owned(),
            pepper: None,
            max_life: None,
        },
        oidc: None,
        proxy: Some(ProxyOptions {
            secret: PROXY_SECRET.to_owned(),
            header_prefix: "x-auth-".to_owned(),
        }),
        groups: GroupRules {
            admin: Some("portcullis-admins".to_owned()),
            workspace: Some("team-{workspace}-admins".to_owned()),
        },
        session_life: 3600,
        forget_after: 30 * 86_400,
        sign_ins_a_minute: 5,
    }
}

impl Service {
    pub async fn sqlite() -> Self {
        let folder = Folder::new();
        let database = folder.0.join("keys.db").display().to_string();
        Self {
            app: App::open(options(&database)).await.unwrap(),
            database,
            _folder: Some(folder),
        }
    }

    pub async fn postgres() -> Self {
        let database = server().database().await;
        Self {
            app: App::open(options(&database)).await.unwrap(),
            database,
            _folder: None,
        }
    }

    /// Another replica on the same database.
    pub async fn replica(&self) -> Self {
        Self::on(&self.database).await
    }

    /// On a database that there is.
    pub async fn on(database: &str) -> Self {
        Self {
            app: App::open(options(database)).await.unwrap(),
            database: database.to_owned(),
            _folder: None,
        }
    }

    /// A token for someone with these rights.
    pub async fn user(&self, person: &str, admin: bool, workspaces: &[&str]) -> User<'_> {
        let root = Principal::new("root", true, []);
        let draft = PersonDraft {
            admin,
            workspaces: workspaces.iter().map(|w| (*w).to_owned()).collect(),
            disabled: false,
        };
        self.app
            .manage
            .put_person(&root, person, &draft)
            .await
            .unwrap();
        let by = Principal::new(person, admin, []);
        let token = self.token(&by, TokenKind::Api, false).await;
        User {
            service: self,
            token,
        }
    }

    pub async fn admin(&self) -> User<'_> {
        self.user("root", true, &[]).await
    }

    /// A proxy with a fleet token.
    pub async fn fleet(&self) -> User<'_> {
        let root = Principal::new("root", true, []);
        let token = self.token(&root, TokenKind::Fleet, false).await;
        User {
            service: self,
            token,
        }
    }

    pub async fn token(&self, by: &Principal, kind: TokenKind, read_only: bool) -> String {
        let draft = TokenDraft {
            kind,
            name: "test".to_owned(),
            read_only,
            expires: None,
        };
        self.app
            .manage
            .create_token(by, &draft)
            .await
            .unwrap()
            .token
    }

    pub async fn send(&self, mut request: Request<Body>) -> Response {
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 4711));
        request.extensions_mut().insert(ConnectInfo(peer));
        self.app.router().oneshot(request).await.unwrap()
    }
}

/// Someone with a bearer token.
pub struct User<'s> {
    service: &'s Service,
    pub token: String,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: axum::http::HeaderMap,
    pub text: String,
}

impl Answer {
    pub async fn of(response: Response) -> Self {
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX)
            .await
            .unwrap();
        Self {
            status,
            headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text)
            .unwrap_or_else(|e| panic!("{} {e}: {}", self.status, self.text))
    }

    /// The body, when the status is this one.
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        if self.text.is_empty() {
            Value::Null
        } else {
            self.json()
        }
    }
}

impl User<'_> {
    pub fn with<'s>(service: &'s Service, token: String) -> User<'s> {
        User { service, token }
    }

    pub async fn call(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {}", self.token));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = match body {
            None => Body::empty(),
            Some(value) => {
                request = request.header("content-type", "application/json");
                Body::from(value.to_string())
            }
        };
        Answer::of(self.service.send(request.body(body).unwrap()).await).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, None, &[]).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.call("POST", path, Some(body), &[]).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.call("PUT", path, Some(body), &[]).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.call("DELETE", path, None, &[]).await
    }

    /// (key, id)
    pub async fn make_key(&self, body: Value) -> (String, String) {
        let made = self.post("/api/v1/keys", body).await.expect(201);
        (text(&made["key"]), text(&made["record"]["id"]))
    }
}

pub fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value}"))
        .to_owned()
}

/// One PostgreSQL for the whole run, ended by the kernel when this process ends.
pub struct Server {
    port: u16,
    _children: [Child; 2],
}

/// The server of this run.
pub fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let (sender, receiver) = std::sync::mpsc::channel();
        // PDEATHSIG fires when the thread ends that started the server: this one never does.
        std::thread::spawn(move || {
            let _ = sender.send(start());
            loop {
                std::thread::park();
            }
        });
        receiver.recv().unwrap()
    })
}

impl Server {
    /// A new empty database.
    pub async fn database(&self) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("t{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let mut connection = PgConnection::connect(&self.url("postgres")).await.unwrap();
        let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
        sqlx::raw_sql(create)
            .execute(&mut connection)
            .await
            .unwrap();
        self.url(&name)
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://test@127.0.0.1:{}/{database}", self.port)
    }
}

fn start() -> Server {
    let bin = bin();
    let folder = std::env::temp_dir().join(format!("portcullis-postgres-{}", std::process::id()));
    let data = folder.join("data");
    std::fs::create_dir_all(&folder).unwrap();
    // PostgreSQL refuses to run as root; Debian's package brings a user for it.
    let root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    if root {
        assert!(
            Command::new("chown")
                .arg("postgres")
                .arg(&folder)
                .status()
                .unwrap()
                .success()
        );
    }
    let command = |program: &str| {
        let mut command = Command::new("setpriv");
        // The kernel ends it with us, however we end.
        command.args(["--pdeathsig", "INT"]);
        if root {
            command.args([
                "--reuid",
                "postgres",
                "--regid",
                "postgres",
                "--clear-groups",
            ]);
        }
        command
            .arg(bin.join(program))
            .current_dir(&folder)
            .stdout(Stdio::null());
        command
    };
    let made = command("initdb")
        .args([
            "--username=test",
            "--auth=trust",
            "--no-sync",
            "--encoding=UTF8",
            "--locale=C",
            "-D",
        ])
        .arg(&data)
        .stderr(Stdio::null())
        .status()
        .expect("PostgreSQL's initdb; `make setup` installs it");
    assert!(made.success(), "initdb failed");
    let port = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let log = std::fs::File::create(folder.join("log")).unwrap();
    let server = command("postgres")
        .arg("-D")
        .arg(&data)
        .args([
            "-h",
            "127.0.0.1",
            "-k",
            "",
            "-p",
            &port.to_string(),
            "-c",
            "fsync=off",
            "-c",
            "max_connections=400",
        ])
        .stderr(log)
        .spawn()
        .unwrap();
    // Nobody drops a static: the folder goes when this process has.
    let sweep = format!(
        "while kill -0 {} 2>/dev/null; do sleep 1; done; sleep 5; rm -rf {}",
        std::process::id(),
        folder.display()
    );
    let sweeper = Command::new("sh")
        .args(["-c", &sweep])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let children = [server, sweeper];
    for _ in 0..300 {
        if std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Server {
                port,
                _children: children,
            };
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!(
        "PostgreSQL does not start: {}",
        std::fs::read_to_string(folder.join("log")).unwrap_or_default()
    );
}

/// Debian keeps the server's programs out of the path.
fn bin() -> PathBuf {
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|bin| bin.join("postgres").exists())
        .collect();
    versions.sort();
    versions.pop().unwrap_or_else(|| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path).find(|folder| folder.join("postgres").exists());
        found.unwrap_or_else(|| Path::new("/PostgreSQL-is-missing-run-make-setup").to_owned())
    })
}

//! Plays one scenario on the emulator.

use std::collections::BTreeMap;
use std::time::Duration;

use portcullis_test_host::{
    Callout, Fate, Host, Module, Profile, Reply, Request, Settings, Stream,
};
use serde_json::{Value, json};

use crate::mint;

/// How long a request may be held, in ticks: longer than any scenario's callouts take.
const PATIENCE: usize = 400;

const TICK: Duration = Duration::from_millis(50);

/// A scenario in progress.
pub struct Player {
    pub host: Host,
    peers: BTreeMap<String, Value>,
    serial: u64,
    sent: usize,
}

/// The settings and the plugin's configuration of a scenario.
pub fn prepare(profile: Profile, scenario: &Value) -> (Settings, Value) {
    let mut settings = Settings::documented(profile);
    settings.workers = scenario["workers"]
        .as_u64()
        .map_or(1, |n| usize::try_from(n).unwrap());
    for (name, value) in scenario["env"].as_object().into_iter().flatten() {
        settings
            .env
            .insert(name.clone(), value.as_str().unwrap().to_owned());
    }
    let mut config = scenario["config"].clone();
    for (n, peer) in scenario["peers"]
        .as_object()
        .into_iter()
        .flatten()
        .enumerate()
    {
        let upstream = match profile {
            Profile::Envoy => format!("cluster-{n}"),
            Profile::Nginx => format!("127.0.0.1:{}", 9000 + n),
        };
        config["callouts"]["upstreams"][peer.0] = json!(upstream);
        settings.clusters.insert(upstream);
    }
    (settings, config)
}

impl Player {
    pub fn new(profile: Profile, scenario: &Value) -> Self {
        let (settings, config) = prepare(profile, scenario);
        let host = Host::start(&Module::built(), settings, config.to_string().as_bytes());
        let host = host.unwrap_or_else(|failure| panic!("{failure}"));
        let peers = scenario["peers"].as_object().into_iter().flatten();
        let mut player = Self {
            host,
            peers: peers
                .map(|(name, routes)| (name.clone(), routes.clone()))
                .collect(),
            serial: 0,
            sent: 0,
        };
        // Keys are fetched before anybody asks.
        player.pass(4);
        player
    }

    /// Lets ticks come and peers answer.
    pub fn pass(&mut self, ticks: usize) {
        for _ in 0..ticks {
            self.serve();
            self.host.advance(TICK);
        }
        self.serve();
    }

    fn serve(&mut self) {
        let peers = &self.peers;
        self.host.serve(|callout| answer(peers, callout));
    }

    /// One step; an error says what was otherwise.
    pub fn step(&mut self, step: &Value) -> Result<(), String> {
        let name = self.host.profile().name();
        if step["only"].as_str().is_some_and(|only| only != name) {
            return Ok(());
        }
        if let Some(peer) = step["peer"].as_str() {
            let routes = self
                .peers
                .get_mut(peer)
                .unwrap_or_else(|| panic!("no peer {peer}"));
            for (path, answer) in step["is"].as_object().unwrap() {
                routes[path] = answer.clone();
            }
            return Ok(());
        }
        if let Some(seconds) = step["wait"].as_f64() {
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a few seconds"
            )]
            self.pass((seconds * 20.0) as usize);
            return Ok(());
        }
        let mut expect = step["expect"].clone();
        for (member, value) in step["expect"]["on"][name].as_object().into_iter().flatten() {
            expect[member] = value.clone();
        }
        let times = step["request"]["times"].as_u64().unwrap_or(1);
        let mut statuses: BTreeMap<String, u64> = BTreeMap::new();
        for _ in 0..times {
            let (id, credential) = self.send(&step["request"]);
            let status = status(&self.host.fate(id))?;
            *statuses.entry(status.to_string()).or_default() += 1;
            check(&self.host.stream(id), status, &expect, &credential)?;
        }
        match &expect["statuses"] {
            Value::Null => Ok(()),
            wanted if *wanted == json!(statuses) => Ok(()),
            wanted => Err(format!("{statuses:?} and not {wanted}")),
        }
    }

    /// Sends a request, to one worker after the other, and waits until it is decided. Returns what was presented.
    pub fn send(&mut self, of: &Value) -> (u32, String) {
        self.serial += 1;
        let now = self.host.now();
        let mut request = Request::new(
            of["method"].as_str().unwrap_or("GET"),
            of["path"].as_str().unwrap_or("/rest/orders"),
        );
        for pair in of["headers"].as_array().into_iter().flatten() {
            request = request.header(pair[0].as_str().unwrap(), pair[1].as_str().unwrap());
        }
        let credential = if of["jwt"].is_object() {
            mint::jwt(&of["jwt"], now, self.serial)
        } else if of["sts"].is_object() {
            mint::presigned(&of["sts"], now)
        } else {
            of["bearer"].as_str().unwrap_or_default().to_owned()
        };
        if let Some(name) = of["in"].as_str() {
            request = request.header(name, &credential);
        } else if !credential.is_empty() {
            request = request.token(&credential);
        }
        if let Some(body) = of["body"].as_str() {
            request = request
                .header("content-length", body.len().to_string())
                .piece(body);
        }
        if of["sigv4"].is_object() {
            for (name, value) in mint::signature(&of["sigv4"], &request, now) {
                request = request.header(name, value);
            }
        }
        let worker = self.sent % self.host.workers();
        self.sent += 1;
        let id = self.host.send(worker, request);
        for _ in 0..PATIENCE {
            if self.host.fate(id) != Fate::Held {
                break;
            }
            self.pass(1);
        }
        (id, credential)
    }
}

fn status(fate: &Fate) -> Result<u32, String> {
    match fate {
        Fate::Forwarded(_) => Ok(200),
        Fate::Answered(reply) => Ok(reply.status),
        Fate::Failed { status, .. } => Ok(u32::from(*status)),
        Fate::Held | Fate::Hangs | Fate::Lost => Err(format!("no answer: {fate:?}")),
    }
}

/// Holds what became of a request against what was expected.
fn check(stream: &Stream, status: u32, expect: &Value, credential: &str) -> Result<(), String> {
    let told = |what: &str| {
        Err(format!(
            "{what}: {:?}\naudit: {:?}",
            stream.fate,
            stream.left("portcullis_audit")
        ))
    };
    if expect["status"]
        .as_u64()
        .is_some_and(|wanted| wanted != u64::from(status))
    {
        return told("the status");
    }
    if let Some(forwarded) = stream.forwarded() {
        for (name, value) in expect["sees"].as_object().into_iter().flatten() {
            let wanted: Vec<String> = value.as_str().map(str::to_owned).into_iter().collect();
            if forwarded.all(name) != wanted {
                return told(&format!("the agent's {name}"));
            }
        }
    }
    if expect["host"] == true {
        return match stream.fate {
            Fate::Failed { .. } => Ok(()),
            _ => told("not by the proxy itself"),
        };
    }
    if let Fate::Failed { .. } = stream.fate {
        return told("by the proxy itself");
    }
    let audit = stream.audit().unwrap_or_default();
    if expect.get("audit") == Some(&Value::Null) {
        return if audit.is_null() {
            Ok(())
        } else {
            told("an audit event")
        };
    }
    if audit.is_null() {
        return told("no audit event");
    }
    for name in ["code", "reason"] {
        if !expect[name].is_null() && audit["fields"][name] != expect[name] {
            return told(name);
        }
    }
    for (name, value) in expect["audit"].as_object().into_iter().flatten() {
        if audit["fields"][name] != *value {
            return told(&format!("the audit event's {name}"));
        }
    }
    if let Some(reply) = stream.answered() {
        if let Some(challenge) = expect["challenge"].as_str()
            && !reply
                .header("www-authenticate")
                .unwrap_or_default()
                .contains(challenge)
        {
            return told("the challenge");
        }
        for (name, value) in expect["headers"].as_object().into_iter().flatten() {
            let got = reply.header(name);
            let as_wanted = match value.as_str() {
                Some(wanted) => got.is_some_and(|got| got.contains(wanted)),
                None => got.is_none(),
            };
            if !as_wanted {
                return told(&format!("the answer's {name}"));
            }
        }
        if credential.len() > 8 && String::from_utf8_lossy(&reply.body).contains(credential) {
            return told("the credential is in the answer");
        }
    }
    if credential.len() > 8 && audit.to_string().contains(credential) {
        return told("the credential is in the audit event");
    }
    Ok(())
}

/// What a peer says.
fn answer(peers: &BTreeMap<String, Value>, callout: &Callout) -> Option<Reply> {
    let path = callout.header(":path");
    let path = path.split('?').next().unwrap_or_default();
    let Some(routes) = peers.get(&callout.header(":authority")) else {
        panic!("a callout to nobody: {}", callout.url());
    };
    let of = &routes[path];
    if of.is_null() {
        return Some(Reply::json(404, "not here"));
    }
    if of["silent"] == true {
        return None;
    }
    if of["hangup"] == true {
        return Some(Reply::NoReply);
    }
    let mut document = match &of["jwks"] {
        Value::Null => of["json"].clone(),
        names => mint::jwks(names),
    };
    if let Some(bytes) = of["bytes"].as_u64() {
        document["padding"] = json!("x".repeat(usize::try_from(bytes).unwrap()));
    }
    let mut body = match of["text"].as_str() {
        Some(text) => text.to_owned(),
        None => document.to_string(),
    };
    let missing = of["truncated"]
        .as_u64()
        .map_or(0, |n| usize::try_from(n).unwrap());
    body.truncate(body.len() - missing);
    let status = of["status"]
        .as_u64()
        .map_or(200, |status| u16::try_from(status).unwrap());
    let mut reply = Reply::json(status, body);
    for (name, value) in of["headers"].as_object().into_iter().flatten() {
        reply = reply.header(name, value.as_str().unwrap());
    }
    match missing {
        0 => Some(reply),
        missing => Some(Reply::Truncated(Box::new(reply), missing)),
    }
}

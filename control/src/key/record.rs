//! Records as they stand in a key file, their states, and how they are shown.

use std::fmt::Write as _;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use portcullis_core::config::Span;
use portcullis_service::state::{Moments, State};
use serde_json::{Map, Value, json};

use super::Failure;

/// A moment from the command line.
#[derive(Clone, Copy, Debug)]
pub enum Expires {
    /// So long from now.
    In(Duration),
    /// Then, in seconds since 1970.
    At(u64),
    /// Not at all.
    Never,
}

impl FromStr for Expires {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "never" {
            return Ok(Self::Never);
        }
        if let Some(Span(span)) = Span::parse(text) {
            return Ok(Self::In(span));
        }
        let time: Timestamp = text
            .parse()
            .map_err(|_| "write a time such as 90d or 2027-01-31T00:00:00Z, or never")?;
        u64::try_from(time.as_second())
            .map(Self::At)
            .map_err(|_| "is before 1970")
    }
}

impl Expires {
    /// In seconds since 1970.
    pub fn after(self, now: u64) -> Result<u64, Failure> {
        match self {
            Self::In(span) => Ok(now.saturating_add(span.as_secs())),
            Self::At(at) => Ok(at),
            Self::Never => Err(Failure::new("`never` can't stand here")),
        }
    }

    /// So long ago, in seconds since 1970.
    pub fn before(self, now: u64) -> Result<u64, Failure> {
        match self {
            Self::In(span) => Ok(now.saturating_sub(span.as_secs())),
            other => other.after(now),
        }
    }
}

/// A rate limit from the command line.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    requests: u64,
    per: Span,
    burst: Option<u64>,
}

impl FromStr for Rate {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (requests, rest) = text.split_once('/')?;
            let (per, burst) = match rest.split_once(':') {
                Some((per, burst)) => (per, Some(burst.parse().ok()?)),
                None => (rest, None),
            };
            Some(Self {
                requests: requests.parse().ok()?,
                per: Span::parse(per)?,
                burst,
            })
        };
        parse().ok_or("write it as 600/1m, or 600/1m:60")
    }
}

/// What a key is good for.
#[derive(Clone, Debug)]
pub struct Scope {
    kind: String,
    name: String,
}

impl Scope {
    /// `None` for a kind that there is not.
    pub fn new(kind: &str, name: &str) -> Option<Self> {
        ["agent", "workspace", "org", "user"]
            .contains(&kind)
            .then(|| Self {
                kind: kind.to_owned(),
                name: name.to_owned(),
            })
    }

    /// Whether it makes the key a service-account token.
    pub fn is_user(&self) -> bool {
        self.kind == "user"
    }

    fn of(record: &Value) -> Option<Self> {
        let (kind, name) = record.get("scope")?.as_object()?.iter().next()?;
        Self::new(kind, name.as_str()?)
    }
}

impl FromStr for Scope {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.split_once(':')
            .and_then(|(kind, name)| Self::new(kind, name))
            .ok_or("write it as agent:orders, workspace:…, org:… or user:…")
    }
}

/// A record to be.
pub struct Draft {
    pub scope: Scope,
    pub name: Option<String>,
    pub owner: Option<String>,
    pub not_before: Option<u64>,
    pub expires_at: Expires,
    pub rate: Option<Rate>,
    pub methods: Vec<String>,
    /// A record that this one takes the place of, and whose limits it keeps.
    pub replaces: Option<Value>,
}

impl Draft {
    /// One like `old`, which lives as long from now on as that one was to live.
    pub fn after(old: &Value, expires: Option<Expires>, now: u64) -> Result<Self, Failure> {
        let life = match (number(old, "created_at"), number(old, "expires_at")) {
            (Some(from), Some(to)) => Some(to.saturating_sub(from)),
            _ => None,
        };
        let expires_at = match (expires, life) {
            (Some(expires), _) => expires,
            (None, Some(life)) => Expires::At(now.saturating_add(life)),
            (None, None) if text(old, "expires_at") == "never" => Expires::Never,
            (None, None) => {
                return Err(Failure::new("say when the new key ends: --expires"));
            }
        };
        let optional = |name| old.get(name).and_then(Value::as_str).map(str::to_owned);
        Ok(Self {
            scope: Scope::of(old).ok_or_else(|| Failure::new("the record has no scope"))?,
            name: optional("name"),
            owner: optional("owner"),
            not_before: None,
            expires_at,
            rate: None,
            methods: Vec::new(),
            replaces: Some(old.clone()),
        })
    }

    /// The record.
    pub fn write(self, id: &str, hash: &str, now: u64) -> Result<Value, Failure> {
        let mut out = Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                out.insert(name.to_owned(), value);
            }
        };
        put("id", Some(json!(id)));
        put("hash", Some(json!(hash)));
        put("scope", Some(json!({self.scope.kind: self.scope.name})));
        put("name", self.name.map(Value::from));
        put("owner", self.owner.map(Value::from));
        put("created_at", Some(json!(now)));
        put("not_before", self.not_before.map(Value::from));
        let expires_at = match self.expires_at {
            Expires::Never => json!("never"),
            other => match other.after(now)? {
                at if at <= now => return Err(Failure::new("the key would end before it is made")),
                at => json!(at),
            },
        };
        put("expires_at", Some(expires_at));
        let rate = self.rate.map(|rate| {
            let mut limit = json!({"requests": rate.requests, "per": rate.per.to_string()});
            if let Some(burst) = rate.burst {
                set(&mut limit, "burst", json!(burst));
            }
            limit
        });
        let old = self.replaces.as_ref();
        let kept = |name: &str| old.and_then(|o| o.get(name)).cloned();
        put("rate_limit", rate.or_else(|| kept("rate_limit")));
        let methods = (!self.methods.is_empty()).then(|| json!(self.methods));
        put("methods", methods.or_else(|| kept("methods")));
        put("replaces", kept("id"));
        Ok(Value::Object(out))
    }
}

/// Where the record's key stands.
pub fn state(record: &Value, now: u64) -> State {
    let moments = Moments {
        revoked: record.get("revoked_at").is_some(),
        not_before: number(record, "not_before"),
        expires_at: number(record, "expires_at"),
        grace_until: number(record, "grace_until"),
    };
    State::at(now, &moments)
}

/// When it ceased to be good for anything.
pub fn ended(record: &Value, now: u64) -> Option<u64> {
    if state(record, now).is_live() {
        return None;
    }
    ["revoked_at", "expires_at", "grace_until"]
        .iter()
        .filter_map(|name| number(record, name))
        .min()
}

/// A member that is a text; empty when it is not.
pub fn text<'r>(record: &'r Value, name: &str) -> &'r str {
    record.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// A member that is a number.
pub fn number(record: &Value, name: &str) -> Option<u64> {
    record.get(name)?.as_u64()
}

/// Sets a member.
pub fn set(record: &mut Value, name: &str, value: Value) {
    if let Some(object) = record.as_object_mut() {
        object.insert(name.to_owned(), value);
    }
}

/// The record with its `state`.
pub fn with_state(record: &Value, now: u64) -> Value {
    let mut out = record.clone();
    set(&mut out, "state", json!(state(record, now).to_string()));
    out
}

/// What terminals can't be made to do by a name in a file.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

fn date(record: &Value, name: &str) -> String {
    match number(record, name) {
        Some(seconds) => i64::try_from(seconds)
            .ok()
            .and_then(|s| Timestamp::from_second(s).ok())
            .map_or_else(|| seconds.to_string(), |t| t.to_string()),
        None => plain(text(record, name)),
    }
}

/// All of them, a line each.
pub fn table(keys: &[&Value], now: u64) -> String {
    let rows: Vec<[String; 6]> = keys
        .iter()
        .map(|r| {
            let scope = Scope::of(r).map(|s| format!("{}:{}", s.kind, s.name));
            [
                plain(text(r, "id")),
                state(r, now).to_string(),
                plain(&scope.unwrap_or_default()),
                date(r, "expires_at"),
                plain(text(r, "owner")),
                plain(text(r, "name")),
            ]
        })
        .collect();
    let head = ["ID", "STATE", "SCOPE", "EXPIRES", "OWNER", "NAME"].map(str::to_owned);
    let mut widths = [0; 6];
    for row in std::iter::once(&head).chain(&rows) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut out = String::new();
    for row in std::iter::once(&head).chain(&rows) {
        let line: Vec<String> = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        let _ = writeln!(out, "{}", line.join("  ").trim_end());
    }
    out
}

/// One of them, a line for each member.
pub fn page(record: &Value) -> String {
    let mut out = String::new();
    for (name, value) in record.as_object().into_iter().flatten() {
        let shown = match (name.as_str(), value) {
            ("created_at" | "not_before" | "expires_at" | "grace_until" | "revoked_at", _) => {
                date(record, name)
            }
            (_, Value::String(text)) => plain(text),
            (_, other) => other.to_string(),
        };
        let _ = writeln!(out, "{name:15} {shown}");
    }
    out
}

//! One page of a feed, read strictly (docs/keys-feed.md is the wire format).
//!
//! A page is taken as a whole or not at all, with one exception: a record that can't be read. Its key is refused from then on, and the
//! rest of the page applies, because one bad record must not keep the revocations beside it from being heard.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::agent::is_agent_name;
use crate::apikey::KeyId;
use crate::apikey::record::Record;
use crate::config::{read_agent, read_record};
use crate::jose::json::utf8;
use crate::policy::AgentFacts;

/// What `format` says of a page that this version reads.
pub const FORMAT: &str = "portcullis-feed/1";

/// The longest epoch: it goes into a query.
const MAX_EPOCH: usize = 128;

/// Changes in one page at most. A service sends half as many; each is some hundred bytes here while the page is applied.
pub const MAX_CHANGES: usize = 20_000;

/// Reasons that are kept of what can't be read. They are all alike, when there are many.
const MAX_REASONS: usize = 10;

/// One answer of a feed: changes in the order of their revisions.
#[derive(Clone, Debug)]
pub struct Page {
    /// Names the history that the revisions belong to: 1 to 128 visible ASCII characters.
    pub epoch: String,
    /// The revision of the last change in here.
    pub revision: u64,
    /// The first page of everything there is: what was known before is not to be built upon.
    pub reset: bool,
    /// There are later changes: ask again at once.
    pub more: bool,
    /// Keys that were made or changed. No id stands twice.
    pub keys: Vec<KeyChange>,
    /// Keys that there are no more.
    pub removed_keys: Vec<KeyId>,
    /// Who agents belong to. No name stands twice.
    pub agents: Vec<(Rc<str>, AgentFacts)>,
    /// Agents that there are no more.
    pub removed_agents: Vec<String>,
    /// How many keys and agents could not be read. Such an agent belongs to nobody.
    pub unreadable: usize,
    /// The first of them, with reasons.
    pub reasons: Vec<Unreadable>,
}

/// A key that was made or changed.
#[derive(Clone, Debug)]
pub enum KeyChange {
    /// Its record.
    Record(Record),
    /// Its record can't be read: the key is to be refused.
    Unreadable(KeyId),
}

/// Something in a page that can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The key's id, or the agent's name.
    pub name: String,
    /// Why, as an operator should read it. Quotes no value.
    pub why: String,
}

/// Why a page is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageError {
    /// Not JSON, or with a member missing, unknown, twice or of another type.
    Malformed {
        /// Line, from 1.
        line: usize,
        /// Column in octets, from 1.
        column: usize,
    },
    /// Of another format than [`FORMAT`].
    Format,
    /// More than [`MAX_CHANGES`].
    TooManyChanges,
    /// An epoch that is none.
    Epoch,
    /// A record that can't be read so far that it can't even be told whose it is.
    RecordWithoutId {
        /// Its place in `keys`, from 0.
        index: usize,
    },
    /// Something in `removed_keys` that is no key's id.
    RemovedId {
        /// Its place, from 0.
        index: usize,
    },
}

impl fmt::Display for PageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed { line, column } => write!(
                f,
                "is no page of a feed from line {line}, column {column} on: not JSON, or a member is missing, unknown, twice or of another type"
            ),
            Self::TooManyChanges => write!(f, "has more than {MAX_CHANGES} changes"),
            Self::Format => write!(f, "is not of the format {FORMAT}"),
            Self::Epoch => write!(
                f,
                "has no epoch of 1 to {MAX_EPOCH} visible ASCII characters"
            ),
            Self::RecordWithoutId { index } => write!(f, "keys[{index}] has no readable id"),
            Self::RemovedId { index } => write!(f, "removed_keys[{index}] is not the id of a key"),
        }
    }
}

impl std::error::Error for PageError {}

/// The document, its records still as text: each is read, or not, by itself.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document<'a> {
    #[serde(borrow)]
    format: Cow<'a, str>,
    #[serde(borrow)]
    epoch: Cow<'a, str>,
    revision: u64,
    reset: bool,
    more: bool,
    #[serde(borrow, default)]
    keys: Vec<&'a RawValue>,
    #[serde(borrow, default)]
    removed_keys: Vec<Text<'a>>,
    #[serde(borrow, default)]
    agents: Members<'a>,
    #[serde(borrow, default)]
    removed_agents: Vec<Text<'a>>,
}

/// `Cow` by itself is never borrowed inside a list.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// As much of a document as says what it is.
#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(borrow)]
    format: Cow<'a, str>,
}

/// As much of a record as says whose it is.
#[derive(Deserialize)]
struct Whose<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
}

/// An object's members in order, those that stand twice too, their values as text.
#[derive(Default)]
struct Members<'a>(Vec<(Text<'a>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;

        impl<'de> Visitor<'de> for All {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut all = Vec::new();
                while let Some(member) = map.next_entry()? {
                    all.push(member);
                }
                Ok(Members(all))
            }
        }

        deserializer.deserialize_map(All)
    }
}

impl Page {
    /// Reads a page.
    ///
    /// # Errors
    /// [`PageError`]: nothing of such a page may be used.
    pub fn parse(bytes: &[u8]) -> Result<Self, PageError> {
        let text = utf8(bytes).map_err(|(line, column)| PageError::Malformed { line, column })?;
        let document: Document<'_> = serde_json::from_str(text).map_err(|error| {
            match serde_json::from_str::<Kind<'_>>(text) {
                Ok(kind) if kind.format != FORMAT => PageError::Format,
                _ => PageError::Malformed {
                    line: error.line(),
                    column: error.column(),
                },
            }
        })?;
        if document.format != FORMAT {
            return Err(PageError::Format);
        }
        let epoch = document.epoch;
        if !(1..=MAX_EPOCH).contains(&epoch.len()) || !epoch.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(PageError::Epoch);
        }
        let changes = document.keys.len()
            + document.removed_keys.len()
            + document.agents.0.len()
            + document.removed_agents.len();
        if changes > MAX_CHANGES {
            return Err(PageError::TooManyChanges);
        }
        let mut unreadable = Reasons::default();
        let keys = keys(&document.keys, &mut unreadable)?;
        let mut removed_keys = Vec::with_capacity(document.removed_keys.len());
        for (index, Text(id)) in document.removed_keys.iter().enumerate() {
            removed_keys.push(KeyId::parse(id).ok_or(PageError::RemovedId { index })?);
        }
        let agents = agents(document.agents, &mut unreadable);
        Ok(Self {
            epoch: epoch.into_owned(),
            revision: document.revision,
            reset: document.reset,
            more: document.more,
            keys,
            removed_keys,
            agents,
            removed_agents: document
                .removed_agents
                .into_iter()
                .map(|Text(name)| name.into_owned())
                .collect(),
            unreadable: unreadable.count,
            reasons: unreadable.first,
        })
    }
}

fn keys(records: &[&RawValue], unreadable: &mut Reasons) -> Result<Vec<KeyChange>, PageError> {
    let mut keys: Vec<KeyChange> = Vec::with_capacity(records.len());
    let mut places = BTreeMap::new();
    for (index, raw) in records.iter().enumerate() {
        let text = raw.get();
        let change = match read_record(text) {
            Ok(record) => KeyChange::Record(record),
            Err(errors) => {
                let id = serde_json::from_str::<Whose<'_>>(text)
                    .ok()
                    .and_then(|whose| KeyId::parse(&whose.id))
                    .ok_or(PageError::RecordWithoutId { index })?;
                unreadable.add(id.as_str(), || errors.first());
                KeyChange::Unreadable(id)
            }
        };
        let id = *change.id();
        match places
            .get(&id)
            .and_then(|place: &usize| keys.get_mut(*place))
        {
            None => {
                places.insert(id, keys.len());
                keys.push(change);
            }
            // Which of the two was meant, nobody can say.
            Some(first) => {
                *first = KeyChange::Unreadable(id);
                unreadable.add(id.as_str(), twice);
            }
        }
    }
    Ok(keys)
}

fn agents(members: Members<'_>, unreadable: &mut Reasons) -> Vec<(Rc<str>, AgentFacts)> {
    let mut agents = BTreeMap::new();
    for (Text(name), raw) in members.0 {
        if !is_agent_name(&name) {
            // No request is ever for it.
            unreadable.add(&name, || "is not an agent's name".to_owned());
            continue;
        }
        let facts = read_agent(raw.get()).unwrap_or_else(|errors| {
            unreadable.add(&name, || errors.first());
            AgentFacts::default()
        });
        if let Some(first) = agents.get_mut(&*name) {
            unreadable.add(&name, twice);
            *first = AgentFacts::default();
        } else {
            agents.insert(Rc::from(name), facts);
        }
    }
    agents.into_iter().collect()
}

fn twice() -> String {
    "stands twice in one page".to_owned()
}

#[derive(Default)]
struct Reasons {
    count: usize,
    first: Vec<Unreadable>,
}

impl Reasons {
    fn add(&mut self, name: &str, why: impl FnOnce() -> String) {
        self.count += 1;
        if self.first.len() < MAX_REASONS {
            self.first.push(Unreadable {
                // Someone else's text, on its way to a log.
                name: name.chars().take(64).flat_map(char::escape_debug).collect(),
                why: why(),
            });
        }
    }
}

impl KeyChange {
    /// Whose record it is.
    pub const fn id(&self) -> &KeyId {
        match self {
            Self::Record(record) => &record.id,
            Self::Unreadable(id) => id,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    fn record(id: &str) -> Value {
        json!({"id": id, "hash": format!("sha256:{}", "0f".repeat(32)), "scope": {"agent": "orders"}, "expires_at": 1_900_000_000})
    }

    fn page() -> Value {
        json!({
            "format": FORMAT, "epoch": "e-1", "revision": 7, "reset": false, "more": true,
            "keys": [record("aaaaaaaaaaaa"), record("bbbbbbbbbbbb")],
            "removed_keys": ["cccccccccccc"],
            "agents": {"orders": {"owner": "alice", "workspace": "w", "org": "o"}},
            "removed_agents": ["fraud"],
        })
    }

    fn parse(page: &Value) -> Result<Page, PageError> {
        Page::parse(page.to_string().as_bytes())
    }

    fn with(name: &str, value: Value) -> Value {
        let mut page = page();
        page[name] = value;
        page
    }

    #[test]
    fn a_good_one() {
        let page = parse(&page()).unwrap();
        assert_eq!(
            (page.epoch.as_str(), page.revision, page.reset, page.more),
            ("e-1", 7, false, true)
        );
        let ids: Vec<&str> = page.keys.iter().map(|k| k.id().as_str()).collect();
        assert_eq!(ids, ["aaaaaaaaaaaa", "bbbbbbbbbbbb"]);
        assert!(page.keys.iter().all(|k| matches!(k, KeyChange::Record(_))));
        assert_eq!(page.removed_keys, [KeyId::parse("cccccccccccc").unwrap()]);
        assert_eq!(&*page.agents[0].0, "orders");
        assert_eq!(page.agents[0].1.org.as_deref(), Some("o"));
        assert_eq!(page.removed_agents, ["fraud"]);
        assert_eq!(page.unreadable, 0);
    }

    #[test]
    fn lists_may_be_left_out_and_nothing_else() {
        let mut short = page();
        for name in ["keys", "removed_keys", "agents", "removed_agents"] {
            short.as_object_mut().unwrap().remove(name);
        }
        assert!(parse(&short).unwrap().keys.is_empty());
        for name in ["format", "epoch", "revision", "reset", "more"] {
            let mut without = page();
            without.as_object_mut().unwrap().remove(name);
            let error = parse(&without).unwrap_err();
            assert!(matches!(error, PageError::Malformed { .. }), "{name}");
        }
    }

    #[test]
    fn what_is_no_page() {
        let text = page().to_string();
        for bad in [
            String::new(),
            "[]".into(),
            text[..text.len() - 1].into(),
            format!("{text}1"),
            text.replace("\"more\"", "\"more\":true,\"more\""),
            text.replace("\"revision\":7", "\"revision\":-7"),
            text.replace("\"revision\":7", "\"revision\":18446744073709551616"),
            text.replace("\"reset\":false", "\"reset\":null"),
            with("surprise", json!(1)).to_string(),
            with("keys", json!({})).to_string(),
            with("removed_keys", json!([1])).to_string(),
            with("agents", json!([])).to_string(),
        ] {
            let error = Page::parse(bad.as_bytes()).unwrap_err();
            assert!(matches!(error, PageError::Malformed { .. }), "{bad}");
        }
        assert!(Page::parse(b"\xff").is_err());
        let other = with("surprise", json!(1))
            .to_string()
            .replace(FORMAT, "portcullis-feed/2");
        assert_eq!(
            Page::parse(other.as_bytes()).unwrap_err(),
            PageError::Format
        );
        for epoch in ["", "a b", "é", &"x".repeat(129)] {
            assert_eq!(
                parse(&with("epoch", json!(epoch))).unwrap_err(),
                PageError::Epoch
            );
        }
        let error = parse(&with("removed_keys", json!(["cccccccccccc", "x"])));
        assert_eq!(error.unwrap_err(), PageError::RemovedId { index: 1 });
    }

    #[test]
    fn a_record_that_cannot_be_read_costs_its_key_and_no_other() {
        let id = "bbbbbbbbbbbb";
        let mut unknown = record(id);
        unknown["scop"] = json!({});
        let mut endless = record(id);
        endless.as_object_mut().unwrap().remove("expires_at");
        let mut null = record(id);
        null["owner"] = Value::Null;
        for (bad, why) in [
            (
                unknown.to_string(),
                "scop: unknown key; did you mean `scope`?",
            ),
            (
                endless.to_string(),
                "expires_at: is required: seconds since 1970, or `never`",
            ),
            (
                null.to_string(),
                "owner: has no value; write a string, or leave the key out",
            ),
            (
                record(id)
                    .to_string()
                    .replace("\"scope\"", "\"scope\":{\"org\":\"o\"},\"scope\""),
                "scope: stands twice; keep one",
            ),
        ] {
            let text = with("keys", json!([record("aaaaaaaaaaaa"), "HERE"]))
                .to_string()
                .replace("\"HERE\"", &bad);
            let page = Page::parse(text.as_bytes()).unwrap();
            assert!(matches!(page.keys[0], KeyChange::Record(_)));
            assert!(matches!(page.keys[1], KeyChange::Unreadable(i) if i.as_str() == id));
            assert_eq!(page.unreadable, 1);
            assert_eq!(
                page.reasons,
                [Unreadable {
                    name: id.into(),
                    why: why.into()
                }]
            );
        }
        // Twice in one page: neither.
        let page = parse(&with(
            "keys",
            json!([record(id), record("aaaaaaaaaaaa"), record(id)]),
        ))
        .unwrap();
        assert_eq!(page.keys.len(), 2);
        assert!(matches!(page.keys[0], KeyChange::Unreadable(_)));
        // And if nobody knows whose it is, nobody knows what to refuse.
        for bad in [json!(7), json!({}), json!({"id": "short"}), json!([])] {
            let error = parse(&with("keys", json!([record(id), bad]))).unwrap_err();
            assert_eq!(error, PageError::RecordWithoutId { index: 1 });
        }
        let twice = with("keys", json!(["HERE"])).to_string().replace(
            "\"HERE\"",
            &record(id)
                .to_string()
                .replace("\"id\"", "\"id\":\"aaaaaaaaaaaa\",\"id\""),
        );
        assert_eq!(
            Page::parse(twice.as_bytes()).unwrap_err(),
            PageError::RecordWithoutId { index: 0 }
        );
    }

    #[test]
    fn bounded() {
        let many = |n: usize| with("removed_agents", json!(vec!["x"; n]));
        assert!(parse(&many(MAX_CHANGES - 4)).is_ok());
        let error = parse(&many(MAX_CHANGES - 3)).unwrap_err();
        assert_eq!(error, PageError::TooManyChanges);
        let bad: Vec<Value> = (0..999)
            .map(|n| json!({"id": format!("{n:012}")}))
            .collect();
        let page = parse(&with("keys", json!(bad))).unwrap();
        assert_eq!((page.unreadable, page.reasons.len()), (999, MAX_REASONS));
    }

    #[test]
    fn an_agent_that_cannot_be_read_belongs_to_nobody() {
        let text = with("agents", json!("HERE")).to_string().replace(
            "\"HERE\"",
            r#"{"a":{"owner":"alice"},"b":{"ownr":"bob"},"c/d":{"owner":"eve"},"e":{"org":"x"},"e":{"org":"y"}}"#,
        );
        let page = Page::parse(text.as_bytes()).unwrap();
        let owners: Vec<_> = page
            .agents
            .iter()
            .map(|(name, facts)| (&**name, facts.owner.as_deref(), facts.org.as_deref()))
            .collect();
        assert_eq!(
            owners,
            [
                ("a", Some("alice"), None),
                ("b", None, None),
                ("e", None, None)
            ]
        );
        let names: Vec<&str> = page.reasons.iter().map(|u| u.name.as_str()).collect();
        assert_eq!(names, ["b", "c/d", "e"]);
    }
}

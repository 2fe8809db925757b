//! The rules: which provider lets callers in where.
//!
//! There the first rule that matches decides, and a provider of a later one has no say; here a provider is for every agent or for some. What
//! would let somebody in whom the rules keep out is lost, and said.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::super::Said;
use super::super::object::Object;

/// For an open path without a method.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// What the rules ask of a provider.
#[derive(Debug, Default)]
pub struct Use {
    /// For requests to any path.
    pub everywhere: bool,
    /// Or only to these agents.
    pub agents: BTreeSet<String>,
    /// In place of its own.
    pub audiences: Vec<Value>,
}

/// Who satisfies one rule.
#[derive(Debug, Default)]
struct Wanted {
    /// With the audiences that stand in place of the provider's own.
    providers: BTreeMap<String, Vec<Value>>,
    /// Or nobody at all.
    missing: bool,
}

/// What the rules come to, in their order.
#[derive(Debug)]
pub struct Rules<'a> {
    agent_path: &'a str,
    /// The rules of single agents.
    agents: Vec<(String, Wanted)>,
    /// The rule for every path, which is the last that is ever reached.
    everywhere: Option<Wanted>,
    /// Requests that need no credential.
    pub skip: Vec<String>,
    /// Single paths that a rule closes.
    closed: BTreeSet<String>,
    /// Whether a rule that closes something could not be understood: nobody can say then what a later one opens.
    unclear: bool,
}

impl<'a> Rules<'a> {
    pub const fn new(agent_path: &'a str) -> Self {
        Self {
            agent_path,
            agents: Vec::new(),
            everywhere: None,
            skip: Vec::new(),
            closed: BTreeSet::new(),
            unclear: false,
        }
    }

    /// Whether requests without a credential pass.
    pub fn optional(&self) -> bool {
        self.everywhere.as_ref().is_some_and(|w| w.missing)
            && self.agents.is_empty()
            && !self.unclear
    }

    /// Reads the next rule.
    pub fn read(
        &mut self,
        rule: &Value,
        path: String,
        named: Option<&Map<String, Value>>,
        said: &mut Said,
    ) {
        let mut object = Object::new(rule, path, said);
        if self.everywhere.is_some() {
            said.note(
                object.path,
                "comes after a rule for every path, and is never reached",
            );
            return;
        }
        let place = match object.take("match") {
            Some(value) => read_match(value, object.at("match"), self.agent_path, said),
            None => {
                said.lost(object.path.clone(), "has no `match`");
                None
            }
        };
        let requirement = match (
            object.take("requires"),
            object.text("requirement_name", said),
        ) {
            (Some(value), _) => Some((object.at("requires"), value)),
            (None, Some(name)) => match named.and_then(|n| n.get(name)) {
                Some(value) => Some((format!("requirement_map.{name}"), value)),
                None => {
                    said.lost(object.at("requirement_name"), "is not in requirement_map");
                    self.unclear = true;
                    return;
                }
            },
            (None, None) => None,
        };
        let at = object.path.clone();
        object.end(said);
        match (place, requirement) {
            (None, requirement) => self.unclear |= requirement.is_some(),
            (Some(Place::Everywhere), None) => {
                self.everywhere = Some(Wanted::default());
                said.lost(
                    at,
                    "lets everybody in wherever no rule before does; here no rule can",
                );
            }
            (Some(Place::Exact { path, method }), None) => self.open(&path, method, at, said),
            (Some(Place::Agent(_)), None) => {
                said.lost(at, "opens all that begins so; here `skip` opens single paths, each with its method");
            }
            (Some(Place::Exact { path, .. }), Some((at, _))) => {
                self.closed.insert(path);
                said.lost(at, "requirements of one path: here providers are bound to agents, not to paths. What a later rule lets in there is let in");
            }
            (Some(Place::Everywhere), Some((at, value))) => {
                let mut wanted = Wanted::default();
                read_requirement(value, at, &mut wanted, said);
                self.everywhere = Some(wanted);
            }
            (Some(Place::Agent(agent)), Some((at, value))) => {
                if self.agents.iter().any(|(name, _)| *name == agent) {
                    return said.note(
                        at,
                        format!("comes after another rule for `{agent}`, and is never reached"),
                    );
                }
                let mut wanted = Wanted::default();
                read_requirement(value, at.clone(), &mut wanted, said);
                if wanted.missing {
                    said.lost(at, "`allow_missing` for one agent alone: here it is one setting for all (`auth.required`)");
                }
                self.agents.push((agent, wanted));
            }
        }
    }

    /// A path that needs no credential, unless a rule before wants one.
    fn open(&mut self, path: &str, method: Option<String>, at: String, said: &mut Said) {
        let covered = self.agents.iter().any(|(agent, _)| {
            let whole = self.agent_path.replace("{agent}", agent);
            path.strip_prefix(&whole)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        if covered || self.unclear || self.closed.contains(path) {
            said.lost(
                at,
                "a rule before it may want a token for the same path, so it is not opened",
            );
            return;
        }
        match method {
            Some(method) => self.skip.push(format!("{method} {path}")),
            None => self
                .skip
                .extend(METHODS.iter().map(|m| format!("{m} {path}"))),
        }
    }

    /// What each provider is for. One that a rule for an agent leaves out, and the rule for every path does not, can't be said here.
    pub fn uses(&self, path: String, said: &mut Said) -> BTreeMap<String, Use> {
        if self.everywhere.is_none() {
            said.note(path.clone(), "requests that no rule matches pass without a token there; here they need a credential. `skip` opens single paths");
        }
        if self.everywhere.as_ref().is_some_and(|w| w.missing) && !self.optional() {
            said.lost(path.clone(), "`allow_missing` is for some paths only: here it is one setting for all, so everybody needs a credential");
        }
        let mut uses: BTreeMap<String, Use> = BTreeMap::new();
        let mut audiences: BTreeMap<&str, &Vec<Value>> = BTreeMap::new();
        let mut out: BTreeSet<&str> = BTreeSet::new();
        let rules = self
            .agents
            .iter()
            .map(|(agent, wanted)| (Some(agent), wanted));
        for (agent, wanted) in rules.chain(self.everywhere.iter().map(|w| (None, w))) {
            for (name, own) in &wanted.providers {
                if *audiences.entry(name).or_insert(own) != own && out.insert(name) {
                    said.lost(path.clone(), format!("`{name}` has other audiences in one rule than in another: here it has them once. It is left out"));
                }
                let entry = uses.entry(name.clone()).or_default();
                entry.audiences.clone_from(own);
                match agent {
                    Some(agent) => {
                        entry.agents.insert(agent.clone());
                    }
                    None => entry.everywhere = true,
                }
            }
        }
        for (name, _) in self.everywhere.iter().flat_map(|w| &w.providers) {
            let without: Vec<&str> = self
                .agents
                .iter()
                .filter(|(_, w)| !w.providers.contains_key(name))
                .map(|(agent, _)| agent.as_str())
                .collect();
            if !without.is_empty() && out.insert(name) {
                said.lost(path.clone(), format!("`{name}` is for every path but those of {}: here it is for all agents or for listed ones. It is left out; list its agents by hand", without.join(", ")));
            }
            if self.unclear && out.insert(name) {
                said.lost(path.clone(), format!("`{name}` is for every path but some that can't be told apart here. It is left out; list its agents by hand"));
            }
        }
        uses.retain(|name, _| !out.contains(name.as_str()));
        uses
    }
}

/// Where a rule is for.
enum Place {
    Everywhere,
    Exact {
        path: String,
        method: Option<String>,
    },
    Agent(String),
}

/// None, and said, where it is for what this filter can't tell apart.
fn read_match(value: &Value, path: String, agent_path: &str, said: &mut Said) -> Option<Place> {
    let mut object = Object::new(value, path, said);
    let (before, after) = agent_path.split_once("{agent}").unwrap_or((agent_path, ""));
    let agent = |text: &str| {
        let name = text.strip_prefix(before)?;
        (after.is_empty() && !name.is_empty() && !name.contains('/')).then(|| name.to_owned())
    };
    let mut place = None;
    if let Some(prefix) = object.text("prefix", said) {
        place = match prefix.strip_suffix('/') {
            Some("") => Some(Place::Everywhere),
            Some(prefix) => agent(prefix).map(Place::Agent),
            None => None,
        };
    }
    if let Some(prefix) = object.text("path_separated_prefix", said) {
        place = agent(prefix).map(Place::Agent);
    }
    if let Some(path) = object.text("path", said) {
        place = Some(Place::Exact {
            path: path.to_owned(),
            method: None,
        });
    }
    let mut fits = place.is_some();
    for (at, header) in object.list("headers", said) {
        let mut header = Object::new(header, at, said);
        let name = header.text("name", said);
        let exact = match header.take("string_match") {
            Some(matcher) => matcher.get("exact").and_then(Value::as_str),
            None => header.text("exact_match", said),
        };
        match (name, exact, &mut place) {
            (Some(":method"), Some(is), Some(Place::Exact { method, .. })) => {
                *method = Some(is.to_owned())
            }
            _ => fits = false,
        }
        header.end(said);
    }
    // Whatever else narrows it makes it another place.
    for key in [
        "case_sensitive",
        "query_parameters",
        "grpc",
        "dynamic_metadata",
        "filter_state",
        "runtime_fraction",
        "tls_context",
        "safe_regex",
        "connect_matcher",
        "path_match_policy",
        "cookies",
    ] {
        if object.take(key).is_some() {
            fits = false;
        }
    }
    let at = object.path.clone();
    object.end(said);
    if !fits {
        said.lost(
            at,
            format!("can't be told apart here: a rule is for every path (prefix /), for one exact path, or for one agent ({before}NAME/)"),
        );
        return None;
    }
    place
}

fn read_requirement(value: &Value, path: String, wanted: &mut Wanted, said: &mut Said) {
    let mut object = Object::new(value, path, said);
    if let Some(name) = object.text("provider_name", said) {
        wanted.providers.insert(name.to_owned(), Vec::new());
    }
    if let Some(value) = object.take("provider_and_audiences") {
        let mut pair = Object::new(value, object.at("provider_and_audiences"), said);
        let audiences = pair
            .list("audiences", said)
            .into_iter()
            .map(|(_, v)| v.clone())
            .collect();
        if let Some(name) = pair.text("provider_name", said) {
            wanted.providers.insert(name.to_owned(), audiences);
        }
        pair.end(said);
    }
    if let Some(value) = object.take("requires_any") {
        let mut any = Object::new(value, object.at("requires_any"), said);
        for (at, requirement) in any.list("requirements", said) {
            read_requirement(requirement, at, wanted, said);
        }
        any.end(said);
    }
    wanted.missing |= object.take("allow_missing").is_some();
    object.lose(
        "allow_missing_or_failed",
        "lets bad tokens through; here a bad credential is refused, whoever may come without",
        said,
    );
    object.lose(
        "requires_all",
        "several tokens on one request: here one decides",
        said,
    );
    object.lose(
        "extract_only_without_validation",
        "believes what nobody has verified",
        said,
    );
    object.end(said);
}

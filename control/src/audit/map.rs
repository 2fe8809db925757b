//! `portcullis audit map`: who calls whom, drawn.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::json;

use super::event::{Event, plain};
use super::read::{Fold, Reading, fold};
use super::{Format, MapArgs, caller, svg};
use crate::output;

/// Edges of one picture: more than anybody can look at, and a bound on what a log full of made-up agents costs.
const EDGES: usize = 10_000;

/// One end of an edge. Agents come first in every listing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Node {
    /// By the name that requests have for it.
    Agent(String),
    /// A caller that is no agent.
    Other(String),
}

impl Node {
    pub fn name(&self) -> &str {
        match self {
            Self::Agent(name) | Self::Other(name) => name,
        }
    }
}

/// Requests from one to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    pub allowed: u64,
    pub refused: u64,
}

/// The picture.
#[derive(Debug, Default)]
pub struct Mesh {
    prefix: String,
    pub edges: BTreeMap<(Node, Node), Calls>,
    /// Refusals of somebody who has proven nothing: nobody knows whose edge they would be.
    unproven: u64,
    /// Requests that name no agent.
    nowhere: u64,
    /// Requests on edges beyond the bound.
    beyond: u64,
}

impl Fold for Mesh {
    fn take(&mut self, event: &Event<'_>) {
        let Some(name) = caller::name(&event.fields) else {
            self.unproven += 1;
            return;
        };
        if event.fields.agent.is_empty() {
            self.nowhere += 1;
            return;
        }
        let fields = &event.fields;
        let from = match caller::agent(&name, &self.prefix) {
            // Whoever an allow-list keeps out is none of our agents, though called like one: the same role in another account.
            Some(_)
                if event.is_refusal()
                    && fields.reason == "rejected"
                    && fields.code.ends_with("_not_allowed") =>
            {
                let whole = if fields.email.is_empty() {
                    &fields.user_id
                } else {
                    &fields.email
                };
                Node::Other(whole.clone().into_owned())
            }
            Some(agent) => Node::Agent(agent.to_owned()),
            None => Node::Other(name.into_owned()),
        };
        let edge = (from, Node::Agent(event.fields.agent.clone().into_owned()));
        let mut calls = Calls::default();
        if event.is_refusal() {
            calls.refused = 1;
        } else {
            calls.allowed = 1;
        }
        self.add(edge, calls);
    }

    fn merge(&mut self, other: Self) {
        self.unproven += other.unproven;
        self.nowhere += other.nowhere;
        self.beyond += other.beyond;
        for (edge, calls) in other.edges {
            self.add(edge, calls);
        }
    }
}

impl Mesh {
    fn add(&mut self, edge: (Node, Node), calls: Calls) {
        if self.edges.len() >= EDGES && !self.edges.contains_key(&edge) {
            self.beyond += calls.allowed + calls.refused;
            return;
        }
        let all = self.edges.entry(edge).or_default();
        all.allowed += calls.allowed;
        all.refused += calls.refused;
    }

    /// Every node once, in order.
    fn nodes(&self) -> BTreeMap<&Node, usize> {
        let mut nodes: BTreeMap<&Node, usize> = BTreeMap::new();
        for (from, to) in self.edges.keys() {
            nodes.insert(from, 0);
            nodes.insert(to, 0);
        }
        for (i, at) in nodes.values_mut().enumerate() {
            *at = i;
        }
        nodes
    }

    fn dot(&self) -> String {
        let mut out = "digraph mesh {\n  rankdir=LR;\n  node [shape=box, style=rounded, fontname=\"sans-serif\"];\n  edge [fontname=\"sans-serif\", fontsize=10];\n".to_owned();
        let nodes = self.nodes();
        for (node, i) in &nodes {
            let shape = match node {
                Node::Agent(_) => "",
                Node::Other(_) => ", shape=ellipse, style=solid",
            };
            let _ = writeln!(out, "  n{i} [label=\"{}\"{shape}];", dot_text(node.name()));
        }
        for ((from, to), calls) in &self.edges {
            let (Some(from), Some(to)) = (nodes.get(from), nodes.get(to)) else {
                continue;
            };
            if calls.allowed > 0 {
                let _ = writeln!(out, "  n{from} -> n{to} [label=\"{}\"];", calls.allowed);
            }
            if calls.refused > 0 {
                let _ = writeln!(
                    out,
                    "  n{from} -> n{to} [label=\"{} refused\", color=red, fontcolor=red, style=dashed];",
                    calls.refused
                );
            }
        }
        out.push_str("}\n");
        out
    }

    fn mermaid(&self) -> String {
        let mut out = "flowchart LR\n".to_owned();
        let nodes = self.nodes();
        for (node, i) in &nodes {
            let text = mermaid_text(node.name());
            let _ = match node {
                Node::Agent(_) => writeln!(out, "  n{i}[\"{text}\"]"),
                Node::Other(_) => writeln!(out, "  n{i}([\"{text}\"])"),
            };
        }
        for ((from, to), calls) in &self.edges {
            let (Some(from), Some(to)) = (nodes.get(from), nodes.get(to)) else {
                continue;
            };
            if calls.allowed > 0 {
                let _ = writeln!(out, "  n{from} -->|{}| n{to}", calls.allowed);
            }
            if calls.refused > 0 {
                let _ = writeln!(out, "  n{from} -.->|{} refused| n{to}", calls.refused);
            }
        }
        out
    }

    fn json(&self) -> String {
        let end = |node: &Node| match node {
            Node::Agent(name) => json!({"agent": name}),
            Node::Other(name) => json!({"caller": name}),
        };
        let edges: Vec<_> = self
            .edges
            .iter()
            .map(|((from, to), calls)| {
                json!({"from": end(from), "to": end(to), "allowed": calls.allowed, "refused": calls.refused})
            })
            .collect();
        format!(
            "{:#}\n",
            json!({"edges": edges, "unproven": self.unproven, "without_agent": self.nowhere})
        )
    }
}

pub fn run(args: &MapArgs) -> Result<Reading, String> {
    let make = || Filtered {
        source: &args.source,
        mesh: Mesh {
            prefix: args.prefix.clone(),
            ..Mesh::default()
        },
    };
    let (made, reading) = fold(&args.source.files, make)?;
    let mesh = made.mesh;
    output::result(&match args.format {
        Format::Dot => mesh.dot(),
        Format::Mermaid => mesh.mermaid(),
        Format::Svg => svg::draw(&mesh),
        Format::Json => mesh.json(),
    });
    for (count, what) in [
        (mesh.unproven, "are of callers who have proven nothing"),
        (mesh.nowhere, "name no agent"),
        (mesh.beyond, "are on edges beyond the 10,000 that are drawn"),
    ] {
        if count > 0 {
            output::message(
                "note",
                &format!("{count} requests {what}, and are not drawn"),
            );
        }
    }
    Ok(reading)
}

struct Filtered<'s> {
    source: &'s super::Source,
    mesh: Mesh,
}

impl Fold for Filtered<'_> {
    fn take(&mut self, event: &Event<'_>) {
        if self.source.takes(event) {
            self.mesh.take(event);
        }
    }
    fn merge(&mut self, other: Self) {
        self.mesh.merge(other.mesh);
    }
}

/// Inside a quoted string of the DOT language, where a backslash begins an escape of Graphviz's own.
fn dot_text(text: &str) -> String {
    plain(text).replace('\\', "\\\\").replace('"', "\\\"")
}

/// Inside a quoted label of a flowchart: by character code whatever could end it, or be taken for markup.
fn mermaid_text(text: &str) -> String {
    let mut out = String::new();
    for c in plain(text).chars() {
        if c.is_alphanumeric() || " .:/@_-()+=,*".contains(c) {
            out.push(c);
        } else {
            let _ = write!(out, "#{};", u32::from(c));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mesh() -> Mesh {
        let mut mesh = Mesh {
            prefix: "agent-".to_owned(),
            ..Mesh::default()
        };
        for (event, user, agent) in [
            ("auth_verify", "arn:aws:sts::1:assumed-role/agent-a/x", "b"),
            ("auth_verify", "arn:aws:sts::1:assumed-role/agent-a/y", "b"),
            ("auth_fail", "repo:x/\\\"<b>|\\n", "b"),
            ("auth_fail", "arn:aws:sts::2:assumed-role/agent-a/x", "b"),
            ("auth_fail", "", "b"),
            ("auth_verify", "z", ""),
        ] {
            let line = json!({"ts": "t", "event": event, "fields": {"user_id": user, "agent": agent,
                "reason": "rejected", "code": "account_not_allowed"}});
            if let Ok(event) = Event::parse(line.to_string().as_bytes()) {
                mesh.take(&event);
            }
        }
        mesh
    }

    #[test]
    fn a_caller_that_is_an_agent_is_one_node_with_it() {
        let mesh = mesh();
        let a_b = (Node::Agent("a".to_owned()), Node::Agent("b".to_owned()));
        assert_eq!(
            mesh.edges.get(&a_b),
            Some(&Calls {
                allowed: 2,
                refused: 0
            })
        );
        assert_eq!((mesh.edges.len(), mesh.unproven, mesh.nowhere), (3, 1, 1));
        let elsewhere = Node::Other("arn:aws:sts::2:assumed-role/agent-a/x".to_owned());
        assert!(mesh.edges.keys().any(|(from, _)| *from == elsewhere));
    }

    #[test]
    fn names_are_text_wherever_they_stand() {
        let mesh = mesh();
        assert!(
            mesh.dot()
                .contains(r#"[label="repo:x/\\\"<b>|\\n", shape=ellipse"#),
            "{}",
            mesh.dot()
        );
        assert!(
            mesh.mermaid()
                .contains(r##"(["repo:x/#92;#34;#60;b#62;#124;#92;n"])"##),
            "{}",
            mesh.mermaid()
        );
        let svg = svg::draw(&mesh);
        assert!(
            svg.contains("repo:x/\\&quot;&lt;b&gt;|\\n") && !svg.contains("<b>"),
            "{svg}"
        );
    }
}

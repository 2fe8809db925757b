//! `agent` and `agents`: how a request names its agent, and who the agents belong to.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::compile::{Compiler, is_header_name};
use super::error::{Problem, TemplateProblem};
use super::key_records;
use super::read::{Path, object};
use crate::agent::is_agent_name;
use crate::credential::IAP_ASSERTION;
use crate::hygiene::UNSIGNED_IAP;
use crate::policy::{AgentFacts, AgentResolver, IdentityPolicy};
use crate::request::canonical_path;

object! {
    /// How a request names its agent: exactly one of these.
    pub struct AgentConfig {
        /// A path template with `{agent}` as one whole segment, such as `/rest/{agent}`; deeper paths belong
        /// to the same agent.
        path: String,
        /// A host template with `{agent}` as one whole label, such as `{agent}.agents.example.com`; compared
        /// without port and case.
        host: String,
        /// The request header that holds the agent's name. The proxy must route by the same header, or a
        /// caller could name one agent and reach another.
        header: String,
        /// Every request is for this agent.
        fixed: String,
    }
}

object! {
    /// Who an agent belongs to.
    pub struct AgentFactsConfig {
        /// The user who owns it; service-account tokens of that user may call it.
        owner: String,
        /// Its workspace.
        workspace: String,
        /// Its organisation.
        org: String,
    }
}

/// How a request names its agent.
pub(super) fn resolver(
    agent: Option<&AgentConfig>,
    at: &Path<'_>,
    compiler: &mut Compiler<'_>,
) -> Option<AgentResolver> {
    let Some(agent) = agent else {
        return Some(AgentResolver::None);
    };
    let result = match (&agent.path, &agent.host, &agent.header, &agent.fixed) {
        (Some(template), None, None, None) => {
            path_template(template).map_err(|p| ("path", Problem::BadTemplate(p)))
        }
        (None, Some(template), None, None) => {
            host_template(template).map_err(|p| ("host", Problem::BadTemplate(p)))
        }
        (None, None, Some(name), None) => {
            let name = name.to_ascii_lowercase();
            if is_header_name(&name) {
                Ok(AgentResolver::Header(name))
            } else {
                Err(("header", Problem::BadHeaderName))
            }
        }
        (None, None, None, Some(name)) => {
            if is_agent_name(name) {
                Ok(AgentResolver::Fixed(Rc::from(name.as_str())))
            } else {
                Err(("fixed", Problem::BadAgentName))
            }
        }
        _ => {
            let keys = &["path", "host", "header", "fixed"];
            compiler.error_after(at, Problem::NotExactlyOneOf { keys });
            return None;
        }
    };
    match result {
        Ok(resolver) => Some(resolver),
        Err((key, problem)) => {
            compiler.error(&at.key(key), problem);
            None
        }
    }
}

/// Who the agents belong to.
pub(super) fn facts(
    written: Option<&BTreeMap<String, AgentFactsConfig>>,
    at: &Path<'_>,
    compiler: &mut Compiler<'_>,
) -> BTreeMap<Rc<str>, AgentFacts> {
    let mut agents = BTreeMap::new();
    for (name, facts) in written.into_iter().flatten() {
        let at = at.key(name);
        if !is_agent_name(name) {
            compiler.error(&at, Problem::BadAgentName);
        }
        let facts = key_records::agent_facts(facts, &at, compiler.errors());
        agents.insert(Rc::from(name.as_str()), facts);
    }
    agents
}

/// An agent header that hygiene removes first could never name an agent.
pub(super) fn refuse_reserved_header(
    agent: Option<&AgentConfig>,
    identity: &IdentityPolicy,
    compiler: &mut Compiler<'_>,
) {
    let header = agent.and_then(|a| a.header.as_ref());
    if let Some(header) = header {
        let header = header.to_ascii_lowercase();
        if header.starts_with(&identity.header_prefix)
            || header.starts_with(UNSIGNED_IAP)
            || matches!(&*header, "authorization" | IAP_ASSERTION)
        {
            let agent = Path::ROOT.key("agent");
            compiler.error(&agent.key("header"), Problem::ReservedHeader);
        }
    }
}

fn path_template(template: &str) -> Result<AgentResolver, TemplateProblem> {
    let Some(segments) = template.strip_prefix('/') else {
        return Err(TemplateProblem::Path);
    };
    let segments: Vec<&str> = segments.split('/').collect();
    let mut parts = segments.split(|s| *s == "{agent}");
    let (Some(before), Some(after), None) = (parts.next(), parts.next(), parts.next()) else {
        return Err(TemplateProblem::Placeholder);
    };
    for segment in before.iter().chain(after) {
        if segment.contains("{agent}") {
            return Err(TemplateProblem::Placeholder);
        }
        let path = format!("/{segment}");
        let canonical = canonical_path(path.as_bytes()).is_some_and(|p| p == path);
        if segment.is_empty() || segment.contains(['%', '{', '}', '*']) || !canonical {
            return Err(TemplateProblem::Path);
        }
    }
    let owned = |segments: &[&str]| segments.iter().map(|s| (*s).to_owned()).collect();
    Ok(AgentResolver::Path {
        before: owned(before),
        after: owned(after),
    })
}

fn host_template(template: &str) -> Result<AgentResolver, TemplateProblem> {
    let mut parts = template.split("{agent}");
    let (Some(prefix), Some(suffix), None) = (parts.next(), parts.next(), parts.next()) else {
        return Err(TemplateProblem::Placeholder);
    };
    if !(prefix.is_empty() || prefix.ends_with('.'))
        || !(suffix.is_empty() || suffix.starts_with('.'))
    {
        return Err(TemplateProblem::Placeholder);
    }
    let label = |l: &str| {
        !l.is_empty()
            && l.bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let literal = format!("{}{}", prefix, suffix.strip_prefix('.').unwrap_or(suffix));
    let literal = literal.strip_suffix('.').unwrap_or(&literal);
    if !literal.split('.').all(label) || suffix == "." {
        return Err(TemplateProblem::Host);
    }
    Ok(AgentResolver::Host {
        prefix: prefix.to_ascii_lowercase(),
        suffix: suffix.to_ascii_lowercase(),
    })
}

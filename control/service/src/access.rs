//! Who may do what. Every operation asks here, and nothing else decides.
//!
//! | who | may |
//! |---|---|
//! | the owner of an agent | see it, change its description, delete it; make, rotate and revoke its keys; and their own service-account tokens |
//! | an admin of a workspace | all of that for every agent of the workspace, and its `workspace` keys; register agents in it, give them another owner |
//! | an admin | everything |
//!
//! What somebody may not see is answered as if it were not there.

use std::collections::BTreeSet;

use crate::model::{Agent, Scope};
use crate::store::Actor;

/// Someone signed in, and what they are.
#[derive(Clone, Debug)]
pub struct Principal {
    /// As the identity provider names them.
    pub person: String,
    /// May do everything.
    pub admin: bool,
    workspaces: BTreeSet<String>,
    /// May change nothing: a read-only token.
    pub read_only: bool,
    /// How they proved it, for the audit log.
    pub via: String,
    /// From where.
    pub remote_addr: String,
}

impl Principal {
    /// Someone with these rights.
    pub fn new(person: &str, admin: bool, workspaces: impl IntoIterator<Item = String>) -> Self {
        Self {
            person: person.to_owned(),
            admin,
            workspaces: workspaces.into_iter().collect(),
            read_only: false,
            via: String::new(),
            remote_addr: String::new(),
        }
    }

    /// The workspaces they administer.
    pub fn workspaces(&self) -> impl Iterator<Item = &str> {
        self.workspaces.iter().map(String::as_str)
    }

    /// Whether they administer any.
    pub fn has_workspaces(&self) -> bool {
        !self.workspaces.is_empty()
    }

    /// Whether they administer that workspace.
    pub fn administers(&self, workspace: Option<&str>) -> bool {
        self.admin || workspace.is_some_and(|w| self.workspaces.contains(w))
    }

    /// Whether they may see the agent and manage its keys.
    pub fn manages(&self, agent: &Agent) -> bool {
        self.administers(agent.workspace.as_deref()) || agent.owner.as_deref() == Some(&self.person)
    }

    /// Whether they may see and manage keys of that scope; `agent` is the one in the scope, if it is there.
    pub fn manages_scope(&self, scope: &Scope, agent: Option<&Agent>) -> bool {
        match scope {
            Scope::Agent(_) => self.admin || agent.is_some_and(|a| self.manages(a)),
            Scope::Workspace(name) => self.administers(Some(name)),
            Scope::Org(_) => self.admin,
            Scope::User(name) => self.admin || *name == self.person,
        }
    }

    /// As the audit log names them.
    pub fn actor(&self) -> Actor {
        Actor {
            person: self.person.clone(),
            via: self.via.clone(),
            remote_addr: self.remote_addr.clone(),
        }
    }
}

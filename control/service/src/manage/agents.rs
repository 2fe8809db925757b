//! Registering agents.

use portcullis_core::agent::is_agent_name;
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use super::{Answer, Done, Idempotency, MAX_NAME, Manage, plain, remember, replay};
use crate::access::Principal;
use crate::model::Agent;
use crate::problem::{Fault, Problem};
use crate::store::audit::Act;
use crate::store::keys::KeyChange;

/// An agent to be, or what it shall be from now on.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentDraft {
    /// Its name in the proxy's routes: `[A-Za-z0-9._~-]{1,128}`.
    #[schema(example = "orders")]
    #[serde(default)]
    pub name: String,
    /// The person who answers for it. Absent: nobody.
    #[schema(example = "alice@example.com")]
    pub owner: Option<String>,
    /// The workspace it belongs to.
    pub workspace: Option<String>,
    /// The organisation it belongs to.
    pub org: Option<String>,
    /// For people; at most 1000 bytes.
    #[serde(default)]
    pub description: String,
}

impl Manage {
    /// The agent, if the principal may see it.
    pub async fn agent(&self, by: &Principal, name: &str) -> Done<Agent> {
        let agent = self.store.agent(name).await?;
        agent
            .filter(|a| by.manages(a))
            .ok_or(Problem::NotFound("agent"))
    }

    /// Registers an agent.
    pub async fn create_agent(
        &self,
        by: &Principal,
        draft: &AgentDraft,
        key: Option<&Idempotency>,
    ) -> Done<Answer<Agent>> {
        let mut agent = read(draft)?;
        if !is_agent_name(&agent.name) {
            return Err(Problem::invalid(
                "name",
                "must be 1 to 128 letters, digits, `.`, `_`, `~`, `-`, and not `.` or `..`",
            ));
        }
        // A name is a route of the proxy. Whoever could take any name would make keys for what others run there.
        if !by.administers(agent.workspace.as_deref()) {
            return Err(Problem::Forbidden(
                "agents are registered by an admin of their workspace; name a workspace that you administer",
            ));
        }
        let mut write = self.begin(by).await?;
        if let Some(answer) = replay(&mut write, by, key).await? {
            return Ok(Answer::Again(answer));
        }
        if write.agent(&agent.name).await?.is_some() {
            return Err(Problem::Conflict(format!(
                "there is an agent {:?} already",
                agent.name
            )));
        }
        agent.created_at = write.now;
        agent.created_by = by.person.clone();
        write.put_agent(&agent).await?;
        write.audit(&act("agent.create", &agent)).await?;
        remember(&mut write, by, key, &json!(agent)).await?;
        write.commit().await?;
        Ok(Answer::New(agent))
    }

    /// Gives an agent another description, owner, workspace or organisation.
    pub async fn update_agent(
        &self,
        by: &Principal,
        name: &str,
        draft: &AgentDraft,
    ) -> Done<Agent> {
        let wanted = read(draft)?;
        let mut write = self.begin(by).await?;
        let old = write
            .agent(name)
            .await?
            .filter(|a| by.manages(a))
            .ok_or(Problem::NotFound("agent"))?;
        if !wanted.name.is_empty() && wanted.name != old.name {
            return Err(Problem::invalid(
                "name",
                "can't be changed: register another agent",
            ));
        }
        let moved = (&wanted.owner, &wanted.workspace, &wanted.org)
            != (&old.owner, &old.workspace, &old.org);
        if moved && !by.administers(old.workspace.as_deref()) {
            return Err(Problem::Forbidden(
                "owner, workspace and organisation are changed by an admin of the workspace",
            ));
        }
        // Neither may somebody push an agent into a workspace where they have no say: its keys would be good for it.
        if wanted.workspace != old.workspace && !by.administers(wanted.workspace.as_deref()) {
            return Err(Problem::Forbidden(
                "you don't administer the workspace it would move to",
            ));
        }
        let agent = Agent {
            name: old.name.clone(),
            created_at: old.created_at,
            created_by: old.created_by.clone(),
            ..wanted
        };
        write.put_agent(&agent).await?;
        let details = json!({"from": parts(&old), "to": parts(&agent)});
        write
            .audit(&act("agent.update", &agent).details(details))
            .await?;
        write.commit().await?;
        Ok(agent)
    }

    /// Takes an agent out and revokes its keys: a new agent of that name begins without.
    pub async fn delete_agent(&self, by: &Principal, name: &str) -> Done<()> {
        let mut write = self.begin(by).await?;
        let agent = write
            .agent(name)
            .await?
            .filter(|a| by.manages(a))
            .ok_or(Problem::NotFound("agent"))?;
        let keys = write.keys_of_agent(name).await?;
        for key in &keys {
            let change = KeyChange::Revoke {
                reason: "its agent was deleted",
            };
            write.change_key(&key.id, &change).await?;
        }
        write.delete_agent(name).await?;
        let details = json!({"revoked_keys": keys.len()});
        write
            .audit(&act("agent.delete", &agent).details(details))
            .await?;
        write.commit().await?;
        Ok(())
    }
}

fn act(action: &'static str, agent: &Agent) -> Act {
    Act::new(action, format!("agent:{}", agent.name))
        .agent(&agent.name)
        .workspace(agent.workspace.as_deref())
        .details(parts(agent))
}

fn parts(agent: &Agent) -> serde_json::Value {
    json!({"owner": agent.owner, "workspace": agent.workspace, "org": agent.org, "description": agent.description})
}

fn read(draft: &AgentDraft) -> Done<Agent> {
    let mut faults: Vec<Fault> = Vec::new();
    let agent = Agent {
        name: draft.name.clone(),
        owner: plain("owner", draft.owner.as_deref(), MAX_NAME, &mut faults),
        workspace: plain(
            "workspace",
            draft.workspace.as_deref(),
            MAX_NAME,
            &mut faults,
        ),
        org: plain("org", draft.org.as_deref(), MAX_NAME, &mut faults),
        description: plain("description", Some(&draft.description), 1000, &mut faults)
            .unwrap_or_default(),
        created_at: 0,
        created_by: String::new(),
    };
    if faults.is_empty() {
        Ok(agent)
    } else {
        Err(Problem::Invalid(faults))
    }
}

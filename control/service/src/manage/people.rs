//! Who may what.

use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use super::{Done, MAX_NAME, Manage, plain};
use crate::access::Principal;
use crate::model::Person;
use crate::problem::{Fault, Problem};
use crate::store::Actor;
use crate::store::audit::Act;

/// What a person shall be from now on.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PersonDraft {
    /// May do everything.
    #[serde(default)]
    pub admin: bool,
    /// The workspaces that they administer.
    #[serde(default)]
    pub workspaces: Vec<String>,
    /// May not sign in; their sessions end.
    #[serde(default)]
    pub disabled: bool,
}

impl Manage {
    /// Makes the first admin and uses the one-time link up, both or neither.
    pub async fn put_first_admin(
        &self,
        person: &str,
        link: &str,
        from: std::net::IpAddr,
    ) -> Done<()> {
        let mut faults: Vec<Fault> = Vec::new();
        let id = plain("person", Some(person), MAX_NAME, &mut faults).unwrap_or_default();
        if !faults.is_empty() {
            return Err(Problem::Invalid(faults));
        }
        let actor = Actor {
            person: id.clone(),
            via: "link".to_owned(),
            remote_addr: from.to_string(),
        };
        let mut write = self.store.begin(&actor).await?;
        if write.take_link(link).await? != Some(None) {
            return Err(Problem::Unauthenticated);
        }
        write.drop_first_links().await?;
        write.put_person(&id, true, &[], false).await?;
        let details = json!({"admin": true, "first": true});
        write
            .audit(&Act::new("person.update", format!("person:{id}")).details(details))
            .await?;
        write.commit().await?;
        Ok(())
    }

    /// Grants or takes away; by admins.
    pub async fn put_person(&self, by: &Principal, id: &str, draft: &PersonDraft) -> Done<Person> {
        if !by.admin {
            return Err(Problem::Forbidden("people are managed by admins"));
        }
        let mut faults: Vec<Fault> = Vec::new();
        let id = plain("id", Some(id), MAX_NAME, &mut faults).unwrap_or_default();
        if id.is_empty() {
            faults.push(Fault::new("id", "must not be empty"));
        }
        let mut workspaces: Vec<String> = draft
            .workspaces
            .iter()
            .filter_map(|w| plain("workspaces", Some(w), MAX_NAME, &mut faults))
            .collect();
        workspaces.sort();
        workspaces.dedup();
        if !faults.is_empty() {
            return Err(Problem::Invalid(faults));
        }
        let mut write = self.begin(by).await?;
        let was = write.person(&id).await?;
        let ends = was
            .as_ref()
            .is_some_and(|p| p.admin && p.disabled_at.is_none())
            && (!draft.admin || draft.disabled);
        if ends && !write.has_other_admin(&id).await? {
            return Err(Problem::Conflict(
                "this is the last admin; make another one first".to_owned(),
            ));
        }
        write
            .put_person(&id, draft.admin, &workspaces, draft.disabled)
            .await?;
        let details =
            json!({"admin": draft.admin, "workspaces": workspaces, "disabled": draft.disabled});
        write
            .audit(&Act::new("person.update", format!("person:{id}")).details(details))
            .await?;
        let mut person = write
            .person(&id)
            .await?
            .ok_or(Problem::NotFound("person"))?;
        person.workspaces = workspaces;
        write.commit().await?;
        Ok(person)
    }
}

//! The demo's agents, for `portcullis serve --demo`.

use crate::access::Principal;
use crate::app::App;
use crate::manage::{AgentDraft, Done};

/// Name, owner, workspace, and what it is.
const AGENTS: [(&str, &str, &str, &str); 3] = [
    (
        "orders",
        "alice@example.com",
        "shop",
        "Takes orders and answers questions about them",
    ),
    (
        "fraud",
        "bob@example.com",
        "bank",
        "Says which payments want a second look",
    ),
    (
        "research",
        "carol@example.com",
        "lab",
        "Reads papers and summarises them",
    ),
];

/// Registers the demo's agents, if there are none at all.
pub async fn fill(app: &App) -> Done<()> {
    let mut by = Principal::new("system", true, []);
    by.via = "demo".to_owned();
    if !app.store().agents(&by, None, None, 1).await?.is_empty() {
        return Ok(());
    }
    for (name, owner, workspace, description) in AGENTS {
        let draft = AgentDraft {
            name: name.to_owned(),
            owner: Some(owner.to_owned()),
            workspace: Some(workspace.to_owned()),
            org: Some("example".to_owned()),
            description: description.to_owned(),
        };
        app.manage.create_agent(&by, &draft, None).await?;
    }
    Ok(())
}

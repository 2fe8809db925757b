//! A copy made while the service runs, put in its place.

use serde_json::json;

use crate::harness::{Service, text};

#[tokio::test]
async fn restored_backup_is_another_history() {
    let service = Service::sqlite().await;
    let (root, fleet) = (service.admin().await, service.fleet().await);
    let (_, id) = root.make_key(json!({"scope": {"org": "acme"}})).await;
    let copy = format!("{}.backup", service.database);
    service.app.store().backup(&copy).await.unwrap();
    assert!(
        service.app.store().backup(&copy).await.is_err(),
        "an existing file is kept"
    );
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&copy).unwrap().permissions());
    assert_eq!(mode & 0o077, 0, "{mode:o}");
    // Later changes are not in it; a filter that has seen them must not go on as if they were.
    root.post(&format!("/api/v1/keys/{id}/revoke"), json!({}))
        .await
        .expect(200);
    let seen = fleet.get("/api/v1/feed?after=0").await.expect(200);
    let restored = Service::on(&copy).await;
    let fleet = crate::harness::User::with(&restored, fleet.token.clone());
    let path = format!(
        "/api/v1/feed?after={}&epoch={}",
        seen["revision"],
        text(&seen["epoch"])
    );
    let page = fleet.get(&path).await.expect(200);
    assert_eq!(page["reset"], true);
    assert_eq!(page["keys"][0]["id"], id);
    assert_eq!(page["keys"][0].get("revoked_at"), None);
}

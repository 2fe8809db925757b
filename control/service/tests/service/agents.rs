use serde_json::json;

use crate::harness::Service;

on_both!(life, lists_go_on, names, idempotent);

async fn life(service: Service) {
    let root = service.admin().await;
    let made = root
        .post("/api/v1/agents", json!({"name": "orders", "owner": "alice@example.com", "workspace": "shop", "org": "acme"}))
        .await
        .expect(201);
    assert_eq!(made["created_by"], "root");
    root.post("/api/v1/agents", json!({"name": "orders"}))
        .await
        .expect(409);
    let changed = root
        .put(
            "/api/v1/agents/orders",
            json!({"owner": "bob@example.com", "description": "takes orders"}),
        )
        .await
        .expect(200);
    assert_eq!(
        (&changed["owner"], &changed["workspace"]),
        (&json!("bob@example.com"), &json!(null))
    );
    assert_eq!(root.get("/api/v1/agents/orders").await.expect(200), changed);
    root.put("/api/v1/agents/orders", json!({"name": "other"}))
        .await
        .expect(422);

    let (_, id) = root.make_key(json!({"scope": {"agent": "orders"}})).await;
    root.delete("/api/v1/agents/orders").await.expect(204);
    root.get("/api/v1/agents/orders").await.expect(404);
    // Its keys went with it, and do not come back with a new agent of that name.
    root.post("/api/v1/agents", json!({"name": "orders"}))
        .await
        .expect(201);
    let key = root.get(&format!("/api/v1/keys/{id}")).await.expect(200);
    assert_eq!(
        (&key["state"], &key["revoked_reason"]),
        (&json!("revoked"), &json!("its agent was deleted"))
    );
}

async fn lists_go_on(service: Service) {
    let root = service.admin().await;
    for i in 0..7 {
        root.post(
            "/api/v1/agents",
            json!({"name": format!("a{i}"), "description": if i == 3 { "Nr. 100%" } else { "" }}),
        )
        .await
        .expect(201);
    }
    let mut seen = Vec::new();
    let mut path = "/api/v1/agents?limit=3".to_owned();
    loop {
        let list = root.get(&path).await.expect(200);
        seen.extend(
            list["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|a| a["name"].as_str().unwrap().to_owned()),
        );
        match list["next"].as_str() {
            Some(next) => path = format!("/api/v1/agents?limit=3&after={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ["a0", "a1", "a2", "a3", "a4", "a5", "a6"]);
    let found = root.get("/api/v1/agents?search=100%25").await.expect(200);
    assert_eq!(found["items"].as_array().unwrap().len(), 1);
    assert_eq!(
        root.get("/api/v1/agents?search=A5").await.expect(200)["items"][0]["name"],
        "a5"
    );
    assert_eq!(
        root.get("/api/v1/agents?search=_").await.expect(200)["items"],
        json!([])
    );
    let wrong = root.get("/api/v1/agents?limt=3").await;
    assert_eq!(wrong.headers["content-type"], "application/problem+json");
    assert!(
        wrong.expect(422)["detail"]
            .as_str()
            .unwrap()
            .contains("limt")
    );
}

async fn names(service: Service) {
    let root = service.admin().await;
    for name in ["", "..", "a/b", "a b", "é", &"x".repeat(129)] {
        let answer = root
            .post("/api/v1/agents", json!({"name": name}))
            .await
            .expect(422);
        assert_eq!(answer["errors"][0]["field"], "name", "{name}");
    }
    for owner in ["a\nb", "a\u{0}b", &"x".repeat(257)] {
        let answer = root
            .post("/api/v1/agents", json!({"name": "x", "owner": owner}))
            .await
            .expect(422);
        assert_eq!(answer["errors"][0]["field"], "owner");
    }
    let unknown = root
        .post("/api/v1/agents", json!({"name": "x", "ownr": "a"}))
        .await
        .expect(422);
    assert!(unknown["detail"].as_str().unwrap().contains("ownr"));
    root.get("/api/v1/agents/none").await.expect(404);
    root.get("/api/v1/agents/%00").await.expect(404);
}

async fn idempotent(service: Service) {
    let root = service.admin().await;
    let (path, once) = ("/api/v1/agents", [("idempotency-key", "6f1c8a3e-0001")]);
    let body = json!({"name": "orders"});
    let first = root.call("POST", path, Some(body.clone()), &once).await;
    let second = root.call("POST", path, Some(body), &once).await;
    assert_eq!(first.expect(201), second.expect(201));
    assert_eq!(second.headers["idempotency-replayed"], "true");
    let other = root
        .call("POST", path, Some(json!({"name": "else"})), &once)
        .await;
    assert!(
        other.expect(422)["detail"]
            .as_str()
            .unwrap()
            .contains("Idempotency-Key")
    );
    // Of another person it is another key.
    let alice = service.user("alice", true, &[]).await;
    alice
        .call("POST", path, Some(json!({"name": "else"})), &once)
        .await
        .expect(201);
}

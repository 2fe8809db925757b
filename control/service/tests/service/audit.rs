use serde_json::{Value, json};

use crate::harness::{Service, text};

on_both!(every_act, append_only, exports);

async fn every_act(service: Service) {
    let root = service.admin().await;
    let before = root.get("/api/v1/audit").await.expect(200)["items"]
        .as_array()
        .unwrap()
        .len();
    root.post(
        "/api/v1/agents",
        json!({"name": "orders", "workspace": "shop"}),
    )
    .await
    .expect(201);
    root.put(
        "/api/v1/agents/orders",
        json!({"workspace": "shop", "owner": "alice"}),
    )
    .await
    .expect(200);
    let (_, id) = root.make_key(json!({"scope": {"agent": "orders"}})).await;
    root.post(&format!("/api/v1/keys/{id}/rotate"), json!({}))
        .await
        .expect(201);
    root.post(
        &format!("/api/v1/keys/{id}/revoke"),
        json!({"reason": "leaked"}),
    )
    .await
    .expect(200);
    root.post("/api/v1/owners/root/revoke", json!({}))
        .await
        .expect(200);
    let token = root
        .post("/api/v1/tokens", json!({"kind": "fleet"}))
        .await
        .expect(201);
    root.delete(&format!("/api/v1/tokens/{}", text(&token["record"]["id"])))
        .await
        .expect(204);
    root.put("/api/v1/people/bob", json!({"workspaces": ["shop"]}))
        .await
        .expect(200);
    root.delete("/api/v1/agents/orders").await.expect(204);
    // What was not done is not written down.
    root.post("/api/v1/agents", json!({"name": ".."}))
        .await
        .expect(422);
    let log = root.get("/api/v1/audit?limit=1000").await.expect(200);
    let entries = log["items"].as_array().unwrap();
    let done = &entries[..entries.len() - before];
    let actions: Vec<String> = done.iter().rev().map(|e| text(&e["action"])).collect();
    assert_eq!(
        actions,
        [
            "agent.create",
            "agent.update",
            "key.create",
            "key.rotate",
            "key.revoke",
            "key.revoke",
            "owner.revoke",
            "token.create",
            "token.revoke",
            "person.update",
            "agent.delete",
        ]
    );
    let seqs: Vec<i64> = entries.iter().map(|e| e["seq"].as_i64().unwrap()).collect();
    assert!(seqs.windows(2).all(|w| w[0] == w[1] + 1), "{seqs:?}");
    let revoked = done
        .iter()
        .find(|e| e["details"]["reason"] == "leaked")
        .unwrap();
    assert_eq!(revoked["actor"], "root");
    assert_eq!(revoked["remote_addr"], "127.0.0.1");
    assert!(text(&revoked["via"]).starts_with("token:"));
    assert_eq!(
        (&revoked["agent"], &revoked["workspace"]),
        (&json!("orders"), &json!("shop"))
    );
    for (query, count) in [
        ("action=key.", 4),
        ("action=key.revoke", 2),
        ("actor=nobody", 0),
        ("agent=orders&action=agent.", 3),
        ("to=1000", 0),
        ("from=1970-01-02&action=agent.create", 1),
        ("target=person:bob", 1),
    ] {
        let found = root
            .get(&format!("/api/v1/audit?limit=1000&{query}"))
            .await
            .expect(200);
        assert_eq!(found["items"].as_array().unwrap().len(), count, "{query}");
    }
    root.get("/api/v1/audit?from=soon").await.expect(422);
}

async fn append_only(service: Service) {
    let root = service.admin().await;
    root.post("/api/v1/agents", json!({"name": "orders"}))
        .await
        .expect(201);
    let count = root.get("/api/v1/audit").await.expect(200)["items"]
        .as_array()
        .unwrap()
        .len();
    sqlx::any::install_default_drivers();
    let url = if service.database.starts_with("postgres") {
        service.database.clone()
    } else {
        format!("sqlite://{}", service.database)
    };
    let pool = sqlx::AnyPool::connect(&url).await.unwrap();
    for statement in [
        "UPDATE audit SET actor = 'x'",
        "DELETE FROM audit",
        "DELETE FROM audit WHERE seq = 1",
    ] {
        let refused = sqlx::query(statement).execute(&pool).await;
        assert!(
            refused.unwrap_err().to_string().contains("append-only"),
            "{statement}"
        );
    }
    assert_eq!(
        root.get("/api/v1/audit").await.expect(200)["items"]
            .as_array()
            .unwrap()
            .len(),
        count
    );
}

async fn exports(service: Service) {
    let root = service.admin().await;
    root.post(
        "/api/v1/agents",
        json!({"name": "orders", "description": "a \"quoted\", text"}),
    )
    .await
    .expect(201);
    root.put("/api/v1/people/=1+1", json!({})).await.expect(200);
    service
        .user("=cmd", true, &[])
        .await
        .post("/api/v1/agents", json!({"name": "b"}))
        .await
        .expect(201);
    let csv = root.get("/api/v1/audit/export?format=csv").await;
    assert_eq!(csv.headers["content-type"], "text/csv; charset=utf-8");
    assert!(csv.text.starts_with("seq,time,actor,"));
    let rows: Vec<csv::StringRecord> = csv::Reader::from_reader(csv.text.as_bytes())
        .records()
        .map(Result::unwrap)
        .collect();
    assert!(
        rows.iter()
            .any(|r| r[5] == *"agent.create" && r[9].contains("\\\"quoted\\\", text"))
    );
    assert!(rows.iter().any(|r| r[2] == *"'=cmd"));
    assert!(!csv.text.contains(",=cmd"));
    let lines = root
        .get("/api/v1/audit/export?format=ndjson&action=agent.")
        .await;
    let all: Vec<Value> = lines
        .text
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(all.len(), 2);
    root.get("/api/v1/audit/export?format=xml")
        .await
        .expect(422);
    // More than one page of it.
    let entries = rows.len();
    let actor = portcullis_service::store::Actor::system("test");
    let mut write = service.app.store().begin(&actor).await.unwrap();
    for i in 0..1100 {
        let act = portcullis_service::store::audit::Act::new("test.act", format!("test:{i}"));
        write.audit(&act).await.unwrap();
    }
    write.commit().await.unwrap();
    let lines = root.get("/api/v1/audit/export?format=ndjson").await;
    assert_eq!(lines.text.lines().count(), entries + 1100);
}

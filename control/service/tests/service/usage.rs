use portcullis_service::store::now;
use serde_json::{Value, json};

use crate::harness::Service;

on_both!(counted_once, batches_that_make_no_sense, only_forward);

fn batch(name: &str, uses: &Value) -> Value {
    json!({"format": "portcullis-usage/1", "instance": "edge-1", "batch": name, "uses": uses})
}

async fn counted_once(service: Service) {
    let (root, fleet) = (service.admin().await, service.fleet().await);
    root.post("/api/v1/agents", json!({"name": "orders"}))
        .await
        .expect(201);
    let (_, id) = root.make_key(json!({"scope": {"agent": "orders"}})).await;
    let minute = now() / 60 * 60;
    let uses = json!([
        {"key": id, "agent": "orders", "minute": minute, "allowed": 5, "refused": 2, "last_used_at": minute + 30},
        {"key": id, "agent": "orders", "minute": minute - 60, "allowed": 1, "refused": 0, "last_used_at": minute - 10},
        {"key": id, "agent": null, "minute": minute, "allowed": 0, "refused": 4, "last_used_at": null},
        {"key": "000000000000", "agent": "orders", "minute": minute, "allowed": 100, "refused": 0, "last_used_at": minute},
    ]);
    for _ in 0..3 {
        fleet
            .post("/api/v1/usage", batch("1", &uses))
            .await
            .expect(204);
    }
    let sum = |points: Value| -> (i64, i64) {
        let points = points.as_array().unwrap().clone();
        let of = |name: &str| points.iter().map(|p| p[name].as_i64().unwrap()).sum();
        (of("allowed"), of("refused"))
    };
    for step in [60, 300, 3600] {
        let key = root
            .get(&format!("/api/v1/keys/{id}/usage?step={step}"))
            .await
            .expect(200);
        assert_eq!(sum(key), (6, 6), "{step}");
        let agent = root
            .get(&format!("/api/v1/agents/orders/usage?step={step}"))
            .await
            .expect(200);
        assert_eq!(sum(agent), (6, 2), "{step}");
    }
    fleet
        .post("/api/v1/usage", batch("2", &uses))
        .await
        .expect(204);
    assert_eq!(
        sum(root
            .get(&format!("/api/v1/keys/{id}/usage"))
            .await
            .expect(200)),
        (12, 12)
    );
    assert_eq!(
        root.get(&format!("/api/v1/keys/{id}")).await.expect(200)["last_used_at"],
        minute
    );
    root.get(&format!("/api/v1/keys/{id}/usage?step=61"))
        .await
        .expect(422);
    root.get(&format!("/api/v1/keys/{id}/usage?from=0&step=60"))
        .await
        .expect(422);
}

async fn only_forward(service: Service) {
    let (root, fleet) = (service.admin().await, service.fleet().await);
    let (_, id) = root.make_key(json!({"scope": {"org": "acme"}})).await;
    let minute = now() / 60 * 60;
    for (name, at) in [("1", minute), ("2", minute - 600), ("3", minute - 60)] {
        let uses =
            json!([{"key": id, "agent": "a", "minute": at, "allowed": 1, "last_used_at": at}]);
        fleet
            .post("/api/v1/usage", batch(name, &uses))
            .await
            .expect(204);
    }
    assert_eq!(
        root.get(&format!("/api/v1/keys/{id}")).await.expect(200)["last_used_at"],
        minute
    );
}

async fn batches_that_make_no_sense(service: Service) {
    let (root, fleet) = (service.admin().await, service.fleet().await);
    root.post("/api/v1/usage", batch("1", &json!([])))
        .await
        .expect(401);
    for uses in [
        json!([{"key": "a", "minute": 61}]),
        json!([{"key": "a", "minute": now() / 60 * 60 + 7200}]),
        json!([{"key": "a", "minute": 60, "allowed": -1}]),
        json!([{"key": "a\u{0}", "minute": 60}]),
        json!([{"key": "", "minute": 60}]),
        json!([{"minute": 60}]),
        json!({}),
    ] {
        fleet
            .post("/api/v1/usage", batch("1", &uses))
            .await
            .expect(422);
    }
    let mut other = batch("1", &json!([]));
    other["format"] = json!("portcullis-usage/2");
    fleet.post("/api/v1/usage", other).await.expect(422);
    fleet
        .post("/api/v1/usage", batch("1", &json!([])))
        .await
        .expect(204);
}

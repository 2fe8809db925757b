use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Answer, Service, User, text};

on_both!(
    from_nothing,
    deltas,
    pages_add_up,
    other_histories,
    waits_and_wakes,
    compressed,
    fleet_tokens_only,
    forgotten_keys,
    readers_never_miss,
    fleet_is_seen,
);

/// What a filter would hold.
#[derive(Default)]
struct Follower {
    epoch: String,
    after: i64,
    keys: BTreeMap<String, Value>,
    agents: BTreeMap<String, Value>,
}

impl Follower {
    fn query(&self) -> String {
        format!("/api/v1/feed?after={}&epoch={}", self.after, self.epoch)
    }

    fn take(&mut self, page: &Value) -> bool {
        assert_eq!(page["format"], "portcullis-feed/1");
        if page["reset"] == true {
            *self = Self::default();
        }
        self.epoch = text(&page["epoch"]);
        let revision = page["revision"].as_i64().unwrap();
        assert!(revision >= self.after, "revisions go backwards");
        self.after = revision;
        for key in page["keys"].as_array().unwrap() {
            self.keys.insert(text(&key["id"]), key.clone());
        }
        for id in page["removed_keys"].as_array().unwrap() {
            self.keys.remove(id.as_str().unwrap());
        }
        for (name, agent) in page["agents"].as_object().unwrap() {
            self.agents.insert(name.clone(), agent.clone());
        }
        for name in page["removed_agents"].as_array().unwrap() {
            self.agents.remove(name.as_str().unwrap());
        }
        page["more"] == true
    }

    async fn catch_up(&mut self, fleet: &User<'_>, extra: &str) {
        loop {
            let answer = fleet.get(&format!("{}{extra}", self.query())).await;
            if answer.status == 204 || !self.take(&answer.expect(200)) {
                return;
            }
        }
    }
}

async fn from_nothing(service: Service) {
    let fleet = service.fleet().await;
    let answer = fleet.get("/api/v1/feed?after=0").await;
    let page = answer.expect(200);
    assert_eq!(
        (&page["reset"], &page["more"], &page["revision"]),
        (&json!(true), &json!(false), &json!(0))
    );
    let epoch = text(&page["epoch"]);
    let etag = answer.headers["etag"].to_str().unwrap().to_owned();
    assert_eq!(etag, format!("\"{epoch}.0\""));
    let again = format!("/api/v1/feed?after=0&epoch={epoch}");
    let known = fleet
        .call("GET", &again, None, &[("if-none-match", &etag)])
        .await;
    assert_eq!((known.status.as_u16(), known.text.as_str()), (304, ""));
    assert_eq!(fleet.get(&again).await.status, 204);
}

async fn deltas(service: Service) {
    let (root, fleet) = (service.admin().await, service.fleet().await);
    let mut follower = Follower::default();
    root.post(
        "/api/v1/agents",
        json!({"name": "orders", "owner": "alice", "workspace": "shop"}),
    )
    .await
    .expect(201);
    let (_, id) = root
        .make_key(json!({"scope": {"agent": "orders"}, "name": "n"}))
        .await;
    follower.catch_up(&fleet, "").await;
    assert_eq!(
        follower.agents["orders"],
        json!({"owner": "alice", "workspace": "shop"})
    );
    assert_eq!(follower.keys[&id]["scope"], json!({"agent": "orders"}));

    root.post(
        &format!("/api/v1/keys/{id}/revoke"),
        json!({"reason": "for people"}),
    )
    .await
    .expect(200);
    let page = fleet.get(&follower.query()).await.expect(200);
    assert_eq!(
        (
            page["reset"].as_bool(),
            page["keys"].as_array().unwrap().len()
        ),
        (Some(false), 1)
    );
    assert!(page["keys"][0]["revoked_at"].is_number());
    assert_eq!(page["agents"], json!({}));
    follower.take(&page);
    root.delete("/api/v1/agents/orders").await.expect(204);
    let page = fleet.get(&follower.query()).await.expect(200);
    assert_eq!(page["removed_agents"], json!(["orders"]));
    follower.take(&page);
    // The filter reads every record as it reads its own configuration.
    let all = Value::Array(follower.keys.values().cloned().collect());
    assert!(portcullis_core::config::load_keys(&all.to_string()).is_ok());
    // Who begins now is not told of what is gone.
    let page = fleet.get("/api/v1/feed?after=0").await.expect(200);
    assert_eq!(
        (&page["agents"], &page["removed_agents"]),
        (&json!({}), &json!([]))
    );
    assert_eq!(page["revision"], follower.after);
}

async fn pages_add_up(service: Service) {
    let (root, fleet) = (service.admin().await, service.fleet().await);
    let mut wanted = BTreeSet::new();
    for i in 0..6 {
        root.post("/api/v1/agents", json!({"name": format!("a{i}")}))
            .await
            .expect(201);
        for _ in 0..3 {
            wanted.insert(
                root.make_key(json!({"scope": {"agent": format!("a{i}")}}))
                    .await
                    .1,
            );
        }
    }
    for limit in [1, 2, 5, 24, 25] {
        let mut follower = Follower::default();
        follower.catch_up(&fleet, &format!("&limit={limit}")).await;
        assert_eq!(
            follower.keys.keys().cloned().collect::<BTreeSet<_>>(),
            wanted
        );
        assert_eq!(follower.agents.len(), 6);
    }
    // Only the first page of a beginning resets.
    let first = fleet.get("/api/v1/feed?after=0&limit=4").await.expect(200);
    assert_eq!(
        (&first["reset"], &first["more"]),
        (&json!(true), &json!(true))
    );
    let mut follower = Follower::default();
    follower.take(&first);
    let second = fleet
        .get(&format!("{}&limit=4", follower.query()))
        .await
        .expect(200);
    assert_eq!(
        (&second["reset"], &second["more"]),
        (&json!(false), &json!(true))
    );
}

async fn other_histories(service: Service) {
    let (root, fleet) = (service.admin().await, service.fleet().await);
    root.make_key(json!({"scope": {"org": "acme"}})).await;
    let mut follower = Follower::default();
    follower.catch_up(&fleet, "").await;
    for query in [
        "after=1&epoch=other",
        "after=999&epoch=EPOCH",
        "after=1",
        "after=-5&epoch=EPOCH",
    ] {
        let query = query.replace("EPOCH", &follower.epoch);
        let page = fleet
            .get(&format!("/api/v1/feed?{query}"))
            .await
            .expect(200);
        assert_eq!(page["reset"], true, "{query}");
        assert_eq!(page["keys"].as_array().unwrap().len(), 1, "{query}");
    }
    fleet.get("/api/v1/feed?after=x").await.expect(422);
    service.app.store().new_epoch().await.unwrap();
    assert_eq!(
        fleet.get(&follower.query()).await.expect(200)["reset"],
        true
    );
}

async fn waits_and_wakes(service: Service) {
    let (root, fleet) = (service.admin().await, service.fleet().await);
    let mut follower = Follower::default();
    follower.catch_up(&fleet, "").await;
    let (_, id) = root.make_key(json!({"scope": {"org": "acme"}})).await;
    follower.catch_up(&fleet, "").await;
    // Nothing happens: the answer comes when the wait is over.
    let start = Instant::now();
    assert_eq!(
        fleet
            .get(&format!("{}&wait=1", follower.query()))
            .await
            .status,
        204
    );
    assert!(start.elapsed() >= Duration::from_millis(900));
    // Something happens: it comes long before.
    let start = Instant::now();
    let wait = format!("{}&wait=50", follower.query());
    let (path, nothing) = (format!("/api/v1/keys/{id}/revoke"), json!({}));
    let (held, ()) = tokio::join!(fleet.get(&wait), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        root.post(&path, nothing).await.expect(200);
    });
    let page: Value = held.expect(200);
    assert!(page["keys"][0]["revoked_at"].is_number());
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );

    // Another replica's change wakes this one's followers as well.
    follower.take(&page);
    tokio::spawn(service.app.store().clone().follow());
    let other = service.replica().await;
    let there = other.admin().await;
    let start = Instant::now();
    let wait = format!("{}&wait=50", follower.query());
    let (held, ()) = tokio::join!(fleet.get(&wait), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        there.make_key(json!({"scope": {"org": "acme"}})).await;
    });
    assert_eq!(held.expect(200)["keys"].as_array().unwrap().len(), 1);
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
}

async fn compressed(service: Service) {
    let (root, fleet) = (service.admin().await, service.fleet().await);
    for _ in 0..5 {
        root.make_key(json!({"scope": {"org": "acme"}})).await;
    }
    let plain = fleet.get("/api/v1/feed?after=0").await;
    assert!(!plain.headers.contains_key("content-encoding"));
    let request = axum::http::Request::get("/api/v1/feed?after=0")
        .header("authorization", format!("Bearer {}", fleet.token))
        .header("accept-encoding", "gzip");
    let response = service
        .send(request.body(axum::body::Body::empty()).unwrap())
        .await;
    assert_eq!(response.headers()["content-encoding"], "gzip");
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX)
        .await
        .unwrap();
    assert!(bytes.len() < plain.text.len());
}

async fn fleet_tokens_only(service: Service) {
    let (root, fleet) = (service.admin().await, service.fleet().await);
    // Neither side's token is good for the other.
    root.get("/api/v1/feed?after=0").await.expect(401);
    fleet.get("/api/v1/keys").await.expect(401);
    let request = axum::http::Request::get("/api/v1/feed?after=0")
        .body(axum::body::Body::empty())
        .unwrap();
    let answer = Answer::of(service.send(request).await).await;
    assert_eq!(answer.headers["www-authenticate"], "Bearer");
    answer.expect(401);
    // A revoked one is good for nothing, at once.
    root.delete(&format!(
        "/api/v1/tokens/{}",
        fleet.token.split('_').nth(1).unwrap()
    ))
    .await
    .expect(204);
    fleet.get("/api/v1/feed?after=0").await.expect(401);
}

async fn forgotten_keys(service: Service) {
    let (root, fleet) = (service.admin().await, service.fleet().await);
    let (_, dead) = root.make_key(json!({"scope": {"org": "acme"}})).await;
    let (_, alive) = root.make_key(json!({"scope": {"org": "acme"}})).await;
    root.post(&format!("/api/v1/keys/{dead}/revoke"), json!({}))
        .await
        .expect(200);
    let mut follower = Follower::default();
    follower.catch_up(&fleet, "").await;
    assert_eq!(follower.keys.len(), 2);
    let soon = portcullis_service::store::now() + 10;
    let ids = service
        .app
        .store()
        .forgettable_keys(soon, 100)
        .await
        .unwrap();
    assert_eq!(ids, std::slice::from_ref(&dead));
    let actor = portcullis_service::store::Actor::system("test");
    let mut write = service.app.store().begin(&actor).await.unwrap();
    write.forget_keys(&ids).await.unwrap();
    write.commit().await.unwrap();
    let page = fleet.get(&follower.query()).await.expect(200);
    assert_eq!(
        (&page["removed_keys"], &page["keys"]),
        (&json!([dead]), &json!([]))
    );
    let page = fleet.get("/api/v1/feed?after=0").await.expect(200);
    assert_eq!(
        (&page["removed_keys"], &page["keys"][0]["id"]),
        (&json!([]), &json!(alive))
    );
    // People still see it.
    assert_eq!(
        root.get(&format!("/api/v1/keys/{dead}")).await.expect(200)["state"],
        "revoked"
    );
}

/// Writers on two replicas, and a follower that must end with exactly what there is.
async fn readers_never_miss(service: Service) {
    let other = service.replica().await;
    let fleet = service.fleet().await;
    let mut follower = Follower::default();
    let write = |service: &Service, name: &'static str| {
        let app = service.app.clone();
        async move {
            let root = portcullis_service::access::Principal::new("root", true, []);
            for i in 0..15 {
                let draft = serde_json::from_value(json!({"name": format!("{name}{i}")})).unwrap();
                app.manage.create_agent(&root, &draft, None).await.unwrap();
                let draft =
                    serde_json::from_value(json!({"scope": {"agent": format!("{name}{i}")}}))
                        .unwrap();
                app.manage.create_key(&root, &draft, None).await.unwrap();
            }
        }
    };
    let read = async {
        for _ in 0..40 {
            follower.catch_up(&fleet, "&limit=3").await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::join!(
        write(&service, "x"),
        write(&other, "y"),
        write(&service, "z"),
        read
    );
    follower.catch_up(&fleet, "&limit=3").await;
    assert_eq!((follower.agents.len(), follower.keys.len()), (45, 45));
}

async fn fleet_is_seen(service: Service) {
    let (root, fleet) = (service.admin().await, service.fleet().await);
    let headers = [
        ("x-portcullis-instance", "edge-1/0"),
        ("x-portcullis-config", "abc123"),
    ];
    fleet
        .call("GET", "/api/v1/feed?after=0", None, &headers)
        .await
        .expect(200);
    let end = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    // Ending writes down what has not been yet.
    let replica = service.replica().await;
    service.app.clone().serve(end, async {}).await.unwrap();
    let root = User::with(&replica, root.token);
    let seen = root.get("/api/v1/fleet").await.expect(200);
    let one = &seen["items"][0];
    assert_eq!(
        (&one["instance"], &one["config_version"]),
        (&json!("edge-1/0"), &json!("abc123"))
    );
    assert_eq!(one["revision"], 0);
}

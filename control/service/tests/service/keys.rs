use portcullis_core::apikey::ApiKey;
use portcullis_core::apikey::record::KeyDigest;
use serde_json::{Value, json};

use crate::harness::{Service, text};

on_both!(
    life,
    rotation,
    revocation,
    bad_drafts,
    whole_owner,
    idempotent,
    filters,
    durable,
    never_shown_again
);

async fn life(service: Service) {
    let root = service.admin().await;
    root.post("/api/v1/agents", json!({"name": "orders"}))
        .await
        .expect(201);
    let draft = json!({
        "scope": {"agent": "orders"}, "name": "nightly", "owner": "alice@example.com", "expires": "30d",
        "rate_limit": {"requests": 600, "per": "1m", "burst": 60}, "methods": ["post"],
    });
    let made = root.post("/api/v1/keys", draft).await.expect(201);
    let (key, record) = (text(&made["key"]), &made["record"]);
    assert!(ApiKey::parse(&key, "gak").is_some_and(|k| k.id.as_str() == record["id"]));
    assert_eq!(record["state"], "active");
    assert_eq!(record["methods"], json!(["POST"]));
    let life = record["expires_at"].as_i64().unwrap() - record["created_at"].as_i64().unwrap();
    assert_eq!(life, 30 * 86_400);
    // By id, and by the whole key, as whoever found it would have it.
    let id = text(&record["id"]);
    assert_eq!(
        &root.get(&format!("/api/v1/keys/{id}")).await.expect(200),
        record
    );
    assert_eq!(
        &root.get(&format!("/api/v1/keys/{key}")).await.expect(200),
        record
    );
    let (token, _) = root
        .make_key(json!({"scope": {"user": "alice@example.com"}}))
        .await;
    assert!(ApiKey::parse(&token, "gsa").is_some());
    // What filters get has the digest of that very key.
    let page = service
        .fleet()
        .await
        .get("/api/v1/feed?after=0")
        .await
        .expect(200);
    let digest = KeyDigest::of(&key, None).to_string();
    let found: Vec<&Value> = page["keys"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|k| k["hash"] == digest.as_str())
        .collect();
    assert_eq!(found.len(), 1);
    assert_eq!(
        found[0]["rate_limit"],
        json!({"requests": 600, "per": "1m", "burst": 60})
    );
}

async fn rotation(service: Service) {
    let root = service.admin().await;
    root.post("/api/v1/agents", json!({"name": "orders"}))
        .await
        .expect(201);
    let (old_key, old) = root
        .make_key(json!({"scope": {"agent": "orders"}, "name": "n", "expires": "10d", "rate_limit": {"requests": 5, "per": "1s"}}))
        .await;
    let made = root
        .post(
            &format!("/api/v1/keys/{old}/rotate"),
            json!({"grace": "1h"}),
        )
        .await
        .expect(201);
    assert_ne!(text(&made["key"]), old_key);
    let new = &made["record"];
    assert_eq!((&new["replaces"], &new["name"]), (&json!(old), &json!("n")));
    assert_eq!(new["rate_limit"], json!({"requests": 5, "per": "1s"}));
    assert_eq!(
        new["expires_at"].as_i64().unwrap() - new["created_at"].as_i64().unwrap(),
        10 * 86_400
    );
    let after = root.get(&format!("/api/v1/keys/{old}")).await.expect(200);
    assert_eq!(
        (&after["state"], &after["replaced_by"]),
        (&json!("rotated"), &new["id"])
    );
    assert_eq!(
        after["grace_until"].as_i64().unwrap() - new["created_at"].as_i64().unwrap(),
        3600
    );
    root.post(&format!("/api/v1/keys/{old}/rotate"), json!({}))
        .await
        .expect(409);
    let id = text(&new["id"]);
    root.post(&format!("/api/v1/keys/{id}/revoke"), json!({}))
        .await
        .expect(200);
    root.post(&format!("/api/v1/keys/{id}/rotate"), json!({}))
        .await
        .expect(409);
    root.post(
        &format!("/api/v1/keys/{id}/rotate"),
        json!({"grace": "soon"}),
    )
    .await
    .expect(409);
}

async fn revocation(service: Service) {
    let root = service.admin().await;
    let (_, id) = root.make_key(json!({"scope": {"org": "acme"}})).await;
    let path = format!("/api/v1/keys/{id}/revoke");
    let key = root
        .post(&path, json!({"reason": "leaked"}))
        .await
        .expect(200);
    assert_eq!(
        (&key["state"], &key["revoked_by"], &key["revoked_reason"]),
        (&json!("revoked"), &json!("root"), &json!("leaked"))
    );
    // Once more changes nothing, neither time nor reason.
    assert_eq!(
        root.post(&path, json!({"reason": "other"}))
            .await
            .expect(200),
        key
    );
    root.post("/api/v1/keys/000000000000/revoke", json!({}))
        .await
        .expect(404);
}

async fn bad_drafts(service: Service) {
    let root = service.admin().await;
    root.post("/api/v1/agents", json!({"name": "orders"}))
        .await
        .expect(201);
    let cases = [
        (json!({"expires": "yesterday"}), "expires"),
        (json!({"expires": "2001-01-01T00:00:00Z"}), "expires"),
        (json!({"expires": "99999999999999"}), "expires"),
        (json!({"not_before": "never"}), "not_before"),
        (
            json!({"rate_limit": {"requests": 0, "per": "1m"}}),
            "rate_limit.requests",
        ),
        (
            json!({"rate_limit": {"requests": 1, "per": "2d"}}),
            "rate_limit.per",
        ),
        (json!({"methods": ["P ST"]}), "methods[0]"),
        (json!({"name": "a\u{7}"}), "name"),
    ];
    for (mut draft, field) in cases {
        draft["scope"] = json!({"agent": "orders"});
        let answer = root.post("/api/v1/keys", draft.clone()).await.expect(422);
        assert_eq!(answer["errors"][0]["field"], field, "{draft} {answer}");
    }
    for scope in [
        json!({}),
        json!({"agent": "orders", "org": "x"}),
        json!({"team": "x"}),
        json!("orders"),
    ] {
        root.post("/api/v1/keys", json!({"scope": scope}))
            .await
            .expect(422);
    }
    root.post("/api/v1/keys", json!({"scope": {"agent": "none"}}))
        .await
        .expect(404);
    let list = root.get("/api/v1/keys").await.expect(200);
    assert_eq!(list["items"], json!([]));
}

async fn whole_owner(service: Service) {
    let root = service.admin().await;
    root.post(
        "/api/v1/agents",
        json!({"name": "orders", "workspace": "shop"}),
    )
    .await
    .expect(201);
    root.post(
        "/api/v1/agents",
        json!({"name": "pay", "workspace": "bank"}),
    )
    .await
    .expect(201);
    let (_, in_shop) = root
        .make_key(json!({"scope": {"agent": "orders"}, "owner": "alice"}))
        .await;
    let (_, in_bank) = root
        .make_key(json!({"scope": {"agent": "pay"}, "owner": "alice"}))
        .await;
    let (_, service_account) = root
        .make_key(json!({"scope": {"user": "alice"}, "owner": "alice"}))
        .await;
    let (_, of_bob) = root
        .make_key(json!({"scope": {"agent": "orders"}, "owner": "bob"}))
        .await;
    // An admin of a workspace reaches as far as the workspace.
    let shop = service.user("carol", false, &["shop"]).await;
    let done = shop
        .post("/api/v1/owners/alice/revoke", json!({"reason": "left"}))
        .await
        .expect(200);
    assert_eq!(done, json!({"revoked": 1, "ids": [in_shop]}));
    let done = root
        .post("/api/v1/owners/alice/revoke", json!({"reason": "left"}))
        .await
        .expect(200);
    assert_eq!(done["revoked"], 2);
    for (id, state) in [
        (in_shop, "revoked"),
        (in_bank, "revoked"),
        (service_account, "revoked"),
        (of_bob, "active"),
    ] {
        assert_eq!(
            root.get(&format!("/api/v1/keys/{id}")).await.expect(200)["state"],
            state
        );
    }
}

async fn idempotent(service: Service) {
    let root = service.admin().await;
    let body = json!({"scope": {"org": "acme"}});
    let once = [("idempotency-key", "one-and-the-same")];
    let first = root
        .call("POST", "/api/v1/keys", Some(body.clone()), &once)
        .await
        .expect(201);
    let second = root
        .call("POST", "/api/v1/keys", Some(body.clone()), &once)
        .await
        .expect(201);
    assert_eq!(first["record"], second["record"]);
    assert!(first["key"].is_string() && second.get("key").is_none());
    assert_eq!(
        root.get("/api/v1/keys").await.expect(200)["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    // A token for a machine is made once as well, and another request under that key is none of it.
    let draft = |name: &str| Some(json!({"kind": "api", "name": name}));
    let path = "/api/v1/tokens";
    let once = [("idempotency-key", "a-token-and-one-only")];
    let first = root
        .call("POST", path, draft("ci"), &once)
        .await
        .expect(201);
    let second = root
        .call("POST", path, draft("ci"), &once)
        .await
        .expect(201);
    assert_eq!(first["record"], second["record"]);
    assert!(first["token"].is_string() && second.get("token").is_none());
    let other = root.call("POST", path, draft("other"), &once).await;
    other.expect(422);
    // Many at once: one of them makes the key.
    let twice = [("idempotency-key", "in-a-hurry")];
    let calls = (0..8).map(|_| root.call("POST", "/api/v1/keys", Some(body.clone()), &twice));
    let answers = futures_util::future::join_all(calls).await;
    let with_secret = answers
        .iter()
        .filter(|a| a.expect(201).get("key").is_some())
        .count();
    assert_eq!(with_secret, 1);
    root.call(
        "POST",
        "/api/v1/keys",
        Some(body),
        &[("idempotency-key", "short")],
    )
    .await
    .expect(422);
}

async fn filters(service: Service) {
    let root = service.admin().await;
    root.post("/api/v1/agents", json!({"name": "orders"}))
        .await
        .expect(201);
    let mut ids = Vec::new();
    for (scope, name, expires) in [
        (json!({"agent": "orders"}), "first", "5d"),
        (json!({"workspace": "shop"}), "second", "never"),
        (json!({"user": "alice"}), "third", "90d"),
    ] {
        ids.push(
            root.make_key(
                json!({"scope": scope, "name": name, "expires": expires, "owner": "alice"}),
            )
            .await
            .1,
        );
    }
    root.post(&format!("/api/v1/keys/{}/revoke", ids[1]), json!({}))
        .await
        .expect(200);
    for (query, wanted) in [
        ("", vec![0, 1, 2]),
        ("?live=true", vec![0, 2]),
        ("?scope=user", vec![2]),
        ("?scope=agent:orders", vec![0]),
        ("?scope=agent:other", vec![]),
        ("?ends_within=7", vec![0]),
        ("?search=SECO", vec![1]),
        ("?owner=alice&live=true", vec![0, 2]),
        ("?unused_for=1", vec![]),
    ] {
        let list = root.get(&format!("/api/v1/keys{query}")).await.expect(200);
        let mut found: Vec<String> = list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|k| text(&k["id"]))
            .collect();
        let mut wanted: Vec<String> = wanted.iter().map(|i: &usize| ids[*i].clone()).collect();
        found.sort();
        wanted.sort();
        assert_eq!(found, wanted, "{query}");
    }
    // In pages of one, each once.
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let list = root
            .get(&format!("/api/v1/keys?limit=1{after}"))
            .await
            .expect(200);
        seen.push(text(&list["items"][0]["id"]));
        match list["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    seen.sort();
    ids.sort();
    assert_eq!(seen, ids);
    root.get("/api/v1/keys?scope=team:x").await.expect(422);
    root.get("/api/v1/keys?after=x").await.expect(422);
}

async fn durable(service: Service) {
    let root = service.admin().await;
    let (_, id) = root.make_key(json!({"scope": {"org": "acme"}})).await;
    root.post(&format!("/api/v1/keys/{id}/revoke"), json!({}))
        .await
        .expect(200);
    // Another process sees it at once, and so it is in the database and not in this program.
    let other = service.replica().await;
    let key = other
        .admin()
        .await
        .get(&format!("/api/v1/keys/{id}"))
        .await
        .expect(200);
    assert_eq!(key["state"], "revoked");
}

async fn never_shown_again(service: Service) {
    let root = service.admin().await;
    let once = [("idempotency-key", "6f1c8a3e-0002")];
    let made = root
        .call(
            "POST",
            "/api/v1/keys",
            Some(json!({"scope": {"org": "acme"}})),
            &once,
        )
        .await
        .expect(201);
    let key = text(&made["key"]);
    let secret = key.split('_').nth(2).unwrap();
    let fleet = service.fleet().await;
    for path in [
        "/api/v1/keys",
        "/api/v1/audit",
        "/api/v1/audit/export?format=ndjson",
        "/api/v1/tokens",
    ] {
        assert!(!root.get(path).await.text.contains(secret), "{path}");
    }
    assert!(
        !fleet
            .get("/api/v1/feed?after=0")
            .await
            .text
            .contains(secret)
    );
    // Neither key nor token in any table, nor in SQLite's file.
    let token_secret = root.token.split('_').nth(2).unwrap().to_owned();
    if let Ok(file) = std::fs::read(&service.database) {
        service.app.store().close().await;
        let wal = std::fs::read(format!("{}-wal", service.database)).unwrap_or_default();
        for bytes in [file, wal] {
            for secret in [secret, &token_secret] {
                assert!(!bytes.windows(secret.len()).any(|w| w == secret.as_bytes()));
            }
        }
    }
}

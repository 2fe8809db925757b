//! Every cross-tenant access, tried.

use axum::body::Body;
use axum::http::Request;
use portcullis_service::access::Principal;
use portcullis_service::model::TokenKind;
use serde_json::{Value, json};

use crate::harness::{Answer, PROXY_SECRET, Service, User};

on_both!(
    matrix,
    lists_show_ones_own,
    no_credential,
    read_only_tokens,
    disabled_people,
    identity_headers,
    in_others_names,
    last_admin
);

/// Two tenants: alice owns `orders` in `shop`, which carol administers; bob owns `pay` in `bank`, which dave administers.
async fn tenants(service: &Service) -> Vec<(&'static str, User<'_>)> {
    let root = service.admin().await;
    for (name, owner, workspace, org) in [
        ("orders", "alice", "shop", "acme"),
        ("pay", "bob", "bank", "acme"),
    ] {
        let body = json!({"name": name, "owner": owner, "workspace": workspace, "org": org});
        root.post("/api/v1/agents", body).await.expect(201);
    }
    vec![
        ("root", root),
        ("alice", service.user("alice", false, &[]).await),
        ("bob", service.user("bob", false, &[]).await),
        ("carol", service.user("carol", false, &["shop"]).await),
        ("dave", service.user("dave", false, &["bank"]).await),
        ("eve", service.user("eve", false, &[]).await),
    ]
}

/// Everybody tries everything. What is not in the list of who may must fail, and change nothing.
async fn matrix(service: Service) {
    let people = tenants(&service).await;
    let root = &people[0].1;
    // method, path, body, who may, and how the others are answered.
    let agent = json!({"owner": "alice", "workspace": "shop", "org": "acme"});
    let mine = json!({"owner": "alice", "workspace": "shop", "org": "acme", "description": "d"});
    type Row = (
        &'static str,
        &'static str,
        Value,
        &'static [&'static str],
        u16,
    );
    let rows: Vec<Row> = vec![
        (
            "GET",
            "/api/v1/agents/orders",
            Value::Null,
            &["root", "alice", "carol"],
            404,
        ),
        (
            "GET",
            "/api/v1/agents/orders/usage",
            Value::Null,
            &["root", "alice", "carol"],
            404,
        ),
        (
            "PUT",
            "/api/v1/agents/orders",
            mine,
            &["root", "alice", "carol"],
            404,
        ),
        (
            "PUT",
            "/api/v1/agents/orders",
            json!({"owner": "eve", "workspace": "shop", "org": "acme"}),
            &["root", "carol"],
            404,
        ),
        (
            "PUT",
            "/api/v1/agents/orders",
            json!({"owner": "alice", "workspace": "bank", "org": "acme"}),
            &["root"],
            404,
        ),
        (
            "DELETE",
            "/api/v1/agents/orders",
            Value::Null,
            &["root", "alice", "carol"],
            404,
        ),
        (
            "POST",
            "/api/v1/agents",
            json!({"name": "new", "workspace": "shop"}),
            &["root", "carol"],
            403,
        ),
        (
            "POST",
            "/api/v1/agents",
            json!({"name": "new", "owner": "eve"}),
            &["root"],
            403,
        ),
        (
            "POST",
            "/api/v1/keys",
            json!({"scope": {"agent": "orders"}}),
            &["root", "alice", "carol"],
            404,
        ),
        (
            "POST",
            "/api/v1/keys",
            json!({"scope": {"workspace": "shop"}}),
            &["root", "carol"],
            403,
        ),
        (
            "POST",
            "/api/v1/keys",
            json!({"scope": {"org": "acme"}}),
            &["root"],
            403,
        ),
        (
            "POST",
            "/api/v1/keys",
            json!({"scope": {"user": "alice"}}),
            &["root", "alice"],
            403,
        ),
        (
            "GET",
            "/api/v1/keys/AGENT_KEY",
            Value::Null,
            &["root", "alice", "carol"],
            404,
        ),
        (
            "GET",
            "/api/v1/keys/AGENT_KEY/usage",
            Value::Null,
            &["root", "alice", "carol"],
            404,
        ),
        (
            "POST",
            "/api/v1/keys/AGENT_KEY/rotate",
            json!({}),
            &["root", "alice", "carol"],
            404,
        ),
        (
            "POST",
            "/api/v1/keys/AGENT_KEY/revoke",
            json!({}),
            &["root", "alice", "carol"],
            404,
        ),
        (
            "GET",
            "/api/v1/keys/SHOP_KEY",
            Value::Null,
            &["root", "carol"],
            404,
        ),
        (
            "POST",
            "/api/v1/keys/SHOP_KEY/rotate",
            json!({}),
            &["root", "carol"],
            404,
        ),
        (
            "POST",
            "/api/v1/keys/SHOP_KEY/revoke",
            json!({}),
            &["root", "carol"],
            404,
        ),
        ("GET", "/api/v1/keys/ORG_KEY", Value::Null, &["root"], 404),
        (
            "POST",
            "/api/v1/keys/ORG_KEY/revoke",
            json!({}),
            &["root"],
            404,
        ),
        (
            "GET",
            "/api/v1/keys/USER_KEY",
            Value::Null,
            &["root", "alice"],
            404,
        ),
        (
            "POST",
            "/api/v1/keys/USER_KEY/rotate",
            json!({}),
            &["root", "alice"],
            404,
        ),
        (
            "POST",
            "/api/v1/keys/USER_KEY/revoke",
            json!({}),
            &["root", "alice"],
            404,
        ),
        ("GET", "/api/v1/people", Value::Null, &["root"], 403),
        (
            "PUT",
            "/api/v1/people/eve",
            json!({"admin": true}),
            &["root"],
            403,
        ),
        ("GET", "/api/v1/fleet", Value::Null, &["root"], 403),
        (
            "POST",
            "/api/v1/tokens",
            json!({"kind": "fleet"}),
            &["root"],
            403,
        ),
        (
            "DELETE",
            "/api/v1/tokens/FLEET_TOKEN",
            Value::Null,
            &["root"],
            404,
        ),
        (
            "DELETE",
            "/api/v1/tokens/ALICE_TOKEN",
            Value::Null,
            &["root", "alice"],
            404,
        ),
    ];
    for (method, path, body, may, refusal) in rows {
        for (name, user) in &people {
            // Everything anew for each try, since some of them destroy it.
            root.post("/api/v1/agents", json!({"name": "orders"})).await;
            root.put("/api/v1/agents/orders", agent.clone())
                .await
                .expect(200);
            root.delete("/api/v1/agents/new").await;
            root.put("/api/v1/people/eve", json!({})).await.expect(200);
            let mut path = path.to_owned();
            for (word, scope, owner) in [
                ("AGENT_KEY", json!({"agent": "orders"}), "alice"),
                ("SHOP_KEY", json!({"workspace": "shop"}), "carol"),
                ("ORG_KEY", json!({"org": "acme"}), "root"),
                ("USER_KEY", json!({"user": "alice"}), "alice"),
            ] {
                if path.contains(word) {
                    let (_, id) = root.make_key(json!({"scope": scope, "owner": owner})).await;
                    path = path.replace(word, &id);
                }
            }
            let mut spare = None;
            if path.contains("TOKEN") {
                let (by, kind) = if path.contains("FLEET") {
                    ("root", TokenKind::Fleet)
                } else {
                    ("alice", TokenKind::Api)
                };
                let token = service
                    .token(&Principal::new(by, by == "root", []), kind, false)
                    .await;
                path = path
                    .replace("FLEET_TOKEN", &token)
                    .replace("ALICE_TOKEN", &token);
                spare = Some(token);
            }
            let sent = (!body.is_null()).then(|| body.clone());
            let before =
                root.get("/api/v1/audit?limit=1").await.expect(200)["items"][0]["seq"].clone();
            let answer = user.call(method, &path, sent, &[]).await;
            let status = answer.status.as_u16();
            if may.contains(name) {
                assert!(
                    (200..300).contains(&status),
                    "{name} {method} {path}: {status} {}",
                    answer.text
                );
            } else {
                let owner_only = *name == "alice" || *name == "carol";
                assert!(
                    status == refusal || (owner_only && status == 403),
                    "{name} {method} {path}: {status} {}",
                    answer.text
                );
                let after =
                    root.get("/api/v1/audit?limit=1").await.expect(200)["items"][0]["seq"].clone();
                assert_eq!(before, after, "{name} {method} {path} did something");
                if let Some(token) = &spare
                    && token.starts_with("gapi")
                {
                    User::with(&service, token.clone())
                        .get("/api/v1/me")
                        .await
                        .expect(200);
                }
            }
        }
    }
}

async fn lists_show_ones_own(service: Service) {
    let people = tenants(&service).await;
    let root = &people[0].1;
    for (scope, owner) in [
        (json!({"agent": "orders"}), "alice"),
        (json!({"agent": "pay"}), "bob"),
        (json!({"workspace": "shop"}), "carol"),
        (json!({"workspace": "bank"}), "dave"),
        (json!({"org": "acme"}), "root"),
        (json!({"user": "alice"}), "alice"),
        (json!({"user": "bob"}), "bob"),
    ] {
        root.make_key(json!({"scope": scope, "owner": owner})).await;
    }
    let wanted: [(&str, &[&str], &[&str]); 6] = [
        (
            "root",
            &["orders", "pay"],
            &[
                "agent:orders",
                "agent:pay",
                "org:acme",
                "user:alice",
                "user:bob",
                "workspace:bank",
                "workspace:shop",
            ],
        ),
        ("alice", &["orders"], &["agent:orders", "user:alice"]),
        ("bob", &["pay"], &["agent:pay", "user:bob"]),
        ("carol", &["orders"], &["agent:orders", "workspace:shop"]),
        ("dave", &["pay"], &["agent:pay", "workspace:bank"]),
        ("eve", &[], &[]),
    ];
    for ((name, user), (who, agents, keys)) in people.iter().zip(wanted) {
        assert_eq!(*name, who);
        let list = user.get("/api/v1/agents").await.expect(200);
        let seen: Vec<&str> = list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|a| a["name"].as_str().unwrap())
            .collect();
        assert_eq!(seen, agents, "{name}");
        // Whatever they look for.
        for query in [
            "",
            "?owner=alice",
            "?owner=bob",
            "?scope=agent:pay",
            "?scope=org",
            "?search=acme",
            "?live=true",
        ] {
            let list = user.get(&format!("/api/v1/keys{query}")).await.expect(200);
            for key in list["items"].as_array().unwrap() {
                let (kind, scope) = key["scope"].as_object().unwrap().iter().next().unwrap();
                let scope = format!("{kind}:{}", scope.as_str().unwrap());
                assert!(keys.contains(&scope.as_str()), "{name} {query} {scope}");
            }
            if query.is_empty() {
                assert_eq!(
                    list["items"].as_array().unwrap().len(),
                    keys.len(),
                    "{name}"
                );
            }
        }
        let log = user.get("/api/v1/audit?limit=1000").await.expect(200);
        for entry in log["items"].as_array().unwrap() {
            let (agent, workspace) = (entry["agent"].as_str(), entry["workspace"].as_str());
            let fine = match *name {
                "root" => true,
                "alice" => agent == Some("orders") || entry["actor"] == "alice",
                "bob" => agent == Some("pay") || entry["actor"] == "bob",
                "carol" => workspace == Some("shop") || entry["actor"] == "carol",
                "dave" => workspace == Some("bank") || entry["actor"] == "dave",
                _ => entry["actor"] == *name,
            };
            assert!(fine, "{name} {entry}");
        }
        let tokens = user.get("/api/v1/tokens").await.expect(200);
        for token in tokens["items"].as_array().unwrap() {
            assert!(
                *name == "root" || token["person"] == *name,
                "{name} {token}"
            );
        }
        // A bulk revocation reaches no further either.
        if *name != "root" {
            user.post("/api/v1/owners/root/revoke", json!({}))
                .await
                .expect(200);
        }
    }
    let all = root.get("/api/v1/keys?live=true").await.expect(200);
    assert_eq!(all["items"].as_array().unwrap().len(), 7);
}

async fn no_credential(service: Service) {
    let description = portcullis_service::api::openapi();
    let mut tried = 0;
    for (path, item) in &description.paths.paths {
        let value = serde_json::to_value(item).unwrap();
        for method in ["get", "post", "put", "delete"] {
            if value.get(method).is_none() {
                continue;
            }
            for header in [
                None,
                Some("Bearer nonsense"),
                Some("Basic cm9vdDpyb290"),
                Some("Bearer gapi_000000000000_0000000000000000000000000000000000000000000_000000"),
            ] {
                let path = path.replace(['{', '}'], "");
                let mut request = Request::builder()
                    .method(method.to_uppercase().as_str())
                    .uri(&path);
                if let Some(header) = header {
                    request = request.header("authorization", header);
                }
                let request = request
                    .header("content-type", "application/json")
                    .body(Body::from("{}"))
                    .unwrap();
                let answer = Answer::of(service.send(request).await).await;
                assert_eq!(answer.status, 401, "{method} {path} {}", answer.text);
                tried += 1;
            }
        }
    }
    assert!(tried > 80, "{tried}");
}

async fn read_only_tokens(service: Service) {
    let root = Principal::new("root", true, []);
    service.admin().await;
    let token = service.token(&root, TokenKind::Api, true).await;
    let reader = User::with(&service, token);
    reader.get("/api/v1/agents").await.expect(200);
    reader
        .post("/api/v1/agents", json!({"name": "x"}))
        .await
        .expect(403);
    // Nor does it make itself a better one.
    reader
        .post("/api/v1/tokens", json!({"kind": "api"}))
        .await
        .expect(403);
}

async fn disabled_people(service: Service) {
    let root = service.admin().await;
    let alice = service.user("alice", true, &[]).await;
    alice.get("/api/v1/me").await.expect(200);
    root.put(
        "/api/v1/people/alice",
        json!({"admin": true, "disabled": true}),
    )
    .await
    .expect(200);
    alice.get("/api/v1/me").await.expect(401);
    root.put("/api/v1/people/alice", json!({}))
        .await
        .expect(200);
    assert_eq!(alice.get("/api/v1/me").await.expect(200)["admin"], false);
}

async fn last_admin(service: Service) {
    let root = service.admin().await;
    root.put("/api/v1/people/root", json!({})).await.expect(409);
    root.put(
        "/api/v1/people/root",
        json!({"admin": true, "disabled": true}),
    )
    .await
    .expect(409);
    service.user("alice", true, &[]).await;
    root.put("/api/v1/people/root", json!({})).await.expect(200);
    root.get("/api/v1/people").await.expect(403);
}

async fn identity_headers(service: Service) {
    tenants(&service).await;
    let me = async |headers: &[(&str, &str)]| {
        let mut request = Request::get("/api/v1/me");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Answer::of(service.send(request.body(Body::empty()).unwrap()).await).await
    };
    let secret = ("x-portcullis-proxy-secret", PROXY_SECRET);
    let alice = ("x-auth-user-id", "alice");
    assert_eq!(me(&[secret, alice]).await.expect(200)["admin"], false);
    let groups = (
        "x-auth-groups",
        "others, portcullis-admins,team-shop-admins",
    );
    let seen = me(&[secret, alice, groups]).await.expect(200);
    assert_eq!(
        (&seen["admin"], &seen["workspaces"]),
        (&json!(true), &json!(["shop"]))
    );
    // Without the proxy's secret the headers are anybody's.
    me(&[alice, groups]).await.expect(401);
    me(&[("x-portcullis-proxy-secret", "wrong"), alice, groups])
        .await
        .expect(401);
    me(&[secret]).await.expect(401);
    me(&[secret, alice, ("x-auth-user-id", "root")])
        .await
        .expect(401);
    // What the proxy judged stays the proxy's: its caller's bearer token is not looked at.
    me(&[secret, alice, ("authorization", "Bearer of-the-proxy")])
        .await
        .expect(200);
    let root = service.admin().await;
    root.put("/api/v1/people/alice", json!({"disabled": true}))
        .await
        .expect(200);
    me(&[secret, alice]).await.expect(403);
}

async fn in_others_names(service: Service) {
    let people = tenants(&service).await;
    let (alice, carol) = (&people[1].1, &people[3].1);
    let body = json!({"scope": {"agent": "orders"}, "owner": "root"});
    // The owner of an agent can't make a key by which somebody else seems to call.
    alice.post("/api/v1/keys", body.clone()).await.expect(422);
    let (_, id) = carol.make_key(body).await;
    alice
        .post(&format!("/api/v1/keys/{id}/rotate"), json!({}))
        .await
        .expect(403);
    alice
        .post(&format!("/api/v1/keys/{id}/revoke"), json!({}))
        .await
        .expect(200);
}

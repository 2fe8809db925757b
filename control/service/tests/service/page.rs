//! The page's routes, tried by everybody; sessions, one-time links and what browsers are told.

use axum::body::Body;
use axum::http::Request;
use serde_json::json;

use crate::harness::{Answer, Service};

on_both!(
    everybody_tries_every_view,
    links_and_sessions,
    what_browsers_are_told,
    names_are_shown_as_text
);

async fn form(service: &Service, token: &str, method: &str, path: &str, body: &str) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/x-www-form-urlencoded");
    Answer::of(
        service
            .send(request.body(Body::from(body.to_owned())).unwrap())
            .await,
    )
    .await
}

async fn everybody_tries_every_view(service: Service) {
    let root = service.admin().await;
    let agent = json!({"name": "orders", "owner": "alice", "workspace": "shop", "org": "acme"});
    root.post("/api/v1/agents", agent).await.expect(201);
    let key = async |scope: serde_json::Value, owner: &str| {
        root.make_key(json!({"scope": scope, "owner": owner}))
            .await
            .1
    };
    let agent_key = key(json!({"agent": "orders"}), "alice").await;
    let org_key = key(json!({"org": "acme"}), "root").await;
    let user_key = key(json!({"user": "alice"}), "alice").await;
    let people = [
        ("root", root.token.clone()),
        ("alice", service.user("alice", false, &[]).await.token),
        ("carol", service.user("carol", false, &["shop"]).await.token),
        ("eve", service.user("eve", false, &["bank"]).await.token),
    ];
    let all: &[&str] = &["root", "alice", "carol", "eve"];
    let shop: &[&str] = &["root", "alice", "carol"];
    let rows: Vec<(&str, String, &str, &[&str])> = vec![
        ("GET", "/agents".into(), "", all),
        ("GET", "/agents/new".into(), "", all),
        ("GET", "/agents/orders".into(), "", shop),
        ("GET", "/agents/orders/edit".into(), "", shop),
        ("GET", "/agents/orders/delete".into(), "", shop),
        (
            "POST",
            "/agents/orders/keys".into(),
            "name=x&expires=1d",
            shop,
        ),
        (
            "POST",
            "/agents/orders/edit".into(),
            "owner=alice&workspace=shop&org=acme&description=x",
            shop,
        ),
        (
            "POST",
            "/agents/orders/edit".into(),
            "owner=eve&workspace=shop&org=acme",
            &["root", "carol"],
        ),
        (
            "POST",
            "/agents".into(),
            "name=new&workspace=shop",
            &["root", "carol"],
        ),
        (
            "POST",
            "/keys".into(),
            "scope_kind=agent&scope_name=orders&expires=1d",
            shop,
        ),
        (
            "POST",
            "/keys".into(),
            "scope_kind=org&scope_name=acme&expires=1d",
            &["root"],
        ),
        (
            "POST",
            "/service-accounts".into(),
            "scope_kind=user&scope_name=alice&expires=1d",
            &["root", "alice"],
        ),
        ("GET", format!("/keys/{agent_key}"), "", shop),
        ("GET", format!("/keys/{agent_key}/rotate"), "", shop),
        ("GET", format!("/keys/{agent_key}/revoke"), "", shop),
        ("GET", format!("/keys/{org_key}"), "", &["root"]),
        ("GET", format!("/keys/{user_key}"), "", &["root", "alice"]),
        (
            "POST",
            format!("/keys/{org_key}/revoke"),
            "reason=x",
            &["root"],
        ),
        (
            "POST",
            format!("/keys/{user_key}/revoke"),
            "reason=x",
            &["root", "alice"],
        ),
        ("GET", "/keys".into(), "", all),
        ("GET", "/service-accounts".into(), "", all),
        ("GET", "/attention".into(), "", all),
        ("GET", "/audit".into(), "", all),
        ("GET", "/tokens".into(), "", all),
        ("GET", "/fleet".into(), "", &["root"]),
        ("POST", "/fleet".into(), "name=x", &["root"]),
        ("GET", "/people".into(), "", &["root"]),
        ("POST", "/people".into(), "id=frank&admin=true", &["root"]),
    ];
    for (method, path, body, may) in rows {
        let back = json!({"owner": "alice", "workspace": "shop", "org": "acme"});
        for (name, token) in &people {
            root.put("/api/v1/agents/orders", back.clone())
                .await
                .expect(200);
            root.delete("/api/v1/agents/new").await;
            let answer = form(&service, token, method, &path, body).await;
            let status = answer.status.as_u16();
            if may.contains(name) {
                assert!(
                    matches!(status, 200 | 303),
                    "{name} {method} {path}: {status} {}",
                    answer.text
                );
            } else {
                assert!(
                    matches!(status, 403 | 404 | 422),
                    "{name} {method} {path}: {status}"
                );
                assert!(
                    !answer.text.contains("id=\"secret\""),
                    "{name} {method} {path} shows a secret"
                );
            }
        }
        // Nobody: to the sign-in.
        let request = Request::builder()
            .method(method)
            .uri(&path)
            .body(Body::empty())
            .unwrap();
        let answer = Answer::of(service.send(request).await).await;
        assert_eq!(
            (
                answer.status.as_u16(),
                answer.headers["location"].to_str().unwrap()
            ),
            (303, "/signin"),
            "{path}"
        );
    }
}

async fn links_and_sessions(service: Service) {
    let post = async |path: &str, body: String, cookie: &str, origin: Option<&str>| {
        let mut request = Request::post(path)
            .header("content-type", "application/x-www-form-urlencoded")
            .header("host", "keys.test");
        if !cookie.is_empty() {
            request = request.header("cookie", cookie);
        }
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        Answer::of(service.send(request.body(Body::from(body)).unwrap()).await).await
    };
    let ours = Some("http://keys.test");
    let link = service.app.link(None).await.unwrap();
    let second = service.app.link(None).await.unwrap();
    let token = |link: &str| link.split('#').nth(1).unwrap().to_owned();
    // Nobody becomes admin without saying who they are, and the link is still good.
    assert_eq!(
        post("/welcome", format!("token={}", token(&link)), "", ours)
            .await
            .status,
        403
    );
    let signed_in = post(
        "/welcome",
        format!("token={}&person=Root@Example.com", token(&link)),
        "",
        ours,
    )
    .await;
    assert_eq!(signed_in.status, 303, "{}", signed_in.text);
    let set = signed_in.headers["set-cookie"].to_str().unwrap().to_owned();
    for attribute in ["HttpOnly", "SameSite=Lax", "Path=/"] {
        assert!(set.contains(attribute), "{set}");
    }
    let cookie = set.split(';').next().unwrap().to_owned();
    // The link is used up, and so is every other that could make a first admin.
    for link in [&link, &second] {
        let again = post(
            "/welcome",
            format!("token={}&person=mallory", token(link)),
            "",
            ours,
        )
        .await;
        assert_eq!(again.status, 403);
    }
    let with = async |headers: &[(&str, &str)]| {
        let mut request = Request::get("/api/v1/me").header("cookie", &cookie);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Answer::of(service.send(request.body(Body::empty()).unwrap()).await).await
    };
    assert_eq!(with(&[]).await.expect(200)["person"], "root@example.com");
    // A token that is not good is not made good by a session.
    with(&[("authorization", "Bearer gapi_x")])
        .await
        .expect(401);

    let body = || "name=x".to_owned();
    for origin in [
        None,
        Some("https://evil.example"),
        Some("null"),
        Some("http://keys.test.evil.example"),
        Some("http://keys.test:8080"),
    ] {
        let answer = post("/tokens", body(), &cookie, origin).await;
        assert_eq!(answer.status, 403, "{origin:?}");
    }
    assert_eq!(post("/tokens", body(), &cookie, ours).await.status, 200);
    // JSON by a session asks for the origin as well.
    let request = Request::post("/api/v1/agents")
        .header("cookie", &cookie)
        .header("content-type", "application/json");
    let answer = Answer::of(
        service
            .send(request.body(Body::from("{\"name\":\"x\"}")).unwrap())
            .await,
    )
    .await;
    answer.expect(403);

    assert_eq!(
        post("/signout", String::new(), &cookie, ours).await.status,
        303
    );
    with(&[]).await.expect(401);
    // One for a person, who then is who the link says, whatever they type.
    let link = service.app.link(Some("alice@example.com")).await.unwrap();
    let signed_in = post(
        "/welcome",
        format!("token={}&person=root@example.com", token(&link)),
        "",
        ours,
    )
    .await;
    let cookie = signed_in.headers["set-cookie"]
        .to_str()
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    let request = Request::get("/api/v1/me")
        .header("cookie", &cookie)
        .body(Body::empty())
        .unwrap();
    let me = Answer::of(service.send(request).await).await.expect(200);
    assert_eq!(
        (&me["person"], &me["admin"]),
        (&json!("alice@example.com"), &json!(false))
    );
    // Guessing soon comes to an end.
    let mut last = 0;
    for _ in 0..8 {
        last = post("/welcome", "token=guess&person=x".to_owned(), "", ours)
            .await
            .status
            .as_u16();
    }
    assert_eq!(last, 429);
}

async fn what_browsers_are_told(service: Service) {
    let root = service.admin().await;
    for path in [
        "/signin",
        "/welcome",
        "/agents",
        "/nothing",
        "/api/v1/agents",
        "/api/v1/nothing",
    ] {
        let answer = root.get(path).await;
        let policy = answer.headers["content-security-policy"].to_str().unwrap();
        assert!(
            policy.contains("default-src 'none'") && !policy.contains("unsafe"),
            "{policy}"
        );
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
        assert_eq!(answer.headers["cache-control"], "no-store", "{path}");
        assert!(policy.contains("frame-ancestors 'none'"));
    }
    let page = root.get("/agents").await.text;
    let asset = page
        .split("src=\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap()
        .to_owned();
    let script = root.get(&asset).await;
    assert!(
        script.headers["cache-control"]
            .to_str()
            .unwrap()
            .contains("immutable")
    );
    assert!(script.text.contains("htmx"));
    for inline in ["<script>", " style=", " onclick="] {
        assert!(!page.contains(inline), "{inline}");
    }
}

async fn names_are_shown_as_text(service: Service) {
    let root = service.admin().await;
    let evil = "<script>alert(1)</script>\"'>";
    let agent = json!({"name": "orders", "owner": evil, "workspace": evil, "org": evil, "description": evil});
    root.post("/api/v1/agents", agent).await.expect(201);
    let (_, id) = root
        .make_key(json!({"scope": {"agent": "orders"}, "name": evil, "owner": evil}))
        .await;
    root.post(
        &format!("/api/v1/keys/{id}/revoke"),
        json!({"reason": evil}),
    )
    .await
    .expect(200);
    root.put("/api/v1/people/x", json!({"workspaces": [evil]}))
        .await
        .expect(200);
    let key = format!("/keys/{id}");
    for path in [
        "/agents",
        "/agents/orders",
        "/agents/orders/edit",
        "/keys",
        "/audit",
        "/people",
        &key,
    ] {
        let page = root.get(path).await;
        assert_eq!(page.status, 200, "{path}");
        assert!(!page.text.contains("<script>alert"), "{path}");
        assert!(
            page.text.contains("alert(1)"),
            "{path} does not show it at all"
        );
    }
    let search = "/agents?search=%3Cscript%3Ealert(1)%3C%2Fscript%3E";
    assert!(!root.get(search).await.text.contains("<script>alert"));
}

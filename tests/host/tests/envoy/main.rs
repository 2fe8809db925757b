//! The profile `envoy`, with guests written by hand: where it differs from nginx beyond what `tests/nginx` says of both.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

#[path = "../guest/mod.rs"]
mod guest;

use std::time::Duration;

use guest::{DATA, Guest, NUMBER, SIZE, answer, call, dispatch, said, show, tell};
use portcullis_test_host::{Fate, Host, IncidentKind, Profile, Reply, Request, Settings};

const CONTINUE: &str = "(i32.const 0)";
const STOP_ITERATION: &str = "(i32.const 1)";
const STOP_ALL: &str = "(i32.const 4)";

fn settings() -> Settings {
    let mut settings = Settings::new(Profile::Envoy);
    settings.clusters.insert("issuer".to_owned());
    settings
}

#[test]
fn a_trap_fails_closed_for_good() {
    let mut host = Guest::default()
        .on("request_headers", "unreachable")
        .envoy();
    for _ in 0..2 {
        let id = host.send(0, Request::get("/"));
        assert!(matches!(host.fate(id), Fate::Failed { status: 503, .. }));
    }
    assert_eq!(host.take_incidents().len(), 1);
}

#[test]
fn a_second_answer_is_a_bad_argument() {
    let mut host = Guest::default()
        .on("request_headers", answer(401) + &answer(200) + STOP_ALL)
        .envoy();
    let id = host.send(0, Request::get("/"));
    assert_eq!(host.stream(id).answered().unwrap().status, 401);
    assert_eq!(said(&host), ["status 00", "status 02"]);
}

#[test]
fn callouts_go_to_clusters_and_may_be_chained_anywhere() {
    let mut guest = Guest::default();
    let (known, unknown) = (
        dispatch(&mut guest, "issuer"),
        dispatch(&mut guest, "127.0.0.1:9000"),
    );
    let mut host = guest
        .on("configure", known.clone() + &unknown + "(i32.const 1)")
        .on("http_call_response", known)
        .start(settings());
    assert_eq!(said(&host), ["status 00", "status 02"]);
    let token = host.callouts()[0].token;
    host.reply(token, Reply::Broken);
    assert_eq!(host.callouts().len(), 1);
}

/// Every request asks to be resumed by the tick that follows.
fn resumed_by_ticks(code: &str) -> Host {
    let period = tell(call("set_tick_period_milliseconds", &["(i32.const 50)"]));
    let select = tell(call("set_effective_context", &["(i32.const 2)"]));
    Guest::default()
        .on("configure", period + "(i32.const 1)")
        .on("request_headers", STOP_ALL)
        .on("tick", select + code)
        .envoy()
}

#[test]
fn any_callback_resumes_and_answers_any_request() {
    let mut host = resumed_by_ticks(&tell(call("continue_stream", &["(i32.const 0)"])));
    let id = host.send(0, Request::new("POST", "/").piece("body"));
    assert_eq!((id, host.fate(id)), (2, Fate::Held));
    host.advance(Duration::from_millis(50));
    assert_eq!(host.stream(id).forwarded().unwrap().body, b"body");
    let mut host = resumed_by_ticks(&answer(403));
    let id = host.send(0, Request::get("/"));
    host.advance(Duration::from_millis(50));
    assert_eq!(host.stream(id).answered().unwrap().status, 403);
    // Once it is gone, it can't be selected any more.
    host.advance(Duration::from_millis(50));
    assert_eq!(said(&host).last().unwrap(), "status 02");
}

#[test]
fn an_undecided_reply_leaves_the_request_held() {
    let mut guest = Guest::default();
    let send = dispatch(&mut guest, "issuer");
    let mut host = guest
        .on("request_headers", send + STOP_ALL)
        .on("http_call_response", "")
        .start(settings());
    let id = host.send(0, Request::get("/"));
    let token = host.callouts()[0].token;
    host.reply(token, Reply::json(200, ""));
    assert_eq!(host.fate(id), Fate::Held);
}

#[test]
fn a_body_is_shown_behind_held_headers_where_that_is_allowed() {
    let body = tell("(local.get 1)")
        + "(if (result i32) (local.get 2) (then (i32.const 0)) (else (i32.const 1)))";
    let guest = Guest::default()
        .on("request_headers", STOP_ITERATION)
        .on("request_body", body);
    let request = || Request::new("POST", "/").piece("abc").piece("de");
    let mut host = guest.envoy();
    let id = host.send(0, request());
    assert_eq!(host.fate(id), Fate::Held);
    assert_eq!(said(&host), [""; 0]);
    let mut allowed = settings();
    allowed.allow_on_headers_stop_iteration = true;
    let mut host = guest.start(allowed.clone());
    let id = host.send(0, request());
    assert_eq!(said(&host), ["status 03", "status 05"]);
    assert_eq!(host.stream(id).forwarded().unwrap().body, b"abcde");
    // What is held has a limit.
    allowed.buffer_limit = 4;
    let mut host = guest.start(allowed);
    let id = host.send(0, request());
    assert!(matches!(host.fate(id), Fate::Failed { status: 413, .. }));
}

#[test]
fn headers_are_really_replaced_and_removed() {
    let mut guest = Guest::default();
    let (user, org, value) = (
        guest.text("x-auth-user-id"),
        guest.text("x-auth-org-id"),
        guest.text("proven"),
    );
    let map = "(i32.const 0)";
    let code = tell(call("replace_header_map_value", &[map, &user, &value]))
        + &tell(call("remove_header_map_value", &[map, &org]));
    let mut host = guest.on("request_headers", code + CONTINUE).envoy();
    let request = Request::get("/")
        .header("X-Auth-User-Id", "admin")
        .header("x-auth-user-id", "root")
        .header("x-auth-org-id", "evil");
    let id = host.send(0, request);
    let stream = host.stream(id);
    let sent = stream.forwarded().unwrap();
    assert_eq!(sent.all("x-auth-user-id"), ["proven"]);
    assert_eq!(sent.all("x-auth-org-id"), [""; 0]);
}

#[test]
fn a_truncated_reply_is_a_failed_one_and_a_close_delimited_one_is_whole() {
    let mut guest = Guest::default();
    let send = dispatch(&mut guest, "issuer");
    let mut host = guest
        .on("request_headers", send + STOP_ALL)
        .on(
            "http_call_response",
            tell("(local.get 2)") + &tell("(local.get 3)"),
        )
        .start(settings());
    for (reply, headers, size) in [
        (
            Reply::Truncated(Box::new(Reply::json(200, "12345")), 3),
            0,
            0,
        ),
        (
            Reply::CloseDelimited(Box::new(Reply::json(200, "12345"))),
            2,
            5,
        ),
    ] {
        host.send(0, Request::get("/"));
        let token = host.callouts()[0].token;
        host.reply(token, reply);
        let said = said(&host);
        assert_eq!(
            said[said.len() - 2..],
            [format!("status {headers:02}"), format!("status {size:02}")]
        );
    }
}

#[test]
fn callouts_of_a_root_context_outlive_the_requests_of_before_a_reload() {
    let mut guest = Guest::default();
    let send = dispatch(&mut guest, "issuer");
    let mut host = guest
        .on("configure", send + "(i32.const 1)")
        .on("request_headers", STOP_ALL)
        .on("delete", tell("(local.get 0)"))
        .start(settings());
    let id = host.send(0, Request::get("/"));
    let root = host.stream(id).root;
    host.reload(b"{ }").unwrap();
    // The old root context is there as long as its stream.
    assert_eq!(host.callouts().len(), 2);
    host.cancel(id);
    assert_eq!(host.callouts().len(), 1);
    let deleted = said(&host);
    assert_eq!(
        deleted[deleted.len() - 2..],
        [format!("status {id:02}"), format!("status {root:02}")]
    );
}

#[test]
fn a_timer_that_a_root_context_leaves_behind_is_an_incident() {
    let period = |millis| {
        let millis = format!("(i32.const {millis})");
        tell(call("set_tick_period_milliseconds", &[&millis]))
    };
    for (stops, left) in [(String::new(), 2), (period(0), 0)] {
        let mut host = Guest::default()
            .on("configure", period(50) + "(i32.const 1)")
            .on("delete", stops)
            .start(settings());
        for _ in 0..2 {
            host.reload(b"{ }").unwrap();
        }
        let kinds: Vec<_> = host.take_incidents().iter().map(|i| i.kind).collect();
        assert_eq!(kinds, vec![IncidentKind::TimerLeft; left]);
    }
}

#[test]
fn the_node_and_the_client_are_known() {
    let mut guest = Guest::default();
    let (node, source) = (guest.text("xds\0node\0id"), guest.text("source\0address"));
    let unknown = [guest.text("node\0id"), guest.text("ngx\0nginx_version")];
    let ask = |path: &str| show(call("get_property", &[path, DATA, SIZE]));
    let refused = |path: &String| tell(call("get_property", &[path, DATA, SIZE]));
    let code = ask(&node)
        + &ask(&source)
        + &tell(call("get_shared_data", &[&node, DATA, SIZE, NUMBER]))
        + &unknown.iter().map(refused).collect::<String>();
    let mut host = guest.on("request_headers", code + CONTINUE).envoy();
    host.send(0, Request::get("/"));
    assert_eq!(
        said(&host),
        [
            "status 00",
            "proxy-1",
            "status 00",
            "192.0.2.7:40000",
            "status 01",
            "status 01",
            "status 01"
        ]
    );
}

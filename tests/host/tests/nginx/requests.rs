//! Configurations, headers, bodies, lines of the log.

use std::time::Duration;

use portcullis_test_host::{Fate, Host, Request, nginx_parameter};

use crate::guest::{DATA, Guest, SIZE, call, pairs, said, show, tell};
use crate::{CONTINUE, CURRENT, PAUSE, fails_to_start, waiting};

#[test]
fn a_parameter_is_short_and_unescaped() {
    assert_eq!(
        nginx_parameter(r#"{"a": "\"\\ \n\t\r\'\x"}"#).unwrap(),
        b"{\"a\": \"\"\\ \n\t\r'\\x\"}"
    );
    assert!(nginx_parameter(&"x".repeat(4095)).is_ok());
    assert!(nginx_parameter(&"x".repeat(4096)).is_err());
}

#[test]
fn a_refused_configuration_is_an_outage() {
    let refuses_second = "(i32.store (i32.const 48) (i32.add (i32.load (i32.const 48)) (i32.const 1))) (i32.eq (local.get 1) (i32.const 2))";
    let guest = Guest::default().on("configure", refuses_second);
    let mut host = guest.nginx();
    assert!(host.reload(b"{ }").is_err());
    let id = host.send(0, Request::get("/"));
    assert_eq!(host.fate(id), Fate::Lost);
    fails_to_start(&Guest::default().on("configure", "(i32.const 0)"));
    fails_to_start(&Guest::default().on("configure", "unreachable"));
    // Envoy keeps the old one.
    let mut host = guest.envoy();
    assert!(host.reload(b"{ }").is_err());
    let id = host.send(0, Request::get("/"));
    assert!(host.stream(id).forwarded().is_some());
}

#[test]
fn the_first_copy_of_a_header_wins_and_a_map_ends_at_a_hundred() {
    let mut guest = Guest::default();
    let name = guest.text("x-twice");
    let code = show(call(
        "get_header_map_value",
        &["(i32.const 0)", &name, DATA, SIZE],
    )) + &tell(call("get_header_map_pairs", &["(i32.const 0)", DATA, SIZE]))
        + &tell("(i32.sub (i32.load (i32.load (i32.const 8))) (i32.const 50))");
    let guest = guest.on("request_headers", code + CONTINUE);
    let mut request = Request::get("/")
        .header("x-twice", "first")
        .header("X-Twice", "second");
    for n in 0..120 {
        request = request.header(&format!("x-{n}"), "v");
    }
    let mut host = guest.nginx();
    host.send(0, request.clone());
    assert_eq!(
        said(&host),
        ["status 00", "first", "status 00", "status 50"]
    );
    let mut host = guest.envoy();
    host.send(0, request);
    assert_eq!(
        said(&host),
        ["status 00", "first", "status 00", "status 77"]
    );
}

#[test]
fn duplicate_authorization_is_refused_by_nginx_itself() {
    let guest = Guest::default().on("request_headers", CONTINUE);
    let request = || Request::get("/").token("one").token("two");
    let mut host = guest.nginx();
    let id = host.send(0, request());
    assert!(matches!(host.fate(id), Fate::Failed { status: 400, .. }));
    let mut host = guest.envoy();
    let id = host.send(0, request());
    assert!(host.stream(id).forwarded().is_some());
}

#[test]
fn authority_and_path_are_not_the_clients() {
    let mut guest = Guest::default();
    let code: String = [":authority", ":path", "host"]
        .into_iter()
        .map(|name| {
            let name = guest.text(name);
            show(call(
                "get_header_map_value",
                &["(i32.const 0)", &name, DATA, SIZE],
            ))
        })
        .collect();
    let mut host = guest.on("request_headers", code + CONTINUE).nginx();
    let id = host.send(0, Request::get("/rest//%6frders?q=%20"));
    assert_eq!(
        said(&host),
        [
            "status 00",
            "agents.example:8080",
            "status 00",
            "/rest/orders?q=%20",
            "status 00",
            "agents.test"
        ]
    );
    // What goes on is what came.
    assert_eq!(
        host.stream(id)
            .forwarded()
            .unwrap()
            .header(":path")
            .unwrap(),
        "/rest//%6frders?q=%20"
    );
}

#[test]
fn the_end_of_the_stream_is_not_known_with_the_headers() {
    let guest = Guest::default()
        .on("request_headers", tell("(local.get 2)") + CONTINUE)
        .on(
            "request_body",
            tell("(local.get 1)") + &tell("(local.get 2)") + CONTINUE,
        );
    for (request, nginx, envoy) in [
        (Request::get("/"), vec!["status 00"], vec!["status 01"]),
        (
            Request::new("POST", "/").piece("abc").piece("de"),
            vec!["status 00", "status 05", "status 01"],
            vec![
                "status 00",
                "status 03",
                "status 00",
                "status 02",
                "status 01",
            ],
        ),
    ] {
        let mut host = guest.nginx();
        let id = host.send(0, request.clone());
        assert_eq!(said(&host), nginx);
        assert_eq!(
            host.stream(id).forwarded().unwrap().body,
            request.body.concat()
        );
        let mut host = guest.envoy();
        let id = host.send(0, request.clone());
        assert_eq!(said(&host), envoy);
        assert_eq!(
            host.stream(id).forwarded().unwrap().body,
            request.body.concat()
        );
    }
}

#[test]
fn a_body_that_was_spilled_can_not_be_read() {
    let code = tell(call(
        "get_buffer_bytes",
        &[
            "(i32.const 0)",
            "(i32.const 0)",
            "(local.get 1)",
            DATA,
            SIZE,
        ],
    ));
    let guest = Guest::default().on("request_body", code + CONTINUE);
    for (size, status) in [(16 << 10, "status 00"), ((16 << 10) + 1, "status 01")] {
        let mut host = guest.nginx();
        host.send(0, Request::new("POST", "/").piece(vec![b'x'; size]));
        assert_eq!(said(&host), [status]);
    }
}

#[test]
fn log_lines_are_cut() {
    let mut guest = Guest::default();
    let long = guest.text([b'l'; 3000]);
    let log = tell(call("log", &["(i32.const 3)", &long]));
    let guest = guest.on("request_headers", log + CONTINUE);
    let longest = |mut host: Host| {
        host.send(0, Request::get("/"));
        host.log().iter().map(|line| line.text.len()).max().unwrap()
    };
    assert_eq!(longest(guest.nginx()), 2047);
    assert_eq!(longest(guest.envoy()), 3000);
}

#[test]
fn a_context_that_is_gone_hears_of_no_callout() {
    let mut host = waiting(Guest::default(), "unreachable")
        .on("delete", tell(CURRENT))
        .nginx();
    let id = host.send(0, Request::get("/"));
    host.cancel(id);
    assert!(host.callouts().is_empty());
    assert_eq!(host.fate(id), Fate::Lost);
    assert_eq!(said(&host)[1..], [format!("status {id:02}")]);
    host.advance(Duration::from_secs(60));
}

#[test]
#[should_panic(expected = "what must not happen")]
fn an_incident_fails_the_test_that_does_not_ask() {
    let mut host = Guest::default()
        .on("request_headers", "unreachable")
        .nginx();
    host.send(0, Request::get("/"));
}

#[test]
fn pairs_are_read_as_they_are_written() {
    let mut guest = Guest::default();
    let headers = pairs(&mut guest, &[("www-authenticate", "Bearer")]);
    let code = tell(call(
        "send_local_response",
        &[
            "(i32.const 401)",
            "(i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)",
            &headers,
            "(i32.const -1)",
        ],
    ));
    let mut host = guest.on("request_headers", code + PAUSE).nginx();
    let id = host.send(0, Request::get("/"));
    assert_eq!(
        host.stream(id)
            .answered()
            .unwrap()
            .header("WWW-Authenticate")
            .unwrap(),
        "Bearer"
    );
}

//! Ticks, callouts and what comes back.

use std::time::Duration;

use portcullis_test_host::{Fate, IncidentKind, Profile, Reply, Request, Settings};

use crate::guest::{DATA, Guest, SIZE, answer, call, dispatch, said, show, tell};
use crate::{CONTINUE, CURRENT, PAUSE, fails_to_start, kinds, replied, waiting};

#[test]
fn every_worker_ticks_and_its_callouts_end_in_the_root_context() {
    let mut guest = Guest::default();
    let send = dispatch(&mut guest, "127.0.0.1:9000");
    let period = tell(call("set_tick_period_milliseconds", &["(i32.const 50)"]));
    let mut settings = Settings::new(Profile::Nginx);
    settings.workers = 2;
    let mut host = guest
        .on("configure", period + "(i32.const 1)")
        .on("tick", send)
        .on("http_call_response", tell(CURRENT))
        .start(settings);
    host.advance(Duration::from_millis(50));
    let workers: Vec<usize> = host
        .callouts()
        .iter()
        .map(|callout| callout.worker)
        .collect();
    assert_eq!(workers, [0, 1]);
    let before = said(&host).len();
    let callout = host.callouts()[0].clone();
    host.reply(callout.token, Reply::json(200, ""));
    assert_eq!(
        said(&host)[before..],
        [format!("status {:02}", callout.context)]
    );
}

#[test]
fn a_second_tick_period_traps() {
    let guest = Guest::default();
    let period = tell(call("set_tick_period_milliseconds", &["(i32.const 50)"]));
    let guest_twice = guest
        .clone()
        .on("configure", period.clone() + &period + "(i32.const 1)");
    fails_to_start(&guest_twice);
    guest_twice.envoy();
    // Zero ends it, and is no second one.
    let none = tell(call("set_tick_period_milliseconds", &["(i32.const 0)"]));
    guest
        .on("configure", period + &none + "(i32.const 1)")
        .nginx();
}

#[test]
fn callouts_from_the_start_and_the_configuration_trap() {
    for callback in ["vm_start", "configure"] {
        let mut guest = Guest::default();
        let send = dispatch(&mut guest, "127.0.0.1:9000");
        fails_to_start(&guest.on(callback, send + "(i32.const 1)"));
    }
}

#[test]
fn a_callout_chained_in_a_root_context_crashes() {
    let mut guest = Guest::default();
    let send = dispatch(&mut guest, "127.0.0.1:9000");
    let period = tell(call("set_tick_period_milliseconds", &["(i32.const 50)"]));
    let mut host = guest
        .on("configure", period + "(i32.const 1)")
        .on("tick", send.clone())
        .on("http_call_response", send)
        .nginx();
    host.advance(Duration::from_millis(50));
    replied(&mut host, Reply::json(200, ""));
    assert_eq!(kinds(&mut host), [IncidentKind::Crash]);
}

#[test]
fn the_effective_context_stays_the_current_one() {
    // Every request tries to answer the first one, whose context is 2 behind the root's.
    let code = tell(call("set_effective_context", &["(i32.const 2)"])) + &answer(403) + PAUSE;
    let mut guest = Guest::default();
    let send = dispatch(&mut guest, "127.0.0.1:9000");
    let first = format!(
        "(if (result i32) (i32.eq {CURRENT} (i32.const 2)) (then {send} {PAUSE}) (else {code}))"
    );
    let mut host = guest.on("request_headers", first).nginx();
    let one = host.send(0, Request::get("/1"));
    let other = host.send(0, Request::get("/2"));
    assert_eq!(one, 2);
    assert_eq!(host.fate(one), Fate::Held);
    assert_eq!(host.stream(other).answered().unwrap().status, 403);
    assert_eq!(kinds(&mut host), [IncidentKind::WrongContext]);
}

#[test]
fn a_tick_can_resume_and_answer_nobody() {
    for code in [
        tell(call("continue_stream", &["(i32.const 0)"])),
        answer(403),
    ] {
        let period = tell(call("set_tick_period_milliseconds", &["(i32.const 50)"]));
        let mut host = waiting(Guest::default(), "")
            .on("configure", period + "(i32.const 1)")
            .on(
                "tick",
                tell(call("set_effective_context", &["(i32.const 2)"])) + &code,
            )
            .nginx();
        let id = host.send(0, Request::get("/"));
        host.advance(Duration::from_millis(50));
        assert_eq!(host.fate(id), Fate::Lost);
        assert_eq!(kinds(&mut host), [IncidentKind::Crash]);
    }
}

#[test]
fn a_pause_without_a_callout_hangs() {
    for callback in ["request_headers", "request_body"] {
        let mut host = Guest::default().on(callback, PAUSE).nginx();
        let id = host.send(0, Request::new("POST", "/").piece("body"));
        assert_eq!(host.fate(id), Fate::Hangs);
        assert_eq!(kinds(&mut host), [IncidentKind::Hangs]);
    }
}

#[test]
fn to_go_on_with_a_callout_under_way_crashes() {
    let mut guest = Guest::default();
    let send = dispatch(&mut guest, "127.0.0.1:9000");
    let mut host = guest.on("request_headers", send + CONTINUE).nginx();
    let id = host.send(0, Request::get("/"));
    assert_eq!(host.fate(id), Fate::Lost);
    assert_eq!(kinds(&mut host), [IncidentKind::Crash]);
}

/// What a callback is told of a reply: how many headers, how long a body, the dispatch status, `:status` and the body.
fn told(reply: Reply) -> Vec<String> {
    let mut guest = Guest::default();
    let (dispatch_status, status) = (guest.text(":dispatch_status"), guest.text(":status"));
    let map = "(i32.const 6)";
    let code = tell("(local.get 2)")
        + &tell("(local.get 3)")
        + &show(call(
            "get_header_map_value",
            &[map, &dispatch_status, DATA, SIZE],
        ))
        + &show(call("get_header_map_value", &[map, &status, DATA, SIZE]))
        + &show(call(
            "get_buffer_bytes",
            &[
                "(i32.const 4)",
                "(i32.const 0)",
                "(local.get 3)",
                DATA,
                SIZE,
            ],
        ));
    let mut host = waiting(guest, &code).nginx();
    host.send(0, Request::get("/"));
    replied(&mut host, reply);
    host.take_incidents();
    // Without the callout's own status.
    said(&host)[1..].to_vec()
}

#[test]
fn failed_callouts_have_no_headers_and_say_why_beside_them() {
    for (reply, why) in [
        (Reply::Broken, "broken connection"),
        (Reply::Timeout, "timeout"),
        (Reply::Unresolved, "resolver failure"),
        (Reply::TlsFailed, "tls handshake failure"),
        (Reply::NoReply, "ok"),
    ] {
        assert_eq!(
            told(reply)[..5],
            ["status 00", "status 00", "status 00", why, "status 01"]
        );
    }
}

#[test]
fn whole_truncated_and_close_delimited_bodies() {
    let whole = Reply::Response {
        status: 200,
        headers: Vec::new(),
        body: b"0123456789".to_vec(),
    };
    let head = [
        "status 01",
        "status 10",
        "status 00",
        "ok",
        "status 00",
        "200",
    ];
    let told_of = told(whole.clone());
    assert_eq!(told_of[..6], head);
    assert_eq!(told_of[6..], ["status 00", "0123456789"]);
    // Advertised and not there: reading it fails, where the SDK panics.
    let told_of = told(Reply::Truncated(Box::new(whole.clone()), 5));
    assert_eq!(
        told_of[..6],
        [
            "status 01",
            "status 15",
            "status 00",
            "ok",
            "status 00",
            "200"
        ]
    );
    assert_eq!(told_of[6..], ["status 02"]);
    // Without a length, and with more than 8 KiB of headers: empty.
    let long = whole.clone().header("x-long", &"x".repeat(9000));
    for (reply, headers) in [
        (Reply::CloseDelimited(Box::new(whole)), "status 01"),
        (long, "status 02"),
    ] {
        let told_of = told(reply);
        assert_eq!(
            told_of[..6],
            [headers, "status 00", "status 00", "ok", "status 00", "200"]
        );
        assert_eq!(told_of[6], "status 00");
    }
}

#[test]
fn eight_mebibytes_come_uncapped() {
    let guest = Guest::default();
    let right = "(i32.eq (local.get 3) (i32.const 8388608))";
    let mut host = waiting(guest, &tell(right)).nginx();
    host.send(0, Request::get("/"));
    let body = vec![b'x'; 8 << 20];
    replied(
        &mut host,
        Reply::Response {
            status: 200,
            headers: Vec::new(),
            body,
        },
    );
    assert_eq!(said(&host)[1], "status 01");
    host.take_incidents();
}

#[test]
fn a_callout_times_out() {
    let mut host = waiting(Guest::default(), &answer(503)).nginx();
    let id = host.send(0, Request::get("/"));
    host.advance(Duration::from_millis(4999));
    assert_eq!(host.fate(id), Fate::Held);
    host.advance(Duration::from_millis(1));
    assert_eq!(host.stream(id).answered().unwrap().status, 503);
}

#[test]
fn callouts_go_to_addresses() {
    for (upstream, good) in [
        ("127.0.0.1:9000", true),
        ("issuer.test:443", true),
        ("unix:/run/keys.sock", true),
        ("issuer.test:0", false),
        ("issuer.test:65536", false),
        ("issuer.test:https", false),
        ("issuer", false),
    ] {
        let mut guest = Guest::default();
        let send = dispatch(&mut guest, upstream);
        let mut host = guest.on("request_headers", send + PAUSE).nginx();
        let id = host.send(0, Request::get("/"));
        assert_eq!(host.fate(id) == Fate::Held, good, "{upstream}");
        assert_eq!(kinds(&mut host).is_empty(), good);
    }
}

//! The profile `nginx`, line by line of what was seen of it (docs/hosts, "nginx"), with guests written by hand.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod guest;

use std::time::Duration;

use guest::{DATA, Guest, NUMBER, SIZE, answer, call, dispatch, pairs, said, show, tell};
use portcullis_test_host::{
    Fate, Host, IncidentKind, Metric, Profile, Reply, Request, Settings, StartFailure,
    nginx_parameter,
};

const CONTINUE: &str = "(i32.const 0)";
const PAUSE: &str = "(i32.const 1)";
const CURRENT: &str = "(local.get 0)";

fn kinds(host: &mut Host) -> Vec<IncidentKind> {
    host.take_incidents()
        .into_iter()
        .map(|incident| incident.kind)
        .collect()
}

fn fails_to_start(guest: &Guest) -> StartFailure {
    let started = Host::start(&guest.module(), Settings::new(Profile::Nginx), b"{}");
    match started {
        Err(failure) => failure,
        Ok(_) => panic!("it starts"),
    }
}

/// A guest that pauses each request for a callout of its own, and does `code` when that ends.
fn waiting(mut guest: Guest, code: &str) -> Guest {
    let dispatch = dispatch(&mut guest, "127.0.0.1:9000");
    guest
        .on("request_headers", dispatch + PAUSE)
        .on("http_call_response", code)
}

fn replied(host: &mut Host, reply: Reply) {
    let token = host.callouts()[0].token;
    host.reply(token, reply);
}

// What fails open

#[test]
fn a_trap_in_a_callouts_callback_forwards_the_request() {
    let mut host = waiting(Guest::default(), "unreachable").nginx();
    let id = host.send(0, Request::get("/"));
    assert_eq!(host.fate(id), Fate::Held);
    replied(&mut host, Reply::json(200, "{}"));
    assert!(host.stream(id).forwarded().is_some());
    assert_eq!(kinds(&mut host), [IncidentKind::Trap, IncidentKind::Leaked]);
}

#[test]
fn a_trap_in_one_request_lets_another_through() {
    let guest = waiting(Guest::default(), "unreachable");
    let mut host = guest.nginx();
    let (one, other) = (
        host.send(0, Request::get("/1")),
        host.send(0, Request::get("/2")),
    );
    replied(&mut host, Reply::Broken);
    assert!(host.stream(one).forwarded().is_some());
    assert!(host.stream(other).forwarded().is_some());
    assert_eq!(
        kinds(&mut host),
        [
            IncidentKind::Trap,
            IncidentKind::Leaked,
            IncidentKind::Leaked
        ]
    );
    // The worker has a new instance.
    let id = host.send(0, Request::get("/3"));
    assert_eq!(host.fate(id), Fate::Held);
}

#[test]
fn a_trap_in_the_header_phase_is_a_500() {
    let mut host = Guest::default()
        .on("request_headers", "unreachable")
        .nginx();
    let id = host.send(0, Request::get("/"));
    assert_eq!(
        host.fate(id),
        Fate::Failed {
            status: 500,
            why: "a trap"
        }
    );
    assert_eq!(kinds(&mut host), [IncidentKind::Trap]);
}

#[test]
fn an_undecided_reply_resumes_the_request() {
    for reply in [Reply::json(200, "{}"), Reply::Broken, Reply::Timeout] {
        let mut host = waiting(Guest::default(), "").nginx();
        let id = host.send(0, Request::get("/"));
        replied(&mut host, reply);
        assert!(host.stream(id).forwarded().is_some());
        assert_eq!(kinds(&mut host), [IncidentKind::Undecided]);
    }
}

#[test]
fn resume_is_automatic_after_the_last_callout() {
    let mut guest = Guest::default();
    let (one, two) = (
        dispatch(&mut guest, "127.0.0.1:9000"),
        dispatch(&mut guest, "127.0.0.1:9001"),
    );
    let (name, value) = (guest.text("x-seen"), guest.text("yes"));
    let set = tell(call(
        "replace_header_map_value",
        &["(i32.const 0)", &name, &value],
    ));
    let mut host = guest
        .on("request_headers", one + &two + PAUSE)
        .on("http_call_response", set)
        .nginx();
    let id = host.send(0, Request::get("/"));
    replied(&mut host, Reply::json(200, ""));
    assert_eq!(host.fate(id), Fate::Held);
    replied(&mut host, Reply::json(200, ""));
    assert_eq!(
        host.stream(id)
            .forwarded()
            .unwrap()
            .header("x-seen")
            .unwrap(),
        "yes"
    );
}

#[test]
fn callouts_may_be_chained_in_a_request() {
    let mut guest = Guest::default();
    let next = dispatch(&mut guest, "127.0.0.1:9001");
    let mut host = waiting(guest, &next).nginx();
    let id = host.send(0, Request::get("/"));
    replied(&mut host, Reply::json(200, ""));
    assert_eq!(host.fate(id), Fate::Held);
    assert_eq!(host.callouts()[0].upstream, "127.0.0.1:9001");
}

#[test]
fn an_answer_from_the_callback_stands() {
    let mut host = waiting(Guest::default(), &answer(401)).nginx();
    let id = host.send(0, Request::get("/"));
    replied(&mut host, Reply::Broken);
    assert_eq!(host.stream(id).answered().unwrap().status, 401);
}

#[test]
fn a_second_answer_traps_and_forwards() {
    let mut host = waiting(Guest::default(), &(answer(401) + &answer(401))).nginx();
    let id = host.send(0, Request::get("/"));
    replied(&mut host, Reply::Broken);
    assert!(host.stream(id).forwarded().is_some());
    assert_eq!(kinds(&mut host), [IncidentKind::Trap, IncidentKind::Leaked]);
}

#[test]
fn a_guard_stops_what_the_filter_did_not_decide() {
    let mut guest = Guest::default();
    let (name, value) = (guest.text("ngx\0portcullis_decision"), guest.text("allow"));
    let allow = tell(call("set_property", &[&name, &value]));
    for (code, forwarded) in [("unreachable", false), (allow.as_str(), true)] {
        let guest = waiting(guest.clone(), code);
        let mut settings = Settings::new(Profile::Nginx);
        settings.variables.insert("portcullis_decision".to_owned());
        settings.guard = Some(("portcullis_decision".to_owned(), "allow".to_owned()));
        let mut host = guest.start(settings);
        let id = host.send(0, Request::get("/"));
        replied(&mut host, Reply::json(200, ""));
        host.take_incidents();
        assert_eq!(
            host.stream(id).forwarded().is_some(),
            forwarded,
            "{:?}",
            host.fate(id)
        );
    }
}

#[test]
fn headers_of_the_client_can_neither_be_removed_nor_replaced() {
    let mut guest = Guest::default();
    let (user, org, own, value) = (
        guest.text("x-auth-user-id"),
        guest.text("x-auth-org-id"),
        guest.text("x-own"),
        guest.text("proven"),
    );
    let map = "(i32.const 0)";
    let code = [
        tell(call("remove_header_map_value", &[map, &org])),
        tell(call("replace_header_map_value", &[map, &user, &value])),
        tell(call("replace_header_map_value", &[map, &own, &value])),
        show(call("get_header_map_value", &[map, &user, DATA, SIZE])),
        show(call("get_header_map_value", &[map, &org, DATA, SIZE])),
    ];
    let mut settings = Settings::new(Profile::Nginx);
    // `proxy_set_header x-auth-org-id $nothing;` is defeated by the removal.
    settings
        .proxy_set_header
        .insert("x-auth-org-id".to_owned(), "nothing".to_owned());
    settings
        .proxy_set_header
        .insert("x-auth-email".to_owned(), "nothing".to_owned());
    let mut host = guest
        .on("request_headers", code.concat() + CONTINUE)
        .start(settings);
    let request = Request::get("/")
        .header("X-Auth-User-Id", "admin")
        .header("x-auth-user-id", "root")
        .header("x-auth-org-id", "evil")
        .header("x-auth-email", "evil");
    let id = host.send(0, request);
    assert_eq!(
        said(&host),
        [
            "status 00",
            "status 00",
            "status 00",
            "status 00",
            "proven",
            "status 01"
        ]
    );
    let stream = host.stream(id);
    let sent = stream.forwarded().unwrap();
    assert_eq!(sent.all("x-auth-user-id"), ["admin", "root"]);
    assert_eq!(sent.all("x-auth-org-id"), ["evil"]);
    assert_eq!(sent.all("x-auth-email"), [""; 0]);
    assert_eq!(sent.all("x-own"), ["proven"]);
}

#[test]
fn identity_goes_by_variables() {
    let mut guest = Guest::default();
    let (name, value) = (
        guest.text("ngx\0portcullis_user_id"),
        guest.text("agent-planner"),
    );
    let set = tell(call("set_property", &[&name, &value]));
    let mut settings = Settings::new(Profile::Nginx);
    settings.variables.insert("portcullis_user_id".to_owned());
    settings
        .proxy_set_header
        .insert("x-auth-user-id".to_owned(), "portcullis_user_id".to_owned());
    let mut host = guest.on("request_headers", set + CONTINUE).start(settings);
    let id = host.send(0, Request::get("/").header("x-auth-user-id", "admin"));
    assert_eq!(
        host.stream(id).forwarded().unwrap().all("x-auth-user-id"),
        ["agent-planner"]
    );
}

#[test]
fn shared_data_takes_two_keys_of_one_crc32_for_one() {
    let mut guest = Guest::default();
    let (one, other, value) = (
        guest.text("plumless"),
        guest.text("buckeroo"),
        guest.text("of plumless"),
    );
    let code = tell(call("set_shared_data", &[&one, &value, "(i32.const 0)"]))
        + &show(call("get_shared_data", &[&other, DATA, SIZE, NUMBER]));
    let guest = guest.on("request_headers", code + CONTINUE);
    let mut host = guest.nginx();
    host.send(0, Request::get("/"));
    assert_eq!(said(&host), ["status 00", "status 00", "of plumless"]);
    let mut host = guest.envoy();
    host.send(0, Request::get("/"));
    assert_eq!(said(&host), ["status 00", "status 01"]);
}

// ABI

#[test]
fn the_log_level_can_not_be_imported() {
    let guest = Guest::default().import("proxy_get_log_level", "i32");
    assert!(fails_to_start(&guest).why.contains("proxy_get_log_level"));
    guest.envoy();
}

#[test]
fn what_nginx_lacks_is_there_and_traps() {
    for name in [
        "proxy_done",
        "proxy_close_stream",
        "proxy_get_status",
        "proxy_resolve_shared_queue",
        "proxy_grpc_cancel",
    ] {
        let mut host = Guest::default()
            .import(name, "i32")
            .on("request_headers", format!("(call ${name} (i32.const 0))"))
            .nginx();
        let id = host.send(0, Request::get("/"));
        assert!(
            matches!(host.fate(id), Fate::Failed { status: 500, .. }),
            "{name}"
        );
        assert_eq!(kinds(&mut host), [IncidentKind::Trap]);
    }
}

#[test]
fn an_unknown_foreign_function_traps() {
    let mut guest = Guest::default();
    let name = guest.text("verify_signature");
    let code = tell(call(
        "call_foreign_function",
        &[&name, "(i32.const 0) (i32.const 0)", DATA, SIZE],
    ));
    let guest = guest.on("request_headers", code + CONTINUE);
    let mut host = guest.nginx();
    let id = host.send(0, Request::get("/"));
    assert!(matches!(host.fate(id), Fate::Failed { status: 500, .. }));
    assert_eq!(kinds(&mut host), [IncidentKind::Trap]);
    let mut host = guest.envoy();
    host.send(0, Request::get("/"));
    assert_eq!(said(&host), ["status 01"]);
}

/// What a property is in a request and on a tick.
fn property(path: &str) -> Vec<String> {
    let mut guest = Guest::default();
    let path = guest.text(path.replace('.', "\0"));
    let ask = show(call("get_property", &[&path, DATA, SIZE]));
    let mut host = guest.on("request_headers", ask + CONTINUE).nginx();
    host.send(0, Request::get("/rest/%6frders?a=1"));
    said(&host)
}

#[test]
fn properties_of_a_request() {
    assert_eq!(
        property("request.path"),
        ["status 00", "/rest/%6frders?a=1"]
    );
    assert_eq!(property("request.host"), ["status 00", "machine-17"]);
    assert_eq!(property("no.such.thing"), ["status 01"]);
    assert_eq!(property("ngx.undeclared"), ["status 01"]);
    for path in ["node.id", "route_name", "cluster_name"] {
        assert_eq!(property(path), ["status 01"]);
    }
}

#[test]
fn unsupported_properties_leave_an_error_line_each() {
    let mut guest = Guest::default();
    let path = guest.text("cluster_name");
    let ask = show(call("get_property", &[&path, DATA, SIZE]));
    let mut host = guest.on("request_headers", ask + CONTINUE).nginx();
    host.send(0, Request::get("/"));
    assert!(
        host.log()
            .iter()
            .any(|line| line.level == 4 && line.text.contains("cluster_name"))
    );
}

#[test]
fn a_dotted_path_fails_in_a_root_context() {
    let mut guest = Guest::default();
    let path = guest.text("ngx\0nginx_version");
    let ask = show(call("get_property", &[&path, DATA, SIZE]));
    let guest = guest.on("configure", ask + "(i32.const 1)");
    assert_eq!(said(&guest.nginx()), ["status 10"]);
    // By which a filter tells the two apart.
    assert_eq!(said(&guest.envoy()), ["status 01"]);
}

#[test]
fn the_plugins_name_crashes_a_root_context() {
    let mut guest = Guest::default();
    let path = guest.text("plugin_name");
    let ask = show(call("get_property", &[&path, DATA, SIZE]));
    let guest = guest.on("configure", ask + "(i32.const 1)");
    assert!(fails_to_start(&guest).why.contains("Crashed"));
}

#[test]
fn properties_that_can_be_set() {
    let mut guest = Guest::default();
    let value = guest.text("v");
    let mut code = String::new();
    for path in [
        "no.such.thing",
        "request.path",
        "wasmx.mine",
        "request.query",
        "ngx.declared",
        "ngx.undeclared",
    ] {
        let path = guest.text(path.replace('.', "\0"));
        code += &tell(call("set_property", &[&path, &value]));
    }
    let mut settings = Settings::new(Profile::Nginx);
    settings.variables.insert("declared".to_owned());
    let mut host = guest.on("request_headers", code + CONTINUE).start(settings);
    let id = host.send(0, Request::get("/"));
    assert_eq!(
        said(&host),
        [
            "status 01",
            "status 10",
            "status 00",
            "status 00",
            "status 00",
            "status 01"
        ]
    );
    assert_eq!(host.stream(id).left("declared").unwrap(), "v");
}

#[test]
fn shared_data_without_a_zone_traps() {
    let mut guest = Guest::default();
    let key = guest.text("key");
    let get = tell(call("get_shared_data", &[&key, DATA, SIZE, NUMBER]));
    let set = tell(call("set_shared_data", &[&key, &key, "(i32.const 0)"]));
    for (code, callback) in [
        (&get, "request_headers"),
        (&set, "request_headers"),
        (&get, "configure"),
    ] {
        let guest = guest.clone().on(callback, code.clone() + "(i32.const 1)");
        let mut settings = Settings::new(Profile::Nginx);
        settings.shm_kv = None;
        let started = Host::start(&guest.module(), settings, b"{}");
        match started {
            Ok(mut host) => {
                let id = host.send(0, Request::get("/"));
                assert!(matches!(host.fate(id), Fate::Failed { status: 500, .. }));
                host.take_incidents();
            }
            Err(_) => assert_eq!(callback, "configure"),
        }
    }
}

#[test]
fn compare_and_swap_is_strict() {
    let mut guest = Guest::default();
    let (key, value) = (guest.text("key"), guest.text("value"));
    let set = |cas: &str| tell(call("set_shared_data", &[&key, &value, cas]));
    let get = tell(call("get_shared_data", &[&key, DATA, SIZE, NUMBER]));
    let read = "(i32.load (i32.const 24))";
    // A token where nothing is; creation; creation again; the token that was read; the same again.
    let code = [
        set("(i32.const 7)"),
        set("(i32.const 0)"),
        set("(i32.const 0)"),
        get,
        set(read),
        set(read),
    ];
    let guest = guest
        .clone()
        .on("request_headers", code.concat() + CONTINUE);
    let mut host = guest.nginx();
    host.send(0, Request::get("/"));
    assert_eq!(
        said(&host),
        [
            "status 08",
            "status 00",
            "status 08",
            "status 00",
            "status 00",
            "status 08"
        ]
    );
    // Envoy overwrites with 0, and takes any token where nothing is.
    let mut host = guest.envoy();
    host.send(0, Request::get("/"));
    assert_eq!(
        said(&host),
        [
            "status 00",
            "status 00",
            "status 00",
            "status 00",
            "status 00",
            "status 08"
        ]
    );
}

#[test]
fn a_full_zone_drops_what_was_used_longest_ago() {
    let mut guest = Guest::default();
    let mut code = String::new();
    let value = guest.text([b'v'; 40]);
    for key in ["one", "two", "six"] {
        let key = guest.text(key);
        code += &tell(call("set_shared_data", &[&key, &value, "(i32.const 0)"]));
    }
    let mut settings = Settings::new(Profile::Nginx);
    settings.shm_kv = Some(100);
    let mut host = guest
        .clone()
        .on("request_headers", code + CONTINUE)
        .start(settings.clone());
    host.send(0, Request::get("/"));
    assert_eq!(said(&host), ["status 00"; 3]);
    let there: Vec<bool> = ["one", "two", "six"]
        .iter()
        .map(|key| host.shared().value(key).is_some())
        .collect();
    assert_eq!(there, [false, true, true]);
    // One that is larger than all of it traps.
    let (key, large) = (guest.text("key"), guest.text([b'v'; 100]));
    let code = tell(call("set_shared_data", &[&key, &large, "(i32.const 0)"]));
    let mut host = guest.on("request_headers", code + CONTINUE).start(settings);
    host.send(0, Request::get("/"));
    assert_eq!(kinds(&mut host), [IncidentKind::Trap]);
}

#[test]
fn a_reload_wipes_shared_data_and_keeps_metrics() {
    let mut guest = Guest::default();
    let key = guest.text("key");
    let code = tell(call("set_shared_data", &[&key, &key, "(i32.const 0)"]))
        + &tell(call("define_metric", &["(i32.const 0)", &key, NUMBER]))
        + &tell(call(
            "increment_metric",
            &["(i32.load (i32.const 24))", "(i64.const 2)"],
        ));
    let guest = guest.on("request_headers", code + CONTINUE);
    for (mut host, kept) in [(guest.nginx(), false), (guest.envoy(), true)] {
        host.send(0, Request::get("/"));
        host.reload(b"{}").unwrap();
        assert_eq!(host.shared().value("key").is_some(), kept);
        assert_eq!(host.metrics().value("key"), 2);
    }
}

#[test]
fn metrics_are_counted_over_all_workers() {
    let mut guest = Guest::default();
    let (name, long) = (guest.text("hits"), guest.text([b'n'; 250]));
    let count = tell(call("define_metric", &["(i32.const 0)", &name, NUMBER]))
        + &tell(call(
            "increment_metric",
            &["(i32.load (i32.const 24))", "(i64.const 1)"],
        ));
    let mut settings = Settings::new(Profile::Nginx);
    settings.workers = 3;
    let mut host = guest
        .clone()
        .on("request_headers", count + CONTINUE)
        .start(settings);
    for n in 0..3 {
        host.send(n, Request::get("/"));
    }
    assert_eq!(host.metrics().value("hits"), 3);
    let trapping = [
        tell(call("define_metric", &["(i32.const 0)", &long, NUMBER])),
        tell(call(
            "increment_metric",
            &["(i32.const 99)", "(i64.const 1)"],
        )),
        tell(call("define_metric", &["(i32.const 2)", &name, NUMBER]))
            + &tell(call("get_metric", &["(i32.load (i32.const 24))", DATA])),
    ];
    for code in trapping {
        let mut host = guest.clone().on("request_headers", code + CONTINUE).nginx();
        host.send(0, Request::get("/"));
        assert_eq!(kinds(&mut host), [IncidentKind::Trap]);
    }
}

#[test]
fn histograms_can_be_recorded() {
    let mut guest = Guest::default();
    let name = guest.text("ms");
    let code = tell(call("define_metric", &["(i32.const 2)", &name, NUMBER]))
        + &tell(call(
            "record_metric",
            &["(i32.load (i32.const 24))", "(i64.const 7)"],
        ));
    let mut host = guest.on("request_headers", code + CONTINUE).nginx();
    host.send(0, Request::get("/"));
    assert_eq!(
        host.metrics().all().next(),
        Some(("ms", &Metric::Histogram(vec![7])))
    );
}

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
    let mut guest = Guest::default();
    let period = tell(call("set_tick_period_milliseconds", &["(i32.const 50)"]));
    let guest_twice = guest
        .clone()
        .on("configure", period.clone() + &period + "(i32.const 1)");
    fails_to_start(&guest_twice);
    guest_twice.envoy();
    // Zero ends it, and is no second one.
    let none = tell(call("set_tick_period_milliseconds", &["(i32.const 0)"]));
    let _ = guest.text("");
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
    let mut guest = Guest::default();
    let _ = guest.text("");
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

//! Properties, shared data, metrics, and functions that are not there.

use portcullis_test_host::{Fate, Host, IncidentKind, Metric, Profile, Request, Settings};

use crate::guest::{DATA, Guest, NUMBER, SIZE, call, said, show, tell};
use crate::{CONTINUE, fails_to_start, kinds};

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

//! What fails open.

use portcullis_test_host::{Fate, IncidentKind, Profile, Reply, Request, Settings};

use crate::guest::{DATA, Guest, NUMBER, SIZE, answer, call, dispatch, said, show, tell};
use crate::{CONTINUE, PAUSE, kinds, replied, waiting};

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

//! `host: auto`: which proxy it is, by two answers; and what becomes of requests where these are wrong. Nobody gets in by it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]

use portcullis_test_host::{
    Fate, Fault, Host, IncidentKind, Module, Profile, Request, Settings, StartFailure, Status,
};
use serde_json::{Value, json};

const TOKEN: &str = "a-token-for-this-test-and-no-other";

fn config() -> Value {
    json!({
        "auth": {"providers": [{"type": "static_token", "settings": {"token_env": "TOKEN", "identity": {"user_id": "smoke-test"}}}]},
        "agent": {"path": "/rest/{agent}"},
    })
}

/// A proxy whose first questions about itself are answered with these.
fn start(profile: Profile, answers: &[Status], config: &Value) -> Result<Host, StartFailure> {
    let mut settings = Settings::documented(profile);
    settings.env.insert("TOKEN".to_owned(), TOKEN.to_owned());
    // One for each question; the ones behind them are answered truly.
    for status in answers {
        let fault = Fault::returns("proxy_get_property", *status);
        settings.faults.push(fault.times(1));
    }
    Host::start(&Module::built(), settings, config.to_string().as_bytes())
}

fn good() -> Request {
    Request::get("/rest/orders").token(TOKEN)
}

fn forged() -> Request {
    good().header("x-auth-user-id", "admin")
}

/// Everybody is refused, in so many words.
fn shut(host: &mut Host, what: &str) {
    for request in [good(), forged(), Request::get("/rest/orders")] {
        let id = host.send(0, request);
        let Fate::Answered(reply) = host.fate(id) else {
            panic!("{what}: {:?}", host.fate(id));
        };
        assert_eq!(reply.status, 503, "{what}");
    }
    assert!(
        host.logged("host: this proxy answers neither as Envoy nor as nginx does"),
        "{what}: {:?}",
        host.log()
    );
}

/// Who calls is who the token says, and nobody else.
fn serves(host: &mut Host, what: &str) {
    let id = host.send(0, good());
    let seen = host.stream(id).forwarded().map(|f| f.all("x-auth-user-id"));
    assert_eq!(seen, Some(vec!["smoke-test".to_owned()]), "{what}");
    let id = host.send(0, forged());
    let seen = host.stream(id).forwarded().map(|f| f.all("x-auth-user-id"));
    assert!(
        seen.is_none_or(|seen| seen == ["smoke-test"]),
        "{what}: {:?}",
        host.fate(id)
    );
    let id = host.send(0, Request::get("/rest/orders").token("another"));
    assert!(host.stream(id).forwarded().is_none(), "{what}");
}

#[test]
fn each_is_recognised_by_what_it_says() {
    for profile in Profile::ALL {
        let mut host = start(profile, &[], &config()).unwrap();
        serves(&mut host, profile.name());
        let mut said = config();
        said["host"] = json!(profile.name());
        let mut host = start(profile, &[], &said).unwrap();
        serves(&mut host, profile.name());
    }
}

#[test]
fn an_envoy_without_a_name_is_one() {
    let mut settings = Settings::documented(Profile::Envoy);
    settings.env.insert("TOKEN".to_owned(), TOKEN.to_owned());
    settings.node_id = String::new();
    let text = config().to_string();
    let mut host = Host::start(&Module::built(), settings, text.as_bytes()).unwrap();
    serves(&mut host, "no node id");
}

#[test]
fn an_nginx_that_answers_in_another_way_lets_nobody_in() {
    for status in Status::FAILURES {
        let what = format!("{status:?}");
        let mut host = start(Profile::Nginx, &[status], &config()).unwrap();
        if status == Status::INTERNAL_FAILURE {
            serves(&mut host, &what);
        } else {
            shut(&mut host, &what);
            // What the operator is told to write helps.
            let mut said = config();
            said["host"] = json!("nginx");
            let mut host = start(Profile::Nginx, &[status], &said).unwrap();
            serves(&mut host, &what);
        }
    }
}

/// Taken for Envoy it would remove headers that nginx sends on all the same.
#[test]
fn an_nginx_that_is_said_to_be_envoy_does_not_start_or_lets_nobody_in() {
    let mut said = config();
    said["host"] = json!("envoy");
    for status in Status::FAILURES {
        // Not recognised: believed, and the first thing that only Envoy has ends the worker.
        if let Ok(mut host) = start(Profile::Nginx, &[status, status, status], &said) {
            for request in [good(), forged()] {
                let id = host.send(0, request);
                assert!(host.stream(id).forwarded().is_none(), "{status:?}");
            }
        }
    }
}

#[test]
fn an_envoy_that_answers_in_another_way_lets_nobody_in_unproven() {
    for status in Status::FAILURES {
        let what = format!("{status:?}");
        // The second and third are asked only after "not found".
        let mut host = start(Profile::Envoy, &[status, status, status], &config()).unwrap();
        if status == Status::INTERNAL_FAILURE {
            // Taken for nginx. Headers are left alone there, so those that would name somebody are refused.
            let id = host.send(0, forged());
            assert!(host.stream(id).forwarded().is_none(), "{what}");
            for request in [
                Request::get("/rest/orders"),
                Request::get("/rest/orders").token("another"),
            ] {
                let id = host.send(0, request);
                assert!(host.stream(id).forwarded().is_none(), "{what}");
            }
            let id = host.send(0, good());
            if let Some(sent) = host.stream(id).forwarded() {
                assert_eq!(sent.all("x-auth-user-id"), [""; 0], "{what}");
            }
        } else {
            shut(&mut host, &what);
            let mut said = config();
            said["host"] = json!("envoy");
            let mut host = start(Profile::Envoy, &[status, status, status], &said).unwrap();
            serves(&mut host, &what);
        }
    }
}

/// Two configurations in one VM that was not recognised: one says what it is, and the other can't say otherwise.
#[test]
fn what_one_configuration_says_holds_for_the_vm() {
    let mut nginx = config();
    nginx["host"] = json!("nginx");
    let mut envoy = config();
    envoy["host"] = json!("envoy");
    // As Envoy, where both stand in one VM: nginx has a VM for each reload.
    let status = Status::BAD_ARGUMENT;
    let mut host = start(Profile::Envoy, &[status], &nginx).unwrap();
    assert!(host.reload(envoy.to_string().as_bytes()).is_ok());
    assert!(host.logged("host: this is nginx"), "{:?}", host.log());
    // Who takes an Envoy for nginx leaves its timers alone, as nginx wants it.
    let left: Vec<_> = host.take_incidents().iter().map(|i| i.kind).collect();
    assert_eq!(left, [IncidentKind::TimerLeft]);
}

//! Every host function failing in every way while the proxy starts and while requests are decided: nothing traps, nobody gets in who
//! should not, and what gets in has its own identity and none that it brought.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use portcullis_test_host::{
    Fate, Fault, Host, IncidentKind, Module, Profile, Request, Settings, Status,
};
use serde_json::{Value, json};

use crate::player::{Player, prepare};

const TOKEN: &str = "smoke-0b7d6a0f3f5f4c0e9a51";
const KEY: &str = "gak_aaaaaaaaaaaa_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa_4aT835";
const STS: &str = "sts.eu-west-1.amazonaws.com";

/// Without these nobody can be answered, or found to be answered.
const UNREACHABLE: [&str; 3] = [
    "proxy_send_local_response",
    "proxy_continue_stream",
    "proxy_set_effective_context",
];

/// Everything that a decision can depend on, in one chain.
fn scenario() -> Value {
    json!({
        "env": {"SMOKE_TOKEN": TOKEN},
        "config": {
            "auth": {"providers": [
                {"type": "static_token", "settings": {"token_env": "SMOKE_TOKEN", "identity": {"user_id": "smoke-test"}}},
                {"type": "oidc", "settings": {"issuer": "https://issuer.test", "audience": "api://agents"}},
                {"type": "aws_sigv4", "settings": {"region": "eu-west-1"}},
                {"type": "api_key", "settings": {"keys": [{
                    "id": "aaaaaaaaaaaa", "scope": {"agent": "orders"}, "owner": "alice@example.com",
                    "hash": "sha256:e0158a898bb8d6e4326ad9cf785a3b05982af3dfc5dc77e83a0252bb0acb4cd9",
                    "expires_at": "never", "created_at": 1_700_000_000,
                    "rate_limit": {"requests": 1, "per": "1h"},
                }]}},
            ]},
            "agent": {"path": "/rest/{agent}"},
            "callouts": {"timeout": "1s"},
        },
        "peers": {
            "issuer.test": {
                "/.well-known/openid-configuration": {"json": {"issuer": "https://issuer.test", "jwks_uri": "https://issuer.test/keys"}},
                "/keys": {"jwks": ["ed-1"]},
            },
            STS: {"/": {"json": {"GetCallerIdentityResponse": {"GetCallerIdentityResult": {
                "Account": "123456789012", "Arn": "arn:aws:iam::123456789012:user/alice", "UserId": "AIDAEXAMPLE"}}}}},
        },
    })
}

/// A request, and who gets in by it if anybody.
struct Case {
    about: &'static str,
    request: Value,
    /// `None`: nobody may.
    user: Option<&'static str>,
    /// Sent before, in good health.
    before: Option<Value>,
}

fn cases() -> Vec<Case> {
    let case = |about, request, user| Case {
        about,
        request,
        user,
        before: None,
    };
    let key = json!({"headers": [["X-Api-Key", KEY]]});
    vec![
        case(
            "a static token",
            json!({"bearer": TOKEN}),
            Some("smoke-test"),
        ),
        case(
            "no token, and a header of ours",
            json!({"headers": [["x-auth-user-id", "admin"]]}),
            None,
        ),
        case(
            "a good JWT",
            json!({"jwt": {"key": "ed-1"}}),
            Some("agent-planner"),
        ),
        case(
            "a good JWT, and headers of ours",
            json!({"jwt": {"key": "ed-1"}, "headers": [["x-auth-org-id", "admin"]]}),
            Some("agent-planner"),
        ),
        case(
            "a forged JWT",
            json!({"jwt": {"key": "ed-1", "tampered": true}}),
            None,
        ),
        case(
            "a JWT of an unknown key",
            json!({"jwt": {"key": "ed-2"}}),
            None,
        ),
        case(
            "a presigned identity",
            json!({"sts": {"region": "eu-west-1"}}),
            Some("arn:aws:iam::123456789012:user/alice"),
        ),
        case(
            "a key under its limit",
            key.clone(),
            Some("alice@example.com"),
        ),
        Case {
            before: Some(key.clone()),
            ..case("a key over its limit", key, None)
        },
    ]
}

fn ready(profile: Profile, case: &Case) -> Player {
    let mut player = Player::new(profile, &scenario());
    if let Some(before) = &case.before {
        player.send(before);
    }
    player
}

/// How often each function is called while a request is decided.
fn calls(profile: Profile, case: &Case) -> BTreeMap<String, usize> {
    let mut player = ready(profile, case);
    let before = player.host.calls();
    let (id, _) = player.send(&case.request);
    let fate = player.host.fate(id);
    // A case that isn't what it says would prove nothing. nginx refuses what brings a header of ours.
    let refused = profile == Profile::Nginx && case.about.ends_with("ours");
    assert_eq!(
        matches!(fate, Fate::Forwarded(_)),
        case.user.is_some() && !refused,
        "{}: {fate:?}",
        case.about
    );
    let mut calls = player.host.calls();
    for (function, count) in &mut calls {
        *count -= before.get(function).copied().unwrap_or_default();
    }
    calls.retain(|_, count| *count > 0);
    calls
}

/// Whether this may be what became of a request.
fn verdict(player: &Player, id: u32, case: &Case, function: &str) -> Result<(), String> {
    let stream = player.host.stream(id);
    match &stream.fate {
        Fate::Forwarded(sent) => {
            let Some(user) = case.user else {
                return Err(format!("let in: {sent:?}"));
            };
            if sent.all("x-auth-user-id") != [user]
                || sent
                    .header("x-auth-org-id")
                    .is_some_and(|org| org == "admin")
            {
                return Err(format!("with another identity: {sent:?}"));
            }
            Ok(())
        }
        Fate::Answered(reply) if reply.status >= 400 => Ok(()),
        // nginx's guard stops what the filter could not answer.
        Fate::Failed { status: 502, .. } => Ok(()),
        // A refusal that can't be sent; on Envoy also a held request that can't be reached or told to go on. The proxy's own
        // time-outs end it.
        Fate::Held | Fate::Hangs if UNREACHABLE.contains(&function) => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

/// One fault during one request.
fn suffer(profile: Profile, case: &Case, fault: Fault) -> Result<(), String> {
    let function = fault.function.clone();
    let mut player = ready(profile, case);
    player.host.inject(fault);
    let (id, _) = player.send(&case.request);
    let outcome = verdict(&player, id, case, &function);
    let incidents = player.host.take_incidents();
    let unavoidable = function == "proxy_send_local_response";
    let bad = incidents
        .iter()
        .any(|incident| !(unavoidable && incident.kind == IncidentKind::Hangs));
    if bad {
        return Err(format!("{incidents:?}"));
    }
    let hit = player.host.heal();
    if hit == 0 {
        return Err("the fault was never met".to_owned());
    }
    outcome
}

fn every_fault(profile: Profile) {
    let mut failures = String::new();
    let mut suffered = 0;
    for case in cases() {
        for (function, count) in calls(profile, &case) {
            for status in Status::FAILURES {
                // "Not found" is what removing nothing is answered with: a host that says so and leaves a header lies.
                if function == "proxy_remove_header_map_value" && status == Status::NOT_FOUND {
                    continue;
                }
                let mut faults = vec![Fault::returns(&function, status)];
                // Each single one of the calls, with a status of each sort.
                if [
                    Status::NOT_FOUND,
                    Status::CAS_MISMATCH,
                    Status::INTERNAL_FAILURE,
                ]
                .contains(&status)
                {
                    faults.extend(
                        (0..count.min(12))
                            .map(|n| Fault::returns(&function, status).after(n).times(1)),
                    );
                }
                for fault in faults {
                    suffered += 1;
                    if let Err(why) = suffer(profile, &case, fault.clone()) {
                        writeln!(failures, "{}: {fault:?}: {why}\n", case.about).unwrap();
                    }
                }
            }
        }
    }
    assert!(suffered > 500, "{suffered}");
    assert!(failures.is_empty(), "as {}:\n{failures}", profile.name());
}

#[test]
fn every_fault_as_envoy() {
    every_fault(Profile::Envoy);
}

#[test]
fn every_fault_as_nginx() {
    every_fault(Profile::Nginx);
}

/// The proxy starts, or does not, and whatever it makes of that, nobody gets in for nothing.
#[test]
fn every_fault_at_the_start() {
    let mut failures = String::new();
    for profile in Profile::ALL {
        // With `host: auto`: the call by which nginx is told apart from Envoy is one of those that fail.
        let (settings, config) = prepare(profile, &scenario());
        let config = config.to_string();
        let calls = Host::start(&Module::built(), settings.clone(), config.as_bytes())
            .unwrap()
            .calls();
        for (function, count) in calls {
            for status in Status::FAILURES {
                for after in 0..count.min(4) {
                    let faulty = Settings {
                        faults: vec![Fault::returns(&function, status).after(after)],
                        ..settings.clone()
                    };
                    // Envoy does not start; nginx has to, and to refuse everybody.
                    let Ok(mut host) = Host::start(&Module::built(), faulty, config.as_bytes())
                    else {
                        if profile == Profile::Nginx {
                            writeln!(
                                failures,
                                "nginx does not start: {function} {status:?} after {after}"
                            )
                            .unwrap();
                        }
                        continue;
                    };
                    let good = host.send(0, Request::get("/rest/orders").token(TOKEN));
                    let bad = host.send(0, Request::get("/rest/orders").token("wrong"));
                    let user = host
                        .stream(good)
                        .forwarded()
                        .map(|sent| sent.all("x-auth-user-id"));
                    let incidents = host.take_incidents();
                    let fine = user.is_none_or(|user| user == ["smoke-test"])
                        && host.stream(bad).forwarded().is_none()
                        && incidents.iter().all(|incident| {
                            incident.kind == IncidentKind::Hangs
                                && function == "proxy_send_local_response"
                        });
                    if !fine {
                        writeln!(
                            failures,
                            "{}: {function} {status:?} after {after}: {:?} {incidents:?}",
                            profile.name(),
                            host.fate(bad)
                        )
                        .unwrap();
                    }
                }
            }
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

/// What all of the above is about: nginx forwards what a trap did not decide, and its guard stops that.
#[test]
fn a_trap_forwards_the_request_unless_there_is_a_guard() {
    for guarded in [true, false] {
        let (mut settings, config) = prepare(Profile::Nginx, &scenario());
        if !guarded {
            settings.guard = None;
        }
        let mut host =
            Host::start(&Module::built(), settings, config.to_string().as_bytes()).unwrap();
        let token = crate::mint::presigned(&json!({"region": "eu-west-1"}), host.now());
        let id = host.send(0, Request::get("/rest/orders").token(&token));
        assert_eq!(host.fate(id), Fate::Held);
        let callout = host.callout_to(STS);
        host.inject(Fault::traps("proxy_get_header_map_pairs"));
        host.reply(callout.token, portcullis_test_host::Reply::json(403, "{}"));
        let kinds: Vec<IncidentKind> = host
            .take_incidents()
            .iter()
            .map(|incident| incident.kind)
            .collect();
        assert_eq!(kinds, [IncidentKind::Trap, IncidentKind::Leaked]);
        assert_eq!(
            host.stream(id).forwarded().is_none(),
            guarded,
            "{:?}",
            host.fate(id)
        );
    }
}

#[test]
fn a_trap_in_envoy_closes_everything() {
    let mut player = Player::new(Profile::Envoy, &scenario());
    player
        .host
        .inject(Fault::traps("proxy_get_header_map_pairs"));
    for _ in 0..2 {
        let (id, _) = player.send(&json!({"bearer": TOKEN}));
        assert!(matches!(
            player.host.fate(id),
            Fate::Failed { status: 503, .. }
        ));
    }
    assert_eq!(player.host.take_incidents().len(), 1);
}

/// The client leaves while its question is under way.
#[test]
fn a_context_goes_away_with_a_callout_in_flight() {
    for profile in Profile::ALL {
        let (settings, config) = prepare(profile, &scenario());
        let mut host =
            Host::start(&Module::built(), settings, config.to_string().as_bytes()).unwrap();
        let token = crate::mint::presigned(&json!({"region": "eu-west-1"}), host.now());
        let ask = |host: &mut Host| host.send(0, Request::get("/rest/orders").token(&token));
        let id = ask(&mut host);
        assert_eq!(host.fate(id), Fate::Held);
        host.cancel(id);
        assert_eq!(
            host.stream(id).audit().unwrap()["fields"]["code"],
            "cancelled"
        );
        // The next one with the same question gets its answer.
        let next = ask(&mut host);
        let arn = "arn:aws:iam::123456789012:user/alice";
        let answer = json!({"GetCallerIdentityResponse": {"GetCallerIdentityResult": {
            "Account": "123456789012", "Arn": arn, "UserId": "AIDAEXAMPLE"}}});
        let served = host.serve(|callout| {
            let sts = callout.header(":authority") == STS;
            sts.then(|| portcullis_test_host::Reply::json(200, answer.to_string()))
        });
        assert_eq!(served, 1);
        assert_eq!(
            host.stream(next).forwarded().unwrap().all("x-auth-user-id"),
            [arn]
        );
        assert_eq!(host.fate(id), Fate::Lost);
    }
}

/// A reload while requests are held: each is judged, and none twice.
#[test]
fn a_reload_with_a_callout_in_flight() {
    for profile in Profile::ALL {
        let mut player = Player::new(profile, &scenario());
        let token = crate::mint::presigned(&json!({"region": "eu-west-1"}), player.host.now());
        let id = player
            .host
            .send(0, Request::get("/rest/orders").token(&token));
        assert_eq!(player.host.fate(id), Fate::Held);
        let (_, config) = prepare(profile, &scenario());
        player.host.reload(config.to_string().as_bytes()).unwrap();
        player.pass(40);
        assert!(
            player.host.stream(id).forwarded().is_some(),
            "{:?}",
            player.host.fate(id)
        );
        let (id, _) = player.send(&json!({"bearer": TOKEN}));
        assert!(player.host.stream(id).forwarded().is_some());
    }
}

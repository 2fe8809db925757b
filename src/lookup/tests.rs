#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::*;
use crate::callout::{CalloutFailure, HttpResponse};
use crate::policy::Url;

/// Takes the status for the answer: 200 found, 403 refused, 429 throttled, 302 one more round, all else unreachable.
#[derive(Debug)]
struct Status {
    ttl: Duration,
}

impl Question for Status {
    fn callout(&self) -> Callout {
        let url = Url::parse("https://u").unwrap();
        Callout::get_json("u", url, Duration::from_secs(5), 1)
    }

    fn read(self: Box<Self>, reply: CalloutReply<'_>, now: UnixTime) -> Progress {
        let CalloutReply::Response(response) = reply else {
            return Progress::Failed(Failure::Unreachable);
        };
        match response.status {
            200 | 403 => Progress::Found(Finding::Refused(Code::Expired, None), now + self.ttl),
            302 => Progress::Ask(self),
            429 => Progress::Failed(Failure::Throttled),
            _ => Progress::Failed(Failure::Unusable),
        }
    }
}

struct World {
    lookups: Lookups,
    limits: Limits,
    now: UnixTime,
    scope: Scope,
}

impl World {
    fn new() -> Self {
        Self {
            lookups: Lookups::new(&FixedState::with_seed(3)),
            limits: Limits::default(),
            now: UnixTime::from_secs(1_000_000),
            scope: Scope::new("sts", &["a"]),
        }
    }

    fn ask(&mut self, credential: &str) -> Result<LookupId, NotAsked> {
        let id = self.scope.id(credential.as_bytes());
        let ttl = Duration::from_secs(60);
        self.lookups.ask(
            id,
            &self.scope,
            Box::new(Status { ttl }),
            self.now,
            &self.limits,
        )?;
        Ok(id)
    }

    fn sent(&mut self) -> Option<LookupId> {
        self.lookups.poll(self.now, &self.limits).map(|d| d.id)
    }

    fn status(&mut self, id: LookupId, status: u16) -> bool {
        let reply = CalloutReply::Response(HttpResponse {
            status,
            headers: &[],
            body: b"",
        });
        self.lookups.reply(&id, reply, self.now, &self.limits)
    }

    fn unreachable(&mut self, id: LookupId) {
        let reply = CalloutReply::Failed(CalloutFailure::NoResponse);
        assert!(!self.lookups.reply(&id, reply, self.now, &self.limits));
    }

    fn known(&mut self, id: LookupId) -> Known {
        self.lookups.known(&id, None, self.now, &self.limits)
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
    }
}

#[test]
fn one_question_in_flight_for_a_credential() {
    let mut w = World::new();
    let id = w.ask("t").unwrap();
    assert!(matches!(w.known(id), Known::Pending));
    assert_eq!(w.ask("t").unwrap(), id);
    assert_eq!(w.sent(), Some(id));
    assert_eq!(w.sent(), None);
    assert_eq!(w.ask("t").unwrap(), id);
    assert_eq!(w.sent(), None);
    assert!(w.status(id, 200));
    assert!(matches!(w.known(id), Known::Found(_)));
    // A second reply changes nothing.
    assert!(w.status(id, 500));
    assert!(matches!(w.known(id), Known::Found(_)));
    w.pass(Duration::from_secs(60));
    assert!(matches!(w.known(id), Known::Nothing));
}

#[test]
fn scopes_and_credentials_do_not_run_together() {
    let id = |parts: &[&str], credential: &str| Scope::new("n", parts).id(credential.as_bytes());
    assert_eq!(id(&["a", "b"], "c"), Scope::new("m", &["a", "b"]).id(b"c"));
    assert_ne!(id(&["a", "b"], "c"), id(&["ab"], "c"));
    assert_ne!(id(&["a", "b"], "c"), id(&["b", "a"], "c"));
    assert_ne!(id(&["a"], "bc"), id(&["a", "b"], "c"));
    assert_ne!(id(&["a"], "b"), id(&["a"], "b="));
}

#[test]
fn a_question_may_take_several_rounds() {
    let mut w = World::new();
    let id = w.ask("t").unwrap();
    for _ in 0..3 {
        assert_eq!(w.sent(), Some(id));
        assert!(w.status(id, 302));
        assert!(matches!(w.known(id), Known::Pending));
    }
    assert_eq!(w.sent(), Some(id));
    assert!(w.status(id, 200));
    assert!(matches!(w.known(id), Known::Found(_)));
}

#[test]
fn a_failure_is_no_answer_and_is_asked_again_soon() {
    let mut w = World::new();
    let mut wait = FIRST_BACKOFF;
    for _ in 0..3 {
        let id = w.ask("t").unwrap();
        assert_eq!(w.sent(), Some(id));
        assert!(!w.status(id, 429));
        let Known::Failed(retry_at) = w.known(id) else {
            panic!("remembered as an answer");
        };
        assert_eq!(retry_at.since(w.now), wait);
        w.now = retry_at;
        assert!(matches!(w.known(id), Known::Nothing));
        wait *= 2;
    }
    let id = w.ask("t").unwrap();
    w.sent();
    w.status(id, 200);
    assert!(matches!(w.known(id), Known::Found(_)));
}

#[test]
fn an_answer_not_to_be_remembered_reaches_those_who_waited_for_it() {
    let mut w = World::new();
    let id = w.scope.id(b"t");
    let ttl = Duration::ZERO;
    w.lookups
        .ask(id, &w.scope, Box::new(Status { ttl }), w.now, &w.limits)
        .unwrap();
    let since = w.now;
    w.sent();
    w.pass(Duration::from_millis(30));
    w.status(id, 200);
    assert!(matches!(
        w.lookups.known(&id, Some(since), w.now, &w.limits),
        Known::Found(_)
    ));
    assert!(matches!(w.known(id), Known::Nothing));
    w.pass(Duration::from_millis(1));
    assert!(matches!(
        w.lookups.known(&id, Some(w.now), w.now, &w.limits),
        Known::Nothing
    ));
}

#[test]
fn an_upstream_that_keeps_failing_is_spared_and_tried() {
    let mut w = World::new();
    for i in 0..FAILURES_TO_OPEN {
        let id = w.ask(&format!("t{i}")).unwrap();
        w.sent();
        w.unreachable(id);
    }
    assert!(matches!(w.ask("new"), Err(NotAsked::Spared(at)) if at > w.now));
    w.pass(FIRST_BACKOFF);
    let probe = w.ask("new").unwrap();
    assert!(
        matches!(w.ask("other"), Err(NotAsked::Spared(_))),
        "one probe"
    );
    w.sent();
    w.unreachable(probe);
    w.pass(FIRST_BACKOFF);
    assert!(
        matches!(w.ask("other"), Err(NotAsked::Spared(_))),
        "twice as long now"
    );
    w.pass(FIRST_BACKOFF);
    let probe = w.ask("other").unwrap();
    w.sent();
    // Even a refusal says that somebody is there.
    w.status(probe, 403);
    w.ask("a").unwrap();
    w.ask("b").unwrap();
    // Another upstream never was concerned.
    w.scope = Scope::new("sts", &["b"]);
    w.ask("c").unwrap();
}

#[test]
fn throttled_callers_do_not_close_the_upstream_to_others() {
    let mut w = World::new();
    for i in 0..10 * FAILURES_TO_OPEN {
        let id = w.ask(&format!("t{i}")).unwrap();
        w.sent();
        w.status(id, if i % 2 == 0 { 429 } else { 204 });
    }
    w.ask("new").unwrap();
}

#[test]
fn a_host_that_never_answers_is_given_up() {
    let mut w = World::new();
    let id = w.ask("t").unwrap();
    assert_eq!(w.sent(), Some(id));
    w.pass(Duration::from_secs(7));
    assert_eq!(w.sent(), None);
    assert!(matches!(w.known(id), Known::Pending));
    w.pass(Duration::from_millis(1));
    assert_eq!(w.sent(), None);
    assert!(matches!(w.known(id), Known::Failed(_)));
    assert_eq!(w.lookups.open(), 0);
}

#[test]
fn open_questions_and_answers_are_bounded() {
    let mut w = World::new();
    w.limits.lookups_in_flight = 3;
    w.limits.lookups = 16;
    for i in 0..3 {
        w.ask(&format!("t{i}")).unwrap();
    }
    assert_eq!(w.ask("t3"), Err(NotAsked::TooMany));
    assert!(w.ask("t2").is_ok(), "already open");
    while let Some(id) = w.sent() {
        w.status(id, 200);
    }
    for i in 0..1000 {
        let id = w.ask(&format!("u{i}")).unwrap();
        w.sent();
        w.status(id, 403);
        assert!(w.lookups.entries().unwrap_or(0) <= 16);
    }
}

#[test]
fn a_question_that_was_given_up_is_sent_again_and_counts_against_nobody() {
    let mut world = World::new();
    let id = world.ask("a").unwrap();
    for _ in 0..10 {
        assert_eq!(world.sent(), Some(id));
        assert_eq!(world.sent(), None);
        world.lookups.give_up(&id);
        // Twice is once.
        world.lookups.give_up(&id);
        assert!(matches!(world.known(id), Known::Pending));
    }
    assert_eq!(world.sent(), Some(id));
    assert!(world.status(id, 200));
    assert!(matches!(world.known(id), Known::Found(_)));
    world.lookups.give_up(&id);
    assert_eq!(world.sent(), None);
    assert!(world.ask("b").is_ok(), "the upstream is not spared");
}

#[test]
fn after_the_clock_was_set_back_answers_and_failures_from_the_future_do_not_count() {
    let mut world = World::new();
    let right = world.now;
    world.pass(Duration::from_secs(86_400));
    let id = world.ask("a").unwrap();
    world.sent();
    world.status(id, 200);
    let failed = world.ask("b").unwrap();
    world.sent();
    world.status(failed, 500);
    assert!(matches!(world.known(id), Known::Found(_)));
    for n in 0..u64::from(FAILURES_TO_OPEN) {
        let other = world.ask(&format!("c{n}")).unwrap();
        world.sent();
        world.unreachable(other);
    }
    assert!(matches!(world.ask("d"), Err(NotAsked::Spared(_))));
    world.now = right;
    assert!(matches!(world.known(id), Known::Nothing));
    assert!(matches!(world.known(failed), Known::Nothing));
    assert!(world.ask("d").is_ok());
}

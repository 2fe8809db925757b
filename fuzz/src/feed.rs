//! The answers of a key feed, whatever they are: `data` is one in each line, `!NNN` before it another status than 200, `~` none at all.
//!
//! * a page is read as it says, its ids once each, or not at all;
//! * nobody gets in whose record was in no page that could be read;
//! * there is one question at a time, and never a trap;
//! * whatever came before, a service that comes to its senses is believed: what it says then is in force.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use portcullis_core::apikey::KeyId;
use portcullis_core::apikey::feed::{KeyChange, Page};
use portcullis_core::apikey::format::assemble;
use portcullis_core::apikey::record::KeyDigest;
use portcullis_core::callout::{CalloutFailure, CalloutReply, HttpResponse};
use portcullis_core::config;
use portcullis_core::decision::{Decision, Step};
use portcullis_core::jose::verify::RustVerifier;
use portcullis_core::request::RequestHead;
use portcullis_core::time::UnixTime;
use portcullis_core::{Authenticator, Stores};
use serde_json::json;

/// `data` as answers.
pub fn run(data: &[u8]) {
    let id = KeyId::parse("aaaaaaaaaaaa").expect("an id");
    let key = assemble("gak", id, &"a".repeat(43)).expect("a key");
    let hash = KeyDigest::of(&key, None).to_string();
    let text = json!({
        "auth": {"providers": [{"type": "api_key", "settings":
            {"feed": {"url": "https://keys.example/feed", "token_env": "T", "max_staleness": "1h"}}}]},
        "agent": {"path": "/rest/{agent}"},
    })
    .to_string();
    let env = |_: &str| Some("a-token-of-the-fleet".to_owned());
    let (policy, _) = config::load(text.as_bytes(), &env).expect("a good configuration");
    let mut now = UnixTime::from_secs(1_800_000_000);
    let mut auth = Authenticator::new(policy, Stores::new(1), Rc::new(RustVerifier), now);
    let mut could_be_in = false;
    for line in data.split(|b| *b == b'\n').take(64) {
        let (status, body) = match line {
            [b'!', a, b, c, body @ ..] if [a, b, c].iter().all(|d| d.is_ascii_digit()) => {
                let digit = |d: &u8| u16::from(*d - b'0');
                (digit(a) * 100 + digit(b) * 10 + digit(c), body)
            }
            [b'~', ..] => (0, line),
            _ => (200, line),
        };
        if status == 200
            && let Ok(page) = Page::parse(body)
        {
            could_be_in |= sound(&page, id);
        }
        answer(&mut auth, &mut now, status, body);
        assert!(
            let_in(&mut auth, &key, now) != Some(true) || could_be_in,
            "nobody knows this key"
        );
    }
    // In its senses.
    for (revision, revoked) in [(u64::MAX - 1, None), (u64::MAX, Some(1))] {
        let mut record = json!({"id": "aaaaaaaaaaaa", "hash": hash, "scope": {"agent": "orders"}, "expires_at": "never"});
        if let Some(at) = revoked {
            record["revoked_at"] = json!(at);
        }
        let page = json!({"format": "portcullis-feed/1", "epoch": "the-end", "revision": revision, "reset": revoked.is_none(), "more": false,
            "keys": [record]})
        .to_string();
        answer(&mut auth, &mut now, 200, page.as_bytes());
        assert_eq!(let_in(&mut auth, &key, now), Some(revoked.is_none()));
    }
}

/// What any page is. Whether it has a record of that key.
fn sound(page: &Page, id: KeyId) -> bool {
    assert!((1..=128).contains(&page.epoch.len()) && page.epoch.is_ascii());
    let ids: BTreeSet<&KeyId> = page.keys.iter().map(KeyChange::id).collect();
    assert_eq!(ids.len(), page.keys.len(), "an id twice");
    let names: BTreeSet<&str> = page.agents.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names.len(), page.agents.len(), "a name twice");
    let lost = |k: &&KeyChange| matches!(k, KeyChange::Unreadable(_));
    assert!(page.unreadable >= page.keys.iter().filter(lost).count());
    page.keys
        .iter()
        .any(|k| matches!(k, KeyChange::Record(record) if record.id == id))
}

/// Waits for the next question, and answers it.
fn answer(auth: &mut Authenticator, now: &mut UnixTime, status: u16, body: &[u8]) {
    let callout = (0..1000)
        .find_map(|_| {
            let callout = auth.poll_callout(*now);
            if callout.is_none() {
                *now = *now + Duration::from_millis(100);
            }
            callout
        })
        .expect("the polling has stopped");
    assert!(auth.poll_callout(*now).is_none(), "two questions at a time");
    let reply = match status {
        0..100 | 600.. => CalloutReply::Failed(CalloutFailure::NoResponse),
        _ => CalloutReply::Response(HttpResponse {
            status,
            headers: &[(b"etag", b"\"1\"")],
            body,
        }),
    };
    auth.reply(callout.id, reply, *now);
    while let Some(notice) = auth.poll_notice() {
        assert!(notice.to_string().len() < 2000 && !notice.to_string().contains('\n'));
    }
}

/// `None` while it has to wait.
fn let_in(auth: &mut Authenticator, key: &str, now: UnixTime) -> Option<bool> {
    let headers: [(&[u8], &[u8]); 1] = [(b"x-api-key", key.as_bytes())];
    let head = RequestHead {
        method: b"GET",
        path: b"/rest/orders",
        authority: b"agents.example",
        headers: &headers,
        remote_addr: None,
    };
    match auth.begin(&head, now) {
        Step::Done(Decision::Allow(_) | Decision::Limited(_)) => Some(true),
        Step::Done(_) => Some(false),
        _ => None,
    }
}

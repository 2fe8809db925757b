//! The audit event: one JSON object a request, in the envelope that Forge writes.
//!
//! Written field by field: every request has one, and a serialiser that sees each as a value of any type spends more time than all the
//! rest of a decision takes. The tests read each line back with a JSON parser.

use std::fmt::Write as _;
use std::time::Duration;

use portcullis_octets::text::push_json;

use crate::reason::Code;
use crate::time::UnixTime;

/// The version of the envelope; grows when a field changes its meaning or goes.
pub const SCHEMA_VERSION: &str = "1.0";

/// An event but for its last field: how long the decision took is known when it has been made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditLine(String);

impl AuditLine {
    /// The whole line, without a newline. `elapsed` is the time from the request's arrival to its decision, waiting included.
    pub fn finish(mut self, elapsed: Duration) -> String {
        // Writing to a string can't fail.
        let _ = write!(self.0, ",\"decision_us\":{}}}}}", elapsed.as_micros());
        self.0
    }
}

/// The second that events are made in, as text: most follow another of the same second.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clock {
    second: u64,
    /// RFC 3339 up to the seconds; empty before the first event.
    text: String,
}

impl Clock {
    /// Writes a time as [`UnixTime`] shows it.
    fn write(&mut self, now: UnixTime, out: &mut String) {
        if self.text.is_empty() || self.second != now.as_secs() {
            let whole = now.to_string();
            // `2026-11-22T06:45:12.345Z`. What looks otherwise (there is no such clock) is written as it is.
            let Some((text, _)) = whole.rsplit_once('.') else {
                out.push_str(&whole);
                return;
            };
            text.clone_into(&mut self.text);
            self.second = now.as_secs();
        }
        out.push_str(&self.text);
        let _ = write!(out, ".{:03}Z", now.as_millis() % 1000);
    }
}

/// What an audit event repeats of a proven token, in this order; nothing of it decides anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditClaims(Vec<(&'static str, String)>);

/// Octets of one of these values.
const MAX_CLAIM: usize = 256;

impl AuditClaims {
    /// Adds one, without control characters and cut at 256 octets.
    pub(crate) fn add(&mut self, name: &'static str, value: Option<&str>) {
        let mut kept = String::new();
        for c in value
            .unwrap_or_default()
            .chars()
            .filter(|c| !c.is_control())
        {
            if kept.len() + c.len_utf8() > MAX_CLAIM {
                break;
            }
            kept.push(c);
        }
        if !kept.is_empty() {
            self.0.push((name, kept));
        }
    }

    /// Bytes of its memory.
    pub(crate) fn weight(&self) -> usize {
        let each = self.0.iter().map(|(_, value)| value.capacity() + 32);
        each.sum()
    }

    fn write(&self, line: &mut Line) {
        for (i, (name, value)) in self.0.iter().enumerate() {
            line.0.push_str(if i == 0 { ",\"claims\":{" } else { "," });
            line.string(name);
            line.0.push(':');
            line.string(value);
        }
        if !self.0.is_empty() {
            line.0.push('}');
        }
    }
}

/// What is common to both events, in the order of the line.
pub(crate) struct Envelope<'a, F> {
    pub ts: UnixTime,
    pub seq: u64,
    pub correlation_id: &'a str,
    pub org_id: &'a str,
    pub entity_id: &'a str,
    pub fields: F,
}

/// `auth_verify`: who was let in.
pub(crate) struct Verify<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub provider: &'a str,
    pub provider_name: &'a str,
    pub user_id: &'a str,
    pub email: Option<&'a str>,
    pub org_id: Option<&'a str>,
    pub token_kind: &'static str,
    pub groups_count: usize,
    /// Why the groups are not all there; absent when they are.
    pub groups_missing: Option<&'static str>,
    /// What the token says beside who the caller is, such as the run of a workflow.
    pub claims: &'a AuditClaims,
    pub remote_addr: Option<&'a str>,
    pub agent: Option<&'a str>,
    pub key_id: Option<&'a str>,
    pub config_version: &'a str,
    pub cache: &'static str,
}

/// `auth_fail`: who was kept out, and why.
pub(crate) struct Fail<'a> {
    pub reason: &'static str,
    pub code: &'static str,
    pub token_kind: &'static str,
    pub method: &'a str,
    pub path: &'a str,
    pub remote_addr: Option<&'a str>,
    pub provider: Option<&'a str>,
    pub provider_name: Option<&'a str>,
    pub agent: Option<&'a str>,
    /// The record of the API key that was presented, whether or not it was genuine. Never an id that there is no record of.
    pub key_id: Option<&'a str>,
    /// Whom the credential proves, and who is refused all the same: by an allow-list, for another agent, because it has expired. Never set
    /// for an unproven caller.
    pub user_id: Option<&'a str>,
    /// The address of that one, where its provider vouches for it.
    pub email: Option<&'a str>,
    /// What the proven token says beside that; as in `auth_verify`.
    pub claims: &'a AuditClaims,
    /// Only when the operator asked for it: whoever sent the token wrote this.
    pub unproven_subject: Option<&'a str>,
    /// What someone else who was asked said about why, such as AWS's error code. Bounded, and free of the caller's words.
    pub detail: Option<&'a str>,
    pub config_version: &'a str,
    pub cache: &'static str,
}

/// The fields of one event.
pub(crate) trait Event {
    const NAME: &'static str;

    /// Writes them, the first without a comma.
    fn write(&self, line: &mut Line);
}

impl Event for Verify<'_> {
    const NAME: &'static str = "auth_verify";

    fn write(&self, line: &mut Line) {
        line.text("\"method\":", self.method);
        line.text(",\"path\":", self.path);
        line.text(",\"provider\":", self.provider);
        line.text(",\"provider_name\":", self.provider_name);
        line.text(",\"user_id\":", self.user_id);
        line.some(",\"email\":", self.email);
        line.some(",\"org_id\":", self.org_id);
        line.text(",\"token_kind\":", self.token_kind);
        line.number(",\"groups_count\":", self.groups_count as u64);
        line.some(",\"groups_missing\":", self.groups_missing);
        self.claims.write(line);
        line.some(",\"remote_addr\":", self.remote_addr);
        line.some(",\"agent\":", self.agent);
        line.some(",\"key_id\":", self.key_id);
        line.text(",\"config_version\":", self.config_version);
        line.text(",\"cache\":", self.cache);
    }
}

impl Event for Fail<'_> {
    const NAME: &'static str = "auth_fail";

    fn write(&self, line: &mut Line) {
        line.text("\"reason\":", self.reason);
        line.text(",\"code\":", self.code);
        line.text(",\"token_kind\":", self.token_kind);
        line.text(",\"method\":", self.method);
        line.text(",\"path\":", self.path);
        line.some(",\"remote_addr\":", self.remote_addr);
        line.some(",\"provider\":", self.provider);
        line.some(",\"provider_name\":", self.provider_name);
        line.some(",\"agent\":", self.agent);
        line.some(",\"key_id\":", self.key_id);
        line.some(",\"user_id\":", self.user_id);
        line.some(",\"email\":", self.email);
        self.claims.write(line);
        line.some(",\"unproven_subject\":", self.unproven_subject);
        line.some(",\"detail\":", self.detail);
        line.text(",\"config_version\":", self.config_version);
        line.text(",\"cache\":", self.cache);
    }
}

/// Room for a line as most are, so that it is written without moving.
const USUAL_LINE: usize = 768;

impl<F: Event> Envelope<'_, F> {
    /// The line, open for its last field.
    pub(crate) fn line(&self, clock: &mut Clock) -> AuditLine {
        let mut line = Line(String::with_capacity(USUAL_LINE));
        line.0.push_str("{\"ts\":\"");
        clock.write(self.ts, &mut line.0);
        line.0.push('"');
        line.text(",\"event\":", F::NAME);
        line.text(",\"schema_version\":", SCHEMA_VERSION);
        line.number(",\"seq\":", self.seq);
        line.text(",\"correlation_id\":", self.correlation_id);
        line.text(",\"org_id\":", self.org_id);
        line.text(",\"entity_id\":", self.entity_id);
        line.0.push_str(",\"entity_type\":\"agent\",\"fields\":{");
        self.fields.write(&mut line);
        AuditLine(line.0)
    }
}

/// The event of a refusal that the core had no part in: there is no policy, or the host failed while a decision was carried out. It names
/// no request, since nothing that is known of that one can be relied on.
pub fn without_request(code: Code, now: UnixTime, config_version: &str) -> AuditLine {
    Envelope {
        ts: now,
        seq: 0,
        correlation_id: "",
        org_id: "",
        entity_id: "",
        fields: Fail {
            reason: code.reason().as_str(),
            code: code.as_str(),
            token_kind: "",
            method: "",
            path: "",
            remote_addr: None,
            provider: None,
            provider_name: None,
            agent: None,
            key_id: None,
            user_id: None,
            email: None,
            claims: &AuditClaims::default(),
            unproven_subject: None,
            detail: None,
            config_version,
            cache: "none",
        },
    }
    .line(&mut Clock::default())
}

/// JSON under way. Keys come with what stands around them: `,"name":`.
pub(crate) struct Line(String);

impl Line {
    fn text(&mut self, key: &str, value: &str) {
        self.0.push_str(key);
        self.string(value);
    }

    fn some(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    fn number(&mut self, key: &str, value: u64) {
        let _ = write!(self.0, "{key}{value}");
    }

    fn string(&mut self, value: &str) {
        push_json(&mut self.0, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn the_clock_says_what_the_time_says() {
        let mut clock = Clock::default();
        let second = 1_800_000_000_000;
        for millis in [
            second,
            second + 7,
            second + 999,
            second + 1000,
            second - 1,
            0,
            u64::MAX,
            u64::MAX,
            second,
        ] {
            let now = UnixTime::from_millis(millis);
            let mut out = String::new();
            clock.write(now, &mut out);
            // Past the year 9999 there is no time to say, only a second of it.
            let (said, meant) = (&out[..19], &now.to_string()[..19]);
            assert_eq!(said, meant, "{millis}");
            assert!(out.ends_with('Z') && out.len() == 24, "{out}");
            if millis < u64::MAX {
                assert_eq!(out, now.to_string());
            }
        }
    }

    #[test]
    fn claims_stand_in_their_order() {
        let mut claims = AuditClaims::default();
        let mut line = Line(String::new());
        claims.write(&mut line);
        assert_eq!(line.0, "");
        claims.add("b", Some("1\n2"));
        claims.add("empty", None);
        claims.add("a", Some("\"x\""));
        claims.write(&mut line);
        assert_eq!(line.0, r#","claims":{"b":"12","a":"\"x\""}"#);
    }
}

//! The audit event: one JSON object a request, in the envelope that Forge writes.

use std::time::Duration;

use serde::Serialize;

use crate::time::UnixTime;

/// The version of the envelope; grows when a field changes its meaning or goes.
pub const SCHEMA_VERSION: &str = "1.0";

/// An event but for its last field: how long the decision took is known when it has been made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditLine(String);

impl AuditLine {
    /// The whole line, without a newline. `elapsed` is the time from the request's arrival to its decision, waiting included.
    pub fn finish(mut self, elapsed: Duration) -> String {
        self.0.push_str(",\"decision_us\":");
        self.0.push_str(&elapsed.as_micros().to_string());
        self.0.push_str("}}");
        self.0
    }
}

/// What is common to both events, in the order of the line.
#[derive(Serialize)]
pub(crate) struct Envelope<'a, F: Serialize> {
    pub ts: Ts,
    pub event: &'static str,
    pub schema_version: &'static str,
    pub seq: u64,
    pub correlation_id: &'a str,
    pub org_id: &'a str,
    pub entity_id: &'a str,
    pub entity_type: &'static str,
    pub fields: F,
}

/// RFC 3339, without a string of its own.
pub(crate) struct Ts(pub UnixTime);

impl Serialize for Ts {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&self.0)
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

    /// Whether there is nothing to repeat.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for AuditClaims {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// `auth_verify`: who was let in.
#[derive(Serialize)]
pub(crate) struct Verify<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub provider: &'a str,
    pub provider_name: &'a str,
    pub user_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub org_id: Option<&'a str>,
    pub token_kind: &'static str,
    pub groups_count: usize,
    /// Why the groups are not all there; absent when they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups_missing: Option<&'static str>,
    /// What the token says beside who the caller is, such as the run of a workflow.
    #[serde(skip_serializing_if = "AuditClaims::is_empty")]
    pub claims: &'a AuditClaims,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_addr: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<&'a str>,
    pub config_version: &'a str,
    pub cache: &'static str,
}

/// `auth_fail`: who was kept out, and why.
#[derive(Serialize)]
pub(crate) struct Fail<'a> {
    pub reason: &'static str,
    pub code: &'static str,
    pub token_kind: &'static str,
    pub method: &'a str,
    pub path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_addr: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<&'a str>,
    /// The record of the API key that was presented, whether or not it was genuine. Never an id that there is no record of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<&'a str>,
    /// Proven, and still refused (403): worth knowing. Never set for an unproven caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<&'a str>,
    /// What the proven token says beside that; as in `auth_verify`.
    #[serde(skip_serializing_if = "AuditClaims::is_empty")]
    pub claims: &'a AuditClaims,
    /// Only when the operator asked for it: whoever sent the token wrote this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unproven_subject: Option<&'a str>,
    /// What someone else who was asked said about why, such as AWS's error code. Bounded, and free of the caller's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<&'a str>,
    pub config_version: &'a str,
    pub cache: &'static str,
}

impl<F: Serialize> Envelope<'_, F> {
    /// The line, open for its last field. `None` if it can't be serialised, which no value of these types causes.
    pub(crate) fn line(&self) -> Option<AuditLine> {
        let mut json = serde_json::to_string(self).ok()?;
        // `truncate` would be a way to panic.
        (json.pop()? == '}' && json.pop()? == '}').then_some(())?;
        Some(AuditLine(json))
    }
}

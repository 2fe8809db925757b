//! Refusals that the core has no part in: there is no policy, or the host failed while a decision was carried out.

use portcullis_core::answer;
use portcullis_core::audit::SCHEMA_VERSION;
use portcullis_core::decision::Denial;
use portcullis_core::metrics::{Cache, Outcome, Tally};
use portcullis_core::reason::Code;
use portcullis_core::time::UnixTime;

/// A refusal that names no request: whatever is known of that one can't be relied on any more.
pub fn denial(code: Code) -> Denial {
    let response = answer::response(code, 503, None, "");
    Denial {
        status: response.status,
        headers: response.headers,
        body: response.body,
        code,
        audit: None,
        tally: Some(Tally {
            provider: None,
            outcome: Outcome::Denied(code),
            cache: Cache::None,
        }),
    }
}

/// Its audit event, one line of JSON without the newline, in the core's envelope.
pub fn audit(code: Code, now: UnixTime, config_version: &str) -> String {
    serde_json::json!({
        "ts": now.to_string(),
        "event": "auth_fail",
        "schema_version": SCHEMA_VERSION,
        "seq": 0,
        "correlation_id": "",
        "org_id": "",
        "entity_id": "",
        "entity_type": "agent",
        "fields": {
            "reason": code.reason().as_str(),
            "code": code.as_str(),
            "token_kind": "",
            "method": "",
            "path": "",
            "config_version": config_version,
            "cache": "none",
        },
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_why_and_is_counted() {
        for code in [Code::NoPolicy, Code::HostFailure] {
            let denial = denial(code);
            assert_eq!(denial.status, 503);
            assert_eq!(
                denial.tally.unwrap().counter_name(),
                format!("portcullis.requests.none.deny.{code}")
            );
            let event: serde_json::Value =
                serde_json::from_str(&audit(code, UnixTime::default(), "abc")).unwrap();
            assert_eq!(event["fields"]["code"], code.as_str());
            assert_eq!(event["fields"]["reason"], "infrastructure");
            assert_eq!(event["ts"], "1970-01-01T00:00:00.000Z");
        }
    }
}

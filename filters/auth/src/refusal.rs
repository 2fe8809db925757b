//! Refusals that the core has no part in: there is no policy, or the host failed while a decision was carried out.

use portcullis_core::answer;
use portcullis_core::decision::Denial;
use portcullis_core::metrics::{Cache, Outcome, Tally};
use portcullis_core::reason::Code;

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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use portcullis_core::audit;
    use portcullis_core::time::UnixTime;

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
            let event: serde_json::Value = serde_json::from_str(
                &audit::without_request(code, UnixTime::default(), "abc").finish(Duration::ZERO),
            )
            .unwrap();
            assert_eq!(event["fields"]["code"], code.as_str());
            assert_eq!(event["fields"]["reason"], "infrastructure");
            assert_eq!(event["ts"], "1970-01-01T00:00:00.000Z");
        }
    }
}

//! Sends the core's callouts and reads what came back.

use portcullis_core::callout::{Callout, CalloutFailure, CalloutReply, HttpResponse};

use crate::abi::{BufferType, MapType};
use crate::host_kind::HostKind;
use crate::pairs::{self, Field};
use crate::status::Status;
use crate::{hostcalls, log};

/// Sends a callout from the effective context. The answer comes to `proxy_on_http_call_response` of that context, with the
/// returned token.
///
/// # Errors
/// Whatever the host says, and [`Status::BAD_ARGUMENT`] for an upstream that it would trap at.
pub fn send(kind: HostKind, callout: &Callout) -> Result<u32, Status> {
    let dialled = kind
        .dial(&callout.upstream, callout.scheme)
        .ok_or(Status::BAD_ARGUMENT)?;
    let pseudo: [Field<'_>; 4] = [
        (b":method", callout.method.as_bytes()),
        (b":scheme", dialled.scheme.as_bytes()),
        (b":authority", callout.authority.as_bytes()),
        (b":path", callout.path.as_bytes()),
    ];
    let fields = callout
        .headers
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    hostcalls::http_call(
        &dialled.address,
        pseudo.into_iter().chain(fields),
        &callout.body,
        callout.timeout,
    )
}

/// Reads the reply that the host is calling back with and gives it to `take`.
///
/// Whatever is not a whole response is a failure: no headers, no `:status`, a body longer than `max_body` or of another
/// length than `body_size`, which the host advertised.
pub fn receive<T>(
    num_headers: usize,
    body_size: usize,
    max_body: usize,
    take: impl FnOnce(CalloutReply<'_>) -> T,
) -> T {
    let failed = |failure| CalloutReply::Failed(failure);
    // Hosts report a callout that failed as a reply without headers.
    if num_headers == 0 {
        return take(failed(CalloutFailure::NoResponse));
    }
    if body_size > max_body {
        return take(failed(CalloutFailure::TooLarge));
    }
    let Ok(map) = hostcalls::header_map(MapType::HttpCallResponseHeaders) else {
        return take(failed(CalloutFailure::NoResponse));
    };
    let mut fields = Vec::new();
    if pairs::parse(&map, &mut fields).is_none() {
        return take(failed(CalloutFailure::NoResponse));
    }
    let Some(status) = status_of(&fields) else {
        return take(failed(CalloutFailure::NoResponse));
    };
    fields.retain(|(name, _)| !name.starts_with(b":"));
    let body = match body_size {
        0 => Ok(Vec::new()),
        _ => hostcalls::buffer(BufferType::HttpCallResponseBody, body_size),
    };
    match body {
        Ok(body) if body.len() == body_size => take(CalloutReply::Response(HttpResponse {
            status,
            headers: &fields,
            body: &body,
        })),
        _ => take(failed(CalloutFailure::Truncated)),
    }
}

/// Logs that a callout could not even be sent, which is mostly for want of an upstream.
pub fn warn_not_sent(callout: &Callout, status: Status) {
    let Callout {
        upstream,
        authority,
        ..
    } = callout;
    log::warn(format_args!(
        "callout to {authority} not sent: {status}; does the proxy know the upstream `{upstream}`? See callouts.upstreams"
    ));
}

/// What is wrong with a reply, for the log; `None` for one that was of use.
pub fn problem(reply: CalloutReply<'_>, of_use: bool) -> Option<String> {
    match reply {
        CalloutReply::Response(_) if of_use => None,
        CalloutReply::Response(r) if matches!(r.status, 200 | 304) => {
            Some("the answer is not usable".to_owned())
        }
        CalloutReply::Response(r) => Some(format!("status {}", r.status)),
        CalloutReply::Failed(failure) => Some(format!("{failure:?}")),
    }
}

fn status_of(fields: &[Field<'_>]) -> Option<u16> {
    let (_, value) = fields.iter().find(|(name, _)| *name == b":status")?;
    let status = std::str::from_utf8(value).ok()?.parse().ok()?;
    (100..600).contains(&status).then_some(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_three_digits() {
        let of = |value: &'static [u8]| status_of(&[(b"x", b"1"), (b":status", value)]);
        assert_eq!(of(b"200"), Some(200));
        for bad in [&b""[..], b"20", b"600", b"-200", b"200 OK", b"\xff"] {
            assert_eq!(of(bad), None);
        }
        assert_eq!(status_of(&[]), None);
    }

    #[test]
    fn a_reply_without_headers_or_with_too_much_body_is_a_failure() {
        let failure = |num_headers, body_size| {
            receive(num_headers, body_size, 10, |reply| match reply {
                CalloutReply::Failed(failure) => Some(failure),
                CalloutReply::Response(_) => None,
            })
        };
        assert_eq!(failure(0, 0), Some(CalloutFailure::NoResponse));
        assert_eq!(failure(0, 11), Some(CalloutFailure::NoResponse));
        assert_eq!(failure(1, 11), Some(CalloutFailure::TooLarge));
    }
}

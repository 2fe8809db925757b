//! A request whose body is hashed before it may go on.
//!
//! On Envoy the headers are held back with `StopIteration`, which shows the body only with `allow_on_headers_stop_iteration`, and the
//! body with `StopIterationAndBuffer`: each callback then sees all of it so far, and nothing reaches the next filter before the last
//! one answers `Continue`. A body beyond the connection's buffer limit is answered with 413 by Envoy itself.

use std::time::Duration;

use portcullis_core::NeedBody;
use portcullis_core::audit::AuditLine;
use portcullis_core::reason::Code;
use portcullis_core::time::UnixTime;
use portcullis_host::abi::{Action, BufferType, MapType};
use portcullis_host::{hostcalls, log, pairs};

use crate::request;
use crate::root::Root;
use crate::vm::{Common, Stream};

/// How long a request may be held without any of its body. Clients send it at once; what makes them late is a proxy
/// that does not show it, and then nobody else would ever end the request.
const PATIENCE: Duration = Duration::from_secs(30);

/// A held request.
pub(crate) struct Hashing {
    need: NeedBody,
    /// Octets of the body so far that have been hashed.
    hashed: usize,
    /// When to give it up if nothing has come by then.
    deadline: UnixTime,
    /// What to report should it end before its body.
    pub cancelled: Option<AuditLine>,
    /// When it arrived.
    pub began_nanos: u64,
}

/// Holds a request back until its body is known.
pub(crate) fn hold(
    common: &mut Common,
    root: &mut Root,
    stream: Stream,
    need: NeedBody,
    began_nanos: u64,
    now: UnixTime,
) -> Action {
    let held = root.held();
    let Some(auth) = &mut root.auth else {
        return request::refuse(common, root, Code::NoPolicy, now, began_nanos);
    };
    if stream.end_of_stream {
        let step = need.finish(auth, now);
        return request::finish(common, root, step, began_nanos, now);
    }
    let why_not = if held >= auth.policy().limits.waiting_requests {
        Code::TooManyWaiting
    } else if let Some(action) = common.kind.wait_for_body() {
        let cancelled = need.cancelled_audit(auth, now);
        request::leave_behind(common, root, cancelled.as_ref(), began_nanos);
        let hashing = Hashing {
            need,
            hashed: 0,
            deadline: now + PATIENCE,
            cancelled,
            began_nanos,
        };
        root.hashing.insert(stream.context_id, hashing);
        return action;
    } else {
        Code::BodyNotSeen
    };
    let step = need.abandon(auth, why_not, now);
    request::finish(common, root, step, began_nanos, now)
}

/// A part of a body has arrived; `size` is all of it so far.
pub(crate) fn on_body(common: &mut Common, root: &mut Root, stream: Stream, size: usize) -> Action {
    let Some(mut hashing) = root.hashing.remove(&stream.context_id) else {
        return Action::Continue;
    };
    let part = match size.checked_sub(hashing.hashed) {
        Some(0) => Some(Vec::new()),
        Some(new) => hostcalls::buffer_part(BufferType::HttpRequestBody, hashing.hashed, new)
            .ok()
            .filter(|part| part.len() == new),
        // Less than before: whatever this buffer is, it is not the whole body.
        None => None,
    };
    let Some(part) = part else {
        return end(common, root, hashing, Some(Code::HostFailure));
    };
    hashing.hashed = size;
    let more = hashing.need.update(&part);
    if stream.end_of_stream || !more {
        return end(common, root, hashing, None);
    }
    root.hashing.insert(stream.context_id, hashing);
    Action::Pause
}

/// The body has ended, and trailers follow it.
pub(crate) fn on_trailers(common: &mut Common, root: &mut Root, context_id: u32) -> Action {
    let Some(mut hashing) = root.hashing.remove(&context_id) else {
        return Action::Continue;
    };
    let mut trailers = Vec::new();
    let map = hostcalls::header_map(MapType::HttpRequestTrailers);
    let read = map
        .as_ref()
        .ok()
        .and_then(|map| pairs::parse(map, &mut trailers));
    if read.is_none() {
        return end(common, root, hashing, Some(Code::HostFailure));
    }
    for (name, _) in &trailers {
        hashing.need.trailer(name);
    }
    end(common, root, hashing, None)
}

/// Judges a request with its body, or refuses it.
fn end(common: &mut Common, root: &mut Root, hashing: Hashing, why_not: Option<Code>) -> Action {
    let began_nanos = hashing.began_nanos;
    // What depends on the time was judged when the request came.
    let now = hostcalls::now().unwrap_or(UnixTime::from_millis(began_nanos / 1_000_000));
    let Some(auth) = &mut root.auth else {
        return request::refuse(common, root, Code::NoPolicy, now, began_nanos);
    };
    let step = match why_not {
        Some(code) => hashing.need.abandon(auth, code, now),
        None => hashing.need.finish(auth, now),
    };
    request::finish(common, root, step, began_nanos, now)
}

/// Refuses the requests of which no body has been seen for too long.
pub(crate) fn give_up(common: &mut Common, root: &mut Root, now: UnixTime) {
    let late: Vec<u32> = root
        .hashing
        .iter()
        .filter(|(_, h)| h.hashed == 0 && now >= h.deadline)
        .map(|(context_id, _)| *context_id)
        .collect();
    for context_id in &late {
        let Some(hashing) = root.hashing.remove(context_id) else {
            continue;
        };
        log::warn(
            "nothing of a signed request's body was seen; is allow_on_headers_stop_iteration set in the plugin's configuration?",
        );
        if hostcalls::set_effective_context(*context_id).is_err() {
            request::cancelled(common, &root.sinks, hashing.cancelled, hashing.began_nanos);
            continue;
        }
        end(common, root, hashing, Some(Code::BodyNotSeen));
    }
    if !late.is_empty() {
        let _ = hostcalls::set_effective_context(root.id());
    }
}

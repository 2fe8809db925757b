//! Waiting where a request can be let go only in the callback of a callout of its own (nginx): each sends what it waits for by itself,
//! and is decided in that callback. Whoever is answered first serves the others too, once theirs come back.
//!
//! What has to hold in every path through here: a request is paused only with a callout under way; a callback never ends without a
//! decision or another callout; nothing is answered twice; no other context is touched. An entry of `Root::waiting` is a request
//! that has exactly one callout under way, and it is taken out before anything is done about it.

use portcullis_core::NeedCallout;
use portcullis_core::authenticator::Purpose;
use portcullis_core::callout::{CalloutFailure, CalloutReply};
use portcullis_core::decision::Step;
use portcullis_core::metrics::Id;
use portcullis_core::reason::Code;
use portcullis_core::time::UnixTime;
use portcullis_host::abi::Action;
use portcullis_host::{callouts, hostcalls, log};

use crate::request::{carry_out, finish, leave_behind, moment, refuse};
use crate::root::{Root, Waiting, tell_operator, tell_others, warn_of};
use crate::vm::Common;

/// A callout that a request has sent by itself.
pub(crate) struct OwnCallout {
    token: u32,
    purpose: Purpose,
    max_body: usize,
    sent_at: UnixTime,
}

/// Has a request send what it waits for.
pub(crate) fn hold(
    common: &mut Common,
    root: &mut Root,
    context_id: u32,
    mut need: NeedCallout,
    began_nanos: u64,
    now: UnixTime,
) -> Action {
    let held = root.held();
    let Some(auth) = &mut root.auth else {
        return refuse(common, root, Code::NoPolicy, now, began_nanos);
    };
    if held >= auth.policy().limits.waiting_requests {
        need.forsake(auth);
        let step = need.abandon(auth, Code::TooManyWaiting, now);
        return finish(common, root, step, began_nanos, now);
    }
    go_on(
        common,
        root,
        context_id,
        Step::NeedCallout(need),
        began_nanos,
        now,
    )
}

/// A request's own callout was answered, or failed.
pub(crate) fn on_reply(
    common: &mut Common,
    root: &mut Root,
    context_id: u32,
    token: u32,
    num_headers: usize,
    body_size: usize,
) {
    // Decided before; a second answer would be a trap.
    let Some(Waiting {
        mut need,
        own,
        began_nanos,
        ..
    }) = root.waiting.remove(&context_id)
    else {
        log::critical("a callout came back to a request that does not wait");
        return;
    };
    let Some(auth) = &mut root.auth else {
        let now = UnixTime::from_millis(began_nanos / 1_000_000);
        refuse(common, root, Code::NoPolicy, now, began_nanos);
        return;
    };
    let (own, now) = match (own, hostcalls::now()) {
        (Some(own), Ok(now)) if own.token == token => (own, now),
        // Not its callout, or nobody knows what time it is.
        (_, now) => {
            let now = now.unwrap_or(UnixTime::from_millis(began_nanos / 1_000_000));
            need.forsake(auth);
            let step = need.abandon(auth, Code::HostFailure, now);
            finish(common, root, step, began_nanos, now);
            return;
        }
    };
    let millis = u64::try_from(now.since(own.sent_at).as_millis()).unwrap_or(u64::MAX);
    common.metrics.record(Id::CalloutMs, millis);
    let (step, problem) = callouts::receive(num_headers, body_size, own.max_body, |reply| {
        let (step, of_use) = need.reply(auth, reply, now);
        (step, callouts::problem(reply, of_use))
    });
    match problem {
        None => common.metrics.increment(Id::CalloutOk),
        Some(problem) => {
            common.metrics.increment(Id::CalloutFailed);
            warn_of(&own.purpose, &problem);
        }
    }
    tell_others(common, auth, now);
    tell_operator(common, auth);
    go_on(common, root, context_id, step, began_nanos, now);
}

/// Carries a step out: decides the request, or sends its next callout and lets it wait for that.
fn go_on(
    common: &mut Common,
    root: &mut Root,
    context_id: u32,
    mut step: Step,
    began_nanos: u64,
    now: UnixTime,
) -> Action {
    // It ends: every round asks once more, and a request may ask so often and no more.
    loop {
        let mut need = match step {
            Step::Done(decision) => {
                return carry_out(decision, &mut moment(common, root, began_nanos), false);
            }
            Step::NeedCallout(need) => need,
            // No credential has to wait for both, and no body is shown here.
            Step::NeedBody(need) => {
                let Some(auth) = &mut root.auth else {
                    return refuse(common, root, Code::NoPolicy, now, began_nanos);
                };
                step = need.abandon(auth, Code::BodyNotSeen, now);
                continue;
            }
        };
        let Some(auth) = &mut root.auth else {
            return refuse(common, root, Code::NoPolicy, now, began_nanos);
        };
        let Some((callout, purpose)) = need.callout(auth, now) else {
            let code = need.unavailable();
            need.forsake(auth);
            step = need.abandon(auth, code, now);
            continue;
        };
        match callouts::send(common.kind, &callout) {
            Ok(token) => {
                let cancelled = need.cancelled_audit(auth, now);
                leave_behind(common, root, cancelled.as_ref(), began_nanos);
                let waiting = Waiting {
                    need,
                    own: Some(OwnCallout {
                        token,
                        purpose,
                        max_body: callout.max_body,
                        sent_at: now,
                    }),
                    cancelled,
                    began_nanos,
                };
                root.waiting.insert(context_id, waiting);
                return common.kind.hold_back();
            }
            Err(status) => {
                callouts::warn_not_sent(&callout, status);
                common.metrics.increment(Id::CalloutFailed);
                let failed = CalloutReply::Failed(CalloutFailure::NotSent);
                step = need.reply(auth, failed, now).0;
            }
        }
    }
}

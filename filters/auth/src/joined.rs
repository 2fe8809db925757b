//! Waiting where a host lets any callback resume any request (Envoy): the root context sends one callout for all who wait for the
//! same, and resumes them when it has ended, or at their deadline.

use portcullis_core::NeedCallout;
use portcullis_core::decision::Step;
use portcullis_core::reason::Code;
use portcullis_core::time::UnixTime;
use portcullis_host::abi::Action;
use portcullis_host::hostcalls;

use crate::request::{carry_out, finish, leave_behind, moment, refuse};
use crate::root::{Root, Waiting};
use crate::vm::Common;

/// Holds a request back until what it waits for is there.
pub(crate) fn hold(
    common: &mut Common,
    root: &mut Root,
    context_id: u32,
    need: NeedCallout,
    began_nanos: u64,
    now: UnixTime,
) -> Action {
    let mut waiting = Waiting {
        need,
        own: None,
        cancelled: None,
        began_nanos,
    };
    let held = root.held();
    let Some(auth) = &mut root.auth else {
        return refuse(common, root, Code::NoPolicy, now, waiting.began_nanos);
    };
    if held >= auth.policy().limits.waiting_requests {
        let step = waiting.need.abandon(auth, Code::TooManyWaiting, now);
        return finish(common, root, step, waiting.began_nanos, now);
    }
    // The fetch is the root's: this request may end before it. Whatever goes wrong in between, the tick sends it.
    if hostcalls::set_effective_context(root.id()).is_ok() {
        root.send_due(common, now);
    }
    resume_ready(common, root, Some(context_id), now);
    let Some(auth) = &mut root.auth else {
        return refuse(common, root, Code::NoPolicy, now, waiting.began_nanos);
    };
    if waiting.need.ready(auth, now) {
        // It could not even be sent, or another worker has just brought it.
        match waiting.need.resume(auth, now) {
            Step::NeedCallout(need) => waiting.need = need,
            step => return finish(common, root, step, waiting.began_nanos, now),
        }
    }
    waiting.cancelled = waiting.need.cancelled_audit(auth, now);
    leave_behind(
        common,
        root,
        waiting.cancelled.as_ref(),
        waiting.began_nanos,
    );
    root.waiting.insert(context_id, waiting);
    common.kind.hold_back()
}

/// Judges every held request that can be, and lets it go or answers it. Leaves `return_to` (or the root) as the effective
/// context.
pub fn resume_ready(common: &mut Common, root: &mut Root, return_to: Option<u32>, now: UnixTime) {
    if !common.kind.resumes_across_contexts() {
        return;
    }
    let Some(auth) = &root.auth else { return };
    let ready: Vec<u32> = root
        .waiting
        .iter()
        .filter(|(_, waiting)| waiting.need.ready(auth, now))
        .map(|(context_id, _)| *context_id)
        .collect();
    for context_id in &ready {
        let (Some(auth), Some(mut waiting)) = (&mut root.auth, root.waiting.remove(context_id))
        else {
            continue;
        };
        // Another request's headers must not be touched in its place.
        if hostcalls::set_effective_context(*context_id).is_err() {
            // It is still held, so the next tick tries again; a request that is gone was deleted, and is in no list.
            root.waiting.insert(*context_id, waiting);
            continue;
        }
        match waiting.need.resume(auth, now) {
            Step::Done(decision) => {
                carry_out(
                    decision,
                    &mut moment(common, root, waiting.began_nanos),
                    true,
                );
            }
            Step::NeedCallout(need) => {
                waiting.need = need;
                root.waiting.insert(*context_id, waiting);
            }
            // No credential has to wait for both, and a body that was held back whole is not shown any more.
            Step::NeedBody(need) => {
                let Some(auth) = &mut root.auth else { continue };
                if let Step::Done(decision) = need.abandon(auth, Code::HostFailure, now) {
                    let mut moment = moment(common, root, waiting.began_nanos);
                    carry_out(decision, &mut moment, true);
                }
            }
        }
    }
    if return_to.is_some() || !ready.is_empty() {
        let _ = hostcalls::set_effective_context(return_to.unwrap_or(root.id()));
    }
}

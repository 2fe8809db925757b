//! One request, from its headers to its fate.

use std::time::Duration;

use portcullis_core::Authenticator;
use portcullis_core::answer::Field as AnswerField;
use portcullis_core::audit::{AuditLine, without_request};
use portcullis_core::decision::{Allow, Decision, Denial, Limited, Step};
use portcullis_core::metrics::{Cache, Outcome, Tally};
use portcullis_core::policy::AuditSink;
use portcullis_core::reason::Code;
use portcullis_core::request::RequestHead;
use portcullis_core::time::UnixTime;
use portcullis_host::abi::{Action, LogLevel, MapType};
use portcullis_host::host_kind::HostKind;
use portcullis_host::metrics::Metrics;
use portcullis_host::pairs::{self, Field};
use portcullis_host::status::Status;
use portcullis_host::{audit, hostcalls, log, shared_bucket};

use crate::body;
use crate::refusal;
use crate::root::{Root, Waiting};
use crate::vm::{Common, Stream};

/// What carrying out one decision needs.
pub struct Moment<'a> {
    /// The proxy around us.
    pub kind: HostKind,
    /// Metric ids.
    pub metrics: &'a mut Metrics,
    /// Where the audit event goes.
    pub sinks: &'a [AuditSink],
    /// When the request arrived; 0 if that is not known.
    pub began_nanos: u64,
}

/// A request's headers have arrived.
pub fn on_headers(
    common: &mut Common,
    root: &mut Root,
    stream: Stream,
    memory: &mut Vec<Field<'static>>,
) -> Action {
    let began_nanos = hostcalls::now_nanos();
    let now = UnixTime::from_millis(began_nanos / 1_000_000);
    let Some(auth) = &mut root.auth else {
        return refuse(common, root, Code::NoPolicy, now, began_nanos);
    };
    // A clock at zero would make every expired token valid.
    if began_nanos == 0 {
        return refuse(common, root, Code::HostFailure, now, began_nanos);
    }
    let step = match hostcalls::header_map(MapType::HttpRequestHeaders) {
        Ok(map) => {
            let mut fields = pairs::recycle(std::mem::take(memory));
            let step = pairs::parse(&map, &mut fields)
                .map(|()| judge(common.kind, auth, &mut fields, now));
            *memory = pairs::recycle(fields);
            step
        }
        Err(_) => None,
    };
    match step {
        Some(Step::Done(decision)) => {
            carry_out(decision, &mut moment(common, root, began_nanos), false)
        }
        Some(Step::NeedCallout(need)) => {
            let waiting = Waiting {
                need,
                cancelled: None,
                began_nanos,
            };
            hold(common, root, stream.context_id, waiting, now)
        }
        Some(Step::NeedBody(need)) => body::hold(common, root, stream, need, began_nanos, now),
        None => refuse(common, root, Code::HostFailure, now, began_nanos),
    }
}

/// The request's head as the core wants it, and the core's answer.
fn judge<'a>(
    kind: HostKind,
    auth: &mut Authenticator,
    fields: &mut Vec<Field<'a>>,
    now: UnixTime,
) -> Step {
    let (mut method, mut path, mut authority): (&[u8], &[u8], &[u8]) = (b"", b"", b"");
    fields.retain(|(name, value)| {
        match *name {
            b":method" => method = value,
            b":path" => path = value,
            b":authority" => authority = value,
            _ => return !name.starts_with(b":"),
        }
        false
    });
    // nginx decodes `:path` and fills `:authority` with its own name; these are the client's.
    let raw_path = match kind {
        HostKind::Nginx => hostcalls::property(b"request\0path").unwrap_or_default(),
        HostKind::Envoy => Vec::new(),
    };
    if kind == HostKind::Nginx {
        path = &raw_path;
        authority = fields
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(b"host"))
            .map_or(authority, |(_, value)| value);
    }
    // A property costs more than all the rest; ask only if it is going to be used.
    let remote_addr = if auth.wants_remote_addr() {
        hostcalls::property(b"source\0address").ok()
    } else {
        None
    };
    let head = RequestHead {
        method,
        path,
        authority,
        headers: fields,
        remote_addr: remote_addr
            .as_deref()
            .and_then(|address| std::str::from_utf8(address).ok()),
    };
    auth.begin(&head, now)
}

/// Holds a request back until its keys are there, unless they can't come.
fn hold(
    common: &mut Common,
    root: &mut Root,
    context_id: u32,
    mut waiting: Waiting,
    now: UnixTime,
) -> Action {
    let held = root.held();
    let Some(auth) = &mut root.auth else {
        return refuse(common, root, Code::NoPolicy, now, waiting.began_nanos);
    };
    let limit = auth.policy().limits.waiting_requests;
    let why_not = if !common.kind.resumes_across_contexts() {
        // The fetch belongs to the root context, and only a request's own callout can let it go on here.
        Some(waiting.need.unavailable())
    } else if held >= limit {
        Some(Code::TooManyWaiting)
    } else {
        None
    };
    if let Some(code) = why_not {
        let step = waiting.need.abandon(auth, code, now);
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

/// Should the client go away, no callback comes in time to write this for the access log; the decision overwrites it.
pub(crate) fn leave_behind(
    common: &mut Common,
    root: &Root,
    cancelled: Option<&AuditLine>,
    began_nanos: u64,
) {
    if let Some(line) = cancelled
        && root.sinks.contains(&AuditSink::FilterState)
    {
        let line = line.clone().finish(elapsed(began_nanos));
        audit::leave_behind(common.kind, &line, &mut common.metrics);
    }
}

/// Judges every held request that can be, and lets it go or answers it. Leaves `return_to` (or the root) as the effective
/// context.
pub fn resume_ready(common: &mut Common, root: &mut Root, return_to: Option<u32>, now: UnixTime) {
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
            cancelled(common, &root.sinks, waiting.cancelled, waiting.began_nanos);
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

/// The stream is gone. If it still waited, nobody is left to answer, but it is counted and written down.
pub fn on_delete(common: &mut Common, root: &mut Root, context_id: u32) {
    if let Some(waiting) = root.waiting.remove(&context_id) {
        cancelled(common, &root.sinks, waiting.cancelled, waiting.began_nanos);
    }
    if let Some(hashing) = root.hashing.remove(&context_id) {
        cancelled(common, &root.sinks, hashing.cancelled, hashing.began_nanos);
    }
}

pub(crate) fn cancelled(
    common: &mut Common,
    sinks: &[AuditSink],
    line: Option<AuditLine>,
    began_nanos: u64,
) {
    common.metrics.count(&Tally {
        provider: None,
        outcome: Outcome::Denied(Code::Cancelled),
        cache: Cache::None,
    });
    // The filter state has it already.
    if let Some(line) = line
        && sinks.contains(&AuditSink::Log)
    {
        hostcalls::log(LogLevel::Info, &line.finish(elapsed(began_nanos)));
    }
}

pub(crate) fn finish(
    common: &mut Common,
    root: &Root,
    step: Step,
    began_nanos: u64,
    now: UnixTime,
) -> Action {
    match step {
        Step::Done(decision) => carry_out(decision, &mut moment(common, root, began_nanos), false),
        Step::NeedCallout(_) | Step::NeedBody(_) => {
            refuse(common, root, Code::HostFailure, now, began_nanos)
        }
    }
}

fn moment<'a>(common: &'a mut Common, root: &'a Root, began_nanos: u64) -> Moment<'a> {
    Moment {
        kind: common.kind,
        metrics: &mut common.metrics,
        sinks: &root.sinks,
        began_nanos,
    }
}

/// Carries out a decision on the effective context. `held` says that the request was held back before.
fn carry_out(decision: Decision, moment: &mut Moment<'_>, held: bool) -> Action {
    match decision {
        Decision::Deny(denial) => deny(denial, moment),
        Decision::Limited(limited) => match charge(&limited, moment.kind) {
            Ok(taken) => carry_out(limited.settle(taken), moment, held),
            // Nobody knows how many requests there were.
            Err(status) => {
                log::critical(format_args!("a rate limit could not be kept: {status}"));
                host_failure(moment)
            }
        },
        Decision::Serve(served) => {
            report(None, Some(&served.tally), moment);
            let details = "portcullis_resource_metadata";
            answer(
                served.status,
                details,
                &served.headers,
                &served.body,
                moment,
            )
        }
        Decision::Allow(allow) => match apply(&allow) {
            Ok(()) => {
                report(allow.audit, allow.tally.as_ref(), moment);
                if let Some(id) = allow.count {
                    moment.metrics.increment(id);
                }
                if held && let Err(status) = hostcalls::continue_request() {
                    log::critical(format_args!("a request could not be resumed: {status}"));
                }
                Action::Continue
            }
            // A request that still carries a spoofed header, or lacks its identity, must not go on.
            Err(status) => {
                log::critical(format_args!(
                    "request headers could not be changed: {status}"
                ));
                host_failure(moment)
            }
        },
    }
}

/// Takes a request out of its key's bucket.
fn charge(limited: &Limited, kind: HostKind) -> Result<Result<(), Duration>, Status> {
    shared_bucket::charge(limited, kind, hostcalls::now()?)
}

fn apply(allow: &Allow) -> Result<(), Status> {
    for name in &allow.remove {
        hostcalls::remove_request_header(name)?;
    }
    for (name, value) in &allow.set {
        hostcalls::set_request_header(name.as_bytes(), value.as_bytes())?;
    }
    Ok(())
}

/// Answers the request on the effective context.
pub fn deny(denial: Denial, moment: &mut Moment<'_>) -> Action {
    let details = format!("portcullis_{}", denial.code);
    report(denial.audit, denial.tally.as_ref(), moment);
    answer(
        denial.status,
        &details,
        &denial.headers,
        &denial.body,
        moment,
    )
}

fn answer(
    status: u16,
    details: &str,
    headers: &[AnswerField],
    body: &str,
    moment: &Moment<'_>,
) -> Action {
    let headers: Vec<(&str, &str)> = headers
        .iter()
        .map(|(name, value)| (*name, &**value))
        .collect();
    if let Err(status) = hostcalls::send_local_response(status, details, &headers, body) {
        // It hangs until a timeout ends it; that is better than letting it through.
        log::critical(format_args!("a request could not be answered: {status}"));
    }
    moment.kind.hold_back()
}

fn report(line: Option<AuditLine>, tally: Option<&Tally>, moment: &mut Moment<'_>) {
    if let Some(line) = line {
        let line = line.finish(elapsed(moment.began_nanos));
        audit::emit(moment.sinks, moment.kind, &line, moment.metrics);
    }
    if let Some(tally) = tally {
        moment.metrics.count(tally);
    }
}

fn host_failure(moment: &mut Moment<'_>) -> Action {
    let now = UnixTime::from_millis(moment.began_nanos / 1_000_000);
    let line = without_request(Code::HostFailure, now, "").finish(elapsed(moment.began_nanos));
    audit::emit(moment.sinks, moment.kind, &line, moment.metrics);
    deny(refusal::denial(Code::HostFailure), moment)
}

/// Refuses a request that the core has not seen.
pub(crate) fn refuse(
    common: &mut Common,
    root: &Root,
    code: Code,
    now: UnixTime,
    began_nanos: u64,
) -> Action {
    let version = root.auth.as_ref().map_or("", |a| &a.policy().version);
    let line = without_request(code, now, version).finish(elapsed(began_nanos));
    let mut moment = moment(common, root, began_nanos);
    audit::emit(moment.sinks, moment.kind, &line, moment.metrics);
    deny(refusal::denial(code), &mut moment)
}

fn elapsed(began_nanos: u64) -> Duration {
    Duration::from_nanos(hostcalls::now_nanos().saturating_sub(began_nanos))
}

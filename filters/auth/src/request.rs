//! One request, from its headers to its fate.

use std::time::Duration;

use portcullis_core::Authenticator;
use portcullis_core::answer::Field as AnswerField;
use portcullis_core::audit::{AuditLine, without_request};
use portcullis_core::decision::{Decision, Denial, Limited, Step};
use portcullis_core::metrics::{Cache, Outcome, Tally};
use portcullis_core::policy::AuditSink;
use portcullis_core::reason::Code;
use portcullis_core::request::RequestHead;
use portcullis_core::time::UnixTime;
use portcullis_host::abi::{Action, MapType};
use portcullis_host::host_kind::HostKind;
use portcullis_host::metrics::Metrics;
use portcullis_host::pairs::{self, Field};
use portcullis_host::status::Status;
use portcullis_host::{audit, forward, hostcalls, log, shared_bucket};

use crate::refusal;
use crate::root::Root;
use crate::vm::{Common, Stream};
use crate::{body, joined, own};

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
    if let Err(fault) = forward::begin(common.kind) {
        log::critical(fault);
        return refuse(common, root, Code::HostFailure, now, began_nanos);
    }
    let Some(auth) = &mut root.auth else {
        return refuse(common, root, Code::NoPolicy, now, began_nanos);
    };
    // A clock at zero would make every expired token valid.
    if began_nanos == 0 {
        return refuse(common, root, Code::HostFailure, now, began_nanos);
    }
    let mut stream = stream;
    let step = match hostcalls::header_map(MapType::HttpRequestHeaders) {
        Ok(map) => {
            let mut fields = pairs::recycle(std::mem::take(memory));
            let step = match pairs::parse(&map, &mut fields) {
                Some(()) if common.kind.may_be_cut(&fields) => Err(Code::TooManyHeaders),
                Some(()) => {
                    stream.end_of_stream |= common.kind.has_no_body(&fields);
                    judge(common.kind, auth, &mut fields, now)
                }
                None => Err(Code::HostFailure),
            };
            *memory = pairs::recycle(fields);
            step
        }
        Err(_) => Err(Code::HostFailure),
    };
    match step {
        Ok(Step::Done(decision)) => {
            carry_out(decision, &mut moment(common, root, began_nanos), false)
        }
        Ok(Step::NeedCallout(need)) if common.kind.resumes_across_contexts() => {
            joined::hold(common, root, stream.context_id, need, began_nanos, now)
        }
        Ok(Step::NeedCallout(need)) => {
            own::hold(common, root, stream.context_id, need, began_nanos, now)
        }
        Ok(Step::NeedBody(need)) => body::hold(common, root, stream, need, began_nanos, now),
        Err(code) => refuse(common, root, code, now, began_nanos),
    }
}

/// The request's head as the core wants it, and the core's answer; an error where the head can't be had.
fn judge<'a>(
    kind: HostKind,
    auth: &mut Authenticator,
    fields: &mut Vec<Field<'a>>,
    now: UnixTime,
) -> Result<Step, Code> {
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
    let raw_path;
    if kind.rewrites_pseudo_headers() {
        raw_path = hostcalls::property(b"request\0path").map_err(|_| Code::HostFailure)?;
        path = &raw_path;
        // The server's own name is no substitute: whom a request names decides which agent it is for.
        authority = fields
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(b"host"))
            .map_or(b"", |(_, value)| value);
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
    Ok(auth.begin(&head, now))
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

/// The stream is gone. If it still waited, nobody is left to answer, but it is counted and written down.
pub fn on_delete(common: &mut Common, root: &mut Root, context_id: u32) {
    if let Some(mut waiting) = root.waiting.remove(&context_id) {
        if waiting.own.is_some()
            && let Some(auth) = &mut root.auth
        {
            waiting.need.forsake(auth);
        }
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
    if let Some(line) = line {
        audit::emit_late(sinks, &line.finish(elapsed(began_nanos)));
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

pub(crate) fn moment<'a>(common: &'a mut Common, root: &'a Root, began_nanos: u64) -> Moment<'a> {
    Moment {
        kind: common.kind,
        metrics: &mut common.metrics,
        sinks: &root.sinks,
        began_nanos,
    }
}

/// Carries out a decision on the effective context. `held` says that the request was held back before, and has to be told to go on.
pub(crate) fn carry_out(decision: Decision, moment: &mut Moment<'_>, held: bool) -> Action {
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
        Decision::Allow(allow) => {
            // A request that still carries a spoofed header, or lacks its identity, must not go on.
            if let Err(fault) = forward::prepare(moment.kind, &allow) {
                log::critical(fault);
                return host_failure(moment);
            }
            report(allow.audit, allow.tally.as_ref(), moment);
            if let Some(id) = allow.count {
                moment.metrics.increment(id);
            }
            if let Err(fault) = forward::open(moment.kind) {
                log::critical(fault);
                return host_failure(moment);
            }
            if held && let Err(status) = hostcalls::continue_request() {
                log::critical(format_args!("a request could not be resumed: {status}"));
            }
            Action::Continue
        }
    }
}

/// Takes a request out of its key's bucket.
fn charge(limited: &Limited, kind: HostKind) -> Result<Result<(), Duration>, Status> {
    shared_bucket::charge(limited, kind, hostcalls::now()?)
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
    let details = if moment.kind.keeps_details() {
        details
    } else {
        ""
    };
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

pub(crate) fn elapsed(began_nanos: u64) -> Duration {
    Duration::from_nanos(hostcalls::now_nanos().saturating_sub(began_nanos))
}

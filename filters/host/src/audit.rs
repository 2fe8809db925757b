//! Hands audit events to their sinks.

use portcullis_core::metrics::Id;
use portcullis_core::policy::AuditSink;

use crate::abi::LogLevel;
use crate::host_kind::HostKind;
use crate::hostcalls;
use crate::metrics::Metrics;

/// Hands one event to every sink. The request's context must be the effective one.
pub fn emit(sinks: &[AuditSink], kind: HostKind, line: &str, metrics: &mut Metrics) {
    for sink in sinks {
        match sink {
            AuditSink::FilterState => leave_behind(kind, line, metrics),
            AuditSink::Log => hostcalls::log(LogLevel::Info, line),
        }
    }
}

/// Hands an event to the sinks that do not have it from [`leave_behind`]: for a request that nobody waits for any longer.
pub fn emit_late(sinks: &[AuditSink], line: &str) {
    for sink in sinks {
        match sink {
            AuditSink::FilterState => {}
            AuditSink::Log => hostcalls::log(LogLevel::Info, line),
        }
    }
}

/// Leaves an event where the access log finds it when the request ends. A later one takes its place.
pub fn leave_behind(kind: HostKind, line: &str, metrics: &mut Metrics) {
    if hostcalls::set_property(kind.audit_property(), line.as_bytes()).is_err() {
        metrics.increment(Id::AuditDropped);
    }
}

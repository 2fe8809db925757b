//! Lets a request go on: tells the upstream who calls, in the way that this host offers.

use std::fmt;

use portcullis_core::decision::Allow;

use crate::host_kind::HostKind;
use crate::hostcalls;
use crate::nginx::{self, Undeclared};
use crate::status::Status;

/// Why a request could not be made ready for its upstream. It must not go on.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// A request header could not be removed or set.
    Header(Status),
    /// A variable could not be set.
    Variable(Undeclared),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(status) => write!(f, "request headers could not be changed: {status}"),
            Self::Variable(undeclared) => undeclared.fmt(f),
        }
    }
}

/// A request has come and is not judged yet.
///
/// # Errors
/// What keeps the host from refusing everything that is not let in explicitly.
pub fn begin(kind: HostKind) -> Result<(), Fault> {
    match kind {
        HostKind::Envoy => Ok(()),
        HostKind::Nginx => nginx::shut().map_err(Fault::Variable),
    }
}

/// Takes from a request what its upstream must not see, and adds who calls.
///
/// # Errors
/// What could not be changed.
pub fn prepare(kind: HostKind, allow: &Allow) -> Result<(), Fault> {
    match kind {
        HostKind::Envoy => headers(allow).map_err(Fault::Header),
        HostKind::Nginx => nginx::identify(allow).map_err(Fault::Variable),
    }
}

/// The request may go on. After everything else that could fail.
///
/// # Errors
/// The host could not be told.
pub fn open(kind: HostKind) -> Result<(), Fault> {
    match kind {
        HostKind::Envoy => Ok(()),
        HostKind::Nginx => nginx::open().map_err(Fault::Variable),
    }
}

fn headers(allow: &Allow) -> Result<(), Status> {
    for name in &allow.remove {
        hostcalls::remove_request_header(name)?;
    }
    for (name, value) in &allow.set {
        hostcalls::set_request_header(name.as_bytes(), value.as_bytes())?;
    }
    Ok(())
}

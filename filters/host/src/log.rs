//! The filter's own messages. Hosts prefix them; callers never put a credential, a key or a whole
//! configuration in.

use std::fmt::Display;

use crate::abi::LogLevel;
use crate::hostcalls;

/// Something an operator may want to know.
pub fn info(message: impl Display) {
    hostcalls::log(LogLevel::Info, &message.to_string());
}

/// Something an operator should change.
pub fn warn(message: impl Display) {
    hostcalls::log(LogLevel::Warn, &message.to_string());
}

/// Something that keeps callers out.
pub fn error(message: impl Display) {
    hostcalls::log(LogLevel::Error, &message.to_string());
}

/// A bug of ours or of the host's; always reported.
pub fn critical(message: impl Display) {
    hostcalls::log(LogLevel::Critical, &message.to_string());
}

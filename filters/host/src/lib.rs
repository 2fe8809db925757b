//! The proxy side of Portcullis: the proxy-wasm ABI 0.2.1, and what differs between the hosts that speak it.
//!
//! [`abi`] is the wire, [`hostcalls`] makes it safe and fallible, [`exports`] is how the host gets in. Above that
//! stand the core's wishes carried out: [`forward`], [`callouts`], [`metrics`], [`audit`], [`verifier`] and, for one fetch a process,
//! [`shared_fetch`], for one rate limit a process, [`shared_bucket`]. Nothing in here decides about a request.

pub mod abi;
pub mod audit;
pub mod callouts;
pub mod contexts;
pub mod exports;
pub mod forward;
pub mod host_kind;
pub mod hostcalls;
pub mod log;
pub mod metrics;
pub mod nginx;
pub mod pairs;
pub mod plugin_config;
mod protobuf;
pub mod shared_bucket;
pub mod shared_fetch;
pub mod status;
pub mod verifier;

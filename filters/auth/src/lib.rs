//! The shipped filter: the core's decisions, carried out by a proxy.
//!
//! [`vm`] holds what one VM knows and receives the host's callbacks; [`root`] is one configuration and its
//! background fetches; [`request`] is one request from its headers to its fate, [`body`] one whose
//! body has a say in that. One that waits is [`joined`] to the root context's callout, or sends its [`own`], as the host allows.

pub mod body;
pub mod joined;
pub mod own;
pub mod refusal;
pub mod request;
pub mod root;
pub mod vm;

portcullis_host::export_filter!(crate::vm::Portcullis);

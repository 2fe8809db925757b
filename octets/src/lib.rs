//! What every request has done to all octets of its credential and of what is said about it.
//!
//! The core is compiled to be small. These few loops run over hundreds of octets a request, and compiled for speed they take sixteen at
//! a time. None of them is inlined: where it is, the caller's way of being compiled counts.

pub mod base64url;
pub mod text;

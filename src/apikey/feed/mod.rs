//! Keys and agents that come from a service, polled by revision: docs/keys-feed.md is the wire format.
//!
//! [`page`] is one answer of it, read strictly.

pub mod page;

pub use self::page::{KeyChange, Page, PageError, Unreadable};

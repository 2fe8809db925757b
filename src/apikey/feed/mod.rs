//! Keys and agents that come from a service, polled by revision, and what the service is told of their use: docs/keys-feed.md is the
//! wire format.
//!
//! [`page`] is one answer of it, read strictly; [`source`] asks, puts answers together and says what may be relied upon; [`usage`] counts and
//! reports; [`store`] holds all of it over reloads; [`notice`] is what an operator hears;
//! [`policy`] is what he wrote.

pub mod notice;
pub mod page;
pub mod policy;
pub mod source;
pub mod store;
pub mod usage;

pub use self::notice::{FeedProblem, Notice};
pub use self::page::{KeyChange, Page, PageError, Unreadable};
pub use self::policy::{FeedPolicy, FeedToken, UsagePolicy};
pub use self::source::{FeedSource, Snapshot, View};
pub use self::store::{FeedId, FeedStore};
pub use self::usage::KeyUse;

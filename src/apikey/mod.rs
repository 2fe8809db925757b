//! API keys: secrets that are bound to one agent, one workspace, one organisation, or the agents of one user.
//!
//! [`mod@format`] is what a caller presents, [`record`] what an operator keeps of it (never the key, only its digest), [`table`] the
//! records as a request is judged by them, [`bucket`] the rate limit of one key, [`failures`] what keeps guessing cheap for us, [`feed`]
//! where records come from that do not stand in the configuration.
//! The provider that ties them together is [`crate::provider::api_key`].

pub mod bucket;
pub mod failures;
pub mod feed;
pub mod format;
mod names;
pub mod record;
pub mod table;

pub use self::format::{ApiKey, KeyId};
pub use self::table::KeyTable;

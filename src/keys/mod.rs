//! The keys of others: fetched, kept, refreshed, and shared between workers (design section 4).
//!
//! [`source::KeySource`] is the life of one issuer's key set, a state machine without IO.
//! [`store::KeyStore`] holds the sources of one VM.

pub mod discovery;
pub mod lease;
pub mod source;
pub mod store;

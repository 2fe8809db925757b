//! The core as a host sees it: requests in, steps out, with simulated time and issuers.
//! The same tests run natively and in Node.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by panicking"
)]

mod api_keys;
mod aws;
mod azure;
mod chain;
mod gcp_iap;
mod github;
mod http_verifier;
mod hygiene;
mod key_feed;
mod key_usage;
mod keys;
mod oidc;
mod own_callouts;
mod pairs;
mod resource_metadata;
mod sigv4;
mod support;

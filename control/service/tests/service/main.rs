//! The service by its HTTP API, on SQLite and on a real PostgreSQL: the same tests on both.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]

#[macro_use]
mod harness;

mod access;
mod agents;
mod audit;
mod feed;
mod keys;
mod openapi;
mod page;
mod restore;
mod usage;

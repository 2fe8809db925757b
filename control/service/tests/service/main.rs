//! The service by its HTTP API, on SQLite and on a real PostgreSQL: the same tests on both.

#[macro_use]
mod harness;

mod access;
mod agents;
mod audit;
mod feed;
mod keys;
mod openapi;
mod restore;
mod usage;

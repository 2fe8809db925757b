//! The key service: agents, keys and usage over HTTP, the feed that filters follow, and the web page.
//!
//! ```text
//! api, page ─► manage (checks, does, audits: one transaction each) ─► store (SQLite or PostgreSQL)
//!     └► auth (who is there) └► access (what they may)                    └► revisions ─► feed (long polls)
//! ```

pub mod access;
pub mod api;
pub mod app;
pub mod auth;
pub mod demo;
pub mod feed;
pub mod manage;
pub mod model;
pub mod options;
pub mod page;
pub mod problem;
pub mod secret;
pub mod state;
pub mod store;

//! What must hold for any input at all. Each target is a function of bytes that panics when it does not hold: run by
//! the fuzzer (`make fuzz`), and over the seeds and every input that ever failed by `cargo test`.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a target says what is wrong by panicking"
)]

pub mod claims;
pub mod configuration;
pub mod es256;
pub mod feed;
pub mod jwk_set;
pub mod rsa;
pub mod sequence;
pub mod token;

/// A target: its name, and what must not panic.
pub type Target = (&'static str, fn(&[u8]));

/// Every target, by the name of its binary without `fuzz-`, which is also its folder in `seeds`.
pub const TARGETS: [Target; 8] = [
    ("token", token::run),
    ("jwk-set", jwk_set::run),
    ("claims", claims::run),
    ("configuration", configuration::run),
    ("feed", feed::run),
    ("sequence", sequence::run),
    ("es256", es256::run),
    ("rsa", rsa::run),
];

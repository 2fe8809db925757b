//! `limits`: every bound.

use std::time::Duration;

use super::compile::{Compiler, HOUR, MINUTE, SECOND};
use super::read::{Path, Span, object};
use crate::limits::Limits;

const MEGA: u64 = 1_000_000;

object! {
    /// Every bound.
    pub struct LimitsConfig {
        /// Bytes of a credential: 256 to 1048576. The proxy's own bound on request headers comes first (Envoy: 60 KiB in all).
        token_bytes: u64 = 32768,
        /// Bytes of a JWKS or discovery document: 256 to 16777216.
        jwks_bytes: u64 = 1048576,
        /// Keys of one set: 1 to 100000.
        jwks_keys: u64 = 1024,
        /// How long the last good key set serves on when it can't be refreshed: `0s` to `7d`.
        jwks_grace: Span = "1h",
        /// The least time between two fetches that an unknown `kid` may cause, per issuer: `1s` to `1h`.
        unknown_kid_interval: Span = "30s",
        /// Unknown `kid`s remembered per issuer: 1 to 1000000.
        unknown_kids: u64 = 1000,
        /// Verified tokens remembered per worker: 0 to 10000000.
        cached_tokens: u64 = 100000,
        /// Bytes that the remembered tokens may take together: 0 to 2147483648.
        cached_token_bytes: u64 = 104857600,
        /// Tokens remembered because they failed: 0 to 1000000.
        failed_tokens: u64 = 1000,
        /// How long a failed token is remembered: `0s` to `1m`.
        failed_token_ttl: Span = "5s",
        /// Wrong API keys from one address within a minute, per worker, before further ones are refused unread: 0 (no such bound) to
        /// 1000000. The right key still gets in from there.
        key_failures: u64 = 30,
        /// Addresses that such failures are counted for, per worker: 1 to 1000000.
        key_failure_sources: u64 = 10000,
        /// Bytes of one page of a key feed: 65536 to 67108864.
        feed_page_bytes: u64 = 8388608,
        /// Keys of one key feed, and agents: 1 to 10000000.
        feed_keys: u64 = 1000000,
        /// Uses of keys (a row for each key, agent and minute) that wait to be reported, per worker: 1 to 1000000.
        key_uses: u64 = 10000,
        /// Requests of one worker that wait for a callout at the same time: 1 to 1000000.
        waiting_requests: u64 = 10000,
        /// Answers of others (STS, verifiers, directories) remembered per worker: 16 to 10000000.
        lookups: u64 = 20000,
        /// Bytes that these may take together: 1048576 to 2147483648.
        lookup_bytes: u64 = 33554432,
        /// Questions to others that one worker has open at the same time: 1 to 100000.
        lookups_in_flight: u64 = 512,
    }
}

pub(super) fn compile(
    written: Option<&LimitsConfig>,
    at: &Path<'_>,
    compiler: &mut Compiler<'_>,
) -> Limits {
    let none = LimitsConfig::default();
    let written = written.unwrap_or(&none);
    let default = Limits::default();
    macro_rules! bounded {
        ($($name:ident: $kind:ident in $bounds:expr,)+) => {
            Limits {
                $($name: {
                    let at = at.key(stringify!($name));
                    compiler.$kind(written.$name, default.$name, $bounds, &at)
                },)+
            }
        };
    }
    bounded! {
        token_bytes: size in 256..=1 << 20,
        jwks_bytes: size in 256..=16 << 20,
        jwks_keys: size in 1..=100_000,
        jwks_grace: span in Duration::ZERO..=7 * 24 * HOUR,
        unknown_kid_interval: span in SECOND..=HOUR,
        unknown_kids: size in 1..=MEGA,
        cached_tokens: size in 0..=10 * MEGA,
        cached_token_bytes: size in 0..=2 << 30,
        failed_tokens: size in 0..=MEGA,
        failed_token_ttl: span in Duration::ZERO..=MINUTE,
        key_failures: size in 0..=MEGA,
        key_failure_sources: size in 1..=MEGA,
        feed_page_bytes: size in 1 << 16..=64 << 20,
        feed_keys: size in 1..=10 * MEGA,
        key_uses: size in 1..=MEGA,
        waiting_requests: size in 1..=MEGA,
        lookups: size in 16..=10 * MEGA,
        lookup_bytes: size in 1 << 20..=2 << 30,
        lookups_in_flight: size in 1..=100_000,
    }
}

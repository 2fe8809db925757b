//! Every bound, each with its reason. All can be set under `limits:`.

use std::time::Duration;

use crate::jose::JoseLimits;

/// Bounds on what a caller, an issuer or a cache may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a credential. Envoy's default cap on all request headers is 60 KiB; Azure tokens with 200
    /// groups reach about 10 KiB.
    pub token_bytes: usize,
    /// Bytes of a JWKS or discovery document. Microsoft's, with certificates, is about 30 KiB; a megabyte of JSON parses in milliseconds.
    pub jwks_bytes: usize,
    /// Keys of one set. Google serves 3, Microsoft about 10, SPIFFE bundles of big federations some hundreds; look-up is by hash of `kid`, so more cost only memory.
    pub jwks_keys: usize,
    /// How long the last good key set serves on when it can't be refreshed.
    pub jwks_grace: Duration,
    /// The least time between two fetches that an unknown `kid` may cause, per issuer.
    pub unknown_kid_interval: Duration,
    /// Unknown `kid`s remembered per issuer.
    pub unknown_kids: usize,
    /// Verified tokens remembered per worker.
    pub cached_tokens: usize,
    /// Bytes that the remembered tokens may take together.
    pub cached_token_bytes: usize,
    /// Tokens remembered because they failed.
    pub failed_tokens: usize,
    /// How long a failed token is remembered.
    pub failed_token_ttl: Duration,
    /// Wrong API keys from one address within a minute, per worker, before further ones are refused unread. Someone who mistypes
    /// does so a few times; check characters catch nearly all of that before. 0 for no such bound.
    pub key_failures: usize,
    /// Addresses that such failures are counted for, per worker: 16 bytes each.
    pub key_failure_sources: usize,
    /// Bytes of one page of a key feed. A service sends about 4 MiB at most.
    pub feed_page_bytes: usize,
    /// Keys of one feed, and agents: 100 to 200 bytes each in every worker, twice that while a snapshot replaces another.
    pub feed_keys: usize,
    /// Rows of uses (a key, an agent, a minute) that wait to be reported, per worker: some 100 bytes each.
    pub key_uses: usize,
    /// Requests of one worker that wait for a callout at the same time.
    pub waiting_requests: usize,
    /// Answers of others (STS, verifiers, directories) remembered per worker.
    pub lookups: usize,
    /// Bytes that these may take together.
    pub lookup_bytes: usize,
    /// Questions to others that one worker has open at the same time; Envoy's default for one cluster is 1,024 requests.
    pub lookups_in_flight: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            token_bytes: JoseLimits::DEFAULT.token_bytes,
            jwks_bytes: 1024 * 1024,
            jwks_keys: 1024,
            jwks_grace: Duration::from_secs(3600),
            unknown_kid_interval: Duration::from_secs(30),
            unknown_kids: 1000,
            cached_tokens: 100_000,
            cached_token_bytes: 100 * 1024 * 1024,
            failed_tokens: 1000,
            failed_token_ttl: Duration::from_secs(5),
            key_failures: 30,
            key_failure_sources: 10_000,
            feed_page_bytes: 8 * 1024 * 1024,
            feed_keys: 1_000_000,
            key_uses: 10_000,
            waiting_requests: 10_000,
            lookups: 20_000,
            lookup_bytes: 32 * 1024 * 1024,
            lookups_in_flight: 512,
        }
    }
}

impl Limits {
    /// The bounds of [`crate::jose`] under these.
    pub fn jose(&self) -> JoseLimits {
        JoseLimits {
            token_bytes: self.token_bytes,
            jwks_bytes: self.jwks_bytes,
            jwks_keys: self.jwks_keys,
            ..JoseLimits::DEFAULT
        }
    }
}

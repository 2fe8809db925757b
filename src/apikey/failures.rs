//! Failed keys by source address: what keeps guessing cheap for us and says so to the guesser.
//!
//! An address that has presented too many wrong keys within a minute is over its budget. From then on a key from there whose id
//! is not known is answered at once, with 429 and without a digest. A key whose id is known is still judged: many callers share
//! one address behind a NAT or a proxy, and nobody may lock out his neighbours by guessing badly.
//!
//! Only what could be a guess counts: a well-formed key that is unknown, or whose secret is wrong. A mistyped one costs no
//! look-up anyway, and who presents an expired or revoked key has proven that it was his.
//!
//! Each worker counts for itself, so a caller has the budget once for each.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use foldhash::quality::FixedState;

use crate::time::UnixTime;

/// What the budget is counted over.
const WINDOW: Duration = Duration::from_secs(60);

/// A source: an IPv4 address, or the /64 of an IPv6 address, all of which one customer has for himself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source([u8; 8]);

impl Source {
    /// Reads an address as hosts write it: `192.0.2.7:1234`, `[2001:db8::1]:1234`, or without port.
    pub fn parse(text: &str) -> Option<Self> {
        let host = match text.strip_prefix('[') {
            Some(v6) => v6.split_once(']')?.0,
            None => match text.split_once(':') {
                Some((v4, port)) if !port.contains(':') => v4,
                _ => text,
            },
        };
        let address: IpAddr = host.parse().ok()?;
        let mut out = [0; 8];
        match address.to_canonical() {
            IpAddr::V4(v4) => {
                // No /64 of the Internet begins with zeros (RFC 4291 section 2.4 reserves them).
                for (to, from) in out.iter_mut().rev().zip(v4.octets().iter().rev()) {
                    *to = *from;
                }
            }
            IpAddr::V6(v6) => {
                for (to, from) in out.iter_mut().zip(v6.octets()) {
                    *to = from;
                }
            }
        }
        Some(Self(out))
    }
}

/// The failures of the current minute.
#[derive(Debug)]
pub struct Failures {
    counts: HashMap<Source, u32, FixedState>,
    since: UnixTime,
}

impl Failures {
    /// None so far. Addresses come from outside, so nobody must be able to predict `hasher`.
    pub fn new(hasher: &FixedState) -> Self {
        Self {
            counts: HashMap::with_hasher(hasher.clone()),
            since: UnixTime::default(),
        }
    }

    /// Counts one. Beyond `max` addresses new ones are not counted: they cost what they would have cost without a budget.
    pub fn count(&mut self, source: Source, max: usize, now: UnixTime) {
        self.turn(now);
        if let Some(count) = self.counts.get_mut(&source) {
            *count = count.saturating_add(1);
        } else if self.counts.len() < max {
            self.counts.insert(source, 1);
        }
    }

    /// How long an address that has used up `budget` has to wait.
    pub fn exhausted(&mut self, source: Source, budget: u32, now: UnixTime) -> Option<Duration> {
        self.turn(now);
        let over = self.counts.get(&source).is_some_and(|n| *n >= budget);
        over.then(|| (self.since + WINDOW).since(now))
    }

    fn turn(&mut self, now: UnixTime) {
        // A clock that was set back begins a new minute as well.
        if now < self.since || now.since(self.since) >= WINDOW {
            self.counts.clear();
            self.since = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const T0: UnixTime = UnixTime::from_secs(1_800_000_000);

    fn source(text: &str) -> Source {
        Source::parse(text).unwrap()
    }

    #[test]
    fn one_caller_is_one_source() {
        assert_eq!(source("192.0.2.7:1"), source("192.0.2.7:2"));
        assert_eq!(source("192.0.2.7"), source("[::ffff:192.0.2.7]:1"));
        assert_eq!(source("[2001:db8::1]:1"), source("2001:db8::ffff:2"));
        assert_ne!(source("2001:db8:0:1::1"), source("2001:db8:0:2::1"));
        assert_ne!(source("192.0.2.7"), source("192.0.2.8"));
        for none in ["", "@", "/run/envoy.sock", "192.0.2", "unix:"] {
            assert_eq!(Source::parse(none), None, "{none}");
        }
    }

    #[test]
    fn a_budget_for_each_minute() {
        let mut failures = Failures::new(&FixedState::default());
        let (a, b) = (source("192.0.2.7"), source("192.0.2.8"));
        for _ in 0..3 {
            assert_eq!(failures.exhausted(a, 3, T0), None);
            failures.count(a, 10, T0);
        }
        let later = T0 + Duration::from_secs(20);
        assert_eq!(
            failures.exhausted(a, 3, later),
            Some(Duration::from_secs(40))
        );
        assert_eq!(failures.exhausted(b, 3, later), None);
        assert_eq!(failures.exhausted(a, 3, T0 + WINDOW), None);
    }

    #[test]
    fn bounded() {
        let mut failures = Failures::new(&FixedState::default());
        for i in 0..100 {
            failures.count(source(&format!("192.0.2.{i}")), 10, T0);
        }
        assert_eq!(failures.counts.len(), 10);
        assert!(failures.exhausted(source("192.0.2.0"), 1, T0).is_some());
        assert!(failures.exhausted(source("192.0.2.99"), 1, T0).is_none());
        // The clock went back: nobody waits for a minute that is a day away.
        failures.count(source("192.0.2.0"), 10, T0 - Duration::from_secs(86_400));
        assert_eq!(failures.counts.len(), 1);
    }
}

//! The rate limit of one key: a token bucket whose state lies in a store that all workers share.
//!
//! The core does the arithmetic, a host the exchange: read the state, [`RateLimit::take`], write it back by
//! compare-and-swap, and begin anew if another worker was faster. Everything is whole numbers: a token is `per`
//! milliseconds' worth of units, and every millisecond adds `requests` units, so nothing is rounded and no request is gained
//! or lost however often the state is read.

use std::time::Duration;

use crate::time::UnixTime;

/// How many requests a key may make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RateLimit {
    /// Requests in each `per`, in the long run. At least 1.
    requests: u32,
    /// Milliseconds. At least 1.
    per: u32,
    /// Requests that may come at once: the bucket's size. At least 1.
    burst: u32,
}

impl RateLimit {
    /// `requests` in each `per`, of which `burst` may come at once. `None` for what is zero or beyond four billion.
    pub fn new(requests: u64, per: Duration, burst: u64) -> Option<Self> {
        let number = |n: u64| u32::try_from(n).ok().filter(|n| *n > 0);
        Some(Self {
            requests: number(requests)?,
            per: number(u64::try_from(per.as_millis()).ok()?)?,
            burst: number(burst)?,
        })
    }

    /// Requests in each [`Self::per`].
    pub const fn requests(&self) -> u32 {
        self.requests
    }

    /// The time that [`Self::requests`] is counted over.
    pub const fn per(&self) -> Duration {
        Duration::from_millis(self.per as u64)
    }

    /// Requests that may come at once.
    pub const fn burst(&self) -> u32 {
        self.burst
    }

    /// Takes one request out of a bucket, or says when there is one to take. No state is a full bucket.
    pub fn take(&self, state: Option<Bucket>, now: UnixTime) -> Taken {
        let bucket = self.refilled(state, now);
        let token = u64::from(self.per);
        match bucket.units.checked_sub(token) {
            Some(units) => Taken::Yes(Bucket { units, ..bucket }),
            None => {
                let missing = token.saturating_sub(bucket.units);
                // `requests` is never 0; written so that nobody has to know.
                let millis = missing.div_ceil(u64::from(self.requests).max(1));
                Taken::No {
                    retry_after: Duration::from_millis(millis),
                }
            }
        }
    }

    fn refilled(&self, state: Option<Bucket>, now: UnixTime) -> Bucket {
        let per = u64::from(self.per);
        let full = u64::from(self.burst) * per;
        // A state from further ahead than one `per` is no race between workers but a clock that was set back. Waiting for it to
        // be reached might take days, so the bucket begins anew.
        let Some(state) = state.filter(|s| s.at.since(now) <= self.per()) else {
            return Bucket {
                units: full,
                per: self.per,
                at: now,
            };
        };
        // The limit has changed since: the same number of requests is left, in the new units.
        let units = match u64::from(state.per) {
            old if old == per => state.units,
            0 => 0,
            old => {
                let scaled = u128::from(state.units) * u128::from(per) / u128::from(old);
                u64::try_from(scaled).unwrap_or(full)
            }
        };
        let elapsed = now.as_millis().saturating_sub(state.at.as_millis());
        let gained = elapsed.saturating_mul(u64::from(self.requests));
        // Never back: of two workers whose clocks were read in one order and whose writes came in the other, the later reading
        // stays, or the same millisecond would be paid for twice.
        Bucket {
            units: units.saturating_add(gained).min(full),
            per: self.per,
            at: state.at.max(now),
        }
    }
}

/// What became of [`RateLimit::take`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Let it through once this is stored.
    Yes(Bucket),
    /// Nothing left, and nothing to store.
    No {
        /// Until there is a request to take.
        retry_after: Duration,
    },
}

/// The state of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    units: u64,
    per: u32,
    at: UnixTime,
}

/// The form of a stored state; another one is not read.
const VERSION: u8 = 1;
const LENGTH: usize = 1 + 8 + 4 + 8;

/// A stored state that can't be read: written by another version, or by something else under this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

/// Whose bucket a stored value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// Ours.
    Own(Bucket),
    /// Another key's: the store knows names by a digest of 32 bits (nginx), and these two share it.
    Foreign,
}

impl Bucket {
    /// The value to store. It carries its own name, because not every store compares names in full.
    pub fn encode(&self, name: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(LENGTH + name.len());
        out.push(VERSION);
        out.extend(self.units.to_le_bytes());
        out.extend(self.per.to_le_bytes());
        out.extend(self.at.as_millis().to_le_bytes());
        out.extend(name.as_bytes());
        out
    }

    /// Reads a stored value.
    ///
    /// # Errors
    /// [`Unreadable`]: the caller must not take it for an empty store, or whoever can break it is without limits.
    pub fn decode(bytes: &[u8], name: &str) -> Result<Stored, Unreadable> {
        let (fixed, stored_name) = bytes.split_first_chunk::<LENGTH>().ok_or(Unreadable)?;
        let (version, rest) = fixed.split_first().ok_or(Unreadable)?;
        let (units, rest) = rest.split_first_chunk::<8>().ok_or(Unreadable)?;
        let (per, at) = rest.split_first_chunk::<4>().ok_or(Unreadable)?;
        let at: [u8; 8] = at.try_into().map_err(|_| Unreadable)?;
        if *version != VERSION {
            return Err(Unreadable);
        }
        if stored_name != name.as_bytes() {
            return Ok(Stored::Foreign);
        }
        Ok(Stored::Own(Self {
            units: u64::from_le_bytes(*units),
            per: u32::from_le_bytes(*per),
            at: UnixTime::from_millis(u64::from_le_bytes(at)),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const T0: UnixTime = UnixTime::from_secs(1_800_000_000);

    fn limit(requests: u64, secs: u64, burst: u64) -> RateLimit {
        RateLimit::new(requests, Duration::from_secs(secs), burst).unwrap()
    }

    /// How many of `tries` requests at that moment get through.
    fn through(limit: RateLimit, state: &mut Option<Bucket>, tries: usize, now: UnixTime) -> usize {
        (0..tries)
            .filter(|_| match limit.take(*state, now) {
                Taken::Yes(bucket) => {
                    *state = Some(bucket);
                    true
                }
                Taken::No { .. } => false,
            })
            .count()
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let limit = limit(600, 60, 20);
        let mut state = None;
        assert_eq!(through(limit, &mut state, 100, T0), 20);
        // Ten a second.
        assert_eq!(
            limit.take(state, T0),
            Taken::No {
                retry_after: Duration::from_millis(100)
            }
        );
        assert_eq!(
            through(limit, &mut state, 9, T0 + Duration::from_millis(99)),
            0
        );
        assert_eq!(
            through(limit, &mut state, 9, T0 + Duration::from_millis(100)),
            1
        );
        assert_eq!(
            through(limit, &mut state, 99, T0 + Duration::from_millis(1100)),
            10
        );
        assert_eq!(
            through(limit, &mut state, 99, T0 + Duration::from_secs(3600)),
            20
        );
    }

    #[test]
    fn nothing_is_rounded_away_or_gained() {
        // Seven a second does not divide; asked every millisecond for ten minutes.
        let limit = limit(7, 1, 3);
        let mut state = None;
        let got: usize = (0..600_000)
            .map(|ms| through(limit, &mut state, 2, T0 + Duration::from_millis(ms)))
            .sum();
        assert_eq!(got, 3 + 7 * 600 - 1);
    }

    #[test]
    fn a_later_reading_that_is_stored_first() {
        let limit = limit(1, 1, 10);
        let mut state = None;
        through(limit, &mut state, 10, T0);
        let later = T0 + Duration::from_secs(1);
        assert_eq!(through(limit, &mut state, 5, later), 1);
        // A worker whose clock was read before: no second helping for the second in between.
        assert_eq!(through(limit, &mut state, 5, T0), 0);
        assert_eq!(through(limit, &mut state, 5, later), 0);
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_stop_the_refill() {
        let limit = limit(10, 1, 10);
        let mut state = None;
        let future = T0 + Duration::from_secs(86_400);
        through(limit, &mut state, 10, future);
        assert_eq!(through(limit, &mut state, 99, T0), 10);
        assert_eq!(
            through(limit, &mut state, 99, T0 + Duration::from_secs(1)),
            10
        );
    }

    #[test]
    fn another_limit_takes_over_what_is_left() {
        let mut state = None;
        through(limit(10, 1, 10), &mut state, 4, T0);
        assert_eq!(through(limit(10, 60, 10), &mut state, 99, T0), 6);
        let mut state = None;
        through(limit(100, 60, 100), &mut state, 1, T0);
        assert_eq!(through(limit(100, 60, 5), &mut state, 99, T0), 5);
    }

    #[test]
    fn what_is_no_limit() {
        let second = Duration::from_secs(1);
        assert_eq!(RateLimit::new(0, second, 1), None);
        assert_eq!(RateLimit::new(1, Duration::ZERO, 1), None);
        assert_eq!(RateLimit::new(1, second, 0), None);
        assert_eq!(RateLimit::new(1 << 32, second, 1), None);
        let widest = limit(u64::from(u32::MAX), 4_000_000, u64::from(u32::MAX));
        assert!(matches!(widest.take(None, UnixTime::MAX), Taken::Yes(_)));
    }

    #[test]
    fn stored_and_read_again() {
        let Taken::Yes(bucket) = limit(600, 60, 20).take(None, T0) else {
            panic!("full");
        };
        let bytes = bucket.encode("rate/a");
        assert_eq!(Bucket::decode(&bytes, "rate/a"), Ok(Stored::Own(bucket)));
        assert_eq!(Bucket::decode(&bytes, "rate/b"), Ok(Stored::Foreign));
        assert_eq!(Bucket::decode(&bytes[..20], "rate/a"), Err(Unreadable));
        assert_eq!(Bucket::decode(&[], "rate/a"), Err(Unreadable));
        let mut other = bytes;
        other[0] = 9;
        assert_eq!(Bucket::decode(&other, "rate/a"), Err(Unreadable));
    }
}

//! One fetch in flight per key source across the workers of a process, and its result shared.
//!
//! Workers share nothing but a key-value store with compare-and-swap. Per source there is one small
//! record (who fetches, or how the last fetch ended) and one document (the serialized key set). This
//! file is the protocol without the store: bytes read from it go in, what to do and what to write
//! comes out. A host runs it as
//!
//! 1. before the first callout of a fetch: read the record, [`claim`], and on [`Claim::Take`] write the
//!    returned record with the compare-and-swap token of the read. Only if that write succeeds it fetches;
//!    on a mismatch it begins again at the read;
//! 2. after the fetch: [`publish`], the document first and then the record;
//! 3. while another worker fetches, and now and then anyway: read the record, [`observe`].
//!
//! The invariant: **the store can only save fetches, never prevent them for longer than a lease.**
//! Whatever cannot be read, belongs to another source (nginx compares only a CRC-32 of the
//! keys) or names a time further ahead than this file would ever write counts as absent. All workers of
//! a process read one clock, so times in records need no allowance for skew.

use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::time::UnixTime;

/// The longest lease that is honoured. Fetches are bounded by two callout timeouts; a record that claims
/// more than this is garbage, and must not keep every worker from fetching.
const MAX_LEASE: Duration = Duration::from_secs(120);

/// The longest failure that is honoured, for the same reason. Backoff stays well below.
const MAX_BACKOFF: Duration = Duration::from_secs(3600);

/// Begins every record; the digit is the format's version.
const RECORD_MAGIC: &str = "portcullis-lease-1";

/// Begins every document.
const DOCUMENT_MAGIC: &str = "portcullis-keys-1";

/// The key of a source's record in the shared store.
pub fn record_key(source: &str) -> String {
    format!("portcullis.lease.{}", source_hash(source))
}

/// The key of a source's document in the shared store.
pub fn document_key(source: &str) -> String {
    format!("portcullis.keys.{}", source_hash(source))
}

/// 128 bits of the source's SHA-256, in hex: short, and collisions have to be searched for. Those are
/// caught all the same, because the whole source stands in every value.
fn source_hash(source: &str) -> String {
    let digest = Sha256::digest(source.as_bytes());
    let mut hex = String::with_capacity(32);
    for byte in digest.iter().take(16) {
        for nibble in [byte >> 4, byte & 15] {
            hex.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
    }
    hex
}

/// Names a worker for as long as it lives, so that it touches only leases of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worker(pub u64);

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// Nobody fetches and nothing is known. Written ahead of the first fetch, because some stores
    /// compare only when there is something to compare with.
    Idle,
    /// A worker fetches; its lease ends then.
    Fetching {
        /// When others may stop waiting for it.
        until: UnixTime,
        /// Who fetches.
        by: Worker,
    },
    /// The document was fetched then.
    Fetched {
        /// When, by the worker's clock.
        at: UnixTime,
    },
    /// The last fetch failed.
    Failed {
        /// Nobody should fetch before.
        retry_at: UnixTime,
    },
}

impl Record {
    /// The bytes for the store.
    pub fn encode(self, source: &str) -> Vec<u8> {
        let state = match self {
            Self::Idle => "idle 0 0".to_owned(),
            Self::Fetching { until, by } => format!("fetching {} {}", until.as_millis(), by.0),
            Self::Fetched { at } => format!("fetched {} 0", at.as_millis()),
            Self::Failed { retry_at } => format!("failed {} 0", retry_at.as_millis()),
        };
        format!("{RECORD_MAGIC} {state}\n{source}").into_bytes()
    }

    /// Reads what [`Record::encode`] wrote for the same source. `None` for anything else, and for times that no
    /// worker would have written at `now`.
    fn decode(bytes: &[u8], source: &str, now: UnixTime) -> Option<Self> {
        let (head, of) = std::str::from_utf8(bytes).ok()?.split_once('\n')?;
        let mut words = head.split(' ');
        let (magic, state) = (words.next()?, words.next()?);
        let time = UnixTime::from_millis(words.next()?.parse().ok()?);
        let by = Worker(words.next()?.parse().ok()?);
        if of != source || magic != RECORD_MAGIC || words.next().is_some() {
            return None;
        }
        match state {
            "idle" => Some(Self::Idle),
            "fetching" if time <= now + MAX_LEASE => Some(Self::Fetching { until: time, by }),
            // A fetch that ends in the future: the clock was set back since.
            "fetched" if time <= now + MAX_LEASE => Some(Self::Fetched { at: time }),
            "failed" if time <= now + MAX_BACKOFF => Some(Self::Failed { retry_at: time }),
            _ => None,
        }
    }
}

/// What a worker that wants to fetch should do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Write this record with the token of the read; fetch if that succeeds, read again if it mismatches.
    Take(Vec<u8>),
    /// Another worker fetches. Wait for it until then.
    Wait(UnixTime),
    /// Another worker has fetched since: read the document instead of fetching.
    Adopt(UnixTime),
    /// Another worker's fetch has just failed. Don't fetch before then.
    Failed(UnixTime),
}

/// Decides who fetches. `seen` is the record as read (`None` if absent), `have` when the key set that the
/// worker holds was fetched, `lease` how long its own fetch may take.
pub fn claim(
    seen: Option<&[u8]>,
    source: &str,
    have: Option<UnixTime>,
    worker: Worker,
    lease: Duration,
    now: UnixTime,
) -> Claim {
    match seen.and_then(|bytes| Record::decode(bytes, source, now)) {
        Some(Record::Fetching { until, by }) if until > now && by != worker => Claim::Wait(until),
        Some(Record::Fetched { at }) if have.is_none_or(|have| at > have) => Claim::Adopt(at),
        Some(Record::Failed { retry_at }) if retry_at > now => Claim::Failed(retry_at),
        _ => {
            let until = now + lease.min(MAX_LEASE);
            Claim::Take(Record::Fetching { until, by: worker }.encode(source))
        }
    }
}

/// What a look at the record tells a worker that does not want to fetch right now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// Nothing to do.
    None,
    /// Another worker has fetched since: read the document.
    Newer(UnixTime),
    /// The fetch that this worker waits for has failed.
    Failed(UnixTime),
    /// The fetch that this worker waits for was given up, or its lease ran out: it may claim.
    Abandoned,
}

/// Looks at a record. `waiting` says that the worker put its own fetch off for another's.
pub fn observe(
    seen: Option<&[u8]>,
    source: &str,
    have: Option<UnixTime>,
    waiting: bool,
    now: UnixTime,
) -> News {
    match seen.and_then(|bytes| Record::decode(bytes, source, now)) {
        Some(Record::Fetched { at }) if have.is_none_or(|have| at > have) => News::Newer(at),
        Some(Record::Failed { retry_at }) if waiting && retry_at > now => News::Failed(retry_at),
        Some(Record::Fetching { until, .. }) if until > now => News::None,
        _ if waiting => News::Abandoned,
        _ => News::None,
    }
}

/// How a worker's own fetch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With a key set, fetched then.
    Fetched {
        /// When.
        at: UnixTime,
    },
    /// With nothing usable.
    Failed {
        /// When the worker will try again.
        retry_at: UnixTime,
    },
    /// It was given up unfinished (the worker's configuration went away).
    GivenUp,
}

/// The record to write, with the token of the read, when a fetch has ended; `None` to leave it alone.
///
/// A key set is worth telling even when the lease was lost meanwhile, unless a newer one is there. A failure is told
/// by the worker that holds the lease only: another's fetch may yet succeed.
pub fn publish(
    seen: Option<&[u8]>,
    source: &str,
    ended: Ended,
    worker: Worker,
    now: UnixTime,
) -> Option<Vec<u8>> {
    let record = seen.and_then(|bytes| Record::decode(bytes, source, now));
    let mine = matches!(record, Some(Record::Fetching { by, .. }) if by == worker);
    let next = match ended {
        Ended::Fetched { at } => match record {
            Some(Record::Fetched { at: theirs }) if theirs >= at => return None,
            _ => Record::Fetched { at },
        },
        Ended::Failed { retry_at } if mine => Record::Failed { retry_at },
        Ended::GivenUp if mine => Record::Idle,
        Ended::Failed { .. } | Ended::GivenUp => return None,
    };
    Some(next.encode(source))
}

/// The bytes of a document for the store.
pub fn encode_document(source: &str, at: UnixTime, document: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "{DOCUMENT_MAGIC} {} {}\n{source}",
        at.as_millis(),
        source.len()
    )
    .into_bytes();
    bytes.extend_from_slice(document);
    bytes
}

/// Reads what [`encode_document`] wrote for the same source, if it is at least as new as the record said.
/// `None` for anything else: then the caller has to fetch by itself.
pub fn decode_document<'a>(
    bytes: &'a [u8],
    source: &str,
    at_least: UnixTime,
) -> Option<(UnixTime, &'a [u8])> {
    let line_end = bytes.iter().position(|b| *b == b'\n')?;
    let (head, rest) = (bytes.get(..line_end)?, bytes.get(line_end + 1..)?);
    let mut words = std::str::from_utf8(head).ok()?.split(' ');
    let magic = words.next()?;
    let at = UnixTime::from_millis(words.next()?.parse().ok()?);
    let source_len: usize = words.next()?.parse().ok()?;
    let of = rest.get(..source_len)?;
    (magic == DOCUMENT_MAGIC && of == source.as_bytes() && at >= at_least)
        .then(|| rest.get(source_len..).map(|document| (at, document)))?
}

#[cfg(test)]
mod tests;

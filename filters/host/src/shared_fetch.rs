//! Runs the lease protocol of [`portcullis_core::keys::lease`] over the host's shared data.
//!
//! A shared store that fails only costs the saving: the worker then fetches by itself.

use std::collections::BTreeMap;
use std::time::Duration;

use portcullis_core::keys::lease::{self, Claim, Ended, News, Record, Worker};
use portcullis_core::time::UnixTime;

use crate::host_kind::HostKind;
use crate::hostcalls;
use crate::status::Status;

/// Lost races in a row before a worker stops competing and just waits a moment.
const MAX_RACES: usize = 4;

/// How long it waits then.
const RACE_PAUSE: Duration = Duration::from_millis(200);

/// What to do about a fetch that is about to begin.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Fetch.
    Fetch,
    /// Another worker does. Its result is there by then, or the lease is free.
    Wait(UnixTime),
    /// Another worker has already: this is the document.
    Adopt(Vec<u8>),
    /// Another worker has tried and failed. Not before then.
    Failed(UnixTime),
}

/// What a look at another worker's progress showed.
#[derive(Debug, PartialEq, Eq)]
pub enum Look {
    /// Nothing new.
    Nothing,
    /// A newer document.
    Adopt(Vec<u8>),
    /// The fetch waited for has failed.
    Failed(UnixTime),
    /// Nobody fetches any more: begin.
    Begin,
}

/// One worker's part in the protocol.
pub struct SharedFetch {
    worker: Worker,
    /// Whether this host's shared data is used at all.
    enabled: bool,
    /// The newest document of each source that this worker has read, usable or not: one that was of no use is not read again.
    seen: BTreeMap<String, UnixTime>,
}

impl SharedFetch {
    /// A part of its own for each VM, named at random.
    pub const fn new(worker: Worker, kind: HostKind) -> Self {
        Self {
            worker,
            enabled: kind.shares_documents(),
            seen: BTreeMap::new(),
        }
    }

    /// Makes sure that a source has a record. Envoy compares only with what is there: of two workers that both create the
    /// record, both would believe to hold the lease. Envoy configures a canary on its main thread before any worker,
    /// so this is called from `proxy_on_configure`.
    pub fn prepare(&self, source: &str) {
        if !self.enabled {
            return;
        }
        let key = lease::record_key(source);
        if matches!(hostcalls::shared_data(&key), Ok(None)) {
            let _ = hostcalls::set_shared_data(&key, &Record::Idle.encode(source), 0);
        }
    }

    /// Decides about a fetch that is about to begin. `have` is when the keys at hand were fetched.
    pub fn begin(
        &mut self,
        source: &str,
        have: Option<UnixTime>,
        length: Duration,
        now: UnixTime,
    ) -> Verdict {
        if !self.enabled {
            return Verdict::Fetch;
        }
        let key = lease::record_key(source);
        for _ in 0..MAX_RACES {
            let Ok(read) = hostcalls::shared_data(&key) else {
                return Verdict::Fetch;
            };
            let cas = read.as_ref().map_or(0, |(_, cas)| *cas);
            let record = read.as_ref().map(|(bytes, _)| bytes.as_slice());
            let have = have.max(self.seen.get(source).copied());
            match lease::claim(record, source, have, self.worker, length, now) {
                Claim::Take(record) => match hostcalls::set_shared_data(&key, &record, cas) {
                    Err(Status::CAS_MISMATCH) => {}
                    Ok(()) | Err(_) => return Verdict::Fetch,
                },
                Claim::Wait(until) => return Verdict::Wait(until),
                Claim::Failed(retry_at) => return Verdict::Failed(retry_at),
                Claim::Adopt(at) => {
                    if let Some(document) = self.document(source, at) {
                        return Verdict::Adopt(document);
                    }
                }
            }
        }
        Verdict::Wait(now + RACE_PAUSE)
    }

    /// Looks what other workers did. `waiting` says that this one put its own fetch off.
    pub fn look(
        &mut self,
        source: &str,
        have: Option<UnixTime>,
        waiting: bool,
        now: UnixTime,
    ) -> Look {
        if !self.enabled {
            return Look::Nothing;
        }
        let read = match hostcalls::shared_data(&lease::record_key(source)) {
            Ok(read) => read,
            Err(_) if waiting => return Look::Begin,
            Err(_) => return Look::Nothing,
        };
        let record = read.as_ref().map(|(bytes, _)| bytes.as_slice());
        let have = have.max(self.seen.get(source).copied());
        match lease::observe(record, source, have, waiting, now) {
            News::None => Look::Nothing,
            News::Failed(retry_at) => Look::Failed(retry_at),
            News::Abandoned => Look::Begin,
            News::Newer(at) => match self.document(source, at) {
                Some(document) => Look::Adopt(document),
                None if waiting => Look::Begin,
                None => Look::Nothing,
            },
        }
    }

    /// Tells the others how this worker's fetch ended.
    pub fn end(&self, source: &str, ended: Ended, document: &[u8], now: UnixTime) {
        if !self.enabled {
            return;
        }
        if let Ended::Fetched { at } = ended {
            // The document first: whoever sees the record finds it.
            overwrite(
                &lease::document_key(source),
                &lease::encode_document(source, at, document),
            );
        }
        let key = lease::record_key(source);
        for _ in 0..MAX_RACES {
            let Ok(read) = hostcalls::shared_data(&key) else {
                return;
            };
            let cas = read.as_ref().map_or(0, |(_, cas)| *cas);
            let record = read.as_ref().map(|(bytes, _)| bytes.as_slice());
            let Some(next) = lease::publish(record, source, ended, self.worker, now) else {
                return;
            };
            if hostcalls::set_shared_data(&key, &next, cas) != Err(Status::CAS_MISMATCH) {
                return;
            }
        }
    }

    fn document(&mut self, source: &str, at: UnixTime) -> Option<Vec<u8>> {
        self.seen.insert(source.to_owned(), at);
        let (bytes, _) = hostcalls::shared_data(&lease::document_key(source)).ok()??;
        let (_, document) = lease::decode_document(&bytes, source, at)?;
        Some(document.to_vec())
    }
}

/// Writes a value whatever is there. Envoy does so with token 0; nginx wants the current one.
fn overwrite(key: &str, value: &[u8]) {
    if hostcalls::set_shared_data(key, value, 0) == Err(Status::CAS_MISMATCH) {
        for _ in 0..MAX_RACES {
            let Ok(Some((_, cas))) = hostcalls::shared_data(key) else {
                return;
            };
            if hostcalls::set_shared_data(key, value, cas) != Err(Status::CAS_MISMATCH) {
                return;
            }
        }
    }
}

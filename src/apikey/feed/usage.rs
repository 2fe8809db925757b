//! What keys are used for: counted by key, agent and minute, reported in batches, never more than a bounded number.
//!
//! A use is counted only for a key whose secret was presented, and by the name of an agent only where there is such an agent: nobody who
//! guesses ids or makes up names can fill the log. A batch that was not taken is sent again as it was, under the same name, so that
//! a service counts it once.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use foldhash::quality::FixedState;
use serde::Serialize;

use super::notice::Notice;
use super::source::{Asker, Spec, callout, roll};
use crate::apikey::KeyId;
use crate::callout::{Callout, CalloutReply, OVERDUE};
use crate::limits::Limits;
use crate::time::UnixTime;

/// What `format` says of a report.
pub const FORMAT: &str = "portcullis-usage/1";

/// Rows of one batch: some 150 bytes each.
const BATCH: usize = 1000;

/// The first wait after a failed report; doubles with each further one.
const BACKOFF_MIN: Duration = Duration::from_secs(1);

/// The longest wait.
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// After this a batch is given up: no service remembers batches for ever.
const MAX_AGE: Duration = Duration::from_secs(24 * 3600);

/// What an answer to a report may be long. Nobody reads it.
const MAX_ANSWER: usize = 64 * 1024;

/// A log that decisions which are still to be settled refer to.
pub type SharedUses = Rc<RefCell<UsageLog>>;

/// The uses that are still to be reported.
pub struct UsageLog {
    open: HashMap<Row, Counts, FixedState>,
    /// Rows at most.
    max: usize,
    batch: Option<Batch>,
    seed: u64,
    /// Batches made.
    made: u64,
    flush_at: UnixTime,
    /// Uses that found no room since that was last told.
    dropped: u64,
    tell_at: UnixTime,
}

impl fmt::Debug for UsageLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UsageLog")
            .field("rows", &self.open.len())
            .finish_non_exhaustive()
    }
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Row {
    key: KeyId,
    agent: Option<Rc<str>>,
    /// In seconds, a multiple of 60.
    minute: u64,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    allowed: u64,
    refused: u64,
}

struct Batch {
    body: Vec<u8>,
    /// How many uses it tells of.
    uses: u64,
    made_at: UnixTime,
    /// Sent, and given up then.
    in_flight: Option<UnixTime>,
    failures: u32,
    retry_at: UnixTime,
}

/// One use of a key, to be counted once it is known how it ended.
#[derive(Clone, Debug)]
pub struct KeyUse {
    pub(crate) log: SharedUses,
    pub(crate) key: KeyId,
    pub(crate) agent: Option<Rc<str>>,
    pub(crate) at: UnixTime,
}

impl KeyUse {
    /// Counts it.
    pub fn ended(self, allowed: bool) {
        // Nobody holds the log while a decision is made; if somebody did, a use would be worth less than a trap.
        if let Ok(mut log) = self.log.try_borrow_mut() {
            log.count(self.key, self.agent, allowed, self.at);
        }
    }
}

#[derive(Serialize)]
struct Document<'a> {
    format: &'static str,
    instance: &'a str,
    batch: String,
    uses: Vec<Use<'a>>,
}

#[derive(Serialize)]
struct Use<'a> {
    key: &'a str,
    agent: Option<&'a str>,
    minute: u64,
    allowed: u64,
    refused: u64,
    last_used_at: u64,
}

impl UsageLog {
    pub(super) fn shared(seed: u64) -> SharedUses {
        Rc::new(RefCell::new(Self {
            open: HashMap::with_hasher(FixedState::with_seed(seed)),
            max: Limits::default().key_uses,
            batch: None,
            seed,
            made: 0,
            flush_at: UnixTime::default(),
            dropped: 0,
            tell_at: UnixTime::default(),
        }))
    }

    /// Counts a use.
    pub fn count(&mut self, key: KeyId, agent: Option<Rc<str>>, allowed: bool, at: UnixTime) {
        let minute = at.as_secs() / 60 * 60;
        let row = Row { key, agent, minute };
        if self.open.len() >= self.max && !self.open.contains_key(&row) {
            self.dropped = self.dropped.saturating_add(1);
            return;
        }
        let counts = self.open.entry(row).or_default();
        let count = if allowed {
            &mut counts.allowed
        } else {
            &mut counts.refused
        };
        *count = count.saturating_add(1);
    }

    /// How many rows are still to be reported, those on their way aside.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether there is nothing left to report.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty() && self.batch.is_none()
    }

    /// The report to send now.
    pub(super) fn poll(
        &mut self,
        spec: &Spec,
        asker: Asker<'_>,
        now: UnixTime,
        limits: &Limits,
        notices: &mut VecDeque<Notice>,
    ) -> Option<Callout> {
        let (Some(usage), Some(upstream)) = (&spec.feed.usage, &spec.usage_upstream) else {
            // Nobody wants to know any more.
            self.open.clear();
            self.batch = None;
            return None;
        };
        self.max = limits.key_uses;
        self.tell_at = self.tell_at.min(now + usage.interval);
        if self.dropped > 0 && now >= self.tell_at {
            let count = std::mem::take(&mut self.dropped);
            self.tell_at = now + usage.interval;
            notices.push_back(dropped(spec, count, None));
        }
        self.flush_at = self.flush_at.min(now + usage.interval);
        if self.batch.is_none() {
            if self.open.is_empty() || now < self.flush_at {
                return None;
            }
            self.batch = Some(self.pack(asker.instance, now));
        }
        let batch = self.batch.as_mut()?;
        match batch.in_flight {
            Some(until) if now < until => return None,
            Some(_) => batch.fail(self.seed, now),
            None => {}
        }
        batch.retry_at = batch.retry_at.min(now + BACKOFF_MAX);
        if now < batch.retry_at {
            return None;
        }
        let timeout = spec.feed.timeout;
        batch.in_flight = Some(now + timeout + OVERDUE);
        let path = usage.url.path.clone();
        let callout = callout(spec, upstream, &usage.url, path, MAX_ANSWER, asker);
        Some(callout.post_json(batch.body.clone()))
    }

    fn pack(&mut self, instance: &str, now: UnixTime) -> Batch {
        self.made += 1;
        let rows: Vec<(Row, Counts)> = self.open.extract_if(|_, _| true).take(BATCH).collect();
        let document = Document {
            format: FORMAT,
            instance,
            batch: format!("{:016x}-{}", self.seed, self.made),
            uses: rows
                .iter()
                .map(|(row, counts)| Use {
                    key: row.key.as_str(),
                    agent: row.agent.as_deref(),
                    minute: row.minute,
                    allowed: counts.allowed,
                    refused: counts.refused,
                    last_used_at: row.minute,
                })
                .collect(),
        };
        let all = |counts: &Counts| counts.allowed.saturating_add(counts.refused);
        Batch {
            body: serde_json::to_vec(&document).unwrap_or_default(),
            uses: rows
                .iter()
                .map(|(_, c)| all(c))
                .fold(0, u64::saturating_add),
            made_at: now,
            in_flight: None,
            failures: 0,
            retry_at: now,
        }
    }

    /// The report under way will not be answered.
    pub(super) fn give_up(&mut self) {
        if let Some(batch) = &mut self.batch {
            batch.in_flight = None;
        }
    }

    /// What became of a report; whether it was taken.
    pub(super) fn reply(
        &mut self,
        reply: CalloutReply<'_>,
        spec: &Spec,
        now: UnixTime,
        notices: &mut VecDeque<Notice>,
    ) -> bool {
        let Some(batch) = self.batch.as_mut().filter(|b| b.in_flight.is_some()) else {
            return true;
        };
        let status = match reply {
            CalloutReply::Response(response) => Some(response.status),
            CalloutReply::Failed(_) => None,
        };
        let taken = matches!(status, Some(200..=299));
        // It is this batch that the service doesn't want, and it won't want it later either.
        let refused =
            matches!(status, Some(400..=499)) && !matches!(status, Some(401 | 403 | 408 | 429));
        let too_old = !taken && now.since(batch.made_at) >= MAX_AGE;
        if taken || refused || too_old {
            if !taken {
                notices.push_back(dropped(spec, batch.uses, status));
            }
            self.batch = None;
            let interval = spec.feed.usage.as_ref().map_or(BACKOFF_MAX, |u| u.interval);
            self.flush_at = if self.open.len() >= BATCH {
                now
            } else {
                now + (interval
                    - interval * u32::try_from(roll(self.seed, self.made) % 101).unwrap_or(0)
                        / 1000)
            };
        } else {
            batch.fail(self.seed, now);
            let feed = spec.feed.name();
            notices.push_back(Notice::ReportFailed { feed, status });
        }
        taken
    }
}

fn dropped(spec: &Spec, count: u64, status: Option<u16>) -> Notice {
    let feed = spec.feed.name();
    Notice::UsesDropped {
        feed,
        count,
        status,
    }
}

impl Batch {
    fn fail(&mut self, seed: u64, now: UnixTime) {
        self.in_flight = None;
        let doublings = self.failures.min(10);
        self.failures = self.failures.saturating_add(1);
        let backoff = BACKOFF_MIN.saturating_mul(1 << doublings).min(BACKOFF_MAX);
        let less = roll(seed, u64::from(self.failures)) % 101;
        self.retry_at = now + (backoff - backoff * u32::try_from(less).unwrap_or(0) / 1000);
    }
}

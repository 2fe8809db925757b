//! Carries out the core's metrics. Each is defined once per VM and then known by its id.

use std::collections::HashMap;

use foldhash::fast::FixedState;
use portcullis_core::metrics::{Id, Kind, LIST, Tally};

use crate::abi::MetricType;
use crate::hostcalls;

/// Tallies remembered before starting over: names come from configurations, of which a VM may see many.
const MAX_TALLIES: usize = 4096;

/// Metric ids of one VM. A metric that the host refuses is not asked for again.
pub struct Metrics {
    fixed: [Cached; LIST.len()],
    // Unseeded and quick: no caller chooses these keys.
    tallies: HashMap<Tally, Cached, FixedState>,
}

#[derive(Clone, Copy)]
enum Cached {
    Unknown,
    Refused,
    Known(u32),
}

impl Cached {
    const fn id(self) -> Option<u32> {
        match self {
            Self::Known(id) => Some(id),
            Self::Unknown | Self::Refused => None,
        }
    }

    fn define(kind: Kind, name: &str) -> Self {
        let kind = match kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
            Kind::Histogram => MetricType::Histogram,
        };
        hostcalls::define_metric(kind, name).map_or(Self::Refused, Self::Known)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            fixed: [Cached::Unknown; LIST.len()],
            tallies: HashMap::with_hasher(FixedState::default()),
        }
    }
}

impl Metrics {
    /// Counts one judged request.
    pub fn count(&mut self, tally: &Tally) {
        let cached = match self.tallies.get(tally) {
            Some(cached) => *cached,
            None => {
                if self.tallies.len() >= MAX_TALLIES {
                    self.tallies.clear();
                }
                let cached = Cached::define(Kind::Counter, &tally.counter_name());
                self.tallies.insert(tally.clone(), cached);
                cached
            }
        };
        if let Some(id) = cached.id() {
            let _ = hostcalls::increment_metric(id, 1);
        }
        if let Some(cache) = tally.cache.counter() {
            self.increment(cache);
        }
    }

    /// Adds one to a counter.
    pub fn increment(&mut self, id: Id) {
        self.add(id, 1);
    }

    /// Adds to a counter.
    pub fn add(&mut self, id: Id, count: u64) {
        if let Some(id) = self.fixed(id) {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            let _ = hostcalls::increment_metric(id, count);
        }
    }

    /// Sets a gauge, or adds a value to a histogram.
    pub fn record(&mut self, id: Id, value: u64) {
        if let Some(id) = self.fixed(id) {
            let _ = hostcalls::record_metric(id, value);
        }
    }

    fn fixed(&mut self, id: Id) -> Option<u32> {
        let metric = LIST.get(id as usize)?;
        let cached = self.fixed.get_mut(id as usize)?;
        if matches!(cached, Cached::Unknown) {
            *cached = Cached::define(metric.kind, metric.name);
        }
        cached.id()
    }
}

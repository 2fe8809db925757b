//! Counters, gauges and histograms; all workers count into one.

use std::collections::BTreeMap;

/// A metric's kind and what it shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Goes up.
    Counter(u64),
    /// Is set.
    Gauge(u64),
    /// Every value that was recorded.
    Histogram(Vec<u64>),
}

/// All metrics by name. They outlive a reload.
#[derive(Debug, Default)]
pub struct Metrics {
    by_name: BTreeMap<String, (u32, Metric)>,
    names: Vec<String>,
}

impl Metrics {
    /// A counter's or gauge's value; 0 for one that nobody defined.
    pub fn value(&self, name: &str) -> u64 {
        match self.by_name.get(name) {
            Some((_, Metric::Counter(n) | Metric::Gauge(n))) => *n,
            _ => 0,
        }
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = (&str, &Metric)> {
        self.by_name
            .iter()
            .map(|(name, (_, metric))| (name.as_str(), metric))
    }

    /// The id of a metric of that name; `None` for an unknown kind.
    pub(crate) fn define(&mut self, kind: u32, name: &str) -> Option<u32> {
        let metric = match kind {
            0 => Metric::Counter(0),
            1 => Metric::Gauge(0),
            2 => Metric::Histogram(Vec::new()),
            _ => return None,
        };
        if let Some((id, _)) = self.by_name.get(name) {
            return Some(*id);
        }
        self.names.push(name.to_owned());
        // From 1: an id of 0 is what a guest has that never asked for one.
        let id = u32::try_from(self.names.len()).ok()?;
        self.by_name.insert(name.to_owned(), (id, metric));
        Some(id)
    }

    pub(crate) fn by_id(&mut self, id: u32) -> Option<&mut Metric> {
        let at = usize::try_from(id).ok()?.checked_sub(1)?;
        let name = self.names.get(at)?;
        self.by_name.get_mut(name).map(|(_, metric)| metric)
    }
}

//! The key sources of one VM, shared by its root contexts, kept over reloads.

use crate::keys::source::KeySource;
use crate::policy::RemoteKeys;

/// Names a source of one [`KeyStore`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SourceId(usize);

/// Sources nobody uses are dropped once there are more than this: a policy that is edited back and forth keeps its
/// sets, one that is edited for years does not pile them up.
const UNUSED_SOURCES: usize = 16;

/// Every key source of a VM.
#[derive(Debug)]
pub struct KeyStore {
    seed: u64,
    sources: Vec<Option<(KeySource, usize)>>,
}

impl KeyStore {
    /// An empty store.
    pub const fn new(seed: u64) -> Self {
        Self {
            seed,
            sources: Vec::new(),
        }
    }

    /// The source for `spec`, made if it isn't there. Each call wants one [`Self::release`].
    pub fn acquire(&mut self, spec: &RemoteKeys) -> SourceId {
        let name = crate::keys::source::name_of(spec);
        let found = self
            .sources
            .iter_mut()
            .enumerate()
            .find_map(|(i, s)| s.as_mut().filter(|(s, _)| s.name() == name).map(|s| (i, s)));
        if let Some((i, (_, users))) = found {
            *users += 1;
            return SourceId(i);
        }
        let seed = self.seed.wrapping_add(self.sources.len() as u64);
        let entry = Some((KeySource::new(spec.clone(), seed), 1));
        match self
            .sources
            .iter_mut()
            .enumerate()
            .find(|(_, s)| s.is_none())
        {
            Some((i, free)) => {
                *free = entry;
                SourceId(i)
            }
            None => {
                self.sources.push(entry);
                SourceId(self.sources.len() - 1)
            }
        }
    }

    /// Ends one use of a source.
    pub fn release(&mut self, id: SourceId) {
        if let Some(Some((_, users))) = self.sources.get_mut(id.0) {
            *users = users.saturating_sub(1);
        }
        let unused = |s: &Option<(KeySource, usize)>| matches!(s, Some((_, 0)));
        if self.sources.iter().filter(|s| unused(s)).count() > UNUSED_SOURCES
            && let Some(oldest) = self
                .sources
                .iter_mut()
                .filter(|s| unused(s))
                .min_by_key(|s| s.as_ref().and_then(|(s, _)| s.fetched_at()))
        {
            *oldest = None;
        }
    }

    /// One source.
    pub fn get(&self, id: SourceId) -> Option<&KeySource> {
        self.sources.get(id.0)?.as_ref().map(|(s, _)| s)
    }

    /// One source, to change.
    pub fn get_mut(&mut self, id: SourceId) -> Option<&mut KeySource> {
        self.sources.get_mut(id.0)?.as_mut().map(|(s, _)| s)
    }
}

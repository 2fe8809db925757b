//! What outlives a policy, and the policy in force that relies on it.

use std::cell::RefCell;
use std::hash::BuildHasher;
use std::rc::Rc;

use foldhash::quality::FixedState;

use crate::apikey::failures::Failures;
use crate::apikey::feed::{FeedId, FeedStore};
use crate::callout::CalloutId;
use crate::judge::{HeaderNames, Issuers};
use crate::keys::store::{KeyStore, SourceId};
use crate::lookup::Lookups;
use crate::policy::{ChainTraits, KeyOrigin, Policy, ProviderKind};
use crate::tokens::TokenCache;

/// As much of a proxy's name as services are told.
const MAX_PROXY_NAME: usize = 128;

/// What is safe to keep over reloads, shared by the root contexts of one VM: key sets, key feeds, verified tokens, counters.
#[derive(Debug)]
pub struct Stores {
    pub(crate) keys: KeyStore,
    pub(crate) tokens: TokenCache,
    pub(crate) lookups: Lookups,
    pub(crate) key_failures: Failures,
    pub(crate) feeds: FeedStore,
    /// This worker, as services are told.
    pub(crate) instance: String,
    /// The last audit event's number.
    pub(crate) seq: u64,
    pub(crate) audit_clock: crate::audit::Clock,
    pub(crate) callouts: CalloutIds,
    last_policy: u64,
    /// Tells the workers of one process apart in request ids that the filter has to make up.
    pub(crate) seed: u64,
}

impl Stores {
    /// Empty stores. `seed` should differ between workers and starts; it spreads refreshes and seeds the hash of the
    /// caches.
    pub fn new(seed: u64) -> Rc<RefCell<Self>> {
        // Nobody outside can predict it, if nobody can predict `seed`.
        let hasher = FixedState::with_seed(FixedState::default().hash_one(seed));
        Rc::new(RefCell::new(Self {
            keys: KeyStore::new(seed),
            tokens: TokenCache::new(&hasher),
            lookups: Lookups::new(&hasher),
            key_failures: Failures::new(&hasher),
            feeds: FeedStore::new(seed),
            instance: format!("{seed:016x}"),
            seq: 0,
            audit_clock: crate::audit::Clock::default(),
            callouts: CalloutIds::default(),
            last_policy: 0,
            seed,
        }))
    }

    /// Puts the proxy's own name before the worker's, for services that are told who asks. Only visible ASCII of it is used.
    pub fn name_proxy(&mut self, name: &str) {
        let name = name.chars().filter(char::is_ascii_graphic);
        let name: String = name.take(MAX_PROXY_NAME).collect();
        self.instance = format!("{name}/{:016x}", self.seed);
    }

    pub(crate) fn next_seq(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }
}

/// Names callouts, none twice.
#[derive(Debug, Default)]
pub(crate) struct CalloutIds(u64);

impl CalloutIds {
    pub const fn next(&mut self) -> CalloutId {
        self.0 += 1;
        CalloutId(self.0)
    }
}

/// A policy in force, and the key source of each of its providers (`None` for those that fetch nothing).
#[derive(Debug)]
pub(crate) struct Live {
    pub policy: Policy,
    /// Its number among all policies of the VM.
    pub serial: u64,
    pub sources: Vec<Option<SourceId>>,
    /// The key feed of each provider.
    pub feeds: Vec<Option<FeedId>>,
    pub names: HeaderNames,
    pub chain: ChainTraits,
    pub issuers: Issuers,
    stores: Rc<RefCell<Stores>>,
}

impl Live {
    pub fn new(policy: Policy, stores: &Rc<RefCell<Stores>>) -> Rc<Self> {
        let mut borrowed = stores.borrow_mut();
        let sources = policy
            .providers
            .iter()
            .map(|p| match p.kind.jwt_rules()?.keys() {
                KeyOrigin::Remote(spec) => Some(borrowed.keys.acquire(spec)),
                KeyOrigin::Inline(_) => None,
            })
            .collect();
        let feeds = policy
            .providers
            .iter()
            .map(|p| match &p.kind {
                ProviderKind::ApiKey(keys) => {
                    let feed = keys.feed.as_ref()?;
                    Some(borrowed.feeds.acquire(feed, &policy.callouts))
                }
                _ => None,
            })
            .collect();
        borrowed.last_policy += 1;
        let serial = borrowed.last_policy;
        drop(borrowed);
        Rc::new(Self {
            serial,
            feeds,
            names: HeaderNames::new(&policy.identity.header_prefix),
            chain: policy.chain_traits(),
            issuers: Issuers::of(&policy.providers),
            policy,
            sources,
            stores: stores.clone(),
        })
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // A policy can be dropped from within a call that has the stores; then its sources simply stay known.
        if let Ok(mut stores) = self.stores.try_borrow_mut() {
            for id in self.sources.iter().flatten() {
                stores.keys.release(*id);
            }
            for id in self.feeds.iter().flatten() {
                stores.feeds.release(*id);
            }
        }
    }
}

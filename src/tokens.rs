//! Verified tokens, remembered; and forged ones, briefly.
//!
//! What is remembered is a fact that time does not change: this very token's signature does (or does not) verify under
//! the key with that thumbprint. Which key is the right one, whether the token has expired, and who may call what is
//! decided anew on every request, so nothing gets in from here that would not get in without it.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::rc::Rc;

use foldhash::quality::FixedState;

use crate::claims::Claims;
use crate::jose::algorithm::Algorithm;
use crate::jose::thumbprint::Thumbprint;
use crate::limits::Limits;
use crate::time::UnixTime;

/// A token whose signature was verified.
#[derive(Debug)]
pub struct VerifiedToken {
    /// What it says.
    pub claims: Claims,
    /// The header's `alg`.
    pub algorithm: Algorithm,
    /// The header's `kid`.
    pub kid: Option<String>,
    /// The key it was verified with.
    pub thumbprint: Thumbprint,
}

impl VerifiedToken {
    fn weight(&self, token: &str) -> usize {
        // Two machine words of Rc counts, the map's entry and slack.
        token.len() + self.claims.weight() + self.kid.as_ref().map_or(0, String::len) + 160
    }
}

/// A map in two generations: what has not been looked up for a whole generation is forgotten. Every operation
/// costs a look-up or two; there is no list to keep in order.
#[derive(Debug)]
struct Generations<V> {
    young: HashMap<Box<str>, V, FixedState>,
    old: HashMap<Box<str>, V, FixedState>,
    young_bytes: usize,
}

impl<V: Clone> Generations<V> {
    fn new(hasher: &FixedState) -> Self {
        Self {
            young: HashMap::with_hasher(hasher.clone()),
            old: HashMap::with_hasher(hasher.clone()),
            young_bytes: 0,
        }
    }

    fn get(&mut self, token: &str, weight: impl Fn(&V) -> usize, max: (usize, usize)) -> Option<V> {
        if let Some(v) = self.young.get(token) {
            return Some(v.clone());
        }
        let (token, v) = self.old.remove_entry(token)?;
        self.insert(token, v.clone(), weight(&v), max);
        Some(v)
    }

    /// `max` is entries and bytes of both generations together.
    fn insert(&mut self, token: Box<str>, v: V, weight: usize, max: (usize, usize)) {
        let (entries, bytes) = (max.0 / 2, max.1 / 2);
        if entries == 0 || weight > bytes {
            return;
        }
        if self.young.len() >= entries || self.young_bytes + weight > bytes {
            self.old = std::mem::replace(
                &mut self.young,
                HashMap::with_hasher(self.old.hasher().clone()),
            );
            self.young_bytes = 0;
        }
        if self.young.insert(token, v).is_none() {
            self.young_bytes += weight;
        }
    }

    fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

/// The tokens of one VM.
#[derive(Debug)]
pub struct TokenCache {
    verified: Generations<Rc<VerifiedToken>>,
    failed: Generations<(Thumbprint, UnixTime)>,
}

impl TokenCache {
    /// An empty cache whose hash nobody outside can predict, if nobody can predict `seed`.
    pub fn new(seed: u64) -> Self {
        let hasher = FixedState::with_seed(FixedState::default().hash_one(seed));
        Self {
            verified: Generations::new(&hasher),
            failed: Generations::new(&hasher),
        }
    }

    /// The token, if its signature was verified before.
    pub fn verified(&mut self, token: &str, limits: &Limits) -> Option<Rc<VerifiedToken>> {
        self.verified.get(
            token,
            |v| v.weight(token),
            (limits.cached_tokens, limits.cached_token_bytes),
        )
    }

    /// Remembers a verified token.
    pub fn remember(&mut self, token: &str, verified: Rc<VerifiedToken>, limits: &Limits) {
        let weight = verified.weight(token);
        self.verified.insert(
            token.into(),
            verified,
            weight,
            (limits.cached_tokens, limits.cached_token_bytes),
        );
    }

    /// Whether this token has just failed to verify under that key.
    pub fn has_failed(
        &mut self,
        token: &str,
        thumbprint: &Thumbprint,
        now: UnixTime,
        limits: &Limits,
    ) -> bool {
        let max = (
            limits.failed_tokens,
            limits.failed_tokens * limits.token_bytes,
        );
        self.failed
            .get(token, |_| token.len(), max)
            .is_some_and(|(key, until)| key == *thumbprint && now < until)
    }

    /// Remembers that a token failed to verify under that key.
    pub fn remember_failure(
        &mut self,
        token: &str,
        thumbprint: Thumbprint,
        now: UnixTime,
        limits: &Limits,
    ) {
        let max = (
            limits.failed_tokens,
            limits.failed_tokens * limits.token_bytes,
        );
        let until = now + limits.failed_token_ttl;
        self.failed
            .insert(token.into(), (thumbprint, until), token.len(), max);
    }

    /// How many verified tokens are remembered.
    pub fn len(&self) -> usize {
        self.verified.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn bounded_in_entries_and_bytes_and_keeps_what_is_used() {
        let mut g = Generations::new(&FixedState::with_seed(7));
        let max = (10, 1000);
        for i in 0..1000 {
            g.insert(format!("t{i}").into(), i, 10, max);
            assert!(g.len() <= 10);
            // Looked up all the time, so it stays however many others pass.
            g.insert("hot".into(), -1, 10, max);
            assert_eq!(g.get("hot", |_| 10, max), Some(-1));
        }
        for i in 0..1000 {
            g.insert(format!("u{i}").into(), i, 400, max);
            assert!(g.young_bytes <= 500);
            // Two turns push out what the first loop left.
            assert!(i < 2 || g.len() <= 2);
        }
        g.insert("too big".into(), 1, 501, max);
        assert_eq!(g.get("too big", |_| 501, max), None);
        g.insert("none".into(), 1, 1, (0, 0));
        assert_eq!(g.get("none", |_| 1, (0, 0)), None);
    }

    fn key_named(name: &str) -> Thumbprint {
        let x = if name == "k" { X1 } else { X2 };
        let text =
            format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"{name}","x":"{x}"}}]}}"#);
        let set = crate::jose::KeySet::parse(text.as_bytes(), &Limits::default().jose()).unwrap();
        set.keys()[0].thumbprint()
    }
    /// RFC 8037 appendix A.2, and RFC 8032 section 7.1 test 2.
    const X1: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    const X2: &str = "PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw";

    #[test]
    fn a_failure_is_forgotten_in_time() {
        let limits = Limits::default();
        let mut cache = TokenCache::new(1);
        let key = key_named("k");
        let now = UnixTime::from_secs(100);
        cache.remember_failure("t", key, now, &limits);
        assert!(cache.has_failed("t", &key, now, &limits));
        assert!(!cache.has_failed("t", &key_named("other"), now, &limits));
        assert!(!cache.has_failed("u", &key, now, &limits));
        assert!(!cache.has_failed("t", &key, now + limits.failed_token_ttl, &limits));
    }
}

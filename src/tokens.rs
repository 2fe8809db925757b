//! Verified tokens, remembered; and forged ones, briefly.
//!
//! What is remembered is a fact that time does not change: this very token's signature does (or does not) verify under
//! the key with that thumbprint. Which key is the right one, whether the token has expired, and who may call what is
//! decided anew on every request, so nothing gets in from here that would not get in without it.

use std::rc::Rc;

use foldhash::quality::FixedState;

use crate::generations::{Bounds, Generations};
use crate::jose::thumbprint::Thumbprint;
use crate::limits::Limits;
use crate::standing::LastStanding;
use crate::time::UnixTime;

/// That a token's signature was verified. What the token says is in the token, which is at hand whenever this is looked up.
#[derive(Debug)]
pub struct VerifiedToken {
    /// The key it was verified with.
    pub thumbprint: Thumbprint,
    /// What was made of it.
    pub(crate) standing: LastStanding,
}

/// The token, its entry, and its standing, whose texts are taken from the claims.
const fn weight(token: &str) -> usize {
    token.len() + token.len() / 2 + 400
}

/// The tokens of one VM.
#[derive(Debug)]
pub struct TokenCache {
    verified: Generations<Box<str>, Rc<VerifiedToken>>,
    failed: Generations<Box<str>, (Thumbprint, UnixTime)>,
}

impl TokenCache {
    /// An empty cache.
    pub fn new(hasher: &FixedState) -> Self {
        Self {
            verified: Generations::new(hasher),
            failed: Generations::new(hasher),
        }
    }

    /// The token, if its signature was verified before.
    pub fn verified(&mut self, token: &str, limits: &Limits) -> Option<Rc<VerifiedToken>> {
        self.verified
            .get(token, |_| weight(token), verified_bounds(limits))
    }

    /// Remembers a verified token.
    pub fn remember(&mut self, token: &str, verified: Rc<VerifiedToken>, limits: &Limits) {
        let bounds = verified_bounds(limits);
        self.verified
            .insert(token.into(), verified, weight(token), bounds);
    }

    /// Whether this token has just failed to verify under that key.
    pub fn has_failed(
        &mut self,
        token: &str,
        thumbprint: &Thumbprint,
        now: UnixTime,
        limits: &Limits,
    ) -> bool {
        self.failed
            .get(token, |_| token.len(), failed_bounds(limits))
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
        let until = now + limits.failed_token_ttl;
        self.failed.insert(
            token.into(),
            (thumbprint, until),
            token.len(),
            failed_bounds(limits),
        );
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

fn verified_bounds(limits: &Limits) -> Bounds {
    Bounds {
        entries: limits.cached_tokens,
        bytes: limits.cached_token_bytes,
    }
}

fn failed_bounds(limits: &Limits) -> Bounds {
    Bounds {
        entries: limits.failed_tokens,
        bytes: limits.failed_tokens.saturating_mul(limits.token_bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

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
        let mut cache = TokenCache::new(&FixedState::with_seed(1));
        let key = key_named("k");
        let now = UnixTime::from_secs(100);
        cache.remember_failure("t", key, now, &limits);
        assert!(cache.has_failed("t", &key, now, &limits));
        assert!(!cache.has_failed("t", &key_named("other"), now, &limits));
        assert!(!cache.has_failed("u", &key, now, &limits));
        assert!(!cache.has_failed("t", &key, now + limits.failed_token_ttl, &limits));
    }

    #[test]
    fn the_largest_limits_do_not_wrap_around() {
        let limits = Limits {
            failed_tokens: usize::MAX / 1024 + 1,
            token_bytes: 1024,
            ..Limits::default()
        };
        let mut cache = TokenCache::new(&FixedState::with_seed(1));
        let key = key_named("k");
        let now = UnixTime::from_secs(100);
        cache.remember_failure("t", key, now, &limits);
        assert!(cache.has_failed("t", &key, now, &limits));
    }
}

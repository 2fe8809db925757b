//! Verified tokens, remembered; and forged ones, briefly.
//!
//! What is remembered is a fact that time does not change: this very token's signature does (or does not) verify under
//! the key with that thumbprint. Which key is the right one, whether the token has expired, and who may call what is
//! decided anew on every request, so nothing gets in from here that would not get in without it. A token is known by all of its
//! text: a digest quick enough to be worth it could be met by another token.

use std::hash::BuildHasher;
use std::rc::Rc;

use foldhash::quality::FixedState;

use crate::callers::Callers;
use crate::generations::{Bounds, Generations, Kept};
use crate::jose::thumbprint::Thumbprint;
use crate::jose::{KnownHeaders, ReadHeader};
use crate::limits::Limits;
use crate::standing::{Grounds, LastStanding};
use crate::time::UnixTime;

/// A token's text and the hash that it is looked up by.
#[derive(Clone, Copy)]
pub struct Hashed<'t> {
    text: &'t str,
    hash: u64,
}

impl<'t> Hashed<'t> {
    /// The token.
    pub const fn text(&self) -> &'t str {
        self.text
    }
}

/// That a token's signature was verified. What the token says is in the token, which is at hand whenever this is looked up.
#[derive(Debug)]
pub struct VerifiedToken {
    /// The first part of its text, which many have in common.
    header: Rc<ReadHeader>,
    /// The rest, from the first dot on.
    rest: Box<str>,
    hash: u64,
    /// What was made of it.
    pub(crate) standing: LastStanding,
    /// The key it was verified with.
    pub thumbprint: Thumbprint,
}

/// Bytes of a verified token beside its text and its standing: itself, its place in the table, and the heads of their memory.
const VERIFIED_BYTES: usize = 160;

impl VerifiedToken {
    /// `None` for a token that does not begin with that header.
    pub(crate) fn new(
        token: Hashed<'_>,
        header: &Rc<ReadHeader>,
        thumbprint: Thumbprint,
    ) -> Option<Self> {
        let header_text = std::str::from_utf8(header.text()).ok()?;
        Some(Self {
            rest: token.text.strip_prefix(header_text)?.into(),
            header: header.clone(),
            hash: token.hash,
            standing: LastStanding::default(),
            thumbprint,
        })
    }

    fn is(&self, token: &str) -> bool {
        let token = token.as_bytes().split_at_checked(self.header.text().len());
        token.is_some_and(|(header, rest)| {
            *rest == *self.rest.as_bytes() && *header == *self.header.text()
        })
    }
}

/// A verified token, and how much it takes with all that had been made of it when it came to be remembered.
#[derive(Clone, Debug)]
struct Verified {
    token: Rc<VerifiedToken>,
    weight: usize,
}

impl Kept for Verified {
    fn hash(&self) -> u64 {
        self.token.hash
    }

    fn is_same(&self, other: &Self) -> bool {
        self.token.rest == other.token.rest && self.token.header.text() == other.token.header.text()
    }

    fn weight(&self) -> usize {
        self.weight
    }
}

/// A token whose signature did not stand.
#[derive(Debug)]
pub(crate) struct FailedToken {
    text: Box<str>,
    hash: u64,
    thumbprint: Thumbprint,
    until: UnixTime,
    /// How it came to be verified with that key.
    pub grounds: Grounds,
}

impl FailedToken {
    /// Whether it failed under that key.
    pub(crate) fn is_under(&self, thumbprint: &Thumbprint) -> bool {
        self.thumbprint == *thumbprint
    }
}

impl Kept for Rc<FailedToken> {
    fn hash(&self) -> u64 {
        self.hash
    }

    fn is_same(&self, other: &Self) -> bool {
        self.text == other.text
    }

    fn weight(&self) -> usize {
        self.text.len()
    }
}

/// The tokens of one VM.
#[derive(Debug)]
pub struct TokenCache {
    hasher: FixedState,
    verified: Generations<Verified>,
    failed: Generations<Rc<FailedToken>>,
    /// What tokens that were verified begin with.
    pub(crate) headers: KnownHeaders,
    /// Whom they name.
    pub(crate) callers: Callers,
    used: bool,
}

impl TokenCache {
    /// An empty cache.
    pub fn new(hasher: &FixedState) -> Self {
        Self {
            hasher: hasher.clone(),
            verified: Generations::new(),
            failed: Generations::new(),
            headers: KnownHeaders::default(),
            callers: Callers::new(hasher),
            used: false,
        }
    }

    /// The token as everything here wants it.
    pub fn hashed<'t>(&self, text: &'t str) -> Hashed<'t> {
        Hashed {
            text,
            hash: self.hasher.hash_one(text),
        }
    }

    /// The token, if its signature was verified before.
    pub fn verified(&mut self, token: Hashed<'_>, limits: &Limits) -> Option<Rc<VerifiedToken>> {
        let is = |known: &Verified| known.token.is(token.text);
        let known = self.verified.get(token.hash, is, verified_bounds(limits))?;
        Some(known.token)
    }

    /// Remembers a verified token with what was made of it so far.
    pub fn remember(&mut self, token: &Rc<VerifiedToken>, limits: &Limits) {
        self.used = true;
        self.headers.keep(&token.header, &limits.jose());
        let weight = VERIFIED_BYTES + token.rest.len() + token.standing.weight();
        let token = token.clone();
        self.verified
            .insert(Verified { token, weight }, verified_bounds(limits));
    }

    /// The token, if it has just failed to verify.
    pub(crate) fn failed(
        &mut self,
        token: Hashed<'_>,
        now: UnixTime,
        limits: &Limits,
    ) -> Option<Rc<FailedToken>> {
        let is = |known: &Rc<FailedToken>| *known.text == *token.text;
        self.failed
            .get(token.hash, is, failed_bounds(limits))
            .filter(|known| now < known.until)
    }

    /// Remembers that a token failed to verify under that key.
    pub(crate) fn remember_failure(
        &mut self,
        token: Hashed<'_>,
        thumbprint: Thumbprint,
        grounds: Grounds,
        now: UnixTime,
        limits: &Limits,
    ) {
        let failed = FailedToken {
            text: token.text.into(),
            hash: token.hash,
            thumbprint,
            until: now + limits.failed_token_ttl,
            grounds,
        };
        self.failed.insert(Rc::new(failed), failed_bounds(limits));
    }

    /// How many verified tokens are remembered; `None` where there never was one to remember.
    pub fn entries(&self) -> Option<usize> {
        self.used.then(|| self.verified.len())
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
    use crate::jose::{KeySet, UntrustedJws};
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn key_named(name: &str) -> (Rc<KeySet>, Thumbprint) {
        let x = if name == "k" { X1 } else { X2 };
        let text =
            format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"{name}","x":"{x}"}}]}}"#);
        let set = KeySet::parse(text.as_bytes(), &Limits::default().jose()).unwrap();
        let thumbprint = set.keys()[0].thumbprint().clone();
        (Rc::new(set), thumbprint)
    }
    /// RFC 8037 appendix A.2, and RFC 8032 section 7.1 test 2.
    const X1: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    const X2: &str = "PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw";

    fn fails(cache: &mut TokenCache, text: &str, now: UnixTime, limits: &Limits) {
        let (set, key) = key_named("k");
        let token = cache.hashed(text);
        cache.remember_failure(token, key, Grounds::new(1, 0, &set), now, limits);
    }

    fn has_failed(cache: &mut TokenCache, text: &str, now: UnixTime, limits: &Limits) -> bool {
        let token = cache.hashed(text);
        cache.failed(token, now, limits).is_some()
    }

    #[test]
    fn a_failure_is_forgotten_in_time() {
        let limits = Limits::default();
        let mut cache = TokenCache::new(&FixedState::with_seed(1));
        let now = UnixTime::from_secs(100);
        fails(&mut cache, "t", now, &limits);
        let t = cache.hashed("t");
        let failed = cache.failed(t, now, &limits).unwrap();
        assert!(failed.is_under(&key_named("k").1));
        assert!(!failed.is_under(&key_named("other").1));
        assert!(!has_failed(&mut cache, "u", now, &limits));
        assert!(!has_failed(
            &mut cache,
            "t",
            now + limits.failed_token_ttl,
            &limits
        ));
    }

    #[test]
    fn the_largest_limits_do_not_wrap_around() {
        let limits = Limits {
            failed_tokens: usize::MAX / 1024 + 1,
            token_bytes: 1024,
            ..Limits::default()
        };
        let mut cache = TokenCache::new(&FixedState::with_seed(1));
        let now = UnixTime::from_secs(100);
        fails(&mut cache, "t", now, &limits);
        assert!(has_failed(&mut cache, "t", now, &limits));
    }

    #[test]
    fn a_token_is_known_by_all_of_its_text() {
        let limits = Limits::default();
        let mut cache = TokenCache::new(&FixedState::with_seed(1));
        let (_, key) = key_named("k");
        let text = "eyJhbGciOiJFZERTQSJ9.e30.c2ln";
        let known = UntrustedJws::parse(text.as_bytes(), &limits.jose()).unwrap();
        let header = known.read_header();
        assert!(VerifiedToken::new(cache.hashed("e30.e30.c2ln"), header, key.clone()).is_none());
        let token = VerifiedToken::new(cache.hashed(text), header, key).unwrap();
        assert_eq!(cache.entries(), None);
        cache.remember(&Rc::new(token), &limits);
        assert_eq!(cache.entries(), Some(1));
        let same = cache.hashed(text);
        assert!(cache.verified(same, &limits).is_some());
        for place in 0..text.len() {
            let mut other = text.to_owned();
            other.replace_range(place..=place, "~");
            // As if their hashes were one.
            let other = Hashed {
                text: &other,
                hash: same.hash,
            };
            assert!(cache.verified(other, &limits).is_none(), "{place}");
        }
        for other in [
            &text[1..],
            &text[..text.len() - 1],
            "",
            "eyJhbGciOiJFZERTQSJ9",
        ] {
            let other = Hashed {
                text: other,
                hash: same.hash,
            };
            assert!(cache.verified(other, &limits).is_none());
        }
    }
}

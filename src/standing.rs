//! What one policy makes of one token, remembered with the token.
//!
//! A provider judges without a clock ([`JwtRules::judge`](crate::provider::jwt::JwtRules::judge)), so its judgement can change only
//! with the policy, with the keys in force, or by the token's own times. A judgement is good while none of them has; whatever
//! else a request brings (its agent, its method) is looked at anew.

use std::cell::{Ref, RefCell};
use std::rc::{Rc, Weak};

use crate::audit::AuditClaims;
use crate::identity::{Identity, Refused};
use crate::jose::jwks::KeySet;
use crate::provider::validity::Validity;
use crate::reason::Code;
use crate::time::UnixTime;

/// What a judgement rests on.
#[derive(Debug)]
pub(crate) struct Grounds {
    /// The policy that judged: [`crate::stores::Live::serial`], which no two of a VM share.
    pub policy: u64,
    /// The place of the provider whose token it is. That all before it had no use for the token is part of the judgement.
    pub provider: usize,
    /// The key set under which the signature stood, or fell. Weak: a set that is gone is in force nowhere.
    keys: Weak<KeySet>,
}

impl Grounds {
    pub(crate) fn new(policy: u64, provider: usize, keys: &Rc<KeySet>) -> Self {
        Self {
            policy,
            provider,
            keys: Rc::downgrade(keys),
        }
    }

    /// Whether these very keys were in force. The address can't be another's: a weak reference keeps it taken.
    pub(crate) fn are_under(&self, keys: &Rc<KeySet>) -> bool {
        std::ptr::eq(self.keys.as_ptr(), Rc::as_ptr(keys))
    }
}

/// A judgement of a token whose signature stands.
#[derive(Debug)]
pub(crate) struct Standing {
    pub grounds: Grounds,
    pub validity: Validity,
    pub verdict: Verdict,
    /// What the audit event repeats of it.
    pub claims: AuditClaims,
}

/// What its provider said.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Let in, as this caller.
    LetIn(Rc<Identity>),
    /// Kept out.
    KeptOut(Box<Refusal>),
}

/// Why a proven token is refused.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub code: Code,
    /// Whom it names.
    pub whom: Refused,
    /// Whether that is for the time alone at which it was judged, and its provider was not even asked.
    pub untimely: bool,
}

impl Standing {
    /// Whether it says the same at another time.
    pub(crate) fn holds(&self, now: UnixTime) -> bool {
        match (self.validity.check(now), &self.verdict) {
            (Ok(()), Verdict::LetIn(_)) => true,
            (Ok(()), Verdict::KeptOut(refusal)) => !refusal.untimely,
            (Err(_), Verdict::LetIn(_)) => false,
            (Err(code), Verdict::KeptOut(refusal)) => refusal.untimely && refusal.code == code,
        }
    }

    /// Bytes of what it points to.
    pub(crate) fn weight(&self) -> usize {
        let verdict = match &self.verdict {
            Verdict::LetIn(identity) => identity.weight() + IDENTITY_BYTES,
            Verdict::KeptOut(refusal) => refusal.whom.weight() + REFUSAL_BYTES,
        };
        verdict.saturating_add(self.claims.weight())
    }
}

/// Bytes of an identity without its texts, and of the heads of their memory.
const IDENTITY_BYTES: usize = 120;

/// The same of a refusal.
const REFUSAL_BYTES: usize = 64;

/// The last judgement of one token.
#[derive(Debug, Default)]
pub(crate) struct LastStanding(RefCell<Option<Standing>>);

impl LastStanding {
    /// What that policy made of it, if it was the last to judge.
    pub(crate) fn under(&self, policy: u64) -> Option<Ref<'_, Standing>> {
        let last = self.0.try_borrow().ok()?;
        Ref::filter_map(last, |last| {
            last.as_ref().filter(|s| s.grounds.policy == policy)
        })
        .ok()
    }

    /// Bytes of what that points to.
    pub(crate) fn weight(&self) -> usize {
        let last = self.0.try_borrow().ok();
        last.and_then(|last| last.as_ref().map(Standing::weight))
            .unwrap_or(0)
    }

    pub(crate) fn set(&self, standing: Standing) {
        if let Ok(mut last) = self.0.try_borrow_mut() {
            *last = Some(standing);
        }
    }
}

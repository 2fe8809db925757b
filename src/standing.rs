//! What one policy makes of one proven token, remembered with the token.
//!
//! A provider judges without a clock ([`JwtRules::judge`](crate::provider::jwt::JwtRules::judge)), so its judgement can change only
//! with the policy, with the keys in force, or by the token's own times. A [`Standing`] is good while none of them has; whatever
//! else a request brings (its agent, its method) is looked at anew.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use crate::audit::AuditClaims;
use crate::identity::Identity;
use crate::jose::jwks::KeySet;
use crate::provider::validity::Validity;

/// A judgement: let in, as this caller.
#[derive(Debug)]
pub(crate) struct Standing {
    /// The policy that judged: [`crate::stores::Live::serial`], which no two of a VM share.
    pub policy: u64,
    /// The place of the provider whose token it is. That all before it had no use for the token is part of the judgement.
    pub provider: usize,
    /// The key set under which the signature stood. Weak: a set that is gone is in force nowhere.
    pub keys: Weak<KeySet>,
    pub validity: Validity,
    pub identity: Rc<Identity>,
    pub claims: AuditClaims,
}

impl Standing {
    /// Whether these very keys were in force. The address can't be another's: a weak reference keeps it taken.
    pub(crate) fn is_under(&self, keys: &Rc<KeySet>) -> bool {
        std::ptr::eq(self.keys.as_ptr(), Rc::as_ptr(keys))
    }
}

/// The last judgement of one token.
#[derive(Debug, Default)]
pub(crate) struct LastStanding(RefCell<Option<Rc<Standing>>>);

impl LastStanding {
    /// What that policy made of it, if it was the last to judge.
    pub(crate) fn under(&self, policy: u64) -> Option<Rc<Standing>> {
        let last = self.0.try_borrow().ok()?;
        last.as_ref().filter(|s| s.policy == policy).cloned()
    }

    pub(crate) fn set(&self, standing: Standing) {
        if let Ok(mut last) = self.0.try_borrow_mut() {
            *last = Some(Rc::new(standing));
        }
    }
}

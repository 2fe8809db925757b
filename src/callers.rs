//! Identities that tokens have in common: a caller comes with one token after another, and all of them are remembered.

use std::hash::BuildHasher;
use std::rc::{Rc, Weak};

use foldhash::quality::FixedState;

use crate::identity::Identity;

/// Callers that are found again, one at each place: 4 bytes a place, made when the first one comes.
const PLACES: usize = 4096;

/// The callers seen last.
#[derive(Debug)]
pub(crate) struct Callers {
    hasher: FixedState,
    /// By the hash of `user_id`. Weak: whom no token is remembered for takes no memory but that of the value's head.
    last: Vec<Weak<Identity>>,
}

impl Callers {
    pub(crate) fn new(hasher: &FixedState) -> Self {
        Self {
            hasher: hasher.clone(),
            last: Vec::new(),
        }
    }

    /// The identity, shared with the tokens of the same caller that are remembered: equal in every part.
    pub(crate) fn shared(&mut self, identity: Identity) -> Rc<Identity> {
        if self.last.is_empty() {
            self.last.resize(PLACES, Weak::new());
        }
        let hash = self.hasher.hash_one(identity.user_id());
        let place = usize::try_from(hash % PLACES as u64)
            .ok()
            .and_then(|place| self.last.get_mut(place));
        let Some(place) = place else {
            return Rc::new(identity);
        };
        match place.upgrade() {
            Some(known) if *known == identity => known,
            _ => {
                let identity = Rc::new(identity);
                *place = Rc::downgrade(&identity);
                identity
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn caller(user_id: &str, org_id: Option<&str>, groups: &[&str]) -> Identity {
        Identity {
            user_id: user_id.into(),
            email: None,
            org_id: org_id.map(Rc::from),
            workspace_id: None,
            groups: groups.iter().map(|&group| group.to_owned()).collect(),
        }
    }

    #[test]
    fn only_what_is_equal_in_every_part_is_shared() {
        let mut callers = Callers::new(&FixedState::with_seed(1));
        let alice = callers.shared(caller("alice", Some("a"), &["x"]));
        let again = callers.shared(caller("alice", Some("a"), &["x"]));
        assert!(Rc::ptr_eq(&alice, &again));
        for other in [
            caller("alice", Some("b"), &["x"]),
            caller("alice", None, &["x"]),
            caller("alice", Some("a"), &["y"]),
            caller("alice", Some("a"), &[]),
            caller("bob", Some("a"), &["x"]),
        ] {
            let shared = callers.shared(other.clone());
            assert_eq!(*shared, other);
            assert!(!Rc::ptr_eq(&alice, &shared));
        }
    }

    #[test]
    fn whoever_comes_gets_his_own_however_many_there_are() {
        let mut callers = Callers::new(&FixedState::with_seed(1));
        let mut kept = Vec::new();
        for round in 0..2 {
            for i in 0..3 * PLACES {
                let wanted = caller(&format!("user-{i}"), None, &[]);
                let shared = callers.shared(wanted.clone());
                assert_eq!(*shared, wanted, "{round}");
                kept.push(shared);
            }
        }
    }
}

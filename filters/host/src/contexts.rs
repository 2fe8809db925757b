//! State by context id, and state that is taken out while it is worked on.

use std::cell::Cell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Values by context id. Hosts count the ids up, so one multiplication spreads them well enough.
pub type ById<T> = HashMap<u32, T, BuildHasherDefault<IdHasher>>;

/// Hashes one context id.
#[derive(Clone, Copy, Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, id: u32) {
        // Fibonacci hashing; the table wants both high and low bits to differ.
        self.0 = (self.0 ^ u64::from(id))
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A VM's state between callbacks.
///
/// A callback takes it out, works, and puts it back; no borrow is ever held over a host call. Should a host call
/// back in while it is out, [`Slot::with`] says so, and the caller fails closed instead of trapping.
pub struct Slot<T>(Cell<Option<Box<T>>>);

impl<T> Slot<T> {
    /// With a value in it.
    pub fn new(value: T) -> Self {
        Self(Cell::new(Some(Box::new(value))))
    }

    /// Works on the value; `None` if it is out already.
    pub fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> Option<R> {
        let mut value = self.0.take()?;
        let result = work(&mut value);
        self.0.set(Some(value));
        Some(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nested_call_finds_nothing() {
        let slot = Slot::new(1);
        let nested = slot.with(|value| {
            *value += 1;
            slot.with(|_| ())
        });
        assert_eq!(nested, Some(None));
        assert_eq!(slot.with(|value| *value), Some(2));
    }

    #[test]
    fn ids_are_found_again() {
        let mut by_id: ById<u32> = ById::default();
        for id in 0..10_000 {
            by_id.insert(id, id);
        }
        assert!((0..10_000).all(|id| by_id.get(&id) == Some(&id)));
    }
}

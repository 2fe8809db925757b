//! A bounded map that forgets what is not used.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

use foldhash::quality::FixedState;

/// A map in two generations: what has not been looked up for a whole generation is forgotten. Every operation
/// costs a look-up or two; there is no list to keep in order.
#[derive(Debug)]
pub(crate) struct Generations<K, V> {
    young: HashMap<K, V, FixedState>,
    old: HashMap<K, V, FixedState>,
    young_bytes: usize,
}

/// Bounds of both generations together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub entries: usize,
    pub bytes: usize,
}

impl<K: Hash + Eq, V: Clone> Generations<K, V> {
    pub(crate) fn new(hasher: &FixedState) -> Self {
        Self {
            young: HashMap::with_hasher(hasher.clone()),
            old: HashMap::with_hasher(hasher.clone()),
            young_bytes: 0,
        }
    }

    /// Looks up, and keeps what it finds for another generation. `weight` is in bytes.
    pub(crate) fn get<Q>(&mut self, key: &Q, weight: impl Fn(&V) -> usize, max: Bounds) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        if let Some(v) = self.young.get(key) {
            return Some(v.clone());
        }
        let (key, v) = self.old.remove_entry(key)?;
        self.insert(key, v.clone(), weight(&v), max);
        Some(v)
    }

    pub(crate) fn insert(&mut self, key: K, v: V, weight: usize, max: Bounds) {
        let (entries, bytes) = (max.entries / 2, max.bytes / 2);
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
        // An older value must not come back when this one goes.
        self.old.remove(&key);
        if self.young.insert(key, v).is_none() {
            self.young_bytes += weight;
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn bounded_in_entries_and_bytes_and_keeps_what_is_used() {
        let mut g: Generations<Box<str>, i32> = Generations::new(&FixedState::with_seed(7));
        let max = Bounds {
            entries: 10,
            bytes: 1000,
        };
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
        let none = Bounds {
            entries: 0,
            bytes: 0,
        };
        g.insert("none".into(), 1, 1, none);
        assert_eq!(g.get("none", |_| 1, none), None);
    }

    #[test]
    fn a_replaced_value_does_not_come_back() {
        let mut g: Generations<Box<str>, i32> = Generations::new(&FixedState::with_seed(7));
        let max = Bounds {
            entries: 4,
            bytes: 1000,
        };
        g.insert("k".into(), 1, 10, max);
        g.insert("a".into(), 0, 10, max);
        // Turns the generations: "k" is old now, and replaced.
        g.insert("k".into(), 2, 10, max);
        g.insert("b".into(), 0, 10, max);
        assert_eq!(g.get("k", |_| 10, max), Some(2));
        g.insert("c".into(), 0, 10, max);
        g.insert("d".into(), 0, 10, max);
        assert_ne!(g.get("k", |_| 10, max), Some(1));
    }
}

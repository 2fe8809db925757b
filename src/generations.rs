//! A bounded table that forgets what is not used.

use hashbrown::HashTable;

/// What a [`Generations`] keeps. It knows its hash, so that it is taken once: of a token that is most of what a look-up costs.
pub(crate) trait Kept: Clone {
    /// Of what it is looked up by.
    fn hash(&self) -> u64;

    /// Whether both are looked up by the same.
    fn is_same(&self, other: &Self) -> bool;

    /// Bytes that it takes, the same at any time.
    fn weight(&self) -> usize;
}

/// A table in two generations: what has not been looked up for a whole generation is forgotten. Every operation
/// costs a look-up or two; there is no list to keep in order.
#[derive(Debug)]
pub(crate) struct Generations<T> {
    young: HashTable<T>,
    old: HashTable<T>,
    young_bytes: usize,
}

/// Bounds of both generations together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub entries: usize,
    pub bytes: usize,
}

impl<T: Kept> Generations<T> {
    pub(crate) const fn new() -> Self {
        Self {
            young: HashTable::new(),
            old: HashTable::new(),
            young_bytes: 0,
        }
    }

    /// Looks up, and keeps what it finds for another generation. `is` tells the one sought from others with its hash.
    pub(crate) fn get(&mut self, hash: u64, is: impl Fn(&T) -> bool, max: Bounds) -> Option<T> {
        if let Some(found) = self.young.find(hash, &is) {
            return Some(found.clone());
        }
        let (found, _) = self.old.find_entry(hash, is).ok()?.remove();
        self.insert(found.clone(), max);
        Some(found)
    }

    /// Keeps it, in place of what is the same.
    pub(crate) fn insert(&mut self, kept: T, max: Bounds) {
        let (entries, bytes) = (max.entries / 2, max.bytes / 2);
        let (hash, weight) = (kept.hash(), kept.weight());
        // An older value must not come back when this one goes, nor stay when this one is too big.
        if let Ok(older) = self.old.find_entry(hash, |other| other.is_same(&kept)) {
            older.remove();
        }
        if let Ok(other) = self.young.find_entry(hash, |other| other.is_same(&kept)) {
            let (other, _) = other.remove();
            self.young_bytes = self.young_bytes.saturating_sub(other.weight());
        }
        if entries == 0 || weight > bytes {
            return;
        }
        if self.young.len() >= entries || self.young_bytes.saturating_add(weight) > bytes {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += weight;
        self.young.insert_unique(hash, kept, T::hash);
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

    #[derive(Clone, Debug, PartialEq)]
    struct Item {
        name: String,
        value: i32,
        weight: usize,
    }

    impl Kept for Item {
        /// Nearly all collide.
        fn hash(&self) -> u64 {
            hash(&self.name)
        }
        fn is_same(&self, other: &Self) -> bool {
            self.name == other.name
        }
        fn weight(&self) -> usize {
            self.weight
        }
    }

    fn hash(name: &str) -> u64 {
        name.len() as u64
    }

    fn put(g: &mut Generations<Item>, name: &str, value: i32, weight: usize, max: Bounds) {
        let name = name.to_owned();
        g.insert(
            Item {
                name,
                value,
                weight,
            },
            max,
        );
        let weights = g.young.iter().map(|i| i.weight).sum::<usize>();
        assert_eq!(g.young_bytes, weights);
        assert!(weights <= max.bytes / 2);
        assert!(g.len() <= max.entries);
    }

    fn get(g: &mut Generations<Item>, name: &str, max: Bounds) -> Option<i32> {
        g.get(hash(name), |i| i.name == name, max).map(|i| i.value)
    }

    #[test]
    fn bounded_in_entries_and_bytes_and_keeps_what_is_used() {
        let mut g = Generations::new();
        let max = Bounds {
            entries: 10,
            bytes: 1000,
        };
        for i in 0..1000 {
            put(&mut g, &format!("t{i}"), i, 10, max);
            // Looked up all the time, so it stays however many others pass.
            put(&mut g, "hot", -1, 10, max);
            assert_eq!(get(&mut g, "hot", max), Some(-1));
        }
        for i in 0..1000 {
            put(&mut g, &format!("u{i}"), i, 400, max);
            // Two turns push out what the first loop left.
            assert!(i < 2 || g.len() <= 2);
        }
        put(&mut g, "too big", 1, 501, max);
        assert_eq!(get(&mut g, "too big", max), None);
        let none = Bounds {
            entries: 0,
            bytes: 0,
        };
        let mut g = Generations::new();
        put(&mut g, "none", 1, 1, none);
        assert_eq!(get(&mut g, "none", none), None);
    }

    #[test]
    fn a_replaced_value_does_not_come_back() {
        let mut g = Generations::new();
        let max = Bounds {
            entries: 4,
            bytes: 1000,
        };
        put(&mut g, "k", 1, 10, max);
        put(&mut g, "a", 0, 10, max);
        // Turns the generations: "k" is old now, and replaced.
        put(&mut g, "k", 2, 10, max);
        put(&mut g, "b", 0, 10, max);
        assert_eq!(get(&mut g, "k", max), Some(2));
        put(&mut g, "c", 0, 10, max);
        put(&mut g, "d", 0, 10, max);
        assert_ne!(get(&mut g, "k", max), Some(1));
    }

    #[test]
    fn what_replaces_it_counts_by_its_own_weight_and_too_big_leaves_nothing() {
        let mut g = Generations::new();
        let max = Bounds {
            entries: 10,
            bytes: 1000,
        };
        put(&mut g, "k", 1, 10, max);
        put(&mut g, "k", 2, 490, max);
        assert_eq!((get(&mut g, "k", max), g.len()), (Some(2), 1));
        put(&mut g, "k", 3, 501, max);
        assert_eq!((get(&mut g, "k", max), g.len()), (None, 0));
    }
}

//! Finds the globs of a set that are worth trying.
//!
//! Globs without a special character are looked up by hash. The others are filed by what they start with, and where many start alike, by
//! what they end with: a text is looked up under each length of prefix, and of suffix, that occurs. Allow-lists have few such
//! lengths, and one glob or none under each, however long they are.

use std::collections::HashMap;

use foldhash::quality::FixedState;

use super::pattern::Pattern;

/// So few are tried one by one.
const FEW: usize = 8;

type Map<K, V> = HashMap<K, V, FixedState>;

/// The globs of a set by their places in it.
#[derive(Debug)]
pub(super) struct Index {
    plain: Map<String, usize>,
    by_prefix: Affixes<Bucket>,
}

/// A glob and its place.
type Placed = (usize, Pattern);

/// Globs with one prefix.
#[derive(Debug)]
enum Bucket {
    Few(Vec<Placed>),
    Many(Affixes<Vec<Placed>>),
}

/// What is filed under prefixes, or under suffixes.
#[derive(Debug)]
struct Affixes<T> {
    map: Map<String, T>,
    /// The lengths that occur, in bytes, ascending.
    lengths: Vec<usize>,
}

impl Index {
    pub(super) fn new(patterns: Vec<Pattern>) -> Self {
        let mut plain = Map::default();
        let mut by_prefix: Map<String, Vec<Placed>> = Map::default();
        for (place, pattern) in patterns.into_iter().enumerate() {
            if pattern.is_plain() {
                plain.entry(pattern.prefix).or_insert(place);
            } else {
                let prefix = pattern.prefix.clone();
                by_prefix.entry(prefix).or_default().push((place, pattern));
            }
        }
        let by_prefix = by_prefix
            .into_iter()
            .map(|(prefix, bucket)| (prefix, Bucket::new(bucket)))
            .collect();
        Self {
            plain,
            by_prefix: Affixes::new(by_prefix),
        }
    }

    pub(super) fn any(&self, text: &str) -> bool {
        self.plain.contains_key(text) || self.candidates(text).any(|(_, p)| p.is_match(text))
    }

    pub(super) fn first(&self, text: &str) -> Option<usize> {
        let special = self
            .candidates(text)
            .filter(|(_, p)| p.is_match(text))
            .map(|(place, _)| *place);
        special.chain(self.plain.get(text).copied()).min()
    }

    fn candidates<'t>(&'t self, text: &'t str) -> impl Iterator<Item = &'t Placed> {
        self.by_prefix
            .under(text, |text, n| text.get(..n))
            .flat_map(move |bucket| {
                let (few, many) = match bucket {
                    Bucket::Few(few) => (Some(few), None),
                    Bucket::Many(many) => (None, Some(many)),
                };
                let tails = many.into_iter().flat_map(move |many| {
                    many.under(text, |text, n| text.get(text.len().checked_sub(n)?..))
                });
                few.into_iter().chain(tails).flatten()
            })
    }
}

impl Bucket {
    fn new(globs: Vec<Placed>) -> Self {
        if globs.len() <= FEW {
            return Self::Few(globs);
        }
        let mut by_suffix: Map<String, Vec<Placed>> = Map::default();
        for (place, pattern) in globs {
            let suffix = pattern.suffix.clone();
            by_suffix.entry(suffix).or_default().push((place, pattern));
        }
        Self::Many(Affixes::new(by_suffix))
    }
}

impl<T> Affixes<T> {
    fn new(map: Map<String, T>) -> Self {
        let mut lengths: Vec<usize> = map.keys().map(String::len).collect();
        lengths.sort_unstable();
        lengths.dedup();
        Self { map, lengths }
    }

    /// What is filed under any part that `cut` takes from the text; `cut` gives `None` beyond its end, and within a character.
    fn under<'t>(
        &'t self,
        text: &'t str,
        cut: impl Fn(&'t str, usize) -> Option<&'t str> + 't,
    ) -> impl Iterator<Item = &'t T> {
        self.lengths
            .iter()
            .take_while(|n| **n <= text.len())
            .filter_map(move |n| self.map.get(cut(text, *n)?))
    }
}

//! Texts that many records share, each kept once.

use std::collections::HashMap;
use std::rc::Rc;

use foldhash::fast::FixedState;

/// Stands for "none" where a row has a place.
pub(super) const NONE: u32 = u32::MAX;

/// Texts, each kept once.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    list: Vec<Rc<str>>,
    places: HashMap<Rc<str>, u32, FixedState>,
}

impl Names {
    pub(super) fn add(&mut self, name: &str) -> u32 {
        if let Some(place) = self.places.get(name) {
            return *place;
        }
        let Ok(place) = u32::try_from(self.list.len()) else {
            return NONE;
        };
        let name: Rc<str> = name.into();
        self.list.push(name.clone());
        self.places.insert(name, place);
        place
    }

    pub(super) fn get(&self, place: u32) -> Option<&str> {
        self.list.get(usize::try_from(place).ok()?).map(|n| &**n)
    }

    pub(super) fn bytes(&self) -> usize {
        let pointer = size_of::<Rc<str>>();
        let texts: usize = self
            .list
            .iter()
            .map(|n| n.len() + 2 * size_of::<usize>())
            .sum();
        texts
            + self.list.capacity() * pointer
            // The map's rows, a control byte each, and its load of at most 7/8.
            + self.places.capacity() * (pointer + size_of::<u32>() + 1) * 8 / 7
    }

    pub(super) const fn len(&self) -> usize {
        self.list.len()
    }

    /// Leaves out what nobody keeps.
    pub(super) fn into_mover(self) -> Mover {
        Mover {
            moved: vec![NONE; self.list.len()],
            old: self.list,
            new: Self::default(),
        }
    }
}

/// Texts on their way to a shorter list.
pub(super) struct Mover {
    old: Vec<Rc<str>>,
    /// Where each is now.
    moved: Vec<u32>,
    new: Names,
}

impl Mover {
    /// Keeps a text; gives its new place.
    pub(super) fn keep(&mut self, place: u32) -> u32 {
        let Ok(old) = usize::try_from(place) else {
            return NONE;
        };
        let (Some(name), Some(moved)) = (self.old.get(old), self.moved.get_mut(old)) else {
            return NONE;
        };
        if *moved == NONE {
            *moved = self.new.add(name);
        }
        *moved
    }

    pub(super) fn finish(self) -> Names {
        self.new
    }
}

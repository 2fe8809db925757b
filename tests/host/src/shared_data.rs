//! The store that all workers of a proxy share.

use std::collections::BTreeMap;

use crate::abi::Status;
use crate::settings::Profile;

/// Keys and values with the token of each value's last change.
///
/// Envoy compares a token only where there is a value, and not at all with token 0. nginx is strict (0 creates and never overwrites),
/// takes two keys of one CRC-32 for one, has a fixed size and drops what was used longest ago, and traps on a value that is larger
/// than all of it.
#[derive(Debug)]
pub struct SharedData {
    profile: Profile,
    /// Of all values and keys, in bytes. `None`: the zone was not declared, and every access traps.
    capacity: Option<usize>,
    entries: BTreeMap<Vec<u8>, Entry>,
    next_token: u32,
    uses: u64,
}

#[derive(Debug)]
struct Entry {
    key: Vec<u8>,
    value: Vec<u8>,
    token: u32,
    used: u64,
}

/// An access that takes the VM with it.
#[derive(Debug, PartialEq, Eq)]
pub struct Traps(pub &'static str);

impl SharedData {
    pub(crate) const fn new(profile: Profile, capacity: Option<usize>) -> Self {
        Self {
            profile,
            capacity,
            entries: BTreeMap::new(),
            next_token: 1,
            uses: 0,
        }
    }

    /// A key's value, or on nginx that of another key with its CRC-32.
    pub fn value(&self, key: &str) -> Option<&[u8]> {
        self.entries
            .get(&self.place(key.as_bytes()))
            .map(|entry| entry.value.as_slice())
    }

    /// The keys as they were written, in no order that means anything.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.entries.values().map(|entry| entry.key.as_slice())
    }

    /// Puts a value there, as another filter or worker would.
    pub fn put(&mut self, key: &str, value: &[u8]) {
        let place = self.place(key.as_bytes());
        self.write(place, key.as_bytes(), value);
    }

    pub(crate) fn wipe(&mut self) {
        self.entries.clear();
    }

    pub(crate) fn get(&mut self, key: &[u8]) -> Result<Option<(Vec<u8>, u32)>, Traps> {
        self.declared()?;
        let place = self.place(key);
        self.uses += 1;
        let uses = self.uses;
        Ok(self.entries.get_mut(&place).map(|entry| {
            entry.used = uses;
            (entry.value.clone(), entry.token)
        }))
    }

    pub(crate) fn set(&mut self, key: &[u8], value: &[u8], cas: u32) -> Result<Status, Traps> {
        let capacity = self.declared()?;
        let place = self.place(key);
        let there = self.entries.get(&place).map(|entry| entry.token);
        let refused = match (self.profile, there) {
            (Profile::Envoy, Some(token)) => cas != 0 && cas != token,
            (Profile::Envoy, None) => false,
            (Profile::Nginx, there) => cas != there.unwrap_or(0),
        };
        if refused {
            return Ok(Status::CAS_MISMATCH);
        }
        if self.profile == Profile::Nginx {
            if key.len() + value.len() > capacity {
                return Err(Traps("a shared value larger than its zone"));
            }
            self.make_room(&place, key.len() + value.len(), capacity);
        }
        self.write(place, key, value);
        Ok(Status::OK)
    }

    fn declared(&self) -> Result<usize, Traps> {
        self.capacity
            .ok_or(Traps("shared data without a declared zone (shm_kv)"))
    }

    fn write(&mut self, place: Vec<u8>, key: &[u8], value: &[u8]) {
        self.uses += 1;
        let entry = Entry {
            key: key.to_vec(),
            value: value.to_vec(),
            token: self.next_token,
            used: self.uses,
        };
        self.next_token += 1;
        self.entries.insert(place, entry);
    }

    fn make_room(&mut self, place: &[u8], wanted: usize, capacity: usize) {
        loop {
            let others = self.entries.iter().filter(|(at, _)| at.as_slice() != place);
            let taken: usize = others
                .clone()
                .map(|(_, e)| e.key.len() + e.value.len())
                .sum();
            let oldest = others.min_by_key(|(_, e)| e.used).map(|(at, _)| at.clone());
            match oldest {
                Some(oldest) if taken + wanted > capacity => self.entries.remove(&oldest),
                _ => return,
            };
        }
    }

    fn place(&self, key: &[u8]) -> Vec<u8> {
        match self.profile {
            Profile::Envoy => key.to_vec(),
            Profile::Nginx => crc32fast::hash(key).to_le_bytes().to_vec(),
        }
    }
}

//! The records as requests are judged by them: sorted by id, a hundred bytes each.
//!
//! A worker may have a hundred thousand of them, and every worker has its own, so a record is a fixed row, and names that many
//! keys share (agents, owners, sets of methods) are kept once.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use foldhash::fast::FixedState;

use super::bucket::RateLimit;
use super::format::KeyId;
use super::record::{KeyDigest, Record, ScopeKind};
use crate::reason::Code;
use crate::time::UnixTime;

/// Stands for "none" where a row has a number.
const NONE: u32 = u32::MAX;

#[derive(Clone, Debug)]
struct Row {
    id: KeyId,
    digest: [u8; 32],
    scope_name: u32,
    owner: u32,
    methods: u32,
    rate_limit: u32,
    born: u64,
    not_before: u64,
    /// The earlier of expiry and end of grace; `u64::MAX` for never.
    until: u64,
    /// What ends at `until`.
    ends: Ends,
    scope: ScopeKind,
    peppered: bool,
    revoked: bool,
}

#[derive(Clone, Copy, Debug)]
enum Ends {
    Life,
    Grace,
}

/// All records of one provider.
#[derive(Clone, Debug, Default)]
pub struct KeyTable {
    rows: Vec<Row>,
    names: Names,
    limits: Vec<RateLimit>,
}

/// One record, as a request is judged by it.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'t> {
    table: &'t KeyTable,
    row: &'t Row,
}

impl KeyTable {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a record; [`Self::seal`] when all are there.
    pub fn push(&mut self, record: &Record) {
        let (digest, peppered) = match record.digest {
            KeyDigest::Sha256(digest) => (digest, false),
            KeyDigest::HmacSha256(digest) => (digest, true),
        };
        let life = record.expires_at.unwrap_or(u64::MAX);
        let (until, ends) = match record.grace_until {
            Some(grace) if grace < life => (grace, Ends::Grace),
            _ => (life, Ends::Life),
        };
        let methods = record.methods.as_ref().map(|m| m.join(","));
        let row = Row {
            id: record.id,
            digest,
            scope_name: self.names.add(&record.scope_name),
            owner: record.owner.as_deref().map_or(NONE, |o| self.names.add(o)),
            methods: methods.map_or(NONE, |m| self.names.add(&m)),
            rate_limit: record.rate_limit.map_or(NONE, |l| self.limit(l)),
            born: record.born,
            not_before: record.not_before,
            until,
            ends,
            scope: record.scope,
            peppered,
            revoked: record.revoked,
        };
        self.rows.push(row);
    }

    fn limit(&mut self, limit: RateLimit) -> u32 {
        // From the end: keys that are made in a row have one limit. There are a handful of them in all.
        let place = self.limits.iter().rposition(|l| *l == limit);
        let place = place.unwrap_or_else(|| {
            self.limits.push(limit);
            self.limits.len() - 1
        });
        u32::try_from(place).unwrap_or(NONE)
    }

    /// Sorts what was pushed.
    ///
    /// # Errors
    /// An id that stands twice. Which of the two records was meant, nobody can say.
    pub fn seal(&mut self) -> Result<(), KeyId> {
        self.rows.sort_unstable_by_key(|r| r.id);
        self.rows.shrink_to_fit();
        let mut pairs = self.rows.iter().zip(self.rows.iter().skip(1));
        match pairs.find(|(a, b)| a.id == b.id) {
            Some((row, _)) => Err(row.id),
            None => Ok(()),
        }
    }

    /// The record of an id.
    pub fn find(&self, id: &KeyId) -> Option<Entry<'_>> {
        let place = self.rows.binary_search_by_key(id, |r| r.id).ok()?;
        let row = self.rows.get(place)?;
        Some(Entry { table: self, row })
    }

    /// Every record, by id.
    pub fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        self.rows.iter().map(|row| Entry { table: self, row })
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Bytes that the table takes, allocator's overhead aside.
    pub fn bytes(&self) -> usize {
        self.rows.capacity() * size_of::<Row>() + self.names.bytes()
    }
}

impl<'t> Entry<'t> {
    /// Its id.
    pub const fn id(&self) -> KeyId {
        self.row.id
    }

    /// The digest of the whole key.
    pub const fn digest(&self) -> KeyDigest {
        if self.row.peppered {
            KeyDigest::HmacSha256(self.row.digest)
        } else {
            KeyDigest::Sha256(self.row.digest)
        }
    }

    /// What it is bound to.
    pub fn scope(&self) -> (ScopeKind, &'t str) {
        let name = self.table.names.get(self.row.scope_name);
        (self.row.scope, name.unwrap_or_default())
    }

    /// Who answers for it.
    pub fn owner(&self) -> Option<&'t str> {
        self.table.names.get(self.row.owner)
    }

    /// Whether it may be used with this method.
    pub fn allows_method(&self, method: &str) -> bool {
        match self.table.names.get(self.row.methods) {
            Some(methods) => methods.split(',').any(|m| m == method),
            None => self.row.methods == NONE,
        }
    }

    /// Its rate limit.
    pub fn rate_limit(&self) -> Option<RateLimit> {
        let place = usize::try_from(self.row.rate_limit).ok()?;
        self.table.limits.get(place).copied()
    }

    /// Whether it says when it was made, so that a greatest lifetime can be held against it.
    pub const fn has_birth(&self) -> bool {
        self.row.born > 0
    }

    /// Whether it is in force, `max_ttl` being the longest that a key may live.
    ///
    /// # Errors
    /// Why it is not.
    pub fn in_force(&self, now: UnixTime, max_ttl: Option<Duration>) -> Result<(), Code> {
        let row = self.row;
        let now = now.as_secs();
        if row.revoked {
            return Err(Code::KeyRevoked);
        }
        if now < row.not_before {
            return Err(Code::KeyNotYetValid);
        }
        if now >= row.until {
            return Err(match row.ends {
                Ends::Life => Code::KeyExpired,
                Ends::Grace => Code::KeySuperseded,
            });
        }
        if max_ttl.is_some_and(|ttl| now >= row.born.saturating_add(ttl.as_secs())) {
            return Err(Code::KeyExpired);
        }
        Ok(())
    }
}

/// Texts, each kept once.
#[derive(Clone, Debug, Default)]
struct Names {
    list: Vec<Rc<str>>,
    places: HashMap<Rc<str>, u32, FixedState>,
}

impl Names {
    fn add(&mut self, name: &str) -> u32 {
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

    fn get(&self, place: u32) -> Option<&str> {
        self.list.get(usize::try_from(place).ok()?).map(|n| &**n)
    }

    fn bytes(&self) -> usize {
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
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const NOW: u64 = 1_800_000_000;

    fn record(id: &str) -> Record {
        Record {
            id: KeyId::parse(id).unwrap(),
            digest: KeyDigest::Sha256([7; 32]),
            scope: ScopeKind::Agent,
            scope_name: "orders".into(),
            owner: None,
            born: NOW - 1000,
            not_before: 0,
            expires_at: None,
            grace_until: None,
            revoked: false,
            rate_limit: None,
            methods: None,
        }
    }

    fn judged(change: impl FnOnce(&mut Record), now: u64, ttl: Option<u64>) -> Result<(), Code> {
        let mut record = record("000000000000");
        change(&mut record);
        let mut table = KeyTable::new();
        table.push(&record);
        table.seal().unwrap();
        let entry = table.find(&record.id).unwrap();
        entry.in_force(UnixTime::from_secs(now), ttl.map(Duration::from_secs))
    }

    #[test]
    fn to_the_second() {
        assert_eq!(judged(|_| (), NOW, None), Ok(()));
        let expiring = |r: &mut Record| r.expires_at = Some(NOW);
        assert_eq!(judged(expiring, NOW - 1, None), Ok(()));
        assert_eq!(judged(expiring, NOW, None), Err(Code::KeyExpired));
        let later = |r: &mut Record| r.not_before = NOW;
        assert_eq!(judged(later, NOW - 1, None), Err(Code::KeyNotYetValid));
        assert_eq!(judged(later, NOW, None), Ok(()));
        let rotated = |r: &mut Record| {
            r.expires_at = Some(NOW + 10);
            r.grace_until = Some(NOW);
        };
        assert_eq!(judged(rotated, NOW - 1, None), Ok(()));
        assert_eq!(judged(rotated, NOW, None), Err(Code::KeySuperseded));
        // A grace is no second life.
        let late = |r: &mut Record| {
            r.expires_at = Some(NOW);
            r.grace_until = Some(NOW + 10);
        };
        assert_eq!(judged(late, NOW, None), Err(Code::KeyExpired));
        let revoked = |r: &mut Record| r.revoked = true;
        assert_eq!(judged(revoked, NOW, None), Err(Code::KeyRevoked));
    }

    #[test]
    fn the_longest_life() {
        assert_eq!(judged(|_| (), NOW, Some(1001)), Ok(()));
        assert_eq!(judged(|_| (), NOW, Some(1000)), Err(Code::KeyExpired));
        // Nobody knows how old it is.
        assert_eq!(
            judged(|r| r.born = 0, NOW, Some(86_400 * 365)),
            Err(Code::KeyExpired)
        );
    }

    #[test]
    fn found_by_id_and_by_nothing_else() {
        let mut table = KeyTable::new();
        for id in ["zzzzzzzzzzzz", "000000000000", "Mmmmmmmmmmmm"] {
            let mut one = record(id);
            one.scope_name = id.to_lowercase();
            one.owner = Some(format!("owner-{id}"));
            table.push(&one);
        }
        table.seal().unwrap();
        for id in ["000000000000", "Mmmmmmmmmmmm", "zzzzzzzzzzzz"] {
            let entry = table.find(&KeyId::parse(id).unwrap()).unwrap();
            assert_eq!(entry.id().as_str(), id);
            assert_eq!(entry.scope(), (ScopeKind::Agent, &*id.to_lowercase()));
            assert_eq!(entry.owner(), Some(&*format!("owner-{id}")));
        }
        assert!(table.find(&KeyId::parse("mmmmmmmmmmmm").unwrap()).is_none());
        table.push(&record("Mmmmmmmmmmmm"));
        assert_eq!(table.seal(), Err(KeyId::parse("Mmmmmmmmmmmm").unwrap()));
    }

    #[test]
    fn methods_and_limits() {
        let mut one = record("000000000001");
        one.methods = Some(vec!["GET".into(), "POST".into()]);
        one.rate_limit = RateLimit::new(5, Duration::from_secs(1), 5);
        let mut none = record("000000000002");
        none.methods = Some(Vec::new());
        let mut table = KeyTable::new();
        for r in [&one, &none, &record("000000000003")] {
            table.push(r);
        }
        table.seal().unwrap();
        let [a, b, c] = [1, 2, 3].map(|n| {
            table
                .find(&KeyId::parse(&format!("{n:012}")).unwrap())
                .unwrap()
        });
        assert!(a.allows_method("POST") && !a.allows_method("PO") && !a.allows_method("GET,POST"));
        assert!(!b.allows_method("GET"));
        assert!(c.allows_method("ANYTHING"));
        assert_eq!(a.rate_limit(), one.rate_limit);
        assert_eq!(c.rate_limit(), None);
    }

    #[test]
    fn a_hundred_thousand_keys_are_small() {
        let mut table = KeyTable::new();
        for n in 0..100_000 {
            let mut one = record(&format!("{n:012}"));
            one.scope_name = format!("agent-{}", n % 1000);
            // The worst case: every key has an owner of its own.
            one.owner = Some(format!("user-{n}@example.com"));
            table.push(&one);
        }
        table.seal().unwrap();
        assert!(size_of::<Row>() <= 96, "{}", size_of::<Row>());
        let each = table.bytes() / table.len();
        assert!(each <= 200, "{each} bytes a key");
        assert!(table.find(&KeyId::parse("000000077777").unwrap()).is_some());
    }
}

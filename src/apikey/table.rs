//! The records as requests are judged by them: sorted by id, a hundred bytes each.
//!
//! A worker may have a hundred thousand of them, and every worker has its own, so a record is a fixed row, and names that many
//! keys share (agents, owners, sets of methods) are kept once.
//!
//! What a feed changes is changed in place; what it adds goes into a second, short list, which is merged into the first one now
//! and then, so that no change costs more than the moving of a few rows.

mod entry;

pub use self::entry::Entry;
use super::bucket::RateLimit;
use super::feed::KeyChange;
use super::format::KeyId;
use super::names::{NONE, Names};
use super::record::{KeyDigest, Record, ScopeKind};

/// Rows that may be added, or gone, before the table is put in order again, beside an eighth of it.
const SLACK: usize = 256;

/// Rate limits looked through for an equal one: keys that are made in a row have one limit, and there are a handful in all.
const RECENT_LIMITS: usize = 64;

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
    /// Its record could not be read.
    unreadable: bool,
    /// There is no such key any more.
    gone: bool,
}

#[derive(Clone, Copy, Debug)]
enum Ends {
    Life,
    Grace,
}

/// All records of one provider.
#[derive(Clone, Debug, Default)]
pub struct KeyTable {
    /// By id.
    rows: Vec<Row>,
    /// By id as well, none of them in `rows`.
    fresh: Vec<Row>,
    /// How many rows are there only because it would cost too much to take them out.
    gone: usize,
    names: Names,
    limits: Vec<RateLimit>,
    /// Names and limits that were in use when they were last looked through.
    in_use: usize,
}

impl KeyTable {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a record; [`Self::seal`] when all are there.
    pub fn push(&mut self, record: &Record) {
        let row = self.row(record);
        self.rows.push(row);
    }

    fn row(&mut self, record: &Record) -> Row {
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
        Row {
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
            unreadable: false,
            gone: false,
        }
    }

    fn limit(&mut self, limit: RateLimit) -> u32 {
        let recent = self.limits.iter().enumerate().rev().take(RECENT_LIMITS);
        let place = recent.into_iter().find(|(_, l)| **l == limit);
        let place = place.map(|(place, _)| place).unwrap_or_else(|| {
            self.limits.push(limit);
            self.limits.len() - 1
        });
        u32::try_from(place).unwrap_or(NONE)
    }

    /// Makes the changes of one page: first those that came or changed, no id twice, then those that went.
    pub fn apply(&mut self, changes: &[KeyChange], removed: &[KeyId]) {
        let mut added = Vec::new();
        for change in changes {
            let row = match change {
                KeyChange::Record(record) => self.row(record),
                KeyChange::Unreadable(id) => Row::unreadable(*id),
            };
            match self.row_mut(&row.id) {
                Some(old) => {
                    let was_gone = old.gone;
                    *old = row;
                    self.gone = self.gone.saturating_sub(usize::from(was_gone));
                }
                None => added.push(row),
            }
        }
        sort(&mut added);
        self.fresh = merged(std::mem::take(&mut self.fresh), added);
        for id in removed {
            if let Some(row) = self.row_mut(id)
                && !row.gone
            {
                row.gone = true;
                self.gone += 1;
            }
        }
        self.tidy_up();
    }

    fn row_mut(&mut self, id: &KeyId) -> Option<&mut Row> {
        match self.rows.binary_search_by_key(id, |r| r.id) {
            Ok(place) => self.rows.get_mut(place),
            Err(_) => {
                let place = self.fresh.binary_search_by_key(id, |r| r.id).ok()?;
                self.fresh.get_mut(place)
            }
        }
    }

    /// Every so often, so that it costs each change next to nothing: merges, takes out what is gone, forgets what nobody refers to.
    fn tidy_up(&mut self) {
        let slack = SLACK + self.rows.len() / 8;
        if self.gone > slack {
            for rows in [&mut self.rows, &mut self.fresh] {
                rows.retain(|r| !r.gone);
            }
            self.gone = 0;
        }
        if self.fresh.len() > slack {
            let (rows, fresh) = (
                std::mem::take(&mut self.rows),
                std::mem::take(&mut self.fresh),
            );
            self.rows = merged(rows, fresh);
        }
        if self.names.len() + self.limits.len() > 2 * self.in_use + 4 * SLACK {
            let mut names = std::mem::take(&mut self.names).into_mover();
            let limits = std::mem::take(&mut self.limits);
            for row in self.rows.iter_mut().chain(&mut self.fresh) {
                for place in [&mut row.scope_name, &mut row.owner, &mut row.methods] {
                    *place = names.keep(*place);
                }
            }
            self.names = names.finish();
            // Rows are in no order that would have equal limits near each other, so these go by their numbers.
            let mut moved = vec![NONE; limits.len()];
            for row in self.rows.iter_mut().chain(&mut self.fresh) {
                let place = usize::try_from(row.rate_limit).unwrap_or(usize::MAX);
                let (Some(limit), Some(to)) = (limits.get(place), moved.get_mut(place)) else {
                    continue;
                };
                if *to == NONE {
                    *to = u32::try_from(self.limits.len()).unwrap_or(NONE);
                    self.limits.push(*limit);
                }
                row.rate_limit = *to;
            }
            self.in_use = self.names.len() + self.limits.len();
        }
    }

    /// Sorts what was pushed.
    ///
    /// # Errors
    /// An id that stands twice. Which of the two records was meant, nobody can say.
    pub fn seal(&mut self) -> Result<(), KeyId> {
        sort(&mut self.rows);
        self.rows.shrink_to_fit();
        let mut pairs = self.rows.iter().zip(self.rows.iter().skip(1));
        match pairs.find(|(a, b)| a.id == b.id) {
            Some((row, _)) => Err(row.id),
            None => Ok(()),
        }
    }

    /// The record of an id.
    pub fn find(&self, id: &KeyId) -> Option<Entry<'_>> {
        let row = match self.rows.binary_search_by_key(id, |r| r.id) {
            Ok(place) => self.rows.get(place),
            Err(_) => {
                let place = self.fresh.binary_search_by_key(id, |r| r.id).ok()?;
                self.fresh.get(place)
            }
        };
        let row = row.filter(|r| !r.gone)?;
        Some(Entry { table: self, row })
    }

    /// Every record, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        let rows = self.rows.iter().chain(&self.fresh).filter(|r| !r.gone);
        rows.map(|row| Entry { table: self, row })
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        (self.rows.len() + self.fresh.len()).saturating_sub(self.gone)
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that the table takes, allocator's overhead aside.
    pub fn bytes(&self) -> usize {
        (self.rows.capacity() + self.fresh.capacity()) * size_of::<Row>()
            + self.limits.capacity() * size_of::<RateLimit>()
            + self.names.bytes()
    }
}

/// Of code that is instantiated for a type this is the biggest piece: once is enough.
#[inline(never)]
fn sort(rows: &mut [Row]) {
    rows.sort_unstable_by_key(|r| r.id);
}

/// Two sorted lists as one. No id is in both, and none twice in one.
#[inline(never)]
fn merged(one: Vec<Row>, other: Vec<Row>) -> Vec<Row> {
    if one.is_empty() {
        return other;
    }
    if other.is_empty() {
        return one;
    }
    let mut out = Vec::with_capacity(one.len() + other.len());
    let mut one = one.into_iter().peekable();
    for row in other {
        while let Some(earlier) = one.next_if(|r| r.id < row.id) {
            out.push(earlier);
        }
        out.push(row);
    }
    out.extend(one);
    out
}

impl Row {
    /// In place of a record that can't be read.
    const fn unreadable(id: KeyId) -> Self {
        Self {
            id,
            digest: [0; 32],
            scope_name: NONE,
            owner: NONE,
            methods: NONE,
            rate_limit: NONE,
            born: 0,
            not_before: 0,
            until: 0,
            ends: Ends::Life,
            scope: ScopeKind::Agent,
            peppered: false,
            revoked: true,
            unreadable: true,
            gone: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::reason::Code;
    use crate::time::UnixTime;
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

    fn id(n: usize) -> KeyId {
        KeyId::parse(&format!("{n:012}")).unwrap()
    }

    fn change(n: usize, owner: &str) -> KeyChange {
        let mut one = record(id(n).as_str());
        one.owner = Some(owner.to_owned());
        KeyChange::Record(one)
    }

    /// Against a map that is simply a map.
    #[test]
    fn any_number_of_changes_in_any_order() {
        let mut table = KeyTable::new();
        let mut truth = std::collections::BTreeMap::new();
        let mut state = 7_u64;
        let mut roll = |n: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as usize % n
        };
        for round in 0..400 {
            let size = [1, 1, 3, 50, 700][roll(5)];
            let mut seen = std::collections::BTreeSet::new();
            let mut changes = Vec::new();
            for _ in 0..size {
                let n = roll(3000);
                if seen.insert(n) {
                    let owner = format!("owner-{}", roll(100_000));
                    if roll(10) == 0 {
                        changes.push(KeyChange::Unreadable(id(n)));
                        truth.insert(n, None);
                    } else {
                        changes.push(change(n, &owner));
                        truth.insert(n, Some(owner));
                    }
                }
            }
            let removed: Vec<usize> = (0..[0, 1, 5, 900][roll(4)]).map(|_| roll(3000)).collect();
            for n in &removed {
                truth.remove(n);
            }
            let removed: Vec<KeyId> = removed.into_iter().map(id).collect();
            table.apply(&changes, &removed);
            assert_eq!(table.len(), truth.len(), "{round}");
            assert_eq!(table.iter().count(), truth.len());
            for _ in 0..50 {
                let n = roll(3000);
                let found = table.find(&id(n));
                assert_eq!(found.is_some(), truth.contains_key(&n), "{round} {n}");
                if let (Some(entry), Some(owner)) = (found, truth.get(&n)) {
                    assert_eq!(entry.owner(), owner.as_deref());
                    assert_eq!(entry.is_unreadable(), owner.is_none());
                    let wanted = if owner.is_some() {
                        Ok(())
                    } else {
                        Err(Code::UnreadableKey)
                    };
                    assert_eq!(entry.in_force(UnixTime::from_secs(NOW), None), wanted);
                }
            }
            // What nobody refers to any more does not pile up: 400 rounds have named tens of thousands of owners.
            assert!(table.names.len() < 4 * 3000 + 1024, "{}", table.names.len());
        }
    }

    #[test]
    fn limits_that_all_differ_cost_their_rows_and_no_more() {
        let mut table = KeyTable::new();
        for round in 0..20 {
            let changes: Vec<KeyChange> = (0..1000)
                .map(|n| {
                    let mut one = record(id(n).as_str());
                    one.rate_limit =
                        RateLimit::new((round * 1000 + n + 1) as u64, Duration::from_secs(1), 1);
                    KeyChange::Record(one)
                })
                .collect();
            table.apply(&changes, &[]);
            for n in [0, 500, 999] {
                let limit = table.find(&id(n)).unwrap().rate_limit().unwrap();
                assert_eq!(limit.requests() as usize, round * 1000 + n + 1);
            }
        }
        assert!(table.limits.len() < 5000, "{}", table.limits.len());
    }

    #[test]
    fn a_hundred_thousand_keys_of_a_feed_are_small_too() {
        let mut table = KeyTable::new();
        let mut most = 0;
        for page in 0..50 {
            // In no order that would help.
            let changes: Vec<KeyChange> = (0..2000)
                .map(|n| {
                    let n = (page * 2000 + n) * 7919 % 100_003;
                    change(n, &format!("user-{n}@example.com"))
                })
                .collect();
            table.apply(&changes, &[]);
            most = most.max(table.bytes() / table.len());
        }
        assert_eq!(table.len(), 100_000);
        let each = table.bytes() / table.len();
        assert!(each <= 200, "{each} bytes a key, {most} on the way");
    }
}

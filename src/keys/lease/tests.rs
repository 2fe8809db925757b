//! Several workers over one simulated store with strict compare-and-swap, in every interleaving of
//! interest, on a simulated clock.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use super::*;
#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

const SOURCE: &str = "https://issuer.example|3600000";
const LEASE: Duration = Duration::from_secs(10);

/// Strict, as nginx's is: token 0 creates only, any other must be the current one.
#[derive(Clone, Default)]
struct Store(Rc<RefCell<Cells>>);

#[derive(Default)]
struct Cells {
    values: BTreeMap<String, (Vec<u8>, u32)>,
    last_token: u32,
}

impl Store {
    fn get(&self, key: &str) -> (Option<Vec<u8>>, u32) {
        match self.0.borrow().values.get(key) {
            Some((value, token)) => (Some(value.clone()), *token),
            None => (None, 0),
        }
    }

    fn set(&self, key: &str, value: &[u8], token: u32) -> bool {
        let cells = &mut *self.0.borrow_mut();
        if cells.values.get(key).map_or(0, |(_, t)| *t) != token {
            return false;
        }
        cells.last_token += 1;
        cells
            .values
            .insert(key.to_owned(), (value.to_vec(), cells.last_token));
        true
    }

    fn overwrite(&self, key: &str, value: &[u8]) {
        let (_, token) = self.get(key);
        assert!(self.set(key, value, token));
    }
}

/// A worker that runs the protocol as a host does, one step a call, so that tests can interleave steps.
struct Peer {
    store: Store,
    id: Worker,
    have: Option<(UnixTime, Vec<u8>)>,
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Leads,
    LostRace,
    Waits(UnixTime),
    Adopted,
    Backs(UnixTime),
}

impl Peer {
    fn new(store: &Store, id: u64) -> Self {
        Self {
            store: store.clone(),
            id: Worker(id),
            have: None,
        }
    }

    fn have(&self) -> Option<UnixTime> {
        self.have.as_ref().map(|(at, _)| *at)
    }

    fn read(&self) -> (Option<Vec<u8>>, u32) {
        self.store.get(&record_key(SOURCE))
    }

    fn act(&mut self, read: (Option<Vec<u8>>, u32), now: UnixTime) -> Outcome {
        let (seen, token) = read;
        match claim(seen.as_deref(), SOURCE, self.have(), self.id, LEASE, now) {
            Claim::Take(record) => {
                if self.store.set(&record_key(SOURCE), &record, token) {
                    Outcome::Leads
                } else {
                    Outcome::LostRace
                }
            }
            Claim::Wait(until) => Outcome::Waits(until),
            Claim::Failed(retry_at) => Outcome::Backs(retry_at),
            Claim::Adopt(at) => {
                assert!(self.adopt(at));
                Outcome::Adopted
            }
        }
    }

    fn want(&mut self, now: UnixTime) -> Outcome {
        let read = self.read();
        self.act(read, now)
    }

    fn adopt(&mut self, at: UnixTime) -> bool {
        let (bytes, _) = self.store.get(&document_key(SOURCE));
        let Some(bytes) = bytes else { return false };
        let Some((at, document)) = decode_document(&bytes, SOURCE, at) else {
            return false;
        };
        self.have = Some((at, document.to_vec()));
        true
    }

    fn fetched(&mut self, document: &[u8], now: UnixTime) {
        self.have = Some((now, document.to_vec()));
        self.store.overwrite(
            &document_key(SOURCE),
            &encode_document(SOURCE, now, document),
        );
        self.end(Ended::Fetched { at: now }, now);
    }

    fn end(&self, ended: Ended, now: UnixTime) {
        let (seen, token) = self.read();
        if let Some(record) = publish(seen.as_deref(), SOURCE, ended, self.id, now) {
            assert!(self.store.set(&record_key(SOURCE), &record, token));
        }
    }

    fn look(&self, waiting: bool, now: UnixTime) -> News {
        let (seen, _) = self.read();
        observe(seen.as_deref(), SOURCE, self.have(), waiting, now)
    }
}

fn at(secs: u64) -> UnixTime {
    UnixTime::from_secs(1_800_000_000 + secs)
}

#[test]
fn one_leads_and_the_others_get_its_document() {
    let store = Store::default();
    let mut peers: Vec<Peer> = (1..=4).map(|id| Peer::new(&store, id)).collect();
    let leaders: Vec<usize> = (0..4)
        .filter(|i| peers[*i].want(at(0)) == Outcome::Leads)
        .collect();
    assert_eq!(leaders, [0]);
    assert_eq!(peers[3].want(at(1)), Outcome::Waits(at(10)));
    assert_eq!(peers[3].look(true, at(1)), News::None);

    peers[0].fetched(b"keys", at(2));
    for peer in &mut peers[1..] {
        assert_eq!(peer.look(true, at(3)), News::Newer(at(2)));
        assert!(peer.adopt(at(2)));
        assert_eq!(peer.have.as_ref().unwrap().1, b"keys");
        assert_eq!(peer.look(false, at(4)), News::None);
    }
}

/// Every order in which three workers can read and then write: exactly one leads.
#[test]
fn a_lost_race_makes_no_second_leader() {
    fn orders(left: &[u8], so_far: &mut Vec<u8>, all: &mut Vec<Vec<u8>>) {
        if left.is_empty() {
            all.push(so_far.clone());
        }
        let mut tried = Vec::new();
        for (i, who) in left.iter().enumerate() {
            if tried.contains(who) {
                continue;
            }
            tried.push(*who);
            let mut rest = left.to_vec();
            rest.remove(i);
            so_far.push(*who);
            orders(&rest, so_far, all);
            so_far.pop();
        }
    }
    let mut all = Vec::new();
    orders(&[0, 0, 1, 1, 2, 2], &mut Vec::new(), &mut all);
    assert_eq!(all.len(), 90);
    for order in all {
        let store = Store::default();
        let mut peers: Vec<Peer> = (1..=3).map(|id| Peer::new(&store, id)).collect();
        let mut reads: [Option<(Option<Vec<u8>>, u32)>; 3] = [None, None, None];
        let mut leaders = 0;
        for who in &order {
            let who = usize::from(*who);
            let peer = &mut peers[who];
            match reads[who].take() {
                None => reads[who] = Some(peer.read()),
                Some(read) => match peer.act(read, at(0)) {
                    Outcome::Leads => leaders += 1,
                    Outcome::LostRace => assert_eq!(peer.want(at(0)), Outcome::Waits(at(10))),
                    other => assert_eq!(other, Outcome::Waits(at(10)), "{order:?}"),
                },
            }
        }
        assert_eq!(leaders, 1, "{order:?}");
    }
}

#[test]
fn a_dead_leader_is_replaced_when_its_lease_ends() {
    let store = Store::default();
    let (mut dead, mut heir, mut third) = (
        Peer::new(&store, 1),
        Peer::new(&store, 2),
        Peer::new(&store, 3),
    );
    assert_eq!(dead.want(at(0)), Outcome::Leads);
    assert_eq!(heir.want(at(9)), Outcome::Waits(at(10)));
    assert_eq!(heir.look(true, at(10)), News::Abandoned);
    assert_eq!(heir.want(at(10)), Outcome::Leads);
    assert_eq!(third.want(at(10)), Outcome::Waits(at(20)));
}

#[test]
fn a_leader_that_comes_back_late_breaks_nothing() {
    let store = Store::default();
    let (mut late, mut heir) = (Peer::new(&store, 1), Peer::new(&store, 2));
    assert_eq!(late.want(at(0)), Outcome::Leads);
    assert_eq!(heir.want(at(11)), Outcome::Leads);
    // Its failure is nobody's business any more.
    late.end(Ended::Failed { retry_at: at(60) }, at(12));
    assert_eq!(late.look(true, at(12)), News::None);
    // Its success is.
    late.fetched(b"late", at(13));
    assert_eq!(heir.look(false, at(13)), News::Newer(at(13)));
    // And the heir's own, newer one wins over it; an older one would not.
    heir.fetched(b"heir", at(14));
    late.end(Ended::Fetched { at: at(13) }, at(15));
    assert_eq!(late.look(false, at(15)), News::Newer(at(14)));
}

#[test]
fn a_failure_holds_everyone_back_until_the_retry() {
    let store = Store::default();
    let (mut leader, mut other) = (Peer::new(&store, 1), Peer::new(&store, 2));
    assert_eq!(leader.want(at(0)), Outcome::Leads);
    leader.end(Ended::Failed { retry_at: at(5) }, at(1));
    assert_eq!(other.look(true, at(2)), News::Failed(at(5)));
    assert_eq!(other.look(false, at(2)), News::None);
    assert_eq!(other.want(at(2)), Outcome::Backs(at(5)));
    assert_eq!(leader.want(at(4)), Outcome::Backs(at(5)));
    assert_eq!(other.want(at(5)), Outcome::Leads);
}

#[test]
fn a_fetch_given_up_frees_the_lease_at_once() {
    let store = Store::default();
    let (mut leader, mut other) = (Peer::new(&store, 1), Peer::new(&store, 2));
    assert_eq!(leader.want(at(0)), Outcome::Leads);
    assert_eq!(other.want(at(1)), Outcome::Waits(at(10)));
    other.end(Ended::GivenUp, at(1));
    assert_eq!(other.want(at(1)), Outcome::Waits(at(10)), "not its lease");
    leader.end(Ended::GivenUp, at(2));
    assert_eq!(other.look(true, at(2)), News::Abandoned);
    assert_eq!(other.want(at(2)), Outcome::Leads);
}

#[test]
fn a_refresh_is_led_by_one_and_adopted_by_the_rest() {
    let store = Store::default();
    let (mut a, mut b) = (Peer::new(&store, 1), Peer::new(&store, 2));
    assert_eq!(a.want(at(0)), Outcome::Leads);
    a.fetched(b"one", at(1));
    assert_eq!(b.want(at(2)), Outcome::Adopted);
    // Both hold the same; the next one to want keys (an unknown kid, say) fetches.
    assert_eq!(b.want(at(3)), Outcome::Leads);
    b.fetched(b"two", at(4));
    assert_eq!(a.want(at(5)), Outcome::Adopted);
    assert_eq!(a.have.as_ref().unwrap().1, b"two");
}

#[test]
fn the_same_worker_takes_its_own_lease_again() {
    // After a reload the old configuration's fetch is gone, but the worker is the same.
    let store = Store::default();
    let mut peer = Peer::new(&store, 1);
    assert_eq!(peer.want(at(0)), Outcome::Leads);
    assert_eq!(peer.want(at(1)), Outcome::Leads);
}

#[test]
fn garbage_counts_as_absent() {
    let good = Record::Fetching {
        until: at(5),
        by: Worker(9),
    }
    .encode(SOURCE);
    let other_source = Record::Fetching {
        until: at(5),
        by: Worker(9),
    }
    .encode("https://other.example|3600000");
    let mut cases: Vec<Vec<u8>> = vec![
        vec![],
        b"\n".to_vec(),
        b"portcullis-lease-1".to_vec(),
        vec![0xff; 40],
        other_source,
        format!(
            "portcullis-lease-2 fetching {} 9\n{SOURCE}",
            at(5).as_millis()
        )
        .into(),
        format!("portcullis-lease-1 fetching 5x 9\n{SOURCE}").into(),
        format!(
            "portcullis-lease-1 fetching {} 9 9\n{SOURCE}",
            at(5).as_millis()
        )
        .into(),
        // Times that nobody would have written.
        format!("portcullis-lease-1 fetching {} 9\n{SOURCE}", u64::MAX).into(),
        format!("portcullis-lease-1 failed {} 0\n{SOURCE}", u64::MAX).into(),
        format!("portcullis-lease-1 fetched {} 0\n{SOURCE}", u64::MAX).into(),
    ];
    cases.extend((0..good.len()).map(|n| good[..n].to_vec()));
    for garbage in cases {
        let store = Store::default();
        store.overwrite(&record_key(SOURCE), &garbage);
        let mut peer = Peer::new(&store, 1);
        assert_eq!(peer.look(true, at(0)), News::Abandoned, "{garbage:?}");
        assert_eq!(peer.look(false, at(0)), News::None, "{garbage:?}");
        assert_eq!(peer.want(at(0)), Outcome::Leads, "{garbage:?}");
    }
}

#[test]
fn a_document_is_read_for_its_source_and_age_only() {
    let bytes = encode_document(SOURCE, at(3), b"a\nb");
    assert_eq!(
        decode_document(&bytes, SOURCE, at(3)),
        Some((at(3), &b"a\nb"[..]))
    );
    assert_eq!(decode_document(&bytes, SOURCE, at(4)), None);
    assert_eq!(
        decode_document(&bytes, "https://issuer.example|1", at(3)),
        None
    );
    let head = bytes.len() - 3;
    for n in 0..head {
        assert_eq!(decode_document(&bytes[..n], SOURCE, at(3)), None, "{n}");
    }
    let lie = bytes
        .iter()
        .copied()
        .take(18)
        .chain(*b"1800000003000 99999999999999999999\nx")
        .collect::<Vec<_>>();
    assert_eq!(decode_document(&lie, SOURCE, at(0)), None);
}

#[test]
fn records_survive_their_encoding() {
    for record in [
        Record::Idle,
        Record::Fetching {
            until: at(1),
            by: Worker(u64::MAX),
        },
        Record::Fetched { at: at(2) },
        Record::Failed { retry_at: at(3) },
    ] {
        let bytes = record.encode(SOURCE);
        assert_eq!(Record::decode(&bytes, SOURCE, at(0)), Some(record));
    }
}

#[test]
fn an_idle_record_is_taken() {
    let store = Store::default();
    store.overwrite(&record_key(SOURCE), &Record::Idle.encode(SOURCE));
    let mut peer = Peer::new(&store, 1);
    assert_eq!(peer.want(at(0)), Outcome::Leads);
}

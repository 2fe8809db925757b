//! ES256 by tables beside the `p256` crate: the same verdict for any signature, honest or not.
//!
//! A signature is made backwards, so that it can be anywhere one likes without a private key being used to sign: from the two
//! multipliers u and v, the point `R = u G + v Q` gives r, and `s = r / v` and `h = u s` follow. All of that is done by the
//! crate; none of it by the code that is judged.

use std::cell::RefCell;

use arbitrary::{Arbitrary, Unstructured};
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use p256::elliptic_curve::ops::Reduce;
use p256::elliptic_curve::point::{AffineCoordinates, DecompressPoint};
use p256::elliptic_curve::{Field, Group, PrimeField};
use p256::{AffinePoint, FieldBytes, ProjectivePoint, Scalar};
use portcullis_core::jose::{BadSignature, Curve, Es256Tables, PublicKey, TableLimits};

/// n, big-endian.
const N: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6,
    0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// So many keys that tables are rebuilt seldom, and no key waits for one.
const LIMITS: TableLimits = TableLimits {
    keys: 64,
    patience: 0,
};

/// What was said of one signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// Both took it.
    Good,
    /// Both refused it.
    Bad,
    /// The tables left it to others.
    Nothing,
}

/// A key that both sides know.
pub struct Key {
    q: ProjectivePoint,
    ours: PublicKey,
    theirs: p256::ecdsa::VerifyingKey,
}

impl Key {
    /// `None` for infinity, which is no key.
    pub fn new(q: ProjectivePoint) -> Option<Self> {
        let theirs = p256::ecdsa::VerifyingKey::from_affine(q.to_affine()).ok()?;
        let point = theirs.to_sec1_point(false);
        let (x, y) = (&point.as_bytes()[1..33], &point.as_bytes()[33..]);
        let ours = PublicKey::ec(Curve::P256, x, y).expect("a point of the curve");
        Some(Self { q, ours, theirs })
    }
}

/// Has both judge, and compares.
pub fn compare(tables: &Es256Tables, key: &Key, digest: &[u8; 32], signature: &[u8]) -> Said {
    let theirs = p256::ecdsa::Signature::from_slice(signature)
        .and_then(|signature| key.theirs.verify_prehash(digest, &signature))
        .map_err(|_| BadSignature);
    match tables.verdict_on_digest(&key.ours, digest, signature) {
        None => Said::Nothing,
        Some(ours) => {
            assert_eq!(
                ours,
                theirs,
                "key {:02x?} digest {digest:02x?} signature {signature:02x?}",
                key.theirs.to_sec1_point(false).as_bytes()
            );
            if ours.is_ok() { Said::Good } else { Said::Bad }
        }
    }
}

/// Tables for provers: any number of keys in turn.
pub fn tables() -> Es256Tables {
    Es256Tables::new(LIMITS).expect("the self-test passes")
}

/// r, s and h of u, v and R.
pub fn sign(u: Scalar, v: Scalar, x: &FieldBytes, v_inverse: Scalar) -> ([u8; 32], [u8; 64]) {
    debug_assert_eq!(v * v_inverse, Scalar::ONE);
    let mut r = <Scalar as Reduce<FieldBytes>>::reduce(x);
    if bool::from(r.is_zero()) {
        r = Scalar::ONE;
    }
    let s = r * v_inverse;
    let digest = u * s;
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&r.to_repr());
    signature[32..].copy_from_slice(&s.to_repr());
    (digest.to_repr().into(), signature)
}

/// Where a number comes from.
#[derive(Arbitrary, Debug)]
enum Number {
    Any([u8; 32]),
    Small(u8),
    Below(u8),
    /// All octets the same: 0x80 and what is beside it are where digits turn negative and carry.
    Repeated(u8),
    /// One octet at one place, and a small number added to it.
    Octet(u8, u8, i8),
    /// About half of n, where the sign of the whole is chosen.
    Half(i8),
    /// So that u G and v Q are the same, opposite, or almost.
    Related(i8, bool),
}

impl Number {
    /// `other` is u / d where v is asked for.
    fn scalar(&self, other: Scalar) -> Scalar {
        let small = |x: i8| {
            // Nothing at all is what has to come often.
            let x = if x % 4 == 0 { 0 } else { x / 16 };
            let size = Scalar::from(u64::from(x.unsigned_abs()));
            if x < 0 { -size } else { size }
        };
        match *self {
            Self::Any(octets) => reduce(octets),
            Self::Small(x) => Scalar::from(u64::from(x)),
            Self::Below(x) => -Scalar::from(u64::from(x)),
            Self::Repeated(x) => reduce([x; 32]),
            Self::Octet(x, at, more) => {
                let mut octets = [0; 32];
                octets[usize::from(at % 32)] = x;
                reduce(octets) + small(more)
            }
            Self::Half(more) => -Scalar::from(2_u64).invert().expect("2 is not zero") + small(more),
            Self::Related(more, false) => other + small(more),
            Self::Related(more, true) => -other + small(more),
        }
    }
}

/// What is done to an honest signature.
#[derive(Arbitrary, Debug)]
enum Change {
    None,
    Bit(u16),
    /// r or s becomes this.
    Set(bool, Special),
    /// s becomes n - s, which verifies as well.
    Negate,
    Swap,
    /// h becomes h + n, the same number, where it fits.
    LongDigest,
    /// n is added to r or s, where it fits: the same number, but out of range.
    LongNumber(bool),
    Length(u8),
    /// Another digest.
    Digest([u8; 32]),
    AllZeros,
    AllOnes,
}

#[derive(Arbitrary, Debug)]
enum Special {
    Zero,
    N,
    AboveN(u8),
    BelowN(u8),
    Ones,
    Small(u8),
}

/// The key's logarithm.
#[derive(Arbitrary, Debug)]
enum Logarithm {
    /// Few enough that tables are used again.
    Small(u8),
    Below(u8),
    Other(Number),
}

#[derive(Arbitrary, Debug)]
struct Recipe {
    key: Logarithm,
    u: Number,
    v: Number,
    /// Whether and where R has an x above n; the key is made for it.
    above_n: (bool, u8),
    change: Change,
}

thread_local! {
    static TABLES: RefCell<Option<Es256Tables>> = const { RefCell::new(None) };
}

/// `data` as a recipe for a signature.
pub fn run(data: &[u8]) {
    TABLES.with_borrow_mut(|held| {
        edge(held.get_or_insert_with(tables), data);
    });
}

/// The same, with the caller's tables. `None` where there is no such key.
pub fn edge(tables: &Es256Tables, data: &[u8]) -> Option<Said> {
    let recipe = Recipe::arbitrary(&mut Unstructured::new(data)).ok()?;
    let g = ProjectivePoint::GENERATOR;
    let d = match recipe.key {
        Logarithm::Small(x) => Scalar::from(u64::from(x % 24)),
        Logarithm::Below(x) => -Scalar::from(u64::from(x % 8)),
        Logarithm::Other(number) => number.scalar(Scalar::ONE),
    };
    let d = non_zero(d);
    let u = recipe.u.scalar(Scalar::ONE);
    let v = non_zero(recipe.v.scalar(u * d.invert().expect("not zero")));
    let v_inverse = v.invert().expect("not zero");
    let (key, r) = match recipe.above_n {
        (false, _) => (Key::new(g * d)?, g * (u + d * v)),
        (true, skip) => {
            let r = above_n(skip);
            (Key::new((r - g * u) * v_inverse)?, r)
        }
    };
    let x = r.to_affine().x();
    let (mut digest, mut signature) = sign(u, v, &x, v_inverse);
    let mut length = 64;
    match recipe.change {
        Change::None => {}
        Change::Bit(at) => {
            let at = usize::from(at) % 768;
            match signature.get_mut(at / 8) {
                Some(octet) => *octet ^= 1 << (at % 8),
                None => digest[at / 8 - 64] ^= 1 << (at % 8),
            }
        }
        Change::Set(s, special) => {
            let value = match special {
                Special::Zero => [0; 32],
                Special::N => N,
                Special::AboveN(x) => add(N, x.into()).unwrap_or(N),
                Special::BelowN(x) => (-Scalar::from(u64::from(x))).to_repr().into(),
                Special::Ones => [0xff; 32],
                Special::Small(x) => add([0; 32], x.into()).unwrap_or(N),
            };
            signature[usize::from(s) * 32..][..32].copy_from_slice(&value);
        }
        Change::Negate => {
            let s = -reduce(*signature.last_chunk().expect("64 octets"));
            signature[32..].copy_from_slice(&s.to_repr());
        }
        Change::Swap => signature.rotate_left(32),
        Change::LongDigest => digest = plus_n(digest).unwrap_or(digest),
        Change::LongNumber(s) => {
            let part = &mut signature[usize::from(s) * 32..][..32];
            let number: [u8; 32] = (&*part).try_into().expect("32 octets");
            part.copy_from_slice(&plus_n(number).unwrap_or(number));
        }
        Change::Length(x) => length = usize::from(x),
        Change::Digest(other) => digest = other,
        Change::AllZeros => digest = [0; 32],
        Change::AllOnes => digest = [0xff; 32],
    }
    let mut sent = signature.to_vec();
    sent.resize(length, 0);
    Some(compare(tables, &key, &digest, &sent))
}

/// A point whose x is n or more, so that r is x - n.
fn above_n(skip: u8) -> ProjectivePoint {
    (u16::from(skip)..)
        .filter_map(|more| {
            let x = add(N, more)?;
            let y_is_odd = (more & 1) as u8;
            Option::<AffinePoint>::from(AffinePoint::decompress(&x.into(), y_is_odd.into()))
        })
        .next()
        .expect("half of all x are on the curve")
        .into()
}

fn reduce(octets: [u8; 32]) -> Scalar {
    <Scalar as Reduce<FieldBytes>>::reduce(&octets.into())
}

fn non_zero(scalar: Scalar) -> Scalar {
    if bool::from(Field::is_zero(&scalar)) {
        Scalar::ONE
    } else {
        scalar
    }
}

fn plus_n(octets: [u8; 32]) -> Option<[u8; 32]> {
    sum(octets, N)
}

fn add(octets: [u8; 32], more: u16) -> Option<[u8; 32]> {
    let mut other = [0; 32];
    other[30..].copy_from_slice(&more.to_be_bytes());
    sum(octets, other)
}

/// Big-endian; `None` where it does not fit.
fn sum(a: [u8; 32], b: [u8; 32]) -> Option<[u8; 32]> {
    let mut out = [0; 32];
    let mut carry = 0;
    for (out, (a, b)) in out.iter_mut().zip(a.iter().zip(&b)).rev() {
        let all = u16::from(*a) + u16::from(*b) + carry;
        *out = all.to_le_bytes()[0];
        carry = all >> 8;
    }
    (carry == 0).then_some(out)
}

/// How often what was said.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Both took it.
    pub good: u64,
    /// Both refused it.
    pub bad: u64,
    /// Left to others.
    pub nothing: u64,
}

impl Tally {
    fn count(&mut self, said: Said) {
        match said {
            Said::Good => self.good += 1,
            Said::Bad => self.bad += 1,
            Said::Nothing => self.nothing += 1,
        }
    }

    /// All of them.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.good + self.bad + self.nothing
    }
}

/// Octets that look random and are the same each time (SplitMix64).
pub struct Octets(pub u64);

impl Octets {
    /// The next eight.
    pub fn eight(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Any number of them.
    pub fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            chunk.copy_from_slice(&self.eight().to_le_bytes()[..chunk.len()]);
        }
    }

    fn scalar(&mut self) -> Scalar {
        let mut octets = [0; 32];
        self.fill(&mut octets);
        non_zero(reduce(octets))
    }
}

/// `count` signatures by one random key, each other one with a bit changed somewhere.
///
/// Only the first needs products of points: the next R is the last one and one of 32 random sums, which changes every digit
/// of u and v at the price of an addition.
pub fn walk(tables: &Es256Tables, octets: &mut Octets, count: u64, tally: &mut Tally) {
    let g = ProjectivePoint::GENERATOR;
    let key = Key::new(g * octets.scalar()).expect("not infinity");
    let steps: Vec<(Scalar, Scalar, ProjectivePoint)> = (0..32)
        .map(|_| {
            let (a, b) = (octets.scalar(), octets.scalar());
            (a, b, g * a + key.q * b)
        })
        .collect();
    let (mut u, mut v, mut r) = steps[0];
    for _ in 0..count {
        let random = octets.eight();
        let (a, b, step) = &steps[usize::from((random & 31) as u8)];
        (u, v, r) = (u + a, v + b, r + step);
        if bool::from(Field::is_zero(&v)) || bool::from(r.is_identity()) {
            continue;
        }
        let (mut digest, mut signature) = sign(
            u,
            v,
            &r.to_affine().x(),
            v.invert_vartime().expect("not zero"),
        );
        let honest = random & 32 == 0;
        if !honest {
            let at = ((random >> 6) % 768) as usize;
            match signature.get_mut(at / 8) {
                Some(octet) => *octet ^= 1 << (at % 8),
                None => digest[at / 8 - 64] ^= 1 << (at % 8),
            }
        }
        let said = compare(tables, &key, &digest, &signature);
        let expected = if honest { Said::Good } else { Said::Bad };
        assert_eq!(
            said, expected,
            "digest {digest:02x?} signature {signature:02x?}"
        );
        tally.count(said);
    }
}

/// `count` edge cases.
pub fn edges(tables: &Es256Tables, octets: &mut Octets, count: u64, tally: &mut Tally) {
    let mut done = 0;
    while done < count {
        let mut data = [0; 160];
        octets.fill(&mut data);
        if let Some(said) = edge(tables, &data) {
            tally.count(said);
            done += 1;
        }
    }
}

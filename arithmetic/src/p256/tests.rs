use ::p256::elliptic_curve::bigint::{NonZero, Odd, U256};
use ::p256::elliptic_curve::ops::Reduce;
use ::p256::elliptic_curve::{Group, PrimeField};
use ::p256::{ProjectivePoint, Scalar as Reference};
#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::field::{self, Limbs};
use super::inverse::Inverter;
use super::point::Sum;
use sha2::{Digest, Sha256};

use super::*;

const P: &str = "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff";
const N: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";

/// Octets that look random and are the same each time.
struct Octets(u64);

impl Octets {
    fn next(&mut self) -> [u8; 32] {
        self.0 += 1;
        Sha256::digest(self.0.to_be_bytes()).into()
    }
}

fn octets(hex: &str) -> [u8; 32] {
    U256::from_be_hex(hex).to_be_bytes().into()
}

fn number(octets: [u8; 32]) -> U256 {
    U256::from_be_slice(&octets)
}

/// The number that nine carried limbs stand for.
fn of_limbs(limbs: &Limbs) -> U256 {
    limbs.iter().rev().fold(U256::ZERO, |sum, limb| {
        sum.shl_vartime(29)
            .wrapping_add(&U256::from(u64::try_from(*limb).unwrap()))
    })
}

/// Where carries, borrows and reductions are rare or long.
fn edges(modulus: &str) -> Vec<[u8; 32]> {
    let modulus = U256::from_be_hex(modulus);
    let mut edges = vec![U256::MAX, U256::ZERO];
    for small in 0..40_u64 {
        edges.push(U256::from(small));
        edges.push(modulus.wrapping_sub(&U256::from(small)));
        edges.push(modulus.wrapping_add(&U256::from(small)));
    }
    for bit in 0..256 {
        let power = U256::ONE.shl_vartime(bit);
        edges.extend([
            power,
            power.wrapping_sub(&U256::ONE),
            modulus.wrapping_sub(&power),
        ]);
    }
    for repeated in [0x55, 0x7f, 0x80, 0x81, 0xaa] {
        edges.push(U256::from_be_slice(&[repeated; 32]));
    }
    edges
        .into_iter()
        .map(|edge| edge.to_be_bytes().into())
        .collect()
}

fn samples(modulus: &str, random: usize) -> Vec<[u8; 32]> {
    let mut source = Octets(1);
    let mut all = edges(modulus);
    all.extend((0..random).map(|_| source.next()));
    all
}

/// A field element's value, by limbs.
fn value(element: Fe) -> U256 {
    of_limbs(&element.to_limbs())
}

#[test]
fn field_elements_are_numbers_modulo_p() {
    let p = NonZero::new(U256::from_be_hex(P)).unwrap();
    let modulo = |octets| number(octets).rem_vartime(&p);
    assert_eq!(of_limbs(&field::P), *p);
    assert_eq!(value(Fe::ONE), U256::ONE);
    assert!(Fe::ZERO.is_zero() && !Fe::ONE.is_zero());
    let all = samples(P, 500);
    for (i, a) in all.iter().enumerate() {
        let b = all[(i * 7 + 3) % all.len()];
        let c = all[(i * 13 + 5) % all.len()];
        let (x, y, z) = (modulo(*a), modulo(b), modulo(c));
        let [a, b, c] = [*a, b, c].map(|octets| Fe::from_be_bytes(&octets));
        assert_eq!(value(a), x);
        assert_eq!(a.is_zero(), x == U256::ZERO);
        assert_eq!(value(a.mul(&b)), x.mul_mod(&y, &p));
        assert_eq!(value(a.square()), x.mul_mod(&x, &p));
        assert_eq!(value(a.plus(&b)), x.add_mod(&y, &p));
        assert_eq!(value(a.minus(&b)), x.sub_mod(&y, &p));
        assert_eq!(value(a.canonical()), x);
        // What is not carried goes into products, on either side and into squares.
        let (d, e) = (a.minus(&b), b.minus(&c));
        let (xd, xe) = (x.sub_mod(&y, &p), y.sub_mod(&z, &p));
        assert_eq!(value(d.mul(&e)), xd.mul_mod(&xe, &p));
        assert_eq!(value(d.square()), xd.mul_mod(&xd, &p));
        assert_eq!(
            value(c.negate().mul(&d)),
            U256::ZERO.sub_mod(&z, &p).mul_mod(&xd, &p)
        );
        let both = Fe::mul_minus_mul(&d, &e, &a, &c);
        let expected = xd.mul_mod(&xe, &p).sub_mod(&x.mul_mod(&z, &p), &p);
        assert_eq!(value(both), expected);
        let less = d.square_minus(&b, &c);
        let expected = xd
            .mul_mod(&xd, &p)
            .sub_mod(&y, &p)
            .sub_mod(&z, &p)
            .sub_mod(&z, &p);
        assert_eq!(value(less), expected);
    }
}

/// The largest values and limbs that the bounds of `field.rs` and `point.rs` allow: an overflow is a panic in this build.
#[test]
fn products_of_the_largest_operands_fit() {
    let p = NonZero::new(U256::from_be_hex(P)).unwrap();
    // 6 p and -4 p, by limbs as large as differences can have.
    let one = Fe::from_be_bytes(&octets(P)).canonical();
    assert!(one.is_zero());
    for limb in [(1 << 29) - 1, 1 - (1 << 29)] {
        for top in [(1 << 27) - 1, 1 - (1 << 27)] {
            let limbs: Limbs = [limb, limb, limb, limb, limb, limb, limb, limb, top];
            // The number itself, modulo p, out of two that are small enough for the test's own arithmetic.
            let weight = |limbs: &Limbs| {
                limbs.iter().rev().fold(U256::ZERO, |sum, limb| {
                    let shifted = sum.mul_mod(&U256::from(1_u64 << 29), &p);
                    let size = U256::from(u64::from(limb.unsigned_abs()));
                    if *limb < 0 {
                        shifted.sub_mod(&size, &p)
                    } else {
                        shifted.add_mod(&size, &p)
                    }
                })
            };
            let x = weight(&limbs);
            // In Montgomery's form once: the factor R goes by a product with one that has none.
            let a = Fe::from_limbs(limbs);
            assert_eq!(value(a), x);
            let (big, r) = (
                Fe::raw(limbs),
                U256::ONE.shl_vartime(255).mul_mod(&U256::from(64_u64), &p),
            );
            let r_inverse = r.invert_odd_mod(&Odd::new(*p).unwrap()).unwrap();
            let held = x.mul_mod(&r_inverse, &p);
            assert_eq!(value(big.mul(&big)), held.mul_mod(&held, &p));
            assert_eq!(value(big.square()), held.mul_mod(&held, &p));
            let both = Fe::mul_minus_mul(&big, &big, &big, &big.negate());
            assert_eq!(
                value(both),
                held.mul_mod(&held, &p)
                    .add_mod(&held.mul_mod(&held, &p), &p)
            );
        }
    }
}

#[test]
fn inverses_are_those_of_another_library() {
    for (modulus, limbs) in [(P, field::P), (N, scalar::N)] {
        let odd = Odd::new(U256::from_be_hex(modulus)).unwrap();
        for sample in samples(modulus, 500) {
            let x = number(sample).rem_vartime(odd.as_nz_ref());
            let found =
                Inverter::new(&limbs).invert(&field::limbs_of_be_bytes(&x.to_be_bytes().into()));
            let expected = Option::from(x.invert_odd_mod(&odd));
            assert_eq!(
                found.map(|limbs| of_limbs(&limbs)),
                expected,
                "{x} modulo {modulus}"
            );
        }
    }
    // No inverse where there is a common factor.
    let nine = [9, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(
        Inverter::new(&nine).invert(&[3, 0, 0, 0, 0, 0, 0, 0, 0]),
        None
    );
    assert_eq!(
        Inverter::new(&nine).invert(&[2, 0, 0, 0, 0, 0, 0, 0, 0]),
        Some([5, 0, 0, 0, 0, 0, 0, 0, 0])
    );
    assert!(Fe::ZERO.invert().is_none());
}

#[test]
fn quotients_are_those_of_the_crate() {
    let reduce =
        |octets: [u8; 32]| <Reference as Reduce<::p256::FieldBytes>>::reduce(&octets.into());
    let all = samples(N, 500);
    let mut judged = 0;
    for (i, s) in all.iter().enumerate() {
        let (h, r) = (all[(i * 7 + 3) % all.len()], all[(i * 13 + 5) % all.len()]);
        let (inverse, in_range) = (
            Option::<Reference>::from(reduce(*s).invert()),
            Scalar::in_range(s),
        );
        let below_n = number(*s) < U256::from_be_hex(N) && number(*s) != U256::ZERO;
        assert_eq!(in_range.is_some(), below_n);
        let (Some(s), Some(inverse)) = (in_range, inverse) else {
            continue;
        };
        let (h_scalar, r_scalar) = (Scalar::from_be_bytes(&h), Scalar::from_be_bytes(&r));
        let (u, v) = Scalar::quotients(&h_scalar, &r_scalar, &s).unwrap();
        let expected = [h, r].map(|x| number((reduce(x) * inverse).to_repr().into()));
        assert_eq!([of_limbs(u.limbs()), of_limbs(v.limbs())], expected);
        judged += 1;
    }
    assert!(judged > 1000, "{judged}");
}

#[test]
fn digits_add_up_to_the_scalar() {
    let n = NonZero::new(U256::from_be_hex(N)).unwrap();
    for sample in samples(N, 500) {
        let x = number(sample).rem_vartime(&n);
        let (digits, flip) = Scalar::from_be_bytes(&x.to_be_bytes().into()).digits();
        assert!(digits.iter().all(|digit| (-127..=128).contains(digit)));
        let sum = digits.iter().rev().fold(U256::ZERO, |sum, digit| {
            let shifted = sum.mul_mod(&U256::from(256_u64), &n);
            let size = U256::from(u64::from(digit.unsigned_abs()));
            if *digit < 0 {
                shifted.sub_mod(&size, &n)
            } else {
                shifted.add_mod(&size, &n)
            }
        });
        let expected = if flip { U256::ZERO.sub_mod(&x, &n) } else { x };
        assert_eq!(sum, expected, "{x}");
    }
}

#[test]
fn r_plus_n_only_where_it_is_below_p() {
    let gap = U256::from_be_hex(P).wrapping_sub(&U256::from_be_hex(N));
    let of = |x: U256| {
        Scalar::from_be_bytes(&x.to_be_bytes().into())
            .plus_n_below_p()
            .map(|l| of_limbs(&l))
    };
    let last = gap.wrapping_sub(&U256::ONE);
    assert_eq!(
        of(last),
        Some(U256::from_be_hex(P).wrapping_sub(&U256::ONE))
    );
    assert_eq!(
        of(U256::ONE),
        Some(U256::from_be_hex(N).wrapping_add(&U256::ONE))
    );
    assert_eq!(of(gap), None);
    assert_eq!(of(U256::from_be_hex(N).wrapping_sub(&U256::ONE)), None);
}

fn affine(point: &ProjectivePoint) -> [u8; 64] {
    let key = ::p256::ecdsa::VerifyingKey::from_affine(point.to_affine()).unwrap();
    *key.to_sec1_point(false).as_bytes().last_chunk().unwrap()
}

#[test]
fn tables_hold_the_multiples_of_the_crate() {
    let mut source = Octets(7);
    let random = <Reference as Reduce<::p256::FieldBytes>>::reduce(&source.next().into());
    for logarithm in [
        Reference::ONE,
        -Reference::ONE,
        Reference::from(2_u64),
        random,
    ] {
        let point = ProjectivePoint::GENERATOR * logarithm;
        let table = Table::new(&affine(&point)).unwrap();
        let mut base = point;
        for window in 0..scalar::WINDOWS {
            let mut multiple = base;
            for j in 0..128 {
                // All of some windows, and the ends of all.
                if !(2..=126).contains(&j) || window % 8 == 0 {
                    let expected = Affine::read(&affine(&multiple)).unwrap();
                    let found = table.entry(window, j).unwrap();
                    assert_eq!(value(found.x), value(expected.x), "{window} {j}");
                    assert_eq!(value(found.y), value(expected.y), "{window} {j}");
                }
                multiple += base;
            }
            for _ in 0..8 {
                base = base.double();
            }
        }
    }
}

fn x_of(point: &ProjectivePoint) -> Fe {
    Affine::read(&affine(point)).unwrap().x
}

#[test]
fn sums_are_those_of_the_crate_or_none() {
    let g = ProjectivePoint::GENERATOR;
    let table = Table::new(&affine(&g)).unwrap();
    let times = |k: u64, sum: &mut Option<Sum>| {
        let mut octets = [0; 32];
        octets[24..].copy_from_slice(&k.to_be_bytes());
        table.add_multiple(&Scalar::from_be_bytes(&octets), sum);
    };
    for (a, b) in [
        (1, 2),
        (3, 255),
        (255, 256),
        (128, 129),
        (1 << 40, 77),
        (0xffff_ffff, 1),
    ] {
        let mut sum = None;
        times(a, &mut sum);
        times(b, &mut sum);
        let expected = x_of(&(g * Reference::from(a + b)));
        assert_eq!(sum.unwrap().has_x(&[expected]), Some(true), "{a} {b}");
        assert_eq!(sum.unwrap().has_x(&[Fe::ONE, expected]), Some(true));
        assert_eq!(sum.unwrap().has_x(&[Fe::ONE]), Some(false));
    }
    // A doubling on the way, infinity on the way and at the end: none has an x to rely on.
    for terms in [&[5, 5][..], &[5, 5, 9], &[300, 300]] {
        let mut sum = None;
        for term in terms {
            times(*term, &mut sum);
        }
        let all = Reference::from(terms.iter().sum::<u64>());
        // 300 has two digits: 44 and 256 are added one by one to 300, which is neither.
        let expected = (terms[0] == 300).then_some(true);
        assert_eq!(
            sum.unwrap().has_x(&[x_of(&(g * all))]),
            expected,
            "{terms:?}"
        );
    }
    let mut sum = None;
    times(5, &mut sum);
    table.add_multiple(
        &Scalar::from_be_bytes(&(-Reference::from(5_u64)).to_repr().into()),
        &mut sum,
    );
    assert_eq!(sum.unwrap().has_x(&[Fe::ZERO, Fe::ONE]), None);
    let mut none = None;
    times(0, &mut none);
    assert!(none.is_none());
}

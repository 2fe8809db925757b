use p256::elliptic_curve::PrimeField;
use p256::elliptic_curve::ops::Reduce;
use p256::{ProjectivePoint, Scalar as Reference};
#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::*;

/// n, big-endian.
const N: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6,
    0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

fn affine(point: &ProjectivePoint) -> [u8; 64] {
    let key = p256::ecdsa::VerifyingKey::from_affine(point.to_affine()).unwrap();
    *key.to_sec1_point(false).as_bytes().last_chunk().unwrap()
}

fn key(point: &[u8; 64]) -> PublicKey {
    let (x, y) = point.split_at(32);
    PublicKey::ec(Curve::P256, x, y).unwrap()
}

#[test]
fn a_wrong_known_answer_is_noticed() {
    assert!(Es256Tables::new(TableLimits::DEFAULT).is_ok());
    for i in 0..known::ANSWERS.len() {
        let mut answers = known::ANSWERS;
        answers[i].good ^= true;
        assert_eq!(
            Es256Tables::tested(TableLimits::DEFAULT, &answers).err(),
            Some(SelfTestFailed)
        );
    }
}

#[test]
fn a_signature_has_one_form_and_one_key() {
    let tables = Es256Tables::new(TableLimits::DEFAULT).unwrap();
    let ours = key(&known::KEY);
    let signature = known::ANSWERS[0].signature;
    let verdict = |key: &PublicKey, signature: &[u8]| tables.verdict(key, b"sample", signature);
    assert_eq!(verdict(&ours, &signature), Some(Ok(())));
    for bit in 0..512 {
        let mut other = signature;
        other[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(verdict(&ours, &other), Some(Err(BadSignature)), "bit {bit}");
    }
    for length in [0, 32, 63, 65, 128] {
        let mut other = signature.to_vec();
        other.resize(length, 0);
        assert_eq!(verdict(&ours, &other), Some(Err(BadSignature)), "{length}");
    }
    for (at, range) in [(0, 0..32), (32, 32..64)] {
        for bad in [[0; 32], N, [0xff; 32]] {
            let mut other = signature;
            other[range.clone()].copy_from_slice(&bad);
            assert_eq!(verdict(&ours, &other), Some(Err(BadSignature)), "{at}");
        }
    }
    // JWS knows no low-s rule: n - s verifies as well, as it does with the crate.
    let s = <Reference as Reduce<p256::FieldBytes>>::reduce(
        &(*signature.last_chunk::<32>().unwrap()).into(),
    );
    let mut high = signature;
    high[32..].copy_from_slice(&(-s).to_repr());
    assert_eq!(verdict(&ours, &high), Some(Ok(())));
    assert_eq!(
        verdict(&key(&known::BASE), &signature),
        Some(Err(BadSignature))
    );
    let p384 = crate::jose::Jwk::from_value(
        &crate::jose::fixtures::p384(),
        &crate::jose::JoseLimits::DEFAULT,
    );
    assert_eq!(verdict(p384.unwrap().public_key(), &signature), None);
}

#[test]
fn keys_share_a_bounded_number_of_tables() {
    let limits = TableLimits {
        keys: 2,
        patience: 3,
    };
    let tables = Es256Tables::new(limits).unwrap();
    assert!(tables.is_empty());
    let keys: Vec<PublicKey> = (2..5_u64)
        .map(|k| key(&affine(&(ProjectivePoint::GENERATOR * Reference::from(k)))))
        .collect();
    let signature = known::ANSWERS[0].signature;
    let ask = |i: usize| tables.verdict(&keys[i], b"sample", &signature).is_some();
    assert!(ask(0) && ask(1));
    // Full, and both have just been used.
    assert!(!ask(2) && ask(1) && ask(1) && ask(1));
    // 0 has not, for longer than `patience`.
    assert!(ask(2));
    assert_eq!(tables.len(), 2);
    assert!(!ask(0) && ask(1) && ask(2));
    // What can't be a signature costs nothing.
    assert_eq!(
        tables.verdict(&keys[0], b"sample", &[0; 64]),
        Some(Err(BadSignature))
    );
    assert_eq!(tables.len(), 2);
}

#[test]
fn a_point_of_small_logarithm_is_left_to_others_where_it_meets_itself() {
    // Q = G, h = r = s = 5: u = v = 1, a doubling.
    let tables = Es256Tables::new(TableLimits::DEFAULT).unwrap();
    let base = key(&known::BASE);
    let mut five = [0; 32];
    five[31] = 5;
    let signature = [five, five].concat();
    assert_eq!(tables.verdict_on_digest(&base, &five, &signature), None);
    // h = 0: Q alone.
    assert_eq!(
        tables.verdict_on_digest(&base, &[0; 32], &signature),
        Some(Err(BadSignature))
    );
}

use ::rsa::BoxedUint;
use sha2::{Digest, Sha256};
#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::*;

/// Octets that look random and are the same each time.
fn octets(seed: u32, length: usize) -> Vec<u8> {
    (0_u32..)
        .flat_map(|i| Sha256::digest([seed.to_be_bytes(), i.to_be_bytes()].concat()))
        .take(length)
        .collect()
}

/// An odd number of that many bits.
fn modulus(seed: u32, bits: usize) -> Vec<u8> {
    let mut n = octets(seed, bits.div_ceil(8));
    let top = (bits - 1) % 8;
    n[0] = (n[0] & ((1 << top) - 1)) | 1 << top;
    *n.last_mut().unwrap() |= 1;
    n
}

/// By the library, from scratch.
fn expected(s: &[u8], e: u64, n: &[u8]) -> Vec<u8> {
    let n = BoxedUint::from_be_slice_vartime(n);
    let of = |x: &BoxedUint| x.rem_vartime(&n.to_nz().unwrap());
    let base = of(&BoxedUint::from_be_slice(s, n.bits_precision()).unwrap());
    let mut x = base.clone();
    for bit in (0..e.ilog2()).rev() {
        x = x.mul_mod(&x, &n.to_nz().unwrap());
        if e >> bit & 1 == 1 {
            x = x.mul_mod(&base, &n.to_nz().unwrap());
        }
    }
    let all = x.to_be_bytes();
    all[all.len() - s.len()..].to_vec()
}

#[test]
fn powers_are_those_of_another_library() {
    for (seed, bits) in (0..).zip([
        2048, 2049, 2050, 2051, 2052, 2055, 2079, 2160, 3072, 4095, 4096, 6144, 8191, 8192,
    ]) {
        let n = modulus(seed, bits);
        for e in [3, 5, 65_537, (1 << 33) - 1] {
            let power = RsaPower::new(&n, e).unwrap();
            assert_eq!(power.octets(), n.len());
            let mut samples: Vec<Vec<u8>> = (0..3).map(|i| octets(100 + i, n.len())).collect();
            for sample in &mut samples {
                sample[0] = 0;
            }
            for small in 0..3 {
                let mut sample = vec![0; n.len()];
                *sample.last_mut().unwrap() = small;
                samples.push(sample);
                let mut sample = n.clone();
                *sample.last_mut().unwrap() -= 1;
                samples.push(sample);
            }
            for s in &samples {
                assert_eq!(power.raise(s), Some(expected(s, e, &n)), "{bits} bits, {e}");
            }
        }
    }
}

/// All ones: the largest limbs and the longest carries that there are. An overflow is a panic in this build.
#[test]
fn the_largest_operands_fit() {
    for octets in [256, 384, 512, 1024] {
        let n = vec![0xff; octets];
        let power = RsaPower::new(&n, 65_537).unwrap();
        let mut s = n.clone();
        *s.last_mut().unwrap() = 0xfe;
        assert_eq!(power.raise(&s), Some(expected(&s, 65_537, &n)));
        // 2^(bits-1) + 1: the sparsest.
        let mut n = vec![0; octets];
        (n[0], n[octets - 1]) = (0x80, 1);
        let power = RsaPower::new(&n, 3).unwrap();
        let s = [&[0x7f], &vec![0xff; octets - 1][..]].concat();
        assert_eq!(power.raise(&s), Some(expected(&s, 3, &n)));
    }
}

#[test]
fn only_what_is_as_long_as_the_modulus_and_below_it() {
    let n = modulus(1, 2048);
    let power = RsaPower::new(&n, 65_537).unwrap();
    let mut below = n.clone();
    below[255] -= 1;
    assert!(power.raise(&below).is_some());
    for bad in [
        &n[..],
        &[0xff; 256],
        &below[1..],
        &[&[0], &below[..]].concat(),
        &[],
    ] {
        assert_eq!(power.raise(bad), None);
    }
    assert!(RsaPower::new(&modulus(1, 8193), 3).is_none());
    assert!(RsaPower::new(&n, 1).is_none() && RsaPower::new(&n, 4).is_none());
    let mut even = n;
    even[255] &= 0xfe;
    assert!(RsaPower::new(&even, 3).is_none());
}

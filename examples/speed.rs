//! Microseconds of one signature verification by each way that the core has, natively or, in Node, as WebAssembly:
//! `make speed`.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a program for measuring"
)]

use std::time::Instant;

use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use portcullis_core::jose::{
    Algorithm, Curve, Es256Tables, PublicKey, RustVerifier, SignatureVerifier, TableLimits,
};
use sha2::{Digest, Sha256};

/// Samples of about a millisecond each: the best of them is what the machine can do, whatever else it is doing.
const SAMPLES: usize = 200;

fn main() {
    let key = SigningKey::from_slice(&[7; 32]).expect("a key");
    let point = key.verifying_key().to_sec1_point(false);
    let ours = PublicKey::ec(
        Curve::P256,
        &point.as_bytes()[1..33],
        &point.as_bytes()[33..],
    )
    .expect("a point");
    // As long as the signing input of an ordinary access token.
    let signed: Vec<(Vec<u8>, Vec<u8>)> = (0..64_u8)
        .map(|i| {
            let text = vec![i; 450];
            let signature: p256::ecdsa::Signature = key
                .sign_prehash(&Sha256::digest(&text))
                .expect("a signature");
            (text, signature.to_bytes().to_vec())
        })
        .collect();
    let tables = Es256Tables::new(TableLimits::DEFAULT).expect("the self-test passes");
    report("ES256 by tables", |i| {
        let (text, signature) = &signed[i % signed.len()];
        assert_eq!(tables.verdict(&ours, text, signature), Some(Ok(())));
    });
    report("ES256 by p256", |i| {
        let (text, signature) = &signed[i % signed.len()];
        let verdict = RustVerifier.verify(Algorithm::Es256, &ours, text, signature);
        assert_eq!(verdict, Ok(()));
    });
    rs256();
    report("two tables and the self-test", |_| {
        assert!(Es256Tables::new(TableLimits::DEFAULT).is_ok());
    });
}

/// With the key and the signature that a proxy is probed with: 2048 bits, e = 65537.
fn rs256() {
    const TEXT: &[u8] = b"portcullis verifier probe";
    let spki = include_bytes!("../filters/host/src/probe/rsa.spki");
    let signature = include_bytes!("../filters/host/src/probe/rs256.sig");
    // Where the modulus is in the encoding of such a key.
    let n = &spki[33..289];
    let e = [1, 0, 1];
    let ours = PublicKey::rsa(n, &e).expect("a key");
    let theirs = rsa::RsaPublicKey::new_with_size_limits(
        rsa::BoxedUint::from_be_slice_vartime(n),
        rsa::BoxedUint::from(65_537_u64),
        2048..=4096,
    )
    .expect("a key");
    report("RS256, 2048 bits", |_| {
        let verdict = RustVerifier.verify(Algorithm::Rs256, &ours, TEXT, signature);
        assert_eq!(verdict, Ok(()));
    });
    report("RS256, 2048 bits, by rsa", |_| {
        let scheme = rsa::Pkcs1v15Sign::new::<Sha256>();
        assert!(
            theirs
                .verify(scheme, &Sha256::digest(TEXT), signature)
                .is_ok()
        );
    });
    report("a key of 2048 bits made ready", |_| {
        assert!(PublicKey::rsa(n, &e).is_ok());
    });
}

fn report(name: &str, mut work: impl FnMut(usize)) {
    // The compiler of the WebAssembly engine wants to have seen it.
    let began = Instant::now();
    let mut warm = 0;
    while warm < 20 || began.elapsed().as_millis() < 200 {
        work(warm);
        warm += 1;
    }
    let mut samples: Vec<f64> = (0..SAMPLES)
        .map(|sample| {
            let (began, mut times) = (Instant::now(), 0);
            while times == 0 || began.elapsed().as_micros() < 1000 {
                work(sample + times);
                times += 1;
            }
            began.elapsed().as_secs_f64() * 1e6 / f64::from(u32::try_from(times).unwrap_or(1))
        })
        .collect();
    samples.sort_by(f64::total_cmp);
    println!(
        "{name:32} {:9.1} µs at best, {:9.1} in the middle",
        samples[0],
        samples[SAMPLES / 2]
    );
}

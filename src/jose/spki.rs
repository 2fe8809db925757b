//! SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7) of the four kinds of key we
//! know: the only form in which proxies take a key for their own verifier.
//!
//! Written out by hand because the encoders of the key crates bring PEM, PKCS#8
//! and private keys with them; everything but an RSA modulus has a fixed length,
//! so that the headers are constants.

use super::public_key::Curve;

/// `AlgorithmIdentifier { rsaEncryption, NULL }` (RFC 3279 section 2.3.1).
const RSA_ALGORITHM: [u8; 15] = [
    0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
];

/// Everything before the point (RFC 5480 section 2), up to the `04` of the uncompressed form.
const P256_HEADER: [u8; 27] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];
const P384_HEADER: [u8; 24] = [
    0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b,
    0x81, 0x04, 0x00, 0x22, 0x03, 0x62, 0x00, 0x04,
];
const P521_HEADER: [u8; 26] = [
    0x30, 0x81, 0x9b, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05,
    0x2b, 0x81, 0x04, 0x00, 0x23, 0x03, 0x81, 0x86, 0x00, 0x04,
];

/// Everything before the 32 octets (RFC 8410 section 4).
const ED25519_HEADER: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// Of an RSA key; both integers big-endian, without leading zero octets.
pub(super) fn rsa(modulus: &[u8], exponent: &[u8]) -> Box<[u8]> {
    let mut integers = Vec::with_capacity(modulus.len() + exponent.len() + 12);
    integer(&mut integers, modulus);
    integer(&mut integers, exponent);
    let mut key = Vec::with_capacity(integers.len() + 8);
    key.push(0); // no unused bits
    key.push(0x30);
    length(&mut key, integers.len());
    key.extend_from_slice(&integers);
    let mut info = Vec::with_capacity(key.len() + RSA_ALGORITHM.len() + 8);
    info.extend_from_slice(&RSA_ALGORITHM);
    info.push(0x03);
    length(&mut info, key.len());
    info.extend_from_slice(&key);
    let mut spki = Vec::with_capacity(info.len() + 4);
    spki.push(0x30);
    length(&mut spki, info.len());
    spki.extend_from_slice(&info);
    spki.into_boxed_slice()
}

/// Of a point whose coordinates have the full length of the curve's field, or
/// of an Ed25519 key in `x`.
pub(super) fn point(curve: Curve, x: &[u8], y: &[u8]) -> Box<[u8]> {
    let header: &[u8] = match curve {
        Curve::P256 => &P256_HEADER,
        Curve::P384 => &P384_HEADER,
        Curve::P521 => &P521_HEADER,
        Curve::Ed25519 => &ED25519_HEADER,
    };
    [header, x, y].concat().into_boxed_slice()
}

/// An INTEGER that is not negative.
fn integer(out: &mut Vec<u8>, magnitude: &[u8]) {
    let sign = usize::from(magnitude.first().is_none_or(|octet| octet & 0x80 != 0));
    out.push(0x02);
    length(out, magnitude.len() + sign);
    out.extend(std::iter::repeat_n(0, sign));
    out.extend_from_slice(magnitude);
}

/// A DER length in its shortest form.
fn length(out: &mut Vec<u8>, length: usize) {
    let octets = length.to_be_bytes();
    let significant = octets
        .iter()
        .position(|octet| *octet != 0)
        .and_then(|zeros| octets.get(zeros..))
        .unwrap_or(&[0]);
    match significant {
        [short] if *short < 0x80 => out.push(*short),
        long => {
            out.push(0x80 | long.len() as u8);
            out.extend_from_slice(long);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::jose::{JoseLimits, Jwk, fixtures};
    use serde_json::Value;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn spki(jwk: &Value) -> String {
        let jwk = Jwk::from_value(jwk, &JoseLimits::DEFAULT).unwrap();
        jwk.public_key()
            .spki_der()
            .iter()
            .map(|octet| format!("{octet:02x}"))
            .collect()
    }

    /// What OpenSSL writes for the same keys.
    #[test]
    fn is_what_openssl_writes() {
        let rsa = concat!(
            "30820122300d06092a864886f70d01010105000382010f003082010a0282010100d2fc7b6a0a",
            "1e6c67104aeb8f88b257669b4df679ddad099b5c4a6cd9a88015b5a133bf0b856c7871b6df00",
            "0b554fceb3c2ed512bb68f145c6e8434752fab52a1cfc124408f79b58a4578c16428855789f7",
            "a249e384cb2d9fae2d67fd96fb926c198e077399fdc815c0af097dde5aadeff44de70e827f48",
            "78432439bfeeb96068d0474fc50d6d90bf3a98dfaf1040c89c02d692ab3b3c2896609d86fd73",
            "b774ce0740647ceeeaa310bd12f985a8eb9f59fdd426cea5b2120f4f2a34bcab764b7e6c54d6",
            "840238bcc40587a59e66ed1f33894577635c470af75cf92c20d1da43e1bfc419e222a6f0d0bb",
            "358c5e38f9cb050aeafe904814f1ac1aa49cca9ea0ca830203010001",
        );
        let p384 = concat!(
            "3076301006072a8648ce3d020106052b8104002203620004d8a17e55b8e2f47bc369fd961669",
            "5ce273dce4e307830a65f5a4a9aa8967c987aeea7ad365677a13bfd65c3fe5a66939bdc53542",
            "c5213a51345dba8220abb23c71659a4d850b3bbaff8d035bd08a59eb32099c96a9049e4d7d43",
            "5cf675713bc8",
        );
        let p521 = concat!(
            "30819b301006072a8648ce3d020106052b81040023038186000401e929050f124fc6bc55c7d5",
            "393365df9def4ab0c22cb25798f934eb04e3c6bae3701a57a7910e9d81bf363159e8ebcb155d",
            "6349f4bdb6ccf8a94c5c59c7aac101a40034a6440e376750d2371fd1bdc2c8f3b71d2f4ee5ea",
            "3432c815cca31560fe5d9387ec774b55838630e5cbbf5a8cbe0a91dd0064c6999a1f6e6e67fa",
            "ddede4c8c8f6",
        );
        assert_eq!(spki(&fixtures::rsa()), rsa);
        assert_eq!(
            spki(&fixtures::p256()),
            concat!(
                "3059301306072a8648ce3d020106082a8648ce3d030107034200047fcdce2770f6c45d4183cb",
                "ee6fdb4b7b580733357be9ef13bacf6e3c7bd15445c7f144cd1bbd9b7e872cdfedb9eeb9f4b3",
                "695d6ea90b24ad8a4623288588e5ad",
            )
        );
        assert_eq!(spki(&fixtures::p384()), p384);
        assert_eq!(spki(&fixtures::p521()), p521);
        assert_eq!(
            spki(&fixtures::ed25519()),
            "302a300506032b6570032100d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
        );
    }
}

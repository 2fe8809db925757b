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

//! What a digest becomes before it is signed with RSA: EMSA-PKCS1-v1_5 and EMSA-PSS (RFC 8017 sections 9.2 and 9.1).

use sha2::digest::Output;
use sha2::{Digest, Sha256, Sha384, Sha512};

/// A hash function as the two encodings use it.
pub(super) trait SignedHash: Digest {
    /// `DigestInfo` up to the digest (RFC 8017 section 9.2, note 1).
    const PREFIX: [u8; 19];
}

const fn prefix(algorithm: u8, length: u8) -> [u8; 19] {
    [
        0x30,
        0x11 + length,
        0x30,
        0x0d,
        0x06,
        0x09,
        0x60,
        0x86,
        0x48,
        0x01,
        0x65,
        0x03,
        0x04,
        0x02,
        algorithm,
        0x05,
        0x00,
        0x04,
        length,
    ]
}

impl SignedHash for Sha256 {
    const PREFIX: [u8; 19] = prefix(1, 32);
}

impl SignedHash for Sha384 {
    const PREFIX: [u8; 19] = prefix(2, 48);
}

impl SignedHash for Sha512 {
    const PREFIX: [u8; 19] = prefix(3, 64);
}

/// The one encoded message of `octets` octets that stands for the digest; none where there is no room for it.
pub(super) fn pkcs1<D: SignedHash>(digest: &Output<D>, octets: usize) -> Option<Vec<u8>> {
    // EM = 00 || 01 || PS || 00 || T, PS at least eight octets of ff.
    let padding = octets.checked_sub(D::PREFIX.len() + digest.len() + 3)?;
    if padding < 8 {
        return None;
    }
    let mut em = Vec::with_capacity(octets);
    em.extend_from_slice(&[0, 1]);
    em.resize(2 + padding, 0xff);
    em.push(0);
    em.extend_from_slice(&D::PREFIX);
    em.extend_from_slice(digest);
    Some(em)
}

/// Whether `message`, as long as the modulus, is an encoding of the digest, with a salt as long as the digest. `bits` are
/// those of the modulus; the steps are those of section 9.1.2.
pub(super) fn is_pss<D: Digest>(digest: &Output<D>, message: &[u8], bits: usize) -> bool {
    check_pss::<D>(digest, message, bits).unwrap_or(false)
}

fn check_pss<D: Digest>(digest: &Output<D>, message: &[u8], bits: usize) -> Option<bool> {
    let length = <D as Digest>::output_size();
    let em_bits = bits.checked_sub(1)?;
    let em_length = em_bits.div_ceil(8);
    // Section 8.1.2 step 2c: emLen is one octet less where the modulus has one bit in its first.
    let (lead, em) = message.split_at_checked(message.len().checked_sub(em_length)?)?;
    if lead.iter().any(|octet| *octet != 0) {
        return None;
    }
    // Step 3, where also DB = PS || 01 || salt has its shortest form.
    let padding = em_length.checked_sub(2 * length + 2)?;
    // Steps 4 and 5.
    let (0xbc, rest) = em.split_last()? else {
        return None;
    };
    let (masked, hash) = rest.split_at_checked(rest.len().checked_sub(length)?)?;
    // Steps 6 and 9.
    let unused = 0xff_u8.checked_shl(u32::try_from(8 - (8 * em_length - em_bits)).ok()?);
    let unused = unused.unwrap_or(0);
    if masked.first()? & unused != 0 {
        return None;
    }
    // Steps 7 and 8: MGF1 (appendix B.2.1).
    let mut db = masked.to_vec();
    for (counter, chunk) in (0_u32..).zip(db.chunks_mut(length)) {
        let mask = D::new()
            .chain_update(hash)
            .chain_update(counter.to_be_bytes())
            .finalize();
        for (octet, mask) in chunk.iter_mut().zip(mask) {
            *octet ^= mask;
        }
    }
    *db.first_mut()? &= !unused;
    // Step 10.
    let (zeros, rest) = db.split_at_checked(padding)?;
    let (one, salt) = rest.split_first()?;
    if zeros.iter().any(|octet| *octet != 0) || *one != 1 {
        return None;
    }
    // Steps 11 to 14.
    let expected = D::new()
        .chain_update([0; 8])
        .chain_update(digest)
        .chain_update(salt)
        .finalize();
    Some(expected.as_slice() == hash)
}

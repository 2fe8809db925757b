//! Verifying ES256 with tables of the multiples of both points.
//!
//! To verify r, s over the digest h with the key Q is to see whether (h/s) G + (r/s) Q has an x that is r modulo n
//! (FIPS 186-5 section 6.4.2). Nearly all of the time goes into the two products; with the multiples of G and Q at hand,
//! each is 32 additions.

mod field;
mod inverse;
mod point;
mod scalar;

use self::field::Fe;
use self::point::Affine;
pub use self::point::Table;
use self::scalar::Scalar;

/// A signature whose r and s are in [1, n - 1].
#[derive(Clone, Copy, Debug)]
pub struct Signature {
    r: Scalar,
    s: Scalar,
}

impl Signature {
    /// r || s of exactly 64 octets (RFC 7518 section 3.4), big-endian.
    #[must_use]
    pub fn read(signature: &[u8]) -> Option<Self> {
        let signature: &[u8; 64] = signature.try_into().ok()?;
        Some(Self {
            r: Scalar::in_range(signature.first_chunk()?)?,
            s: Scalar::in_range(signature.last_chunk()?)?,
        })
    }

    /// Whether it is the key's over the digest, by the tables of the curve's base point and of the key. `None` where the
    /// sum met two points that are equal or opposite, so that somebody else has to be asked.
    #[must_use]
    // Inlined into a caller that is compiled for size it would be compiled for size.
    #[inline(never)]
    pub fn verify(&self, base: &Table, key: &Table, digest: &[u8; 32]) -> Option<bool> {
        // FIPS 186-5 section 6.4.2 steps 3 to 7. A digest has the length of n, so all of it is used.
        let h = Scalar::from_be_bytes(digest);
        let (u, v) = Scalar::quotients(&h, &self.r, &self.s)?;
        let mut sum = None;
        base.add_multiple(&u, &mut sum);
        key.add_multiple(&v, &mut sum);
        let sum = sum?;
        // x is below p, which is above n: r stands for r and, if that is below p, for r + n.
        let r = Fe::from_limbs(*self.r.limbs());
        match self.r.plus_n_below_p() {
            None => sum.has_x(&[r]),
            Some(limbs) => sum.has_x(&[r, Fe::from_limbs(limbs)]),
        }
    }
}

impl Affine {
    /// From x || y, big-endian.
    fn read(octets: &[u8; 64]) -> Option<Self> {
        Some(Self {
            x: Fe::from_be_bytes(octets.first_chunk()?),
            y: Fe::from_be_bytes(octets.last_chunk()?),
        })
    }
}

#[cfg(test)]
mod tests;

//! Integers modulo n, the order of P-256's base point, as far as verifying needs them: 1/s, and h/s and r/s as digits.
//!
//! Limbs and Montgomery's R = 2^261 are those of `field.rs`; n has no shape that would help, and four products a
//! signature don't matter.

use super::field::{BITS, Limbs, P, carry, limbs_of_be_bytes, zip64};
use super::inverse::Inverter;

const MASK: i64 = (1 << BITS) - 1;

/// n.
pub(super) const N: Limbs = [
    0x1c63_2551,
    0x1dce_5617,
    0x05e7_a13c,
    0x0df5_5b4e,
    0x1fff_fbce,
    0x1fff_ffff,
    0x0003_ffff,
    0x1fe0_0000,
    0x00ff_ffff,
];

/// R^2 modulo n.
const R2: Limbs = [
    0x148d_9ef5,
    0x0f4e_7f75,
    0x14c6_a651,
    0x03f8_b765,
    0x1658_61f1,
    0x1256_d7d8,
    0x1c18_5b23,
    0x0d4c_ab0f,
    0x0084_b655,
];

/// -1/n modulo 2^29.
const N0: i64 = 0x0e00_bc4f;

/// Bits of a digit: a table has this many halved for each.
pub(super) const WINDOW: u32 = 8;

/// Digits of a scalar, so windows of a table. 256 bits, see [`Scalar::digits`].
pub(super) const WINDOWS: usize = 256 / WINDOW as usize;

/// An integer below 2^256; below n where it says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scalar(Limbs);

impl Scalar {
    /// From big-endian, as it is.
    pub(super) fn from_be_bytes(bytes: &[u8; 32]) -> Self {
        Self(limbs_of_be_bytes(bytes))
    }

    /// From big-endian, if it lies in [1, n - 1].
    pub(super) fn in_range(bytes: &[u8; 32]) -> Option<Self> {
        let scalar = Self::from_be_bytes(bytes);
        (scalar.0 != [0; 9] && is_below(&scalar.0, &N)).then_some(scalar)
    }

    /// Its limbs.
    pub(super) const fn limbs(&self) -> &Limbs {
        &self.0
    }

    /// x + n, if that is below p.
    pub(super) fn plus_n_below_p(&self) -> Option<Limbs> {
        let more = carry(zip64(&self.0, &N, |x, n| x + n));
        is_below(&more, &P).then_some(more)
    }

    /// (h/s, r/s) modulo n, for s in [1, n - 1]; `None` where the inverse turns out to be wrong.
    pub(super) fn quotients(h: &Self, r: &Self, s: &Self) -> Option<(Self, Self)> {
        // R/s, so that each product with it sheds its R.
        let inverse = multiply(&Inverter::new(&N).invert(&s.0)?, &R2);
        if multiply(&s.0, &inverse) != [1, 0, 0, 0, 0, 0, 0, 0, 0] {
            return None;
        }
        Some((
            Self(multiply(&h.0, &inverse)),
            Self(multiply(&r.0, &inverse)),
        ))
    }

    /// Signed digits from the lowest, for a scalar below n: the sum of `digit[i] * 2^(8 i)` is the scalar or, if the flag
    /// says so, its negative modulo n.
    ///
    /// Of a scalar and its negative one is below 2^255, so that its highest octet is below 128; octets above 128 become
    /// negative digits and a carry, and the carry ends there.
    pub(super) fn digits(&self) -> ([i16; WINDOWS], bool) {
        let negative = carry(zip64(&N, &self.0, |n, x| n - x));
        let flip = is_below(&negative, &self.0);
        let value = if flip { negative } else { self.0 };
        let mut digits = [0; WINDOWS];
        let mut limbs = value.iter();
        let (mut held, mut bits, mut carried) = (0_i64, 0, 0);
        for digit in &mut digits {
            if bits < WINDOW {
                held |= limbs.next().copied().map_or(0, i64::from) << bits;
                bits += BITS;
            }
            let octet = octet(held) + carried;
            held >>= WINDOW;
            bits -= WINDOW;
            carried = i16::from(octet > 1 << (WINDOW - 1));
            *digit = octet - (carried << WINDOW);
        }
        (digits, flip)
    }
}

/// a b / R modulo n in [0, n), for b below n and any a below 2^256.
fn multiply(a: &Limbs, b: &Limbs) -> Limbs {
    let b = b.map(i64::from);
    let mut t = [0_i64; 9];
    for a in a {
        let a = i64::from(*a);
        for (t, b) in t.iter_mut().zip(&b) {
            *t += a * b;
        }
        // Each of nine rounds adds two products of 58 bits to a column before it is shifted out: below 2^63.
        let m = (t.first().copied().unwrap_or(0).wrapping_mul(N0)) & MASK;
        for (t, n) in t.iter_mut().zip(&N) {
            *t += m * i64::from(*n);
        }
        let [t0, t1, t2, t3, t4, t5, t6, t7, t8] = t;
        t = [t1 + (t0 >> BITS), t2, t3, t4, t5, t6, t7, t8, 0];
    }
    // Below (2^256 n + R n) / R < 2 n.
    let value = carry(t);
    let less = carry(zip64(&value, &N, |v, n| v - n));
    if is_negative(&less) { value } else { less }
}

/// a < b, of carried ones.
fn is_below(a: &Limbs, b: &Limbs) -> bool {
    is_negative(&carry(zip64(a, b, |a, b| a - b)))
}

fn is_negative(x: &Limbs) -> bool {
    x.last().is_some_and(|top| *top < 0)
}

const fn octet(held: i64) -> i16 {
    (held & ((1 << WINDOW) - 1)) as i16
}

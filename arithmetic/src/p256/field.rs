//! Integers modulo p = 2^256 - 2^224 + 2^192 + 2^96 - 1, the field of P-256 (FIPS 186-5, SP 800-186 section 3.2.1.3).
//!
//! WebAssembly multiplies 64 by 64 bits into 64, so the widest product that loses nothing is 32 by 32, and there is no
//! carry flag. Hence nine limbs of 29 bits: nine products of 58 bits fit into 64 with three to spare, and carries are
//! left until the end. A value is the sum of `limb[i] * 2^(29 i)`; limbs are signed, so that a difference is
//! a difference limb by limb.
//!
//! # Montgomery's form
//!
//! x is held as x R mod p with R = 2^261. Since p = -1 modulo 2^29, the multiple of p that clears the lowest limb t of a
//! product is t itself, and t p = t (2^256 - 2^224 + 2^192 + 2^96) - t needs no multiplication: the shifts of [`reduce`].
//!
//! # Bounds
//!
//! *Carried* is what [`Fe::mul`] and its like return: limbs 0 to 7 in [0, 2^29), limb 8 signed. They accept any limbs
//! below 2^29 in size, so carried values, their negatives and the difference of two carried ones.
//! A column is at most 9 * 2^58 < 2^61.2, of a difference of two products twice that, of a square no more; what the
//! reduction adds stays below 2^55. So nothing reaches 2^63.
//!
//! With |a| <= A p and |b| <= B p, a product T is reduced to (T + m p) / R with 0 <= m < R, which lies between
//! -A B p / 32 and (1 + A B / 32) p, because p / R < 1/32. `point.rs` says which A and B occur; none is above 6, so that
//! values stay below 6 p < 2^259 and limb 8 below 2^27.
//!
//! Nothing here is secret, so time may depend on values.

use super::inverse::Inverter;

/// Bits of a limb.
pub(super) const BITS: u32 = 29;
const MASK: i64 = (1 << BITS) - 1;

/// Nine limbs of 29 bits.
pub(super) type Limbs = [i32; 9];

/// p.
pub(super) const P: Limbs = [
    0x1fff_ffff,
    0x1fff_ffff,
    0x1fff_ffff,
    0x0000_01ff,
    0x0000_0000,
    0x0000_0000,
    0x0004_0000,
    0x1fe0_0000,
    0x00ff_ffff,
];

/// R mod p: what stands for one.
const ONE: Limbs = [
    0x0000_0020,
    0x0000_0000,
    0x0000_0000,
    0x1fff_c000,
    0x1fff_ffff,
    0x1fff_ffff,
    0x1f7f_ffff,
    0x03ff_ffff,
    0x0000_0000,
];

/// R^2 mod p, to go into Montgomery's form.
const R2: Limbs = [
    0x0000_0c00,
    0x0000_0000,
    0x1fff_0000,
    0x1fdf_ffff,
    0x1fbf_ffff,
    0x1fff_ffff,
    0x1fff_ffff,
    0x1fff_fffe,
    0x0000_0013,
];

/// An element of the field, in Montgomery's form and not in the least residue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fe(Limbs);

/// Columns of a product, `column[k] * 2^(29 k)`.
type Columns = [i64; 17];

impl Fe {
    /// Zero.
    pub(super) const ZERO: Self = Self([0; 9]);

    /// One.
    pub(super) const ONE: Self = Self(ONE);

    /// From an integer below 2^256, big-endian.
    pub(super) fn from_be_bytes(bytes: &[u8; 32]) -> Self {
        Self(limbs_of_be_bytes(bytes)).mul(&Self(R2))
    }

    /// These very limbs.
    #[cfg(test)]
    pub(super) const fn raw(limbs: Limbs) -> Self {
        Self(limbs)
    }

    /// From the limbs of an integer below 2^256, not in Montgomery's form.
    pub(super) fn from_limbs(limbs: Limbs) -> Self {
        Self(limbs).mul(&Self(R2))
    }

    /// The least residue, out of Montgomery's form.
    pub(super) fn to_limbs(self) -> Limbs {
        // Between -p and 2 p by the bounds above, with b = 1.
        least(self.mul(&Self([1, 0, 0, 0, 0, 0, 0, 0, 0])).0)
    }

    /// a b.
    pub(super) fn mul(&self, b: &Self) -> Self {
        Self(reduce(product(&self.0, &b.0), [0; 9]))
    }

    /// a^2.
    pub(super) fn square(&self) -> Self {
        Self(reduce(square(&self.0), [0; 9]))
    }

    /// a^2 - b - 2 c, of carried b and c.
    pub(super) fn square_minus(&self, b: &Self, c: &Self) -> Self {
        let minus = zip(&b.0, &c.0, |b, c| -b - 2 * c);
        Self(reduce(square(&self.0), minus))
    }

    /// a b - c d, reduced once.
    pub(super) fn mul_minus_mul(a: &Self, b: &Self, c: &Self, d: &Self) -> Self {
        let (mut t, u) = (product(&a.0, &b.0), product(&c.0, &d.0));
        for (t, u) in t.iter_mut().zip(u) {
            *t -= u;
        }
        Self(reduce(t, [0; 9]))
    }

    /// a + b, carried.
    pub(super) fn plus(&self, b: &Self) -> Self {
        Self(carry(zip64(&self.0, &b.0, |a, b| a + b)))
    }

    /// The same, carried.
    pub(super) fn carried(&self) -> Self {
        Self(carry(self.0.map(i64::from)))
    }

    /// The same in Montgomery's form, as its least residue.
    pub(super) fn canonical(&self) -> Self {
        Self(least(self.0))
    }

    /// a - b, not carried.
    pub(super) fn minus(&self, b: &Self) -> Self {
        Self(zip(&self.0, &b.0, |a, b| a - b))
    }

    /// -a, not carried.
    pub(super) fn negate(&self) -> Self {
        Self(self.0.map(|a| -a))
    }

    /// Whether it stands for zero.
    pub(super) fn is_zero(&self) -> bool {
        self.to_limbs() == [0; 9]
    }

    /// 1/a; `None` for zero.
    pub(super) fn invert(&self) -> Option<Self> {
        let inverse = Self::from_limbs(Inverter::new(&P).invert(&self.to_limbs())?);
        // A wrong inverse can't hide: it is multiplied back.
        (inverse.mul(self).to_limbs() == Self::ONE.to_limbs()).then_some(inverse)
    }
}

/// The product's columns.
#[rustfmt::skip]
fn product(a: &Limbs, b: &Limbs) -> Columns {
    let [a0, a1, a2, a3, a4, a5, a6, a7, a8] = a.map(i64::from);
    let [b0, b1, b2, b3, b4, b5, b6, b7, b8] = b.map(i64::from);
    [
        a0*b0,
        a0*b1 + a1*b0,
        a0*b2 + a1*b1 + a2*b0,
        a0*b3 + a1*b2 + a2*b1 + a3*b0,
        a0*b4 + a1*b3 + a2*b2 + a3*b1 + a4*b0,
        a0*b5 + a1*b4 + a2*b3 + a3*b2 + a4*b1 + a5*b0,
        a0*b6 + a1*b5 + a2*b4 + a3*b3 + a4*b2 + a5*b1 + a6*b0,
        a0*b7 + a1*b6 + a2*b5 + a3*b4 + a4*b3 + a5*b2 + a6*b1 + a7*b0,
        a0*b8 + a1*b7 + a2*b6 + a3*b5 + a4*b4 + a5*b3 + a6*b2 + a7*b1 + a8*b0,
        a1*b8 + a2*b7 + a3*b6 + a4*b5 + a5*b4 + a6*b3 + a7*b2 + a8*b1,
        a2*b8 + a3*b7 + a4*b6 + a5*b5 + a6*b4 + a7*b3 + a8*b2,
        a3*b8 + a4*b7 + a5*b6 + a6*b5 + a7*b4 + a8*b3,
        a4*b8 + a5*b7 + a6*b6 + a7*b5 + a8*b4,
        a5*b8 + a6*b7 + a7*b6 + a8*b5,
        a6*b8 + a7*b7 + a8*b6,
        a7*b8 + a8*b7,
        a8*b8,
    ]
}

/// The columns of `product(a, a)`, each mixed term once and doubled.
#[rustfmt::skip]
fn square(a: &Limbs) -> Columns {
    let [a0, a1, a2, a3, a4, a5, a6, a7, a8] = a.map(i64::from);
    let [d0, d1, d2, d3, d4, d5, d6, d7] = [a0, a1, a2, a3, a4, a5, a6, a7].map(|a| 2 * a);
    [
        a0*a0,
        d0*a1,
        d0*a2 + a1*a1,
        d0*a3 + d1*a2,
        d0*a4 + d1*a3 + a2*a2,
        d0*a5 + d1*a4 + d2*a3,
        d0*a6 + d1*a5 + d2*a4 + a3*a3,
        d0*a7 + d1*a6 + d2*a5 + d3*a4,
        d0*a8 + d1*a7 + d2*a6 + d3*a5 + a4*a4,
        d1*a8 + d2*a7 + d3*a6 + d4*a5,
        d2*a8 + d3*a7 + d4*a6 + a5*a5,
        d3*a8 + d4*a7 + d5*a6,
        d4*a8 + d5*a7 + a6*a6,
        d5*a8 + d6*a7,
        d6*a8 + a7*a7,
        d7*a8,
        a8*a8,
    ]
}

/// (t + m p) / R + plus, carried.
#[inline(always)]
fn reduce(t: Columns, plus: Limbs) -> Limbs {
    let [
        t0,
        mut t1,
        mut t2,
        mut t3,
        mut t4,
        mut t5,
        mut t6,
        mut t7,
        mut t8,
        mut t9,
        mut t10,
        mut t11,
        mut t12,
        mut t13,
        mut t14,
        mut t15,
        mut t16,
    ] = t;
    // 96 = 3*29 + 9, 192 = 6*29 + 18, 224 = 7*29 + 21, 256 = 8*29 + 24.
    macro_rules! clear {
        ($low:ident, $next:ident, $at3:ident, $at6:ident, $at7:ident, $at8:ident) => {
            let m = $low & MASK;
            $next += $low >> BITS;
            $at3 += m << 9;
            $at6 += m << 18;
            $at7 -= m << 21;
            $at8 += m << 24;
        };
    }
    clear!(t0, t1, t3, t6, t7, t8);
    clear!(t1, t2, t4, t7, t8, t9);
    clear!(t2, t3, t5, t8, t9, t10);
    clear!(t3, t4, t6, t9, t10, t11);
    clear!(t4, t5, t7, t10, t11, t12);
    clear!(t5, t6, t8, t11, t12, t13);
    clear!(t6, t7, t9, t12, t13, t14);
    clear!(t7, t8, t10, t13, t14, t15);
    clear!(t8, t9, t11, t14, t15, t16);
    let [p0, p1, p2, p3, p4, p5, p6, p7, p8] = plus.map(i64::from);
    carry([
        t9 + p0,
        t10 + p1,
        t11 + p2,
        t12 + p3,
        t13 + p4,
        t14 + p5,
        t15 + p6,
        t16 + p7,
        p8,
    ])
}

/// Brings limbs 0 to 7 into [0, 2^29); the rest is limb 8's.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "masked, or small by the bounds above"
)]
pub(super) fn carry(t: [i64; 9]) -> Limbs {
    let [
        t0,
        mut t1,
        mut t2,
        mut t3,
        mut t4,
        mut t5,
        mut t6,
        mut t7,
        mut t8,
    ] = t;
    t1 += t0 >> BITS;
    t2 += t1 >> BITS;
    t3 += t2 >> BITS;
    t4 += t3 >> BITS;
    t5 += t4 >> BITS;
    t6 += t5 >> BITS;
    t7 += t6 >> BITS;
    t8 += t7 >> BITS;
    [
        (t0 & MASK) as i32,
        (t1 & MASK) as i32,
        (t2 & MASK) as i32,
        (t3 & MASK) as i32,
        (t4 & MASK) as i32,
        (t5 & MASK) as i32,
        (t6 & MASK) as i32,
        (t7 & MASK) as i32,
        t8 as i32,
    ]
}

/// The least residue of what lies between -8 p and 8 p.
fn least(value: Limbs) -> Limbs {
    let mut value = carry(value.map(i64::from));
    // Limb 8 of a carried value has its sign.
    while value.last().is_some_and(|top| *top < 0) {
        value = carry(zip64(&value, &P, |v, p| v + p));
    }
    loop {
        let less = carry(zip64(&value, &P, |v, p| v - p));
        if less.last().is_some_and(|top| *top < 0) {
            return value;
        }
        value = less;
    }
}

fn zip(a: &Limbs, b: &Limbs, f: impl Fn(i32, i32) -> i32) -> Limbs {
    let mut out = *a;
    for (a, b) in out.iter_mut().zip(b) {
        *a = f(*a, *b);
    }
    out
}

pub(super) fn zip64(a: &Limbs, b: &Limbs, f: impl Fn(i64, i64) -> i64) -> [i64; 9] {
    let mut out = a.map(i64::from);
    for (a, b) in out.iter_mut().zip(b) {
        *a = f(*a, i64::from(*b));
    }
    out
}

/// The limbs of a 256-bit integer, given big-endian.
pub(super) fn limbs_of_be_bytes(bytes: &[u8; 32]) -> Limbs {
    let mut out = [0; 9];
    let mut source = bytes.iter().rev();
    let (mut held, mut bits) = (0_i64, 0);
    for limb in &mut out {
        while bits < BITS
            && let Some(byte) = source.next()
        {
            held |= i64::from(*byte) << bits;
            bits += 8;
        }
        *limb = low_limb(held);
        held >>= BITS;
        bits = bits.saturating_sub(BITS);
    }
    out
}

pub(super) const fn low_limb(value: i64) -> i32 {
    (value & MASK) as i32
}

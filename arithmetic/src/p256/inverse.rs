//! 1/x modulo an odd number of up to 256 bits, by the divsteps of Bernstein and Yang ("Fast constant-time gcd computation
//! and modular inversion", 2019), in the variable-time order of libsecp256k1's `modinv32` (its `doc/safegcd_implementation.md`
//! derives every step).
//!
//! A step takes (delta, f, g), f odd, to
//!
//! ```text
//! (1 - delta, g, (g - f) / 2)    if delta > 0 and g is odd
//! (1 + delta, f, (g + f) / 2)    else if g is odd
//! (1 + delta, f, g / 2)          else
//! ```
//!
//! which keeps gcd(f, g) and ends with g = 0, f = +-gcd. Which steps are taken depends on the lowest bits alone, so
//! [`Inverter::matrix`] takes 29 of them on those and says what they amount to: (f, g) becomes (u f + v g, q f + r g) / 2^29
//! with |u| + |v| and |q| + |r| at most 2^29. The same goes for d and e, which begin with 0 and 1 and keep d x = f and
//! e x = g modulo m; there a multiple of m makes the division exact. In the end d x = +-1.
//!
//! No caller relies on this being right: each multiplies the result back.

use super::field::{BITS, Limbs, carry, low_limb, zip64};

const MASK: i64 = (1 << BITS) - 1;

/// Batches of 29 steps. 256 bits need 741 steps at most in this variant (section 11 of the paper), some 530 on average.
const MAX_BATCHES: usize = 26;

/// Inverts modulo one number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inverter<'m> {
    modulus: &'m Limbs,
    /// 1/m modulo 2^29.
    modulus_inverse: i64,
}

/// What 29 steps amount to.
struct Matrix {
    u: i64,
    v: i64,
    q: i64,
    r: i64,
}

impl<'m> Inverter<'m> {
    /// For an odd modulus below 2^256.
    pub(super) fn new(modulus: &'m Limbs) -> Self {
        let m = modulus.first().copied().map_or(1, i64::from);
        // Newton: each round doubles the bits that are right, from 3.
        let modulus_inverse = (0..4).fold(m, |x, _| {
            x.wrapping_mul(2_i64.wrapping_sub(m.wrapping_mul(x))) & MASK
        });
        Self {
            modulus,
            modulus_inverse,
        }
    }

    /// 1/x in [0, m) for x in [0, m); `None` where there is none.
    pub(super) fn invert(&self, x: &Limbs) -> Option<Limbs> {
        let (mut f, mut g) = (*self.modulus, *x);
        let (mut d, mut e): (Limbs, Limbs) = ([0; 9], [1, 0, 0, 0, 0, 0, 0, 0, 0]);
        let mut eta = -1;
        for _ in 0..MAX_BATCHES {
            if g == [0; 9] {
                return self.signed(&f, &d);
            }
            let t;
            (eta, t) = Self::matrix(eta, &f, &g);
            (f, g) = Self::apply(&t, &f, &g);
            (d, e) = self.apply_modulo(&t, &d, &e);
        }
        (g == [0; 9]).then(|| self.signed(&f, &d)).flatten()
    }

    /// d by the sign of f, in [0, m); `None` unless f is 1 or -1.
    fn signed(&self, f: &Limbs, d: &Limbs) -> Option<Limbs> {
        let negative = match f {
            [1, 0, 0, 0, 0, 0, 0, 0, 0] => false,
            [a, b, c, d, e, f, g, h, -1]
                if [a, b, c, d, e, f, g, h]
                    .into_iter()
                    .all(|limb| i64::from(*limb) == MASK) =>
            {
                true
            }
            _ => return None,
        };
        // d is in (-2 m, m).
        let mut d = d.map(i64::from);
        if negative {
            d = d.map(|limb| -limb);
        }
        let mut d = carry(d);
        for _ in 0..2 {
            if is_negative(&d) {
                d = carry(zip64(&d, self.modulus, |d, m| d + m));
            }
        }
        let less = carry(zip64(&d, self.modulus, |d, m| d - m));
        Some(if is_negative(&less) { d } else { less })
    }

    /// 29 steps on the lowest bits; `eta` is -delta.
    #[expect(clippy::cast_sign_loss, reason = "bits are bits")]
    #[expect(clippy::cast_possible_wrap, reason = "bits are bits")]
    fn matrix(mut eta: i32, f: &Limbs, g: &Limbs) -> (i32, Matrix) {
        let (mut u, mut v, mut q, mut r) = (1_u32, 0_u32, 0_u32, 1_u32);
        let (mut f, mut g) = (low_bits(f), low_bits(g));
        let mut left = BITS;
        loop {
            // Halve g while it is even.
            let zeros = (g | (u32::MAX << left)).trailing_zeros();
            g >>= zeros;
            u <<= zeros;
            v <<= zeros;
            eta -= zeros as i32;
            left -= zeros;
            if left == 0 {
                break;
            }
            // Both are odd.
            if eta < 0 {
                eta = -eta;
                (f, g) = (g, f.wrapping_neg());
                (u, q) = (q, u.wrapping_neg());
                (v, r) = (r, v.wrapping_neg());
            }
            // Without a swap before `eta` is used up, several steps add a multiple of f that clears as many bits of g:
            // -g/f modulo 2^6, where 1/f = f (2 - f^2).
            let limit = left.min(eta as u32 + 1).min(6);
            let w = f
                .wrapping_mul(g)
                .wrapping_mul(f.wrapping_mul(f).wrapping_sub(2))
                & ((1 << limit) - 1);
            g = g.wrapping_add(f.wrapping_mul(w));
            q = q.wrapping_add(u.wrapping_mul(w));
            r = r.wrapping_add(v.wrapping_mul(w));
        }
        let signed = |x: u32| i64::from(x as i32);
        let matrix = Matrix {
            u: signed(u),
            v: signed(v),
            q: signed(q),
            r: signed(r),
        };
        (eta, matrix)
    }

    /// (u f + v g, q f + r g) / 2^29, which is exact.
    fn apply(t: &Matrix, f: &Limbs, g: &Limbs) -> (Limbs, Limbs) {
        let (mut f, mut g) = (f.map(i64::from), g.map(i64::from));
        for (f, g) in f.iter_mut().zip(&mut g) {
            (*f, *g) = (t.u * *f + t.v * *g, t.q * *f + t.r * *g);
        }
        (shifted(f), shifted(g))
    }

    /// (u d + v e, q d + r e) / 2^29 modulo m, of d and e in (-2 m, m) and in there again.
    fn apply_modulo(&self, t: &Matrix, d: &Limbs, e: &Limbs) -> (Limbs, Limbs) {
        // A negative one counts m more, which keeps the range.
        let of = |flag: bool, x: i64| if flag { x } else { 0 };
        let (dn, en) = (is_negative(d), is_negative(e));
        let (d0, e0) = (low(d), low(e));
        // Then what makes the lowest limb vanish.
        let clear = |c: i64, m: i64| m - ((self.modulus_inverse * (c & MASK) + m) & MASK);
        let md = clear(t.u * d0 + t.v * e0, of(dn, t.u) + of(en, t.v));
        let me = clear(t.q * d0 + t.r * e0, of(dn, t.q) + of(en, t.r));
        let (mut a, mut b) = (d.map(i64::from), e.map(i64::from));
        for ((d, e), m) in a.iter_mut().zip(&mut b).zip(self.modulus) {
            let m = i64::from(*m);
            (*d, *e) = (t.u * *d + t.v * *e + m * md, t.q * *d + t.r * *e + m * me);
        }
        (shifted(a), shifted(b))
    }
}

/// Carried, without the lowest limb, which is zero modulo 2^29.
fn shifted(t: [i64; 9]) -> Limbs {
    let [t0, t1, t2, t3, t4, t5, t6, t7, t8] = t;
    carry([t1 + (t0 >> BITS), t2, t3, t4, t5, t6, t7, t8, 0])
}

fn is_negative(x: &Limbs) -> bool {
    x.last().is_some_and(|top| *top < 0)
}

fn low(x: &Limbs) -> i64 {
    x.first().copied().map_or(0, i64::from)
}

#[expect(clippy::cast_sign_loss, reason = "a limb below 2^29")]
fn low_bits(x: &Limbs) -> u32 {
    low_limb(low(x)) as u32
}

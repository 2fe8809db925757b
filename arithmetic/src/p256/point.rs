//! Points of P-256 and tables of their multiples.
//!
//! A table holds, for each of the 32 octets of a scalar, the 128 multiples that a signed digit can ask for, so that
//! k P is 32 additions and no doubling. All of them are additions of a point in affine coordinates to one in
//! (X, Y, ZZ, ZZZ): x = X/ZZ, y = Y/ZZZ, ZZ^3 = ZZZ^2, ten multiplications each
//! (madd-2008-s, <https://hyperelliptic.org/EFD/g1p/auto-shortw-xyzz.html>).

use super::field::Fe;
use super::scalar::{Scalar, WINDOW, WINDOWS};

/// Multiples a window holds: 1 to 128.
const MULTIPLES: usize = 1 << (WINDOW - 1);

/// A point in affine coordinates, not infinity.
#[derive(Clone, Copy, Debug)]
pub(super) struct Affine {
    pub x: Fe,
    pub y: Fe,
}

/// The multiples of one point.
pub struct Table {
    /// `WINDOWS` times `MULTIPLES`: (j + 1) 2^(8 i) P at i * 128 + j.
    points: Box<[Affine]>,
}

/// The sum of points, as long as no two of them were equal or opposite.
///
/// Bounds, in p (see `field.rs`): x and y of a table are in [0, 1]; X in (-4.1, 2.4), Y in (-1, 2), ZZ and ZZZ in (-1, 2);
/// U2 - X in (-3, 6) is the largest that is multiplied.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sum {
    x: Fe,
    y: Fe,
    zz: Fe,
    zzz: Fe,
}

impl Sum {
    const fn of(point: &Affine) -> Self {
        Self {
            x: point.x,
            y: point.y,
            zz: Fe::ONE,
            zzz: Fe::ONE,
        }
    }

    /// Adds a point. If both have the same x, which takes a doubling or gives infinity, ZZ becomes zero and stays it.
    fn add(&mut self, point: &Affine) {
        let p = point.x.mul(&self.zz).minus(&self.x);
        let r = point.y.mul(&self.zzz).minus(&self.y);
        let pp = p.square();
        let ppp = p.mul(&pp);
        let q = self.x.mul(&pp);
        let x = r.square_minus(&ppp, &q);
        self.y = Fe::mul_minus_mul(&r, &q.minus(&x), &self.y, &ppp);
        self.x = x;
        self.zz = self.zz.mul(&pp);
        self.zzz = self.zzz.mul(&ppp);
    }

    /// Twice the point (dbl-2008-s-1 for a = -3); never infinity, for there is no point of order two.
    fn double(&mut self) {
        let u = self.y.plus(&self.y);
        let v = u.square();
        let w = u.mul(&v);
        let s = self.x.mul(&v);
        // 3 X^2 - 3 ZZ^2 = 3 (X - ZZ) (X + ZZ).
        let m = self.x.minus(&self.zz).mul(&self.x.plus(&self.zz));
        let m = m.plus(&m).plus(&m);
        let x = m.square_minus(&Fe::ZERO, &s);
        self.y = Fe::mul_minus_mul(&m, &s.minus(&x), &w, &self.y);
        self.x = x;
        self.zz = v.mul(&self.zz);
        self.zzz = w.mul(&self.zzz);
    }

    /// Whether x, as an integer below p, is one of these; `None` where the sum is not to be relied on.
    pub(super) fn has_x(&self, candidates: &[Fe]) -> Option<bool> {
        if self.zz.is_zero() {
            return None;
        }
        Some(
            candidates
                .iter()
                .any(|x| x.mul(&self.zz).minus(&self.x).is_zero()),
        )
    }
}

impl Table {
    /// The table of a point of the curve, x || y, big-endian; `None` only if a computation has failed. Whether it is on the
    /// curve is for the caller to know.
    #[must_use]
    #[inline(never)]
    pub fn new(point: &[u8; 64]) -> Option<Self> {
        let point = Affine::read(point)?;
        // 2^(8 i) P.
        let mut bases = Vec::with_capacity(WINDOWS);
        let mut at = Sum::of(&point);
        for _ in 0..WINDOWS {
            bases.push(at);
            for _ in 0..WINDOW {
                at.double();
            }
        }
        let zzz: Vec<Fe> = bases.iter().map(|base| base.zzz).collect();
        let inverses = invert_all(&zzz)?;
        let mut windows: Vec<Vec<Affine>> = Vec::with_capacity(WINDOWS);
        for (base, inverse) in bases.iter().zip(&inverses) {
            // 1/Z = ZZ/ZZZ.
            let z = base.zz.mul(inverse);
            let mut window = Vec::with_capacity(MULTIPLES);
            window.push(Affine {
                x: base.x.mul(&z.square()).canonical(),
                y: base.y.mul(inverse).canonical(),
            });
            windows.push(window);
        }
        // From 1..=m to 1..=2m, all windows together so that they share one inversion.
        let mut m = 1;
        while m < MULTIPLES {
            // What each slope is divided by: x_j - x_m, and 2 y_m for the doubling.
            let mut divisors = Vec::with_capacity(m * WINDOWS);
            for window in &windows {
                let last = window.last()?;
                divisors.extend(
                    window
                        .iter()
                        .take(m - 1)
                        .map(|p| p.x.minus(&last.x).carried()),
                );
                divisors.push(last.y.plus(&last.y));
            }
            let inverses = invert_all(&divisors)?;
            for (window, inverses) in windows.iter_mut().zip(inverses.chunks(m)) {
                let last = *window.last()?;
                for (j, inverse) in inverses.iter().enumerate() {
                    let other = *window.get(j)?;
                    let slope = if j + 1 == m {
                        // (3 x^2 - 3) / 2 y
                        let one = last.x.minus(&Fe::ONE).mul(&last.x.plus(&Fe::ONE));
                        one.plus(&one).plus(&one).mul(inverse)
                    } else {
                        other.y.minus(&last.y).mul(inverse)
                    };
                    let x = slope
                        .square()
                        .minus(&other.x)
                        .carried()
                        .minus(&last.x)
                        .canonical();
                    let y = slope.mul(&last.x.minus(&x)).minus(&last.y).canonical();
                    window.push(Affine { x, y });
                }
            }
            m *= 2;
        }
        let points: Vec<Affine> = windows.into_iter().flatten().collect();
        (points.len() == WINDOWS * MULTIPLES).then(|| Self {
            points: points.into_boxed_slice(),
        })
    }

    /// Octets of a table.
    pub const BYTES: usize = WINDOWS * MULTIPLES * size_of::<Affine>();

    /// (j + 1) 2^(8 window) P.
    #[cfg(test)]
    pub(super) fn entry(&self, window: usize, j: usize) -> Option<&Affine> {
        self.points.get(window * MULTIPLES + j)
    }

    /// Adds k P.
    pub(super) fn add_multiple(&self, k: &Scalar, sum: &mut Option<Sum>) {
        let (digits, flip) = k.digits();
        for (digit, window) in digits.iter().zip(self.points.chunks_exact(MULTIPLES)) {
            let index = usize::from(digit.unsigned_abs());
            let Some(point) = index.checked_sub(1).and_then(|at| window.get(at)) else {
                continue;
            };
            let mut point = *point;
            if (*digit < 0) != flip {
                point.y = point.y.negate();
            }
            match sum {
                Some(sum) => sum.add(&point),
                None => *sum = Some(Sum::of(&point)),
            }
        }
    }
}

/// 1/x for each, with one inversion (Montgomery's trick).
fn invert_all(values: &[Fe]) -> Option<Vec<Fe>> {
    let mut products = Vec::with_capacity(values.len());
    let mut product = Fe::ONE;
    for value in values {
        products.push(product);
        product = product.mul(value);
    }
    let mut inverse = product.invert()?;
    for (product, value) in products.iter_mut().zip(values).rev() {
        *product = product.mul(&inverse);
        inverse = inverse.mul(value);
    }
    Some(products)
}

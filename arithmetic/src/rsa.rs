//! s^e modulo n, the whole arithmetic of verifying with RSA (RSAVP1, RFC 8017 section 5.2.2), made for WebAssembly: four to
//! five times as fast there as the `rsa` crate (`make speed`).
//!
//! WebAssembly multiplies 64 by 64 bits into 64, so the widest product that loses nothing is 32 by 32. With limbs of 27
//! bits up to 1024 products fit into 64 bits, and no carry is looked at before a column is complete: a product and an
//! addition is all there is in the inner loops.
//!
//! # Montgomery's form
//!
//! x is held as x R mod n with R = 2^(27 k), k limbs. A product T is reduced to (T + m n) / R, m chosen limb by limb so
//! that the lowest one vanishes. With both factors below n that is below (n^2 + R n) / R < 2 n, so that one subtraction at
//! most gives the least residue.
//!
//! # Bounds
//!
//! A column of a product is at most k products below 2^54. It is carried before the reduction adds as many again and a
//! carry below 2^37. With k at most 304, of `MAX_BITS`, both stay below 2^62.4.
//!
//! Nothing here is secret, so time may depend on values.

const BITS: usize = 27;
const MASK: u64 = (1 << BITS) - 1;

/// The longest modulus, in bits; nobody publishes more than 4096.
pub const MAX_BITS: usize = 8192;

/// A modulus with what is computed from it once.
#[derive(Clone)]
pub struct RsaPower {
    modulus: Box<[u32]>,
    /// -1/n modulo 2^27.
    n0: u64,
    /// R^2 modulo n, to go into Montgomery's form.
    r2: Box<[u32]>,
    exponent: u64,
    bits: usize,
    octets: usize,
}

impl RsaPower {
    /// For an odd modulus without leading zero octets and an odd exponent of at least 3; `None` for one that is too long.
    #[inline(never)]
    pub fn new(modulus: &[u8], exponent: u64) -> Option<Self> {
        let bits = modulus.len() * 8 - modulus.first()?.leading_zeros() as usize;
        let limbs = bits.div_ceil(BITS);
        if bits > MAX_BITS || exponent < 3 || exponent & 1 == 0 || modulus.last()? & 1 == 0 {
            return None;
        }
        let octets = modulus.len();
        let modulus = limbs_of(modulus, limbs);
        let n = u64::from(*modulus.first()?);
        // Newton: each round doubles the bits that are right, from 3.
        let inverse = (0..4).fold(n, |x, _| {
            x.wrapping_mul(2_u64.wrapping_sub(n.wrapping_mul(x)))
        });
        let mut power = Self {
            r2: modulus.clone(),
            modulus,
            n0: inverse.wrapping_neg() & MASK,
            exponent,
            bits,
            octets,
        };
        // 2^bits - n is 2^bits modulo n; doubled up to 2 R, which is 2 in Montgomery's form.
        let mut x: Box<[u32]> = power.modulus.iter().map(|_| 0).collect();
        let overflow = u64::from(bits == limbs * BITS);
        if overflow == 0 {
            *x.get_mut(bits / BITS)? = 1 << (bits % BITS);
        }
        power.subtract_modulus(&mut x, overflow);
        for _ in bits..=limbs * BITS {
            power.double(&mut x);
        }
        // 2^(27 k) in Montgomery's form is R^2: square for each bit of 27 k, double where it is set.
        let wanted = limbs * BITS;
        let mut columns = Columns::new(limbs);
        for bit in (0..wanted.ilog2()).rev() {
            x = power.multiply(&x, &x, &mut columns)?;
            if wanted >> bit & 1 == 1 {
                power.double(&mut x);
            }
        }
        power.r2 = x;
        Some(power)
    }

    /// Octets of the modulus, and so of a signature and an encoded message.
    pub const fn octets(&self) -> usize {
        self.octets
    }

    /// Bits of the modulus.
    pub const fn bits(&self) -> usize {
        self.bits
    }

    // Not to be inlined: a caller that is compiled for size would have it compiled for size.
    /// s^e modulo n, big-endian and as long as the modulus; `None` unless `s` is that long and below n.
    #[inline(never)]
    pub fn raise(&self, s: &[u8]) -> Option<Vec<u8>> {
        if s.len() != self.octets {
            return None;
        }
        let s = limbs_of(s, self.modulus.len());
        if !is_below(&s, &self.modulus) {
            return None;
        }
        let mut columns = Columns::new(s.len());
        let base = self.multiply(&s, &self.r2, &mut columns)?;
        let mut x = base.clone();
        for bit in (1..self.exponent.ilog2()).rev() {
            x = self.square(&x, &mut columns)?;
            if self.exponent >> bit & 1 == 1 {
                x = self.multiply(&x, &base, &mut columns)?;
            }
        }
        // The last bit is set; a factor that is not in Montgomery's form leads out of it.
        x = self.square(&x, &mut columns)?;
        x = self.multiply(&x, &s, &mut columns)?;
        Some(octets_of(&x, self.octets))
    }

    fn multiply(&self, a: &[u32], b: &[u32], columns: &mut Columns) -> Option<Box<[u32]>> {
        columns.0.fill(0);
        let mut rest = &mut *columns.0;
        for a in a {
            add_product(rest, *a, b);
            rest = rest.split_first_mut()?.1;
        }
        self.reduce(columns)
    }

    fn square(&self, a: &[u32], columns: &mut Columns) -> Option<Box<[u32]>> {
        columns.0.fill(0);
        let (mut rest, mut a) = (&mut *columns.0, a);
        // Each mixed term once and doubled.
        while let Some((first, others)) = a.split_first() {
            let (column, more) = rest.split_first_mut()?;
            *column += u64::from(*first) * u64::from(*first);
            add_product(more, 2 * first, others);
            // The next limb's square is two columns on.
            rest = more.split_first_mut()?.1;
            a = others;
        }
        self.reduce(columns)
    }

    /// (T + m n) / R modulo n.
    fn reduce(&self, columns: &mut Columns) -> Option<Box<[u32]>> {
        let mut carry = 0;
        for column in &mut *columns.0 {
            let all = *column + carry;
            *column = all & MASK;
            carry = all >> BITS;
        }
        let mut rest = &mut *columns.0;
        let mut carry = 0;
        for _ in 0..self.modulus.len() {
            let low = rest.first_mut()?;
            *low += carry;
            let m = low_limb(low.wrapping_mul(self.n0));
            add_product(rest, m, &self.modulus);
            let (low, more) = rest.split_first_mut()?;
            carry = *low >> BITS;
            rest = more;
        }
        let mut out = self.modulus.clone();
        for (out, column) in out.iter_mut().zip(rest) {
            let all = *column + carry;
            *out = low_limb(all);
            carry = all >> BITS;
        }
        self.subtract_modulus(&mut out, carry);
        Some(out)
    }

    fn double(&self, x: &mut [u32]) {
        let mut carry = 0;
        for limb in &mut *x {
            let all = 2 * u64::from(*limb) + carry;
            *limb = low_limb(all);
            carry = all >> BITS;
        }
        self.subtract_modulus(x, carry);
    }

    /// The least residue of what is below 2 n, or of 2^bits; `overflow` is what is above the limbs.
    fn subtract_modulus(&self, x: &mut [u32], overflow: u64) {
        if overflow == 0 && is_below(x, &self.modulus) {
            return;
        }
        let mut borrow = 0;
        for (x, n) in x.iter_mut().zip(&self.modulus) {
            let all = u64::from(*x)
                .wrapping_sub(u64::from(*n))
                .wrapping_sub(borrow);
            *x = low_limb(all);
            borrow = all >> 63;
        }
    }
}

/// Adds a b, b from the first column on. All of the time goes here.
#[inline(always)]
fn add_product(columns: &mut [u64], a: u32, b: &[u32]) {
    for (column, b) in columns.iter_mut().zip(b) {
        *column += u64::from(a) * u64::from(*b);
    }
}

/// Room for a product.
struct Columns(Box<[u64]>);

impl Columns {
    fn new(limbs: usize) -> Self {
        Self((0..2 * limbs + 1).map(|_| 0).collect())
    }
}

fn is_below(a: &[u32], b: &[u32]) -> bool {
    a.iter().rev().lt(b.iter().rev())
}

/// The limbs of an integer that has not more bits than they hold, given big-endian.
fn limbs_of(octets: &[u8], limbs: usize) -> Box<[u32]> {
    let mut source = octets.iter().rev();
    let (mut held, mut bits) = (0_u64, 0);
    (0..limbs)
        .map(|_| {
            while bits < BITS
                && let Some(octet) = source.next()
            {
                held |= u64::from(*octet) << bits;
                bits += 8;
            }
            let limb = low_limb(held);
            held >>= BITS;
            bits = bits.saturating_sub(BITS);
            limb
        })
        .collect()
}

/// Big-endian.
fn octets_of(limbs: &[u32], octets: usize) -> Vec<u8> {
    let mut source = limbs.iter();
    let (mut held, mut bits) = (0_u64, 0);
    let mut out: Vec<u8> = (0..octets)
        .map(|_| {
            if bits < 8 {
                held |= source.next().copied().map_or(0, u64::from) << bits;
                bits += BITS;
            }
            let [octet, ..] = held.to_le_bytes();
            held >>= 8;
            bits -= 8;
            octet
        })
        .collect();
    out.reverse();
    out
}

const fn low_limb(value: u64) -> u32 {
    (value & MASK) as u32
}

#[cfg(test)]
mod tests;

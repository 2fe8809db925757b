//! ES256 from tables of the multiples of each key, two to three times as fast as what a proxy lends (`make speed`).
//!
//! To verify r, s over the digest h with the key Q is to see whether (h/s) G + (r/s) Q has an x that is r modulo n
//! (FIPS 186-5 section 6.4.2). Nearly all of the time goes into the two products, and issuers have few keys: so the
//! multiples of G and of each key are computed once (`point::Table`), and a product is 32 additions.
//!
//! Everything here is public, so time may depend on it. And nothing here has the last word where it is not sure: sums that
//! meet a doubling or infinity, an inverse that does not multiply back to one, a key without a table have no verdict, and
//! the caller asks another verifier. `make prove-es256` and `fuzz/src/es256.rs` compare the verdicts with the `p256` crate's.

mod known;

use std::cell::RefCell;
use std::fmt;

use portcullis_arithmetic::p256::{Signature, Table};
use sha2::{Digest, Sha256};

use self::known::Known;
use super::super::public_key::{Curve, PublicKey};
use super::BadSignature;

/// How many keys get a table, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct TableLimits {
    /// Keys with a table at a time. One takes [`Es256Tables::TABLE_BYTES`].
    pub keys: usize,
    /// When all places are taken, a key that has not been used for so many verifications gives up its own. Building a
    /// table costs some fifty verifications, so that keys in turn must not push each other out.
    pub patience: u64,
}

impl TableLimits {
    /// 16 keys are what a handful of issuers have between them, and take less than 5 MiB with the base point's table.
    pub const DEFAULT: Self = Self {
        keys: 16,
        patience: 10_000,
    };
}

/// Verifies ES256 with the keys it has tables for.
pub struct Es256Tables {
    base: Table,
    keys: RefCell<Keys>,
}

/// Known answers came out wrong: this machine or this build can't be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelfTestFailed;

impl fmt::Display for SelfTestFailed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the self-test of ES256 by tables failed")
    }
}

impl std::error::Error for SelfTestFailed {}

struct Keys {
    limits: TableLimits,
    /// Verifications so far, the clock of `patience`.
    now: u64,
    entries: Vec<Entry>,
}

struct Entry {
    /// x || y, big-endian.
    point: [u8; 64],
    table: Table,
    used: u64,
}

impl Es256Tables {
    /// Octets of one table.
    pub const TABLE_BYTES: usize = Table::BYTES;

    /// Computes the base point's table, and tests itself with known answers.
    ///
    /// # Errors
    ///
    /// [`SelfTestFailed`].
    pub fn new(limits: TableLimits) -> Result<Self, SelfTestFailed> {
        Self::tested(limits, &known::ANSWERS)
    }

    fn tested(limits: TableLimits, answers: &[Known]) -> Result<Self, SelfTestFailed> {
        let base = Table::new(&known::BASE).ok_or(SelfTestFailed)?;
        let table = Table::new(&known::KEY).ok_or(SelfTestFailed)?;
        let tables = Self {
            base,
            keys: RefCell::new(Keys {
                limits,
                now: 0,
                entries: Vec::new(),
            }),
        };
        for known in answers {
            let digest = Sha256::digest(known.text).into();
            let found = Signature::read(&known.signature).map_or(Some(false), |signature| {
                signature.verify(&tables.base, &table, &digest)
            });
            if found != Some(known.good) {
                return Err(SelfTestFailed);
            }
        }
        Ok(tables)
    }

    /// Whether `signature` (r || s) over `signing_input` is the key's. `None` where somebody else has to be asked; the
    /// first time that a key is used its table is computed.
    pub fn verdict(
        &self,
        key: &PublicKey,
        signing_input: &[u8],
        signature: &[u8],
    ) -> Option<Result<(), BadSignature>> {
        self.verdict_on_digest(key, &Sha256::digest(signing_input).into(), signature)
    }

    /// As [`Self::verdict`], of the digest of what was signed.
    pub fn verdict_on_digest(
        &self,
        key: &PublicKey,
        digest: &[u8; 32],
        signature: &[u8],
    ) -> Option<Result<(), BadSignature>> {
        if key.curve() != Some(Curve::P256) {
            return None;
        }
        let Some(signature) = Signature::read(signature) else {
            return Some(Err(BadSignature));
        };
        // The uncompressed point is the end of the encoding.
        let point = key.spki_der().last_chunk::<64>()?;
        let mut keys = self.keys.try_borrow_mut().ok()?;
        let good = signature.verify(&self.base, keys.table(point)?, digest)?;
        Some(if good { Ok(()) } else { Err(BadSignature) })
    }

    /// How many keys have a table.
    pub fn len(&self) -> usize {
        self.keys.try_borrow().map_or(0, |keys| keys.entries.len())
    }

    /// Whether no key has a table yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for Es256Tables {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Es256Tables({} keys)", self.len())
    }
}

impl Keys {
    /// The table of a point of the curve.
    fn table(&mut self, point: &[u8; 64]) -> Option<&Table> {
        self.now += 1;
        let place = match self.entries.iter().position(|entry| entry.point == *point) {
            Some(place) => place,
            None => self.admit(point)?,
        };
        let entry = self.entries.get_mut(place)?;
        entry.used = self.now;
        Some(&entry.table)
    }

    fn admit(&mut self, point: &[u8; 64]) -> Option<usize> {
        if self.entries.len() >= self.limits.keys {
            let oldest = self
                .entries
                .iter()
                .enumerate()
                .min_by_key(|(_, entry)| entry.used);
            let (place, entry) = oldest?;
            if self.now - entry.used <= self.limits.patience {
                return None;
            }
            self.entries.swap_remove(place);
        }
        let table = Table::new(point)?;
        self.entries.push(Entry {
            point: *point,
            table,
            used: self.now,
        });
        self.entries.len().checked_sub(1)
    }
}

#[cfg(test)]
mod tests;

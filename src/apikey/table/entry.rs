//! One record of the table, as requests are judged by it.

use std::time::Duration;

use super::{Ends, KeyTable, Row};
use crate::apikey::bucket::RateLimit;
use crate::apikey::format::KeyId;
use crate::apikey::names::NONE;
use crate::apikey::record::{KeyDigest, ScopeKind};
use crate::reason::Code;
use crate::time::UnixTime;

/// One record, as a request is judged by it.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'t> {
    pub(super) table: &'t KeyTable,
    pub(super) row: &'t Row,
}

impl<'t> Entry<'t> {
    /// Its id.
    pub const fn id(&self) -> KeyId {
        self.row.id
    }

    /// The digest of the whole key.
    pub const fn digest(&self) -> KeyDigest {
        if self.row.peppered {
            KeyDigest::HmacSha256(self.row.digest)
        } else {
            KeyDigest::Sha256(self.row.digest)
        }
    }

    /// Whether there is nothing of it but the id: its record could not be read.
    pub const fn is_unreadable(&self) -> bool {
        self.row.unreadable
    }

    /// What it is bound to.
    pub fn scope(&self) -> (ScopeKind, &'t str) {
        let name = self.table.names.get(self.row.scope_name);
        (self.row.scope, name.unwrap_or_default())
    }

    /// Who answers for it.
    pub fn owner(&self) -> Option<&'t str> {
        self.table.names.get(self.row.owner)
    }

    /// Whether it may be used with this method.
    pub fn allows_method(&self, method: &str) -> bool {
        match self.table.names.get(self.row.methods) {
            Some(methods) => methods.split(',').any(|m| m == method),
            None => self.row.methods == NONE,
        }
    }

    /// Its rate limit.
    pub fn rate_limit(&self) -> Option<RateLimit> {
        let place = usize::try_from(self.row.rate_limit).ok()?;
        self.table.limits.get(place).copied()
    }

    /// Whether it says when it was made, so that a greatest lifetime can be held against it.
    pub const fn has_birth(&self) -> bool {
        self.row.born > 0
    }

    /// Whether it is in force, `max_ttl` being the longest that a key may live.
    ///
    /// # Errors
    /// Why it is not.
    pub fn in_force(&self, now: UnixTime, max_ttl: Option<Duration>) -> Result<(), Code> {
        let row = self.row;
        let now = now.as_secs();
        if row.unreadable {
            return Err(Code::UnreadableKey);
        }
        if row.revoked {
            return Err(Code::KeyRevoked);
        }
        if now < row.not_before {
            return Err(Code::KeyNotYetValid);
        }
        if now >= row.until {
            return Err(match row.ends {
                Ends::Life => Code::KeyExpired,
                Ends::Grace => Code::KeySuperseded,
            });
        }
        if max_ttl.is_some_and(|ttl| now >= row.born.saturating_add(ttl.as_secs())) {
            return Err(Code::KeyExpired);
        }
        Ok(())
    }
}

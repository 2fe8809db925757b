//! Where a key stands: one judgement for the service, its page and `portcullis key`.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where a key stands, as the filter judges it (`max_ttl` aside, which is the provider's).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Gets its bearer in.
    Active,
    /// Will, from `not_before` on.
    NotYetValid,
    /// Replaced, and good until `grace_until`.
    Rotated,
    /// Past its `expires_at`.
    Expired,
    /// Past its `grace_until`.
    Superseded,
    /// Revoked.
    Revoked,
}

/// What of a key's record decides where it stands; times in seconds since 1970, whatever number they are kept as.
#[derive(Clone, Copy, Debug)]
pub struct Moments<T> {
    /// Revoked, whenever that was.
    pub revoked: bool,
    /// Not valid before; absent: no such bound.
    pub not_before: Option<T>,
    /// Not valid from then on; absent: never expires.
    pub expires_at: Option<T>,
    /// Rotated: not valid from then on.
    pub grace_until: Option<T>,
}

impl State {
    /// Where a key with these stands at `now`.
    pub fn at<T: PartialOrd>(now: T, moments: &Moments<T>) -> Self {
        if moments.revoked {
            Self::Revoked
        } else if moments.not_before.as_ref().is_some_and(|t| now < *t) {
            Self::NotYetValid
        } else if moments.expires_at.as_ref().is_some_and(|t| now >= *t) {
            Self::Expired
        } else {
            match &moments.grace_until {
                Some(until) if now >= *until => Self::Superseded,
                Some(_) => Self::Rotated,
                None => Self::Active,
            }
        }
    }

    /// In words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::NotYetValid => "not yet valid",
            Self::Rotated => "rotated",
            Self::Expired => "expired",
            Self::Superseded => "superseded",
            Self::Revoked => "revoked",
        }
    }

    /// Whether it gets somebody in, or will.
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Active | Self::NotYetValid | Self::Rotated)
    }
}

/// In words, padded as the format asks.
impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.words())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_moment_is_the_first_of_its_state() {
        let open = Moments {
            revoked: false,
            not_before: Some(10),
            expires_at: Some(30),
            grace_until: None,
        };
        let rotated = Moments {
            grace_until: Some(20),
            ..open
        };
        let revoked = Moments {
            revoked: true,
            ..rotated
        };
        let seen = |moments: &Moments<u64>| [9, 10, 19, 20, 29, 30].map(|t| State::at(t, moments));
        use State::{Active, Expired, NotYetValid, Revoked, Rotated, Superseded};
        assert_eq!(
            seen(&open),
            [NotYetValid, Active, Active, Active, Active, Expired]
        );
        assert_eq!(
            seen(&rotated),
            [
                NotYetValid,
                Rotated,
                Rotated,
                Superseded,
                Superseded,
                Expired
            ]
        );
        assert_eq!(seen(&revoked), [Revoked; 6]);
    }
}

//! When a token is good: its times as one value, so that what was judged once need only be looked at by the clock again.

use std::time::Duration;

use crate::claims::Claims;
use crate::reason::Code;
use crate::time::UnixTime;

/// The time in which a token is good. All that its provider says beside this holds whatever the clock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    /// The first moment of its life.
    from: UnixTime,
    /// The first moment after it.
    until: UnixTime,
    /// As counted from `iat`, where a provider does.
    age_from: UnixTime,
    age_until: UnixTime,
}

impl Validity {
    /// At any time.
    pub(crate) const ALWAYS: Self = Self {
        from: UnixTime::MIN,
        until: UnixTime::MAX,
        age_from: UnixTime::MIN,
        age_until: UnixTime::MAX,
    };

    /// Leeway and registered times, as every kind of token has them. RFC 7519 section 4.1.4: `exp` is the first moment that
    /// the token is *not* valid any more; the leeway moves it out.
    ///
    /// # Errors
    /// [`Code::MissingExpiry`].
    pub(crate) fn of(
        claims: &Claims,
        skew: Duration,
        allow_missing_exp: bool,
    ) -> Result<Self, Code> {
        let until = match claims.expires_at() {
            Some(exp) => exp + skew,
            None if allow_missing_exp => UnixTime::MAX,
            None => return Err(Code::MissingExpiry),
        };
        let from = claims.not_before().map_or(UnixTime::MIN, |nbf| nbf - skew);
        Ok(Self {
            from,
            until,
            ..Self::ALWAYS
        })
    }

    /// And not issued in the future.
    ///
    /// # Errors
    /// [`Code::MalformedClaims`] without `iat`.
    pub(crate) fn issued_in_the_past(self, claims: &Claims, skew: Duration) -> Result<Self, Code> {
        let issued = claims.issued_at().ok_or(Code::MalformedClaims)?;
        Ok(self.aged(issued - skew, UnixTime::MAX))
    }

    /// And issued no longer ago than that, nor in the future. Without `iat` it is too old at any time.
    pub(crate) fn no_older_than(self, max_age: Duration, claims: &Claims, skew: Duration) -> Self {
        match claims.issued_at() {
            // At that age it is still good.
            Some(issued) => self.aged(
                issued - skew,
                issued + max_age + skew + Duration::from_millis(1),
            ),
            None => self.aged(UnixTime::MIN, UnixTime::MIN),
        }
    }

    const fn aged(self, age_from: UnixTime, age_until: UnixTime) -> Self {
        Self {
            age_from,
            age_until,
            ..self
        }
    }

    /// Whether now is the time.
    ///
    /// # Errors
    /// [`Code::Expired`], [`Code::NotYetValid`], [`Code::TooOld`].
    pub(crate) fn check(&self, now: UnixTime) -> Result<(), Code> {
        match now {
            now if now >= self.until => Err(Code::Expired),
            now if now < self.from => Err(Code::NotYetValid),
            now if now >= self.age_until => Err(Code::TooOld),
            now if now < self.age_from => Err(Code::NotYetValid),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const SKEW: Duration = Duration::from_secs(30);

    fn claims(claims: serde_json::Value) -> Claims {
        Claims::read(claims.to_string().as_bytes(), 16).unwrap()
    }

    fn at(validity: &Validity, millis: u64) -> Result<(), Code> {
        validity.check(UnixTime::from_millis(millis))
    }

    #[test]
    fn from_nbf_to_exp_with_leeway() {
        let v = Validity::of(&claims(json!({"nbf": 1000, "exp": 2000})), SKEW, false).unwrap();
        assert_eq!(at(&v, 969_999), Err(Code::NotYetValid));
        assert_eq!(at(&v, 970_000), Ok(()));
        assert_eq!(at(&v, 2_029_999), Ok(()));
        assert_eq!(at(&v, 2_030_000), Err(Code::Expired));
        // Turned around it is good at no time.
        let v = Validity::of(&claims(json!({"nbf": 2000, "exp": 1000})), SKEW, false).unwrap();
        assert_eq!(at(&v, 1_029_999), Err(Code::NotYetValid));
        assert_eq!(at(&v, 1_030_000), Err(Code::Expired));
    }

    #[test]
    fn an_absent_exp_has_to_be_allowed() {
        let none = claims(json!({}));
        assert_eq!(
            Validity::of(&none, SKEW, false).err(),
            Some(Code::MissingExpiry)
        );
        let v = Validity::of(&none, SKEW, true).unwrap();
        assert_eq!(at(&v, 0), Ok(()));
        assert_eq!(at(&v, u64::MAX - 1), Ok(()));
    }

    #[test]
    fn an_early_nbf_does_not_wrap_around() {
        let v = Validity::of(&claims(json!({"nbf": 1, "exp": u64::MAX})), SKEW, false).unwrap();
        assert_eq!(at(&v, 0), Ok(()));
    }

    #[test]
    fn age_counts_from_iat() {
        let token = claims(json!({"iat": 1000, "exp": 5000}));
        let v = Validity::of(&token, SKEW, false).unwrap();
        let v = v.no_older_than(Duration::from_secs(100), &token, SKEW);
        assert_eq!(at(&v, 969_999), Err(Code::NotYetValid));
        assert_eq!(at(&v, 970_000), Ok(()));
        assert_eq!(at(&v, 1_130_000), Ok(()));
        assert_eq!(at(&v, 1_130_001), Err(Code::TooOld));
        assert_eq!(at(&v, 5_030_000), Err(Code::Expired));
        let undated = claims(json!({"exp": 5000}));
        let v = Validity::of(&undated, SKEW, false).unwrap();
        let v = v.no_older_than(Duration::from_secs(100), &undated, SKEW);
        assert_eq!(at(&v, 0), Err(Code::TooOld));
        assert_eq!(at(&v, 1_000_000), Err(Code::TooOld));
        assert_eq!(at(&v, 5_030_000), Err(Code::Expired));
    }

    #[test]
    fn nothing_is_issued_tomorrow() {
        let token = claims(json!({"iat": 1000, "exp": 5000}));
        let v = Validity::of(&token, SKEW, false).unwrap();
        let v = v.issued_in_the_past(&token, SKEW).unwrap();
        assert_eq!(at(&v, 969_999), Err(Code::NotYetValid));
        assert_eq!(at(&v, 970_000), Ok(()));
        let undated = claims(json!({"exp": 5000}));
        let v = Validity::of(&undated, SKEW, false).unwrap();
        assert_eq!(
            v.issued_in_the_past(&undated, SKEW).err(),
            Some(Code::MalformedClaims)
        );
    }
}

//! The two ways a request's date is written.

use crate::time::UnixTime;

/// A date as signers write it: `YYYYMMDDTHHMMSSZ` (ISO 8601, basic format), and the moment it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AmzDate {
    text: String,
    at: UnixTime,
}

impl AmzDate {
    /// Reads the value of `X-Amz-Date`.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (date, rest) = text.split_first_chunk::<8>()?;
        let (time, rest) = rest.strip_prefix(b"T")?.split_first_chunk::<6>()?;
        if rest != b"Z" {
            return None;
        }
        let ([y1, y2, m, d], [h, min, s]) = (pairs(date)?, pairs(time)?);
        Self::new(i16::from(y1) * 100 + i16::from(y2), m, d, h, min, s)
    }

    /// Reads the value of `Date`: an IMF-fixdate (RFC 9110 section 5.6.7), as `Sun, 30 Aug 2015 12:36:00 GMT`, or the above.
    pub fn parse_http(text: &[u8]) -> Option<Self> {
        const MONTHS: [&[u8; 3]; 12] = [
            b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov",
            b"Dec",
        ];
        if let Some(date) = Self::parse(text) {
            return Some(date);
        }
        let mut words = text.split(|b| *b == b' ');
        let mut next = || words.next();
        let (weekday, day, month, year, time, zone) =
            (next()?, next()?, next()?, next()?, next()?, next()?);
        if next().is_some() || zone != b"GMT" || !weekday.ends_with(b",") {
            return None;
        }
        let [day] = pairs(<&[u8; 2]>::try_from(day).ok()?)?;
        let month = MONTHS.iter().position(|m| *m == month)?;
        let [y1, y2] = pairs(<&[u8; 4]>::try_from(year).ok()?)?;
        let [h1, h2, b':', m1, m2, b':', s1, s2] = time else {
            return None;
        };
        let [h, min, s] = pairs(&[*h1, *h2, *m1, *m2, *s1, *s2])?;
        let year = i16::from(y1) * 100 + i16::from(y2);
        Self::new(year, u8::try_from(month + 1).ok()?, day, h, min, s)
    }

    fn new(year: i16, month: u8, day: u8, hour: u8, minute: u8, second: u8) -> Option<Self> {
        let small = |n: u8| i8::try_from(n).ok();
        let civil = jiff::civil::DateTime::new(
            year,
            small(month)?,
            small(day)?,
            small(hour)?,
            small(minute)?,
            small(second)?,
            0,
        )
        .ok()?;
        let seconds = jiff::tz::Offset::UTC.to_timestamp(civil).ok()?.as_second();
        Some(Self {
            text: format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z"),
            // Nothing was signed before 1970.
            at: UnixTime::from_secs(u64::try_from(seconds).ok()?),
        })
    }

    /// `YYYYMMDDTHHMMSSZ`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The day: `YYYYMMDD`.
    pub fn day(&self) -> &str {
        self.text.get(..8).unwrap_or_default()
    }

    /// The moment.
    pub const fn at(&self) -> UnixTime {
        self.at
    }
}

/// Numbers of two digits each.
fn pairs<const N: usize, const D: usize>(digits: &[u8; D]) -> Option<[u8; N]> {
    let mut out = [0; N];
    for (number, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        if !(high.is_ascii_digit() && low.is_ascii_digit()) {
            return None;
        }
        *number = (high - b'0') * 10 + (low - b'0');
    }
    (D == 2 * N).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn dates() {
        let good = AmzDate::parse(b"20150830T123600Z").unwrap();
        assert_eq!(good.at(), UnixTime::from_secs(1_440_938_160));
        assert_eq!(
            (good.as_str(), good.day()),
            ("20150830T123600Z", "20150830")
        );
        let http = AmzDate::parse_http(b"Sun, 30 Aug 2015 12:36:00 GMT").unwrap();
        assert_eq!(http, good);
        assert_eq!(AmzDate::parse_http(b"20150830T123600Z").unwrap(), good);
        assert!(AmzDate::parse(b"20240229T000000Z").is_some());
        for bad in [
            "",
            "20150830",
            "2015-08-30T12:36:00Z",
            "20150830t123600z",
            "20150830T123600",
            "20150830T123600+0000",
            "20150830T123600Zx",
            " 20150830T123600Z",
            "20151301T000000Z",
            "20150832T000000Z",
            "20230229T000000Z",
            "20150830T240000Z",
            "20150830T123660Z",
            "00000101T000000Z",
            "19691231T235959Z",
            "1440938160",
            "2015083+T123600Z",
            "Sun, 30 Aug 2015 12:36:00 +0000",
            "Sun, 30 aug 2015 12:36:00 GMT",
            "Sun 30 Aug 2015 12:36:00 GMT",
            "Sun, 30 Aug 15 12:36:00 GMT",
            "Sun, 30 Aug 2015 12:36 GMT",
        ] {
            assert_eq!(AmzDate::parse_http(bad.as_bytes()), None, "{bad}");
        }
    }
}

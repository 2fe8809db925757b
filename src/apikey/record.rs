//! What is kept of a key: one record, the same in the plugin configuration, in a key file and in a feed.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use super::bucket::RateLimit;
use super::format::{ApiKey, KeyId};

/// One key's record, checked.
#[derive(Clone, Debug)]
pub struct Record {
    /// The id in the key.
    pub id: KeyId,
    /// The digest of the whole key.
    pub digest: KeyDigest,
    /// Which agents it is good for.
    pub scope: ScopeKind,
    /// The agent's, workspace's, organisation's or user's name.
    pub scope_name: String,
    /// Who answers for it.
    pub owner: Option<String>,
    /// When it was made, in seconds since the epoch; where that is not known, when it becomes valid; else 0.
    pub born: u64,
    /// Not valid before, in seconds; 0 for no such bound.
    pub not_before: u64,
    /// Not valid from then on, in seconds. `None` only if the record says `never` in so many words.
    pub expires_at: Option<u64>,
    /// Rotated: not valid from then on, in seconds.
    pub grace_until: Option<u64>,
    /// Revoked, whenever that was: the clock that wrote the record may be ahead of this one.
    pub revoked: bool,
    /// Its rate limit.
    pub rate_limit: Option<RateLimit>,
    /// The methods it is good for; `None` for all.
    pub methods: Option<Vec<String>>,
}

/// What a key is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScopeKind {
    /// One agent.
    Agent,
    /// The agents of a workspace.
    Workspace,
    /// The agents of an organisation.
    Org,
    /// The agents that a user owns.
    User,
}

impl ScopeKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Agent, Self::Workspace, Self::Org, Self::User];

    /// The member of `scope` in a record.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Workspace => "workspace",
            Self::Org => "org",
            Self::User => "user",
        }
    }
}

/// What a key's secret is recognised by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum KeyDigest {
    /// SHA-256 of the whole key. Enough for 256 random bits: there is no dictionary to try.
    Sha256([u8; 32]),
    /// HMAC-SHA-256 (RFC 2104) of the whole key under the pepper: worthless to whoever reads the records only.
    HmacSha256([u8; 32]),
}

impl KeyDigest {
    /// Reads `sha256:…` or `hmac-sha256:…` with 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let (algorithm, hex) = text.split_once(':')?;
        let digits = hex.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let mut out = [0; 32];
        for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |c: &u8| char::from(*c).to_digit(16);
            let (high, low) = match pair {
                [high, low] => digit(high).zip(digit(low))?,
                _ => return None,
            };
            *byte = (high * 16 + low) as u8;
        }
        match algorithm {
            "sha256" => Some(Self::Sha256(out)),
            "hmac-sha256" => Some(Self::HmacSha256(out)),
            _ => None,
        }
    }

    /// The digest of a key: with a pepper HMAC-SHA-256, without SHA-256.
    pub fn of(key: &str, pepper: Option<&Pepper>) -> Self {
        match pepper {
            None => Self::Sha256(Sha256::digest(key.as_bytes()).into()),
            Some(pepper) => Self::HmacSha256(pepper.digest(key)),
        }
    }

    /// A digest that no key has, to be compared with in place of one that is not there.
    pub const fn nobodys(pepper: Option<&Pepper>) -> Self {
        match pepper {
            None => Self::Sha256([0; 32]),
            Some(_) => Self::HmacSha256([0; 32]),
        }
    }

    /// Whether this is the digest of that key; in constant time. One digest is made, whatever the answer.
    pub fn is_of(&self, key: &ApiKey<'_>, pepper: Option<&Pepper>) -> bool {
        let (mine, theirs): (&[u8; 32], [u8; 32]) = match (self, pepper) {
            (Self::Sha256(mine), _) => (mine, Sha256::digest(key.text().as_bytes()).into()),
            (Self::HmacSha256(mine), Some(pepper)) => (mine, pepper.digest(key.text())),
            // Refused when the configuration was loaded, or a feed's record that can't be judged.
            (Self::HmacSha256(_), None) => return false,
        };
        mine.ct_eq(&theirs).into()
    }

    /// Whether a pepper is needed to recognise the key.
    pub const fn is_peppered(&self) -> bool {
        matches!(self, Self::HmacSha256(_))
    }
}

/// As [`KeyDigest::parse`] reads it.
impl fmt::Display for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, bytes) = match self {
            Self::Sha256(bytes) => ("sha256", bytes),
            Self::HmacSha256(bytes) => ("hmac-sha256", bytes),
        };
        write!(f, "{name}:")?;
        bytes.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sha256(_) => "Sha256(…)",
            Self::HmacSha256(_) => "HmacSha256(…)",
        })
    }
}

/// A secret of the operator's that goes into every digest and is kept apart from the records.
#[derive(Clone)]
pub struct Pepper(Hmac<Sha256>);

impl Pepper {
    /// From its text. `None` for one that can be guessed: fewer than 16 bytes.
    pub fn new(text: &str) -> Option<Self> {
        if text.len() < 16 {
            return None;
        }
        // An HMAC takes a key of any length.
        Hmac::new_from_slice(text.as_bytes()).ok().map(Self)
    }

    fn digest(&self, key: &str) -> [u8; 32] {
        let mut mac = self.0.clone();
        mac.update(key.as_bytes());
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pepper(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const KEY: &str = "gak_Ab3dEf6hIj9k_zYxWvUtSrQpOnMlKjIhGfEdCbA9876543210zYxWvUt_0h1kyk";
    const OTHER: &str = "gak_000000000000_0000000000000000000000000000000000000000000_0iKbHW";
    /// Made with Python's hashlib and hmac.
    const SHA256: &str = "sha256:d530ecbb4eb516e62f3a6007b2ea6d89938ad198dba9fdc8a37fe6bdef5ae7b9";
    const HMAC: &str =
        "hmac-sha256:affc2d176abe7b499a2390ef8b8ffd5a854327ae9cec13ad940a9762a8579927";
    const PEPPER: &str = "a pepper of some length";

    #[test]
    fn digests_of_another_implementation() {
        let pepper = Pepper::new(PEPPER).unwrap();
        assert_eq!(KeyDigest::of(KEY, None).to_string(), SHA256);
        assert_eq!(KeyDigest::of(KEY, Some(&pepper)).to_string(), HMAC);
        let key = ApiKey::parse(KEY, "gak").unwrap();
        let other = ApiKey::parse(OTHER, "gak").unwrap();
        for text in [SHA256, HMAC] {
            let digest = KeyDigest::parse(text).unwrap();
            assert!(digest.is_of(&key, Some(&pepper)), "{text}");
            assert!(!digest.is_of(&other, Some(&pepper)), "{text}");
        }
        let peppered = KeyDigest::parse(HMAC).unwrap();
        assert!(!peppered.is_of(&key, None));
        let wrong = Pepper::new("another pepper, as long").unwrap();
        assert!(!peppered.is_of(&key, Some(&wrong)));
    }

    #[test]
    fn what_is_no_digest() {
        for text in [
            "",
            "sha256",
            "sha256:",
            &SHA256[..70],
            &SHA256[7..],
            &SHA256.replace("sha256:", "md5:"),
            &format!("{SHA256}0"),
            &SHA256.replace("sha256:0", "sha256:+"),
            &format!("sha256:{}", "é".repeat(32)),
        ] {
            if text != SHA256 {
                assert_eq!(KeyDigest::parse(text), None, "{text}");
            }
        }
        assert!(Pepper::new("fifteen letters").is_none());
    }

    #[test]
    fn nothing_shows() {
        let digest = KeyDigest::parse(SHA256).unwrap();
        assert!(!format!("{digest:?} {:?}", Pepper::new(PEPPER)).contains(&SHA256[7..20]));
        assert!(!format!("{:?}", Pepper::new(PEPPER)).contains("some"));
    }
}

//! What can be wrong with a configuration: values first, one wording for the filter's log, `portcullis check` and
//! the tests.

use std::fmt;

use crate::glob::GlobErrorKind;
use crate::jose::jwks::KeySetError;
use crate::url::UrlError;

/// One thing that keeps a configuration from being used.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigError {
    /// Where: `auth.providers[1].settings.audience`, or empty for the document as a whole.
    pub path: String,
    /// What is wrong.
    pub problem: Problem,
}

/// Everything that keeps a configuration from being used: all of it, not just the first. Never empty.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

/// What is wrong at one place of a configuration. `Display` says it with its remedy and never
/// quotes a secret.
#[derive(Clone, Debug, PartialEq)]
pub enum Problem {
    /// There is no text at all.
    NoText,
    /// Not JSON; line and column from 1.
    NotJson {
        /// Line of the first error.
        line: usize,
        /// Column of the first error.
        column: usize,
    },
    /// Nested deeper than any configuration is.
    TooDeep,
    /// A key stands twice in one object, so that one of its values would be lost.
    DuplicateKey,
    /// A block stands in the VM configuration as well as in the plugin configuration.
    InBoth,
    /// Nobody knows what proxy this is.
    UnknownHost,
    /// Written for one proxy, loaded by another.
    OtherHost {
        /// The proxy that it runs in.
        here: &'static str,
    },
    /// No place that nginx could connect to.
    BadUpstream,
    /// A key that means nothing here.
    UnknownKey {
        /// The known key that was probably meant.
        nearest: Option<&'static str>,
        /// What is known here.
        known: &'static [&'static str],
    },
    /// A provider type that this version does not have.
    UnknownProvider {
        /// The type as written, shortened.
        written: String,
        /// The type that was probably meant.
        nearest: Option<&'static str>,
        /// The types there are.
        offered: &'static [&'static str],
    },
    /// A required key is not there.
    Missing,
    /// Another type of value.
    WrongType {
        /// What is wanted.
        expected: &'static str,
        /// What is there; `nothing` for null.
        found: &'static str,
    },
    /// Not one of the words that can stand here.
    NotAChoice {
        /// The words that can.
        choices: &'static [&'static str],
        /// The one that was probably meant.
        nearest: Option<&'static str>,
    },
    /// An empty string.
    EmptyString,
    /// A list without entries where that can't have been meant.
    EmptyList,
    /// Not a duration.
    BadDuration,
    /// A number or duration outside its bounds.
    OutOfRange {
        /// The least value, as it would be written.
        min: String,
        /// The greatest value, as it would be written.
        max: String,
    },
    /// A glob that is not one.
    BadGlob(GlobErrorKind),
    /// Two providers of one name.
    DuplicateName {
        /// Where the name stands first.
        first: String,
    },
    /// A provider's name with other characters, or too long.
    BadName,
    /// Not a URL that can be called.
    BadUrl(UrlError),
    /// An issuer with a query (OpenID Connect Discovery 1.0 section 2 forbids it).
    IssuerQuery,
    /// Two keys that exclude each other.
    Conflict {
        /// The other key.
        with: &'static str,
    },
    /// A key set that can't be used.
    KeySet(KeySetError),
    /// Not a claim's name or JSON pointer.
    BadClaimPath,
    /// None of some keys, of which one at least is needed.
    NoneOf {
        /// The keys.
        keys: &'static [&'static str],
    },
    /// None, or more than one, of some keys that exclude each other.
    NotExactlyOneOf {
        /// The keys.
        keys: &'static [&'static str],
    },
    /// An environment variable that is not set or empty.
    MissingVariable {
        /// Its name.
        name: String,
    },
    /// Not the SHA-256 of anything, as 64 hexadecimal digits.
    BadDigest,
    /// The SHA-256 of the empty string.
    DigestOfNothing,
    /// A token with characters that no header can carry.
    BadToken,
    /// Not an AWS access key id.
    BadAccessKeyId,
    /// An access key id that stands twice.
    DuplicateAccessKeyId {
        /// Where it stands first.
        first: String,
    },
    /// A secret access key with characters that none has.
    BadSecretKey,
    /// A region or service that no credential scope could have.
    BadScopePart,
    /// A name with control characters, or an endless one.
    BadIdentity,
    /// Not `METHOD /path`.
    BadSkipRule,
    /// A skip rule's path that is not canonical, so no request could ever match it.
    PathNotCanonical,
    /// A skip rule with a wildcard.
    SkipWildcard,
    /// An agent template that is not one.
    BadTemplate(TemplateProblem),
    /// Not an agent's name.
    BadAgentName,
    /// `agents:` without anything that names a request's agent.
    NoAgentResolver,
    /// Not a header field's name in lower case.
    BadHeaderName,
    /// A header prefix that does not end in `-`.
    PrefixWithoutHyphen,
    /// A header that the filter removes or that carries the credential.
    ReservedHeader,
    /// Not `host` or `host:port`.
    BadAuthority,
    /// Something that means nothing without another key.
    Needs {
        /// The other key.
        key: &'static str,
    },
    /// Not the name of an AWS region.
    BadRegion,
    /// Not an AWS account's number.
    BadAwsAccount,
    /// A token prefix that could be anything's.
    BadTokenPrefix,
    /// Not the value of a header, or one with several spellings.
    BadHeaderValue,
    /// An endpoint with a path of its own.
    EndpointWithPath,
    /// Not the id of a tenant or an application.
    BadGuid,
    /// Not the numeric id of a repository or its owner.
    BadNumericId,
    /// Not the id of an API key.
    BadKeyId,
    /// Not the digest of an API key.
    BadKeyDigest,
    /// A time after the year 9999.
    Milliseconds,
    /// A key that does not say when it ends.
    NoExpiry,
    /// A name with control characters, white space around it, or too long.
    BadText,
    /// Not a method in capitals.
    BadMethod,
    /// Two records of one id.
    DuplicateKeyId {
        /// The id.
        id: String,
    },
    /// Not the prefix of API keys.
    BadKeyPrefix,
    /// A prefix that another provider's keys have.
    KeyPrefixTaken {
        /// Where it stands first, or would stand.
        first: String,
    },
    /// A record with a peppered digest, and no pepper.
    NoPepper {
        /// The record's id.
        id: String,
    },
    /// A record without `created_at` where a greatest lifetime is set.
    NoBirth {
        /// The record's id.
        id: String,
    },
    /// A pepper that can be guessed.
    ShortPepper,
    /// Not a scope of OAuth 2.0.
    BadScope,
    /// A provider that nothing is left for.
    NeverAsked {
        /// The provider that takes everything.
        first: String,
    },
}

/// What is wrong with an agent template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TemplateProblem {
    /// `{agent}` is missing, or there more than once, or only a part of a segment or label.
    Placeholder,
    /// A path template that is no canonical path.
    Path,
    /// A host template that is no host name, or nothing but `{agent}`.
    Host,
}

impl ConfigError {
    /// The configuration says that it is for another proxy than this one.
    pub fn other_host(here: &'static str) -> Self {
        Self {
            path: "host".to_owned(),
            problem: Problem::OtherHost { here },
        }
    }

    /// The configuration leaves it to the filter to find out what the proxy is, and it could not.
    pub fn unknown_host() -> Self {
        Self {
            path: "host".to_owned(),
            problem: Problem::UnknownHost,
        }
    }
}

impl ConfigErrors {
    /// The first of them, as users see it.
    pub(crate) fn first(&self) -> String {
        self.0.first().map(ToString::to_string).unwrap_or_default()
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", place(&self.path), self.problem)
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// A path as messages begin with it.
pub(super) fn place(path: &str) -> &str {
    if path.is_empty() {
        "configuration"
    } else {
        path
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoText => f.write_str("is empty; give the plugin a configuration with an `auth` block"),
            Self::NotJson { line, column } => {
                write!(f, "is not JSON from line {line}, column {column} on")
            }
            Self::TooDeep => f.write_str("is nested too deeply"),
            Self::DuplicateKey => f.write_str("stands twice; keep one"),
            Self::InBoth => f.write_str(
                "stands in the VM configuration as well as in the plugin configuration; keep one of them",
            ),
            Self::UnknownHost => f.write_str(
                "this proxy answers neither as Envoy nor as nginx does; write `envoy` or `nginx`, whichever it is built on",
            ),
            Self::OtherHost { here } => write!(f, "this is {here}; write `{here}`, or `auto`"),
            Self::BadUpstream => f.write_str(
                "is no place that nginx can connect to: write `host:port` with a port from 1 to 65535, or `unix:/path.sock`",
            ),
            Self::UnknownKey { nearest: Some(key), .. } => {
                write!(f, "unknown key; did you mean `{key}`?")
            }
            Self::UnknownKey { nearest: None, known } => {
                write!(f, "unknown key; known here: {}", known.join(", "))
            }
            Self::UnknownProvider { written, nearest, offered } => {
                write!(f, "this version does not offer the provider type `{written}`; ")?;
                match nearest {
                    Some(nearest) => write!(f, "did you mean `{nearest}`?"),
                    None => write!(f, "it offers {}", offered.join(", ")),
                }
            }
            Self::Missing => f.write_str("is required"),
            Self::WrongType { expected, found: "nothing" } => {
                write!(f, "has no value; write {expected}, or leave the key out")
            }
            Self::WrongType { expected, found } => write!(f, "must be {expected}, not {found}"),
            Self::NotAChoice { nearest: Some(choice), .. } => {
                write!(f, "unknown value; did you mean `{choice}`?")
            }
            Self::NotAChoice { nearest: None, choices } => {
                write!(f, "unknown value; must be one of {}", choices.join(", "))
            }
            Self::EmptyString => f.write_str("must not be an empty string"),
            Self::EmptyList => f.write_str("must not be empty; add an entry or leave the key out"),
            Self::BadDuration => f.write_str("is not a duration; write it like `30s`, `15m`, `1h30m` or `500ms`"),
            Self::OutOfRange { min, max } => write!(f, "must be between {min} and {max}"),
            Self::BadGlob(kind) => write!(f, "is not a glob: {kind}"),
            Self::DuplicateName { first } => {
                write!(f, "is taken by {first}; names must be unique")
            }
            Self::BadName => f.write_str("must be 1 to 64 letters, digits, `_` or `-`"),
            Self::BadUrl(error) => write!(f, "is not an absolute URL that can be called: it {error}"),
            Self::IssuerQuery => f.write_str("must not have a query; write the issuer as its tokens' `iss` has it"),
            Self::Conflict { with } => write!(f, "can't stand beside `{with}`; keep one of them"),
            Self::KeySet(error) => write!(f, "is no usable key set: {}", super::key_set::Words(error)),
            Self::BadClaimPath => {
                f.write_str("is neither a claim's name nor a JSON pointer (in which `~` is written `~0`)")
            }
            Self::NoneOf { keys } => write!(f, "needs one of {}", keys.join(", ")),
            Self::NotExactlyOneOf { keys } => {
                write!(f, "needs exactly one of {}", keys.join(", "))
            }
            Self::MissingVariable { name } => {
                write!(f, "the environment variable `{name}` is not set, or empty")
            }
            Self::BadDigest => f.write_str("must be a SHA-256 as 64 hexadecimal digits: `printf %s \"$TOKEN\" | sha256sum`"),
            Self::DigestOfNothing => f.write_str("is the SHA-256 of an empty token; hash the token itself"),
            Self::BadToken => f.write_str("has white space or a character outside ASCII, so no request could carry it"),
            Self::BadAccessKeyId => f.write_str("is not an access key id: 1 to 128 letters, digits, `_` or `-`"),
            Self::DuplicateAccessKeyId { first } => {
                write!(f, "stands in {first} already; every access key id has one secret")
            }
            Self::BadSecretKey => f.write_str(
                "has white space or a character outside ASCII, as no secret access key has; look for a line feed at its end",
            ),
            Self::BadScopePart => f.write_str(
                "is not as credential scopes have it, like `us-east-1` or `execute-api`: letters, digits, `.`, `_` and `-`",
            ),
            Self::BadIdentity => f.write_str("must be at most 2048 bytes without control characters"),
            Self::BadSkipRule => f.write_str("must be `METHOD /path`, as in `GET /healthz`"),
            Self::PathNotCanonical => f.write_str(
                "is not a canonical path, so it could match no request; write it without percent-encoding, `//`, `.` and `..` segments, `;` and query",
            ),
            Self::SkipWildcard => f.write_str("has a wildcard; only exact paths can be skipped, so name each one"),
            Self::BadTemplate(problem) => problem.fmt(f),
            Self::BadAgentName => f.write_str("is not an agent's name: 1 to 128 letters, digits, `.`, `_`, `~` or `-`"),
            Self::NoAgentResolver => f.write_str(
                "could never match, because nothing says which agent a request is for; add a top-level `agent` block",
            ),
            Self::BadHeaderName => f.write_str("is not the name of a header: letters, digits and `-`, in lower case"),
            Self::PrefixWithoutHyphen => f.write_str("must end in `-`, or headers that are not ours would be removed"),
            Self::ReservedHeader => f.write_str("is a header that the filter removes from requests; name another one"),
            Self::Needs { key } => write!(f, "means nothing without `{key}`; add it"),
            Self::BadRegion => f.write_str("is not the name of an AWS region such as `eu-west-1`"),
            Self::BadAwsAccount => f.write_str("is not an AWS account's number of 12 digits; quote it, or leading zeros are lost"),
            Self::BadTokenPrefix => {
                f.write_str("must be 4 to 64 letters, digits, `-`, `_` or `.`, and end in `.`")
            }
            Self::BadHeaderValue => f.write_str("must be 1 to 256 visible ASCII characters without spaces"),
            Self::EndpointWithPath => f.write_str("must have no path or query: callers sign for the path `/`"),
            Self::BadGuid => f.write_str("must be an id such as `aaaabbbb-0000-cccc-1111-dddd2222eeee`, not a name or a domain"),
            Self::BadNumericId => f.write_str("must be a numeric id of at most 20 digits, not a name"),
            Self::BadKeyId => f.write_str("is not the id of a key: the 12 letters and digits after its prefix"),
            Self::BadKeyDigest => f.write_str(
                "must be `sha256:` or `hmac-sha256:` and 64 hexadecimal digits; `portcullis key hash` makes it from a key",
            ),
            Self::Milliseconds => f.write_str("is after the year 9999; times are seconds since 1970, not milliseconds"),
            Self::NoExpiry => f.write_str("is required: seconds since 1970, or `never`"),
            Self::BadText => f.write_str("must be at most 256 bytes, without control characters and white space around it"),
            Self::BadMethod => f.write_str("is not a method in capitals, such as `POST`"),
            Self::DuplicateKeyId { id } => write!(f, "the key {id} stands twice; keep one record"),
            Self::BadKeyPrefix => f.write_str("must be 2 to 16 lower-case letters and digits, a letter first"),
            Self::KeyPrefixTaken { first } => {
                write!(f, "keys with this prefix are {first}'s; give one provider all of them, or each its own prefix")
            }
            Self::NoPepper { id } => write!(f, "the key {id} has a peppered digest; set `pepper_env`"),
            Self::NoBirth { id } => write!(f, "the key {id} has no `created_at`, so `max_ttl` can't be applied to it"),
            Self::ShortPepper => f.write_str("the variable holds fewer than 16 bytes, which can be guessed"),
            Self::BadScope => f.write_str("is not a scope: visible ASCII characters without spaces, `\"` and `\\`"),
            Self::NeverAsked { first } => write!(
                f,
                "would never be asked: {first} takes every token that no other provider recognises; keep one of the two"
            ),
            Self::BadAuthority => f.write_str("must be `host` or `host:port`, in lower case and without a scheme"),
        }
    }
}

impl fmt::Display for TemplateProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Placeholder => {
                "must contain `{agent}` exactly once, as a whole path segment or host label"
            }
            Self::Path => {
                "must be a canonical path such as `/rest/{agent}`, without percent-encoding, `//`, a trailing `/` or a query"
            }
            Self::Host => "must be a host name such as `{agent}.agents.example.com`, without a port",
        })
    }
}

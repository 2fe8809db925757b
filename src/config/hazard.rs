//! What is legal in a configuration but dangerous, in the words that the filter logs and `portcullis check` prints.

use std::fmt;

use super::error::place;

/// Something legal that is probably not what the operator wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Where, as in [`super::ConfigError::path`].
    pub path: String,
    /// What is dangerous about it.
    pub hazard: Hazard,
}

/// What is dangerous about something legal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hazard {
    /// Anyone on earth can get a token from this issuer.
    SharedIssuer {
        /// Whose tokens it issues.
        whose: &'static str,
    },
    /// An allow-list without entries allows everyone.
    EmptyAllowList,
    /// `client_id` waives the audience.
    ClientId,
    /// Tokens that never expire.
    MissingExp,
    /// Keys fetched without TLS by the URL's scheme.
    PlainHttp,
    /// Keys fetched more often than issuers like.
    ShortCacheTtl,
    /// A secret in the configuration's text.
    LiteralSecret,
    /// A secret access key or session token in the configuration's text.
    LiteralSecretKey,
    /// A secret that can be guessed.
    ShortToken,
    /// Bodies that nobody has signed.
    UnsignedPayload,
    /// Audit events go nowhere.
    NoAuditSink,
    /// Callers without a credential are let through.
    NotRequired,
    /// The upstream sees the caller's credential.
    ForwardsCredentials,
    /// Whoever is shown a caller's token can use it here.
    UnboundTokens,
    /// Every AWS principal on earth is let in.
    AnyAwsPrincipal,
    /// A glob that matches nothing that STS says.
    NeverAPrincipal,
    /// STS asked without TLS by the URL's scheme.
    PlainHttpSts,
    /// Every Microsoft tenant on earth is let in.
    AnyTenant,
    /// Repositories known by names that can pass to others.
    NamesOnly,
    /// Repositories of anybody on GitHub.
    AnyOwner,
    /// API keys that never expire.
    EndlessKeys {
        /// How many.
        count: usize,
        /// The id of the first.
        first: String,
    },
    /// A provider of API keys without any.
    NoKeys,
    /// API keys for groups of agents, and no agent is in a group.
    NoAgentsForKeys,
    /// A resource that clients would send tokens to without TLS.
    PlainHttpResource,
    /// A verifier asked without TLS by the URL's scheme.
    PlainHttpVerifier,
    /// A key feed polled without TLS by the URL's scheme.
    PlainHttpFeed,
    /// Audit events in a log that cuts its lines.
    CutAuditLines,
    /// Signed bodies on a host that never shows one in time.
    NoSignedBodies,
    /// More text than nginx takes in one parameter.
    TooLongInline {
        /// Octets, as nginx reads them.
        bytes: usize,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", place(&self.path), self.hazard)
    }
}

impl fmt::Display for Hazard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SharedIssuer { whose } => write!(
                f,
                "this issuer makes tokens for {whose}, and each may name any audience; set `allowed_subjects` or `required_claims`"
            ),
            Self::EmptyAllowList => f.write_str("is empty, so it allows everyone; list some, or leave the key out"),
            Self::ClientId => f.write_str(
                "a token of this client is accepted whatever its audience; prefer to name the audience",
            ),
            Self::MissingExp => f.write_str("tokens without `exp` are accepted for ever; set `max_token_age` too"),
            Self::PlainHttp => f.write_str(
                "is plain http: whoever sits between can replace the keys, unless the proxy's cluster adds TLS",
            ),
            Self::ShortCacheTtl => f.write_str("keys will be fetched every few seconds; a minute or more is kinder to the issuer"),
            Self::LiteralSecret => f.write_str("a secret in the configuration; prefer `token_sha256` or `token_env`"),
            Self::LiteralSecretKey => f.write_str("a secret in the configuration; prefer `secret_env`"),
            Self::UnsignedPayload => {
                f.write_str("whoever stands between a caller and this proxy can replace the bodies of requests that leave them unsigned")
            }
            Self::ShortToken => f.write_str("is shorter than 16 characters and can be guessed"),
            Self::NoAuditSink => f.write_str("is empty, so no request is audited"),
            Self::NotRequired => f.write_str("callers without a credential are let through as anonymous"),
            Self::UnboundTokens => f.write_str(
                "tokens that callers made for another service are accepted here; set `audience` and `require_audience: true` once callers sign it",
            ),
            Self::AnyAwsPrincipal => f.write_str(
                "every principal of every AWS account is let in; set `allowed_principals` or `allowed_accounts`",
            ),
            Self::NeverAPrincipal => f.write_str(
                "matches no caller: principals are whole ARNs, `arn:aws:iam::123456789012:role/NAME` without the role's path, or `arn:aws:sts::123456789012:assumed-role/NAME/SESSION`",
            ),
            Self::PlainHttpSts => f.write_str(
                "is plain http: whoever sits between can say who a caller is, unless the proxy's cluster adds TLS",
            ),
            Self::AnyTenant => f.write_str(
                "every tenant of this cloud is let in, and anybody can make himself one; prefer `allow_multi_tenant` with `allowed_tenants`",
            ),
            Self::NamesOnly => f.write_str(
                "names pass to whoever takes them after a renaming or deletion; add `allowed_owner_ids` or `allowed_repository_ids`",
            ),
            Self::AnyOwner => f.write_str(
                "matches repositories of anybody on GitHub; begin with the owner's name, or add `allowed_owner_ids`",
            ),
            Self::EndlessKeys { count: 1, first } => {
                write!(f, "the key {first} never expires; set `expires_at` or `max_ttl`")
            }
            Self::EndlessKeys { count, first } => {
                write!(f, "{count} keys never expire, {first} the first of them; set `expires_at` or `max_ttl`")
            }
            Self::NoKeys => f.write_str("has no key, so it lets nobody in; `portcullis key create` makes one"),
            Self::NoAgentsForKeys => f.write_str(
                "there are keys for a workspace, an organisation or a user's agents, and no agent belongs to one; they get 403 everywhere",
            ),
            Self::PlainHttpResource => f.write_str("is plain http: clients should send no token to it, and careful ones will not"),
            Self::PlainHttpVerifier => f.write_str(
                "is plain http: whoever sits between sees callers' tokens and can say who a caller is, unless the proxy's cluster adds TLS",
            ),
            Self::PlainHttpFeed => f.write_str(
                "is plain http: whoever sits between sees the token and can say which keys there are, unless the proxy's cluster adds TLS",
            ),
            Self::CutAuditLines => f.write_str(
                "nginx cuts lines of its log at 2047 bytes; prefer `filter_state`, which is the variable $portcullis_audit there",
            ),
            Self::NoSignedBodies => f.write_str(
                "nginx shows no body before a request is decided: requests that sign a body are refused with `body_not_seen`",
            ),
            Self::TooLongInline { bytes } => write!(
                f,
                "is {bytes} bytes, and nginx takes at most about 4,000 in one parameter; move blocks to the VM configuration, and keys to a feed"
            ),
            Self::ForwardsCredentials => f.write_str("every agent behind this proxy can use its callers' credentials elsewhere"),
        }
    }
}

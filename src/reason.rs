//! Why a request was let in or kept out: the coarse `reason`, the fine stable `code`, and the one
//! function that maps them to the wire. `docs/reasons.md` is tested against this file.

use std::fmt;

/// The coarse outcome of a refused request: decides status, challenge and body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// No credential was presented.
    MissingToken,
    /// A credential that no provider of the chain claims.
    NotForMe,
    /// Recognised and genuine, and denied.
    Rejected,
    /// Malformed or not genuine.
    Invalid,
    /// Refused for what it is, whoever sends it.
    BadRequest,
    /// Genuine, but key, provider or identity may not call this agent.
    ForbiddenAgent,
    /// Over its rate limit.
    RateLimited,
    /// A provider that has to be asked can't be reached.
    ProviderUnavailable,
    /// Anything else that kept the filter from deciding.
    Infrastructure,
}

impl Reason {
    /// Every reason, in the order of the documentation.
    pub const ALL: [Self; 9] = [
        Self::MissingToken,
        Self::NotForMe,
        Self::Rejected,
        Self::Invalid,
        Self::BadRequest,
        Self::ForbiddenAgent,
        Self::RateLimited,
        Self::ProviderUnavailable,
        Self::Infrastructure,
    ];

    /// The name in audit events, metrics and documentation.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MissingToken => "missing_token",
            Self::NotForMe => "not_for_me",
            Self::Rejected => "rejected",
            Self::Invalid => "invalid",
            Self::BadRequest => "bad_request",
            Self::ForbiddenAgent => "forbidden_agent",
            Self::RateLimited => "rate_limited",
            Self::ProviderUnavailable => "provider_unavailable",
            Self::Infrastructure => "infrastructure",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal in $reason:ident;)+) => {
        /// The fine outcome of a refused request. Names are stable: alerts and queries use them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code { $($(#[doc = $doc])+ $variant,)+ }

        impl Code {
            /// Every code, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name in audit events, metrics and documentation.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The reason this code belongs to: each code has exactly one.
            pub const fn reason(self) -> Reason {
                match self { $(Self::$variant => Reason::$reason,)+ }
            }

            /// What it means, one sentence, for the documentation and `portcullis explain`.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc,)+),)+ }
            }
        }
    };
}

codes! {
    /// No credential was presented where one is required.
    MissingToken = "missing_token" in MissingToken;
    /// The credential is of a kind, or from an issuer, that no provider of the chain claims.
    NotForMe = "not_for_me" in NotForMe;

    /// The token's `exp` has passed (RFC 7519 section 4.1.4).
    Expired = "expired" in Rejected;
    /// The token's `nbf` lies ahead (RFC 7519 section 4.1.5), or, where `max_token_age` is set, its `iat` does.
    NotYetValid = "not_yet_valid" in Rejected;
    /// The token's `iat` is further back than `max_token_age` allows, or missing where that is set.
    TooOld = "too_old" in Rejected;
    /// None of the configured audiences is in the token's `aud`, and `azp` is not `client_id`.
    AudienceMismatch = "audience_mismatch" in Rejected;
    /// Neither `sub` nor a trusted `email` matches `allowed_subjects`.
    SubjectNotAllowed = "subject_not_allowed" in Rejected;
    /// The e-mail address matches `allowed_subjects` but is not verified.
    EmailNotVerified = "email_not_verified" in Rejected;
    /// A claim demanded by `required_claims` is missing or has another value.
    ClaimNotAllowed = "claim_not_allowed" in Rejected;
    /// The request's signature is genuine but does not cover its body, and `unsigned_payload` is `deny`.
    UnsignedPayload = "unsigned_payload" in Rejected;
    /// The body whose hash is signed is longer than `max_body_bytes`; answered with 413.
    BodyTooLarge = "body_too_large" in Rejected;
    /// The claim that names the caller is missing or not a usable string.
    MissingSubject = "missing_subject" in Rejected;
    /// Neither the caller's ARN nor its role's matches `allowed_principals`.
    PrincipalNotAllowed = "principal_not_allowed" in Rejected;
    /// The caller's AWS account is not in `allowed_accounts`.
    AccountNotAllowed = "account_not_allowed" in Rejected;
    /// The presigned request is good for longer than `max_token_expires`.
    TooLongLived = "too_long_lived" in Rejected;
    /// The presigned request is for an STS endpoint that is not configured: another region, or none of AWS's.
    ForeignStsEndpoint = "foreign_sts_endpoint" in Rejected;
    /// The presigned request does not sign the header that binds it to this audience, and `require_audience` is set.
    MissingAudience = "missing_audience" in Rejected;
    /// The request's organisation header names another organisation than the verifier does for its caller, or several.
    OrgMismatch = "org_mismatch" in Rejected;
    /// The token's `iss` is not one that a token of its tenant, or in its header, has.
    IssuerMismatch = "issuer_mismatch" in Rejected;
    /// The token's tenant (`tid`) is not one of the provider's.
    TenantNotAllowed = "tenant_not_allowed" in Rejected;
    /// The calling application is not in `allowed_apps`.
    AppNotAllowed = "app_not_allowed" in Rejected;
    /// The token's `idtyp` is missing or not the one demanded.
    TokenTypeNotAllowed = "token_type_not_allowed" in Rejected;
    /// The calling application did not authenticate, and `require_confidential_client` is set.
    PublicClient = "public_client" in Rejected;
    /// The repository or its owner is not allowed by `allowed_repositories`, `allowed_repository_ids` and `allowed_owner_ids`.
    RepositoryNotAllowed = "repository_not_allowed" in Rejected;
    /// The token's `ref` is missing or not in `allowed_refs`.
    RefNotAllowed = "ref_not_allowed" in Rejected;
    /// The token's `environment` is missing or not in `allowed_environments`.
    EnvironmentNotAllowed = "environment_not_allowed" in Rejected;
    /// The token's `job_workflow_ref`, or `workflow_ref` where it has none, is not in `allowed_workflows`.
    WorkflowNotAllowed = "workflow_not_allowed" in Rejected;
    /// The token's `event_name` is missing or not in `allowed_events`.
    EventNotAllowed = "event_not_allowed" in Rejected;
    /// The token's `sub` tells of another repository, ref or environment than its other claims.
    SubjectMismatch = "subject_mismatch" in Rejected;
    /// Whoever had to be asked about the credential says that it is not genuine, or not valid; `detail` has their error code.
    RejectedUpstream = "rejected_upstream" in Rejected;

    /// No API key of that id is in force here.
    UnknownKey = "unknown_key" in Rejected;
    /// There is an API key of that id, but this is not its secret.
    WrongKey = "wrong_key" in Rejected;
    /// The API key's `not_before` lies ahead.
    KeyNotYetValid = "key_not_yet_valid" in Rejected;
    /// The API key's `expires_at` has passed, or the provider's `max_ttl` since it was made.
    KeyExpired = "key_expired" in Rejected;
    /// The API key was rotated, and its `grace_until` has passed.
    KeySuperseded = "key_superseded" in Rejected;
    /// The API key was revoked.
    KeyRevoked = "key_revoked" in Rejected;
    /// The key feed's record of this API key can't be read, so nobody knows what it is good for.
    UnreadableKey = "unreadable_key" in Rejected;

    /// More than one `Authorization` header, or two credentials of one kind.
    AmbiguousCredentials = "ambiguous_credentials" in Invalid;
    /// The `Authorization` header is not a credential: no scheme, no token, or bytes a token can't have.
    MalformedAuthorization = "malformed_authorization" in Invalid;
    /// What stands where an API key belongs does not have its form, or its check characters are wrong.
    MalformedKey = "malformed_key" in Invalid;
    /// The credential is longer than `limits.token_bytes`.
    TokenTooLarge = "token_too_large" in Invalid;
    /// Signed with AWS Signature Version 4, but a part is missing, there twice or not as documented.
    MalformedSignature = "malformed_signature" in Invalid;
    /// Signed with another algorithm than `AWS4-HMAC-SHA256`; SigV4A (`AWS4-ECDSA-P256-SHA256`) is not offered.
    UnsupportedSignature = "unsupported_signature" in Invalid;
    /// The payload is signed in chunks (`STREAMING-…`), which is not offered.
    StreamingPayload = "streaming_payload" in Invalid;
    /// `host`, the date or an `x-amz-*` header of the request is not among its signed headers.
    UnsignedHeader = "unsigned_header" in Invalid;
    /// No provider of the chain knows the access key id.
    UnknownAccessKey = "unknown_access_key" in Invalid;
    /// The request is signed for another day, region or service than its date and the provider say.
    ScopeMismatch = "scope_mismatch" in Invalid;
    /// The request was signed longer ago than `clock_skew`, or its `X-Amz-Expires`, allows.
    SignatureExpired = "signature_expired" in Invalid;
    /// The request's date lies further ahead than `clock_skew` allows.
    SignatureNotYetValid = "signature_not_yet_valid" in Invalid;
    /// `X-Amz-Expires` is more than `max_expires`.
    ExpiresTooLong = "expires_too_long" in Invalid;
    /// The session token is missing, another one, or there for a credential that has none.
    SessionTokenMismatch = "session_token_mismatch" in Invalid;
    /// The body does not have the hash that was signed.
    PayloadMismatch = "payload_mismatch" in Invalid;
    /// Not a compact JWS, or a part is not strict base64url or not strict JSON.
    MalformedToken = "malformed_token" in Invalid;
    /// The JWS header asks for something that is never accepted: `crit`, `b64`, encryption.
    UnsupportedHeader = "unsupported_header" in Invalid;
    /// `alg` is `none`, symmetric, or not one of the accepted ones.
    UnsupportedAlgorithm = "unsupported_algorithm" in Invalid;
    /// A claim has a type or a value that RFC 7519 does not allow.
    MalformedClaims = "malformed_claims" in Invalid;
    /// The token has no `exp` and `allow_missing_exp` is not set.
    MissingExpiry = "missing_expiry" in Invalid;
    /// The token has no `kid` and the key set does not single out one key without it.
    MissingKid = "missing_kid" in Invalid;
    /// The issuer's current key set has no key of that `kid`.
    UnknownKid = "unknown_kid" in Invalid;
    /// The key's type, curve, `alg`, `use` or `key_ops` disagrees with the token's header.
    KeyMismatch = "key_mismatch" in Invalid;
    /// The key signs for another issuer than the token's (Microsoft's `issuer` member of a key).
    KeyIssuerMismatch = "key_issuer_mismatch" in Invalid;
    /// The signature does not verify.
    BadSignature = "bad_signature" in Invalid;
    /// The presigned request in the token is not one of `GetCallerIdentity`, exactly as documented.
    MalformedPresignedUrl = "malformed_presigned_url" in Invalid;
    /// The presigned request signs more, or less, than it may: `host`, and the header that binds it to its audience.
    UnexpectedSignedHeaders = "unexpected_signed_headers" in Invalid;

    /// The provider that vouched for the caller may not do so for this agent, or the API key is bound to another one.
    ForbiddenAgent = "forbidden_agent" in ForbiddenAgent;
    /// The provider or the API key is bound to agents, and the request names none.
    UnknownAgent = "unknown_agent" in ForbiddenAgent;
    /// The API key may not be used with this method.
    MethodNotAllowed = "method_not_allowed" in ForbiddenAgent;

    /// The API key is over its rate limit.
    RateLimited = "rate_limited" in RateLimited;
    /// Too many wrong API keys came from this address within a minute (`limits.key_failures`), and this is another one.
    TooManyFailures = "too_many_failures" in RateLimited;

    /// The issuer's keys are not there and can't be fetched.
    KeysUnavailable = "keys_unavailable" in ProviderUnavailable;
    /// Whoever has to be asked about the credential (STS, a verifier) can't be reached, or gives no usable answer.
    LookupUnavailable = "lookup_unavailable" in ProviderUnavailable;
    /// The key feed has not been read completely since the worker started, and can't be reached or gives no usable answer.
    FeedUnavailable = "feed_unavailable" in ProviderUnavailable;
    /// The key feed has given no usable answer for longer than `max_staleness`, so nobody knows what was revoked meanwhile.
    FeedStale = "feed_stale" in ProviderUnavailable;

    /// The request brings an identity header of ours, in whatever spelling, and this proxy can't remove it; answered with 400.
    IdentityHeader = "identity_header" in BadRequest;
    /// The request has as many header fields as this proxy shows at most, so that there may be more; answered with 400.
    TooManyHeaders = "too_many_headers" in BadRequest;

    /// The request ended (client gone, stream reset) before a decision was made.
    Cancelled = "cancelled" in Infrastructure;
    /// A body had to be hashed and was not shown: on Envoy `allow_on_headers_stop_iteration` may be missing, on nginx no body ever is.
    BodyNotSeen = "body_not_seen" in Infrastructure;
    /// A host call failed that the decision needed.
    HostFailure = "host_failure" in Infrastructure;
    /// The filter holds as many waiting requests as `limits.waiting_requests` allows.
    TooManyWaiting = "too_many_waiting" in Infrastructure;
    /// The filter has as many questions open as `limits.lookups_in_flight` allows.
    TooManyLookups = "too_many_lookups" in Infrastructure;
    /// No usable configuration is in force (hosts that can't refuse one).
    NoPolicy = "no_policy" in Infrastructure;
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

//! The providers of a chain, and what each of them is told: a struct for each kind.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use crate::apikey::KeyTable;
use crate::apikey::feed::FeedPolicy;
use crate::apikey::record::Pepper;
use crate::glob::Globs;
use crate::jose::KeyUse;
use crate::jose::jwks::KeySet;
use crate::lookup::Scope;
use crate::provider::jwt::JwtRules;
use crate::provider::static_token;
use crate::url::Url;

/// One link of the chain.
#[derive(Debug)]
pub struct Provider {
    /// Unique in the chain; `[A-Za-z0-9_-]{1,64}`, so that it can stand in a metric's name.
    pub name: Rc<str>,
    /// What it verifies, and how.
    pub kind: ProviderKind,
    /// The agents that identities from this provider may call; `None` means any.
    pub agents: Option<Globs>,
}

/// The kinds of provider.
#[derive(Debug)]
pub enum ProviderKind {
    /// Tokens of an OpenID Connect issuer.
    Oidc(Box<OidcPolicy>),
    /// One opaque token known by its digest.
    StaticToken(StaticTokenPolicy),
    /// Presigned `GetCallerIdentity` requests, which AWS STS says the signer of.
    AwsSigV4(Box<AwsSigV4Policy>),
    /// Requests signed with AWS Signature Version 4.
    SigV4(Box<SigV4Policy>),
    /// Access tokens of Microsoft Entra ID.
    AzureAd(Box<AzurePolicy>),
    /// Assertions of Google's Identity-Aware Proxy, in a header of their own.
    GcpIap(Box<IapPolicy>),
    /// ID tokens of GitHub Actions jobs.
    GithubActions(Box<GithubPolicy>),
    /// API keys.
    ApiKey(Box<ApiKeyPolicy>),
    /// Tokens that a service of the operator's own is asked about.
    HttpVerifier(Box<HttpVerifierPolicy>),
}

impl ProviderKind {
    /// The `type` in the configuration, `provider` in audit events.
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Oidc(_) => "oidc",
            Self::StaticToken(_) => "static_token",
            Self::AwsSigV4(_) => "aws_sigv4",
            Self::SigV4(_) => "sigv4",
            Self::ApiKey(_) => "api_key",
            Self::HttpVerifier(_) => "http_verifier",
            Self::AzureAd(_) => "azure_ad",
            Self::GcpIap(_) => "gcp_iap",
            Self::GithubActions(_) => "github_actions",
        }
    }

    /// The issuer as operators write it, and where its keys come from, of those that judge JWTs. For
    /// Entra ID it is that of the discovery document.
    pub fn issuer_keys(&mut self) -> Option<(String, &mut KeyOrigin)> {
        match self {
            Self::Oidc(oidc) => Some((oidc.issuer.clone(), &mut oidc.keys)),
            Self::AzureAd(azure) => Some((azure.keys_issuer.clone(), &mut azure.keys)),
            Self::GcpIap(iap) => Some((crate::provider::gcp_iap::ISSUER.to_owned(), &mut iap.keys)),
            Self::GithubActions(github) => Some((github.issuer.clone(), &mut github.keys)),
            Self::StaticToken(_)
            | Self::AwsSigV4(_)
            | Self::SigV4(_)
            | Self::ApiKey(_)
            | Self::HttpVerifier(_) => None,
        }
    }

    /// The rules for JWTs, of those that judge any.
    pub(crate) fn jwt_rules(&self) -> Option<&dyn JwtRules> {
        match self {
            Self::Oidc(oidc) => Some(&**oidc),
            Self::AzureAd(azure) => Some(&**azure),
            Self::GcpIap(iap) => Some(&**iap),
            Self::GithubActions(github) => Some(&**github),
            Self::StaticToken(_)
            | Self::AwsSigV4(_)
            | Self::SigV4(_)
            | Self::ApiKey(_)
            | Self::HttpVerifier(_) => None,
        }
    }

    /// The rules for JWTs that come as bearer tokens. Google's assertions come in a header of their own, and are worth
    /// nothing elsewhere.
    pub(crate) fn bearer_rules(&self) -> Option<&dyn JwtRules> {
        match self {
            Self::GcpIap(_) => None,
            kind => kind.jwt_rules(),
        }
    }

    /// Whether a token that is no JWT is this provider's by its looks alone, so that nobody else should see it.
    pub(crate) fn recognises(&self, token: &str) -> bool {
        match self {
            Self::StaticToken(policy) => static_token::knows(policy, token),
            Self::AwsSigV4(policy) => policy.prefix_of(token).is_some(),
            // An API key is told apart before the chain: nobody but its provider is asked.
            Self::Oidc(_)
            | Self::AzureAd(_)
            | Self::GcpIap(_)
            | Self::GithubActions(_)
            | Self::SigV4(_)
            | Self::ApiKey(_)
            | Self::HttpVerifier(_) => false,
        }
    }
}

/// `oidc`: which tokens of one issuer are accepted (OpenID Connect Core 1.0 section 3.1.3.7, RFC 7519).
#[derive(Debug)]
pub struct OidcPolicy {
    /// The issuer as configured, without one trailing `/`. Compare with [`OidcPolicy::owns_issuer`].
    pub issuer: String,
    /// At least one of these must be in `aud`. Never empty, no empty string.
    pub audiences: Vec<String>,
    /// A token whose `aud` fits none of `audiences` is accepted when its `azp` equals this.
    pub client_id: Option<String>,
    /// Where the issuer's keys come from.
    pub keys: KeyOrigin,
    /// How long a fetched key set is fresh.
    pub jwks_cache_ttl: Duration,
    /// Leeway for `exp`, `nbf` and `iat`.
    pub clock_skew: Duration,
    /// Which claim becomes which part of the identity.
    pub claim_map: ClaimMap,
    /// Globs on `sub` (or a trusted `email`); `None` means any subject.
    pub allowed_subjects: Option<Globs>,
    /// The `email` fallback needs `email_verified: true`, not just the absence of `false`.
    pub require_email_verified: bool,
    /// Claims that must be there and match.
    pub required_claims: Vec<(ClaimPath, Globs)>,
    /// `iat` must not be further back than this.
    pub max_token_age: Option<Duration>,
    /// Accept tokens that never expire.
    pub allow_missing_exp: bool,
    /// What the keys must be for.
    pub key_use: KeyUse,
}

impl OidcPolicy {
    /// Whether `iss` names this issuer: equal but for one trailing `/` on either side.
    pub fn owns_issuer(&self, iss: &str) -> bool {
        JwtRules::owns_issuer(self, iss)
    }
}

/// Where an issuer's keys come from.
#[derive(Debug)]
pub enum KeyOrigin {
    /// In the configuration itself.
    Inline(Rc<KeySet>),
    /// Fetched by callout.
    Remote(RemoteKeys),
}

/// A key set that is fetched. Two providers with equal values share one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RemoteKeys {
    /// The issuer, which the discovery document must repeat. As in `OidcPolicy`.
    pub issuer: String,
    /// `{issuer}/.well-known/openid-configuration`, unless `jwks_url` is configured.
    pub discovery: Option<Url>,
    /// The configured `jwks_url`.
    pub jwks: Option<Url>,
    /// How long a fetched key set is fresh. Part of the identity: the shorter one must not be starved.
    pub cache_ttl: Duration,
}

/// Which claim becomes which part of an [`crate::identity::Identity`].
#[derive(Debug)]
pub struct ClaimMap {
    /// Default `sub`.
    pub user_id: ClaimPath,
    /// Default `email`.
    pub email: ClaimPath,
    /// Default `org_id`.
    pub org_id: ClaimPath,
    /// Default `workspace_id`.
    pub workspace_id: ClaimPath,
    /// Default `groups`; an array of strings, or one string.
    pub groups: ClaimPath,
}

/// A claim: a member's name, or a JSON pointer (RFC 6901) when written with a leading `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimPath {
    /// The top-level member of that name.
    Name(String),
    /// A JSON pointer, verbatim.
    Pointer(String),
}

/// `static_token`: an opaque bearer token, held as its digest only.
#[derive(Debug)]
pub struct StaticTokenPolicy {
    /// SHA-256 of each accepted token.
    pub token_sha256: Vec<[u8; 32]>,
    /// Who presents it.
    pub identity: Rc<crate::identity::Identity>,
}

/// `aws_sigv4`: which presigned STS identities are accepted.
#[derive(Debug)]
pub struct AwsSigV4Policy {
    /// Whoever may be asked, by the host that the caller signed for. Never empty.
    pub endpoints: Vec<StsEndpoint>,
    /// What marks a token of ours, each with the header that binds it to us. Never empty.
    pub prefixes: Vec<TokenPrefix>,
    /// The value of that header; `None` accepts no token that signs one.
    pub audience: Option<String>,
    /// Refuse tokens that sign no such header: they could have been made for anybody.
    pub require_audience: bool,
    /// Globs on the caller's ARN, or on the ARN of its role; `None` means any.
    pub allowed_principals: Option<Globs>,
    /// Account numbers; empty means any.
    pub allowed_accounts: Vec<String>,
    /// How long what STS said is remembered.
    pub identity_cache_ttl: Duration,
    /// The longest life a caller may give a token.
    pub max_token_expires: Duration,
    /// Leeway for the time of signing.
    pub clock_skew: Duration,
    /// Names what is asked: two providers that ask the same share the answers.
    pub scope: Scope,
}

/// `http_verifier`: who is asked about a token, and how.
#[derive(Debug)]
pub struct HttpVerifierPolicy {
    /// Where tokens are sent to.
    pub url: Url,
    /// The `org_id` that is asked for when the request names none.
    pub default_org: Option<String>,
    /// The headers (lower case) that a request may name its `org_id` by.
    pub org_headers: Vec<String>,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How long a good answer is remembered.
    pub cache_ttl: Duration,
    /// How long a refusal is remembered.
    pub negative_cache_ttl: Duration,
    /// Names what is asked: two providers that ask the same share the answers.
    pub scope: Scope,
}

/// One STS endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StsEndpoint {
    /// The host that the caller signs for, exactly, such as `sts.eu-west-1.amazonaws.com`.
    pub host: String,
    /// The region of the credential scope.
    pub region: String,
    /// Where the request goes.
    pub url: Url,
}

/// What marks a token, and the header that such a token is bound to its audience by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenPrefix {
    /// Such as `forge-aws-v1.`.
    pub prefix: String,
    /// Lower case, such as `x-portcullis-audience`.
    pub audience_header: String,
}

/// `sigv4`: which signed requests are accepted, and whose secrets sign them.
#[derive(Debug)]
pub struct SigV4Policy {
    /// The service that a request must be signed for.
    pub service: String,
    /// The regions, one of which it must be signed for. Never empty.
    pub regions: Vec<String>,
    /// By access key id. Never empty.
    pub credentials: BTreeMap<String, AccessKey>,
    /// What requests of an unknown access key id are checked with, for the time that it takes.
    pub nobody: AccessKey,
    /// Leeway for the request's date, both ways.
    pub clock_skew: Duration,
    /// The longest life of a presigned request.
    pub max_expires: Duration,
    /// The longest body that is hashed.
    pub max_body_bytes: u64,
    /// Whether a request may leave its body out of its signature.
    pub allow_unsigned_payload: bool,
    /// How the service spells paths.
    pub path_rules: crate::sigv4::canonical::PathRules,
}

/// One access key, and who signs with it.
#[derive(Debug)]
pub struct AccessKey {
    /// The secret access key.
    pub secret: crate::sigv4::signing::Secret,
    /// SHA-256 of the session token that every request must bring; `None` for long-term credentials, which have none.
    pub session_token_sha256: Option<[u8; 32]>,
    /// Who signs.
    pub identity: Rc<crate::identity::Identity>,
}

/// `azure_ad`: which access tokens of Microsoft Entra ID are accepted.
#[derive(Debug)]
pub struct AzurePolicy {
    /// Whose clouds' tenants.
    pub cloud: &'static AzureCloud,
    /// The tenants whose tokens are accepted.
    pub tenants: Tenants,
    /// One of these must be in `aud`. Never empty.
    pub audiences: Vec<String>,
    /// The issuer that the keys' discovery document names, with `{tenantid}` in it for many tenants.
    pub keys_issuer: String,
    /// Where the keys come from.
    pub keys: KeyOrigin,
    /// Leeway for `exp` and `nbf`.
    pub clock_skew: Duration,
    /// Application ids, in lower case; empty means any.
    pub apps: Vec<String>,
    /// What `idtyp` must say.
    pub token_type: Option<AzureTokenType>,
    /// The application must have shown a secret or a certificate.
    pub require_confidential_client: bool,
    /// Where groups are asked for that a token does not hold; `None` asks nobody.
    pub graph: Option<GraphPolicy>,
}

/// One of Microsoft's clouds, which know nothing of each other.
#[derive(Debug, PartialEq, Eq)]
pub struct AzureCloud {
    /// The host of sign-in, of version 2 issuers and of keys.
    pub authority: &'static str,
    /// The host of version 1 issuers.
    pub v1_issuer_host: &'static str,
    /// The host of Microsoft Graph.
    pub graph_host: &'static str,
}

/// Tenants, by their ids in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tenants {
    /// This one.
    One(String),
    /// These.
    Listed(Vec<String>),
    /// Any on earth.
    Any,
}

impl Tenants {
    /// Whether tokens of a tenant are accepted.
    pub fn allow(&self, tenant: &str) -> bool {
        match self {
            Self::One(one) => one == tenant,
            Self::Listed(many) => many.iter().any(|t| t == tenant),
            Self::Any => true,
        }
    }
}

/// `idtyp` of an access token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AzureTokenType {
    /// An application by itself.
    App,
    /// An application on behalf of a user.
    User,
}

impl AzureTokenType {
    /// The claim's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::User => "user",
        }
    }
}

/// Where the groups of a caller are asked for.
#[derive(Debug)]
pub struct GraphPolicy {
    /// Microsoft Graph's host in this cloud.
    pub host: String,
    /// How long a request waits for it.
    pub timeout: Duration,
    /// How long its answer is remembered.
    pub cache_ttl: Duration,
    /// Names what is asked.
    pub scope: Scope,
}

/// `gcp_iap`: which assertions of Google's Identity-Aware Proxy are accepted.
#[derive(Debug)]
pub struct IapPolicy {
    /// One of these must be in `aud`. Never empty.
    pub audiences: Vec<String>,
    /// Google's keys for it.
    pub keys: KeyOrigin,
    /// Leeway for `exp` and `iat`.
    pub clock_skew: Duration,
}

/// `github_actions`: which jobs' ID tokens are accepted. What is `None` or empty allows any; what is not must match.
#[derive(Debug)]
pub struct GithubPolicy {
    /// Without a trailing `/`.
    pub issuer: String,
    /// One of these must be in `aud`. Never empty.
    pub audiences: Vec<String>,
    /// Where the issuer's keys come from.
    pub keys: KeyOrigin,
    /// Leeway for `exp` and `nbf`.
    pub clock_skew: Duration,
    /// Globs on `repository`.
    pub repositories: Option<Globs>,
    /// Values of `repository_id`.
    pub repository_ids: Vec<String>,
    /// Values of `repository_owner_id`.
    pub owner_ids: Vec<String>,
    /// Globs on `ref`.
    pub refs: Option<Globs>,
    /// Globs on `environment`.
    pub environments: Option<Globs>,
    /// Globs on `job_workflow_ref`, or `workflow_ref` in tokens without it.
    pub workflows: Option<Globs>,
    /// Globs on `event_name`.
    pub events: Option<Globs>,
}

/// `api_key`: keys known by their digests.
#[derive(Debug)]
pub struct ApiKeyPolicy {
    /// Header fields that carry a key, in lower case.
    pub headers: Vec<Rc<str>>,
    /// What the keys' first `_` ends: [`crate::apikey::format::is_prefix`].
    pub prefixes: [Rc<str>; 2],
    /// Whether `Authorization: Bearer` may carry a key.
    pub bearer: bool,
    /// The records that stand in the configuration.
    pub keys: Rc<KeyTable>,
    /// Where others come from.
    pub feed: Option<FeedPolicy>,
    /// The longest that a key may live, whatever its record says.
    pub max_ttl: Option<Duration>,
    /// What the peppered digests are made with.
    pub pepper: Option<Pepper>,
}

impl ApiKeyPolicy {
    /// The prefix that a presented text begins with, if it is one of this provider's.
    pub fn prefix_of(&self, text: &str) -> Option<&str> {
        let (written, _) = text.split_once('_')?;
        self.prefixes
            .iter()
            .find(|p| ***p == *written)
            .map(|p| &**p)
    }
}

//! Issuers that many organisations share: what one of their tokens does not say about its bearer.

/// What is known about a well-known issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    /// Whose tokens it issues, when that is not one organisation's only; after "tokens for".
    pub(super) shared_by: Option<&'static str>,
    /// Its `email` can be set by the account's holder, so it counts only with `email_verified: true`.
    pub(super) email_needs_proof: bool,
}

/// Exact issuers, without a trailing `/`. The reason stands where it is not in the text itself.
const EXACT: &[(&str, Known)] = &[
    // Service accounts of every Google Cloud project ask for any audience they like.
    (
        "https://accounts.google.com",
        everyone("every Google account and service account"),
    ),
    (
        "https://accounts.google.com.",
        everyone("every Google account and service account"),
    ),
    (
        "https://login.microsoftonline.com/common/v2.0",
        everyone("every Microsoft tenant"),
    ),
    (
        "https://login.microsoftonline.com/organizations/v2.0",
        everyone("every Microsoft tenant"),
    ),
    (
        "https://login.microsoftonline.com/consumers/v2.0",
        everyone("every Microsoft account"),
    ),
    // The tenant that all personal accounts live in.
    (
        "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0",
        everyone("every Microsoft account"),
    ),
    (
        "https://token.actions.githubusercontent.com",
        everyone("every GitHub repository"),
    ),
    (
        "https://gitlab.com",
        everyone("every project and user of gitlab.com"),
    ),
    // One issuer for the identity pools of all AWS accounts; only `aud` tells them apart.
    (
        "https://cognito-identity.amazonaws.com",
        everyone("the identity pools of every AWS account"),
    ),
    (
        "https://agent.buildkite.com",
        everyone("every Buildkite organisation"),
    ),
    (
        "https://app.terraform.io",
        everyone("every HCP Terraform organisation"),
    ),
    ("https://oidc.vercel.com", everyone("every Vercel team")),
    ("https://appleid.apple.com", everyone("every Apple account")),
    ("https://oauth2.sigstore.dev/auth", everyone("everyone")),
    ("https://slack.com", everyone("every Slack workspace")),
    (
        "https://www.linkedin.com/oauth",
        everyone("every LinkedIn member"),
    ),
    (
        "https://www.facebook.com",
        everyone("every Facebook account"),
    ),
    (
        "https://id.twitch.tv/oauth2",
        everyone("every Twitch account"),
    ),
    (
        "https://login.salesforce.com",
        everyone("every Salesforce organisation"),
    ),
];

/// Hosts whose issuers are one tenant's each, but whose `email` is any text that a tenant's
/// administrator, of whatever tenant, has typed in.
const EMAIL_NEEDS_PROOF: &[&str] = &[
    "https://login.microsoftonline.com/",
    "https://login.microsoftonline.us/",
    "https://login.partner.microsoftonline.cn/",
    "https://sts.windows.net/",
];

const fn everyone(whose: &'static str) -> Known {
    Known {
        shared_by: Some(whose),
        email_needs_proof: true,
    }
}

/// What is known about an issuer, given without its trailing `/`. Hosts are compared without case.
pub(super) fn known(issuer: &str) -> Known {
    let issuer = issuer.to_ascii_lowercase();
    if let Some((_, known)) = EXACT.iter().find(|(exact, _)| *exact == issuer) {
        return *known;
    }
    Known {
        shared_by: None,
        email_needs_proof: EMAIL_NEEDS_PROOF
            .iter()
            .any(|host| issuer.starts_with(host)),
    }
}

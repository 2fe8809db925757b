//! The provider types. A new one is a file beside this one and a line in `provider_types!`.

use serde_json::{Map, Value};

use super::compile::Compiler;
use super::error::Problem;
use super::read::{Errors, Path, Read, nearest, shorten};
use crate::policy::ProviderKind;

mod api_key;
mod aws_sigv4;
mod azure_ad;
mod common;
mod gcp_iap;
mod github_actions;
mod http_verifier;
mod issuers;
mod oidc;
mod sigv4;
mod static_token;

pub(super) use self::api_key::TakenPrefixes;
pub use self::api_key::{ApiKeySettings, FeedSettings};
pub use self::aws_sigv4::AwsSigV4Settings;
pub use self::azure_ad::{Authority, AzureAdSettings, GroupsMode, TokenType};
pub use self::common::Ids;
pub use self::gcp_iap::GcpIapSettings;
pub use self::github_actions::GithubActionsSettings;
pub use self::http_verifier::HttpVerifierSettings;
pub use self::oidc::{ClaimMapConfig, Jwks, KeyUseSetting, OidcSettings};
pub use self::sigv4::{AccessKeyConfig, SigV4Settings, UnsignedPayload};
pub use self::static_token::{StaticIdentity, StaticTokenSettings};

macro_rules! provider_types {
    ($($(#[$doc:meta])* $name:literal => $variant:ident($settings:ty),)+) => {
        /// The settings of a provider, by its `type`.
        #[derive(Clone, Debug)]
        pub enum Settings {
            $($(#[$doc])* $variant(Box<$settings>),)+
        }

        /// The types that this version offers.
        pub const OFFERED: &[&str] = &[$($name),+];

        impl Settings {
            /// The `type`.
            pub const fn type_name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name,)+ }
            }

            fn read_as(kind: &str, value: &Value, at: &Path<'_>, errors: &mut Errors) -> Option<Self> {
                match kind {
                    $($name => <$settings>::read(value, at, errors).map(|s| Self::$variant(Box::new(s))),)+
                    _ => None,
                }
            }

            pub(super) fn compile(&self, at: &Path<'_>, compiler: &mut Compiler<'_>) -> Option<ProviderKind> {
                match self { $(Self::$variant(settings) => settings.compile(at, compiler),)+ }
            }
        }

        /// Name, documentation and schema of each type's settings.
        #[cfg(feature = "schema")]
        pub(super) fn schemas(
            generator: &mut schemars::SchemaGenerator,
        ) -> Vec<(&'static str, schemars::Schema)> {
            vec![$(($name, generator.subschema_for::<$settings>()),)+]
        }
    };
}

provider_types! {
    /// Tokens of an OpenID Connect issuer.
    "oidc" => Oidc(OidcSettings),
    /// Opaque tokens known by their digests.
    "static_token" => StaticToken(StaticTokenSettings),
    /// Presigned `GetCallerIdentity` requests as bearer tokens, for AWS STS to say who signed them.
    "aws_sigv4" => AwsSigV4(AwsSigV4Settings),
    /// Requests signed with AWS Signature Version 4.
    "sigv4" => SigV4(SigV4Settings),
    /// Access tokens of Microsoft Entra ID (Azure AD).
    "azure_ad" => AzureAd(AzureAdSettings),
    /// Assertions of Google's Identity-Aware Proxy.
    "gcp_iap" => GcpIap(GcpIapSettings),
    /// ID tokens of GitHub Actions jobs.
    "github_actions" => GithubActions(GithubActionsSettings),
    /// Keys known by their digests, each bound to one agent, workspace, organisation or user.
    "api_key" => ApiKey(ApiKeySettings),
    /// Tokens that a service of the operator's own is asked about.
    "http_verifier" => HttpVerifier(HttpVerifierSettings),
}

impl Settings {
    /// Reads the settings of a type; `at` is the provider.
    pub(super) fn read(
        kind: &str,
        settings: Option<&Value>,
        at: &Path<'_>,
        errors: &mut Errors,
    ) -> Option<Self> {
        if !OFFERED.contains(&kind) {
            errors.push(
                &at.key("type"),
                Problem::UnknownProvider {
                    written: shorten(&kind.escape_debug().to_string()),
                    nearest: nearest(kind, OFFERED),
                    offered: OFFERED,
                },
            );
            return None;
        }
        let empty = Value::Object(Map::new());
        // Without settings, what is required of them is what is missing.
        Self::read_as(
            kind,
            settings.unwrap_or(&empty),
            &at.key("settings"),
            errors,
        )
    }
}

//! `gcp_iap`: assertions of Google's Identity-Aware Proxy.

use super::common;
use crate::config::compile::Compiler;
use crate::config::read::{Many, Path, Span, object};
use crate::policy::{IapPolicy, KeyOrigin, ProviderKind, RemoteKeys, Url};
use crate::provider::gcp_iap::{ISSUER, KEYS};

object! {
    /// Requests that come through Google's Identity-Aware Proxy: the assertion that it puts in `x-goog-iap-jwt-assertion`. Issuer,
    /// keys and the algorithm ES256 are Google's and can't be set.
    pub struct GcpIapSettings {
        /// The audience or audiences of which an assertion must name one: `/projects/PROJECT_NUMBER/global/backendServices/SERVICE_ID` for a
        /// load balancer, `/projects/PROJECT_NUMBER/apps/PROJECT_ID` for App Engine.
        #[cfg_attr(feature = "schema", schemars(required))]
        audience: Many<String>,
        /// How long Google's keys are fresh: `1s` to `7d`.
        jwks_cache_ttl: Span = "1h",
        /// Leeway for `exp` and `iat`: `0s` to `10m`.
        clock_skew: Span = "30s",
    }
}

impl GcpIapSettings {
    pub(super) fn compile(
        &self,
        at: &Path<'_>,
        compiler: &mut Compiler<'_>,
    ) -> Option<ProviderKind> {
        let audiences = common::audiences(self.audience.as_ref(), at, compiler);
        let cache_ttl = common::cache_ttl(self.jwks_cache_ttl, at, compiler);
        let clock_skew = common::clock_skew(self.clock_skew, at, compiler);
        Some(ProviderKind::GcpIap(Box::new(IapPolicy {
            audiences: audiences?,
            keys: KeyOrigin::Remote(RemoteKeys {
                issuer: ISSUER.to_owned(),
                discovery: None,
                jwks: Url::parse(KEYS).ok(),
                cache_ttl,
            }),
            clock_skew,
        })))
    }
}

//! `azure_ad`: access tokens of Microsoft Entra ID.

use std::time::Duration;

use super::common;
use crate::config::compile::{Compiler, HOUR, MINUTE, SECOND};
use crate::config::error::Problem;
use crate::config::hazard::Hazard;
use crate::config::read::{Many, Path, Span, choice, object};
use crate::lookup::Scope;
use crate::policy::{
    AzureCloud, AzurePolicy, AzureTokenType, GraphPolicy, KeyOrigin, ProviderKind, RemoteKeys,
    Tenants, Url,
};
use crate::provider::azure::is_guid;

/// Microsoft's clouds ("National clouds" of the identity platform, "National cloud deployments" of Graph). Version 1 issuers of the US
/// Government cloud are those of the global one.
const CLOUDS: &[AzureCloud; 3] = &[
    AzureCloud {
        authority: "login.microsoftonline.com",
        v1_issuer_host: "sts.windows.net",
        graph_host: "graph.microsoft.com",
    },
    AzureCloud {
        authority: "login.microsoftonline.us",
        v1_issuer_host: "sts.windows.net",
        graph_host: "graph.microsoft.us",
    },
    AzureCloud {
        authority: "login.partner.microsoftonline.cn",
        v1_issuer_host: "sts.chinacloudapi.cn",
        graph_host: "microsoftgraph.chinacloudapi.cn",
    },
];

/// The US Government cloud has a second Graph, for the Department of Defense.
const DOD_GRAPH: &str = "dod-graph.microsoft.us";

object! {
    /// Access tokens of Microsoft Entra ID (Azure AD), version 1 and 2: of one tenant by `tenant_id`, of several by `allow_multi_tenant` and
    /// `allowed_tenants`.
    pub struct AzureAdSettings {
        /// The audience or audiences of which a token must name one: the application (client) id of your API in version 2 tokens, its
        /// application id URI (`api://…`) in version 1 tokens.
        #[cfg_attr(feature = "schema", schemars(required))]
        audience: Many<String>,
        /// The tenant's id, when it is one.
        tenant_id: String,
        /// Accept tokens of the tenants in `allowed_tenants`.
        allow_multi_tenant: bool = false,
        /// The ids of these tenants.
        allowed_tenants: Many<String>,
        /// Accept tokens of every tenant on earth: anybody can make himself one.
        any_tenant: bool = false,
        /// Microsoft's cloud.
        authority: Authority = "login.microsoftonline.com",
        /// Application ids of calling applications: `appid` in version 1 tokens, `azp` in version 2 tokens, and `oid` only in tokens that have
        /// neither. Absent: any application that the tenant gives a token for your API.
        allowed_apps: Many<String>,
        /// What `idtyp` must say: `app` for applications by themselves, `user` for applications on behalf of users. It is an optional claim,
        /// to be added in the API's registration (with `include_user_token` for users). Absent: either.
        token_type: TokenType,
        /// The calling application must have shown a secret or a certificate (`azpacr`, `appidacr`).
        require_confidential_client: bool = false,
        /// `claim`: groups are those in the token. `graph`: when the token says that they are too many for it, Microsoft Graph is asked with the
        /// caller's own token, which must be good for Graph; without an answer the request goes on without groups.
        groups_mode: GroupsMode = "claim",
        /// How long a request waits for Microsoft Graph: `10ms` to `1m`.
        graph_timeout: Span = "5s",
        /// How long its answer about a token is remembered: `0s` to `1h`, and never longer than the token is good.
        graph_cache_ttl: Span = "5m",
        /// The Graph of the Department of Defense, `dod-graph.microsoft.us`, in place of the cloud's own.
        graph_dod: bool = false,
        /// How long a fetched key set is fresh: `1s` to `7d`.
        jwks_cache_ttl: Span = "1h",
        /// Leeway for `exp` and `nbf`: `0s` to `10m`.
        clock_skew: Span = "30s",
    }
}

choice! {
    /// One of Microsoft's clouds, by the host of sign-in.
    pub enum Authority = "the host of one of Microsoft's clouds" {
        /// Azure.
        Global = "login.microsoftonline.com",
        /// Azure Government.
        UsGovernment = "login.microsoftonline.us",
        /// Azure operated by 21Vianet.
        China = "login.partner.microsoftonline.cn",
    }
}

choice! {
    /// `idtyp`.
    pub enum TokenType = "app or user" {
        /// Applications by themselves.
        App = "app",
        /// Applications on behalf of users.
        User = "user",
    }
}

choice! {
    /// Where groups come from.
    pub enum GroupsMode = "claim or graph" {
        /// The token.
        Claim = "claim",
        /// The token, and Microsoft Graph when they are too many for it.
        Graph = "graph",
    }
}

impl AzureAdSettings {
    pub(super) fn compile(
        &self,
        at: &Path<'_>,
        compiler: &mut Compiler<'_>,
    ) -> Option<ProviderKind> {
        let audiences = common::audiences(self.audience.as_ref(), at, compiler);
        let cache_ttl = common::cache_ttl(self.jwks_cache_ttl, at, compiler);
        let clock_skew = common::clock_skew(self.clock_skew, at, compiler);
        let tenants = self.tenants(at, compiler);
        let apps = match &self.allowed_apps {
            None => Some(Vec::new()),
            Some(apps) => guids(apps, &at.key("allowed_apps"), compiler),
        };
        let [global, us_government, china] = CLOUDS;
        let cloud = match self.authority {
            None | Some(Authority::Global) => global,
            Some(Authority::UsGovernment) => us_government,
            Some(Authority::China) => china,
        };
        let graph = self.graph(cloud, at, compiler);
        let (tenants, audiences) = (tenants?, audiences?);
        let (path, named) = match &tenants {
            Tenants::One(tenant) => (tenant.as_str(), tenant.as_str()),
            // The document of all tenants names its issuer so, literally.
            Tenants::Listed(_) | Tenants::Any => ("common", "{tenantid}"),
        };
        let keys_issuer = format!("https://{}/{named}/v2.0", cloud.authority);
        Some(ProviderKind::AzureAd(Box::new(AzurePolicy {
            cloud,
            keys: KeyOrigin::Remote(RemoteKeys {
                issuer: keys_issuer.clone(),
                discovery: Some(Url {
                    https: true,
                    authority: cloud.authority.to_owned(),
                    path: format!("/{path}/v2.0/.well-known/openid-configuration"),
                }),
                jwks: None,
                cache_ttl,
            }),
            keys_issuer,
            tenants,
            audiences,
            clock_skew,
            apps: apps?,
            token_type: self.token_type.map(|t| match t {
                TokenType::App => AzureTokenType::App,
                TokenType::User => AzureTokenType::User,
            }),
            require_confidential_client: self.require_confidential_client.unwrap_or(false),
            graph,
        })))
    }

    fn tenants(&self, at: &Path<'_>, compiler: &mut Compiler<'_>) -> Option<Tenants> {
        let many = self.allow_multi_tenant.unwrap_or(false);
        let any = self.any_tenant.unwrap_or(false);
        let (at_one, at_listed) = (at.key("tenant_id"), at.key("allowed_tenants"));
        match (&self.tenant_id, &self.allowed_tenants) {
            (Some(_), _) if many => {
                let with = "allow_multi_tenant";
                compiler.error(&at_one, Problem::Conflict { with });
                None
            }
            (Some(_), _) if any => {
                let with = "any_tenant";
                compiler.error(&at_one, Problem::Conflict { with });
                None
            }
            (Some(_), Some(_)) => {
                let with = "tenant_id";
                compiler.error(&at_listed, Problem::Conflict { with });
                None
            }
            (Some(tenant), None) => guid(tenant, &at_one, compiler).map(Tenants::One),
            (None, Some(_)) if any => {
                let with = "any_tenant";
                compiler.error(&at_listed, Problem::Conflict { with });
                None
            }
            (None, Some(_)) if !many => {
                let key = "allow_multi_tenant: true";
                compiler.error(&at_listed, Problem::Needs { key });
                None
            }
            (None, Some(listed)) => guids(listed, &at_listed, compiler).map(Tenants::Listed),
            (None, None) if any => {
                compiler.warn(&at.key("any_tenant"), Hazard::AnyTenant);
                Some(Tenants::Any)
            }
            (None, None) if many => {
                let key = "allowed_tenants";
                compiler.error_after(&at.key("allow_multi_tenant"), Problem::Needs { key });
                None
            }
            (None, None) => {
                compiler.error_after(&at_one, Problem::Missing);
                None
            }
        }
    }

    fn graph(
        &self,
        cloud: &AzureCloud,
        at: &Path<'_>,
        compiler: &mut Compiler<'_>,
    ) -> Option<GraphPolicy> {
        let bounds = Duration::from_millis(10)..=MINUTE;
        let timeout = compiler.span(
            self.graph_timeout,
            5 * SECOND,
            bounds,
            &at.key("graph_timeout"),
        );
        let cache_ttl = compiler.span(
            self.graph_cache_ttl,
            5 * MINUTE,
            Duration::ZERO..=HOUR,
            &at.key("graph_cache_ttl"),
        );
        let graph = self.groups_mode == Some(GroupsMode::Graph);
        for (written, key) in [
            (self.graph_timeout.is_some(), "graph_timeout"),
            (self.graph_cache_ttl.is_some(), "graph_cache_ttl"),
            (self.graph_dod.is_some(), "graph_dod"),
        ] {
            if written && !graph {
                let needed = "groups_mode: graph";
                compiler.error(&at.key(key), Problem::Needs { key: needed });
            }
        }
        let dod = self.graph_dod == Some(true);
        if dod && self.authority != Some(Authority::UsGovernment) {
            let key = "authority: login.microsoftonline.us";
            compiler.error(&at.key("graph_dod"), Problem::Needs { key });
        }
        let host = if dod { DOD_GRAPH } else { cloud.graph_host };
        graph.then(|| GraphPolicy {
            host: host.to_owned(),
            timeout,
            cache_ttl,
            scope: Scope::new(
                host,
                &[
                    "azure_graph",
                    host,
                    &cache_ttl.as_millis().to_string(),
                    &timeout.as_millis().to_string(),
                ],
            ),
        })
    }
}

fn guid(text: &str, at: &Path<'_>, compiler: &mut Compiler<'_>) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    if !is_guid(&lower) {
        compiler.error(at, Problem::BadGuid);
        return None;
    }
    Some(lower)
}

fn guids(
    written: &Many<String>,
    at: &Path<'_>,
    compiler: &mut Compiler<'_>,
) -> Option<Vec<String>> {
    if written.0.is_empty() {
        compiler.error_after(at, Problem::EmptyList);
        return None;
    }
    let guids = written.0.iter().enumerate();
    Some(
        guids
            .filter_map(|(i, text)| guid(text, &at.index(i), compiler))
            .collect(),
    )
}

//! The clusters of an Envoy file, beside the hosts that a configuration has to reach: Envoy takes any name, and only at the first request
//! does it turn out that there is no such cluster.

use std::collections::BTreeMap;

use portcullis_core::policy::{CalloutPolicy, KeyOrigin, Policy, ProviderKind, Url};
use serde_json::Value;

/// What protects the way to a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tls {
    /// A certificate is verified, or what happens can't be told from the file.
    Fine,
    /// Nothing is verified.
    Unverified,
    /// No TLS.
    None,
}

/// All clusters that a proxy will have.
#[derive(Clone, Debug)]
pub struct Clusters(BTreeMap<String, Tls>);

impl Clusters {
    /// Those of a bootstrap; `None` where others may come from elsewhere, or where the file is a piece of one.
    pub fn of(file: &Value) -> Option<Self> {
        let resources = file.get("static_resources")?;
        let elsewhere = file
            .get("dynamic_resources")
            .is_some_and(|d| d.get("cds_config").is_some() || d.get("ads_config").is_some());
        if elsewhere {
            return None;
        }
        let clusters = resources.get("clusters").and_then(Value::as_array);
        let named = clusters.into_iter().flatten().filter_map(|cluster| {
            let name = cluster.get("name")?.as_str()?;
            Some((name.to_owned(), tls(cluster)))
        });
        Some(Self(named.collect()))
    }

    /// What is missing of what a policy needs, in words with a remedy.
    pub fn warnings(&self, policy: &Policy) -> Vec<String> {
        let mut said = Vec::new();
        for (authority, https) in callees(policy) {
            let upstream = policy.callouts.upstream(&authority);
            let warning = match self.0.get(upstream) {
                None => self.missing(&authority, upstream, &policy.callouts),
                Some(Tls::None) if https => format!(
                    "https://{authority} is asked through the cluster `{upstream}`, which has no TLS: give it a `transport_socket`"
                ),
                Some(Tls::Unverified) if https => format!(
                    "https://{authority} is asked through the cluster `{upstream}`, which verifies no certificate: set `trusted_ca` in its `validation_context`, or whoever sits between can answer"
                ),
                Some(_) => continue,
            };
            if !said.contains(&warning) {
                said.push(warning);
            }
        }
        said
    }

    fn missing(&self, authority: &str, upstream: &str, callouts: &CalloutPolicy) -> String {
        let have: Vec<String> = self.0.keys().map(|name| format!("`{name}`")).collect();
        let have = if have.is_empty() {
            "no cluster".to_owned()
        } else {
            have.join(", ")
        };
        if callouts.upstreams.contains_key(authority) {
            return format!(
                "callouts.upstreams leads from {authority} to the cluster `{upstream}`, which this file does not have; it has {have}"
            );
        }
        let host = |a: &str| a.split(':').next().unwrap_or_default().to_owned();
        let near = callouts
            .upstreams
            .keys()
            .find(|a| host(a) == host(authority))
            .map(|near| format!(" (`{near}` is there; a port belongs to the name)"));
        format!(
            "callouts.upstreams says nothing of {authority}{}, and there is no cluster of that name: write `\"{authority}\": CLUSTER`; this file has {have}",
            near.unwrap_or_default()
        )
    }
}

fn tls(cluster: &Value) -> Tls {
    if cluster.get("transport_socket_matches").is_some() {
        return Tls::Fine;
    }
    let Some(socket) = cluster.get("transport_socket") else {
        return Tls::None;
    };
    let config = socket.get("typed_config");
    let of = |name: &str| {
        config
            .and_then(|c| c.get("@type"))
            .and_then(Value::as_str)
            .is_some_and(|t| t.ends_with(name))
    };
    if of(".RawBuffer") {
        return Tls::None;
    }
    if !of(".UpstreamTlsContext") {
        return Tls::Fine;
    }
    let context = config.and_then(|c| c.get("common_tls_context"));
    let verifies = context.is_some_and(|context| {
        context
            .get("validation_context")
            .is_some_and(|v| v.as_object().is_some_and(|v| !v.is_empty()))
            // From a secret's service, which no file tells of.
            || context.get("validation_context_sds_secret_config").is_some()
            || context.get("combined_validation_context").is_some()
    });
    if verifies { Tls::Fine } else { Tls::Unverified }
}

/// Whom the filter asks by what the configuration says: authority, and whether by TLS. Where an issuer's discovery document
/// sends it for the keys is not known here.
fn callees(policy: &Policy) -> Vec<(String, bool)> {
    let mut urls: Vec<&Url> = Vec::new();
    let mut found = Vec::new();
    for provider in &policy.providers {
        let keys = match &provider.kind {
            ProviderKind::Oidc(p) => Some(&p.keys),
            ProviderKind::AzureAd(p) => {
                found.extend(p.graph.iter().map(|g| (g.host.clone(), true)));
                Some(&p.keys)
            }
            ProviderKind::GcpIap(p) => Some(&p.keys),
            ProviderKind::GithubActions(p) => Some(&p.keys),
            ProviderKind::AwsSigV4(p) => {
                urls.extend(p.endpoints.iter().map(|e| &e.url));
                None
            }
            ProviderKind::HttpVerifier(p) => {
                urls.push(&p.url);
                None
            }
            ProviderKind::ApiKey(p) => {
                if let Some(feed) = &p.feed {
                    urls.push(&feed.url);
                    urls.extend(feed.usage.iter().map(|u| &u.url));
                }
                None
            }
            ProviderKind::StaticToken(_) | ProviderKind::SigV4(_) => None,
        };
        if let Some(KeyOrigin::Remote(keys)) = keys {
            urls.extend(keys.jwks.iter().chain(&keys.discovery));
        }
    }
    found.extend(urls.into_iter().map(|u| (u.authority.clone(), u.https)));
    found
}

//! `aws_sigv4`: presigned `GetCallerIdentity` requests as bearer tokens.

use std::time::Duration;

use super::common;
use crate::config::compile::{Compiler, HOUR, MINUTE, SECOND};
use crate::config::error::Problem;
use crate::config::hazard::Hazard;
use crate::config::read::{Many, Path, Span, object};
use crate::glob::Globs;
use crate::lookup::Scope;
use crate::policy::{AwsSigV4Policy, ProviderKind, StsEndpoint, TokenPrefix, Url};
use crate::provider::aws::{self, DEFAULT_AUDIENCE_HEADER, DEFAULT_PREFIX, EKS_PREFIX};

object! {
    /// AWS principals: a caller sends a presigned `sts:GetCallerIdentity` request as its bearer token, and STS says who signed it.
    pub struct AwsSigV4Settings {
        /// The region or regions whose STS callers may sign for, such as `eu-west-1`; each has one host, in the partition
        /// aws, aws-cn or aws-us-gov.
        #[cfg_attr(feature = "schema", schemars(required))]
        region: Many<String>,
        /// What callers sign as `audience_header`, so that a token made for another service is refused by STS. For EKS tokens
        /// it is the cluster's name.
        audience: String,
        /// The header that binds a token to `audience`. Tokens with the prefix `k8s-aws-v1.` are bound by `x-k8s-aws-id`.
        audience_header: String = "x-portcullis-audience",
        /// Refuse tokens that are not bound to `audience`: whoever receives one could present it here.
        require_audience: bool = false,
        /// Globs on the caller's ARN as STS tells it (`arn:aws:sts::123456789012:assumed-role/ci/*`) or on its role's
        /// (`arn:aws:iam::123456789012:role/ci`, without the role's path). Absent: any principal.
        allowed_principals: Many<String>,
        /// Account numbers, of 12 digits. Absent: any account.
        allowed_accounts: Many<String>,
        /// How long what STS said about a token is remembered: `0s` to `15m`, and never longer than the token is good.
        identity_cache_ttl: Span = "60s",
        /// The longest life that a token may have by its `X-Amz-Expires`: `1s` to `15m`.
        max_token_expires: Span = "15m",
        /// Leeway for the time of signing: `0s` to `15m`.
        clock_skew: Span = "5m",
        /// What a token starts with.
        token_prefixes: Many<String> = "forge-aws-v1., k8s-aws-v1.",
        /// URLs of further or other endpoints that callers sign for, in place of the regional ones: FIPS or VPC endpoints, such as
        /// `https://sts-fips.us-east-1.amazonaws.com`.
        sts_endpoint: Many<String>,
    }
}

impl AwsSigV4Settings {
    pub(super) fn compile(
        &self,
        at: &Path<'_>,
        compiler: &mut Compiler<'_>,
    ) -> Option<ProviderKind> {
        let endpoints = self.endpoints(at, compiler);
        let prefixes = self.prefixes(at, compiler);
        let audience = self.audience(at, compiler);
        let require_audience = self.require_audience.unwrap_or(false);
        if audience.is_none() && require_audience {
            compiler.error(
                &at.key("require_audience"),
                Problem::Needs { key: "audience" },
            );
        }
        if !require_audience {
            compiler.warn(&at.key("require_audience"), Hazard::UnboundTokens);
        }
        let allowed_principals = self.allowed_principals(at, compiler);
        let allowed_accounts = self.allowed_accounts(at, compiler);
        if allowed_principals.is_none() && allowed_accounts.is_empty() {
            compiler.warn(at, Hazard::AnyAwsPrincipal);
        }
        let identity_cache_ttl = compiler.span(
            self.identity_cache_ttl,
            MINUTE,
            Duration::ZERO..=15 * MINUTE,
            &at.key("identity_cache_ttl"),
        );
        let max_token_expires = compiler.span(
            self.max_token_expires,
            15 * MINUTE,
            SECOND..=HOUR / 4,
            &at.key("max_token_expires"),
        );
        let clock_skew = compiler.span(
            self.clock_skew,
            5 * MINUTE,
            Duration::ZERO..=15 * MINUTE,
            &at.key("clock_skew"),
        );
        let (endpoints, prefixes) = (endpoints?, prefixes?);
        let ttl = identity_cache_ttl.as_millis().to_string();
        let mut parts = vec!["aws_sigv4", &ttl, audience.as_deref().unwrap_or_default()];
        for endpoint in &endpoints {
            parts.extend([endpoint.host.as_str(), &endpoint.region]);
        }
        for prefix in &prefixes {
            parts.extend([prefix.prefix.as_str(), &prefix.audience_header]);
        }
        let name = endpoints.first().map_or("sts", |e| e.host.as_str());
        Some(ProviderKind::AwsSigV4(Box::new(AwsSigV4Policy {
            scope: Scope::new(name, &parts),
            endpoints,
            prefixes,
            audience,
            require_audience,
            allowed_principals,
            allowed_accounts,
            identity_cache_ttl,
            max_token_expires,
            clock_skew,
        })))
    }

    fn endpoints(&self, at: &Path<'_>, compiler: &mut Compiler<'_>) -> Option<Vec<StsEndpoint>> {
        let at_regions = at.key("region");
        let regions = compiler.required(self.region.as_ref(), &at_regions)?;
        if regions.0.is_empty() {
            compiler.error_after(&at_regions, Problem::EmptyList);
        }
        for (i, region) in regions.0.iter().enumerate() {
            if !is_region(region) {
                compiler.error(&at_regions.index(i), Problem::BadRegion);
            }
        }
        let Some(written) = &self.sts_endpoint else {
            let regional = |region: &String| {
                let host = aws::sts_host(region);
                StsEndpoint {
                    url: Url {
                        https: true,
                        authority: host.clone(),
                        path: "/".to_owned(),
                    },
                    host,
                    region: region.clone(),
                }
            };
            return Some(regions.0.iter().map(regional).collect());
        };
        let at = at.key("sts_endpoint");
        if written.0.is_empty() {
            compiler.error_after(&at, Problem::EmptyList);
        }
        let mut endpoints = Vec::new();
        for (i, text) in written.0.iter().enumerate() {
            let at = at.index(i);
            let Some(url) = compiler.url(text, &at) else {
                continue;
            };
            if url.path != "/" {
                compiler.error(&at, Problem::EndpointWithPath);
                continue;
            }
            if !url.https {
                compiler.warn(&at, Hazard::PlainHttpSts);
            }
            endpoints.extend(regions.0.iter().map(|region| StsEndpoint {
                host: url.authority.clone(),
                region: region.clone(),
                url: url.clone(),
            }));
        }
        Some(endpoints)
    }

    fn prefixes(&self, at: &Path<'_>, compiler: &mut Compiler<'_>) -> Option<Vec<TokenPrefix>> {
        let at_header = at.key("audience_header");
        let header = self
            .audience_header
            .clone()
            .unwrap_or_else(|| DEFAULT_AUDIENCE_HEADER.to_owned());
        let fine = header.starts_with("x-")
            && header
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !fine {
            compiler.error(&at_header, Problem::BadHeaderName);
            return None;
        }
        let default = [DEFAULT_PREFIX.to_owned(), EKS_PREFIX.to_owned()];
        let written = match &self.token_prefixes {
            Some(written) => written.0.as_slice(),
            None => &default,
        };
        let at = at.key("token_prefixes");
        if written.is_empty() {
            compiler.error_after(&at, Problem::EmptyList);
        }
        let mut out = Vec::new();
        for (i, prefix) in written.iter().enumerate() {
            // A prefix of one would claim what is somebody else's.
            let fine = (4..=64).contains(&prefix.len())
                && prefix.ends_with('.')
                && prefix
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
            if !fine {
                compiler.error(&at.index(i), Problem::BadTokenPrefix);
                continue;
            }
            out.push(TokenPrefix {
                audience_header: aws::audience_header(prefix, &header).to_owned(),
                prefix: prefix.clone(),
            });
        }
        Some(out)
    }

    fn audience(&self, at: &Path<'_>, compiler: &mut Compiler<'_>) -> Option<String> {
        let audience = self.audience.clone()?;
        // SigV4 collapses spaces in a signed header's value, so one with spaces has several spellings.
        if audience.len() > 256 || !audience.bytes().all(|b| b.is_ascii_graphic()) {
            compiler.error(&at.key("audience"), Problem::BadHeaderValue);
            return None;
        }
        Some(audience)
    }

    fn allowed_principals(&self, at: &Path<'_>, compiler: &mut Compiler<'_>) -> Option<Globs> {
        let at = at.key("allowed_principals");
        let written = self.allowed_principals.as_ref();
        for (i, glob) in written.iter().flat_map(|globs| &globs.0).enumerate() {
            if !may_be_a_principal(glob) {
                compiler.warn(&at.index(i), Hazard::NeverAPrincipal);
            }
        }
        common::allow_list_or_all(written, &at, compiler)
    }

    fn allowed_accounts(&self, at: &Path<'_>, compiler: &mut Compiler<'_>) -> Vec<String> {
        let at = at.key("allowed_accounts");
        let Some(accounts) = &self.allowed_accounts else {
            return Vec::new();
        };
        if accounts.0.is_empty() {
            compiler.warn(&at, Hazard::EmptyAllowList);
        }
        for (i, account) in accounts.0.iter().enumerate() {
            if account.len() != 12 || !account.bytes().all(|b| b.is_ascii_digit()) {
                compiler.error(&at.index(i), Problem::BadAwsAccount);
            }
        }
        accounts.0.clone()
    }
}

/// Such as `eu-west-1`, `us-gov-east-1`, `ap-southeast-2`.
fn is_region(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let Some((number, words)) = parts.split_last() else {
        return false;
    };
    (2..=4).contains(&words.len())
        && text.len() <= 32
        && (1..=2).contains(&number.len())
        && number.bytes().all(|b| b.is_ascii_digit())
        && words
            .iter()
            .all(|w| w.len() >= 2 && w.bytes().all(|b| b.is_ascii_lowercase()))
}

/// Whether a glob can match what STS says of somebody. It tells no role's path, and no caller is a bare name.
fn may_be_a_principal(glob: &str) -> bool {
    let wild = |text: &str| text.contains(['*', '?', '[', '\\']);
    let Some((partition, rest)) = glob.strip_prefix("arn:").and_then(|g| g.split_once(':')) else {
        return wild(glob.get(..4).unwrap_or(glob));
    };
    let role = rest
        .strip_prefix("iam::")
        .and_then(|r| r.split_once(':'))
        .and_then(|(_, resource)| resource.strip_prefix("role/"));
    wild(partition) || !role.is_some_and(|name| name.contains('/'))
}

//! What the providers of the chain made of a request, in words: beside each verdict what of the token and the policy led to it.

use std::fmt::{self, Write as _};
use std::time::Duration;

use portcullis_core::claims::Claims;
use portcullis_core::credential::{IAP_ASSERTION, TokenKind};
use portcullis_core::jose::{Algorithm, UntrustedJws};
use portcullis_core::policy::{
    AzurePolicy, ClaimPath, GithubPolicy, KeyOrigin, OidcPolicy, Policy, Provider, ProviderKind,
    Tenants,
};
use portcullis_core::reason::{Code, Reason};
use portcullis_core::time::UnixTime;
use portcullis_core::trace::{Trace, Verdict};

/// What a token says of itself; nothing of it proven.
pub(super) struct Token {
    algorithm: Algorithm,
    kid: Option<String>,
    typ: Option<String>,
    claims: Claims,
}

impl Token {
    pub(super) fn read(token: &str, policy: &Policy) -> Option<Self> {
        let limits = policy.limits.jose();
        let jws = UntrustedJws::parse(token.as_bytes(), &limits).ok()?;
        Some(Self {
            algorithm: jws.algorithm(),
            kid: jws.kid().map(str::to_owned),
            typ: jws.header().typ().map(str::to_owned),
            claims: Claims::read(jws.payload(), limits.json_depth).ok()?,
        })
    }
}

/// What happened to one request, and what it is told from.
pub(super) struct Story<'s> {
    pub(super) policy: &'s Policy,
    pub(super) trace: &'s Trace,
    pub(super) token: Option<Token>,
    /// Characters of the token.
    pub(super) length: usize,
    pub(super) given: &'s [(String, String)],
    pub(super) now: UnixTime,
}

impl Story<'_> {
    pub(super) fn tell(&self, out: &mut String) {
        let _ = writeln!(
            out,
            "agent        {}",
            self.trace.agent.as_deref().unwrap_or("none is named")
        );
        if self.trace.skipped {
            let _ = writeln!(out, "skip rule    this request needs no credential");
            return;
        }
        match self.trace.credential {
            Err(code) => {
                let _ = writeln!(out, "credential   {}", words(code));
            }
            Ok(TokenKind::Empty) => {
                let _ = writeln!(out, "credential   none");
            }
            // Keys are of one length, and where this one stood does not matter.
            Ok(TokenKind::ApiKey) => {
                let _ = writeln!(out, "credential   {}", TokenKind::ApiKey.as_str());
            }
            Ok(kind) => {
                let _ = writeln!(
                    out,
                    "credential   {}, {} characters",
                    kind.as_str(),
                    self.length
                );
            }
        }
        if let Some(token) = &self.token {
            self.tell_token(token, out);
        }
        for (index, verdict) in &self.trace.verdicts {
            if let Some(provider) = self.policy.providers.get(*index) {
                let _ = writeln!(
                    out,
                    "\nprovider {} {} ({})",
                    index + 1,
                    provider.name,
                    provider.kind.type_name()
                );
                self.tell_provider(provider, verdict, out);
            }
        }
        let asked = self.trace.verdicts.len();
        let rest = self.policy.providers.len().saturating_sub(asked);
        if asked > 0 && rest > 0 {
            let _ = writeln!(
                out,
                "\nThe word of provider {asked} is final: {rest} more not asked."
            );
        }
        out.push('\n');
    }

    fn tell_token(&self, token: &Token, out: &mut String) {
        let claims = &token.claims;
        let mut line = |name: &str, value: String| {
            let _ = writeln!(out, "  {name:<10} {value}");
        };
        line(
            "header",
            format!(
                "alg {}, kid {}, typ {}",
                token.algorithm.name(),
                quoted(token.kid.as_deref()),
                quoted(token.typ.as_deref())
            ),
        );
        line("iss", quoted(claims.issuer()));
        line("sub", quoted(claims.subject()));
        let email = claims
            .get(&ClaimPath::Name("email".to_owned()))
            .and_then(|v| v.as_str());
        if email.is_some() {
            let verified = match claims.email_verified() {
                Some(true) => "verified",
                Some(false) => "not verified",
                None => "email_verified is missing",
            };
            line("email", format!("{}, {verified}", quoted(email)));
        }
        line("aud", list(claims.audience()));
        if let Some(azp) = claims.authorized_party() {
            line("azp", quoted(Some(azp)));
        }
        for (name, time) in [
            ("iat", claims.issued_at()),
            ("nbf", claims.not_before()),
            ("exp", claims.expires_at()),
        ] {
            if let Some(time) = time {
                line(name, format!("{time}, {}", self.relative(time)));
            }
        }
    }

    fn tell_provider(&self, provider: &Provider, verdict: &Verdict, out: &mut String) {
        let mut say = |line: String| {
            let _ = writeln!(out, "  {line}");
        };
        match &provider.kind {
            ProviderKind::StaticToken(policy) => {
                if matches!(verdict, Verdict::NotForMe) {
                    say(format!(
                        "the token is none of the {} it knows",
                        policy.token_sha256.len()
                    ));
                }
            }
            ProviderKind::SigV4(_) => {}
            ProviderKind::Oidc(oidc) => self.tell_oidc(oidc, verdict, &mut say),
            ProviderKind::AzureAd(azure) => self.tell_azure(azure, &mut say),
            ProviderKind::GcpIap(iap) => {
                say(format!(
                    "takes what Google's Identity-Aware Proxy puts in {IAP_ASSERTION}, for {}",
                    list(&iap.audiences)
                ));
                if matches!(verdict, Verdict::NotForMe) {
                    say("the request has none, or it is another provider's".to_owned());
                }
            }
            ProviderKind::GithubActions(github) => self.tell_github(github, &mut say),
            ProviderKind::AwsSigV4(aws) => {
                let prefixes: Vec<&str> = aws.prefixes.iter().map(|p| &*p.prefix).collect();
                let hosts: Vec<&str> = aws.endpoints.iter().map(|e| &*e.host).collect();
                say(format!(
                    "takes tokens that start with {} and are signed for {}",
                    prefixes.join(" or "),
                    hosts.join(" or ")
                ));
            }
            ProviderKind::ApiKey(keys) => {
                say(format!(
                    "{} keys stand in the configuration",
                    keys.keys.len()
                ));
                if let Some(feed) = &keys.feed {
                    say(format!("others come from {}", feed.name()));
                }
            }
            ProviderKind::HttpVerifier(verifier) => {
                say(format!(
                    "asks {} about tokens that no other provider recognises",
                    verifier.url
                ));
            }
        }
        say(match verdict {
            Verdict::NotForMe => "not for me: the next provider is asked".to_owned(),
            Verdict::Refused(code) => format!("refused: {}", words(*code)),
            Verdict::Unavailable(code) => format!("unavailable: {}", words(*code)),
            Verdict::Waits if matches!(provider.kind, ProviderKind::AwsSigV4(_)) => {
                "waits for what STS says about the token: ask it with --online".to_owned()
            }
            Verdict::Waits if matches!(provider.kind, ProviderKind::HttpVerifier(_)) => {
                "waits for the verifier: ask it with --online, which sends it the token".to_owned()
            }
            Verdict::Waits if matches!(provider.kind, ProviderKind::ApiKey(_)) => {
                "waits for the key feed: ask it with --online".to_owned()
            }
            Verdict::Waits => {
                "waits for the issuer's keys: give them with --jwks ISSUER=FILE, or fetch them with --online".to_owned()
            }
            Verdict::Verified(identity) => format!("verified: {}", identity.user_id()),
        });
        if let (Verdict::Verified(_), Some(globs)) = (verdict, &provider.agents) {
            say(match self.trace.agent.as_deref() {
                None => format!(
                    "its identities may call {} only, and the request names no agent",
                    list(globs.as_written())
                ),
                Some(agent) => match globs.matching(agent) {
                    Some(glob) => {
                        format!("its identities may call \"{agent}\", which matches \"{glob}\"")
                    }
                    None => format!(
                        "its identities may not call \"{agent}\", only {}",
                        list(globs.as_written())
                    ),
                },
            });
        }
    }

    fn tell_azure(&self, azure: &AzurePolicy, say: &mut dyn FnMut(String)) {
        say(format!(
            "takes tokens of {} at {}, for {}",
            match &azure.tenants {
                Tenants::One(tenant) => format!("tenant {tenant}"),
                Tenants::Listed(tenants) => format!("tenants {}", tenants.join(", ")),
                Tenants::Any => "any tenant".to_owned(),
            },
            azure.cloud.authority,
            list(&azure.audiences)
        ));
        let Some(claims) = self.token.as_ref().map(|t| &t.claims) else {
            return;
        };
        match claims.issuer().and_then(|iss| azure.tenant_of(iss)) {
            Some(tenant) => say(format!("the token's issuer is that of tenant {tenant}")),
            None => say("the token is of another issuer".to_owned()),
        }
        for name in ["tid", "ver", "appid", "azp", "oid", "idtyp"] {
            if let Some(value) = claims.text(name) {
                say(format!("{name}: {value:?}"));
            }
        }
    }

    fn tell_github(&self, github: &GithubPolicy, say: &mut dyn FnMut(String)) {
        say(format!(
            "takes jobs' tokens of {}, for {}",
            quoted(Some(&github.issuer)),
            list(&github.audiences)
        ));
        let Some(claims) = self.token.as_ref().map(|t| &t.claims) else {
            return;
        };
        for name in [
            "repository",
            "repository_id",
            "repository_owner_id",
            "ref",
            "environment",
            "job_workflow_ref",
            "event_name",
        ] {
            if let Some(value) = claims.text(name) {
                say(format!("{name}: {value:?}"));
            }
        }
    }

    fn tell_oidc(&self, oidc: &OidcPolicy, verdict: &Verdict, say: &mut dyn FnMut(String)) {
        let Some(token) = &self.token else {
            if matches!(verdict, Verdict::NotForMe) {
                say("the credential is no JWT".to_owned());
            }
            return;
        };
        let claims = &token.claims;
        let mine = claims.issuer().is_some_and(|iss| oidc.owns_issuer(iss));
        say(format!(
            "issuer {} {} the token's",
            quoted(Some(&oidc.issuer)),
            if mine { "is" } else { "is not" }
        ));
        if !mine {
            return;
        }
        if matches!(verdict, Verdict::NotForMe) {
            say(
                "an earlier or later provider of the same issuer owns this token by its audience"
                    .to_owned(),
            );
            return;
        }
        if let KeyOrigin::Inline(set) = &oidc.keys {
            let from = self
                .given
                .iter()
                .find(|(issuer, _)| *issuer == oidc.issuer)
                .map_or("the configuration", |(_, file)| file.as_str());
            let found = match set.select(token.kid.as_deref(), token.algorithm) {
                Ok(key) => format!("found, kid {}", quoted(key.kid())),
                Err(_) => "none that fits this token's header".to_owned(),
            };
            say(format!(
                "key: {found}, among {} from {from}",
                set.keys().len()
            ));
        }
        // The core looks at keys, signature and claims in this order, so a verdict on claims says that the
        // signature is genuine.
        let genuine = match verdict {
            Verdict::Verified(_) => true,
            Verdict::Refused(code) => {
                code.reason() == Reason::Rejected || *code == Code::MissingExpiry
            }
            _ => false,
        };
        if !genuine {
            return;
        }
        say("signature: genuine".to_owned());
        say(format!(
            "audience: {} of {}",
            if oidc.owns_audience(claims) {
                "one"
            } else {
                "none"
            },
            list(&oidc.audiences)
        ));
        if let Some(allowed) = &oidc.allowed_subjects {
            let email = claims
                .get(&ClaimPath::Name("email".to_owned()))
                .and_then(|v| v.as_str());
            let matching =
                |text: Option<&str>| text.and_then(|t| allowed.matching(t)).map(str::to_owned);
            say(match (matching(claims.subject()), matching(email)) {
                (Some(glob), _) => format!("allowed_subjects: sub matches \"{glob}\""),
                (None, Some(glob)) => format!(
                    "allowed_subjects: sub matches none, email matches \"{glob}\"{}",
                    if oidc.require_email_verified {
                        " and must be verified"
                    } else {
                        ""
                    }
                ),
                (None, None) => "allowed_subjects: neither sub nor email matches any".to_owned(),
            });
        }
    }

    fn relative(&self, time: UnixTime) -> String {
        if time >= self.now {
            format!("in {}", rough(time.since(self.now)))
        } else {
            format!("{} ago", rough(self.now.since(time)))
        }
    }
}

fn words(code: Code) -> String {
    format!("{code}: {}", code.meaning().trim())
}

/// Quoted and escaped: a token's text may hold anything.
fn quoted(text: Option<&str>) -> String {
    text.map_or_else(|| "missing".to_owned(), |t| format!("{t:?}"))
}

fn list<T: fmt::Debug>(items: impl IntoIterator<Item = T>) -> String {
    let quoted: Vec<String> = items.into_iter().map(|i| format!("{i:?}")).collect();
    quoted.join(", ")
}

fn rough(duration: Duration) -> String {
    let secs = duration.as_secs();
    match secs {
        0..120 => format!("{secs}s"),
        120..7200 => format!("{}m", secs / 60),
        7200..172_800 => format!("{}h", secs / 3600),
        _ => format!("{}d", secs / 86_400),
    }
}

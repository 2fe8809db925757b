//! From the configuration as written to the policy that requests are judged by.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::time::Duration;

use super::agent;
use super::error::{ConfigError, ConfigErrors, Problem};
use super::hazard::{Hazard, Warning};
use super::provider::{Settings, TakenPrefixes};
use super::raw::{AuthConfig, CalloutConfig, Config, HostChoice, ProviderConfig, Sink};
use super::read::{Errors, Many, Path, Span};
use crate::apikey::record::ScopeKind;
use crate::credential::KeyPlaces;
use crate::glob::Globs;
use crate::jose::JoseLimits;
use crate::limits::Limits;
use crate::policy::{
    AgentFacts, AuditPolicy, AuditSink, CalloutPolicy, Host, IdentityPolicy, Policy, Provider,
    ProviderKind, SkipRule, Spoofed, Url,
};
use crate::request::canonical_path;

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const HOUR: Duration = Duration::from_secs(3600);

/// What the parts of a configuration share while they are compiled.
pub(super) struct Compiler<'a> {
    env: &'a dyn Fn(&str) -> Option<String>,
    limits: Limits,
    errors: Errors,
    warnings: Vec<Warning>,
    key_prefixes: TakenPrefixes,
}

/// Compiles; `earlier` are the errors of reading, which are reported together with these.
pub(super) fn compile(
    config: &Config,
    version: &str,
    env: &dyn Fn(&str) -> Option<String>,
    earlier: Errors,
) -> Result<(Policy, Vec<Warning>), ConfigErrors> {
    let mut compiler = Compiler {
        env,
        limits: Limits::default(),
        errors: earlier,
        warnings: Vec::new(),
        key_prefixes: TakenPrefixes::new(),
    };
    let policy = compiler.policy(config, version);
    match policy {
        Some(mut policy) if compiler.errors.is_empty() => {
            if let Some(host) = policy.host {
                compiler
                    .warnings
                    .extend(super::host::fit(&mut policy, host)?);
            }
            Ok((policy, compiler.warnings))
        }
        _ => Err(ConfigErrors(compiler.errors.into_vec())),
    }
}

impl Compiler<'_> {
    pub(super) fn error(&mut self, at: &Path<'_>, problem: Problem) {
        self.errors.push(at, problem);
    }

    /// As [`Errors::push_after`].
    pub(super) fn error_after(&mut self, at: &Path<'_>, problem: Problem) {
        self.errors.push_after(at, problem);
    }

    pub(super) const fn errors(&mut self) -> &mut Errors {
        &mut self.errors
    }

    pub(super) fn warn(&mut self, at: &Path<'_>, hazard: Hazard) {
        let path = at.to_string();
        self.warnings.push(Warning { path, hazard });
    }

    /// As [`Self::warn`], where what is there could be read.
    pub(super) fn warn_unless_wrong(&mut self, at: &Path<'_>, hazard: Hazard) {
        if !self.errors.any_at(at) {
            self.warn(at, hazard);
        }
    }

    /// Has one provider own a prefix of keys.
    pub(super) fn take_key_prefix(&mut self, prefix: &str, at: &Path<'_>) {
        if let Some(first) = self.key_prefixes.get(prefix) {
            let first = first.clone();
            self.error(at, Problem::KeyPrefixTaken { first });
            return;
        }
        self.key_prefixes.insert(prefix.to_owned(), at.to_string());
    }

    pub(super) fn required<T>(&mut self, value: Option<T>, at: &Path<'_>) -> Option<T> {
        if value.is_none() {
            self.error_after(at, Problem::Missing);
        }
        value
    }

    pub(super) fn variable(&self, name: &str) -> Option<String> {
        (self.env)(name)
    }

    /// Bounds for key sets.
    pub(super) fn jose_limits(&self) -> JoseLimits {
        self.limits.jose()
    }

    pub(super) fn span(
        &mut self,
        written: Option<Span>,
        default: Duration,
        bounds: RangeInclusive<Duration>,
        at: &Path<'_>,
    ) -> Duration {
        let value = written.map_or(default, |s| s.0);
        if !bounds.contains(&value) {
            let (min, max) = (
                Span(*bounds.start()).to_string(),
                Span(*bounds.end()).to_string(),
            );
            self.error(at, Problem::OutOfRange { min, max });
        }
        value
    }

    pub(super) fn size(
        &mut self,
        written: Option<u64>,
        default: usize,
        bounds: RangeInclusive<u64>,
        at: &Path<'_>,
    ) -> usize {
        let Some(value) = written else { return default };
        match usize::try_from(value) {
            Ok(size) if bounds.contains(&value) => size,
            _ => {
                let (min, max) = (bounds.start().to_string(), bounds.end().to_string());
                self.error(at, Problem::OutOfRange { min, max });
                default
            }
        }
    }

    /// Reports every bad glob of the list, each with its own index.
    pub(super) fn globs(&mut self, globs: &[String], at: &Path<'_>) -> Option<Globs> {
        match Globs::new(globs) {
            Ok(compiled) => Some(compiled),
            Err(_) => {
                for (i, glob) in globs.iter().enumerate() {
                    if let Err(error) = Globs::new([glob]) {
                        self.error(&at.index(i), Problem::BadGlob(error.kind));
                    }
                }
                None
            }
        }
    }

    pub(super) fn non_empty_globs(&mut self, globs: &[String], at: &Path<'_>) -> Option<Globs> {
        if globs.is_empty() {
            self.error_after(at, Problem::EmptyList);
            return None;
        }
        self.globs(globs, at)
    }

    pub(super) fn url(&mut self, text: &str, at: &Path<'_>) -> Option<Url> {
        match Url::parse(text) {
            Ok(url) => Some(url),
            Err(error) => {
                self.error(at, Problem::BadUrl(error));
                None
            }
        }
    }

    fn policy(&mut self, config: &Config, version: &str) -> Option<Policy> {
        let root = Path::ROOT;
        // First, because key sets are held to them.
        self.limits = super::limits::compile(config.limits.as_ref(), &root.key("limits"), self);
        let agent = agent::resolver(config.agent.as_ref(), &root.key("agent"), self);
        let agents = agent::facts(config.agents.as_ref(), &root.key("agents"), self);
        let auth = self.required(config.auth.as_ref(), &root.key("auth"));
        let (providers, skip) = match auth {
            Some(auth) => self.auth(auth, config.agent.is_some(), &root.key("auth")),
            None => (Vec::new(), Vec::new()),
        };
        let resource_metadata = auth.and_then(|auth| {
            let at = root.key("auth");
            let written = auth.resource_metadata.as_ref()?;
            written.compile(auth, &at.key("resource_metadata"), self)
        });
        let callouts = self.callouts(config.callouts.as_ref(), &root.key("callouts"));
        let identity = self.identity(config);
        let audit = self.audit(config);
        agent::refuse_reserved_header(config.agent.as_ref(), &identity, self);
        let key_places = self.key_places(config, &providers, &identity);
        self.scopes_without_agents(&providers, &agents);
        let auth = auth?;
        Some(Policy {
            version: version.into(),
            required: auth.required.unwrap_or(true),
            providers,
            skip,
            resource_metadata,
            unavailable_status: auth.unavailable_status.map_or(503, |s| s.0),
            agent: agent?,
            agents,
            key_places,
            callouts,
            identity,
            audit,
            crypto: super::crypto::compile(config.crypto.as_ref()),
            limits: self.limits.clone(),
            host: match config.host {
                None | Some(HostChoice::Auto) => None,
                Some(HostChoice::Envoy) => Some(Host::Envoy),
                Some(HostChoice::Nginx) => Some(Host::Nginx),
            },
        })
    }

    fn auth(
        &mut self,
        auth: &AuthConfig,
        has_agent: bool,
        at: &Path<'_>,
    ) -> (Vec<Provider>, Vec<SkipRule>) {
        if auth.required == Some(false) {
            self.warn(&at.key("required"), Hazard::NotRequired);
        }
        let at_providers = at.key("providers");
        let listed = self.required(auth.providers.as_ref(), &at_providers);
        if listed.is_some_and(Vec::is_empty) {
            self.error_after(&at_providers, Problem::EmptyList);
        }
        let names = self.names(auth, &at_providers);
        self.never_asked(listed.map_or(&[], Vec::as_slice), &at_providers);
        let mut providers = Vec::new();
        for (i, (config, name)) in listed.into_iter().flatten().zip(names).enumerate() {
            let at = at_providers.index(i);
            let kind = config.settings.compile(&at.key("settings"), self);
            if matches!(kind, Some(ProviderKind::ApiKey(_))) && !has_agent {
                self.error(&at, Problem::NoAgentResolver);
            }
            let at_agents = at.key("agents");
            let agents = match &config.agents {
                None => None,
                Some(Many(globs)) => {
                    if !has_agent {
                        self.error(&at_agents, Problem::NoAgentResolver);
                    }
                    self.non_empty_globs(globs, &at_agents)
                }
            };
            if let Some(kind) = kind {
                let name = Rc::from(name);
                providers.push(Provider { name, kind, agents });
            }
        }
        let at_skip = at.key("skip");
        let mut skip = Vec::new();
        for (i, rule) in auth.skip.iter().flat_map(|m| &m.0).enumerate() {
            match skip_rule(rule) {
                Ok(rule) => skip.push(rule),
                Err(problem) => self.error(&at_skip.index(i), problem),
            }
        }
        (providers, skip)
    }

    /// A verifier takes whatever reaches it, so a second one can't be reached.
    fn never_asked(&mut self, providers: &[ProviderConfig], at: &Path<'_>) {
        let is_verifier = |p: &ProviderConfig| matches!(p.settings, Settings::HttpVerifier(_));
        let mut verifiers = (0..).zip(providers).filter(|(_, p)| is_verifier(p));
        if let Some((first, _)) = verifiers.next() {
            let first = at.index(first).to_string();
            for (i, _) in verifiers {
                let first = first.clone();
                self.error(&at.index(i), Problem::NeverAsked { first });
            }
        }
    }

    /// A name for each provider: the written one, else the type, else the type with a number.
    fn names(&mut self, auth: &AuthConfig, at: &Path<'_>) -> Vec<String> {
        let providers = auth.providers.as_deref().unwrap_or_default();
        let mut taken: BTreeMap<&str, usize> = BTreeMap::new();
        for (i, name) in providers
            .iter()
            .enumerate()
            .filter_map(|(i, p)| Some((i, p.name.as_deref()?)))
        {
            let at_name = at.index(i);
            let at_name = at_name.key("name");
            let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
            if name.len() > 64 || !name.bytes().all(fine) {
                self.error(&at_name, Problem::BadName);
            }
            if let Some(first) = taken.get(name) {
                let first = at.index(*first).key("name").to_string();
                self.error(&at_name, Problem::DuplicateName { first });
            } else {
                taken.insert(name, i);
            }
        }
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        let mut names = Vec::with_capacity(providers.len());
        for provider in providers {
            if let Some(name) = &provider.name {
                names.push(name.clone());
                continue;
            }
            let kind = provider.settings.type_name();
            let count = counts.entry(kind).or_default();
            let name = loop {
                *count += 1;
                let name = match *count {
                    1 => kind.to_owned(),
                    n => format!("{kind}-{n}"),
                };
                if !taken.contains_key(name.as_str()) {
                    break name;
                }
            };
            names.push(name);
        }
        names
    }

    /// Where the providers of API keys look for them, together.
    fn key_places(
        &mut self,
        config: &Config,
        providers: &[Provider],
        identity: &IdentityPolicy,
    ) -> KeyPlaces {
        let mut places = KeyPlaces::default();
        for provider in providers {
            let ProviderKind::ApiKey(keys) = &provider.kind else {
                continue;
            };
            for name in &keys.headers {
                // Hygiene removes these from every request, and an agent's name is no secret.
                let agent = config.agent.as_ref().and_then(|a| a.header.as_ref());
                if name.starts_with(&identity.header_prefix)
                    || agent.is_some_and(|a| a.eq_ignore_ascii_case(name))
                {
                    let at = Path::ROOT.key("auth");
                    self.error_after(&at.key("providers"), Problem::ReservedHeader);
                }
                if !places.headers.contains(name) {
                    places.headers.push(name.clone());
                }
            }
            if keys.bearer {
                places.bearer_prefixes.extend(keys.prefixes.iter().cloned());
            }
        }
        places
    }

    /// Keys for "all agents of the workspace" where no agent is known to be in one.
    fn scopes_without_agents(
        &mut self,
        providers: &[Provider],
        agents: &BTreeMap<Rc<str>, AgentFacts>,
    ) {
        let needs_agents = |p: &Provider| match &p.kind {
            ProviderKind::ApiKey(keys) if keys.feed.is_none() => {
                keys.keys.iter().any(|e| e.scope().0 != ScopeKind::Agent)
            }
            // A feed says whose agents are.
            _ => false,
        };
        if agents.is_empty() && providers.iter().any(needs_agents) {
            self.warn(&Path::ROOT.key("agents"), Hazard::NoAgentsForKeys);
        }
    }

    fn callouts(&mut self, callouts: Option<&CalloutConfig>, at: &Path<'_>) -> CalloutPolicy {
        let at_upstreams = at.key("upstreams");
        let upstreams: BTreeMap<String, String> = callouts
            .and_then(|c| c.upstreams.clone())
            .unwrap_or_default();
        for authority in upstreams.keys() {
            let parsed = Url::parse(&format!("https://{authority}"));
            if !parsed.is_ok_and(|url| url.authority == *authority && url.path == "/") {
                self.error(&at_upstreams.key(authority), Problem::BadAuthority);
            }
        }
        let timeout = self.span(
            callouts.and_then(|c| c.timeout),
            5 * SECOND,
            Duration::from_millis(10)..=MINUTE,
            &at.key("timeout"),
        );
        CalloutPolicy { upstreams, timeout }
    }

    fn identity(&mut self, config: &Config) -> IdentityPolicy {
        let at = Path::ROOT.key("identity");
        let identity = config.identity.as_ref();
        let header_prefix = identity
            .and_then(|i| i.header_prefix.clone())
            .unwrap_or_else(|| "x-auth-".to_owned());
        if !is_header_name(&header_prefix) {
            self.error(&at.key("header_prefix"), Problem::BadHeaderName);
        } else if !header_prefix.ends_with('-') || header_prefix.len() < 2 {
            self.error(&at.key("header_prefix"), Problem::PrefixWithoutHyphen);
        }
        let forward_credentials = identity
            .and_then(|i| i.forward_credentials)
            .unwrap_or(false);
        if forward_credentials {
            self.warn(&at.key("forward_credentials"), Hazard::ForwardsCredentials);
        }
        IdentityPolicy {
            header_prefix,
            forward_credentials,
            spoofed: Spoofed::Removed,
        }
    }

    fn audit(&mut self, config: &Config) -> AuditPolicy {
        let at = Path::ROOT.key("audit");
        let audit = config.audit.as_ref();
        let mut sinks = Vec::new();
        match audit.and_then(|a| a.sinks.as_ref()) {
            None => sinks.push(AuditSink::FilterState),
            Some(Many(written)) => {
                if written.is_empty() {
                    self.warn(&at.key("sinks"), Hazard::NoAuditSink);
                }
                for sink in written {
                    let sink = match sink {
                        Sink::FilterState => AuditSink::FilterState,
                        Sink::Log => AuditSink::Log,
                    };
                    if !sinks.contains(&sink) {
                        sinks.push(sink);
                    }
                }
            }
        }
        AuditPolicy {
            sinks,
            unproven_subject: audit.and_then(|a| a.unproven_subject).unwrap_or(false),
            remote_addr: audit.and_then(|a| a.remote_addr).unwrap_or(true),
        }
    }
}

/// `METHOD /path`, exact on both: a wildcard or a second spelling would open more than it says.
fn skip_rule(rule: &str) -> Result<SkipRule, Problem> {
    let (method, path) = rule.split_once(' ').ok_or(Problem::BadSkipRule)?;
    // RFC 9110 section 5.6.2, and in capitals, as every method in use is.
    let method_fine = !method.is_empty()
        && method
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'));
    if method == "*" || path.contains('*') {
        return Err(Problem::SkipWildcard);
    }
    if !method_fine || !path.starts_with('/') {
        return Err(Problem::BadSkipRule);
    }
    if path.contains('%') || canonical_path(path.as_bytes()).as_deref() != Some(path) {
        return Err(Problem::PathNotCanonical);
    }
    Ok(SkipRule {
        method: method.to_owned(),
        path: path.to_owned(),
    })
}

pub(super) fn is_header_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        Self(vec![error])
    }
}

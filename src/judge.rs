//! The chain: one request, one policy, one decision.

mod http_verifier;
mod jwts;

use std::borrow::Cow;
use std::rc::Rc;

use self::http_verifier::{OrgNamed, orgs_named};
use crate::answer;
use crate::apikey::KeyId;
use crate::apikey::bucket::RateLimit;
use crate::apikey::failures::Source;
use crate::audit::{AuditClaims, AuditLine, Envelope, Fail, SCHEMA_VERSION, Ts, Verify};
use crate::authenticator::{Live, Stores, Waited};
use crate::credential::{Credential, IAP_ASSERTION, TokenKind, find_assertion, looks_like_jwt};
use crate::decision::{Allow, Decision, Denial, Limited, Served};
use crate::hygiene::{self, Cleansing};
use crate::identity::Identity;
use crate::jose::verify::SignatureVerifier;
use crate::lookup::{self, Finding, LookupId, NotAsked, Question, Scope};
use crate::metrics::{self, Cache, Outcome, Tally};
use crate::policy::{ApiKeyPolicy, AwsSigV4Policy, Policy, Provider, ProviderKind};
use crate::provider::api_key::{self, KeyAnswer};
use crate::provider::azure::graph::GroupsMissing;
use crate::provider::jwt::Presented;
use crate::provider::sigv4::{BodyProof, Judgement};
use crate::provider::{Answer, Awaited, static_token};
use crate::reason::Code;
use crate::request::{RequestHead, canonical_path};
use crate::sigv4::SignedRequest;
use crate::time::UnixTime;
use crate::trace::{Trace, Verdict};

/// Octets of a path in an audit event. The rest of a longer one says nothing more about who called what.
const MAX_AUDIT_PATH: usize = 1024;

/// All that a decision needs of a request, so that the request itself can go away while it waits.
#[derive(Debug)]
pub(crate) struct Inputs<'a> {
    method: Cow<'a, str>,
    /// Without query: it may hold what is nobody's business.
    path: Cow<'a, str>,
    request_id: Option<Cow<'a, str>>,
    /// For the audit event.
    remote_addr: Option<Cow<'a, str>>,
    /// Where a failed API key is counted.
    source: Option<Source>,
    cleansing: Cleansing,
    skip: bool,
    /// The answer, where it asks for something of the filter's own.
    served: Option<Served>,
    /// The path that a challenge may name; `None` where challenges name none.
    challenged: Option<Cow<'a, str>>,
    /// The organisations it names to the verifiers of the chain.
    orgs: Vec<(usize, OrgNamed<'a>)>,
    agent: Option<Rc<str>>,
    credential: Result<Credential<'a>, Code>,
    /// What stands in [`IAP_ASSERTION`]: a credential of its own kind beside the other one, and looked at only where a provider wants it.
    assertion: Result<Option<Cow<'a, str>>, Code>,
}

impl<'a> Inputs<'a> {
    /// Reads a request's head under a policy.
    pub(crate) fn take(policy: &Policy, head: &RequestHead<'a>) -> Self {
        let raw_path = head.raw_path();
        let canonical = canonical_path(raw_path);
        let credential = Credential::find(
            head,
            &policy.key_places,
            policy.limits.token_bytes,
            policy.reads_signatures(),
        );
        let path = match String::from_utf8_lossy(raw_path) {
            p if p.len() <= MAX_AUDIT_PATH => p,
            p => Cow::Owned(p.chars().take(MAX_AUDIT_PATH / 4).collect()),
        };
        let metadata = policy.resource_metadata.as_ref();
        // Only a path that is written canonically may be skipped or answered: a server that decodes `%2e` or cleans
        // up `//` differently from us would otherwise serve something else without a credential.
        let plain = canonical
            .as_deref()
            .filter(|canonical| canonical.as_bytes() == raw_path);
        let mut cleansing = hygiene::cleanse(head, &policy.identity.header_prefix);
        let wants_assertion = policy
            .providers
            .iter()
            .any(|p| matches!(p.kind, ProviderKind::GcpIap(_)));
        if wants_assertion {
            // Forwarded, it is forwarded in the one spelling that was looked at.
            let forward = policy.identity.forward_credentials;
            cleansing.remove.extend(
                hygiene::spellings(head, IAP_ASSERTION)
                    .into_iter()
                    .filter(|n| !(forward && n.eq_ignore_ascii_case(IAP_ASSERTION.as_bytes()))),
            );
        }
        Self {
            method: String::from_utf8_lossy(head.method),
            skip: plain.is_some_and(|path| {
                policy
                    .skip
                    .iter()
                    .any(|s| s.path == path && s.method.as_bytes() == head.method)
            }),
            served: metadata.and_then(|m| m.serve(head.method, plain?)),
            orgs: orgs_named(policy, head),
            agent: policy.agent.resolve(head, canonical.as_deref()),
            challenged: canonical.filter(|_| metadata.is_some_and(|m| m.per_path)),
            path,
            request_id: head
                .only_value("x-request-id")
                .filter(|id| {
                    (1..=128).contains(&id.len()) && id.bytes().all(|b| (0x21..0x7f).contains(&b))
                })
                .map(Cow::Borrowed),
            remote_addr: head
                .remote_addr
                .filter(|_| policy.audit.remote_addr)
                .map(Cow::Borrowed),
            source: match &credential {
                Ok(Credential::ApiKey(..)) => head.remote_addr.and_then(Source::parse),
                _ => None,
            },
            cleansing,
            credential,
            assertion: if wants_assertion {
                find_assertion(head, policy.limits.token_bytes)
            } else {
                Ok(None)
            },
        }
    }

    pub(crate) fn into_owned(self) -> Inputs<'static> {
        let own = |c: Cow<'_, str>| Cow::Owned(c.into_owned());
        Inputs {
            method: own(self.method),
            path: own(self.path),
            request_id: self.request_id.map(own),
            remote_addr: self.remote_addr.map(own),
            source: self.source,
            cleansing: self.cleansing,
            skip: self.skip,
            served: self.served,
            challenged: self.challenged.map(own),
            orgs: self
                .orgs
                .into_iter()
                .map(|(i, named)| (i, named.map(|org| org.map(own))))
                .collect(),
            agent: self.agent,
            credential: self.credential.map(Credential::into_owned),
            assertion: self.assertion.map(|a| a.map(own)),
        }
    }

    /// What is known before any provider is asked.
    pub(crate) fn trace(&self) -> Trace {
        Trace {
            skipped: self.skip,
            agent: self.agent.clone(),
            credential: match &self.credential {
                Err(code) => Err(*code),
                Ok(_) => Ok(self.token_kind()),
            },
            verdicts: Vec::new(),
        }
    }

    fn token_kind(&self) -> TokenKind {
        match &self.credential {
            Ok(Credential::None) if self.has_assertion() => TokenKind::IapJwt,
            Ok(credential) => credential.kind(),
            Err(
                Code::MalformedSignature
                | Code::UnsupportedSignature
                | Code::StreamingPayload
                | Code::UnsignedHeader
                | Code::ScopeMismatch,
            ) => TokenKind::SigV4,
            Err(_) => TokenKind::Opaque,
        }
    }

    /// Whether there is an assertion, be it a sound one or not.
    fn has_assertion(&self) -> bool {
        !matches!(self.assertion, Ok(None))
    }
}

/// What is known of a caller when a decision falls.
#[derive(Clone, Default)]
struct Known<'p> {
    provider: Option<&'p Provider>,
    identity: Option<Rc<Identity>>,
    unproven_subject: Option<String>,
    /// What its provider takes the credential for.
    token_kind: Option<TokenKind>,
    /// What someone else said about why, such as AWS's error code.
    detail: Option<Rc<str>>,
    cache: Cache,
    retry_at: Option<UnixTime>,
    /// What the audit event repeats of a proven token.
    claims: AuditClaims,
    /// Why the identity lacks groups that its caller has.
    groups_missing: Option<GroupsMissing>,
    key_id: Option<KeyId>,
    /// Why an API key, though genuine, is not good for this request.
    key_forbidden: Option<Code>,
    rate_limit: Option<RateLimit>,
}

/// One run of the chain.
pub(crate) struct Judge<'j> {
    pub live: &'j Live,
    pub stores: &'j mut Stores,
    pub verifier: &'j dyn SignatureVerifier,
    pub now: UnixTime,
    pub waited: Option<&'j Waited>,
    /// The number of its audit event, if it has one already.
    pub seq: Option<u64>,
    /// Where to write down what the providers say; `None` on a proxy.
    pub verdicts: Option<&'j mut Vec<(usize, Verdict)>>,
}

/// What keeps the chain from deciding.
pub(crate) enum Wait {
    /// This has to end.
    Callout(Awaited),
    /// The body has to be hashed, for the provider of that name.
    Body(BodyProof, Option<Rc<str>>),
}

/// A JWT on its way along the chain, read when the first provider asks for it.
enum Jwt<'t> {
    Unread,
    Faulty(Code),
    /// With the index of the provider that owns it, if any.
    Read(Presented<'t>, Option<usize>),
    /// Signed as no provider of JWTs accepts, and of an issuer that none of them has: left to a verifier.
    Foreign,
}

impl<'j> Judge<'j> {
    /// The decision, or what it has to wait for.
    pub(crate) fn run(mut self, inputs: &Inputs<'_>) -> Result<Decision, Wait> {
        let policy = &self.live.policy;
        if let Some(served) = &inputs.served {
            return Ok(Decision::Serve(served.clone()));
        }
        if inputs.skip {
            return Ok(self.allow(inputs, Outcome::Skipped, Known::default()));
        }
        let mut known = Known::default();
        let answer = match &inputs.credential {
            Err(code) => return Ok(self.deny(inputs, *code, Known::default())),
            Ok(Credential::None | Credential::OtherScheme) if inputs.has_assertion() => {
                self.chain(None, inputs, &mut known)
            }
            // Nobody passes a signed request on, so what stands first in the chain decides.
            Ok(Credential::Signed(_)) if inputs.has_assertion() && self.asks_iap_first() => {
                self.chain(None, inputs, &mut known)
            }
            Ok(Credential::None) if policy.required => {
                return Ok(self.deny(inputs, Code::MissingToken, Known::default()));
            }
            Ok(Credential::None) => {
                return Ok(self.allow(inputs, Outcome::Anonymous, Known::default()));
            }
            Ok(Credential::OtherScheme) => {
                return Ok(self.deny(inputs, Code::NotForMe, Known::default()));
            }
            Ok(Credential::Signed(signed)) => match self.signed(signed, &mut known) {
                Judgement::Refused(code) => Answer::Refused(code),
                Judgement::Verified(identity) => Answer::Verified(identity),
                Judgement::NeedBody(proof) => {
                    let provider = known.provider.map(|p| p.name.clone());
                    return Err(Wait::Body(proof, provider));
                }
            },
            Ok(Credential::Bearer(token) | Credential::ApiKey(token, _)) => {
                self.chain(Some(token), inputs, &mut known)
            }
        };
        self.conclude(inputs, answer, known)
    }

    /// Judges a request whose body has come: with its hash, or why it has none.
    pub(crate) fn run_with_body(
        self,
        inputs: &Inputs<'_>,
        provider: Option<&str>,
        proof: BodyProof,
        hash: Result<[u8; 32], Code>,
    ) -> Decision {
        let providers = &self.live.policy.providers;
        let known = Known {
            provider: providers.iter().find(|p| Some(&*p.name) == provider),
            ..Known::default()
        };
        match hash.and_then(|hash| proof.finish(&hash)) {
            Err(code) => self.deny(inputs, code, known),
            Ok(identity) => self.admit(inputs, identity, known),
        }
    }

    fn conclude(
        self,
        inputs: &Inputs<'_>,
        answer: Answer,
        mut known: Known<'j>,
    ) -> Result<Decision, Wait> {
        Ok(match answer {
            Answer::NotForMe => self.deny(inputs, Code::NotForMe, known),
            Answer::Refused(code) => self.deny(inputs, code, known),
            Answer::Unavailable(code, retry_at) => {
                known.retry_at = Some(retry_at);
                self.deny(inputs, code, known)
            }
            Answer::Pending(awaited) => return Err(Wait::Callout(awaited)),
            Answer::Verified(identity) => self.admit(inputs, identity, known),
        })
    }

    /// A proven caller is let in, unless its provider may not vouch for callers of this agent.
    fn admit(self, inputs: &Inputs<'_>, identity: Rc<Identity>, mut known: Known<'j>) -> Decision {
        known.identity = Some(identity);
        known.unproven_subject = None;
        let bound_to = known.provider.and_then(|p| p.agents.as_ref());
        let forbidden = match (bound_to, &inputs.agent) {
            (None, _) => None,
            (Some(_), None) => Some(Code::UnknownAgent),
            (Some(globs), Some(agent)) => (!globs.is_match(agent)).then_some(Code::ForbiddenAgent),
        };
        match forbidden.or(known.key_forbidden) {
            Some(code) => self.deny(inputs, code, known),
            None => self.allow_within_limit(inputs, known),
        }
    }

    /// Whether the chain has a provider of Identity-Aware Proxy assertions before any of signed requests.
    fn asks_iap_first(&self) -> bool {
        let mut kinds = self.live.policy.providers.iter().map(|p| &p.kind);
        let first = kinds.find(|k| matches!(k, ProviderKind::GcpIap(_) | ProviderKind::SigV4(_)));
        matches!(first, Some(ProviderKind::GcpIap(_)))
    }

    /// Asks the first provider that knows the access key and takes its scope; when none takes it, the first that knows the key
    /// says so. Nobody but these providers can judge a signed request.
    fn signed(&mut self, signed: &SignedRequest, known: &mut Known<'j>) -> Judgement {
        let live = self.live;
        if live.policy.audit.unproven_subject {
            known.unproven_subject = Some(signed.access_key_id().to_owned());
        }
        let all = live.policy.providers.iter().enumerate();
        let all = all.filter_map(|(i, provider)| match &provider.kind {
            ProviderKind::SigV4(policy) => Some((i, provider, policy)),
            _ => None,
        });
        let mut owner = None;
        let mut other = None;
        for (i, provider, policy) in all {
            if !policy.knows(signed) {
                other = other.or(Some(policy));
            } else if policy.is_scope(signed) {
                owner = Some((i, provider, policy));
                break;
            } else {
                owner = owner.or(Some((i, provider, policy)));
            }
        }
        match (owner, other) {
            (Some((i, provider, policy)), _) => {
                known.provider = Some(provider);
                let judgement = policy.judge(signed, self.now);
                self.note(
                    i,
                    &match &judgement {
                        Judgement::Refused(code) => Answer::Refused(*code),
                        Judgement::Verified(identity) => Answer::Verified(identity.clone()),
                        Judgement::NeedBody(_) => return judgement,
                    },
                );
                judgement
            }
            (None, Some(policy)) => policy.judge(signed, self.now),
            (None, None) => Judgement::Refused(Code::NotForMe),
        }
    }

    /// Refuses a request for a reason that lies outside the chain.
    pub(crate) fn refuse(self, inputs: &Inputs<'_>, code: Code) -> Decision {
        self.deny(inputs, code, Known::default())
    }

    fn note(&mut self, index: usize, answer: &Answer) {
        if let Some(verdicts) = &mut self.verdicts {
            verdicts.push((
                index,
                match answer {
                    Answer::NotForMe => Verdict::NotForMe,
                    Answer::Refused(code) => Verdict::Refused(*code),
                    Answer::Unavailable(code, _) => Verdict::Unavailable(*code),
                    Answer::Verified(identity) => Verdict::Verified(identity.clone()),
                    Answer::Pending(_) => Verdict::Waits,
                },
            ));
        }
    }

    /// Asks the providers in turn until one says anything but "not for me". Each looks at its own kind of credential.
    fn chain(&mut self, token: Option<&str>, inputs: &Inputs<'_>, known: &mut Known<'j>) -> Answer {
        let live = self.live;
        let is_key = matches!(inputs.credential, Ok(Credential::ApiKey(..)));
        let mut jwt = Jwt::Unread;
        for (i, provider) in live.policy.providers.iter().enumerate() {
            let (answer, whose) = match (&provider.kind, token) {
                (ProviderKind::GcpIap(_), _) => {
                    (self.iap(provider, i, inputs, known), Some(provider))
                }
                (_, None) => (Answer::NotForMe, None),
                // What stands where API keys belong is nothing else, and nothing else is a key.
                (ProviderKind::ApiKey(policy), Some(token)) if is_key => {
                    (self.api_key(policy, inputs, token, known), Some(provider))
                }
                _ if is_key => (Answer::NotForMe, None),
                (ProviderKind::ApiKey(_), _) => (Answer::NotForMe, None),
                (ProviderKind::StaticToken(policy), Some(token)) => {
                    (static_token::judge(policy, token), Some(provider))
                }
                (ProviderKind::AwsSigV4(policy), Some(token)) => {
                    (self.aws(policy, i, token, known), Some(provider))
                }
                (
                    ProviderKind::Oidc(_)
                    | ProviderKind::AzureAd(_)
                    | ProviderKind::GithubActions(_),
                    Some(token),
                ) if looks_like_jwt(token) => {
                    if matches!(jwt, Jwt::Unread) {
                        jwt = self.read(token, known);
                    }
                    match jwt {
                        // A mangled token is nobody's in particular: the chain refuses it, not this provider.
                        Jwt::Faulty(code) => (Answer::Refused(code), None),
                        Jwt::Read(presented, owner) if owner == Some(i) => {
                            // Moved out: whatever the owner says, nobody else is asked.
                            jwt = Jwt::Unread;
                            let answer = self.jwt(provider, i, token, presented, known);
                            (answer, Some(provider))
                        }
                        other => {
                            jwt = other;
                            (Answer::NotForMe, None)
                        }
                    }
                }
                (ProviderKind::HttpVerifier(policy), Some(token)) => {
                    if self.live.judges_jwts && looks_like_jwt(token) && matches!(jwt, Jwt::Unread)
                    {
                        jwt = self.read(token, known);
                    }
                    match &jwt {
                        // Refused whatever the order: a mangled token of another provider must not become a way to this one.
                        Jwt::Faulty(code) => (Answer::Refused(*code), None),
                        Jwt::Read(_, Some(_)) => (Answer::NotForMe, None),
                        _ if self.is_anothers(token) => (Answer::NotForMe, None),
                        _ => {
                            let answer = self.http_verifier(policy, i, token, inputs, known);
                            (answer, Some(provider))
                        }
                    }
                }
                (
                    ProviderKind::Oidc(_)
                    | ProviderKind::AzureAd(_)
                    | ProviderKind::GithubActions(_)
                    | ProviderKind::SigV4(_),
                    Some(_),
                ) => (Answer::NotForMe, None),
            };
            self.note(i, &answer);
            if !matches!(answer, Answer::NotForMe) {
                known.provider = whose;
                return answer;
            }
        }
        Answer::NotForMe
    }

    fn api_key(
        &mut self,
        provider: &ApiKeyPolicy,
        inputs: &Inputs<'_>,
        text: &str,
        known: &mut Known<'j>,
    ) -> Answer {
        let usage = api_key::Use {
            agent: inputs.agent.as_ref(),
            method: &inputs.method,
            source: inputs.source,
        };
        let (policy, failures) = (&self.live.policy, &mut self.stores.key_failures);
        match api_key::judge(provider, policy, text, usage, failures, self.now) {
            KeyAnswer::NotForMe => Answer::NotForMe,
            KeyAnswer::Refused { code, id, retry_at } => {
                known.key_id = id;
                known.retry_at = retry_at;
                Answer::Refused(code)
            }
            KeyAnswer::Verified(proven) => {
                known.key_id = Some(proven.id);
                known.key_forbidden = proven.forbidden;
                known.rate_limit = proven.rate_limit;
                Answer::Verified(proven.identity)
            }
        }
    }

    fn pending(&self, awaited: Awaited) -> Answer {
        if self.waited.is_some_and(|w| self.now >= w.deadline) {
            let code = match awaited {
                Awaited::Keys(_) => Code::KeysUnavailable,
                Awaited::Lookup(_) => Code::LookupUnavailable,
            };
            return Answer::Unavailable(code, self.now);
        }
        Answer::Pending(awaited)
    }

    /// What is known about a question, and if nothing is, asks it. `Err` is the provider's answer meanwhile.
    fn look_up(
        &mut self,
        id: LookupId,
        scope: &Scope,
        question: impl FnOnce() -> Result<Box<dyn Question>, Code>,
        known: &mut Known<'j>,
    ) -> Result<Finding, Answer> {
        let limits = &self.live.policy.limits;
        let since = self.waited.and_then(|w| w.since(id));
        let lookups = &mut self.stores.lookups;
        match lookups.known(&id, since, self.now, limits) {
            lookup::Known::Found(finding) => {
                known.cache = if since.is_some() {
                    Cache::Miss
                } else {
                    Cache::Hit
                };
                Ok(finding)
            }
            lookup::Known::Failed(retry_at) => {
                Err(Answer::Unavailable(Code::LookupUnavailable, retry_at))
            }
            lookup::Known::Pending => Err(self.pending(Awaited::Lookup(id))),
            lookup::Known::Nothing => {
                let question = question().map_err(Answer::Refused)?;
                // Its own wait is over; another request may ask.
                if self.waited.is_some_and(|w| self.now >= w.deadline) {
                    return Err(Answer::Unavailable(Code::LookupUnavailable, self.now));
                }
                known.cache = Cache::Miss;
                match lookups.ask(id, scope, question, self.now, limits) {
                    Ok(()) => Err(self.pending(Awaited::Lookup(id))),
                    Err(NotAsked::Spared(retry_at)) => {
                        Err(Answer::Unavailable(Code::LookupUnavailable, retry_at))
                    }
                    Err(NotAsked::TooMany) => {
                        Err(Answer::Unavailable(Code::TooManyLookups, self.now))
                    }
                }
            }
        }
    }

    /// Judges a presigned STS identity: its form, what STS says of it, who that is, in that order.
    fn aws(
        &mut self,
        policy: &AwsSigV4Policy,
        index: usize,
        token: &str,
        known: &mut Known<'j>,
    ) -> Answer {
        let Some(prefix) = policy.prefix_of(token) else {
            return Answer::NotForMe;
        };
        known.token_kind = Some(TokenKind::SigV4);
        let (live, now) = (self.live, self.now);
        let finding = self.look_up(
            policy.scope.id(token.as_bytes()),
            &policy.scope,
            || {
                let (callouts, limits) = (&live.policy.callouts, &live.policy.limits);
                policy.question(prefix, token, callouts, limits, now)
            },
            known,
        );
        match finding {
            // Another provider may be the one for that region.
            Err(Answer::Refused(Code::ForeignStsEndpoint))
                if live.policy.providers.iter().skip(index + 1).any(|p| {
                    matches!(&p.kind, ProviderKind::AwsSigV4(other) if other.prefix_of(token).is_some())
                }) =>
            {
                Answer::NotForMe
            }
            Err(answer) => answer,
            Ok(Finding::Caller(caller)) => match policy.judge(&caller, self.now) {
                Ok(identity) => Answer::Verified(Rc::new(identity)),
                Err(code) => Answer::Refused(code),
            },
            Ok(Finding::Refused(code, detail)) => {
                known.detail = detail;
                Answer::Refused(code)
            }
            // No other question has an id of this scope.
            Ok(_) => Answer::Unavailable(Code::LookupUnavailable, self.now),
        }
    }

    /// Lets a request in, if its key's rate limit does not say otherwise.
    fn allow_within_limit(mut self, inputs: &Inputs<'_>, known: Known<'j>) -> Decision {
        let (Some(limit), Some(provider), Some(id)) =
            (known.rate_limit, known.provider, known.key_id)
        else {
            return self.allow(inputs, Outcome::Allowed, known);
        };
        // One request, one number, whichever of the two events it will be.
        let seq = self.next_seq();
        Decision::Limited(Box::new(Limited {
            bucket: format!("portcullis.rate/{}/{id}", provider.name),
            limit,
            denial: self.denial(inputs, Code::RateLimited, known.clone(), seq),
            allow: self.allowed(inputs, Outcome::Allowed, known, Some(seq)),
        }))
    }

    fn allow(mut self, inputs: &Inputs<'_>, outcome: Outcome, known: Known<'j>) -> Decision {
        Decision::Allow(self.allowed(inputs, outcome, known, None))
    }

    /// `seq` is the number of its audit event, if it has one already.
    fn allowed(
        &mut self,
        inputs: &Inputs<'_>,
        outcome: Outcome,
        known: Known<'j>,
        seq: Option<u64>,
    ) -> Allow {
        let policy = &self.live.policy;
        let mut allow = Allow {
            remove: inputs.cleansing.remove.clone(),
            tally: Some(Tally {
                provider: known.provider.map(|p| p.name.clone()),
                outcome,
                cache: known.cache,
            }),
            count: known.groups_missing.map(|_| metrics::Id::GroupsMissing),
            ..Allow::default()
        };
        match inputs.cleansing.connection.as_deref() {
            Some("") => allow.remove.push(b"connection".to_vec()),
            Some(kept) => allow.set.push(("connection".into(), kept.to_owned())),
            None => {}
        }
        if !policy.identity.forward_credentials {
            let key_header;
            let names: &[&[u8]] = match inputs.credential {
                Ok(Credential::Bearer(_)) => &[b"authorization"],
                // A presigned query stays: a path that lost its parameters is another path.
                Ok(Credential::Signed(_)) => &[b"authorization", b"x-amz-security-token"],
                Ok(Credential::ApiKey(_, place)) => {
                    key_header = [policy.key_places.header(place).as_bytes()];
                    &key_header
                }
                _ => &[],
            };
            allow.remove.extend(names.iter().map(|name| name.to_vec()));
        }
        if let (Some(identity), Some(provider)) = (&known.identity, known.provider) {
            let names = &self.live.names;
            let mut set =
                |name: &Rc<str>, value: &str| allow.set.push((name.clone(), value.to_owned()));
            set(&names.user_id, identity.user_id());
            for (name, value) in [
                (&names.email, identity.email()),
                (&names.org_id, identity.org_id()),
                (&names.workspace_id, identity.workspace_id()),
                (&names.agent, inputs.agent.as_deref()),
            ] {
                if let Some(value) = value {
                    set(name, value);
                }
            }
            if !identity.groups().is_empty() {
                set(&names.groups, &joined(identity.groups()));
            }
            set(&names.provider, &provider.name);
            if let Some(id) = &known.key_id {
                set(&names.key_id, id.as_str());
            }
        }
        if outcome != Outcome::Skipped {
            allow.audit = self.verify_line(inputs, &known, seq);
        }
        allow
    }

    fn verify_line(
        &mut self,
        inputs: &Inputs<'_>,
        known: &Known<'j>,
        seq: Option<u64>,
    ) -> Option<AuditLine> {
        if self.live.policy.audit.sinks.is_empty() {
            return None;
        }
        let seq = seq.unwrap_or_else(|| self.next_seq());
        let identity = known.identity.as_deref();
        Envelope {
            ts: Ts(self.now),
            event: "auth_verify",
            schema_version: SCHEMA_VERSION,
            seq,
            correlation_id: &self.request_id(inputs),
            org_id: identity.and_then(Identity::org_id).unwrap_or_default(),
            entity_id: inputs.agent.as_deref().unwrap_or_default(),
            entity_type: "agent",
            fields: Verify {
                method: &inputs.method,
                path: &inputs.path,
                provider: known.provider.map_or("anonymous", |p| p.kind.type_name()),
                provider_name: known.provider.map_or("anonymous", |p| &p.name),
                user_id: identity.map(Identity::user_id).unwrap_or_default(),
                email: identity.and_then(Identity::email),
                org_id: identity.and_then(Identity::org_id),
                token_kind: known
                    .token_kind
                    .unwrap_or_else(|| inputs.token_kind())
                    .as_str(),
                groups_count: identity.map_or(0, |i| i.groups().len()),
                groups_missing: known.groups_missing.map(GroupsMissing::as_str),
                claims: &known.claims,
                remote_addr: inputs.remote_addr.as_deref(),
                agent: inputs.agent.as_deref(),
                key_id: known.key_id.as_ref().map(KeyId::as_str),
                config_version: &self.live.policy.version,
                cache: known.cache.as_str(),
            },
        }
        .line()
    }

    fn deny(mut self, inputs: &Inputs<'_>, code: Code, known: Known<'j>) -> Decision {
        let seq = self.next_seq();
        Decision::Deny(self.denial(inputs, code, known, seq))
    }

    /// `seq` is the number of its audit event.
    fn denial(&self, inputs: &Inputs<'_>, code: Code, known: Known<'j>, seq: u64) -> Denial {
        let policy = &self.live.policy;
        let request_id = self.request_id(inputs);
        let audit = if policy.audit.sinks.is_empty() {
            None
        } else {
            Envelope {
                ts: Ts(self.now),
                event: "auth_fail",
                schema_version: SCHEMA_VERSION,
                seq,
                correlation_id: &request_id,
                org_id: known
                    .identity
                    .as_deref()
                    .and_then(Identity::org_id)
                    .unwrap_or_default(),
                entity_id: inputs.agent.as_deref().unwrap_or_default(),
                entity_type: "agent",
                fields: Fail {
                    reason: code.reason().as_str(),
                    code: code.as_str(),
                    token_kind: known
                        .token_kind
                        .unwrap_or_else(|| inputs.token_kind())
                        .as_str(),
                    method: &inputs.method,
                    path: &inputs.path,
                    remote_addr: inputs.remote_addr.as_deref(),
                    provider: known.provider.map(|p| p.kind.type_name()),
                    provider_name: known.provider.map(|p| &*p.name),
                    agent: inputs.agent.as_deref(),
                    key_id: known.key_id.as_ref().map(KeyId::as_str),
                    user_id: known.identity.as_deref().map(Identity::user_id),
                    claims: &known.claims,
                    unproven_subject: known.unproven_subject.as_deref(),
                    detail: known.detail.as_deref(),
                    config_version: &policy.version,
                    cache: known.cache.as_str(),
                },
            }
            .line()
        };
        let retry_after = known.retry_at.map(|at| at.since(self.now));
        let mut response =
            answer::response(code, policy.unavailable_status, retry_after, &request_id);
        if let Some(metadata) = &policy.resource_metadata {
            response.add_to_challenge(&metadata.challenge(inputs.challenged.as_deref()));
        }
        Denial {
            status: response.status,
            headers: response.headers,
            body: response.body,
            code,
            audit,
            tally: Some(Tally {
                provider: known.provider.map(|p| p.name.clone()),
                outcome: Outcome::Denied(code),
                cache: known.cache,
            }),
        }
    }

    fn next_seq(&mut self) -> u64 {
        match self.seq {
            Some(seq) => seq,
            None => self.stores.next_seq(),
        }
    }

    /// The proxy's request id, or one of our own where it has none.
    fn request_id<'i>(&self, inputs: &'i Inputs<'_>) -> Cow<'i, str> {
        match &inputs.request_id {
            Some(id) => Cow::Borrowed(id),
            None => Cow::Owned(format!("{:016x}-{}", self.stores.seed, self.stores.seq)),
        }
    }
}

/// Group names as one header value: separated by commas, with `%` and `,` in a name percent-encoded, so that no name
/// can pass for two.
fn joined(groups: &[String]) -> String {
    let mut out = String::new();
    for (i, group) in groups.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        for c in group.chars() {
            match c {
                '%' => out.push_str("%25"),
                ',' => out.push_str("%2C"),
                c => out.push(c),
            }
        }
    }
    out
}

/// The names of the identity headers under a policy's prefix, made once.
#[derive(Debug)]
pub(crate) struct HeaderNames {
    user_id: Rc<str>,
    email: Rc<str>,
    org_id: Rc<str>,
    workspace_id: Rc<str>,
    groups: Rc<str>,
    provider: Rc<str>,
    agent: Rc<str>,
    key_id: Rc<str>,
}

impl HeaderNames {
    pub(crate) fn new(prefix: &str) -> Self {
        let name = |part: &str| Rc::from(format!("{prefix}{part}"));
        Self {
            user_id: name("user-id"),
            email: name("email"),
            org_id: name("org-id"),
            workspace_id: name("workspace-id"),
            groups: name("groups"),
            provider: name("provider"),
            agent: name("agent"),
            key_id: name("key-id"),
        }
    }
}

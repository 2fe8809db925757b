//! The chain: one request, one policy, one decision.

mod http_verifier;
mod inputs;
mod issuers;
mod jwts;
mod outcome;

use std::rc::Rc;

pub(crate) use self::inputs::Inputs;
pub(crate) use self::issuers::Issuers;
pub(crate) use self::outcome::HeaderNames;
use crate::apikey::KeyId;
use crate::apikey::bucket::RateLimit;
use crate::apikey::feed::{KeyUse, View};
use crate::audit::AuditClaims;
use crate::authenticator::Authenticator;
use crate::credential::{Credential, TokenKind};
use crate::decision::Decision;
use crate::identity::{Identity, Refused};
use crate::jose::verify::SignatureVerifier;
use crate::lookup::{self, Finding, LookupId, NotAsked, Question, Scope};
use crate::metrics::{Cache, Outcome};
use crate::policy::{ApiKeyPolicy, AwsSigV4Policy, Provider, ProviderKind};
use crate::provider::api_key::{self, Feed, KeyAnswer};
use crate::provider::azure::graph::GroupsMissing;
use crate::provider::jwt::Presented;
use crate::provider::sigv4::{BodyProof, Judgement};
use crate::provider::{Answer, Awaited, static_token};
use crate::reason::Code;
use crate::sigv4::SignedRequest;
use crate::stores::{Live, Stores};
use crate::time::UnixTime;
use crate::tokens::Hashed;
use crate::trace::Verdict;
use crate::waiting::Waited;

/// What is known of a caller when a decision falls.
#[derive(Clone, Default)]
struct Known<'p> {
    provider: Option<&'p Provider>,
    identity: Option<Rc<Identity>>,
    /// Whom the credential names, proven, that its provider refuses.
    refused: Refused,
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
    /// To be counted when it is decided.
    key_use: Option<KeyUse>,
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

/// A bearer token on its way along the chain, if it is a JWT: read when the first provider asks for it.
enum Jwt<'t> {
    /// It is none, or none that this chain judges.
    None,
    Unread(Hashed<'t>),
    Faulty(Code),
    /// With the index of the provider that owns it, if any.
    Read(Box<Presented<'t>>, Option<usize>),
    /// Signed as no provider of JWTs accepts, and of an issuer that none of them has: left to a verifier.
    Foreign,
}

impl<'j> Judge<'j> {
    /// The chain for a request that has been judged once and has a number in the audit log since: under the policy it began with.
    pub(crate) fn again(
        live: &'j Live,
        stores: &'j mut Stores,
        auth: &'j Authenticator,
        now: UnixTime,
        seq: u64,
    ) -> Self {
        Self {
            live,
            stores,
            verifier: &*auth.verifier,
            now,
            waited: None,
            seq: Some(seq),
            verdicts: None,
        }
    }

    /// The decision, or what it has to wait for.
    pub(crate) fn run(mut self, inputs: &Inputs<'_>) -> Result<Decision, Wait> {
        let policy = &self.live.policy;
        if inputs.spoofed {
            return Ok(self.deny(inputs, Code::IdentityHeader, Known::default()));
        }
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
                self.chain(None, None, inputs, &mut known)
            }
            // Nobody passes a signed request on, so what stands first in the chain decides.
            Ok(Credential::Signed(_)) if inputs.has_assertion() && self.asks_iap_first() => {
                self.chain(None, None, inputs, &mut known)
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
            Ok(Credential::Bearer(token)) => {
                let is_jwt = self.live.chain.judges_jwts && inputs.is_jwt();
                let jwt = is_jwt.then(|| self.stores.tokens.hashed(token));
                match jwt.and_then(|jwt| self.seen_before(jwt, inputs, &mut known)) {
                    Some(answer) => answer,
                    None => self.chain(Some(token), jwt, inputs, &mut known),
                }
            }
            Ok(Credential::ApiKey(key, _)) => self.chain(Some(key), None, inputs, &mut known),
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
    fn chain(
        &mut self,
        token: Option<&str>,
        jwt: Option<Hashed<'_>>,
        inputs: &Inputs<'_>,
        known: &mut Known<'j>,
    ) -> Answer {
        let live = self.live;
        let is_key = matches!(inputs.credential, Ok(Credential::ApiKey(..)));
        let mut jwt = jwt.map_or(Jwt::None, Jwt::Unread);
        for (i, provider) in live.policy.providers.iter().enumerate() {
            let (answer, whose) = match (&provider.kind, token) {
                (ProviderKind::GcpIap(_), _) => {
                    (self.iap(provider, i, inputs, known), Some(provider))
                }
                (_, None) => (Answer::NotForMe, None),
                // What stands where API keys belong is nothing else, and nothing else is a key.
                (ProviderKind::ApiKey(policy), Some(token)) if is_key => {
                    let answer = self.api_key(policy, i, inputs, token, known);
                    (answer, Some(provider))
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
                    Some(_),
                ) if inputs.is_jwt() => {
                    if let Jwt::Unread(token) = jwt {
                        jwt = self.read(token, known);
                    }
                    match jwt {
                        // A mangled token is nobody's in particular: the chain refuses it, not this provider.
                        Jwt::Faulty(code) => (Answer::Refused(code), None),
                        Jwt::Read(presented, owner) if owner == Some(i) => {
                            // Moved out: whatever the owner says, nobody else is asked.
                            jwt = Jwt::Unread(presented.hashed());
                            let answer = self.jwt(provider, i, *presented, known);
                            (answer, Some(provider))
                        }
                        other => {
                            jwt = other;
                            (Answer::NotForMe, None)
                        }
                    }
                }
                (ProviderKind::HttpVerifier(policy), Some(token)) => {
                    if let Jwt::Unread(token) = jwt {
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
        index: usize,
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
        let feed_id = self.live.feeds.get(index).copied().flatten();
        let source = feed_id.and_then(|id| self.stores.feeds.get(id));
        let feed = provider.feed.as_ref().map(|feed| match source {
            Some(source) => Feed {
                view: source.view(self.now, feed.max_staleness),
                uses: source.uses(),
            },
            // No policy is without the feeds that it wants.
            None => Feed {
                view: View::Unavailable(self.now),
                uses: None,
            },
        });
        match api_key::judge(provider, policy, text, usage, feed, failures, self.now) {
            KeyAnswer::NotForMe => Answer::NotForMe,
            KeyAnswer::Loading => match feed_id {
                Some(id) => self.pending(Awaited::Feed(id)),
                None => Answer::Unavailable(Code::FeedUnavailable, self.now),
            },
            KeyAnswer::Unavailable(code, retry_at) => Answer::Unavailable(code, retry_at),
            KeyAnswer::Refused {
                code,
                id,
                retry_at,
                used,
            } => {
                known.key_id = id;
                known.retry_at = retry_at;
                known.key_use = used;
                Answer::Refused(code)
            }
            KeyAnswer::Verified(proven) => {
                known.key_id = Some(proven.id);
                known.key_forbidden = proven.forbidden;
                known.rate_limit = proven.rate_limit;
                known.key_use = proven.used;
                Answer::Verified(proven.identity)
            }
        }
    }

    fn pending(&self, awaited: Awaited) -> Answer {
        if self.waited.is_some_and(|w| self.now >= w.deadline) {
            return Answer::Unavailable(awaited.unavailable(), self.now);
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
                Err(code) => {
                known.refused = AwsSigV4Policy::refused(&caller);
                Answer::Refused(code)
            }
            },
            Ok(Finding::Refused(code, detail)) => {
                known.detail = detail;
                Answer::Refused(code)
            }
            // No other question has an id of this scope.
            Ok(_) => Answer::Unavailable(Code::LookupUnavailable, self.now),
        }
    }
}

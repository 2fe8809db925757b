//! JSON Web Tokens on their way along the chain: whose they are, with which key they are proven, what their provider makes of them.

use std::rc::Rc;

use super::{Inputs, Judge, Jwt, Known};
use crate::claims::Claims;
use crate::credential::TokenKind;
use crate::identity::Identity;
use crate::jose::jwks::KeySet;
use crate::keys::source::{Keys, UnknownKid};
use crate::lookup::Finding;
use crate::metrics::Cache;
use crate::policy::{GraphPolicy, KeyOrigin, Provider, ProviderKind};
use crate::provider::azure::graph::GroupsMissing;
use crate::provider::jwt::{
    Issuer, JwtRules, NoProof, Ownership, Presented, claims_of_unsupported,
};
use crate::provider::{Answer, Awaited};
use crate::reason::Code;
use crate::standing::Standing;

impl<'j> Judge<'j> {
    pub(super) fn read<'t>(&mut self, token: &'t str, known: &mut Known<'j>) -> Jwt<'t> {
        let policy = &self.live.policy;
        match Presented::read(token, &mut self.stores.tokens, &policy.limits) {
            Err(Code::UnsupportedAlgorithm)
                if self.live.chain.asks_verifier
                    && claims_of_unsupported(token, &policy.limits)
                        .is_some_and(|claims| self.owner(&claims).is_none()) =>
            {
                Jwt::Foreign
            }
            Err(code) => Jwt::Faulty(code),
            Ok(presented) => {
                let claims = presented.unproven();
                if policy.audit.unproven_subject {
                    known.unproven_subject = claims.subject().map(str::to_owned);
                }
                let owner = self.owner(claims);
                Jwt::Read(Box::new(presented), owner)
            }
        }
    }

    fn owner(&self, claims: &Claims) -> Option<usize> {
        let live = self.live;
        live.issuers.owner(&live.policy.providers, claims)
    }

    /// The short way for a bearer token that was let in before: by the same policy, under the same keys, and its time has not run
    /// out. Whatever has changed, the chain judges it anew. An assertion may concern a provider that stands before, so then as well.
    pub(super) fn seen_before(
        &mut self,
        token: &str,
        inputs: &Inputs<'_>,
        known: &mut Known<'j>,
    ) -> Option<Answer> {
        if !self.live.chain.judges_jwts || inputs.has_assertion() || self.verdicts.is_some() {
            return None;
        }
        // An assertion is none as a bearer token, however good it is in its own header.
        let (standing, provider) = self.standing(token, |k| k.bearer_rules().is_some())?;
        known.provider = Some(provider);
        Some(stand(&standing, known))
    }

    /// What this policy made of a token under the keys in force, if its time has not run out and a provider of this kind did.
    fn standing(
        &mut self,
        token: &str,
        is_kind: impl Fn(&ProviderKind) -> bool,
    ) -> Option<(Rc<Standing>, &'j Provider)> {
        let policy = &self.live.policy;
        let seen = self.stores.tokens.verified(token, &policy.limits)?;
        let standing = seen.standing.under(self.live.serial)?;
        let provider = policy.providers.get(standing.provider)?;
        let rules = provider
            .kind
            .jwt_rules()
            .filter(|_| is_kind(&provider.kind))?;
        let keys = self.keys(rules, standing.provider).ok()?;
        let good = standing.is_under(&keys) && standing.validity.check(self.now).is_ok();
        good.then_some((standing, provider))
    }

    /// The keys in force of the provider at that place. `Err` is its answer without them.
    fn keys(&mut self, rules: &dyn JwtRules, index: usize) -> Result<Rc<KeySet>, Answer> {
        let limits = &self.live.policy.limits;
        let id = match rules.keys() {
            KeyOrigin::Inline(keys) => return Ok(keys.clone()),
            KeyOrigin::Remote(_) => self.live.sources.get(index).copied().flatten(),
        };
        let keys = id.and_then(|id| Some((id, self.stores.keys.get(id)?.keys(self.now, limits))));
        match keys {
            Some((_, Keys::InForce(keys))) => Ok(keys),
            Some((id, Keys::Wait)) => Err(self.pending(Awaited::Keys(id))),
            Some((_, Keys::Unavailable(at))) => Err(Answer::Unavailable(Code::KeysUnavailable, at)),
            None => Err(Answer::Unavailable(Code::KeysUnavailable, self.now)),
        }
    }

    /// Judges a token of this provider's issuer: keys, signature, claims, in that order.
    pub(super) fn jwt(
        &mut self,
        provider: &Provider,
        index: usize,
        token: &str,
        presented: Presented<'_>,
        known: &mut Known<'j>,
    ) -> Answer {
        let Some(rules) = provider.kind.jwt_rules() else {
            return Answer::NotForMe;
        };
        let limits = &self.live.policy.limits;
        let source = self.live.sources.get(index).copied().flatten();
        let keys = match self.keys(rules, index) {
            Ok(keys) => keys,
            Err(answer) => return answer,
        };
        match presented.prove(
            token,
            &Issuer { rules, keys: &keys },
            &mut self.stores.tokens,
            self.verifier,
            limits,
            self.now,
        ) {
            Ok(proven) => {
                let claims = &proven.claims;
                known.cache = proven.cache;
                known.claims = rules.audit_claims(claims);
                let judged = rules.validity(claims).and_then(|validity| {
                    validity.check(self.now)?;
                    Ok((validity, rules.judge(claims)?))
                });
                match judged {
                    Ok((validity, identity)) => match rules.more_groups(claims) {
                        Some(graph) => self.with_groups(graph, token, claims, identity, known),
                        None => {
                            let identity = Rc::new(identity);
                            proven.token.standing.set(Standing {
                                policy: self.live.serial,
                                provider: index,
                                keys: Rc::downgrade(&keys),
                                validity,
                                identity: identity.clone(),
                                claims: known.claims.clone(),
                            });
                            Answer::Verified(identity)
                        }
                    },
                    Err(code) => {
                        known.refused = rules.refused(claims);
                        Answer::Refused(code)
                    }
                }
            }
            Err(NoProof::Refused(code)) => Answer::Refused(code),
            Err(NoProof::UnknownKid(kid)) => {
                let Some(id) = source else {
                    return Answer::Refused(Code::UnknownKid);
                };
                let waited_since = self
                    .waited
                    .filter(|w| w.awaited == Awaited::Keys(id))
                    .map(|w| w.attempts);
                let verdict = self
                    .stores
                    .keys
                    .get_mut(id)
                    .map(|s| s.unknown_kid(&kid, waited_since, self.now, limits));
                match verdict {
                    Some(UnknownKid::Wait) => self.pending(Awaited::Keys(id)),
                    Some(UnknownKid::Unavailable(at)) => {
                        Answer::Unavailable(Code::KeysUnavailable, at)
                    }
                    Some(UnknownKid::Refuse) | None => Answer::Refused(Code::UnknownKid),
                }
            }
        }
    }

    /// Judges the assertion of Google's Identity-Aware Proxy, when there is one. Of several providers of this type the first whose
    /// audience matches owns it; when none matches, the first one says so.
    pub(super) fn iap(
        &mut self,
        provider: &Provider,
        index: usize,
        inputs: &Inputs<'_>,
        known: &mut Known<'j>,
    ) -> Answer {
        let token = match &inputs.assertion {
            Ok(None) => return Answer::NotForMe,
            Ok(Some(token)) => token,
            Err(code) => {
                known.token_kind = Some(TokenKind::IapJwt);
                return Answer::Refused(*code);
            }
        };
        let is_iap = |k: &ProviderKind| matches!(k, ProviderKind::GcpIap(_));
        if self.verdicts.is_none()
            && let Some((standing, _)) = self.standing(token, is_iap)
        {
            if standing.provider != index {
                return Answer::NotForMe;
            }
            known.token_kind = Some(TokenKind::IapJwt);
            return stand(&standing, known);
        }
        let policy = &self.live.policy;
        let presented = match Presented::read(token, &mut self.stores.tokens, &policy.limits) {
            Ok(presented) => presented,
            Err(code) => {
                known.token_kind = Some(TokenKind::IapJwt);
                return Answer::Refused(code);
            }
        };
        let claims = presented.unproven();
        let (mut first, mut owner) = (None, None);
        let mut of_this_issuer = false;
        for (i, provider) in policy.providers.iter().enumerate() {
            if let ProviderKind::GcpIap(rules) = &provider.kind {
                first = first.or(Some(i));
                let iss = claims.issuer().unwrap_or_default();
                match rules.ownership(iss, claims) {
                    Ownership::None => {}
                    Ownership::Issuer => of_this_issuer = true,
                    Ownership::Audience => {
                        of_this_issuer = true;
                        owner = owner.or(Some(i));
                    }
                }
            }
        }
        if owner.or(first) != Some(index) {
            return Answer::NotForMe;
        }
        known.token_kind = Some(TokenKind::IapJwt);
        if policy.audit.unproven_subject {
            known.unproven_subject = claims.subject().map(str::to_owned);
        }
        if !of_this_issuer {
            // There is nobody else whom this header could be for.
            return Answer::Refused(Code::IssuerMismatch);
        }
        self.jwt(provider, index, token, presented, known)
    }

    /// Adds the groups that a token was too small for. Without them the caller is still who he is: he is let in, and the
    /// audit event says what is missing.
    fn with_groups(
        &mut self,
        graph: &GraphPolicy,
        token: &str,
        claims: &Claims,
        mut identity: Identity,
        known: &mut Known<'j>,
    ) -> Answer {
        let cache = known.cache;
        let live = self.live;
        let now = self.now;
        let finding = self.look_up(
            graph.scope.id(token.as_bytes()),
            &graph.scope,
            || {
                let callouts = &live.policy.callouts;
                Ok(graph.question(token, claims.expires_at(), callouts, now))
            },
            known,
        );
        // "hit" says that this request needed nobody: neither a signature to be verified nor an answer.
        if known.cache != Cache::Miss {
            known.cache = cache;
        }
        match finding {
            Err(Answer::Pending(awaited)) => return Answer::Pending(awaited),
            Ok(Finding::Groups(found)) => {
                identity.groups = found.ids().to_vec();
                known.groups_missing = found.is_cut().then_some(GroupsMissing::Cut);
            }
            Ok(Finding::Refused(..)) => known.groups_missing = Some(GroupsMissing::Refused),
            Ok(Finding::Caller(_) | Finding::Identity(_)) | Err(_) => {
                known.groups_missing = Some(GroupsMissing::Unavailable);
            }
        }
        Answer::Verified(Rc::new(identity))
    }
}

/// What a request with a remembered judgement is answered.
fn stand(standing: &Standing, known: &mut Known<'_>) -> Answer {
    known.cache = Cache::Hit;
    known.claims = standing.claims.clone();
    Answer::Verified(standing.identity.clone())
}

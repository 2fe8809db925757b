//! JSON Web Tokens on their way along the chain: whose they are, with which key they are proven, what their provider makes of them.

use std::rc::Rc;

use super::{Inputs, Judge, Jwt, Known};
use crate::audit::AuditClaims;
use crate::claims::Claims;
use crate::credential::TokenKind;
use crate::identity::{Identity, Refused};
use crate::jose::jwks::KeySet;
use crate::keys::source::{Keys, UnknownKid};
use crate::lookup::Finding;
use crate::metrics::Cache;
use crate::policy::{GraphPolicy, KeyOrigin, Provider, ProviderKind};
use crate::provider::azure::graph::GroupsMissing;
use crate::provider::jwt::{
    Issuer, JwtRules, NoProof, Ownership, Presented, Proven, claims_of_unsupported,
};
use crate::provider::validity::Validity;
use crate::provider::{Answer, Awaited};
use crate::reason::Code;
use crate::standing::{Grounds, Refusal, Standing, Verdict};
use crate::tokens::{FailedToken, Hashed};

impl<'j> Judge<'j> {
    pub(super) fn read<'t>(&mut self, token: Hashed<'t>, known: &mut Known<'j>) -> Jwt<'t> {
        let policy = &self.live.policy;
        match Presented::read(token, &mut self.stores.tokens, &policy.limits) {
            Err(Code::UnsupportedAlgorithm)
                if self.live.chain.asks_verifier
                    && claims_of_unsupported(token.text(), &policy.limits)
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

    /// The short way for a bearer token that was judged before: by the same policy, under the same keys, and at a time of which
    /// the same is to be said. Whatever has changed, the chain judges it anew. An assertion may concern a provider that stands
    /// before, so then as well.
    pub(super) fn seen_before(
        &mut self,
        token: Hashed<'_>,
        inputs: &Inputs<'_>,
        known: &mut Known<'j>,
    ) -> Option<Answer> {
        if inputs.has_assertion() {
            return None;
        }
        // An assertion is none as a bearer token, however good it is in its own header.
        let before = self.before(token, |k| k.bearer_rules().is_some())?;
        known.provider = self.live.policy.providers.get(before.provider);
        Some(before.tell(known))
    }

    /// What a provider of this kind said of a token, if it would say so again.
    fn before(
        &mut self,
        token: Hashed<'_>,
        is_kind: impl Fn(&ProviderKind) -> bool,
    ) -> Option<Before> {
        // Whoever wants to know how the chain comes to its answer wants to see it asked.
        if self.verdicts.is_some() {
            return None;
        }
        let (live, now) = (self.live, self.now);
        let limits = &live.policy.limits;
        let before = if let Some(token) = self.stores.tokens.verified(token, limits) {
            let standing = token.standing.under(live.serial)?;
            if !standing.holds(now) || !self.are_as_they_were(&standing.grounds, is_kind) {
                return None;
            }
            Before::of(&standing)
        } else {
            let failed = self.stores.tokens.failed(token, now, limits)?;
            if !self.are_as_they_were(&failed.grounds, is_kind) {
                return None;
            }
            Before::of_forged(&failed)
        };
        // What a refused token says of itself, where that is wanted, is in the token alone.
        let is_told_all =
            matches!(before.answer, Answer::Verified(_)) || !live.policy.audit.unproven_subject;
        is_told_all.then_some(before)
    }

    /// Whether this policy judged, by a provider of this kind and under the keys that are in force now.
    fn are_as_they_were(
        &mut self,
        grounds: &Grounds,
        is_kind: impl Fn(&ProviderKind) -> bool,
    ) -> bool {
        let live = self.live;
        let provider = live.policy.providers.get(grounds.provider);
        let rules = provider
            .filter(|provider| grounds.policy == live.serial && is_kind(&provider.kind))
            .and_then(|provider| provider.kind.jwt_rules());
        rules.is_some_and(|rules| {
            self.keys(rules, grounds.provider)
                .is_ok_and(|keys| grounds.are_under(&keys))
        })
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
        presented: Presented<'_>,
        known: &mut Known<'j>,
    ) -> Answer {
        let Some(rules) = provider.kind.jwt_rules() else {
            return Answer::NotForMe;
        };
        let source = self.live.sources.get(index).copied().flatten();
        let keys = match self.keys(rules, index) {
            Ok(keys) => keys,
            Err(answer) => return answer,
        };
        let issuer = Issuer {
            rules,
            keys: &keys,
            policy: self.live.serial,
            provider: index,
        };
        let text = presented.hashed().text();
        let proof = presented.prove(
            &issuer,
            &mut self.stores.tokens,
            self.verifier,
            &self.live.policy.limits,
            self.now,
        );
        match proof {
            Ok(proven) => self.proven(&issuer, text, &proven, known),
            Err(NoProof::Refused(code)) => Answer::Refused(code),
            Err(NoProof::BadSignature(cache)) => {
                known.cache = cache;
                Answer::Refused(Code::BadSignature)
            }
            Err(NoProof::UnknownKid(kid)) => {
                let Some(id) = source else {
                    return Answer::Refused(Code::UnknownKid);
                };
                let waited_since = self
                    .waited
                    .filter(|w| w.awaited == Awaited::Keys(id))
                    .map(|w| w.attempts);
                let verdict =
                    self.stores.keys.get_mut(id).map(|s| {
                        s.unknown_kid(&kid, waited_since, self.now, &self.live.policy.limits)
                    });
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

    /// Judges what a proven token says, and has it remembered.
    fn proven(
        &mut self,
        issuer: &Issuer<'_>,
        text: &str,
        proven: &Proven,
        known: &mut Known<'j>,
    ) -> Answer {
        let (rules, claims) = (issuer.rules, &proven.claims);
        known.cache = proven.cache;
        known.claims = rules.audit_claims(claims);
        let (validity, judged, untimely) = match rules.validity(claims) {
            Ok(validity) => match validity.check(self.now) {
                Ok(()) => (validity, rules.judge(claims), false),
                Err(code) => (validity, Err(code), true),
            },
            // Without times it is refused at any.
            Err(code) => (Validity::ALWAYS, Err(code), false),
        };
        let (verdict, answer) = match judged {
            Ok(identity) => match rules.more_groups(claims) {
                // What others say of it is remembered by itself.
                Some(graph) => (None, self.with_groups(graph, text, claims, identity, known)),
                None => {
                    let identity = self.stores.tokens.callers.shared(identity);
                    let verdict = Verdict::LetIn(identity.clone());
                    (Some(verdict), Answer::Verified(identity))
                }
            },
            Err(code) => {
                known.refused = rules.refused(claims);
                let refusal = Refusal {
                    code,
                    whom: known.refused.clone(),
                    untimely,
                };
                let verdict = Verdict::KeptOut(Box::new(refusal));
                (Some(verdict), Answer::Refused(code))
            }
        };
        if let Some(verdict) = verdict {
            proven.token.standing.set(Standing {
                grounds: issuer.grounds(),
                validity,
                verdict,
                claims: known.claims.clone(),
            });
        }
        if proven.cache == Cache::Miss {
            let limits = &self.live.policy.limits;
            self.stores.tokens.remember(&proven.token, limits);
        }
        answer
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
        let token = self.stores.tokens.hashed(token);
        let is_iap = |k: &ProviderKind| matches!(k, ProviderKind::GcpIap(_));
        if let Some(before) = self.before(token, is_iap) {
            if before.provider != index {
                return Answer::NotForMe;
            }
            known.token_kind = Some(TokenKind::IapJwt);
            return before.tell(known);
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
        let iss = claims.issuer().unwrap_or_default();
        let (mut first, mut owner) = (None, None);
        let mut of_this_issuer = false;
        for (i, provider) in policy.providers.iter().enumerate() {
            if let ProviderKind::GcpIap(rules) = &provider.kind {
                first = first.or(Some(i));
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
        self.jwt(provider, index, presented, known)
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

/// A judgement that was made before and would be made again.
struct Before {
    provider: usize,
    answer: Answer,
    cache: Cache,
    claims: AuditClaims,
    refused: Refused,
}

impl Before {
    /// Of a standing that holds.
    fn of(standing: &Standing) -> Self {
        let (answer, refused) = match &standing.verdict {
            Verdict::LetIn(identity) => (Answer::Verified(identity.clone()), Refused::default()),
            Verdict::KeptOut(refusal) => (Answer::Refused(refusal.code), refusal.whom.clone()),
        };
        Self {
            provider: standing.grounds.provider,
            answer,
            cache: Cache::Hit,
            claims: standing.claims.clone(),
            refused,
        }
    }

    fn of_forged(failed: &FailedToken) -> Self {
        Self {
            provider: failed.grounds.provider,
            answer: Answer::Refused(Code::BadSignature),
            cache: Cache::FailedHit,
            claims: AuditClaims::default(),
            refused: Refused::default(),
        }
    }

    /// Tells what is known of the caller, and the answer.
    fn tell(self, known: &mut Known<'_>) -> Answer {
        known.cache = self.cache;
        known.claims = self.claims;
        known.refused = self.refused;
        self.answer
    }
}

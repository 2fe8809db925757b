//! The verifier's place in the chain: what nobody else recognises.

use std::borrow::Cow;

use super::{Inputs, Judge, Known};
use crate::lookup::Finding;
use crate::policy::{HttpVerifierPolicy, Policy, ProviderKind};
use crate::provider::Answer;
use crate::provider::http_verifier::OrgConflict;
use crate::reason::Code;
use crate::request::RequestHead;

/// The organisation that a request names to one verifier of the chain.
pub(super) type OrgNamed<'a> = Result<Option<Cow<'a, str>>, OrgConflict>;

/// What a request's headers say to the verifiers of the chain, by the provider's place. Empty without any.
pub(super) fn orgs_named<'a>(
    policy: &Policy,
    head: &RequestHead<'a>,
) -> Vec<(usize, OrgNamed<'a>)> {
    let mut orgs = Vec::new();
    for (i, provider) in policy.providers.iter().enumerate() {
        if let ProviderKind::HttpVerifier(verifier) = &provider.kind {
            let named = verifier.org_named(head);
            orgs.push((i, named.map(|org| org.map(Cow::Borrowed))));
        }
    }
    orgs
}

impl<'j> Judge<'j> {
    /// Whether an opaque token is one that another provider, wherever it stands, knows by itself: a presigned identity or a
    /// static token is nothing to show to a verifier.
    pub(super) fn is_anothers(&self, token: &str) -> bool {
        let providers = &self.live.policy.providers;
        providers.iter().any(|p| p.kind.recognises(token))
    }

    /// Judges a token that nobody else recognises by what the verifier says of it.
    pub(super) fn http_verifier(
        &mut self,
        policy: &HttpVerifierPolicy,
        index: usize,
        token: &str,
        inputs: &Inputs<'_>,
        known: &mut Known<'j>,
    ) -> Answer {
        let named = inputs.orgs.iter().find(|(i, _)| *i == index);
        let named = match named.map(|(_, named)| named) {
            Some(Ok(named)) => named.as_deref(),
            Some(Err(OrgConflict)) => return Answer::Refused(Code::OrgMismatch),
            None => None,
        };
        let live = self.live;
        let finding = self.look_up(
            policy.lookup_id(token, named),
            &policy.scope,
            || Ok(policy.question(token, named, &live.policy.callouts)),
            known,
        );
        match finding {
            Err(answer) => answer,
            Ok(Finding::Identity(identity)) => match policy.judge(identity, named) {
                Ok(identity) => Answer::Verified(identity),
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
}

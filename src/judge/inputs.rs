//! What a decision needs of a request, taken from its head.

use std::borrow::Cow;
use std::rc::Rc;

use super::http_verifier::{OrgNamed, orgs_named};
use crate::apikey::failures::Source;
use crate::credential::{Credential, IAP_ASSERTION, TokenKind, find_assertion};
use crate::decision::Served;
use crate::hygiene::{self, Cleansing};
use crate::policy::Spoofed;
use crate::reason::Code;
use crate::request::{RequestHead, canonical_path};
use crate::stores::Live;
use crate::trace::Trace;

/// Octets of a path in an audit event. The rest of a longer one says nothing more about who called what.
const MAX_AUDIT_PATH: usize = 1024;

/// All that a decision needs of a request, so that the request itself can go away while it waits.
#[derive(Debug)]
pub(crate) struct Inputs<'a> {
    pub(super) method: Cow<'a, str>,
    /// Without query: it may hold what is nobody's business.
    pub(super) path: Cow<'a, str>,
    pub(super) request_id: Option<Cow<'a, str>>,
    /// For the audit event.
    pub(super) remote_addr: Option<Cow<'a, str>>,
    /// Where a failed API key is counted.
    pub(super) source: Option<Source>,
    pub(super) cleansing: Cleansing,
    /// It brings a header of ours, and the host could not remove it.
    pub(super) spoofed: bool,
    pub(super) skip: bool,
    /// The answer, where it asks for something of the filter's own.
    pub(super) served: Option<Served>,
    /// The path that a challenge may name; `None` where challenges name none.
    pub(super) challenged: Option<Cow<'a, str>>,
    /// The organisations it names to the verifiers of the chain.
    pub(super) orgs: Vec<(usize, OrgNamed<'a>)>,
    pub(super) agent: Option<Rc<str>>,
    pub(super) credential: Result<Credential<'a>, Code>,
    /// What it looks like; found out once, since it means reading all of it.
    pub(super) token_kind: TokenKind,
    /// What stands in [`IAP_ASSERTION`]: a credential of its own kind beside the other one, and looked at only where a provider wants it.
    pub(super) assertion: Result<Option<Cow<'a, str>>, Code>,
}

impl<'a> Inputs<'a> {
    /// Reads a request's head under a policy in force.
    pub(crate) fn take(live: &Live, head: &RequestHead<'a>) -> Self {
        let policy = &live.policy;
        let raw_path = head.raw_path();
        let canonical = canonical_path(raw_path);
        let credential = Credential::find(
            head,
            &policy.key_places,
            policy.limits.token_bytes,
            live.chain.reads_signatures,
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
        let spoofed = policy.identity.spoofed == Spoofed::Refused
            && hygiene::is_spoofed(head, &cleansing, live.chain.wants_assertion);
        if live.chain.wants_assertion {
            // Forwarded, it is forwarded in the one spelling that was looked at.
            let forward = policy.identity.forward_credentials;
            cleansing.remove.extend(
                hygiene::spellings(head, IAP_ASSERTION)
                    .into_iter()
                    .filter(|n| !(forward && n.eq_ignore_ascii_case(IAP_ASSERTION.as_bytes()))),
            );
        }
        let assertion = if live.chain.wants_assertion {
            find_assertion(head, policy.limits.token_bytes)
        } else {
            Ok(None)
        };
        let token_kind = match &credential {
            Ok(Credential::None) if !matches!(assertion, Ok(None)) => TokenKind::IapJwt,
            Ok(credential) => credential.kind(),
            Err(
                Code::MalformedSignature
                | Code::UnsupportedSignature
                | Code::StreamingPayload
                | Code::UnsignedHeader
                | Code::ScopeMismatch,
            ) => TokenKind::SigV4,
            Err(_) => TokenKind::Opaque,
        };
        Self {
            method: String::from_utf8_lossy(head.method),
            skip: plain.is_some_and(|path| {
                policy
                    .skip
                    .iter()
                    .any(|s| s.path == path && s.method.as_bytes() == head.method)
            }),
            served: metadata.and_then(|m| m.serve(head.method, plain?)),
            orgs: if live.chain.asks_verifier {
                orgs_named(policy, head)
            } else {
                Vec::new()
            },
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
            spoofed,
            credential,
            assertion,
            token_kind,
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
            spoofed: self.spoofed,
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
            token_kind: self.token_kind,
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
                Ok(_) => Ok(self.token_kind),
            },
            verdicts: Vec::new(),
        }
    }

    /// Whether a bearer token is shaped like a JWT.
    pub(super) fn is_jwt(&self) -> bool {
        self.token_kind == TokenKind::Jwt
    }

    /// Whether there is an assertion, be it a sound one or not.
    pub(super) fn has_assertion(&self) -> bool {
        !matches!(self.assertion, Ok(None))
    }
}

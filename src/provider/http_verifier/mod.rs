//! `http_verifier`: a service of the operator's own says whom an opaque token belongs to, in the wire format of Forge's `--auth-url`.
//!
//! It is asked about what no other provider of the chain recognises, and its word is final. Which organisation it is asked
//! for may come from the caller; whom the caller belongs to never does.

mod answer;

use std::rc::Rc;
use std::time::Duration;

use serde::Serialize;

use crate::callout::{Callout, CalloutReply};
use crate::hygiene::spelled_like;
use crate::identity::Identity;
use crate::lookup::{Failure, Finding, LookupId, Progress, Question};
use crate::policy::{CalloutPolicy, HttpVerifierPolicy};
use crate::reason::Code;
use crate::request::RequestHead;
use crate::time::UnixTime;

/// Bytes of an answer that are worth reading. A genuine one has some hundreds.
const MAX_ANSWER: usize = 64 * 1024;

/// Octets of an organisation's name in a request.
const MAX_ORG: usize = 256;

/// A request names several organisations, or none that could be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OrgConflict;

/// The question, in Forge's order of members.
#[derive(Serialize)]
struct Verify<'a> {
    token: &'a str,
    org_id: &'a str,
}

impl HttpVerifierPolicy {
    /// The organisation that a request's headers name, if any.
    ///
    /// # Errors
    /// [`OrgConflict`] when two of them differ, or one could be read in two ways.
    pub(crate) fn org_named<'a>(
        &self,
        head: &RequestHead<'a>,
    ) -> Result<Option<&'a str>, OrgConflict> {
        let mut named = None;
        for (name, value) in head.headers {
            if !self.org_headers.iter().any(|org| spelled_like(name, org)) {
                continue;
            }
            let value = value.trim_ascii();
            if value.is_empty() {
                continue;
            }
            // A proxy joins repeated fields with a comma.
            if value.len() > MAX_ORG || !value.iter().all(|b| b.is_ascii_graphic() && *b != b',') {
                return Err(OrgConflict);
            }
            let value = std::str::from_utf8(value).map_err(|_| OrgConflict)?;
            if named.is_some_and(|earlier| earlier != value) {
                return Err(OrgConflict);
            }
            named = Some(value);
        }
        Ok(named)
    }

    /// The organisation that is asked for.
    fn org<'a>(&'a self, named: Option<&'a str>) -> &'a str {
        named.or(self.default_org.as_deref()).unwrap_or_default()
    }

    /// Names the question about a token that came with these headers.
    pub(crate) fn lookup_id(&self, token: &str, named: Option<&str>) -> LookupId {
        self.scope.id_of(&[token, self.org(named)])
    }

    /// The question itself.
    pub(crate) fn question(
        &self,
        token: &str,
        named: Option<&str>,
        callouts: &CalloutPolicy,
    ) -> Box<dyn Question> {
        let envelope = Verify {
            token,
            org_id: self.org(named),
        };
        // Two strings always serialise; nobody would be let in by an empty body.
        let body = serde_json::to_vec(&envelope).unwrap_or_default();
        let upstream = callouts.upstream(&self.url.authority);
        let callout = Callout::get_json(upstream, self.url.clone(), self.timeout, MAX_ANSWER);
        Box::new(AskVerifier {
            callout: callout.post_json(body),
            token: token.into(),
            cache_ttl: self.cache_ttl,
            negative_cache_ttl: self.negative_cache_ttl,
        })
    }

    /// Judges whom the verifier names, beside what the request says.
    ///
    /// # Errors
    /// [`Code::OrgMismatch`] when a header names another organisation than the verifier does.
    pub(crate) fn judge(
        &self,
        identity: Rc<Identity>,
        named: Option<&str>,
    ) -> Result<Rc<Identity>, Code> {
        match (named, identity.org_id()) {
            (Some(named), Some(proven)) if named != proven => Err(Code::OrgMismatch),
            _ => Ok(identity),
        }
    }
}

struct AskVerifier {
    callout: Callout,
    /// To keep it out of what the verifier says about it.
    token: Rc<str>,
    cache_ttl: Duration,
    negative_cache_ttl: Duration,
}

impl std::fmt::Debug for AskVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AskVerifier")
            .field("callout", &self.callout)
            .finish_non_exhaustive()
    }
}

impl Question for AskVerifier {
    fn callout(&self) -> Callout {
        self.callout.clone()
    }

    fn read(self: Box<Self>, reply: CalloutReply<'_>, now: UnixTime) -> Progress {
        let response = match reply {
            CalloutReply::Response(response) => response,
            // It is there and answers, too much.
            CalloutReply::Failed(crate::callout::CalloutFailure::TooLarge) => {
                return Progress::Failed(Failure::Unusable);
            }
            CalloutReply::Failed(_) => return Progress::Failed(Failure::Unreachable),
        };
        match answer::read(&response, &self.token) {
            Ok(identity) => {
                Progress::Found(Finding::Identity(Rc::new(identity)), now + self.cache_ttl)
            }
            Err(answer::NoIdentity::Refused(code, detail)) => Progress::Found(
                Finding::Refused(code, detail),
                now + self.negative_cache_ttl,
            ),
            Err(answer::NoIdentity::Failed(failure)) => Progress::Failed(failure),
        }
    }
}

//! A request that waits for its own body, because the body's hash is signed.

use std::rc::Rc;

use sha2::{Digest, Sha256};

use crate::audit::AuditLine;
use crate::authenticator::Authenticator;
use crate::decision::{Decision, Step};
use crate::judge::{Inputs, Judge};
use crate::provider::sigv4::BodyProof;
use crate::reason::Code;
use crate::sigv4::is_amz;
use crate::stores::Live;
use crate::time::UnixTime;

/// A request whose body has to be hashed before it may go on. It owns all it needs and keeps the policy it began with; finishing
/// consumes it.
///
/// Nothing of the request may reach the upstream before [`NeedBody::finish`] says so.
#[derive(Debug)]
pub struct NeedBody {
    inputs: Inputs<'static>,
    live: Rc<Live>,
    /// The number of its audit event.
    seq: u64,
    proof: BodyProof,
    provider: Option<Rc<str>>,
    hasher: Sha256,
    seen: u64,
    refusal: Option<Code>,
}

impl NeedBody {
    pub(crate) fn new(
        inputs: Inputs<'static>,
        live: Rc<Live>,
        seq: u64,
        proof: BodyProof,
        provider: Option<Rc<str>>,
    ) -> Self {
        Self {
            inputs,
            live,
            seq,
            proof,
            provider,
            hasher: Sha256::new(),
            seen: 0,
            refusal: None,
        }
    }

    /// The next part of the body, in order and without gaps. Whether more is wanted: once a body is too long, finish at once.
    pub fn update(&mut self, part: &[u8]) -> bool {
        let len = u64::try_from(part.len()).unwrap_or(u64::MAX);
        self.seen = self.seen.saturating_add(len);
        if self.seen > self.proof.max_bytes() {
            self.refusal = Some(Code::BodyTooLarge);
        }
        if self.refusal.is_none() {
            self.hasher.update(part);
        }
        self.refusal.is_none()
    }

    /// Octets of the body that have come.
    pub const fn seen(&self) -> u64 {
        self.seen
    }

    /// The name of a trailer field. It comes after the headers that were signed, so it must not be one that has to be signed.
    pub fn trailer(&mut self, name: &[u8]) {
        if is_amz(name) && self.refusal.is_none() {
            self.refusal = Some(Code::UnsignedHeader);
        }
    }

    /// The body has ended, or is longer than anyone wants to know: judges the request.
    pub fn finish(self, auth: &mut Authenticator, now: UnixTime) -> Step {
        let hash = match self.refusal {
            Some(code) => Err(code),
            None => Ok(self.hasher.finalize().into()),
        };
        let mut stores = auth.stores.borrow_mut();
        let judge = Judge::again(&self.live, &mut stores, auth, now, self.seq);
        let provider = self.provider.as_deref();
        Step::Done(judge.run_with_body(&self.inputs, provider, self.proof, hash))
    }

    /// Refuses the request without waiting on: the host can't show its body, or has lost it.
    pub fn abandon(self, auth: &mut Authenticator, code: Code, now: UnixTime) -> Step {
        Step::Done(self.refused(auth, code, now))
    }

    /// The line to leave in the audit log should the request end before its body does (code `cancelled`).
    pub fn cancelled_audit(&self, auth: &mut Authenticator, now: UnixTime) -> Option<AuditLine> {
        self.refused(auth, Code::Cancelled, now)
            .into_refusal_audit()
    }

    fn refused(&self, auth: &Authenticator, code: Code, now: UnixTime) -> Decision {
        let mut stores = auth.stores.borrow_mut();
        Judge::again(&self.live, &mut stores, auth, now, self.seq).refuse(&self.inputs, code)
    }
}

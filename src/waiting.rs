//! A request that waits for somebody else's answer.

use std::rc::Rc;

use crate::authenticator::{Authenticator, Finished, Purpose};
use crate::callout::{Callout, CalloutReply};
use crate::decision::{Decision, Step};
use crate::judge::{Inputs, Judge};
use crate::keys::source::{OwnEnd, OwnFetch};
use crate::keys::store::SourceId;
use crate::lookup::{LookupId, OwnQuestion};
use crate::provider::Awaited;
use crate::reason::Code;
use crate::stores::Live;
use crate::time::UnixTime;
use crate::trace::Trace;

/// Callouts that one request may send by itself. Discovery, keys and eight pages of a directory's answer are ten; a peer that always
/// has one more to ask for is cut off here.
const MAX_OWN_CALLOUTS: u32 = 16;

/// What a held request waits for, and under which policy.
#[derive(Debug)]
pub(crate) struct Waited {
    pub live: Rc<Live>,
    pub awaited: Awaited,
    /// When it began to wait for this.
    pub since: UnixTime,
    /// The key source's ended attempts then.
    pub attempts: u64,
    pub deadline: UnixTime,
    /// The number of its audit event: taken once, however often it is asked again.
    pub seq: u64,
    /// Callouts that it has sent by itself.
    pub asked: u32,
}

impl Waited {
    /// Since when it has waited for the answer to that question, if it has.
    pub(crate) fn since(&self, id: LookupId) -> Option<UnixTime> {
        (self.awaited == Awaited::Lookup(id)).then_some(self.since)
    }
}

/// A request that waits for a callout. It owns all it needs and keeps the policy it began with; asking consumes it, so a
/// finished request can't be asked again.
///
/// It joins the callout that the root context sends, of which there is one for all who wait: [`Self::ready`], [`Self::resume`]. Or, on a
/// host that lets a request go only by a callout of its own, it sends one: [`Self::callout`], then [`Self::reply`] or, when the client
/// has gone away, [`Self::forsake`].
#[derive(Debug)]
pub struct NeedCallout {
    inputs: Inputs<'static>,
    waited: Waited,
    own: Option<Own>,
}

/// What its own callout is for.
#[derive(Clone, Copy, Debug)]
enum Own {
    Keys(SourceId, OwnFetch),
    Lookup(OwnQuestion),
}

impl NeedCallout {
    pub(crate) const fn new(inputs: Inputs<'static>, waited: Waited) -> Self {
        Self {
            inputs,
            waited,
            own: None,
        }
    }

    /// The callout that brings what it waits for, or the next part of it, to be sent by this request alone and at once. `None` where no
    /// single request can fetch that (a whole key feed), or has asked too often: [`Self::abandon`] it then.
    ///
    /// Others who wait for the same send the same. Whoever is answered first serves them all, and no request that goes away takes
    /// anything with it.
    pub fn callout(
        &mut self,
        auth: &mut Authenticator,
        now: UnixTime,
    ) -> Option<(Callout, Purpose)> {
        if self.waited.asked >= MAX_OWN_CALLOUTS {
            return None;
        }
        let mut stores = auth.stores.try_borrow_mut().ok()?;
        let policy = &self.waited.live.policy;
        let (own, callout, purpose) = match self.waited.awaited {
            Awaited::Keys(id) => {
                let source = stores.keys.get(id)?;
                let (own, callout) = source.own_callout(now, &policy.callouts, &policy.limits)?;
                let source = source.name().to_owned();
                let purpose = Purpose::Keys {
                    source,
                    lease: None,
                };
                (Own::Keys(id, own), callout, purpose)
            }
            Awaited::Lookup(id) => {
                let (own, callout, scope) = stores.lookups.own_callout(id, now)?;
                (Own::Lookup(own), callout, Purpose::Lookup(scope))
            }
            Awaited::Feed(_) => return None,
        };
        self.waited.asked += 1;
        self.own = Some(own);
        Some((callout, purpose))
    }

    /// What became of its own callout, and whether that was of use. Judges the request with it: a decision, or the same request with
    /// more to ask.
    pub fn reply(
        mut self,
        auth: &mut Authenticator,
        reply: CalloutReply<'_>,
        now: UnixTime,
    ) -> (Step, bool) {
        let of_use = self.take(auth, reply, now);
        let awaited = self.waited.awaited;
        let step = match self.resume(auth, now) {
            // It would ask the same again, and whoever does not answer is not asked for as long as that takes.
            Step::NeedCallout(need) if !of_use && need.waited.awaited == awaited => {
                let code = need.unavailable();
                need.abandon(auth, code, now)
            }
            step => step,
        };
        (step, of_use)
    }

    /// Whether the answer was of use.
    fn take(&mut self, auth: &mut Authenticator, reply: CalloutReply<'_>, now: UnixTime) -> bool {
        let Ok(mut stores) = auth.stores.try_borrow_mut() else {
            return false;
        };
        let limits = &self.waited.live.policy.limits;
        match self.own.take() {
            None => false,
            Some(Own::Lookup(own)) => stores.lookups.own_reply(own, reply, now, limits),
            Some(Own::Keys(id, own)) => {
                let Some(source) = stores.keys.get_mut(id) else {
                    return false;
                };
                match source.own_reply(own, reply, now, limits) {
                    OwnEnd::Failed => false,
                    OwnEnd::Moved => true,
                    OwnEnd::Fetched(outcome) => {
                        auth.finished.push_back(Finished {
                            source: source.name().to_owned(),
                            outcome,
                        });
                        true
                    }
                }
            }
        }
    }

    /// Takes back what it has asked by itself, or could not ask: its client is gone, or it is about to be refused. What only it wanted to
    /// know is not asked any more, and says nothing about whom it would have been put to.
    pub fn forsake(&mut self, auth: &mut Authenticator) {
        let mut stores = auth.stores.borrow_mut();
        match (self.own.take(), self.waited.awaited) {
            (Some(Own::Lookup(own)), _) => stores.lookups.own_leave(own),
            (None, Awaited::Lookup(id)) => stores.lookups.unasked(&id),
            _ => {}
        }
    }

    /// When [`Self::resume`] decides whatever has come by then.
    pub const fn deadline(&self) -> UnixTime {
        self.waited.deadline
    }

    /// Whether asking again would make a difference: what it waits for has ended, or the deadline passed.
    pub fn ready(&self, auth: &Authenticator, now: UnixTime) -> bool {
        if now >= self.waited.deadline {
            return true;
        }
        let stores = auth.stores.borrow();
        match self.waited.awaited {
            Awaited::Keys(source) => stores
                .keys
                .get(source)
                .is_none_or(|s| s.attempts() > self.waited.attempts),
            Awaited::Lookup(id) => !stores.lookups.is_pending(&id),
            Awaited::Feed(feed) => stores
                .feeds
                .get(feed)
                .is_none_or(|f| f.attempts() > self.waited.attempts),
        }
    }

    /// Why it would be refused if it could not wait.
    pub const fn unavailable(&self) -> Code {
        self.waited.awaited.unavailable()
    }

    /// Judges the request with what has come since.
    pub fn resume(self, auth: &mut Authenticator, now: UnixTime) -> Step {
        auth.judge(self.inputs, Some(self.waited), now, None)
    }

    /// As [`Self::resume`], and says how it came about.
    pub fn resume_traced(self, auth: &mut Authenticator, now: UnixTime) -> (Step, Trace) {
        let mut trace = self.inputs.trace();
        let verdicts = Some(&mut trace.verdicts);
        let step = auth.judge(self.inputs, Some(self.waited), now, verdicts);
        (step, trace)
    }

    /// Refuses the request without waiting on: the host can't hold it, or has lost it.
    pub fn abandon(self, auth: &mut Authenticator, code: Code, now: UnixTime) -> Step {
        Step::Done(self.refused(auth, code, now))
    }

    /// The line to leave in the audit log should the request end before it is judged (code `cancelled`).
    pub fn cancelled_audit(
        &self,
        auth: &mut Authenticator,
        now: UnixTime,
    ) -> Option<crate::audit::AuditLine> {
        self.refused(auth, Code::Cancelled, now)
            .into_refusal_audit()
    }

    fn refused(&self, auth: &Authenticator, code: Code, now: UnixTime) -> Decision {
        let mut stores = auth.stores.borrow_mut();
        let judge = Judge {
            waited: Some(&self.waited),
            ..Judge::again(&self.waited.live, &mut stores, auth, now, self.waited.seq)
        };
        judge.refuse(&self.inputs, code)
    }
}

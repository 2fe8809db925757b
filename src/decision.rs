//! What the core answers: values that a host carries out, in the order written here.

use std::borrow::Cow;
use std::rc::Rc;
use std::time::Duration;

use crate::answer;
use crate::apikey::bucket::{Bucket, RateLimit, Taken};
use crate::apikey::feed::KeyUse;
use crate::audit::AuditLine;
use crate::authenticator::NeedCallout;
use crate::body::NeedBody;
use crate::metrics::{self, Tally};

/// Where a request stands.
#[derive(Debug)]
pub enum Step {
    /// Judged. Carry it out and forget the request.
    Done(Decision),
    /// Waits for the body. Hold headers and body back and give it the body.
    NeedBody(NeedBody),
    /// Waits for a fetch. Hold the request back and ask again when the fetch has ended or at the deadline.
    NeedCallout(NeedCallout),
}

/// The judgement of one request.
#[derive(Debug)]
pub enum Decision {
    /// Forward it, changed as said.
    Allow(Allow),
    /// Answer it here: refused.
    Deny(Denial),
    /// Forward it if its key's bucket has a request left.
    Limited(Box<Limited>),
    /// Answer it here: it asks for something public of the filter's own. No audit event.
    Serve(Served),
}

impl Decision {
    /// The audit line of a refusal, where a sink wants it.
    pub(crate) fn into_refusal_audit(self) -> Option<AuditLine> {
        match self {
            Self::Deny(denial) => denial.audit,
            Self::Allow(_) | Self::Limited(_) | Self::Serve(_) => None,
        }
    }
}

/// A request that goes on to its upstream.
///
/// A host removes first and sets then: an identity header of ours may replace one of the caller's.
#[derive(Debug, Default)]
pub struct Allow {
    /// Names of request headers to remove, every copy of each.
    pub remove: Vec<Cow<'static, [u8]>>,
    /// Request headers to set, replacing whatever has that name: lower-case name, value without CR, LF and NUL.
    pub set: Vec<(Rc<str>, Rc<str>)>,
    /// What the names of the identity headers in [`Self::set`] begin with: a host that can't set headers hands the values over by the
    /// rest of the name.
    pub identity_prefix: Rc<str>,
    /// The audit event; `None` for skipped requests and where no sink wants it.
    pub audit: Option<AuditLine>,
    /// What to count.
    pub tally: Option<Tally>,
    /// A counter of its own, for what is worth knowing about a request that was let in.
    pub count: Option<metrics::Id>,
}

/// A request that is let in once a request was taken out of a bucket, which lies in a store that all workers share.
///
/// 1. Read the state under [`Self::bucket_name`].
/// 2. [`Self::take`]. With [`Taken::Yes`] write the new state by compare-and-swap; if someone else was faster, begin again.
/// 3. [`Self::settle`]. There is no other way to the decision, so nothing passes uncounted.
///
/// A store that fails is no reason to let the request in: refuse it.
#[derive(Debug)]
pub struct Limited {
    pub(crate) bucket: String,
    pub(crate) limit: RateLimit,
    /// The use of the key, to be counted when it is settled.
    pub(crate) key_use: Option<KeyUse>,
    pub(crate) allow: Allow,
    pub(crate) denial: Denial,
}

impl Limited {
    /// The bucket's name in the shared store.
    pub fn bucket_name(&self) -> &str {
        &self.bucket
    }

    /// The limit.
    pub const fn limit(&self) -> RateLimit {
        self.limit
    }

    /// Takes a request out of a bucket in that state; `None` when there is none yet.
    pub fn take(&self, state: Option<Bucket>, now: crate::time::UnixTime) -> Taken {
        self.limit.take(state, now)
    }

    /// The decision. `taken` is `Ok` when the bucket's new state was written, else how long until there is a request to take.
    pub fn settle(self, taken: Result<(), Duration>) -> Decision {
        if let Some(key_use) = self.key_use {
            key_use.ended(taken.is_ok());
        }
        match taken {
            Ok(()) => Decision::Allow(self.allow),
            Err(wait) => {
                let mut denial = self.denial;
                denial.headers.retain(|(name, _)| *name != "retry-after");
                denial
                    .headers
                    .extend(answer::rate_limit_fields(&self.limit, wait));
                Decision::Deny(denial)
            }
        }
    }
}

/// A request that is answered by the filter and concerns no agent.
#[derive(Clone, Debug)]
pub struct Served {
    /// 200, 204 or 405.
    pub status: u16,
    /// Response headers.
    pub headers: Vec<answer::Field>,
    /// The body, empty for none. A host leaves it out for `HEAD`.
    pub body: String,
    /// What to count.
    pub tally: Tally,
}

/// A request that is refused.
#[derive(Debug)]
pub struct Denial {
    /// 400, 401, 403, 413, 429 or 503.
    pub status: u16,
    /// Response headers, `content-type` among them.
    pub headers: Vec<answer::Field>,
    /// The JSON body.
    pub body: String,
    /// The finer word for why.
    pub code: crate::reason::Code,
    /// The audit event; `None` where no sink wants it.
    pub audit: Option<AuditLine>,
    /// What to count.
    pub tally: Option<Tally>,
}

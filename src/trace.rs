//! What the chain did with one request, by value: for `portcullis explain`, never on a proxy's request path.

use std::rc::Rc;

use crate::credential::TokenKind;
use crate::identity::Identity;
use crate::reason::Code;

/// The way of one request to its decision.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Whether a skip rule let it through before anything else was looked at.
    pub skipped: bool,
    /// The agent it is for, if it names one.
    pub agent: Option<Rc<str>>,
    /// The kind of credential that was found, or why none can be singled out.
    pub credential: Result<TokenKind, Code>,
    /// What the providers that were asked said, in order. The last word is the first that is not
    /// [`Verdict::NotForMe`].
    pub verdicts: Vec<(usize, Verdict)>,
}

/// What one provider said.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// Someone else's; the next one is asked.
    NotForMe,
    /// Denied or not genuine.
    Refused(Code),
    /// Can't be judged now.
    Unavailable(Code),
    /// Has to wait for its issuer's keys.
    Waits,
    /// Proven.
    Verified(Rc<Identity>),
}

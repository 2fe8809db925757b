//! Providers: each looks at a credential and answers one of five things.

pub mod api_key;
pub mod aws;
pub mod azure;
pub mod gcp_iap;
pub mod github_actions;
pub mod http_verifier;
pub mod jwt;
pub mod oidc;
pub mod sigv4;
pub mod static_token;
pub(crate) mod validity;

use std::rc::Rc;

use crate::apikey::feed::FeedId;
use crate::identity::Identity;
use crate::keys::store::SourceId;
use crate::lookup::LookupId;
use crate::reason::Code;
use crate::time::UnixTime;

/// What a provider says of a credential. Only [`Answer::NotForMe`] lets the next provider try:
/// an outage or a malformed token must never become a way around a provider.
#[derive(Debug)]
pub enum Answer {
    /// Someone else's, or nobody's.
    NotForMe,
    /// Denied, or not genuine; the code's reason says which.
    Refused(Code),
    /// Can't be judged, because who has to be asked can't be reached; worth trying again then.
    Unavailable(Code, UnixTime),
    /// Proven.
    Verified(Rc<Identity>),
    /// Can be judged once this has ended.
    Pending(Awaited),
}

/// What a request can wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// A fetch of this key source.
    Keys(SourceId),
    /// The answer to this question.
    Lookup(LookupId),
    /// All that this key feed has to say.
    Feed(FeedId),
}

impl Awaited {
    /// Why a request is refused that can't wait for it any longer, or at all.
    pub const fn unavailable(self) -> Code {
        match self {
            Self::Keys(_) => Code::KeysUnavailable,
            Self::Lookup(_) => Code::LookupUnavailable,
            Self::Feed(_) => Code::FeedUnavailable,
        }
    }
}

//! A feed's settings, as a policy has them.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use crate::policy::Url;

/// Where keys and agents come from, and how often.
#[derive(Clone, Debug)]
pub struct FeedPolicy {
    /// What is polled.
    pub url: Url,
    /// What the service knows this fleet by.
    pub token: FeedToken,
    /// The environment variable that the token is from.
    pub token_env: String,
    /// How often it is polled, at least.
    pub interval: Duration,
    /// How old what is known may be. What is older lets nobody in.
    pub max_staleness: Duration,
    /// How long one answer may take, and a request waits for the first one.
    pub timeout: Duration,
    /// Where uses are reported to.
    pub usage: Option<UsagePolicy>,
}

/// Where uses are reported to, and how often.
#[derive(Clone, Debug)]
pub struct UsagePolicy {
    /// What is posted to.
    pub url: Url,
    /// How long uses are gathered.
    pub interval: Duration,
}

impl FeedPolicy {
    /// The name in logs: the URL without its query.
    pub fn name(&self) -> Rc<str> {
        let url = self.url.to_string();
        url.split('?').next().unwrap_or_default().into()
    }

    /// Whether two settings mean one feed: what was read by way of one is good for the other.
    pub fn is_same_feed(&self, other: &Self) -> bool {
        self.url == other.url && self.token_env == other.token_env && self.token == other.token
    }
}

/// The token of a fleet.
#[derive(Clone, PartialEq, Eq)]
pub struct FeedToken(Rc<str>);

impl FeedToken {
    /// From its text; `None` if no header can carry it.
    pub fn new(text: &str) -> Option<Self> {
        let fine = !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        fine.then(|| Self(text.into()))
    }

    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for FeedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

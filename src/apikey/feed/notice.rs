//! What an operator should hear of a feed: values, for a host to log and count.

use std::fmt;
use std::rc::Rc;

use super::page::{PageError, Unreadable};
use super::source::Disorder;
use crate::metrics;

/// Something that happened to a feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A page was taken.
    Page,
    /// Everything there is has been read from the beginning, and is in force.
    Loaded {
        /// The feed's name.
        feed: Rc<str>,
        /// How many keys there are.
        keys: usize,
        /// How many agents are described.
        agents: usize,
        /// Up to which revision.
        revision: u64,
    },
    /// A question had no usable answer. What was in force still is.
    Failed {
        /// The feed's name.
        feed: Rc<str>,
        /// Why.
        problem: FeedProblem,
    },
    /// Records of a page could not be read. Their keys are refused, their agents belong to nobody.
    Unreadable {
        /// The feed's name.
        feed: Rc<str>,
        /// How many.
        count: usize,
        /// One of them.
        first: Option<Unreadable>,
    },
    /// A report of uses was not taken, and will be sent again.
    ReportFailed {
        /// The feed's name.
        feed: Rc<str>,
        /// The status it was answered with, if it was.
        status: Option<u16>,
    },
    /// Uses will never be reported: they were too many, or the service does not want them.
    UsesDropped {
        /// The feed's name.
        feed: Rc<str>,
        /// How many.
        count: u64,
        /// The status that their report was answered with, if that is why.
        status: Option<u16>,
    },
}

/// Why a question had no usable answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedProblem {
    /// None came: refused, reset, timed out, cut off, not sent.
    NoAnswer,
    /// Longer than `limits.feed_page_bytes`.
    TooLarge,
    /// Another status than 200, 204 and 304.
    Status(u16),
    /// Not a page.
    Page(PageError),
    /// A page that does not follow what came before.
    Order(Disorder),
    /// More keys or agents than `limits.feed_keys`.
    TooManyKeys,
}

impl Notice {
    /// Whether somebody should look at it. [`Self::Page`] is nothing to write down at all.
    pub const fn is_warning(&self) -> bool {
        !matches!(self, Self::Page | Self::Loaded { .. })
    }

    /// What to count, and how many.
    pub fn metric(&self) -> Option<(metrics::Id, u64)> {
        match self {
            Self::Page => Some((metrics::Id::FeedPages, 1)),
            Self::Loaded { .. } | Self::ReportFailed { .. } => None,
            Self::Failed { .. } => Some((metrics::Id::FeedFailed, 1)),
            Self::Unreadable { count, .. } => {
                let count = u64::try_from(*count).unwrap_or(u64::MAX);
                Some((metrics::Id::FeedUnreadable, count))
            }
            Self::UsesDropped { count, .. } => Some((metrics::Id::UsesDropped, *count)),
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Page => f.write_str("a page of a key feed was taken"),
            Self::Loaded {
                feed,
                keys,
                agents,
                revision,
            } => write!(
                f,
                "key feed {feed}: {keys} keys and {agents} agents are in force, revision {revision}"
            ),
            Self::Failed { feed, problem } => {
                write!(f, "key feed {feed}: {problem}; what was in force still is")
            }
            Self::Unreadable { feed, count, first } => {
                write!(
                    f,
                    "key feed {feed}: {count} records can't be read; their keys are refused"
                )?;
                match first {
                    Some(Unreadable { name, why }) => write!(f, "; the first is {name}: {why}"),
                    None => Ok(()),
                }
            }
            Self::ReportFailed { feed, status } => {
                write!(f, "key feed {feed}: the uses were not taken")?;
                answered(f, *status)?;
                f.write_str("; they will be sent again")
            }
            Self::UsesDropped {
                feed,
                count,
                status,
            } => {
                write!(f, "key feed {feed}: {count} uses will not be reported")?;
                answered(f, *status)
            }
        }
    }
}

fn answered(f: &mut fmt::Formatter<'_>, status: Option<u16>) -> fmt::Result {
    status.map_or(Ok(()), |status| write!(f, " (status {status})"))
}

impl fmt::Display for FeedProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer => f.write_str("there was no answer"),
            Self::TooLarge => f.write_str("the page is longer than `limits.feed_page_bytes`"),
            Self::Status(status @ (401 | 403)) => {
                write!(f, "the token of `token_env` was refused (status {status})")
            }
            Self::Status(status) => write!(f, "status {status}"),
            Self::Page(error) => write!(f, "the page {error}"),
            Self::Order(Disorder::NothingToBuildOn) => f.write_str(
                "the answer is no beginning, and there is nothing that it could go on from",
            ),
            Self::Order(Disorder::OtherEpoch) => {
                f.write_str("the page is of another epoch, and not its first one")
            }
            Self::Order(Disorder::Backwards) => {
                f.write_str("the page's revision is from before what is known")
            }
            Self::Order(Disorder::NoProgress) => {
                f.write_str("the page has changes, or promises more, and no newer revision")
            }
            Self::TooManyKeys => {
                f.write_str("there are more keys or agents than `limits.feed_keys`")
            }
        }
    }
}

//! The feeds of one VM, shared by its root contexts, kept over reloads.

use std::collections::VecDeque;
use std::rc::Rc;

use super::notice::Notice;
use super::policy::FeedPolicy;
use super::source::{Asker, FeedSource, Spec};
use crate::callout::{Callout, CalloutReply};
use crate::limits::Limits;
use crate::policy::CalloutPolicy;
use crate::time::UnixTime;

/// Names a feed of one [`FeedStore`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FeedId(usize);

/// Feeds that no policy uses are dropped once there are more than this: a policy that is edited back and forth keeps what it has.
const UNUSED_FEEDS: usize = 1;

/// Notices that wait to be told; a host asks for them after every answer.
const MAX_NOTICES: usize = 64;

/// Every feed of a VM.
#[derive(Debug)]
pub struct FeedStore {
    seed: u64,
    sources: Vec<Option<(FeedSource, usize)>>,
    notices: VecDeque<Notice>,
}

impl FeedStore {
    /// An empty store.
    pub const fn new(seed: u64) -> Self {
        Self {
            seed,
            sources: Vec::new(),
            notices: VecDeque::new(),
        }
    }

    /// The source for a feed, made if it isn't there. Each call wants one [`Self::release`].
    ///
    /// Two settings mean one feed if URL and token are the same; the later ones say how often it is asked.
    pub fn acquire(&mut self, feed: &FeedPolicy, callouts: &CalloutPolicy) -> FeedId {
        let upstream = |authority: &str| callouts.upstream(authority).to_owned();
        let spec = Spec {
            upstream: upstream(&feed.url.authority),
            usage_upstream: feed.usage.as_ref().map(|u| upstream(&u.url.authority)),
            feed: feed.clone(),
        };
        let mut known = (0..).zip(&mut self.sources);
        let found = known.find_map(|(i, s)| {
            let (source, users) = s.as_mut()?;
            source
                .spec()
                .feed
                .is_same_feed(feed)
                .then_some((i, source, users))
        });
        if let Some((i, source, users)) = found {
            *users += 1;
            source.respecify(spec);
            return FeedId(i);
        }
        let seed = self.seed.wrapping_add(self.sources.len() as u64);
        let entry = Some((FeedSource::new(spec, seed), 1));
        match (0..).zip(&mut self.sources).find(|(_, s)| s.is_none()) {
            Some((i, free)) => {
                *free = entry;
                FeedId(i)
            }
            None => {
                self.sources.push(entry);
                FeedId(self.sources.len() - 1)
            }
        }
    }

    /// Ends one use of a source.
    pub fn release(&mut self, id: FeedId) {
        if let Some(Some((_, users))) = self.sources.get_mut(id.0) {
            *users = users.saturating_sub(1);
        }
        let unused = |s: &Option<(FeedSource, usize)>| matches!(s, Some((_, 0)));
        if self.sources.iter().filter(|s| unused(s)).count() > UNUSED_FEEDS
            && let Some(oldest) = self
                .sources
                .iter_mut()
                .filter(|s| unused(s))
                .max_by_key(|s| s.as_ref().map(|(s, _)| s.age(UnixTime::MAX).as_millis()))
        {
            *oldest = None;
        }
    }

    /// One source.
    pub fn get(&self, id: FeedId) -> Option<&FeedSource> {
        self.sources.get(id.0)?.as_ref().map(|(s, _)| s)
    }

    /// What one feed is to be asked now.
    pub(crate) fn poll(
        &mut self,
        id: FeedId,
        asker: Asker<'_>,
        now: UnixTime,
        limits: &Limits,
    ) -> Option<(Rc<str>, Callout)> {
        let (source, _) = self.sources.get_mut(id.0)?.as_mut()?;
        let callout = source.poll(asker, now, limits)?;
        Some((source.name().clone(), callout))
    }

    /// The next report of uses to send; of feeds that no policy uses any more as well.
    pub(crate) fn poll_usage(
        &mut self,
        asker: Asker<'_>,
        now: UnixTime,
        limits: &Limits,
    ) -> Option<(FeedId, Rc<str>, Callout)> {
        let notices = &mut self.notices;
        (0..).zip(&self.sources).find_map(|(i, s)| {
            let (source, _) = s.as_ref()?;
            let mut log = source.log().try_borrow_mut().ok()?;
            let callout = log.poll(source.spec(), asker, now, limits, notices)?;
            Some((FeedId(i), source.name().clone(), callout))
        })
    }

    /// The answer to [`Self::poll`]'s callout; whether it was of use.
    pub(crate) fn reply(
        &mut self,
        id: FeedId,
        reply: CalloutReply<'_>,
        now: UnixTime,
        limits: &Limits,
    ) -> bool {
        let Some(Some((source, _))) = self.sources.get_mut(id.0) else {
            return true;
        };
        let of_use = source.reply(reply, now, limits, &mut self.notices);
        self.bound_notices();
        of_use
    }

    /// The answer to [`Self::poll_usage`]'s callout; whether it was taken.
    pub(crate) fn reply_usage(
        &mut self,
        id: FeedId,
        reply: CalloutReply<'_>,
        now: UnixTime,
    ) -> bool {
        let Some(Some((source, _))) = self.sources.get(id.0) else {
            return true;
        };
        let Ok(mut log) = source.log().try_borrow_mut() else {
            return true;
        };
        let taken = log.reply(reply, source.spec(), now, &mut self.notices);
        drop(log);
        self.bound_notices();
        taken
    }

    /// [`Self::poll`]'s callout won't be answered, and that is not the feed's fault: it is asked anew at once.
    pub(crate) fn give_up(&mut self, id: FeedId) {
        if let Some(Some((source, _))) = self.sources.get_mut(id.0) {
            source.give_up();
        }
    }

    /// The same for [`Self::poll_usage`]'s. The report goes out again under its name, should it have been taken after all.
    pub(crate) fn give_up_usage(&mut self, id: FeedId) {
        if let Some(Some((source, _))) = self.sources.get(id.0)
            && let Ok(mut log) = source.log().try_borrow_mut()
        {
            log.give_up();
        }
    }

    fn bound_notices(&mut self) {
        while self.notices.len() > MAX_NOTICES {
            self.notices.pop_front();
        }
    }

    /// The next thing to tell an operator.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }
}

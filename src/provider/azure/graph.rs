//! Group memberships from Microsoft Graph, for callers with more groups than a token holds (Microsoft identity platform, "Groups
//! overage claim").
//!
//! Graph is asked with the caller's own token, so it answers what the caller may see and the filter holds no secret. It answers
//! tokens that are meant for it; whether a tenant's are, only asking tells. Whatever goes wrong, the caller stays who he is.

use std::rc::Rc;
use std::time::Duration;

use serde_json::Value;

use crate::callout::{Callout, CalloutReply};
use crate::identity::is_part;
use crate::jose::json::parse_strict;
use crate::lookup::{Failure, Finding, Progress, Question};
use crate::policy::{CalloutPolicy, GraphPolicy, Url};
use crate::reason::Code;
use crate::time::UnixTime;

/// `GET /me/transitiveMemberOf`: groups of groups count, as they do in the `groups` claim. Without the OData cast to groups, which
/// would need `ConsistencyLevel: eventual`; other kinds of object are left out here.
const PATH: &str = "/v1.0/me/transitiveMemberOf?$select=id&$top=999";

/// Pages of one answer; 999 entries each.
const MAX_PAGES: usize = 8;

/// Groups that are kept: 1,000 ids make a header of 37 kB, and few servers take a longer one.
const MAX_GROUPS: usize = 1000;

/// Bytes of one page. 999 entries have about 130 kB.
const MAX_PAGE: usize = 512 * 1024;

/// How deep a page may be nested.
const MAX_DEPTH: usize = 16;

/// How long a refusal is remembered: the next token may be refused for another reason, this one will be again.
const REFUSED_TTL: Duration = Duration::from_secs(60);

/// The groups that a directory says a caller is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryGroups {
    ids: Vec<String>,
    cut: bool,
}

impl DirectoryGroups {
    /// Object ids, in the directory's order.
    pub fn ids(&self) -> &[String] {
        &self.ids
    }

    /// Whether there are more than are kept.
    pub const fn is_cut(&self) -> bool {
        self.cut
    }

    pub(crate) fn weight(&self) -> usize {
        self.ids.iter().map(|id| 24 + id.len()).sum()
    }
}

/// Why an identity lacks groups that its caller has; `groups_missing` in audit events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupsMissing {
    /// The directory can't be reached, or gives no usable answer.
    Unavailable,
    /// The directory does not answer this token.
    Refused,
    /// There are more than are kept.
    Cut,
}

impl GroupsMissing {
    /// The word in audit events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Refused => "refused",
            Self::Cut => "cut",
        }
    }
}

impl GraphPolicy {
    /// The question for the groups of a proven token's bearer.
    pub(crate) fn question(
        &self,
        token: &str,
        expires_at: Option<UnixTime>,
        callouts: &CalloutPolicy,
        now: UnixTime,
    ) -> Box<dyn Question> {
        let url = Url {
            https: true,
            authority: self.host.clone(),
            path: PATH.to_owned(),
        };
        let upstream = callouts.upstream(&self.host);
        let mut callout = Callout::get_json(upstream, url, self.timeout, MAX_PAGE);
        callout.add_header("authorization", format!("Bearer {token}"));
        Box::new(MemberOf {
            callout,
            until: expires_at.map_or(now + self.cache_ttl, |exp| exp.min(now + self.cache_ttl)),
            found: Vec::new(),
            pages: 0,
        })
    }
}

/// One page after the other. `Debug` of the callout shows no header, and so no token.
#[derive(Debug)]
struct MemberOf {
    callout: Callout,
    until: UnixTime,
    found: Vec<String>,
    pages: usize,
}

impl Question for MemberOf {
    fn callout(&self) -> Callout {
        self.callout.clone()
    }

    fn read(mut self: Box<Self>, reply: CalloutReply<'_>, now: UnixTime) -> Progress {
        let CalloutReply::Response(response) = reply else {
            return Progress::Failed(Failure::Unreachable);
        };
        match response.status {
            200 => {}
            429 => return Progress::Failed(Failure::Throttled),
            400..=499 => {
                return Progress::Found(
                    Finding::Refused(Code::RejectedUpstream, None),
                    now + REFUSED_TTL,
                );
            }
            500..=599 => return Progress::Failed(Failure::Unreachable),
            // A redirect would carry the token to wherever it points.
            _ => return Progress::Failed(Failure::Unusable),
        }
        let Some(page) = page(response.body) else {
            return Progress::Failed(Failure::Unusable);
        };
        self.pages += 1;
        self.found.extend(page.ids);
        let cut = self.found.len() > MAX_GROUPS;
        let next = match page.next {
            Some(_) if cut || self.pages >= MAX_PAGES => {
                return self.end(true);
            }
            Some(next) => next,
            None => return self.end(cut),
        };
        // The token goes where it went before, and nowhere else.
        match Url::parse(&next) {
            Ok(url)
                if url.https
                    && url.authority == self.callout.authority
                    && url.path.starts_with("/v1.0/") =>
            {
                self.callout.path = url.path;
                Progress::Ask(self)
            }
            _ => Progress::Failed(Failure::Unusable),
        }
    }
}

impl MemberOf {
    fn end(mut self, cut: bool) -> Progress {
        self.found.truncate(MAX_GROUPS);
        let groups = DirectoryGroups {
            ids: self.found,
            cut,
        };
        Progress::Found(Finding::Groups(Rc::new(groups)), self.until)
    }
}

struct Page {
    ids: Vec<String>,
    next: Option<String>,
}

/// A page of `directoryObject`s; `None` for anything else.
fn page(body: &[u8]) -> Option<Page> {
    if body.len() > MAX_PAGE {
        return None;
    }
    let document = parse_strict(body, MAX_DEPTH).ok()?;
    let ids = document
        .get("value")?
        .as_array()?
        .iter()
        .filter(|o| o.get("@odata.type").and_then(Value::as_str) == Some("#microsoft.graph.group"))
        .filter_map(|o| o.get("id")?.as_str())
        .filter(|id| is_part(id))
        .map(str::to_owned)
        .collect();
    let next = match document.get("@odata.nextLink") {
        None | Some(Value::Null) => None,
        Some(link) => Some(link.as_str()?.to_owned()),
    };
    Some(Page { ids, next })
}

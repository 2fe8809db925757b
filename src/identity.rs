//! Who a caller was proven to be.

use std::rc::Rc;

/// Octets of one part of an identity. E-mail addresses end at 254, ARNs and URLs at about 2,000; what is longer is
/// nobody's name, and would be copied into headers and logs.
const MAX_PART: usize = 2048;

/// Not empty, not endless, and free of control characters: a newline in a claim must not become a header of its own.
pub(crate) fn is_part(s: &str) -> bool {
    (1..=MAX_PART).contains(&s.len()) && !s.chars().any(char::is_control)
}

/// Whom a proven credential names that is refused all the same, for the audit event: an allow-list that is wrong can be mended only by who
/// knows whom it refuses. Nothing is decided by it, and no header is made of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Refused {
    pub user_id: Option<Rc<str>>,
    pub email: Option<Rc<str>>,
}

impl Refused {
    /// What is no usable name is left out.
    pub(crate) fn new(user_id: Option<&str>, email: Option<&str>) -> Self {
        let part = |text: Option<&str>| text.filter(|s| is_part(s)).map(Rc::from);
        Self {
            user_id: part(user_id),
            email: part(email),
        }
    }

    /// Bytes of its texts.
    pub(crate) fn weight(&self) -> usize {
        let parts = [&self.user_id, &self.email];
        parts.into_iter().flatten().map(|part| part.len()).sum()
    }
}

/// A caller, proven by a provider. Only providers of this crate make one; there is no other way
/// to get past the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    // Counted references: every request of the caller hands them on.
    pub(crate) user_id: Rc<str>,
    pub(crate) email: Option<Rc<str>>,
    pub(crate) org_id: Option<Rc<str>>,
    pub(crate) workspace_id: Option<Rc<str>>,
    pub(crate) groups: Vec<String>,
}

impl Identity {
    /// The stable name of the caller, unique within its provider. Never empty.
    pub fn user_id(&self) -> &str {
        &self.user_id
    }
    /// The caller's e-mail address, when its provider vouches for one.
    pub fn email(&self) -> Option<&str> {
        self.email.as_deref()
    }
    /// The organisation.
    pub fn org_id(&self) -> Option<&str> {
        self.org_id.as_deref()
    }
    /// The workspace.
    pub fn workspace_id(&self) -> Option<&str> {
        self.workspace_id.as_deref()
    }
    /// Bytes of its texts, and of what each group takes beside its own.
    pub(crate) fn weight(&self) -> usize {
        let parts = [&self.email, &self.org_id, &self.workspace_id];
        let parts = parts.into_iter().flatten().map(|part| part.len());
        let groups = self.groups.iter().map(|group| group.len() + 24);
        parts
            .chain(groups)
            .fold(self.user_id.len(), usize::saturating_add)
    }
    /// The groups, in the issuer's order.
    pub fn groups(&self) -> &[String] {
        &self.groups
    }
}

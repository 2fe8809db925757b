//! Who a caller was proven to be.

/// A caller, proven by a provider. Only providers of this crate make one; there is no other way
/// to get past the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub(crate) user_id: String,
    pub(crate) email: Option<String>,
    pub(crate) org_id: Option<String>,
    pub(crate) workspace_id: Option<String>,
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
    /// The groups, in the issuer's order.
    pub fn groups(&self) -> &[String] {
        &self.groups
    }
}

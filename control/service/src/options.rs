//! What whoever runs the service decides.

use std::net::SocketAddr;

use crate::manage::KeyForm;

/// Everything that can be set; the program's command line says what by default.
#[derive(Clone, Debug)]
pub struct Options {
    /// `postgres://…`, `sqlite:path` or a path.
    pub database: String,
    /// Where to listen.
    pub listen: SocketAddr,
    /// How browsers reach it, without a slash at the end: `https://keys.example.com`.
    pub public_url: String,
    /// The proxies' public URL, for the snippets on the page.
    pub agents_url: Option<String>,
    /// How keys are made.
    pub keys: KeyForm,
    /// Sign-in with an OpenID provider.
    pub oidc: Option<OidcOptions>,
    /// Identity from a proxy in front.
    pub proxy: Option<ProxyOptions>,
    /// What groups are good for.
    pub groups: GroupRules,
    /// How long a session lasts, in seconds.
    pub session_life: i64,
    /// Keys that have been worthless for so many seconds are no longer sent to filters.
    pub forget_after: i64,
    /// Sign-ins from one address in a minute.
    pub sign_ins_a_minute: u32,
}

/// An OpenID provider.
#[derive(Clone)]
pub struct OidcOptions {
    /// Its issuer URL; discovery is done from there.
    pub issuer: String,
    /// This service's client id.
    pub client_id: String,
    /// Its secret; none for a public client, which PKCE is enough for.
    pub client_secret: Option<String>,
    /// The claim that names a person: `email` (which must be verified), `sub`, or another.
    pub person_claim: String,
    /// The claim that lists groups.
    pub groups_claim: String,
    /// Scopes beside `openid`.
    pub scopes: Vec<String>,
}

impl std::fmt::Debug for OidcOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OidcOptions")
            .field("issuer", &self.issuer)
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

/// A proxy in front that says who is there.
#[derive(Clone)]
pub struct ProxyOptions {
    /// What the proxy sends in `x-portcullis-proxy-secret` to prove that it is the proxy; at least 32 characters.
    pub secret: String,
    /// What the identity headers begin with: `x-auth-`.
    pub header_prefix: String,
}

impl std::fmt::Debug for ProxyOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProxyOptions")
            .field("header_prefix", &self.header_prefix)
            .finish_non_exhaustive()
    }
}

/// What groups at the identity provider are good for here.
#[derive(Clone, Debug, Default)]
pub struct GroupRules {
    /// Whoever is in it is admin.
    pub admin: Option<String>,
    /// `team-{workspace}-admins`: whoever is in such a group administers that workspace.
    pub workspace: Option<String>,
}

impl GroupRules {
    /// Whether these groups make an admin, and of which workspaces.
    pub fn rights(&self, groups: &[String]) -> (bool, Vec<String>) {
        let admin = self
            .admin
            .as_ref()
            .is_some_and(|wanted| groups.contains(wanted));
        let workspaces = match self
            .workspace
            .as_deref()
            .and_then(|t| t.split_once("{workspace}"))
        {
            None => Vec::new(),
            Some((before, after)) => groups
                .iter()
                .filter_map(|g| g.strip_prefix(before)?.strip_suffix(after))
                .filter(|w| !w.is_empty())
                .map(str::to_owned)
                .collect(),
        };
        (admin, workspaces)
    }
}

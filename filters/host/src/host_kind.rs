//! Which proxy this is, and what differs between them.

use std::borrow::Cow;

use portcullis_core::policy::Host;

use crate::abi::Action;
use crate::pairs::Field;
use crate::status::Status;
use crate::{hostcalls, nginx};

/// The proxies that need different handling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostKind {
    /// Envoy and everything built on it.
    Envoy,
    /// nginx with ngx_wasm_module, Kong included. An unknown host is handled like this one, the stricter, and lets nobody in.
    Nginx,
}

/// Where a callout goes, in the host's words.
#[derive(Debug)]
pub struct Dialled<'u> {
    /// A cluster's name, or an address.
    pub address: Cow<'u, str>,
    /// `http` or `https`: how the host is to speak there.
    pub scheme: &'static str,
}

/// Every difference is an exhaustive `match`: whoever adds a host is asked each question by the compiler.
impl HostKind {
    /// Finds out, by what each of them says to two questions; `None` where neither says what it is known to say. Call it in a root context.
    ///
    /// | | Envoy | nginx |
    /// |---|---|---|
    /// | `ngx.nginx_version` | `NotFound` | `InternalFailure`, as to every dotted path there; a value where that is mended |
    /// | `xds.node.id` | a value, an empty one where the node has no id | `InternalFailure`, and a line in its log: not asked once nginx is recognised |
    ///
    /// Nobody is taken for Envoy for not being nginx: on an nginx that is taken for Envoy, callers' own identity headers would get through.
    pub fn detect() -> Option<Self> {
        match hostcalls::property(b"ngx\0nginx_version") {
            Ok(_) | Err(Status::INTERNAL_FAILURE) => Some(Self::Nginx),
            Err(Status::NOT_FOUND) => node_id().map(|_| Self::Envoy),
            Err(_) => None,
        }
    }

    /// The kind of a VM in which a configuration says that it is for `said`. Who says nginx is believed whatever was recognised, and who
    /// says Envoy where nothing was: a build may exist that is not recognised. Who says Envoy in an nginx that is recognised is told of
    /// his mistake elsewhere.
    pub const fn of(recognised: Option<Self>, said: Option<Host>) -> Option<Self> {
        match (said, recognised) {
            (Some(Host::Nginx), _) => Some(Self::Nginx),
            (_, Some(kind)) => Some(kind),
            (Some(Host::Envoy), None) => Some(Self::Envoy),
            (None, None) => None,
        }
    }

    /// The name in configurations.
    pub const fn host(self) -> Host {
        match self {
            Self::Envoy => Host::Envoy,
            Self::Nginx => Host::Nginx,
        }
    }

    /// Where a callout goes, in the host's words; `None` where the host would trap at them. Envoy takes a cluster's name, and says if
    /// there is none; nginx wants a port, and traps at one that is none.
    pub fn dial<'u>(self, upstream: &'u str, scheme: &'static str) -> Option<Dialled<'u>> {
        match self {
            Self::Envoy => Some(Dialled {
                address: Cow::Borrowed(upstream),
                scheme,
            }),
            Self::Nginx => nginx::dial(upstream, scheme),
        }
    }

    /// Whether what workers fetch for each other may lie in the host's shared data. On nginx a value larger than the whole zone is a
    /// trap, and how large that is nobody can ask; a local cache in front of the issuer serves instead.
    pub const fn shares_documents(self) -> bool {
        match self {
            Self::Envoy => true,
            Self::Nginx => false,
        }
    }

    /// Whether the host may use shared data at all without having been told to. On nginx every access is a trap without `shm_kv`.
    pub const fn has_shared_data_unasked(self) -> bool {
        match self {
            Self::Envoy => true,
            Self::Nginx => false,
        }
    }

    /// Whether a request may have more header fields than these. nginx shows the first hundred.
    pub fn may_be_cut(self, fields: &[Field<'_>]) -> bool {
        match self {
            Self::Envoy => false,
            Self::Nginx => fields.len() >= nginx::MAX_FIELDS,
        }
    }

    /// Whether a request surely has no body, where the host does not say so itself.
    pub fn has_no_body(self, fields: &[Field<'_>]) -> bool {
        match self {
            Self::Envoy => false,
            Self::Nginx => nginx::has_no_body(fields),
        }
    }

    /// Whether `:path` and `:authority` are not the client's. nginx decodes the one, and fills the other with its own name.
    pub const fn rewrites_pseudo_headers(self) -> bool {
        match self {
            Self::Envoy => false,
            Self::Nginx => true,
        }
    }

    /// Whether the details of an answer stay with the proxy. nginx writes them into the status line, for the caller to read.
    pub const fn keeps_details(self) -> bool {
        match self {
            Self::Envoy => true,
            Self::Nginx => false,
        }
    }

    /// What to answer the request callback with to hold back headers, body and trailers.
    ///
    /// On Envoy not the ABI's `Pause`: a plugin may set `allow_on_headers_stop_iteration`, and then `Pause` holds back the headers
    /// only, while the body goes on to the next filter.
    pub const fn hold_back(self) -> Action {
        match self {
            Self::Envoy => Action::StopAllIterationAndWatermark,
            Self::Nginx => Action::Pause,
        }
    }

    /// What to answer the request callback with to hold back the headers and still be shown the body, `None` where that can't be had.
    /// On Envoy it takes `allow_on_headers_stop_iteration`; without, it is [`HostKind::hold_back`] and no body is shown. On nginx a pause
    /// without a callout of the request's own hangs for ever.
    pub const fn wait_for_body(self) -> Option<Action> {
        match self {
            Self::Envoy => Some(Action::Pause),
            Self::Nginx => None,
        }
    }

    /// Whether a request can be resumed from another callback than its own callout's. On nginx such a resume hangs the
    /// request or crashes the worker, and a pause without a callout of the request's own hangs for ever. A host that says no lets a request
    /// go on by itself once its own callout is over; on one that waits to be told it would hang.
    pub const fn resumes_across_contexts(self) -> bool {
        match self {
            Self::Envoy => true,
            Self::Nginx => false,
        }
    }

    /// Whether a configuration can be refused. nginx takes the whole worker down instead.
    pub const fn can_refuse_configuration(self) -> bool {
        match self {
            Self::Envoy => true,
            Self::Nginx => false,
        }
    }

    /// Whether the timer of a root context that is gone goes on, unless the context has stopped it. Envoy keeps it and wakes up for nothing,
    /// for each configuration that there ever was. A worker of nginx ends with its timer.
    pub const fn keeps_timers(self) -> bool {
        match self {
            Self::Envoy => true,
            Self::Nginx => false,
        }
    }

    /// Whether a callout may be sent from the callback of another one. On nginx that is a crash in a root context.
    pub const fn chains_callouts(self) -> bool {
        match self {
            Self::Envoy => true,
            Self::Nginx => false,
        }
    }

    /// The compare-and-swap token with which a shared value is written only if there is none yet.
    ///
    /// Envoy overwrites with token 0, but compares any other with what is there, and takes it where nothing is. (A value whose
    /// own token is this one would be overwritten; tokens count up from 1.) nginx creates with 0 only.
    pub const fn create_only_token(self) -> u32 {
        match self {
            Self::Envoy => u32::MAX,
            Self::Nginx => 0,
        }
    }

    /// The name that the proxy goes by (Envoy's `node.id`), if it has one. Call it in a root context. nginx knows none, and says so in its log
    /// at every question.
    pub fn proxy_name(self) -> Option<String> {
        match self {
            Self::Envoy => {
                let id = String::from_utf8(node_id()?).ok()?;
                Some(id).filter(|id| !id.is_empty())
            }
            Self::Nginx => None,
        }
    }

    /// Whether functions outside the ABI may be called. On nginx an unknown name is a trap.
    pub const fn has_foreign_functions(self) -> bool {
        match self {
            Self::Envoy => true,
            Self::Nginx => false,
        }
    }

    /// The property that the access log prints the audit event from: `%FILTER_STATE(wasm.portcullis_audit:PLAIN)%` on Envoy,
    /// a declared `$portcullis_audit` on nginx.
    pub const fn audit_property(self) -> &'static [u8] {
        match self {
            Self::Envoy => b"portcullis_audit",
            Self::Nginx => b"ngx\0portcullis_audit",
        }
    }
}

/// Envoy's `node.id`, empty where it has none. Older Envoys know the node by the second of these paths only, later ones by the first.
fn node_id() -> Option<Vec<u8>> {
    [b"xds\0node\0id".as_slice(), b"node\0id"]
        .into_iter()
        .find_map(|path| hostcalls::property(path).ok())
}

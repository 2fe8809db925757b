//! What one VM knows, and the callbacks that reach it.

use std::borrow::Cow;
use std::cell::RefCell;
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;

use portcullis_core::Stores;
use portcullis_core::config;
use portcullis_core::jose::{Es256Tables, SelfTestFailed, TableLimits};
use portcullis_core::keys::lease::Worker;
use portcullis_core::metrics::Id;
use portcullis_core::policy::{Host, Policy};
use portcullis_core::reason::Code;
use portcullis_host::abi::{Action, BufferType};
use portcullis_host::contexts::{ById, Slot};
use portcullis_host::exports::Filter;
use portcullis_host::host_kind::HostKind;
use portcullis_host::metrics::Metrics;
use portcullis_host::pairs::Field;
use portcullis_host::shared_fetch::SharedFetch;
use portcullis_host::status::Status;
use portcullis_host::verifier::HostVerifier;
use portcullis_host::{hostcalls, log, plugin_config};

use crate::body;
use crate::own;
use crate::request::{self, Moment};
use crate::root::Root;

thread_local! {
    static VM: Slot<Vm> = Slot::new(Vm::default());
}

/// Everything of one VM: its configurations by root context, and what they share.
#[derive(Default)]
struct Vm {
    common: Option<Common>,
    /// The VM's own configuration, of which there may be none.
    vm_configuration: Option<Result<Vec<u8>, Status>>,
    roots: ById<Root>,
    /// Which root context each stream belongs to: a stream keeps the configuration it was accepted under.
    streams: ById<u32>,
    /// The memory of the last request's header list.
    fields: Vec<Field<'static>>,
}

impl Vm {
    /// What a stream's callbacks work on.
    fn of_stream(&mut self, context_id: u32) -> Option<(&mut Common, &mut Root)> {
        let root_id = self.streams.get(&context_id)?;
        Some((self.common.as_mut()?, self.roots.get_mut(root_id)?))
    }
}

/// Which stream calls, and whether that is all of it.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    /// The host's id.
    pub context_id: u32,
    /// Nothing follows.
    pub end_of_stream: bool,
}

/// What the configurations of a VM share, and what survives them.
pub struct Common {
    /// The proxy around us, or the stricter one where nobody knows.
    pub kind: HostKind,
    /// Whether somebody knows: it was recognised, or a configuration says so. Without, no configuration is good.
    pub known: bool,
    /// Metric ids.
    pub metrics: Metrics,
    /// Key sets, key feeds and verified tokens.
    pub stores: Rc<RefCell<Stores>>,
    /// What the host's own crypto is good for.
    pub verifier: HostVerifier,
    /// The tables for ES256, once a configuration has wanted them; an error for good when they failed their self-test.
    pub es256: Option<Result<Rc<Es256Tables>, SelfTestFailed>>,
    /// This worker's part in fetching once a process.
    pub shared: SharedFetch,
    seed: u64,
}

impl Common {
    /// Looks around. Call it in a root context. `said` is the proxy that the first configuration is for.
    fn new(said: Option<Host>) -> Self {
        let known = HostKind::of(HostKind::detect(), said);
        let kind = known.unwrap_or(HostKind::Nginx);
        // Differs between workers, and nobody outside can predict it: it seeds the hash of the token cache.
        let seed = RandomState::new().hash_one(hostcalls::now_nanos());
        let stores = Stores::new(seed);
        if let (Some(name), Ok(mut stores)) = (kind.proxy_name(), stores.try_borrow_mut()) {
            stores.name_proxy(&name);
        }
        Self {
            kind,
            known: known.is_some(),
            metrics: Metrics::default(),
            stores,
            verifier: HostVerifier::probe(kind),
            es256: None,
            shared: SharedFetch::new(Worker(seed), kind),
            seed,
        }
    }

    /// A later configuration says what the proxy is, which was not recognised.
    fn heed(&mut self, said: Option<Host>) {
        let Some(kind) = HostKind::of(self.known.then_some(self.kind), said) else {
            return;
        };
        self.known = true;
        if kind != self.kind {
            self.kind = kind;
            self.verifier = HostVerifier::probe(kind);
            self.shared = SharedFetch::new(Worker(self.seed), kind);
        }
    }

    /// The tables, if the policy has a use for them and they can be relied on. All configurations share them, and the first
    /// that wants them waits for them to be made and tested.
    pub fn es256_tables(&mut self, policy: &Policy) -> Option<Rc<Es256Tables>> {
        if !policy.wants_es256_tables() {
            return None;
        }
        let made = self
            .es256
            .get_or_insert_with(|| Es256Tables::new(TableLimits::DEFAULT).map(Rc::new));
        match made {
            Ok(tables) => Some(tables.clone()),
            Err(failed) => {
                self.metrics.increment(Id::CryptoSelfTestFailed);
                log::error(format_args!(
                    "{failed}; it is verified as with `crypto.es256: host`"
                ));
                None
            }
        }
    }
}

/// The filter, as the host calls it.
#[derive(Debug)]
pub struct Portcullis;

impl Filter for Portcullis {
    fn on_context_create(context_id: u32, root_id: u32) {
        with(|vm| {
            if root_id == 0 {
                vm.roots.insert(context_id, Root::new(context_id));
            } else {
                vm.streams.insert(context_id, root_id);
            }
        });
    }

    fn on_vm_start(size: usize) {
        with(|vm| {
            vm.vm_configuration = Some(match size {
                0 => Ok(Vec::new()),
                _ => hostcalls::buffer(BufferType::VmConfiguration, size),
            });
        });
    }

    fn on_configure(root_id: u32, size: usize) -> bool {
        with(|vm| {
            let text = configuration(vm.vm_configuration.as_ref(), size);
            let said = text.as_deref().ok().and_then(config::host_of);
            let common = vm.common.get_or_insert_with(|| Common::new(said));
            common.heed(said);
            let root = vm
                .roots
                .entry(root_id)
                .or_insert_with(|| Root::new(root_id));
            let accepted = root.configure(common, text);
            // A host that can't be told "no" gets a filter that tells everyone "no".
            accepted || !common.kind.can_refuse_configuration()
        })
        .unwrap_or(false)
    }

    fn on_tick(root_id: u32) {
        with(|vm| {
            if let (Some(common), Some(root)) = (&mut vm.common, vm.roots.get_mut(&root_id)) {
                root.tick(common);
            }
        });
    }

    fn on_request_headers(context_id: u32, end_of_stream: bool) -> Action {
        with(|vm| {
            let root = vm
                .streams
                .get(&context_id)
                .and_then(|root_id| vm.roots.get_mut(root_id));
            match (&mut vm.common, root) {
                (Some(common), Some(root)) => {
                    let stream = Stream {
                        context_id,
                        end_of_stream,
                    };
                    request::on_headers(common, root, stream, &mut vm.fields)
                }
                _ => refuse(Code::NoPolicy),
            }
        })
        .unwrap_or_else(|| refuse(Code::HostFailure))
    }

    fn on_request_body(context_id: u32, size: usize, end_of_stream: bool) -> Action {
        with(|vm| match vm.of_stream(context_id) {
            Some((common, root)) => body::on_body(
                common,
                root,
                Stream {
                    context_id,
                    end_of_stream,
                },
                size,
            ),
            None => Action::Continue,
        })
        .unwrap_or_else(|| refuse(Code::HostFailure))
    }

    fn on_request_trailers(context_id: u32) -> Action {
        with(|vm| match vm.of_stream(context_id) {
            Some((common, root)) => body::on_trailers(common, root, context_id),
            None => Action::Continue,
        })
        .unwrap_or_else(|| refuse(Code::HostFailure))
    }

    fn on_http_call_response(context_id: u32, token: u32, num_headers: usize, body_size: usize) {
        with(|vm| {
            if let Some((common, root)) = vm.of_stream(context_id) {
                own::on_reply(common, root, context_id, token, num_headers, body_size);
            } else if let (Some(common), Some(root)) =
                (&mut vm.common, vm.roots.get_mut(&context_id))
            {
                root.on_reply(common, token, num_headers, body_size);
            }
        });
    }

    fn on_delete(context_id: u32) {
        with(|vm| {
            if let Some(root_id) = vm.streams.remove(&context_id) {
                if let (Some(common), Some(root)) = (&mut vm.common, vm.roots.get_mut(&root_id)) {
                    request::on_delete(common, root, context_id);
                }
            } else if let (Some(common), Some(mut root)) =
                (&mut vm.common, vm.roots.remove(&context_id))
            {
                root.close(common);
            }
        });
    }
}

/// The configuration of a root context as JSON text: the VM's blocks and the plugin's.
fn configuration(of_vm: Option<&Result<Vec<u8>, Status>>, size: usize) -> Result<Vec<u8>, String> {
    let not_read = |what: &str, status: Status| {
        format!("the host did not hand out the {what} configuration: {status}")
    };
    let of_vm = match of_vm {
        None => b"".as_slice(),
        Some(Ok(text)) => text,
        Some(Err(status)) => return Err(not_read("VM's", *status)),
    };
    let own = hostcalls::buffer(BufferType::PluginConfiguration, size)
        .map_err(|status| not_read("plugin's", status))?;
    let (of_vm, own) = (plugin_config::json(of_vm), plugin_config::json(&own));
    config::merge(&of_vm, &own)
        .map(Cow::into_owned)
        .map_err(|errors| errors.to_string())
}

fn with<R>(work: impl FnOnce(&mut Vm) -> R) -> Option<R> {
    let result = VM.try_with(|vm| vm.with(work)).ok().flatten();
    if result.is_none() {
        log::critical("the host called back in from a host call; refused");
    }
    result
}

/// Refuses a request that no configuration is there for.
fn refuse(code: Code) -> Action {
    let mut metrics = Metrics::default();
    request::deny(
        crate::refusal::denial(code),
        &mut Moment {
            kind: HostKind::Envoy,
            metrics: &mut metrics,
            sinks: &[],
            began_nanos: 0,
        },
    )
}

//! One worker: an instance of the module and its root contexts.

use std::cell::RefCell;
use std::rc::Rc;

use wasmtime::{Instance, Linker, Store, Val};

use crate::guest::{Callback, Guest};
use crate::imports;
use crate::module::Module;
use crate::settings::Profile;
use crate::wasi;
use crate::world::{Incident, IncidentKind, World};

/// How a call of the guest ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Called {
    /// The module has no such callback.
    Absent,
    /// 0 where it returns nothing.
    Returned(u32),
    Trapped,
    /// And with it the process.
    Crashed,
}

pub(crate) struct Worker {
    store: Store<Guest>,
    instance: Instance,
    pub alive: bool,
    /// Under whose configuration new requests are.
    pub root: u32,
}

impl Worker {
    /// Instantiates, starts and configures.
    pub(crate) fn start(
        module: &Module,
        world: &Rc<RefCell<World>>,
        index: usize,
    ) -> Result<Self, String> {
        let (profile, environment, seed) = {
            let world = world.borrow();
            let entry =
                |(name, value): (&String, &String)| format!("{name}={value}\0").into_bytes();
            let environment = world.settings.env.iter().map(entry).collect();
            (world.settings.profile, environment, world.next_id)
        };
        let guest = Guest {
            world: world.clone(),
            profile,
            worker: index,
            callback: Callback::Start,
            current: 0,
            effective: 0,
            claimed: 0,
            in_root: true,
            roots: Vec::new(),
            periods: 0,
            random: 0x9e37_79b9_7f4a_7c15 ^ (index as u64) << 32 ^ u64::from(seed),
            environment,
        };
        let mut store = Store::new(module.0.engine(), guest);
        let mut linker = Linker::new(module.0.engine());
        imports::link(&mut linker, &module.0, profile)
            .and_then(|()| wasi::link(&mut linker))
            .map_err(|error| format!("{error:#}"))?;
        let instance = linker
            .instantiate(&mut store, &module.0)
            .map_err(|error| format!("the module can't be instantiated: {error:#}"))?;
        let mut worker = Self {
            store,
            instance,
            alive: true,
            root: 0,
        };
        if matches!(
            worker.call(Callback::Start, 0, &[]),
            Called::Trapped | Called::Crashed
        ) {
            return Err("the module traps when it starts".to_owned());
        }
        worker.root = worker.create_root()?;
        let root = worker.root;
        let size = world.borrow().settings.vm_configuration.len();
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        match worker.call(Callback::VmStart, root, &[root, size]) {
            Called::Absent | Called::Returned(1..) => {}
            other => return Err(format!("proxy_on_vm_start: {other:?}")),
        }
        worker.configure(root)?;
        Ok(worker)
    }

    /// Envoy: a root context more, for another configuration.
    pub(crate) fn add_root(&mut self) -> Result<u32, String> {
        let root = self.create_root()?;
        match self.configure(root) {
            Ok(()) => Ok(root),
            Err(why) => {
                self.drop_root(root);
                Err(why)
            }
        }
    }

    pub(crate) fn drop_root(&mut self, root: u32) {
        {
            let mut world = self.store.data().world.borrow_mut();
            let worker = self.store.data().worker;
            world.callouts.retain(|_, callout| callout.context != root);
            if !self.alive || self.store.data().profile == Profile::Nginx {
                world.ticks.remove(&(worker, root));
            }
        }
        if self.alive {
            self.call(Callback::Done, root, &[root]);
            self.call(Callback::Delete, root, &[root]);
        }
        {
            let guest = self.store.data();
            let mut world = guest.world.borrow_mut();
            if world.ticks.remove(&(guest.worker, root)).is_some() {
                world.incidents.push(Incident {
                    kind: IncidentKind::TimerLeft,
                    worker: guest.worker,
                    context: root,
                    during: Callback::Delete.name(),
                    why: "the tick period is still set".to_owned(),
                });
            }
        }
        self.store.data_mut().roots.retain(|other| *other != root);
    }

    fn create_root(&mut self) -> Result<u32, String> {
        let root = self.store.data().world.borrow_mut().fresh_id();
        self.store.data_mut().roots.push(root);
        match self.call(Callback::Create, root, &[root, 0]) {
            Called::Trapped | Called::Crashed => Err("proxy_on_context_create trapped".to_owned()),
            Called::Absent | Called::Returned(_) => Ok(root),
        }
    }

    fn configure(&mut self, root: u32) -> Result<(), String> {
        let size = self.store.data().world.borrow().configuration.len();
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        match self.call(Callback::Configure, root, &[root, size]) {
            Called::Absent | Called::Returned(1..) => Ok(()),
            Called::Returned(0) => Err("the configuration was refused".to_owned()),
            other => Err(format!("proxy_on_configure: {other:?}")),
        }
    }

    /// Calls an export, with this context as the current one.
    pub(crate) fn call(&mut self, callback: Callback, context: u32, args: &[u32]) -> Called {
        let Some(function) = self.instance.get_func(&mut self.store, callback.name()) else {
            return Called::Absent;
        };
        {
            let guest = self.store.data_mut();
            guest.callback = callback;
            guest.current = context;
            guest.effective = context;
            guest.claimed = context;
            guest.in_root = context == 0 || guest.roots.contains(&context);
        }
        let args: Vec<Val> = args.iter().map(|n| Val::I32(n.cast_signed())).collect();
        let mut results = vec![Val::I32(0); function.ty(&self.store).results().len()];
        let outcome = function.call(&mut self.store, &args, &mut results);
        match outcome {
            Ok(()) => Called::Returned(
                results
                    .first()
                    .and_then(Val::i32)
                    .unwrap_or(0)
                    .cast_unsigned(),
            ),
            Err(error) => {
                let guest = self.store.data();
                let mut world = guest.world.borrow_mut();
                let crashed = world.crashed.take();
                let (kind, called) = match crashed {
                    Some(_) => (IncidentKind::Crash, Called::Crashed),
                    None => (IncidentKind::Trap, Called::Trapped),
                };
                world.incidents.push(Incident {
                    kind,
                    worker: guest.worker,
                    context,
                    during: callback.name(),
                    why: crashed.unwrap_or_else(|| format!("{error:#}")),
                });
                called
            }
        }
    }
}

//! One module instance: its memory, and who it believes to be working for.

use std::cell::RefCell;
use std::rc::Rc;

use wasmtime::{Caller, Extern, Memory};

use crate::abi::Status;
use crate::settings::Profile;
use crate::world::{Incident, IncidentKind, World};

/// Which of the guest's callbacks runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Callback {
    Start,
    Create,
    VmStart,
    Configure,
    Tick,
    Headers,
    Body,
    Trailers,
    CallResponse,
    Done,
    Log,
    Delete,
}

impl Callback {
    /// As the guest exports it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Start => "_initialize",
            Self::Create => "proxy_on_context_create",
            Self::VmStart => "proxy_on_vm_start",
            Self::Configure => "proxy_on_configure",
            Self::Tick => "proxy_on_tick",
            Self::Headers => "proxy_on_request_headers",
            Self::Body => "proxy_on_request_body",
            Self::Trailers => "proxy_on_request_trailers",
            Self::CallResponse => "proxy_on_http_call_response",
            Self::Done => "proxy_on_done",
            Self::Log => "proxy_on_log",
            Self::Delete => "proxy_on_delete",
        }
    }
}

/// What belongs to one instance.
pub(crate) struct Guest {
    pub world: Rc<RefCell<World>>,
    pub profile: Profile,
    pub worker: usize,
    pub callback: Callback,
    /// The context that is called.
    pub current: u32,
    /// The context that host calls act on. On nginx always the current one.
    pub effective: u32,
    /// What the guest asked for by `proxy_set_effective_context`.
    pub claimed: u32,
    /// Whether the current context is a root one.
    pub in_root: bool,
    /// Envoy: the root contexts that are there, to check an effective context.
    pub roots: Vec<u32>,
    /// Non-zero tick periods that were set.
    pub periods: usize,
    pub random: u64,
    pub environment: Vec<Vec<u8>>,
}

/// Why a host call does not do what it was asked to.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The guest is told.
    Status(Status),
    /// The guest ends here.
    Trap(String),
    /// The whole worker ends here.
    Crash(String),
}

impl From<Status> for Stop {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

pub(crate) fn trap<T>(why: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Trap(why.into()))
}

pub(crate) fn crash<T>(why: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Crash(why.into()))
}

/// A host call in progress.
pub(crate) struct Call<'a, 'b>(pub &'a mut Caller<'b, Guest>);

impl Call<'_, '_> {
    pub(crate) fn guest(&self) -> &Guest {
        self.0.data()
    }

    pub(crate) fn world(&self) -> Rc<RefCell<World>> {
        self.0.data().world.clone()
    }

    fn memory(&mut self) -> Result<Memory, Stop> {
        match self.0.get_export("memory") {
            Some(Extern::Memory(memory)) => Ok(memory),
            _ => trap("the module exports no memory"),
        }
    }

    pub(crate) fn read(&mut self, at: u32, size: u32) -> Result<Vec<u8>, Stop> {
        let memory = self.memory()?;
        let end = u64::from(at) + u64::from(size);
        let range = at as usize..usize::try_from(end).unwrap_or(usize::MAX);
        match memory.data(&*self.0).get(range) {
            Some(bytes) => Ok(bytes.to_vec()),
            None => Err(Status::INVALID_MEMORY_ACCESS.into()),
        }
    }

    pub(crate) fn text(&mut self, at: u32, size: u32) -> Result<String, Stop> {
        let bytes = self.read(at, size)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    pub(crate) fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), Stop> {
        let memory = self.memory()?;
        memory
            .write(&mut *self.0, at as usize, bytes)
            .map_err(|_| Status::INVALID_MEMORY_ACCESS.into())
    }

    pub(crate) fn write_u32(&mut self, at: u32, number: u32) -> Result<(), Stop> {
        self.write(at, &number.to_le_bytes())
    }

    pub(crate) fn write_u64(&mut self, at: u32, number: u64) -> Result<(), Stop> {
        self.write(at, &number.to_le_bytes())
    }

    /// Hands bytes over in memory that the guest makes. Nothing at all is a null pointer.
    pub(crate) fn give(&mut self, bytes: &[u8], data_at: u32, size_at: u32) -> Result<(), Stop> {
        let size = u32::try_from(bytes.len()).map_err(|_| Status::BAD_ARGUMENT)?;
        let mut place = 0;
        if size > 0 {
            place = self.allocate(size)?;
            self.write(place, bytes)?;
        }
        self.write_u32(data_at, place)?;
        self.write_u32(size_at, size)
    }

    fn allocate(&mut self, size: u32) -> Result<u32, Stop> {
        let function = ["proxy_on_memory_allocate", "malloc"]
            .into_iter()
            .find_map(|name| self.0.get_export(name).and_then(Extern::into_func));
        let Some(function) = function else {
            return trap("the module exports neither proxy_on_memory_allocate nor malloc");
        };
        let place = function
            .typed::<u32, u32>(&*self.0)
            .and_then(|function| function.call(&mut *self.0, size))
            .map_err(|error| Stop::Trap(format!("proxy_on_memory_allocate: {error:#}")))?;
        match place {
            0 => Err(Status::INVALID_MEMORY_ACCESS.into()),
            place => Ok(place),
        }
    }

    /// The context that a call on a stream acts on; notes a call that was meant for another one.
    pub(crate) fn target(&self) -> u32 {
        let guest = self.guest();
        if guest.profile == Profile::Nginx && guest.claimed != guest.current {
            let incident = Incident {
                kind: IncidentKind::WrongContext,
                worker: guest.worker,
                context: guest.current,
                during: guest.callback.name(),
                why: format!("meant for context {}", guest.claimed),
            };
            let incidents = &mut guest.world.borrow_mut().incidents;
            if incidents.last() != Some(&incident) {
                incidents.push(incident);
            }
        }
        guest.effective
    }

    /// A line of the proxy's own about what the guest asks.
    pub(crate) fn complain(&self, text: String) {
        let guest = self.guest();
        guest.world.borrow_mut().host_error(guest.worker, text);
    }
}

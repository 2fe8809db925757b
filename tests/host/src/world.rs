//! Everything outside of the workers' memories.

use std::collections::BTreeMap;

use crate::abi::Field;
use crate::callout::Callout;
use crate::faults::Faults;
use crate::metrics::Metrics;
use crate::settings::Settings;
use crate::shared_data::SharedData;
use crate::stream::Stream;

/// A line of the proxy's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// The worker it came from.
    pub worker: usize,
    /// 0 trace, 1 debug, 2 info, 3 warn, 4 error, 5 critical. The proxy's own are errors.
    pub level: u32,
    /// The text; nginx cuts it at 2047 bytes.
    pub text: String,
}

/// Something that must not happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incident {
    /// What.
    pub kind: IncidentKind,
    /// In which worker.
    pub worker: usize,
    /// In which context; 0 before there was one.
    pub context: u32,
    /// In which callback.
    pub during: &'static str,
    /// Why, or what followed.
    pub why: String,
}

/// What must not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IncidentKind {
    /// The module trapped.
    Trap,
    /// The worker process died.
    Crash,
    /// nginx: a callout's callback ended with nothing said about the request, which goes on by itself.
    Undecided,
    /// nginx: a request is paused, and nothing will ever let it go.
    Hangs,
    /// nginx: a trap let a request go on that had not been decided.
    Leaked,
    /// nginx: a host call that was meant for another context, and hit this one.
    WrongContext,
    /// Something was answered with no callback there to take it.
    Ignored,
    /// Envoy: a root context is gone and its timer is not, which then goes on for nothing as long as the VM does.
    TimerLeft,
}

/// The reply that a callback may read now.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub headers: Vec<Field>,
    pub body: Vec<u8>,
    /// What the callback was told.
    pub size: usize,
    pub dispatch_status: &'static str,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Deferred {
    Continue(u32),
    Answer(u32),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Tick {
    /// In nanoseconds; 0 is none.
    pub period: u64,
    pub next: u64,
}

#[derive(Debug)]
pub(crate) struct World {
    pub settings: Settings,
    /// Nanoseconds since the start.
    pub elapsed: u64,
    /// The wall clock's start in nanoseconds since 1970.
    pub wall_start: i64,
    pub shared: SharedData,
    pub metrics: Metrics,
    pub log: Vec<LogLine>,
    pub streams: BTreeMap<u32, Stream>,
    pub callouts: BTreeMap<u32, Callout>,
    pub faults: Faults,
    pub incidents: Vec<Incident>,
    pub configuration: Vec<u8>,
    pub incoming: Option<Incoming>,
    pub deferred: Vec<Deferred>,
    /// By worker and root context.
    pub ticks: BTreeMap<(usize, u32), Tick>,
    /// Set by a host call that takes the worker process with it.
    pub crashed: Option<String>,
    pub next_id: u32,
}

impl World {
    pub(crate) fn new(settings: Settings, configuration: Vec<u8>) -> Self {
        let capacity = match settings.profile {
            crate::settings::Profile::Envoy => Some(usize::MAX),
            crate::settings::Profile::Nginx => settings.shm_kv,
        };
        let start = i64::try_from(settings.epoch().as_nanos()).unwrap_or(i64::MAX);
        Self {
            shared: SharedData::new(settings.profile, capacity),
            elapsed: 0,
            wall_start: start,
            metrics: Metrics::default(),
            log: Vec::new(),
            streams: BTreeMap::new(),
            callouts: BTreeMap::new(),
            faults: Faults {
                in_force: settings.faults.clone(),
                ..Faults::default()
            },
            incidents: Vec::new(),
            configuration,
            incoming: None,
            deferred: Vec::new(),
            ticks: BTreeMap::new(),
            crashed: None,
            next_id: 0,
            settings,
        }
    }

    pub(crate) const fn fresh_id(&mut self) -> u32 {
        self.next_id += 1;
        self.next_id
    }

    pub(crate) fn wall(&self) -> u64 {
        let elapsed = i64::try_from(self.elapsed).unwrap_or(i64::MAX);
        u64::try_from(self.wall_start.saturating_add(elapsed)).unwrap_or(0)
    }

    pub(crate) fn calls_of(&self, context: u32) -> usize {
        self.callouts
            .values()
            .filter(|callout| callout.context == context)
            .count()
    }

    pub(crate) fn host_error(&mut self, worker: usize, text: String) {
        self.log.push(LogLine {
            worker,
            level: 4,
            text,
        });
    }
}

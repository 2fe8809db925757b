//! The proxy: drives its workers through the phases of requests, callouts, ticks and reloads.

use std::cell::{Ref, RefCell, RefMut};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use crate::abi::Field;
use crate::callout::{Callout, Reply, incoming};
use crate::faults::Fault;
use crate::guest::Callback;
use crate::metrics::Metrics;
use crate::module::Module;
use crate::settings::{Profile, Settings};
use crate::shared_data::SharedData;
use crate::stream::{Fate, Hold, Request, Stream};
use crate::worker::{Called, Worker};
use crate::world::{Incident, IncidentKind, LogLine, World};

/// Callouts answered by [`Host::serve`] in one go: a filter that asks for ever is a failure, not a hang.
const MAX_SERVED: usize = 10_000;

/// A proxy that did not come up.
#[derive(Clone, Debug)]
pub struct StartFailure {
    /// Why.
    pub why: String,
    /// What was logged until then.
    pub log: Vec<LogLine>,
}

impl fmt::Display for StartFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.why)?;
        for line in &self.log {
            write!(f, "\n  {}", line.text)?;
        }
        Ok(())
    }
}

/// A proxy with the module in it. See the head of the crate.
///
/// When it is dropped with incidents that no test asked for ([`Host::take_incidents`]), the test fails.
pub struct Host {
    pub(crate) world: Rc<RefCell<World>>,
    pub(crate) module: Module,
    /// Every worker there ever was; those of before a reload (nginx) serve what they have.
    pub(crate) workers: Vec<Worker>,
    serving: Vec<usize>,
    /// Envoy: root contexts of before a reload that still have streams, by worker.
    retired: Vec<(usize, u32)>,
    /// nginx after a reload that no worker survived.
    down: bool,
}

impl Host {
    /// Starts all workers with this plugin configuration.
    ///
    /// # Errors
    /// The module can't be instantiated, or a worker's configuration is refused: Envoy does not start, and nginx has no workers.
    pub fn start(
        module: &Module,
        settings: Settings,
        configuration: &[u8],
    ) -> Result<Self, StartFailure> {
        let workers = settings.workers;
        let mut host = Self {
            world: Rc::new(RefCell::new(World::new(settings, configuration.to_vec()))),
            module: module.clone(),
            workers: Vec::new(),
            serving: Vec::new(),
            retired: Vec::new(),
            down: false,
        };
        match host.add_workers(workers) {
            Ok(serving) => host.serving = serving,
            Err(why) => {
                let log = host.world.borrow().log.clone();
                // Told by the error.
                host.take_incidents();
                return Err(StartFailure { why, log });
            }
        }
        Ok(host)
    }

    fn add_workers(&mut self, count: usize) -> Result<Vec<usize>, String> {
        let mut added = Vec::new();
        for _ in 0..count {
            let index = self.workers.len();
            let worker = Worker::start(&self.module, &self.world, index)?;
            self.workers.push(worker);
            added.push(index);
        }
        Ok(added)
    }

    // Requests

    /// Sends a request to the `n`th worker and drives it as far as it goes. Returns its context, by which everything else is asked.
    pub fn send(&mut self, n: usize, request: Request) -> u32 {
        let worker = self.serving[n];
        let (id, profile, refused) = {
            let mut world = self.world.borrow_mut();
            let id = world.fresh_id();
            let root = self.workers[worker].root;
            let mut stream = Stream::new(worker, id, root, request, &world.settings);
            let profile = world.settings.profile;
            let named = |field: &&Field| field.0.eq_ignore_ascii_case(b"authorization");
            let fate = if self.down {
                Some(Fate::Lost)
            } else if !self.workers[worker].alive {
                Some(Fate::Failed {
                    status: 503,
                    why: "the VM is gone",
                })
            } else if profile == Profile::Nginx
                && stream.request.headers.iter().filter(named).count() > 1
            {
                Some(Fate::Failed {
                    status: 400,
                    why: "duplicate Authorization",
                })
            } else {
                None
            };
            let refused = fate.is_some();
            if let Some(fate) = fate {
                stream.fate = fate;
                stream.deleted = true;
            }
            world.streams.insert(id, stream);
            (id, profile, refused)
        };
        if !refused {
            let root = self.workers[worker].root;
            self.call(worker, Callback::Create, id, &[id, root]);
            self.drive(id, profile);
        }
        id
    }

    /// A request as it stands.
    ///
    /// # Panics
    /// When there is none of that context.
    pub fn stream(&self, id: u32) -> Ref<'_, Stream> {
        Ref::map(self.world.borrow(), |world| {
            world
                .streams
                .get(&id)
                .unwrap_or_else(|| panic!("no request has context {id}"))
        })
    }

    /// Where a request stands.
    pub fn fate(&self, id: u32) -> Fate {
        self.stream(id).fate.clone()
    }

    /// The client leaves before its request was decided.
    pub fn cancel(&mut self, id: u32) {
        {
            let mut world = self.world.borrow_mut();
            if let Some(stream) = world.streams.get_mut(&id).filter(|stream| stream.is_open()) {
                stream.fate = Fate::Lost;
            }
        }
        self.end(id);
    }

    /// A request that stays ([`Request::staying`]) ends.
    pub fn end(&mut self, id: u32) {
        let worker = {
            let mut world = self.world.borrow_mut();
            world.callouts.retain(|_, callout| callout.context != id);
            match world.streams.get_mut(&id) {
                Some(stream) if !stream.deleted => stream.worker,
                _ => return,
            }
        };
        for callback in [Callback::Done, Callback::Log, Callback::Delete] {
            if self.workers[worker].alive {
                self.call(worker, callback, id, &[id]);
            }
        }
        if let Some(stream) = self.world.borrow_mut().streams.get_mut(&id) {
            stream.deleted = true;
        }
        self.settle();
        self.retire();
    }

    // Callouts

    /// What is under way, oldest first.
    pub fn callouts(&self) -> Vec<Callout> {
        self.world.borrow().callouts.values().cloned().collect()
    }

    /// The oldest callout under way whose authority and path contain `part`.
    ///
    /// # Panics
    /// When there is none.
    pub fn callout_to(&self, part: &str) -> Callout {
        let callouts = self.callouts();
        let found = callouts
            .iter()
            .find(|callout| callout.url().contains(part))
            .cloned();
        found.unwrap_or_else(|| {
            let urls: Vec<String> = callouts.iter().map(Callout::url).collect();
            panic!(
                "no callout to {part}; under way: {urls:?}; log: {:?}",
                self.log()
            )
        })
    }

    /// Ends a callout.
    ///
    /// # Panics
    /// When it isn't under way.
    pub fn reply(&mut self, token: u32, reply: Reply) {
        let (callout, profile, of_stream) = {
            let mut world = self.world.borrow_mut();
            let callout = world.callouts.remove(&token);
            let callout = callout.unwrap_or_else(|| panic!("callout {token} is not under way"));
            let profile = world.settings.profile;
            world.incoming = Some(incoming(profile, &reply));
            let stream = world.streams.get_mut(&callout.context);
            let of_stream = stream.map(|stream| stream.touched = false).is_some();
            (callout, profile, of_stream)
        };
        let (headers, size) = {
            let world = self.world.borrow();
            let incoming = world.incoming.as_ref();
            let number = |n| u32::try_from(n).unwrap_or(u32::MAX);
            (
                incoming.map_or(0, |i| number(i.headers.len())),
                incoming.map_or(0, |i| number(i.size)),
            )
        };
        let context = callout.context;
        let called = self.call(
            callout.worker,
            Callback::CallResponse,
            context,
            &[context, token, headers, size, 0],
        );
        self.world.borrow_mut().incoming = None;
        if called == Called::Absent {
            self.incident(
                IncidentKind::Ignored,
                callout.worker,
                context,
                Callback::CallResponse,
                "no such callback",
            );
        }
        self.settle();
        if profile == Profile::Nginx
            && of_stream
            && matches!(called, Called::Returned(_) | Called::Absent)
        {
            self.resume_by_itself(context);
        }
    }

    /// nginx: a request's last callout has ended, so it goes on unless it was answered.
    fn resume_by_itself(&mut self, id: u32) {
        let (worker, touched) = {
            let mut world = self.world.borrow_mut();
            let more = world.calls_of(id) > 0;
            match world
                .streams
                .get_mut(&id)
                .filter(|stream| stream.is_open() && stream.hold != Hold::No && !more)
            {
                Some(stream) => {
                    stream.hold = Hold::No;
                    (stream.worker, stream.touched)
                }
                None => return,
            }
        };
        if !touched {
            self.incident(
                IncidentKind::Undecided,
                worker,
                id,
                Callback::CallResponse,
                "the request goes on by itself",
            );
        }
        self.drive(id, Profile::Nginx);
    }

    /// Answers every callout that `peer` has an answer to, and those that follow from it, until none is left. Returns how many.
    ///
    /// # Panics
    /// After ten thousand: the filter asks for ever.
    pub fn serve(&mut self, mut peer: impl FnMut(&Callout) -> Option<Reply>) -> usize {
        let mut served = 0;
        loop {
            let answer = self
                .callouts()
                .iter()
                .find_map(|callout| Some((callout.token, peer(callout)?)));
            let Some((token, reply)) = answer else {
                return served;
            };
            self.reply(token, reply);
            served += 1;
            assert!(served < MAX_SERVED, "the filter asks for ever");
        }
    }

    // Time

    /// Lets time pass: ticks come when they are due, callouts end when their time is up.
    pub fn advance(&mut self, by: Duration) {
        let end = self.world.borrow().elapsed + nanos(by);
        loop {
            let (tick, call) = {
                let world = self.world.borrow();
                let tick = world.ticks.iter().map(|(at, tick)| (tick.next, *at)).min();
                let call = world.callouts.values().map(|c| (c.deadline, c.token)).min();
                (
                    tick.filter(|(at, _)| *at <= end),
                    call.filter(|(at, _)| *at <= end),
                )
            };
            match (tick, call) {
                (Some((at, _)), Some((deadline, token))) if deadline <= at => {
                    self.time_out(deadline, token)
                }
                (None, Some((deadline, token))) => self.time_out(deadline, token),
                (Some((at, (worker, root))), _) => {
                    {
                        let mut world = self.world.borrow_mut();
                        world.elapsed = world.elapsed.max(at);
                        if let Some(tick) = world.ticks.get_mut(&(worker, root)) {
                            tick.next = at + tick.period;
                        }
                    }
                    self.call(worker, Callback::Tick, root, &[root]);
                    self.settle();
                }
                (None, None) => break,
            }
        }
        self.world.borrow_mut().elapsed = end;
    }

    fn time_out(&mut self, at: u64, token: u32) {
        {
            let mut world = self.world.borrow_mut();
            world.elapsed = world.elapsed.max(at);
        }
        self.reply(token, Reply::Timeout);
    }

    /// Seconds since 1970, as the filter is told.
    pub fn now(&self) -> u64 {
        self.world.borrow().wall() / 1_000_000_000
    }

    /// Moves the wall clock, back or forth; ticks and timeouts are not of it.
    pub fn shift_clock(&mut self, seconds: i64) {
        self.world.borrow_mut().wall_start += seconds * 1_000_000_000;
    }

    // Configuration

    /// Puts another configuration in force. Envoy configures a new root context beside the old one, which lives as long as its streams.
    /// nginx starts new workers with an empty shared zone; metrics stay.
    ///
    /// # Errors
    /// It was refused. Envoy goes on with the old one. On nginx nothing answers any more.
    pub fn reload(&mut self, configuration: &[u8]) -> Result<(), String> {
        let profile = self.profile();
        let old = std::mem::replace(
            &mut self.world.borrow_mut().configuration,
            configuration.to_vec(),
        );
        match profile {
            Profile::Envoy => {
                let mut added = Vec::new();
                for n in self.serving.clone() {
                    match self.workers[n].add_root() {
                        Ok(root) => added.push((n, root)),
                        Err(why) => {
                            self.world.borrow_mut().configuration = old;
                            self.retired.extend(added);
                            self.retire();
                            return Err(why);
                        }
                    }
                }
                for (n, root) in added {
                    let before = std::mem::replace(&mut self.workers[n].root, root);
                    self.retired.push((n, before));
                }
                self.retire();
                Ok(())
            }
            Profile::Nginx => {
                self.world.borrow_mut().shared.wipe();
                match self.add_workers(self.serving.len()) {
                    Ok(serving) => {
                        for old in std::mem::replace(&mut self.serving, serving) {
                            let mut world = self.world.borrow_mut();
                            world.ticks.retain(|(worker, _), _| *worker != old);
                        }
                        Ok(())
                    }
                    Err(why) => {
                        self.down = true;
                        Err(why)
                    }
                }
            }
        }
    }

    /// Envoy: root contexts that nobody needs any more go.
    fn retire(&mut self) {
        let retired = std::mem::take(&mut self.retired);
        for (worker, root) in retired {
            let in_use = {
                let world = self.world.borrow();
                world
                    .streams
                    .values()
                    .any(|stream| stream.root == root && !stream.deleted)
            };
            if in_use {
                self.retired.push((worker, root));
            } else {
                self.workers[worker].drop_root(root);
            }
        }
    }

    // What can be looked at

    /// Which proxy is played.
    pub fn profile(&self) -> Profile {
        self.world.borrow().settings.profile
    }

    /// How many workers serve.
    pub const fn workers(&self) -> usize {
        self.serving.len()
    }

    /// Counters, gauges, histograms.
    pub fn metrics(&self) -> Ref<'_, Metrics> {
        Ref::map(self.world.borrow(), |world| &world.metrics)
    }

    /// The store of all workers; may be written as another filter would.
    pub fn shared(&self) -> RefMut<'_, SharedData> {
        RefMut::map(self.world.borrow_mut(), |world| &mut world.shared)
    }

    /// Every line of the log.
    pub fn log(&self) -> Vec<LogLine> {
        self.world.borrow().log.clone()
    }

    /// Whether a line of the log contains `part`.
    pub fn logged(&self, part: &str) -> bool {
        self.world
            .borrow()
            .log
            .iter()
            .any(|line| line.text.contains(part))
    }

    /// Has a host function fail from now on.
    pub fn inject(&mut self, fault: Fault) {
        self.world.borrow_mut().faults.in_force.push(fault);
    }

    /// All of them work again. Returns how many calls were hit by a fault.
    pub fn heal(&mut self) -> usize {
        let mut world = self.world.borrow_mut();
        world.faults.in_force.clear();
        std::mem::take(&mut world.faults.hit)
    }

    /// How often each host function was called.
    pub fn calls(&self) -> std::collections::BTreeMap<String, usize> {
        self.world.borrow().faults.calls.clone()
    }

    /// What must not have happened, and is forgiven by this.
    pub fn take_incidents(&mut self) -> Vec<Incident> {
        std::mem::take(&mut self.world.borrow_mut().incidents)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let incidents = self.take_incidents();
        if !incidents.is_empty() && !std::thread::panicking() {
            panic!("what must not happen: {incidents:#?}");
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

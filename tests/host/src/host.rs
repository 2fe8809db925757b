//! The proxy: drives its workers through the phases of requests, callouts, ticks and reloads.

use std::cell::{Ref, RefCell, RefMut};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use crate::abi::Field;
use crate::callout::{Callout, Reply};
use crate::faults::Fault;
use crate::guest::Callback;
use crate::metrics::Metrics;
use crate::module::Module;
use crate::settings::{Profile, Settings};
use crate::shared_data::SharedData;
use crate::stream::{Fate, Forwarded, Hold, Next, Request, Stream};
use crate::worker::{Called, Worker};
use crate::world::{Deferred, Incident, IncidentKind, Incoming, LogLine, World};

/// nginx reads no body of a response with more than this in its headers.
const NGINX_RESPONSE_HEADERS: usize = 8 << 10;

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
    module: Module,
    /// Every worker there ever was; those of before a reload (nginx) serve what they have.
    workers: Vec<Worker>,
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

    // Inside

    fn incident(
        &self,
        kind: IncidentKind,
        worker: usize,
        context: u32,
        during: Callback,
        why: &str,
    ) {
        self.world.borrow_mut().incidents.push(Incident {
            kind,
            worker,
            context,
            during: during.name(),
            why: why.to_owned(),
        });
    }

    /// Calls the guest, and cleans up behind a trap.
    fn call(&mut self, worker: usize, callback: Callback, context: u32, args: &[u32]) -> Called {
        let called = self.workers[worker].call(callback, context, args);
        if matches!(called, Called::Trapped | Called::Crashed) {
            self.recover(worker, callback, context, called == Called::Crashed);
        }
        called
    }

    /// After a trap. Envoy's VM is gone, and everything in it fails closed. nginx lets go what it should hold, and makes a new instance.
    fn recover(&mut self, worker: usize, callback: Callback, context: u32, crashed: bool) {
        let profile = self.profile();
        let open: Vec<u32> = {
            let mut world = self.world.borrow_mut();
            world.callouts.retain(|_, callout| callout.worker != worker);
            world.ticks.retain(|(of, _), _| *of != worker);
            world.deferred.clear();
            let open = world
                .streams
                .values()
                .filter(|s| s.worker == worker && !s.deleted);
            open.map(|stream| stream.context).collect()
        };
        self.workers[worker].alive = false;
        for id in open {
            let own = id == context;
            let fate = match profile {
                Profile::Envoy => Fate::Failed {
                    status: 503,
                    why: "the VM is gone",
                },
                Profile::Nginx if crashed => Fate::Lost,
                Profile::Nginx if own && callback != Callback::CallResponse => Fate::Failed {
                    status: 500,
                    why: "a trap",
                },
                Profile::Nginx => {
                    if self.stream(id).is_open() {
                        self.incident(
                            IncidentKind::Leaked,
                            worker,
                            id,
                            callback,
                            "forwarded by a trap",
                        );
                        self.forward(id);
                    }
                    continue;
                }
            };
            if let Some(stream) = self.world.borrow_mut().streams.get_mut(&id) {
                if stream.is_open() {
                    stream.fate = fate;
                }
                stream.deleted = true;
            }
        }
        if profile == Profile::Nginx
            && let Ok(fresh) = Worker::start(&self.module, &self.world, worker)
        {
            self.workers[worker] = fresh;
        }
    }

    /// Does what host calls put off until their callback had ended.
    fn settle(&mut self) {
        loop {
            let deferred = std::mem::take(&mut self.world.borrow_mut().deferred);
            if deferred.is_empty() {
                return;
            }
            for deferred in deferred {
                match deferred {
                    Deferred::Answer(id) => self.answer(id),
                    Deferred::Continue(id) => self.go_on(id),
                }
            }
        }
    }

    fn answer(&mut self, id: u32) {
        {
            let mut world = self.world.borrow_mut();
            let Some(stream) = world.streams.get_mut(&id).filter(|stream| stream.is_open()) else {
                return;
            };
            let Some(reply) = stream.reply.clone() else {
                return;
            };
            stream.fate = Fate::Answered(reply);
        }
        self.end(id);
    }

    fn go_on(&mut self, id: u32) {
        let (profile, worker, calls) = {
            let mut world = self.world.borrow_mut();
            let profile = world.settings.profile;
            let calls = world.calls_of(id);
            let Some(stream) = world
                .streams
                .get_mut(&id)
                .filter(|s| s.is_open() && s.hold != Hold::No)
            else {
                return;
            };
            stream.hold = Hold::No;
            let buffered = std::mem::take(&mut stream.buffered);
            stream.passed_on.extend(buffered);
            (profile, stream.worker, calls)
        };
        if profile == Profile::Nginx && calls > 0 {
            return self.crash(
                worker,
                id,
                Callback::CallResponse,
                "resumed with a callout under way",
            );
        }
        self.drive(id, profile);
    }

    fn crash(&mut self, worker: usize, id: u32, during: Callback, why: &str) {
        self.incident(IncidentKind::Crash, worker, id, during, why);
        self.recover(worker, during, id, true);
    }

    /// Hands a request to the agent.
    fn forward(&mut self, id: u32) {
        let stays = {
            let mut world = self.world.borrow_mut();
            let World {
                streams, settings, ..
            } = &mut *world;
            let Some(stream) = streams.get_mut(&id).filter(|stream| stream.is_open()) else {
                return;
            };
            let mut body = std::mem::take(&mut stream.passed_on);
            match stream.next {
                // Let go in the middle, by a trap: the rest follows unseen.
                Next::Headers | Next::Body(_) => body = stream.request.body.concat(),
                Next::Trailers | Next::End => body.append(&mut stream.buffered),
            }
            let guarded = settings.guard.as_ref().is_some_and(|(variable, value)| {
                stream.left.get(variable).map(Vec::as_slice) != Some(value.as_bytes())
            });
            stream.fate = if guarded && settings.profile == Profile::Nginx {
                Fate::Failed {
                    status: 502,
                    why: "stopped by the guard",
                }
            } else {
                Fate::Forwarded(Forwarded {
                    headers: stream.outgoing(settings),
                    body,
                })
            };
            stream.request.stays
        };
        if !stays {
            self.end(id);
        }
    }

    /// Takes a request through its phases, until it is held or decided.
    fn drive(&mut self, id: u32, profile: Profile) {
        loop {
            let (worker, next, before) = {
                let world = self.world.borrow();
                let Some(stream) = world.streams.get(&id).filter(|stream| stream.is_open()) else {
                    return;
                };
                if stream.hold == Hold::All {
                    return;
                }
                (stream.worker, stream.next, stream.hold)
            };
            let Some((callback, args, following)) = self.next_phase(id, profile, next) else {
                // All of it was seen; what is held for its body stays held.
                if before == Hold::No {
                    self.forward(id);
                }
                return;
            };
            if let Some(stream) = self.world.borrow_mut().streams.get_mut(&id) {
                stream.next = following;
            }
            if callback == Callback::Body && self.body_too_long(id, before) {
                return;
            }
            let action = match self.call(worker, callback, id, &args) {
                Called::Returned(action) => action,
                Called::Absent => 0,
                Called::Trapped | Called::Crashed => return,
            };
            let calls = self.world.borrow().calls_of(id);
            let answered = self.stream(id).reply.is_some();
            if profile == Profile::Nginx && !answered {
                match action {
                    0 if calls > 0 => {
                        return self.crash(
                            worker,
                            id,
                            callback,
                            "went on with a callout under way",
                        );
                    }
                    0 | 1 => {}
                    _ => {
                        self.incident(
                            IncidentKind::Trap,
                            worker,
                            id,
                            callback,
                            "an action that is not in the ABI",
                        );
                        return self.recover(worker, callback, id, false);
                    }
                }
            }
            self.hold(id, callback, action);
            self.settle();
            let hangs = {
                let mut world = self.world.borrow_mut();
                let calls = world.calls_of(id);
                match world.streams.get_mut(&id) {
                    Some(s)
                        if profile == Profile::Nginx
                            && s.is_open()
                            && s.hold == Hold::All
                            && calls == 0 =>
                    {
                        s.fate = Fate::Hangs;
                        true
                    }
                    _ => false,
                }
            };
            if hangs {
                self.incident(
                    IncidentKind::Hangs,
                    worker,
                    id,
                    callback,
                    "paused without a callout of its own",
                );
            }
        }
    }

    /// The next callback of a request, its arguments, and what comes after it. Puts the next piece of the body in place.
    fn next_phase(
        &self,
        id: u32,
        profile: Profile,
        next: Next,
    ) -> Option<(Callback, Vec<u32>, Next)> {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let mut world = self.world.borrow_mut();
        let stream = world.streams.get_mut(&id)?;
        let pieces = stream.request.body.len();
        let trailers = if stream.request.trailers.is_empty() || profile == Profile::Nginx {
            Next::End
        } else {
            Next::Trailers
        };
        match next {
            Next::Headers => {
                let following = if pieces > 0 { Next::Body(0) } else { trailers };
                // nginx does not know in this phase.
                let end = profile == Profile::Envoy && following == Next::End;
                let args = vec![id, number(stream.map.len()), u32::from(end)];
                Some((Callback::Headers, args, following))
            }
            Next::Body(n) => {
                let (piece, following) = match profile {
                    Profile::Envoy if n + 1 < pieces => {
                        (stream.request.body[n].clone(), Next::Body(n + 1))
                    }
                    Profile::Envoy => (stream.request.body[n].clone(), trailers),
                    Profile::Nginx => (stream.request.body.concat(), Next::End),
                };
                stream.buffered.extend(piece);
                let args = vec![
                    id,
                    number(stream.buffered.len()),
                    u32::from(following == Next::End),
                ];
                Some((Callback::Body, args, following))
            }
            Next::Trailers => Some((
                Callback::Trailers,
                vec![id, number(stream.request.trailers.len())],
                Next::End,
            )),
            Next::End => None,
        }
    }

    /// Envoy's 413: more was held back than it may.
    fn body_too_long(&mut self, id: u32, hold: Hold) -> bool {
        let too_long = {
            let mut world = self.world.borrow_mut();
            let World {
                streams, settings, ..
            } = &mut *world;
            let limit = settings.buffer_limit;
            match streams.get_mut(&id) {
                Some(stream)
                    if settings.profile == Profile::Envoy
                        && hold != Hold::No
                        && stream.buffered.len() > limit =>
                {
                    stream.fate = Fate::Failed {
                        status: 413,
                        why: "a body beyond the buffer limit",
                    };
                    true
                }
                _ => false,
            }
        };
        if too_long {
            self.end(id);
        }
        too_long
    }

    /// What an action means.
    fn hold(&mut self, id: u32, callback: Callback, action: u32) {
        let mut world = self.world.borrow_mut();
        let World {
            streams, settings, ..
        } = &mut *world;
        let Some(stream) = streams.get_mut(&id) else {
            return;
        };
        let headers_only = settings.profile == Profile::Envoy
            && (callback != Callback::Headers || settings.allow_on_headers_stop_iteration);
        stream.hold = match action {
            0 | 2 => Hold::No,
            // `StopIteration`, and of a body or of trailers: what was held stays held, and the next piece is shown.
            1 if headers_only => Hold::HeadersOnly,
            _ => Hold::All,
        };
        if stream.hold == Hold::No {
            let buffered = std::mem::take(&mut stream.buffered);
            stream.passed_on.extend(buffered);
        }
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

/// What a callback is shown of a reply.
fn incoming(profile: Profile, reply: &Reply) -> Incoming {
    let mut headers: Vec<Field> = Vec::new();
    let mut body: Vec<u8> = Vec::new();
    let mut missing = 0;
    match (profile, reply) {
        (_, Reply::Response { .. }) => (headers, body) = response(reply),
        (Profile::Nginx, Reply::Truncated(inner, by)) => {
            (headers, body) = response(inner);
            missing = *by;
        }
        (Profile::Nginx, Reply::CloseDelimited(inner)) => headers = response(inner).0,
        (Profile::Envoy, Reply::CloseDelimited(inner)) => (headers, body) = response(inner),
        _ => {}
    }
    let long: usize = headers.iter().map(|(n, v)| n.len() + v.len() + 4).sum();
    if profile == Profile::Nginx && long > NGINX_RESPONSE_HEADERS {
        body.clear();
        missing = 0;
    }
    Incoming {
        size: body.len() + missing,
        headers,
        body,
        dispatch_status: reply.dispatch_status(),
    }
}

fn response(reply: &Reply) -> (Vec<Field>, Vec<u8>) {
    match reply {
        Reply::Response {
            status,
            headers,
            body,
        } => {
            let mut all = vec![(b":status".to_vec(), status.to_string().into_bytes())];
            all.extend(headers.iter().cloned());
            (all, body.clone())
        }
        _ => (Vec::new(), Vec::new()),
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

//! How a request goes through its phases, and what a proxy does about the answers and the traps of a filter.

use crate::guest::Callback;
use crate::host::Host;
use crate::settings::Profile;
use crate::stream::{Fate, Forwarded, Hold, Next};
use crate::worker::{Called, Worker};
use crate::world::{Deferred, Incident, IncidentKind, World};

impl Host {
    pub(crate) fn incident(
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
    pub(crate) fn call(
        &mut self,
        worker: usize,
        callback: Callback,
        context: u32,
        args: &[u32],
    ) -> Called {
        let called = self.workers[worker].call(callback, context, args);
        if matches!(called, Called::Trapped | Called::Crashed) {
            self.recover(worker, callback, context, called == Called::Crashed);
        }
        called
    }

    /// After a trap. Envoy's VM is gone, and everything in it fails closed. nginx lets go what it should hold, and makes a new instance.
    pub(crate) fn recover(
        &mut self,
        worker: usize,
        callback: Callback,
        context: u32,
        crashed: bool,
    ) {
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
    pub(crate) fn settle(&mut self) {
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
    pub(crate) fn drive(&mut self, id: u32, profile: Profile) {
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

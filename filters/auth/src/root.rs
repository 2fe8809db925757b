//! One configuration: its policy in force, and the fetches that its keys need.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use portcullis_core::apikey::feed::Notice;
use portcullis_core::audit::AuditLine;
use portcullis_core::authenticator::{Finished, Purpose};
use portcullis_core::callout::{CalloutFailure, CalloutId, CalloutReply};
use portcullis_core::config::{self, Warning};
use portcullis_core::keys::lease::Ended;
use portcullis_core::keys::source::FetchOutcome;
use portcullis_core::metrics::Id;
use portcullis_core::policy::{AuditSink, Policy};
use portcullis_core::time::UnixTime;
use portcullis_core::{Authenticator, NeedCallout};
use portcullis_host::shared_fetch::{Look, Verdict};
use portcullis_host::{callouts, hostcalls, log};

use crate::body::{self, Hashing};
use crate::joined;
use crate::own::OwnCallout;
use crate::vm::Common;

/// How often the host calls back. Short, because a waiting request is resumed at a tick when another worker fetched its
/// keys; one period for good, because nginx traps on a second.
const TICK: Duration = Duration::from_millis(50);

/// How often gauges are set and other workers' news looked for.
const SLOW_TICK: Duration = Duration::from_secs(1);

/// Callouts begun in one go. More than a policy has providers; a core that never stops asking must not hang the worker, and
/// what is left over goes out at the next tick.
const MAX_BURST: usize = 256;

/// One root context.
pub struct Root {
    id: u32,
    ticking: bool,
    slow_tick_at: UnixTime,
    /// `None` until a configuration was good, and on hosts that can't be told that it was not.
    pub(crate) auth: Option<Authenticator>,
    /// Where audit events go.
    pub(crate) sinks: Vec<AuditSink>,
    /// Held requests by context.
    pub(crate) waiting: BTreeMap<u32, Waiting>,
    /// Requests that are held until their body is hashed, by context.
    pub(crate) hashing: BTreeMap<u32, Hashing>,
    in_flight: BTreeMap<u32, InFlight>,
}

/// A held request.
pub(crate) struct Waiting {
    pub need: NeedCallout,
    /// The callout that it has sent by itself, on hosts where it must.
    pub own: Option<OwnCallout>,
    /// What to report should it end before it is judged.
    pub cancelled: Option<AuditLine>,
    /// When it arrived.
    pub began_nanos: u64,
}

/// A callout that was sent.
struct InFlight {
    id: CalloutId,
    purpose: Purpose,
    max_body: usize,
    sent_at: UnixTime,
}

impl Root {
    /// A root context without a configuration.
    pub fn new(id: u32) -> Self {
        Self {
            id,
            ticking: false,
            slow_tick_at: UnixTime::default(),
            auth: None,
            // Whoever is refused for want of a configuration is written down where the access log looks.
            sinks: vec![AuditSink::FilterState],
            waiting: BTreeMap::new(),
            hashing: BTreeMap::new(),
            in_flight: BTreeMap::new(),
        }
    }

    /// Puts a configuration in force, or says why there is none. On `false` everything stays as it was.
    pub fn configure(&mut self, common: &mut Common, text: Result<Vec<u8>, String>) -> bool {
        let began_nanos = hostcalls::now_nanos();
        let loaded = text.and_then(|text| load(&text, common));
        let took = hostcalls::now_nanos().saturating_sub(began_nanos) / 1_000_000;
        let now = hostcalls::now();
        let (policy, warnings, now) = match (loaded, now) {
            (Ok((policy, warnings)), Ok(now)) => (policy, warnings, now),
            (Err(errors), _) => return self.refuse_configuration(common, &errors),
            (Ok(_), Err(status)) => {
                return self.refuse_configuration(common, &format!("no clock: {status}"));
            }
        };
        for warning in &warnings {
            log::warn(warning);
        }
        self.sinks.clone_from(&policy.audit.sinks);
        let version = policy.version.clone();
        let tables = common.es256_tables(&policy);
        let verifier = common
            .verifier
            .restricted_to(&policy.crypto.by_host, tables);
        let backends = verifier.backends();
        let verifier = Rc::new(verifier);
        match &mut self.auth {
            Some(auth) => {
                auth.verify_with(verifier);
                auth.reload(policy, now);
            }
            None => {
                self.auth = Some(Authenticator::new(
                    policy,
                    common.stores.clone(),
                    verifier,
                    now,
                ));
            }
        }
        for source in self.auth.iter().flat_map(Authenticator::sources) {
            common.shared.prepare(&source.source);
        }
        // A host that traps without shared data should do it now, where somebody is looking, and not at a caller's request.
        if !common.kind.has_shared_data_unasked()
            && self
                .auth
                .as_ref()
                .is_some_and(|a| a.policy().may_limit_rates())
        {
            let _ = hostcalls::shared_data("portcullis.probe");
        }
        if !self.ticking {
            match hostcalls::set_tick_period(TICK) {
                Ok(()) => self.ticking = true,
                // Without it nothing is fetched and no held request is let go.
                Err(status) => {
                    self.auth = None;
                    return self.refuse_configuration(common, &format!("no timer: {status}"));
                }
            }
        }
        common.metrics.increment(Id::ConfigLoaded);
        log::info(format_args!(
            "configuration {version} is in force, loaded in {took} ms; {backends}"
        ));
        true
    }

    fn refuse_configuration(&self, common: &mut Common, errors: &str) -> bool {
        common.metrics.increment(Id::ConfigRefused);
        for error in errors.lines() {
            log::error(format_args!("configuration refused: {error}"));
        }
        if self.auth.is_none() && !common.kind.can_refuse_configuration() {
            log::critical("no configuration is in force: every request is refused");
        }
        false
    }

    /// The timer: news of other workers, fetches that are due, held requests that can be judged.
    pub fn tick(&mut self, common: &mut Common) {
        let Ok(now) = hostcalls::now() else { return };
        // Not `now - then`, so that a clock set back does not stop the second hand.
        let slow = now >= self.slow_tick_at || self.slow_tick_at > now + SLOW_TICK;
        if slow {
            self.slow_tick_at = now + SLOW_TICK;
        }
        self.look_at_others(common, slow, now);
        self.send_due(common, now);
        joined::resume_ready(common, self, None, now);
        body::give_up(common, self, now);
        if slow {
            self.report(common, now);
        }
    }

    fn report(&self, common: &mut Common, now: UnixTime) {
        let Some(auth) = &self.auth else { return };
        for (id, value) in auth.gauges(now) {
            common.metrics.record(id, value);
        }
        common.metrics.record(Id::Waiting, self.held() as u64);
    }

    /// How many requests are held back.
    pub(crate) fn held(&self) -> usize {
        self.waiting.len() + self.hashing.len()
    }

    fn look_at_others(&mut self, common: &mut Common, all: bool, now: UnixTime) {
        let Some(auth) = &mut self.auth else { return };
        for state in auth.sources() {
            if !(state.deferred || all) {
                continue;
            }
            let source = state.source.as_str();
            match common
                .shared
                .look(source, state.fetched_at, state.deferred, now)
            {
                Look::Nothing => {}
                Look::Adopt(document) => {
                    // Refused (a bare "not modified" for a set that this worker never had, say): fetch.
                    if !auth.adopt(source, &document, now) && state.deferred {
                        auth.peer_failed(source, now, now);
                    }
                }
                Look::Failed(retry_at) => auth.peer_failed(source, retry_at, now),
                Look::Begin => auth.peer_gave_up(source),
            }
        }
    }

    /// Sends what the core wants fetched, unless another worker is at it. The root context must be the effective one.
    pub(crate) fn send_due(&mut self, common: &mut Common, now: UnixTime) {
        let Some(auth) = &mut self.auth else { return };
        for _ in 0..MAX_BURST {
            let Some(due) = auth.poll_callout(now) else {
                break;
            };
            if let Purpose::Keys {
                source,
                lease: Some(lease),
            } = &due.purpose
                && !take_lease(common, auth, source, due.id, *lease, now)
            {
                continue;
            }
            match callouts::send(common.kind, &due.callout) {
                Ok(token) => {
                    let in_flight = InFlight {
                        id: due.id,
                        purpose: due.purpose,
                        max_body: due.callout.max_body,
                        sent_at: now,
                    };
                    self.in_flight.insert(token, in_flight);
                }
                Err(status) => {
                    callouts::warn_not_sent(&due.callout, status);
                    common.metrics.increment(Id::CalloutFailed);
                    let failed = CalloutReply::Failed(CalloutFailure::NotSent);
                    auth.reply(due.id, failed, now);
                    tell_others(common, auth, now);
                    tell_operator(common, auth);
                }
            }
        }
    }

    /// A callout was answered, or failed.
    pub fn on_reply(
        &mut self,
        common: &mut Common,
        token: u32,
        num_headers: usize,
        body_size: usize,
    ) {
        // Envoy also calls back for callouts that failed while they were sent, and of which it has said so then.
        let Some(sent) = self.in_flight.remove(&token) else {
            return;
        };
        let Some(auth) = &mut self.auth else { return };
        // Without a clock the fetch ends by its own timeout, at a later callback.
        let Ok(now) = hostcalls::now() else { return };
        let millis = u64::try_from(now.since(sent.sent_at).as_millis()).unwrap_or(u64::MAX);
        common.metrics.record(Id::CalloutMs, millis);
        let problem = callouts::receive(num_headers, body_size, sent.max_body, |reply| {
            let of_use = auth.reply(sent.id, reply, now);
            callouts::problem(reply, of_use)
        });
        match problem {
            None => common.metrics.increment(Id::CalloutOk),
            Some(problem) => {
                common.metrics.increment(Id::CalloutFailed);
                warn_of(&sent.purpose, &problem);
            }
        }
        tell_others(common, auth, now);
        tell_operator(common, auth);
        if common.kind.chains_callouts() {
            self.send_due(common, now);
        }
        joined::resume_ready(common, self, None, now);
    }

    /// The configuration goes away, and the host forgets its callouts. What they were for is another's to ask now: a request under
    /// the next configuration may wait for it, and must not be told that the issuer is out of reach.
    pub fn close(&mut self, common: &mut Common) {
        if self.ticking && common.kind.keeps_timers() {
            // If it can't be stopped it costs a little time, and nobody can do anything about it.
            let _ = hostcalls::set_tick_period(Duration::ZERO);
        }
        let Ok(now) = hostcalls::now() else { return };
        let Some(auth) = &mut self.auth else { return };
        for sent in std::mem::take(&mut self.in_flight).into_values() {
            if let Purpose::Keys { source, .. } = &sent.purpose {
                common.shared.end(source, Ended::GivenUp, &[], now);
            }
            auth.give_up(sent.id);
        }
        for waiting in self.waiting.values_mut().filter(|w| w.own.is_some()) {
            waiting.need.forsake(auth);
        }
    }

    /// The id the host has for it.
    pub const fn id(&self) -> u32 {
        self.id
    }
}

/// Whether this worker may fetch. If not, the core is told why.
fn take_lease(
    common: &mut Common,
    auth: &mut Authenticator,
    source: &str,
    id: CalloutId,
    lease: Duration,
    now: UnixTime,
) -> bool {
    let have = auth
        .sources()
        .into_iter()
        .find(|s| s.source == source)
        .and_then(|s| s.fetched_at);
    match common.shared.begin(source, have, lease, now) {
        Verdict::Fetch => return true,
        Verdict::Wait(until) => auth.defer(id, until),
        Verdict::Failed(retry_at) => {
            auth.defer(id, retry_at);
            auth.peer_failed(source, retry_at, now);
        }
        Verdict::Adopt(document) => {
            auth.defer(id, now + lease);
            if !auth.adopt(source, &document, now) {
                // Due again at once; this document is not looked at again.
                auth.peer_failed(source, now, now);
            }
        }
    }
    false
}

/// Reads a configuration for the host.
fn load(text: &[u8], common: &Common) -> Result<(Policy, Vec<Warning>), String> {
    let kind = common.kind;
    if !common.known {
        return Err(config::ConfigError::unknown_host().to_string());
    }
    let env = |name: &str| std::env::var(name).ok();
    let (mut policy, mut warnings) = config::load(text, &env).map_err(|e| e.to_string())?;
    match policy.host {
        // Loading has seen to it.
        Some(said) if said == kind.host() => {}
        // `host: nginx` makes this kind nginx, so it says Envoy, and nginx was recognised.
        Some(_) => {
            let here = kind.host().as_str();
            return Err(config::ConfigError::other_host(here).to_string());
        }
        None => {
            let more = config::fit(&mut policy, kind.host()).map_err(|e| e.to_string())?;
            warnings.extend(more);
        }
    }
    Ok((policy, warnings))
}

/// Logs a callout that brought nothing usable.
pub(crate) fn warn_of(purpose: &Purpose, problem: &str) {
    match purpose {
        Purpose::Keys { source, .. } => {
            log::warn(format_args!(
                "fetch for {} failed: {problem}",
                issuer_of(source)
            ));
        }
        Purpose::Lookup(scope) => {
            log::warn(format_args!("question to {scope} failed: {problem}"));
        }
        // The core says it better.
        Purpose::Feed(_) | Purpose::Uses(_) => {}
    }
}

/// Logs and counts what happened to key feeds.
pub(crate) fn tell_operator(common: &mut Common, auth: &mut Authenticator) {
    while let Some(notice) = auth.poll_notice() {
        if let Some((id, count)) = notice.metric() {
            common.metrics.add(id, count);
        }
        match notice {
            Notice::Page => {}
            notice if notice.is_warning() => log::warn(&notice),
            notice => log::info(&notice),
        }
    }
}

/// The issuer of a source, whose name has its URLs and settings behind it.
fn issuer_of(source: &str) -> &str {
    source.split(' ').next().unwrap_or(source)
}

/// Shares how this worker's fetches ended.
pub(crate) fn tell_others(common: &mut Common, auth: &mut Authenticator, now: UnixTime) {
    while let Some(Finished { source, outcome }) = auth.poll_finished() {
        match outcome {
            FetchOutcome::Fetched { document, at } => {
                log::info(format_args!("keys of {} fetched", issuer_of(&source)));
                common
                    .shared
                    .end(&source, Ended::Fetched { at }, &document, now);
            }
            FetchOutcome::Failed { retry_at, .. } => {
                common
                    .shared
                    .end(&source, Ended::Failed { retry_at }, &[], now);
            }
        }
    }
}

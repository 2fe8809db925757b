//! The host functions of the ABI, as each profile has them.

use wasmtime::{Caller, Linker, Module, Val};

use crate::abi::{Status, buffer, decode_pairs, encode_pairs, map};
use crate::callout::Callout;
use crate::faults::Misdeed;
use crate::guest::{Call, Callback, Guest, Stop, crash, trap};
use crate::metrics::Metric;
use crate::properties;
use crate::settings::Profile;
use crate::stream::{LocalReply, Stream};
use crate::world::{Deferred, LogLine, Tick};

/// nginx cuts its log lines there.
const NGINX_LOG_LINE: usize = 2047;

/// Header fields that nginx hands out in one map.
const NGINX_MAP: usize = 100;

/// The longest name of a metric in nginx, with the prefix it gives it.
const NGINX_METRIC: usize = 256;

/// What nginx puts before a metric's name.
const NGINX_METRIC_PREFIX: &str = "pw.portcullis.";

/// In nginx they are there and trap; Envoy has them, and this emulator doesn't play them: `Unimplemented`.
const NOT_PLAYED: &[&str] = &[
    "proxy_done",
    "proxy_close_stream",
    "proxy_grpc_call",
    "proxy_grpc_stream",
    "proxy_grpc_send",
    "proxy_grpc_cancel",
    "proxy_grpc_close",
    "proxy_get_status",
    "proxy_resolve_shared_queue",
];

/// Both have them, and this emulator plays them on neither.
const NOWHERE_PLAYED: &[&str] = &[
    "proxy_set_buffer_bytes",
    "proxy_set_header_map_pairs",
    "proxy_register_shared_queue",
    "proxy_enqueue_shared_queue",
    "proxy_dequeue_shared_queue",
];

type Outcome = Result<(), Stop>;

/// What happens around every host call: faults, and the way its end is told to the guest.
fn host_call(
    mut caller: Caller<'_, Guest>,
    name: &str,
    work: impl FnOnce(&mut Call<'_, '_>) -> Outcome,
) -> wasmtime::Result<u32> {
    let misdeed = caller.data().world.borrow_mut().faults.on_call(name);
    let outcome = match misdeed {
        Some(Misdeed::Returns(status)) => Err(Stop::Status(status)),
        Some(Misdeed::Traps) => trap("as the test wants it"),
        None => work(&mut Call(&mut caller)),
    };
    match outcome {
        Ok(()) => Ok(0),
        Err(Stop::Status(status)) => Ok(status.0),
        Err(Stop::Trap(why)) => Err(wasmtime::Error::msg(format!("{name}: {why}"))),
        Err(Stop::Crash(why)) => {
            let why = format!("{name}: {why}");
            caller.data().world.borrow_mut().crashed = Some(why.clone());
            Err(wasmtime::Error::msg(why))
        }
    }
}

macro_rules! host_functions {
    ($linker:ident: $(fn $name:ident($call:ident $(, $arg:ident: $ty:ty)*) $body:block)+) => {
        $(
            #[allow(clippy::redundant_closure_call)]
            $linker.func_wrap(
                "env",
                stringify!($name),
                |caller: Caller<'_, Guest> $(, $arg: $ty)*| -> wasmtime::Result<u32> {
                    host_call(caller, stringify!($name), |$call| -> Outcome { $body })
                },
            )?;
        )+
    };
}

/// Links what the profile offers. What a module imports beyond that keeps it from being instantiated.
pub(crate) fn link(
    linker: &mut Linker<Guest>,
    module: &Module,
    profile: Profile,
) -> wasmtime::Result<()> {
    streams(linker)?;
    surroundings(linker)?;
    if profile == Profile::Envoy {
        linker.func_wrap(
            "env",
            "proxy_get_log_level",
            |caller: Caller<'_, Guest>, level: u32| {
                host_call(caller, "proxy_get_log_level", |call| {
                    call.write_u32(level, 2)
                })
            },
        )?;
    }
    for import in module.imports() {
        let Some(ty) = import.ty().func().cloned() else {
            continue;
        };
        let name = import.name().to_owned();
        let traps = profile == Profile::Nginx && NOT_PLAYED.contains(&name.as_str());
        if import.module() != "env"
            || !(traps
                || NOT_PLAYED.contains(&name.as_str())
                || NOWHERE_PLAYED.contains(&name.as_str()))
        {
            continue;
        }
        linker.func_new("env", import.name(), ty, move |caller, _, results| {
            let status = host_call(caller, &name, |_| {
                if traps {
                    trap("not in this host")
                } else {
                    Err(Status::UNIMPLEMENTED.into())
                }
            })?;
            if let Some(result) = results.first_mut() {
                *result = Val::I32(status.cast_signed());
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Works on the stream that calls act on.
fn on_stream<T>(
    call: &Call<'_, '_>,
    work: impl FnOnce(&mut Stream) -> Result<T, Stop>,
) -> Result<T, Stop> {
    let id = call.target();
    let world = call.world();
    let mut world = world.borrow_mut();
    match world.streams.get_mut(&id) {
        Some(stream) if stream.is_open() => work(stream),
        _ => Err(Status::BAD_ARGUMENT.into()),
    }
}

/// A header map for reading.
fn fields(call: &Call<'_, '_>, kind: u32) -> Result<Vec<crate::abi::Field>, Stop> {
    match kind {
        map::REQUEST_HEADERS => on_stream(call, |stream| Ok(stream.map.clone())),
        map::REQUEST_TRAILERS => on_stream(call, |stream| Ok(stream.request.trailers.clone())),
        map::CALL_RESPONSE_HEADERS => {
            let world = call.world();
            let world = world.borrow();
            let incoming = world.incoming.as_ref().ok_or(Status::BAD_ARGUMENT)?;
            Ok(incoming.headers.clone())
        }
        map::CALL_RESPONSE_TRAILERS => Ok(Vec::new()),
        _ => Err(Status::BAD_ARGUMENT.into()),
    }
}

fn streams(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    host_functions! { linker:
        fn proxy_get_header_map_size(call, kind: u32, size_at: u32) {
            let size: usize = fields(call, kind)?.iter().map(|(n, v)| n.len() + v.len()).sum();
            call.write_u32(size_at, u32::try_from(size).unwrap_or(u32::MAX))
        }
        fn proxy_get_header_map_pairs(call, kind: u32, data_at: u32, size_at: u32) {
            let mut fields = fields(call, kind)?;
            if call.guest().profile == Profile::Nginx {
                fields.truncate(NGINX_MAP);
            }
            // Envoy hands out an empty map as no bytes at all.
            let bytes = match (call.guest().profile, fields.is_empty()) {
                (Profile::Envoy, true) => Vec::new(),
                _ => encode_pairs(&fields),
            };
            call.give(&bytes, data_at, size_at)
        }
        fn proxy_get_header_map_value(call, kind: u32, key: u32, key_size: u32, data_at: u32, size_at: u32) {
            let key = call.read(key, key_size)?;
            if kind == map::CALL_RESPONSE_HEADERS && call.guest().profile == Profile::Nginx && key == b":dispatch_status" {
                let status = call.world().borrow().incoming.as_ref().map(|i| i.dispatch_status);
                return call.give(status.ok_or(Status::NOT_FOUND)?.as_bytes(), data_at, size_at);
            }
            // The first copy, in both.
            let value = fields(call, kind)?.into_iter().find(|(n, _)| n.eq_ignore_ascii_case(&key));
            call.give(&value.ok_or(Status::NOT_FOUND)?.1, data_at, size_at)
        }
        fn proxy_add_header_map_value(call, kind: u32, key: u32, key_size: u32, value: u32, value_size: u32) {
            let (key, value) = (call.read(key, key_size)?, call.read(value, value_size)?);
            let profile = call.guest().profile;
            writable(kind)?;
            on_stream(call, |stream| settled(stream.add(profile, &key, &value)))
        }
        fn proxy_replace_header_map_value(call, kind: u32, key: u32, key_size: u32, value: u32, value_size: u32) {
            let (key, value) = (call.read(key, key_size)?, call.read(value, value_size)?);
            let profile = call.guest().profile;
            writable(kind)?;
            on_stream(call, |stream| settled(stream.replace(profile, &key, &value)))
        }
        fn proxy_remove_header_map_value(call, kind: u32, key: u32, key_size: u32) {
            let key = call.read(key, key_size)?;
            let profile = call.guest().profile;
            writable(kind)?;
            on_stream(call, |stream| settled(stream.remove(profile, &key)))
        }
        fn proxy_get_buffer_status(call, kind: u32, size_at: u32, flags_at: u32) {
            let size = buffer_of(call, kind)?.len();
            call.write_u32(size_at, u32::try_from(size).unwrap_or(u32::MAX))?;
            call.write_u32(flags_at, 0)
        }
        fn proxy_get_buffer_bytes(call, kind: u32, start: u32, max_size: u32, data_at: u32, size_at: u32) {
            let bytes = buffer_of(call, kind)?;
            let start = start as usize;
            if start > bytes.len() {
                return Err(Status::BAD_ARGUMENT.into());
            }
            let world = call.world();
            // nginx has advertised what never came, and can't give it.
            if kind == buffer::CALL_RESPONSE_BODY && world.borrow().incoming.as_ref().is_some_and(|i| i.size > bytes.len()) {
                return Err(Status::BAD_ARGUMENT.into());
            }
            let end = bytes.len().min(start.saturating_add(max_size as usize));
            call.give(&bytes[start..end], data_at, size_at)
        }
        fn proxy_continue_stream(call, kind: u32) {
            if kind > 1 {
                return Err(Status::BAD_ARGUMENT.into());
            }
            if call.guest().profile == Profile::Nginx && call.guest().in_root {
                return crash("a resume from a root context");
            }
            let id = call.target();
            on_stream(call, |stream| {
                stream.touched = true;
                Ok(())
            })?;
            call.world().borrow_mut().deferred.push(Deferred::Continue(id));
            Ok(())
        }
        fn proxy_send_local_response(call, status: u32, details: u32, details_size: u32, body: u32, body_size: u32, headers: u32, headers_size: u32, _grpc: u32) {
            let reply = LocalReply {
                status,
                headers: decode_pairs(&call.read(headers, headers_size)?).ok_or(Status::BAD_ARGUMENT)?,
                body: call.read(body, body_size)?,
                details: call.text(details, details_size)?,
            };
            let nginx = call.guest().profile == Profile::Nginx;
            if nginx && call.guest().in_root {
                return crash("an answer from a root context");
            }
            let id = call.target();
            on_stream(call, |stream| {
                stream.touched = true;
                match stream.reply {
                    Some(_) if nginx => trap("a second answer to one request"),
                    Some(_) => Err(Status::BAD_ARGUMENT.into()),
                    None => {
                        stream.reply = Some(reply);
                        Ok(())
                    }
                }
            })?;
            call.world().borrow_mut().deferred.push(Deferred::Answer(id));
            Ok(())
        }
        fn proxy_set_effective_context(call, context: u32) {
            // nginx says "OK" and goes on with the current one.
            if call.guest().profile == Profile::Envoy {
                let known = {
                    let guest = call.guest();
                    let world = guest.world.borrow();
                    let stream = world.streams.get(&context);
                    stream.is_some_and(|s| s.worker == guest.worker && !s.deleted)
                        || guest.roots.contains(&context)
                };
                if !known {
                    return Err(Status::BAD_ARGUMENT.into());
                }
                call.0.data_mut().effective = context;
            }
            call.0.data_mut().claimed = context;
            Ok(())
        }
        fn proxy_get_property(call, path: u32, path_size: u32, data_at: u32, size_at: u32) {
            let path = call.text(path, path_size)?.replace('\0', ".");
            let value = properties::get(call, &path)?;
            call.give(&value, data_at, size_at)
        }
        fn proxy_set_property(call, path: u32, path_size: u32, value: u32, value_size: u32) {
            let path = call.text(path, path_size)?.replace('\0', ".");
            let value = call.read(value, value_size)?;
            properties::set(call, &path, value)
        }
    }
    Ok(())
}

const fn writable(kind: u32) -> Outcome {
    if kind == map::REQUEST_HEADERS {
        Ok(())
    } else {
        Err(Stop::Status(Status::BAD_ARGUMENT))
    }
}

fn settled(status: Status) -> Outcome {
    match status {
        Status::OK => Ok(()),
        status => Err(status.into()),
    }
}

fn buffer_of(call: &Call<'_, '_>, kind: u32) -> Result<Vec<u8>, Stop> {
    let world = call.world();
    match kind {
        buffer::REQUEST_BODY => {
            let spilled = match call.guest().profile {
                Profile::Envoy => usize::MAX,
                Profile::Nginx => world.borrow().settings.client_body_buffer_size,
            };
            on_stream(call, |stream| match stream.buffered.len() {
                size if size > spilled => Err(Status::NOT_FOUND.into()),
                _ => Ok(stream.buffered.clone()),
            })
        }
        buffer::CALL_RESPONSE_BODY => {
            let world = world.borrow();
            let incoming = world.incoming.as_ref().ok_or(Status::NOT_FOUND)?;
            Ok(incoming.body.clone())
        }
        buffer::PLUGIN_CONFIGURATION if call.guest().callback == Callback::Configure => {
            Ok(world.borrow().configuration.clone())
        }
        buffer::VM_CONFIGURATION if call.guest().callback == Callback::VmStart => {
            Ok(world.borrow().settings.vm_configuration.clone())
        }
        _ => Err(Status::NOT_FOUND.into()),
    }
}

fn surroundings(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    host_functions! { linker:
        fn proxy_log(call, level: u32, text: u32, size: u32) {
            let mut text = call.read(text, size)?;
            if call.guest().profile == Profile::Nginx {
                text.truncate(NGINX_LOG_LINE);
            }
            let text = String::from_utf8_lossy(&text).into_owned();
            let worker = call.guest().worker;
            call.world().borrow_mut().log.push(LogLine { worker, level, text });
            Ok(())
        }
        fn proxy_get_current_time_nanoseconds(call, at: u32) {
            let now = call.world().borrow().wall();
            call.write_u64(at, now)
        }
        fn proxy_set_tick_period_milliseconds(call, millis: u32) {
            let guest = call.0.data_mut();
            if guest.profile == Profile::Nginx && millis > 0 {
                guest.periods += 1;
                if guest.periods > 1 {
                    return trap("a second tick period");
                }
            }
            let (worker, context) = (guest.worker, guest.effective);
            let world = call.world();
            let mut world = world.borrow_mut();
            let period = u64::from(millis) * 1_000_000;
            let next = world.elapsed + period;
            if period == 0 {
                world.ticks.remove(&(worker, context));
            } else {
                world.ticks.insert((worker, context), Tick { period, next });
            }
            Ok(())
        }
        fn proxy_get_shared_data(call, key: u32, key_size: u32, data_at: u32, size_at: u32, cas_at: u32) {
            let key = call.read(key, key_size)?;
            let found = call.world().borrow_mut().shared.get(&key);
            let found = found.map_err(|traps| Stop::Trap(traps.0.to_owned()))?;
            let (value, cas) = found.ok_or(Status::NOT_FOUND)?;
            call.give(&value, data_at, size_at)?;
            call.write_u32(cas_at, cas)
        }
        fn proxy_set_shared_data(call, key: u32, key_size: u32, value: u32, value_size: u32, cas: u32) {
            let (key, value) = (call.read(key, key_size)?, call.read(value, value_size)?);
            let set = call.world().borrow_mut().shared.set(&key, &value, cas);
            settled(set.map_err(|traps| Stop::Trap(traps.0.to_owned()))?)
        }
        fn proxy_http_call(call, upstream: u32, upstream_size: u32, headers: u32, headers_size: u32, body: u32, body_size: u32, _trailers: u32, _trailers_size: u32, timeout: u32, token_at: u32) {
            let upstream = call.text(upstream, upstream_size)?;
            let headers = decode_pairs(&call.read(headers, headers_size)?).ok_or(Status::BAD_ARGUMENT)?;
            let body = call.read(body, body_size)?;
            may_dispatch(call, &upstream)?;
            let has = |name: &[u8]| headers.iter().any(|(n, v)| n == name && !v.is_empty());
            if ![&b":method"[..], b":path", b":authority"].into_iter().all(has) {
                return Err(Status::BAD_ARGUMENT.into());
            }
            let (worker, context) = (call.guest().worker, call.target());
            let world = call.world();
            let mut world = world.borrow_mut();
            let token = world.fresh_id();
            let deadline = world.elapsed + u64::from(timeout) * 1_000_000;
            world.callouts.insert(token, Callout { token, worker, context, upstream, headers, body, timeout, deadline });
            if let Some(stream) = world.streams.get_mut(&context) {
                stream.touched = true;
            }
            drop(world);
            call.write_u32(token_at, token)
        }
        fn proxy_call_foreign_function(call, name: u32, name_size: u32, _arguments: u32, _arguments_size: u32, _data_at: u32, _size_at: u32) {
            let name = call.text(name, name_size)?;
            match call.guest().profile {
                Profile::Envoy => Err(Status::NOT_FOUND.into()),
                Profile::Nginx => trap(format!("unknown foreign function {name}")),
            }
        }
        fn proxy_define_metric(call, kind: u32, name: u32, name_size: u32, id_at: u32) {
            let name = call.text(name, name_size)?;
            if call.guest().profile == Profile::Nginx && NGINX_METRIC_PREFIX.len() + name.len() > NGINX_METRIC {
                return trap("a metric's name of over 256 bytes");
            }
            let id = call.world().borrow_mut().metrics.define(kind, &name);
            call.write_u32(id_at, id.ok_or(Status::BAD_ARGUMENT)?)
        }
        fn proxy_increment_metric(call, id: u32, offset: i64) {
            with_metric(call, id, |metric| match metric {
                Metric::Counter(n) | Metric::Gauge(n) => {
                    *n = n.checked_add_signed(offset).ok_or(Status::BAD_ARGUMENT)?;
                    Ok(())
                }
                Metric::Histogram(_) => Err(Status::BAD_ARGUMENT.into()),
            })
        }
        fn proxy_record_metric(call, id: u32, value: u64) {
            with_metric(call, id, |metric| {
                match metric {
                    Metric::Counter(n) | Metric::Gauge(n) => *n = value,
                    Metric::Histogram(values) => values.push(value),
                }
                Ok(())
            })
        }
        fn proxy_get_metric(call, id: u32, value_at: u32) {
            let nginx = call.guest().profile == Profile::Nginx;
            let value = with_metric(call, id, |metric| match metric {
                Metric::Counter(n) | Metric::Gauge(n) => Ok(*n),
                Metric::Histogram(_) if nginx => trap("a histogram has no value"),
                Metric::Histogram(_) => Err(Status::BAD_ARGUMENT.into()),
            })?;
            call.write_u64(value_at, value)
        }
    }
    Ok(())
}

fn with_metric<T>(
    call: &Call<'_, '_>,
    id: u32,
    work: impl FnOnce(&mut Metric) -> Result<T, Stop>,
) -> Result<T, Stop> {
    let world = call.world();
    let mut world = world.borrow_mut();
    match (world.metrics.by_id(id), call.guest().profile) {
        (Some(metric), _) => work(metric),
        (None, Profile::Envoy) => Err(Status::BAD_ARGUMENT.into()),
        (None, Profile::Nginx) => trap(format!("no metric {id}")),
    }
}

/// Whether a callout may be sent from here, to there.
fn may_dispatch(call: &Call<'_, '_>, upstream: &str) -> Outcome {
    let guest = call.guest();
    match guest.profile {
        Profile::Envoy => {
            if guest.world.borrow().settings.clusters.contains(upstream) {
                Ok(())
            } else {
                Err(Status::BAD_ARGUMENT.into())
            }
        }
        Profile::Nginx => match guest.callback {
            Callback::Tick | Callback::Headers | Callback::Body | Callback::Trailers => {
                address(upstream)
            }
            Callback::CallResponse if guest.in_root => {
                crash("a callout from a root context's own callback")
            }
            Callback::CallResponse => address(upstream),
            _ => trap("a callout from a callback that can't have one"),
        },
    }
}

/// `host:port` or `unix:/path.sock`.
fn address(upstream: &str) -> Outcome {
    if upstream
        .strip_prefix("unix:")
        .is_some_and(|path| path.starts_with('/'))
    {
        return Ok(());
    }
    let port = upstream.rsplit_once(':').and_then(|(host, port)| {
        (!host.is_empty())
            .then(|| port.parse::<u16>().ok())
            .flatten()
    });
    match port {
        Some(1..) => Ok(()),
        _ => trap(format!("{upstream:?} is no address with a valid port")),
    }
}

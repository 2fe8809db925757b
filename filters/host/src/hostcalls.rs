//! The host's functions, every one fallible: an unexpected answer is a value, never a trap.

use std::ptr::{null, null_mut};
use std::time::Duration;

use portcullis_core::time::UnixTime;

use crate::abi::{self, BufferType, LogLevel, MapType, MetricType, StreamType};
use crate::pairs::{self, Field};
use crate::status::Status;

/// Memory for the host to return something in; exported as `proxy_on_memory_allocate`.
pub fn allocate(size: usize) -> *mut u8 {
    // Zeroed, so that a host that writes less than it asked for hands back no undefined bytes. Boxed, so that capacity
    // and length agree, which `Returned` relies on.
    Box::into_raw(vec![0_u8; size].into_boxed_slice()).cast::<u8>()
}

/// Where a host function leaves a pointer and a size.
struct Returned {
    data: *mut u8,
    size: usize,
}

impl Returned {
    const fn new() -> Self {
        Self {
            data: null_mut(),
            size: 0,
        }
    }

    /// Takes ownership of what the host wrote.
    fn into_bytes(self) -> Vec<u8> {
        // Envoy leaves a null pointer, or none of ours, when there is nothing to return.
        if self.data.is_null() || self.size == 0 {
            return Vec::new();
        }
        // SAFETY: the ABI has the host obtain this memory from `proxy_on_memory_allocate` with exactly this size and hand
        // it over; `allocate` makes it as a boxed slice of the same allocator.
        unsafe { Vec::from_raw_parts(self.data, self.size, self.size) }
    }
}

/// The host's clock.
pub fn now() -> Result<UnixTime, Status> {
    let mut nanos = 0_u64;
    // SAFETY: the host writes one u64 there.
    Status::check(unsafe { abi::proxy_get_current_time_nanoseconds(&raw mut nanos) })?;
    Ok(UnixTime::from_millis(nanos / 1_000_000))
}

/// The host's clock in nanoseconds: for telling workers apart, not for deciding.
pub fn now_nanos() -> u64 {
    let mut nanos = 0_u64;
    // SAFETY: the host writes one u64 there; on failure the 0 stays.
    let _ = unsafe { abi::proxy_get_current_time_nanoseconds(&raw mut nanos) };
    nanos
}

/// Writes a line to the host's log. There is nowhere to report a failure to.
pub fn log(level: LogLevel, message: &str) {
    // SAFETY: pointer and size of a live str.
    let _ = unsafe { abi::proxy_log(level as u32, message.as_ptr(), message.len()) };
}

/// Asks for `proxy_on_tick` every `period`.
pub fn set_tick_period(period: Duration) -> Result<(), Status> {
    let millis = u32::try_from(period.as_millis()).unwrap_or(u32::MAX);
    // SAFETY: a plain number.
    Status::check(unsafe { abi::proxy_set_tick_period_milliseconds(millis) })
}

/// Up to `max_size` bytes of a buffer.
pub fn buffer(kind: BufferType, max_size: usize) -> Result<Vec<u8>, Status> {
    buffer_part(kind, 0, max_size)
}

/// Up to `max_size` bytes of a buffer, from `start` on.
pub fn buffer_part(kind: BufferType, start: usize, max_size: usize) -> Result<Vec<u8>, Status> {
    let mut out = Returned::new();
    // SAFETY: the host writes a pointer and a size there.
    let raw = unsafe {
        abi::proxy_get_buffer_bytes(
            kind as u32,
            start,
            max_size,
            &raw mut out.data,
            &raw mut out.size,
        )
    };
    match Status::check(raw) {
        Ok(()) => Ok(out.into_bytes()),
        Err(Status::NOT_FOUND | Status::EMPTY) => Ok(Vec::new()),
        Err(status) => Err(status),
    }
}

/// A whole header map, serialized; read it with [`pairs::parse`].
pub fn header_map(kind: MapType) -> Result<Vec<u8>, Status> {
    let mut out = Returned::new();
    // SAFETY: the host writes a pointer and a size there.
    Status::check(unsafe {
        abi::proxy_get_header_map_pairs(kind as u32, &raw mut out.data, &raw mut out.size)
    })?;
    Ok(out.into_bytes())
}

/// Sets a request header, replacing what has that name.
pub fn set_request_header(name: &[u8], value: &[u8]) -> Result<(), Status> {
    // SAFETY: pointers and sizes of live slices.
    Status::check(unsafe {
        abi::proxy_replace_header_map_value(
            MapType::HttpRequestHeaders as u32,
            name.as_ptr(),
            name.len(),
            value.as_ptr(),
            value.len(),
        )
    })
}

/// Removes every copy of a request header. That there was none is no failure.
pub fn remove_request_header(name: &[u8]) -> Result<(), Status> {
    // SAFETY: pointer and size of a live slice.
    let raw = unsafe {
        abi::proxy_remove_header_map_value(
            MapType::HttpRequestHeaders as u32,
            name.as_ptr(),
            name.len(),
        )
    };
    match Status::check(raw) {
        Err(Status::NOT_FOUND) => Ok(()),
        other => other,
    }
}

/// A property by its serialized path (segments joined by NUL).
pub fn property(path: &[u8]) -> Result<Vec<u8>, Status> {
    let mut out = Returned::new();
    // SAFETY: a live slice in, a pointer and a size out.
    Status::check(unsafe {
        abi::proxy_get_property(
            path.as_ptr(),
            path.len(),
            &raw mut out.data,
            &raw mut out.size,
        )
    })?;
    Ok(out.into_bytes())
}

/// Sets a property by its serialized path.
pub fn set_property(path: &[u8], value: &[u8]) -> Result<(), Status> {
    // SAFETY: pointers and sizes of live slices.
    Status::check(unsafe {
        abi::proxy_set_property(path.as_ptr(), path.len(), value.as_ptr(), value.len())
    })
}

/// A value of the process-wide store and its compare-and-swap token; `None` if there is none.
pub fn shared_data(key: &str) -> Result<Option<(Vec<u8>, u32)>, Status> {
    let mut out = Returned::new();
    let mut cas = 0_u32;
    // SAFETY: a live str in; a pointer, a size and a u32 out.
    let raw = unsafe {
        abi::proxy_get_shared_data(
            key.as_ptr(),
            key.len(),
            &raw mut out.data,
            &raw mut out.size,
            &raw mut cas,
        )
    };
    match Status::check(raw) {
        Ok(()) => Ok(Some((out.into_bytes(), cas))),
        Err(Status::NOT_FOUND) => Ok(None),
        Err(status) => Err(status),
    }
}

/// Writes a value of the process-wide store. With token 0 Envoy overwrites whatever is there and nginx only creates; with any
/// other both answer [`Status::CAS_MISMATCH`] when the value has changed since.
pub fn set_shared_data(key: &str, value: &[u8], cas: u32) -> Result<(), Status> {
    // SAFETY: pointers and sizes of live slices.
    Status::check(unsafe {
        abi::proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), cas)
    })
}

/// Lets a paused request go on.
pub fn continue_request() -> Result<(), Status> {
    // SAFETY: a plain number.
    Status::check(unsafe { abi::proxy_continue_stream(StreamType::HttpRequest as u32) })
}

/// Answers the request here. `details` goes into the host's access log.
pub fn send_local_response(
    status: u16,
    details: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Result<(), Status> {
    let headers = pairs::serialize(headers.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())));
    // SAFETY: pointers and sizes of live slices. -1: no gRPC status of our own.
    Status::check(unsafe {
        abi::proxy_send_local_response(
            u32::from(status),
            details.as_ptr(),
            details.len(),
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            -1,
        )
    })
}

/// Sends an HTTP request; the answer comes to `proxy_on_http_call_response` with the returned token.
pub fn http_call<'a>(
    upstream: &str,
    headers: impl Iterator<Item = Field<'a>> + Clone,
    body: &[u8],
    timeout: Duration,
) -> Result<u32, Status> {
    let headers = pairs::serialize(headers);
    let trailers = pairs::serialize(std::iter::empty());
    let millis = u32::try_from(timeout.as_millis())
        .unwrap_or(u32::MAX)
        .max(1);
    let mut token = 0_u32;
    // SAFETY: pointers and sizes of live slices in, a u32 out.
    Status::check(unsafe {
        abi::proxy_http_call(
            upstream.as_ptr(),
            upstream.len(),
            headers.as_ptr(),
            headers.len(),
            if body.is_empty() {
                null()
            } else {
                body.as_ptr()
            },
            body.len(),
            trailers.as_ptr(),
            trailers.len(),
            millis,
            &raw mut token,
        )
    })?;
    Ok(token)
}

/// Has the following calls act on another context, until this callback returns or the next such call.
pub fn set_effective_context(context_id: u32) -> Result<(), Status> {
    // SAFETY: a plain number.
    Status::check(unsafe { abi::proxy_set_effective_context(context_id) })
}

/// Calls a function that only this host has. Never on nginx: an unknown name is a trap there.
pub fn call_foreign_function(name: &str, arguments: &[u8]) -> Result<Vec<u8>, Status> {
    let mut out = Returned::new();
    // SAFETY: live slices in, a pointer and a size out.
    Status::check(unsafe {
        abi::proxy_call_foreign_function(
            name.as_ptr(),
            name.len(),
            arguments.as_ptr(),
            arguments.len(),
            &raw mut out.data,
            &raw mut out.size,
        )
    })?;
    Ok(out.into_bytes())
}

/// Makes a metric known; the same name gives the same metric again, maybe under another id.
pub fn define_metric(kind: MetricType, name: &str) -> Result<u32, Status> {
    let mut id = 0_u32;
    // SAFETY: a live str in, a u32 out.
    Status::check(unsafe {
        abi::proxy_define_metric(kind as u32, name.as_ptr(), name.len(), &raw mut id)
    })?;
    Ok(id)
}

/// Adds to a counter.
pub fn increment_metric(id: u32, offset: i64) -> Result<(), Status> {
    // SAFETY: plain numbers.
    Status::check(unsafe { abi::proxy_increment_metric(id, offset) })
}

/// Sets a gauge, or adds a value to a histogram.
pub fn record_metric(id: u32, value: u64) -> Result<(), Status> {
    // SAFETY: plain numbers.
    Status::check(unsafe { abi::proxy_record_metric(id, value) })
}

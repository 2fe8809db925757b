//! The proxy-wasm ABI 0.2.1 as it is on the wire: the host's functions and the numbers they speak.
//!
//! Only what the filter uses is imported; a module that imports more than its host offers does not
//! load. Statuses stay plain numbers here, because hosts return more of them than any one list names;
//! [`crate::status::Status`] keeps them all.

#![allow(missing_docs)] // The names are the ABI's, and so is their documentation.

/// `proxy_log` levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum LogLevel {
    Trace = 0,
    Debug = 1,
    Info = 2,
    Warn = 3,
    Error = 4,
    Critical = 5,
}

/// What a stream callback tells the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Action {
    Continue = 0,
    /// Envoy's `StopIteration` for headers, `StopIterationAndBuffer` for a body, `StopIteration` for trailers.
    Pause = 1,
    /// Envoy's own number, beyond the ABI: hold headers, body and trailers back. Envoy reads
    /// [`Action::Pause`] as this too, unless the plugin sets `allow_on_headers_stop_iteration`; then the body of a
    /// paused request would go on to the next filter.
    StopAllIterationAndWatermark = 4,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum MapType {
    HttpRequestHeaders = 0,
    HttpRequestTrailers = 1,
    HttpCallResponseHeaders = 6,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum BufferType {
    HttpRequestBody = 0,
    HttpCallResponseBody = 4,
    VmConfiguration = 6,
    PluginConfiguration = 7,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum MetricType {
    Counter = 0,
    Gauge = 1,
    Histogram = 2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum StreamType {
    HttpRequest = 0,
}

/// Declares the imports, and for targets without a proxy around them (the native tests) functions of the same
/// names that answer `Unimplemented`.
macro_rules! imports {
    ($(fn $name:ident($($arg:ident: $ty:ty),* $(,)?) -> i32;)+) => {
        #[cfg(target_arch = "wasm32")]
        #[link(wasm_import_module = "env")]
        unsafe extern "C" {
            $(pub(crate) fn $name($($arg: $ty),*) -> i32;)+
        }

        $(
            #[cfg(not(target_arch = "wasm32"))]
            #[allow(clippy::too_many_arguments)]
            pub(crate) unsafe fn $name($(_: $ty),*) -> i32 {
                12
            }
        )+
    };
}

imports! {
    fn proxy_log(level: u32, message: *const u8, message_size: usize) -> i32;
    fn proxy_get_current_time_nanoseconds(time: *mut u64) -> i32;
    fn proxy_set_tick_period_milliseconds(period: u32) -> i32;
    fn proxy_get_buffer_bytes(kind: u32, start: usize, max_size: usize, data: *mut *mut u8, size: *mut usize) -> i32;
    fn proxy_get_header_map_pairs(kind: u32, data: *mut *mut u8, size: *mut usize) -> i32;
    fn proxy_replace_header_map_value(kind: u32, key: *const u8, key_size: usize, value: *const u8, value_size: usize) -> i32;
    fn proxy_remove_header_map_value(kind: u32, key: *const u8, key_size: usize) -> i32;
    fn proxy_get_property(path: *const u8, path_size: usize, data: *mut *mut u8, size: *mut usize) -> i32;
    fn proxy_set_property(path: *const u8, path_size: usize, value: *const u8, value_size: usize) -> i32;
    fn proxy_get_shared_data(key: *const u8, key_size: usize, data: *mut *mut u8, size: *mut usize, cas: *mut u32) -> i32;
    fn proxy_set_shared_data(key: *const u8, key_size: usize, value: *const u8, value_size: usize, cas: u32) -> i32;
    fn proxy_continue_stream(kind: u32) -> i32;
    fn proxy_send_local_response(status_code: u32, details: *const u8, details_size: usize, body: *const u8, body_size: usize, headers: *const u8, headers_size: usize, grpc_status: i32) -> i32;
    fn proxy_http_call(upstream: *const u8, upstream_size: usize, headers: *const u8, headers_size: usize, body: *const u8, body_size: usize, trailers: *const u8, trailers_size: usize, timeout: u32, token: *mut u32) -> i32;
    fn proxy_set_effective_context(context_id: u32) -> i32;
    fn proxy_call_foreign_function(name: *const u8, name_size: usize, arguments: *const u8, arguments_size: usize, results: *mut *mut u8, results_size: *mut usize) -> i32;
    fn proxy_define_metric(kind: u32, name: *const u8, name_size: usize, id: *mut u32) -> i32;
    fn proxy_increment_metric(id: u32, offset: i64) -> i32;
    fn proxy_record_metric(id: u32, value: u64) -> i32;
}

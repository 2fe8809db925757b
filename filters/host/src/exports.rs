//! The functions that the host calls, declared where they are really exported: in the cdylib.
//!
//! Only callbacks in use are exported. Envoy skips the rest, and an empty one costs a microsecond a request with its siblings.

/// What a filter implements; [`export_filter!`](crate::export_filter) binds it to the ABI.
pub trait Filter {
    /// A root context (`root_id` 0) or a stream of one.
    fn on_context_create(context_id: u32, root_id: u32);
    /// The VM starts, with a configuration of its own of that many bytes. A host may say so once for each root context.
    fn on_vm_start(size: usize);
    /// A new plugin configuration of that many bytes. `false` refuses it.
    fn on_configure(root_id: u32, size: usize) -> bool;
    /// The timer.
    fn on_tick(root_id: u32);
    /// A request's headers are there. `end_of_stream`: and nothing follows.
    fn on_request_headers(context_id: u32, end_of_stream: bool) -> crate::abi::Action;
    /// `size` bytes of a request's body are there, those that were held back before included.
    fn on_request_body(context_id: u32, size: usize, end_of_stream: bool) -> crate::abi::Action;
    /// A request's trailers are there; the body has ended.
    fn on_request_trailers(context_id: u32) -> crate::abi::Action;
    /// A callout of this context was answered, or failed.
    fn on_http_call_response(context_id: u32, token: u32, num_headers: usize, body_size: usize);
    /// The context is gone.
    fn on_delete(context_id: u32);
}

/// Exports the proxy-wasm ABI 0.2.1 for a [`Filter`].
#[macro_export]
macro_rules! export_filter {
    ($filter:ty) => {
        #[cfg(target_arch = "wasm32")]
        mod proxy_wasm_exports {
            use $crate::exports::Filter;

            /// Says which ABI this is; never called.
            #[unsafe(no_mangle)]
            pub extern "C" fn proxy_abi_version_0_2_1() {}

            /// Runs once, before everything else. A cdylib is not wrapped with a call of the constructors (wasi-libc's
            /// environment is set up in one).
            #[unsafe(no_mangle)]
            pub extern "C" fn _initialize() {
                #[cfg(target_os = "wasi")]
                {
                    unsafe extern "C" {
                        fn __wasm_call_ctors();
                    }
                    // SAFETY: the linker makes it; this is its one call.
                    unsafe { __wasm_call_ctors() };
                }
            }

            #[unsafe(no_mangle)]
            pub extern "C" fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
                $crate::hostcalls::allocate(size)
            }

            #[unsafe(no_mangle)]
            pub extern "C" fn proxy_on_context_create(context_id: u32, root_id: u32) {
                <$filter>::on_context_create(context_id, root_id);
            }

            #[unsafe(no_mangle)]
            pub extern "C" fn proxy_on_vm_start(_root_id: u32, size: usize) -> u32 {
                <$filter>::on_vm_start(size);
                1
            }

            #[unsafe(no_mangle)]
            pub extern "C" fn proxy_on_configure(root_id: u32, size: usize) -> u32 {
                u32::from(<$filter>::on_configure(root_id, size))
            }

            #[unsafe(no_mangle)]
            pub extern "C" fn proxy_on_tick(root_id: u32) {
                <$filter>::on_tick(root_id);
            }

            #[unsafe(no_mangle)]
            pub extern "C" fn proxy_on_request_headers(
                context_id: u32,
                _num_headers: usize,
                end_of_stream: u32,
            ) -> u32 {
                <$filter>::on_request_headers(context_id, end_of_stream != 0) as u32
            }

            #[unsafe(no_mangle)]
            pub extern "C" fn proxy_on_request_body(
                context_id: u32,
                size: usize,
                end_of_stream: u32,
            ) -> u32 {
                <$filter>::on_request_body(context_id, size, end_of_stream != 0) as u32
            }

            #[unsafe(no_mangle)]
            pub extern "C" fn proxy_on_request_trailers(
                context_id: u32,
                _num_trailers: usize,
            ) -> u32 {
                <$filter>::on_request_trailers(context_id) as u32
            }

            #[unsafe(no_mangle)]
            pub extern "C" fn proxy_on_http_call_response(
                context_id: u32,
                token: u32,
                num_headers: usize,
                body_size: usize,
                _num_trailers: usize,
            ) {
                <$filter>::on_http_call_response(context_id, token, num_headers, body_size);
            }

            #[unsafe(no_mangle)]
            pub extern "C" fn proxy_on_delete(context_id: u32) {
                <$filter>::on_delete(context_id);
            }
        }
    };
}

//! The benchmark's yardstick: what a WebAssembly filter costs before it does anything.
//!
//! Written on the proxy-wasm SDK the way its examples are, with every callback exported. The
//! plugin configuration selects the variant: `sets3` sets three request headers, anything else
//! reads one. Used by `benches/run`, never shipped.

// The SDK's macro makes public functions without a word on them.
#![allow(missing_docs)]

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, Bytes, ContextType, LogLevel};

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Warn);
    proxy_wasm::set_root_context(|_| Box::new(Root { variant: Variant::ReadOne }));
}}

#[derive(Clone, Copy)]
enum Variant {
    ReadOne,
    SetThree,
}

struct Root {
    variant: Variant,
}

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        let configuration: Option<Bytes> = self.get_plugin_configuration();
        if configuration.as_deref() == Some(b"sets3") {
            self.variant = Variant::SetThree;
        }
        true
    }

    fn create_http_context(&self, _context_id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Request {
            variant: self.variant,
        }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

struct Request {
    variant: Variant,
}

impl Context for Request {}

impl HttpContext for Request {
    fn on_http_request_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        match self.variant {
            Variant::ReadOne => {
                let _ = self.get_http_request_header("authorization");
            }
            Variant::SetThree => {
                self.set_http_request_header("x-auth-user-id", Some("bench-user"));
                self.set_http_request_header("x-auth-email", Some("bench@example.com"));
                self.set_http_request_header("x-auth-org-id", Some("bench-org"));
            }
        }
        Action::Continue
    }
}

//! The benchmark's floor: what the host calls of a decision cost, without the decision.
//!
//! On the ABI as the shipped filter is, with the callbacks that it exports. The plugin configuration is a list of
//! words, each a host call that every request makes, in that order: `now`, `pairs`, `address`, `remove`, `set` (an identity header
//! more each time), `audit`, `count`. Used by `benches/run`, never shipped.

#![cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]

use std::cell::RefCell;

use portcullis_host::abi::{Action, BufferType, MapType, MetricType};
use portcullis_host::exports::Filter;
use portcullis_host::hostcalls;

/// About as long as an audit event.
const EVENT: &[u8] = &[b'a'; 600];

/// What `set` sets, one after the other.
const HEADERS: [(&[u8], &[u8]); 5] = [
    (b"x-auth-user-id", b"bench-user"),
    (b"x-auth-email", b"bench@example.com"),
    (b"x-auth-org-id", b"bench-org"),
    (b"x-auth-agent", b"bench-agent"),
    (b"x-auth-provider", b"bench"),
];

#[derive(Clone, Copy)]
enum Call {
    Now,
    Pairs,
    Address,
    Remove,
    Set(usize),
    Audit,
    Count(u32),
}

thread_local! {
    static CALLS: RefCell<Vec<Call>> = const { RefCell::new(Vec::new()) };
}

struct Floor;

impl Filter for Floor {
    fn on_vm_start(_size: usize) {}

    fn on_context_create(_context_id: u32, _root_id: u32) {}

    /// An unknown word refuses the configuration, so that a misspelt one does not measure nothing.
    fn on_configure(_root_id: u32, size: usize) -> bool {
        let Ok(text) = hostcalls::buffer(BufferType::PluginConfiguration, size) else {
            return false;
        };
        let text = String::from_utf8_lossy(&text).into_owned();
        let mut sets = 0..HEADERS.len();
        let calls: Option<Vec<Call>> = text
            .split_whitespace()
            .map(|word| {
                Some(match word {
                    "now" => Call::Now,
                    "pairs" => Call::Pairs,
                    "address" => Call::Address,
                    "remove" => Call::Remove,
                    "set" => Call::Set(sets.next()?),
                    "audit" => Call::Audit,
                    "count" => Call::Count(
                        hostcalls::define_metric(MetricType::Counter, "portcullis.floor").ok()?,
                    ),
                    _ => return None,
                })
            })
            .collect();
        match calls {
            Some(calls) => {
                CALLS.with(|c| *c.borrow_mut() = calls);
                true
            }
            None => false,
        }
    }

    fn on_tick(_root_id: u32) {}

    fn on_request_headers(_context_id: u32, _end_of_stream: bool) -> Action {
        CALLS.with(|calls| {
            for call in calls.borrow().iter() {
                match call {
                    Call::Now => drop(hostcalls::now()),
                    Call::Pairs => drop(hostcalls::header_map(MapType::HttpRequestHeaders)),
                    Call::Address => drop(hostcalls::property(b"source\0address")),
                    Call::Remove => {
                        let _ = hostcalls::remove_request_header(b"authorization");
                    }
                    Call::Set(i) => {
                        if let Some((name, value)) = HEADERS.get(*i) {
                            let _ = hostcalls::set_request_header(name, value);
                        }
                    }
                    Call::Audit => {
                        let _ = hostcalls::set_property(b"portcullis_audit", EVENT);
                    }
                    Call::Count(id) => {
                        let _ = hostcalls::increment_metric(*id, 1);
                    }
                }
            }
        });
        Action::Continue
    }

    fn on_request_body(_context_id: u32, _size: usize, _end_of_stream: bool) -> Action {
        Action::Continue
    }

    fn on_request_trailers(_context_id: u32) -> Action {
        Action::Continue
    }

    fn on_http_call_response(_: u32, _: u32, _: usize, _: usize) {}

    fn on_delete(_context_id: u32) {}
}

portcullis_host::export_filter!(crate::Floor);

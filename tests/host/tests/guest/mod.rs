//! Modules written by hand, so that the emulator is tested without the filter.
//!
//! A guest logs what the host says: `status 10` for a status, the bytes for what was returned.

#![allow(dead_code, reason = "shared: not every test file uses all of it")]

use std::collections::BTreeMap;
use std::fmt::Write as _;

use portcullis_test_host::{Host, Module, Profile, Settings};

/// Host functions and the types of their parameters; all return a status.
const IMPORTS: &[(&str, &str)] = &[
    ("proxy_log", "i32 i32 i32"),
    ("proxy_get_current_time_nanoseconds", "i32"),
    ("proxy_set_tick_period_milliseconds", "i32"),
    ("proxy_get_buffer_bytes", "i32 i32 i32 i32 i32"),
    ("proxy_get_header_map_pairs", "i32 i32 i32"),
    ("proxy_get_header_map_value", "i32 i32 i32 i32 i32"),
    ("proxy_add_header_map_value", "i32 i32 i32 i32 i32"),
    ("proxy_replace_header_map_value", "i32 i32 i32 i32 i32"),
    ("proxy_remove_header_map_value", "i32 i32 i32"),
    ("proxy_get_property", "i32 i32 i32 i32"),
    ("proxy_set_property", "i32 i32 i32 i32"),
    ("proxy_get_shared_data", "i32 i32 i32 i32 i32"),
    ("proxy_set_shared_data", "i32 i32 i32 i32 i32"),
    ("proxy_continue_stream", "i32"),
    (
        "proxy_send_local_response",
        "i32 i32 i32 i32 i32 i32 i32 i32",
    ),
    ("proxy_http_call", "i32 i32 i32 i32 i32 i32 i32 i32 i32 i32"),
    ("proxy_set_effective_context", "i32"),
    ("proxy_call_foreign_function", "i32 i32 i32 i32 i32 i32"),
    ("proxy_define_metric", "i32 i32 i32 i32"),
    ("proxy_increment_metric", "i32 i64"),
    ("proxy_record_metric", "i32 i64"),
    ("proxy_get_metric", "i32 i32"),
];

/// Callbacks with the types of their parameters and whether they return something.
const CALLBACKS: &[(&str, &str, bool)] = &[
    ("proxy_on_context_create", "i32 i32", false),
    ("proxy_on_vm_start", "i32 i32", true),
    ("proxy_on_configure", "i32 i32", true),
    ("proxy_on_tick", "i32", false),
    ("proxy_on_request_headers", "i32 i32 i32", true),
    ("proxy_on_request_body", "i32 i32 i32", true),
    ("proxy_on_request_trailers", "i32 i32", true),
    ("proxy_on_http_call_response", "i32 i32 i32 i32 i32", false),
    ("proxy_on_delete", "i32", false),
];

/// Where a host function leaves a pointer, a size and a number.
pub const DATA: &str = "(i32.const 8)";
pub const SIZE: &str = "(i32.const 12)";
pub const NUMBER: &str = "(i32.const 24)";

/// A module under construction.
#[derive(Clone, Default)]
pub struct Guest {
    texts: String,
    at: usize,
    callbacks: BTreeMap<String, String>,
    extra: String,
}

impl Guest {
    /// Bytes in the guest's memory: the code that pushes their place and size.
    pub fn text(&mut self, bytes: impl AsRef<[u8]>) -> String {
        let bytes = bytes.as_ref();
        let at = 1024 + self.at;
        self.at += bytes.len();
        let escaped = bytes.iter().fold(String::new(), |mut out, byte| {
            let _ = write!(out, "\\{byte:02x}");
            out
        });
        let _ = writeln!(self.texts, "(data (i32.const {at}) \"{escaped}\")");
        format!("(i32.const {at}) (i32.const {})", bytes.len())
    }

    /// The body of a callback. Its parameters are `(local.get 0)` and so on; one that returns something leaves it on the stack.
    #[must_use]
    pub fn on(mut self, callback: &str, code: impl AsRef<str>) -> Self {
        self.callbacks
            .insert(format!("proxy_on_{callback}"), code.as_ref().to_owned());
        self
    }

    /// An import more.
    #[must_use]
    pub fn import(mut self, name: &str, ty: &str) -> Self {
        let _ = writeln!(
            self.extra,
            "(import \"env\" \"{name}\" (func ${name} (param {ty}) (result i32)))"
        );
        self
    }

    pub fn module(&self) -> Module {
        let mut wat = String::from("(module\n");
        for (name, ty) in IMPORTS {
            let _ = writeln!(
                wat,
                "(import \"env\" \"{name}\" (func ${name} (param {ty}) (result i32)))"
            );
        }
        wat.push_str(&self.extra);
        wat.push_str(HELPERS);
        wat.push_str(&self.texts);
        for (name, ty, returns) in CALLBACKS {
            let Some(code) = self.callbacks.get(*name) else {
                continue;
            };
            let result = if *returns { "(result i32)" } else { "" };
            let _ = writeln!(
                wat,
                "(func (export \"{name}\") (param {ty}) {result}\n{code})"
            );
        }
        wat.push(')');
        Module::new(wat.as_bytes())
    }

    pub fn start(&self, settings: Settings) -> Host {
        Host::start(&self.module(), settings, b"{}").unwrap_or_else(|e| panic!("{e}"))
    }

    pub fn nginx(&self) -> Host {
        self.start(Settings::new(Profile::Nginx))
    }

    pub fn envoy(&self) -> Host {
        self.start(Settings::new(Profile::Envoy))
    }
}

/// Logs the status on the stack.
pub fn tell(code: impl AsRef<str>) -> String {
    format!("(call $tell {})\n", code.as_ref())
}

/// Logs the status, and what was returned.
pub fn show(code: impl AsRef<str>) -> String {
    format!("(call $show {})\n", code.as_ref())
}

/// A host call.
pub fn call(function: &str, args: &[&str]) -> String {
    format!("(call $proxy_{function} {})", args.join(" "))
}

/// The code of a header map with these fields.
pub fn pairs(guest: &mut Guest, fields: &[(&str, &str)]) -> String {
    let number = |n: usize| u32::try_from(n).unwrap().to_le_bytes();
    let mut bytes = number(fields.len()).to_vec();
    for (name, value) in fields {
        bytes.extend(number(name.len()));
        bytes.extend(number(value.len()));
    }
    for part in fields.iter().flat_map(|(name, value)| [name, value]) {
        bytes.extend(part.as_bytes());
        bytes.push(0);
    }
    guest.text(bytes)
}

/// The code of a callout: logs its status.
pub fn dispatch(guest: &mut Guest, upstream: &str) -> String {
    let upstream = guest.text(upstream);
    let headers = pairs(
        guest,
        &[
            (":method", "GET"),
            (":path", "/keys"),
            (":authority", "issuer.test"),
        ],
    );
    let nothing = "(i32.const 0) (i32.const 0)";
    tell(call(
        "http_call",
        &[
            &upstream,
            &headers,
            nothing,
            nothing,
            "(i32.const 5000)",
            NUMBER,
        ],
    ))
}

/// The code of an answer with that HTTP status: logs its status.
pub fn answer(status: u32) -> String {
    let nothing = "(i32.const 0) (i32.const 0)";
    let status = format!("(i32.const {status})");
    tell(call(
        "send_local_response",
        &[&status, nothing, nothing, nothing, "(i32.const -1)"],
    ))
}

/// The statuses and texts that were logged.
pub fn said(host: &Host) -> Vec<String> {
    host.log()
        .into_iter()
        .filter(|line| line.level == 2)
        .map(|line| line.text)
        .collect()
}

const HELPERS: &str = r#"
(memory (export "memory") 16)
(global $free (mut i32) (i32.const 65536))
(func (export "_initialize"))
(func (export "proxy_abi_version_0_2_1"))
(func (export "proxy_on_memory_allocate") (param $size i32) (result i32)
  (global.get $free)
  (global.set $free (i32.add (global.get $free) (local.get $size))))
(data (i32.const 32) "status ")
(func $tell (param $status i32)
  (i32.store8 (i32.const 39) (i32.add (i32.const 48) (i32.div_u (local.get $status) (i32.const 10))))
  (i32.store8 (i32.const 40) (i32.add (i32.const 48) (i32.rem_u (local.get $status) (i32.const 10))))
  (drop (call $proxy_log (i32.const 2) (i32.const 32) (i32.const 9))))
(func $show (param $status i32)
  (call $tell (local.get $status))
  (if (i32.eqz (local.get $status)) (then
    (drop (call $proxy_log (i32.const 2) (i32.load (i32.const 8)) (i32.load (i32.const 12)))))))
"#;

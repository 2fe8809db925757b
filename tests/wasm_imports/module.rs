//! What `dist/portcullis.wasm` asks of a proxy and what it offers to one.
//!
//! A proxy instantiates a module only if it knows every import, and calls whatever is exported.
//! So both lists are data here: a dependency that starts to read the clock, or a callback that
//! nobody uses, is a change to this file that someone has to argue for.

#![allow(
    clippy::panic,
    clippy::expect_used,
    reason = "a test's helpers; clippy exempts only the test functions themselves"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use wasmparser::{
    DataKind, ExternalKind, Operator, Parser, Payload, TypeRef, Validator, WasmFeatures,
};

/// The host functions of proxy-wasm ABI 0.2.1 (module `env`).
///
/// `proxy_get_log_level` is of the ABI too and left out on purpose: nginx (ngx_wasm_module) does
/// not have it and refuses a module that imports it.
const PROXY_WASM_0_2_1: &[&str] = &[
    "proxy_log",
    "proxy_get_current_time_nanoseconds",
    "proxy_set_tick_period_milliseconds",
    "proxy_get_buffer_status",
    "proxy_get_buffer_bytes",
    "proxy_set_buffer_bytes",
    "proxy_get_header_map_size",
    "proxy_get_header_map_pairs",
    "proxy_set_header_map_pairs",
    "proxy_get_header_map_value",
    "proxy_add_header_map_value",
    "proxy_replace_header_map_value",
    "proxy_remove_header_map_value",
    "proxy_get_property",
    "proxy_set_property",
    "proxy_get_shared_data",
    "proxy_set_shared_data",
    "proxy_register_shared_queue",
    "proxy_resolve_shared_queue",
    "proxy_enqueue_shared_queue",
    "proxy_dequeue_shared_queue",
    "proxy_continue_stream",
    "proxy_close_stream",
    "proxy_send_local_response",
    "proxy_http_call",
    "proxy_grpc_call",
    "proxy_grpc_stream",
    "proxy_grpc_send",
    "proxy_grpc_cancel",
    "proxy_grpc_close",
    "proxy_get_status",
    "proxy_set_effective_context",
    "proxy_call_foreign_function",
    "proxy_done",
    "proxy_define_metric",
    "proxy_get_metric",
    "proxy_record_metric",
    "proxy_increment_metric",
];

/// What Rust's standard library may call (module `wasi_snapshot_preview1`): environment variables
/// for secrets, the last words of a panic, and a seed for the hash of the caches. Envoy and
/// ngx_wasm_module offer all five. No clock: the core is handed the time.
const WASI: &[&str] = &[
    "environ_get",
    "environ_sizes_get",
    "fd_write",
    "proc_exit",
    "random_get",
];

/// Every export, exactly. A host calls each callback that it finds, and a call costs 0.1-0.3 µs
/// a request whether it does something or not.
const EXPORTS: &[&str] = &[
    "memory",
    "_initialize",
    "proxy_abi_version_0_2_1",
    "proxy_on_memory_allocate",
    "proxy_on_context_create",
    "proxy_on_vm_start",
    "proxy_on_configure",
    "proxy_on_tick",
    "proxy_on_request_headers",
    "proxy_on_request_body",
    "proxy_on_request_trailers",
    "proxy_on_http_call_response",
    "proxy_on_delete",
];

/// Every worker compiles the module at its start: 381 KiB took 0.2-0.4 s there, 1.9 MiB 0.9-1.8 s. With all providers,
/// the key feed, the tables of ES256 and nginx it is 856 KiB (docs/decisions/0003-build.md).
const SIZE_BUDGET: usize = 900 * 1024;

/// Where our own sources can panic as far as the compiler can tell: the file, what stands on such a line, and why it never
/// happens. Everything else has been written so that the compiler sees no way, and is to stay so.
const OWN_PANICS: &[(&str, &str, &str)] = &[
    (
        "src/authenticator.rs",
        "stores.borrow",
        "nothing that is called with the stores borrowed knows of the `RefCell`; only dropping a policy does, and tries",
    ),
    (
        "src/stores.rs",
        "stores.borrow",
        "as in `src/authenticator.rs`",
    ),
    (
        "src/body.rs",
        "stores.borrow",
        "as in `src/authenticator.rs`",
    ),
    (
        "src/waiting.rs",
        "stores.borrow",
        "as in `src/authenticator.rs`, where half of it came from",
    ),
];

fn module_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dist/portcullis.wasm")
}

fn module() -> Vec<u8> {
    let path = module_path();
    std::fs::read(&path).unwrap_or_else(|error| {
        panic!(
            "{}: {error}; `make build` makes it, `make test-module` does both",
            path.display()
        )
    })
}

fn payloads(module: &[u8]) -> impl Iterator<Item = Payload<'_>> {
    Parser::new(0)
        .parse_all(module)
        .map(|payload| payload.expect("a readable WebAssembly module"))
}

#[test]
fn imports_only_the_abi_and_five_wasi_calls() {
    let bytes = module();
    let mut foreign = Vec::new();
    let mut seen = 0;
    for payload in payloads(&bytes) {
        let Payload::ImportSection(section) = payload else {
            continue;
        };
        for import in section.into_imports() {
            let import = import.expect("a readable import");
            seen += 1;
            let known = match import.module {
                "env" => PROXY_WASM_0_2_1.contains(&import.name),
                "wasi_snapshot_preview1" => WASI.contains(&import.name),
                _ => false,
            };
            if !known || !matches!(import.ty, TypeRef::Func(_)) {
                foreign.push(format!("{}.{}", import.module, import.name));
            }
        }
    }
    assert!(
        foreign.is_empty(),
        "imports that a proxy does not offer: {foreign:?}"
    );
    // An empty list would pass the check above, and a filter without a hostcall is none.
    assert!(seen > 0, "the module imports nothing at all");
}

#[test]
fn exports_exactly_the_callbacks_in_use() {
    let bytes = module();
    let mut exported = BTreeSet::new();
    for payload in payloads(&bytes) {
        if let Payload::ExportSection(section) = payload {
            for export in section {
                let export = export.expect("a readable export");
                // The linker's own marks (`__heap_base` and the like) are globals, which no host calls.
                if matches!(export.kind, ExternalKind::Func | ExternalKind::Memory) {
                    exported.insert(export.name);
                }
            }
        }
    }
    let wanted: BTreeSet<&str> = EXPORTS.iter().copied().collect();
    let missing: Vec<_> = wanted.difference(&exported).collect();
    let unused: Vec<_> = exported.difference(&wanted).collect();
    assert!(
        missing.is_empty() && unused.is_empty(),
        "missing exports: {missing:?}; exports that nobody asked for: {unused:?}"
    );
}

#[test]
fn needs_no_feature_beyond_webassembly_2() {
    // What V8 and wasmtime both had for years. A newer compiler may turn more on by default.
    let bytes = module();
    Validator::new_with_features(WasmFeatures::WASM2)
        .validate_all(&bytes)
        .expect("valid WebAssembly 2.0");
}

#[test]
fn carries_no_custom_section() {
    // Names, producers and debug information are a third of an unstripped module, and paths of
    // the builder's machine stand in them.
    let bytes = module();
    let custom: Vec<String> = payloads(&bytes)
        .filter_map(|payload| match payload {
            Payload::CustomSection(section) => Some(section.name().to_owned()),
            _ => None,
        })
        .collect();
    assert_eq!(custom, Vec::<String>::new());
}

#[test]
fn stays_within_its_size() {
    let size = module().len();
    assert!(
        size <= SIZE_BUDGET,
        "{size} bytes; the budget is {SIZE_BUDGET}"
    );
}

/// The `core::panic::Location`s in the module's data: file, line, column. A panic of ours that survived optimisation has one.
fn panic_locations(module: &[u8]) -> BTreeSet<(String, u32)> {
    let mut segments: Vec<(u32, &[u8])> = Vec::new();
    for payload in payloads(module) {
        if let Payload::DataSection(section) = payload {
            for segment in section {
                let segment = segment.expect("a readable segment");
                if let DataKind::Active { offset_expr, .. } = segment.kind
                    && let Operator::I32Const { value } = offset_expr
                        .get_operators_reader()
                        .read()
                        .expect("an operator")
                {
                    segments.push((value.cast_unsigned(), segment.data));
                }
            }
        }
    }
    // By address, since a record names its file by pointer and length.
    let text = |address: u32, length: u32| {
        let (start, data) = segments.iter().rev().find(|(start, data)| {
            (*start..*start + u32::try_from(data.len()).unwrap_or(u32::MAX)).contains(&address)
        })?;
        let from = (address - start) as usize;
        std::str::from_utf8(data.get(from..from + length as usize)?).ok()
    };
    let mut found = BTreeSet::new();
    for (_, data) in &segments {
        for record in data.windows(16).step_by(4) {
            let word = |i: usize| {
                let bytes = record.get(4 * i..4 * i + 4).and_then(|b| b.try_into().ok());
                u32::from_le_bytes(bytes.unwrap_or_default())
            };
            let (length, line, column) = (word(1), word(2), word(3));
            if (5..400).contains(&length)
                && (1..100_000).contains(&line)
                && (1..1000).contains(&column)
                && let Some(file) = text(word(0), length)
                && file.ends_with(".rs")
                && file.bytes().all(|b| b.is_ascii_graphic())
            {
                found.insert((file.to_owned(), line));
            }
        }
    }
    found
}

#[test]
fn our_own_sources_have_no_panic_but_those_that_are_listed() {
    let bytes = module();
    let locations = panic_locations(&bytes);
    // The crypto, the regular expressions and the standard library have theirs. None at all would mean that they are
    // written in another way now, and that this test is blind.
    assert!(locations.len() > 50, "{} locations", locations.len());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut used = BTreeSet::new();
    let mut unlisted = Vec::new();
    for (file, line) in &locations {
        let file = file.strip_prefix("./").unwrap_or(file);
        if !file.starts_with("src/") && !file.starts_with("filters/") {
            continue;
        }
        let source = std::fs::read_to_string(root.join(file)).expect("a source of ours");
        let text = source.lines().nth(*line as usize - 1).unwrap_or_default();
        match OWN_PANICS
            .iter()
            .find(|(of, what, _)| *of == file && text.contains(what))
        {
            Some((of, what, _)) => {
                used.insert((of, what));
            }
            None => unlisted.push(format!("{file}:{line}: {}", text.trim())),
        }
    }
    assert!(
        unlisted.is_empty(),
        "the module can panic here:\n{}",
        unlisted.join("\n")
    );
    assert_eq!(
        used.len(),
        OWN_PANICS.len(),
        "an exception that is none any more"
    );
}

//! Modules, compiled once in each test process.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use wasmtime::{Config, Engine, OptLevel};

/// A compiled module.
#[derive(Clone)]
pub struct Module(pub(crate) wasmtime::Module);

static ENGINE: OnceLock<Engine> = OnceLock::new();

/// By their bytes.
static COMPILED: Mutex<BTreeMap<Vec<u8>, Module>> = Mutex::new(BTreeMap::new());

impl Module {
    /// `dist/portcullis.wasm`.
    ///
    /// # Panics
    /// When it isn't built: a test without what it tests must not pass.
    pub fn built() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dist/portcullis.wasm");
        let bytes = std::fs::read(&path).unwrap_or_else(|error| {
            panic!(
                "{}: {error}; `make build` makes it, `make test-host` does both",
                path.display()
            )
        });
        Self::new(&bytes)
    }

    /// A module in binary or in text form (WAT).
    ///
    /// # Panics
    /// When it is neither.
    pub fn new(bytes: &[u8]) -> Self {
        let engine = ENGINE.get_or_init(|| {
            let mut config = Config::new();
            config.cranelift_opt_level(OptLevel::Speed);
            config.wasm_backtrace_max_frames(None);
            Engine::new(&config).unwrap_or_else(|error| panic!("wasmtime: {error:#}"))
        });
        // Held while it compiles: the second test that wants it waits in place of compiling it too.
        let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = compiled.get(bytes) {
            return module.clone();
        }
        let module = wasmtime::Module::new(engine, bytes)
            .unwrap_or_else(|error| panic!("not a module: {error:#}"));
        compiled.insert(bytes.to_vec(), Self(module.clone()));
        Self(module)
    }
}

//! `crypto`: who verifies signatures.

use super::read::{choice, object};
use crate::jose::Algorithm;
use crate::policy::CryptoPolicy;

object! {
    /// Who verifies signatures, by algorithm.
    pub struct CryptoConfig {
        /// RSASSA-PKCS1-v1_5 with SHA-256.
        rs256: Backend = "host",
        /// RSASSA-PKCS1-v1_5 with SHA-384.
        rs384: Backend = "host",
        /// RSASSA-PKCS1-v1_5 with SHA-512.
        rs512: Backend = "host",
        /// ECDSA on P-256 with SHA-256.
        es256: Es256Backend = "tables",
        /// ECDSA on P-384 with SHA-384.
        es384: Backend = "host",
        /// ECDSA on P-521 with SHA-512.
        es512: Backend = "host",
    }
}

choice! {
    /// One way to verify a signature.
    pub enum Backend = "host or library" {
        /// The proxy's own crypto where it lends it and it passed a self-test, else as `library`.
        Host = "host",
        /// The filter's own.
        Library = "library",
    }
}

choice! {
    /// One way to verify ES256.
    pub enum Es256Backend = "host, tables or library" {
        /// As for the others.
        Host = "host",
        /// The filter's own with a table for each key, where that passed a self-test and the key has one, else as `host`.
        Tables = "tables",
        /// The filter's own without tables.
        Library = "library",
    }
}

pub(super) fn compile(written: Option<&CryptoConfig>) -> CryptoPolicy {
    let none = CryptoConfig::default();
    let w = written.unwrap_or(&none);
    let by_host = |backend: Option<Backend>| backend.unwrap_or(Backend::Host) == Backend::Host;
    let es256 = w.es256.unwrap_or(Es256Backend::Tables);
    let backends = [
        (Algorithm::Rs256, by_host(w.rs256)),
        (Algorithm::Rs384, by_host(w.rs384)),
        (Algorithm::Rs512, by_host(w.rs512)),
        // For keys without a table, too.
        (Algorithm::Es256, es256 != Es256Backend::Library),
        (Algorithm::Es384, by_host(w.es384)),
        (Algorithm::Es512, by_host(w.es512)),
    ];
    CryptoPolicy {
        by_host: backends
            .into_iter()
            .filter_map(|(algorithm, by_host)| by_host.then_some(algorithm))
            .collect(),
        es256_tables: es256 == Es256Backend::Tables,
    }
}

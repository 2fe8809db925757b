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
        es256: Backend = "host",
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

pub(super) fn compile(written: Option<&CryptoConfig>) -> CryptoPolicy {
    let none = CryptoConfig::default();
    let w = written.unwrap_or(&none);
    let backends = [
        (Algorithm::Rs256, w.rs256),
        (Algorithm::Rs384, w.rs384),
        (Algorithm::Rs512, w.rs512),
        (Algorithm::Es256, w.es256),
        (Algorithm::Es384, w.es384),
        (Algorithm::Es512, w.es512),
    ];
    let by_host = |backend: Option<Backend>| backend.unwrap_or(Backend::Host) == Backend::Host;
    CryptoPolicy {
        by_host: backends
            .into_iter()
            .filter_map(|(algorithm, backend)| by_host(backend).then_some(algorithm))
            .collect(),
    }
}

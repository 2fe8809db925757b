//! Signatures verified by the host's own crypto where it lends it: Envoy's `verify_signature` takes 16 µs for what
//! takes 250 µs and more in here.
//!
//! Whether the host really has the function, and means by it what we do, is asked once per VM and algorithm with a
//! known good and a known bad signature. What it can't do, or gets wrong, is verified in Rust. For ES256 tables of the
//! keys are faster still, and come first where there are some.

use std::rc::Rc;

use portcullis_core::jose::verify::host::HostCheck;
use portcullis_core::jose::{
    Algorithm, BadSignature, Es256Tables, PublicKey, RustVerifier, SignatureVerifier,
};

use crate::host_kind::HostKind;
use crate::status::Status;
use crate::{hostcalls, protobuf};

/// What the probe's signatures were made over.
const PROBE_TEXT: &[u8] = b"portcullis verifier probe";

/// A known answer.
struct Probe {
    algorithm: Algorithm,
    hash: &'static str,
    spki_der: &'static [u8],
    signature: &'static [u8],
}

macro_rules! probe {
    ($algorithm:ident, $hash:literal, $key:literal, $signature:literal) => {
        Probe {
            algorithm: Algorithm::$algorithm,
            hash: $hash,
            spki_der: include_bytes!(concat!("probe/", $key)),
            signature: include_bytes!(concat!("probe/", $signature)),
        }
    };
}

/// One per algorithm that a host may be asked about. The private keys are gone.
const PROBES: [Probe; 6] = [
    probe!(Rs256, "sha256", "rsa.spki", "rs256.sig"),
    probe!(Rs384, "sha384", "rsa.spki", "rs384.sig"),
    probe!(Rs512, "sha512", "rsa.spki", "rs512.sig"),
    probe!(Es256, "sha256", "es256.spki", "es256.sig"),
    probe!(Es384, "sha384", "es384.spki", "es384.sig"),
    probe!(Es512, "sha512", "es512.spki", "es512.sig"),
];

/// Verifies by tables where the key has one, with the host where the host can, with Rust elsewhere.
pub struct HostVerifier {
    tables: Option<Rc<Es256Tables>>,
    by_host: Vec<Algorithm>,
    rust: RustVerifier,
}

impl HostVerifier {
    /// Probes the host.
    pub fn probe(kind: HostKind) -> Self {
        let mut by_host = Vec::new();
        if kind.has_foreign_functions() {
            for probe in &PROBES {
                let asked = |text| ask(probe.hash, probe.spki_der, probe.signature, text);
                let good = asked(PROBE_TEXT);
                let bad = asked(b"portcullis verifier probf");
                if good == Ok(true) && bad == Ok(false) {
                    by_host.push(probe.algorithm);
                }
            }
        }
        Self {
            tables: None,
            by_host,
            rust: RustVerifier,
        }
    }

    /// One that asks the host about none but these algorithms, and these tables before it.
    #[must_use]
    pub fn restricted_to(&self, algorithms: &[Algorithm], tables: Option<Rc<Es256Tables>>) -> Self {
        let mut by_host = self.by_host.clone();
        by_host.retain(|algorithm| algorithms.contains(algorithm));
        Self {
            tables,
            by_host,
            rust: self.rust,
        }
    }

    /// The names of the algorithms that the host verifies.
    pub fn by_host(&self) -> String {
        if self.by_host.is_empty() {
            return "none".to_owned();
        }
        let names: Vec<&str> = self.by_host.iter().map(|a| a.name()).collect();
        names.join(" ")
    }

    /// Who verifies what, for the log.
    pub fn backends(&self) -> String {
        let tables = if self.tables.is_some() {
            "; ES256 by tables first"
        } else {
            ""
        };
        format!(
            "signatures verified by the host: {}{tables}",
            self.by_host()
        )
    }

    /// The host's verdict; `None` where the host isn't asked, or has none.
    ///
    /// # Errors
    ///
    /// [`BadSignature`] unless it verifies.
    pub fn verdict_of_host(
        &self,
        algorithm: Algorithm,
        key: &PublicKey,
        signing_input: &[u8],
        signature: &[u8],
    ) -> Option<Result<(), BadSignature>> {
        if !self.by_host.contains(&algorithm) {
            return None;
        }
        let check = match HostCheck::new(algorithm, key, signature) {
            Ok(check) => check,
            Err(bad) => return Some(Err(bad)),
        };
        let verified = ask(
            check.hash.host_name(),
            check.spki_der,
            &check.signature,
            signing_input,
        );
        match verified {
            Ok(true) => Some(Ok(())),
            Ok(false) => Some(Err(BadSignature)),
            // This is about the call, not about the signature.
            Err(_) => None,
        }
    }
}

impl SignatureVerifier for HostVerifier {
    fn verify(
        &self,
        algorithm: Algorithm,
        key: &PublicKey,
        signing_input: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        let tables = self
            .tables
            .as_ref()
            .filter(|_| algorithm == Algorithm::Es256);
        tables
            .and_then(|tables| tables.verdict(key, signing_input, signature))
            .or_else(|| self.verdict_of_host(algorithm, key, signing_input, signature))
            .unwrap_or_else(|| self.rust.verify(algorithm, key, signing_input, signature))
    }
}

fn ask(hash: &str, spki_der: &[u8], signature: &[u8], text: &[u8]) -> Result<bool, Status> {
    let arguments = protobuf::verify_signature_arguments(hash, spki_der, signature, text);
    let result = hostcalls::call_foreign_function("verify_signature", &arguments)?;
    protobuf::verify_signature_result(&result).ok_or(Status::PARSE_FAILURE)
}

//! AWS Signature Version 4 on the verifying side: what a signed request says, and what its signature must be.
//!
//! 1. [`SignedRequest::read`] takes a request's head apart: credential, scope, time, signed headers, signature, payload claim. It
//!    checks all that can be checked without a secret.
//! 2. [`canonical`] spells the request as its signer did.
//! 3. [`signing`] makes the string to sign, the key and the signature.
//!
//! Whose secret it is, and which scope, age and payload are good enough, `provider::sigv4` decides.
//!
//! Source: "Create a signed AWS API request" in the AWS IAM User Guide, and "Authenticating Requests (AWS Signature Version 4)" in the
//! Amazon S3 API Reference. Where they leave a choice, the signers that people use (botocore, aws-c-auth, smithy) decide.
//!
//! SigV4A (`AWS4-ECDSA-P256-SHA256`) and payloads signed in chunks (`STREAMING-…`) are refused with codes of their own.

pub mod canonical;
pub mod date;
mod request;
pub mod signing;

pub(crate) use self::request::is_amz;
pub use self::request::{Payload, SignedRequest};

/// The one algorithm: HMAC with SHA-256.
pub const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// The last part of every credential scope.
pub const TERMINATOR: &str = "aws4_request";

/// Stands for the payload's hash where the payload is not signed.
pub const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

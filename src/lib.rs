//! Every decision of Portcullis, with no host.
//!
//! Bytes become a configuration as written, a configuration compiles to a [`policy::Policy`], a
//! request head and a policy give a step, and a step is done or names what it waits for. There is
//! no clock, no randomness, no IO and no global in here: time comes in as an argument,
//! signatures are verified behind a trait, and whatever has to be fetched is handed out by value
//! as a callout.
//!
//! # One decision, from text to headers
//!
//! ```
//! use std::rc::Rc;
//!
//! # use ed25519_dalek::{Signer as _, SigningKey};
//! use portcullis_core::decision::{Decision, Step};
//! # use portcullis_core::jose::base64url;
//! use portcullis_core::jose::RustVerifier;
//! use portcullis_core::request::RequestHead;
//! use portcullis_core::time::UnixTime;
//! use portcullis_core::{Authenticator, Stores, config};
//!
//! # let key = SigningKey::from_bytes(&[7; 32]);
//! # let x = base64url::encode(key.verifying_key().as_bytes());
//! # let sign = |claims: &str| {
//! #     let header = base64url::encode(br#"{"alg":"EdDSA","kid":"k1"}"#);
//! #     let signed = format!("{header}.{}", base64url::encode(claims.as_bytes()));
//! #     format!("Bearer {signed}.{}", base64url::encode(&key.sign(signed.as_bytes()).to_bytes()))
//! # };
//! // `x` is the issuer's public key, `sign` what the issuer does with its private one.
//! let text = format!(
//!     r#"{{
//!     "auth": {{"providers": [{{"type": "oidc", "settings": {{
//!         "issuer": "https://issuer.example", "audience": "api://agents", "allowed_subjects": "agent-*",
//!         "jwks": {{"keys": [{{"kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": "{x}"}}]}}
//!     }}}}]}},
//!     "agent": {{"path": "/rest/{{agent}}"}}
//! }}"#
//! );
//! let (policy, _warnings) = config::load(text.as_bytes(), &|_variable| None)?;
//!
//! // There is no clock in here: the time is whatever the caller says.
//! let now = UnixTime::from_secs(1_800_000_000);
//! let mut auth = Authenticator::new(policy, Stores::new(1), Rc::new(RustVerifier), now);
//! let mut decide = |authorization: &str, now| {
//!     let headers = [(&b"authorization"[..], authorization.as_bytes())];
//!     let head = RequestHead {
//!         method: b"POST",
//!         path: b"/rest/orders",
//!         authority: b"agents.example",
//!         headers: &headers,
//!         remote_addr: None,
//!     };
//!     match auth.begin(&head, now) {
//!         Step::Done(decision) => decision,
//!         _ => panic!("with inline keys nothing has to be fetched"),
//!     }
//! };
//!
//! let token = sign(r#"{"iss":"https://issuer.example","aud":"api://agents","sub":"agent-planner","exp":1800000300}"#);
//! let Decision::Allow(allow) = decide(&token, now) else { panic!() };
//! assert!(allow.set.contains(&("x-auth-user-id".into(), "agent-planner".into())));
//! assert!(allow.remove.iter().any(|name| **name == *b"authorization"));
//!
//! let later = UnixTime::from_secs(1_800_001_000);
//! let Decision::Deny(denial) = decide(&token, later) else { panic!() };
//! assert_eq!((denial.status, denial.code.as_str()), (401, "expired"));
//!
//! let stranger = sign(r#"{"iss":"https://issuer.example","aud":"api://agents","sub":"mallory","exp":1800000300}"#);
//! let Decision::Deny(denial) = decide(&stranger, now) else { panic!() };
//! assert_eq!(denial.code.as_str(), "subject_not_allowed");
//! # Ok::<(), portcullis_core::config::ConfigErrors>(())
//! ```

pub mod agent;
pub mod answer;
pub mod apikey;
pub mod audit;
pub mod authenticator;
pub mod body;
mod callers;
pub mod callout;
pub mod claims;
pub mod config;
pub mod credential;
pub mod decision;
mod generations;
pub mod glob;
pub mod hygiene;
pub mod identity;
pub mod jose;
mod judge;
pub mod keys;
pub mod limits;
pub mod lookup;
pub mod metrics;
pub mod policy;
pub mod provider;
pub mod reason;
pub mod request;
pub mod resource_metadata;
pub mod sigv4;
mod standing;
mod stores;
pub mod time;
pub mod tokens;
pub mod trace;
pub mod url;
mod waiting;

pub use authenticator::{Authenticator, NeedCallout, Stores};
pub use body::NeedBody;

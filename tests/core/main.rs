//! The core as a host sees it: requests in, steps out, with simulated time and issuers.
//! The same tests run natively and in Node.

mod chain;
mod hygiene;
mod keys;
mod oidc;
mod support;

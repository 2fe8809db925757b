//! Every decision of Portcullis, with no host.
//!
//! Bytes become a configuration as written, a configuration compiles to a [`policy::Policy`], a
//! request head and a policy give a step, and a step is done or names what it waits for. There is
//! no clock, no randomness, no IO and no global in here: time comes in as an argument,
//! signatures are verified behind a trait, and whatever has to be fetched is handed out by value
//! as a callout.

pub mod agent;
pub mod answer;
pub mod apikey;
pub mod audit;
pub mod authenticator;
pub mod body;
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
pub mod time;
pub mod tokens;
pub mod trace;
pub mod url;
mod waiting;

pub use authenticator::{Authenticator, NeedCallout, Stores};
pub use body::NeedBody;

//! A proxy that isn't one: it runs a proxy-wasm module on wasmtime and behaves as Envoy or as nginx would, so that tests see
//! what a filter makes of either without starting one.
//!
//! Tests drive a phase and then look at the state; none lists the host calls it expects. The clock is virtual, and the workers share
//! one store, as they would in a process. What a host does to a filter that breaks its rules (a trap that forwards the request, an
//! undecided reply that lets it go on by itself) is done, and noted as an [`Incident`]; a [`Host`] that is dropped with an incident
//! that no test asked for fails the test.
//!
//! ```no_run
//! use portcullis_test_host::{Fate, Host, Module, Profile, Reply, Request, Settings};
//!
//! let mut settings = Settings::new(Profile::Envoy);
//! settings.clusters.insert("issuer".to_owned());
//! let config = br#"{"auth": {"providers": [...]}}"#;
//! let mut host = Host::start(&Module::built(), settings, config).unwrap();
//!
//! // A request to the first worker. What it waits for is answered by hand …
//! let id = host.send(0, Request::get("/rest/orders").token("eyJ…"));
//! let callout = host.callout_to("/.well-known/");
//! host.reply(callout.token, Reply::json(200, r#"{"jwks_uri": "…"}"#));
//! // … or by a peer that knows them all; `advance` lets ticks and timeouts come.
//! host.serve(|callout| Some(Reply::json(200, "{}")));
//! host.advance(std::time::Duration::from_millis(50));
//!
//! assert!(matches!(host.fate(id), Fate::Answered(reply) if reply.status == 401));
//! assert_eq!(host.stream(id).audit().unwrap()["fields"]["code"], "unknown_kid");
//! assert_eq!(host.metrics().value("portcullis.callout.ok"), 2);
//! ```
//!
//! | to do | with |
//! |---|---|
//! | start, with workers, variables, clusters, zones | [`Host::start`], [`Settings`] |
//! | a request, a client that leaves, one that stays | [`Host::send`], [`Host::cancel`], [`Request::staying`] and [`Host::end`] |
//! | callouts | [`Host::callouts`], [`Host::callout_to`], [`Host::reply`], [`Host::serve`], [`Reply`] |
//! | time | [`Host::advance`], [`Host::shift_clock`] |
//! | another configuration | [`Host::reload`] |
//! | faults | [`Host::inject`], [`Fault`], [`Host::heal`] |
//! | to see what became of a request | [`Host::fate`], [`Host::stream`], [`Stream::left`], [`Stream::audit`] |
//! | to see the rest | [`Host::metrics`], [`Host::shared`], [`Host::log`], [`Host::calls`], [`Host::take_incidents`] |
//!
//! What is not played: response phases, gRPC, shared queues, replacing a body, Envoy's own crypto (a foreign function answers `NotFound`
//! there, so signatures are verified in the module). The profiles are `hosts/` in the documentation, line by line in `tests/nginx` and `tests/envoy`.

#![allow(
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code: a test that can't go on ends"
)]

mod abi;
mod callout;
mod faults;
mod guest;
mod host;
mod imports;
mod metrics;
mod module;
mod phases;
mod properties;
mod settings;
mod shared_data;
mod stream;
mod wasi;
mod worker;
mod world;

pub use abi::{Field, Status};
pub use callout::{Callout, Reply};
pub use faults::{Fault, Misdeed};
pub use host::{Host, StartFailure};
pub use metrics::{Metric, Metrics};
pub use module::Module;
pub use settings::{Profile, Settings, nginx_parameter};
pub use shared_data::SharedData;
pub use stream::{Fate, Forwarded, LocalReply, Request, Stream};
pub use world::{Incident, IncidentKind, LogLine};

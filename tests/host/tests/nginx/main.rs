//! The profile `nginx`, line by line of what was seen of it (docs/hosts, "nginx"), with guests written by hand.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

#[path = "../guest/mod.rs"]
mod guest;

mod abi;
mod callouts;
mod opens;
mod requests;

use guest::{Guest, dispatch};
use portcullis_test_host::{Host, IncidentKind, Profile, Reply, Settings, StartFailure};

const CONTINUE: &str = "(i32.const 0)";
const PAUSE: &str = "(i32.const 1)";
const CURRENT: &str = "(local.get 0)";

fn kinds(host: &mut Host) -> Vec<IncidentKind> {
    host.take_incidents()
        .into_iter()
        .map(|incident| incident.kind)
        .collect()
}

fn fails_to_start(guest: &Guest) -> StartFailure {
    let started = Host::start(&guest.module(), Settings::new(Profile::Nginx), b"{}");
    match started {
        Err(failure) => failure,
        Ok(_) => panic!("it starts"),
    }
}

/// A guest that pauses each request for a callout of its own, and does `code` when that ends.
fn waiting(mut guest: Guest, code: &str) -> Guest {
    let dispatch = dispatch(&mut guest, "127.0.0.1:9000");
    guest
        .on("request_headers", dispatch + PAUSE)
        .on("http_call_response", code)
}

fn replied(host: &mut Host, reply: Reply) {
    let token = host.callouts()[0].token;
    host.reply(token, reply);
}

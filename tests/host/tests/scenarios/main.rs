//! `tests/scenarios/*.json` through the built module, as Envoy and as nginx. A trap, or a callout's reply that leaves its request
//! undecided, fails the scenario: the emulator sees to that.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod faults;
mod mint;
mod player;

use std::fmt::Write as _;
use std::path::Path;

use player::Player;
use portcullis_test_host::Profile;
use serde_json::Value;

/// All scenarios with the file they stand in.
pub fn scenarios() -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let mut all = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !name.ends_with(".json") || name == "test-keys.json" {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let list: Vec<Value> =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        all.extend(list.into_iter().map(|scenario| (name.clone(), scenario)));
    }
    assert!(
        all.len() > 10,
        "{} scenarios in {}",
        all.len(),
        folder.display()
    );
    all
}

fn play(profile: Profile) {
    let mut failures = String::new();
    for (file, scenario) in scenarios() {
        let about = scenario["about"].as_str().unwrap();
        if scenario["only"]
            .as_str()
            .is_some_and(|only| only != profile.name())
        {
            continue;
        }
        let mut player = Player::new(profile, &scenario);
        for (n, step) in scenario["steps"].as_array().unwrap().iter().enumerate() {
            let outcome = player.step(step);
            let incidents = player.host.take_incidents();
            if outcome.is_ok() && incidents.is_empty() {
                continue;
            }
            let why = outcome.err().unwrap_or_default();
            writeln!(
                failures,
                "{file}, {about}, step {n}\n{step}\n{why}\n{incidents:?}\n"
            )
            .unwrap();
        }
    }
    assert!(failures.is_empty(), "as {}:\n{failures}", profile.name());
}

#[test]
fn as_envoy() {
    play(Profile::Envoy);
}

#[test]
fn as_nginx() {
    play(Profile::Nginx);
}

//! Every seed, and every input that once failed, through its target: what the fuzzer starts from holds on any machine.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what is wrong by panicking"
)]

use std::path::Path;

use portcullis_fuzz::TARGETS;

#[test]
fn seeds_and_past_failures_hold() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    for (name, run) in TARGETS {
        let folder = seeds.join(name);
        let mut files: Vec<_> = std::fs::read_dir(&folder)
            .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        assert!(files.len() >= 4, "{name} has {} seeds", files.len());
        for file in files {
            run(&std::fs::read(&file).unwrap());
        }
    }
}

/// Inputs that no seed comes near: nothing, everything, and long runs of one octet.
#[test]
fn plain_inputs_hold() {
    for (_, run) in TARGETS {
        run(b"");
        for octet in 0..=u8::MAX {
            run(&[octet]);
            run(&[octet; 300]);
        }
    }
}

/// What `make prove-es256` does for as long as one likes.
#[test]
fn es256_by_tables_says_what_the_crate_says() {
    use portcullis_fuzz::es256::{Octets, Tally, edges, tables, walk};
    let (tables, mut octets) = (tables(), Octets(1));
    let (mut random, mut edge) = (Tally::default(), Tally::default());
    for _ in 0..4 {
        walk(&tables, &mut octets, 100, &mut random);
        edges(&tables, &mut octets, 300, &mut edge);
    }
    assert_eq!(random.nothing, 0);
    assert!(random.good > 150 && random.bad > 150, "{random:?}");
    // Doublings and infinity on the way are among them.
    assert!(
        edge.good > 150 && edge.bad > 300 && edge.nothing > 0,
        "{edge:?}"
    );
}

/// Any message encoded in any way, with the private keys at hand.
#[test]
fn rsa_says_what_the_crate_says() {
    use portcullis_fuzz::es256::Octets;
    let mut octets = Octets(2);
    let (mut good, mut bad) = (0, 0);
    for _ in 0..400 {
        let mut data = [0; 64];
        octets.fill(&mut data);
        match portcullis_fuzz::rsa::judged(&data) {
            Some(true) => good += 1,
            Some(false) => bad += 1,
            None => {}
        }
    }
    assert!(good > 20 && bad > 200, "{good} good, {bad} bad");
}

//! ES256 by tables beside the `p256` crate, over as many signatures as one has the patience for:
//!
//! ```text
//! prove-es256 COUNT [SEED]
//! ```
//!
//! A twentieth of them are edge cases (`portcullis_fuzz::es256::edge`), the others random, half of those with one bit changed.

#![allow(clippy::print_stdout, reason = "a program")]

use std::time::Instant;

use portcullis_fuzz::es256::{Octets, Tally, edges, tables, walk};

/// Signatures by one key.
const BY_ONE_KEY: u64 = 1900;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let count: u64 = arguments
        .next()
        .ok_or("usage: prove-es256 COUNT [SEED]")?
        .parse()?;
    let seed: u64 = arguments.next().map_or(Ok(1), |seed| seed.parse())?;
    let (tables, mut octets) = (tables(), Octets(seed));
    let (mut random, mut edge) = (Tally::default(), Tally::default());
    let (began, mut said) = (Instant::now(), 0);
    while random.total() + edge.total() < count {
        let left = count - random.total() - edge.total();
        walk(&tables, &mut octets, left.min(BY_ONE_KEY), &mut random);
        edges(
            &tables,
            &mut octets,
            (left / 20).clamp(1, BY_ONE_KEY / 19),
            &mut edge,
        );
        let done = random.total() + edge.total();
        if done * 10 / count > said || done >= count {
            said = done * 10 / count;
            println!("{done} signatures, {} s", began.elapsed().as_secs());
        }
    }
    println!(
        "the same verdict on all that the tables had one for (seed {seed}):\n  random: {} good, {} bad, {} left to p256\n  edge cases: {} good, {} bad, {} left to p256",
        random.good, random.bad, random.nothing, edge.good, edge.bad, edge.nothing
    );
    Ok(())
}

//! `just hostile`: kills, flipped bits and full disks, many times each. It takes minutes, so that `cargo test` leaves it out.
//!
//! `cargo test --release --test hostile -- kills=20 disks=0` chooses the number of trials of a kind, and `seed=7` the instants and
//! the bits. A trial either leaves everything as it would have been, or the damage is told. The exit code is 1 if one did not.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a panic is how a trial fails; the report is what is asked for"
)]

#[path = "../common/mod.rs"]
mod common;

mod bench;
mod disks;
mod flips;
mod kills;

use std::process::ExitCode;

use bench::{Bench, Tally};

/// Kinds of trials, how many are made unless the arguments say otherwise, and how.
const TRIALS: [(&str, u32, fn(&mut Bench, u32) -> Tally); 6] = [
    ("kills", 245, kills::kill_at_random),
    ("signals", 60, kills::stop_by_signals),
    ("flips", 1500, flips::flip_artifacts),
    ("work", 260, flips::flip_before_a_run),
    ("records", 240, flips::flip_records),
    ("disks", 56, disks::fill_disks),
];

fn main() -> ExitCode {
    let wanted: Vec<(String, u64)> = std::env::args().skip(1).map(|word| parse_argument(&word)).collect();
    let find = |name: &str| wanted.iter().find(|(wanted, _)| wanted == name).map(|(_, count)| *count);
    let mut bench = Bench::new(find("seed").unwrap_or(1));
    let mut good = true;
    for (name, usual, make) in TRIALS {
        let count = find(name).map_or(usual, |count| count.try_into().unwrap());
        if count > 0 {
            let tally = make(&mut bench, count);
            println!("{name}: {tally}");
            good &= tally.is_good();
        }
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Reads `kind=count` or `seed=number`.
fn parse_argument(word: &str) -> (String, u64) {
    let known = |name: &str| name == "seed" || TRIALS.iter().any(|(known, ..)| *known == name);
    let found = word.split_once('=').filter(|(name, _)| known(name));
    let found = found.and_then(|(name, count)| Some((name.to_owned(), count.parse().ok()?)));
    found.unwrap_or_else(|| {
        panic!("write a kind of trial and a number, as in `kills=20`, instead of `{word}`")
    })
}

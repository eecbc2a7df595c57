//! Comparison with numbers of other implementations, which are read as data: one test per set and case.
//!
//! Every folder in `$FMFLOW_ORACLE` (default: `../shared/oracle/dev`, relative to the repository) is a set; its `manifest.json`
//! names its kind. Shapes, vocabularies, exponents and parameters come from the files. A set, file or tensor of an unknown kind
//! is a failing test, so that no data is skipped silently.
//!
//! `FMFLOW_DEVICE` (default: `cpu`) names the device that computes. `benches/gpu` runs the same tests on a GPU.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and a skipped set is printed"
)]

mod harness;
mod set_a;
mod set_b;
mod set_b_laws;
mod set_b_losses;
mod set_b_schedule;
mod set_b_steps;
mod set_c;
mod set_d;
mod set_e;
mod set_g;
mod set_h;
mod set_k;
mod set_l;
mod textbook;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use harness::Set;
use libtest_mimic::{Arguments, Trial, run};

fn main() -> ExitCode {
    run_sets(std::env::args())
}

/// Runs the tests that the arguments of a test program name.
pub(crate) fn run_sets(arguments: impl Iterator<Item = String>) -> ExitCode {
    let arguments = Arguments::from_iter(arguments);
    let trials = match folder() {
        Ok(Some(folder)) => trials(&folder),
        Ok(None) => Vec::new(),
        Err(missing) => vec![Trial::test("oracle/folder", move || Err(missing.into()))],
    };
    run(&arguments, trials).exit_code()
}

/// The folder of the sets. If it is missing: `None` with a printed note, or an error in CI and where `FMFLOW_ORACLE` is set.
fn folder() -> Result<Option<PathBuf>, String> {
    let named = std::env::var_os("FMFLOW_ORACLE");
    let insist = named.is_some() || std::env::var_os("CI").is_some();
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/oracle/dev");
    let folder = named.map_or_else(default, PathBuf::from);
    match (folder.is_dir(), insist) {
        (true, _) => Ok(Some(folder)),
        (false, true) => Err(format!("the folder {} does not exist", folder.display())),
        (false, false) => {
            println!("SKIPPED: no oracle sets at {}; every number is unproven", folder.display());
            Ok(None)
        }
    }
}

/// Collects the cases of a set, depending on its kind.
fn collect(set: &mut Set) {
    match set.kind().as_str() {
        "A_qwen3" => set_a::collect(set),
        "B_dfm" => set_b::collect(set),
        "C_mdm_loss" => set_c::collect(set),
        "D_train" => set_d::collect(set),
        "E_tokenizer" => set_e::collect(set),
        "G_filters" => set_g::collect(set),
        "H_idlm" => set_h::collect(set),
        "K_decode" => set_k::collect(set),
        "L_lora" => set_l::collect(set),
        _ => set.unknown("set"),
    }
}

/// The tests of all sets in `folder`.
fn trials(folder: &Path) -> Vec<Trial> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    found.sort();
    let mut trials = Vec::new();
    for path in found.iter().filter(|path| path.extension().is_none_or(|e| e != "md")) {
        let mut set = Set::open(path);
        // A set that cannot be listed becomes one failing test; the other sets still run.
        if catch_unwind(AssertUnwindSafe(|| collect(&mut set))).is_err() {
            set.unknown("set");
        }
        trials.extend(set.finish());
    }
    if trials.is_empty() {
        let empty = format!("no sets in {}", folder.display());
        trials.push(Trial::test("oracle/folder", move || Err(empty.into())));
    }
    trials
}

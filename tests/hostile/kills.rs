//! A run that is killed or stopped at random instants, and then finished.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::bench::{Bench, Tally, has_bug, read_tree, remove_store};
use crate::common::Ran;

/// The store of a trial.
const STORE: &str = "killed";

/// Signals that stop a run with a checkpoint, with their numbers under Linux.
const SIGNALS: [(&str, i32); 7] =
    [("INT", 2), ("TERM", 15), ("HUP", 1), ("QUIT", 3), ("USR1", 10), ("USR2", 12), ("XCPU", 24)];

/// Kills runs one, two or five times in a row, with one to four stages at a time.
pub(crate) fn kill_at_random(bench: &mut Bench, count: u32) -> Tally {
    let usual = measure_run(bench);
    let mut tally = Tally::default();
    for _ in 0..count {
        remove_store(&bench.project.path().join(STORE));
        let jobs = bench.pick(&["1", "1", "2", "3", "4"]).to_owned();
        let kills = *bench.pick(&[1, 1, 2, 5]);
        let mut landed = 0;
        for kill in 0..kills {
            let command = if kill == 0 { "run" } else { *bench.pick(&["run", "resume"]) };
            let mut child = start(bench, command, jobs);
            let share = if kills == 1 { 105 } else { 60 };
            landed += u32::from(signal_after(bench, &mut child, "KILL", usual * share / 100));
            child.wait().unwrap();
        }
        let command = *bench.pick(&["run", "resume"]);
        finish(bench, &mut tally, command, &format!("after {landed} kills"));
    }
    tally
}

/// Stops runs by a signal. They end with a checkpoint, unless the signal came before anybody listened.
pub(crate) fn stop_by_signals(bench: &mut Bench, count: u32) -> Tally {
    let usual = measure_run(bench);
    let mut tally = Tally::default();
    for _ in 0..count {
        remove_store(&bench.project.path().join(STORE));
        let ((signal, number), jobs) = (*bench.pick(&SIGNALS), *bench.pick(&["1", "2"]));
        let mut child = start(bench, "run", jobs);
        let sent = signal_after(bench, &mut child, signal, usual);
        let status = child.wait().unwrap();
        let end = status.code().map_or("killed early".to_owned(), |code| format!("exit {code}"));
        let end = format!("{signal}, {end}");
        match is_fit_end(status, number, sent) {
            true => finish(bench, &mut tally, "resume", &end),
            false => tally.add(&end, false, || format!("sent: {sent}, status {status}")),
        }
    }
    tally
}

/// Whether a run may end like this: done, if no signal came or it came too late; stopped with a checkpoint; or by the signal itself,
/// before anybody listened.
fn is_fit_end(status: ExitStatus, signal: i32, sent: bool) -> bool {
    match (status.code(), status.signal()) {
        (Some(0), _) => true,
        (Some(75), _) => sent,
        (_, Some(number)) => sent && number == signal,
        _ => false,
    }
}

fn measure_run(bench: &Bench) -> Duration {
    remove_store(&bench.project.path().join(STORE));
    let start = Instant::now();
    bench.run(&["run", "tiny.kdl"], STORE).ok();
    start.elapsed()
}

fn start(bench: &Bench, command: &str, jobs: &str) -> Child {
    let mut command = bench.project.command(&[command, "tiny.kdl", "--store", STORE, "--jobs", jobs]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Sends a signal at a random instant within `longest`; whether the process was still there.
fn signal_after(bench: &mut Bench, child: &mut Child, signal: &str, longest: Duration) -> bool {
    let micros = bench.below(u64::try_from(longest.as_micros()).unwrap() + 1);
    std::thread::sleep(Duration::from_micros(micros));
    let running = child.try_wait().unwrap().is_none();
    if running {
        let id = child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &id]).status().unwrap().success());
    }
    running
}

/// Finishes the run and compares everything that it made with the undisturbed result.
fn finish(bench: &Bench, tally: &mut Tally, command: &str, end: &str) {
    let ran: Ran = bench.run(&[command, "tiny.kdl"], STORE);
    let store = bench.project.path().join(STORE);
    let left = ["tmp", "trash", "work"]
        .iter()
        .any(|name| std::fs::read_dir(store.join(name)).is_ok_and(|mut entries| entries.next().is_some()));
    let good = ran.code == 0 && !has_bug(&ran) && read_tree(&store) == bench.whole && !left;
    tally.add(end, good, || format!("exit {}, leftovers {left}: {}", ran.code, ran.stderr));
}

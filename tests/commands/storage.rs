//! What a run needs of the machine: space, as estimated; limits of the process; a store that can be written; signals.

#![cfg(feature = "cpu")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::Value;
use walkdir::WalkDir;

use crate::common::{Project, Ran, send_signal};
use crate::run::wait_for_checkpoint;

/// The stages of a plan, by name.
fn plan(project: &Project) -> Vec<Value> {
    let plan = project.fmflow(&["plan", "tiny.kdl", "--json"]).ok().stdout;
    serde_json::from_str::<Value>(&plan).unwrap()["stages"].as_array().unwrap().clone()
}

fn count_bytes(folder: &Path) -> u64 {
    let files = WalkDir::new(folder).into_iter().map(|entry| entry.unwrap().metadata().unwrap());
    files.filter(fs::Metadata::is_file).map(|about| about.len()).sum()
}

/// Whether an estimate is right within one percent.
#[track_caller]
fn check_estimate(estimate: &Value, file: &Path) {
    let (estimate, size) = (estimate.as_u64().unwrap(), fs::metadata(file).unwrap().len());
    assert!(estimate.abs_diff(size) * 100 <= size, "estimated {estimate}, but {} has {size}", file.display());
}

#[test]
fn the_disk_estimate_is_right_for_weights_and_never_too_small() {
    let project = Project::tiny();
    project.edit("tiny.kdl", "time-conditioning \"none\"", "time-conditioning \"adaln\" rank=4");
    let stages = plan(&project);
    assert!(stages.len() >= 9, "{stages:?}");
    project.fmflow(&["run", "tiny.kdl"]).ok();
    for stage in stages {
        let name = stage["name"].as_str().unwrap();
        let folder = project.artifact(name);
        let weights = folder.join("model.safetensors");
        if weights.exists() {
            check_estimate(&stage["weights-bytes"], &weights);
        }
        let (most, found) = (stage["artifact-bytes"].as_u64().unwrap(), count_bytes(&folder));
        assert!(found <= most, "`{name}` has {found} bytes, and was estimated at {most} at most");
    }
}

#[test]
fn the_disk_estimate_is_right_for_the_optimizer_and_every_signal_stops_with_a_checkpoint() {
    let project = Project::tiny();
    let stages = plan(&project);
    let sft = stages.iter().find(|stage| stage["name"] == "sft").unwrap();
    project.fmflow(&["run", "tiny.kdl", "--until", "flow"]).ok();
    for signal in ["QUIT", "USR2", "XCPU", "USR1", "TERM"] {
        let store = project.path().join(signal);
        copy_folder(&project.path().join(".fmflow"), &store);
        let mut child = project.spawn(&["run", "tiny.kdl", "--until", "sft", "--store", signal]);
        let work = await_checkpoint(&store, &mut child);
        send_signal(child.id(), signal);
        let ran = Ran::from(child.wait_with_output().unwrap());
        // The stage may have ended just before the signal came.
        if ran.code != 0 {
            ran.exits(75).says("to resume: fmflow resume");
            let newest = list(&work.join("checkpoints")).pop().unwrap();
            check_estimate(&sft["optimizer-bytes"], &newest.join("optimizer.safetensors"));
            let (most, found) = (sft["work-bytes"].as_u64().unwrap(), count_bytes(&work));
            assert!(found <= most, "{found} bytes of work, and {most} were estimated at most");
            return;
        }
    }
}

/// Waits for a checkpoint of a stage that a store has not finished; returns the stage's folder.
fn await_checkpoint(store: &Path, child: &mut Child) -> PathBuf {
    loop {
        let found =
            list(&store.join("work")).into_iter().find(|work| !list(&work.join("checkpoints")).is_empty());
        if let Some(work) = found {
            return work;
        }
        assert!(child.try_wait().unwrap().is_none(), "it ended without a checkpoint");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn list(folder: &Path) -> Vec<PathBuf> {
    let mut all: Vec<_> =
        fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all
}

fn copy_folder(from: &Path, to: &Path) {
    for entry in WalkDir::new(from) {
        let entry = entry.unwrap();
        let target = to.join(entry.path().strip_prefix(from).unwrap());
        match entry.file_type().is_dir() {
            true => fs::create_dir(target).unwrap(),
            false => _ = fs::copy(entry.path(), target).unwrap(),
        }
    }
}

/// Runs with limits that the shell's `ulimit` sets.
fn run_limited(project: &Project, limit: &str, arguments: &[&str]) -> Ran {
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("ulimit {limit} && exec \"$0\" \"$@\"")).arg(env!("CARGO_BIN_EXE_fmflow"));
    Ran::from(command.args(arguments).current_dir(project.path()).output().unwrap())
}

#[test]
fn a_limit_on_the_size_of_files_is_resumable_and_names_the_file() {
    let project = Project::tiny();
    let mut stopped = 0;
    // In blocks of 512 bytes or of 1 KiB, as the shell likes.
    for blocks in ["0", "8", "64", "100"] {
        let ran = run_limited(&project, &format!("-f {blocks}"), &["run", "tiny.kdl", "--until", "tiny"]);
        if ran.code != 0 {
            stopped += 1;
            ran.exits(6).says("error: ").says(".fmflow/").says("ulimit -f").says(" free");
        }
    }
    assert!(stopped >= 2);
    project.fmflow(&["run", "tiny.kdl", "--until", "tiny"]).ok();
}

#[test]
fn too_little_memory_is_named_as_such() {
    let project = Project::tiny();
    for command in [["check", "tiny.kdl"], ["run", "tiny.kdl"]] {
        let ran = run_limited(&project, "-v 60000", &command).exits(2).says("ulimit -v");
        assert!(!ran.stderr.contains("KDL"), "{}", ran.stderr);
    }
    run_limited(&project, "-v 300000", &["check", "tiny.kdl"]).ok();
    let ran = run_limited(&project, "-v 300000", &["run", "tiny.kdl"]).exits(2);
    ran.says("a run needs at least 51").says("help: raise the limit: `ulimit -v ");
    assert!(!project.path().join(".fmflow/runs/1.json").exists(), "before any work");
}

#[test]
fn too_little_stack_is_named_as_such() {
    let project = Project::tiny();
    for command in [&["check", "tiny.kdl"][..], &["--help"]] {
        run_limited(&project, "-s 64", command).exits(2).says("error: this process may use 64 KiB of stack");
        run_limited(&project, "-s 256", command).ok();
    }
}

#[test]
fn rows_that_do_not_fit_into_the_memory_of_the_process_are_refused_with_what_to_lower() {
    let project = Project::tiny();
    project.edit("tiny.kdl", "batch rows=4 per-device=2", "batch rows=8192 per-device=8192");
    let ran = run_limited(&project, "-v 1200000", &["run", "tiny.kdl"]).exits(2);
    ran.says("`ulimit -v`), and stage `")
        .says("needs at least")
        .says("raise the limit")
        .says("or write `per-device=");
    assert!(!project.path().join(".fmflow/runs/1.json").exists(), "before any work");
}

#[test]
fn rows_that_do_not_fit_into_the_memory_of_the_machine_are_refused_with_what_to_lower() {
    let project = Project::tiny();
    // Ten million rows at a time: some terabytes.
    project.edit("tiny.kdl", "batch rows=4 per-device=2", "batch rows=10000000 per-device=10000000");
    let ran = project.fmflow(&["run", "tiny.kdl"]).exits(2);
    ran.says("this machine has ")
        .says("of memory for processes, and stage `")
        .says("help: write `per-device=");
    assert!(!project.path().join(".fmflow/runs/1.json").exists(), "before any work");
}

/// Leaves a running process less memory than it has: the next piece that it asks the system for is refused.
fn leave_no_memory(child: &Child) {
    let pid = Pid::from_child(child);
    let Rlimit { maximum, .. } = getrlimit(Resource::As);
    prlimit(Some(pid), Resource::As, Rlimit { current: Some(1 << 20), maximum }).unwrap();
}

#[test]
fn memory_that_runs_out_is_told_with_the_stage_and_nothing_is_lost() {
    let project = Project::tiny();
    project.edit("tiny.kdl", "steps 40", "steps 4000");
    let mut command = project.command(&["run", "tiny.kdl", "--until", "ar"]);
    // Nothing comes from memory that the process has already.
    command.env("MALLOC_MMAP_THRESHOLD_", "0").stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    wait_for_checkpoint(&project, "ar");
    leave_no_memory(&child);
    let ran = Ran::from(child.wait_with_output().unwrap()).exits(8);
    ran.says("error: out of memory")
        .says(", at work on `ar` (after update ")
        .says("help: `fmflow plan` shows")
        .says("the same command continues from the last checkpoint");
    let plan = project.fmflow(&["plan", "tiny.kdl", "--until", "ar"]).ok();
    assert!(plan.stdout.contains("continues after update"), "{}", plan.stdout);
}

/// Runs as a user who may read the project and write nothing.
fn run_as_reader(project: &Project, program: &Path, arguments: &[&str]) -> Ran {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(project.path());
    // Nothing is denied to root.
    if fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0) {
        command.uid(65_534).gid(65_534);
    }
    Ran::from(command.output().unwrap())
}

#[test]
fn a_read_only_store_where_all_is_cached_has_nothing_to_do() {
    let project = Project::tiny();
    project.fmflow(&["run", "tiny.kdl", "--until", "tiny", "--store", "s"]).ok();
    let program = project.path().join("program");
    fs::copy(env!("CARGO_BIN_EXE_fmflow"), &program).unwrap();
    set_modes(project.path(), 0o555, 0o444);
    fs::set_permissions(&program, fs::Permissions::from_mode(0o555)).unwrap();
    let run = |until: &str| {
        run_as_reader(&project, &program, &["run", "tiny.kdl", "--until", until, "--store", "s"])
    };
    let (cached, missing) = (run("tiny"), run("ar"));
    let elsewhere = run_as_reader(&project, &program, &["run", "tiny.kdl", "--store", "new"]);
    set_modes(project.path(), 0o755, 0o644);
    cached.ok().says("nothing to do");
    missing
        .exits(2)
        .says("2 of 4 stages have to run, but cannot open ")
        .says("s/lock: Permission denied")
        .says("help: make the store writable");
    elsewhere.exits(2).says("help: make the store writable");
}

fn set_modes(folder: &Path, folders: u32, files: u32) {
    for entry in WalkDir::new(folder).contents_first(true) {
        let entry = entry.unwrap();
        let mode = if entry.file_type().is_dir() { folders } else { files };
        fs::set_permissions(entry.path(), fs::Permissions::from_mode(mode)).unwrap();
    }
}

#[test]
fn a_full_disk_names_the_file_what_is_needed_and_what_is_free() {
    let project = Project::tiny();
    let disk = project.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let mount = |size: &str| {
        let mut command = Command::new("mount");
        command
            .args(["-t", "tmpfs", "-o", size, "tmpfs"])
            .arg(&disk)
            .output()
            .is_ok_and(|ran| ran.status.success())
    };
    if !mount("size=8m,nr_inodes=26") {
        println!("SKIPPED: a full disk needs the right to mount");
        return;
    }
    let run = || project.fmflow(&["run", "tiny.kdl", "--until", "tiny", "--store", "disk/s"]);
    let (full, room) =
        (run(), Command::new("mount").args(["-o", "remount,nr_inodes=9000"]).arg(&disk).output().unwrap());
    let again = run();
    assert!(Command::new("umount").arg("-l").arg(&disk).status().unwrap().success());
    full.exits(6).says("error: ").says("/disk/s/").says(" needs about ").says(" is free").says("(`df -i`)");
    assert!(room.status.success());
    again.ok();
}

/// Where a command is started does not decide which results it finds.
#[test]
fn the_store_is_the_nearest_from_the_file_upwards() {
    let text = "pipeline \"p\"\ncommand \"a\" run=\"echo a > o\" { output \"o\"; }\n";
    let project = Project::of(text);
    project.write("inner/p.kdl", text);
    project.write("elsewhere/x", "");
    let run = |folder: &str, rest: &[&str]| {
        let mut command = project.command(rest);
        Ran::from(command.current_dir(project.path().join(folder)).output().unwrap())
    };
    let allowed = "--allow-commands";
    // Beside the file, if there is none.
    run("elsewhere", &["run", "../inner/p.kdl", allowed])
        .ok()
        .says("note: the store is ")
        .says("inner/.fmflow");
    run("inner", &["run", "p.kdl"]).ok().says("nothing to do");
    run("", &["status", "inner/p.kdl"]).ok().says("nothing to do");
    run("inner", &["log"]).ok().says("p.kdl");
    // The nearest.
    fs::rename(project.path().join("inner/.fmflow"), project.path().join(".fmflow")).unwrap();
    let ran = run("elsewhere", &["run", "../inner/p.kdl"]).ok().says("nothing to do");
    assert!(!ran.stderr.contains("is not used"), "{}", ran.stderr);
    run("inner", &["log"]).ok().says("p.kdl");
    // What a store one folder away has is told.
    fs::create_dir(project.path().join("inner/.fmflow")).unwrap();
    run("inner", &["plan", "p.kdl"]).ok().says("note: 1 stage that would run is finished in the store");
    // Also from above it, and from beside it.
    fs::rename(project.path().join(".fmflow"), project.path().join("elsewhere/.fmflow")).unwrap();
    project.write("new/p.kdl", text);
    for folder in ["", "new"] {
        let told = run(folder, &["plan", "p.kdl", "--store", "empty"]).ok();
        told.says("note: 1 stage that would run is finished in the store").says("elsewhere/.fmflow");
    }
    fs::rename(project.path().join("elsewhere/.fmflow"), project.path().join(".fmflow")).unwrap();
    // So is one in the current folder that is not on the way.
    fs::create_dir(project.path().join("elsewhere/.fmflow")).unwrap();
    run("elsewhere", &["plan", "../inner/p.kdl"]).ok().says("the current folder's store is not used");
    assert!(!run("inner", &["plan", "p.kdl"]).ok().stderr.contains("note: the store is"));
}

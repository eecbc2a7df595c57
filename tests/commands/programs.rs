//! `command` stages: programs of users as nodes of the graph.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{Project, Ran, send_signal};

const RUN: &[&str] = &["run", "p.kdl", "--allow-commands"];

/// A pipeline of these declarations.
fn pipeline(text: &str) -> Project {
    Project::of(&format!("pipeline \"p\" seed=7\n{text}\n"))
}

fn artifact(project: &Project, stage: &str) -> PathBuf {
    PathBuf::from(project.fmflow(&["show", "p.kdl", stage, "--path"]).ok().stdout.trim_end())
}

/// What is left in the store's folders for work in progress.
fn leftovers(project: &Project) -> Vec<PathBuf> {
    let folders = ["tmp", "programs", "trash"].map(|folder| project.path().join(".fmflow").join(folder));
    let entries = folders.iter().filter_map(|folder| fs::read_dir(folder).ok());
    entries.flatten().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_program_gets_what_is_declared_and_nothing_else() {
    let project = pipeline(
        r#"command "all" run="sh code/main.sh" seeded=#true {
    program "code/*.sh"
    input "raw" files="data/**/*.txt"
    input "one" files="text/a.txt"
    environment "MODE" value="a b"
    environment "TAKEN"
    output "out.txt"
    output "many/*"
}
command "next" run="cat inputs/before/out.txt inputs/before/x.bin > again.txt" { input "before" from="all"; output "again.txt"; }
"#,
    );
    project.write("code/main.sh", "seen=$(find . -mindepth 1 | sort); echo \"$seen\" > out.txt; cat inputs/*/*.txt >> out.txt\necho $MODE-$TAKEN-$FMFLOW_SEED-$SECRET >> out.txt; mkdir many; echo x > many/x.bin; echo y > many/y; echo printed; echo told >&2");
    project.write("code/other.sh", "");
    project.write("data/a/1.txt", "one\n");
    project.write("data/b/1.txt", "two\n");
    let run = |arguments: &[&str]| {
        let mut command = project.command(arguments);
        Ran::from(command.env("TAKEN", "taken").env("SECRET", "hidden").output().unwrap())
    };
    run(RUN).ok();
    let folder = artifact(&project, "all");
    let out = fs::read_to_string(folder.join("out.txt")).unwrap();
    let seen = "./code\n./code/main.sh\n./code/other.sh\n./inputs\n./inputs/one\n./inputs/one/a.txt\n./inputs/raw\n\
                ./inputs/raw/a\n./inputs/raw/a/1.txt\n./inputs/raw/b\n./inputs/raw/b/1.txt\nhelloa b-taken-7-\n";
    assert_eq!(out, seen);
    assert_eq!(fs::read_to_string(folder.join("output.log")).unwrap(), "printed\ntold\n");
    assert_eq!(fs::read_to_string(folder.join("y")).unwrap(), "y\n");
    assert_eq!(
        fs::read_to_string(artifact(&project, "next").join("again.txt")).unwrap(),
        format!("{out}x\n")
    );
    assert_eq!(leftovers(&project), Vec::<PathBuf>::new());
    // Everything that looks at stages knows this kind.
    run(RUN).ok().says("nothing to do");
    run(&["verify", folder.to_str().unwrap()]).ok();
    run(&["status", "p.kdl"]).ok().says("all");
    run(&["show", "p.kdl", "all"]).ok().says("out.txt");
    run(&["graph", "p.kdl"]).ok().says("next");
    run(&["gc"]).ok();
    run(&["plan", "p.kdl"]).ok().says("nothing to do");
    run(&["report", "p.kdl"]).ok();
}

#[test]
fn a_result_depends_on_what_is_declared() {
    let project = pipeline(
        r#"command "a" run="cat inputs/raw/* p.sh > o" { program "p.sh"; input "raw" files="text/*.txt"; environment "V" value="1"; output "o"; }"#,
    );
    project.write("p.sh", "true");
    let state = |arguments: &[&str]| {
        let plan = project.fmflow(&[&["plan", "p.kdl", "--json"], arguments].concat()).ok();
        let plan: serde_json::Value = serde_json::from_str(&plan.stdout).unwrap();
        plan["stages"][0]["fingerprint"].as_str().unwrap().to_owned()
    };
    project.fmflow(RUN).ok();
    let first = state(&[]);
    assert_eq!(state(&["--set", "command.a.timeout=1h"]), first);
    assert_eq!(state(&["--set", "pipeline.seed=9"]), first, "it is not seeded");
    for setting in ["command.a.run=true", "command.a.seeded=#true", "command.a.environment.V.value=\"2\""] {
        assert_ne!(state(&["--set", setting]), first, "{setting}");
    }
    project.write("p.sh", "false");
    assert_ne!(state(&[]), first);
    project.fmflow(&["why", "p.kdl", "a"]).ok().says("program");
    project.write("p.sh", "true");
    assert_eq!(state(&[]), first);
    fs::rename(project.path().join("text/a.txt"), project.path().join("text/b.txt")).unwrap();
    assert_ne!(state(&[]), first, "it sees the name");
    fs::rename(project.path().join("text/b.txt"), project.path().join("text/a.txt")).unwrap();
    fs::rename(project.path().join("text"), project.path().join("texts")).unwrap();
    project.edit("p.kdl", "text/*", "texts/*");
    assert_eq!(state(&[]), first, "it does not see this name");
    project.fmflow(&["run", "p.kdl"]).ok().says("nothing to do");
}

#[test]
fn a_failure_leaves_nothing_but_its_log() {
    let cases = [
        ("echo one; echo two >&2; exit 3", "out", 1, "exit code 3\n    one\n    two"),
        ("true", "out", 1, "made no `out`"),
        ("mkdir out", "out", 1, "is no regular file"),
        ("ln -s /etc/passwd out", "out", 1, "is no regular file"),
        ("mkfifo out", "*", 1, "is no regular file"),
        ("touch manifest.json", "*.json", 1, "cannot be the name"),
        ("touch 'a b'", "a*", 1, "cannot be the name"),
        ("mkdir x y; touch x/a y/a", "*/a", 1, "two outputs are called `a`"),
        ("touch output.log", "output.log", 1, "the name of the log"),
        ("kill -9 0", "out", 1, "ended by signal 9"),
        ("kill -9 $PPID", "out", 1, "ended by signal 9"),
    ];
    for (command, output, code, told) in cases {
        let project = pipeline(&format!("command \"a\" run=\"{command}\" {{ output \"{output}\"; }}"));
        project.fmflow(RUN).exits(code).says(told);
        assert_eq!(leftovers(&project), Vec::<PathBuf>::new(), "{command}");
        project.fmflow(&["show", "p.kdl", "a", "--path"]).exits(1);
        // It can be mended and run again.
        project.edit("p.kdl", &format!("run=\"{command}\""), "run=\"touch good\"");
        project.edit("p.kdl", &format!("output \"{output}\""), "output \"good\"");
        project.fmflow(RUN).ok();
    }
    let project = pipeline("command \"a\" run=\"echo kept; exit 3\" { output \"o\"; }");
    let told = project.fmflow(RUN).exits(1).stderr;
    let log = told.lines().find_map(|line| line.strip_prefix("help: its output is in ")).unwrap();
    assert_eq!(fs::read_to_string(log).unwrap(), "kept\n");
    let slow = pipeline("command \"a\" run=\"sleep 600\" timeout=\"1s\" { output \"o\"; }");
    let start = Instant::now();
    slow.fmflow(RUN).exits(1).says("took too long");
    assert!(start.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_signal_stops_the_program_and_all_that_it_started() {
    let project = pipeline(
        "command \"a\" run=\"echo $$ > \\\"$PIDS\\\"; sleep 613 & sleep 613\" { environment \"PIDS\"; output \"o\"; }",
    );
    let pids = project.path().join("pids");
    let mut run = project.command(RUN);
    let mut run = run.env("PIDS", &pids).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for(&pids);
    send_signal(run.id(), "INT");
    assert_eq!(run.wait().unwrap().code(), Some(75));
    assert_ended(&pids);
    assert_eq!(leftovers(&project), Vec::<PathBuf>::new());
    fs::remove_file(&pids).unwrap();
    // Even if fmflow cannot say good-bye.
    let mut run = project.command(RUN);
    let mut run = run.env("PIDS", &pids).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for(&pids);
    run.kill().unwrap();
    run.wait().unwrap();
    assert_ended(&pids);
    // What it left does not make the store unusable, whatever it is.
    let folder =
        leftovers(&project).into_iter().find(|path| path.parent().unwrap().ends_with("programs")).unwrap();
    std::os::unix::fs::symlink("/", folder.join("link")).unwrap();
    Command::new("mkfifo").arg(folder.join("pipe")).status().unwrap();
    project.fmflow(&["status", "p.kdl"]).ok();
    project.edit("p.kdl", "sleep 613 & sleep 613", "touch o");
    let mut run = project.command(RUN);
    Ran::from(run.env("PIDS", &pids).output().unwrap()).ok();
    assert_eq!(leftovers(&project), Vec::<PathBuf>::new());
}

fn wait_for(file: &std::path::Path) {
    let start = Instant::now();
    while fs::read_to_string(file).map_or(true, |text| !text.ends_with('\n')) {
        assert!(start.elapsed() < Duration::from_secs(60), "the program starts");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Asserts that a process has ended soon.
fn assert_ended(pids: &std::path::Path) {
    let id = fs::read_to_string(pids).unwrap();
    let start = Instant::now();
    while PathBuf::from(format!("/proc/{}", id.trim())).exists() {
        assert!(start.elapsed() < Duration::from_secs(20), "the program ends");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_cannot_be_a_program_is_told_with_its_place() {
    let cases = [
        ("program \"/etc/passwd\"; output \"o\"", "leads out of the folder"),
        ("output \"../o\"", "an output"),
        ("output \"/o\"", "an output"),
        ("output \"a[\"", "an output"),
        ("output \"inputs/x\"", "an output"),
        ("input \"a/b\" files=\"text/*.txt\"; output \"o\"", "an input is a folder"),
        ("input \"a\"; output \"o\"", "files"),
        ("environment \"A=B\" value=\"c\"; output \"o\"", "an environment variable"),
        ("environment \"FMFLOW_SEED\" value=\"c\"; output \"o\"", "FMFLOW_"),
        ("program \"absent.py\"; output \"o\"", "absent.py"),
        ("", "output"),
    ];
    for (inner, told) in cases {
        let project = pipeline(&format!("command \"a\" run=\"true\" {{ {inner} }}"));
        project.fmflow(&["check", "p.kdl"]).exits(2).says(told).says("p.kdl:2");
    }
    let project = pipeline("command \"a\" run=\"true\" { environment \"ABSENT_VARIABLE\"; output \"o\"; }");
    project.fmflow(RUN).exits(8).says("export ABSENT_VARIABLE=");
    let both = pipeline("command \"text\" run=\"true\" { output \"o\"; }\nfetch \"f\" from=\"text\"");
    both.fmflow(&["check", "p.kdl"]).exits(2).says("is a command and a file or folder");
}

#[test]
fn consent_covers_everything_that_decides_what_is_executed() {
    let text =
        r#"command "a" run="sh p.sh > o" { program "p.sh"; environment "MODE" value="1"; output "o" }"#;
    let project = pipeline(text);
    project.write("p.sh", "echo $MODE");
    project.write("q.sh", "echo other");
    let home = tempfile::TempDir::new().unwrap();
    let run = |arguments: &[&str]| {
        Ran::from(project.command(arguments).env("XDG_STATE_HOME", home.path()).output().unwrap())
    };
    let refused = run(&["run", "p.kdl"]).exits(2).says("| sh p.sh > o").says("with MODE=1");
    assert!(refused.stderr.contains("fmflow approve p.kdl"), "{}", refused.stderr);
    run(&["approve", "p.kdl"]).ok().says("1 command approved");
    run(&["check", "p.kdl", "--runnable"]).ok();
    for (from, to) in [
        ("sh p.sh", "sh ./p.sh"),
        ("value=\"1\"", "value=\"2\""),
        ("\"MODE\"", "\"PATH\""),
        ("program \"p.sh\"", "program \"*.sh\""),
    ] {
        project.edit("p.kdl", from, to);
        run(&["run", "p.kdl"]).exits(2).says("not approved");
        project.edit("p.kdl", to, from);
    }
    project.write("p.sh", "echo changed");
    run(&["run", "p.kdl"]).exits(2);
    project.write("p.sh", "echo $MODE");
    // What an input is executes, too, if the command names it.
    project.edit("p.kdl", "sh p.sh > o", "sh ./inputs/raw/q.sh > o");
    project.edit("p.kdl", "output \"o\"", "input \"raw\" files=\"*.sh\"; output \"o\"");
    run(&["approve", "p.kdl"]).ok();
    project.write("q.sh", "echo another");
    run(&["run", "p.kdl"]).exits(2).says("not approved");
    project.write("q.sh", "echo other");
    run(&["check", "p.kdl", "--runnable"]).ok();
    project.edit("p.kdl", "input \"raw\" files=\"*.sh\"; output \"o\"", "output \"o\"");
    project.edit("p.kdl", "sh ./inputs/raw/q.sh > o", "sh p.sh > o");
    // What a command reads and makes is no part of what it executes.
    project.edit("p.kdl", "output \"o\"", "output \"o*\"; input \"data\" files=\"text/*.txt\"");
    run(&["run", "p.kdl"]).ok();
    // A stage that is cached executes nothing.
    run(&["approve", "p.kdl", "--revoke"]).ok();
    run(&["run", "p.kdl"]).ok().says("nothing to do");
    run(&["check", "p.kdl"]).ok().says("not approved");
}

/// Neither the size of a script nor a link hides that it changed.
#[test]
fn consent_covers_large_programs_and_those_elsewhere() {
    let home = tempfile::TempDir::new().unwrap();
    let elsewhere = tempfile::TempDir::new().unwrap();
    let outside = elsewhere.path().join("outside.sh");
    fs::write(&outside, "true").unwrap();
    let large = |letter: &str| format!("true\n#{}\n", letter.repeat(17 << 20));
    let cases = [
        ("sh link.sh".to_owned(), ""),
        (format!("sh {}", outside.display()), ""),
        ("sh link.sh".to_owned(), "program \"link.sh\";"),
        ("sh large.sh".to_owned(), ""),
        ("sh large.sh".to_owned(), "program \"large.sh\";"),
    ];
    for (command, declared) in cases {
        let project = pipeline(&format!("command \"a\" run=\"{command}\" {{ {declared} output \"o\" }}"));
        std::os::unix::fs::symlink(&outside, project.path().join("link.sh")).unwrap();
        project.write("large.sh", &large("a"));
        let run = |arguments: &[&str]| {
            Ran::from(project.command(arguments).env("XDG_STATE_HOME", home.path()).output().unwrap())
        };
        run(&["approve", "p.kdl"]).ok();
        run(&["check", "p.kdl", "--runnable"]).ok();
        fs::write(&outside, "fals").unwrap();
        project.write("large.sh", &large("b"));
        run(&["check", "p.kdl", "--runnable"]).exits(3).says("not approved");
        fs::write(&outside, "true").unwrap();
    }
}

#[test]
fn a_program_that_ignores_its_end_does_not_outlive_a_killed_fmflow() {
    let project = pipeline(
        r#"command "a" run="trap 'echo >> \"$PIDS.asked\"' TERM; echo $$ > \"$PIDS\"; while :; do sleep 0.1; done" { environment "PIDS"; output "o"; }"#,
    );
    let pids = project.path().join("pids");
    let mut run = project.command(RUN);
    let mut run = run.env("PIDS", &pids).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for(&pids);
    send_signal(run.id(), "INT");
    wait_for(&pids.with_extension("asked"));
    run.kill().unwrap();
    run.wait().unwrap();
    assert_ended(&pids);
}

#[cfg(feature = "cpu")]
mod downstream {
    use super::*;

    const TEXT: &str = r#"command "clean" run="for i in 1 2; do tr a-z A-Z < inputs/raw/a.txt > $i.txt; done; echo '{}' > c.json" {
    input "raw" files="text/*.txt"
    output "*.txt"
    output "c.json"
}
dataset "text" from="clean/*.txt" format="text" documents="file"
tokenizer "bpe" kind="byte-level-bpe" vocabulary=300 { dataset "text" }
rows "text" tokenizer="bpe" length=4 packing="concat"
mixture "all" { dataset "text" }
random-init "tiny" tokenizer="bpe" { shape "qwen3" hidden=8 layers=1 heads=1 head-dim=8 feed-forward=8 }
command "model" run="cp inputs/tiny/* . && rm manifest.json summary.json" { input "tiny" from="tiny"; output "*.json"; output "*.safetensors"; }
fetch "copy" from="model"
train "ar" from="copy" {
    data rows="text" mixture="all"
    objective "autoregressive"
    attention "causal"
    steps 2
    batch rows=1
    learning-rate peak=1e-3 final=0 shape="linear"
}
"#;

    #[test]
    fn outputs_serve_as_datasets_and_checkpoints() {
        let project = pipeline(TEXT);
        project.fmflow(RUN).ok();
        let weights = |stage| fs::read(artifact(&project, stage).join("model.safetensors")).unwrap();
        assert_eq!(weights("tiny"), weights("copy"));
        assert_ne!(weights("ar"), weights("copy"));
        project.fmflow(&["data", "show", "p.kdl", "text/text"]).ok().says("HELLO");
        // Another pattern is another dataset, and a pattern without files is told.
        let plan =
            |setting: &str| project.fmflow(&["plan", "p.kdl", "--check", "--set", setting]).exits(3).stdout;
        assert!(plan("dataset.text.from=clean/1.txt").contains("text/text"));
        project.edit("p.kdl", "clean/*.txt", "clean/x*");
        project.fmflow(RUN).exits(8).says("the command made no file `x*`, but `1.txt`, `2.txt`, `c.json`");
        // The input changes: everything after it is made again.
        project.edit("p.kdl", "clean/x*", "clean/*.txt");
        project.write("text/a.txt", "other words here");
        project.fmflow(RUN).ok();
        project.fmflow(&["data", "show", "p.kdl", "text/text"]).ok().says("OTHER");
    }
}

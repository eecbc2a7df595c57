//! Commands that a pipeline asks for: consent, hooks and metrics pipes. None may run unasked, and none may endanger a run.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::common::{Project, Ran};

/// A project whose approvals lie in a folder of its own, outside of the pipeline's folder.
struct Consenting {
    project: Project,
    home: tempfile::TempDir,
}

impl Consenting {
    fn new(project: Project) -> Self {
        Self { project, home: tempfile::TempDir::new().unwrap() }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.project.command(arguments);
        command.env("XDG_STATE_HOME", self.home.path());
        command
    }

    fn fmflow(&self, arguments: &[&str]) -> Ran {
        Ran::from(self.command(arguments).output().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.project.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// The text with the temporary folder replaced.
    fn shown(&self, text: &str) -> String {
        let folder = fs::canonicalize(self.project.path()).unwrap();
        text.replace(self.project.path().to_str().unwrap(), "FOLDER")
            .replace(folder.to_str().unwrap(), "FOLDER")
    }
}

/// A pipeline that trains a tokenizer on one document, and a second stage that fails: its vocabulary cannot be reached.
fn small(watchers: &str) -> Consenting {
    let text = format!(
        "pipeline \"p\" seed=1 {{\n{watchers}\n}}\ndataset \"text\" from=\"text/*.txt\" format=\"text\"\n\
         tokenizer \"bpe\" kind=\"byte-level-bpe\" vocabulary=300 {{ dataset \"text\" }}\n"
    );
    Consenting::new(Project::of(&text))
}

#[test]
fn a_stranger_s_commands_run_only_with_consent() {
    let small = small(
        "    on \"done\" run=\"\"\"\n        touch did\n        \\u{1b}[2Kecho {stage}\n        \"\"\"\n    metrics pipe=\"cat > piped\"",
    );
    let refused = small.fmflow(&["run", "p.kdl"]).exits(2);
    insta::assert_snapshot!("refused", small.shown(&refused.stderr));
    small.fmflow(&["resume", "p.kdl"]).exits(2).says("fmflow approve p.kdl");
    assert!(!small.path("did").exists());
    let checked = small.fmflow(&["check", "p.kdl"]).ok();
    insta::assert_snapshot!("check", small.shown(&checked.stdout));
    small.fmflow(&["check", "p.kdl", "--runnable"]).exits(3).says("not approved");
    let planned = small.fmflow(&["plan", "p.kdl"]).ok();
    insta::assert_snapshot!("plan", small.shown(&planned.stdout));
    let json: serde_json::Value =
        serde_json::from_str(&small.fmflow(&["plan", "p.kdl", "--json"]).ok().stdout).unwrap();
    assert_eq!(
        (&json["commands"][1]["command"], &json["commands"][1]["approved"]),
        (&"cat > piped".into(), &false.into())
    );
    let approved = small.fmflow(&["approve", "p.kdl"]).ok();
    insta::assert_snapshot!("approved", small.shown(&approved.stdout));
    small.fmflow(&["check", "p.kdl", "--runnable"]).ok().says("metrics pipe (p.kdl:6:18), approved");
    small.fmflow(&["run", "p.kdl"]).ok();
    assert!(small.path("did").exists());
    // Nothing to do executes nothing, so it needs no consent.
    small.fmflow(&["approve", "p.kdl", "--revoke"]).ok().says("2 commands taken back");
    small.fmflow(&["run", "p.kdl"]).ok().says("nothing to do");
    small.fmflow(&["run", "p.kdl", "--from", "bpe"]).exits(2);
}

#[test]
fn what_changed_needs_a_new_approval() {
    let small = small("    on \"done\" run=\"sh notify.sh\"");
    small.project.write("notify.sh", "touch first");
    small.fmflow(&["approve", "p.kdl"]).ok();
    small.fmflow(&["check", "p.kdl", "--runnable"]).ok();
    // The script that it names is part of what was approved.
    small.project.write("notify.sh", "touch second");
    small.fmflow(&["run", "p.kdl"]).exits(2).says("sh notify.sh");
    small.project.write("notify.sh", "touch first");
    small.fmflow(&["check", "p.kdl", "--runnable"]).ok();
    // So are its words, and where it is.
    small
        .fmflow(&["run", "p.kdl", "--set", "pipeline.on.0.run=sh notify.sh now"])
        .exits(2)
        .says("| sh notify.sh now");
    small.project.edit("p.kdl", "sh notify.sh", "sh  notify.sh");
    small.fmflow(&["run", "p.kdl"]).exits(2);
    small.project.edit("p.kdl", "sh  notify.sh", "sh notify.sh");
    let text = small.read("p.kdl");
    small.project.write("other/p.kdl", &text.replace("text/*", "../text/*"));
    small.project.write("other/notify.sh", "touch first");
    small.fmflow(&["run", "other/p.kdl"]).exits(2).says("not approved");
    small.fmflow(&["run", "p.kdl"]).ok();
    assert!(small.path("first").exists() && !small.path("second").exists());
}

/// A run goes on for days, and what a hook names can change meanwhile.
#[test]
fn a_script_that_changes_during_a_run_is_not_executed() {
    let small =
        small("    on \"done\" run=\"sh notify.sh >> notified.log\"\n    metrics pipe=\"sh pipe.sh\"");
    let text = "pipeline \"p\" seed=1 {\n    on \"done\" run=\"sh notify.sh >> notified.log\"\n}\n\
                command \"a\" run=\"echo a > o && echo 'echo changed' > $SCRIPT\" { environment \"SCRIPT\"; output \"o\"; }\n\
                command \"b\" run=\"cat inputs/a/o > o; exit 1\" { input \"a\" from=\"a\"; output \"o\"; }\n";
    small.project.write("p.kdl", text);
    small.project.write("notify.sh", "echo $FMFLOW_STAGE");
    small.fmflow(&["approve", "p.kdl"]).ok();
    let run = || {
        Ran::from(small.command(&["run", "p.kdl"]).env("SCRIPT", small.path("notify.sh")).output().unwrap())
    };
    run().exits(1).says("changed since it was approved, so it is not executed; the run goes on");
    assert!(!small.path("notified.log").exists());
    // The file that its output goes to is no script.
    small.project.edit("p.kdl", "; exit 1", "");
    small.fmflow(&["approve", "p.kdl"]).ok();
    run().ok();
    assert_eq!(small.read("notified.log"), "changed\n");
    small.fmflow(&["check", "p.kdl", "--runnable"]).ok();
}

#[test]
fn a_link_in_a_stranger_s_folder_is_not_followed_out_of_it() {
    let small = small("    on \"done\" run=\"sh link.sh\"");
    // Reading this one would wait for a message of the kernel.
    std::os::unix::fs::symlink("/proc/kmsg", small.path("link.sh")).unwrap();
    small.fmflow(&["approve", "p.kdl"]).ok();
    small.fmflow(&["check", "p.kdl", "--runnable"]).ok();
    fs::remove_file(small.path("link.sh")).unwrap();
    small.project.write("link.sh", "touch did");
    small.fmflow(&["run", "p.kdl"]).exits(2);
}

#[test]
fn an_approval_that_was_tampered_with_does_not_count() {
    let small = small("    on \"done\" run=\"touch did\"");
    small.fmflow(&["approve", "p.kdl"]).ok();
    let folder = small.home.path().join("fmflow/approved");
    let entry = fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    fs::write(&entry, "{}").unwrap();
    small.fmflow(&["run", "p.kdl"]).exits(2);
    // A folder of states that is relative would lie in the stranger's project, and is not looked at.
    let mut command = small.command(&["run", "p.kdl"]);
    command.env("XDG_STATE_HOME", ".").env_remove("HOME");
    Ran::from(command.output().unwrap()).exits(2).says("--allow-commands");
    let mut command = small.command(&["approve", "p.kdl"]);
    command.env("XDG_STATE_HOME", ".").env_remove("HOME");
    Ran::from(command.output().unwrap()).exits(2).says("there is no folder for approvals");
    small.fmflow(&["run", "p.kdl", "--allow-commands"]).ok();
    assert!(small.path("did").exists());
}

#[test]
fn a_hook_knows_the_stage_the_event_and_the_place() {
    let hook = "echo {stage} {event} \\\"$FMFLOW_STAGE\\\" \\\"$FMFLOW_EVENT\\\" \\\"$FMFLOW_PIPELINE\\\" \
                $(ls \\\"$FMFLOW_PLACE\\\" | grep -c tokenizer.json) $(basename \\\"$FMFLOW_FILE\\\") >> told; echo seen";
    let small =
        small(&format!("    on \"done\" \"failed\" run=\"{hook}\"\n    on \"diverged\" run=\"touch never\""));
    small.fmflow(&["run", "p.kdl", "--allow-commands"]).ok().says("note:     seen");
    assert_eq!(small.read("told"), "bpe done bpe done p 1 p.kdl\n");
    // A cached stage is no event, and a hook changes no fingerprint.
    small.project.edit("p.kdl", "touch never", "touch another");
    small.fmflow(&["run", "p.kdl"]).ok().says("nothing to do");
    assert_eq!(small.read("told").lines().count(), 1);
    assert!(!small.path("never").exists());
}

#[test]
fn a_hook_never_endangers_the_run() {
    let hooks = [
        ("exit 3", "failed with exit code 3"),
        ("sleep 600", "took too long"),
        ("yes", "took too long"),
        ("trap '' TERM; while :; do :; done", "took too long"),
        ("kill -9 $PPID", "ended by signal 9"),
        ("kill -9 0", "ended by signal 9"),
        ("kill -9 -$(cut -d' ' -f5 /proc/$PPID/stat)", "ended by signal 9"),
        ("setsid sleep 5 & echo left", "did its work"),
        ("no-such-program", "exit code 127"),
    ];
    for (command, told) in hooks {
        let small = small(&format!("    on \"done\" run=\"{command}\" timeout=\"1s\""));
        let start = std::time::Instant::now();
        let ran = small.fmflow(&["run", "p.kdl", "--allow-commands"]).ok().says(told);
        assert!(start.elapsed().as_secs() < 30, "{command}");
        assert_eq!(ran.stderr.matches("`on \"done\"`").count(), 1, "{}", ran.stderr);
        assert!(ran.stderr.len() < 4000, "{command}: {} bytes", ran.stderr.len());
        small.fmflow(&["run", "p.kdl"]).ok().says("nothing to do");
    }
}

#[test]
fn a_failed_stage_keeps_its_exit_code_and_a_profile_has_hooks_too() {
    let small = small("");
    let profile = "profile \"here\" { executor \"local\"; on \"failed\" run=\"echo {stage} {event} >> told; exit 9\" }\n";
    let bad = "command \"bad\" run=\"exit 5\" { output \"o\" }\n";
    small.project.write("p.kdl", &(small.read("p.kdl") + profile + bad));
    small.fmflow(&["run", "p.kdl", "--allow-commands"]).exits(1).says("failed with exit code 9");
    assert_eq!(small.read("told"), "bad failed\n");
}

#[cfg(feature = "cpu")]
mod training {
    use super::*;

    fn tiny(watchers: &str) -> Consenting {
        let tiny = Consenting::new(Project::tiny());
        let text = tiny.read("tiny.kdl");
        let first = text.lines().find(|line| line.starts_with("pipeline ")).unwrap().to_owned();
        assert!(!first.contains('{'), "{first}");
        tiny.project.write("tiny.kdl", &text.replace(&first, &format!("{first} {{\n    {watchers}\n}}")));
        tiny
    }

    #[test]
    fn a_pipe_gets_every_record() {
        let tiny = tiny("metrics pipe=\"cat > piped.$FMFLOW_STAGE\"");
        tiny.fmflow(&["run", "tiny.kdl", "--until", "ar", "--allow-commands"]).ok();
        let folder = tiny.project.artifact("ar");
        let kept = fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
        assert!(kept.lines().count() > 3);
        assert_eq!(tiny.read("piped.ar"), kept);
        // The pipe is no part of the result.
        let plain = Project::tiny();
        plain.fmflow(&["run", "tiny.kdl", "--until", "ar"]).ok();
        let weights = |folder: PathBuf| fs::read(folder.join("model.safetensors")).unwrap();
        assert_eq!(weights(plain.artifact("ar")), weights(folder.clone()));
        assert_eq!(plain.artifact("ar").file_name(), folder.file_name());
    }

    #[test]
    fn a_pipe_that_dies_or_blocks_is_told_once() {
        let pipes = [
            ("exit 3", "metrics pipe: its command"),
            ("exec 0<&-; sleep 600", "metrics pipe: its command"),
            ("sleep 600", "took too long and was killed"),
            ("kill -9 -$(cut -d' ' -f5 /proc/$PPID/stat)", "metrics pipe: its command"),
        ];
        for (pipe, told) in pipes {
            let tiny = tiny(&format!("metrics pipe=\"{pipe}\""));
            let ran = tiny.fmflow(&["run", "tiny.kdl", "--until", "ar", "--allow-commands"]).ok().says(told);
            let notes = ran.stderr.lines().filter(|line| line.contains("its command")).count();
            assert_eq!(notes, 1, "{pipe}:\n{}", ran.stderr);
        }
    }

    #[test]
    fn a_training_that_diverges_is_an_event_of_its_own() {
        let hooks = "on \"diverged\" run=\"echo {event} >> first\"\n    on \"failed\" run=\"echo {event} >> second\"\n    \
                     on \"failed\" \"diverged\" run=\"echo {event} $FMFLOW_MESSAGE >> third\"";
        let tiny = tiny(hooks);
        let fast = "    optimizer \"adamw\" beta1=0.9 beta2=0.95 weight-decay=0.05 clip=1000000 { no-decay \"norm\" }\n    \
                    learning-rate peak=10 warmup=5 shape=\"constant\"\n";
        let end = "    steps 40\n}\n\nconvert";
        tiny.project.edit("tiny.kdl", end, &format!("    steps 40\n{fast}}}\n\nconvert"));
        tiny.fmflow(&["run", "tiny.kdl", "--until", "ar", "--allow-commands"]).exits(7);
        assert_eq!((tiny.read("first").as_str(), tiny.read("second").as_str()), ("diverged\n", "failed\n"));
        assert!(
            tiny.read("third").starts_with("diverged ")
                && tiny.read("third").contains("diverged by update 40")
        );
    }

    /// The example of docs/programs.md, with a stand-in for the library of Weights & Biases.
    #[test]
    fn the_example_for_weights_and_biases_works() {
        let python = Command::new("python3").arg("--version").output();
        assert!(python.is_ok_and(|ran| ran.status.success()), "the example needs python3, as grading does");
        let docs = include_str!("../../docs/programs.md");
        let script = docs.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
        let pipe = docs.rsplit("metrics pipe=\"").next().unwrap().split('"').next().unwrap();
        let tiny = tiny("metrics pipe=\"python3 to_wandb.py\"");
        assert_eq!(pipe, "python3 to_wandb.py");
        tiny.project.write("to_wandb.py", script);
        tiny.project.write(
            "wandb.py",
            "import json\nclass Run:\n    def log(self, record, step):\n        assert 'step' not in record\n        \
             self.file.write(json.dumps([step, record['loss'] if 'loss' in record else None]) + '\\n')\n    \
             def finish(self):\n        self.file.write('finished\\n')\n        self.file.close()\n\
             def init(project, name):\n    run = Run()\n    run.file = open('wandb.' + name, 'w')\n    \
             run.file.write(project + '\\n')\n    return run\n",
        );
        tiny.fmflow(&["run", "tiny.kdl", "--until", "ar", "--allow-commands"]).ok();
        let logged = tiny.read("wandb.ar");
        let kept = fs::read_to_string(tiny.project.artifact("ar").join("metrics.jsonl")).unwrap();
        let record = |line: &str| {
            let record: serde_json::Value = serde_json::from_str(line).unwrap();
            serde_json::json!([record["step"], record["loss"]])
        };
        let logged: Vec<&str> = logged.lines().collect();
        assert_eq!((logged.len(), *logged.last().unwrap()), (kept.lines().count() + 2, "finished"));
        for (line, kept) in logged[1..].iter().zip(kept.lines()) {
            assert_eq!(serde_json::from_str::<serde_json::Value>(line).unwrap(), record(kept));
        }
    }
}

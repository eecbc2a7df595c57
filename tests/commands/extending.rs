//! A training whose `steps` change goes on where the schedule allows it, and ends with the bytes of one that had these `steps` from the
//! start; otherwise it is said what is lost.

#![cfg(feature = "cpu")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::time::Duration;

use crate::common::Project;
use crate::leading::{metrics, permanent, run_with_kills, weights};
use crate::unused_work::interrupt;

const COSINE: &str = "learning-rate peak=2e-3 final=2e-4 warmup=5 shape=\"cosine\"";
const CONSTANT: &str = "learning-rate peak=2e-3 warmup=5 shape=\"constant\"";
const STABLE: &str = "learning-rate peak=2e-3 final=0 warmup=5 decay=10 shape=\"warmup-stable-decay\"";
const CHECKPOINT: &str = "checkpoint every=7 keep=2";

/// The tiny project with another learning rate and `steps` of `ar`.
fn project(rate: &str, steps: u64) -> Project {
    let project = Project::tiny();
    project.edit("tiny.kdl", COSINE, rate);
    set_steps(&project, 40, steps);
    project
}

fn set_steps(project: &Project, from: u64, to: u64) {
    project.edit("tiny.kdl", &format!("steps {from}\n}}\n\nconvert"), &format!("steps {to}\n}}\n\nconvert"));
}

fn run(project: &Project) -> String {
    project.fmflow(&["run", "tiny.kdl", "--until", "ar"]).ok().stderr
}

fn plan(project: &Project) -> String {
    project.fmflow(&["plan", "tiny.kdl", "--until", "ar"]).ok().stdout
}

/// The moments after update 60.
fn moments(project: &Project) -> Vec<u8> {
    let kept = permanent(project).into_iter().find(|path| path.ends_with("00000060"));
    fs::read(kept.unwrap().join("optimizer.safetensors")).unwrap()
}

#[test]
fn a_constant_schedule_goes_on_from_the_end() {
    let long = project(CONSTANT, 60);
    run(&long);
    let short = project(CONSTANT, 40);
    run(&short);
    assert_ne!(weights(&long), weights(&short));
    set_steps(&short, 40, 60);
    let planned = plan(&short);
    assert!(planned.contains("`steps` 40 -> 60"), "{planned}");
    assert!(planned.contains("goes on after update 40 of the training with `steps 40`\n"), "{planned}");
    let said = run(&short);
    assert!(said.contains("continues after update 40") && !said.contains("not used"), "{said}");
    assert_eq!(weights(&short), weights(&long));
    assert_eq!(moments(&short), moments(&long));
    assert_eq!(metrics(&short), metrics(&long), "as if there had been no end in between");
    short.fmflow(&["run", "tiny.kdl", "--until", "ar"]).ok().says("nothing to do");

    let killed = project(CONSTANT, 40);
    run(&killed);
    set_steps(&killed, 40, 60);
    assert!(run_with_kills(&killed, Duration::from_millis(30)) > 0);
    assert_eq!(weights(&killed), weights(&long));
    assert_eq!(metrics(&killed), metrics(&long));
}

#[test]
fn a_schedule_with_a_decay_goes_on_from_before_it() {
    let long = project(STABLE, 60);
    run(&long);
    let short = project(STABLE, 40);
    run(&short);
    set_steps(&short, 40, 60);
    let planned = plan(&short);
    let said = "goes on after update 30 of the training with `steps 40`; 10 updates after it are not used";
    assert!(planned.contains(said), "{planned}");
    let said = run(&short);
    assert!(said.contains("note: `ar`: 10 updates of work are not used, which took "), "{said}");
    assert_eq!(weights(&short), weights(&long));
    assert_eq!(metrics(&short), metrics(&long));
}

#[test]
fn a_training_is_shortened_from_a_checkpoint_that_both_share() {
    let kept = format!("{CHECKPOINT} {{ permanent every=10 }}");
    let short = project(CONSTANT, 20);
    short.edit("tiny.kdl", CHECKPOINT, &kept);
    run(&short);
    let long = project(CONSTANT, 40);
    long.edit("tiny.kdl", CHECKPOINT, &kept);
    run(&long);
    set_steps(&long, 40, 20);
    assert!(
        plan(&long).contains("goes on after update 20 of the training with `steps 40`; 20 updates after it")
    );
    run(&long);
    assert_eq!(weights(&long), weights(&short));

    let unkept = project(CONSTANT, 40);
    run(&unkept);
    set_steps(&unkept, 40, 20);
    let planned = plan(&unkept);
    let said = "starts over from 0: 40 updates of work are not used, because no checkpoint from before update 20 is left";
    assert!(planned.contains(said), "{planned}");
}

/// What a training is to be: its learning rate, the weights of its mixture, its steps.
type Schedule = (&'static str, &'static str, u64);

fn make((rate, weights, steps): Schedule) -> Project {
    let project = project(rate, steps);
    project.edit("tiny.kdl", CHECKPOINT, &format!("{CHECKPOINT} {{ permanent every=5 }}"));
    project.edit("tiny.kdl", "dataset \"text\" weight=1", &format!("dataset \"text\" {weights}"));
    project
}

fn change(project: &Project, from: Schedule, to: Schedule) {
    project.edit("tiny.kdl", from.0, to.0);
    project.edit("tiny.kdl", &format!("dataset \"text\" {}", from.1), &format!("dataset \"text\" {}", to.1));
    set_steps(project, from.2, to.2);
}

/// The same values in every update that was done, whatever they are called: the result is that of a run from the start.
#[test]
fn what_goes_on_ends_as_if_it_had_been_so_from_the_start() {
    const ONE: &str = "weight=1";
    const WITHIN: &str = "{ weight 1 until=20; weight 2 }";
    const LATER: &str = "{ weight 1 until=45; weight 2 }";
    const LATE: &str = "{ weight 1 until=110; weight 2 }";
    const LONG_DECAY: &str =
        "learning-rate peak=2e-3 final=0 warmup=5 decay=25 shape=\"warmup-stable-decay\"";
    let goes_on = |after: u64| format!("goes on after update {after} of the training ");
    let cases: [(Schedule, Schedule, String); 6] = [
        ((CONSTANT, ONE, 40), (STABLE, ONE, 60), goes_on(40)),
        ((CONSTANT, ONE, 40), (LONG_DECAY, ONE, 60), goes_on(35)),
        ((STABLE, ONE, 40), (CONSTANT, ONE, 40), goes_on(30)),
        ((CONSTANT, WITHIN, 40), (CONSTANT, WITHIN, 60), goes_on(40)),
        ((CONSTANT, ONE, 40), (CONSTANT, LATE, 120), goes_on(40)),
        // The last block of rows before a change of weights, which began before the first update, has an order of its own.
        (
            (CONSTANT, ONE, 40),
            (CONSTANT, LATER, 60),
            "40 updates of work, of a finished training, are not used".to_owned(),
        ),
    ];
    for (before, after, said) in cases {
        let short = make(before);
        run(&short);
        change(&short, before, after);
        let planned = plan(&short);
        assert!(planned.contains(&said), "{before:?} -> {after:?}: {planned}");
        run(&short);
        let long = make(after);
        run(&long);
        assert_eq!(weights(&short), weights(&long), "{before:?} -> {after:?}");
    }
}

#[test]
fn an_annealed_attention_goes_on_where_it_was() {
    let with = |steps: u64| {
        let project = project(CONSTANT, 20);
        let attention =
            |kind: &str, steps: u64| format!("attention \"bidirectional\"{kind}\n    steps {steps}");
        project.edit("tiny.kdl", &attention("", 40), &attention(" { anneal until=30 }", steps));
        project.fmflow(&["run", "tiny.kdl", "--until", "sft"]).ok();
        project
    };
    let (short, long) = (with(40), with(60));
    short.edit("tiny.kdl", "until=30 }\n    steps 40", "until=30 }\n    steps 60");
    short.fmflow(&["run", "tiny.kdl", "--until", "sft"]).ok().says("continues after update 40");
    assert_eq!(short.digest_of("sft"), long.digest_of("sft"));
}

#[test]
fn what_cannot_go_on_says_what_is_lost() {
    let cosine = project(COSINE, 40);
    run(&cosine);
    set_steps(&cosine, 40, 60);
    let planned = plan(&cosine);
    let said = "starts over from 0: 40 updates of work are not used, because the learning rate depends on `steps` from update 6 on";
    assert!(planned.contains(said), "{planned}");
    let said = run(&cosine);
    assert!(
        said.contains("note: `ar`: 40 updates of work are not used") && said.contains("ar          starts"),
        "{said}"
    );
}

#[test]
fn more_than_an_hour_of_work_is_not_dropped_unasked() {
    let project = project(COSINE, 4000);
    interrupt(&project, &[]);
    set_steps(&project, 4000, 20);
    let refused = project.fmflow(&["run", "tiny.kdl", "--until", "ar"]).exits(2);
    refused.says("this run does not use ").says("--yes");
    project.fmflow(&["run", "tiny.kdl", "--until", "ar", "--yes"]).ok();
}

#[test]
fn branches_of_an_extended_training_keep_their_start() {
    let project = project(CONSTANT, 20);
    project.edit("tiny.kdl", CHECKPOINT, &format!("{CHECKPOINT} {{ permanent every=10 }}"));
    let text = fs::read_to_string(project.path().join("tiny.kdl")).unwrap();
    let branch = "train \"branch\" from=\"ar\" at=10 use=\"common\" { data rows=\"text\" mixture=\"prose\"; objective \"autoregressive\"; attention \"causal\"; steps 5 }\n";
    project.write("tiny.kdl", &(text + branch));
    project.fmflow(&["run", "tiny.kdl", "--until", "branch"]).ok();
    let before = fs::read(project.artifact("branch").join("model.safetensors")).unwrap();
    set_steps(&project, 20, 30);
    project.fmflow(&["run", "tiny.kdl", "--until", "branch"]).ok().says("continues after update 20");
    assert_eq!(fs::read(project.artifact("branch").join("model.safetensors")).unwrap(), before);
}

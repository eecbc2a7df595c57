//! The moving average of the weights that a training publishes.

#![cfg(feature = "cpu")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use safetensors::SafeTensors;

use crate::common::Project;
use crate::leading::{metrics, permanent, permanent_of, run_with_kills, weights};

const STEPS: &str = "attention \"causal\"\n    steps 40";

type Tensors = BTreeMap<String, Vec<f32>>;

/// The tiny project with a permanent checkpoint after every update, and these nodes in its first training.
fn project(nodes: &str) -> Project {
    let project = Project::tiny();
    project.edit("tiny.kdl", "checkpoint every=7 keep=2", "checkpoint every=7 keep=2 { permanent every=1 }");
    project.edit("tiny.kdl", STEPS, &format!("{nodes}\n    {STEPS}"));
    project
}

fn train(project: &Project) {
    project.fmflow(&["run", "tiny.kdl", "--until", "ar"]).ok();
}

/// The tensors of a file whose names begin with `prefix`, without it.
fn tensors(file: &Path, prefix: &str) -> Tensors {
    let bytes = fs::read(file).unwrap();
    let read = |data: &[u8]| data.as_chunks().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
    let parsed = SafeTensors::deserialize(&bytes).unwrap();
    let own = parsed.iter().filter_map(|(name, tensor)| Some((name.strip_prefix(prefix)?, tensor)));
    own.map(|(name, tensor)| (name.to_owned(), read(tensor.data()))).collect()
}

fn model(folder: &Path) -> Tensors {
    tensors(&folder.join("model.safetensors"), "")
}

/// The largest difference of two values.
fn compare(a: &Tensors, b: &Tensors) -> f32 {
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    let pairs = a.iter().flat_map(|(name, values)| values.iter().zip(&b[name]));
    pairs.map(|(x, y)| (x - y).abs()).fold(0.0, f32::max)
}

#[test]
fn the_published_weights_are_the_average_of_those_that_are_trained() {
    let (plain, averaged) = (project(""), project("ema decay=0.9"));
    let said = "`ar` publishes the moving average of its weights (ema, decay 0.9), not the last ones";
    averaged.fmflow(&["plan", "tiny.kdl"]).ok().says(said);
    train(&plain);
    train(&averaged);
    averaged.fmflow(&["show", "tiny.kdl", "ar"]).ok().says(said);
    let start = model(&plain.artifact("tiny"));
    // In f64, and with the decay of update n as MDLM has it.
    let mut expected: BTreeMap<&String, Vec<f64>> =
        start.iter().map(|(name, values)| (name, values.iter().map(|x| f64::from(*x)).collect())).collect();
    let (folders, own) = (permanent(&plain), permanent(&averaged));
    assert_eq!((folders.len(), own.len()), (40, 40));
    for (n, (folder, own)) in (1_u32..).zip(folders.iter().zip(&own)) {
        let trained = model(folder);
        assert_eq!(
            tensors(&own.join("optimizer.safetensors"), "trained."),
            trained,
            "the average changes no bit of the training"
        );
        let decay = 0.9_f64.min(f64::from(1 + n) / f64::from(10 + n));
        let mut worst = 0.0_f64;
        let published = model(own);
        for (name, average) in &mut expected {
            let pairs = average.iter_mut().zip(&trained[*name]).zip(&published[*name]);
            for ((average, now), published) in pairs {
                *average = decay * *average + (1.0 - decay) * f64::from(*now);
                worst = worst.max((*average - f64::from(*published)).abs());
            }
        }
        // Weights are below 2, where the steps of f32 are 2.4e-7 and roundings of 40 updates fade with the decay.
        assert!(worst < 1e-6, "update {n}: {worst}");
    }
    let (last, mean) = (model(&plain.artifact("ar")), model(&averaged.artifact("ar")));
    assert_eq!(compare(&mean, &model(&own[39])), 0.0, "the result is the last average");
    assert!(compare(&mean, &last) > 1e-3, "which is not the last weights");
    // What is measured is the average, and the losses of the updates are those of the training.
    let of = |project: &Project, key: &str| -> Vec<_> {
        metrics(project)
            .into_iter()
            .filter_map(|mut line| line.get_mut(key).map(|value| value.take()))
            .collect()
    };
    assert_eq!(of(&plain, "loss"), of(&averaged, "loss"));
    assert_ne!(of(&plain, "held_out_loss"), of(&averaged, "held_out_loss"));
}

#[test]
fn a_killed_training_publishes_the_same_average() {
    let nodes = "ema decay=0.95\nguard { spike action=\"rewind\" sigma=2 window=8 limit=1000 back=3 }";
    let slow = || {
        let project = project(nodes);
        // Losses that do not fall have jumps.
        project.edit("tiny.kdl", "peak=2e-3 final=2e-4", "peak=1e-5 final=1e-6");
        project
    };
    let (whole, killed) = (slow(), slow());
    train(&whole);
    assert!(run_with_kills(&killed, Duration::from_millis(100)) > 0);
    assert_eq!(weights(&killed), weights(&whole));
    assert_eq!(metrics(&killed), metrics(&whole));
    assert!(metrics(&whole).iter().any(|line| line["guard"] == "rewind"), "it goes back once at least");
}

#[test]
fn a_branch_goes_on_from_the_weights_that_were_trained() {
    let branched = |ema: &str, carry: &str| {
        let project = project(ema);
        let branch = format!(
            "train \"on\" from=\"ar\" at=20 {carry} use=\"common\" {{\n    data rows=\"text\" mixture=\"prose\"\n    \
             objective \"autoregressive\"\n    attention \"causal\"\n    steps 6\n}}\n"
        );
        project.append("tiny.kdl", &branch);
        project.fmflow(&["run", "tiny.kdl", "--until", "on"]).ok();
        model(&project.artifact("on"))
    };
    let (averaged, plain) = ("ema decay=0.9", "");
    assert_eq!(branched(averaged, "carry=\"optimizer\""), branched(plain, "carry=\"optimizer\""));
    // Without the optimizer it starts from the model that was published.
    assert_ne!(branched(averaged, ""), branched(plain, ""));
    // An average that begins in a branch has the ramp of one that begins, however many updates the optimizer had before.
    let parts = branch_with_own_average();
    let mut expected: Vec<f64> = parts[0].clone();
    for (n, trained) in (1_u32..).zip(&parts[1..7]) {
        let decay = f64::from(1 + n) / f64::from(10 + n);
        expected.iter_mut().zip(trained).for_each(|(a, w)| *a = decay * *a + (1.0 - decay) * w);
    }
    let worst = expected.iter().zip(&parts[7]).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(worst < 1e-6, "{worst}");
}

/// Values of the embedding: where a branch with an average of its own starts, after each of its six updates, and as published.
fn branch_with_own_average() -> Vec<Vec<f64>> {
    let project = project("");
    let branch = "train \"on\" from=\"ar\" at=20 carry=\"optimizer\" use=\"common\" {\n    data rows=\"text\" mixture=\"prose\"\n    \
                  objective \"autoregressive\"\n    attention \"causal\"\n    steps 6\n    ema decay=0.999\n}\n";
    project.append("tiny.kdl", branch);
    project.fmflow(&["run", "tiny.kdl", "--until", "on"]).ok();
    let embedding = |tensors: Tensors| -> Vec<f64> {
        tensors["model.embed_tokens.weight"].iter().map(|x| f64::from(*x)).collect()
    };
    let mut parts = vec![embedding(model(&permanent(&project)[19]))];
    for folder in permanent_of(&project, "on") {
        parts.push(embedding(tensors(&folder.join("optimizer.safetensors"), "trained.")));
    }
    parts.push(embedding(model(&project.artifact("on"))));
    parts
}

#[test]
fn a_longer_training_goes_on_with_the_average() {
    let extended = |steps: &str| {
        let project = project("ema decay=0.9");
        project.edit(
            "tiny.kdl",
            "peak=2e-3 final=2e-4 warmup=5 shape=\"cosine\"",
            "peak=2e-3 warmup=5 shape=\"constant\"",
        );
        project.edit("tiny.kdl", STEPS, &STEPS.replace("40", steps));
        project
    };
    let (short, long) = (extended("30"), extended("50"));
    train(&short);
    short.edit("tiny.kdl", "steps 30", "steps 50");
    let ran = short.fmflow(&["run", "tiny.kdl", "--until", "ar"]).ok();
    ran.says("continues after update 30");
    train(&long);
    assert_eq!(weights(&short), weights(&long));
    // Another decay is another training.
    short.edit("tiny.kdl", "decay=0.9", "decay=0.99");
    short.fmflow(&["plan", "tiny.kdl", "--until", "ar", "--check"]).exits(3).says("ema.decay");
}

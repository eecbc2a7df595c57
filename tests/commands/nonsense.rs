//! Numbers that mean nothing: training that diverges while every number stays finite, and checkpoints whose logits are no
//! numbers or all 0. Nothing of them may pass for a result.

#![cfg(feature = "cpu")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;

use crate::common::Project;
use safetensors::{SafeTensors, tensor::TensorView};

/// The tiny project whose stage `ar` has other settings.
fn with_training(settings: &str) -> Project {
    let project = Project::tiny();
    let end = "    steps 40\n}\n\nconvert";
    project.edit("tiny.kdl", end, &format!("    steps 40\n{settings}\n}}\n\nconvert"));
    project
}

const ADAMW: &str =
    "optimizer \"adamw\" beta1=0.9 beta2=0.95 weight-decay=0.05 clip=1000000 { no-decay \"norm\" }";
const TOO_FAST: &str = "learning-rate peak=10 warmup=5 shape=\"constant\"";

#[test]
fn finite_divergence_is_reported_at_once_and_never_published() {
    let settings =
        format!("{ADAMW}\n{TOO_FAST}\nvalidate every=10 rows=4\nguard {{ diverged growth=1e9 limit=2 }}");
    let project = with_training(&settings);
    let ran = project.fmflow(&["run", "tiny.kdl", "--until", "ar"]).exits(7);
    ran.says("warning: after update 10 held-out cross-entropy on `text` is")
        .says("worse than chance (5.768)")
        .says("training diverged by update 20")
        .says("learning-rate peak=")
        .says("the same settings diverge again; once they are changed, run: ");
    let status = project.fmflow(&["status", "tiny.kdl"]).ok().says("next: change `ar`");
    // Where nothing has to fit, a reason is one line of the table.
    let row = status.stdout.lines().find(|line| line.starts_with("ar ")).unwrap();
    assert!(
        row.contains(" failed: training diverged by update 20: ")
            && row.contains(" worse than chance (5.768) "),
        "{row}"
    );
    let names = fs::read_dir(project.path().join(".fmflow/artifacts")).unwrap();
    assert!(names.into_iter().all(|entry| !entry.unwrap().file_name().to_string_lossy().starts_with("ar-")));
}

#[test]
fn the_end_of_the_stage_is_judged_even_if_it_is_the_first_measurement() {
    let project = with_training(&format!(
        "{ADAMW}\n{TOO_FAST}\nvalidate every=1000 rows=4\nguard {{ diverged growth=1e9 }}"
    ));
    project.fmflow(&["run", "tiny.kdl", "--until", "ar"]).exits(7).says("training diverged by update 40");
}

#[test]
fn weights_that_explode_without_nan_are_stopped() {
    let project = with_training(&format!("{ADAMW}\n{TOO_FAST}"));
    let ran = project.fmflow(&["run", "tiny.kdl", "--until", "ar"]).exits(7);
    ran.says("the norm of the weights is").says("times that at the start of the stage").says("guard {");
}

#[test]
fn divergence_that_is_only_to_be_reported_is_marked() {
    let project = with_training(&format!("{ADAMW}\n{TOO_FAST}\nguard {{ diverged action=\"warn\" }}"));
    let ran = project.fmflow(&["run", "tiny.kdl", "--until", "ar"]).ok();
    ran.says("warning: at update").says("warning: after update 40").says("DIVERGED: held-out loss text");
}

#[test]
fn a_fresh_conversion_above_chance_is_no_divergence() {
    let project = Project::tiny();
    let ran = project.fmflow(&["run", "tiny.kdl", "--until", "sft"]).ok();
    assert!(!ran.stderr.contains("warning: a") && !ran.stderr.contains("DIVERGED"), "{}", ran.stderr);
}

/// The tiny project with a copy of its random checkpoint in `broken/`, in which every weight of the last norm is `value`: 0 makes every
/// logit 0, 3e38 makes them overflow. Constants of config.json that would do the same are refused when it is read.
fn with_broken_norm(value: f32) -> Project {
    let project = Project::tiny();
    project.fmflow(&["run", "tiny.kdl", "--until", "tiny"]).ok();
    fs::create_dir(project.path().join("broken")).unwrap();
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        fs::copy(project.artifact("tiny").join(name), project.path().join("broken").join(name)).unwrap();
    }
    let bytes = fs::read(project.artifact("tiny").join("model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let changed = |(name, view): (&str, TensorView<'_>)| {
        let norm = value.to_le_bytes().repeat(view.data().len() / 4);
        let data = if name == "model.norm.weight" { norm } else { view.data().to_vec() };
        (name.to_owned(), view.dtype(), view.shape().to_vec(), data)
    };
    let all: Vec<_> = tensors.iter().map(changed).collect();
    let views = all.iter().map(|(name, dtype, shape, data)| {
        (name.as_str(), TensorView::new(*dtype, shape.clone(), data).unwrap())
    });
    fs::write(project.path().join("broken/model.safetensors"), safetensors::serialize(views, None).unwrap())
        .unwrap();
    project
}

#[test]
fn logits_that_are_no_numbers_or_all_zero_prove_nothing() {
    for (value, said) in [(0.0, "are all 0 at position 0"), (3e38, "are not finite")] {
        let project = with_broken_norm(value);
        let text = "pipeline \"c\" seed=1\nconvert \"flow\" from=\"./broken\" { mask-token 300; tokenizer \"none\"; }\n";
        project.write("c.kdl", text);
        let ran = project.fmflow(&["run", "c.kdl"]).exits(8);
        ran.says("nothing can be proven about this conversion").says(said).says("its weights");
    }
}

#[test]
fn a_checkpoint_whose_logits_are_no_numbers_has_no_score_and_no_text() {
    let project = with_broken_norm(3e38);
    let text = fs::read_to_string(project.path().join("tiny.kdl")).unwrap();
    let more = "\nfetch \"nan\" from=\"./broken\"\nsampler \"ar\" kind=\"autoregressive\" temperature=0\n\
                evaluate \"nan-score\" { checkpoint \"nan\"; held-out dataset=\"text\" times=4; }\n\
                generate \"nan-text\" from=\"nan\" sampler=\"ar\" { prompt \"The\" new-tokens=4; }\n";
    project.write("tiny.kdl", &format!("{text}{more}"));
    let score = project.fmflow(&["run", "tiny.kdl", "--until", "nan-score"]).exits(8);
    score.says("the held-out loss of checkpoint `nan` on `text` is NaN").says("its weights");
    let text = project.fmflow(&["run", "tiny.kdl", "--until", "nan-text"]).exits(8);
    text.says("logits that are not finite");
}

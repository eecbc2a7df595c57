//! Numbers that mean nothing: training that diverges while every number stays finite, and checkpoints whose logits are no
//! numbers or all 0. Nothing of them may pass for a result.

#![cfg(feature = "cpu")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;

use crate::common::Project;

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
        .says("learning-rate peak=");
    project.fmflow(&["status", "tiny.kdl"]).ok().says("failed");
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

/// The tiny project with a copy of its random checkpoint in `broken/`, in whose config.json a number is changed.
fn with_broken_config(field: &str, value: &str) -> Project {
    let project = Project::tiny();
    project.fmflow(&["run", "tiny.kdl", "--until", "tiny"]).ok();
    fs::create_dir(project.path().join("broken")).unwrap();
    for name in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        let file = project.artifact("tiny").join(name);
        if file.exists() {
            fs::copy(file, project.path().join("broken").join(name)).unwrap();
        }
    }
    let config = project.path().join("broken/config.json");
    let mut json: serde_json::Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    let number: f64 = value.parse().unwrap();
    json[field] = number.into();
    if let Some(rope) = json.get_mut("rope_parameters").filter(|_| field == "rope_theta") {
        rope[field] = number.into();
    }
    fs::write(config, json.to_string()).unwrap();
    project
}

#[test]
fn logits_that_are_no_numbers_or_all_zero_prove_nothing() {
    for (field, value, said) in
        [("rms_norm_eps", "1e300", "are all 0 at position 0"), ("rope_theta", "1e-300", "are not finite")]
    {
        let project = with_broken_config(field, value);
        let text = "pipeline \"c\" seed=1\nconvert \"flow\" from=\"./broken\" { mask-token 300; tokenizer \"none\"; }\n";
        project.write("c.kdl", text);
        let ran = project.fmflow(&["run", "c.kdl"]).exits(8);
        ran.says("nothing can be proven about this conversion").says(said).says(field);
    }
}

#[test]
fn a_checkpoint_whose_logits_are_no_numbers_has_no_score_and_no_text() {
    let project = with_broken_config("rope_theta", "1e-300");
    let text = fs::read_to_string(project.path().join("tiny.kdl")).unwrap();
    let more = "\nfetch \"nan\" from=\"./broken\"\nsampler \"ar\" kind=\"autoregressive\" temperature=0\n\
                evaluate \"nan-score\" { checkpoint \"nan\"; held-out dataset=\"text\" times=4; }\n\
                generate \"nan-text\" from=\"nan\" sampler=\"ar\" { prompt \"The\" new-tokens=4; }\n";
    project.write("tiny.kdl", &format!("{text}{more}"));
    let score = project.fmflow(&["run", "tiny.kdl", "--until", "nan-score"]).exits(8);
    score.says("the held-out loss of checkpoint `nan` on `text` is NaN").says("rope_theta");
    let text = project.fmflow(&["run", "tiny.kdl", "--until", "nan-text"]).exits(8);
    text.says("logits that are not finite");
}

//! Plans beside trainings that somebody is at work on.

use std::fs;

use indexmap::IndexMap;

use super::{Plan, PlanState, SourceDigests};
use crate::check::{CheckOptions, check_text};
use crate::pipeline::Pipeline;
use crate::store::{Facts, StageKey, Store, StoreListing, Summary};

const TEXT: &str = r#"pipeline "test" seed=1
dataset "text" from="text/*.txt" format="text" held-out="2%"
tokenizer "bpe" kind="byte-level-bpe" vocabulary=1024 special="qwen3" { dataset "text" }
rows "rows" tokenizer="bpe" length=128 packing="concat"
random-init "tiny" tokenizer="bpe" {
    shape "qwen3" hidden=96 layers=3 heads=3 kv-heads=1 head-dim=32 feed-forward=288 tied=#true
}
mixture "prose" { dataset "text" weight=1 }
"#;

/// Trainings with these names, rates and steps.
fn trainings(of: &[(&str, &str, u64)]) -> String {
    let one = |(name, rate, steps): &(&str, &str, u64)| {
        format!(
            r#"train "{name}" from="tiny" {{
    data rows="rows" mixture="prose"
    objective "autoregressive"
    attention "causal"
    batch rows=4
    learning-rate peak=0.001 warmup=1 {rate}
    steps {steps}
}}
"#
        )
    };
    of.iter().map(one).collect()
}

const CONSTANT: &str = r#"shape="constant""#;

fn decay(updates: u64) -> String {
    format!(r#"final=0 shape="warmup-stable-decay" decay={updates}"#)
}

struct World {
    folder: tempfile::TempDir,
    store: Store,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("text")).unwrap();
        fs::write(folder.path().join("text/a.txt"), "hello").unwrap();
        let store = Store::create(&folder.path().join("store")).unwrap();
        Self { folder, store }
    }

    fn plan(&self, of: &[(&str, &str, u64)]) -> Plan {
        let text = TEXT.to_owned() + &trainings(of);
        let checked = check_text("test.kdl", &text, self.folder.path(), &CheckOptions::default());
        let pipeline: Pipeline = checked.pipeline.unwrap();
        let digests = SourceDigests::read(&pipeline, None).unwrap();
        Plan::for_pipeline(&pipeline, &digests, &StoreListing::read(&self.store).unwrap())
    }

    /// A training with this rate and these steps has a checkpoint after `step` updates.
    fn begin(&self, rate: &str, steps: u64, step: u64) -> StageKey {
        let key = self.plan(&[("ar", rate, steps)]).stage_named("ar").unwrap().key.clone();
        let lock = self.store.lock_shared().unwrap();
        let slot = self.store.open_slot(&lock, key.clone(), Facts::default()).unwrap();
        let mut checkpoint = slot.checkpoint(step).unwrap();
        checkpoint.write("state.bin", b"x").unwrap();
        let summary = Summary { headline: String::new(), lines: vec![], metrics: IndexMap::new() };
        checkpoint.publish(&summary, &IndexMap::new()).unwrap();
        key
    }
}

/// The state of a training, and whether its reasons tell that it goes on.
fn found(plan: &Plan, name: &str) -> (PlanState, bool) {
    let planned = plan.stage_named(name).unwrap();
    let goes_on = planned.reasons.iter().any(|reason| reason.starts_with("goes on after update"));
    (planned.state.clone(), goes_on)
}

fn resume(step: u64) -> (PlanState, bool) {
    (PlanState::Resume { step, unit: "update" }, true)
}

#[test]
fn another_training_leaves_one_in_work_alone() {
    let world = World::new();
    let running = world.begin(CONSTANT, 40, 20);
    let decay = decay(10);
    let wanted = [("ar", decay.as_str(), 60), ("twin", decay.as_str(), 60)];
    assert_eq!(found(&world.plan(&wanted), "ar"), resume(20));
    let lock = world.store.lock_shared().unwrap();
    let made = world.store.lock_stage(&lock, "ar", &running.fingerprint).unwrap();
    let plan = world.plan(&wanted);
    assert_eq!(found(&plan, "ar"), (PlanState::Run, false));
    assert_eq!(found(&plan, "twin").0, PlanState::Run, "as the stage that makes its result");
    assert_eq!(plan.stage_named("ar").unwrap().extension, None);
    // With other `steps` alone it is the same training.
    assert_eq!(found(&world.plan(&[("ar", CONSTANT, 60)]), "ar"), resume(20));
    drop(made);
    assert_eq!(found(&world.plan(&wanted), "ar"), resume(20));
}

#[test]
fn an_idle_training_is_continued_beside_one_in_work() {
    let world = World::new();
    let running = world.begin(CONSTANT, 40, 20);
    world.begin(CONSTANT, 41, 10);
    let lock = world.store.lock_shared().unwrap();
    let _made = world.store.lock_stage(&lock, "ar", &running.fingerprint).unwrap();
    assert_eq!(found(&world.plan(&[("ar", &decay(10), 60)]), "ar"), resume(10));
}

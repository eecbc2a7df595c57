//! The language as its users meet it: the pipelines of this repository check clean, every code has a case whose report
//! is a snapshot, and hostile texts are refused in peace.

use std::path::Path;

use fmflow_engine::check::{Checked, Options, check};
use fmflow_engine::render::concise;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn shipped(name: &str) -> Checked {
    check(&root().join("pipelines").join(name), &Options::default())
}

#[test]
fn the_quickstart_checks_without_a_word() {
    let checked = shipped("quickstart.kdl");
    assert_eq!(concise(&checked.diagnostics), "");
    let pipeline = checked.pipeline.unwrap();
    let names: Vec<_> = pipeline.stages.iter().map(|stage| stage.name.as_str()).collect();
    insta::assert_debug_snapshot!("quickstart-stages", names);
    insta::assert_debug_snapshot!("quickstart-sft", pipeline.stage("sft").unwrap().config);
}

#[test]
fn the_full_pipeline_checks_with_warnings_only() {
    let checked = shipped("full.kdl");
    insta::assert_snapshot!("full-warnings", concise(&checked.diagnostics));
    assert!(checked.pipeline.is_some());
}

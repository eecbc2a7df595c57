//! What `run` refuses although `check` accepts it. One list for `check`, `plan` and `run`, so that they cannot disagree.

use indexmap::IndexMap;

use crate::pipeline::Pipeline;
use crate::pipeline::stage::Stage;

/// More names than these are summed up as every stage, if they are all.
const MOST_NAMES: usize = 4;

/// Why `run` would refuse these stages of a pipeline, one line for each reason: features that do not exist yet, with the stages
/// that need them, and secrets that are not set. Empty if `run` would start.
#[must_use]
pub(crate) fn list_refusals<'a>(pipeline: &Pipeline, stages: impl Iterator<Item = &'a Stage>) -> Vec<String> {
    let mut reasons: IndexMap<&str, Vec<&str>> = IndexMap::new();
    for stage in stages {
        for reason in &stage.unsupported {
            reasons.entry(reason).or_default().push(&stage.name);
        }
    }
    let all = pipeline.stages.len();
    let name_stages = |names: &[&str]| match names.len() {
        many if many > MOST_NAMES && many == all => "every stage".to_owned(),
        _ => names.join(", "),
    };
    let features = reasons.iter().map(|(reason, names)| format!("{reason} ({})", name_stages(names)));
    let secrets = pipeline.absent_secrets.iter();
    let secrets =
        secrets.map(|name| format!("the environment variable `{name}` is not set: `export {name}=...`"));
    features.chain(secrets).collect()
}

/// The reasons as indented lines.
#[must_use]
pub(crate) fn render_refusals(reasons: &[String]) -> String {
    reasons.iter().map(|reason| format!("  {reason}\n")).collect()
}

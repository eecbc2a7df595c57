//! Lints of a training that starts from a permanent checkpoint of another one.

use crate::check::lint::lineage::Lineages;
use crate::pipeline::config::{StageConfig, TrainConfig};
use crate::pipeline::field_path::train;
use crate::pipeline::stage::Stage;
use crate::text::diagnostic::{Code, Diagnostic, Sink};
use crate::text::display::list_kept_updates;

/// Reports a start from an update that the parent does not keep.
pub(super) fn lint_branch(lineages: &Lineages<'_>, stage: &Stage, config: &TrainConfig, sink: &mut Sink) {
    let (Some(branch), Some(parent)) = (config.branch, lineages.parent(stage)) else { return };
    let at = branch.at;
    let not_kept =
        |message: String| Diagnostic::new(Code::NotKept, message).at(stage.place(train::AT), "from here");
    let StageConfig::Train(source) = &parent.config else {
        let message =
            format!("`{}` is no training, so that it has no checkpoint after update {at}", parent.name);
        sink.push(not_kept(message).help("leave `at=` out, or start from a training stage"));
        return;
    };
    let Some(every) = source.checkpoint.permanent else {
        let message = format!("`{}` keeps no permanent checkpoints", parent.name);
        let help = match at <= source.steps {
            true => format!("write `checkpoint {{ permanent every={at} }}` in `{}`", parent.name),
            false => "leave `at=` out".to_owned(),
        };
        sink.push(not_kept(message).also(&parent.span, "no `permanent` here").help(help));
        return;
    };
    if at.is_multiple_of(every) && at <= source.steps {
        return;
    }
    let message = format!("`{}` keeps no checkpoint after update {at}", parent.name);
    let diagnostic =
        not_kept(message).also(parent.place(train::PERMANENT_EVERY), "updates between those that it keeps");
    sink.push(diagnostic.help(match list_kept_updates(&list_kept(every, source.steps)) {
        Some(kept) => {
            let nearest = (at / every * every).clamp(every, source.steps / every * every);
            format!("write `at={nearest}`; it keeps those after update {kept}")
        }
        None => "it keeps none: leave `at=` out".to_owned(),
    }));
}

/// The first of the updates that are kept, and the last one: enough to list them.
fn list_kept(every: u64, steps: u64) -> Vec<u64> {
    const MOST: u64 = 20;
    let count = steps / every;
    let last = (count > MOST).then_some(count);
    (1..=count.min(MOST)).chain(last).map(|count| count * every).collect()
}

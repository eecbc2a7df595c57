//! A window that has no room for the shards that are shuffled together, as far as the sizes of the files tell.

use crate::pipeline::Pipeline;
use crate::pipeline::config::{FileLayout, RowsConfig, StageConfig};
use crate::pipeline::field_path::rows;
use crate::pipeline::source_facts::plan_shards;
use crate::pipeline::stage::Stage;
use crate::pipeline::window::find_window_share;
use crate::text::diagnostic::{Code, Diagnostic, Sink};
use crate::text::display::{count_noun, format_bytes};

/// Bytes of plain text for a byte of rows at most. A guess that warns rarely: most text takes fewer.
const MOST_TEXT: f64 = 4.0;

/// Warns about a window that training would refuse: it needs room for the shards that are read together and those that come next.
pub(super) fn lint_window(pipeline: &Pipeline, stage: &Stage, sink: &mut Sink) {
    let StageConfig::Rows(config) = &stage.config else { return };
    let Some((share, window)) = find_window_share(pipeline, stage).zip(config.window) else { return };
    if !is_kept_whole(config) {
        return;
    }
    // As the training guesses: a group like the first one, and another one if there are several.
    let Some(source) = stage.main_sources().next() else { return };
    let plan = plan_shards(source, &config.dataset, config.shard_bytes);
    let needed = plan.opening_bytes().saturating_mul(plan.groups().min(2) as u64);
    let trained = needed as f64 * (1.0 - config.dataset.held_out);
    if share as f64 >= trained / MOST_TEXT {
        return;
    }
    let datasets = (window.get() / share.max(1)).max(1);
    let mebibytes = needed.saturating_mul(datasets).div_ceil(1 << 20).max(1);
    let among = match datasets {
        1 => String::new(),
        many => format!(" of each of {}", count_noun(many, "dataset")),
    };
    let message = format!(
        "the window of `{}` has {} for the rows{among}, but the files that it reads together have {}",
        stage.name,
        format_bytes(share),
        format_bytes(needed)
    );
    sink.push(
        Diagnostic::new(Code::WindowTooSmall, message)
            .at(stage.place(rows::WINDOW_DISK), "training would refuse it")
            .also(stage.place(rows::DATASET_FROM), "these files")
            .help(format!("write `disk=\"{mebibytes}MiB\"`")),
    );
}

/// Whether the files are text that becomes rows as a whole, so that their sizes say something. Of a record nobody knows how much is text.
fn is_kept_whole(config: &RowsConfig) -> bool {
    let dataset = &config.dataset;
    dataset.filters.is_empty()
        && dataset.cap.is_none()
        && dataset.contamination.is_empty()
        && !dataset.drops_duplicates
        && matches!(dataset.layout, FileLayout::Text(_))
}

//! A window that has no room for the shards that are shuffled together, as far as the sizes of the files tell.

use crate::pipeline::Pipeline;
use crate::pipeline::config::{DatasetFormat, RowsConfig, StageConfig};
use crate::pipeline::field_path::rows;
use crate::pipeline::stage::Stage;
use crate::pipeline::window::find_window_share;
use crate::text::diagnostic::{Code, Diagnostic, Sink};
use crate::text::display::{count_noun, format_bytes};
use crate::text::file_head::read_file_size;

/// Shards of the declared size that are shuffled together.
const GROUP_SHARDS: u64 = 16;

/// Rows take at least this part of the bytes of their files: two and a half bytes or more for a token of up to ten.
const LEAST_SHARE: u64 = 4;

/// Warns about a window that training would refuse: it needs room for the shards that are read together and those that come next.
pub(super) fn lint_window(pipeline: &Pipeline, stage: &Stage, sink: &mut Sink) {
    let StageConfig::Rows(config) = &stage.config else { return };
    let Some((share, window)) = find_window_share(pipeline, stage).zip(config.window) else { return };
    if !is_kept_whole(config) {
        return;
    }
    let sizes: Vec<u64> = list_file_sizes(stage);
    let total = sizes.iter().fold(0, |sum: u64, size| sum.saturating_add(*size));
    let largest = sizes.iter().copied().max().unwrap_or(0);
    let group = config.shard_bytes.saturating_mul(GROUP_SHARDS).max(largest).min(total);
    let needed = if group < total { group.saturating_mul(2).min(total) } else { group };
    if share >= needed / LEAST_SHARE {
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

/// Whether all documents of the files become rows, so that their sizes say something.
fn is_kept_whole(config: &RowsConfig) -> bool {
    let dataset = &config.dataset;
    dataset.filters.is_empty()
        && dataset.cap.is_none()
        && dataset.contamination.is_empty()
        && !dataset.drops_duplicates
        && !matches!(dataset.format, DatasetFormat::Contents(_))
}

fn list_file_sizes(stage: &Stage) -> Vec<u64> {
    let local = stage.main_sources().flat_map(|source| &source.files);
    let remote = stage.main_sources().filter_map(|source| source.remote.as_ref());
    let remote = remote.flat_map(|remote| &remote.files).map(|file| file.size);
    local.filter_map(|path| read_file_size(path)).chain(remote).collect()
}

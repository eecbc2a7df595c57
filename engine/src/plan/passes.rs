//! What rows read before they are made, and what is not known of them.

use std::fmt::Write as _;

use crate::pipeline::config::{ComparedTexts, DatasetFormat, RowsConfig, StageConfig};
use crate::pipeline::source_facts::{count_bytes, count_held_out_bytes};
use crate::pipeline::stage::Stage;
use crate::text::display::{format_bytes, render_table};
use crate::text::escape::escape_line;

/// A table of the datasets that these stages read before their own, or twice; empty if there are none.
pub(super) fn render_first_passes<'p>(stages: impl Iterator<Item = &'p Stage>) -> String {
    let mut rows = Vec::new();
    for stage in stages {
        let StageConfig::Rows(config) = &stage.config else { continue };
        for (dataset, why, opening) in list_first_passes(config) {
            let source = stage.sources.iter().find(|source| source.name == dataset);
            let count =
                |source| if opening { count_held_out_bytes(config, source) } else { count_bytes(source) };
            let bytes = format_bytes(source.map_or(0, count));
            rows.push(vec![stage.name.clone(), escape_line(dataset).into_owned(), bytes, why.to_owned()]);
        }
    }
    match rows.is_empty() {
        true => String::new(),
        false => format!("\n{}", render_table(&["rows", "read first", "bytes", "to find"], rows)),
    }
}

/// Sentences about rows whose disk is not known before they are made: of contents elsewhere only the records count.
pub(super) fn render_unknown_sizes<'p>(stages: impl Iterator<Item = &'p Stage>) -> String {
    let mut text = String::new();
    for stage in stages {
        let StageConfig::Rows(config) = &stage.config else { continue };
        if let DatasetFormat::Contents(contents) = &config.dataset.format {
            let (name, bucket) = (&stage.name, escape_line(&contents.bucket));
            let _ = writeln!(
                text,
                "\n`{name}`: its disk counts the records alone; nobody knows how large what they name in `s3://{bucket}` is"
            );
        }
    }
    text
}

/// The datasets that rows read before they are made: why, and whether only the first shards.
fn list_first_passes(config: &RowsConfig) -> Vec<(&str, &'static str, bool)> {
    let dataset = &config.dataset;
    let held = dataset.contamination.iter().filter_map(|check| match &check.texts {
        ComparedTexts::HeldOut { dataset, .. } => Some((dataset.as_str(), "held-out documents", true)),
        ComparedTexts::Benchmark { .. } => None,
    });
    let copied = dataset.originals.iter().filter(|_| dataset.drops_duplicates);
    let copied = copied.map(|name| (name.as_str(), "copies", false));
    let own = (dataset.drops_duplicates && config.window.is_some()).then_some((
        dataset.name.as_str(),
        "copies, because the shards of a window are made alone",
        false,
    ));
    held.chain(copied).chain(own).collect()
}

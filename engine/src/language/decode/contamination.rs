//! Decodes the benchmarks that must not be in a dataset.

use super::Decoder;
use crate::language::record::Record;
use crate::pipeline::config::{ContaminationCheck, DatasetConfig};
use crate::pipeline::stage::SourceFiles;

/// The benchmarks that a dataset names. Those of rows also need their files: see [`Decoder::find_benchmarks`].
pub(super) fn decode_contamination(dataset: &Record, name: &str) -> Option<Vec<ContaminationCheck>> {
    let decode = |(number, child): (usize, &Record)| {
        let from = child.text("from")?;
        Some(ContaminationCheck {
            name: child.text("name").unwrap_or(from).to_owned(),
            source: format!("{name} contamination {number}"),
            words: child.size("ngram")?,
            drops: child.text("action")? == "drop",
        })
    };
    dataset.children("contamination").enumerate().map(decode).collect()
}

impl Decoder<'_> {
    /// Finds the files of a dataset's benchmarks; they become sources of the stage.
    pub(super) fn find_benchmarks(&mut self, record: &Record, dataset: &DatasetConfig) -> Option<()> {
        for (child, check) in record.children("contamination").zip(&dataset.contamination) {
            let from = child.leaf("from")?;
            let files = self.files(&format!("benchmark `{}`", check.name), from.text()?, &from.span)?;
            self.sources.push(SourceFiles::local(&check.source, files));
        }
        Some(())
    }
}

//! Decodes what must not be in a dataset: texts of benchmarks, held-out documents, documents of other datasets.

use super::Decoder;
use crate::language::draft::{find_compared_datasets, list_originals};
use crate::language::names::Declarations;
use crate::language::record::{Leaf, Record};
use crate::pipeline::config::{ComparedTexts, ContaminationCheck, DatasetConfig};
use crate::pipeline::stage::SourceFiles;
use crate::text::diagnostic::{Code, Diagnostic};

/// The texts that must not be in a dataset. Rows also need their files: see [`Decoder::find_compared`].
pub(super) fn decode_contamination(dataset: &Record, name: &str) -> Option<Vec<ContaminationCheck>> {
    let decode = |(number, child): (usize, &Record)| {
        let (shown, texts) = match (child.text("from"), child.text("held-out")) {
            (Some(from), _) => (
                from.to_owned(),
                ComparedTexts::Benchmark { source: format!("{name} contamination {number}") },
            ),
            (None, held) => {
                let dataset = held?.to_owned();
                (format!("held-out {dataset}"), ComparedTexts::HeldOut { dataset })
            }
        };
        Some(ContaminationCheck {
            name: child.text("name").unwrap_or(&shown).to_owned(),
            texts,
            words: child.size("ngram")?,
            drops: child.text("action")? == "drop",
        })
    };
    dataset.children("contamination").enumerate().map(decode).collect()
}

/// Names of the other datasets whose documents are dropped.
pub(super) fn decode_originals(dataset: &Record) -> Option<Vec<String>> {
    list_originals(dataset).map(|leaf| leaf.reference().map(str::to_owned)).collect()
}

impl Decoder<'_> {
    /// Finds the files of what a dataset is compared with; they become sources of the stage. Returns the other datasets; those that say
    /// nothing of it hold out `held_out`.
    pub(super) fn find_compared(
        &mut self,
        record: &Record,
        dataset: &DatasetConfig,
        held_out: Option<f64>,
    ) -> Option<Vec<DatasetConfig>> {
        for (child, check) in record.children("contamination").zip(&dataset.contamination) {
            let (Some(from), ComparedTexts::Benchmark { source }) = (child.leaf("from"), &check.texts) else {
                continue;
            };
            let files = self.files(&format!("benchmark `{}`", check.name), from.text()?, &from.span)?;
            self.sources.push(SourceFiles::local(source, files));
        }
        let others = find_compared_datasets(self.world, record);
        let others = others.into_iter().map(|other| {
            let mut other = (!other.broken).then(|| self.dataset(other)).flatten()?;
            if other.held_out == 0.0 {
                other.held_out = held_out.unwrap_or(0.0);
            }
            Some(other)
        });
        let others: Vec<DatasetConfig> = others.collect::<Option<_>>()?;
        let all: Vec<&DatasetConfig> = std::iter::once(dataset).chain(&others).collect();
        let held = record.children("contamination").filter_map(|child| child.leaf("held-out"));
        let sound = held.map(|leaf| self.report_nothing_held_out(leaf, &all));
        let sound = sound.collect::<Vec<_>>().into_iter().all(|sound| sound);
        let ordered = list_originals(record).map(|leaf| self.report_unfit_original(record, leaf));
        let ordered = ordered.collect::<Vec<_>>().into_iter().all(|sound| sound);
        (sound && ordered).then_some(others)
    }

    /// Reports a comparison with the held-out documents of a dataset that has none. Whether there is nothing to report.
    fn report_nothing_held_out(&mut self, leaf: &Leaf, datasets: &[&DatasetConfig]) -> bool {
        let name = leaf.expect_text();
        let holds = |dataset: &&DatasetConfig| dataset.name == name && dataset.held_out > 0.0;
        if datasets.iter().any(holds) {
            return true;
        }
        let message = format!("dataset `{name}` holds nothing out that documents could be compared with");
        let declared = self.world.named("dataset", name).and_then(Record::name_leaf);
        let mut diagnostic = Diagnostic::new(Code::NothingHeldOut, message)
            .at(&leaf.span, "its held-out documents are looked for");
        if let Some(place) = declared {
            diagnostic = diagnostic.also(&place.span, "nothing is held out");
        }
        self.sink.push(diagnostic.help(format!("write `held-out=\"2%\"` in dataset `{name}`")));
        false
    }

    /// Reports a dataset whose documents nobody knows before its rows are made, and datasets that drop what is in each other: then
    /// none would keep it. Whether there is nothing to report.
    fn report_unfit_original(&mut self, record: &Record, leaf: &Leaf) -> bool {
        let Some(original) = self.world.target(leaf) else { return false };
        let name = original.expect_name();
        if let Some(cap) = original.leaf("tokens").or_else(|| original.leaf("tokens-at-most")) {
            let message =
                format!("which documents of `{name}` are in its rows is known only once they are made");
            self.sink.push(
                Diagnostic::new(Code::ConflictingFields, message)
                    .at(&leaf.span, "its documents are looked for")
                    .also(&cap.span, "not all of them are in its rows")
                    .help(format!(
                        "let dataset `{name}` drop what is in `{}`, or remove its cap",
                        record.expect_name()
                    )),
            );
            return false;
        }
        if !reaches(self.world, original, record, 0) {
            return true;
        }
        let message = format!(
            "datasets `{}` and `{name}` drop documents that are in each other, so that neither would keep them",
            record.expect_name()
        );
        self.sink.push(
            Diagnostic::new(Code::ConflictingFields, message)
                .at(&leaf.span, "comes back to where it began")
                .help("remove it from one of them; copies inside a dataset are dropped anyway"),
        );
        false
    }
}

/// Whether a dataset drops documents of `wanted`, or of one that does, and so on.
fn reaches(world: &Declarations, from: &Record, wanted: &Record, depth: usize) -> bool {
    /// A longer chain than this is no circle that anybody wrote.
    const DEEPEST: usize = 64;
    std::ptr::eq(from, wanted)
        || depth < DEEPEST
            && list_originals(from)
                .filter_map(|leaf| world.any_target(leaf))
                .any(|next| reaches(world, next, wanted, depth + 1))
}

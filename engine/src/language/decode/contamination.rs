//! Decodes what must not be in a dataset: texts of benchmarks, held-out documents, documents of other datasets.

use std::collections::{HashMap, HashSet};

use super::Decoder;
use crate::language::draft::{find_compared_datasets, list_held_out_parts, list_originals};
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
                (format!("held-out {dataset}"), ComparedTexts::HeldOut { dataset, parts: Vec::new() })
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
    /// Finds the files of what a dataset of these rows is compared with; they become sources of the stage. Also finds what is held out of
    /// the datasets that it is compared with. Returns the other ones.
    pub(super) fn find_compared(
        &mut self,
        rows: &Record,
        record: &Record,
        dataset: &mut DatasetConfig,
    ) -> Option<Vec<DatasetConfig>> {
        for (child, check) in record.children("contamination").zip(&dataset.contamination) {
            let (Some(from), ComparedTexts::Benchmark { source }) = (child.leaf("from"), &check.texts) else {
                continue;
            };
            let files = self.files(&format!("benchmark `{}`", check.name), from.text()?, &from.span)?;
            self.sources.push(SourceFiles::local(source, files));
        }
        let others = find_compared_datasets(self.world, record);
        let others = others.into_iter().map(|other| (!other.broken).then(|| self.dataset(other)).flatten());
        let others: Vec<DatasetConfig> = others.collect::<Option<_>>()?;
        let mut sound = true;
        for (child, check) in record.children("contamination").zip(&mut dataset.contamination) {
            let (Some(leaf), ComparedTexts::HeldOut { parts, .. }) =
                (child.leaf("held-out"), &mut check.texts)
            else {
                continue;
            };
            let target = self.world.any_target(leaf)?;
            *parts = list_held_out_parts(self.world, (rows, record), target);
            if parts.is_empty() {
                self.report_nothing_held_out(leaf);
                sound = false;
            }
        }
        let mut circular = None;
        for leaf in list_originals(record) {
            let circular = circular.get_or_insert_with(|| list_datasets_dropping(self.world, record));
            sound &= self.report_unfit_original(record, leaf, circular);
        }
        sound.then_some(others)
    }

    /// Reports a comparison with the held-out documents of a dataset that has none.
    fn report_nothing_held_out(&mut self, leaf: &Leaf) {
        let name = leaf.expect_text();
        let message = format!("dataset `{name}` holds nothing out that documents could be compared with");
        let declared = self.world.named("dataset", name).and_then(Record::name_leaf);
        let mut diagnostic = Diagnostic::new(Code::NothingHeldOut, message)
            .at(&leaf.span, "its held-out documents are looked for");
        if let Some(place) = declared {
            diagnostic = diagnostic.also(&place.span, "nothing is held out");
        }
        self.sink.push(diagnostic.help(format!("write `held-out=\"2%\"` in dataset `{name}`")));
    }

    /// Reports a dataset whose documents nobody knows before its rows are made, and datasets that drop what is in each other: then
    /// none would keep it. `circular` are those that drop what is in this one. Whether there is nothing to report.
    fn report_unfit_original(
        &mut self,
        record: &Record,
        leaf: &Leaf,
        circular: &HashSet<*const Record>,
    ) -> bool {
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
        if !circular.contains(&std::ptr::from_ref(original)) {
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

/// The datasets that drop documents of `wanted`, or of one that does, and so on; with it itself.
fn list_datasets_dropping(world: &Declarations, wanted: &Record) -> HashSet<*const Record> {
    let mut droppers: HashMap<*const Record, Vec<*const Record>> = HashMap::new();
    for dataset in world.of_kind("dataset") {
        for original in list_originals(dataset).filter_map(|leaf| world.any_target(leaf)) {
            droppers.entry(original).or_default().push(dataset);
        }
    }
    let (mut found, mut open) = (HashSet::new(), vec![std::ptr::from_ref(wanted)]);
    while let Some(next) = open.pop() {
        if found.insert(next) {
            open.extend(droppers.get(&next).into_iter().flatten());
        }
    }
    found
}

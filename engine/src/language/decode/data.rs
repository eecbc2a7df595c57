//! Decodes the stages that read text: fetch, tokenizer and rows, and the datasets that they refer to.

use std::num::NonZeroU64;

use super::{Decoder, unknown_word};
use crate::language::record::Record;
use crate::language::schema::{CanonicalValue, foreign_names};
use crate::pipeline::config::{
    DatasetFormat, EndOfTurn, FetchConfig, Packing, RowsConfig, SpecialNames, TokenizerConfig,
};
use crate::pipeline::role::InputRole;
use crate::pipeline::stage::SourceFiles;
use crate::text::diagnostic::{Code, Diagnostic};
use crate::text::glob;
use crate::text::glob::PatternError;
use crate::text::place::Span;

/// Why a dataset that drops copies and has its contents in S3 has no window: copies are looked for before the shards are made, and an
/// object that is missing at one of the two times would move all numbers behind it.
pub(crate) const UNWINDOWED_COPIES: &str = "a window on a dataset that drops copies of contents in S3";

/// Help for a hub repository that is written like a folder, such as `Qwen/Qwen3-0.6B`.
fn suggest_repository(record: &Record, from: &str) -> Option<String> {
    let repository = foreign_names::parse_repository(from)?;
    Some(match record.spec.name.as_str() {
        "fetch" => format!(
            "did you mean `\"{}\"`? Paths are relative to the file in which they are written",
            repository.address()
        ),
        _ => repository.declaration_help("from"),
    })
}

impl Decoder<'_> {
    pub(super) fn fetch(&mut self, record: &Record) -> Option<FetchConfig> {
        let leaf = record.leaf("from")?;
        let from = leaf.text()?;
        if matches!(leaf.value, CanonicalValue::Hub(_)) {
            let remote = self.pinned_files(record);
            self.sources.push(SourceFiles { remote, ..SourceFiles::local("folder", Vec::new()) });
            let revision = record.text("revision").map(str::to_owned);
            return Some(FetchConfig::Hub { from: from.to_owned(), revision });
        }
        if self.made_files(leaf, InputRole::Made)?.is_some() {
            return Some(FetchConfig::Made);
        }
        let folder = leaf.span.file.folder.join(from);
        match glob::list_folder(&folder) {
            Ok(files) => self.sources.push(SourceFiles::local("folder", files)),
            Err(PatternError::NoMatch(_)) if self.may_lack_files => {
                self.sources.push(SourceFiles::local("folder", Vec::new()));
            }
            Err(missing) => {
                let what = format!("the checkpoint folder `{from}`");
                let help =
                    suggest_repository(record, from).filter(|_| matches!(missing, PatternError::NoMatch(_)));
                self.sink
                    .push(super::pattern_without_files(&what, from, &leaf.span, missing).maybe_help(help));
                return None;
            }
        }
        Some(FetchConfig::Folder(folder))
    }

    pub(super) fn tokenizer(&mut self, record: &Record) -> Option<TokenizerConfig> {
        if let Some(leaf) = record.leaf("from") {
            return Some(TokenizerConfig::File(self.one_file("the tokenizer", "tokenizer", leaf)?));
        }
        record.text("kind")?;
        let parts: Vec<_> = record.children("dataset").filter_map(|part| part.leaf("name")).collect();
        let mut datasets = Vec::new();
        for part in &parts {
            let dataset = self.world.target(part);
            datasets.extend(dataset.and_then(|dataset| self.dataset(dataset)));
        }
        if datasets.len() < parts.len() {
            return None;
        }
        Some(TokenizerConfig::ByteLevelBpe {
            vocabulary: record.size("vocabulary")?,
            special: record.text("special")?.to_owned(),
            datasets,
        })
    }

    pub(super) fn rows(&mut self, record: &Record, dataset: &Record) -> Option<RowsConfig> {
        if record.broken || dataset.broken {
            return None;
        }
        let dataset_record = dataset;
        let mut dataset = self.dataset(dataset_record)?;
        if dataset.held_out == 0.0 {
            dataset.held_out = record.number("held-out").unwrap_or(dataset.held_out);
        }
        let files = self.sources.last().map(|source| source.files.clone()).unwrap_or_default();
        self.check_split([record, dataset_record], &dataset, &files);
        let others = self.find_compared(record, dataset_record, &mut dataset)?;
        if let (Some(named), false) =
            (find_answer_field(record), matches!(dataset.format, DatasetFormat::Chat { .. }))
        {
            self.report_rows_without_chat(&dataset.name, record, named);
            return None;
        }
        let elsewhere = matches!(dataset.format, DatasetFormat::Contents(_));
        if let (Some(window), true) = (record.child("window"), dataset.drops_duplicates && elsewhere) {
            self.mark_unsupported(&window.span.clone(), UNWINDOWED_COPIES);
        }
        Some(RowsConfig {
            dataset,
            others,
            length: record.size("length")?,
            packing: match record.text("packing")? {
                "concat" => Packing::Concat,
                "first-fit" => Packing::FirstFit,
                word => unknown_word(word),
            },
            end_of_document: record.boolean("end-of-document")?,
            canvas: record.size("canvas"),
            end_of_turn: decode_end_of_turn(record),
            specials: decode_specials(record),
            shard_bytes: record.count("shard")?,
            window: record.child("window").and_then(|window| NonZeroU64::new(window.count("disk")?)),
        })
    }

    /// Reports rows with a field about answers, given as (what it is, what it is for, its name, its place).
    fn report_rows_without_chat(
        &mut self,
        dataset: &str,
        rows: &Record,
        (what, label, field, place): (&str, &str, &str, &Span),
    ) {
        let declared = self.world.named("dataset", dataset);
        let name = rows.expect_name();
        let message = format!("rows `{name}` have {what}, but dataset `{dataset}` has none");
        let mut diagnostic = Diagnostic::new(Code::NoChatData, message).at(place, label);
        if let Some(place) = declared.and_then(Record::name_leaf) {
            diagnostic = diagnostic.also(&place.span, "declared here");
        }
        let help = match declared.is_some_and(|declared| declared.child("contents").is_some()) {
            // Contents that lie elsewhere are no conversations.
            true => format!("use rows without `{field}`"),
            false => format!(
                "give the dataset a `chat user=\"question\" assistant=\"answer\"`, or use rows without `{field}`"
            ),
        };
        self.sink.push(diagnostic.help(help));
    }
}

/// The field of rows that only conversations can follow, if there is one.
fn find_answer_field(rows: &Record) -> Option<(&'static str, &'static str, &'static str, &Span)> {
    let canvas = rows.leaf("canvas");
    let canvas =
        canvas.map(|leaf| ("a canvas for answers", "a canvas holds an answer", "canvas", &leaf.span));
    canvas.or_else(|| {
        let ends = rows.child("end-of-turn")?;
        Some(("a rule for the end of answers", "where an answer ends", "end-of-turn", &ends.span))
    })
}

fn decode_end_of_turn(rows: &Record) -> Option<EndOfTurn> {
    let child = rows.child("end-of-turn")?;
    match child.text("supervise")? {
        "once" => Some(EndOfTurn::Once),
        "to-block-boundary" => Some(EndOfTurn::ToBlockBoundary { block: child.size("block")? }),
        word => unknown_word(word),
    }
}

fn decode_specials(rows: &Record) -> Option<SpecialNames> {
    match rows.child("specials")?.text("value")? {
        "text" => Some(SpecialNames::Text),
        "token" => Some(SpecialNames::Token),
        word => unknown_word(word),
    }
}

//! Decodes the stages that use a checkpoint without changing it: evaluate and generate.

use super::Decoder;
use crate::language::draft::find_measured_role;
use crate::language::record::{Leaf, Record};
use crate::language::schema::CanonicalValue;
use crate::pipeline::config::sample::{
    CodeBenchmark, EvaluateConfig, ExactMatch, GenerateConfig, HeldOut, Prompt, PromptKind, RequiredScore,
    Sampler,
};
use crate::text::diagnostic::{Code, Diagnostic};

impl Decoder<'_> {
    pub(super) fn evaluate(&mut self, record: &Record) -> Option<EvaluateConfig> {
        for (measure, field) in [("held-out", "dataset"), ("exact-match", "dataset"), ("benchmark", "value")]
        {
            self.refuse_measured_twice(record, measure, field);
        }
        let checkpoints = record.child("checkpoint")?.all("name");
        let checkpoints = checkpoints.map(|leaf| leaf.expect_text().to_owned()).collect();
        let held_out =
            record.children("held-out").map(|child| decode_held_out(record, child)).collect::<Option<_>>()?;
        let mut exact_match = Vec::new();
        for child in record.children("exact-match") {
            exact_match.push(self.exact_match(record, child)?);
        }
        let require = record.children("require").map(decode_required_score).collect::<Option<_>>()?;
        let mut benchmarks = Vec::new();
        for child in record.children("benchmark") {
            benchmarks.push(self.benchmark(child)?);
        }
        Some(EvaluateConfig { checkpoints, held_out, exact_match, require, benchmarks })
    }

    fn benchmark(&mut self, record: &Record) -> Option<CodeBenchmark> {
        let benchmark = CodeBenchmark {
            name: record.text("value")?.to_owned(),
            sampler: self.sampler(record.leaf("sampler")?)?,
            samples: record.size("samples")?,
            new_tokens: record.size("new-tokens")?,
            problems: record.size("problems"),
        };
        match record.leaf("from") {
            Some(leaf) => drop(self.one_file("the file of a benchmark", &benchmark.source(), leaf)?),
            None => self.mark_unsupported(&record.span.clone(), "code benchmarks without a file"),
        }
        Some(benchmark)
    }

    /// Refuses two measurements of one kind of one dataset: scores are named after the dataset, and the second would replace the first.
    fn refuse_measured_twice(&mut self, evaluation: &Record, measure: &str, field: &str) {
        let datasets: Vec<&Leaf> =
            evaluation.children(measure).filter_map(|child| child.leaf(field)).collect();
        for (at, leaf) in datasets.iter().enumerate() {
            let Some(first) = datasets[..at].iter().find(|first| first.text() == leaf.text()) else {
                continue;
            };
            let dataset = leaf.expect_text();
            let of = if field == "dataset" { "of dataset" } else { "called" };
            let message = format!("one `evaluate` has two `{measure}` {of} `{dataset}`");
            self.sink.push(
                Diagnostic::new(Code::DuplicateNode, message)
                    .at(&leaf.span, "its scores would have the names of the first")
                    .also(&first.span, "the first")
                    .help("move it to another `evaluate`"),
            );
        }
    }

    fn exact_match(&mut self, evaluation: &Record, record: &Record) -> Option<ExactMatch> {
        let leaf = record.leaf("dataset")?;
        let dataset = self.world.target(leaf)?;
        if dataset.child("chat").is_none() {
            self.sink.push(dataset_without_chat(leaf, dataset));
            return None;
        }
        Some(ExactMatch {
            dataset: leaf.text()?.to_owned(),
            role: find_measured_role(evaluation, record)?,
            sampler: self.sampler(record.leaf("sampler")?)?,
            limit: record.size("first"),
        })
    }

    pub(super) fn generate(&mut self, record: &Record) -> Option<GenerateConfig> {
        let mut prompts = Vec::new();
        for child in &record.children {
            prompts.push(self.prompt(record, child)?);
        }
        if prompts.is_empty() {
            let name = record.expect_name();
            self.sink.push(
                Diagnostic::new(Code::MissingNode, format!("`generate \"{name}\"` has no prompts"))
                    .at(&record.span, "incomplete")
                    .help("add one between the braces, as in `prompt \"Once upon a time\"`"),
            );
        }
        Some(GenerateConfig { prompts })
    }

    pub(super) fn prompt(&mut self, parent: &Record, record: &Record) -> Option<Prompt> {
        let sampler = self.prompt_sampler(parent, record)?;
        let text = || record.text("value").map(str::to_owned);
        let (kind, new_tokens) = match record.spec.name.as_str() {
            "chat" => (PromptKind::Chat(text()?), record.size("new-tokens")),
            "prompt" => (PromptKind::Text(text()?), Some(record.size("new-tokens")?)),
            "infill" => (decode_infill(record)?, Some(self.infill_length(record)?)),
            other => unreachable!("`generate` takes requests, not `{other}`"),
        };
        if let PromptKind::Text(text) = &kind
            && text.is_empty()
        {
            self.sink.push(empty_prompt(record));
            return None;
        }
        Some(Prompt { kind, sampler, new_tokens })
    }

    fn prompt_sampler(&mut self, parent: &Record, record: &Record) -> Option<Sampler> {
        if let Some(leaf) = record.leaf("sampler").or_else(|| parent.leaf("sampler")) {
            return self.sampler(leaf);
        }
        let example = self.world.of_kind("sampler").find_map(Record::name).unwrap_or("parallel");
        self.sink.push(
            Diagnostic::new(Code::MissingField, format!("`{}` needs `sampler`", record.spec.name))
                .at(&record.span, "no sampler here")
                .also(&parent.span, "and none here")
                .help(format!("add `sampler=\"{example}\"` to one of them")),
        );
        None
    }

    /// Number of tokens of the gap; the upper end of a range, which `run` does not support yet.
    fn infill_length(&mut self, record: &Record) -> Option<usize> {
        let leaf = record.leaf("length")?;
        match &leaf.value {
            CanonicalValue::Range(range) => {
                self.mark_unsupported(&leaf.span.clone(), "infills whose length the model chooses");
                let (_, longest) = range.split_once("..").expect("a range has two ends");
                Some(longest.parse().expect("the ends of a range are whole numbers"))
            }
            _ => record.size("length"),
        }
    }
}

fn empty_prompt(record: &Record) -> Diagnostic {
    let place = record.leaf("value").map_or(&record.span, |leaf| &leaf.span);
    Diagnostic::new(Code::OutOfRange, "a prompt needs at least one letter")
        .at(place, "no text")
        .help("write some text, such as `\"Once upon a time\"`")
}

fn decode_infill(record: &Record) -> Option<PromptKind> {
    Some(PromptKind::Infill {
        prefix: record.text("prefix")?.to_owned(),
        suffix: record.text("suffix")?.to_owned(),
    })
}

fn decode_held_out(evaluation: &Record, record: &Record) -> Option<HeldOut> {
    Some(HeldOut {
        dataset: record.text("dataset")?.to_owned(),
        role: find_measured_role(evaluation, record)?,
        times: record.size("times")?,
        rows: record.size("first")?,
    })
}

fn decode_required_score(record: &Record) -> Option<RequiredScore> {
    Some(RequiredScore { checkpoint: record.text("name")?.to_owned(), at_least: record.number("at-least")? })
}

pub(super) fn dataset_without_chat(leaf: &Leaf, dataset: &Record) -> Diagnostic {
    let name = leaf.expect_text();
    let message = format!("exact match needs questions and answers, but dataset `{name}` has none");
    let mut diagnostic =
        Diagnostic::new(Code::NoChatData, message).at(&leaf.span, "documents, not conversations");
    if let Some(place) = dataset.name_leaf() {
        diagnostic = diagnostic.also(&place.span, "declared here");
    }
    diagnostic.help(match dataset.text("format") {
        Some("jsonl") => "give the dataset a `chat user=\"question\" assistant=\"answer\"`",
        _ => "name a dataset that has `chat`, or measure the likelihood of this one with `held-out`",
    })
}

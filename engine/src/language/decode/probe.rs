//! Decodes the probe of a training stage.

use super::Decoder;
use super::sample::dataset_without_chat;
use crate::language::record::{Leaf, Record};
use crate::pipeline::config::sample::ExactMatch;
use crate::pipeline::config::train::{MixturePart, ProbeSettings};
use crate::text::diagnostic::{Code, Diagnostic};
use crate::text::suggest::format_name_list;

impl Decoder<'_> {
    /// `parts` are the datasets that the stage trains on: only their rows are at hand.
    pub(super) fn probe(&mut self, record: &Record, parts: &[MixturePart]) -> Option<ProbeSettings> {
        self.refuse_measured_twice(record, "benchmark", "value");
        let (mut prompts, mut exact_match, mut benchmarks) = (Vec::new(), Vec::new(), Vec::new());
        let own = self.named.len();
        self.sampler(record.leaf("sampler")?)?;
        for child in &record.children {
            match child.spec.name.as_str() {
                "exact-match" => exact_match.push(self.probed_match(record, child, parts)?),
                "benchmark" => benchmarks.push(self.probed_benchmark(record, child)?),
                _ => prompts.push(self.prompt(record, child)?),
            }
        }
        // No result depends on what a probe asks.
        self.named[own..].iter_mut().for_each(|field| field.semantic = false);
        if record.children.is_empty() {
            self.sink.push(
                Diagnostic::new(Code::MissingNode, "`probe` asks nothing")
                    .at(&record.span, "incomplete")
                    .help("add a request between the braces, as in `prompt \"Once upon a time\"`"),
            );
        }
        Some(ProbeSettings { every: record.count("every")?, prompts, exact_match, benchmarks })
    }

    fn probed_match(&mut self, probe: &Record, record: &Record, parts: &[MixturePart]) -> Option<ExactMatch> {
        let leaf = record.leaf("dataset")?;
        let (dataset, name) = (self.world.target(leaf)?, leaf.text()?);
        let Some(part) = parts.iter().find(|part| part.dataset == name) else {
            self.sink.push(dataset_outside_mixture(leaf, parts));
            return None;
        };
        if dataset.child("chat").is_none() {
            self.sink.push(dataset_without_chat(leaf, dataset));
            return None;
        }
        Some(ExactMatch {
            dataset: name.to_owned(),
            role: part.role.clone(),
            sampler: self.sampler(record.leaf("sampler").or(probe.leaf("sampler"))?)?,
            limit: record.size("first"),
        })
    }
}

fn dataset_outside_mixture(leaf: &Leaf, parts: &[MixturePart]) -> Diagnostic {
    let name = leaf.expect_text();
    let names = format_name_list(parts.iter().map(|part| part.dataset.as_str()));
    Diagnostic::new(Code::NoRows, format!("the stage makes no rows from dataset `{name}`"))
        .at(&leaf.span, format!("not in its mixture, which has {names}"))
        .help("remove this `exact-match`, and write it in an `evaluate`")
}

//! Decodes the stage that measures samplers side by side.

use super::Decoder;
use crate::language::record::{Leaf, Record};
use crate::language::schema::CanonicalValue;
use crate::pipeline::config::sample::{EvaluateConfig, ExactMatch, FrontierConfig};
use crate::pipeline::config::{Sampler, SamplerKind};
use crate::text::diagnostic::{Code, Diagnostic};

impl Decoder<'_> {
    pub(super) fn frontier(&mut self, record: &Record) -> Option<FrontierConfig> {
        let checkpoints =
            record.child("checkpoint")?.all("name").map(|leaf| leaf.expect_text().to_owned()).collect();
        let mut exact_match = Vec::new();
        for child in record.children("exact-match") {
            exact_match.push(self.exact_match(record, child)?);
        }
        let (thresholds, blocks) = (list_thresholds(record), list_blocks(record));
        ["thresholds", "blocks"].iter().for_each(|name| self.refuse_repeated_values(record, name));
        let mut points = Vec::new();
        for (one, child) in exact_match.iter().zip(record.children("exact-match")) {
            let own = expand(one, &thresholds, &blocks);
            self.refuse_repeated_points(&points, &own, child);
            points.extend(own);
        }
        let declared = EvaluateConfig {
            checkpoints,
            held_out: Vec::new(),
            exact_match,
            require: Vec::new(),
            benchmarks: Vec::new(),
            unsafe_no_sandbox: false,
        };
        Some(FrontierConfig { declared, points })
    }

    /// Refuses measurements with one name: the scores of the second would replace those of the first.
    fn refuse_repeated_points(&mut self, before: &[ExactMatch], own: &[ExactMatch], child: &Record) {
        let same =
            |a: &ExactMatch, b: &ExactMatch| a.dataset == b.dataset && a.sampler.name == b.sampler.name;
        let Some(twice) = own.iter().find(|point| before.iter().any(|other| same(other, point))) else {
            return;
        };
        let (sampler, dataset) = (&twice.sampler.name, &twice.dataset);
        let message = format!("one `frontier` measures sampler `{sampler}` on dataset `{dataset}` twice");
        self.sink.push(
            Diagnostic::new(Code::DuplicateNode, message)
                .at(&child.span, "its scores would have the names of the first")
                .help("remove it"),
        );
    }

    /// Refuses a threshold or a size of a block that is written twice.
    fn refuse_repeated_values(&mut self, record: &Record, name: &str) {
        let leaves: Vec<&Leaf> =
            record.child(name).into_iter().flat_map(|child| child.all("value")).collect();
        for (at, leaf) in leaves.iter().enumerate() {
            if let Some(first) = leaves[..at].iter().find(|first| first.value == leaf.value) {
                self.sink.push(
                    Diagnostic::new(Code::DuplicateNode, format!("`{name}` has a value twice"))
                        .at(&leaf.span, "its scores would have the names of the first")
                        .also(&first.span, "the first")
                        .help("remove it"),
                );
            }
        }
    }
}

fn list_thresholds(record: &Record) -> Vec<f64> {
    let leaves = record.child("thresholds").into_iter().flat_map(|child| child.all("value"));
    leaves
        .filter_map(|leaf| if let CanonicalValue::Number(number) = leaf.value { Some(number) } else { None })
        .collect()
}

fn list_blocks(record: &Record) -> Vec<usize> {
    let leaves = record.child("blocks").into_iter().flat_map(|child| child.all("value"));
    let size = |number: i64| usize::try_from(number).ok();
    leaves
        .filter_map(|leaf| if let CanonicalValue::Integer(number) = leaf.value { size(number) } else { None })
        .collect()
}

/// A measurement with every threshold and every size of a block that applies to its sampler, or as it is.
fn expand(one: &ExactMatch, thresholds: &[f64], blocks: &[usize]) -> Vec<ExactMatch> {
    let mut points = vec![one.clone()];
    if !thresholds.is_empty() && has_threshold(&one.sampler.kind) {
        let with = |point: &ExactMatch| {
            thresholds.iter().map(|threshold| with_threshold(point, *threshold)).collect::<Vec<_>>()
        };
        points = points.iter().flat_map(with).collect();
    }
    if !blocks.is_empty() && !one.sampler.reads_next_tokens() {
        let with =
            |point: &ExactMatch| blocks.iter().map(|block| with_block(point, *block)).collect::<Vec<_>>();
        points = points.iter().flat_map(with).collect();
    }
    points
}

fn has_threshold(kind: &SamplerKind) -> bool {
    matches!(kind, SamplerKind::Threshold { .. } | SamplerKind::Edit { .. })
}

fn with_threshold(point: &ExactMatch, value: f64) -> ExactMatch {
    let mut sampler =
        Sampler { name: format!("{} threshold={value}", point.sampler.name), ..point.sampler.clone() };
    if let SamplerKind::Threshold { threshold } | SamplerKind::Edit { threshold, .. } = &mut sampler.kind {
        *threshold = value;
    }
    ExactMatch { sampler, ..point.clone() }
}

fn with_block(point: &ExactMatch, block: usize) -> ExactMatch {
    let name = format!("{} block={block}", point.sampler.name);
    ExactMatch { sampler: Sampler { name, block: Some(block), ..point.sampler.clone() }, ..point.clone() }
}

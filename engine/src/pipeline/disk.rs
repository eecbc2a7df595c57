//! Bytes on disk of what stages make: of weights and optimizer states as they will be, of everything else at most.

use crate::pipeline::checkpoint_folder::TIME_FEATURES;
use crate::pipeline::config::{
    AdapterSettings, DatasetFormat, ExportDtype, Packing, RowsConfig, StageConfig, TimeConditioning,
};
use crate::pipeline::shape::{ModelShape, saturating_product, saturating_sum};

/// Bytes of the smaller files of a result together, and of what file systems lose at the end of files: config, contract,
/// origins, certificate, summary, manifest, and the stage's part of the run's record.
const SMALL_FILES_BYTES: u64 = 96 << 10;

/// Bytes per row of the vocabulary in a `tokenizer.json`, and of the files beside it.
const TOKENIZER_ROW_BYTES: u64 = 128;

/// Most bytes of one update in the metrics: of the update itself, and of each dataset.
const UPDATE_BYTES: (u64, u64) = (1024, 128);

/// Bytes of one tensor in the header of a safetensors file.
const HEADER_BYTES: u64 = 110;

/// A model as a file system sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ModelSize {
    parameters: u64,
    tensors: u64,
    vocabulary: u64,
}

impl ModelSize {
    /// The size of a model of this shape without time conditioning.
    pub(super) fn of(shape: &ModelShape) -> Self {
        let tensors = 2 + u64::from(!shape.tied) + shape.layers.saturating_mul(11);
        Self { parameters: shape.parameters(), tensors, vocabulary: shape.vocabulary }
    }

    /// The size of what an adapter trains in a model of this shape.
    pub(super) fn of_adapter(shape: &ModelShape, adapter: &AdapterSettings) -> Self {
        let queries = shape.heads.saturating_mul(shape.head_dim);
        let keys = shape.kv_heads.saturating_mul(shape.head_dim);
        let sides = |target: &String| match target.as_str() {
            "q_proj" | "o_proj" => shape.hidden.saturating_add(queries),
            "k_proj" | "v_proj" => shape.hidden.saturating_add(keys),
            _ => shape.hidden.saturating_add(shape.feed_forward),
        };
        let sides = saturating_sum(adapter.targets.iter().map(sides));
        let values = saturating_product(&[shape.layers, adapter.rank as u64, sides]);
        let tensors = saturating_product(&[shape.layers, 2, adapter.targets.len() as u64]);
        // Four scales in a block, and the last one.
        let norms = shape.groups().iter().find(|(name, _)| *name == "norms").map_or(0, |(_, count)| *count);
        let (scales, norms) =
            if adapter.norms { (shape.layers.saturating_mul(4).saturating_add(1), norms) } else { (0, 0) };
        let (parameters, tensors) = (values.saturating_add(norms), tensors.saturating_add(scales));
        Self { parameters, tensors, vocabulary: shape.vocabulary }
    }

    /// The size after `convert` has added conditioning to a model of this shape.
    pub(super) fn with_conditioning(self, shape: &ModelShape, time: TimeConditioning) -> Self {
        let TimeConditioning::AdaLn { rank } = time else { return self };
        let rank = rank as u64;
        let shared = saturating_product(&[rank, TIME_FEATURES as u64 + 2])
            .saturating_add(saturating_product(&[rank, rank]));
        let blocks = saturating_product(&[shape.layers, 6, shape.hidden, rank]);
        let parameters = self.parameters.saturating_add(shared).saturating_add(blocks);
        Self { parameters, tensors: self.tensors + 4 + shape.layers, ..self }
    }

    /// Number of values.
    pub(super) fn values(self) -> u64 {
        self.parameters
    }

    /// Bytes of the weights in files of f32.
    pub(crate) fn weights(self) -> u64 {
        self.tensor_file(4)
    }

    /// Bytes of the moments of the optimizer: two per parameter.
    pub(crate) fn moments(self) -> u64 {
        self.weights().saturating_mul(2)
    }

    fn tensor_file(self, bytes: u64) -> u64 {
        let header = self.tensors.saturating_mul(HEADER_BYTES);
        saturating_product(&[bytes, self.parameters]).saturating_add(header)
    }

    /// Bytes of an exported model at most.
    pub(super) fn export(self, dtype: ExportDtype) -> u64 {
        let bytes = if dtype == ExportDtype::Bf16 { 2 } else { 4 };
        self.tensor_file(bytes).saturating_add(self.companions())
    }

    /// Bytes of a model's folder at most.
    pub(super) fn folder(self) -> u64 {
        self.weights().saturating_add(self.companions())
    }

    /// Bytes of a checkpoint in training at most, which has the weights twice if an average of them is published.
    pub(super) fn checkpoint(self, averaged: bool) -> u64 {
        let trained = if averaged { self.weights() } else { 0 };
        saturating_sum([self.folder(), self.moments(), trained].into_iter())
    }

    /// Bytes at most of what a model has beside its weights.
    pub(super) fn companions(self) -> u64 {
        bound_tokenizer(self.vocabulary)
    }
}

/// Bytes at most of a folder whose largest file is the tokenizer.
pub(super) fn bound_tokenizer(vocabulary: u64) -> u64 {
    saturating_product(&[TOKENIZER_ROW_BYTES, vocabulary]).saturating_add(SMALL_FILES_BYTES)
}

/// Bytes at most of the metrics of a training stage.
pub(super) fn bound_metrics(updates: u64, datasets: usize) -> u64 {
    let (update, dataset) = UPDATE_BYTES;
    saturating_product(&[updates, dataset.saturating_mul(datasets as u64).saturating_add(update)])
}

/// Bytes at most of the files of a stage that makes neither rows nor weights, such as answers.
pub(super) fn bound_report(config: &StageConfig) -> u64 {
    match config {
        StageConfig::Evaluate(_) | StageConfig::Frontier(_) | StageConfig::Generate(_) => {
            4 * SMALL_FILES_BYTES
        }
        _ => SMALL_FILES_BYTES,
    }
}

/// Bytes at most of the rows of `bytes` of source in `files` files: as if every byte were a token and, where answers have a
/// canvas, as if no answer were longer than a few bytes. A question with several answers counts as if it had one.
pub(super) fn bound_rows(config: &RowsConfig, bytes: u64, files: u64, vocabulary: Option<u64>) -> u64 {
    let length = config.length as u64;
    let tokens = match (&config.dataset.format, config.packing) {
        (DatasetFormat::Chat { .. }, Packing::FirstFit) => bound_example_tokens(config, bytes),
        // What separates two documents is longer than the token that ends one.
        (_, Packing::Concat) => bytes.saturating_add(files),
        (_, Packing::FirstFit) => bytes.saturating_add(files).saturating_mul(2),
    };
    // The last row of each part has padding.
    let rows = tokens.div_ceil(length.max(1)).saturating_add(4);
    let id =
        vocabulary.map_or(4, |vocabulary| u64::from(vocabulary.max(2).saturating_sub(1).ilog2() / 8 + 1));
    let record = saturating_product(&[length, id]).saturating_add(length.div_ceil(2));
    let held_out = if config.dataset.held_out > 0.0 { bytes } else { 0 };
    let tokenizer = vocabulary.map_or(SMALL_FILES_BYTES, bound_tokenizer);
    saturating_product(&[rows, record]).saturating_add(held_out).saturating_add(tokenizer)
}

/// Bytes of the files with the digests of documents that are compared with each other, for so many bytes of text: none if all of them fit
/// into memory. Twice as many as there are digests, because two files are merged into a third.
pub(super) fn estimate_digests(bytes: u64) -> u64 {
    /// Bytes of a document, an estimate: fewer than those of most datasets have.
    const DOCUMENT: u64 = 64;
    /// Documents that fit into memory, and bytes of the digest of one: `corpus/digests.rs` of the stages.
    const IN_MEMORY: u64 = (1 << 25) / 8 * 7;
    const DIGEST: u64 = 16;
    let documents = bytes / DOCUMENT;
    if documents < IN_MEMORY { 0 } else { documents.saturating_mul(2 * DIGEST) }
}

/// Tokens at most of the rows of conversations. Two neighboring rows are together longer than one, so that rows have no more than
/// twice the tokens of their examples.
fn bound_example_tokens(config: &RowsConfig, bytes: u64) -> u64 {
    /// The shortest line with a question and an answer, in bytes.
    const SHORTEST: u64 = 18;
    /// Tokens at most that a chat template adds to a question and its answer.
    const TEMPLATE: u64 = 32;
    let more = config.canvas.map_or(0, |canvas| canvas as u64).saturating_add(TEMPLATE);
    let examples = bytes.div_ceil(SHORTEST);
    bytes.saturating_add(saturating_product(&[examples, more])).saturating_mul(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_factors_of_every_target_of_an_adapter_are_counted() {
        // Of each block of Qwen3-0.6B: 16 (2 (1024 + 2048) + 2 (1024 + 1024) + 3 (1024 + 3072)) values.
        let shape = ModelShape::published("Qwen/Qwen3-0.6B").unwrap();
        let names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];
        let targets = AdapterSettings::sort_targets(&names);
        let all = AdapterSettings { rank: 16, alpha: 32.0, targets, norms: false };
        let size = ModelSize::of_adapter(&shape, &all);
        assert_eq!((size.tensors, size.parameters), (28 * 14, 10_092_544));
        // 28 (2 · 1024 + 2 · 128) + 1024 scales of norms.
        let size = ModelSize::of_adapter(&shape, &AdapterSettings { norms: true, ..all });
        assert_eq!((size.tensors, size.parameters), (28 * 14 + 28 * 4 + 1, 10_092_544 + 65_536));
    }
}

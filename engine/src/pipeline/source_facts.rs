//! What the files that a pipeline reads say of themselves without being read whole: sizes, and the shapes of checkpoints.

use crate::pipeline::Pipeline;
use crate::pipeline::checkpoint_headers::{self, TokenTable};
use crate::pipeline::config::{FetchConfig, StageConfig, TokenizerConfig};
use crate::pipeline::field_path::rows;
use crate::pipeline::shape::ModelShape;
use crate::pipeline::stage::{Stage, StageId};
use crate::text::file_head;

/// What is known of the sources of every stage, by the stage's number.
#[derive(Clone, Debug, Default)]
pub struct PipelineFacts(Vec<SourceFacts>);

/// What is known of the sources of one stage.
#[derive(Clone, Debug, Default)]
pub struct SourceFacts {
    /// Bytes of its sources.
    pub bytes: u64,
    /// Of a `fetch`: the shape its `config.json` tells.
    pub shape: Option<ModelShape>,
    /// Of a `tokenizer`: rows of the embedding it asks for.
    pub vocabulary: Option<u64>,
}

impl PipelineFacts {
    /// Looks at the sources of every stage.
    #[must_use]
    pub fn collect(pipeline: &Pipeline) -> Self {
        Self(pipeline.stages.iter().map(collect_source_facts).collect())
    }

    /// Everything known about a stage's sources.
    #[must_use]
    pub fn get(&self, id: StageId) -> &SourceFacts {
        &self.0[id.index()]
    }
}

/// Bytes of the files that a stage reads.
#[must_use]
pub fn count_source_bytes(stage: &Stage) -> u64 {
    let files = stage.sources.iter().flat_map(|source| &source.files);
    files.filter_map(|path| file_head::read_file_size(path)).fold(0, u64::saturating_add)
}

/// What can be known without reading the sources.
fn collect_source_facts(stage: &Stage) -> SourceFacts {
    let mut fact = SourceFacts { bytes: count_source_bytes(stage), ..SourceFacts::default() };
    match &stage.config {
        StageConfig::Fetch(FetchConfig::Folder(folder)) => {
            fact.shape = checkpoint_headers::read_model_shape(&folder.join("config.json"));
        }
        StageConfig::Fetch(FetchConfig::Hub { from, .. }) => fact.shape = ModelShape::published(from),
        StageConfig::Tokenizer(TokenizerConfig::ByteLevelBpe { vocabulary, .. }) => {
            fact.vocabulary = Some(*vocabulary as u64);
        }
        StageConfig::Tokenizer(TokenizerConfig::File(file)) => {
            fact.vocabulary = TokenTable::read(file).map(|tokens| tokens.end());
        }
        StageConfig::Rows(_) => fact.bytes = fact.bytes.max(estimate_declared_bytes(stage)),
        _ => {}
    }
    fact
}

/// Bytes of the rows of a dataset on a hub, as far as it says how many tokens are wanted: three for each, which number the
/// vocabularies of today's checkpoints; no more than the window that the rows may take.
fn estimate_declared_bytes(stage: &Stage) -> u64 {
    let number = |path| stage.field(path)?.value.as_u64();
    let all = number(rows::DATASET_TOKENS).unwrap_or(0).saturating_mul(3);
    number(rows::WINDOW_DISK).map_or(all, |window| all.min(window))
}

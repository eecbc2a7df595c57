//! Facts about a pipeline's source files that need not read them whole: sizes, and the shapes of checkpoints.

use std::path::Path;

use crate::pipeline::Pipeline;
use crate::pipeline::checkpoint_headers::{self, TokenTable};
use crate::pipeline::config::{DatasetConfig, FetchConfig, RowsConfig, StageConfig, TokenizerConfig};
use crate::pipeline::field_path::rows;
use crate::pipeline::repository::RepositoryFiles;
use crate::pipeline::shape::ModelShape;
use crate::pipeline::shards::ShardPlan;
use crate::pipeline::stage::{SourceFiles, Stage, StageId};
use crate::text::file_head;
use crate::text::unpack::is_packed_name;

/// Facts about the sources of every stage, by stage id.
#[derive(Clone, Debug, Default)]
pub(crate) struct PipelineFacts(Vec<SourceFacts>);

/// Facts about the sources of one stage.
#[derive(Clone, Debug, Default)]
pub(crate) struct SourceFacts {
    /// Total size in bytes. For rows of a hub dataset, an estimate.
    pub bytes: u64,
    /// For a `fetch`: the shape in its `config.json`, or that of a published model.
    pub shape: Option<ModelShape>,
    /// For a `tokenizer`: number of rows of the embedding it needs.
    pub vocabulary: Option<u64>,
}

impl PipelineFacts {
    /// Collects the facts of every stage, reading file sizes and JSON headers.
    #[must_use]
    pub(crate) fn collect(pipeline: &Pipeline) -> Self {
        Self(pipeline.stages.iter().map(collect_source_facts).collect())
    }

    /// The facts about a stage's sources.
    #[must_use]
    pub(crate) fn get(&self, id: StageId) -> &SourceFacts {
        &self.0[id.index()]
    }
}

/// Total size in bytes of the files that a result is made of; a file whose size cannot be read counts 0.
#[must_use]
pub(crate) fn count_source_bytes(stage: &Stage) -> u64 {
    stage.main_sources().map(count_bytes).fold(0, u64::saturating_add)
}

/// Total size in bytes of the files of a source; a file whose size cannot be read counts 0.
#[must_use]
pub(crate) fn count_bytes(source: &SourceFiles) -> u64 {
    let local = source.files.iter().filter_map(|path| file_head::read_file_size(path));
    let remote = source.remote.as_ref().map_or(0, RepositoryFiles::bytes);
    local.fold(remote, u64::saturating_add)
}

/// The sizes in bytes of the files of a source, in their order; 0 for one that cannot be read.
#[must_use]
pub(crate) fn list_file_sizes(source: &SourceFiles) -> Vec<u64> {
    let local = source.files.iter().map(|path| file_head::read_file_size(path).unwrap_or(0));
    let remote = source.remote.as_ref().into_iter().flat_map(|remote| &remote.files);
    local.chain(remote.map(|file| file.size)).collect()
}

/// The shards of a dataset, as far as the sizes of its files can be read.
#[must_use]
pub(crate) fn plan_shards(source: &SourceFiles, dataset: &DatasetConfig, shard_bytes: u64) -> ShardPlan {
    ShardPlan::of_source(source, &list_file_sizes(source), dataset, shard_bytes)
}

/// Bytes of the files that these rows read to find the held-out documents of a dataset.
#[must_use]
pub(crate) fn count_held_out_bytes(config: &RowsConfig, source: &SourceFiles) -> u64 {
    let Some(dataset) = config.dataset_called(&source.name) else { return 0 };
    let parts = config.list_held_out_parts(&source.name);
    parts.map(|part| plan_shards(source, dataset, part.shard_bytes).opening_bytes()).max().unwrap_or(0)
}

/// Total size in bytes of the files that a stage downloads: of datasets that are only compared, at most those of their first shards or
/// of one shard at a time are there.
#[must_use]
pub(crate) fn count_download_bytes(stage: &Stage) -> u64 {
    let remote = stage.sources.iter().filter_map(|source| Some((source, source.remote.as_ref()?)));
    let bytes = remote.map(|(source, remote)| match &stage.config {
        StageConfig::Rows(config) if source.name != config.dataset.name => {
            let held = count_held_out_bytes(config, source);
            let copied = config.dataset.drops_duplicates && config.dataset.originals.contains(&source.name);
            let sizes: Vec<u64> = remote.files.iter().map(|file| file.size).collect();
            let largest = ShardPlan::new(&sizes, config.shard_bytes).largest_bytes();
            held.max(if copied { largest } else { 0 })
        }
        _ => remote.bytes(),
    });
    bytes.fold(0, u64::saturating_add)
}

/// Bytes of text in the files that a stage reads, as far as their sizes tell: a packed file is taken to hold this many times its size.
#[must_use]
pub(crate) fn estimate_text_bytes(stage: &Stage) -> u64 {
    stage.main_sources().map(estimate_text).fold(0, u64::saturating_add)
}

/// The same for all sources of rows whose documents are compared with each other.
#[must_use]
pub(crate) fn estimate_compared_text_bytes(stage: &Stage, config: &RowsConfig) -> u64 {
    let dataset = &config.dataset;
    let compared =
        |source: &&SourceFiles| source.name == dataset.name || dataset.originals.contains(&source.name);
    let sources = stage.sources.iter().filter(compared).filter(|_| dataset.drops_duplicates);
    sources.map(estimate_text).fold(0, u64::saturating_add)
}

fn estimate_text(source: &SourceFiles) -> u64 {
    /// Text is packed to a quarter or a third; a Parquet file of repetitive text, to less.
    const UNPACKED: u64 = 8;
    let local =
        source.files.iter().filter_map(|path| Some((path.as_path(), file_head::read_file_size(path)?)));
    let remote =
        source.remote.iter().flat_map(|remote| &remote.files).map(|file| (Path::new(&file.path), file.size));
    let unpacked =
        |(path, size): (&Path, u64)| size.saturating_mul(if is_packed_name(path) { UNPACKED } else { 1 });
    local.chain(remote).map(unpacked).fold(0, u64::saturating_add)
}

fn collect_source_facts(stage: &Stage) -> SourceFacts {
    let mut fact = SourceFacts { bytes: count_source_bytes(stage), ..SourceFacts::default() };
    match &stage.config {
        StageConfig::Fetch(FetchConfig::Folder(folder)) => {
            let shape = checkpoint_headers::read_model_shape(&folder.join("config.json"));
            // A parameter takes at least a byte: a shape with more of them than the folder has bytes is not its shape.
            fact.shape = shape.filter(|shape| shape.parameters() <= fact.bytes);
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

/// Estimated bytes of the rows of a dataset that declares how many tokens to read, as a hub dataset does: three bytes per
/// token, which is enough for the vocabularies of today's checkpoints, but no more than the declared window.
fn estimate_declared_bytes(stage: &Stage) -> u64 {
    let number = |path| stage.field(path)?.value.as_u64();
    let all = number(rows::DATASET_TOKENS).unwrap_or(0).saturating_mul(3);
    number(rows::WINDOW_DISK).map_or(all, |window| all.min(window))
}

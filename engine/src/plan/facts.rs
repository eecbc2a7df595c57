//! What a plan needs to know of the world outside the store: digests and sizes of sources, shapes of given checkpoints.

use super::cost::Shape;
use crate::config::{FetchConfig, StageConfig, TokenizerConfig};
use crate::error::{Error, Result};
use crate::file;
use crate::headers::{self, Tokens};
use crate::pipeline::{Pipeline, Stage, StageId};
use crate::store::Store;
use crate::store::digest::Digests;
use crate::vfs::Disk;

/// What is known of the world outside the store, by stage.
#[derive(Clone, Debug, Default)]
pub struct Facts(pub Vec<Fact>);

/// What is known about the sources of one stage.
#[derive(Clone, Debug, Default)]
pub struct Fact {
    /// Content digests of its sources, in order.
    pub digests: Vec<String>,
    /// Bytes of its sources.
    pub bytes: u64,
    /// Of a `fetch`: the shape its `config.json` tells.
    pub shape: Option<Shape>,
    /// Of a `tokenizer`: rows of the embedding it asks for.
    pub vocabulary: Option<u64>,
}

impl Facts {
    /// Reads what the pipeline's sources tell.
    ///
    /// # Errors
    /// [`Error::Input`] for a source that cannot be read.
    pub fn gather(pipeline: &Pipeline, store: Option<&Store>) -> Result<Self> {
        let mut digests = Digests::new(&Disk, store);
        let facts = pipeline.stages.iter().map(|stage| fact(stage, &mut digests)).collect::<Result<_>>()?;
        digests.remember();
        Ok(Self(facts))
    }

    /// What can be known without reading the sources: no digests.
    #[must_use]
    pub fn glance(pipeline: &Pipeline) -> Self {
        Self(pipeline.stages.iter().map(glance).collect())
    }

    /// Bytes of the files that a stage reads.
    #[must_use]
    pub fn bytes_of(stage: &Stage) -> u64 {
        let files = stage.sources.iter().flat_map(|source| &source.files);
        files.filter_map(|path| file::size(path)).fold(0, u64::saturating_add)
    }

    /// Content digests of a stage's sources.
    #[must_use]
    pub fn digests(&self, id: StageId) -> Vec<String> {
        self.of(id).digests
    }

    /// Everything known about a stage's sources.
    #[must_use]
    pub fn of(&self, id: StageId) -> Fact {
        self.0.get(id.0 as usize).cloned().unwrap_or_default()
    }
}

/// Refuses to go on when a stage's sources are not what the plan saw.
///
/// # Errors
/// [`Error::Input`] that names the source.
pub fn check_unchanged(stage: &Stage, planned: &[String], store: &Store) -> Result<()> {
    let mut digests = Digests::new(&Disk, Some(store));
    for (source, planned) in stage.sources.iter().zip(planned) {
        if digests.source(source)? != *planned {
            let message = format!("source `{}` changed since the plan was made", source.name);
            return Err(Error::Input { message, help: Some("run the same command again".into()) });
        }
    }
    digests.remember();
    Ok(())
}

fn fact(stage: &Stage, digests: &mut Digests<'_>) -> Result<Fact> {
    let digests = stage.sources.iter().map(|source| digests.source(source)).collect::<Result<_>>()?;
    Ok(Fact { digests, ..glance(stage) })
}

/// What can be known without reading the sources.
fn glance(stage: &Stage) -> Fact {
    let mut fact = Fact { bytes: Facts::bytes_of(stage), ..Fact::default() };
    match &stage.config {
        StageConfig::Fetch(FetchConfig::Folder(folder)) => {
            fact.shape = headers::shape(&folder.join("config.json"));
        }
        StageConfig::Fetch(FetchConfig::Hub { from, .. }) => fact.shape = Shape::published(from),
        StageConfig::Tokenizer(TokenizerConfig::ByteLevelBpe { vocabulary, .. }) => {
            fact.vocabulary = Some(*vocabulary as u64);
        }
        StageConfig::Tokenizer(TokenizerConfig::File(file)) => {
            fact.vocabulary = Tokens::read(file).map(|tokens| tokens.end());
        }
        StageConfig::Rows(_) => fact.bytes = fact.bytes.max(declared(stage)),
        _ => {}
    }
    fact
}

/// Bytes of the rows of a dataset on a hub, as far as it says how many tokens are wanted: three for each, which number the
/// vocabularies of today's checkpoints; no more than the window that the rows may take.
fn declared(stage: &Stage) -> u64 {
    let number = |path: &str| stage.fields.iter().find(|field| field.path == path)?.value.as_u64();
    let all = number("dataset.tokens").unwrap_or(0).saturating_mul(3);
    number("window.disk").map_or(all, |window| all.min(window))
}

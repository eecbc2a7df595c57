//! Content digests of a pipeline's sources: part of the fingerprints, and how a run notices a change since the plan.

use crate::error::{Error, Result};
use crate::pipeline::Pipeline;
use crate::pipeline::stage::{Stage, StageId};
use crate::store::Store;
use crate::store::digest::Digests;

/// Content digests of every stage's sources, indexed by [`StageId`].
#[derive(Clone, Debug, Default)]
pub struct SourceDigests(Vec<Vec<String>>);

impl SourceDigests {
    /// Reads the sources of a pipeline. A file whose digest the store remembers is not read again.
    ///
    /// # Errors
    /// [`Error::Input`] for a source that cannot be read.
    pub fn read(pipeline: &Pipeline, store: Option<&Store>) -> Result<Self> {
        let mut digests = Digests::new(store);
        let of_stage = |stage: &Stage| {
            stage.sources.iter().map(|source| digests.digest_source(source)).collect::<Result<_>>()
        };
        let found = pipeline.stages.iter().map(of_stage).collect::<Result<_>>()?;
        digests.save();
        Ok(Self(found))
    }

    /// Content digests of a stage's sources, in the order of `Stage::sources`.
    #[must_use]
    pub(crate) fn get(&self, id: StageId) -> &[String] {
        &self.0[id.index()]
    }
}

/// Refuses a stage whose sources are not what the plan saw: its result would get a fingerprint of other data.
///
/// # Errors
/// [`Error::Input`] that names the source.
pub(crate) fn refuse_changed_sources(stage: &Stage, planned: &[String], store: &Store) -> Result<()> {
    let mut digests = Digests::new(Some(store));
    for (source, planned) in stage.sources.iter().zip(planned) {
        if digests.digest_source(source)? != *planned {
            let message = format!("source `{}` changed since the plan was made", source.name);
            return Err(Error::Input { message, help: Some("run the same command again".into()) });
        }
    }
    digests.save();
    Ok(())
}

//! The checkpoint that training starts from. Its weights become those that are trained and are not kept beside them: for a model of
//! 1.7B parameters that would be 7 GB for nothing.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use burn_tensor::Device;
use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::contract::Contract;
use fmflow_engine::pipeline::origins::Origins;
use fmflow_engine::store::ArtifactWriter;

use crate::backbone::Backbone;
use crate::model::{Model, ModelTokenizer, weights_failure};
use crate::weights::{BASE, CheckpointReader};

/// What the checkpoint says beside its weights, and where these are.
pub(crate) struct Parent {
    folder: PathBuf,
    device: Device,
    /// The weights until they are taken for the first time.
    opened: Mutex<Option<Backbone>>,
    /// Rows of its embedding.
    pub vocabulary: usize,
    /// What it is.
    pub contract: Contract,
    /// Its tokenizer, if it has one.
    pub text: Option<ModelTokenizer>,
    /// Its settings of generation, passed on unchanged.
    pub generation: Option<Vec<u8>>,
    /// Its certificate, passed on unchanged.
    pub certificate: Option<Vec<u8>>,
    /// Which stages set the facts of its contract.
    pub origins: Origins,
}

impl Parent {
    /// The checkpoint in `folder`, which was opened.
    pub(super) fn new(model: Model, folder: &Path) -> Self {
        let Model { backbone, contract, text, generation, certificate, origins } = model;
        Self {
            folder: folder.to_owned(),
            device: backbone.device(),
            vocabulary: backbone.config().vocab_size,
            opened: Mutex::new(Some(backbone)),
            contract,
            text,
            generation,
            certificate,
            origins,
        }
    }

    /// Gives an artifact the weight files of the checkpoint, for an adapter on them; returns false if they are not weights alone.
    ///
    /// # Errors
    /// If the checkpoint cannot be read again, or the store fails.
    pub(super) fn share_weights(&self, writer: &mut ArtifactWriter) -> Result<bool, Failure> {
        let own = CheckpointReader::open(&self.folder).map_err(|e| weights_failure(&self.folder, &e))?;
        if own.is_adapted() {
            return Ok(false);
        }
        for name in own.file_names() {
            writer.share(&format!("{BASE}{name}"), &self.folder, name)?;
        }
        Ok(true)
    }

    /// Its weights: those that were opened for the first caller, who alone has them then, and read again for others.
    ///
    /// # Errors
    /// If the checkpoint cannot be read again.
    pub(super) fn take_backbone(&self) -> Result<Backbone, Failure> {
        match self.opened.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(backbone) => Ok(backbone),
            None => Ok(Model::open(&self.folder, &self.device)?.backbone),
        }
    }
}

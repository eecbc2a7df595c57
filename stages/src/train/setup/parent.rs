//! The checkpoint that training starts from. Its weights become those that are trained and are not kept beside them: for a model of
//! 1.7B parameters that would be 7 GB for nothing.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use burn_tensor::Device;
use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::contract::Contract;
use fmflow_engine::pipeline::origins::Origins;

use crate::backbone::Backbone;
use crate::model::{Model, ModelTokenizer};

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

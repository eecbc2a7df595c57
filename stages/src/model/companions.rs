//! What is written into a checkpoint folder beside its weights.

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::contract::{CERTIFICATE, Contract, PROVENANCE};
use fmflow_engine::pipeline::origins::{ORIGINS, Origins};
use fmflow_engine::store::ArtifactWriter;

use super::small_files::GENERATION;
use crate::backbone::Qwen3Config;

/// What is written into a checkpoint folder beside its weights and config.json.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Companions<'a> {
    /// What the model is.
    pub contract: &'a Contract,
    /// (name, bytes) of the files of its tokenizer.
    pub text: &'a [(String, Vec<u8>)],
    /// The bytes of the settings of generation.
    pub generation: Option<&'a [u8]>,
    /// The bytes of the certificate, if it exists already.
    pub certificate: Option<&'a [u8]>,
    /// Which stages set the facts of the contract.
    pub origins: &'a Origins,
}

impl Companions<'_> {
    /// Writes them, and the config of the model.
    ///
    /// # Errors
    /// Any error of the store.
    pub(crate) fn write(&self, writer: &mut ArtifactWriter, config: &Qwen3Config) -> Result<(), Failure> {
        writer.write("config.json", config.to_json().as_bytes())?;
        writer.write(PROVENANCE, self.contract.to_json().as_bytes())?;
        writer.write(ORIGINS, self.origins.to_json().as_bytes())?;
        for (name, bytes) in self.text {
            writer.write(name, bytes)?;
        }
        for (name, bytes) in [(GENERATION, self.generation), (CERTIFICATE, self.certificate)] {
            if let Some(bytes) = bytes {
                writer.write(name, bytes)?;
            }
        }
        Ok(())
    }
}

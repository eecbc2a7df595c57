//! The files of a checkpoint folder besides weights, config and contract: those of the tokenizer, the settings of generation, and the origins of
//! facts. They travel unchanged from the source through every stage to the export.

use std::path::Path as Folder;

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::origins::{ORIGINS, Origins};
use fmflow_engine::text::escape::show_path;

use crate::data::template::TEMPLATE_FILE;
use crate::failure::{input_failure, stage_failure};

/// The files of a tokenizer. The first is required, the others are optional.
pub(crate) const TOKENIZER_FILES: [&str; 9] = [
    "tokenizer.json",
    "tokenizer_config.json",
    TEMPLATE_FILE,
    "chat_template.json",
    "vocabulary.json",
    "added_tokens.json",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
];

/// The settings of generation. fmflow uses none of them, but other programs do.
pub(crate) const GENERATION: &str = "generation_config.json";

/// The bytes of a file in `folder`; `None` if there is none.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn read_if_present(folder: &Folder, name: &str) -> Result<Option<Vec<u8>>, Failure> {
    let file = folder.join(name);
    file.exists().then(|| std::fs::read(file)).transpose().map_err(stage_failure)
}

/// Which stages set the facts of the checkpoint in `folder`; empty if the folder does not say.
pub(crate) fn read_origins(folder: &Folder) -> Result<Origins, Failure> {
    let file = folder.join(ORIGINS);
    if !file.exists() {
        return Ok(Origins::default());
    }
    let text = std::fs::read_to_string(file).map_err(stage_failure)?;
    let refused =
        |why| input_failure(format!("{}: {why}", show_path(folder)), "restore the file, or remove it");
    Origins::parse(&text).map_err(refused)
}

//! The files of a checkpoint folder besides weights, config and contract: those of the tokenizer, and the settings of generation.
//! They travel unchanged from the source through every stage to the export.

use std::path::Path as Folder;

use fmflow_engine::error::Failure;

use crate::data::template::TEMPLATE_FILE;
use crate::failure::stage_failure;

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

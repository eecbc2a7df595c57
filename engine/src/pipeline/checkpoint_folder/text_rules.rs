//! Rules of the small files: those that speak of the same thing agree.

use super::CheckpointFolder;
use super::fault::FolderFault;
use crate::pipeline::checkpoint_texts::CheckpointTexts;
use crate::text::file_head;

/// Largest file that is read, in bytes. A tokenizer.json of 250,000 tokens has about 20 MB.
const MAX_BYTES: u64 = 256 << 20;

/// The rule: no two files contradict each other. A tokenizer.json that cannot be read is left to the library, and a config.json to
/// its own rule.
pub(super) fn check_texts(folder: &CheckpointFolder) -> Vec<FolderFault> {
    if folder.config().is_none()
        || (folder.has(super::tokenizer_rules::TOKENIZER) && folder.tokens().is_none())
    {
        return Vec::new();
    }
    let read = |name: &str| {
        let path = folder.path().join(name);
        let bytes = || file_head::read_small_file(&path, MAX_BYTES);
        file_head::is_present(&path)
            .then(|| bytes().ok_or_else(|| "it is no file of at most 256 MiB".to_owned()))
    };
    let found = match CheckpointTexts::read(read) {
        Ok(texts) => texts.find_disagreements(),
        Err(malformed) => vec![malformed],
    };
    found.into_iter().map(|one| FolderFault::new(one.what, one.cure)).collect()
}

//! Rules of the tokenizer: its ids are rows of the embedding, and it is there in a form that can be read.

use super::CheckpointFolder;
use super::fault::FolderFault;
use crate::pipeline::checkpoint_config::cut;
use crate::text::file_head;

/// File name of a tokenizer.
pub(super) const TOKENIZER: &str = "tokenizer.json";

/// Size of a pointer of Git LFS, at most.
const MAX_POINTER_BYTES: u64 = 1024;

/// Files of tokenizers that only Python reads.
const SLOW_FILES: [&str; 5] = ["vocab.json", "merges.txt", "tokenizer.model", "spiece.model", "vocab.txt"];

/// The rule: every id of the tokenizer has a row.
pub(super) fn check_tokenizer(folder: &CheckpointFolder) -> Vec<FolderFault> {
    if !folder.has(TOKENIZER) {
        return Vec::new();
    }
    let Some(tokens) = folder.tokens() else { return find_damage(folder).into_iter().collect() };
    let Some(config) = folder.config() else { return Vec::new() };
    let (end, rows) = (tokens.end(), config.vocab_size as u64);
    if end <= rows {
        return Vec::new();
    }
    let last = end.saturating_sub(1);
    let name = tokens.text(last).map_or(String::new(), |text| format!("token `{}` ", cut(text)));
    let message =
        format!("{TOKENIZER}: {name}has the id {last}, but the vocabulary of the model has {rows} entries");
    vec![FolderFault::new(message, "use the tokenizer that the model was made for")]
}

/// Why a tokenizer.json has no ids. One whose structure only the library knows is left to the library.
fn find_damage(folder: &CheckpointFolder) -> Option<FolderFault> {
    let path = folder.path().join(TOKENIZER);
    let pointer = file_head::read_small_file(&path, MAX_POINTER_BYTES)?;
    pointer.starts_with(b"version https://git-lfs").then(|| {
        let message = format!("`{TOKENIZER}`: the file is a pointer of Git LFS, not the tokenizer");
        FolderFault::new(message, "run `git lfs pull` in the repository that it comes from")
    })
}

/// Why text cannot be worked with; `None` if the folder has a tokenizer.
pub(super) fn find_missing_tokenizer(folder: &CheckpointFolder) -> Option<FolderFault> {
    if folder.has(TOKENIZER) {
        return None;
    }
    let Some(slow) = SLOW_FILES.iter().find(|name| folder.has(name)) else {
        let cure = "copy tokenizer.json from where the checkpoint comes from";
        return Some(FolderFault::new(format!("the folder has no {TOKENIZER}"), cure));
    };
    let message =
        format!("the folder has a tokenizer only in the old form (`{slow}`), without a {TOKENIZER}");
    let shown = folder.shown();
    let cure = format!(
        "with transformers: `AutoTokenizer.from_pretrained('{shown}').save_pretrained('{shown}')` writes {TOKENIZER}"
    );
    Some(FolderFault::new(message, cure))
}

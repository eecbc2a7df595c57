//! Rules of the small files: those that speak of the same thing agree.

use super::CheckpointFolder;
use super::fault::FolderFault;
use crate::pipeline::checkpoint_texts::{
    CheckpointTexts, Disagreement, FOLDER, MORE_TEMPLATES, describe_left_templates,
};
use crate::text::file_head;

/// Largest file that is read, in bytes. A tokenizer.json of 250,000 tokens has about 20 MB.
const MAX_BYTES: u64 = 256 << 20;

/// The rule: no two files contradict each other, and every setting about texts is read. A config.json that is refused is left to its own rule.
pub(super) fn check_texts(folder: &CheckpointFolder) -> Vec<FolderFault> {
    if folder.config().is_none() {
        return Vec::new();
    }
    let fault = |one: &Disagreement| FolderFault::new(&*one.what, one.cure.replace(FOLDER, folder.shown()));
    match read_texts(folder) {
        Err(malformed) => vec![fault(&malformed)],
        Ok(texts) => {
            let unread = texts.list_unread_settings();
            let unread = unread.iter().map(|one| FolderFault::unread(one.to_string(), one.cure()));
            texts.find_disagreements().iter().map(fault).chain(unread).collect()
        }
    }
}

/// Whether the folder has a chat template; also if its files cannot be read, which is a fault of its own.
pub(super) fn has_template(folder: &CheckpointFolder) -> bool {
    read_texts(folder).map_or(true, |texts| texts.has_template())
}

/// The text of the chat template, if there is one; the outer `None` if the files cannot be read.
pub(super) fn find_template(folder: &CheckpointFolder) -> Option<Option<String>> {
    read_texts(folder).ok().map(|texts| texts.find_template().map(str::to_owned))
}

fn read_texts(folder: &CheckpointFolder) -> Result<CheckpointTexts, Disagreement> {
    CheckpointTexts::read(|name: &str| {
        let path = folder.path().join(name);
        let bytes = || file_head::read_small_file(&path, MAX_BYTES);
        file_head::is_present(&path)
            .then(|| bytes().ok_or_else(|| "it is no file of at most 256 MiB".to_owned()))
    })
}

/// The rule: every chat template is used.
pub(super) fn check_templates(folder: &CheckpointFolder) -> Vec<FolderFault> {
    if !folder.folders().iter().any(|name| name == MORE_TEMPLATES) {
        return Vec::new();
    }
    let message = describe_left_templates();
    let cure = format!(
        "if another template is meant, write it to chat_template.jinja; if not, remove the folder `{MORE_TEMPLATES}`"
    );
    vec![FolderFault::unread(message, cure)]
}

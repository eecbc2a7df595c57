//! Which files hold documents, and their splits by the names of folders and files, with the words and in the order of the
//! `datasets` library.

use glob::{MatchOptions, Pattern, PatternError};
use indexmap::IndexMap;

use crate::pipeline::repository::{PinnedFile, data_kind_of};

/// Files by split; the name is empty for files that say none.
pub(super) type SplitFiles = IndexMap<String, Vec<PinnedFile>>;

/// The words that name a split (`SPLIT_KEYWORDS` of `datasets.data_files`).
const KEYWORDS: [(&str, &[&str]); 3] = [
    ("train", &["train", "training"]),
    ("validation", &["validation", "valid", "dev", "val"]),
    ("test", &["test", "testing", "eval", "evaluation"]),
];

/// Groups files below the folder `base` by split: by `data/SPLIT-00000-of-00001.`, else by names of folders, else by names of
/// files. Where none of the three shows a split, all files have none.
pub(super) fn group_by_name(base: &str, files: Vec<PinnedFile>) -> SplitFiles {
    for rule in [find_sharded_split, find_folder_split, find_file_split] {
        let mut groups = SplitFiles::new();
        for file in &files {
            let path = file.path.strip_prefix(base).unwrap_or(&file.path);
            if let Some(split) = rule(path) {
                groups.entry(split).or_default().push(file.clone());
            }
        }
        if !groups.is_empty() {
            return groups;
        }
    }
    SplitFiles::from([(String::new(), files)])
}

/// The split of `data/SPLIT-00000-of-00001.parquet`.
fn find_sharded_split(path: &str) -> Option<String> {
    let name = path.strip_prefix("data/")?;
    let (stem, of) = name.split_once("-of-")?;
    let (split, number) = stem.rsplit_once('-')?;
    let digits = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    let word = split.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.".contains(&byte));
    (digits(number) && of.get(..5).is_some_and(digits) && word).then(|| split.to_owned())
}

fn find_folder_split(path: &str) -> Option<String> {
    let (folders, _) = path.rsplit_once('/')?;
    folders.split('/').find_map(find_keyword)
}

fn find_file_split(path: &str) -> Option<String> {
    find_keyword(path.rsplit('/').next()?)
}

/// The split whose keyword a name has as a word of its own, between separators or digits.
fn find_keyword(name: &str) -> Option<String> {
    let words = || name.split(|letter: char| !letter.is_ascii_alphabetic());
    let found = KEYWORDS.iter().find(|(_, keywords)| words().any(|word| keywords.contains(&word)));
    found.map(|(split, _)| (*split).to_owned())
}

/// The files below `base` that a pattern matches, by path. A pattern that names a folder means what is in it.
///
/// # Errors
/// If it is no pattern.
pub(super) fn match_pattern(
    files: &[&PinnedFile],
    base: &str,
    pattern: &str,
) -> Result<Vec<PinnedFile>, PatternError> {
    let options = MatchOptions { require_literal_separator: true, ..MatchOptions::default() };
    let text = pattern.trim_start_matches("./").trim_start_matches('/');
    let whole = format!("{}{text}", Pattern::escape(base));
    let folder = format!("{base}{}/", text.trim_end_matches('/'));
    let parsed = Pattern::new(&whole)?;
    let mut found: Vec<PinnedFile> = files
        .iter()
        .filter(|file| parsed.matches_with(&file.path, options) || file.path.starts_with(&folder))
        .map(|file| (*file).clone())
        .collect();
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// Files of the hub's tools, which hold no documents.
const NO_DOCUMENTS: [&str; 5] =
    ["dataset_infos.json", "dataset_info.json", "dataset_dict.json", "state.json", "config.json"];

/// The data files below a folder, by path.
pub(super) fn list_data_files(base: &str, files: &[PinnedFile]) -> Vec<PinnedFile> {
    let is_data = |path: &str| {
        let name = path.rsplit('/').next().unwrap_or(path);
        data_kind_of(path).is_some() && !NO_DOCUMENTS.contains(&name)
    };
    let here = files
        .iter()
        .filter(|file| file.path.strip_prefix(base).is_some_and(is_visible) && is_data(&file.path));
    let mut here: Vec<PinnedFile> = here.cloned().collect();
    here.sort_by(|a, b| a.path.cmp(&b.path));
    here
}

/// Whether no part of a path begins like that of a hidden file or of a cache.
pub(super) fn is_visible(path: &str) -> bool {
    !path.split('/').any(|part| part.starts_with('.') || part.starts_with("__"))
}

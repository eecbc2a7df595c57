//! What an approval is for: the text of a command, where it comes from, and the files that decide what it does.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use serde_json::json;

use crate::error::{Error, Result};
use crate::plan::commands::AskedCommand;
use crate::text::escape::show_path;

/// Version of what a digest is made of.
const SCHEMA: &str = "fmflow.approval/2";

/// The largest file that is read because a command names it, in bytes. Of a larger one, such as data, size and time of its last
/// change count.
const LARGEST_NAMED: u64 = 16 << 20;

/// Characters that end a word of a command, beside blanks.
const ENDS: &str = "\"'`;|&<>()=,";

/// Name and text of the approval of a command: the digest, and what it is made of.
pub(super) fn describe(command: &AskedCommand) -> Result<(String, String)> {
    let folder = fs::canonicalize(&command.folder).map_err(Error::io("find", &command.folder))?;
    let text = json!({
        "schema": SCHEMA,
        "use": command.kind,
        "command": command.text,
        "environment": command.environment,
        "folder": folder.to_string_lossy(),
        "files": digest_files(command, &folder)?,
    });
    let text = serde_json::to_string_pretty(&text).expect("a JSON value has a text") + "\n";
    Ok((blake3::hash(text.as_bytes()).to_hex().to_string(), text))
}

/// What counts of every file that the command declares as its program or names: a script that changed is another program.
fn digest_files(command: &AskedCommand, folder: &Path) -> Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    for word in split_words(&command.text) {
        for path in find_files(word, command, folder) {
            files.insert(show_path(&path), digest_file(&path, LARGEST_NAMED)?);
        }
    }
    for path in &command.files {
        files.insert(show_path(path), digest_file(path, u64::MAX)?);
    }
    Ok(files)
}

/// Words of a command that may be files that it executes: all but those that its output goes to.
fn split_words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let (mut start, mut is_target) = (None, false);
    for (at, letter) in text.char_indices().chain([(text.len(), '\n')]) {
        if !letter.is_whitespace() && !ENDS.contains(letter) {
            start.get_or_insert(at);
            continue;
        }
        if let Some(from) = start.take() {
            words.extend((!is_target).then(|| &text[from..at]));
            is_target = false;
        }
        match letter {
            '>' => is_target = true,
            '<' | ';' | '(' | ')' | '\n' => is_target = false,
            _ => {}
        }
    }
    words
}

/// Files that a word of a command may mean: one at that path, or an input that the folder of the program has there.
fn find_files(word: &str, command: &AskedCommand, folder: &Path) -> Vec<PathBuf> {
    let path = folder.join(word);
    let plain: PathBuf = Path::new(word).components().filter(|part| *part != Component::CurDir).collect();
    let input = command.inputs.iter().find(|(place, _)| *place == plain).map(|(_, path)| path.clone());
    let found = [Some(path).filter(|path| path.is_file()), input];
    found.into_iter().flatten().collect()
}

/// What counts of a file: where it really is, and its contents, or, if it is larger than `most`, its size and last change. No
/// more is read than its size, because some files of the kernel have none and wait for a reader.
fn digest_file(path: &Path, most: u64) -> Result<String> {
    let unreadable = || Error::io("read", path);
    let real = fs::canonicalize(path).map_err(unreadable())?;
    let file = fs::File::open(&real).map_err(unreadable())?;
    let known = file.metadata().map_err(unreadable())?;
    if known.len() > most {
        let changed = (known.mtime(), known.mtime_nsec());
        return Ok(format!("{} of {} bytes, changed {changed:?}", show_path(&real), known.len()));
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file.take(known.len())).map_err(unreadable())?;
    Ok(format!("{} {}", show_path(&real), hasher.finalize().to_hex()))
}

#[cfg(test)]
mod tests {
    use super::split_words;

    #[test]
    fn words_are_all_but_the_targets_of_output() {
        let cases: &[(&str, &[&str])] = &[
            ("sh p.sh >> done.log", &["sh", "p.sh"]),
            ("sh p.sh >done.log 2>&1; sh q.sh", &["sh", "p.sh", "2", "sh", "q.sh"]),
            ("cat > \"out.txt\" < in.txt", &["cat", "in.txt"]),
            ("> out.txt sh p.sh", &["sh", "p.sh"]),
            (">| out.txt\nsh p.sh", &["sh", "p.sh"]),
            ("echo 1 > p.sh; sh p.sh", &["echo", "1", "sh", "p.sh"]),
            ("A=p.sh sh -c \". ./p.sh\"", &["A", "p.sh", "sh", "-c", ".", "./p.sh"]),
            ("sh >(p.sh)", &["sh", "p.sh"]),
        ];
        for (text, words) in cases {
            assert_eq!(split_words(text), *words, "{text}");
        }
    }
}

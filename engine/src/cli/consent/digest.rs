//! What an approval is for: the text of a command, where it comes from, and the files that decide what it does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use serde_json::json;

use crate::error::{Error, Result};
use crate::plan::commands::AskedCommand;
use crate::text::environment::read_raw_variable;
use crate::text::escape::show_path;

/// Version of what a digest is made of.
const SCHEMA: &str = "fmflow.approval/2";

/// The largest file that is read because a command names it, in bytes. Of a larger one, such as data, size and time of its last
/// change count.
const LARGEST_NAMED: u64 = 16 << 20;

/// Characters that end an unquoted word of a command, beside blanks.
const ENDS: &str = "`;|&<>()";

/// What may stand around a word in a word.
const QUOTES: &str = "\"'\\";

/// What divides a word whose parts may be files, such as `--file=clean.py`.
const PARTS: [char; 3] = ['=', ',', ':'];

/// How deep commands in words of commands are read.
const DEPTH: usize = 4;

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
        for path in find_files(&word, command, folder) {
            files.insert(show_path(&path), digest_file(&path, LARGEST_NAMED)?);
        }
    }
    for path in &command.files {
        files.insert(show_path(path), digest_file(path, u64::MAX)?);
    }
    Ok(files)
}

/// Words of a command that may be files that it executes: all but those that its output goes to. A word counts as the shell reads
/// it, without quotes, and in its parts, because it may be a command of its own.
fn split_words(text: &str) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    collect_words(text, DEPTH, &mut words);
    words
}

fn collect_words(text: &str, depth: usize, words: &mut BTreeSet<String>) {
    let divides = |letter: char| letter.is_whitespace() || ENDS.contains(letter) || QUOTES.contains(letter);
    for word in read_shell_words(text) {
        words.extend(word.split(PARTS).filter(|part| !part.is_empty()).map(str::to_owned));
        if depth > 0 && word.contains(divides) {
            collect_words(&word, depth - 1, words);
        }
        words.insert(word);
    }
}

/// The words of a text as a shell reads them, without those behind an unquoted `>`.
fn read_shell_words(text: &str) -> Vec<String> {
    let mut found = ShellWords::default();
    let (mut quote, mut before) = (None, '\n');
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(open), _) if letter == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(letter);
                found.begun = true;
            }
            (None | Some('"'), '\\') => found.add_escaped(letters.next(), quote.is_some()),
            (None, _) if letter.is_whitespace() || ENDS.contains(letter) => found.end_word(letter, before),
            _ => found.add(letter),
        }
        before = letter;
    }
    // Also where a quote is open.
    found.end_word('\n', before);
    found.words
}

/// Words that were read, and the one that is being read.
#[derive(Default)]
struct ShellWords {
    words: Vec<String>,
    word: String,
    /// Whether there is a word, which may be empty.
    begun: bool,
    /// Whether output goes to it.
    is_target: bool,
}

impl ShellWords {
    fn add(&mut self, letter: char) {
        self.word.push(letter);
        self.begun = true;
    }

    /// Adds what stands behind a backslash. In quotes, most letters keep theirs.
    fn add_escaped(&mut self, letter: Option<char>, quoted: bool) {
        match letter {
            Some('\n') => {}
            Some(letter) if !quoted || "$`\"\\".contains(letter) => self.add(letter),
            kept => ['\\'].into_iter().chain(kept).for_each(|letter| self.add(letter)),
        }
    }

    /// Ends the word before an unquoted letter that belongs to none; `before` is the letter before it.
    fn end_word(&mut self, letter: char, before: char) {
        let word = std::mem::take(&mut self.word);
        let begun = std::mem::take(&mut self.begun);
        self.words.extend((begun && !self.is_target).then_some(word));
        self.is_target = match letter {
            '>' => true,
            // `>&` and `>|` begin a target, too.
            '&' | '|' => before == '>',
            '\n' | ';' | '<' | '(' | ')' | '`' => false,
            _ => self.is_target && !begun,
        };
    }
}

/// Files that a word of a command may mean: one at that path, or an input that the folder of the program has there.
fn find_files(word: &str, command: &AskedCommand, folder: &Path) -> Vec<PathBuf> {
    let home =
        word.strip_prefix("~/").and_then(|rest| Some(PathBuf::from(read_raw_variable("HOME")?).join(rest)));
    let path = home.unwrap_or_else(|| folder.join(word));
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
            ("sh p.sh >> done.log", &["p.sh", "sh"]),
            ("sh p.sh >done.log 2>&1; sh q.sh", &["2", "p.sh", "q.sh", "sh"]),
            ("cat > \"out.txt\" < in.txt", &["cat", "in.txt"]),
            ("> out.txt sh p.sh", &["p.sh", "sh"]),
            (">| out.txt\nsh p.sh &> log", &["p.sh", "sh"]),
            ("echo 1 > p.sh; sh p.sh", &["1", "echo", "p.sh", "sh"]),
            ("sh >(p.sh)", &["p.sh", "sh"]),
            (
                "sh 'my hook.sh' my\\ other.sh",
                &["hook.sh", "my", "my hook.sh", "my other.sh", "other.sh", "sh"],
            ),
            ("sh ./no'ti'fy.sh", &["./notify.sh", "sh"]),
            ("sh a,b.sh", &["a", "a,b.sh", "b.sh", "sh"]),
            ("sh \"open", &["open", "sh"]),
            // A file may have a backslash in its name.
            ("sh \"a\\b.sh\" c\\", &["a\\b.sh", "ab.sh", "c\\", "sh"]),
        ];
        for (text, words) in cases {
            let found = split_words(text);
            assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), *words, "{text}");
        }
        for (text, word) in [
            // Quotes make `>` a letter.
            (r#"echo "==>" && ./notify.sh"#, "./notify.sh"),
            (r#"sh -c "sh ./p.sh >> done.log""#, "./p.sh"),
            (r#"A=p.sh sh -c ". \"$A\"""#, "p.sh"),
            ("python3 --file=clean.py", "clean.py"),
            ("echo `sh p.sh`", "p.sh"),
        ] {
            assert!(split_words(text).contains(word), "{text}: {:?}", split_words(text));
        }
        assert!(!split_words(r#"sh -c "sh ./p.sh >> done.log""#).contains("done.log"));
    }
}

//! Documents that have a run of words in common with a benchmark. A model that has learned them was not measured by it.
//!
//! Words are letters and digits, in lower case; what is between them does not count. Runs are looked up by a rolling hash and then
//! compared word by word, so that no document is left out because two hashes are equal. Memory depends on the benchmark alone.

mod words;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use fmflow_engine::documents::{Document, RecordPlace};
use fmflow_engine::pipeline::config::ContaminationCheck;
use fmflow_engine::text::display::count_noun;
use fmflow_engine::text::escape::{escape_line, show_path};
use fmflow_engine::text::unpack::UnpackedFile;
use serde_json::{Value, json};

use words::RunIndex;

/// Name of the file that lists documents with words of a benchmark.
pub(crate) const LISTED: &str = "contamination.jsonl";

/// Most documents that are listed; all are counted.
const MOST_LISTED: u64 = 100_000;

/// Largest size of a benchmark's file, unpacked.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// Why a benchmark cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("benchmark `{}`: {problem}", escape_line(name))]
pub(crate) struct ContaminationError {
    name: String,
    problem: String,
}

/// One benchmark, and what was found of it.
#[derive(Debug)]
struct Benchmark {
    check: ContaminationCheck,
    runs: RunIndex,
    /// Texts of the benchmark, and those with fewer words than a run.
    texts: u64,
    short: u64,
    /// Documents that share a run with it.
    found: u64,
    first: Option<String>,
}

/// Looks for benchmarks in documents.
#[derive(Debug, Default)]
pub(crate) struct Contamination {
    benchmarks: Vec<Benchmark>,
    documents: u64,
    dropped: u64,
    /// Lines of [`LISTED`].
    listed: Vec<u8>,
    lines: u64,
}

impl Contamination {
    /// Reads the benchmarks, each with its files.
    ///
    /// # Errors
    /// If a file cannot be read, is no JSON, or is too large, or no text has enough words.
    pub(crate) fn read(
        checks: impl Iterator<Item = (ContaminationCheck, Vec<PathBuf>)>,
    ) -> Result<Self, ContaminationError> {
        let benchmarks =
            checks.map(|(check, files)| Benchmark::read(check, &files)).collect::<Result<_, _>>()?;
        Ok(Self { benchmarks, ..Self::default() })
    }

    /// Whether there is anything to look for.
    pub(crate) fn is_checked(&self) -> bool {
        !self.benchmarks.is_empty()
    }

    /// Documents that were left out so far.
    pub(crate) fn count_dropped(&self) -> u64 {
        self.dropped
    }

    /// Whether a document is learned. `place` is its file and the place in it.
    pub(crate) fn admits(&mut self, document: &Document, place: Option<(&Path, RecordPlace)>) -> bool {
        self.documents += 1;
        let mut admitted = true;
        for benchmark in &mut self.benchmarks {
            let Some(run) = find_run(&benchmark.runs, document) else { continue };
            let (file, place) = describe_place(place);
            benchmark.found += 1;
            benchmark.first.get_or_insert_with(|| place.clone());
            admitted &= !benchmark.check.drops;
            if self.lines < MOST_LISTED {
                self.lines += 1;
                let line = json!({
                    "file": file, "place": place, "benchmark": benchmark.check.name, "record": run.record,
                    "words": run.words, "dropped": benchmark.check.drops,
                });
                self.listed.extend(line.to_string().into_bytes());
                self.listed.push(b'\n');
            }
        }
        self.dropped += u64::from(!admitted);
        admitted
    }

    /// The content of [`LISTED`].
    pub(crate) fn listed(&self) -> &[u8] {
        &self.listed
    }

    /// What was found, one sentence for each benchmark.
    pub(crate) fn describe(&self) -> impl Iterator<Item = String> {
        self.benchmarks.iter().map(|benchmark| benchmark.describe(self.documents))
    }
}

impl Benchmark {
    fn read(check: ContaminationCheck, files: &[PathBuf]) -> Result<Self, ContaminationError> {
        let fail = |problem: String| ContaminationError { name: check.name.clone(), problem };
        let (mut runs, mut texts, mut short) = (RunIndex::new(check.words), 0, 0);
        // Records are numbered through all files of the benchmark.
        let mut number = 0_u64;
        for file in files {
            for record in &read_records(file).map_err(&fail)? {
                for text in list_texts(record) {
                    texts += 1;
                    short += u64::from(!runs.add(text, number).map_err(&fail)?);
                }
                number += 1;
            }
        }
        runs.finish();
        if short == texts {
            return Err(fail(format!(
                "none of its {} has {} words in a row; lower `ngram=`, or name other files",
                count_noun(texts, "text"),
                check.words
            )));
        }
        Ok(Self { check, runs, texts, short, found: 0, first: None })
    }

    fn describe(&self, documents: u64) -> String {
        let Self { check, texts, short, found, .. } = self;
        let name = escape_line(&check.name);
        let percent = 100.0 * *found as f64 / documents.max(1) as f64;
        let fate = if check.drops { "are dropped" } else { "are learned all the same" };
        let first = match &self.first {
            Some(place) => format!(", the first in {place}; `{LISTED}` lists them"),
            None => String::new(),
        };
        let left = match short {
            0 => String::new(),
            many => format!("; {many} of its {} are shorter and not looked for", count_noun(*texts, "text")),
        };
        format!(
            "contamination: {found} of {} ({percent:.1} %) have {} words in a row in common with `{name}` and {fate}{first}{left}",
            count_noun(documents, "document"),
            check.words
        )
    }
}

/// The first run of words that a document has in common with a benchmark. A run does not go from one turn to the next.
fn find_run<'a>(runs: &'a RunIndex, document: &Document) -> Option<&'a words::Run> {
    match document {
        Document::Text(text) => runs.find(text),
        Document::Chat(talk) => talk.messages().iter().find_map(|turn| runs.find(&turn.content)),
    }
}

/// The name of a file, and the place with it. An artifact must not depend on the folder.
fn describe_place(place: Option<(&Path, RecordPlace)>) -> (String, String) {
    let (file, place) = place.expect("a document that was read has a place");
    let name = show_path(file.file_name().unwrap_or(file.as_os_str()));
    let place = place.in_file(&name);
    (name, place)
}

/// The records of a benchmark's file: JSON values one after another, or the elements of an array.
fn read_records(file: &Path) -> Result<Vec<Value>, String> {
    let shown = show_path(file);
    let unreadable = |cause: std::io::Error| format!("{shown} cannot be read: {cause}");
    let name = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy();
    if !std::fs::metadata(file).map_err(unreadable)?.is_file() {
        return Err(format!("{shown} is not a regular file"));
    }
    let unpacked = UnpackedFile::new(File::open(file).map_err(unreadable)?, &name).map_err(unreadable)?;
    let mut bytes = Vec::new();
    unpacked.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("{shown} unpacks to more than 256 MiB; divide it"));
    }
    let values = serde_json::Deserializer::from_slice(&bytes).into_iter::<Value>();
    let values: Vec<Value> = values
        .collect::<Result<_, _>>()
        .map_err(|cause| format!("{shown} is no JSON: {cause}; write one object per line, or one array"))?;
    Ok(match <[Value; 1]>::try_from(values) {
        Ok([Value::Array(elements)]) => elements,
        Ok([one]) => vec![one],
        Err(many) => many,
    })
}

/// All texts in a value.
fn list_texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().flat_map(list_texts).collect(),
        Value::Object(fields) => fields.values().flat_map(list_texts).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fmflow_engine::documents::Conversation;

    fn check(name: &str, words: usize, drops: bool) -> ContaminationCheck {
        ContaminationCheck { name: name.into(), source: String::new(), words, drops }
    }

    fn read(content: &str, check: ContaminationCheck) -> Result<Contamination, ContaminationError> {
        let file = tempfile::Builder::new().suffix(".jsonl").tempfile().unwrap();
        std::fs::write(file.path(), content).unwrap();
        Contamination::read([(check, vec![file.path().to_owned()])].into_iter())
    }

    fn place() -> Option<(&'static Path, RecordPlace)> {
        Some((Path::new("folder/d.jsonl"), RecordPlace::Line(7)))
    }

    #[test]
    fn a_document_with_a_run_is_dropped_listed_and_counted() {
        let lines = "{\"id\": 1, \"prompt\": \"Write a function, to find it!\"}\n{\"tests\": [\"assert f(1) == 2 and g(x)\"]}";
        let mut found = read(lines, check("small", 5, true)).unwrap();
        let text = |text: &str| Document::Text(text.into());
        assert!(found.admits(&text("write a function to"), place()));
        assert!(!found.admits(&text("Please\nwrite a FUNCTION to... find"), place()));
        assert!(!found.admits(&text("f 1 2 and g, x"), place()));
        let talk = |q: &str, a: &str| Document::Chat(Conversation::pair(q.into(), a.into(), String::new()));
        assert!(!found.admits(&talk("hello", "(a function to find it)"), place()));
        // A run does not go from one turn to the next.
        assert!(found.admits(&talk("write a function", "to find it"), place()));
        let listed: Vec<Value> = std::str::from_utf8(found.listed())
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(listed.len(), 3);
        let expected = json!({
            "file": "d.jsonl", "place": "d.jsonl:7", "benchmark": "small", "record": 0,
            "words": "write a function to find", "dropped": true,
        });
        assert_eq!(listed[0], expected);
        assert_eq!(listed[1]["record"], 1);
        assert_eq!(
            found.describe().collect::<Vec<_>>(),
            [
                "contamination: 3 of 5 documents (60.0 %) have 5 words in a row in common with `small` and are dropped, \
              the first in d.jsonl:7; `contamination.jsonl` lists them"
            ]
        );
    }

    #[test]
    fn what_is_only_reported_is_learned() {
        let mut found = read("[{\"p\": \"a b c d e\"}, \"short one\"]", check("b", 4, false)).unwrap();
        assert!(found.admits(&Document::Text("b c d e f".into()), place()));
        let said: Vec<_> = found.describe().collect();
        assert!(said[0].contains("1 of 1 document (100.0 %)"), "{said:?}");
        assert!(said[0].contains("are learned all the same"), "{said:?}");
        assert!(said[0].ends_with("; 1 of its 2 texts are shorter and not looked for"), "{said:?}");
    }

    #[test]
    fn a_benchmark_that_cannot_be_compared_is_refused() {
        let refused = |content: &str| read(content, check("b\u{1b}", 13, true)).unwrap_err().to_string();
        assert!(
            refused("{\"p\": \"a b\"}").contains("none of its 1 text has 13 words in a row; lower `ngram=`")
        );
        assert!(refused("").contains("none of its 0 texts"));
        assert!(refused("text, not JSON").contains("is no JSON: expected"));
        assert!(refused("{\"p\": 1}").starts_with("benchmark `b\\u{1b}`"));
    }

    #[test]
    fn the_real_benchmarks_find_their_own_problems_and_no_other_text() {
        let named = std::env::var_os("FMFLOW_DATA");
        let default = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data"));
        let folder = named.map_or_else(default, PathBuf::from);
        let file = folder.join("HumanEval.jsonl.gz");
        if !file.exists() {
            assert!(std::env::var_os("CI").is_none(), "{} is missing", file.display());
            eprintln!("skipped: no benchmarks in {}", folder.display());
            return;
        }
        let mut found =
            Contamination::read([(check("humaneval", 13, true), vec![file.clone()])].into_iter()).unwrap();
        let records = read_records(&file).unwrap();
        assert_eq!(records.len(), 164);
        for record in &records {
            let text = |field: &str| record[field].as_str().unwrap().to_owned();
            let document = text("prompt") + &text("canonical_solution");
            assert!(!found.admits(&Document::Text(document), place()), "{}", record["task_id"]);
        }
        let plain = std::fs::read_to_string(folder.join("tinyshakespeare.txt")).unwrap();
        for part in plain.split("\n\n") {
            assert!(found.admits(&Document::Text(part.into()), place()), "{part}");
        }
    }
}

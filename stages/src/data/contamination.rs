//! Documents that have a run of words in common with a benchmark, or with held-out documents. A model that has learned them was not
//! measured by those.
//!
//! Words are letters and digits, in lower case; what is between them does not count. Runs are looked up by a rolling hash and then
//! compared word by word, so that no document is left out because two hashes are equal. Memory depends on the texts that are looked for.

mod words;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fmflow_engine::documents::{Document, RecordPlace};
use fmflow_engine::pipeline::config::{ComparedTexts, ContaminationCheck};
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

/// Why texts cannot be compared.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {problem}")]
pub(crate) struct ContaminationError {
    name: String,
    problem: String,
}

/// The texts of one comparison, and what was found of them.
#[derive(Clone, Debug)]
pub(crate) struct TextSet {
    check: ContaminationCheck,
    runs: Arc<RunIndex>,
    /// Texts, and those with fewer words than a run.
    texts: u64,
    short: u64,
    /// Documents that were compared, and those that share a run with them.
    compared: u64,
    found: u64,
    first: Option<String>,
}

/// Looks for texts in documents.
#[derive(Debug, Default)]
pub(crate) struct Contamination {
    sets: Vec<TextSet>,
    dropped: u64,
    /// Lines of [`LISTED`].
    listed: Vec<u8>,
    lines: u64,
}

impl Contamination {
    /// Compares documents with these texts.
    #[must_use]
    pub(crate) fn new(sets: Vec<TextSet>) -> Self {
        Self { sets, ..Self::default() }
    }

    /// The same texts, of which nothing was found yet.
    #[must_use]
    pub(crate) fn begin_again(&self) -> Self {
        let fresh = |set: &TextSet| TextSet { compared: 0, found: 0, first: None, ..set.clone() };
        Self::new(self.sets.iter().map(fresh).collect())
    }

    /// Whether there is anything to look for.
    pub(crate) fn is_checked(&self) -> bool {
        !self.sets.is_empty()
    }

    /// Documents that were left out so far.
    pub(crate) fn count_dropped(&self) -> u64 {
        self.dropped
    }

    /// Whether a document is in the rows. `place` is its file and the place in it, `held_out` the share that is held out.
    pub(crate) fn admits(
        &mut self,
        document: &Document,
        place: Option<(&Path, RecordPlace)>,
        held_out: f64,
    ) -> bool {
        let mut admitted = true;
        let mut is_held_out = None;
        for set in &mut self.sets {
            // What is held out is not learned.
            if matches!(set.check.texts, ComparedTexts::HeldOut { .. })
                && *is_held_out.get_or_insert_with(|| document.is_held_out(held_out))
            {
                continue;
            }
            set.compared += 1;
            // A run does not go from one turn to the next.
            let Some(run) = list_document_texts(document).find_map(|text| set.runs.find(text)) else {
                continue;
            };
            let (file, place) = describe_place(place);
            set.found += 1;
            set.first.get_or_insert_with(|| place.clone());
            admitted &= !set.check.drops;
            if self.lines < MOST_LISTED {
                self.lines += 1;
                let line = json!({
                    "file": file, "place": place, "benchmark": set.check.name, "record": run.record,
                    "words": run.words, "dropped": set.check.drops,
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

    /// What was found, one sentence for each comparison.
    pub(crate) fn describe(&self) -> impl Iterator<Item = String> {
        self.sets.iter().map(TextSet::describe)
    }
}

impl TextSet {
    /// A set without texts.
    #[must_use]
    pub(crate) fn new(check: ContaminationCheck) -> Self {
        let runs = Arc::new(RunIndex::new(check.words));
        Self { check, runs, texts: 0, short: 0, compared: 0, found: 0, first: None }
    }

    /// All texts in the files of a benchmark. Records are numbered through all of them.
    ///
    /// # Errors
    /// If a file cannot be read, is no JSON, or is too large, or no text has enough words.
    pub(crate) fn of_files(check: ContaminationCheck, files: &[PathBuf]) -> Result<Self, ContaminationError> {
        let mut set = Self::new(check);
        let mut number = 0_u64;
        for file in files {
            for record in &read_records(file).map_err(|problem| set.fail(problem))? {
                for text in list_texts(record) {
                    set.add(text, number)?;
                }
                number += 1;
            }
        }
        set.finish()
    }

    /// Adds a text of a record.
    ///
    /// # Errors
    /// If there are too many.
    pub(crate) fn add(&mut self, text: &str, record: u64) -> Result<(), ContaminationError> {
        let runs = Arc::get_mut(&mut self.runs).expect("nothing is looked for yet");
        let added = runs.add(text, record);
        self.texts += 1;
        self.short += u64::from(!added.map_err(|problem| self.fail(problem))?);
        Ok(())
    }

    /// Prepares the comparison, once all texts are added.
    ///
    /// # Errors
    /// If no text has enough words, or there are too many runs.
    pub(crate) fn finish(mut self) -> Result<Self, ContaminationError> {
        let runs = Arc::get_mut(&mut self.runs).expect("nothing is looked for yet");
        runs.finish().map_err(|problem| self.fail(problem))?;
        match self.short == self.texts {
            true => Err(self.fail(format!(
                "none of its {} has {} consecutive words; lower `ngram=`, or name other texts",
                count_noun(self.texts, "text"),
                self.check.words
            ))),
            false => Ok(self),
        }
    }

    fn fail(&self, problem: String) -> ContaminationError {
        ContaminationError { name: self.name(), problem }
    }

    /// What the texts are called, safe for a terminal.
    fn name(&self) -> String {
        match &self.check.texts {
            ComparedTexts::Benchmark { .. } => format!("benchmark `{}`", escape_line(&self.check.name)),
            ComparedTexts::HeldOut { dataset, .. } => {
                format!("held-out documents of `{}`", escape_line(dataset))
            }
        }
    }

    fn describe(&self) -> String {
        let Self { check, texts, short, found, compared, .. } = self;
        let (what, name) = match &check.texts {
            ComparedTexts::Benchmark { .. } => ("document", format!("`{}`", escape_line(&check.name))),
            ComparedTexts::HeldOut { .. } => ("training document", self.name()),
        };
        let percent = 100.0 * *found as f64 / (*compared).max(1) as f64;
        let (has, is) = if *found == 1 { ("has", "is") } else { ("have", "are") };
        let fate = if check.drops { "dropped" } else { "learned all the same" };
        let first = match &self.first {
            Some(place) => format!(", the first in {place}; `{LISTED}` lists them"),
            None => String::new(),
        };
        let left = match short {
            0 => String::new(),
            1 => format!("; 1 of its {} is shorter and not looked for", count_noun(*texts, "text")),
            many => format!("; {many} of its {} are shorter and not looked for", count_noun(*texts, "text")),
        };
        format!(
            "contamination: {found} of {} ({percent:.1} %) {has} {} consecutive words in common with {name} and {is} {fate}{first}{left}",
            count_noun(*compared, what),
            check.words
        )
    }
}

/// The texts of a document that are compared: of a conversation every turn.
pub(crate) fn list_document_texts(document: &Document) -> impl Iterator<Item = &str> {
    let (text, turns) = match document {
        Document::Text(text) => (Some(text.as_str()), &[][..]),
        Document::Chat(talk) => (None, talk.messages()),
    };
    text.into_iter().chain(turns.iter().map(|turn| turn.content.as_str()))
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
        ContaminationCheck {
            name: name.into(),
            texts: ComparedTexts::Benchmark { source: String::new() },
            words,
            drops,
        }
    }

    fn read(content: &str, check: ContaminationCheck) -> Result<Contamination, ContaminationError> {
        let file = tempfile::Builder::new().suffix(".jsonl").tempfile().unwrap();
        std::fs::write(file.path(), content).unwrap();
        let set = TextSet::of_files(check, &[file.path().to_owned()])?;
        Ok(Contamination::new(vec![set]))
    }

    fn place() -> Option<(&'static Path, RecordPlace)> {
        Some((Path::new("folder/d.jsonl"), RecordPlace::Line(7)))
    }

    #[test]
    fn a_document_with_a_run_is_dropped_listed_and_counted() {
        let lines = "{\"id\": 1, \"prompt\": \"Write a function, to find it!\"}\n{\"tests\": [\"assert f(1) == 2 and g(x)\"]}";
        let mut found = read(lines, check("small", 5, true)).unwrap();
        let text = |text: &str| Document::Text(text.into());
        assert!(found.admits(&text("write a function to"), place(), 0.0));
        assert!(!found.admits(&text("Please\nwrite a FUNCTION to... find"), place(), 0.0));
        assert!(!found.admits(&text("f 1 2 and g, x"), place(), 0.0));
        let talk = |q: &str, a: &str| Document::Chat(Conversation::pair(q.into(), a.into(), String::new()));
        assert!(!found.admits(&talk("hello", "(a function to find it)"), place(), 0.0));
        // A run does not go from one turn to the next.
        assert!(found.admits(&talk("write a function", "to find it"), place(), 0.0));
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
                "contamination: 3 of 5 documents (60.0 %) have 5 consecutive words in common with `small` and are dropped, \
              the first in d.jsonl:7; `contamination.jsonl` lists them"
            ]
        );
    }

    #[test]
    fn held_out_documents_are_compared_with_training_documents_only() {
        let held = ContaminationCheck {
            texts: ComparedTexts::HeldOut { dataset: "w".into(), parts: Vec::new() },
            ..check("held-out w", 4, true)
        };
        let mut set = TextSet::new(held);
        set.add("The quick brown fox jumps", 3).unwrap();
        let mut found = Contamination::new(vec![set.finish().unwrap()]);
        let copy = Document::Text("the quick, brown fox".into());
        assert!(!found.admits(&copy, place(), 0.0));
        assert!(found.admits(&copy, place(), 0.999_999), "it is held out itself");
        let said: Vec<_> = found.describe().collect();
        assert_eq!(
            said,
            [
                "contamination: 1 of 1 training document (100.0 %) has 4 consecutive words in common with held-out documents of \
              `w` and is dropped, the first in d.jsonl:7; `contamination.jsonl` lists them"
            ]
        );
        assert_eq!(found.begin_again().count_dropped(), 0);
    }

    #[test]
    fn what_is_only_reported_is_learned() {
        let mut found = read("[{\"p\": \"a b c d e\"}, \"short one\"]", check("b", 4, false)).unwrap();
        assert!(found.admits(&Document::Text("b c d e f".into()), place(), 0.0));
        let said: Vec<_> = found.describe().collect();
        assert!(said[0].contains("1 of 1 document (100.0 %)"), "{said:?}");
        assert!(said[0].contains("is learned all the same"), "{said:?}");
        assert!(said[0].ends_with("; 1 of its 2 texts is shorter and not looked for"), "{said:?}");
    }

    #[test]
    fn a_benchmark_that_cannot_be_compared_is_refused() {
        let refused = |content: &str| read(content, check("b\u{1b}", 13, true)).unwrap_err().to_string();
        assert!(
            refused("{\"p\": \"a b\"}")
                .contains("none of its 1 text has 13 consecutive words; lower `ngram=`")
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
        let mut found = Contamination::new(vec![
            TextSet::of_files(check("humaneval", 13, true), std::slice::from_ref(&file)).unwrap(),
        ]);
        let records = read_records(&file).unwrap();
        assert_eq!(records.len(), 164);
        for record in &records {
            let text = |field: &str| record[field].as_str().unwrap().to_owned();
            let document = text("prompt") + &text("canonical_solution");
            assert!(!found.admits(&Document::Text(document), place(), 0.0), "{}", record["task_id"]);
        }
        let plain = std::fs::read_to_string(folder.join("tinyshakespeare.txt")).unwrap();
        for part in plain.split("\n\n") {
            assert!(found.admits(&Document::Text(part.into()), place(), 0.0), "{part}");
        }
    }
}

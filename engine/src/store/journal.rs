//! The history of runs: one line per event in `runs/journal.jsonl`, and one record of its inputs per run in
//! `runs/<number>.json`. Runs are numbered from 1 in the order of their `start` events.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::pipeline::fingerprint::Ledger;
use crate::store::layout::{self, Store};
use crate::text::escape::show_path;

/// The inputs of a run, written before it starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Always [`Self::SCHEMA`].
    pub schema: String,
    /// Absolute path of the configuration file.
    pub file: PathBuf,
    /// Settings given on the command line, as `path=value`.
    #[serde(default)]
    pub settings: Vec<String>,
    /// When the run started (UTC).
    pub started: String,
    /// Device that the run computes on.
    pub device: String,
    /// Stage given with `--until`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Stage given with `--only`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<String>,
    /// Ledgers of the stages, by name.
    pub stages: IndexMap<String, Ledger>,
    /// Where each semantic setting was written, as `file:line:column`, by stage and field.
    #[serde(default)]
    pub places: IndexMap<String, IndexMap<String, String>>,
}

/// An earlier run, as recorded in the journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PastRun {
    /// Number of the run; the store's first is 1.
    pub number: u64,
    /// When it started (UTC).
    pub started: String,
    /// Absolute path of the configuration file.
    pub file: PathBuf,
    /// Settings given on the command line, as `path=value`.
    pub settings: Vec<String>,
    /// Device that it computed on.
    pub device: String,
    /// Last event of each stage that was begun, in order, such as `done` or `failed`; `begun` if none followed.
    pub stages: IndexMap<String, String>,
    /// Messages of failed stages, by name.
    pub failures: IndexMap<String, String>,
    /// Exit code; `None` for a run that is in progress or was killed.
    pub code: Option<u8>,
}

impl RunRecord {
    /// Version of this format.
    pub(crate) const SCHEMA: &'static str = "fmflow.run-record/1";
}

impl Store {
    /// Records the start of a run and returns its number.
    ///
    /// # Errors
    /// [`Error::Usage`] if the path of the configuration is not UTF-8: JSON cannot hold it. [`Error::Io`] if the record
    /// cannot be written.
    pub fn begin_run(&self, record: &RunRecord) -> Result<u64> {
        let text = serde_json::to_string_pretty(record).map_err(|_| unrecordable_path(&record.file))? + "\n";
        self.ensure_folder("runs")?;
        let journal = self.read_journal()?;
        let number = parse_past_runs(&journal).len() as u64 + 1;
        self.replace_file(&self.record_path(number), text.as_bytes())?;
        self.replace_file(&self.root().join("runs/last.json"), text.as_bytes())?;
        // A killed process may have left part of a line; without a line break the new event would be lost with it.
        let torn = !journal.is_empty() && !journal.ends_with('\n');
        let event = json!({
            "event": "start", "file": record.file, "settings": record.settings, "device": record.device,
        });
        self.append_event(if torn { "\n" } else { "" }, &event)?;
        Ok(number)
    }

    /// All runs, oldest first.
    ///
    /// # Errors
    /// If the journal cannot be read.
    pub(crate) fn past_runs(&self) -> Result<Vec<PastRun>> {
        Ok(parse_past_runs(&self.read_journal()?))
    }

    /// The record of a run; `None` if there is none, for example because `gc` removed it.
    ///
    /// # Errors
    /// As [`Self::last_run`].
    pub(crate) fn run_record(&self, number: u64) -> Result<Option<RunRecord>> {
        self.read_record(&format!("{number}.json"))
    }

    /// Path of the record of a run.
    pub(super) fn record_path(&self, number: u64) -> PathBuf {
        self.root().join(format!("runs/{number}.json"))
    }

    /// Appends one event, a JSON object, to the journal. The event is on stable storage when this returns.
    ///
    /// # Errors
    /// If the journal cannot be written or synced.
    pub fn record_event(&self, event: &Value) -> Result<()> {
        self.ensure_folder("runs")?;
        self.append_event("", event)
    }

    fn append_event(&self, before: &str, event: &Value) -> Result<()> {
        let path = self.root().join("runs/journal.jsonl");
        let mut line = json!({ "time": layout::format_current_time(), "process": std::process::id() });
        let event = event.as_object().expect("an event is an object");
        line.as_object_mut().expect("so is its line").extend(event.clone());
        let mut file = self.vfs().append(&path).map_err(Error::io("open", &path))?;
        file.write_all(format!("{before}{line}\n").as_bytes()).map_err(Error::io("write", &path))?;
        file.sync().map_err(Error::io("sync", &path))
    }

    fn read_journal(&self) -> Result<String> {
        let path = self.root().join("runs/journal.jsonl");
        match self.vfs().read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
            other => Ok(String::from_utf8_lossy(&other.map_err(Error::io("read", &path))?).into_owned()),
        }
    }

    /// The record of the last run, if there was one.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the record does not parse, [`Error::Io`] if it cannot be read.
    pub fn last_run(&self) -> Result<Option<RunRecord>> {
        self.read_record("last.json")
    }

    fn read_record(&self, name: &str) -> Result<Option<RunRecord>> {
        let folder = self.root().join("runs");
        let path = folder.join(name);
        let bytes = match self.vfs().read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            other => other.map_err(Error::io("read", &path))?,
        };
        let what =
            |error: serde_json::Error| Error::Corrupt { folder, file: name.into(), what: error.to_string() };
        serde_json::from_slice(&bytes).map(Some).map_err(what)
    }
}

/// Collects the runs from the events of a journal. Lines that do not parse, such as a torn one, are skipped.
fn parse_past_runs(journal: &str) -> Vec<PastRun> {
    let mut runs: Vec<PastRun> = Vec::new();
    for event in journal.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let text = |key: &str| event.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let number = runs.len() as u64 + 1;
        match (text("event").as_str(), runs.last_mut()) {
            ("start", _) => runs.push(PastRun {
                number,
                started: text("time"),
                file: text("file").into(),
                settings: parse_texts(event.get("settings")),
                device: text("device"),
                ..PastRun::default()
            }),
            ("end", Some(run)) => {
                run.code = event.get("code").and_then(Value::as_u64).and_then(|code| code.try_into().ok());
            }
            ("begin", Some(run)) => drop(run.stages.insert(text("stage"), "begun".into())),
            (word, Some(run)) => {
                if word == "failed" {
                    run.failures.insert(text("stage"), text("headline"));
                }
                run.stages.insert(text("stage"), word.into());
            }
            (_, None) => {}
        }
    }
    runs
}

fn unrecordable_path(file: &Path) -> Error {
    let message = format!("the path {} is not UTF-8, so that no run of it can be recorded", show_path(file));
    Error::usage(message, "rename the file, or the folder that it is in")
}

fn parse_texts(value: Option<&Value>) -> Vec<String> {
    let texts = value.and_then(Value::as_array).into_iter().flatten();
    texts.filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> RunRecord {
        RunRecord {
            schema: RunRecord::SCHEMA.into(),
            file: "/p.kdl".into(),
            settings: vec![],
            started: "2026-11-22T00:00:00Z".into(),
            device: "cpu".into(),
            until: None,
            only: None,
            stages: IndexMap::new(),
            places: IndexMap::new(),
        }
    }

    #[test]
    fn runs_are_numbered_and_a_torn_line_swallows_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::create(&folder.path().join("store")).unwrap();
        assert_eq!(store.begin_run(&record()).unwrap(), 1);
        store.record_event(&json!({ "event": "begin", "stage": "ar" })).unwrap();
        let path = store.root().join("runs/journal.jsonl");
        let torn = std::fs::read_to_string(&path).unwrap() + "{\"event\": \"do";
        std::fs::write(&path, torn).unwrap();
        assert_eq!(store.begin_run(&record()).unwrap(), 2);
        store.record_event(&json!({ "event": "begin", "stage": "ar" })).unwrap();
        store.record_event(&json!({ "event": "done", "stage": "ar" })).unwrap();
        store.record_event(&json!({ "event": "end", "code": 0 })).unwrap();
        let runs = store.past_runs().unwrap();
        let [first, second] = runs.as_slice() else { panic!("{runs:?}") };
        assert_eq!((first.code, first.stages["ar"].as_str()), (None, "begun"));
        assert_eq!((second.code, second.stages["ar"].as_str()), (Some(0), "done"));
        assert_eq!(store.run_record(2).unwrap(), Some(record()));
        assert_eq!(store.run_record(3).unwrap(), None);
    }

    #[test]
    #[cfg(unix)]
    fn a_path_that_is_not_utf8_is_refused_and_leaves_no_record() {
        use std::os::unix::ffi::OsStrExt;
        let folder = tempfile::tempdir().unwrap();
        let store = Store::create(&folder.path().join("store")).unwrap();
        let file = std::ffi::OsStr::from_bytes(b"/p\xff.kdl").into();
        let error = store.begin_run(&RunRecord { file, ..record() }).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("is not UTF-8"), "{error}");
        assert_eq!(store.last_run().unwrap(), None);
    }
}

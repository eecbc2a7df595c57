//! What was run: one line per event in `runs/journal.jsonl`, and one file per run, `runs/<number>.json`, with everything
//! it was made of. The number of a run is that of its first line among the first lines of all runs.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::pipeline::fingerprint::Ledger;
use crate::store::layout::{self, Store};

/// What a run was about to do, written before it starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// `fmflow.run-record/1`.
    pub schema: String,
    /// The configuration file, absolute.
    pub file: PathBuf,
    /// Settings given beside the file, as `path=value`.
    #[serde(default)]
    pub settings: Vec<String>,
    /// When it started (UTC).
    pub started: String,
    /// Device computed on.
    pub device: String,
    /// The stage that it went up to, if it did not go to the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// The stage that it was about alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<String>,
    /// Ledgers of the stages, by name.
    pub stages: IndexMap<String, Ledger>,
    /// Where the settings of the stages were written, `file:line:column`, by stage and field.
    #[serde(default)]
    pub places: IndexMap<String, IndexMap<String, String>>,
}

/// An earlier run, as the journal tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PastRun {
    /// 1 for the store's first.
    pub number: u64,
    /// When it started (UTC).
    pub started: String,
    /// The configuration file, absolute.
    pub file: PathBuf,
    /// Settings given beside the file, as `path=value`.
    pub settings: Vec<String>,
    /// Device computed on.
    pub device: String,
    /// What became of the stages that were begun, in order: `begun` while or where there is no end.
    pub stages: IndexMap<String, String>,
    /// Why stages failed, by name.
    pub failures: IndexMap<String, String>,
    /// Its exit code; `None` for a run that goes on or was killed.
    pub code: Option<u8>,
}

impl RunRecord {
    /// The version of this form.
    pub const SCHEMA: &'static str = "fmflow.run-record/1";
}

impl Store {
    /// Records the start of a run and gives its number.
    ///
    /// # Errors
    /// [`Error::Usage`] if the file's path is not UTF-8, so that no record can name it; what the operating system says.
    pub fn begin_run(&self, record: &RunRecord) -> Result<u64> {
        let text = serde_json::to_string_pretty(record).map_err(|_| unrecordable_path(&record.file))? + "\n";
        self.ensure_folder("runs")?;
        let journal = self.read_journal()?;
        let number = parse_past_runs(&journal).len() as u64 + 1;
        self.replace_file(&self.record_path(number), text.as_bytes())?;
        self.replace_file(&self.root().join("runs/last.json"), text.as_bytes())?;
        // What a killed process left of a line must not swallow the next one.
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
    /// What the operating system says.
    pub fn past_runs(&self) -> Result<Vec<PastRun>> {
        Ok(parse_past_runs(&self.read_journal()?))
    }

    /// What a run was made of; `None` where nothing was recorded of it.
    ///
    /// # Errors
    /// As [`Self::last_run`].
    pub fn run_record(&self, number: u64) -> Result<Option<RunRecord>> {
        self.read_record(&format!("{number}.json"))
    }

    /// Where the record of a run is.
    pub(super) fn record_path(&self, number: u64) -> PathBuf {
        self.root().join(format!("runs/{number}.json"))
    }

    /// Adds one event to the journal, durable when this returns.
    ///
    /// # Errors
    /// What the operating system says.
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

    /// The last run, if there was one.
    ///
    /// # Errors
    /// A record that does not parse, or what the operating system says.
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

/// Runs by the events of a journal; a torn line is passed over.
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
    let message = format!("the path {} is not UTF-8, so that no run can be recorded", file.display());
    Error::usage(message, "rename the file, or the folder that it lies in")
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

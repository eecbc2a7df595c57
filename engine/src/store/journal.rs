//! The history of runs: one line per event in `runs/journal.jsonl`, and one record of its inputs per run in
//! `runs/<number>.json`. Runs are numbered from 1 in the order of their `start` events.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::{Error, FailureKind, Result};
use crate::pipeline::fingerprint::Ledger;
use crate::store::layout::{self, Store};
use crate::store::lock::LockHolder;
use crate::store::seal::{self, SealedLine};
use crate::text::escape::show_path;

/// File name of the journal.
const JOURNAL: &str = "journal.jsonl";

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
    /// Fingerprints of the results that stages began to make, by name.
    pub begun: IndexMap<String, String>,
    /// How long stages worked until their last event, by name. A stage of a run that was killed has none.
    pub took: IndexMap<String, Duration>,
    /// Exit code; `None` for a run that is in progress or was killed.
    pub code: Option<u8>,
    /// Random word of the process. Earlier versions wrote none.
    pub token: Option<String>,
}

impl PastRun {
    /// Whether the run is in progress, if these processes are at work in the store.
    #[must_use]
    pub(crate) fn is_in_progress(&self, holders: &[LockHolder]) -> bool {
        let alive = |token: &String| holders.iter().any(|holder| holder.lives && holder.token == *token);
        self.code.is_none() && self.token.as_ref().is_some_and(alive)
    }

    /// Whether the run was killed or stopped by a signal, so that there is something to continue.
    #[must_use]
    pub(crate) fn is_unfinished(&self, holders: &[LockHolder]) -> bool {
        match self.code {
            None => !self.is_in_progress(holders),
            Some(code) => code == FailureKind::Interrupted.exit_code(),
        }
    }
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
        let text = serde_json::to_string_pretty(record).map_err(|_| unrecordable_path(&record.file))?;
        let text = seal::seal_object(&text);
        self.ensure_folder("runs")?;
        // Two runs that start at once get two numbers.
        let _turn = self.wait_for_turn()?;
        let journal = self.read_journal()?;
        let number = self.find_last_number(&journal)? + 1;
        self.replace_file(&self.record_path(number), text.as_bytes())?;
        self.replace_file(&self.root().join("runs/last.json"), text.as_bytes())?;
        let torn = is_torn(&journal);
        let event = json!({
            "event": "start", "run": number, "file": record.file, "settings": record.settings,
            "device": record.device, "token": layout::find_process_token(),
        });
        self.append_event(if torn { "\n" } else { "" }, &event)?;
        Ok(number)
    }

    /// All runs, oldest first.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if a line of the journal is not what was written, [`Error::Io`] if the journal cannot be read.
    pub(crate) fn past_runs(&self) -> Result<Vec<PastRun>> {
        let (runs, damaged) = parse_past_runs(&self.read_journal()?);
        let Some(line) = damaged else { return Ok(runs) };
        let what = format!("line {line} is not what was written");
        Err(Error::Corrupt { folder: self.root().join("runs"), file: JOURNAL.into(), what })
    }

    /// As [`Self::past_runs`], without what is damaged: for what is told and decided nowhere else.
    ///
    /// # Errors
    /// [`Error::Io`] if the journal cannot be read.
    pub(crate) fn readable_runs(&self) -> Result<Vec<PastRun>> {
        Ok(parse_past_runs(&self.read_journal()?).0)
    }

    /// The number of the last run; 0 if there was none. A damaged journal stops no run, but may have lost a start. So the
    /// records count too: none may be overwritten.
    fn find_last_number(&self, journal: &str) -> Result<u64> {
        let (runs, damaged) = parse_past_runs(journal);
        let last = runs.last().map_or(0, |run| run.number);
        if damaged.is_none() {
            return Ok(last);
        }
        let folder = self.root().join("runs");
        let names = self.vfs().list(&folder).map_err(Error::io("list", &folder))?;
        let numbers = names.iter().filter_map(|(name, _)| name.strip_suffix(".json")?.parse().ok());
        Ok(numbers.fold(last, u64::max))
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

    /// Appends one event of a run, a JSON object, to the journal. The event is on stable storage when this returns.
    ///
    /// # Errors
    /// If the journal cannot be written or synced.
    pub fn record_event(&self, run: u64, event: &Value) -> Result<()> {
        self.ensure_folder("runs")?;
        let mut event = event.clone();
        event.as_object_mut().expect("an event is an object").insert("run".into(), run.into());
        // A line is written at once, so that a run goes on without its turn if somebody keeps it: only a line that was torn at this
        // moment could hide the new one.
        let _turn = self.wait_for_turn().ok();
        let torn = is_torn(&self.read_journal()?);
        self.append_event(if torn { "\n" } else { "" }, &event)
    }

    fn append_event(&self, before: &str, event: &Value) -> Result<()> {
        let path = self.root().join("runs").join(JOURNAL);
        let mut line = json!({ "time": layout::format_current_time(), "process": std::process::id() });
        let event = event.as_object().expect("an event is an object");
        line.as_object_mut().expect("so is its line").extend(event.clone());
        let line = seal::seal_line(&line.to_string());
        let mut file = self.vfs().append(&path).map_err(Error::io("open", &path))?;
        file.write_all(format!("{before}{line}\n").as_bytes()).map_err(Error::io("write", &path))?;
        file.sync().map_err(Error::io("sync", &path))
    }

    fn read_journal(&self) -> Result<String> {
        let path = self.root().join("runs").join(JOURNAL);
        match self.vfs().read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
            other => Ok(String::from_utf8_lossy(&other.map_err(Error::io("read", &path))?).into_owned()),
        }
    }

    /// The record of the last run, if there was one.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the record is not what was written, [`Error::Io`] if it cannot be read.
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
        let corrupt = |what: String| Error::Corrupt { folder, file: name.into(), what };
        match String::from_utf8(bytes) {
            Ok(text) if seal::is_object_whole(&text) => {
                serde_json::from_str(&text).map(Some).map_err(|error| corrupt(error.to_string()))
            }
            _ => Err(corrupt("it is not what was written".into())),
        }
    }
}

/// Whether a killed process, or one without space, left part of a line: without a line break the next event would be lost with it.
fn is_torn(journal: &str) -> bool {
    !journal.is_empty() && !journal.ends_with('\n')
}

/// Collects the runs from the events of a journal, and the number of its first damaged line. Torn lines are skipped.
fn parse_past_runs(journal: &str) -> (Vec<PastRun>, Option<usize>) {
    let (mut events, mut damaged) = (Vec::new(), None);
    for (at, line) in journal.split('\n').enumerate() {
        match seal::open_line(line) {
            SealedLine::Whole(_) => {
                events.push(serde_json::from_str(line).expect("a whole line is an object"))
            }
            SealedLine::Damaged => _ = damaged.get_or_insert(at + 1),
            SealedLine::Torn => {}
        }
    }
    (collect_runs(events), damaged)
}

fn collect_runs(events: Vec<Value>) -> Vec<PastRun> {
    let mut runs: Vec<PastRun> = Vec::new();
    for event in events {
        let text = |key: &str| event.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let word = text("event");
        // Earlier versions did not write the number, and had one run at a time.
        let last = runs.last().map_or(0, |run| run.number);
        let number = event.get("run").and_then(Value::as_u64);
        let number = number.unwrap_or(if word == "start" { last + 1 } else { last });
        match (word.as_str(), runs.iter_mut().rev().find(|run| run.number == number)) {
            ("start", _) => runs.push(PastRun {
                number,
                token: event.get("token").and_then(Value::as_str).map(str::to_owned),
                started: text("time"),
                file: text("file").into(),
                settings: parse_texts(event.get("settings")),
                device: text("device"),
                ..PastRun::default()
            }),
            ("end", Some(run)) => {
                run.code = event.get("code").and_then(Value::as_u64).and_then(|code| code.try_into().ok());
            }
            ("begin", Some(run)) => {
                run.begun.insert(text("stage"), text("fingerprint"));
                run.stages.insert(text("stage"), "begun".into());
            }
            (word, Some(run)) => {
                let seconds = event.get("seconds").and_then(Value::as_f64);
                if let Some(took) = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) {
                    run.took.insert(text("stage"), took);
                }
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
        store.record_event(1, &json!({ "event": "begin", "stage": "ar" })).unwrap();
        let path = store.root().join("runs/journal.jsonl");
        let torn = std::fs::read_to_string(&path).unwrap() + "{\"event\": \"do";
        std::fs::write(&path, torn).unwrap();
        assert_eq!(store.begin_run(&record()).unwrap(), 2);
        store.record_event(2, &json!({ "event": "begin", "stage": "ar" })).unwrap();
        store.record_event(2, &json!({ "event": "done", "stage": "ar" })).unwrap();
        store.record_event(2, &json!({ "event": "end", "code": 0 })).unwrap();
        let runs = store.past_runs().unwrap();
        let [first, second] = runs.as_slice() else { panic!("{runs:?}") };
        assert_eq!((first.code, first.stages["ar"].as_str()), (None, "begun"));
        assert_eq!((second.code, second.stages["ar"].as_str()), (Some(0), "done"));
        assert_eq!(store.run_record(2).unwrap(), Some(record()));
        assert_eq!(store.run_record(3).unwrap(), None);
    }

    #[test]
    fn events_of_two_runs_at_once_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::create(&folder.path().join("store")).unwrap();
        let (one, two) = (store.begin_run(&record()).unwrap(), store.begin_run(&record()).unwrap());
        store.record_event(one, &json!({ "event": "begin", "stage": "ar", "fingerprint": "a" })).unwrap();
        store.record_event(two, &json!({ "event": "begin", "stage": "flow", "fingerprint": "b" })).unwrap();
        store.record_event(two, &json!({ "event": "done", "stage": "flow" })).unwrap();
        store.record_event(two, &json!({ "event": "end", "code": 0 })).unwrap();
        store.record_event(one, &json!({ "event": "failed", "stage": "ar", "headline": "no" })).unwrap();
        let runs = store.past_runs().unwrap();
        let [first, second] = runs.as_slice() else { panic!("{runs:?}") };
        assert_eq!((first.code, first.stages.len(), first.failures["ar"].as_str()), (None, 1, "no"));
        assert_eq!((second.code, second.stages["flow"].as_str()), (Some(0), "done"));
        let _lock = store.lock_shared().unwrap();
        let holders = crate::store::lock::find_lock_holders(&store).unwrap();
        assert_eq!([first, second].map(|run| run.is_in_progress(&holders)), [true, false]);
        assert!(!first.is_in_progress(&[]));
    }

    /// Calls a test after each flip of a bit in a file, which it then restores.
    fn for_each_flip(path: &Path, check: impl Fn(usize)) {
        let text = std::fs::read(path).unwrap();
        for bit in 0..text.len() * 8 {
            let mut bytes = text.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(path, bytes).unwrap();
            check(bit);
        }
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn a_flip_in_a_record_is_damage_or_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::create(&folder.path().join("store")).unwrap();
        store.begin_run(&record()).unwrap();
        for_each_flip(&store.record_path(1), |bit| match store.run_record(1) {
            Ok(found) => assert_eq!(found, Some(record()), "bit {bit}"),
            Err(error) => {
                assert_eq!(error.exit_code(), 4, "bit {bit}: {error}");
                assert!(error.help().unwrap().contains("only this part of the history is lost"));
            }
        });
        let unsealed = serde_json::to_string_pretty(&record()).unwrap();
        std::fs::write(store.record_path(1), unsealed).unwrap();
        assert_eq!(store.run_record(1).unwrap(), Some(record()), "of an earlier version");
    }

    #[test]
    fn a_flip_in_the_journal_is_named_and_the_next_run_overwrites_no_record() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::create(&folder.path().join("store")).unwrap();
        for number in 1..=2 {
            assert_eq!(store.begin_run(&record()).unwrap(), number);
            store.record_event(number, &json!({ "event": "end", "code": 0 })).unwrap();
        }
        let (path, before) = (store.root().join("runs").join(JOURNAL), store.past_runs().unwrap());
        for_each_flip(&path, |bit| match store.past_runs() {
            Ok(found) => assert_eq!(found, before, "bit {bit}"),
            Err(error) => assert_eq!(error.exit_code(), 4, "bit {bit}: {error}"),
        });
        let text = std::fs::read_to_string(&path).unwrap();
        let at = text.rfind("start").unwrap();
        std::fs::write(&path, format!("{}x{}", &text[..at], &text[at + 1..])).unwrap();
        let error = store.past_runs().unwrap_err();
        assert!(error.to_string().contains("line 3 is not what was written"), "{error}");
        assert!(error.help().unwrap().contains("remove that line"), "{error}");
        assert_eq!(store.begin_run(&record()).unwrap(), 3, "2.json stays");
    }

    #[test]
    fn a_journal_of_an_earlier_version_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::create(&folder.path().join("store")).unwrap();
        store.ensure_folder("runs").unwrap();
        let start =
            r#"{"time":"2026","process":1,"event":"start","file":"/p.kdl","settings":[],"device":"cpu"}"#;
        let old = format!("{start}\n{{\"time\":\"2026\",\"event\":\"end\",\"code\":0}}\n{start}\n");
        std::fs::write(store.root().join("runs").join(JOURNAL), old).unwrap();
        let ends: Vec<_> = store.past_runs().unwrap().iter().map(|run| (run.number, run.code)).collect();
        assert_eq!(ends, [(1, Some(0)), (2, None)]);
        assert_eq!(store.begin_run(&record()).unwrap(), 3);
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

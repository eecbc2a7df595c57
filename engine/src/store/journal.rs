//! What was run: one line per event in `runs/journal.jsonl`, and one file per run with everything it was made of.

use std::path::PathBuf;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Store;
use crate::error::{Error, Result};
use crate::fingerprint::Ledger;

/// What a run was about to do, written before it starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// `fmflow.run-record/1`.
    pub schema: String,
    /// The configuration file, absolute.
    pub file: PathBuf,
    /// When it started (UTC).
    pub started: String,
    /// Device computed on.
    pub device: String,
    /// Ledgers of the stages, by name.
    pub stages: IndexMap<String, Ledger>,
}

impl RunRecord {
    /// The version of this form.
    pub const SCHEMA: &'static str = "fmflow.run-record/1";
}

impl Store {
    /// Records the start of a run.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn begin_run(&self, record: &RunRecord) -> Result<()> {
        let text = serde_json::to_string_pretty(record).unwrap_or_default() + "\n";
        self.ensure("runs")?;
        self.replace(&self.root().join("runs/last.json"), text.as_bytes())?;
        self.journal(&json!({ "event": "start", "file": record.file, "device": record.device }))
    }

    /// Adds one event to the journal, durable when this returns.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn journal(&self, event: &Value) -> Result<()> {
        self.ensure("runs")?;
        let path = self.root().join("runs/journal.jsonl");
        let mut line = json!({ "time": super::now(), "process": std::process::id() });
        if let (Some(line), Some(event)) = (line.as_object_mut(), event.as_object()) {
            line.extend(event.clone());
        }
        let mut file = self.vfs().append(&path).map_err(Error::io("open", &path))?;
        file.write_all(format!("{line}\n").as_bytes()).map_err(Error::io("write", &path))?;
        file.sync().map_err(Error::io("sync", &path))
    }

    /// The last run, if there was one.
    ///
    /// # Errors
    /// A record that does not parse, or what the operating system says.
    pub fn last_run(&self) -> Result<Option<RunRecord>> {
        let path = self.root().join("runs/last.json");
        let bytes = match self.vfs().read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(Error::io("read", &path))?,
        };
        let folder = self.root().join("runs");
        let what = |error: serde_json::Error| Error::Corrupt {
            folder,
            file: "last.json".into(),
            what: error.to_string(),
        };
        serde_json::from_slice(&bytes).map(Some).map_err(what)
    }
}

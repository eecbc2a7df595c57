//! The last look before the work: what a stage takes lies in the store by now, and says of itself what it is.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use super::Runner;
use crate::contract::{LARGEST, Stored};
use crate::error::{Error, Result};
use crate::lint;
use crate::pipeline::Stage;

/// The file in which rows say what they are.
const ROWS: &str = "rows.json";

impl Runner<'_> {
    /// Refuses a stage whose settings contradict the checkpoints or rows in `inputs`, by role.
    pub(super) fn agree(&self, stage: &Stage, inputs: &IndexMap<String, PathBuf>) -> Result<()> {
        let folder = |role: &str| inputs.get(role).map(PathBuf::as_path);
        let stored = stage.inputs.iter().filter_map(|input| {
            let folder = folder(&input.role)?;
            Some((input.stage.0, Stored::read(|name| self.text(&folder.join(name)))?))
        });
        let rows = stage.inputs.iter().filter(|input| input.role.starts_with("rows/"));
        let rows = rows.filter_map(|input| {
            let text = self.text(&folder(&input.role)?.join(ROWS))?;
            let summary: serde_json::Value = serde_json::from_str(&text).ok()?;
            Some((input.role.clone(), summary.get("tokenizer")?.as_str()?.to_owned()))
        });
        let findings = lint::against(&self.pipeline.stages, stage, stored, &rows.collect());
        match findings.is_empty() {
            true => Ok(()),
            false => Err(Error::Contradiction { stage: stage.name.clone(), findings }),
        }
    }

    fn text(&self, path: &Path) -> Option<String> {
        let bytes = self.store.vfs().read(path).ok().filter(|bytes| bytes.len() as u64 <= LARGEST)?;
        String::from_utf8(bytes).ok()
    }
}

//! The last check before a stage works: `check` could only predict what the stage's inputs are; now they are in the store and
//! describe themselves.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use crate::check::lint;
use crate::error::{Error, Result};
use crate::pipeline::contract::MAX_CONTRACT_BYTES;
use crate::pipeline::origins::StoredContract;
use crate::pipeline::role::InputRole;
use crate::pipeline::stage::Stage;
use crate::run::runner::Runner;

/// The file in which a rows artifact describes itself.
const ROWS: &str = "rows.json";

/// Refuses a stage whose settings contradict the checkpoints or rows in `inputs`. These are the lints of `check`, run again on
/// stored facts.
pub(super) fn refuse_contradictions(
    runner: &Runner<'_>,
    stage: &Stage,
    inputs: &IndexMap<InputRole, PathBuf>,
) -> Result<()> {
    let text = |path: &Path| read_small_text(runner, path);
    let stored = stage.inputs.iter().filter_map(|input| {
        let folder = &inputs[&input.role];
        // The stage that opens an invalid contract reports it; until then nothing is known of the checkpoint.
        let stored = StoredContract::read(|name| text(&folder.join(name)).map(Ok));
        Some((input.stage, stored.map_or(Some(None), |stored| stored.map(Some))?))
    });
    let rows = stage.inputs.iter().filter(|input| matches!(input.role, InputRole::Rows { .. }));
    let tokenizers = rows.filter_map(|input| {
        let summary: serde_json::Value =
            serde_json::from_str(&text(&inputs[&input.role].join(ROWS))?).ok()?;
        Some((input.role.clone(), summary.get("tokenizer")?.as_str()?.to_owned()))
    });
    let findings =
        lint::find_contradictions(&runner.pipeline.stages, stage, &stored.collect(), &tokenizers.collect());
    match findings.is_empty() {
        true => Ok(()),
        false => Err(Error::Contradiction { stage: stage.name.clone(), findings }),
    }
}

/// The text of a small file. `None` if it is missing, too long or not UTF-8: the stage that opens it reports that better.
fn read_small_text(runner: &Runner<'_>, path: &Path) -> Option<String> {
    let bytes =
        runner.store.vfs().read(path).ok().filter(|bytes| bytes.len() as u64 <= MAX_CONTRACT_BYTES)?;
    String::from_utf8(bytes).ok()
}

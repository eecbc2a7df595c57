//! The last look before the work: what a stage takes lies in the store by now, and says of itself what it is.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use crate::check::lint;
use crate::error::{Error, Result};
use crate::pipeline::contract::MAX_CONTRACT_BYTES;
use crate::pipeline::origins::StoredContract;
use crate::pipeline::role::InputRole;
use crate::pipeline::stage::Stage;
use crate::run::runner::Runner;

/// The file in which rows say what they are.
const ROWS: &str = "rows.json";

/// Refuses a stage whose settings contradict the checkpoints or rows in `inputs`.
pub(super) fn refuse_contradictions(
    runner: &Runner<'_>,
    stage: &Stage,
    inputs: &IndexMap<InputRole, PathBuf>,
) -> Result<()> {
    let text = |path: &Path| read_small_text(runner, path);
    let stored = stage.inputs.iter().filter_map(|input| {
        let folder = &inputs[&input.role];
        Some((input.stage, StoredContract::read(|name| text(&folder.join(name)))?))
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

/// The text of a small file; `None` where there is none, or where it is not what it should be: the stage that opens it says why.
fn read_small_text(runner: &Runner<'_>, path: &Path) -> Option<String> {
    let bytes =
        runner.store.vfs().read(path).ok().filter(|bytes| bytes.len() as u64 <= MAX_CONTRACT_BYTES)?;
    String::from_utf8(bytes).ok()
}

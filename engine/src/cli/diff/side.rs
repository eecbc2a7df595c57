//! What the two arguments of `diff` name: a folder, a run, or the result of a stage in a run.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::pipeline::fingerprint::{Fingerprint, IngredientKind, Ledger};
use crate::store::journal::RunRecord;
use crate::store::verify::{VerifyDepth, inspect_folder};
use crate::store::vfs::Disk;
use crate::store::{Store, StoreListing};
use crate::text::escape::{escape_line, show_path};
use crate::text::suggest;

/// Help for an argument that names nothing.
const FORMS: &str = "name a folder, a number of `fmflow log`, a stage of the last run, or `STAGE@RUN`";

/// What an argument names.
#[derive(Clone, Debug)]
pub(super) enum Operand {
    /// A run.
    Run { number: u64, record: Box<RunRecord> },
    /// A result.
    Result(Box<Side>),
}

/// A result: of a stage, finished or not.
#[derive(Clone, Debug)]
pub(super) struct Side {
    /// The argument.
    pub shown: String,
    /// The stage that made it.
    pub stage: String,
    /// Its kind.
    pub kind: String,
    /// What it is made of.
    pub ledger: Ledger,
    /// Updates done, of a checkpoint of an unfinished stage.
    pub step: Option<u64>,
    /// The finished artifact, or the folder that was named.
    pub folder: Option<PathBuf>,
    /// The checkpoint of an evaluation that is asked about.
    pub checkpoint: Option<String>,
}

/// The store that names are looked up in.
pub(super) struct Lookup<'a> {
    pub store: Option<&'a Store>,
    pub listing: &'a StoreListing,
}

impl Side {
    pub(super) fn fingerprint(&self) -> Fingerprint {
        self.ledger.fingerprint()
    }

    /// The fingerprint of the checkpoint that is asked about.
    pub(super) fn checkpoint_fingerprint(&self) -> Option<&str> {
        let role = format!("checkpoint/{}", self.checkpoint.as_ref()?);
        let parts = &self.ledger.0;
        let found = parts.iter().find(|part| part.what == IngredientKind::Input && part.label() == role);
        found.map(|part| part.value.as_str())
    }
}

impl Lookup<'_> {
    /// Finds what an argument names.
    ///
    /// # Errors
    /// If it names nothing, or what it names is damaged.
    pub(super) fn find(&self, text: &str) -> Result<Operand> {
        if Path::new(text).is_dir() {
            return Ok(Operand::Result(Box::new(read_folder(text, text, None)?)));
        }
        if let Ok(number) = text.parse() {
            return Ok(Operand::Run { number, record: Box::new(self.record(number)?) });
        }
        let (name, checkpoint) = match text.rsplit_once(':') {
            Some((name, checkpoint)) => (name, Some(checkpoint.to_owned())),
            None => (text, None),
        };
        if Path::new(name).is_dir() {
            return Ok(Operand::Result(Box::new(read_folder(text, name, checkpoint)?)));
        }
        Ok(Operand::Result(Box::new(self.find_stage(text, name, checkpoint)?)))
    }

    fn find_stage(&self, shown: &str, name: &str, checkpoint: Option<String>) -> Result<Side> {
        let run = name.rsplit_once('@').and_then(|(stage, run)| Some((stage, run.parse::<u64>().ok()?)));
        let (stage, record) = match run {
            Some((stage, number)) => (stage, self.record(number)?),
            None => (name, self.last_record(name)?),
        };
        let side = self.of_record(stage, &record).ok_or_else(|| {
            let help = suggest::suggest_names(stage, record.stages.keys().map(String::as_str));
            let help = help.unwrap_or_else(|| FORMS.to_owned());
            Error::usage(format!("the run has no stage `{}`", escape_line(stage)), help)
        })?;
        refuse_checkpoint(&side.kind, checkpoint.as_deref(), shown)?;
        Ok(Side { shown: shown.to_owned(), checkpoint, ..side })
    }

    /// The result of a stage of a run.
    pub(super) fn of_record(&self, stage: &str, record: &RunRecord) -> Option<Side> {
        let ledger = record.stages.get(stage)?;
        let kind = ledger.0.iter().find(|part| part.what == IngredientKind::Kind)?.value.clone();
        let found = self.listing.artifact(stage, &ledger.fingerprint());
        let (shown, stage) = (stage.to_owned(), stage.to_owned());
        let folder = found.map(|found| found.path.clone());
        Some(Side { shown, stage, kind, ledger: ledger.clone(), step: None, folder, checkpoint: None })
    }

    fn last_record(&self, name: &str) -> Result<RunRecord> {
        let record = self.store.map(Store::last_run).transpose()?.flatten();
        record.ok_or_else(|| {
            Error::usage(format!("`{}` is no folder, and nothing was run yet", escape_line(name)), FORMS)
        })
    }

    fn record(&self, number: u64) -> Result<RunRecord> {
        let record = self.store.map(|store| store.run_record(number)).transpose()?.flatten();
        record.ok_or_else(|| {
            Error::usage(
                format!("the store has no record of run {number}"),
                "`fmflow log` lists the runs of the store",
            )
        })
    }
}

fn read_folder(shown: &str, path: &str, checkpoint: Option<String>) -> Result<Side> {
    let folder = std::path::absolute(path).map_err(Error::io("find", Path::new(path)))?;
    let (manifest, problems) = inspect_folder(&Disk, &folder, VerifyDepth::Sizes)?;
    let Some(manifest) = manifest else {
        let message =
            format!("{} has no manifest: it is neither an artifact nor a checkpoint", show_path(path));
        return Err(Error::usage(message, "`fmflow show FILE STAGE --path` prints the folder of a stage"));
    };
    if let Some(problem) = problems.into_iter().next() {
        return Err(Error::Corrupt { folder, what: problem.to_string(), file: problem.file });
    }
    refuse_checkpoint(&manifest.stage.kind, checkpoint.as_deref(), shown)?;
    Ok(Side {
        shown: shown.to_owned(),
        stage: manifest.stage.name,
        kind: manifest.stage.kind,
        ledger: manifest.ledger,
        step: manifest.step,
        folder: Some(folder),
        checkpoint,
    })
}

/// Only evaluations have several checkpoints.
fn refuse_checkpoint(kind: &str, checkpoint: Option<&str>, shown: &str) -> Result<()> {
    if kind == "evaluate" || checkpoint.is_none() {
        return Ok(());
    }
    let message =
        format!("`{}` names a checkpoint of an evaluation, but it is a `{kind}`", escape_line(shown));
    Err(Error::usage(message, "leave out what follows the `:`"))
}

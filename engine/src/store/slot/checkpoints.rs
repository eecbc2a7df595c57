//! The checkpoints of a stage: replaced ones in its unfinished work, permanent ones beside the artifacts.

use std::path::{Path, PathBuf};

use super::{Slot, corrupt_manifest};
use crate::error::{Error, Result};
use crate::store::layout::{PERMANENT, make_unique_name};
use crate::store::publish::ArtifactWriter;
use crate::store::summary::{SUMMARY_FILE, read_summary};
use crate::store::vfs::is_absent;
use crate::store::{listing, verify};

/// A checkpoint that was verified byte by byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointDir {
    /// Updates done.
    pub step: u64,
    /// Path of its folder.
    pub path: PathBuf,
    /// One sentence for each newer checkpoint that is skipped because it is corrupt. They must be shown to the user.
    pub notes: Vec<String>,
}

impl Slot {
    /// A writer for a checkpoint after `step` updates. The metrics so far are on stable storage when this returns: a stage
    /// that continues from the checkpoint does not compute them again.
    ///
    /// # Errors
    /// If the metrics cannot be synced, or the folder under construction cannot be created.
    pub fn checkpoint(&self, step: u64) -> Result<ArtifactWriter> {
        self.sync_metrics()?;
        let target = self.checkpoints().join(format!("{step:08}"));
        let header = self.header(Some(step));
        Ok(ArtifactWriter::start(self.shared_vfs(), &self.tmp(), target, header)?.replacing(self.trash()))
    }

    /// As [`Self::checkpoint`], for a checkpoint that stays when the stage is finished.
    ///
    /// # Errors
    /// As [`Self::checkpoint`], or if its folder cannot be created.
    pub fn permanent_checkpoint(&self, step: u64) -> Result<ArtifactWriter> {
        self.sync_metrics()?;
        self.store.ensure_folder(PERMANENT)?;
        let folder = self.permanent();
        self.vfs().ensure_dir(&folder).map_err(Error::io("create", &folder))?;
        for parent in [self.store.root(), &self.store.root().join(PERMANENT)] {
            self.vfs().sync_dir(parent).map_err(Error::io("sync", parent))?;
        }
        let header = self.header(Some(step));
        let target = folder.join(format!("{step:08}"));
        Ok(ArtifactWriter::start(self.shared_vfs(), &self.tmp(), target, header)?.replacing(self.trash()))
    }

    /// Makes the checkpoint in `folder`, saved after `step` updates of a training that was the same until then, a checkpoint of this
    /// stage, with the metrics of those updates. `permanent` are more of them, which are kept for good.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if one of them is damaged, [`Error::Io`] if one cannot be copied.
    pub(crate) fn adopt_checkpoint(
        &self,
        (folder, step): (&Path, u64),
        permanent: &[(PathBuf, u64)],
        metrics: &[String],
    ) -> Result<()> {
        // Before anything is written: the permanent ones alone would be taken for the newest of this stage.
        verify::verify_folder(self.vfs(), folder)?;
        // In this order, because the stage continues from the latest checkpoint that there is.
        self.replace_metrics(metrics, step)?;
        for (kept, after) in permanent {
            self.copy_checkpoint(kept, self.permanent_checkpoint(*after)?)?;
        }
        self.copy_checkpoint(folder, self.checkpoint(step)?)
    }

    /// Whether the stage has a checkpoint of its own after `step` updates or more.
    ///
    /// # Errors
    /// If they cannot be listed.
    pub(crate) fn has_checkpoint_from(&self, step: u64) -> Result<bool> {
        Ok(self.steps()?.iter().any(|(own, _)| *own >= step))
    }

    fn copy_checkpoint(&self, folder: &Path, mut writer: ArtifactWriter) -> Result<()> {
        let manifest = verify::verify_folder(self.vfs(), folder)?;
        for entry in manifest.files.iter().filter(|entry| entry.name != SUMMARY_FILE) {
            let path = folder.join(&entry.name);
            let mut from = self.vfs().open(&path).map_err(Error::io("open", &path))?;
            let mut to = writer.file(&entry.name)?;
            std::io::copy(&mut from, &mut to).map_err(Error::io("copy", &path))?;
            to.finish()?;
        }
        writer.publish(&read_summary(self.vfs(), folder)?, &manifest.facts)?;
        Ok(())
    }

    /// The newest checkpoint that is not corrupt, verified byte by byte. Its notes name newer ones that are corrupt.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if there are checkpoints but all are corrupt: a stage is never silently started over.
    pub fn latest_checkpoint(&self) -> Result<Option<CheckpointDir>> {
        let mut notes = Vec::new();
        let mut first = None;
        for (step, path) in self.steps()?.into_iter().rev() {
            match verify::verify_folder(self.vfs(), &path) {
                Ok(found) if found.fingerprint == self.key.fingerprint && found.step == Some(step) => {
                    notes.extend(self.describe_lost_metrics(step, &path));
                    return Ok(Some(CheckpointDir { step, path, notes }));
                }
                Ok(_) => {
                    let error = corrupt_manifest(path, "it is the checkpoint of another stage".into());
                    notes.push(format!("checkpoint {step} is skipped: {error}"));
                    first.get_or_insert(error);
                }
                Err(error @ Error::Corrupt { .. }) => {
                    notes.push(format!("checkpoint {step} is skipped: {error}"));
                    first.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        first.map_or(Ok(None), Err)
    }

    /// A sentence about metrics that are gone: permanent checkpoints outlive the unfinished work, which has the metrics.
    fn describe_lost_metrics(&self, step: u64, checkpoint: &Path) -> Option<String> {
        let lost = self.vfs().stat(&self.metrics_path()).is_err_and(|error| is_absent(&error));
        (lost && checkpoint.starts_with(self.permanent())).then(|| {
            format!("the stage continues after update {step}, but the metrics of the updates before are gone")
        })
    }

    /// Removes all but the newest `keep` checkpoints; at least one is kept, and so are permanent ones and those for whose update
    /// `needed` says so. Call it after a newer one was published.
    ///
    /// # Errors
    /// If a checkpoint cannot be moved or removed.
    pub fn prune_checkpoints(&self, keep: usize, needed: impl Fn(u64) -> bool) -> Result<()> {
        let mut steps = listing::list_checkpoints(self.vfs(), &self.checkpoints())?;
        steps.truncate(steps.len().saturating_sub(keep.max(1)));
        let going = steps.iter().filter(|(step, _)| !needed(*step));
        going.map(|(_, path)| path).try_for_each(|path| self.remove_checkpoint(path))
    }

    /// The checkpoint after `step` updates, verified byte by byte; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is damaged.
    pub fn checkpoint_after(&self, step: u64) -> Result<Option<PathBuf>> {
        let Some((_, path)) = self.steps()?.into_iter().find(|(found, _)| *found == step) else {
            return Ok(None);
        };
        let found = verify::verify_folder(self.vfs(), &path)?;
        match found.fingerprint == self.key.fingerprint {
            true => Ok(Some(path)),
            false => Err(corrupt_manifest(path, "it is the checkpoint of another stage".into())),
        }
    }

    /// Removes the checkpoints of later updates, the newest first, permanent ones too.
    ///
    /// # Errors
    /// If a checkpoint cannot be moved or removed.
    pub fn discard_checkpoints_after(&self, step: u64) -> Result<()> {
        let later = self.steps()?.into_iter().rev().filter(|(found, _)| *found > step);
        later.map(|(_, path)| path).try_for_each(|path| self.remove_checkpoint(&path))
    }

    fn remove_checkpoint(&self, path: &Path) -> Result<()> {
        let place = self.trash().join(make_unique_name("checkpoint"));
        self.vfs().rename(path, &place).map_err(Error::io("move", path))?;
        self.vfs().remove_all(&place).map_err(Error::io("remove", &place))
    }

    /// Checkpoints by step, oldest first, with the permanent ones.
    fn steps(&self) -> Result<Vec<(u64, PathBuf)>> {
        let mut steps = listing::list_checkpoints(self.vfs(), &self.checkpoints())?;
        steps.extend(listing::list_checkpoints(self.vfs(), &self.permanent())?);
        steps.sort();
        Ok(steps)
    }

    pub(super) fn checkpoints(&self) -> PathBuf {
        self.work().join("checkpoints")
    }

    fn permanent(&self) -> PathBuf {
        self.store.permanent(&self.key.name, &self.key.fingerprint)
    }
}

//! What a run refuses before any work: corrupt artifacts, features that do not exist, changed texts, full disks.

use super::Runner;
use crate::error::{Error, Result};
use crate::pipeline::Stage;
use crate::plan::text::refused;
use crate::plan::{Planned, State, disk, explain};
use crate::table::bytes;

/// Refuses stages that ask for features that do not exist yet: all of them at once.
///
/// # Errors
/// The reasons, with their stages.
pub fn unsupported<'a>(stages: impl Iterator<Item = &'a Stage>) -> Result<()> {
    let reasons = refused(stages);
    if reasons.is_empty() {
        return Ok(());
    }
    let message = format!("this pipeline cannot run:\n{}", reasons.trim_end());
    Err(Error::usage(message, "take these out of the file, or run the part before them with `--until`"))
}

impl Runner<'_> {
    /// Everything that can be refused before any work.
    pub(super) fn refuse(&self, work: &[&Planned]) -> Result<()> {
        for planned in work {
            if let State::Corrupt(problem) = &planned.state {
                let folder = self.store.artifact(&planned.key.name, &planned.key.fingerprint);
                return Err(Error::Corrupt {
                    folder,
                    file: problem.file.clone(),
                    what: problem.what.clone(),
                });
            }
        }
        let stages: Vec<_> = work.iter().map(|planned| self.of(planned)).collect::<Result<_>>()?;
        unsupported(stages.into_iter())?;
        if self.execute.is_none() {
            let help = "rebuild with `--features cpu`";
            return Err(Error::usage("this program was built without an execution backend", help));
        }
        if let Some(Err(why)) = self.execute.map(|execute| execute.device(&self.options.device)) {
            return Err(Error::usage(why, "choose a device that this build and this machine have"));
        }
        if self.options.resume {
            self.refuse_changes(work)?;
        }
        self.refuse_full_disk(work)
    }

    /// `resume` goes on with what was begun, and with nothing else.
    fn refuse_changes(&self, work: &[&Planned]) -> Result<()> {
        let Some(last) = self.store.last_run()?.filter(|last| last.file == self.pipeline.file) else {
            return Ok(());
        };
        let mut lines = Vec::new();
        for planned in work {
            let Some(old) = last.stages.get(&planned.key.name) else { continue };
            let changes = planned.key.ledger.changes_since(old);
            for reason in explain(self.pipeline, self.of(planned)?, &changes) {
                lines.push(format!("  {}: {reason}", planned.key.name));
            }
        }
        if lines.is_empty() {
            return Ok(());
        }
        let message =
            format!("the configuration changed since the run of {}:\n{}", last.started, lines.join("\n"));
        let same = last.settings == self.pipeline.settings;
        let given: Vec<_> = last.settings.iter().map(|setting| format!(" --set '{setting}'")).collect();
        let help = match (same, given.is_empty()) {
            (true, _) => "undo the change to go on, or use `run` to accept it".into(),
            (false, true) => {
                "that run had no `--set`: leave it out to go on, or use `run` to accept it".into()
            }
            (false, false) => format!(
                "that run had{}: repeat it to go on, or use `run` to accept the change",
                given.concat()
            ),
        };
        Err(Error::usage(message, help))
    }

    fn refuse_full_disk(&self, work: &[&Planned]) -> Result<()> {
        let need = disk(work, self.options.jobs.get());
        let root = self.store.root();
        let Ok(stat) = rustix::fs::statvfs(root) else { return Ok(()) };
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        if need <= free {
            return Ok(());
        }
        let (need, free) = (bytes(need), bytes(free));
        Err(Error::Space(format!("the run needs about {need} in {}, and {free} are free", root.display())))
    }
}

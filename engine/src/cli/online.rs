//! `fmflow check --online`: asks the hub about repositories and writes the lock file.

use std::path::Path;

use clap::Args;
use serde_json::{Value, json};

use super::CommandContext;
use crate::check::CheckResult;
use crate::error::{Error, Result};
use crate::hub::lockfile;
use crate::hub::online::{Hub, LockResolution, PinChange};
use crate::store::vfs::Disk;
use crate::text::display::render_table;
use crate::text::escape::escape_line;
use crate::text::read::display_path;

/// Whether `check` uses the network.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct NetworkArguments {
    /// Do not use the network (the default)
    #[arg(long, conflicts_with = "online")]
    offline: bool,
    /// Ask the hub for revisions, access, files and columns, and write the lock file
    #[arg(long, visible_alias = "lock")]
    pub(super) online: bool,
    /// Also update repositories that are pinned already
    #[arg(long, requires = "online")]
    pub(super) update: bool,
}

/// What happened to the lock file.
pub(super) struct LockFileOutcome {
    name: String,
    changes: Vec<PinChange>,
    written: bool,
}

pub(super) fn require_hub<'a>(context: &CommandContext<'a>) -> Result<&'a dyn Hub> {
    let help = "rebuild with `--features hub`, or check without `--online`";
    context.hub.ok_or_else(|| Error::usage("this program was built without access to a hub", help))
}

/// Writes the lock file if it changed and the pipeline has no errors.
pub(super) fn write_lock_file(
    config: &Path,
    checked: &CheckResult,
    resolution: LockResolution,
) -> Result<LockFileOutcome> {
    let path = lockfile::to_lockfile_path(&std::path::absolute(config).map_err(Error::io("find", config))?);
    let written = resolution.changed && checked.pipeline.is_some();
    if written {
        resolution.lock.write(&Disk, &path)?;
    }
    Ok(LockFileOutcome { name: display_path(&path), changes: resolution.changes, written })
}

impl LockFileOutcome {
    /// The outcome as text, for people.
    pub(super) fn text(&self) -> String {
        if self.changes.is_empty() {
            return "the pipeline names no repository: nothing to pin\n".into();
        }
        let rows = self.changes.iter().map(format_pin_row).collect();
        let drawn = render_table(&["repository", "revision", "commit", "pin"], rows);
        let behind = self.changes.iter().any(|change| change.head.is_some());
        let help = if behind { "`--update` pins the newest commits of the revisions\n" } else { "" };
        let state = if self.written { "written" } else { "unchanged" };
        format!("\n{drawn}\n{help}lock file {}: {state}\n", escape_line(&self.name))
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "file": self.name,
            "written": self.written,
            "pins": self.changes.iter().map(render_pin_json).collect::<Vec<_>>(),
        })
    }
}

fn format_pin_row(change: &PinChange) -> Vec<String> {
    let PinChange { asked, old, new, head } = change;
    let (state, commit) = match (old, new) {
        (None, Some(new)) => ("new".into(), shorten_revision(new).into()),
        (Some(old), Some(new)) if old != new => {
            ("moved".into(), format!("{} -> {}", shorten_revision(old), shorten_revision(new)))
        }
        (Some(old), None) => ("no longer used".into(), shorten_revision(old).into()),
        (Some(_), Some(new)) => {
            let behind =
                head.as_deref().map(|head| format!("kept; the hub is at {}", shorten_revision(head)));
            (behind.unwrap_or_else(|| "kept".into()), shorten_revision(new).into())
        }
        (None, None) => unreachable!("a pin is in the old lock file or in the new one"),
    };
    let name = format!("{} {}", asked.kind.word(), asked.name);
    let revision = asked.revision.as_deref().unwrap_or("default branch");
    vec![name, shorten_revision(revision).into(), commit, state]
}

/// The first twelve digits of a commit; other revisions unchanged.
fn shorten_revision(revision: &str) -> &str {
    match crate::pipeline::repository::is_commit(revision) {
        true => &revision[..12],
        false => revision,
    }
}

fn render_pin_json(change: &PinChange) -> Value {
    let PinChange { asked, old, new, head } = change;
    json!({
        "kind": asked.kind.word(), "repository": asked.name, "revision": asked.revision,
        "old": old, "new": new, "head": head,
    })
}

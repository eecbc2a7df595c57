//! Files that a command made: known only once its artifact is there.

use std::borrow::Cow;
use std::path::PathBuf;

use indexmap::IndexMap;

use crate::error::{Failure, FailureKind};
use crate::pipeline::role::InputRole;
use crate::pipeline::stage::{MadeFiles, Stage};
use crate::run::runner::defect_failure;
use crate::store::slot::OUTPUT_LOG;
use crate::store::vfs::Vfs;
use crate::store::{manifest, summary};
use crate::text::escape::escape_line;

/// The stage with the files of its sources that commands made, from the artifacts in `inputs`.
///
/// # Errors
/// If a command made none that the stage asks for.
pub(super) fn resolve_made_sources<'a>(
    vfs: &dyn Vfs,
    stage: &'a Stage,
    inputs: &IndexMap<InputRole, PathBuf>,
) -> Result<Cow<'a, Stage>, Failure> {
    if stage.sources.iter().all(|source| source.made.is_none()) {
        return Ok(Cow::Borrowed(stage));
    }
    let mut resolved = stage.clone();
    for source in &mut resolved.sources {
        if let Some(made) = &source.made {
            source.files = find_made(vfs, made, inputs)?;
        }
    }
    Ok(Cow::Owned(resolved))
}

fn find_made(
    vfs: &dyn Vfs,
    made: &MadeFiles,
    inputs: &IndexMap<InputRole, PathBuf>,
) -> Result<Vec<PathBuf>, Failure> {
    let missing = || defect_failure(&format!("it has no input `{}`", made.role));
    let folder = inputs.get(&made.role).ok_or_else(missing)?;
    let own = [manifest::MANIFEST_FILE, summary::SUMMARY_FILE, OUTPUT_LOG];
    let names: Vec<String> = vfs.list(folder)?.into_iter().map(|(name, _)| name).collect();
    let names = names.into_iter().filter(|name| !own.contains(&name.as_str()));
    let pattern = made.pattern.as_deref().map(glob::Pattern::new).transpose();
    let pattern = pattern.map_err(|error| defect_failure(&format!("its files are no pattern: {error}")))?;
    let (found, others): (Vec<_>, Vec<_>) =
        names.partition(|name| pattern.as_ref().is_none_or(|pattern| pattern.matches(name)));
    if found.is_empty() {
        let others: Vec<_> = others.iter().map(|name| format!("`{}`", escape_line(name))).collect();
        let wanted = escape_line(made.pattern.as_deref().unwrap_or_default()).into_owned();
        return Err(Failure {
            kind: FailureKind::Input,
            message: format!("the command made no file `{wanted}`, but {}", others.join(", ")),
            help: Some("change the pattern in `from=` of the dataset".into()),
        });
    }
    Ok(found.into_iter().map(|name| folder.join(name)).collect())
}

//! The store, or the place where it would be created.

use std::fs;
use std::path::{Path, PathBuf};

use super::{DoctorFindings, FindingState};
use crate::cli::CommandContext;
use crate::error::{Error, Result, Shortage};
use crate::store::Store;
use crate::store::garbage::{self, ItemKind, StoreItem};
use crate::store::lock::{self, LockHolder};
use crate::store::probe::{ProbeResult, probe_file_system};
use crate::store::vfs::{Disk, Vfs};
use crate::text::display::{count_noun, format_bytes};
use crate::text::read::display_path;

/// Reports on the store; returns the free bytes of its file system.
pub(super) fn inspect_store_location(
    findings: &mut DoctorFindings,
    context: &CommandContext<'_>,
) -> Option<u64> {
    let root = std::path::absolute(&context.store).unwrap_or_else(|_| context.store.clone());
    let store = match context.open_store() {
        Ok(store) => store,
        Err(error) => {
            findings.add_obstacle("folder", error.to_string(), error.exit_code());
            return None;
        }
    };
    let there = if store.is_some() { "" } else { ", not created yet" };
    findings.add_fine("folder", format!("{}{there}", display_path(&root)));
    let place = find_existing_folder(&root)?;
    if let Some((kind, mount)) = find_file_system(&place) {
        findings.add_fine("file system", format!("{kind} at {mount}"));
    }
    let free = Disk.free_bytes(&place).map_err(Error::io("measure the free space of", &place));
    match &free {
        Ok(free) => findings.add_fine("free", format_bytes(*free)),
        Err(error) => findings.add_obstacle("free", error.to_string(), error.exit_code()),
    }
    // In the store's `tmp/`, because the next run removes what a killed probe leaves there.
    let tmp = root.join("tmp");
    let trials = match &store {
        Some(store) if tmp.is_dir() => probe_file_system(store.vfs(), &tmp),
        _ => probe_file_system(&Disk, &place),
    };
    report_trials(findings, trials);
    if let Some(store) = store {
        inspect_store_contents(findings, &store);
    }
    free.ok()
}

/// The folder itself, or the nearest one above it that exists.
fn find_existing_folder(root: &Path) -> Option<PathBuf> {
    root.ancestors().find(|folder| folder.is_dir()).map(Path::to_path_buf)
}

/// Type and mount point of the file system that holds a folder; `None` on systems without `/proc/mounts`.
fn find_file_system(place: &Path) -> Option<(String, String)> {
    let place = place.canonicalize().ok()?;
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    let fields = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?, words.next()?))
    });
    // Of two mounts at one point, the later one hides the earlier one; `max_by_key` returns the last of equals.
    let holding = fields.filter(|(mount, _)| place.starts_with(mount));
    let (mount, kind) = holding.max_by_key(|(mount, _)| mount.len())?;
    Some((kind.to_owned(), mount.to_owned()))
}

fn report_trials(findings: &mut DoctorFindings, all: Vec<ProbeResult>) {
    let good: Vec<_> = all.iter().filter(|tried| tried.result.is_ok()).map(|tried| tried.what).collect();
    if !good.is_empty() {
        findings.add_fine("can", good.join(", "));
    }
    for ProbeResult { what, essential, result } in all {
        let Err(error) = result else { continue };
        let full = Shortage::find(&error).is_some();
        let state = match essential {
            true => FindingState::Stops(if full { 6 } else { 2 }),
            false => FindingState::Note,
        };
        let help = if essential { "" } else { ": start only one run at a time" };
        findings.add(format!("cannot {what}"), format!("{error}{help}"), state);
    }
}

/// Reports who holds the store's lock and what the store contains.
fn inspect_store_contents(findings: &mut DoctorFindings, store: &Store) {
    let at_rest = report_lock(findings, lock::find_lock_holders(store));
    match garbage::collect_store_items(store, &[]) {
        Err(error) => findings.add_obstacle("contents", error.to_string(), error.exit_code()),
        Ok(items) => {
            let of = |kind: ItemKind| items.iter().filter(move |item| item.kind == kind).count();
            let size = format_bytes(garbage::sum_bytes(items.iter()));
            let (finished, open) = (of(ItemKind::Artifact), of(ItemKind::Work));
            findings.add_fine(
                "contents",
                format!(
                    "{}, {}, {size}",
                    count_noun(finished, "artifact"),
                    count_noun(open, "unfinished stage")
                ),
            );
        }
    }
    // Those of a run in progress cannot be distinguished from its unfinished work.
    if at_rest {
        report_leftovers(findings, garbage::collect_leftovers(store));
    }
}

/// Reports who is at work in the store. Whether it is known that no run is in progress.
fn report_lock(findings: &mut DoctorFindings, held: Result<Vec<LockHolder>>) -> bool {
    let held = match held {
        Err(error) => {
            findings.add_obstacle("lock", error.to_string(), error.exit_code());
            return false;
        }
        Ok(held) => held,
    };
    if held.is_empty() {
        findings.add_fine("lock", "free");
    }
    for holder in &held {
        let text = match holder.lives {
            true => format!("in use by {}; stages that it does not make can run beside it", holder.words),
            false => format!("{} was killed; the next run takes over", holder.words),
        };
        findings.add_note("lock", text);
    }
    held.iter().all(|holder| !holder.lives)
}

fn report_leftovers(findings: &mut DoctorFindings, found: Result<Vec<StoreItem>>) {
    match found {
        Err(error) => findings.add_obstacle("leftovers", error.to_string(), error.exit_code()),
        Ok(items) if items.is_empty() => {}
        Ok(items) => {
            let size = format_bytes(garbage::sum_bytes(items.iter()));
            let what = format!("{} of killed runs, {size}; the next run removes them", items.len());
            findings.add_note("leftovers", what);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn refused() -> Error {
        Error::io("list", Path::new("/s/tmp"))(io::ErrorKind::PermissionDenied.into())
    }

    #[test]
    fn what_cannot_be_read_is_an_obstacle() {
        let mut findings = DoctorFindings::default();
        report_leftovers(&mut findings, Err(refused()));
        assert!(!report_lock(&mut findings, Err(refused())), "a run may be in progress");
        let states: Vec<_> = findings.list.iter().map(|found| (found.name.as_str(), found.state)).collect();
        assert_eq!(states, [("leftovers", FindingState::Stops(1)), ("lock", FindingState::Stops(1))]);
        assert!(findings.list[0].value.starts_with("cannot list /s/tmp"), "{findings:?}");
    }
}

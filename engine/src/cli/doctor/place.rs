//! The store, or the place where one would be made.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Findings, State};
use crate::cli::{Context, shown};
use crate::store::collect::{self, Kind};
use crate::store::trial::{Tried, trial};
use crate::store::vfs::Disk;
use crate::store::{Store, lock};
use crate::text::display::format_bytes;

/// Looks at the store; gives the bytes that are free there.
pub(super) fn look(findings: &mut Findings, context: &Context<'_>) -> Option<u64> {
    let root = std::path::absolute(&context.store).unwrap_or_else(|_| context.store.clone());
    let store = match context.open() {
        Ok(store) => store,
        Err(error) => {
            findings.stops("folder", error.to_string(), error.exit_code());
            return None;
        }
    };
    let there = if store.is_some() { "" } else { ", not made yet" };
    findings.fine("folder", format!("{}{there}", shown(&root)));
    let place = existing(&root)?;
    if let Some((kind, mount)) = file_system(&place) {
        findings.fine("file system", format!("{kind} at {mount}"));
    }
    let free = rustix::fs::statvfs(&place).ok().map(|stat| stat.f_bavail.saturating_mul(stat.f_frsize));
    free.into_iter().for_each(|free| findings.fine("free", format_bytes(free)));
    // What a killed trial leaves in a store is swept by the next run.
    let tmp = root.join("tmp");
    tried(findings, trial(&Disk, if store.is_some() && tmp.is_dir() { &tmp } else { &place }));
    if let Some(store) = store {
        contents(findings, &store);
    }
    free
}

/// The folder itself, or the nearest one above it that exists.
fn existing(root: &Path) -> Option<PathBuf> {
    root.ancestors().find(|folder| folder.is_dir()).map(Path::to_path_buf)
}

/// Type and place of the file system that holds a folder, where the system tells.
fn file_system(place: &Path) -> Option<(String, String)> {
    let place = place.canonicalize().ok()?;
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    let fields = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?, words.next()?))
    });
    // Of two at one place the later one counts.
    let holding = fields.filter(|(mount, _)| place.starts_with(mount));
    let (mount, kind) = holding.max_by_key(|(mount, _)| mount.len())?;
    Some((kind.to_owned(), mount.to_owned()))
}

fn tried(findings: &mut Findings, all: Vec<Tried>) {
    let good: Vec<_> = all.iter().filter(|tried| tried.result.is_ok()).map(|tried| tried.what).collect();
    if !good.is_empty() {
        findings.fine("can", good.join(", "));
    }
    for Tried { what, essential, result } in all {
        let Err(error) = result else { continue };
        let full =
            matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded);
        let state = match essential {
            true => State::Stops(if full { 6 } else { 2 }),
            false => State::Note,
        };
        let cure = if essential { "" } else { ": start only one run at a time" };
        findings.add(format!("cannot {what}"), format!("{error}{cure}"), state);
    }
}

/// Who holds the store and what lies in it.
fn contents(findings: &mut Findings, store: &Store) {
    let held = lock::holder_of(store.root());
    let live = held.as_ref().is_some_and(|holder| holder.lives);
    match held {
        Some(holder) if holder.lives => findings.stops("lock", format!("in use by {}", holder.words), 5),
        Some(holder) => findings.note("lock", format!("{} was killed; the next run goes on", holder.words)),
        None => findings.fine("lock", "free"),
    }
    match collect::survey(store, &[]) {
        Err(error) => findings.stops("contents", error.to_string(), error.exit_code()),
        Ok(items) => {
            let of = |kind: Kind| items.iter().filter(move |item| item.kind == kind).count();
            let size = format_bytes(items.iter().map(|item| item.bytes).sum());
            let (finished, open) = (of(Kind::Artifact), of(Kind::Work));
            findings.fine("contents", format!("{finished} artifacts, {open} unfinished stages, {size}"));
        }
    }
    if let (Ok(items), false) = (collect::leftovers(store), live) {
        let size = format_bytes(items.iter().map(|item| item.bytes).sum());
        if !items.is_empty() {
            let what = format!("{} of killed runs, {size}; the next run sweeps them", items.len());
            findings.note("leftovers", what);
        }
    }
}

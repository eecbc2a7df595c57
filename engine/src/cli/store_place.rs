//! Where the store of a command is that names none: the nearest `.fmflow` from the pipeline file upwards, else beside the file.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::CommandContext;
use crate::plan::Plan;
use crate::store::{Store, StoreTrust};
use crate::text::display::count_noun;
use crate::text::escape::show_path;
use crate::text::read::{find_parent_folder, to_absolute_path};

/// The name of a store's folder.
const NAME: &str = ".fmflow";

/// The store of a pipeline file, or, without one, of the current folder: whether it exists or not.
pub(super) fn find_store(file: Option<&Path>) -> PathBuf {
    let start = find_start(file);
    let found = list_places(&start).find(|place| exists(place));
    shorten(&found.unwrap_or_else(|| start.join(NAME)))
}

/// The folder of a file, or the current one.
fn find_start(file: Option<&Path>) -> PathBuf {
    let folder = file.map_or_else(|| to_absolute_path(Path::new(".")), find_parent_folder);
    // Of a folder that does not exist the command says so itself.
    fs::canonicalize(&folder).unwrap_or(folder)
}

/// Where a store of a folder may be: in it and above it. Folders of other users end the search, because anybody can put a
/// store into some of them, such as `/tmp`.
fn list_places(start: &Path) -> impl Iterator<Item = PathBuf> {
    let user = rustix::process::geteuid().as_raw();
    let own = move |folder: &Path| fs::metadata(folder).is_ok_and(|about| about.uid() == user);
    let above = start.ancestors().skip(1).take_while(move |folder| own(folder));
    std::iter::once(start).chain(above).map(|folder| folder.join(NAME))
}

/// Whether anything has this path, be it a store or not: what is no store is refused by whoever opens it, and not passed over.
fn exists(place: &Path) -> bool {
    !matches!(fs::symlink_metadata(place), Err(error) if error.kind() == io::ErrorKind::NotFound)
}

/// A path relative to the current folder, if it lies there.
fn shorten(path: &Path) -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here).unwrap_or(path).to_owned()
}

/// Says which store is used, unless that is the current folder's or the user named it, and which near it is not.
pub(super) fn tell_store(context: &CommandContext<'_>) {
    if context.trust == StoreTrust::Named || context.store == Path::new(NAME) {
        return;
    }
    context.output.message(&format!("note: the store is {}\n", show_path(&context.store)));
    if exists(Path::new(NAME)) {
        let text = "note: the current folder's store is not used, because the file lies elsewhere; `--store .fmflow` uses it\n";
        context.output.message(text);
    }
}

/// Says which stages that have to run are finished in a store nearby.
pub(super) fn tell_finished_elsewhere(plan: &Plan, file: &Path, context: &CommandContext<'_>) {
    let running = plan.running();
    for place in list_others(file, &context.store) {
        // What is no store has no results.
        let Ok(Some(other)) = Store::open_as(&place, StoreTrust::Found) else { continue };
        let is_there = |path: &Path| other.vfs().stat(path).is_ok();
        let finished = running
            .iter()
            .filter(|planned| is_there(&other.artifact(&planned.key.name, &planned.key.fingerprint)));
        let count = finished.count();
        if count > 0 {
            let are = if count == 1 { "is" } else { "are" };
            let (place, stages) = (show_path(&place), count_noun(count, "stage"));
            let text = format!(
                "note: {stages} that would run {are} finished in the store {place}: `--store {place}` uses it\n"
            );
            context.output.message(&text);
        }
    }
}

/// Folders that are looked into for a store. A folder with more of them is no project.
const MOST_FOLDERS: usize = 256;

/// Where a store one folder away may be: in a folder that lies in this one, or beside it, so that a file that was moved finds its results.
/// Hidden folders are no projects, and folders of other users, or where anybody may write, are not looked into.
fn list_near_places(start: &Path) -> Vec<PathBuf> {
    let user = rustix::process::geteuid().as_raw();
    let own = |folder: &&Path| {
        fs::metadata(folder).is_ok_and(|about| about.uid() == user && about.mode() & 0o002 == 0)
    };
    let around = std::iter::once(start).chain(start.parent()).filter(own);
    // What cannot be read has no store for this user.
    let folders = around.filter_map(|folder| fs::read_dir(folder).ok()).flat_map(|entries| {
        let entries = entries.filter_map(std::result::Result::ok);
        let is_shown = |entry: &fs::DirEntry| !entry.file_name().as_bytes().starts_with(b".");
        let folders =
            entries.filter(|entry| is_shown(entry) && entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let places: Vec<_> = folders.take(MOST_FOLDERS + 1).map(|entry| entry.path().join(NAME)).collect();
        if places.len() > MOST_FOLDERS { vec![] } else { places }
    });
    folders.collect()
}

/// Stores near a file and the current folder, other than `used`.
fn list_others(file: &Path, used: &Path) -> Vec<PathBuf> {
    let (own, here) = (find_start(Some(file)), find_start(None));
    let above = list_places(&own).chain(list_places(&here));
    let mut places: Vec<PathBuf> = above.chain(list_near_places(&own)).map(|place| shorten(&place)).collect();
    let used = shorten(&to_absolute_path(used));
    places.sort_unstable();
    places.dedup();
    places.retain(|place| *place != used && exists(place));
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_store_from_the_file_upwards() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let inner = root.join("a/b");
        fs::create_dir_all(&inner).unwrap();
        let file = inner.join("p.kdl");
        assert_eq!(find_store(Some(&file)), inner.join(NAME), "beside the file, which need not exist");
        for near in [&root, &root.join("a"), &inner] {
            fs::create_dir(near.join(NAME)).unwrap();
            assert_eq!(find_store(Some(&file)), near.join(NAME));
        }
        assert_eq!(list_others(&file, &inner.join(NAME)), [root.join(NAME), root.join("a").join(NAME)]);
        // One folder away: below, and beside.
        for near in [&inner.join("below"), &root.join("a/beside"), &inner.join("below/further")] {
            fs::create_dir_all(near.join(NAME)).unwrap();
        }
        let near = [root.join(NAME), root.join("a").join(NAME), inner.join("below").join(NAME)];
        let near: Vec<_> = near.into_iter().chain([root.join("a/beside").join(NAME)]).collect();
        let (found, expected) =
            (list_others(&file, &inner.join(NAME)), std::collections::BTreeSet::from_iter(near));
        assert_eq!(found.into_iter().collect::<std::collections::BTreeSet<_>>(), expected);
        // What is there counts, even if it cannot be a store.
        fs::remove_dir(inner.join(NAME)).unwrap();
        std::os::unix::fs::symlink("nowhere", inner.join(NAME)).unwrap();
        assert_eq!(find_store(Some(&file)), inner.join(NAME));
        // No file, but what people type.
        assert_eq!(find_start(Some(Path::new("/"))), Path::new("/"));
    }
}

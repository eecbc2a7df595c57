//! The cache of Hugging Face's own tools. Files in it are copied after they were hashed; nothing is ever written there.
//!
//! ```text
//! HF_HUB_CACHE (HF_HOME/hub)/models--OWNER--NAME/
//!   blobs/<hash>              contents; the hash is that of the file in LFS, or of git's blob
//!   snapshots/<commit>/<path> links to blobs, or the files themselves where links do not work
//! ```

use std::fs::File;
use std::path::PathBuf;

use fmflow_engine::pipeline::repository::{PinnedFile, RepositoryFiles, RepositoryKind};
use fmflow_engine::text::environment::{find_hub_home, read_variable};

/// The folder of the cache, whether it exists or not.
pub(super) fn find_cache() -> Option<PathBuf> {
    let named = read_variable("HF_HUB_CACHE").or_else(|| read_variable("HUGGINGFACE_HUB_CACHE"));
    named.map(PathBuf::from).or_else(|| Some(find_hub_home()?.join("hub")))
}

/// The cached file of this size, if there is one; nobody has looked at its contents.
pub(super) fn open_cached(
    cache: &std::path::Path,
    repository: &RepositoryFiles,
    file: &PinnedFile,
    hash: &str,
) -> Option<(PathBuf, File)> {
    let kind = match repository.kind {
        RepositoryKind::Model => "models",
        RepositoryKind::Dataset => "datasets",
    };
    let folder = cache.join(format!("{kind}--{}", repository.name.replace('/', "--")));
    let places =
        [folder.join("blobs").join(hash), folder.join("snapshots").join(&repository.commit).join(&file.path)];
    places.into_iter().find_map(|place| {
        // A pipe or a device would block; a file that cannot be read is as good as none.
        let about = std::fs::metadata(&place).ok()?;
        let fits = about.is_file() && about.len() == file.size;
        fits.then(|| File::open(&place).ok()).flatten().map(|open| (place, open))
    })
}

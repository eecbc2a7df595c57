//! Generated files, in a folder of the store of smoke runs.

use std::path::PathBuf;

use crate::error::Result;
use crate::store::Store;

/// The folder of generated files in a store.
const FOLDER: &str = "smoke";

/// Where generated files go.
pub(super) struct SmokeFiles<'a> {
    pub(super) store: &'a Store,
}

impl SmokeFiles<'_> {
    /// Writes a file unless it is there already, so that its digest is remembered. `name` is what it stands for; `end` follows it.
    pub(super) fn write(&self, name: &str, end: &str, text: &str) -> Result<PathBuf> {
        self.store.ensure_folder(FOLDER)?;
        let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '-' };
        let plain: String = name.chars().map(plain).take(40).collect();
        // Two names may become one.
        let digest = blake3::hash(name.as_bytes()).to_hex();
        let path = self.store.root().join(FOLDER).join(format!("{plain}-{}{end}", &digest[..8]));
        if self.store.vfs().read(&path).is_ok_and(|found| found == text.as_bytes()) {
            return Ok(path);
        }
        self.store.replace_file(&path, text.as_bytes())?;
        Ok(path)
    }
}

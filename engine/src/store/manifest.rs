//! The manifest of a published folder: what the folder is, what it was made from, and the hash of every file.

use std::path::Path;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::pipeline::fingerprint::{Fingerprint, Ledger};
use crate::store::vfs::{EntryKind, Vfs, is_absent};

/// Name of the manifest inside a published folder.
pub(crate) const MANIFEST_FILE: &str = "manifest.json";
/// Version of the manifest's format.
pub(crate) const MANIFEST_SCHEMA: &str = "fmflow.manifest/1";
/// Bytes of a chunk; each chunk has its own hash, so that damage can be located in a large file.
pub(crate) const CHUNK_BYTES: usize = 16 << 20;
/// Largest manifest that is read: no valid one comes near, and a stranger's must not exhaust memory.
pub(crate) const MAX_MANIFEST_BYTES: u64 = 64 << 20;

/// The stage that made a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageName {
    /// Kind of stage, such as `train`.
    pub kind: String,
    /// Name of the stage when the folder was made.
    pub name: String,
}

/// One file of a published folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// File name, without folders.
    pub name: String,
    /// Size in bytes.
    pub size: u64,
    /// BLAKE3 of the whole file, in hexadecimal.
    pub blake3: String,
    /// BLAKE3 of each chunk of [`CHUNK_BYTES`]; the last chunk may be shorter.
    pub chunks: Vec<String>,
}

/// Identity, origin and contents of a published folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Always [`MANIFEST_SCHEMA`].
    pub schema: String,
    /// The stage that made the folder.
    pub stage: StageName,
    /// Identity of the result.
    pub fingerprint: Fingerprint,
    /// For a checkpoint: updates done.
    pub step: Option<u64>,
    /// What the fingerprint is made of.
    pub ledger: Ledger,
    /// Fingerprints of the artifacts it was made from, by role.
    pub inputs: IndexMap<String, Fingerprint>,
    /// All files of the folder except the manifest, in the order in which they were started.
    pub files: Vec<FileEntry>,
    /// What else the stage recorded, such as device and counts.
    pub facts: IndexMap<String, Value>,
    /// Program and version that made it.
    pub tool: String,
    /// Threads that the machine had.
    pub threads: usize,
    /// When it was published (UTC).
    pub created: String,
    /// BLAKE3 of the text of the manifest up to this value.
    pub root: String,
}

impl Manifest {
    /// The text to write; computes `root`.
    #[must_use]
    pub(crate) fn encode(&self) -> String {
        let unsigned = Self { root: String::new(), ..self.clone() };
        let text = serde_json::to_string_pretty(&unsigned).expect("a manifest is plain data");
        let body = text.strip_suffix("\"\"\n}").expect("the root comes last, and is empty so far");
        format!("{body}\"{}\"\n}}\n", blake3::hash(body.as_bytes()).to_hex())
    }

    /// Reads the text of a manifest and verifies `root`, so that any flipped bit is found.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub(crate) fn decode(bytes: &[u8]) -> std::result::Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_string())?;
        let manifest: Self =
            serde_json::from_str(text).map_err(|error| describe_decode_error(text, &error))?;
        let root = format!("\"{}\"\n}}\n", manifest.root);
        let body = text.strip_suffix(&root).ok_or("its root hash is not at its end")?;
        if blake3::hash(body.as_bytes()).to_hex().as_str() != manifest.root {
            return Err("its root hash does not match".into());
        }
        if manifest.schema != MANIFEST_SCHEMA {
            return Err(format!(
                "its format is `{}`, but this program reads `{MANIFEST_SCHEMA}`",
                manifest.schema
            ));
        }
        Ok(manifest)
    }

    /// Total size of all files, in bytes.
    #[must_use]
    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }
}

/// Says why a text does not parse as a manifest; one of another version is named as such.
fn describe_decode_error(text: &str, error: &serde_json::Error) -> String {
    let schema = serde_json::from_str::<Value>(text).ok();
    match schema.as_ref().and_then(|value| value.get("schema")).and_then(Value::as_str) {
        Some(other) if other != MANIFEST_SCHEMA => {
            format!("its format is `{other}`, but this program reads `{MANIFEST_SCHEMA}`")
        }
        _ => format!("it does not parse: {error}"),
    }
}

/// Reads the manifest of a folder; `None` if there is none. The inner error says what is wrong with the manifest.
pub(crate) fn read_manifest(
    vfs: &dyn Vfs,
    folder: &Path,
) -> Result<Option<std::result::Result<Manifest, String>>> {
    let path = folder.join(MANIFEST_FILE);
    match vfs.stat(&path) {
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(Error::io("inspect", &path)(error)),
        Ok(stat) if stat.kind != EntryKind::File => return Ok(Some(Err("it is not a regular file".into()))),
        Ok(stat) if stat.size > MAX_MANIFEST_BYTES => return Ok(Some(Err("it is too large".into()))),
        Ok(_) => {}
    }
    match vfs.read(&path) {
        // Another run has just moved the folder.
        Err(error) if is_absent(&error) => Ok(None),
        read => Ok(Some(Manifest::decode(&read.map_err(Error::io("read", &path))?))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        Manifest {
            schema: MANIFEST_SCHEMA.into(),
            stage: StageName { kind: "train".into(), name: "ar".into() },
            fingerprint: Fingerprint("ab".repeat(32)),
            step: None,
            ledger: Ledger::default(),
            inputs: IndexMap::new(),
            files: vec![],
            facts: [("learning rate".to_string(), Value::from(0.1 + 0.2))].into_iter().collect(),
            tool: "fmflow 0".into(),
            threads: 2,
            created: "2026-11-22T00:00:00Z".into(),
            root: String::new(),
        }
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let text = manifest().encode();
        assert_eq!(Manifest::decode(text.as_bytes()).unwrap().stage.name, "ar");
        for bit in 0..text.len() * 8 {
            let mut bytes = text.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Manifest::decode(&bytes).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn another_version_is_named() {
        let text = manifest().encode().replace("manifest/1", "manifest/9");
        assert!(Manifest::decode(text.as_bytes()).unwrap_err().contains("does not match"));
        let reason = Manifest::decode(br#"{"schema": "fmflow.manifest/9"}"#).unwrap_err();
        assert!(reason.contains("fmflow.manifest/9"), "{reason}");
    }
}

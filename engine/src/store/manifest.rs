//! The manifest of a published folder: what it is, what it was made from, and the hash of every byte.

use std::path::Path;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::pipeline::fingerprint::{Fingerprint, Ledger};
use crate::store::vfs::{EntryKind, Vfs, is_absent};

/// Name of the manifest inside a published folder.
pub const MANIFEST_FILE: &str = "manifest.json";
/// Version of its form.
pub const MANIFEST_SCHEMA: &str = "fmflow.manifest/1";
/// Bytes of a chunk that has a hash of its own.
pub const CHUNK_BYTES: usize = 16 << 20;
/// No honest manifest is longer.
pub(crate) const MAX_MANIFEST_BYTES: u64 = 64 << 20;

/// The stage that made a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageName {
    /// Kind of stage.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// One file of a published folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Its name.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// BLAKE3 of the whole, in hexadecimal.
    pub blake3: String,
    /// BLAKE3 of every 16 MiB.
    pub chunks: Vec<String>,
}

/// What a published folder is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`SCHEMA`].
    pub schema: String,
    /// Who made it.
    pub stage: StageName,
    /// Identity of the result.
    pub fingerprint: Fingerprint,
    /// Of a checkpoint: updates done.
    pub step: Option<u64>,
    /// What the fingerprint is made of.
    pub ledger: Ledger,
    /// Fingerprints of the artifacts it was made from, by role.
    pub inputs: IndexMap<String, Fingerprint>,
    /// The files, in the order they were written.
    pub files: Vec<FileEntry>,
    /// What the stage found worth recording: device, threads, counts.
    pub facts: IndexMap<String, Value>,
    /// Program and version.
    pub tool: String,
    /// Threads of the machine.
    pub threads: usize,
    /// When it was published (UTC).
    pub created: String,
    /// BLAKE3 of everything above, as written.
    pub root: String,
}

impl Manifest {
    /// The text on disk; `root` is computed here.
    #[must_use]
    pub fn encode(&self) -> String {
        let unsigned = Self { root: String::new(), ..self.clone() };
        let text = serde_json::to_string_pretty(&unsigned).expect("a manifest is plain data");
        let body = text.strip_suffix("\"\"\n}").expect("the root comes last, and is empty so far");
        format!("{body}\"{}\"\n}}\n", blake3::hash(body.as_bytes()).to_hex())
    }

    /// Reads the text on disk; every bit of it counts.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn decode(bytes: &[u8]) -> std::result::Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_string())?;
        let manifest: Self =
            serde_json::from_str(text).map_err(|error| describe_decode_error(text, &error))?;
        let root = format!("\"{}\"\n}}\n", manifest.root);
        let body = text.strip_suffix(&root).ok_or("its root hash is not at its end")?;
        if blake3::hash(body.as_bytes()).to_hex().as_str() != manifest.root {
            return Err("its root hash does not match".into());
        }
        if manifest.schema != MANIFEST_SCHEMA {
            return Err(format!("its form is `{}`, this version reads `{MANIFEST_SCHEMA}`", manifest.schema));
        }
        Ok(manifest)
    }

    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }
}

/// Why a text is no manifest; says so when it is one of another version.
fn describe_decode_error(text: &str, error: &serde_json::Error) -> String {
    let schema = serde_json::from_str::<Value>(text).ok();
    match schema.as_ref().and_then(|value| value.get("schema")).and_then(Value::as_str) {
        Some(other) if other != MANIFEST_SCHEMA => {
            format!("its form is `{other}`, this version reads `{MANIFEST_SCHEMA}`")
        }
        _ => format!("it does not parse: {error}"),
    }
}

/// Reads the manifest of a folder: `None` when there is none; the inner error is a sentence on its state.
pub(crate) fn read_manifest(
    vfs: &dyn Vfs,
    folder: &Path,
) -> Result<Option<std::result::Result<Manifest, String>>> {
    let path = folder.join(MANIFEST_FILE);
    match vfs.stat(&path) {
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(Error::io("look at", &path)(error)),
        Ok(stat) if stat.kind != EntryKind::File => return Ok(Some(Err("it is no regular file".into()))),
        Ok(stat) if stat.size > MAX_MANIFEST_BYTES => return Ok(Some(Err("it is too long".into()))),
        Ok(_) => {}
    }
    let bytes = vfs.read(&path).map_err(Error::io("read", &path))?;
    Ok(Some(Manifest::decode(&bytes)))
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

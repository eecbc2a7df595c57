//! A checkpoint folder whose tensors are read one at a time, or in parts, so that it need not fit in memory.

use std::path::{Path, PathBuf};

use fmflow_engine::pipeline::checkpoint_folder::{CheckpointFolder, FolderFault, TensorEntry};
use fmflow_engine::pipeline::contract::Contract;
use fmflow_engine::text::escape::show_path;
use indexmap::IndexMap;

use super::adapter::{ADAPTER, ADAPTER_FACTS, AdapterFacts, TensorChange, read_changes, read_facts};
use super::weights_file::{TensorParts, WeightsFile};
use super::{BASE, Dtype, HostTensor, TensorLayout, WeightsError, hash_bytes};
use crate::backbone::{EMBEDDING, HEAD, Qwen3Config, TimeConditioning, build_layout};

/// An open checkpoint folder whose headers fit. Its values are checked when they are read.
#[derive(Debug)]
pub struct CheckpointReader {
    /// Shape and constants, from config.json.
    pub config: Qwen3Config,
    /// The contract of the folder, if it has one.
    pub contract: Option<Contract>,
    /// Whether the files have a redundant `lm_head.weight` equal to the embedding, which is not read.
    pub redundant_head: bool,
    files: Vec<WeightsFile>,
    /// The file of each tensor of the layout, by number, and its entry there; in the layout's order.
    tensors: IndexMap<String, (usize, TensorEntry)>,
    config_hash: String,
    /// What the adapter of the folder changes, by the names of tensors; `None` if it has none beside its weights.
    changes: Option<IndexMap<String, TensorChange>>,
    /// The folder.
    folder: PathBuf,
}

impl CheckpointReader {
    /// Opens and checks the folder `dir`: config.json, its contract if it has one, and the headers of all weights.
    ///
    /// # Errors
    /// If anything is missing, unexpected or malformed; see [`WeightsError`].
    pub fn open(dir: &Path) -> Result<Self, WeightsError> {
        let folder = CheckpointFolder::open(dir, show_path(dir));
        if let Some(fault) = folder.find_faults().into_iter().find(FolderFault::is_certain) {
            return Err(fault.into());
        }
        let sound = "a folder without faults has a config.json";
        let (config, text) = (folder.config().expect(sound).clone(), folder.config_text().expect(sound));
        let (contract, folder_is_adapted) = (folder.contract().cloned(), folder.is_adapted());
        let names = folder.weight_files().iter();
        let files = names.map(|file| WeightsFile::open(&dir.join(&file.name))).collect::<Result<_, _>>()?;
        let config_hash = hash_bytes(text.as_bytes());
        let tensors = IndexMap::new();
        let (redundant_head, changes, folder) = (false, None, dir.to_owned());
        let reader = Self { config, contract, redundant_head, files, tensors, config_hash, changes, folder };
        let reader = reader.place_tensors()?;
        if folder_is_adapted { reader.apply_adapter() } else { Ok(reader) }
    }

    /// Finds each tensor of the layout, and compares a head that repeats a tied embedding.
    fn place_tensors(mut self) -> Result<Self, WeightsError> {
        let files = self.files.iter().enumerate();
        let mut found: IndexMap<String, (usize, TensorEntry)> = files
            .flat_map(|(i, file)| {
                file.entries.iter().map(move |entry| (entry.name.clone(), (i, entry.clone())))
            })
            .collect();
        for (name, expected) in build_layout(&self.config, self.time_conditioning()) {
            let Some((file, entry)) = found.swap_remove(&name) else {
                return Err(WeightsError::Missing { place: "the checkpoint".into(), tensor: name });
            };
            if entry.shape != expected {
                let (file, found) = (self.files[file].name.clone(), entry.shape);
                return Err(WeightsError::Shape { file, tensor: name, found, expected });
            }
            self.tensors.insert(name, (file, entry));
        }
        if let (true, Some((file, entry))) = (self.config.tie_word_embeddings, found.swap_remove(HEAD)) {
            compare_values(self.parts(EMBEDDING)?, self.files[file].parts(&entry, None))?;
            self.redundant_head = true;
        }
        Ok(self)
    }

    /// Reads the adapter of a folder whose weights are those under it.
    fn apply_adapter(mut self) -> Result<Self, WeightsError> {
        self.changes = Some(read_changes(&self.folder, &self.layout())?);
        Ok(self)
    }

    /// Whether its values are those of its files and of an adapter beside them.
    #[must_use]
    pub(crate) fn is_adapted(&self) -> bool {
        self.changes.is_some()
    }

    /// Whether and how the model is conditioned on time.
    #[must_use]
    pub(crate) fn time_conditioning(&self) -> TimeConditioning {
        self.contract.as_ref().map_or(TimeConditioning::None, |contract| contract.time_conditioning)
    }

    /// Names and shapes of its tensors, in the order of [`build_layout`].
    #[must_use]
    pub(crate) fn layout(&self) -> TensorLayout {
        self.tensors.iter().map(|(name, (_, entry))| (name.clone(), entry.shape.clone())).collect()
    }

    /// Number of values of all tensors.
    #[must_use]
    pub(crate) fn parameters(&self) -> usize {
        self.tensors.values().map(|(_, entry)| entry.count()).sum()
    }

    /// Whether it has a tensor of this name.
    #[must_use]
    pub(crate) fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The element type in which a tensor is stored.
    ///
    /// # Errors
    /// If it has no such tensor.
    pub(crate) fn dtype(&self, name: &str) -> Result<Dtype, WeightsError> {
        let changed = self.find_change(name).is_some();
        Ok(if changed { Dtype::F32 } else { self.find(name)?.1.dtype })
    }

    /// The values of a tensor, part by part.
    ///
    /// # Errors
    /// If it has no such tensor.
    pub(crate) fn parts(&self, name: &str) -> Result<TensorParts<'_>, WeightsError> {
        let (file, entry) = self.find(name)?;
        Ok(self.files[*file].parts(entry, self.find_change(name)))
    }

    /// A tensor as a whole.
    ///
    /// # Errors
    /// If there is none of this name, it cannot be read, or a value is not finite.
    pub fn read(&self, name: &str) -> Result<HostTensor, WeightsError> {
        let shape = self.find(name)?.1.shape.clone();
        Ok(HostTensor { shape, dtype: self.dtype(name)?, values: self.parts(name)?.read_all()? })
    }

    fn find_change(&self, name: &str) -> Option<&TensorChange> {
        self.changes.as_ref()?.get(name)
    }

    /// BLAKE3 of config.json, of every weight file and of an adapter beside them, by name.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn hash_files(&self) -> Result<IndexMap<String, String>, WeightsError> {
        let mut found = IndexMap::from([("config.json".to_owned(), self.config_hash.clone())]);
        for file in &self.files {
            found.insert(file.name.clone(), file.hash()?);
        }
        if self.is_adapted() {
            found.insert(ADAPTER.into(), WeightsFile::open(&self.folder.join(ADAPTER))?.hash()?);
            found.insert(ADAPTER_FACTS.into(), hash_bytes(&read_facts(&self.folder)?));
        }
        Ok(found)
    }

    /// Compares the weights under an adapter with those that it was trained on. Nothing to compare without an adapter.
    ///
    /// # Errors
    /// If a file is another one, or cannot be read.
    pub(crate) fn check_base(&self) -> Result<(), WeightsError> {
        if !self.is_adapted() {
            return Ok(());
        }
        let base = AdapterFacts::read(&self.folder)?.base;
        for file in &self.files {
            let own = file.name.strip_prefix(BASE).unwrap_or(&file.name);
            if base.get(own) != Some(&file.hash()?) {
                return Err(WeightsError::Adapter {
                    file: file.name.clone(),
                    reason: "these are not the weights that the adapter was trained on".into(),
                });
            }
        }
        Ok(())
    }

    /// The names of its weight files.
    pub(crate) fn file_names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|file| file.name.as_str())
    }

    /// Copies weight file number `file` into `out`, and refuses a value that is not finite on the way.
    ///
    /// # Errors
    /// If it cannot be read or written, or a value is not finite.
    pub(crate) fn copy_checked<E>(&self, file: usize, out: &mut impl std::io::Write) -> Result<(), E>
    where
        E: From<WeightsError> + From<std::io::Error>,
    {
        self.files[file].copy_checked(out)
    }

    fn find(&self, name: &str) -> Result<&(usize, TensorEntry), WeightsError> {
        let missing = || WeightsError::Missing { place: "the checkpoint".into(), tensor: name.into() };
        self.tensors.get(name).ok_or_else(missing)
    }
}

/// Refuses a head that differs from the embedding to which config.json ties it. Both have the same number of values.
fn compare_values(mut embedding: TensorParts<'_>, mut head: TensorParts<'_>) -> Result<(), WeightsError> {
    loop {
        let (own, other) = (embedding.next_part()?, head.next_part()?);
        match (own == other, own.is_empty()) {
            (false, _) => return Err(WeightsError::Tie),
            (true, true) => return Ok(()),
            (true, false) => {}
        }
    }
}

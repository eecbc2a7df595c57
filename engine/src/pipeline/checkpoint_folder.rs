//! A checkpoint folder, opened at the cost of its headers: what `check`, `fetch` and `convert` know of it before any weight is
//! read, and everything in it that makes it unfit.
//!
//! ```text
//! config.json         -> sizes and constants        checkpoint_config
//! provenance.json, or the fmflow.json of an export  the contract
//! *.safetensors       -> names, types, shapes       header, weight_files
//! tokenizer.json      -> ids                        checkpoint_headers
//! *.json, *.jinja     -> what they say of one thing checkpoint_texts
//! ```
//! Every rule is one function from the opened folder to its faults, in [`RULES`]. A check and a run call the same
//! [`CheckpointFolder::find_faults`], so they cannot disagree. A rule is silent about what an earlier one reports: without a readable
//! config.json nothing is said about shapes.

mod config_rules;
mod contract_rules;
mod fault;
mod header;
mod layout;
mod other_kinds;
mod rename;
mod tensor_rules;
mod text_rules;
mod tokenizer_rules;
mod weight_files;

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

pub use fault::{FaultKind, FolderFault};
pub use header::{Dtype, HeaderError, TensorEntry, read_header};
pub use layout::{EMBEDDING, HEAD, TIME_FEATURES, build_layout};
pub use tensor_rules::TIED_HEAD_CURE;
pub use weight_files::{BASE, INDEX, SINGLE, WeightFileHeader};

use crate::pipeline::checkpoint_config::Qwen3Config;
use crate::pipeline::checkpoint_headers::{self, TokenTable};
use crate::pipeline::config::TimeConditioning;
use crate::pipeline::contract::{Contract, ContractError, MAX_CONTRACT_BYTES};
use crate::pipeline::mask_entry;
use crate::pipeline::origins::StoredContract;
use crate::text::file_head;

/// Finds one kind of fault in an opened folder. No rule reads weights.
type Rule = fn(&CheckpointFolder) -> Vec<FolderFault>;

/// All rules, in the order in which a run reports the first fault.
const RULES: [Rule; 9] = [
    config_rules::check_config,
    contract_rules::check_contract,
    contract_rules::check_origins,
    weight_files::check_weight_files,
    tensor_rules::check_tensors,
    tokenizer_rules::check_tokenizer,
    text_rules::check_texts,
    config_rules::check_settings,
    text_rules::check_templates,
];

/// Largest small file that is read, in bytes: config.json and the index.
const MAX_TEXT_BYTES: u64 = 1 << 20;

/// A checkpoint folder whose small files and headers have been read.
#[derive(Debug)]
pub struct CheckpointFolder {
    folder: PathBuf,
    shown: String,
    files: Vec<String>,
    folders: Vec<String>,
    config_text: Result<String, FolderFault>,
    config: Result<Qwen3Config, FolderFault>,
    contract: Result<Option<StoredContract>, ContractError>,
    weights: Result<Vec<WeightFileHeader>, FolderFault>,
    tokens: OnceCell<Option<TokenTable>>,
}

impl CheckpointFolder {
    /// Opens a folder. `shown` is its name in cures that are to be pasted.
    #[must_use]
    pub fn open(folder: &Path, shown: impl Into<String>) -> Self {
        let (files, folders) = file_head::list_entries(folder);
        let config_text = read_config_text(folder);
        let contract = StoredContract::read(|name| read_text(folder, name, MAX_CONTRACT_BYTES));
        let stored = contract.as_ref().ok().and_then(Option::as_ref).map(|stored| &stored.contract);
        let config = config_text.as_ref().map_err(FolderFault::clone).and_then(|text| {
            let config = Qwen3Config::parse_with_contract(text, stored);
            config.map_err(|error| FolderFault::new(error.to_string(), error.cure()))
        });
        let conditioned = matches!(&contract, Ok(Some(stored)) if stored.contract.time_conditioning != TimeConditioning::None);
        let weights = weight_files::open_weight_files(folder, &files, conditioned);
        let (folder, tokens) = (folder.to_owned(), OnceCell::new());
        Self { folder, shown: shown.into(), files, folders, config_text, config, contract, weights, tokens }
    }

    /// Everything that is wrong with the folder, as far as its headers show.
    #[must_use]
    pub fn find_faults(&self) -> Vec<FolderFault> {
        match other_kinds::find_other_kind(self) {
            Some(fault) => vec![fault],
            None => RULES.iter().flat_map(|rule| rule(self)).collect(),
        }
    }

    /// Why text cannot be worked with; `None` if the folder has a tokenizer.
    #[must_use]
    pub fn find_missing_tokenizer(&self) -> Option<FolderFault> {
        tokenizer_rules::find_missing_tokenizer(self)
    }

    /// Whether the folder has a chat template.
    #[must_use]
    pub(crate) fn has_template(&self) -> bool {
        text_rules::has_template(self)
    }

    /// The text of its chat template, if it has one; the outer `None` if its files cannot be read.
    #[must_use]
    pub(crate) fn find_template(&self) -> Option<Option<String>> {
        text_rules::find_template(self)
    }

    /// Whether the folder has a file of this name.
    #[must_use]
    pub(crate) fn has(&self, name: &str) -> bool {
        self.files.iter().any(|file| file == name)
    }

    /// Whether its weight files are those under an adapter, which lies beside them.
    #[must_use]
    pub fn is_adapted(&self) -> bool {
        !self.has(SINGLE) && !self.has(INDEX) && self.has(weight_files::ADAPTER_FACTS)
    }

    /// The names of its files, sorted.
    #[must_use]
    pub(crate) fn files(&self) -> &[String] {
        &self.files
    }

    /// The names of the folders in it, sorted.
    #[must_use]
    pub(crate) fn folders(&self) -> &[String] {
        &self.folders
    }

    /// Where the folder is.
    #[must_use]
    pub(crate) fn path(&self) -> &Path {
        &self.folder
    }

    /// The name of the folder in a cure to paste.
    #[must_use]
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// The text of config.json, if it can be read.
    #[must_use]
    pub fn config_text(&self) -> Option<&str> {
        self.config_text.as_deref().ok()
    }

    /// Sizes and constants; `None` if config.json is refused.
    #[must_use]
    pub fn config(&self) -> Option<&Qwen3Config> {
        self.config.as_ref().ok()
    }

    /// The contract, if the folder has one that can be read.
    #[must_use]
    pub fn contract(&self) -> Option<&Contract> {
        self.stored_contract().map(|stored| &stored.contract)
    }

    /// The contract and its origins, if the folder has one that can be read.
    #[must_use]
    pub(crate) fn stored_contract(&self) -> Option<&StoredContract> {
        self.contract.as_ref().ok()?.as_ref()
    }

    /// The weight files with their headers; empty if they are refused.
    #[must_use]
    pub fn weight_files(&self) -> &[WeightFileHeader] {
        self.weights.as_deref().unwrap_or_default()
    }

    /// BLAKE3 of tokenizer.json, in hexadecimal; `None` if there is none that can be read.
    #[must_use]
    pub(crate) fn hash_tokenizer(&self) -> Option<String> {
        let path = self.folder.join(tokenizer_rules::TOKENIZER);
        let bytes = file_head::read_small_file(&path, checkpoint_headers::MAX_HEADER_BYTES)?;
        Some(mask_entry::hash_tokenizer(&bytes))
    }

    /// The ids of tokenizer.json; `None` if there is none, or one that only the library can read.
    #[must_use]
    pub(crate) fn tokens(&self) -> Option<&TokenTable> {
        self.tokens.get_or_init(|| TokenTable::read(&self.folder.join(tokenizer_rules::TOKENIZER))).as_ref()
    }
}

fn read_config_text(folder: &Path) -> Result<String, FolderFault> {
    const FILE: &str = "config.json";
    match read_text(folder, FILE, MAX_TEXT_BYTES) {
        Some(read) => read.map_err(|why| FolderFault::damaged(FILE, why)),
        None => Err(FolderFault::new(format!("the folder has no {FILE}"), fault::NAME_A_CHECKPOINT)),
    }
}

/// The text of a file, or why it cannot be read; `None` if there is no such file.
fn read_text(folder: &Path, name: &str, largest: u64) -> Option<Result<String, String>> {
    let path = folder.join(name);
    if !file_head::is_present(&path) {
        return None;
    }
    let bytes = file_head::read_small_file(&path, largest);
    let bytes = bytes.ok_or_else(|| format!("it cannot be read, or is larger than {} MiB", largest >> 20));
    Some(bytes.and_then(|bytes| String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())))
}

#[cfg(test)]
mod tests;

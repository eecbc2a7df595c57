//! A checkpoint folder: weights, config, tokenizer and contract always stay together.

mod companions;
mod small_files;

use std::path::Path as Folder;

use fmflow_engine::error::{Failure, FailureKind};
use fmflow_engine::pipeline::config::train::{ProbabilityPath, Scheduler};
use fmflow_engine::store::ArtifactWriter;

use crate::backbone::{Attention, Backbone, TimeConditioning};
use crate::data::tokenizer::Tokenizer;
use crate::device::Device;
use crate::failure::{input_failure, input_failure_in, stage_failure};
use crate::weights::{self, SINGLE};
use fmflow_engine::pipeline::checkpoint_folder::CheckpointFolder;
pub(crate) use fmflow_engine::pipeline::contract::CERTIFICATE;
use fmflow_engine::pipeline::contract::{Contract, ModelKind};
use fmflow_engine::pipeline::origins::Origins;
use fmflow_engine::store::Summary;
use fmflow_engine::text::escape::show_path;
use indexmap::IndexMap;

pub(crate) use companions::Companions;
pub(crate) use small_files::{GENERATION, TOKENIZER_FILES, read_if_present, read_origins};

/// A model with everything that later stages need.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    /// The weights, without autodiff.
    pub backbone: Backbone,
    /// What the model is: kind, shift, mask token, attention, and so on.
    pub contract: Contract,
    /// The tokenizer and the bytes of its files; `None` for a model without text.
    pub text: Option<ModelTokenizer>,
    /// The bytes of the source's settings of generation, passed on unchanged.
    pub generation: Option<Vec<u8>>,
    /// The bytes of the conversion's certificate, passed on unchanged.
    pub certificate: Option<Vec<u8>>,
    /// Which stages set the facts of the contract.
    pub origins: Origins,
}

/// A tokenizer with the bytes of its files, so that artifacts carry them unchanged.
#[derive(Clone, Debug)]
pub(crate) struct ModelTokenizer {
    /// The tokenizer.
    pub tokenizer: Tokenizer,
    /// (name, bytes) of its files.
    pub files: Vec<(String, Vec<u8>)>,
}

/// The part of a contract that flow training and sampling need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FlowContract {
    /// The mask token.
    pub mask: u32,
    /// Number of ids that have a text; ids from here on are reserved.
    pub used: u32,
    /// Whether position i - 1 predicts position i.
    pub shift: bool,
}

impl ModelTokenizer {
    /// The tokenizer in `folder` for a model with `rows` embedding rows; `None` if there is none.
    ///
    /// # Errors
    /// If the tokenizer is malformed or has more ids than the model has rows.
    pub(crate) fn open(folder: &Folder, rows: usize) -> Result<Option<Self>, Failure> {
        if !folder.join(TOKENIZER_FILES[0]).exists() {
            return Ok(None);
        }
        let rows = u32::try_from(rows).map_err(stage_failure)?;
        let tokenizer = Tokenizer::open(folder).and_then(|t| t.with_rows(rows)).map_err(|e| {
            input_failure_in(show_path(folder), e, "use the tokenizer that the model was made for")
        })?;
        let present = TOKENIZER_FILES.iter().filter(|name| folder.join(name).exists());
        let read =
            |name: &&str| Ok(((*name).to_owned(), std::fs::read(folder.join(name)).map_err(stage_failure)?));
        Ok(Some(Self { tokenizer, files: present.map(read).collect::<Result<_, Failure>>()? }))
    }
}

impl ModelTokenizer {
    /// The id of a special token that `tokenizer_config.json` names, such as `eos_token`.
    #[must_use]
    pub(crate) fn declared_id(&self, role: &str) -> Option<u32> {
        let (_, bytes) = self.files.iter().find(|(name, _)| name == "tokenizer_config.json")?;
        let config: serde_json::Value = serde_json::from_slice(bytes).ok()?;
        let token = config[role].as_str().or_else(|| config[role]["content"].as_str())?;
        self.tokenizer.id(token)
    }

    /// The id that ends an answer: the declared one, or the end of a turn.
    #[must_use]
    pub(crate) fn end_id(&self) -> Option<u32> {
        self.declared_id("eos_token").or_else(|| self.tokenizer.end_of_turn().ok())
    }

    /// The id of padding: the declared one, or the end of a document.
    #[must_use]
    pub(crate) fn pad_id(&self) -> Option<u32> {
        self.declared_id("pad_token").or_else(|| self.tokenizer.pad().ok())
    }
}

impl Model {
    /// Reads a checkpoint folder completely.
    ///
    /// # Errors
    /// If weights are missing, extra or mis-shaped, or the contract or tokenizer does not fit them.
    pub(crate) fn open(folder: &Folder, device: &Device) -> Result<Self, Failure> {
        let checkpoint = weights::read_checkpoint(folder).map_err(|e| weights_failure(folder, &e))?;
        let (contract, text) =
            open_contract(folder, checkpoint.contract.as_ref(), checkpoint.config.vocab_size)?;
        let backbone = checkpoint.into_backbone(device).map_err(|e| weights_failure(folder, &e))?;
        let certificate = read_if_present(folder, CERTIFICATE)?;
        let generation = read_if_present(folder, GENERATION)?;
        Ok(Self { backbone, contract, text, generation, certificate, origins: read_origins(folder)? })
    }

    /// The same model, ready to write text: see [`Backbone::packed`].
    #[must_use]
    pub(crate) fn for_text(self) -> Self {
        Self { backbone: self.backbone.packed(), ..self }
    }

    /// Writes all files of a checkpoint folder.
    ///
    /// # Errors
    /// Any error of the store or the device.
    pub(crate) fn write(&self, writer: &mut ArtifactWriter) -> Result<(), Failure> {
        let mut file = writer.file(SINGLE)?;
        weights::save_backbone(&mut file, &self.backbone)?;
        file.finish()?;
        self.write_companions(writer)
    }

    /// Writes what a checkpoint folder has beside the weights.
    ///
    /// # Errors
    /// Any error of the store.
    pub(crate) fn write_companions(&self, writer: &mut ArtifactWriter) -> Result<(), Failure> {
        let Self { contract, text, generation, certificate, origins, .. } = self;
        let (generation, certificate) = (generation.as_deref(), certificate.as_deref());
        let text = text.as_ref().map_or(&[][..], |text| &text.files);
        Companions { contract, text, generation, certificate, origins }.write(writer, self.backbone.config())
    }

    /// The tokenizer, for work with text.
    ///
    /// # Errors
    /// If the model has none.
    pub(crate) fn tokenizer(&self) -> Result<&Tokenizer, Failure> {
        self.text.as_ref().map(|text| &text.tokenizer).ok_or_else(|| {
            input_failure(
                "the checkpoint has no tokenizer, so it cannot process text",
                "convert it with a `tokenizer`",
            )
        })
    }

    /// Number of ids that have a text. Ids from here on are never emitted.
    #[must_use]
    pub(crate) fn used(&self) -> u32 {
        let rows = self.backbone.config().vocab_size as u32;
        self.text.as_ref().map_or(rows, |text| text.tokenizer.used())
    }

    /// Tokens that end an answer: those that config.json names, and the ends of a turn and of a document.
    #[must_use]
    pub(crate) fn ends(&self) -> Vec<u32> {
        let Some(text) = &self.text else { return Vec::new() };
        let known = [text.tokenizer.end_of_turn(), text.tokenizer.end_of_document()].into_iter().flatten();
        self.backbone.config().eos_token_ids.iter().copied().chain(known).collect()
    }

    /// The part of the contract that flow training and sampling need.
    ///
    /// # Errors
    /// If the model is not a flow model.
    pub(crate) fn flow_contract(&self) -> Result<FlowContract, Failure> {
        match (self.contract.kind, self.contract.mask_token) {
            (ModelKind::Flow, Some(mask)) => {
                Ok(FlowContract { mask, used: self.used(), shift: self.contract.shift })
            }
            _ => Err(input_failure(
                "the checkpoint is autoregressive, not a flow model",
                "put a `convert` stage before this one",
            )),
        }
    }

    /// The path that the model was trained on. A converted model that has not been trained yet has none; it is used with
    /// the mask source and kappa = t, for which conversion prepared its mask row.
    ///
    /// # Errors
    /// If the model is not a flow model.
    pub(crate) fn path(&self) -> Result<ProbabilityPath, Failure> {
        self.flow_contract()?;
        let untrained =
            || ProbabilityPath { mask_share: 1.0, scheduler: Scheduler::Polynomial { exponent: 1.0 } };
        Ok(self.contract.path.clone().unwrap_or_else(untrained))
    }

    /// The attention pattern at inference.
    #[must_use]
    pub(crate) fn attention(&self) -> Attention {
        self.contract.attention
    }

    /// Whether keys and values of finished text stay the same from pass to pass: not with attention in both directions, nor if they
    /// depend on the time. Next tokens are read under a causal mask, at one time.
    #[must_use]
    pub(crate) fn allows_exact_cache(&self) -> bool {
        let conditioned = self.backbone.time_conditioning() != TimeConditioning::None;
        self.contract.kind == ModelKind::Autoregressive
            || (self.attention() != Attention::Bidirectional && !conditioned)
    }

    /// Tokens in a block, if the model was trained in blocks.
    #[must_use]
    pub(crate) fn block(&self) -> Option<usize> {
        match self.attention() {
            Attention::BlockCausal { block } => Some(block),
            Attention::Causal | Attention::Bidirectional => None,
        }
    }
}

/// The contract and the tokenizer of `folder`, whose weights have the contract `own` and `rows` embedding rows.
///
/// # Errors
/// If the tokenizer is malformed, or does not fit the weights or the contract.
pub(crate) fn open_contract(
    folder: &Folder,
    own: Option<&Contract>,
    rows: usize,
) -> Result<(Contract, Option<ModelTokenizer>), Failure> {
    let contract = own.cloned().unwrap_or_else(Contract::autoregressive);
    let text = ModelTokenizer::open(folder, rows)?;
    refuse_text_mask(folder, &contract, text.as_ref())?;
    let carried = text.as_ref().map(|text| text.tokenizer.digest());
    Ok((Contract { tokenizer: carried, ..contract }, text))
}

/// Refuses a contract whose mask is a token that occurs in text. The rules of the folder do too, but only the library knows the tokens
/// of every tokenizer.
///
/// # Errors
/// A failure of the input that names the folder.
pub(crate) fn refuse_text_mask(
    folder: &Folder,
    contract: &Contract,
    text: Option<&ModelTokenizer>,
) -> Result<(), Failure> {
    let taken = |id: u32| text.and_then(|text| text.tokenizer.text_token(id)).map(|token| (id, token));
    let Some((id, token)) = contract.mask_token.and_then(taken) else { return Ok(()) };
    let what = format!("{}: `mask_token` is {id}, which is the token `{token}`", show_path(folder));
    Err(input_failure(what, "restore the checkpoint's own contract and tokenizer.json"))
}

/// The tokenizer in `folder`, without those of its files that only a model needs.
///
/// # Errors
/// If there is none, or it is malformed.
pub(crate) fn open_tokenizer(folder: &Folder) -> Result<Tokenizer, Failure> {
    if !folder.join(TOKENIZER_FILES[0]).exists() {
        return Err(missing_tokenizer_failure(folder, ", or name another tokenizer"));
    }
    let refused =
        |error| input_failure(error, "use the tokenizer that the model was made for, or name another");
    Tokenizer::open(folder).map_err(refused)
}

/// A failure about a folder without a tokenizer, in the words of `check`; `or` follows the cure.
pub(crate) fn missing_tokenizer_failure(folder: &Folder, or: &str) -> Failure {
    let shown = show_path(folder);
    match CheckpointFolder::open(folder, shown.as_str()).find_missing_tokenizer() {
        Some(fault) => input_failure(format!("{shown}: {fault}"), format!("{}{or}", fault.cure)),
        None => stage_failure(format!("{shown}: its tokenizer.json came or went meanwhile")),
    }
}

/// A failure about the weights in `folder`.
pub(crate) fn weights_failure(folder: &Folder, error: &weights::WeightsError) -> Failure {
    let failure = Failure::classify(error, FailureKind::Input, Some(error.cure().to_owned()));
    Failure { message: format!("{}: {}", show_path(folder), failure.message), ..failure }
}

/// The summary of a stage that produces a model; the number of parameters becomes a metric.
pub(crate) fn describe_parameters(headline: String, parameters: usize, lines: Vec<String>) -> Summary {
    Summary { headline, lines, metrics: IndexMap::from([("parameters".to_owned(), parameters as f64)]) }
}

//! `convert`: turns an autoregressive checkpoint into the start of a flow matching model.
//!
//! The weights stay the same; what changes is the question that the model answers. Three things may be new, each requested
//! explicitly and recorded: the row of the mask token, the tensors of time conditioning (which start as the identity), and
//! the contract. [`certify_conversion`] proves this from the files alone.

pub(crate) mod certificate;
mod certify;
mod compare;
mod conversion;
mod convert_weights;
mod error;
mod given_logits;
mod mask_row;
mod reference;

use std::borrow::Cow;
use std::path::Path;

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::{ConvertConfig, MaskRow, MaskToken, TokenizerChoice};
use fmflow_engine::pipeline::origins::Origins;
use fmflow_engine::pipeline::role::InputRole;
use fmflow_engine::run::execute::Job;
use fmflow_engine::store::Summary;
use indexmap::IndexMap;

use certificate::ELSEWHERE;
pub(crate) use certificate::{Certificate, OLD_SCHEMAS, SCHEMA, TensorAction};
pub(crate) use certify::certify_conversion;
pub(crate) use conversion::Conversion;
pub(crate) use convert_weights::ConvertedWeights;
pub(crate) use error::ConvertError;
pub(crate) use given_logits::{FORM, GivenLogits};

use crate::backbone::Qwen3Config;
use crate::data::tokenizer::Tokenizer;
use crate::failure::{BEYOND_F32, input_failure, stage_failure};
use crate::job::{find_input_folder, with_finisher};
use crate::model::{
    CERTIFICATE, Companions, GENERATION, ModelTokenizer, describe_parameters, missing_tokenizer_failure,
    read_if_present, weights_failure,
};
use crate::weights::{CheckpointReader, SINGLE, write_f32_tensors};

/// Refuses a mask id whose token occurs in text. `check` refuses it too, but only if it can see the tokenizer.
fn refuse_text_token_as_mask(tokenizer: &Tokenizer, id: u32) -> Result<(), Failure> {
    match tokenizer.text_token(id) {
        None => Ok(()),
        Some(token) => {
            let what = format!(
                "`mask-token {id}` is the row of `{token}`, which occurs in text, so text would look like noise"
            );
            Err(input_failure(what, "write `mask-token \"reserved\"`"))
        }
    }
}

/// Turns an autoregressive checkpoint into a flow checkpoint and proves that, under a causal mask, it still computes what its
/// source computes.
///
/// # Errors
/// If the source is refused, the mask token has no row, or logits differ by more than the tolerance.
pub(crate) fn run_convert(job: &Job<'_>, config: &ConvertConfig) -> Result<Summary, Failure> {
    let source = find_input_folder(job, &InputRole::From)?;
    let device = crate::device::open_device(job.device)
        .map_err(|e| input_failure(e, "choose a device that this build has"))?;
    let checkpoint = CheckpointReader::open(source).map_err(|e| weights_failure(source, &e))?;
    let text = match config.tokenizer {
        TokenizerChoice::Beside => Some(source),
        TokenizerChoice::Named => Some(find_input_folder(job, &InputRole::Tokenizer)?),
        TokenizerChoice::None => None,
    };
    let text = text.map(|folder| open_needed_tokenizer(folder, checkpoint.config.vocab_size)).transpose()?;
    let constants = match (config.tokenizer, &text) {
        (TokenizerChoice::Named, Some(text)) => Cow::Owned(take_special_ids(&checkpoint.config, text)),
        _ => Cow::Borrowed(&checkpoint.config),
    };
    let vocabulary = constants.vocab_size;
    let given = config.reference.as_deref().map(|file| GivenLogits::read(file, vocabulary)).transpose();
    let given = given.map_err(|e| input_failure(e, FORM))?;
    let conversion = build_conversion(job, config, vocabulary, text.as_ref())?;
    let generation = take_generation_settings(job, config, source)?;
    let converted =
        ConvertedWeights::new(&checkpoint, constants, &conversion, &device).map_err(conversion_failure)?;
    let mask = converted.contract.mask_token;
    if let (Some(given), Some(mask), MaskRow::Mean { .. }) = (&given, mask, config.mask_row) {
        given.refuse_mask_token(mask).map_err(|e| input_failure(e, FORM))?;
    }
    let layout = converted.layout();
    let parameters = layout.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
    let mut writer = job.slot.artifact()?;
    let certificate = with_finisher(|finisher| {
        let mut file = writer.file(SINGLE)?;
        write_f32_tensors(&mut file, &layout, |name| {
            converted.values(name).map_err(|error| match &error {
                ConvertError::Weights(refused) => weights_failure(source, refused),
                _ => conversion_failure(error),
            })
        })?;
        finisher.finish(file)?;
        let (contract, origins) = (&converted.contract, &Origins::for_stage(job.stage));
        let text = text.as_ref().map_or(&[][..], |text| &text.files);
        let generation = generation.as_deref();
        Companions { contract, text, generation, certificate: None, origins }
            .write(&mut writer, &converted.config)?;
        certify_conversion(source, writer.folder(), given.as_ref(), &device, config.tolerance)
            .map_err(certificate_failure)
    })?;
    let json = serde_json::to_vec_pretty(&certificate).map_err(stage_failure)?;
    writer.write(CERTIFICATE, &json)?;
    let summary = summarize_conversion(&certificate, parameters);
    writer.publish(&summary, &IndexMap::new())?;
    Ok(summary)
}

/// The source's settings of generation. They name ids, so they are left behind if the tokenizer is another.
fn take_generation_settings(
    job: &Job<'_>,
    config: &ConvertConfig,
    source: &Path,
) -> Result<Option<Vec<u8>>, Failure> {
    let found = read_if_present(source, GENERATION)?;
    if found.is_none() || config.tokenizer != TokenizerChoice::Named {
        return Ok(found);
    }
    job.report
        .note(&format!("{GENERATION} of the source is left behind: its ids are those of another tokenizer"));
    Ok(None)
}

/// With another tokenizer, the special ids are those of its tokens.
fn take_special_ids(config: &Qwen3Config, text: &ModelTokenizer) -> Qwen3Config {
    Qwen3Config {
        bos_token_id: None,
        eos_token_ids: text.end_id().into_iter().collect(),
        pad_token_id: text.pad_id(),
        ..config.clone()
    }
}

/// The tokenizer in `folder`, which the conversion is to carry.
fn open_needed_tokenizer(folder: &Path, rows: usize) -> Result<ModelTokenizer, Failure> {
    ModelTokenizer::open(folder, rows)?.ok_or_else(|| {
        missing_tokenizer_failure(
            folder,
            ", name a `tokenizer`, or write `tokenizer \"none\"` to work without text",
        )
    })
}

/// A conversion that cannot be made of this source with these settings.
fn conversion_failure(error: ConvertError) -> Failure {
    input_failure(error, "check `mask-token`, `time-conditioning` and the source checkpoint")
}

/// A source whose logits mean nothing is an unfit input; anything else is a failed conversion.
fn certificate_failure(error: ConvertError) -> Failure {
    match error {
        ConvertError::Meaningless(_) => input_failure(error, BEYOND_F32),
        _ => stage_failure(error),
    }
}

/// Collects what the conversion needs besides the settings, and refuses an unusable mask token.
fn build_conversion(
    job: &Job<'_>,
    config: &ConvertConfig,
    rows: usize,
    text: Option<&ModelTokenizer>,
) -> Result<Conversion, Failure> {
    match (config.mask_token, text) {
        (MaskToken::Reserved, None) => {
            let what = "`mask-token \"reserved\"` needs a tokenizer, because only the tokenizer says which rows are unused";
            return Err(input_failure(what, format!("name a row: `mask-token {}`", rows.saturating_sub(1))));
        }
        (MaskToken::Id(id), Some(text)) => refuse_text_token_as_mask(&text.tokenizer, id)?,
        _ => {}
    }
    Ok(Conversion {
        config: config.clone(),
        used: text.map_or(rows, |text| text.tokenizer.used() as usize),
        tokenizer: text.map(|text| text.tokenizer.digest()),
        seed: job.seed,
    })
}

fn summarize_conversion(certificate: &Certificate, parameters: usize) -> Summary {
    let parity = certificate.parity.ratio;
    let count = |action| certificate.count(action);
    let elsewhere = certificate.elsewhere.as_ref().map(|elsewhere| elsewhere.ratio);
    let describe = |ratio: f64, whose: &str| match ratio {
        0.0 => format!("same logits as {whose}"),
        _ => format!("parity {ratio:.1e} with {whose}"),
    };
    let elsewhere = elsewhere.map_or(String::new(), |ratio| format!(", {}", describe(ratio, ELSEWHERE)));
    let headline = format!(
        "{}{elsewhere}; {} copied, {} tied, {} new, {} changed",
        describe(parity, "our own reading"),
        count(TensorAction::Copied),
        count(TensorAction::Tied),
        count(TensorAction::New),
        count(TensorAction::Changed)
    );
    let mut summary = describe_parameters(
        headline,
        parameters,
        certificate.to_string().lines().map(str::to_owned).collect(),
    );
    summary.metrics.insert("parity".into(), parity);
    if let Some(elsewhere) = &certificate.elsewhere {
        summary.metrics.insert("parity-elsewhere".into(), elsewhere.ratio);
    }
    summary
}

#[cfg(test)]
pub(crate) mod tests;

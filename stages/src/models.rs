//! The stages that make a checkpoint without training: fetch, random-init, convert.

use fmflow_engine::config::{
    ConvertConfig, FetchConfig, MaskRow, MaskToken, RandomInitConfig, TimeConditioning, TokenizerChoice,
};
use fmflow_engine::execute::{Failure, Job, Summary};
use indexmap::IndexMap;

use crate::backbone::{Attention, Backbone, Qwen3Config, TimeConditioning as Conditioning};
use crate::convert::{self, Action, Certificate, Given, Options};
use crate::data::tokenizer::Tokenizer;
use crate::failure::{self, input, stage};
use crate::job::folder;
use crate::model::{CERTIFICATE, Model, TOKENIZER_FILES, Text, refuse};
use crate::provenance::{ORIGINS, Origins, Provenance};
use crate::weights;

/// Brings a checkpoint folder into the store, byte for byte, after reading all of it.
///
/// # Errors
/// A folder that is no complete Qwen3 checkpoint, or a hub, which is not supported yet.
pub fn fetch(job: &Job<'_>, config: &FetchConfig) -> Result<Summary, Failure> {
    let FetchConfig::Folder(source) = config else {
        return Err(stage("fetching from a hub is not supported yet"));
    };
    let checkpoint = weights::read(source).map_err(|e| refuse(source, &e))?;
    Text::open(source, checkpoint.config.vocab_size)?;
    let mut names: Vec<String> = checkpoint.files.keys().cloned().collect();
    let beside =
        ["generation_config.json", "model.safetensors.index.json", "provenance.json", ORIGINS, CERTIFICATE];
    let present = beside.iter().chain(&TOKENIZER_FILES).filter(|name| source.join(name).exists());
    names.extend(present.map(|name| (*name).to_owned()));
    let mut writer = job.slot.artifact().map_err(failure::store)?;
    for name in &names {
        let mut from = std::fs::File::open(source.join(name)).map_err(failure::io)?;
        let mut to = writer.file(name).map_err(failure::store)?;
        std::io::copy(&mut from, &mut to).map_err(failure::io)?;
        to.finish().map_err(failure::store)?;
    }
    let parameters: usize = checkpoint.tensors.values().map(|t| t.values.len()).sum();
    let summary =
        describe(format!("{parameters} parameters"), parameters, vec![format!("{} files", names.len())]);
    writer.publish(&summary, &IndexMap::new()).map_err(failure::store)?;
    Ok(summary)
}

fn describe(headline: String, parameters: usize, lines: Vec<String>) -> Summary {
    Summary { headline, lines, metrics: IndexMap::from([("parameters".to_owned(), parameters as f64)]) }
}

/// Makes a backbone with random weights, for the tokenizer's vocabulary.
///
/// # Errors
/// A shape that contradicts itself.
pub fn random_init(job: &Job<'_>, config: &RandomInitConfig) -> Result<Summary, Failure> {
    let beside = folder(job, "tokenizer")?;
    let rows = crate::data::tokenizer::Tokenizer::open(beside).map_err(stage)?.rows() as usize;
    let text = Text::open(beside, rows)?;
    let shape = Qwen3Config {
        vocab_size: rows,
        hidden_size: config.hidden,
        intermediate_size: config.feed_forward,
        num_hidden_layers: config.layers,
        num_attention_heads: config.heads,
        num_key_value_heads: config.kv_heads,
        head_dim: config.head_dim,
        rms_norm_eps: config.norm_epsilon,
        rope_theta: config.rope_theta,
        tie_word_embeddings: config.tied,
        max_position_embeddings: config.context,
        initializer_range: config.initializer_range,
        bos_token_id: None,
        eos_token_id: text.as_ref().and_then(|t| t.tokenizer.end_of_turn().ok()),
        pad_token_id: text.as_ref().and_then(|t| t.tokenizer.pad().ok()),
    };
    let device =
        crate::device::open(job.device).map_err(|e| input(e, "choose a device that this build has"))?;
    let backbone = Backbone::new(&shape, Conditioning::None, job.seed, &device)
        .map_err(|e| input(e, "correct the numbers of `shape`"))?;
    let parameters = backbone.parameters().map(|(_, p)| p.count()).sum();
    let tokenizer = text.as_ref().map(|t| t.tokenizer.digest());
    let provenance = Provenance { tokenizer, ..Provenance::autoregressive() };
    let summary = describe(format!("{:.2} M parameters", parameters as f64 / 1e6), parameters, Vec::new());
    let mut writer = job.slot.artifact().map_err(failure::store)?;
    Model { backbone, provenance, text, certificate: None, origins: Origins::of(job.stage) }
        .write(&mut writer)?;
    writer.publish(&summary, &IndexMap::new()).map_err(failure::store)?;
    Ok(summary)
}

/// Refuses the row of a token that text is made of, where `check` could not see the tokenizer.
fn refuse_taken(tokenizer: &Tokenizer, id: u32) -> Result<(), Failure> {
    match tokenizer.spoken(id) {
        None => Ok(()),
        Some(token) => {
            let what = format!("`mask-token {id}` is the row of `{token}`, so text would look like noise");
            Err(input(what, "write `mask-token \"reserved\"`"))
        }
    }
}

/// Turns an autoregressive checkpoint into a flow checkpoint, and proves that it still is the source under a causal mask.
///
/// # Errors
/// A source that is refused, a mask token without a row, or logits that differ by more than the tolerance.
pub fn convert(job: &Job<'_>, config: &ConvertConfig) -> Result<Summary, Failure> {
    let source = folder(job, "from")?;
    let device =
        crate::device::open(job.device).map_err(|e| input(e, "choose a device that this build has"))?;
    let checkpoint = weights::read(source).map_err(|e| refuse(source, &e))?;
    let text = match config.tokenizer {
        TokenizerChoice::Beside => Text::open(source, checkpoint.config.vocab_size)?,
        TokenizerChoice::Named => Text::open(folder(job, "tokenizer")?, checkpoint.config.vocab_size)?,
        TokenizerChoice::None => None,
    };
    if text.is_none() && config.tokenizer != TokenizerChoice::None {
        let what = format!("{} has no tokenizer.json", source.display());
        return Err(input(what, "name a `tokenizer`, or write `tokenizer \"none\"` to work without text"));
    }
    let vocabulary = checkpoint.config.vocab_size;
    let given = config.reference.as_deref().map(|file| Given::read(file, vocabulary)).transpose();
    let given = given.map_err(|e| input(e, convert::FORM))?;
    let options = options(job, config, &checkpoint, text.as_ref())?;
    let (backbone, provenance) = convert::convert(checkpoint, &options, &device)
        .map_err(|e| input(e, "look at `mask-token`, `time-conditioning` and the source"))?;
    if let (Some(given), Some(mask), MaskRow::Mean) = (&given, provenance.mask_token, config.mask_row) {
        given.avoids(mask).map_err(|e| input(e, convert::FORM))?;
    }
    let parameters = backbone.parameters().map(|(_, p)| p.count()).sum();
    let mut writer = job.slot.artifact().map_err(failure::store)?;
    Model { backbone, provenance, text, certificate: None, origins: Origins::of(job.stage) }
        .write(&mut writer)?;
    let certificate = convert::certify(source, writer.folder(), given.as_ref(), &device, config.tolerance);
    let certificate = certificate.map_err(stage)?;
    let json = serde_json::to_vec_pretty(&certificate).map_err(stage)?;
    writer.write(CERTIFICATE, &json).map_err(failure::store)?;
    let summary = certified(&certificate, parameters);
    writer.publish(&summary, &IndexMap::new()).map_err(failure::store)?;
    Ok(summary)
}

fn options(
    job: &Job<'_>,
    config: &ConvertConfig,
    source: &weights::Checkpoint,
    text: Option<&Text>,
) -> Result<Options, Failure> {
    let rows = source.config.vocab_size;
    Ok(Options {
        mask: match config.mask_token {
            MaskToken::Reserved if text.is_none() => {
                let what = "without a tokenizer nobody knows which row is reserved";
                return Err(input(what, format!("name one: `mask-token {}`", rows.saturating_sub(1))));
            }
            MaskToken::Reserved => convert::MaskToken::Reserved,
            MaskToken::Id(id) => {
                text.map_or(Ok(()), |text| refuse_taken(&text.tokenizer, id))?;
                convert::MaskToken::Id(id)
            }
        },
        row: match config.mask_row {
            MaskRow::Mean => convert::MaskRow::Mean { noise: config.noise },
            MaskRow::Keep => convert::MaskRow::Keep,
        },
        used: text.map_or(rows, |text| text.tokenizer.used() as usize),
        attention: Attention::Bidirectional,
        shift: config.shift,
        time: match config.time_conditioning {
            TimeConditioning::None => Conditioning::None,
            TimeConditioning::AdaLn { rank } => Conditioning::AdaLn { rank },
        },
        tokenizer: text.map(|text| text.tokenizer.digest()),
        seed: job.seed,
    })
}

fn certified(certificate: &Certificate, parameters: usize) -> Summary {
    let parity = certificate.parity.difference / certificate.parity.largest;
    let count = |action| certificate.count(action);
    let headline = format!(
        "parity {parity:.1e}; {} copied, {} tied, {} new, {} changed",
        count(Action::Copied),
        count(Action::Tied),
        count(Action::New),
        count(Action::Changed)
    );
    let mut summary =
        describe(headline, parameters, certificate.to_string().lines().map(str::to_owned).collect());
    summary.metrics.insert("parity".into(), parity);
    if let Some(elsewhere) = &certificate.elsewhere {
        summary.metrics.insert("parity-elsewhere".into(), elsewhere.difference / elsewhere.largest);
    }
    summary
}

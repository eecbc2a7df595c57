//! The `export` stage: writes a checkpoint as a folder that other programs load as an ordinary Qwen3.
//!
//! ```text
//! model.safetensors, or shards and their index    the backbone under Hugging Face's names
//! config.json  generation_config.json             as transformers 4 and 5 read them
//! tokenizer.json  tokenizer_config.json  ..       the checkpoint's own
//! flow.safetensors                                time conditioning, if the model has it
//! fmflow.json  README.md                          what the model is, for programs and for people
//! ```
//! Weights are rounded to the nearest value of the requested type and not changed otherwise: a checkpoint that already has
//! this type keeps every bit. The folder is read back and compared before it is published. An adapter alone (`peft`) is not. For servers of SDAR
//! (`sdar`) config.json is theirs, and answers that they should give lie beside it.

mod mask_token;
mod peft;
mod readme;
mod sdar;
mod sidecar;

use std::path::Path;

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::{ExportConfig, ExportDtype, ExportFormat};
use fmflow_engine::run::execute::Job;
use fmflow_engine::store::ArtifactWriter;
use fmflow_engine::store::Summary;
use fmflow_engine::text::display::count_noun;
use indexmap::IndexMap;
use serde_json::{Value, json};

use crate::failure::{input_failure_in, stage_failure};
use crate::job::{FileFinisher, find_input_folder, with_finisher};
use crate::model::{GENERATION, ModelTokenizer, read_if_present, weights_failure};
use crate::weights::{
    self, CheckpointReader, Dtype, Encoding, INDEX, SINGLE, TensorLayout, TensorWriter, WeightsError,
};
use fmflow_engine::pipeline::contract::{Contract, SIDECAR};
use fmflow_engine::pipeline::role::InputRole;

pub(crate) use fmflow_engine::pipeline::export_sidecar::CONDITIONING;

/// An export in progress: the checkpoint and the requested form.
struct Export<'a> {
    /// Where the weights come from, for messages.
    source: &'a Path,
    checkpoint: &'a CheckpointReader,
    contract: &'a Contract,
    text: Option<&'a ModelTokenizer>,
    dtype: Dtype,
    shard_bytes: u64,
    /// Tokens in a block, if it is for servers of SDAR.
    sdar: Option<usize>,
}

/// Runs an `export` stage.
///
/// # Errors
/// If the checkpoint is refused, a value is beyond the type's range, or a write fails.
pub(crate) fn run_export(job: &Job<'_>, config: &ExportConfig) -> Result<Summary, Failure> {
    let source = find_input_folder(job, &InputRole::From)?;
    let dtype = match config.dtype {
        ExportDtype::F32 => Dtype::F32,
        ExportDtype::Bf16 => Dtype::BF16,
    };
    if config.format == ExportFormat::Peft {
        return peft::export_adapter(source, job.slot.artifact()?, dtype);
    }
    let checkpoint = CheckpointReader::open(source).map_err(|e| weights_failure(source, &e))?;
    let text = ModelTokenizer::open(source, checkpoint.config.vocab_size)?;
    let contract = checkpoint.contract.clone().unwrap_or_else(Contract::autoregressive);
    let (checkpoint, contract) = (&checkpoint, &contract);
    let (text, shard_bytes) = (text.as_ref(), config.shard_bytes);
    let sdar = (config.format == ExportFormat::Sdar).then(|| sdar::find_block(contract)).transpose()?;
    let export = Export { source, checkpoint, contract, text, dtype, shard_bytes, sdar };
    let mut writer = job.slot.artifact()?;
    let (files, rounded) = with_finisher(|finisher| {
        let files = export.write(&mut writer, finisher)?;
        Ok((files, export.compare(writer.folder())?))
    })?;
    if let Some(block) = sdar {
        let expected = sdar::render_expected(writer.folder(), job.device, block)?;
        let put = expected.map(|expected| writer.write(sdar::EXPECTED, expected.as_bytes()));
        put.transpose().map_err(Failure::from)?;
    }
    let summary = export.describe(files, rounded);
    writer.publish(&summary, &IndexMap::new())?;
    Ok(summary)
}

impl Export<'_> {
    /// Writes all files; returns the number of files of the backbone's weights.
    fn write(&self, writer: &mut ArtifactWriter, finisher: &FileFinisher) -> Result<usize, Failure> {
        let (backbone, conditioning) = self.split_layout();
        let files = self.write_weights((writer, finisher), backbone, !conditioning.is_empty())?;
        if !conditioning.is_empty() {
            self.write_tensor_file((writer, finisher), CONDITIONING, &conditioning, Dtype::F32)?;
        }
        let mut put = |name: &str, bytes: &[u8]| writer.write(name, bytes).map_err(Failure::from);
        put("config.json", sidecar::render_config(self).as_bytes())?;
        let generation = read_if_present(self.source, GENERATION)?;
        put(GENERATION, &sidecar::render_generation_config(self, generation.as_deref())?)?;
        for (name, bytes) in sidecar::collect_tokenizer_files(self)? {
            put(&name, &bytes)?;
        }
        put(SIDECAR, sidecar::render_provenance(self).as_bytes())?;
        put("README.md", readme::render_readme(self, !conditioning.is_empty()).as_bytes())?;
        Ok(files)
    }

    /// The tensors of an ordinary Qwen3, and the others.
    fn split_layout(&self) -> (TensorLayout, TensorLayout) {
        self.checkpoint.layout().into_iter().partition(|(name, _)| !name.starts_with("time."))
    }

    /// Writes the backbone to one file, or to several with an index. If there is a file of conditioning, the index is always
    /// written: programs that otherwise load every `*.safetensors` of a folder then ignore that file.
    fn write_weights(
        &self,
        (writer, finisher): (&mut ArtifactWriter, &FileFinisher),
        layout: TensorLayout,
        conditioned: bool,
    ) -> Result<usize, Failure> {
        let shards = weights::distribute_tensors(layout, self.dtype, self.shard_bytes);
        if let ([only], false) = (&*shards, conditioned) {
            self.write_tensor_file((writer, finisher), SINGLE, only, self.dtype)?;
            return Ok(1);
        }
        let (mut map, mut bytes) = (IndexMap::new(), 0);
        for (i, shard) in shards.iter().enumerate() {
            let file = format!("model-{:05}-of-{:05}.safetensors", i + 1, shards.len());
            self.write_tensor_file((writer, finisher), &file, shard, self.dtype)?;
            bytes += shard
                .iter()
                .map(|(_, shape)| self.dtype.bytes() * shape.iter().product::<usize>())
                .sum::<usize>();
            map.extend(shard.iter().map(|(name, _)| (name.clone(), file.clone())));
        }
        map.sort_keys();
        let index = format!("{:#}\n", json!({"metadata": {"total_size": bytes}, "weight_map": map}));
        writer.write(INDEX, index.as_bytes())?;
        Ok(shards.len())
    }

    fn write_tensor_file(
        &self,
        (writer, finisher): (&mut ArtifactWriter, &FileFinisher),
        file: &str,
        layout: &TensorLayout,
        dtype: Dtype,
    ) -> Result<(), Failure> {
        let mut out = writer.file(file)?;
        let mut tensors = TensorWriter::start(&mut out, layout, dtype)?;
        for (name, _) in layout {
            let mut parts = self.checkpoint.parts(name).map_err(|e| self.refuse_source(&e))?;
            while let values @ [_, ..] = parts.next_part().map_err(|e| self.refuse_source(&e))? {
                tensors.write(values)?;
            }
        }
        finisher.finish(out)
    }

    fn refuse_source(&self, error: &WeightsError) -> Failure {
        weights_failure(self.source, error)
    }

    /// Reads the finished folder back and compares it bit by bit. Its index names the tensors of an ordinary Qwen3 only, which is
    /// checked when it is opened. Returns the number of rounded values.
    fn compare(&self, folder: &Path) -> Result<usize, Failure> {
        let unreadable = |error: WeightsError| {
            input_failure_in(
                "the exported folder cannot be read back as a Qwen3",
                error,
                "export with `dtype=\"f32\"`",
            )
        };
        let found = CheckpointReader::open(folder).map_err(unreadable)?;
        let mut rounded = 0;
        for (name, _) in found.layout() {
            let dtype = found.dtype(&name).map_err(unreadable)?;
            let mut own = self.checkpoint.parts(&name).map_err(|e| self.refuse_source(&e))?;
            let mut back = found.parts(&name).map_err(unreadable)?;
            loop {
                let own = own.next_part().map_err(|e| self.refuse_source(&e))?;
                let back = back.next_part().map_err(unreadable)?;
                let same = |(a, b): (&f32, &f32)| dtype.round(*a).to_bits() == b.to_bits();
                if own.len() != back.len() || !own.iter().zip(back).all(same) {
                    return Err(stage_failure(format!(
                        "tensor `{name}` has other values when read back from disk"
                    )));
                }
                if own.is_empty() {
                    break;
                }
                rounded += own.iter().filter(|x| dtype.round(**x) != **x).count();
            }
        }
        Ok(rounded)
    }

    fn describe(&self, files: usize, rounded: usize) -> Summary {
        let values = self.checkpoint.parameters();
        let name = sidecar::to_torch_name(self.dtype);
        let exact = match rounded {
            0 => "every value exact".to_owned(),
            _ => format!("{:.1} % of the values rounded", 100.0 * rounded as f64 / values as f64),
        };
        let count = count_noun(files, "file");
        Summary {
            headline: format!("{name}, {count}, {exact}"),
            lines: vec![readme::describe_model(self.contract)],
            metrics: IndexMap::from([
                ("parameters".to_owned(), values as f64),
                ("rounded".to_owned(), rounded as f64),
            ]),
        }
    }
}

/// A JSON file.
fn format_json(value: &Value) -> String {
    format!("{value:#}\n")
}

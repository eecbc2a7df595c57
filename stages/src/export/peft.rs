//! An adapter alone, in the folder that the library PEFT reads: `PeftModel.from_pretrained(base, folder)`.

use std::path::Path;

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::AdapterSettings;
use fmflow_engine::store::{ArtifactWriter, Summary};
use fmflow_engine::text::display::count_noun;
use indexmap::IndexMap;
use serde_json::{Value, json};

use crate::failure::stage_failure;
use crate::model::weights_failure;
use crate::weights::{
    ADAPTER_FACTS, AdapterFacts, AdapterTensor, Dtype, TensorLayout, WeightsError, read_adapter,
    write_tensors_as,
};

/// File of the tensors, as PEFT calls it.
const TENSORS: &str = "adapter_model.safetensors";
/// File of the settings, as PEFT calls it.
const SETTINGS: &str = "adapter_config.json";

/// Writes the adapter of the stage in `source` and publishes the folder.
///
/// # Errors
/// If the stage has no adapter, or the store fails.
pub(super) fn export_adapter(
    source: &Path,
    mut writer: ArtifactWriter,
    dtype: Dtype,
) -> Result<Summary, Failure> {
    let refused = |error: WeightsError| weights_failure(source, &error);
    let facts = AdapterFacts::read(source).map_err(refused)?;
    let tensors = read_adapter(source).map_err(refused)?;
    write_tensors(&mut writer, &tensors, dtype)?;
    writer.write(SETTINGS, format!("{:#}\n", render_settings(&facts.settings)).as_bytes())?;
    writer.write(ADAPTER_FACTS, &serde_json::to_vec_pretty(&facts).map_err(stage_failure)?)?;
    writer.write("README.md", render_readme(&facts).as_bytes())?;
    let values: usize = tensors.values().map(|tensor| tensor.values.len()).sum();
    let settings = &facts.settings;
    let summary = Summary {
        headline: format!("adapter of rank {}, {}", settings.rank, count_noun(tensors.len(), "tensor")),
        lines: vec![format!("it changes {}", list_changed(settings))],
        metrics: IndexMap::from([("parameters".to_owned(), values as f64)]),
    };
    writer.publish(&summary, &IndexMap::new())?;
    Ok(summary)
}

fn write_tensors(
    writer: &mut ArtifactWriter,
    tensors: &IndexMap<String, AdapterTensor>,
    dtype: Dtype,
) -> Result<(), Failure> {
    let layout: TensorLayout =
        tensors.iter().map(|(name, tensor)| (name.clone(), tensor.shape.clone())).collect();
    let mut file = writer.file(TENSORS)?;
    write_tensors_as(&mut file, &layout, dtype, |name| Ok::<_, std::io::Error>(tensors[name].values.clone()))
        .map_err(stage_failure)?;
    file.finish()?;
    Ok(())
}

/// `adapter_config.json`. What PEFT does otherwise by default is not written, except for what others read without asking PEFT.
fn render_settings(settings: &AdapterSettings) -> Value {
    // PEFT declares an integer.
    let alpha = match settings.alpha.fract() == 0.0 {
        true => json!(settings.alpha as u64),
        false => json!(settings.alpha),
    };
    // Norms are saved whole.
    const NORMS: [&str; 5] = ["input_layernorm", "post_attention_layernorm", "q_norm", "k_norm", "norm"];
    json!({
        "base_model_name_or_path": null,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "modules_to_save": settings.norms.then_some(NORMS),
        "peft_type": "LORA",
        "r": settings.rank,
        "target_modules": settings.targets,
        "task_type": "CAUSAL_LM",
        "use_dora": false,
        "use_rslora": false,
    })
}

fn render_readme(facts: &AdapterFacts) -> String {
    let digest = |(file, digest): (&String, &String)| format!("| `{file}` | `{digest}` |\n");
    let base: String = facts.base.iter().map(digest).collect();
    format!(
        "# An adapter, exported by fmflow\n\nAn adapter of rank {} that changes {}, for PEFT:\n\n```python\n\
         model = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder)\n```\n\n\
         `base` is the export of the checkpoint that it was trained on, whose files have these BLAKE3 digests in fmflow's store:\n\n\
         | file | digest |\n|---|---|\n{base}",
        facts.settings.rank,
        list_changed(&facts.settings)
    )
}

fn list_changed(settings: &AdapterSettings) -> String {
    let norms = if settings.norms { ", and the norms" } else { "" };
    format!("{}{norms}", settings.targets.join(", "))
}

//! Tests that convert small models and certify them from disk.

use std::path::Path;

use fmflow_engine::pipeline::config::TimeConditioning;
use fmflow_engine::pipeline::contract::Contract;

use super::*;
use crate::backbone::{Backbone, EMBEDDING, HEAD, Qwen3Config};
use crate::convert::certificate::TOLERANCE;
use crate::{device, weights};

pub(crate) fn config(tied: bool) -> Qwen3Config {
    let text = r#"{"model_type": "qwen3", "vocab_size": 50, "hidden_size": 16, "intermediate_size": 24,
        "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0, "max_position_embeddings": 64, "initializer_range": 0.3}"#;
    Qwen3Config { tie_word_embeddings: tied, ..Qwen3Config::parse(text).unwrap() }
}

pub(crate) fn store(dir: &Path, backbone: &Backbone, contract: Option<&Contract>) {
    let mut bytes = Vec::new();
    weights::save_backbone(&mut bytes, backbone).unwrap();
    std::fs::write(dir.join("model.safetensors"), bytes).unwrap();
    std::fs::write(dir.join("config.json"), backbone.config().to_json()).unwrap();
    if let Some(contract) = contract {
        std::fs::write(dir.join("provenance.json"), contract.to_json()).unwrap();
    }
}

pub(crate) fn options() -> Conversion {
    let config = ConvertConfig {
        mask_token: MaskToken::Reserved,
        mask_row: MaskRow::Mean { noise: 0.0 },
        time_conditioning: TimeConditioning::None,
        shift: true,
        tolerance: TOLERANCE,
        reference: None,
        tokenizer: TokenizerChoice::None,
    };
    Conversion { config, used: 45, tokenizer: None, seed: 3 }
}

/// The result of a conversion, as one model in memory.
pub(crate) fn convert(
    source: &Path,
    options: &Conversion,
    device: &device::Device,
) -> Result<(Backbone, Contract), ConvertError> {
    let source = CheckpointReader::open(source).unwrap();
    let converted = ConvertedWeights::new(&source, Cow::Borrowed(&source.config), options, device)?;
    let time = options.config.time_conditioning;
    let backbone = Backbone::build(&source.config, time, device, |name, _| converted.values(name))?;
    Ok((backbone, converted.contract.clone()))
}

/// The usual conversion with changed settings.
pub(crate) fn options_with(change: impl FnOnce(&mut ConvertConfig)) -> Conversion {
    let mut options = options();
    change(&mut options.config);
    options
}

/// Converts a random source model and certifies the result. Tensors for which `spoil` is true are changed in between.
fn converted(
    tied: bool,
    options: &Conversion,
    spoil: impl Fn(&str) -> bool,
) -> Result<Certificate, ConvertError> {
    let (source, artifact) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let device = device::open_device("cpu").unwrap();
    let model = Backbone::new(&config(tied), TimeConditioning::None, 1, &device).unwrap();
    store(source.path(), &model, None);
    let (flow, contract) = convert(source.path(), options, &device)?;
    let flow = flow.map(|name, p| if spoil(name) { p.map(|x| x + 0.1) } else { p }).unwrap();
    store(artifact.path(), &flow, Some(&contract));
    certify_conversion(source.path(), artifact.path(), None, &device, TOLERANCE)
}

#[test]
fn a_tied_conversion_changes_one_row_and_nothing_else() {
    let certificate = converted(true, &options(), |_| false).unwrap();
    assert_eq!(certificate.mask_token, Some(45));
    assert_eq!((certificate.count(TensorAction::Changed), certificate.count(TensorAction::Tied)), (1, 1));
    assert_eq!((certificate.count(TensorAction::New), certificate.count(TensorAction::Copied)), (0, 23));
    assert_eq!((certificate.parity.excluded, certificate.parity.difference), (Some(45), 0.0));
    assert!(certificate.mask_row_norm.unwrap() < certificate.mean_row_norm);
    let text = certificate.to_string();
    assert!(
        text.contains("parity      equals our own reading of the source: no difference (")
            && text.contains("left out    the logit"),
        "{text}"
    );
    let json = serde_json::to_string(&certificate).unwrap();
    assert_eq!(serde_json::from_str::<Certificate>(&json).unwrap(), certificate);
}

#[test]
fn an_untied_head_keeps_its_row_and_is_compared_whole() {
    let certificate = converted(false, &options(), |_| false).unwrap();
    assert_eq!((certificate.count(TensorAction::Changed), certificate.count(TensorAction::Tied)), (1, 0));
    assert_eq!((certificate.parity.excluded, certificate.parity.difference), (None, 0.0));
    let kept = options_with(|config| {
        (config.mask_row, config.mask_token) = (MaskRow::Keep, MaskToken::Id(7));
    });
    let certificate = converted(false, &kept, |_| false).unwrap();
    assert_eq!((certificate.count(TensorAction::Changed), certificate.mask_token), (0, Some(7)));
}

/// The usual conversion with time conditioning of this rank.
fn timed(rank: usize) -> Conversion {
    options_with(|config| config.time_conditioning = TimeConditioning::AdaLn { rank })
}

#[test]
fn time_conditioning_is_new_and_the_identity() {
    let timed = timed(4);
    let certificate = converted(true, &timed, |_| false).unwrap();
    assert_eq!((certificate.count(TensorAction::New), certificate.parity.difference), (6, 0.0));
    // A projection that does not start at 0 is no longer the identity.
    let error = converted(true, &timed, |name| name.starts_with("time.layers")).unwrap_err();
    assert!(matches!(&error, ConvertError::Parity(c) if !c.parity.holds), "{error}");
}

#[test]
fn a_tensor_that_was_touched_is_named() {
    for name in ["model.layers.1.mlp.up_proj.weight", EMBEDDING, HEAD] {
        let error = converted(false, &options(), |n| n == name).unwrap_err();
        assert!(matches!(&error, ConvertError::Differs(found) if found == name), "{error}");
    }
}

#[test]
fn the_mean_row_is_the_mean_of_the_known_rows() {
    let device = device::open_device("cpu").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let model = Backbone::new(&config(true), TimeConditioning::None, 1, &device).unwrap();
    store(folder.path(), &model, None);
    let rows = |model: &Backbone| model.parameter(EMBEDDING).unwrap().values().unwrap();
    let row = |options: &Conversion| {
        let (flow, contract) = convert(folder.path(), options, &device).unwrap();
        rows(&flow)[contract.mask_token.unwrap() as usize * 16..][..16].to_vec()
    };
    let before = rows(&model);
    let mean: Vec<f32> = (0..16).map(|j| (0..45).map(|i| before[i * 16 + j]).sum::<f32>() / 45.0).collect();
    let found = row(&options());
    assert!(found.iter().zip(&mean).all(|(a, b)| (a - b).abs() < 1e-6));
    let noisy = options_with(|config| config.mask_row = MaskRow::Mean { noise: 0.1 });
    assert_ne!(row(&noisy), found);
    assert_eq!(row(&noisy), row(&noisy));
    assert_ne!(row(&noisy), row(&Conversion { seed: 4, ..noisy.clone() }));
}

#[test]
fn options_out_of_range_are_refused() {
    for options in [
        Conversion { used: 50, ..options() },
        options_with(|config| config.mask_token = MaskToken::Id(50)),
        options_with(|config| config.mask_row = MaskRow::Mean { noise: f64::NAN }),
        Conversion { used: 0, ..options() },
        timed(0),
        timed(17),
    ] {
        assert!(converted(true, &options, |_| false).is_err(), "{options:?}");
    }
}

/// The same model with the weights of its last norm, all 1, times `factor`: 0 makes every logit 0, 3e38 makes them overflow.
pub(crate) fn scale_last_norm(model: Backbone, factor: f32) -> Backbone {
    let last = |name: &str| name == "model.norm.weight";
    model.map(|name, p| if last(name) { p.map(|x| x * factor) } else { p }).unwrap()
}

#[test]
fn a_source_whose_logits_mean_nothing_proves_nothing() {
    let device = device::open_device("cpu").unwrap();
    for (factor, said) in [(0.0, "all 0 at position 0"), (3e38, "not finite at position 0")] {
        let (source, artifact) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let model = Backbone::new(&config(true), TimeConditioning::None, 1, &device).unwrap();
        store(source.path(), &scale_last_norm(model, factor), None);
        let (flow, contract) = convert(source.path(), &options(), &device).unwrap();
        store(artifact.path(), &flow, Some(&contract));
        let error = certify_conversion(source.path(), artifact.path(), None, &device, TOLERANCE).unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
    }
}

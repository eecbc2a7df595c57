//! `fmflow verify --deep`: runs the weights of an artifact, because intact bytes do not prove that they still compute the
//! same.

use std::path::Path;

use fmflow_engine::error::{Failure, FailureKind};
use fmflow_engine::text::display::count_noun;
use fmflow_engine::text::escape::show_path;

use crate::backbone::{AttentionContext, TimeConditioning};
use crate::convert::{Certificate, OLD_SCHEMAS, SCHEMA};
use crate::device::Device;
use crate::failure::stage_failure;
use crate::model::{CERTIFICATE, Model, weights_failure};
use crate::weights;

/// Runs the weights in `folder` and requires finite logits. If the folder's certificate is about exactly these weights, the
/// logits that it keeps are computed again and compared. Returns a description of what was checked.
///
/// # Errors
/// [`FailureKind::Corrupt`] if logits are not finite, are all 0, or differ from the certificate's by more than its tolerance. Another
/// kind if the weights, contract or tokenizer are refused.
pub(crate) fn verify_weights(folder: &Path, device: &Device) -> Result<String, Failure> {
    if !folder.join("config.json").exists() {
        return Ok("it has no weights, so there is no forward pass to run".into());
    }
    let model = Model::open(folder, device)?;
    check_finite_logits(folder, &model)?;
    let read = format!("{} read, logits finite", count_noun(model.backbone.parameters().len(), "tensor"));
    match model.certificate.as_deref() {
        None => Ok(read),
        Some(bytes) => Ok(format!("{read}; {}", compare_with_certificate(folder, bytes, device)?)),
    }
}

/// Runs one forward pass under the model's own attention.
fn check_finite_logits(folder: &Path, model: &Model) -> Result<(), Failure> {
    let length = 16.min(model.backbone.config().max_position_embeddings);
    let tokens: Vec<u32> = (0..length as u32).map(|i| i % model.used().max(1)).collect();
    let context = AttentionContext::new(model.attention(), 1, length);
    let context = match model.backbone.time_conditioning() {
        TimeConditioning::None => context,
        TimeConditioning::AdaLn { .. } => context.with_time(vec![0.5]),
    };
    let hidden = model
        .backbone
        .tokens(&tokens, 1)
        .and_then(|tokens| model.backbone.hidden(tokens, &context))
        .map_err(stage_failure)?;
    let [_, l, d] = hidden.dims();
    let logits = model.backbone.logits(hidden.reshape([l, d]));
    let logits: Vec<f32> = logits.try_into_vec_as().map_err(|e| stage_failure(e.to_string()))?;
    let fault = match () {
        () if !logits.iter().all(|x| x.is_finite()) => "logits that are not finite",
        () if logits.iter().all(|x| *x == 0.0) => "only logits that are 0",
        () => return Ok(()),
    };
    Err(corruption_failure(folder, &format!("the forward pass yields {fault}")))
}

/// Compares the logits of these weights with those kept in the certificate.
fn compare_with_certificate(folder: &Path, bytes: &[u8], device: &Device) -> Result<String, Failure> {
    let malformed = |e: serde_json::Error| corruption_failure(folder, &format!("`{CERTIFICATE}`: {e}"));
    let raw: serde_json::Value = serde_json::from_slice(bytes).map_err(malformed)?;
    match raw["schema"].as_str() {
        Some(SCHEMA) => {}
        Some(old) if OLD_SCHEMAS.contains(&old) => {
            return Ok(format!(
                "its certificate has an older version ({old}), so its logits are not compared"
            ));
        }
        _ => {
            let what = format!("`{CERTIFICATE}` has the unknown version {}", raw["schema"]);
            return Err(corruption_failure(folder, &what));
        }
    }
    let certificate: Certificate = serde_json::from_value(raw).map_err(malformed)?;
    let checkpoint = weights::read_checkpoint(folder).map_err(|e| weights_failure(folder, &e))?;
    if !certificate.matches_weights(&checkpoint) {
        return Ok("trained since it was converted, so its certificate's logits are not compared".into());
    }
    refuse_empty_claims(&certificate).map_err(|what| corruption_failure(folder, what))?;
    let found = certificate.recompute(checkpoint, device);
    let ratio = found.map_err(|e| corruption_failure(folder, &e.to_string()))?;
    let (kept, tolerance) = (certificate.reference.logits.len(), certificate.parity.tolerance);
    let finding = format!(
        "{kept} logits under a causal mask differ from the source's by at most {ratio:.2e} of the largest (tolerance {tolerance:.0e})",
    );
    match ratio <= tolerance {
        true => Ok(finding),
        false => Err(corruption_failure(folder, &finding)),
    }
}

/// Refuses a certificate that says it is broken, or that any model would satisfy.
fn refuse_empty_claims(certificate: &Certificate) -> Result<(), &'static str> {
    let parity = &certificate.parity;
    match () {
        () if !certificate.holds() => Err("its certificate says that the conversion does not hold"),
        () if !(parity.tolerance > 0.0 && parity.tolerance < 1.0) => {
            Err("its certificate accepts any logits: the tolerance is not between 0 and 1")
        }
        () if !parity.distance().holds(parity.tolerance) => {
            Err("its certificate contradicts itself: its numbers do not hold")
        }
        () => Ok(()),
    }
}

fn corruption_failure(folder: &Path, what: &str) -> Failure {
    let message = format!("{}: {what}", show_path(folder));
    let help =
        "the weights no longer compute what was certified: run the stage again, or restore the artifact";
    Failure { kind: FailureKind::Corrupt, message, help: Some(help.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backbone::Backbone;
    use crate::convert::certificate::{ReferenceLogit, TOLERANCE};
    use crate::convert::tests::{config, options_with, scale_last_norm, store};
    use crate::convert::{certify_conversion, convert_weights};

    /// A converted artifact with its certificate.
    fn converted(time: TimeConditioning) -> (tempfile::TempDir, Backbone, Certificate) {
        let device = crate::device::open_device("cpu").unwrap();
        let (source, artifact) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let model = Backbone::new(&config(true), TimeConditioning::None, 1, &device).unwrap();
        store(source.path(), &model, None);
        let options = options_with(|config| config.time_conditioning = time);
        let (flow, contract) =
            convert_weights(weights::read_checkpoint(source.path()).unwrap(), &options, &device).unwrap();
        store(artifact.path(), &flow, Some(&contract));
        let certificate =
            certify_conversion(source.path(), artifact.path(), None, &device, TOLERANCE).unwrap();
        save(artifact.path(), &certificate);
        (artifact, flow, certificate)
    }

    fn save(folder: &Path, certificate: &Certificate) {
        let json = serde_json::to_vec_pretty(certificate).unwrap();
        std::fs::write(folder.join(CERTIFICATE), json).unwrap();
    }

    fn run(folder: &Path) -> Result<String, Failure> {
        verify_weights(folder, &crate::device::open_device("cpu").unwrap())
    }

    #[test]
    fn the_logits_of_a_converted_model_are_computed_again() {
        for time in [TimeConditioning::None, TimeConditioning::AdaLn { rank: 4 }] {
            let (folder, _, certificate) = converted(time);
            let kept = &certificate.reference;
            assert_eq!((kept.logits.len(), kept.tokens.len()), (64, 64));
            assert!(kept.logits.iter().all(|logit| Some(logit.token) != certificate.parity.excluded));
            let said = run(folder.path()).unwrap();
            assert!(said.contains("64 logits") && said.contains("0.00e0"), "{said}");
        }
    }

    #[test]
    fn numbers_that_are_not_those_of_the_certificate_are_corrupt() {
        let (folder, _, certificate) = converted(TimeConditioning::None);
        let mut other = certificate.clone();
        other.reference.logits[63].value += 2.0 * (certificate.parity.largest * TOLERANCE) as f32;
        save(folder.path(), &other);
        let failure = run(folder.path()).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Corrupt);
        let said = failure.message.split("differ from the source's by at most ").nth(1).unwrap();
        let ratio: f64 = said.split(' ').next().unwrap().parse().unwrap();
        // Relative to the largest logit of its position, which is at most that of all.
        assert!((2e-4..1e-1).contains(&ratio) && said.contains("tolerance 1e-4"), "{failure}");
        other.reference.logits[63] = ReferenceLogit { position: 64, token: 0, value: 0.0 };
        save(folder.path(), &other);
        assert_eq!(run(folder.path()).unwrap_err().kind, FailureKind::Corrupt);
        std::fs::write(folder.path().join(CERTIFICATE), "{").unwrap();
        assert_eq!(run(folder.path()).unwrap_err().kind, FailureKind::Corrupt);
    }

    #[test]
    fn a_certificate_that_any_model_satisfies_is_corrupt() {
        type Lie = fn(&mut Certificate);
        let lies: [(Lie, &str); 6] = [
            (|c| c.parity.tolerance = 1e300, "accepts any logits"),
            (|c| c.parity.tolerance = 1.0, "accepts any logits"),
            (|c| c.parity.largest = 0.0, "contradicts itself"),
            (|c| c.parity.ratio = 0.5, "contradicts itself"),
            (|c| c.parity.holds = false, "does not hold"),
            (|c| c.reference.logits.truncate(1), "do not fit the model"),
        ];
        for (lie, said) in lies {
            let (folder, _, mut certificate) = converted(TimeConditioning::None);
            lie(&mut certificate);
            save(folder.path(), &certificate);
            let failure = run(folder.path()).unwrap_err();
            assert_eq!(failure.kind, FailureKind::Corrupt, "{said}");
            assert!(failure.message.contains(said), "{said}: {failure}");
        }
    }

    #[test]
    fn weights_that_compute_nothing_are_corrupt() {
        for (factor, said) in [(0.0, "only logits that are 0"), (3e38, "not finite")] {
            let (folder, flow, _) = converted(TimeConditioning::None);
            let broken = scale_last_norm(flow, factor);
            store(folder.path(), &broken, None);
            let failure = run(folder.path()).unwrap_err();
            assert_eq!(failure.kind, FailureKind::Corrupt);
            assert!(failure.message.contains(said), "{failure}");
        }
    }

    #[test]
    fn weights_that_were_trained_are_not_compared() {
        let (folder, flow, _) = converted(TimeConditioning::None);
        let trained = flow.map(|_, p| p.map(|x| x + 0.01)).unwrap();
        store(folder.path(), &trained, None);
        assert!(run(folder.path()).unwrap().contains("trained since"));
        // Unchanged weights that compute something else are compared, and refused.
        let (folder, flow, _) = converted(TimeConditioning::None);
        let config = flow.config().to_json().replace("\"rope_theta\": 10000.0", "\"rope_theta\": 100.0");
        assert_ne!(config, flow.config().to_json());
        std::fs::write(folder.path().join("config.json"), config).unwrap();
        assert_eq!(run(folder.path()).unwrap_err().kind, FailureKind::Corrupt);
    }

    #[test]
    fn a_folder_without_a_model_has_nothing_to_run() {
        let folder = tempfile::tempdir().unwrap();
        assert!(run(folder.path()).unwrap().contains("no forward pass"));
    }
}

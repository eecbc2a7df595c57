//! `fmflow verify --deep`: runs the weights of an artifact, because intact bytes do not prove that they still compute the
//! same.

mod batches;

use std::path::Path;

use fmflow_engine::error::{Failure, FailureKind};
use fmflow_engine::text::display::count_noun;
use fmflow_engine::text::escape::show_path;

pub(crate) use batches::verify_batches;

use crate::backbone::{AttentionContext, LayeredBackbone, TimeConditioning, TokenBatch};
use crate::convert::{Certificate, ConvertError, OLD_SCHEMAS, SCHEMA};
use crate::device::Device;
use crate::failure::stage_failure;
use crate::model::{
    CERTIFICATE, ModelTokenizer, open_contract, read_if_present, read_origins, weights_failure,
};
use crate::weights::CheckpointReader;
use fmflow_engine::pipeline::contract::Contract;

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
    let model = CheckpointReader::open(folder).map_err(|e| weights_failure(folder, &e))?;
    model.check_base().map_err(|e| weights_failure(folder, &e))?;
    let (contract, text) = open_contract(folder, model.contract.as_ref(), model.config.vocab_size)?;
    let certificate = read_if_present(folder, CERTIFICATE)?;
    read_origins(folder)?;
    // Its findings come after those about the logits, but its batch runs with theirs: the weights are read once.
    let claim = certificate.map(|bytes| Claim::read(folder, &bytes, &model));
    let mut batches = vec![make_own_batch(&model, &contract, text.as_ref())];
    if let Some(Ok(Claim::Comparable { batch, .. })) = &claim {
        batches.push(batch.clone());
    }
    let mut logits = run_batches(folder, &model, &batches, device)?.into_iter();
    check_finite_logits(folder, &logits.next().expect("one set of logits for each batch"))?;
    let read = format!("{} read, logits finite", count_noun(model.layout().len(), "tensor"));
    Ok(match claim.transpose()? {
        None => read,
        Some(Claim::NotCompared(why)) => format!("{read}; {why}"),
        Some(Claim::Comparable { certificate, .. }) => {
            let found = logits.next().expect("one set of logits for each batch");
            format!(
                "{read}; {}",
                compare_with_certificate(folder, &certificate, &found, model.config.vocab_size)?
            )
        }
    })
}

/// What a certificate says of the weights beside it.
enum Claim {
    /// Nothing that could be compared; why.
    NotCompared(String),
    /// Logits of a batch.
    Comparable { certificate: Box<Certificate>, batch: TokenBatch },
}

impl Claim {
    /// Reads the certificate `bytes` of the folder whose weights are `model`.
    fn read(folder: &Path, bytes: &[u8], model: &CheckpointReader) -> Result<Self, Failure> {
        let malformed = |e: serde_json::Error| corruption_failure(folder, &format!("`{CERTIFICATE}`: {e}"));
        let raw: serde_json::Value = serde_json::from_slice(bytes).map_err(malformed)?;
        match raw["schema"].as_str() {
            Some(SCHEMA) => {}
            Some(old) if OLD_SCHEMAS.contains(&old) => {
                return Ok(Self::NotCompared(format!(
                    "its certificate has an older version ({old}), so its logits are not compared"
                )));
            }
            _ => {
                let what = format!("`{CERTIFICATE}` has the unknown version {}", raw["schema"]);
                return Err(corruption_failure(folder, &what));
            }
        }
        let certificate: Certificate = serde_json::from_value(raw).map_err(malformed)?;
        let files = model.hash_files().map_err(|e| weights_failure(folder, &e))?;
        if !certificate.matches_weights(&files) {
            let why = "trained since it was converted, so its certificate's logits are not compared";
            return Ok(Self::NotCompared(why.into()));
        }
        refuse_empty_claims(&certificate).map_err(|what| corruption_failure(folder, what))?;
        let batch = certificate.reference_batch(model.config.vocab_size, model.time_conditioning());
        let batch = batch.map_err(|e| corruption_failure(folder, &e.to_string()))?;
        Ok(Self::Comparable { certificate: Box::new(certificate), batch })
    }
}

/// A few tokens under the model's own attention.
fn make_own_batch(
    model: &CheckpointReader,
    contract: &Contract,
    text: Option<&ModelTokenizer>,
) -> TokenBatch {
    let rows = model.config.vocab_size as u32;
    let used = text.map_or(rows, |text| text.tokenizer.used()).max(1);
    let length = 16.min(model.config.max_position_embeddings);
    let context = AttentionContext::new(contract.attention, 1, length);
    let context = match model.time_conditioning() {
        TimeConditioning::None => context,
        TimeConditioning::AdaLn { .. } => context.with_time(vec![0.5]),
    };
    TokenBatch { tokens: (0..length as u32).map(|i| i % used).collect(), context }
}

/// The logits of each batch, block by block through the model.
fn run_batches(
    folder: &Path,
    model: &CheckpointReader,
    batches: &[TokenBatch],
    device: &Device,
) -> Result<Vec<Vec<f32>>, Failure> {
    let (config, conditioning) = (&model.config, model.time_conditioning());
    let values = |name: &str| Ok(model.read(name)?.values);
    let mut found = Vec::new();
    let run = LayeredBackbone { config, conditioning, device, values }.run(batches, |_, logits| {
        found.push(logits);
        Ok(())
    });
    match run {
        Ok(()) => Ok(found),
        Err(ConvertError::Weights(error)) => Err(weights_failure(folder, &error)),
        Err(error) => Err(stage_failure(error)),
    }
}

/// Refuses logits that are not finite, or all 0.
fn check_finite_logits(folder: &Path, logits: &[f32]) -> Result<(), Failure> {
    let fault = match () {
        () if !logits.iter().all(|x| x.is_finite()) => "logits that are not finite",
        () if logits.iter().all(|x| *x == 0.0) => "only logits that are 0",
        () => return Ok(()),
    };
    Err(corruption_failure(folder, &format!("the forward pass yields {fault}")))
}

/// Compares the logits `found` with those kept in the certificate.
fn compare_with_certificate(
    folder: &Path,
    certificate: &Certificate,
    found: &[f32],
    vocab: usize,
) -> Result<String, Failure> {
    let ratio =
        certificate.compare_kept(found, vocab).map_err(|e| corruption_failure(folder, &e.to_string()))?;
    let (kept, tolerance) = (certificate.reference.logits.len(), certificate.parity.tolerance);
    let finding = match ratio {
        0.0 => format!("{kept} logits under a causal mask are the source's, without any difference"),
        _ => format!(
            "{kept} logits under a causal mask differ from the source's by at most {ratio:.2e} of the largest (tolerance {tolerance:.0e})"
        ),
    };
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
    use crate::convert::certify_conversion;
    use crate::convert::tests::{config, convert, options_with, scale_last_norm, store};

    /// A converted artifact with its certificate.
    fn converted(time: TimeConditioning) -> (tempfile::TempDir, Backbone, Certificate) {
        let device = crate::device::open_device("cpu").unwrap();
        let (source, artifact) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let model = Backbone::new(&config(true), TimeConditioning::None, 1, &device).unwrap();
        store(source.path(), &model, None);
        let options = options_with(|config| config.time_conditioning = time);
        let (flow, contract) = convert(source.path(), &options, &device).unwrap();
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
            assert!(said.contains("64 logits") && said.contains("without any difference"), "{said}");
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

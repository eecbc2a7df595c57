//! `fmflow.json`, the contract of an exported folder: what programs that only know Qwen3 need not know, in one file.

use serde::{Deserialize, Serialize};

use crate::pipeline::config::TimeConditioning;
use crate::pipeline::contract::{Contract, ContractError};

/// The schema of the file.
const SIDECAR_SCHEMA: &str = "fmflow.export/1";

/// File of the time conditioning tensors, which no other program knows. They are kept out of the model's file, so that
/// other programs find no unexpected tensors.
pub const CONDITIONING: &str = "flow.safetensors";

/// The contents of `fmflow.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportSidecar {
    schema: String,
    /// The contract.
    pub provenance: Contract,
    /// The element type of the weights, in the words of config.json.
    pub dtype: String,
    /// [`CONDITIONING`], if the model is given the time.
    pub conditioning: Option<String>,
}

impl ExportSidecar {
    /// The sidecar of a checkpoint with this contract.
    #[must_use]
    pub fn new(provenance: Contract, dtype: &str) -> Self {
        let conditioning = names_conditioning(&provenance).then(|| CONDITIONING.to_owned());
        Self { schema: SIDECAR_SCHEMA.into(), provenance, dtype: dtype.into(), conditioning }
    }

    /// Reads the text of the file.
    ///
    /// # Errors
    /// If a key is missing or unknown, the schema differs, the contract is refused, or `conditioning` contradicts it.
    pub fn parse(text: &str) -> Result<Self, ContractError> {
        let this: Self = serde_json::from_str(text).map_err(|e| ContractError::Sidecar(e.to_string()))?;
        let (schema, conditioning) = (&this.schema, this.conditioning.as_deref());
        let expected = names_conditioning(&this.provenance).then_some(CONDITIONING);
        match () {
            () if schema != SIDECAR_SCHEMA => Err(unfit_entry("schema", schema, SIDECAR_SCHEMA)),
            () if conditioning != expected => {
                let word = |name: Option<&str>| name.unwrap_or("null").to_owned();
                Err(unfit_entry("conditioning", &word(conditioning), &word(expected)))
            }
            () => {
                Ok(Self { provenance: this.provenance.check().map_err(ContractError::in_sidecar)?, ..this })
            }
        }
    }

    /// The contents of `fmflow.json`.
    #[must_use]
    pub fn to_json(&self) -> String {
        format!("{:#}\n", serde_json::json!(self))
    }
}

fn names_conditioning(contract: &Contract) -> bool {
    contract.time_conditioning != TimeConditioning::None
}

fn unfit_entry(key: &str, found: &str, expected: &str) -> ContractError {
    ContractError::Sidecar(format!("`{key}` is `{found}`, expected `{expected}`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_written_is_read_back_and_contradictions_are_refused() {
        let mut contract = Contract::autoregressive();
        for time in [TimeConditioning::None, TimeConditioning::AdaLn { rank: 8 }] {
            contract.time_conditioning = time;
            let sidecar = ExportSidecar::new(contract.clone(), "float32");
            assert_eq!(ExportSidecar::parse(&sidecar.to_json()), Ok(sidecar.clone()));
            for (key, value, said) in [
                (
                    "schema",
                    json!("fmflow.export/9"),
                    "`schema` is `fmflow.export/9`, expected `fmflow.export/1`",
                ),
                ("conditioning", json!("../x"), "`conditioning` is `../x`"),
                ("provenance", json!({}), "missing field"),
                ("more", json!(1), "unknown field `more`"),
            ] {
                let mut text = json!(sidecar);
                text[key] = value;
                let error = ExportSidecar::parse(&text.to_string()).unwrap_err().to_string();
                assert!(error.starts_with("fmflow.json: ") && error.contains(said), "{error}");
            }
            let mut text = json!(sidecar);
            text["provenance"]["block"] = json!(0);
            let error = ExportSidecar::parse(&text.to_string()).unwrap_err().to_string();
            assert_eq!(error, "fmflow.json: `block` is `0`, expected `1 to 1048576`");
        }
    }
}

//! Exports.

/// Writes a checkpoint for other programs, as a Hugging Face folder. Role `from`.
#[derive(Clone, Debug, PartialEq)]
pub struct ExportConfig {
    /// What is written.
    pub format: ExportFormat,
    /// Number format of the weights.
    pub dtype: ExportDtype,
    /// Most bytes of weights in one file.
    pub shard_bytes: u64,
}

/// What an export writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    /// The whole model, as Hugging Face transformers reads it.
    HuggingFace,
    /// The adapter alone, as the library PEFT writes it.
    Peft,
    /// The whole model, as servers of SDAR read it: a Qwen3 that denoises blocks.
    Sdar,
}

/// Number formats of exported weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportDtype {
    /// 32-bit float.
    F32,
    /// bfloat16: the upper half of a 32-bit float.
    Bf16,
}

//! Which tokens may attend to which, and the position of each token.
//!
//! A context is plain data on the host, made per batch and never part of an artifact. [`super::PreparedContext`] is its
//! form on the device: rotary angles, and which keys each query sees: intervals, or a mask where intervals cannot say it
//! ([`super::mask`]).

use fmflow_engine::pipeline::contract::Attention;

use super::BackboneError;

/// Segment id of padding. No query attends to a padding token.
pub const PADDING: u32 = u32::MAX;

/// Attention, positions and times of one batch.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionContext {
    /// Rows, B.
    pub batch: usize,
    /// Tokens per row, L.
    pub length: usize,
    /// The attention pattern within a document.
    pub attention: Attention,
    /// Position of each token, row-major [B, L]; `None` means 0..L in every row.
    pub positions: Option<Vec<u32>>,
    /// Document of each token, row-major [B, L]; [`PADDING`] marks tokens that nothing attends to; `None` means one
    /// document per row.
    pub segments: Option<Vec<u32>>,
    /// Whether a row is [x_t, x_0] as in block diffusion. The first half sees its own block and the earlier blocks of the
    /// second half; the second half sees itself block-causally. Both halves hold the same documents; attention must be
    /// [`Attention::BlockCausal`], or causal with a [`AttentionContext::stride`].
    pub halves: bool,
    /// Makes the halves causal: a token of the first half sees the earlier tokens of its own run of so many, counted from the start
    /// of its document, and the tokens before the run in the second half.
    pub stride: Option<usize>,
    /// Pairs that causal attention may see in addition to the earlier keys: bit j % 32 of word j / 32 of
    /// [B, L, ceil(L / 32)] is key j.
    pub opened: Option<Vec<u32>>,
    /// Time t of each row, `[B]`. Required if the backbone is conditioned on time, an error otherwise.
    pub time: Option<Vec<f32>>,
}

impl AttentionContext {
    /// `batch` full rows of `length` tokens, each one document.
    #[must_use]
    pub fn new(attention: Attention, batch: usize, length: usize) -> Self {
        Self {
            batch,
            length,
            attention,
            positions: None,
            segments: None,
            halves: false,
            stride: None,
            opened: None,
            time: None,
        }
    }

    /// Sets explicit positions, row-major [B, L].
    #[must_use]
    pub fn with_positions(self, positions: Vec<u32>) -> Self {
        Self { positions: Some(positions), ..self }
    }

    /// Sets document segments, row-major [B, L]. Call this before [`AttentionContext::with_valid`], which marks padding in
    /// them.
    #[must_use]
    pub fn with_segments(self, segments: Vec<u32>) -> Self {
        Self { segments: Some(segments), ..self }
    }

    /// Marks tokens as padding where `valid` (row-major [B, L]) is false.
    #[must_use]
    pub fn with_valid(self, valid: &[bool]) -> Self {
        let mut segments = self.segments.unwrap_or_else(|| vec![0; valid.len()]);
        segments
            .iter_mut()
            .zip(valid)
            .filter(|(_, valid)| !**valid)
            .for_each(|(segment, _)| *segment = PADDING);
        Self { segments: Some(segments), ..self }
    }

    /// Declares that every row has two halves, noisy and clean.
    #[must_use]
    pub(crate) fn with_halves(self) -> Self {
        Self { halves: true, ..self }
    }

    /// Declares that every row has two causal halves, noisy in runs of `stride` tokens and clean.
    #[must_use]
    pub fn with_stride(self, stride: usize) -> Self {
        Self { halves: true, stride: Some(stride), ..self }
    }

    /// Opens later keys to causal attention, as bits [B, L, ceil(L / 32)].
    #[must_use]
    pub(crate) fn with_opened(self, opened: Vec<u32>) -> Self {
        Self { opened: Some(opened), ..self }
    }

    /// Sets the time of each row, `[B]`.
    #[must_use]
    pub(crate) fn with_time(self, time: Vec<f32>) -> Self {
        Self { time: Some(time), ..self }
    }

    /// Refuses a context whose parts disagree.
    pub(super) fn check(&self, conditioned: bool) -> Result<(), BackboneError> {
        let fault = |what: &str| Err(BackboneError::Context(what.into()));
        let Some(tokens) = self.batch.checked_mul(self.length).filter(|n| *n > 0) else {
            return fault("a batch needs at least one row and one token");
        };
        if self.positions.as_ref().is_some_and(|p| p.len() != tokens) {
            return fault("positions must be [batch, length]");
        }
        if self.positions.iter().flatten().any(|p| *p >= 1 << 24) {
            // f32 represents whole numbers exactly up to 2^24, and rotary angles are f32 products.
            return fault("positions must be below 2^24");
        }
        if self.segments.as_ref().is_some_and(|s| s.len() != tokens) {
            return fault("segments must be [batch, length]");
        }
        if matches!(self.attention, Attention::BlockCausal { block: 0 }) {
            return fault("a block must have at least one token");
        }
        if self.halves && !self.are_halves() {
            return fault(
                "both halves need the same positions and segments, and attention in blocks or strides",
            );
        }
        if self.opened.is_some() && self.attention != Attention::Causal {
            return fault("only causal attention can be opened");
        }
        if self.opened.as_ref().is_some_and(|words| words.len() != tokens * self.length.div_ceil(32)) {
            return fault("opened pairs must be [batch, length, ceil(length / 32)]");
        }
        match &self.time {
            Some(time) if time.len() != self.batch => fault("time must be [batch]"),
            Some(_) if !conditioned => {
                fault("this backbone is not conditioned on time, but a time was given")
            }
            None if conditioned => fault("this backbone needs the time of each row"),
            _ => Ok(()),
        }
    }
}

impl AttentionContext {
    /// Whether both halves of every row hold the same documents.
    fn are_halves(&self) -> bool {
        fn has_equal_halves<T: PartialEq>(row: &[T]) -> bool {
            let (first, second) = row.split_at(row.len() / 2);
            first == second
        }
        let positions = self.positions.as_ref().is_some_and(|p| p.chunks(self.length).all(has_equal_halves));
        let segments = self.segments.as_ref().is_none_or(|s| s.chunks(self.length).all(has_equal_halves));
        let attention = match self.stride {
            Some(stride) => stride > 0 && self.attention == Attention::Causal,
            None => matches!(self.attention, Attention::BlockCausal { .. }),
        };
        attention && positions && segments
    }
}

//! The shape of a Qwen3 model, and the number of its parameters and operations.

/// The sizes that determine a Qwen3 model's parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelShape {
    /// Rows of the embedding.
    pub vocabulary: u64,
    /// Width of the residual stream.
    pub hidden: u64,
    /// Transformer blocks.
    pub layers: u64,
    /// Query heads.
    pub heads: u64,
    /// Key and value heads.
    pub kv_heads: u64,
    /// Width of a head.
    pub head_dim: u64,
    /// Width of the feed-forward layer.
    pub feed_forward: u64,
    /// Whether the head shares the embedding's matrix.
    pub tied: bool,
}

/// A size that no Qwen3 can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnfitSize {
    /// Its key in `config.json`.
    pub key: &'static str,
    /// Its value.
    pub value: u64,
    /// The accepted values.
    pub expected: &'static str,
}

impl ModelShape {
    /// The shape of a published Qwen3, by its name on the hub with or without `-Base`. The sizes are copied from the
    /// published `config.json` files, so that nothing is asked over the network.
    #[must_use]
    pub(crate) fn published(from: &str) -> Option<Self> {
        let name = from.rsplit('/').next()?.trim_end_matches("-Base");
        let (hidden, layers, heads, feed_forward, tied) = match name {
            "Qwen3-0.6B" => (1024, 28, 16, 3072, true),
            "Qwen3-1.7B" => (2048, 28, 16, 6144, true),
            "Qwen3-4B" => (2560, 36, 32, 9728, true),
            "Qwen3-8B" => (4096, 36, 32, 12288, false),
            _ => return None,
        };
        let (vocabulary, kv_heads, head_dim) = (151_936, 8, 128);
        Some(Self { vocabulary, hidden, layers, heads, kv_heads, head_dim, feed_forward, tied })
    }

    /// The context of a published Qwen3 in tokens, from the same files: 32,768 before and 40,960 after instruction tuning.
    #[must_use]
    pub(crate) fn published_context(from: &str) -> Option<usize> {
        Self::published(from).map(|_| if from.ends_with("-Base") { 32_768 } else { 40_960 })
    }

    /// The first size that no Qwen3 can have, with its key in `config.json` and what is expected: sizes that contradict each
    /// other, or that would let a stranger's file allocate without bound.
    #[must_use]
    pub fn find_unfit_size(&self) -> Option<UnfitSize> {
        let unfit = |key, value: u64, most: u64, expected| {
            (!(1..=most).contains(&value)).then_some(UnfitSize { key, value, expected })
        };
        let divides = self.heads.checked_rem(self.kv_heads) == Some(0);
        unfit("hidden_size", self.hidden, 1 << 17, "1 to 2^17")
            .or_else(|| unfit("head_dim", self.head_dim, 4096, "1 to 4096"))
            .or_else(|| unfit("num_attention_heads", self.heads, 1024, "1 to 1024"))
            .or_else(|| unfit("num_hidden_layers", self.layers, 1024, "1 to 1024"))
            .or_else(|| unfit("intermediate_size", self.feed_forward, 1 << 20, "1 to 2^20"))
            .or_else(|| unfit("vocab_size", self.vocabulary, 1 << 24, "1 to 2^24"))
            .or_else(|| {
                let (value, expected) = (self.kv_heads, "a divisor of `num_attention_heads`");
                (!divides).then_some(UnfitSize { key: "num_key_value_heads", value, expected })
            })
            .or_else(|| {
                let (value, expected) = (self.head_dim, "an even number");
                (!value.is_multiple_of(2)).then_some(UnfitSize { key: "head_dim", value, expected })
            })
    }

    /// Number of parameters in each group.
    #[must_use]
    pub(crate) fn groups(&self) -> [(&'static str, u64); 5] {
        let table = saturating_product(&[self.vocabulary, self.hidden]);
        let queries = saturating_product(&[2, self.hidden, self.heads, self.head_dim]);
        let keys = saturating_product(&[2, self.hidden, self.kv_heads, self.head_dim]);
        let norms = saturating_product(&[2, self.hidden.saturating_add(self.head_dim)]);
        [
            ("embedding", table),
            ("attention", saturating_product(&[self.layers, queries.saturating_add(keys)])),
            ("feed-forward", saturating_product(&[self.layers, 3, self.hidden, self.feed_forward])),
            ("norms", saturating_product(&[self.layers, norms]).saturating_add(self.hidden)),
            ("head", if self.tied { 0 } else { table }),
        ]
    }

    /// Total number of parameters; tied weights count once.
    #[must_use]
    pub(crate) fn parameters(&self) -> u64 {
        saturating_sum(self.groups().into_iter().map(|(_, count)| count))
    }

    /// Floating-point operations to train on one token, in rows of `length` tokens:
    /// `6 N + 12 layers heads head_dim length` (Chowdhery et al., 2022, PaLM, appendix B).
    ///
    /// N counts the parameters that are multiplied: an untied input embedding is only looked up. Every position is assumed to
    /// attend to every other, even with a causal mask. Recomputed blocks are not counted.
    #[must_use]
    pub(crate) fn flops_per_token(&self, length: u64) -> f64 {
        self.dense_flops() + self.attention_flops(length)
    }

    /// The same for block diffusion: every token passes through the transformer blocks twice, noisy and clean, and through
    /// the head once. Each half attends to half of the clean tokens on average, so that attention costs as much as one full
    /// pass.
    #[must_use]
    pub(crate) fn flops_per_token_of_blocks(&self, length: u64) -> f64 {
        let head = 6.0 * saturating_product(&[self.vocabulary, self.hidden]) as f64;
        2.0 * self.dense_flops() - head + self.attention_flops(length)
    }

    /// What is not computed of [`Self::flops_per_token`], or of block diffusion (`halves`), if the weights of all blocks are frozen:
    /// the products that make their gradients, a third of theirs.
    #[must_use]
    pub(crate) fn frozen_flops(&self, halves: bool) -> f64 {
        let head = 6.0 * saturating_product(&[self.vocabulary, self.hidden]) as f64;
        (self.dense_flops() - head) / 3.0 * if halves { 2.0 } else { 1.0 }
    }

    /// Operations per token of a teacher that is part of the loss: one causal pass of the trained model forward and backward, and the teacher's
    /// forward one, which is a third of it. With an adapter the trained one's weights are frozen.
    #[must_use]
    pub(crate) fn flops_of_teacher(&self, length: u64, adapted: bool) -> f64 {
        let whole = self.flops_per_token(length);
        whole - if adapted { self.frozen_flops(false) } else { 0.0 } + whole / 3.0
    }

    fn dense_flops(&self) -> f64 {
        let looked_up = if self.tied { 0 } else { saturating_product(&[self.vocabulary, self.hidden]) };
        6.0 * self.parameters().saturating_sub(looked_up) as f64
    }

    fn attention_flops(&self, length: u64) -> f64 {
        12.0 * saturating_product(&[self.layers, self.heads, self.head_dim]) as f64 * length as f64
    }
}

/// The product, saturating at the largest `u64`: the sizes in a stranger's file may be nonsense.
pub(super) fn saturating_product(factors: &[u64]) -> u64 {
    factors.iter().fold(1, |all, factor| all.saturating_mul(*factor))
}

/// The sum, saturating at the largest `u64`.
pub(crate) fn saturating_sum(parts: impl Iterator<Item = u64>) -> u64 {
    parts.fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qwen3_1_7b_takes_15_96_gflop_per_token_at_8192() {
        let shape = ModelShape::published("hf:Qwen/Qwen3-1.7B").unwrap();
        assert_eq!(shape.parameters(), 1_720_574_976);
        assert_eq!((shape.flops_per_token(8192) / 1e7).round() / 100.0, 15.96);
        assert_eq!((shape.flops_per_token_of_blocks(8192) / 1e7).round() / 100.0, 24.42);
        assert_eq!(ModelShape::published("hf:Qwen/Qwen3-1.7B-Base"), Some(shape));
    }
}

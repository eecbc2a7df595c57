//! Every setting that code looks up by its path.
//!
//! A test compares each path with the field table. A misspelled literal would otherwise look like a setting that the stage
//! does not have.

use std::borrow::Cow;

/// Path of a setting of one kind of stage, such as `learning-rate.peak` of `train`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FieldPath {
    kind: &'static str,
    /// `#` is a placeholder for the index of a node that may occur several times.
    path: &'static str,
    number: Option<usize>,
}

impl FieldPath {
    /// The path with `#` replaced by an index, counted from 0.
    #[must_use]
    pub(crate) const fn nth(self, number: usize) -> Self {
        Self { kind: self.kind, path: self.path, number: Some(number) }
    }

    /// The path as text, for a stage of this kind. Panics if the path belongs to another kind or lacks its index: such a
    /// lookup could never succeed.
    pub(crate) fn text_for(self, kind: &str) -> Cow<'static, str> {
        // A frontier has the exact matches of an evaluation, with the same fields.
        let shared = kind == "frontier" && self.kind == "evaluate";
        assert!(
            shared || kind == self.kind,
            "`{}` is a setting of `{}`, not of `{kind}`",
            self.path,
            self.kind
        );
        assert_eq!(self.number.is_some(), self.path.contains('#'), "`{}`: a number for each `#`", self.path);
        match self.number {
            Some(number) => self.path.replace('#', &number.to_string()).into(),
            None => self.path.into(),
        }
    }

    /// The kind of stage, and the path with `#` for indices.
    #[cfg(test)]
    pub(crate) fn pattern(self) -> (&'static str, &'static str) {
        (self.kind, self.path)
    }
}

macro_rules! paths {
    ($($module:ident $kind:literal { $($name:ident $path:literal)* })*) => {
        $(
            #[doc = concat!("Settings of `", $kind, "`.")]
            pub(crate) mod $module {
                use super::FieldPath;
                $(pub(crate) const $name: FieldPath = FieldPath { kind: $kind, path: $path, number: None };)*
            }
        )*

        /// All paths, for the test that compares them with the field table.
        #[cfg(test)]
        pub(crate) const ALL: &[FieldPath] = &[$($($module::$name),*),*];
    };
}

paths! {
    rows "rows" {
        CANVAS "canvas"
        CHAT_MESSAGES "dataset.chat.messages"
        CHAT_USER "dataset.chat.user"
        DATASET_FROM "dataset.from"
        DATASET_HELD_OUT "dataset.held-out"
        DATASET_TOKENS "dataset.tokens"
        END_OF_DOCUMENT "end-of-document"
        END_OF_TURN_BLOCK "end-of-turn.block"
        LENGTH "length"
        PACKING "packing"
        TOKENIZER "tokenizer"
        WINDOW_DISK "window.disk"
    }
    random_init "random-init" {
        CONTEXT "shape.context"
        TOKENIZER "tokenizer"
    }
    convert "convert" {
        FROM "from"
        MASK_TOKEN "mask-token"
        SHIFT "shift"
        TIME_CONDITIONING "time-conditioning"
        TOKENIZER "tokenizer"
    }
    train "train" {
        ADAPTER "adapter"
        ADAPTER_FROM "adapter.from"
        AT "at"
        ATTENTION "attention"
        ATTENTION_ANNEAL_UNTIL "attention.anneal.until"
        ATTENTION_NTH_SIZE "attention.size.#"
        ATTENTION_NTH_SIZE_UNTIL "attention.size.#.until"
        ATTENTION_NTH_STRIDE "attention.stride.#"
        ATTENTION_NTH_STRIDE_UNTIL "attention.stride.#.until"
        ATTENTION_SIZE "attention.size"
        BATCH_PER_DEVICE "batch.per-device"
        BATCH_ROWS "batch.rows"
        CARRY "carry"
        CHECKPOINT_EVERY "checkpoint.every"
        CHECKPOINT_KEEP "checkpoint.keep"
        CLEAN_WEIGHT "objective.clean-loss.weight"
        COMPUTE "precision.compute"
        DATA_ROWS "data.rows"
        DIVERGED_GROWTH "guard.diverged.growth"
        DIVERGED_LIMIT "guard.diverged.limit"
        FROM "from"
        GROW_DELETE_TOKEN "objective.grow.delete-token"
        GROW_MERGE "objective.grow.merge"
        LEARNING_RATE_DECAY "learning-rate.decay"
        LEARNING_RATE_FINAL "learning-rate.final"
        LEARNING_RATE_PEAK "learning-rate.peak"
        LEARNING_RATE_WARMUP "learning-rate.warmup"
        MASKED_PER_BLOCK "time.masked-per-block"
        MASKED_PER_SEGMENT "time.masked-per-segment"
        NON_FINITE_BACK "guard.non-finite.back"
        NON_FINITE_LIMIT "guard.non-finite.limit"
        NTH_NO_DECAY "optimizer.no-decay.#"
        NTH_PROBE_BENCHMARK "probe.benchmark.#"
        NTH_PROBE_BENCHMARK_FROM "probe.benchmark.#.from"
        NTH_PROBE_BENCHMARK_GAP "probe.benchmark.#.length"
        NTH_PROBE_BENCHMARK_LENGTH "probe.benchmark.#.new-tokens"
        NTH_PROBE_BENCHMARK_SAMPLER "probe.benchmark.#.sampler"
        NTH_PROBE_CHAT "probe.chat.#"
        NTH_PROBE_CHAT_LENGTH "probe.chat.#.new-tokens"
        NTH_PROBE_CHAT_SAMPLER "probe.chat.#.sampler"
        NTH_PROBE_EXACT_MATCH_DATASET "probe.exact-match.#.dataset"
        NTH_PROBE_EXACT_MATCH_SAMPLER "probe.exact-match.#.sampler"
        NTH_PROBE_INFILL_LENGTH "probe.infill.#.length"
        NTH_PROBE_INFILL_PREFIX "probe.infill.#.prefix"
        NTH_PROBE_INFILL_SAMPLER "probe.infill.#.sampler"
        NTH_PROBE_PROMPT "probe.prompt.#"
        NTH_PROBE_PROMPT_LENGTH "probe.prompt.#.new-tokens"
        NTH_PROBE_PROMPT_SAMPLER "probe.prompt.#.sampler"
        OBJECTIVE "objective"
        OBJECTIVE_LOSS "objective.loss"
        OBJECTIVE_MAX_WEIGHT "objective.max-weight"
        OBJECTIVE_PATH "objective.path"
        PATH_NTH_SOURCE "objective.path.source.#"
        PATH_SCHEDULER_KIND "objective.path.scheduler.kind"
        PATH_SOURCE "objective.path.source"
        PERMANENT_EVERY "checkpoint.permanent.every"
        PROBE_EVERY "probe.every"
        PROBE_SAMPLER "probe.sampler"
        SPIKE_BACK "guard.spike.back"
        SPIKE_LIMIT "guard.spike.limit"
        SPIKE_SIGMA "guard.spike.sigma"
        SPIKE_WINDOW "guard.spike.window"
        STEPS "steps"
        TEACHER "teacher"
        TEACHER_FROM "teacher.from"
        TIME_EPSILON "time.epsilon"
        TIME_FROM "time.from"
        TIME_SAMPLING "time.sampling"
        TIME_TO "time.to"
        VALIDATE_EVERY "validate.every"
        WEIGHT_DECAY "optimizer.weight-decay"
    }
    command "command" {
        RUN "run"
    }
    export "export" {
        FORMAT "format"
    }
    frontier "frontier" {
        NTH_BLOCK "blocks.#"
    }
    evaluate "evaluate" {
        NTH_BENCHMARK "benchmark.#"
        NTH_BENCHMARK_BLOCK "benchmark.#.sampler.block"
        NTH_BENCHMARK_CACHE "benchmark.#.sampler.cache"
        NTH_BENCHMARK_FROM "benchmark.#.from"
        NTH_BENCHMARK_GAP "benchmark.#.length"
        NTH_BENCHMARK_KIND "benchmark.#.sampler.kind"
        NTH_BENCHMARK_LENGTH "benchmark.#.new-tokens"
        NTH_BENCHMARK_PASSES "benchmark.#.sampler.passes"
        NTH_BENCHMARK_SAMPLER "benchmark.#.sampler"
        NTH_BENCHMARK_SAMPLES "benchmark.#.samples"
        NTH_BENCHMARK_TEMPERATURE "benchmark.#.sampler.temperature"
        NTH_CHECKPOINT "checkpoint.#"
        NTH_EXACT_MATCH_BLOCK "exact-match.#.sampler.block"
        NTH_EXACT_MATCH_CACHE "exact-match.#.sampler.cache"
        NTH_EXACT_MATCH_DATASET "exact-match.#.dataset"
        NTH_EXACT_MATCH_KIND "exact-match.#.sampler.kind"
        NTH_EXACT_MATCH_PASSES "exact-match.#.sampler.passes"
        NTH_EXACT_MATCH_SAMPLER "exact-match.#.sampler"
        NTH_HELD_OUT_DATASET "held-out.#.dataset"
        NTH_REQUIRE "require.#"
        NTH_REQUIRE_AT_LEAST "require.#.at-least"
    }
    generate "generate" {
        FROM "from"
        NTH_CHAT "chat.#"
        NTH_CHAT_LENGTH "chat.#.new-tokens"
        NTH_CHAT_SAMPLER "chat.#.sampler"
        NTH_CHAT_SAMPLER_BLOCK "chat.#.sampler.block"
        NTH_CHAT_SAMPLER_CACHE "chat.#.sampler.cache"
        NTH_CHAT_SAMPLER_KIND "chat.#.sampler.kind"
        NTH_CHAT_SAMPLER_PASSES "chat.#.sampler.passes"
        NTH_INFILL_GROW "infill.#.grow"
        NTH_INFILL_LENGTH "infill.#.length"
        NTH_INFILL_PREFIX "infill.#.prefix"
        NTH_INFILL_SAMPLER "infill.#.sampler"
        NTH_INFILL_SAMPLER_BLOCK "infill.#.sampler.block"
        NTH_INFILL_SAMPLER_CACHE "infill.#.sampler.cache"
        NTH_INFILL_SAMPLER_KIND "infill.#.sampler.kind"
        NTH_INFILL_SAMPLER_PASSES "infill.#.sampler.passes"
        NTH_INFILL_SUFFIX "infill.#.suffix"
        NTH_PROMPT "prompt.#"
        NTH_PROMPT_LENGTH "prompt.#.new-tokens"
        NTH_PROMPT_SAMPLER "prompt.#.sampler"
        NTH_PROMPT_SAMPLER_BLOCK "prompt.#.sampler.block"
        NTH_PROMPT_SAMPLER_CACHE "prompt.#.sampler.cache"
        NTH_PROMPT_SAMPLER_KIND "prompt.#.sampler.kind"
        NTH_PROMPT_SAMPLER_PASSES "prompt.#.sampler.passes"
        SAMPLER "sampler"
        SAMPLER_BLOCK "sampler.block"
        SAMPLER_CACHE "sampler.cache"
        SAMPLER_KIND "sampler.kind"
        SAMPLER_PASSES "sampler.passes"
    }
}

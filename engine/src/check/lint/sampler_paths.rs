//! Field paths of the sampler that an exact match, a benchmark or a request uses.

use crate::pipeline::config::{GenerateConfig, Prompt, PromptKind};
use crate::pipeline::field_path::{FieldPath, evaluate, generate, train};
use crate::pipeline::stage::Stage;

/// Paths of one use of a sampler: its name, and its settings `kind`, `block`, `cache` and `passes`.
#[derive(Clone, Copy)]
pub(super) struct SamplerPaths {
    pub(super) sampler: FieldPath,
    pub(super) kind: FieldPath,
    pub(super) block: FieldPath,
    pub(super) cache: FieldPath,
    pub(super) passes: FieldPath,
}

/// A request by its kind of node and its index among the requests of that kind: field paths count each kind from 0.
#[derive(Clone, Copy)]
pub(super) struct PromptNumber {
    node: PromptNode,
    pub(super) number: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum PromptNode {
    Chat,
    Prompt,
    Infill,
}

impl SamplerPaths {
    /// The paths of the exact match at this index.
    pub(super) fn for_exact_match(number: usize) -> Self {
        Self {
            sampler: evaluate::NTH_EXACT_MATCH_SAMPLER.nth(number),
            kind: evaluate::NTH_EXACT_MATCH_KIND.nth(number),
            block: evaluate::NTH_EXACT_MATCH_BLOCK.nth(number),
            cache: evaluate::NTH_EXACT_MATCH_CACHE.nth(number),
            passes: evaluate::NTH_EXACT_MATCH_PASSES.nth(number),
        }
    }

    /// The paths of the benchmark at this index.
    pub(super) fn for_benchmark(number: usize) -> Self {
        Self {
            sampler: evaluate::NTH_BENCHMARK_SAMPLER.nth(number),
            kind: evaluate::NTH_BENCHMARK_KIND.nth(number),
            block: evaluate::NTH_BENCHMARK_BLOCK.nth(number),
            cache: evaluate::NTH_BENCHMARK_CACHE.nth(number),
            passes: evaluate::NTH_BENCHMARK_PASSES.nth(number),
        }
    }

    /// The paths of each request: those of its own sampler, or else those of the stage's.
    pub(super) fn for_prompts(stage: &Stage, config: &GenerateConfig) -> Vec<Self> {
        let own = |number: PromptNumber| {
            Some(number.sampler_paths()).filter(|own| stage.field(own.sampler).is_some())
        };
        let shared = Self {
            sampler: generate::SAMPLER,
            kind: generate::SAMPLER_KIND,
            block: generate::SAMPLER_BLOCK,
            cache: generate::SAMPLER_CACHE,
            passes: generate::SAMPLER_PASSES,
        };
        number_requests(&config.prompts).into_iter().map(|number| own(number).unwrap_or(shared)).collect()
    }
}

/// Numbers requests, in their order.
pub(super) fn number_requests(prompts: &[Prompt]) -> Vec<PromptNumber> {
    let mut numbered: Vec<PromptNumber> = Vec::with_capacity(prompts.len());
    for prompt in prompts {
        let node = match prompt.kind {
            PromptKind::Chat(_) => PromptNode::Chat,
            PromptKind::Text(_) => PromptNode::Prompt,
            PromptKind::Infill { .. } => PromptNode::Infill,
        };
        let number = numbered.iter().filter(|before| before.node == node).count();
        numbered.push(PromptNumber { node, number });
    }
    numbered
}

impl PromptNumber {
    /// The path of its kind of request, numbered.
    fn pick(self, [chat, prompt, infill]: [FieldPath; 3]) -> FieldPath {
        let path = match self.node {
            PromptNode::Chat => chat,
            PromptNode::Prompt => prompt,
            PromptNode::Infill => infill,
        };
        path.nth(self.number)
    }

    /// The path of its number of new tokens.
    pub(super) fn length_path(self) -> FieldPath {
        self.pick([generate::NTH_CHAT_LENGTH, generate::NTH_PROMPT_LENGTH, generate::NTH_INFILL_LENGTH])
    }

    /// The path of its number of new tokens in a probe.
    pub(super) fn probed_length_path(self) -> FieldPath {
        self.pick([
            train::NTH_PROBE_CHAT_LENGTH,
            train::NTH_PROBE_PROMPT_LENGTH,
            train::NTH_PROBE_INFILL_LENGTH,
        ])
    }

    /// The path of its sampler in a probe.
    pub(super) fn probed_sampler_path(self) -> FieldPath {
        self.pick([
            train::NTH_PROBE_CHAT_SAMPLER,
            train::NTH_PROBE_PROMPT_SAMPLER,
            train::NTH_PROBE_INFILL_SAMPLER,
        ])
    }

    /// The name of that setting.
    pub(super) fn length_word(self) -> &'static str {
        match self.node {
            PromptNode::Chat | PromptNode::Prompt => "new-tokens",
            PromptNode::Infill => "length",
        }
    }

    /// The path of its text; of an infill, of the text before the gap.
    pub(super) fn text_path(self) -> FieldPath {
        self.pick([generate::NTH_CHAT, generate::NTH_PROMPT, generate::NTH_INFILL_PREFIX])
    }

    /// The path of its text in a probe.
    pub(super) fn probed_text_path(self) -> FieldPath {
        self.pick([train::NTH_PROBE_CHAT, train::NTH_PROBE_PROMPT, train::NTH_PROBE_INFILL_PREFIX])
    }

    fn sampler_paths(self) -> SamplerPaths {
        let (sampler, kind, block, cache, passes) = match self.node {
            PromptNode::Chat => (
                generate::NTH_CHAT_SAMPLER,
                generate::NTH_CHAT_SAMPLER_KIND,
                generate::NTH_CHAT_SAMPLER_BLOCK,
                generate::NTH_CHAT_SAMPLER_CACHE,
                generate::NTH_CHAT_SAMPLER_PASSES,
            ),
            PromptNode::Prompt => (
                generate::NTH_PROMPT_SAMPLER,
                generate::NTH_PROMPT_SAMPLER_KIND,
                generate::NTH_PROMPT_SAMPLER_BLOCK,
                generate::NTH_PROMPT_SAMPLER_CACHE,
                generate::NTH_PROMPT_SAMPLER_PASSES,
            ),
            PromptNode::Infill => (
                generate::NTH_INFILL_SAMPLER,
                generate::NTH_INFILL_SAMPLER_KIND,
                generate::NTH_INFILL_SAMPLER_BLOCK,
                generate::NTH_INFILL_SAMPLER_CACHE,
                generate::NTH_INFILL_SAMPLER_PASSES,
            ),
        };
        let nth = |path: FieldPath| path.nth(self.number);
        SamplerPaths {
            sampler: nth(sampler),
            kind: nth(kind),
            block: nth(block),
            cache: nth(cache),
            passes: nth(passes),
        }
    }
}

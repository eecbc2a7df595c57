//! What a plan says of samplers whose cache is approximate.

use indexmap::IndexMap;

use crate::pipeline::config::sample::{BenchmarkSettings, ExactMatch};
use crate::pipeline::config::{Sampler, SamplerCache, StageConfig};
use crate::pipeline::stage::Stage;

/// The samplers of a stage whose cache is approximate, each once, by name.
pub(super) fn list_approximate_caches(config: &StageConfig) -> IndexMap<&str, SamplerCache> {
    let caches = list_samplers(config).into_iter().filter(|sampler| sampler.cache.is_approximate());
    caches.map(|sampler| (sampler.name.as_str(), sampler.cache)).collect()
}

/// One line for every stage that uses some; empty if there are none.
pub(super) fn render_cache_lines<'p>(stages: impl Iterator<Item = &'p Stage>) -> String {
    let line = |stage: &Stage| {
        let caches = list_approximate_caches(&stage.config);
        let named: Vec<String> =
            caches.iter().map(|(name, cache)| format!("`{name}` (`{}`)", cache.word())).collect();
        let told = match stage.config {
            StageConfig::Generate(_) => "; the result says how often",
            _ => "; `fmflow bench generate` says how often",
        };
        (!named.is_empty()).then(|| {
            let named = named.join(", ");
            format!(
                "\n`{}`: approximate cache of {named}: text may differ from that without one{told}\n",
                stage.name
            )
        })
    };
    stages.filter_map(line).collect()
}

fn list_samplers(config: &StageConfig) -> Vec<&Sampler> {
    match config {
        StageConfig::Generate(config) => config.prompts.iter().map(|prompt| &prompt.sampler).collect(),
        StageConfig::Evaluate(config) => list_measured(&config.exact_match, &config.benchmarks).collect(),
        StageConfig::Frontier(config) => config.points.iter().map(|point| &point.sampler).collect(),
        StageConfig::Train(config) => {
            let Some(probe) = &config.probe else { return Vec::new() };
            let prompts = probe.prompts.iter().map(|prompt| &prompt.sampler);
            prompts.chain(list_measured(&probe.exact_match, &probe.benchmarks)).collect()
        }
        _ => Vec::new(),
    }
}

fn list_measured<'a>(
    exact_match: &'a [ExactMatch],
    benchmarks: &'a [BenchmarkSettings],
) -> impl Iterator<Item = &'a Sampler> {
    let written = benchmarks.iter().filter_map(|benchmark| benchmark.writing());
    exact_match.iter().map(|exact| &exact.sampler).chain(written.map(|writing| &writing.sampler))
}

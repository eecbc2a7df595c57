//! What models wrote, as the template is given it.

use serde::Serialize;
use serde_json::Value;

use super::markup::show_text;
use crate::pipeline::config::SamplerCache;
use crate::text::display::count_noun;

/// Samples of a stage, and updates of a probe, that a page shows.
pub(super) const MOST_SAMPLES: usize = 40;

#[derive(Serialize)]
pub(super) struct ProbeView {
    pub update: u64,
    pub failed: String,
    pub samples: Vec<SampleView>,
}

#[derive(Serialize)]
pub(super) struct SampleView {
    pub prompt: String,
    pub text: String,
    pub note: String,
}

fn read_text(value: &Value, name: &str) -> String {
    value.get(name).and_then(Value::as_str).map(show_text).unwrap_or_default()
}

/// A probe after so many updates.
#[must_use]
pub(super) fn view_probe((update, probe): &(u64, Value)) -> ProbeView {
    let samples = probe.get("samples").and_then(Value::as_array).into_iter().flatten();
    ProbeView {
        update: *update,
        failed: read_text(probe, "failed"),
        samples: samples.take(MOST_SAMPLES).map(view_sample).collect(),
    }
}

/// What an approximate cache changed, if the sampler had one.
fn describe_cache(sample: &Value) -> Option<String> {
    let found = sample.get("cache_disagreement")?;
    let count = |name: &str| found.get(name).and_then(Value::as_u64);
    let (changed, tokens) = count("differing_tokens").zip(count("tokens"))?;
    Some(SamplerCache::describe_changes(&read_text(found, "cache"), changed, tokens))
}

/// A sample of `generate` or of a probe: both have the same names.
#[must_use]
pub(super) fn view_sample(sample: &Value) -> SampleView {
    let number = |name: &str| sample.get(name).and_then(Value::as_f64);
    let mut notes = vec![read_text(sample, "sampler")];
    if let Some((tokens, passes)) = number("tokens").zip(number("passes")) {
        notes.push(format!("{}, {}", count_noun(tokens as u64, "token"), count_noun(passes as u64, "pass")));
    }
    if let Some(speed) = number("tokens_per_second") {
        let twin = number("autoregressive_tokens_per_second");
        let twin = twin.map(|speed| format!(" (AR with cache {speed:.0})")).unwrap_or_default();
        notes.push(format!("{speed:.0} tok/s{twin}"));
    }
    notes.extend(describe_cache(sample));
    notes.retain(|note| !note.is_empty());
    SampleView {
        prompt: read_text(sample, "prompt"),
        text: read_text(sample, "text"),
        note: notes.join(" · "),
    }
}

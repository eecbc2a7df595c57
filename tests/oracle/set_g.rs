//! Set G: temperature, top-k and top-p in two orders, as laws of the drawn token.

use std::sync::Arc;

use fmflow_engine::pipeline::config::{FilterOrder, Sampler, SamplerKind};
use fmflow_stages::flow::sampler::LogitFilter;

use super::harness::{Set, Tensors, close};

/// Absolute tolerance of probabilities against a float32 softmax.
const TOLERANCE: f64 = 1e-6;

/// The reference's name of an order, and ours.
const ORDERS: [(&str, FilterOrder); 2] = [("hf", FilterOrder::TopKFirst), ("coda", FilterOrder::TopPFirst)];

pub(crate) fn collect(set: &mut Set) {
    let file = set.tensors("filters.safetensors");
    for name in file.names().into_iter().filter(|name| name != "logits") {
        let vocabulary = file.get("logits").shape[1] as u32;
        let Some(filter) = parse(&name, vocabulary) else {
            set.unknown(name);
            continue;
        };
        let file = Arc::clone(&file);
        set.case(name.clone(), move || check(&file, &name, &filter));
    }
}

/// `hf.T0.7.k5.p0.9`; k0 and p1 mean no cut.
fn parse(name: &str, vocabulary: u32) -> Option<LogitFilter> {
    let (order, rest) = name.split_once(".T")?;
    let (temperature, rest) = rest.split_once(".k")?;
    let (top_k, top_p) = rest.split_once(".p")?;
    let (_, order) = ORDERS.iter().find(|(theirs, _)| *theirs == order)?;
    let sampler = Sampler {
        temperature: temperature.parse().ok()?,
        top_k: Some(top_k.parse().ok()?).filter(|k| *k > 0),
        top_p: Some(top_p.parse().ok()?).filter(|p| *p < 1.0),
        order: *order,
        ..Sampler::new(name.to_owned(), SamplerKind::Autoregressive)
    };
    Some(LogitFilter::autoregressive(&sampler, vocabulary))
}

fn check(file: &Tensors, name: &str, filter: &LogitFilter) {
    let width = file.get("logits").shape[1];
    let rows = file.get("logits").f32();
    for (number, (logits, expected)) in rows.chunks(width).zip(file.values(name).chunks(width)).enumerate() {
        let (mut found, mut expected) = (filter.probabilities(logits), expected.to_vec());
        let mut distinct = logits.to_vec();
        distinct.sort_by(f32::total_cmp);
        distinct.dedup();
        if distinct.len() < width {
            // Which of several equal tokens top-p keeps depends on sorting; only their number and probabilities are compared.
            [&mut found, &mut expected].into_iter().for_each(|law| law.sort_by(f64::total_cmp));
        }
        let kept = |law: &[f64]| law.iter().filter(|p| **p > 0.0).count();
        assert_eq!(kept(&found), kept(&expected), "{name} row {number}");
        close(&format!("{name} row {number}"), &found, &expected, |_| TOLERANCE);
    }
}

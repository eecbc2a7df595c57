//! Set K: decoding with a key-value cache, made by Hugging Face transformers: greedy text, laws of the next token, logits under a
//! block-causal mask, and block decoding with everything that was on the canvas.

use std::path::PathBuf;
use std::sync::Arc;

use fmflow_engine::pipeline::config::train::Scheduler;
use fmflow_engine::pipeline::config::{Certainty, Sampler, SamplerCache, SamplerKind};
use fmflow_stages::backbone::{Attention, Backbone, BackboneError};
use fmflow_stages::completion::BackbonePosterior;
use fmflow_stages::flow::kernel::EulerKernel;
use fmflow_stages::flow::sampler::{
    Ask, Canvas, LogitFilter, Posterior, SamplerRules, sample_canvases_in_blocks,
};
use serde_json::Value;

use super::harness::{Set, Tensors, close, largest};
use super::set_a::load;

/// Logits, relative to the largest: float32 on the CPU against float32 in PyTorch.
const LOGITS: f64 = 1e-4;

/// Probabilities, absolute: softmax in float32.
const LAW: f64 = 1e-5;

pub(crate) fn collect(set: &mut Set) {
    for file in ["config.json", "generation_config.json", "model.safetensors"] {
        set.know(&format!("model/{file}"));
    }
    greedy(set);
    distributions(set);
    blocks(set);
    decodes(set);
}

fn size(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

/// A sampler that takes the most probable token.
fn sampler(kind: SamplerKind, cache: SamplerCache) -> Sampler {
    Sampler { temperature: 0.0, cache, ..Sampler::new("oracle", kind) }
}

fn rules(backbone: &Backbone, mask: u32) -> SamplerRules {
    let used = backbone.config().vocab_size as u32;
    let (scheduler, kernel) = (Scheduler::Polynomial { exponent: 1.0 }, EulerKernel::Exact);
    SamplerRules { mask, used, scheduler, mask_share: 1.0, kernel, growth: None, seed: 1 }
}

fn posterior(backbone: &Backbone, attention: Attention, shift: bool, cached: bool) -> BackbonePosterior<'_> {
    let posterior = BackbonePosterior::new(backbone, attention, shift);
    if cached { posterior.with_cache().unwrap() } else { posterior }
}

// ---- greedy text ----

/// The prompts of the set, without their padding.
fn prompts(file: &Tensors) -> Vec<Vec<u32>> {
    let (all, lengths) = (file.get("prompts_left_padded"), file.get("prompt_lengths").ids());
    let (ids, width) = (all.ids(), all.shape[1]);
    let prompt = |(row, length): (&[u32], &u32)| row[width - *length as usize..].to_vec();
    ids.chunks(width).zip(&lengths).map(prompt).collect()
}

fn greedy(set: &mut Set) {
    let (file, folder, manifest) = (set.tensors("greedy.safetensors"), set.path("model"), set.manifest());
    let end = manifest["greedy"]["eos_id"].as_u64().map(|id| id as u32);
    for name in file.names() {
        let ends = match name.as_str() {
            "no_eos.new_tokens" => Vec::new(),
            "eos.new_tokens" => end.into_iter().collect(),
            "prompts_left_padded" | "attention_mask" | "prompt_lengths" | "no_eos.n_new" | "eos.n_new" => {
                continue;
            }
            "step_logits" => {
                let (file, folder) = (Arc::clone(&file), folder.clone());
                set.case("greedy/step_logits", move || step_logits(&file, folder));
                continue;
            }
            _ => {
                set.unknown(format!("greedy/{name}"));
                continue;
            }
        };
        for (cached, alone) in [(false, false), (false, true), (true, false), (true, true)] {
            let (file, folder, name, ends) = (Arc::clone(&file), folder.clone(), name.clone(), ends.clone());
            let how = [if alone { "alone" } else { "batch" }, if cached { "cached" } else { "uncached" }];
            let case = format!("greedy/{}/{}_{}", name.trim_end_matches(".new_tokens"), how[0], how[1]);
            set.case(case, move || greedy_text(&file, folder, &name, &ends, cached, alone));
        }
    }
}

/// Prompts with room for `new` tokens. Only the numbers tell canvases apart.
fn growing(prompts: &[Vec<u32>], new: usize) -> Vec<Canvas> {
    let canvas = |(number, prompt): (usize, &Vec<u32>)| {
        let (mut tokens, all) = (prompt.clone(), prompt.len() + new);
        tokens.resize(all, u32::MAX);
        Canvas { tokens, editable: (0..all).map(|i| i >= prompt.len()).collect(), number: number as u64 }
    };
    prompts.iter().enumerate().map(canvas).collect()
}

fn greedy_text(file: &Tensors, folder: PathBuf, name: &str, ends: &[u32], cached: bool, alone: bool) {
    let backbone = load(&folder);
    let (expected, prompts) = (file.get(name), prompts(file));
    let counts = file.get(&name.replace("new_tokens", "n_new")).ids();
    let new = expected.shape[1];
    let sampler = sampler(SamplerKind::Autoregressive, SamplerCache::None);
    let rules = rules(&backbone, u32::MAX);
    let write = |prompts: &[Vec<u32>]| {
        let mut canvases = growing(prompts, new);
        let blocks: Vec<_> = canvases
            .iter()
            .map(|c| std::iter::once(c.tokens.len() - new..c.tokens.len()).collect())
            .collect();
        let mut posterior = posterior(&backbone, Attention::Causal, true, cached);
        sample_canvases_in_blocks(&mut canvases, &blocks, ends, &sampler, &rules, &mut posterior).unwrap();
        canvases
    };
    let found: Vec<Canvas> = match alone {
        true => prompts.iter().flat_map(|prompt| write(std::slice::from_ref(prompt))).collect(),
        false => write(&prompts),
    };
    for (row, (canvas, expected)) in found.iter().zip(expected.ids().chunks(new)).enumerate() {
        let (text, count) = (&canvas.tokens[prompts[row].len()..], counts[row] as usize);
        assert_eq!(text[..count], expected[..count], "{name} of prompt {row}");
        assert!(text[count..].iter().all(|token| *token == u32::MAX), "{name} of prompt {row} goes on");
    }
}

/// The logits behind each new token of the first prompts, with a cache and without: ours are the same, bit by bit.
fn step_logits(file: &Tensors, folder: PathBuf) {
    let backbone = load(&folder);
    let expected = file.get("step_logits");
    let [rows, steps, width] = expected.shape[..] else { panic!("step_logits must be [rows, steps, V]") };
    let texts = file.get("no_eos.new_tokens");
    let new = texts.shape[1];
    for (row, prompt) in prompts(file).iter().enumerate().take(rows) {
        let text: Vec<u32> = texts.ids()[row * new..][..steps].to_vec();
        let tokens = [prompt.as_slice(), &text].concat();
        let canvas = Canvas { editable: vec![true; tokens.len()], tokens, number: 0 };
        let mut both = [false, true].map(|cached| posterior(&backbone, Attention::Causal, true, cached));
        for step in 0..steps {
            let places = [prompt.len() + step];
            let ask =
                Ask { canvas: &canvas, row: canvas.number, places: &places, t: 1.0, settled: places[0] };
            let [whole, cached] = both.each_mut().map(|posterior| posterior.logits(&[ask]).unwrap());
            assert_eq!(whole, cached, "prompt {row}, step {step}");
            let expected = &expected.values[(row * steps + step) * width..][..width];
            let found: Vec<f64> = whole.iter().map(|logit| f64::from(*logit)).collect();
            close(&format!("prompt {row}, step {step}"), &found, expected, |_| LOGITS * largest(expected));
        }
    }
}

// ---- laws of the next token ----

fn distributions(set: &mut Set) {
    let (file, folder, manifest) =
        (set.tensors("distributions.safetensors"), set.path("model"), set.manifest());
    let settings = manifest["distribution_settings"].as_array().cloned().unwrap_or_default();
    for name in file.names() {
        let case = name.strip_suffix(".f64").unwrap_or(&name);
        let setting = settings.iter().find(|setting| setting["case"] == case).cloned();
        match setting {
            Some(setting) => {
                let (file, own) = (Arc::clone(&file), name.clone());
                set.case(format!("distributions/{name}"), move || law(&file, &own, &setting));
            }
            None if name == "logits" => {}
            None => set.unknown(format!("distributions/{name}")),
        }
    }
    let prompts = set.tensors("greedy.safetensors");
    set.case("distributions/logits", move || {
        let (backbone, texts) = (load(&folder), self::prompts(&prompts));
        let canvases = growing(&texts, 1);
        let places: Vec<[usize; 1]> = texts.iter().map(|text| [text.len()]).collect();
        let asks = canvases.iter().zip(&places);
        let asks: Vec<Ask<'_>> = asks
            .map(|(canvas, places)| Ask { canvas, row: canvas.number, places, t: 1.0, settled: places[0] })
            .collect();
        let found = posterior(&backbone, Attention::Causal, true, true).logits(&asks).unwrap();
        let (found, expected) =
            (found.iter().map(|x| f64::from(*x)).collect::<Vec<_>>(), file.values("logits"));
        close("logits", &found, expected, |_| LOGITS * largest(expected));
    });
}

fn law(file: &Tensors, name: &str, setting: &Value) {
    let width = file.get("logits").shape[1];
    let sampler = Sampler {
        temperature: setting["temperature"].as_f64().unwrap(),
        top_k: Some(size(&setting["top_k"])).filter(|k| *k > 0),
        top_p: setting["top_p"].as_f64().filter(|p| *p < 1.0),
        ..sampler(SamplerKind::Autoregressive, SamplerCache::None)
    };
    let filter = LogitFilter::autoregressive(&sampler, width as u32);
    let rows = file.get("logits").f32();
    for (row, (logits, expected)) in rows.chunks(width).zip(file.values(name).chunks(width)).enumerate() {
        let found = filter.probabilities(logits);
        let kept = |law: &[f64]| law.iter().map(|p| *p > 0.0).collect::<Vec<_>>();
        assert_eq!(kept(&found), kept(expected), "{name}, row {row}: the tokens kept");
        close(&format!("{name}, row {row}"), &found, expected, |_| LAW);
    }
}

// ---- block-causal logits ----

fn blocks(set: &mut Set) {
    let (file, folder, manifest) = (set.tensors("block.safetensors"), set.path("model"), set.manifest());
    let cases = manifest["block_cases"].as_array().cloned().unwrap_or_default();
    for name in file.names() {
        let known = name.split_once('.').is_some_and(|(case, what)| {
            cases.iter().any(|known| known["case"] == case)
                && ["tokens", "mask", "logits", "logits_cached", "logits.f64"].contains(&what)
        });
        if !known {
            set.unknown(format!("block/{name}"));
        }
    }
    for case in cases {
        let (name, block) = (case["case"].as_str().unwrap().to_owned(), size(&case["B"]));
        let (file, folder) = (Arc::clone(&file), folder.clone());
        set.case(format!("block/{name}"), move || block_logits(&file, folder, &name, block));
    }
}

/// Logits of all positions, block by block, with a cache and without: ours are the same, bit by bit.
fn block_logits(file: &Tensors, folder: PathBuf, name: &str, block: usize) {
    let backbone = load(&folder);
    let tokens = file.get(&format!("{name}.tokens"));
    let (rows, length) = (tokens.shape[0], tokens.shape[1]);
    let mask = file.get(&format!("{name}.mask")).flags();
    for (i, j) in (0..length).flat_map(|i| (0..length).map(move |j| (i, j))) {
        assert_eq!(mask[i * length + j], j / block <= i / block, "the set means another mask");
    }
    let ids = tokens.ids();
    let canvas = |(number, tokens): (usize, &[u32])| Canvas {
        tokens: tokens.to_vec(),
        editable: vec![true; length],
        number: number as u64,
    };
    let canvases: Vec<Canvas> = ids.chunks(length).enumerate().map(canvas).collect();
    let width = backbone.config().vocab_size;
    let mut found = vec![0.0; rows * length * width];
    let attention = Attention::BlockCausal { block };
    let mut both = [false, true].map(|cached| posterior(&backbone, attention, false, cached));
    for start in (0..length).step_by(block) {
        let places: Vec<usize> = (start..length.min(start + block)).collect();
        let asks: Vec<Ask<'_>> = canvases
            .iter()
            .map(|canvas| Ask { canvas, row: canvas.number, places: &places, t: 0.0, settled: start })
            .collect();
        let [whole, cached] = both.each_mut().map(|posterior| posterior.logits(&asks).unwrap());
        assert_eq!(whole, cached, "block at {start}");
        for (row, logits) in whole.chunks(places.len() * width).enumerate() {
            let at = (row * length + start) * width;
            let logits = logits.iter().map(|logit| f64::from(*logit));
            found[at..at + places.len() * width].iter_mut().zip(logits).for_each(|(x, y)| *x = y);
        }
    }
    for what in ["logits", "logits_cached"] {
        let expected = file.values(&format!("{name}.{what}"));
        close(what, &found, expected, |_| LOGITS * largest(expected));
    }
    let exact = file.get(&format!("{name}.logits.f64"));
    let last = exact.shape[1];
    let own = &found[(length - last) * width..length * width];
    close("logits.f64", own, &exact.values, |_| LOGITS * largest(&exact.values));
}

// ---- block decoding ----

fn decodes(set: &mut Set) {
    let (file, folder, manifest) =
        (set.tensors("block_decode.safetensors"), set.path("model"), set.manifest());
    let mask = size(&manifest["greedy"]["mask_id"]) as u32;
    let cases = manifest["decode_cases"].as_array().cloned().unwrap_or_default();
    for name in file.names() {
        let prompt = name.strip_suffix(".prompt").map(|case| format!("{case}.noshift"));
        let trace = ["tokens", "trace"].iter().find_map(|what| name.strip_suffix(&format!(".{what}")));
        let case = prompt.or(trace.map(str::to_owned)).unwrap_or_default();
        if !cases.iter().any(|known| known["case"] == case.as_str()) {
            set.unknown(format!("block_decode/{name}"));
        }
    }
    for case in cases {
        let decode = Decode::parse(&case, mask);
        for cached in [false, true] {
            let (file, folder, decode) = (Arc::clone(&file), folder.clone(), decode.clone());
            let how = if cached { "cached" } else { "uncached" };
            set.case(format!("block_decode/{}/{how}", decode.name), move || {
                decode.check(&file, folder, cached)
            });
        }
    }
}

/// A run of block decoding.
#[derive(Clone, Debug)]
struct Decode {
    name: String,
    shift: bool,
    block: usize,
    prompt: usize,
    new: usize,
    steps: usize,
    mask: u32,
}

/// A posterior that keeps what was on the canvas at each question.
struct Tracing<'a> {
    inner: BackbonePosterior<'a>,
    shown: Vec<Vec<u32>>,
}

impl Posterior for Tracing<'_> {
    type Error = BackboneError;

    fn logits(&mut self, asks: &[Ask<'_>]) -> Result<Vec<f32>, BackboneError> {
        self.shown.push(asks[0].canvas.tokens.clone());
        self.inner.logits(asks)
    }
}

impl Decode {
    fn parse(case: &Value, mask: u32) -> Self {
        let name = case["case"].as_str().unwrap().to_owned();
        let shift = name.ends_with(".shift");
        let [block, prompt, new, steps] = ["B", "prompt", "new", "steps"].map(|key| size(&case[key]));
        Self { name, shift, block, prompt, new, steps, mask }
    }

    /// The blocks of the answer on the grid of the document.
    fn blocks(&self) -> Vec<std::ops::Range<usize>> {
        let end = self.prompt + self.new;
        let starts = (0..end).step_by(self.block).filter(|start| start + self.block > self.prompt);
        starts.map(|start| start.max(self.prompt)..end.min(start + self.block)).collect()
    }

    fn check(&self, file: &Tensors, folder: PathBuf, cached: bool) {
        let backbone = load(&folder);
        let prompt = file.get(&format!("{}.prompt", self.name.split_once('.').unwrap().0)).ids();
        assert_eq!(prompt.len(), self.prompt);
        let expected = file.get(&format!("{}.trace", self.name));
        let expected: Vec<Vec<u32>> = expected.ids().chunks(expected.shape[1]).map(<[u32]>::to_vec).collect();
        let attention = Attention::BlockCausal { block: self.block };
        let start =
            || Tracing { inner: posterior(&backbone, attention, self.shift, cached), shown: Vec::new() };
        assert_eq!(self.decode(&prompt, &backbone, start()), expected, "{}", self.name);
        if self.blocks().iter().all(|block| self.has_same_shares(block.len())) {
            assert_eq!(self.sample(&prompt, &backbone, start()), expected, "{} by the sampler", self.name);
        }
        assert_eq!(*expected.last().unwrap(), file.get(&format!("{}.tokens", self.name)).ids());
    }

    fn canvas(&self, prompt: &[u32]) -> Canvas {
        let mut tokens = prompt.to_vec();
        tokens.resize(self.prompt + self.new, self.mask);
        Canvas { editable: (0..tokens.len()).map(|i| i >= self.prompt).collect(), tokens, number: 0 }
    }

    /// The canvas after each pass of the reference's schedule: ceil(open / passes left) positions in each.
    fn decode(&self, prompt: &[u32], backbone: &Backbone, mut posterior: Tracing<'_>) -> Vec<Vec<u32>> {
        let mut canvas = self.canvas(prompt);
        let confidence = SamplerKind::Reveal { passes: self.steps, by: Certainty::Confidence };
        let even = Sampler { temperature: 1.0, ..sampler(confidence, SamplerCache::None) };
        let filter = LogitFilter::new(&even, &rules(backbone, self.mask));
        for block in self.blocks() {
            for left in (1..=self.steps).rev() {
                let places: Vec<usize> = block.clone().filter(|i| canvas.tokens[*i] == self.mask).collect();
                if places.is_empty() {
                    break;
                }
                let ask = Ask {
                    canvas: &canvas,
                    row: canvas.number,
                    places: &places,
                    t: 0.0,
                    settled: block.start,
                };
                let logits = posterior.logits(&[ask]).unwrap();
                let rows = logits.chunks(logits.len() / places.len());
                let best = rows.map(|row| most_probable(&filter, row)).collect::<Vec<_>>();
                let mut order: Vec<usize> = (0..places.len()).collect();
                order.sort_by(|a, b| best[*b].1.total_cmp(&best[*a].1));
                for i in order.into_iter().take(places.len().div_ceil(left)) {
                    canvas.tokens[places[i]] = best[i].0;
                }
            }
        }
        finish(posterior, canvas)
    }

    /// Whether the sampler reveals as many in each pass as the reference, of this many masks.
    fn has_same_shares(&self, masks: usize) -> bool {
        let mut open = masks;
        (0..self.steps).all(|step| {
            let left = self.steps - step;
            open -= open.div_ceil(left);
            open == masks * (left - 1) / self.steps
        })
    }

    /// The canvas after each pass of the sampler.
    fn sample(&self, prompt: &[u32], backbone: &Backbone, mut posterior: Tracing<'_>) -> Vec<Vec<u32>> {
        let confidence = SamplerKind::Reveal { passes: self.steps, by: Certainty::Confidence };
        let (sampler, rules) = (sampler(confidence, SamplerCache::None), rules(backbone, self.mask));
        let mut canvases = [self.canvas(prompt)];
        let blocks = [self.blocks()];
        sample_canvases_in_blocks(&mut canvases, &blocks, &[], &sampler, &rules, &mut posterior).unwrap();
        let [canvas] = canvases;
        finish(posterior, canvas)
    }
}

/// What was on the canvas after each pass.
fn finish(posterior: Tracing<'_>, canvas: Canvas) -> Vec<Vec<u32>> {
    posterior.shown.into_iter().skip(1).chain([canvas.tokens]).collect()
}

/// The most probable token that may be written and its probability among those; `filter` has temperature 1.
fn most_probable(filter: &LogitFilter, logits: &[f32]) -> (u32, f64) {
    let law = filter.probabilities(logits);
    let token = (0..law.len()).reduce(|best, i| if law[i] > law[best] { i } else { best }).unwrap();
    (token as u32, law[token])
}

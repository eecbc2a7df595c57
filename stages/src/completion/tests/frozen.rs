//! Approximate caches against a plain model in f64 that computes a part of a text and sees the rest as an earlier pass left it; and what
//! has to be exact with them: the first pass of a block, and blocks that nothing stands around.

use super::super::frozen::FrozenExtent;
use super::*;

/// Keys and values of all tokens, [layer][token][head][h] each.
type PlainMemory = Vec<[Vec<Vec<Vec<f64>>>; 2]>;

/// The weights of a model, for a forward pass in plain loops. No function of the backbone is used.
struct PlainModel {
    config: Qwen3Config,
    weights: std::collections::BTreeMap<String, Vec<f64>>,
}

fn normalize(x: &[f64], weight: &[f64], eps: f64) -> Vec<f64> {
    let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
    x.iter().zip(weight).map(|(x, w)| x * w / (mean + eps).sqrt()).collect()
}

fn multiply(x: &[f64], weight: &[f64]) -> Vec<f64> {
    weight.chunks_exact(x.len()).map(|row| row.iter().zip(x).map(|(w, x)| w * x).sum()).collect()
}

fn add(x: &mut [f64], y: &[f64]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

impl PlainModel {
    fn new(backbone: &Backbone) -> Self {
        let values = |parameter: &Parameter| -> Vec<f64> {
            let flat: Vec<f32> = parameter.flat().try_into_vec_as().unwrap();
            flat.into_iter().map(f64::from).collect()
        };
        let weights = backbone.parameters().map(|(name, parameter)| (name.to_owned(), values(parameter)));
        Self { config: backbone.config().clone(), weights: weights.collect() }
    }

    fn weight(&self, layer: usize, name: &str) -> &[f64] {
        &self.weights[&format!("model.layers.{layer}.{name}.weight")]
    }

    /// Normalized and turned by the angles of `position`, by heads.
    fn turn(&self, x: &[f64], norm: &[f64], position: usize) -> Vec<Vec<f64>> {
        let (width, half) = (self.config.head_dim, self.config.head_dim / 2);
        let head = |x: &[f64]| {
            let x = normalize(x, norm, self.config.rms_norm_eps);
            let turned = |i: usize| {
                let angle =
                    position as f64 / self.config.rope_theta.powf((2 * (i % half)) as f64 / width as f64);
                let other = if i < half { -x[i + half] } else { x[i - half] };
                x[i] * angle.cos() + other * angle.sin()
            };
            (0..width).map(turned).collect()
        };
        x.chunks_exact(width).map(head).collect()
    }

    /// Logits of the tokens in `span`. The others are seen as they are in `memory`, into which keys and values of those in the span go.
    fn pass(&self, tokens: &[u32], span: Range<usize>, memory: &mut PlainMemory) -> Vec<Vec<f64>> {
        let config = &self.config;
        let (width, group) = (config.head_dim, config.num_attention_heads / config.num_key_value_heads);
        let table: Vec<&[f64]> =
            self.weights["model.embed_tokens.weight"].chunks_exact(config.hidden_size).collect();
        let mut x: Vec<Vec<f64>> = span.clone().map(|i| table[tokens[i] as usize].to_vec()).collect();
        for (layer, [keys, values]) in memory.iter_mut().enumerate() {
            let weight = |name: &str| self.weight(layer, name);
            let entered: Vec<Vec<f64>> =
                x.iter().map(|x| normalize(x, weight("input_layernorm"), config.rms_norm_eps)).collect();
            for (h, i) in entered.iter().zip(span.clone()) {
                keys[i] = self.turn(&multiply(h, weight("self_attn.k_proj")), weight("self_attn.k_norm"), i);
                let made = multiply(h, weight("self_attn.v_proj"));
                values[i] = made.chunks_exact(width).map(<[f64]>::to_vec).collect();
            }
            for ((x, h), i) in x.iter_mut().zip(&entered).zip(span.clone()) {
                let queries =
                    self.turn(&multiply(h, weight("self_attn.q_proj")), weight("self_attn.q_norm"), i);
                let mut mixed = Vec::new();
                for (head, query) in queries.iter().enumerate() {
                    let dot = |key: &Vec<Vec<f64>>| -> f64 {
                        key[head / group].iter().zip(query).map(|(k, q)| k * q).sum()
                    };
                    let scores: Vec<f64> =
                        keys.iter().map(|key| (dot(key) / (width as f64).sqrt()).exp()).collect();
                    let all: f64 = scores.iter().sum();
                    let value = |at: usize| {
                        values.iter().zip(&scores).map(|(v, s)| v[head / group][at] * s / all).sum::<f64>()
                    };
                    mixed.extend((0..width).map(value));
                }
                add(x, &multiply(&mixed, weight("self_attn.o_proj")));
                let h = normalize(x, weight("post_attention_layernorm"), config.rms_norm_eps);
                let up = multiply(&h, weight("mlp.up_proj"));
                let gated = multiply(&h, weight("mlp.gate_proj"));
                let gated = gated.iter().zip(&up).map(|(g, u)| g / (1.0 + (-g).exp()) * u);
                add(x, &multiply(&gated.collect::<Vec<_>>(), weight("mlp.down_proj")));
            }
        }
        let norm = &self.weights["model.norm.weight"];
        let logits = |x: &Vec<f64>| {
            let h = normalize(x, norm, config.rms_norm_eps);
            multiply(&h, &self.weights["model.embed_tokens.weight"])
        };
        x.iter().map(logits).collect()
    }
}

/// A text of which one block after the other is written.
struct Script {
    blocks: Vec<Range<usize>>,
    /// The tokens before each pass over each block.
    passes: Vec<Vec<Vec<u32>>>,
}

/// Blocks of `size` tokens of an answer, each asked about three times while it fills up from the right; some have text behind them.
fn write_script(number: u32, [prefix, length, suffix]: [usize; 3], size: usize) -> Script {
    let all = prefix + length + suffix;
    let text: Vec<u32> = (0..all as u32).map(|i| (i * i + 5 * i + 11 * number) % 39).collect();
    let starts = (prefix..prefix + length).step_by(size);
    let blocks: Vec<Range<usize>> = starts.map(|s| s..(s + size).min(prefix + length)).collect();
    let passes = blocks.iter().map(|block| {
        let pass = |step: usize| {
            let open = |i: usize| {
                (block.end..prefix + length).contains(&i) || block.contains(&i) && i + step < block.end
            };
            text.iter().enumerate().map(|(i, token)| if open(i) { 39 } else { *token }).collect()
        };
        (0..3).map(pass).collect()
    });
    Script { passes: passes.collect(), blocks: blocks.clone() }
}

impl Script {
    fn canvas(&self, block: usize, pass: usize, number: u64) -> Canvas {
        let tokens = self.passes[block][pass].clone();
        let editable = (0..tokens.len()).map(|i| self.blocks[block].contains(&i)).collect();
        Canvas { tokens, editable, number }
    }
}

/// The canvases of all scripts at one moment. Every script is delayed by its own number of passes, so that blocks begin at different times.
fn list_moments(scripts: &[Script]) -> Vec<Vec<(Canvas, Vec<usize>)>> {
    let count = |script: &Script| script.blocks.len() * 3;
    let last = scripts.iter().enumerate().map(|(at, script)| at + count(script)).max().unwrap();
    let at_moment = |moment: usize| {
        let open = scripts.iter().enumerate().filter_map(|(at, script)| {
            let pass = moment.checked_sub(at).filter(|pass| *pass < count(script))?;
            let canvas = script.canvas(pass / 3, pass % 3, at as u64);
            Some((canvas, script.blocks[pass / 3].clone().collect()))
        });
        open.collect()
    };
    (0..last).map(at_moment).collect()
}

fn ask<'a>((canvas, places): &'a (Canvas, Vec<usize>), t: f64) -> Ask<'a> {
    Ask { canvas, row: canvas.number, places, t, settled: 0 }
}

fn scripts() -> Vec<Script> {
    let shapes = [[6, 9, 0], [0, 11, 4], [13, 4, 3], [3, 8, 0], [40, 6, 0]];
    shapes.into_iter().enumerate().map(|(number, shape)| write_script(number as u32, shape, 4)).collect()
}

#[test]
fn logits_are_those_of_a_pass_in_which_the_rest_is_frozen() {
    for (shift, extent) in [
        (false, FrozenExtent::Before),
        (true, FrozenExtent::Before),
        (false, FrozenExtent::Around),
        (true, FrozenExtent::Around),
    ] {
        let model = model(Attention::Bidirectional, shift);
        let plain = PlainModel::new(&model.backbone);
        let (layers, scripts) = (plain.config.num_hidden_layers, scripts());
        let mut memories: Vec<(Range<usize>, PlainMemory)> = vec![(0..0, Vec::new()); scripts.len()];
        let posterior = BackbonePosterior::new(&model.backbone, model.attention(), shift);
        let (mut posterior, mut worst, mut moved) = (posterior.with_frozen(extent), 0f64, 0f64);
        for moment in list_moments(&scripts) {
            let asks: Vec<Ask<'_>> = moment.iter().map(|one| ask(one, 0.5)).collect();
            let found = posterior.logits(&asks).unwrap();
            let mut found = found.chunks_exact(40);
            for (canvas, places) in &moment {
                let (tokens, block) = (&canvas.tokens, places[0]..places.last().unwrap() + 1);
                let (known, memory) = &mut memories[canvas.number as usize];
                let span = if *known == block {
                    let end = if extent == FrozenExtent::Around { block.end } else { tokens.len() };
                    block.start.saturating_sub(usize::from(shift))..end
                } else {
                    let empty = vec![Vec::new(); tokens.len()];
                    *memory = vec![[empty.clone(), empty]; layers];
                    0..tokens.len()
                };
                let logits = plain.pass(tokens, span.clone(), memory);
                let empty = vec![Vec::new(); tokens.len()];
                let whole = plain.pass(tokens, 0..tokens.len(), &mut vec![[empty.clone(), empty]; layers]);
                *known = block;
                for place in places {
                    let source = place.saturating_sub(usize::from(shift));
                    let expected = &logits[source - span.start];
                    for (at, found) in found.next().unwrap().iter().enumerate() {
                        worst = worst.max((f64::from(*found) - expected[at]).abs());
                        moved = moved.max((whole[source][at] - expected[at]).abs());
                    }
                }
            }
        }
        // Sums of f32, of logits of order 1. What is frozen moves them by far more than that.
        assert!(worst < 2e-5 && moved > 0.01, "{extent:?}, shift {shift}: {worst} {moved}");
    }
}

#[test]
fn the_first_pass_of_a_block_is_that_without_a_cache_bit_by_bit() {
    for (extent, time) in [
        (FrozenExtent::Before, TimeConditioning::None),
        (FrozenExtent::Around, TimeConditioning::AdaLn { rank: 2 }),
    ] {
        let config = Qwen3Config { max_position_embeddings: 64, ..tiny(true) };
        let backbone = Backbone::new(&config, time, 1, &device::open_device("cpu").unwrap()).unwrap();
        let posterior = || BackbonePosterior::new(&backbone, Attention::Bidirectional, true);
        let (mut frozen, mut first, mut later) = (posterior().with_frozen(extent), 0, 0);
        for moment in list_moments(&scripts()) {
            let asks: Vec<Ask<'_>> = moment.iter().map(|one| ask(one, 0.25)).collect();
            let found = frozen.logits(&asks).unwrap();
            let whole = posterior().logits(&asks).unwrap();
            let mut at = 0;
            for (canvas, places) in &moment {
                let range = 40 * at..40 * (at + places.len());
                let same = found[range.clone()] == whole[range];
                at += places.len();
                // All places of the block are masks, and the text before it is there: nobody has asked about it.
                let begins = places.iter().all(|place| canvas.tokens[*place] == 39);
                assert!(same || !begins);
                first += usize::from(begins);
                later += usize::from(!begins && !same);
            }
        }
        assert!(first == 11 && later > 10, "{first} {later}");
    }
}

const FROZEN: [SamplerCache; 2] = [SamplerCache::Prefix, SamplerCache::Dual];

fn answer(
    model: &Model,
    (kind, block, cache): (SamplerKind, usize, SamplerCache),
    requests: &[CompletionRequest],
) -> Vec<Completion> {
    let sampler = Sampler { cache, ..sampler(kind, Some(block)) };
    complete_requests(model, requests, &sampler, 3, 1).unwrap().completions
}

#[test]
fn nothing_around_a_block_and_single_passes_leave_nothing_to_approximate() {
    let (mut same, mut other) = (0, 0);
    for shift in [false, true] {
        let model = model(Attention::Bidirectional, shift);
        let gap = |suffix: usize| CompletionRequest {
            suffix: (0..suffix as u32).map(|i| (i * 7 + 2) % 39).collect(),
            ..request(0, 12)
        };
        for kind in block_writers() {
            let text = |block, cache, request: &CompletionRequest| {
                answer(&model, (kind, block, cache), std::slice::from_ref(request))
            };
            // One block of the whole text: `prefix` also computes what stands behind it.
            for block in [12, 40] {
                for (cache, suffix) in [(FROZEN[0], 0), (FROZEN[1], 0), (FROZEN[0], 5)] {
                    let expected = text(block, SamplerCache::None, &gap(suffix));
                    assert_eq!(text(block, cache, &gap(suffix)), expected, "{kind:?} {block} {cache:?}");
                }
            }
            // Elsewhere they are approximations, or these tests would prove nothing.
            for (cache, block) in FROZEN.into_iter().zip([4, 6]) {
                let request = CompletionRequest { suffix: vec![3, 1, 4], ..request(9, 14) };
                let changed = text(block, cache, &request) != text(block, SamplerCache::None, &request);
                *if changed { &mut other } else { &mut same } += 1;
            }
        }
        for (block, cache) in [3, 5].into_iter().flat_map(|block| FROZEN.map(|cache| (block, cache))) {
            let all = answer(&model, (confidence(1), block, SamplerCache::None), &requests());
            assert_eq!(answer(&model, (confidence(1), block, cache), &requests()), all);
        }
    }
    assert!(other > 0, "{same} texts are the same");
}

#[test]
fn other_requests_change_no_token_with_an_approximate_cache() {
    for time in [TimeConditioning::None, TimeConditioning::AdaLn { rank: 2 }] {
        let config = Qwen3Config { max_position_embeddings: 64, ..tiny(true) };
        let backbone = Backbone::new(&config, time, 1, &device::open_device("cpu").unwrap()).unwrap();
        let model = Model { backbone, ..model(Attention::Bidirectional, true) };
        let cases = || block_writers().into_iter().flat_map(|kind| FROZEN.map(|cache| (kind, 4, cache)));
        for case in cases() {
            let all = answer(&model, case, &requests());
            for (number, request) in requests().iter().enumerate() {
                let sampler = Sampler { cache: case.2, ..sampler(case.0, Some(4)) };
                let alone = complete_numbered(&model, &[(number as u64, request)], &sampler, 3).unwrap();
                assert_eq!(alone[0], all[number], "{case:?} {number}");
            }
        }
        // Some join while others are at work, with room for few of them or for all.
        let token = KeyValueCache::count_bytes(model.backbone.config());
        let cases: Vec<_> = cases().collect();
        for (room, arrivals) in [(usize::MAX, 3), (50 * token, 4), (120 * token, 2)] {
            let requests = requests();
            let case = |i: usize| {
                let (kind, block, cache) = cases[(i * 5) % cases.len()];
                let sampler = Sampler { cache, ..sampler(kind, Some(block)) };
                // From short ones to long ones, so that caches have to grow.
                (sampler, &requests[[5, 2, 1, 0, 3, 6, 4][i % 7]], 3, i % 5 == 4)
            };
            assert_alone(&model, Together::new(&model).with_room(room), (36, arrivals), case);
        }
    }
}

#[test]
fn an_approximate_cache_is_refused_where_it_cannot_help() {
    let ask = |attention, time, kind, block| {
        let backbone = Backbone::new(&tiny(true), time, 1, &device::open_device("cpu").unwrap()).unwrap();
        let model = Model { backbone, ..model(attention, true) };
        let refused = |cache| {
            let sampler = Sampler { cache, ..sampler(kind, block) };
            let failure = complete_requests(&model, &[request(6, 8)], &sampler, 1, 1).err()?;
            Some(format!("{}; {}", failure.message, failure.help.unwrap()))
        };
        let [prefix, dual] = FROZEN.map(refused);
        assert_eq!(prefix.clone().map(|text| text.replace("prefix", "dual")), dual);
        prefix.unwrap_or_default()
    };
    let (own, none) = (Attention::BlockCausal { block: 4 }, TimeConditioning::None);
    for attention in [own, Attention::Causal] {
        let refused = ask(attention, none, confidence(2), Some(4));
        assert!(
            refused.contains("write `cache=\"exact\"`: it changes no token, and costs nothing"),
            "{refused}"
        );
    }
    let timed = ask(own, TimeConditioning::AdaLn { rank: 2 }, confidence(2), Some(4));
    assert!(timed.contains("write `cache=\"none\"`"), "{timed}");
    let free = Attention::Bidirectional;
    assert!(ask(free, none, confidence(2), None).contains("write `block=32`"));
    assert_eq!(ask(free, none, confidence(2), Some(4)), "");
}

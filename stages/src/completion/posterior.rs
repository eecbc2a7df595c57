//! The posterior that a backbone gives, with and without a cache.

use std::ops::Range;

use burn_tensor::Tensor;

use super::row_logits::{compute_row_hidden, read_logits};
use crate::backbone::{Attention, Backbone, BackboneError, KeyValueCache, NewTokens, TimeConditioning};
use crate::flow::sampler::{Ask, Posterior};
use crate::train::gradient::to_int_tensor;

/// The posterior of a backbone under an attention pattern.
///
/// Only tokens that a place can see are computed. With a cache, those that are settled are computed once: under causal attention
/// each, under block-causal attention when their whole block is settled. Nothing noisy is ever kept. The logits are the same, on
/// the CPU bit by bit.
#[derive(Debug)]
pub struct BackbonePosterior<'a> {
    backbone: &'a Backbone,
    attention: Attention,
    /// Whether the logits of position i are computed at position i - 1, as in an autoregressive model.
    shift: bool,
    memory: Option<Memory>,
}

/// A cache and what it holds.
#[derive(Debug, Default)]
struct Memory {
    cache: Option<KeyValueCache>,
    rows: Vec<MemoryRow>,
}

/// The tokens of one canvas that are kept.
#[derive(Clone, Debug)]
struct MemoryRow {
    /// Which row of the batch it is.
    row: u64,
    tokens: Vec<u32>,
    /// The time at which they were computed, if that matters.
    t: Option<f64>,
    /// The hidden state of the last of them, [1, D].
    last: Option<Tensor<2>>,
}

impl<'a> BackbonePosterior<'a> {
    /// The posterior of `backbone`, computed anew for every question.
    #[must_use]
    pub fn new(backbone: &'a Backbone, attention: Attention, shift: bool) -> Self {
        Self { backbone, attention, shift, memory: None }
    }

    /// The same with a cache. The canvases of a question are told apart by their rows.
    ///
    /// # Errors
    /// If attention goes in both directions: no token is finished then before all are.
    pub fn with_cache(self) -> Result<Self, BackboneError> {
        match self.attention {
            Attention::Bidirectional => {
                let what = "an exact cache needs causal or block attention";
                Err(BackboneError::Context(what.into()))
            }
            Attention::Causal | Attention::BlockCausal { .. } => {
                Ok(Self { memory: Some(Memory::default()), ..self })
            }
        }
    }

    /// The position at which the logits of place `i` are computed.
    fn find_source(&self, i: usize) -> usize {
        i.saturating_sub(usize::from(self.shift))
    }

    /// The number of tokens that the places of a question can see.
    fn count_visible(&self, ask: &Ask<'_>) -> usize {
        let last = ask.places.last().map_or(0, |place| self.find_source(*place));
        let end = match self.attention {
            Attention::Bidirectional => ask.canvas.tokens.len(),
            Attention::Causal => last + 1,
            Attention::BlockCausal { block } => (last / block + 1) * block,
        };
        end.min(ask.canvas.tokens.len())
    }

    /// The number of tokens whose keys and values cannot change any more.
    fn count_final(&self, ask: &Ask<'_>) -> usize {
        match self.attention {
            Attention::Bidirectional => 0,
            Attention::Causal => ask.settled,
            Attention::BlockCausal { block } => ask.settled / block * block,
        }
    }

    /// The time of each row, if the backbone wants to know it.
    fn find_times(&self, asks: &[Ask<'_>]) -> Option<Vec<f32>> {
        let conditioned = self.backbone.time_conditioning() != TimeConditioning::None;
        conditioned.then(|| asks.iter().map(|ask| ask.t as f32).collect())
    }

    /// Hidden states of all places, [places, D].
    fn compute_all(&self, asks: &[Ask<'_>]) -> Result<Tensor<2>, BackboneError> {
        let rows: Vec<&[u32]> =
            asks.iter().map(|ask| &ask.canvas.tokens[..self.count_visible(ask)]).collect();
        let hidden = compute_row_hidden(self.backbone, &rows, self.attention, self.find_times(asks))?;
        let [_, length, _] = hidden.dims();
        let places = asks.iter().enumerate().flat_map(|(row, ask)| {
            ask.places.iter().map(move |place| row * length + self.find_source(*place))
        });
        Ok(select_rows(hidden, places))
    }

    /// As [`BackbonePosterior::compute_all`], but computes only tokens that `memory` does not hold.
    fn compute_new(&self, memory: &mut Memory, asks: &[Ask<'_>]) -> Result<Tensor<2>, BackboneError> {
        let times = self.find_times(asks);
        memory.align(self.backbone, asks, times.is_some());
        let cache = memory.cache.as_mut().expect("a memory that was aligned has a cache");
        let kept = cache.lengths().to_vec();
        let new: Vec<Range<usize>> =
            asks.iter().zip(&kept).map(|(ask, kept)| *kept..self.count_visible(ask).max(*kept)).collect();
        let rows: Vec<&[u32]> =
            asks.iter().zip(&new).map(|(ask, new)| &ask.canvas.tokens[new.clone()]).collect();
        let hidden = match rows.iter().all(|row| row.is_empty()) {
            true => None,
            false => {
                let new = NewTokens { rows: &rows, attention: self.attention, time: times.as_deref() };
                Some(self.backbone.extend(cache, new)?)
            }
        };
        let found = self.gather(&memory.rows, asks, &kept, hidden.as_ref());
        for (row, (ask, new)) in asks.iter().zip(&new).enumerate() {
            let end = self.count_final(ask).clamp(new.start, new.end);
            if let Some(hidden) = hidden.as_ref().filter(|_| end > new.start) {
                memory.keep(row, &ask.canvas.tokens[new.start..end], hidden);
            }
        }
        Ok(found)
    }

    /// The hidden states of all places: of new tokens, or of the last one kept.
    fn gather(
        &self,
        rows: &[MemoryRow],
        asks: &[Ask<'_>],
        kept: &[usize],
        hidden: Option<&Tensor<3>>,
    ) -> Tensor<2> {
        let (mut parts, mut before) = (Vec::new(), 0);
        let length = hidden.map_or(0, |hidden| hidden.dims()[1]);
        if let Some(hidden) = hidden {
            let [b, l, d] = hidden.dims();
            parts.push(hidden.clone().reshape([b * l, d]));
            before = b * l;
        }
        let mut places = Vec::new();
        for (row, ask) in asks.iter().enumerate() {
            for source in ask.places.iter().map(|place| self.find_source(*place)) {
                if source >= kept[row] {
                    places.push(row * length + source - kept[row]);
                    continue;
                }
                assert_eq!(source + 1, kept[row], "places are behind what is settled");
                places.push(before);
                before += 1;
                parts.push(rows[row].last.clone().expect("a row that holds tokens has the last one's state"));
            }
        }
        let all = if parts.len() == 1 { parts.remove(0) } else { Tensor::cat(parts, 0) };
        let wanted = to_int_tensor(places.into_iter().map(|place| place as u32), &all.device());
        all.select(0, wanted)
    }
}

impl Memory {
    /// Makes the rows those of `asks`, in their order; some may be new. A row is kept if it holds the beginning of its canvas, computed at
    /// the same time t if the backbone is `conditioned` on that.
    fn align(&mut self, backbone: &Backbone, asks: &[Ask<'_>], conditioned: bool) {
        let room = asks.iter().map(|ask| ask.canvas.tokens.len()).max().unwrap_or(0);
        let place = |ask: &Ask<'_>| self.rows.iter().position(|row| row.row == ask.row);
        let known: Vec<Option<usize>> = asks.iter().map(place).collect();
        let same = known.len() == self.rows.len() && known.iter().copied().eq((0..known.len()).map(Some));
        match &mut self.cache {
            Some(cache) if cache.room() >= room && known.iter().any(Option::is_some) => {
                if !same {
                    // A row that joins takes the place of another's copy, of which nothing is kept.
                    cache.select(&known.iter().map(|known| known.unwrap_or(0)).collect::<Vec<_>>());
                    let row = |(known, ask): (&Option<usize>, &Ask<'_>)| {
                        known.map_or_else(|| MemoryRow::new(ask), |known| self.rows[known].clone())
                    };
                    self.rows = known.iter().zip(asks).map(row).collect();
                    let new = known.iter().enumerate().filter(|(_, known)| known.is_none());
                    new.for_each(|(row, _)| cache.keep(row, 0));
                }
            }
            _ => {
                self.cache = Some(KeyValueCache::new(backbone, asks.len(), room));
                self.rows = asks.iter().map(MemoryRow::new).collect();
            }
        }
        for (row, ask) in asks.iter().enumerate() {
            let t = conditioned.then_some(ask.t);
            if !ask.canvas.tokens.starts_with(&self.rows[row].tokens) || self.rows[row].t != t {
                self.rows[row] = MemoryRow { t, ..MemoryRow::new(ask) };
                self.cache.iter_mut().for_each(|cache| cache.keep(row, 0));
            }
        }
    }

    /// Keeps `tokens`, the first of the new ones of a row, whose hidden states are in `hidden`, [B, L, D].
    fn keep(&mut self, row: usize, tokens: &[u32], hidden: &Tensor<3>) {
        let (memory, last) = (&mut self.rows[row], tokens.len() - 1);
        let width = hidden.dims()[2];
        let state = hidden.clone().slice([row..row + 1, last..last + 1, 0..width]);
        memory.last = Some(state.reshape([1, width]));
        memory.tokens.extend_from_slice(tokens);
        let length = memory.tokens.len();
        self.cache.iter_mut().for_each(|cache| cache.keep(row, length));
    }
}

impl MemoryRow {
    fn new(ask: &Ask<'_>) -> Self {
        Self { row: ask.row, tokens: Vec::new(), t: None, last: None }
    }
}

impl Posterior for BackbonePosterior<'_> {
    type Error = BackboneError;

    fn logits(&mut self, asks: &[Ask<'_>]) -> Result<Vec<f32>, BackboneError> {
        let hidden = match self.memory.take() {
            None => self.compute_all(asks)?,
            Some(mut memory) => {
                let hidden = self.compute_new(&mut memory, asks);
                self.memory = Some(memory);
                hidden?
            }
        };
        let rows = asks.iter().flat_map(|ask| ask.places.iter().map(|_| ask.row));
        read_logits(self.backbone, hidden, &rows.collect::<Vec<_>>())
    }
}

/// Rows of [B, L, D] by their number in [B L, D].
pub(super) fn select_rows(hidden: Tensor<3>, places: impl Iterator<Item = usize>) -> Tensor<2> {
    let [b, l, d] = hidden.dims();
    let wanted = to_int_tensor(places.map(|place| place as u32), &hidden.device());
    hidden.reshape([b * l, d]).select(0, wanted)
}

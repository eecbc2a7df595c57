//! The posterior that a backbone gives, without a cache, with an exact one, and with what a block's first pass computed.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

use burn_tensor::Tensor;

use super::frozen::{FrozenExtent, FrozenMemory, find_source};
use super::memory::{Memory, MemoryRow};
use super::prefixes::PrefixStore;
use super::row_logits::{compute_row_hidden, flatten, read_logits};
use crate::backbone::{Attention, Backbone, BackboneError, NewTokens, TimeConditioning};
use crate::flow::sampler::{Ask, Posterior};
use crate::train::forward::to_int_tensor;

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
    /// What is kept of blocks that are being written, if something is.
    frozen: Option<FrozenMemory>,
    /// What is kept for later requests, if something is.
    prefixes: Option<Rc<RefCell<PrefixStore>>>,
}

impl<'a> BackbonePosterior<'a> {
    /// The posterior of `backbone`, computed anew for every question.
    #[must_use]
    pub fn new(backbone: &'a Backbone, attention: Attention, shift: bool) -> Self {
        Self { backbone, attention, shift, memory: None, frozen: None, prefixes: None }
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

    /// The same, approximate, for attention in both directions: what stands around a block stays as the block's first pass computed it.
    /// The canvases of a question are told apart by their rows, and each is asked about in every question from its first to its last.
    pub(crate) fn with_frozen(self, extent: FrozenExtent) -> Self {
        Self { frozen: Some(FrozenMemory::new(extent)), ..self }
    }

    /// The same, which keeps tokens of rows that leave, and takes those of others that begin alike.
    pub(crate) fn sharing(self, prefixes: Rc<RefCell<PrefixStore>>) -> Self {
        Self { prefixes: Some(prefixes), ..self }
    }

    /// Keeps the tokens of all rows for later requests: none of them asks any more.
    pub(crate) fn put_away(&mut self) {
        if let (Some(memory), Some(prefixes)) = (&mut self.memory, &self.prefixes) {
            memory.put_away(&mut prefixes.borrow_mut(), self.attention, |_| true);
            *memory = Memory::default();
        }
    }

    /// What each question may take from others that begin alike: the logits of its first place are computed, not remembered.
    fn find_shareable<'b>(&self, asks: &[Ask<'b>]) -> Vec<&'b [u32]> {
        let shareable = |ask: &Ask<'b>| {
            let first = ask.places.first().map_or(0, |place| self.find_source(*place));
            &ask.canvas.tokens[..self.count_final(ask).min(first)]
        };
        asks.iter().map(shareable).collect()
    }

    /// The position at which the logits of place `i` are computed.
    fn find_source(&self, i: usize) -> usize {
        find_source(i, self.shift)
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
        let prefixes = self.prefixes.as_ref().map(|prefixes| prefixes.borrow_mut());
        if let Some(mut prefixes) = prefixes {
            memory.put_away(&mut prefixes, self.attention, Memory::leaving(asks));
            memory.align(self.backbone, asks, times.is_some());
            memory.share(&mut prefixes, self.attention, &self.find_shareable(asks));
        } else {
            memory.align(self.backbone, asks, times.is_some());
        }
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
            let [b, l, _] = hidden.dims();
            parts.push(flatten(hidden.clone()));
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

impl Posterior for BackbonePosterior<'_> {
    type Error = BackboneError;

    fn logits(&mut self, asks: &[Ask<'_>]) -> Result<Vec<f32>, BackboneError> {
        let times = self.find_times(asks);
        let hidden = if let Some(frozen) = &mut self.frozen {
            frozen.compute(self.backbone, asks, self.shift, times.as_deref())?
        } else if let Some(mut memory) = self.memory.take() {
            let hidden = self.compute_new(&mut memory, asks);
            self.memory = Some(memory);
            hidden?
        } else {
            self.compute_all(asks)?
        };
        let rows = asks.iter().flat_map(|ask| ask.places.iter().map(|_| ask.row));
        read_logits(self.backbone, hidden, &rows.collect::<Vec<_>>())
    }
}

/// Rows of [B, L, D] by their number in [B L, D].
pub(super) fn select_rows(hidden: Tensor<3>, places: impl Iterator<Item = usize>) -> Tensor<2> {
    let wanted = to_int_tensor(places.map(|place| place as u32), &hidden.device());
    flatten(hidden).select(0, wanted)
}

//! What a posterior remembers of the texts that it is asked about: keys and values of tokens that will not change any more.

use burn_tensor::Tensor;

use super::prefixes::{PrefixStore, count_common};
use crate::backbone::{Attention, Backbone, KeyValueCache};
use crate::flow::sampler::Ask;

/// A cache and what it holds.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) cache: Option<KeyValueCache>,
    pub(super) rows: Vec<MemoryRow>,
}

/// The tokens of one canvas that are kept.
#[derive(Clone, Debug)]
pub(super) struct MemoryRow {
    /// Which row of the batch it is.
    row: u64,
    tokens: Vec<u32>,
    /// The time at which they were computed, if that matters.
    t: Option<f64>,
    /// The hidden state of the last of them, [1, D].
    pub(super) last: Option<Tensor<2>>,
}

impl Memory {
    /// Which rows leave: those that no question is about.
    pub(super) fn leaving(asks: &[Ask<'_>]) -> impl Fn(&MemoryRow) -> bool {
        move |row| !asks.iter().any(|ask| ask.row == row.row)
    }

    /// Keeps the tokens of the rows for which `leaves` holds for later requests.
    pub(super) fn put_away(
        &self,
        prefixes: &mut PrefixStore,
        attention: Attention,
        leaves: impl Fn(&MemoryRow) -> bool,
    ) {
        let Some(cache) = &self.cache else { return };
        for (at, row) in self.rows.iter().enumerate().filter(|(_, row)| leaves(row)) {
            prefixes.put(attention, row.tokens.clone(), || cache.copy_out(at, row.tokens.len()));
        }
    }

    /// Gives rows that hold nothing yet what they have in common with others: with one at work, or with one that left. `shareable` has
    /// the tokens of each row that it may take.
    pub(super) fn share(&mut self, prefixes: &mut PrefixStore, attention: Attention, shareable: &[&[u32]]) {
        let Some(cache) = &mut self.cache else { return };
        let block = if let Attention::BlockCausal { block } = attention { block } else { 1 };
        for (row, tokens) in shareable.iter().enumerate() {
            if !self.rows[row].tokens.is_empty() {
                continue;
            }
            let common = |other: &MemoryRow| count_common(&other.tokens, tokens, block);
            let live = self.rows.iter().map(common).enumerate().max_by_key(|(_, count)| *count);
            let (live, shared) = live.unwrap_or((row, 0));
            let count = match prefixes.find(attention, tokens, block) {
                Some((count, kept)) if count > shared => {
                    cache.copy_in(row, kept, count);
                    count
                }
                _ => {
                    if shared > 0 {
                        let kept = cache.copy_out(live, shared);
                        cache.copy_in(row, &kept, shared);
                    }
                    shared
                }
            };
            prefixes.note_shared(count);
            self.rows[row].tokens = tokens[..count].to_vec();
        }
    }

    /// Makes the rows those of `asks`, in their order; some may be new. A row is kept if it holds the beginning of its canvas, computed at
    /// the same time t if the backbone is `conditioned` on that.
    pub(super) fn align(&mut self, backbone: &Backbone, asks: &[Ask<'_>], conditioned: bool) {
        let known = find_known(asks, self.rows.iter().map(|row| row.row));
        let kept: Vec<_> =
            known.iter().map(|known| known.map(|place| (place, self.rows[place].tokens.len()))).collect();
        self.cache = Some(KeyValueCache::arrange(self.cache.take(), backbone, &kept, find_room(asks)));
        let mut before: Vec<Option<MemoryRow>> = self.rows.drain(..).map(Some).collect();
        let row = |(known, ask): (Option<usize>, &Ask<'_>)| {
            known.and_then(|place| before[place].take()).unwrap_or_else(|| MemoryRow::new(ask))
        };
        self.rows = known.into_iter().zip(asks).map(row).collect();
        for (row, ask) in asks.iter().enumerate() {
            let t = conditioned.then_some(ask.t);
            if !ask.canvas.tokens.starts_with(&self.rows[row].tokens) || self.rows[row].t != t {
                self.rows[row] = MemoryRow { t, ..MemoryRow::new(ask) };
                self.cache.iter_mut().for_each(|cache| cache.keep(row, 0));
            }
        }
    }

    /// Keeps `tokens`, the first of the new ones of a row, whose hidden states are in `hidden`, [B, L, D].
    pub(super) fn keep(&mut self, row: usize, tokens: &[u32], hidden: &Tensor<3>) {
        let (memory, last) = (&mut self.rows[row], tokens.len() - 1);
        let width = hidden.dims()[2];
        let state = hidden.clone().slice([row..row + 1, last..last + 1, 0..width]);
        memory.last = Some(state.reshape([1, width]));
        memory.tokens.extend_from_slice(tokens);
        let length = memory.tokens.len();
        self.cache.iter_mut().for_each(|cache| cache.keep(row, length));
    }
}

/// Of each question the place of its row among these numbers, if it is there.
pub(super) fn find_known(asks: &[Ask<'_>], rows: impl Iterator<Item = u64> + Clone) -> Vec<Option<usize>> {
    asks.iter().map(|ask| rows.clone().position(|row| row == ask.row)).collect()
}

/// Tokens of the longest canvas.
pub(super) fn find_room(asks: &[Ask<'_>]) -> usize {
    asks.iter().map(|ask| ask.canvas.tokens.len()).max().unwrap_or(0)
}

impl MemoryRow {
    fn new(ask: &Ask<'_>) -> Self {
        Self { row: ask.row, tokens: Vec::new(), t: None, last: None }
    }
}

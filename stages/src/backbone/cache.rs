//! Keys and values of tokens that cannot change any more, so that later passes need not compute them again.
//!
//! On the CPU a pass over new tokens gives the same bits as one over all of them: every operation but attention works on single
//! tokens, and attention cuts its sums by the number of the key alone (`fmflow_ops::attention`).
//!
//! With attention in both directions no token is finished before all are. There [`Backbone::rewrite`] computes a part of each row and
//! takes the rest as it was: an approximation, unless nothing has changed.

use std::ops::Range;

use burn_tensor::{Int, Tensor, TensorData};

use super::attention::LayerMemory;
use super::prepared::PreparedContext;
use super::{Attention, AttentionContext, Backbone, BackboneError, Qwen3Config};

/// Keys and values of the first tokens of some rows. A row has as many as were kept; rows may differ.
#[derive(Debug)]
pub(crate) struct KeyValueCache {
    /// Of every layer, with room for `room` tokens in each row.
    layers: Vec<LayerMemory>,
    room: usize,
    /// Tokens kept in each row.
    lengths: Vec<usize>,
}

/// Keys and values of the first tokens of one row, [1, n, K, h] in every layer, in memory of their own.
#[derive(Clone, Debug)]
pub(crate) struct KeptTokens(Vec<LayerMemory>);

/// New tokens of some rows, behind those in a cache.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewTokens<'a> {
    /// The tokens of each row; rows may differ in length and be empty, but not all of them.
    pub(crate) rows: &'a [&'a [u32]],
    /// Causal or block-causal.
    pub(crate) attention: Attention,
    /// Time of each row, for a backbone that is conditioned on it.
    pub(crate) time: Option<&'a [f32]>,
}

/// Parts of rows that are computed again under attention in both directions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RewrittenTokens<'a> {
    /// All tokens of each row.
    pub(crate) rows: &'a [&'a [u32]],
    /// The part of each row that is computed; it may be empty, but not in all rows.
    pub(crate) spans: &'a [Range<usize>],
    /// Time of each row, for a backbone that is conditioned on it.
    pub(crate) time: Option<&'a [f32]>,
}

/// Tokens with their places in a cache, and what they see.
struct PlacedTokens<'a> {
    rows: &'a [&'a [u32]],
    places: &'a [Range<usize>],
    attention: Attention,
    /// Two intervals of keys for each token, row-major [B, L, 4].
    bounds: Vec<i32>,
    time: Option<&'a [f32]>,
}

impl KeyValueCache {
    /// An empty cache for `rows` rows of up to `room` tokens.
    pub(crate) fn new(backbone: &Backbone, rows: usize, room: usize) -> Self {
        let config = backbone.config();
        let shape = [rows, room, config.num_key_value_heads, config.head_dim];
        let empty = || Tensor::zeros(shape, &backbone.device());
        let layers = (0..config.num_hidden_layers).map(|_| [empty(), empty()]).collect();
        Self { layers, room, lengths: vec![0; rows] }
    }

    /// Bytes that a token takes.
    pub(crate) fn count_bytes(config: &Qwen3Config) -> usize {
        let values = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim;
        values * size_of::<f32>()
    }

    /// Tokens kept in each row.
    pub(crate) fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// The cache of other rows, of up to `room` tokens. `rows` says of each which row of `before` it was, and how many of its tokens stay;
    /// a new row holds nothing. It takes no more memory than these rows need, or than `before` took.
    pub(crate) fn arrange(
        before: Option<Self>,
        backbone: &Backbone,
        rows: &[Option<(usize, usize)>],
        room: usize,
    ) -> Self {
        let Some(mut cache) = before.filter(|_| rows.iter().any(Option::is_some)) else {
            return Self::new(backbone, rows.len(), room);
        };
        let fits = cache.room == room || (cache.room > room && rows.len() <= cache.lengths.len());
        if !fits {
            return cache.rebuild(backbone, rows, room);
        }
        // A row that joins takes the place of another's copy, of which nothing is kept.
        let places: Vec<usize> = rows.iter().map(|row| row.map_or(0, |(place, _)| place)).collect();
        if !places.iter().copied().eq(0..cache.lengths.len()) {
            cache.select(&places);
        }
        for (row, kept) in rows.iter().enumerate() {
            cache.keep(row, kept.map_or(0, |(_, count)| count));
        }
        cache
    }

    /// As [`Self::arrange`], in new memory.
    fn rebuild(self, backbone: &Backbone, rows: &[Option<(usize, usize)>], room: usize) -> Self {
        let kept = |row: &Option<(usize, usize)>| {
            row.filter(|(_, count)| *count > 0).map(|(place, count)| (self.copy_out(place, count), count))
        };
        let kept: Vec<Option<(KeptTokens, usize)>> = rows.iter().map(kept).collect();
        drop(self);
        let mut cache = Self::new(backbone, rows.len(), room);
        for (row, kept) in kept.iter().enumerate() {
            if let Some((tokens, count)) = kept {
                cache.copy_in(row, tokens, *count);
            }
        }
        cache
    }

    /// Rows, and tokens that fit each of them.
    #[cfg(test)]
    pub(crate) fn size(&self) -> [usize; 2] {
        [self.lengths.len(), self.room]
    }

    /// Sets how many tokens of a row are kept. What was written behind them is overwritten by the next pass.
    pub(crate) fn keep(&mut self, row: usize, length: usize) {
        self.lengths[row] = length;
    }

    /// Keeps the rows at `indexes`, in that order.
    pub(crate) fn select(&mut self, indexes: &[usize]) {
        let numbers: Vec<i32> = indexes.iter().map(|i| *i as i32).collect();
        for layer in &mut self.layers {
            for memory in layer {
                let numbers = TensorData::new(numbers.clone(), [indexes.len()]);
                let numbers = Tensor::<1, Int>::from_data(numbers, &memory.device());
                *memory = memory.clone().select(0, numbers);
            }
        }
        self.lengths = indexes.iter().map(|i| self.lengths[*i]).collect();
    }

    /// A copy of the first `count` tokens of a row.
    pub(crate) fn copy_out(&self, row: usize, count: usize) -> KeptTokens {
        let copy = |memory: &Tensor<4>| {
            let [_, _, heads, width] = memory.dims();
            let row = memory.clone().slice([row..row + 1, 0..count, 0..heads, 0..width]);
            // A slice may hold the memory of the whole cache; a selection is a copy.
            let numbers = TensorData::new((0..count as i32).collect::<Vec<_>>(), [count]);
            row.select(1, Tensor::<1, Int>::from_data(numbers, &memory.device()))
        };
        KeptTokens(self.layers.iter().map(|[keys, values]| [copy(keys), copy(values)]).collect())
    }

    /// Writes the first `count` of other tokens at the beginning of a row, which keeps them and nothing else.
    pub(crate) fn copy_in(&mut self, row: usize, tokens: &KeptTokens, count: usize) {
        for (layer, kept) in self.layers.iter_mut().zip(&tokens.0) {
            for (memory, kept) in layer.iter_mut().zip(kept) {
                let [_, _, heads, width] = memory.dims();
                let kept = kept.clone().slice([0..1, 0..count, 0..heads, 0..width]);
                // In place if nobody else holds the tensor.
                let own = std::mem::replace(memory, kept.clone());
                *memory = own.slice_assign([row..row + 1, 0..count, 0..heads, 0..width], kept);
            }
        }
        self.lengths[row] = count;
    }

    /// Where the new tokens of each row are written.
    fn find_places(&self, rows: &[&[u32]]) -> Result<Vec<Range<usize>>, BackboneError> {
        let places: Vec<Range<usize>> =
            self.lengths.iter().zip(rows).map(|(kept, row)| *kept..kept + row.len()).collect();
        let longest = places.iter().map(|place| place.end).max().unwrap_or(0);
        self.check_room(rows.len(), longest).map(|()| places)
    }

    /// Refuses rows that do not fit.
    fn check_room(&self, rows: usize, longest: usize) -> Result<(), BackboneError> {
        match longest <= self.room && rows == self.lengths.len() {
            true => Ok(()),
            false => Err(BackboneError::Context(format!(
                "{rows} rows of up to {longest} tokens do not fit a cache of {} rows of {}",
                self.lengths.len(),
                self.room
            ))),
        }
    }
}

impl NewTokens<'_> {
    /// The keys that the tokens at `places` see, as two intervals each, [B, L, 4]; padding sees nothing.
    fn build_intervals(&self, places: &[Range<usize>]) -> Result<Vec<i32>, BackboneError> {
        let length = find_longest(self.rows);
        let mut bounds = vec![0; 4 * length * places.len()];
        for (row, place) in places.iter().enumerate() {
            for (i, position) in place.clone().enumerate() {
                let end = match self.attention {
                    Attention::Causal => position + 1,
                    Attention::BlockCausal { block } => place.end.min((position / block + 1) * block),
                    Attention::Bidirectional => {
                        let what = "with attention in both directions, no token is ever finished";
                        return Err(BackboneError::Context(what.into()));
                    }
                };
                bounds[4 * (row * length + i) + 1] = end as i32;
            }
        }
        Ok(bounds)
    }
}

impl Backbone {
    /// Hidden states after the final norm of new tokens behind those in `cache`. Their keys and values are written into
    /// the cache, but are kept only as far as [`KeyValueCache::keep`] says.
    ///
    /// A token sees what the attention lets it see of its own row: the tokens kept and the new ones.
    ///
    /// # Shapes
    /// Returns [B, L, D], with L new tokens in the longest row; those of shorter ones are followed by padding.
    ///
    /// # Errors
    /// If the tokens do not fit the cache, the attention allows no cache, or the time does not match the backbone.
    pub(crate) fn extend(
        &self,
        cache: &mut KeyValueCache,
        new: NewTokens<'_>,
    ) -> Result<Tensor<3>, BackboneError> {
        let NewTokens { rows, attention, time } = new;
        let places = cache.find_places(rows)?;
        let bounds = new.build_intervals(&places)?;
        self.write(cache, PlacedTokens { rows, places: &places, attention, bounds, time })
    }

    /// Hidden states after the final norm of a part of each row, whose keys and values are written into `cache`. Every token sees its
    /// whole row: what is not in the part as the cache has it.
    ///
    /// # Shapes
    /// Returns [B, L, D], with L tokens in the longest part; those of shorter ones are followed by padding.
    ///
    /// # Errors
    /// If the rows do not fit the cache, or the time does not match the backbone.
    pub(crate) fn rewrite(
        &self,
        cache: &mut KeyValueCache,
        tokens: RewrittenTokens<'_>,
    ) -> Result<Tensor<3>, BackboneError> {
        let RewrittenTokens { rows, spans, time } = tokens;
        cache.check_room(rows.len(), find_longest(rows))?;
        let parts: Vec<&[u32]> = rows.iter().zip(spans).map(|(row, span)| &row[span.clone()]).collect();
        let length = find_longest(&parts);
        let mut bounds = vec![0; 4 * length * rows.len()];
        for (number, (row, part)) in rows.iter().zip(&parts).enumerate() {
            let seen = bounds[4 * number * length..][..4 * part.len()].iter_mut();
            seen.skip(1).step_by(4).for_each(|end| *end = row.len() as i32);
        }
        let attention = Attention::Bidirectional;
        self.write(cache, PlacedTokens { rows: &parts, places: spans, attention, bounds, time })
    }

    /// Hidden states of tokens whose keys and values are written into their places.
    fn write(&self, cache: &mut KeyValueCache, new: PlacedTokens<'_>) -> Result<Tensor<3>, BackboneError> {
        let (batch, length) = (new.rows.len(), find_longest(new.rows));
        let positions = new.places.iter().flat_map(|place| place.start..place.start + length);
        let context = AttentionContext::new(new.attention, batch, length);
        let mut context = context.with_positions(positions.map(|position| position as u32).collect());
        context.time = new.time.map(<[f32]>::to_vec);
        context.check(self.clock.is_some())?;
        let mut at = PreparedContext::with_intervals(&context, new.bounds, &self.config, &self.device());
        at.precision = self.precision;
        at.time = self.clock.as_ref().zip(new.time).map(|(clock, t)| clock.forward(t, &self.device()));
        let padded = new.rows.iter().flat_map(|row| (0..length).map(|i| row.get(i).copied().unwrap_or(0)));
        let mut x = self.embed(self.tokens(&padded.collect::<Vec<u32>>(), batch)?);
        for (block, layer) in self.blocks.iter().zip(std::mem::take(&mut cache.layers)) {
            let (after, layer) = block.extend(x, &self.config, &at, layer, new.places);
            x = after;
            cache.layers.push(layer);
        }
        Ok(self.finish(x).reshape([batch, length, self.config.hidden_size]))
    }
}

/// Tokens of the longest row.
fn find_longest(rows: &[&[u32]]) -> usize {
    rows.iter().map(|row| row.len()).max().unwrap_or(0)
}

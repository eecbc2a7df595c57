//! Requests that are answered together: each has a sampler and a seed of its own, and joins and leaves between two passes.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::Sampler;

use super::canvases::{begin_writing, read_completion, share_sampler};
use super::fit::{KeptCache, build_sampler_rules, find_cache};
use super::prefixes::{PREFIX_BYTES, PrefixStore};
use super::request::{Completion, CompletionRequest};
use super::turns::{Turn, arrange};
use super::{BATCH, BackbonePosterior, CACHE_BYTES, forward_failure, open_posterior};
use crate::backbone::{BackboneError, KeyValueCache};
use crate::failure::stage_failure;
use crate::flow::sampler::{Ask, Onlooker, SharedSampler, Writing, compute_logits};
use crate::model::Model;

/// Requests at work. A completion is the one that its request gets alone: neither those beside it nor when it joined change a token.
pub(crate) struct Together<'a, O> {
    model: &'a Model,
    lanes: Vec<Lane<'a, O>>,
    /// Number of the next row.
    next: u64,
    /// Number of the order that rows belong to as they join.
    order: u64,
    /// Beginnings of texts that requests share, if they do.
    prefixes: Option<Rc<RefCell<PrefixStore>>>,
    /// Most bytes that the cache of a lane takes, unless a single row needs more.
    room: usize,
}

/// Requests that one forward pass serves: under the same attention, with the same kind of cache.
struct Lane<'a, O> {
    causal: bool,
    cache: KeptCache,
    posterior: BackbonePosterior<'a>,
    /// The first of them share a pass: as many as a batch and the memory for caches take. The others wait for their turn.
    rows: Vec<TogetherRow<O>>,
    /// Most tokens in a cache, unless a single row has more.
    room: usize,
}

/// A request at work.
struct TogetherRow<O> {
    row: u64,
    request: CompletionRequest,
    shared: SharedSampler,
    writing: Writing,
    turn: Turn,
    onlooker: O,
}

/// A request that is not at work any more.
pub(crate) struct Left<O> {
    /// Who looked on.
    pub(crate) onlooker: O,
    /// What was written. If the onlooker stopped it, tokens that are not settled mean nothing.
    pub(crate) completion: Result<Completion, Failure>,
}

impl<'a, O: Onlooker> Together<'a, O> {
    pub(crate) fn new(model: &'a Model) -> Self {
        Self::with_prefixes(model, PREFIX_BYTES)
    }

    /// As [`Self::new`], without anything that requests share: how long one takes tells nothing of others.
    pub(crate) fn apart(model: &'a Model) -> Self {
        Self { prefixes: None, ..Self::new(model) }
    }

    /// As [`Self::new`], with so many bytes for the beginnings of texts.
    pub(super) fn with_prefixes(model: &'a Model, bytes: usize) -> Self {
        let prefixes = PrefixStore::new(bytes, KeyValueCache::count_bytes(model.backbone.config()));
        let prefixes = Some(Rc::new(RefCell::new(prefixes)));
        Self { model, lanes: Vec::new(), next: 0, order: 0, prefixes, room: CACHE_BYTES }
    }

    /// The same, whose caches take so many bytes.
    #[cfg(test)]
    pub(super) fn with_room(self, room: usize) -> Self {
        Self { room, ..self }
    }

    /// The beginnings of texts that requests share.
    #[cfg(test)]
    pub(super) fn prefixes(&self) -> std::cell::Ref<'_, PrefixStore> {
        self.prefixes.as_ref().expect("the requests of a test share").borrow()
    }

    /// Requests at work.
    pub(crate) fn len(&self) -> usize {
        self.lanes.iter().map(|lane| lane.rows.len()).sum()
    }

    /// Orders of which some request is at work.
    pub(crate) fn count_orders(&self) -> usize {
        let rows = self.lanes.iter().flat_map(|lane| &lane.rows);
        rows.map(|row| row.turn.order).collect::<BTreeSet<_>>().len()
    }

    /// Requests that join from now on belong to another order: those of one share the seats that it has among others.
    pub(crate) fn begin_order(&mut self) {
        self.order += 1;
    }

    /// Takes in a request, number `number` of `seed`.
    ///
    /// # Errors
    /// If the sampler does not fit the checkpoint or the request.
    pub(crate) fn join(
        &mut self,
        (number, request): (u64, CompletionRequest),
        (sampler, seed): (&Sampler, u64),
        onlooker: O,
    ) -> Result<(), Failure> {
        let rules = build_sampler_rules(self.model, sampler, seed)?;
        let shared = share_sampler(self.model, sampler, rules);
        let row = self.next;
        let writing = begin_writing(self.model, (row, number), &request, &shared)?;
        let turn = Turn::new(self.order);
        let lane = self.find_lane(sampler).map_err(forward_failure)?;
        lane.rows.push(TogetherRow { row, request, shared, writing, turn, onlooker });
        self.next += 1;
        Ok(())
    }

    /// Those who look on, after a failure of [`Self::pass`].
    pub(crate) fn give_up(self) -> impl Iterator<Item = O> {
        self.lanes.into_iter().flat_map(|lane| lane.rows).map(|row| row.onlooker)
    }

    fn find_lane(&mut self, sampler: &Sampler) -> Result<&mut Lane<'a, O>, BackboneError> {
        let (causal, cache) = (sampler.reads_next_tokens(), find_cache(self.model, sampler));
        let known = self.lanes.iter().position(|lane| (lane.causal, lane.cache) == (causal, cache));
        let place = known.unwrap_or(self.lanes.len());
        if known.is_none() {
            let posterior = open_posterior(self.model, sampler)?;
            let posterior = match &self.prefixes {
                Some(prefixes) => posterior.sharing(prefixes.clone()),
                None => posterior,
            };
            let token = cache.copies() * KeyValueCache::count_bytes(self.model.backbone.config());
            let room = self.room / token.max(1);
            self.lanes.push(Lane { causal, cache, posterior, rows: Vec::new(), room });
        }
        Ok(&mut self.lanes[place])
    }

    /// One forward pass of every lane. Adds the requests that are finished, were stopped or failed to `left`.
    ///
    /// # Errors
    /// If the device fails: then nobody gets an answer any more but those in `left`.
    pub(crate) fn pass(&mut self, left: &mut Vec<Left<O>>) -> Result<(), Failure> {
        for lane in &mut self.lanes {
            lane.pass(left)?;
        }
        // An empty lane would hold its cache.
        self.lanes.iter_mut().filter(|lane| lane.rows.is_empty()).for_each(|lane| lane.posterior.put_away());
        self.lanes.retain(|lane| !lane.rows.is_empty());
        Ok(())
    }
}

impl<O: Onlooker> Lane<'_, O> {
    /// How many rows share the next pass if any of them may.
    fn count_seats(&self) -> usize {
        let most = match self.cache {
            KeptCache::Nothing => BATCH,
            KeptCache::Exact | KeptCache::Frozen(_) => {
                let longest = self.rows.iter().map(TogetherRow::count_tokens).max().unwrap_or(0);
                (self.room / longest.max(1)).clamp(1, BATCH)
            }
        };
        most.min(self.rows.len())
    }

    /// Puts the rows that share the next pass first, and counts them.
    fn take_seats(&mut self) -> usize {
        let seats = self.count_seats();
        // A row that waits loses its cache. An exact one is made again; what the first pass of a block computed is not, but between two
        // blocks nobody needs it.
        let always = self.causal || self.cache == KeptCache::Nothing;
        for row in &mut self.rows {
            let settled = row.writing.ask().map_or(0, |ask| ask.settled);
            row.turn.note(settled, always);
        }
        let mut turns: Vec<&mut Turn> = self.rows.iter_mut().map(|row| &mut row.turn).collect();
        let Some((order, active)) = arrange(&mut turns, seats) else { return self.rows.len() };
        let mut rows: Vec<Option<TogetherRow<O>>> = self.rows.drain(..).map(Some).collect();
        let take = |at: usize| rows[at].take().expect("every row has one place");
        self.rows = order.into_iter().map(take).collect();
        active
    }

    fn pass(&mut self, left: &mut Vec<Left<O>>) -> Result<(), Failure> {
        let stays =
            |row: &mut TogetherRow<O>| row.onlooker.goes_on() && row.writing.prepare(&mut row.onlooker);
        for row in self.rows.extract_if(.., |row| !stays(row)) {
            left.push(row.leave());
        }
        let active = self.take_seats();
        let asks: Vec<Ask<'_>> = self.rows[..active].iter().filter_map(|row| row.writing.ask()).collect();
        if asks.is_empty() {
            return Ok(());
        }
        match compute_logits(&asks, &mut self.posterior) {
            Ok((mut logits, width)) => {
                let mut rest = logits.as_mut_slice();
                for row in &mut self.rows[..active] {
                    row.writing.write(&mut rest, width, &mut row.onlooker);
                    row.turn.pass();
                }
                Ok(())
            }
            // The others ask again in the next pass.
            Err(error @ BackboneError::NotFiniteIn(number)) => {
                let place = self.rows.iter().position(|row| row.row == number);
                let row = self.rows.remove(place.expect("the number is that of a row of the question"));
                left.push(Left { onlooker: row.onlooker, completion: Err(stage_failure(error)) });
                Ok(())
            }
            Err(error) => Err(forward_failure(error)),
        }
    }
}

impl<O> TogetherRow<O> {
    /// Tokens of the canvas.
    fn count_tokens(&self) -> usize {
        self.writing.canvas().tokens.len()
    }

    fn leave(self) -> Left<O> {
        let completion = read_completion(&self.writing, &self.request, &self.shared);
        Left { onlooker: self.onlooker, completion: Ok(completion) }
    }
}

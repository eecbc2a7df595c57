//! Which states a text with open places can be in.

use crate::set::NumberSet;
use crate::tokens::{TokenConstraint, TokenSet};

/// The states that an automaton can be in before each place of a text, of those from which its rest can be filled in.
pub struct Reach {
    /// Before place i.
    states: Vec<NumberSet>,
    ends: bool,
}

impl TokenConstraint {
    /// The states before the places of a text, up to that behind place `last`: a token each, or `None` where one is still to be
    /// written. With `ends`, the text may stop at a token that ends it, behind which only such tokens stand; otherwise it has to fill
    /// all places. `None` if the open places cannot be filled.
    #[must_use]
    pub fn reach(&self, text: &[Option<u32>], last: usize, ends: bool) -> Option<Reach> {
        // Without a token that ends a text none can stop early.
        let ends = ends && self.has_ends();
        let written = text.iter().rposition(Option::is_some).map_or(0, |at| at + 1);
        let known = written.max((last + 1).min(text.len()));
        let mut states = Vec::with_capacity(known + 1);
        let mut now = self.no_states();
        now.insert(0);
        for token in &text[..known] {
            let next = self.step(&now, *token, ends);
            states.push(std::mem::replace(&mut now, next));
        }
        let tail = self.tail(text.len() - known, ends);
        now.retain(|state| tail.contains(state));
        states.push(now);
        for at in (0..known).rev() {
            let (before, behind) = states.split_at_mut(at + 1);
            before[at].retain(|state| self.leads_into(state, text[at], &behind[0], ends));
        }
        (!states[0].is_empty()).then_some(Reach { states, ends })
    }

    /// The tokens that places of the text may hold if they are open, by place.
    #[must_use]
    pub fn allowed(&self, reach: &Reach, places: &[usize]) -> Vec<TokenSet> {
        let around = |at: &usize| (&reach.states[*at], &reach.states[*at + 1]);
        self.between(&places.iter().map(around).collect::<Vec<_>>(), reach.ends)
    }

    /// Writes `token` at place `at`, where it has to be allowed, or leaves the place open: from there on, `reach` is that of texts that
    /// have it. Places are given in ascending order, and those behind them are as they were. Whether the token may stand there; if not,
    /// nothing changes.
    pub fn narrow(&self, reach: &mut Reach, at: usize, token: Option<u32>) -> bool {
        let mut next = self.step(&reach.states[at], token, reach.ends);
        next.retain(|state| reach.states[at + 1].contains(state));
        let fits = !next.is_empty();
        if fits {
            reach.states[at + 1] = next;
        }
        fits
    }

    fn step(&self, from: &NumberSet, token: Option<u32>, ends: bool) -> NumberSet {
        let mut to = self.no_states();
        from.iter().flat_map(|state| self.leads(state, token, ends)).for_each(|next| to.insert(next));
        to
    }

    fn leads_into(&self, state: u32, token: Option<u32>, to: &NumberSet, ends: bool) -> bool {
        self.leads(state, token, ends).any(|next| to.contains(next))
    }

    /// The states that a token leads to from a state, or any token.
    fn leads(&self, state: u32, token: Option<u32>, ends: bool) -> impl Iterator<Item = u32> + '_ {
        let one = token.and_then(|token| self.follow(state, token, ends));
        let all = token.is_none().then(|| self.targets(state, ends));
        one.into_iter().chain(all.into_iter().flatten())
    }

    /// The states from which `open` places can be filled so that the text is accepted.
    fn tail(&self, open: usize, ends: bool) -> NumberSet {
        // Nothing is left half done in there by a panic.
        let mut tails =
            self.tails[usize::from(ends)].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if tails.is_empty() {
            let mut none_open = self.no_states();
            let all = 0..self.done() + u32::from(ends);
            all.filter(|state| self.may_end(*state)).for_each(|state| none_open.insert(state));
            tails.push(none_open);
        }
        while tails.len() <= open {
            let behind = tails.last().expect("the first was just added");
            let mut before = self.no_states();
            let all = 0..self.done() + u32::from(ends);
            all.filter(|state| self.leads_into(*state, None, behind, ends)).for_each(|s| before.insert(s));
            // From there on all are alike.
            if before == *behind {
                break;
            }
            tails.push(before);
        }
        tails.get(open).or(tails.last()).expect("the first was added").clone()
    }
}

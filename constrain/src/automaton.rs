//! A regular expression as a deterministic automaton over bytes.

use std::collections::HashMap;
use std::fmt;

use regex_automata::dfa::{Automaton as _, StartKind, dense};
use regex_automata::nfa::thompson::{self, WhichCaptures};
use regex_automata::util::primitives::StateID;
use regex_automata::{Anchored, Input, MatchKind};
use regex_syntax::hir::Hir;

use crate::error::{ConstraintError, MOST_STATES};

/// Most bytes of what leads to an automaton.
const BUILD_BYTES: usize = 16 << 20;

/// Where nothing leads.
pub(crate) const DEAD: u32 = u32::MAX;

/// A deterministic automaton over bytes. From each of its states a text that is accepted can be reached; the first is the start.
pub struct Automaton {
    /// Bytes of one class are alike to every state.
    classes: [u8; 256],
    width: usize,
    /// `[states, width]`: where a class leads from a state, or [`DEAD`].
    next: Vec<u32>,
    accepting: Vec<bool>,
}

/// Reads a regular expression.
///
/// # Errors
/// What is wrong with it, and where.
pub(crate) fn parse_regex(pattern: &str) -> Result<Hir, ConstraintError> {
    regex_syntax::parse(pattern).map_err(|error| {
        let (what, at) = match &error {
            regex_syntax::Error::Parse(error) => (error.kind().to_string(), error.span().start),
            regex_syntax::Error::Translate(error) => (error.kind().to_string(), error.span().start),
            other => return ConstraintError::Regex(other.to_string()),
        };
        ConstraintError::Regex(format!("{what}, at letter {}", at.column))
    })
}

impl Automaton {
    /// The automaton of what an expression matches as a whole.
    ///
    /// # Errors
    /// If it is too large, matches nothing, or looks around in a way that no automaton can.
    pub(crate) fn new(hir: &Hir) -> Result<Self, ConstraintError> {
        let dfa = determinize(hir)?;
        let own = dfa.byte_classes();
        let mut classes = [0; 256];
        let mut bytes: Vec<u8> = Vec::new();
        for byte in 0..=u8::MAX {
            let class = own.get(byte);
            classes[usize::from(byte)] = class;
            if usize::from(class) == bytes.len() {
                bytes.push(byte);
            }
        }
        let (ids, next) = explore(&dfa, &bytes)?;
        let accepting: Vec<bool> = ids.iter().map(|id| dfa.is_match_state(dfa.next_eoi_state(*id))).collect();
        Self { classes, width: bytes.len(), next, accepting }.trim()
    }

    /// Without states from which nothing is accepted.
    fn trim(self) -> Result<Self, ConstraintError> {
        let (states, width) = (self.accepting.len(), self.width);
        let mut before: Vec<Vec<u32>> = vec![Vec::new(); states];
        for (edge, to) in self.next.iter().enumerate().filter(|(_, to)| **to != DEAD) {
            before[*to as usize].push((edge / width) as u32);
        }
        let mut alive = self.accepting.clone();
        let mut open: Vec<usize> = (0..states).filter(|state| alive[*state]).collect();
        while let Some(state) = open.pop() {
            for &from in &before[state] {
                if !std::mem::replace(&mut alive[from as usize], true) {
                    open.push(from as usize);
                }
            }
        }
        if !alive[0] {
            return Err(ConstraintError::Nothing);
        }
        let mut number = vec![DEAD; states];
        (0..states).filter(|state| alive[*state]).zip(0..).for_each(|(state, new)| number[state] = new);
        let kept = || (0..states).filter(|state| alive[*state]);
        let renumber = |to: &u32| if *to == DEAD { DEAD } else { number[*to as usize] };
        let next =
            kept().flat_map(|state| self.next[state * width..][..width].iter().map(renumber)).collect();
        let accepting = kept().map(|state| self.accepting[state]).collect();
        Ok(Self { next, accepting, ..self })
    }

    /// How many states it has.
    #[must_use]
    pub fn states(&self) -> usize {
        self.accepting.len()
    }

    /// The class of a byte.
    pub(crate) fn class(&self, byte: u8) -> u8 {
        self.classes[usize::from(byte)]
    }

    /// Where a class leads from a state, or [`DEAD`].
    pub(crate) fn step(&self, state: u32, class: u8) -> u32 {
        self.next[state as usize * self.width + usize::from(class)]
    }

    /// Whether a text that ends in this state is accepted.
    pub(crate) fn is_accepting(&self, state: u32) -> bool {
        self.accepting[state as usize]
    }

    /// Whether a text matches.
    #[must_use]
    pub fn accepts(&self, text: &[u8]) -> bool {
        let step = |state: u32, byte: &u8| Some(self.step(state, self.class(*byte))).filter(|to| *to != DEAD);
        text.iter().try_fold(0, step).is_some_and(|state| self.is_accepting(state))
    }
}

impl fmt::Debug for Automaton {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "an automaton of {} states", self.states())
    }
}

fn determinize(hir: &Hir) -> Result<dense::DFA<Vec<u32>>, ConstraintError> {
    let settings =
        thompson::Config::new().which_captures(WhichCaptures::None).nfa_size_limit(Some(BUILD_BYTES));
    // The library has no other errors here than its limits.
    let nfa = thompson::Compiler::new()
        .configure(settings)
        .build_from_hir(hir)
        .map_err(|_| ConstraintError::TooLarge)?;
    let settings = dense::Config::new()
        // Otherwise what a preferred alternative matches would end the search.
        .match_kind(MatchKind::All)
        .start_kind(StartKind::Anchored)
        .dfa_size_limit(Some(BUILD_BYTES))
        .determinize_size_limit(Some(BUILD_BYTES));
    dense::Builder::new().configure(settings).build_from_nfa(&nfa).map_err(|error| {
        match error.is_size_limit_exceeded() {
            true => ConstraintError::TooLarge,
            false => ConstraintError::Regex(
                "`\\b` and its like look at letters of all languages; write `(?-u:\\b)`".to_owned(),
            ),
        }
    })
}

/// The states that can be reached, the start first, and `[states, classes]`: where the byte of each class leads.
fn explore(dfa: &dense::DFA<Vec<u32>>, bytes: &[u8]) -> Result<(Vec<StateID>, Vec<u32>), ConstraintError> {
    let input = Input::new("").anchored(Anchored::Yes);
    let start = dfa.start_state_forward(&input).expect("an anchored search of nothing has a start");
    let (mut ids, mut next) = (vec![start], Vec::new());
    let mut numbers = HashMap::from([(start, 0)]);
    let mut at = 0;
    while at < ids.len() {
        for byte in bytes {
            let to = dfa.next_state(ids[at], *byte);
            if dfa.is_dead_state(to) {
                next.push(DEAD);
                continue;
            }
            let new = ids.len() as u32;
            let number = *numbers.entry(to).or_insert(new);
            if number == new {
                ids.push(to);
            }
            next.push(number);
        }
        if ids.len() > MOST_STATES {
            return Err(ConstraintError::TooLarge);
        }
        at += 1;
    }
    Ok((ids, next))
}

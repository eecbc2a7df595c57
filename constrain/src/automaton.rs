//! A regular expression as a deterministic automaton over bytes.

use std::fmt;

use regex_automata::nfa::thompson::{self, NFA, WhichCaptures};
use regex_automata::util::alphabet::ByteClasses;
use regex_syntax::hir::Hir;

use crate::error::ConstraintError;
use crate::subsets::{DEAD, determinize};

/// Most bytes of the nondeterministic automaton.
const BUILD_BYTES: usize = 16 << 20;

/// A deterministic automaton over bytes. From each of its states a text that is accepted can be reached; the first is the start.
pub struct Automaton {
    /// Bytes of one class are alike to every state.
    classes: ByteClasses,
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
        let nfa = build(hir)?;
        let classes = *nfa.byte_classes();
        let bytes: Vec<u8> = classes.representatives(..).filter_map(|unit| unit.as_u8()).collect();
        let (next, accepting) = determinize(&nfa, &bytes)?;
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

    /// About how many bytes of memory it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.next.len() * size_of::<u32>() + self.accepting.len()
    }

    /// The class of a byte.
    pub(crate) fn class(&self, byte: u8) -> u8 {
        self.classes.get(byte)
    }

    /// Where a class leads from a state, or [`DEAD`].
    pub(crate) fn step(&self, state: u32, class: u8) -> u32 {
        self.next[state as usize * self.width + usize::from(class)]
    }

    /// Where classes lead from a state; `None` if nowhere.
    pub(crate) fn follow(&self, state: u32, mut classes: impl Iterator<Item = u8>) -> Option<u32> {
        classes.try_fold(state, |state, class| Some(self.step(state, class)).filter(|to| *to != DEAD))
    }

    /// Whether a text that ends in this state is accepted.
    pub(crate) fn is_accepting(&self, state: u32) -> bool {
        self.accepting[state as usize]
    }

    /// Whether a text matches.
    #[must_use]
    pub fn accepts(&self, text: &[u8]) -> bool {
        let classes = text.iter().map(|byte| self.class(*byte));
        self.follow(0, classes).is_some_and(|state| self.is_accepting(state))
    }
}

impl fmt::Debug for Automaton {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "an automaton of {} states", self.states())
    }
}

fn build(hir: &Hir) -> Result<NFA, ConstraintError> {
    let settings =
        thompson::Config::new().which_captures(WhichCaptures::None).nfa_size_limit(Some(BUILD_BYTES));
    // The library has no other errors here than its limits.
    let nfa = thompson::Compiler::new()
        .configure(settings)
        .build_from_hir(hir)
        .map_err(|_| ConstraintError::TooLarge)?;
    if nfa.look_set_any().contains_word_unicode() {
        let what = "`\\b` and its like look at letters of all languages; write `(?-u:\\b)`";
        return Err(ConstraintError::Regex(what.to_owned()));
    }
    Ok(nfa)
}

//! Who looks on while texts are written: to show them, to judge them, to stop them.

use super::{Canvas, RankedLaw};

/// Is told of every pass. Looking on changes no token.
pub trait Onlooker {
    /// Whether there shall be another pass.
    fn goes_on(&mut self) -> bool {
        true
    }

    /// The first `end` tokens of `canvas` will not change any more. Told before each pass if there are more than before, and
    /// when the canvas is finished.
    fn settled(&mut self, _canvas: &Canvas, _end: usize) {}

    /// Whether [`Onlooker::judged`] is wanted, which costs time.
    fn wants_probabilities(&self) -> bool {
        false
    }

    /// The probability that a pass gave the tokens which its places hold now (of the mask, 0): the posterior at temperature 1, before top-k and top-p,
    /// among the tokens that may be written.
    fn judged(&mut self, _canvas: &Canvas, _places: &[usize], _probabilities: &[f64]) {}

    /// Places of `canvas` have come and gone after a pass that was judged: `moves` has where each was before, or `None`
    /// for a new mask.
    fn moved(&mut self, _canvas: &Canvas, _moves: &[Option<usize>]) {}

    /// Whether [`Onlooker::ranked`] is wanted, which costs time, and with how many of the most probable tokens.
    fn wants_laws(&self) -> Option<usize> {
        None
    }

    /// The law that a pass gave for `place` of the canvas, where a token is written now.
    fn ranked(&mut self, _canvas: &Canvas, _place: usize, _law: RankedLaw) {}
}

/// Nobody looks on.
#[derive(Clone, Copy, Debug)]
pub struct Nobody;

impl Onlooker for Nobody {}

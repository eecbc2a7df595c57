//! A canvas on its way from block to block, and the forward pass that many canvases share.

use std::ops::Range;

use super::method::{Method, Question, Setting, start_block};
use super::{Ask, Canvas, Onlooker, Posterior};

/// A canvas being written.
pub(super) struct Writing<'a> {
    setting: Setting<'a>,
    canvas: &'a mut Canvas,
    blocks: &'a [Range<usize>],
    /// Which positions may be written in any block.
    editable: Vec<bool>,
    /// The method at work, and the number of the next block.
    method: Option<Box<dyn Method + 'a>>,
    next: usize,
    settled: usize,
    /// Tokens that the onlooker knows to be settled.
    told: usize,
    passes: usize,
    question: Option<Question>,
}

impl<'a> Writing<'a> {
    pub(super) fn new(canvas: &'a mut Canvas, blocks: &'a [Range<usize>], setting: &Setting<'a>) -> Self {
        let editable = canvas.editable.clone();
        let (method, question) = (None, None);
        let (next, settled, told, passes) = (0, 0, 0, 0);
        Self { setting: *setting, canvas, blocks, editable, method, next, settled, told, passes, question }
    }

    /// Forward passes so far.
    pub(super) fn passes(&self) -> usize {
        self.passes
    }

    /// Prepares the question of the next pass, opening blocks as others are finished. Without one the canvas is finished.
    fn prepare(&mut self) {
        loop {
            self.question = self.method.as_mut().and_then(|method| method.ask(self.canvas));
            if self.question.is_some() || !self.open_block() {
                self.passes += usize::from(self.question.is_some());
                return;
            }
        }
    }

    /// Opens the next block; returns whether there is one. After the last, positions are editable as at first.
    fn open_block(&mut self) -> bool {
        self.method = None;
        let Some(block) = self.blocks.get(self.next).filter(|_| !self.has_ended()) else {
            self.canvas.editable.clone_from(&self.editable);
            return false;
        };
        let open = |i: usize| self.editable[i] && block.contains(&i);
        self.canvas.editable = (0..self.editable.len()).map(open).collect();
        self.settled = self.canvas.editable.iter().position(|editable| *editable).unwrap_or(block.end);
        self.method = Some(start_block(self.setting, self.canvas, self.next, self.passes));
        self.next += 1;
        true
    }

    /// Whether nothing follows the answer and a finished block holds an end.
    fn has_ended(&self) -> bool {
        let mut before = self.blocks[..self.next].iter().flat_map(|block| &self.canvas.tokens[block.clone()]);
        self.editable.last() == Some(&true) && before.any(|token| self.setting.ends.contains(token))
    }

    fn ask(&self) -> Option<Ask<'_>> {
        let Question { places, t } = self.question.as_ref()?;
        let settled = self.method.as_ref().and_then(|method| method.settled()).unwrap_or(self.settled);
        Some(Ask { canvas: self.canvas, places, t: *t, settled })
    }

    /// Tells of tokens that will not change any more.
    fn tell(&mut self, onlooker: &mut dyn Onlooker) {
        let settled = self.ask().map_or(self.canvas.tokens.len(), |ask| ask.settled);
        if settled > self.told {
            self.told = settled;
            onlooker.settled(self.canvas, settled);
        }
    }

    /// Writes what the logits at the places of the question say.
    fn write(&mut self, logits: &mut [f32], onlooker: &mut dyn Onlooker) {
        let (Some(question), Some(method)) = (self.question.take(), &mut self.method) else { return };
        let given = onlooker.wants_probabilities().then(|| logits.to_vec());
        method.write(self.canvas, &question, logits);
        let Some(given) = given else { return };
        let rows = question.places.iter().zip(given.chunks_exact(given.len() / question.places.len()));
        let judge = |(place, row): (&usize, &[f32])| {
            self.setting.filter.find_probability(row, self.canvas.tokens[*place])
        };
        let probabilities: Vec<f64> = rows.map(judge).collect();
        onlooker.judged(self.canvas.number, &question.places, &probabilities);
    }
}

/// One forward pass for all canvases that are not finished; returns whether there was one.
pub(super) fn pass<P: Posterior>(
    writings: &mut [Writing<'_>],
    posterior: &mut P,
    onlooker: &mut dyn Onlooker,
) -> Result<bool, P::Error> {
    for writing in &mut *writings {
        writing.prepare();
        writing.tell(onlooker);
    }
    let asks: Vec<Ask<'_>> = writings.iter().filter_map(Writing::ask).collect();
    let places: usize = asks.iter().map(|ask| ask.places.len()).sum();
    if places == 0 {
        return Ok(false);
    }
    let mut logits = posterior.logits(&asks)?;
    let width = logits.len() / places;
    let mut rest = logits.as_mut_slice();
    for writing in writings {
        let own = writing.question.as_ref().map_or(0, |question| question.places.len());
        let (own, others) = std::mem::take(&mut rest).split_at_mut(own * width);
        writing.write(own, onlooker);
        rest = others;
    }
    Ok(true)
}

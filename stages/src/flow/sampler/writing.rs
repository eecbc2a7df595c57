//! A canvas on its way from block to block, and the forward pass that many canvases share.

use std::ops::Range;

use super::method::{Method, Question, Setting, start_block};
use super::{Ask, Canvas, Growing, Guard, LogitFilter, Onlooker, Posterior, SharedSampler};

/// A canvas being written.
pub(crate) struct Writing {
    /// Tells rows of a batch apart.
    row: u64,
    setting: Setting,
    canvas: Canvas,
    blocks: Vec<Range<usize>>,
    /// Which positions may be written in any block.
    editable: Vec<bool>,
    /// The method at work, and the number of the next block.
    method: Option<Box<dyn Method>>,
    next: usize,
    settled: usize,
    /// Tokens that the onlooker knows to be settled.
    told: usize,
    passes: usize,
    question: Option<Question>,
    /// By how much it may grow, if it may.
    growing: Option<Growing>,
}

impl Writing {
    /// A canvas before its first block. No two rows of a batch have the same number `row`.
    pub(crate) fn new(
        row: u64,
        canvas: Canvas,
        blocks: Vec<Range<usize>>,
        shared: &SharedSampler,
        guard: Option<Guard>,
    ) -> Self {
        let SharedSampler { sampler, rules, ends } = shared.clone();
        let filter = LogitFilter::new(&sampler, &rules);
        let setting = Setting { sampler, rules, filter, ends, guard };
        let (editable, method, question, growing) = (canvas.editable.clone(), None, None, None);
        let (next, settled, told, passes) = (0, 0, 0, 0);
        Self {
            row,
            setting,
            canvas,
            blocks,
            editable,
            method,
            next,
            settled,
            told,
            passes,
            question,
            growing,
        }
    }

    /// The same canvas, of one block and no constraint, that grows.
    pub(crate) fn growing(mut self, growing: Growing) -> Self {
        self.setting.filter = self.setting.filter.letting_grow();
        Self { growing: Some(growing), ..self }
    }

    /// The canvas as it is now.
    pub(crate) fn canvas(&self) -> &Canvas {
        &self.canvas
    }

    /// The blocks of the canvas.
    pub(crate) fn blocks(&self) -> &[Range<usize>] {
        &self.blocks
    }

    /// Forward passes so far.
    pub(crate) fn passes(&self) -> usize {
        self.passes
    }

    /// Prepares the question of the next pass, opening blocks as others are finished, and tells of tokens that will not change
    /// any more. Returns whether there is a question; without one the canvas is finished. A question that was not answered stays.
    pub(crate) fn prepare(&mut self, onlooker: &mut dyn Onlooker) -> bool {
        while self.question.is_none() {
            self.question = self.method.as_mut().and_then(|method| method.ask(&mut self.canvas));
            self.passes += usize::from(self.question.is_some());
            if self.question.is_none() && !self.open_block() {
                break;
            }
        }
        self.tell(onlooker);
        self.question.is_some()
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
        self.method = Some(start_block(self.setting.clone(), &self.canvas, self.next, self.passes));
        self.next += 1;
        true
    }

    /// Whether a finished block holds an end, and nothing that is given stands behind it.
    fn has_ended(&self) -> bool {
        let given = self.editable.iter().rposition(|editable| !editable).map_or(0, |last| last + 1);
        let mut finished = self.blocks[..self.next].iter().filter(|block| block.start >= given);
        finished.any(|block| self.canvas.tokens[block.clone()].iter().any(|t| self.setting.ends.contains(t)))
    }

    /// The question of the next pass.
    pub(crate) fn ask(&self) -> Option<Ask<'_>> {
        let Question { places, t } = self.question.as_ref()?;
        let settled = self.method.as_ref().and_then(|method| method.settled()).unwrap_or(self.settled);
        Some(Ask { canvas: &self.canvas, row: self.row, places, t: *t, settled })
    }

    /// Tells of tokens that will not change any more.
    fn tell(&mut self, onlooker: &mut dyn Onlooker) {
        let settled = self.ask().map_or(self.canvas.tokens.len(), |ask| ask.settled);
        if settled > self.told {
            self.told = settled;
            onlooker.settled(&self.canvas, settled);
        }
    }

    /// Writes what the logits at the places of the question say: the first of `rest`, of which they are taken.
    pub(crate) fn write(&mut self, rest: &mut &mut [f32], width: usize, onlooker: &mut dyn Onlooker) {
        let (Some(question), Some(method)) = (self.question.take(), &mut self.method) else { return };
        let (logits, others) = std::mem::take(rest).split_at_mut(question.places.len() * width);
        *rest = others;
        let wanted = onlooker.wants_probabilities() || onlooker.wants_laws().is_some();
        if let Some(growing) = &self.growing {
            growing.forbid(logits, width);
        }
        let given = wanted.then(|| logits.to_vec());
        method.write(&mut self.canvas, &question, logits);
        if let Some(given) = given {
            self.show(&question.places, (&given, width), onlooker);
        }
        self.grow(onlooker);
    }

    /// Lets the canvas grow by what the pass wrote.
    fn grow(&mut self, onlooker: &mut dyn Onlooker) {
        let Some(growing) = &mut self.growing else { return };
        let before = self.canvas.tokens.len();
        let Some(moves) = growing.replace(&mut self.canvas, self.setting.rules.mask) else { return };
        // The block is the only one, so that what is editable in it is editable at all.
        self.editable.clone_from(&self.canvas.editable);
        self.blocks.iter_mut().for_each(|block| block.end = block.end + moves.len() - before);
        onlooker.moved(&self.canvas, &moves);
    }

    /// Shows what a pass wrote at its places, and what it thought of it: logits, flat [places, `width`].
    fn show(&self, places: &[usize], (given, width): (&[f32], usize), onlooker: &mut dyn Onlooker) {
        let (canvas, filter) = (&self.canvas, &self.setting.filter);
        let rows =
            || places.iter().map(|place| (*place, canvas.tokens[*place])).zip(given.chunks_exact(width));
        if let Some(count) = onlooker.wants_laws() {
            for ((place, token), row) in rows() {
                // Noise, and room that is not written yet, have no law.
                if let Some(law) = filter.rank(row, token, count) {
                    onlooker.ranked(canvas, place, law);
                }
            }
        }
        if onlooker.wants_probabilities() {
            let judge = |((_, token), row): ((usize, u32), &[f32])| filter.find_probability(row, token);
            let probabilities: Vec<f64> = rows().map(judge).collect();
            onlooker.judged(canvas, places, &probabilities);
        }
    }
}

/// The logits that `asks` want, and how many each place has. At least one question.
pub(crate) fn compute_logits<P: Posterior>(
    asks: &[Ask<'_>],
    posterior: &mut P,
) -> Result<(Vec<f32>, usize), P::Error> {
    let places: usize = asks.iter().map(|ask| ask.places.len()).sum();
    let logits = posterior.logits(asks)?;
    let width = logits.len() / places;
    Ok((logits, width))
}

/// One forward pass for all canvases that are not finished; returns whether there was one.
pub(super) fn pass<P: Posterior>(
    writings: &mut [Writing],
    posterior: &mut P,
    onlooker: &mut dyn Onlooker,
) -> Result<bool, P::Error> {
    for writing in &mut *writings {
        writing.prepare(onlooker);
    }
    let asks: Vec<Ask<'_>> = writings.iter().filter_map(Writing::ask).collect();
    if asks.is_empty() {
        return Ok(false);
    }
    let (mut logits, width) = compute_logits(&asks, posterior)?;
    let mut rest = logits.as_mut_slice();
    for writing in writings {
        writing.write(&mut rest, width, onlooker);
    }
    Ok(true)
}

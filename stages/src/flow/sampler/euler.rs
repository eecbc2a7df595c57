//! The discrete Euler simulation: positions jump from noise to draws of the posterior, step by step.

use super::method::{Method, Question, Setting};
use super::{Ask, Canvas, LogitFilter, Pick, Posterior, SamplerRules};
use crate::flow::kernel::{EulerKernel, KernelStep};
use crate::rng::{RandomPurpose, RandomStream, derive_stream};

/// The method `euler`: the jump process on the grid 0, 1/steps, .., 1.
pub(super) struct Simulation {
    setting: Setting,
    steps: usize,
    /// Number of the first step.
    first: usize,
    /// Steps behind.
    step: usize,
    jumps: Option<Jumps>,
}

impl Simulation {
    pub(super) fn new(setting: Setting, steps: usize, block: usize) -> Self {
        Self { setting, steps, first: block * steps, step: 0, jumps: None }
    }
}

impl Method for Simulation {
    fn ask(&mut self, canvas: &mut Canvas) -> Option<Question> {
        while self.step < self.steps {
            let between = [self.step, self.step + 1].map(|n| n as f64 / self.steps as f64);
            let jumps = Jumps::toss(canvas, self.first + self.step, between, &self.setting.rules);
            self.step += 1;
            if jumps.asking.is_empty() {
                jumps.leave(canvas, &self.setting.rules);
                continue;
            }
            let places = jumps.asking.iter().map(|(i, _)| *i).collect();
            self.jumps = Some(jumps);
            return Some(Question { places, t: between[0] });
        }
        None
    }

    fn write(&mut self, canvas: &mut Canvas, _: &Question, logits: &mut [f32]) {
        let jumps = self.jumps.take().expect("a question was asked for the jumps of a step");
        jumps.land(canvas, &self.setting.filter, &self.setting.rules, logits);
    }
}

/// The jumps of one step: positions whose coins allow them.
///
/// With a mask source, the exact kernel moves only masked positions. A uniform source hides which positions are noise, so
/// every editable position may move, even in the last step. The remasking kernel also moves written positions, but only to
/// the mask. The rate kernel moves every editable position, even in the last step, as in the reference implementation.
struct Jumps {
    step: KernelStep,
    number: usize,
    /// Positions that need the posterior, with their coins.
    asking: Vec<(usize, f64)>,
    /// Positions that go to the mask.
    leaving: Vec<usize>,
}

impl Jumps {
    /// Tosses the coins of step `number`, from the first to the second time of `between`. That comes before asking for the
    /// posterior, so positions that stay cost nothing.
    fn toss(canvas: &Canvas, number: usize, between: [f64; 2], rules: &SamplerRules) -> Self {
        let only_masks = rules.mask_source() && rules.kernel == EulerKernel::Exact;
        let step = KernelStep::new(rules.kernel, rules.scheduler, between[0], between[1]);
        let open = Setting::list_places(canvas, |token| !only_masks || token == rules.mask);
        // Even coordinates are for coins, odd ones for tokens (see `Setting::draw_picks`).
        let mut coins =
            derive_stream(rules.seed, RandomPurpose::Sample, [canvas.number, 2 * number as u64, 0]);
        let tossed = open.into_iter().map(|i| (i, coins.uniform()));
        let jumping: Vec<(usize, f64)> =
            tossed.filter(|(i, coin)| *coin < step.jump(false, p0(canvas, *i, rules))).collect();
        let (asking, leaving): (Vec<_>, Vec<_>) =
            jumping.into_iter().partition(|(i, _)| step.asks(p0(canvas, *i, rules)));
        Self { step, number, asking, leaving: leaving.into_iter().map(|(i, _)| i).collect() }
    }

    /// Draws where the positions land, given their logits, and writes that.
    fn land(self, canvas: &mut Canvas, filter: &LogitFilter, rules: &SamplerRules, logits: &mut [f32]) {
        let (canvas_number, number) = (canvas.number, 2 * self.number as u64);
        let mut tokens = derive_stream(rules.seed, RandomPurpose::Sample, [canvas_number, number + 1, 0]);
        let width = (logits.len() / self.asking.len().max(1)).max(1);
        let picks: Vec<Pick> =
            logits.chunks_exact_mut(width).map(|row| filter.pick(row, &mut tokens)).collect();
        let mut random = derive_stream(rules.seed, RandomPurpose::Sample, [canvas_number, number, 2]);
        for ((i, coin), pick) in self.asking.iter().zip(&picks) {
            let (same, p0) = (canvas.tokens[*i] == pick.token, p0(canvas, *i, rules));
            if *coin >= self.step.jump(same, p0) {
                continue;
            }
            let data = self.step.data_share(same, p0);
            let to_data = data >= 1.0 || random.uniform() < data;
            canvas.tokens[*i] =
                if to_data { pick.token } else { draw_other_noise(canvas.tokens[*i], rules, &mut random) };
        }
        self.leave(canvas, rules);
    }

    /// Masks the positions that need no posterior.
    fn leave(self, canvas: &mut Canvas, rules: &SamplerRules) {
        self.leaving.into_iter().for_each(|i| canvas.tokens[i] = rules.mask);
    }
}

/// Takes step `number` of a simulation, from the first to the second time of `between`. Returns whether the posterior was
/// asked.
///
/// # Errors
/// Any error of the posterior.
pub fn take_euler_step<P: Posterior>(
    canvases: &mut [Canvas],
    number: usize,
    between: [f64; 2],
    filter: &LogitFilter,
    rules: &SamplerRules,
    posterior: &mut P,
) -> Result<bool, P::Error> {
    let all: Vec<Jumps> = canvases.iter().map(|canvas| Jumps::toss(canvas, number, between, rules)).collect();
    let places: Vec<Vec<usize>> =
        all.iter().map(|jumps| jumps.asking.iter().map(|(i, _)| *i).collect()).collect();
    let asks = canvases.iter().zip(places.iter().map(Vec::as_slice)).filter(|(_, places)| !places.is_empty());
    let asks: Vec<Ask<'_>> = asks
        .map(|(canvas, places)| Ask { canvas, row: canvas.number, places, t: between[0], settled: 0 })
        .collect();
    let mut logits = if asks.is_empty() { Vec::new() } else { posterior.logits(&asks)? };
    let asked: usize = places.iter().map(Vec::len).sum();
    let (width, mut rest) = (logits.len() / asked.max(1), logits.as_mut_slice());
    for (canvas, jumps) in canvases.iter_mut().zip(all) {
        let (own, others) = std::mem::take(&mut rest).split_at_mut(jumps.asking.len() * width);
        jumps.land(canvas, filter, rules, own);
        rest = others;
    }
    Ok(asked > 0)
}

/// p_0 of the present token at position `i`.
fn p0(canvas: &Canvas, i: usize, rules: &SamplerRules) -> f64 {
    rules.source().probability(rules.mask_share, canvas.tokens[i])
}

/// Draws a token of the source other than `present`. The source must have another one, or this never returns.
fn draw_other_noise(present: u32, rules: &SamplerRules, random: &mut RandomStream) -> u32 {
    loop {
        let token = rules.source().draw(rules.mask_share, random);
        if token != present {
            return token;
        }
    }
}

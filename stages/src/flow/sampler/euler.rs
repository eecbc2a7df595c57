//! The discrete Euler simulation: positions jump from noise to draws of the posterior, step by step.

use super::{Canvas, LogitFilter, Pick, Posterior, SamplerRules, draw_picks, list_open_places};
use crate::flow::kernel::{EulerKernel, KernelStep};
use crate::rng::{RandomPurpose, RandomStream, derive_stream};

/// A place (canvas, position) whose coin allows a jump, with the coin.
type Candidate = ((usize, usize), f64);

/// Simulates the jump process on the grid 0, 1/steps, .., 1, in steps numbered from `first`. Returns the number of forward
/// passes.
pub(super) fn simulate_euler<P: Posterior>(
    canvases: &mut [Canvas],
    steps: usize,
    first: usize,
    filter: &LogitFilter,
    rules: &SamplerRules,
    posterior: &mut P,
) -> Result<usize, P::Error> {
    let mut passes = 0;
    for number in 0..steps {
        let between = [number, number + 1].map(|n| n as f64 / steps as f64);
        passes += usize::from(take_euler_step(canvases, first + number, between, filter, rules, posterior)?);
    }
    Ok(passes)
}

/// Takes step `number` of a simulation, from the first to the second time of `between`. Returns whether the posterior was
/// asked.
///
/// With a mask source, the exact kernel moves only masked positions. A uniform source hides which positions are noise, so
/// every editable position may move, even in the last step. The remasking kernel also moves written positions, but only to
/// the mask. The rate kernel moves every editable position, even in the last step, as in the reference implementation.
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
    let [t, s] = between;
    let only_masks = rules.mask_source() && rules.kernel == EulerKernel::Exact;
    let step = KernelStep::new(rules.kernel, rules.scheduler, t, s);
    let open = list_open_places(canvases, |canvas, i| !only_masks || canvas.tokens[i] == rules.mask);
    let candidates = find_candidates(canvases, open, &step, rules, number);
    if candidates.is_empty() {
        return Ok(false);
    }
    let asks = |((canvas, i), _): &Candidate| step.asks(p0(&canvases[*canvas], *i, rules));
    let (asking, leaving): (Vec<Candidate>, Vec<Candidate>) = candidates.into_iter().partition(asks);
    if !asking.is_empty() {
        let places: Vec<(usize, usize)> = asking.iter().map(|(place, _)| *place).collect();
        let logits = posterior.logits(canvases, &places, t)?;
        let picks = draw_picks(canvases, &places, logits, filter, rules.seed, number);
        move_candidates(canvases, &asking, &picks, &step, rules, number);
    }
    leaving.iter().for_each(|&((canvas, i), _)| canvases[canvas].tokens[i] = rules.mask);
    Ok(!asking.is_empty())
}

/// The places that may jump in this step. Coins are tossed before asking for the posterior, so places that stay cost nothing.
fn find_candidates(
    canvases: &[Canvas],
    places: Vec<(usize, usize)>,
    step: &KernelStep,
    rules: &SamplerRules,
    number: usize,
) -> Vec<Candidate> {
    let mut found = Vec::new();
    for run in places.chunk_by(|a, b| a.0 == b.0) {
        let canvas = &canvases[run[0].0];
        // Even coordinates are for coins, odd ones for tokens (see `draw_picks`).
        let mut coins =
            derive_stream(rules.seed, RandomPurpose::Sample, [canvas.number, 2 * number as u64, 0]);
        let tossed = run.iter().map(|&place| (place, coins.uniform()));
        found.extend(tossed.filter(|((_, i), coin)| *coin < step.jump(false, p0(canvas, *i, rules))));
    }
    found
}

/// p_0 of the present token at position `i`.
fn p0(canvas: &Canvas, i: usize, rules: &SamplerRules) -> f64 {
    rules.source().probability(rules.mask_share, canvas.tokens[i])
}

/// Decides which candidates jump, given their draws from the posterior, and writes the result.
fn move_candidates(
    canvases: &mut [Canvas],
    candidates: &[Candidate],
    picks: &[((usize, usize), Pick)],
    step: &KernelStep,
    rules: &SamplerRules,
    number: usize,
) {
    let pairs: Vec<(&Candidate, &Pick)> = candidates.iter().zip(picks.iter().map(|(_, pick)| pick)).collect();
    for run in pairs.chunk_by(|a, b| a.0.0.0 == b.0.0.0) {
        let canvas = &mut canvases[run[0].0.0.0];
        let mut random =
            derive_stream(rules.seed, RandomPurpose::Sample, [canvas.number, 2 * number as u64, 2]);
        for (((_, i), coin), pick) in run {
            let (same, p0) = (canvas.tokens[*i] == pick.token, p0(canvas, *i, rules));
            if *coin >= step.jump(same, p0) {
                continue;
            }
            let data = step.data_share(same, p0);
            let to_data = data >= 1.0 || random.uniform() < data;
            canvas.tokens[*i] =
                if to_data { pick.token } else { draw_other_noise(canvas.tokens[*i], rules, &mut random) };
        }
    }
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

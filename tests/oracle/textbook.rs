//! The dense textbook: laws (probability distributions) of tiny samplers, by summing over all states, straight from the
//! formulas. It shares no code with fmflow.

/// How a position moves in a step, by the formulas of the reference's documentation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kernel {
    /// Jump to x_1 with probability (k(s) - k(t)) / (1 - k(t)).
    ExactJump,
    /// Jump with probability 1 - exp(-h Λ); the value is the weight of the divergence-free part.
    EulerExp(f64),
}

/// k(t) = t^n.
pub(crate) fn kappa(n: f64, t: f64) -> f64 {
    if t == 0.0 { 0.0 } else { (n * t.ln()).exp() }
}

fn slope(n: f64, t: f64) -> f64 {
    match (t == 0.0, n) {
        (true, 1.0) => 1.0,
        (true, n) if n > 1.0 => 0.0,
        (true, _) => f64::INFINITY,
        (false, _) => n * kappa(n, t) / t,
    }
}

/// The law of one position after the step from `t` to `s`; a step to 1 jumps to x_1.
pub(crate) fn after(
    kernel: Kernel,
    n: f64,
    [t, s]: [f64; 2],
    posterior: &[f64],
    p0: &[f64],
    x: usize,
) -> Vec<f64> {
    let v = posterior.len();
    let mut law = vec![0.0; v];
    for x1 in 0..v {
        if s >= 1.0 {
            law[x1] += posterior[x1];
            continue;
        }
        let (jump, to) = match kernel {
            Kernel::ExactJump => {
                let to = (0..v).map(|y| f64::from(u8::from(y == x1))).collect();
                ((kappa(n, s) - kappa(n, t)) / (1.0 - kappa(n, t)), to)
            }
            Kernel::EulerExp(c) => euler_exp(n, [t, s], c, p0, x, x1),
        };
        for y in 0..v {
            law[y] += posterior[x1] * (jump * to[y] + (1.0 - jump) * f64::from(u8::from(y == x)));
        }
    }
    law
}

/// The jump probability of the rate kernel, and the law of its target.
fn euler_exp(n: f64, [t, s]: [f64; 2], c: f64, p0: &[f64], x: usize, x1: usize) -> (f64, Vec<f64>) {
    let (k, dk) = (kappa(n, t), slope(n, t));
    let mut u: Vec<f64> = p0.iter().map(|_| 0.0).collect();
    u[x1] += dk / (1.0 - k);
    if c > 0.0 {
        for (y, u) in u.iter_mut().enumerate() {
            *u += c * dk / (k * (1.0 - k)) * ((1.0 - k) * p0[y] + k * f64::from(u8::from(y == x1)));
        }
    }
    u[x] = 0.0;
    let all: f64 = u.iter().sum();
    if !all.is_finite() || all == 0.0 {
        return (0.0, u.iter().map(|_| 0.0).collect());
    }
    (1.0 - (-(s - t) * all).exp(), u.iter().map(|rate| rate / all).collect())
}

/// A target law over sequences [V^L], the first token most significant, and the states of a sampler over K >= V tokens.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) vocabulary: usize,
    pub(crate) length: usize,
    pub(crate) target: Vec<f64>,
    pub(crate) mask: bool,
    pub(crate) exponent: f64,
}

impl World {
    /// Number of tokens in a state: the vocabulary, plus the mask if it is the source.
    pub(crate) fn tokens(&self) -> usize {
        self.vocabulary + usize::from(self.mask)
    }

    /// The source p_0, [K].
    pub(crate) fn source(&self) -> Vec<f64> {
        let k = self.tokens();
        match self.mask {
            true => (0..k).map(|y| f64::from(u8::from(y == k - 1))).collect(),
            false => vec![1.0 / k as f64; k],
        }
    }

    /// The digits of a number, most significant first.
    fn digits(&self, number: usize, base: usize) -> Vec<usize> {
        (0..self.length).rev().map(|place| number / base.pow(place as u32) % base).collect()
    }

    pub(crate) fn state(&self, number: usize) -> Vec<usize> {
        self.digits(number, self.tokens())
    }

    pub(crate) fn number(&self, state: impl Iterator<Item = usize>) -> usize {
        state.fold(0, |number, token| number * self.tokens() + token)
    }

    /// p(x_1^i | x_t, t) for every position i, [L][K], by summing over all sequences.
    pub(crate) fn posterior(&self, state: &[usize], t: f64) -> Vec<Vec<f64>> {
        let (v, k) = (self.vocabulary, kappa(self.exponent, t));
        let seen = |x1: usize, xt: usize| match self.mask {
            true => f64::from(u8::from(xt == v || xt == x1)),
            false => k * f64::from(u8::from(xt == x1)) + (1.0 - k) / v as f64,
        };
        let (mut posterior, mut all) = (vec![vec![0.0; self.tokens()]; self.length], 0.0);
        for (number, target) in self.target.iter().enumerate() {
            let sequence = self.digits(number, v);
            let p = target * sequence.iter().zip(state).map(|(&x1, &xt)| seen(x1, xt)).product::<f64>();
            all += p;
            sequence.iter().zip(&mut posterior).for_each(|(&x1, row)| row[x1] += p);
        }
        assert!(all > 0.0, "the state {state:?} has no probability");
        posterior.iter_mut().flatten().for_each(|p| *p /= all);
        posterior
    }

    /// The exact law over sequences [V^L] of a sampler whose positions move independently given the state, on the grid
    /// 0, 1/steps, .., 1, and the share of masks before the last step. `after` returns the law of a position from (times,
    /// posterior, current token).
    pub(crate) fn law(
        &self,
        steps: usize,
        after: impl Fn([f64; 2], &[f64], usize) -> Vec<f64>,
    ) -> (Vec<f64>, f64) {
        let states = self.tokens().pow(self.length as u32);
        let mut now = vec![0.0; states];
        let source = self.source();
        for (number, p) in now.iter_mut().enumerate() {
            *p = self.state(number).iter().map(|&token| source[token]).product();
        }
        let mut masks = 0.0;
        let timeless: Vec<_> = (0..states).map(|_| std::cell::OnceCell::new()).collect();
        for step in 0..steps {
            masks = self.masks(&now);
            let between = [step, step + 1].map(|s| s as f64 / steps as f64);
            let mut next = vec![0.0; states];
            for (number, &p) in now.iter().enumerate().filter(|(_, p)| **p > 0.0) {
                let state = self.state(number);
                let fresh = || self.posterior(&state, between[0]);
                let posterior = if self.mask { timeless[number].get_or_init(fresh).clone() } else { fresh() };
                let rows = posterior.iter().zip(&state).map(|(row, &x)| after(between, row, x));
                self.spread(&rows.collect::<Vec<_>>(), 0, p, &mut next);
            }
            now = next;
        }
        (self.sequences(&now), masks)
    }

    /// Adds p times the product of the rows to `next`.
    fn spread(&self, rows: &[Vec<f64>], number: usize, p: f64, next: &mut [f64]) {
        let Some((row, rest)) = rows.split_first() else {
            next[number] += p;
            return;
        };
        for (token, share) in row.iter().enumerate().filter(|(_, share)| **share > 0.0) {
            self.spread(rest, number * self.tokens() + token, p * share, next);
        }
    }

    /// The expected share of masks.
    fn masks(&self, law: &[f64]) -> f64 {
        let share = |number: usize| {
            let masked = self.state(number).iter().filter(|&&token| token == self.vocabulary).count();
            masked as f64 / self.length as f64
        };
        law.iter().enumerate().map(|(number, p)| p * share(number)).sum()
    }

    /// Turns a law over states into one over sequences. No state with a mask may have probability.
    pub(crate) fn sequences(&self, states: &[f64]) -> Vec<f64> {
        let mut law = vec![0.0; self.target.len()];
        for (number, p) in states.iter().enumerate().filter(|(_, p)| **p > 0.0) {
            let state = self.state(number);
            assert!(state.iter().all(|&token| token < self.vocabulary), "a mask is left in {state:?}");
            law[state.iter().fold(0, |number, token| number * self.vocabulary + token)] += p;
        }
        law
    }
}

/// Half the sum of absolute differences.
pub(crate) fn total_variation(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f64>() / 2.0
}

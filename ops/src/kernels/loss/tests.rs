//! The loss and its gradients against their definition.

use super::*;
use crate::Precision;
use crate::kernels::vector::tests::find_instruction_sets;

fn noise(count: usize, step: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * step) % 1009) as f32 / 504.5 - 1.0).collect()
}

/// n positions, V tokens, D values in a hidden state.
struct Case {
    shape: [usize; 3],
    precision: Precision,
    hidden: Vec<f32>,
    head: Vec<f32>,
    targets: Vec<u32>,
    present: Vec<u32>,
    factors: [Vec<f32>; 2],
}

impl Case {
    fn new(n: usize, v: usize, d: usize) -> Self {
        let token = |step: usize| (0..n).map(|i| (i * step % v) as u32).collect();
        Self {
            shape: [n, v, d],
            precision: Precision::F32,
            hidden: noise(n * d, 37),
            head: noise(v * d, 91),
            targets: token(7),
            present: token(11),
            factors: [noise(n, 13), noise(n, 29)],
        }
    }

    fn terms(&self) -> Terms<'_> {
        let [cross_entropy, probability] = &self.factors;
        Terms { targets: &self.targets, present: &self.present, cross_entropy, probability }
    }

    fn views(&self) -> (View<'_>, View<'_>) {
        let ([n, v, d], precision) = (self.shape, self.precision);
        let [hidden, head] = [View::new(&self.hidden, n, d, d), View::new(&self.head, v, d, d)];
        (hidden.rounded(precision), head.rounded(precision))
    }

    fn differentiate(&self, arch: Arch) -> LossDerivatives {
        let (hidden, head) = self.views();
        differentiate(arch, hidden, head, self.terms(), true)
    }

    /// The sum of the loss in f64, and CE and p(x) of every position.
    fn define(&self, hidden: &[f64], head: &[f64]) -> (f64, Vec<[f64; 2]>) {
        let [n, v, d] = self.shape;
        let of_position = |i: usize| {
            let z = |t: usize| (0..d).map(|k| hidden[i * d + k] * head[t * d + k]).sum::<f64>();
            let log_total = (0..v).map(|t| z(t).exp()).sum::<f64>().ln();
            [log_total - z(self.targets[i] as usize), (z(self.present[i] as usize) - log_total).exp()]
        };
        let parts: Vec<[f64; 2]> = (0..n).map(of_position).collect();
        let weigh = |(i, [ce, p]): (usize, &[f64; 2])| {
            f64::from(self.factors[0][i]) * ce + f64::from(self.factors[1][i]) * p
        };
        (parts.iter().enumerate().map(weigh).sum(), parts)
    }
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|x| f64::from(*x)).collect()
}

#[test]
fn values_and_gradients_are_those_of_the_definition() {
    let case = Case::new(5, 13, 6);
    let (found, step) = (case.differentiate(Arch::new()), 1e-5);
    let (hidden, head) = (wide(&case.hidden), wide(&case.head));
    for (i, [ce, p]) in case.define(&hidden, &head).1.into_iter().enumerate() {
        // f32 rounding of logits up to 6.
        assert!((f64::from(found.losses.cross_entropy[i]) - ce).abs() < 1e-5);
        assert!((f64::from(found.losses.probability[i]) - p).abs() < 1e-6);
    }
    let differ = |values: &[f64], i: usize, loss: &dyn Fn(&[f64]) -> f64| {
        let at = |by: f64| {
            let mut moved = values.to_vec();
            moved[i] += by;
            loss(&moved)
        };
        (at(step) - at(-step)) / (2.0 * step)
    };
    for (i, gradient) in found.hidden.iter().enumerate() {
        let expected = differ(&hidden, i, &|hidden| case.define(hidden, &head).0);
        assert!((f64::from(*gradient) - expected).abs() < 1e-5, "hidden {i}");
    }
    for (i, gradient) in found.head.iter().enumerate() {
        let expected = differ(&head, i, &|head| case.define(&hidden, head).0);
        assert!((f64::from(*gradient) - expected).abs() < 1e-5, "head {i}");
    }
}

#[test]
fn threads_change_no_bit_and_in_f32_neither_does_the_instruction_set() {
    let mut case = Case::new(CHAIN + 40, 700, 33);
    let bits = |found: &LossDerivatives| {
        let parts = [&found.losses.cross_entropy, &found.losses.probability, &found.hidden, &found.head];
        parts.map(|values| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>())
    };
    let expected = bits(&case.differentiate(Arch::Scalar));
    for arch in find_instruction_sets() {
        assert!(bits(&tasks::serially(|| case.differentiate(arch))) == expected, "{arch:?}");
        assert!(bits(&case.differentiate(arch)) == expected, "{arch:?}, all cores");
    }
    case.precision = Precision::Bf16;
    for arch in find_instruction_sets() {
        let alone = bits(&tasks::serially(|| case.differentiate(arch)));
        assert!(bits(&case.differentiate(arch)) == alone, "bf16, {arch:?}, all cores");
    }
}

#[test]
fn a_position_depends_on_no_other() {
    let [n, v, d] = [CHAIN + 3, 50, 8];
    for precision in [Precision::F32, Precision::Bf16] {
        let case = Case { precision, ..Case::new(n, v, d) };
        let whole = case.differentiate(Arch::new());
        for at in [0, 17, CHAIN, n - 1] {
            let (hidden, head) = case.views();
            let own = View { values: &hidden.values[at * d..(at + 1) * d], rows: 1, ..hidden };
            let found = differentiate(Arch::new(), own, head, case.terms().take(at, 1), true);
            assert_eq!(found.losses.cross_entropy[0], whole.losses.cross_entropy[at]);
            assert_eq!(found.losses.probability[0], whole.losses.probability[at]);
            assert_eq!(found.hidden, whole.hidden[at * d..(at + 1) * d]);
        }
    }
}

#[test]
fn measuring_yields_the_losses_of_differentiating() {
    let case = Case::new(CHAIN + 40, 60, 9);
    let (hidden, head) = case.views();
    let found = measure(Arch::new(), hidden, head, &case.targets, &case.present);
    assert_eq!(found, case.differentiate(Arch::new()).losses);
}

#[test]
fn given_logits_yield_what_a_head_of_ones_and_zeros_yields() {
    let [n, v] = [7, 12];
    let mut case = Case::new(n, v, v);
    case.head = (0..v * v).map(|i| f32::from(u8::from(i % (v + 1) == 0))).collect();
    let (losses, gradient) = differentiate_logits(&case.hidden, case.terms());
    let expected = case.differentiate(Arch::new());
    assert_eq!(losses, expected.losses);
    assert_eq!(gradient, expected.hidden);
}

#[test]
fn a_token_that_cannot_be_has_no_gradient_and_nothing_to_learn_is_no_fault() {
    let case = Case::new(2, 4, 4);
    let mut logits = case.hidden.clone();
    let hidden = (0..4).find(|t| [case.targets[0], case.present[0]].iter().all(|x| x != t)).unwrap();
    logits[hidden as usize] = f32::NEG_INFINITY;
    let (losses, gradient) = differentiate_logits(&logits, case.terms());
    assert_eq!(gradient[hidden as usize], 0.0);
    assert!(losses.cross_entropy.iter().chain(&gradient).all(|x| x.is_finite()));
    let none = Terms { targets: &[], present: &[], cross_entropy: &[], probability: &[] };
    assert_eq!(differentiate_logits(&[], none), (MeasuredLoss::default(), Vec::new()));
}

#[test]
fn logits_that_are_not_numbers_are_not_hidden() {
    let case = Case::new(2, 4, 4);
    let mut logits = case.hidden.clone();
    logits[1] = f32::NAN;
    let (losses, gradient) = differentiate_logits(&logits, case.terms());
    assert!(losses.cross_entropy[0].is_nan() && gradient[0].is_nan());
    assert!(losses.cross_entropy[1].is_finite() && gradient[4].is_finite());
}

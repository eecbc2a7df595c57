//! Checks every mask, pair by pair, against the rule that defines it.

use super::super::tests::tiny;
use super::*;
use crate::backbone::{Backbone, Qwen3Config, TimeConditioning};
use crate::device;
use crate::rng::{RandomPurpose, RandomStream, derive_stream};

/// The documents of a row (or of half a row, if rows have halves): their lengths, and the length of the padding after them.
#[derive(Clone, Debug)]
struct Layout(Vec<usize>, usize);

impl Layout {
    fn random(length: usize, draws: &mut RandomStream) -> Self {
        let (mut left, mut documents) = (length - draws.below(4.min(length as u64)) as usize, Vec::new());
        while left > 0 {
            let document = 1 + draws.below(left as u64) as usize;
            documents.push(document);
            left -= document;
        }
        let used: usize = documents.iter().sum();
        Self(documents, length - used)
    }

    /// (document, position in it) of each token; padding has no document.
    fn places(&self) -> Vec<(Option<usize>, usize)> {
        let documents = self.0.iter().enumerate().map(|(number, length)| (Some(number), *length));
        let all = documents.chain([(None, self.1)]);
        all.flat_map(|(number, length)| (0..length).map(move |position| (number, position))).collect()
    }
}

/// A batch of rows, with the visibility of every pair.
struct Case {
    context: AttentionContext,
    rows: Vec<Layout>,
}

impl Case {
    fn new(attention: Attention, halves: bool, rows: Vec<Layout>) -> Self {
        let copies = if halves { 2 } else { 1 };
        let places: Vec<_> = rows.iter().flat_map(|row| row.places().repeat(copies)).collect();
        let segment = |document: Option<usize>| document.map_or(PADDING, |number| number as u32);
        let context = AttentionContext::new(attention, rows.len(), places.len() / rows.len())
            .with_positions(places.iter().map(|place| place.1 as u32).collect())
            .with_segments(places.iter().map(|place| segment(place.0)).collect());
        let context = if halves { context.with_halves() } else { context };
        Self { context, rows }
    }

    /// Opens about a third of all pairs.
    fn opened(self, draws: &mut RandomStream) -> Self {
        let words = self.context.batch * self.context.length * self.context.length.div_ceil(32);
        let opened = (0..words).map(|_| (draws.bits() & draws.bits() | draws.bits() & 0x1111_1111) as u32);
        Self { context: self.context.clone().with_opened(opened.collect()), ..self }
    }

    /// Whether query `i` of `row` may see key `j`.
    fn sees(&self, row: usize, i: usize, j: usize) -> bool {
        let places = self.rows[row].places();
        let half = places.len();
        let ((own, p), (other, q)) = (places[i % half], places[j % half]);
        if own.is_none() || own != other {
            return false;
        }
        match self.context.attention {
            Attention::Bidirectional => true,
            Attention::Causal => j <= i || self.is_open(row, i, j),
            Attention::BlockCausal { block } if !self.context.halves => q / block <= p / block,
            Attention::BlockCausal { block } => match (i < half, j < half) {
                (true, true) => q / block == p / block,
                (true, false) => q / block < p / block,
                (false, true) => false,
                (false, false) => q / block <= p / block,
            },
        }
    }

    /// The keys that query `i` of `row` may see.
    fn seen(&self, row: usize, i: usize) -> Vec<usize> {
        (0..self.context.length).filter(|j| self.sees(row, i, *j)).collect()
    }

    fn is_open(&self, row: usize, i: usize, j: usize) -> bool {
        let words = self.context.length.div_ceil(32);
        let opened = self.context.opened.as_ref();
        opened
            .is_some_and(|bits| bits[(row * self.context.length + i) * words + j / 32] & (1 << (j % 32)) != 0)
    }
}

/// Every kind of attention over random rows.
fn cases(length: usize, seed: u64) -> Vec<Case> {
    let mut draws = derive_stream(seed, RandomPurpose::Init, [0; 3]);
    let mut rows = || vec![Layout::random(length, &mut draws), Layout::random(length, &mut draws)];
    let block = |block| Attention::BlockCausal { block };
    let mut cases =
        vec![Case::new(Attention::Causal, false, rows()), Case::new(Attention::Bidirectional, false, rows())];
    for size in [1, 2, 3, 5, length] {
        cases.push(Case::new(block(size), false, rows()));
        cases.push(Case::new(block(size), true, rows()));
    }
    let whole = || vec![Layout(vec![length], 0)];
    for attention in [Attention::Causal, Attention::Bidirectional, block(3)] {
        cases.push(Case::new(attention, false, whole()));
    }
    cases.push(Case::new(block(3), true, whole()));
    let opened = [Case::new(Attention::Causal, false, rows()), Case::new(Attention::Causal, false, whole())];
    cases.extend(opened.map(|case| case.opened(&mut draws)));
    cases
}

fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.try_into_vec_as::<f32>().unwrap()
}

#[test]
fn every_mask_is_what_its_sentence_says() {
    let device = device::open_device("cpu").unwrap();
    for (length, seed) in [(1, 0), (7, 1), (12, 2), (12, 3), (37, 4)] {
        for case in cases(length, seed) {
            let all = case.context.length;
            for rows in [all, 1, 4, 5] {
                // What is visible everywhere has no mask.
                if case.context.attention != Attention::Bidirectional
                    || case.context.segments.iter().flatten().any(|s| *s != 0)
                {
                    check(&case, &AttentionMask::cut(&case.context, rows.min(all), &device));
                }
            }
        }
    }
}

/// Checks every pair of every block of query rows.
fn check(case: &Case, mask: &AttentionMask) {
    let (context, mut next) = (&case.context, 0);
    for rows in mask.blocks() {
        assert_eq!(rows.start, next, "blocks follow each other");
        next = rows.end;
        let bias = mask.bias(rows);
        let ([batch, .., count, width], bias) = (bias.dims(), values(bias));
        for row in 0..context.batch {
            for (at, i) in rows.clone().enumerate() {
                let found = |j: &usize| bias[((row % batch) * count + at) * width + j] == 0.0;
                let found: Vec<usize> = (0..context.length).filter(found).collect();
                assert_eq!(found, case.seen(row, i), "{context:?} row {row} query {i}");
            }
        }
    }
    assert_eq!(next, context.length);
}

#[test]
fn intervals_are_what_the_sentences_say() {
    for (length, seed) in [(1, 0), (7, 1), (12, 2), (12, 3), (37, 4)] {
        for case in cases(length, seed) {
            let context = &case.context;
            let Some(bounds) = build_intervals(context) else {
                assert!(context.opened.is_some(), "{context:?}");
                continue;
            };
            let (bounds, _) = bounds.as_chunks::<4>();
            for (row, i) in (0..context.batch).flat_map(|row| (0..context.length).map(move |i| (row, i))) {
                let [a, b, c, d] = bounds[(row * context.length + i) % bounds.len()];
                let found = |j: &usize| (a..b).contains(&(*j as i32)) || (c..d).contains(&(*j as i32));
                let found: Vec<usize> = (0..context.length).filter(found).collect();
                assert_eq!(found, case.seen(row, i), "{context:?} row {row} query {i}");
            }
        }
    }
}

#[test]
fn what_intervals_cannot_say_is_left_to_a_mask() {
    let context = |attention| AttentionContext::new(attention, 1, 4);
    let blocks = || context(Attention::BlockCausal { block: 2 });
    assert_eq!(build_intervals(&context(Attention::Causal).with_segments(vec![0, 0, 1, 0])), None);
    assert_eq!(build_intervals(&blocks().with_positions(vec![0, 2, 1, 3])), None);
    assert!(
        build_intervals(&blocks().with_positions(vec![0, 1, 0, 1]).with_segments(vec![0, 0, 1, 1])).is_some()
    );
}

/// A backbone with one layer, so that a token influences exactly the queries that see it.
fn one_layer() -> Backbone {
    let config = Qwen3Config { num_hidden_layers: 1, ..tiny(true) };
    Backbone::new(&config, TimeConditioning::None, 1, &device::open_device("cpu").unwrap()).unwrap()
}

#[test]
fn a_token_moves_exactly_the_logits_that_see_it() {
    let model = one_layer();
    // 14 tokens are less than a tile; 600 and more use several, in both halves.
    let long = [
        Case::new(Attention::BlockCausal { block: 32 }, false, vec![Layout(vec![200, 390], 10)]),
        Case::new(Attention::BlockCausal { block: 32 }, true, vec![Layout(vec![100, 195], 5)]),
        Case::new(Attention::Causal, false, vec![Layout(vec![200, 390], 10)]).opened(&mut derive_stream(
            9,
            RandomPurpose::Init,
            [1; 3],
        )),
    ];
    let short = cases(7, 5).into_iter().map(|case| (case, 1));
    for (case, step) in short.chain(long.into_iter().map(|case| (case, 83))) {
        let (rows, length) = (case.context.batch, case.context.length);
        let mut ids: Vec<u32> = (0..rows * length).map(|i| (i * 7 + i / 5) as u32 % 39).collect();
        let hidden = |ids: &[u32]| {
            let tokens = model.tokens(ids, rows).unwrap();
            values(model.hidden(tokens, &case.context).unwrap())
        };
        let before = hidden(&ids);
        for j in (0..length).step_by(step) {
            let old = std::mem::replace(&mut ids[j], 39);
            let after = hidden(&ids);
            ids[j] = old;
            let places = case.rows[0].places();
            for i in (0..length).filter(|i| places[i % places.len()].0.is_some()) {
                let width = before.len() / (rows * length);
                let moved = before[i * width..][..width] != after[i * width..][..width];
                assert_eq!(moved, i == j || case.sees(0, i, j), "{:?} query {i} key {j}", case.context);
            }
            let others = length * before.len() / (rows * length);
            assert_eq!(before[others..], after[others..], "another row");
        }
    }
}

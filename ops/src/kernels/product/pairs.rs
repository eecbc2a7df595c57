//! Products of bf16 numbers by instructions that take two summands at a time.
//!
//! The element of a product is a sum of chains of [`CHAIN`] products, as everywhere; within a chain, each pair of summands is
//! added second one first, and denormal numbers count as 0. Nothing else enters, so an element depends neither on the division of the
//! work nor on other rows.

mod avx512;
mod pack;
mod tile;

use pulp::Arch;

use super::CHAIN;
use crate::Precision;
use crate::kernels::panels::View;
use crate::kernels::tasks;
use avx512::{Avx512Bf16, LeftRow, Line};

/// Pairs of summands in a chain.
const PAIRS: usize = CHAIN / 2;

/// Columns of a panel of the right factor.
const WIDTH: usize = 32;

/// Rows of a tile: with two registers each they keep 24 of 32 registers as sums.
const TILE_ROWS: usize = 12;

/// Most rows of the result that one task computes: a multiple of a tile, and few, so that tasks end at about the same time.
const TASK_ROWS: usize = 48;

/// Panels of the right factor that one task packs.
const TASK_PANELS: usize = 8;

/// Panels whose part of the result stays in the second cache from chain to chain.
const BLOCK: usize = 32;

/// Where products go: row i of the result is `out[i * step..][..width]`, with at most [`WIDTH`] columns.
struct Onto<'a> {
    out: &'a mut [f32],
    step: usize,
    width: usize,
    /// Whether products are added to what is there.
    add: bool,
}

/// The instructions that multiply pairs, if those of `arch` are used and the processor has them.
pub(crate) fn find_bf16_instructions(arch: Arch) -> Option<Avx512Bf16> {
    if matches!(arch, Arch::V4(_)) { Avx512Bf16::detect() } else { None }
}

/// A right factor [k, n]: chains one after another, each as panels of lines.
#[derive(Debug)]
pub(super) struct PairedMatrix {
    cpu: Avx512Bf16,
    lines: Vec<Line>,
    depth: usize,
    columns: usize,
}

impl PairedMatrix {
    /// Packs `b`; `None` if its values are not to be rounded to bf16, or there are no instructions for it.
    pub(super) fn new(arch: Arch, b: View) -> Option<Self> {
        let cpu = find_bf16_instructions(arch).filter(|_| b.precision == Precision::Bf16)?;
        let (depth, columns, panels) = (b.rows, b.columns, b.columns.div_ceil(WIDTH));
        let mut lines = vec![Line::ZERO; depth.div_ceil(2) * panels];
        let chains = lines.chunks_mut((PAIRS * panels).max(1)).enumerate();
        let tasks = chains.flat_map(|(number, chain)| {
            let pairs = chain.len() / panels;
            chain
                .chunks_mut(pairs * TASK_PANELS)
                .enumerate()
                .map(move |(task, out)| (number, pairs, task, out))
        });
        tasks::run(depth * columns / 4, tasks, |(number, pairs, task, out)| {
            let (from, end) = (number * CHAIN, depth.min((number + 1) * CHAIN));
            for (panel, out) in out.chunks_exact_mut(pairs).enumerate() {
                cpu.pack_right(b.transposed(), (task * TASK_PANELS + panel) * WIDTH, from, end, out);
            }
        });
        Some(Self { cpu, lines, depth, columns })
    }

    /// Adds a b to `out`, or writes it, [m, n].
    pub(super) fn multiply_onto(&self, a: View, out: &mut [f32], add: bool) {
        let cost = (a.rows * self.columns).saturating_mul(self.depth) / 32;
        let rows = a.rows.div_ceil(2).next_multiple_of(TILE_ROWS).min(TASK_ROWS);
        tasks::run(cost, out.chunks_mut((rows * self.columns).max(1)).enumerate(), |(number, out)| {
            self.multiply_rows(a, number * rows, out, add);
        });
    }

    /// Rows of the product from `first` on.
    fn multiply_rows(&self, a: View, first: usize, out: &mut [f32], add: bool) {
        let panels = self.columns.div_ceil(WIDTH);
        let mut buffer = [LeftRow::ZERO; TASK_ROWS];
        let left = &mut buffer[..out.len() / self.columns];
        for block in (0..panels).step_by(BLOCK) {
            for (number, chain) in self.lines.chunks(PAIRS * panels).enumerate() {
                let (from, add) = (number * CHAIN, add || number > 0);
                self.cpu.pack_left(a, first, from, self.depth.min(from + CHAIN), left);
                self.multiply_block(left, chain, block, out, add);
            }
        }
    }

    /// Rows times the panels of a block, all of one chain.
    fn multiply_block(&self, left: &[LeftRow], chain: &[Line], block: usize, out: &mut [f32], add: bool) {
        let pairs = chain.len() / self.columns.div_ceil(WIDTH);
        let panels = chain.chunks_exact(pairs).enumerate().skip(block).take(BLOCK);
        for (panel, right) in panels {
            let (at, ahead) = (panel * WIDTH, &chain[(panel + 1) * pairs..]);
            let width = WIDTH.min(self.columns - at);
            let mut onto = Onto { out: &mut out[at..], step: self.columns, width, add };
            self.cpu.multiply(left, right, ahead, &mut onto);
        }
    }
}

#[cfg(test)]
mod tests;

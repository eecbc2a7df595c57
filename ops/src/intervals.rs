//! Which keys each query of attention sees.

use std::sync::Arc;

use burn_tensor::{Device, Int, Tensor, TensorData};

/// The keys that each query sees: those j with a <= j < b or c <= j < d, where (a, b, c, d) are its two intervals.
///
/// They stay on the host, where kernels plan by them what they skip. Clones share them.
#[derive(Clone, Debug)]
pub struct Intervals {
    /// B, or 1 if one row serves the whole batch.
    rows: usize,
    /// Queries of a row.
    length: usize,
    bounds: Arc<[i32]>,
}

impl Intervals {
    /// Intervals of `length` queries in each of some rows.
    ///
    /// # Shapes
    /// `bounds`: row-major [B or 1, L, 4].
    ///
    /// # Panics
    /// If `bounds` holds no whole number of rows.
    #[must_use]
    pub fn new(bounds: Vec<i32>, length: usize) -> Self {
        let rows = bounds.len() / (4 * length).max(1);
        assert_eq!(bounds.len(), 4 * rows * length, "four bounds for every query");
        Self { rows, length, bounds: bounds.into() }
    }

    /// The numbers, row-major [B or 1, L, 4].
    #[cfg(feature = "kernels")]
    pub(crate) fn bounds(&self) -> &[i32] {
        &self.bounds
    }

    /// On the device, [B or 1, L, 4].
    pub(crate) fn to_tensor(&self, device: &Device) -> Tensor<3, Int> {
        let data = TensorData::new(self.bounds.to_vec(), [self.rows, self.length, 4]);
        Tensor::from_data(data, device)
    }
}

/// What kernels for tiles of queries need.
#[cfg(feature = "cube")]
impl Intervals {
    /// Rows of intervals.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// The keys that some of the queries `first..first + count` of some row see, as one range; empty if they see none.
    pub(crate) fn window(&self, first: usize, count: usize) -> std::ops::Range<usize> {
        let rows = self.bounds.chunks_exact(4 * self.length);
        let own = rows.flat_map(|row| row[4 * first..4 * (first + count)].chunks_exact(2));
        let seen = own.filter(|side| side[0] < side[1]);
        let joined = seen.fold(None, |all: Option<[i32; 2]>, side| match all {
            None => Some([side[0], side[1]]),
            Some([from, to]) => Some([from.min(side[0]), to.max(side[1])]),
        });
        joined.map_or(0..0, |[from, to]| from as usize..to as usize)
    }
}

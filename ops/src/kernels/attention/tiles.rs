//! Which tiles of keys a tile of queries sees, and the hiding of what single queries do not.

use super::KEYS;

/// How a tile of keys is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// By no query.
    None,
    /// By some.
    Some,
    /// By all, completely.
    All,
}

/// How the queries whose intervals are given see the keys from `first` on. Keys beyond the row are never seen completely.
pub(super) fn find_sight(queries: &[[i32; 4]], first: usize) -> Sight {
    let (start, end) = (first as i32, (first + KEYS) as i32);
    let (mut any, mut all) = (false, true);
    for [a, b, c, d] in queries {
        let meets = |from: i32, to: i32| from.max(start) < to.min(end);
        any |= meets(*a, *b) || meets(*c, *d);
        all &= (*a <= start && end <= *b) || (*c <= start && end <= *d);
    }
    match (any, all) {
        (false, _) => Sight::None,
        (true, false) => Sight::Some,
        (true, true) => Sight::All,
    }
}

/// Whether a query with these intervals sees a key.
#[inline(always)]
pub(super) fn sees([a, b, c, d]: [i32; 4], key: i32) -> bool {
    ((a <= key) & (key < b)) | ((c <= key) & (key < d))
}

/// Hides the keys that a lane does not see: `scores` is [keys, lanes], with the keys from `first` on.
#[inline(always)]
pub(super) fn hide(scores: &mut [f32], lanes: &[Vec<i32>; 4], first: usize) {
    let [a, b, c, d] = lanes;
    for (number, line) in scores.chunks_exact_mut(a.len()).enumerate() {
        let key = (first + number) as i32;
        for (lane, score) in line.iter_mut().enumerate() {
            let seen = sees([a[lane], b[lane], c[lane], d[lane]], key);
            *score = if seen { *score } else { f32::NEG_INFINITY };
        }
    }
}

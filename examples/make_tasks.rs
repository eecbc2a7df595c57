//! Writes `examples/quickstart/tasks/instructions.jsonl`, the instructions of the quickstart.
//!
//! The file is frozen: a change in this program makes a test fail, and committing the new file changes the fingerprint of
//! every stage that reads it. Run it from the root of the repository: `cargo run --example make_tasks`.
//!
//! There are six kinds of questions about 3 to 5 letters from `a` to `j`. Each has one correct answer with one token per item,
//! which fits into six tokens with its end of turn. No question occurs twice, so held-out questions are never trained on.

use std::collections::BTreeSet;
use std::fmt::Write as _;

const KINDS: [&str; 6] = ["repeat", "reverse", "sort", "first", "last", "count"];
const LETTERS: [&str; 10] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];

/// (items, questions of each kind). Only 1,000 questions of three items exist, so longer ones get more.
const LENGTHS: [(usize, usize); 3] = [(3, 700), (4, 2600), (5, 3700)];

const SEED: u64 = 20_261_122;

fn main() -> std::io::Result<()> {
    std::fs::write("examples/quickstart/tasks/instructions.jsonl", instructions())
}

/// The whole file: one JSON object per line, in random order.
pub(crate) fn instructions() -> String {
    let mut random = Random(SEED);
    let mut lines = Vec::new();
    for kind in KINDS {
        for (length, count) in LENGTHS {
            let mut seen = BTreeSet::new();
            while seen.len() < count {
                let items: Vec<&str> = (0..length).map(|_| LETTERS[random.below(LETTERS.len())]).collect();
                if seen.insert(items.clone()) {
                    lines.push(line(kind, &items));
                }
            }
        }
    }
    for last in (1..lines.len()).rev() {
        lines.swap(last, random.below(last + 1));
    }
    lines.concat()
}

fn line(kind: &str, items: &[&str]) -> String {
    let (question, answer) = (items.join(" "), answer(kind, items));
    let mut line = String::new();
    // Nothing here needs escaping; writing into a string cannot fail.
    let _ =
        writeln!(line, "{{\"task\":\"{kind}\",\"question\":\"{kind}: {question}\",\"answer\":\"{answer}\"}}");
    line
}

fn answer(kind: &str, items: &[&str]) -> String {
    let mut items = items.to_vec();
    match kind {
        "reverse" => items.reverse(),
        "sort" => items.sort_unstable(),
        "first" => items.truncate(1),
        "last" => items.drain(..items.len() - 1).for_each(drop),
        "count" => return items.len().to_string(),
        _ => {}
    }
    items.join(" ")
}

/// SplitMix64 (Steele et al., 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // The upper half of the product; its bias of about 10^-15 does not matter here.
        ((u128::from(z ^ (z >> 31)) * n as u128) >> 64) as usize
    }
}

//! What rows leave out: documents longer than a row, and answers longer than the canvas. They are never cut and always
//! reported.

use super::packing::Packing;
use super::rows::{Split, SplitSummary};

/// The properties of rows that decide what was left out and how to fix it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowsShape {
    /// Tokens in a row.
    pub length: usize,
    /// Tokens of an answer including its padding.
    pub canvas: Option<usize>,
    /// How rows are filled.
    pub packing: Packing,
    /// Whether the documents are conversations.
    pub chats: bool,
}

impl RowsShape {
    /// What is counted: "answers" if conversations are split into them, else "documents".
    #[must_use]
    pub(crate) fn unit(self) -> &'static str {
        if self.chats && self.packing == Packing::FirstFit { "answers" } else { "documents" }
    }

    /// Describes what a split left out, with fixes; `None` if nothing was left out.
    #[must_use]
    pub(crate) fn describe_dropped(self, split: Split, counts: &SplitSummary) -> Option<String> {
        let (left, all) = (counts.count_dropped(), counts.documents);
        if left == 0 {
            return None;
        }
        let whose = match split {
            Split::Train => "for training",
            Split::HeldOut => "held out",
        };
        let share = 100.0 * left as f64 / all as f64;
        let reasons = [self.too_long(counts.too_long), self.beyond_canvas(counts.beyond_canvas)];
        let reasons: Vec<String> = reasons.into_iter().flatten().collect();
        let unit = self.unit();
        let is = if left == 1 { "is" } else { "are" };
        Some(format!("of {all} {unit} {whose}, {left} ({share:.1} %) {is} left out: {}", reasons.join(", ")))
    }

    /// (problem, fix) if more than half of the training part is left out: what remains is a different dataset.
    #[must_use]
    pub(crate) fn refuse_majority_dropped(self, train: &SplitSummary) -> Option<(String, &'static str)> {
        let much = train.count_dropped() * 2 > train.documents;
        let problem = self.describe_dropped(Split::Train, train).filter(|_| much)?;
        Some((problem, "that is more than half: make room for them, or remove them from the dataset"))
    }

    fn too_long(self, count: u64) -> Option<String> {
        let (what, fix) = match self.unit() {
            "answers" => (" with the turns before them", ""),
            _ => ("", ", or choose packing=\"concat\""),
        };
        let length = self.length;
        (count > 0).then(|| format!("{count} longer than a row{what} (raise `length=`, now {length}{fix})"))
    }

    fn beyond_canvas(self, count: u64) -> Option<String> {
        (count > 0).then(|| {
            let canvas = self.canvas.expect("only rows with a canvas leave answers out for it");
            format!("{count} longer than the canvas (raise `canvas=`, now {canvas})")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_reported_with_its_share_and_a_fix() {
        let shape = RowsShape { length: 64, canvas: Some(12), packing: Packing::FirstFit, chats: true };
        let counts = SplitSummary { documents: 120, too_long: 4, beyond_canvas: 3, ..Default::default() };
        assert_eq!(
            shape.describe_dropped(Split::Train, &counts).unwrap(),
            "of 120 answers for training, 7 (5.8 %) are left out: 4 longer than a row with the turns before them \
            (raise `length=`, now 64), 3 longer than the canvas (raise `canvas=`, now 12)"
        );
        let text = RowsShape { chats: false, ..shape };
        let counts = SplitSummary { documents: 8, too_long: 2, ..Default::default() };
        assert_eq!(
            text.describe_dropped(Split::HeldOut, &counts).unwrap(),
            "of 8 documents held out, 2 (25.0 %) are left out: 2 longer than a row (raise `length=`, now 64, \
            or choose packing=\"concat\")"
        );
        assert_eq!(text.describe_dropped(Split::Train, &SplitSummary::default()), None);
    }

    #[test]
    fn more_than_half_is_too_much() {
        let shape = RowsShape { length: 64, canvas: Some(12), packing: Packing::FirstFit, chats: true };
        let too_much = |documents, too_long, beyond_canvas| {
            let counts = SplitSummary { documents, too_long, beyond_canvas, ..Default::default() };
            shape.refuse_majority_dropped(&counts)
        };
        assert!(too_much(0, 0, 0).is_none() && too_much(4, 1, 1).is_none());
        assert!(too_much(1, 1, 0).is_some());
        let (problem, fix) = too_much(4, 1, 2).unwrap();
        assert!(problem.contains("3 (75.0 %) are left out") && fix.contains("more than half"), "{problem}");
    }
}

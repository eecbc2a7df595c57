//! The part of a schema that makes it too large.

use regex_syntax::hir::{Class, Hir, HirKind};

use super::refuse;
use crate::automaton::parse_regex;
use crate::error::{ConstraintError, MOST_STATES};

/// The expressions of parts, each behind those within it.
#[derive(Default)]
pub(super) struct Parts(Vec<(String, String)>);

impl Parts {
    pub(super) fn add(&mut self, place: &str, written: &str) {
        self.0.push((place.to_owned(), written.to_owned()));
    }

    /// Why no automaton was made of the last part: the innermost one that has at least a quarter of its size.
    pub(super) fn explain(&self) -> ConstraintError {
        let size = |written: &str| parse_regex(written).map_or(0, |hir| measure(&hir));
        let whole = self.0.last().map_or(0, |(_, written)| size(written));
        let found = self.0.iter().find(|(_, written)| size(written) >= whole.div_ceil(4));
        let (place, _) = found.expect("the whole has at least a quarter of its own size");
        let what = format!(
            "it is too large: its automaton would have more than {MOST_STATES} states, or take too long to be built"
        );
        refuse(place, what, "write smaller bounds, such as `maxLength` or `maxItems`, or fewer parts")
    }
}

/// About how many states an expression has, with repetitions written out.
fn measure(hir: &Hir) -> u64 {
    let of_all = |parts: &[Hir]| parts.iter().map(measure).fold(1, u64::saturating_add);
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 1,
        HirKind::Literal(literal) => literal.0.len() as u64,
        HirKind::Class(Class::Unicode(class)) => class.ranges().len() as u64,
        HirKind::Class(Class::Bytes(class)) => class.ranges().len() as u64,
        HirKind::Repetition(repetition) => {
            let times = repetition.max.unwrap_or(repetition.min.saturating_add(1));
            measure(&repetition.sub).saturating_mul(times.into())
        }
        HirKind::Capture(group) => measure(&group.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => of_all(parts),
    }
}

//! Limits how mixtures can contain each other: no cycles, and bounded depth and size.

use crate::language::names::Declarations;
use crate::language::record::{Leaf, Record};
use crate::text::diagnostic::{Code, Diagnostic};

/// Deepest nesting. A mixture that contains a mixture of datasets is one level deep.
const MAX_MIXTURE_DEPTH: usize = 8;

/// Most parts of a mixture, including the parts of nested mixtures. Depth alone does not bound the work: a mixture that
/// names eight others at each of eight levels has millions of parts.
pub(super) const MAX_MIXTURE_PARTS: usize = 1000;

/// Searches for a path from a mixture back to itself.
pub(super) struct NestingSearch<'a> {
    world: &'a Declarations,
    root: &'a Record,
    places: usize,
}

/// What is wrong with the nesting of a mixture.
pub(super) enum NestingError<'a> {
    /// The mixtures of a cycle, each with the reference to the next. The last one refers to the root.
    Cycle(Vec<(&'a Record, &'a Leaf)>),
    /// The reference at which the nesting becomes too deep, or the mixture too large.
    TooLarge(&'a Leaf),
}

impl<'a> NestingSearch<'a> {
    pub(super) fn new(world: &'a Declarations, root: &'a Record) -> Self {
        Self { world, root, places: 0 }
    }

    /// `path` has the mixtures entered so far, each with the reference to the next.
    pub(super) fn walk(
        &mut self,
        mixture: &'a Record,
        path: &mut Vec<(&'a Record, &'a Leaf)>,
    ) -> Option<NestingError<'a>> {
        self.places += mixture.children.len();
        for part in mixture.children("mixture") {
            let Some((leaf, target)) =
                part.leaf("name").and_then(|leaf| Some((leaf, self.world.any_target(leaf)?)))
            else {
                continue;
            };
            path.push((mixture, leaf));
            if std::ptr::eq(target, self.root) {
                return Some(NestingError::Cycle(path.clone()));
            }
            if path.len() > MAX_MIXTURE_DEPTH || self.places > MAX_MIXTURE_PARTS {
                return Some(NestingError::TooLarge(leaf));
            }
            // A cycle that does not include the root is reported by the search that starts at one of its own mixtures.
            let entered = path.iter().any(|(mixture, _)| std::ptr::eq(*mixture, target));
            if let Some(found) = (!entered).then(|| self.walk(target, path)).flatten() {
                return Some(found);
            }
            path.pop();
        }
        None
    }
}

impl NestingError<'_> {
    /// The diagnostic. A cycle is found once from each of its mixtures, but reported only for the first one in the text.
    pub(super) fn to_diagnostic(&self, world: &Declarations, root: &Record) -> Option<Diagnostic> {
        let path = match self {
            Self::Cycle(path) => path,
            Self::TooLarge(leaf) => {
                // A mixture whose name is missing or invalid is reported all the same.
                let name = root.name().map_or("a mixture".to_owned(), |name| format!("mixture `{name}`"));
                let message = format!(
                    "{name} is nested more than {MAX_MIXTURE_DEPTH} levels deep, or has more than {MAX_MIXTURE_PARTS} parts"
                );
                let fault = Diagnostic::new(Code::NestedTooDeep, message).at(&leaf.span, "nested too deeply");
                return Some(fault.help("name the datasets directly instead of nested mixtures"));
            }
        };
        let first = world
            .records
            .iter()
            .find(|record| path.iter().any(|(mixture, _)| std::ptr::eq(*mixture, *record)));
        if !first.is_some_and(|first| std::ptr::eq(first, root)) {
            return None;
        }
        let names: Vec<_> =
            path.iter().map(|(mixture, _)| mixture.expect_name()).chain([root.expect_name()]).collect();
        let message = format!("mixtures contain each other: `{}`", names.join("` -> `"));
        let mut fault = Diagnostic::new(Code::MixtureCycle, message);
        for (at, (mixture, leaf)) in path.iter().enumerate() {
            let text = format!("`{}` contains `{}`", mixture.expect_name(), leaf.expect_text());
            fault = if at == 0 { fault.at(&leaf.span, text) } else { fault.also(&leaf.span, text) };
        }
        Some(fault.help("remove one of these references"))
    }
}

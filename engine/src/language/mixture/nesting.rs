//! How mixtures contain each other: no circles, and no towers.

use crate::language::names::Declarations;
use crate::language::record::{Leaf, Record};
use crate::text::diagnostic::{Code, Diagnostic};

/// Deepest nesting: a mixture of mixtures of mixtures is two deep.
const MAX_MIXTURE_DEPTH: usize = 8;

/// Most places at which datasets may stand in a mixture, those of its parts counted.
pub(super) const MAX_MIXTURE_PARTS: usize = 1000;

/// Looks for a way from a mixture back to itself.
pub(super) struct NestingSearch<'a> {
    world: &'a Declarations,
    root: &'a Record,
    places: usize,
}

/// What is wrong with how mixtures contain each other: the names on the way.
pub(super) enum NestingError<'a> {
    /// The last name is that of the mixture itself.
    Cycle(Vec<(&'a Record, &'a Leaf)>),
    /// Too deep, or too many places.
    TooLarge(&'a Leaf),
}

impl<'a> NestingSearch<'a> {
    pub(super) fn new(world: &'a Declarations, root: &'a Record) -> Self {
        Self { world, root, places: 0 }
    }

    /// `way`: the mixtures entered so far, each with the name that led to the next.
    pub(super) fn walk(
        &mut self,
        mixture: &'a Record,
        way: &mut Vec<(&'a Record, &'a Leaf)>,
    ) -> Option<NestingError<'a>> {
        self.places += mixture.children.len();
        for part in mixture.children("mixture") {
            let Some((leaf, target)) =
                part.leaf("name").and_then(|leaf| Some((leaf, self.world.any_target(leaf)?)))
            else {
                continue;
            };
            way.push((mixture, leaf));
            if std::ptr::eq(target, self.root) {
                return Some(NestingError::Cycle(way.clone()));
            }
            if way.len() > MAX_MIXTURE_DEPTH || self.places > MAX_MIXTURE_PARTS {
                return Some(NestingError::TooLarge(leaf));
            }
            // A circle that does not come back here is told where it does.
            let entered = way.iter().any(|(mixture, _)| std::ptr::eq(*mixture, target));
            if let Some(found) = (!entered).then(|| self.walk(target, way)).flatten() {
                return Some(found);
            }
            way.pop();
        }
        None
    }
}

impl NestingError<'_> {
    /// The fault; of a circle only once, at its first mixture in the text.
    pub(super) fn to_diagnostic(&self, world: &Declarations, root: &Record) -> Option<Diagnostic> {
        let way = match self {
            Self::Cycle(way) => way,
            Self::TooLarge(leaf) => {
                // A mixture whose name is missing or invalid is told of all the same.
                let name = root.name().unwrap_or_default();
                let message = format!(
                    "mixture `{name}` is more than {MAX_MIXTURE_DEPTH} mixtures deep, or has more than {MAX_MIXTURE_PARTS} parts"
                );
                let fault = Diagnostic::new(Code::NestedTooDeep, message).at(&leaf.span, "leads too deep");
                return Some(fault.help("name the datasets themselves"));
            }
        };
        let first = world
            .records
            .iter()
            .find(|record| way.iter().any(|(mixture, _)| std::ptr::eq(*mixture, *record)));
        if !first.is_some_and(|first| std::ptr::eq(first, root)) {
            return None;
        }
        let names: Vec<_> =
            way.iter().map(|(mixture, _)| mixture.expect_name()).chain([root.expect_name()]).collect();
        let message = format!("mixtures contain each other: `{}`", names.join("` -> `"));
        let mut fault = Diagnostic::new(Code::MixtureCycle, message);
        for (at, (mixture, leaf)) in way.iter().enumerate() {
            let text = format!("`{}` contains `{}`", mixture.expect_name(), leaf.expect_text());
            fault = if at == 0 { fault.at(&leaf.span, text) } else { fault.also(&leaf.span, text) };
        }
        Some(fault.help("take one of them out"))
    }
}

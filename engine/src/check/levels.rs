//! Which warnings are allowed (hidden) and which are denied (raised to errors).
//!
//! A rule for one code beats a rule for `warnings`; between two rules of the same scope, the command line beats the file.

use crate::check::options::CheckOptions;
use crate::language::record::{Leaf, Record};
use crate::text::diagnostic::{Code, Diagnostic, Severity, Sink};
use crate::text::place::Span;

/// The word that means every warning, in `--allow`, `--deny` and the `lint` node.
pub(crate) const ALL_WARNINGS: &str = "warnings";

/// What happens to a warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WarningLevel {
    Allow,
    Deny,
}

/// One `allow` or `deny` of the file or the command line.
#[derive(Clone, Debug)]
struct LevelRule {
    word: String,
    level: WarningLevel,
    /// Where the file says so; `None` for the command line.
    place: Option<Span>,
}

/// All rules, strongest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct WarningLevels(Vec<LevelRule>);

impl WarningLevels {
    /// Collects the rules of the command line and of the `lint` node, and reports codes that the file both allows and
    /// denies.
    #[must_use]
    pub(crate) fn collect(lint: Option<&Record>, options: &CheckOptions, sink: &mut Sink) -> Self {
        let given = |level, words: &[String]| {
            words
                .iter()
                .map(move |word| LevelRule { word: word.clone(), level, place: None })
                .collect::<Vec<_>>()
        };
        let mut rules = given(WarningLevel::Allow, &options.allow);
        rules.extend(given(WarningLevel::Deny, &options.deny));
        let allowed = find_code_leaves(lint, "allow");
        let denied = find_code_leaves(lint, "deny");
        report_level_contradictions(&allowed, &denied, sink);
        rules.extend(allowed.into_iter().map(|leaf| build_level_rule(leaf, WarningLevel::Allow)));
        rules.extend(denied.into_iter().map(|leaf| build_level_rule(leaf, WarningLevel::Deny)));
        // The sort is stable, so that the command line stays ahead of the file.
        rules.sort_by_key(|rule| rule.word == ALL_WARNINGS);
        Self(rules)
    }

    /// Removes allowed warnings, raises denied ones to errors, and returns how many were removed.
    #[must_use]
    pub(crate) fn apply(&self, found: Vec<Diagnostic>) -> (Vec<Diagnostic>, usize) {
        let before = found.len();
        let kept: Vec<_> = found.into_iter().filter_map(|diagnostic| self.apply_to(diagnostic)).collect();
        let allowed = before - kept.len();
        (kept, allowed)
    }

    fn apply_to(&self, diagnostic: Diagnostic) -> Option<Diagnostic> {
        if diagnostic.severity == Severity::Error {
            return Some(diagnostic);
        }
        let code = diagnostic.code.name();
        match self.0.iter().find(|rule| rule.word == code || rule.word == ALL_WARNINGS) {
            None => Some(diagnostic),
            Some(LevelRule { level: WarningLevel::Allow, .. }) => None,
            Some(rule) => Some(raise_to_error(diagnostic, rule)),
        }
    }
}

fn find_code_leaves<'a>(lint: Option<&'a Record>, level: &str) -> Vec<&'a Leaf> {
    let nodes = lint.into_iter().flat_map(|lint| &lint.children);
    let nodes = nodes.filter(|node| node.spec.name == level);
    nodes.flat_map(|node| node.all("code")).collect()
}

fn build_level_rule(leaf: &Leaf, level: WarningLevel) -> LevelRule {
    let word = leaf.expect_text().to_owned();
    LevelRule { word, level, place: Some(leaf.span.clone()) }
}

fn raise_to_error(mut diagnostic: Diagnostic, rule: &LevelRule) -> Diagnostic {
    diagnostic.severity = Severity::Error;
    if let Some(place) = &rule.place {
        return diagnostic.also(place, "denied here");
    }
    let help = diagnostic.help.take().map(|help| format!("{help}\n")).unwrap_or_default();
    diagnostic.help(format!("{help}this warning is an error because of `--deny {}`", rule.word))
}

fn report_level_contradictions(allowed: &[&Leaf], denied: &[&Leaf], sink: &mut Sink) {
    for leaf in denied {
        let Some(other) = allowed.iter().find(|other| other.text() == leaf.text()) else { continue };
        let message = format!("`{}` is both allowed and denied", leaf.expect_text());
        sink.push(
            Diagnostic::new(Code::ConflictingFields, message)
                .at(&leaf.span, "denied here")
                .also(&other.span, "allowed here")
                .help("keep one of them"),
        );
    }
}

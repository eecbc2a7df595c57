//! Which warnings a configuration allows, and which it takes for errors. The command line wins over the file, a code over
//! `warnings`.

use crate::check::options::Options;
use crate::language::record::{Leaf, Record};
use crate::text::diagnostic::{Code, Diagnostic, Severity, Sink};
use crate::text::place::Span;

/// The word that stands for every warning.
pub const ALL: &str = "warnings";

/// What becomes of a warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Allow,
    Deny,
}

/// One word of the file or of the command line.
#[derive(Clone, Debug)]
struct Rule {
    word: String,
    level: Level,
    /// Where the file says so; nothing for the command line.
    place: Option<Span>,
}

/// All rules, the stronger ones first.
#[derive(Clone, Debug, Default)]
pub struct Levels(Vec<Rule>);

impl Levels {
    /// The rules of the command line and of the `lint` node.
    #[must_use]
    pub fn of(lint: Option<&Record>, options: &Options, sink: &mut Sink) -> Self {
        let given = |level, words: &[String]| {
            words.iter().map(move |word| Rule { word: word.clone(), level, place: None }).collect::<Vec<_>>()
        };
        let mut rules = given(Level::Allow, &options.allow);
        rules.extend(given(Level::Deny, &options.deny));
        let allowed = words(lint, "allow");
        let denied = words(lint, "deny");
        contradictions(&allowed, &denied, sink);
        rules.extend(allowed.into_iter().map(|leaf| rule(leaf, Level::Allow)));
        rules.extend(denied.into_iter().map(|leaf| rule(leaf, Level::Deny)));
        rules.sort_by_key(|rule| rule.word == ALL);
        Self(rules)
    }

    /// Findings without the allowed ones, the denied ones as errors; and how many were allowed.
    #[must_use]
    pub fn apply(&self, found: Vec<Diagnostic>) -> (Vec<Diagnostic>, usize) {
        let before = found.len();
        let told: Vec<_> = found.into_iter().filter_map(|diagnostic| self.told(diagnostic)).collect();
        let allowed = before - told.len();
        (told, allowed)
    }

    fn told(&self, diagnostic: Diagnostic) -> Option<Diagnostic> {
        if diagnostic.severity == Severity::Error {
            return Some(diagnostic);
        }
        let code = diagnostic.code.name();
        match self.0.iter().find(|rule| rule.word == code || rule.word == ALL) {
            None => Some(diagnostic),
            Some(Rule { level: Level::Allow, .. }) => None,
            Some(rule) => Some(denied(diagnostic, rule)),
        }
    }
}

fn words<'a>(lint: Option<&'a Record>, level: &str) -> Vec<&'a Leaf> {
    let nodes = lint.into_iter().flat_map(|lint| &lint.children);
    let nodes = nodes.filter(|node| node.spec.name == level);
    nodes.flat_map(|node| node.all("code")).collect()
}

fn rule(leaf: &Leaf, level: Level) -> Rule {
    let word = leaf.text().unwrap_or_default().to_owned();
    Rule { word, level, place: Some(leaf.span.clone()) }
}

fn denied(mut diagnostic: Diagnostic, rule: &Rule) -> Diagnostic {
    diagnostic.severity = Severity::Error;
    if let Some(place) = &rule.place {
        return diagnostic.also(place, "denied here");
    }
    let help = diagnostic.help.take().map(|help| format!("{help}\n")).unwrap_or_default();
    diagnostic.help(format!("{help}a warning that `--deny {}` makes an error", rule.word))
}

fn contradictions(allowed: &[&Leaf], denied: &[&Leaf], sink: &mut Sink) {
    for leaf in denied {
        let Some(other) = allowed.iter().find(|other| other.text() == leaf.text()) else { continue };
        let message = format!("`{}` is both allowed and denied", leaf.text().unwrap_or_default());
        sink.push(
            Diagnostic::new(Code::ConflictingFields, message)
                .at(&leaf.span, "denied here")
                .also(&other.span, "allowed here")
                .help("keep one of them"),
        );
    }
}

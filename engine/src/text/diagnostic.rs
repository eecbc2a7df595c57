//! Diagnostics as data: a code, a message, the places in the text, and how to fix the problem.

mod code;

pub use code::Code;

use std::panic::Location;

use crate::text::place::{FileRole, Span};

/// Whether the pipeline is still usable. Errors sort before warnings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration gives no pipeline.
    Error,
    /// The pipeline is usable, but probably not what its author wants.
    Warning,
}

impl Severity {
    /// `error` or `warning`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// A place in the text, with a note, that a diagnostic points at.
#[derive(Clone, Debug)]
pub struct Label {
    /// The bytes to underline.
    pub span: Span,
    /// The note beside them.
    pub text: String,
    /// Whether this is the place to change. The first primary label is the position of the diagnostic.
    pub primary: bool,
}

/// One problem of a configuration.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    /// The kind of problem.
    pub code: Code,
    /// Usually the severity of the code; `lint { ... }` in the configuration can change it.
    pub severity: Severity,
    /// A lower-case fragment that makes sense without the labels and the help.
    pub message: String,
    /// The places that are involved, the primary one first.
    pub labels: Vec<Label>,
    /// What to change, with text that can be pasted.
    pub help: Option<String>,
    /// The line of this program that wrote the help, so that a test can count the helps that it has followed.
    pub help_from: Option<&'static Location<'static>>,
}

impl Diagnostic {
    /// A diagnostic without labels and help, with the severity of its code.
    #[must_use]
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: code.severity(),
            message: message.into(),
            labels: Vec::new(),
            help: None,
            help_from: None,
        }
    }

    /// Adds a primary label: the place to change.
    #[must_use]
    pub(crate) fn at(mut self, span: &Span, text: impl Into<String>) -> Self {
        self.labels.push(Label { span: span.clone(), text: text.into(), primary: true });
        self
    }

    /// Adds a secondary label, such as the other half of a contradiction.
    #[must_use]
    pub(crate) fn also(mut self, span: &Span, text: impl Into<String>) -> Self {
        self.labels.push(Label { span: span.clone(), text: text.into(), primary: false });
        self
    }

    /// Sets the help.
    #[must_use]
    #[track_caller]
    pub(crate) fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self.help_from = Some(Location::caller());
        self
    }

    /// Sets the help if there is some, and otherwise keeps what was set before.
    #[must_use]
    #[track_caller]
    pub(crate) fn maybe_help(self, text: Option<String>) -> Self {
        match text {
            Some(text) => self.help(text),
            None => self,
        }
    }

    /// Adds a line to the help.
    #[must_use]
    pub(crate) fn help_line(mut self, line: &str) -> Self {
        self.help = Some(self.help.map_or_else(|| line.to_owned(), |help| format!("{help}\n{line}")));
        self
    }

    /// The place to change: the span of the first primary label.
    #[must_use]
    pub fn place(&self) -> Option<&Span> {
        self.labels.iter().find(|label| label.primary).map(|label| &label.span)
    }

    fn key(&self) -> ((usize, usize), Code, String) {
        (self.place().map_or((0, 0), Span::key), self.code, self.message.clone())
    }

    /// Whether both point at the same place and have the same help.
    fn has_same_help(&self, other: &Self) -> bool {
        let place = |diagnostic: &Self| diagnostic.place().map(|span| (span.key(), span.length));
        self.code == other.code
            && self.help == other.help
            && place(self).is_some()
            && place(self) == place(other)
    }

    /// Adds a label to every `include` that leads to the file of this diagnostic.
    fn with_include_sites(mut self) -> Self {
        let mut file = self.place().map(|span| span.file.clone());
        while let Some(FileRole::Included(site)) = file.as_ref().map(|file| &file.role) {
            let site = site.clone();
            if self.labels.iter().all(|label| label.span.key() != site.key()) {
                self = self.also(&site, "included here");
            }
            file = Some(site.file);
        }
        self
    }
}

/// How many of the previous diagnostics are compared with the next one. No single place has more.
const MERGE_DISTANCE: usize = 8;

/// Merges diagnostics with the same code, place and help. Without this, a mistake in a recipe would be reported again for
/// every stage that uses the recipe.
fn merge_repeated_faults(list: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let mut kept: Vec<(Diagnostic, usize)> = Vec::new();
    for diagnostic in list {
        // The list is sorted by place, so duplicates are close to each other.
        let mut near = kept.iter_mut().rev().take(MERGE_DISTANCE);
        match near.find(|(other, _)| other.has_same_help(&diagnostic)) {
            Some((_, more)) => *more += 1,
            None => kept.push((diagnostic, 0)),
        }
    }
    let summarize = |(diagnostic, more): (Diagnostic, usize)| match more {
        0 => diagnostic,
        _ => {
            Diagnostic { message: format!("{} (and {more} more like it)", diagnostic.message), ..diagnostic }
        }
    };
    kept.into_iter().map(summarize).collect()
}

/// Most diagnostics that are shown. Nobody reads more, and drawing each of them scans the whole text once.
const MAX_DIAGNOSTICS: usize = 200;

/// Collects diagnostics, so that one `check` reports every problem instead of stopping at the first.
#[derive(Debug, Default)]
pub(crate) struct Sink {
    list: Vec<Diagnostic>,
    errors: usize,
}

impl Sink {
    /// Adds a diagnostic.
    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        self.errors += usize::from(diagnostic.severity == Severity::Error);
        self.list.push(diagnostic);
    }

    /// Adds several diagnostics.
    pub(crate) fn extend(&mut self, diagnostics: impl IntoIterator<Item = Diagnostic>) {
        diagnostics.into_iter().for_each(|diagnostic| self.push(diagnostic));
    }

    /// Number of errors so far. Callers compare it before and after a step to learn whether that step failed.
    #[must_use]
    pub(crate) fn errors(&self) -> usize {
        self.errors
    }

    /// All diagnostics, sorted by place and without duplicates. Beyond the limit, errors are kept before warnings.
    #[must_use]
    pub(crate) fn finish(mut self) -> Vec<Diagnostic> {
        self.list = self.list.into_iter().map(Diagnostic::with_include_sites).collect();
        self.list.sort_by_cached_key(Diagnostic::key);
        self.list.dedup_by_key(|diagnostic| diagnostic.key());
        self.list = merge_repeated_faults(self.list);
        if self.list.len() <= MAX_DIAGNOSTICS {
            return self.list;
        }
        self.list.sort_by_key(|diagnostic| diagnostic.severity);
        let others = self.list.split_off(MAX_DIAGNOSTICS);
        let severity = others.first().map_or(Severity::Warning, |first| first.severity);
        self.list.sort_by_cached_key(Diagnostic::key);
        let rest =
            Diagnostic::new(Code::FileTooLarge, format!("{} more findings are not shown", others.len()));
        self.list.push(Diagnostic { severity, ..rest.help("fix these, then check again") });
        self.list
    }
}

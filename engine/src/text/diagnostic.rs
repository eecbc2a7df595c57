//! What is wrong with a configuration, as data: a code, a message, places in the text, and what to do about it.

mod code;

pub use code::Code;

use crate::text::place::{FileRole, Span};

/// Whether a pipeline can still be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// There is no pipeline.
    Error,
    /// There is a pipeline, but somebody should look.
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

/// A place that takes part in a diagnostic.
#[derive(Clone, Debug)]
pub struct Label {
    /// The place.
    pub span: Span,
    /// What is there.
    pub text: String,
    /// Whether this is the place to change; the first primary label gives the position.
    pub primary: bool,
}

/// One thing that is wrong.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    /// Stable name of the kind of fault.
    pub code: Code,
    /// Whether a pipeline can still be used.
    pub severity: Severity,
    /// A lower-case fragment that stands alone.
    pub message: String,
    /// Places; the primary one first.
    pub labels: Vec<Label>,
    /// What to change, with text to paste.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A diagnostic without a place.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, severity: code.severity(), message: message.into(), labels: Vec::new(), help: None }
    }

    /// Adds the place to change.
    #[must_use]
    pub fn at(mut self, span: &Span, text: impl Into<String>) -> Self {
        self.labels.push(Label { span: span.clone(), text: text.into(), primary: true });
        self
    }

    /// Adds the other half of the contradiction.
    #[must_use]
    pub fn also(mut self, span: &Span, text: impl Into<String>) -> Self {
        self.labels.push(Label { span: span.clone(), text: text.into(), primary: false });
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }

    /// Says what to do, if anything is known.
    #[must_use]
    pub fn maybe_help(mut self, text: Option<String>) -> Self {
        self.help = text.or(self.help);
        self
    }

    /// The place to change.
    #[must_use]
    pub fn place(&self) -> Option<&Span> {
        self.labels.iter().find(|label| label.primary).map(|label| &label.span)
    }

    fn key(&self) -> ((usize, usize), Code, String) {
        (self.place().map_or((0, 0), Span::key), self.code, self.message.clone())
    }

    /// Whether both stand at one place and are cured in one way.
    fn has_same_help(&self, other: &Self) -> bool {
        let place = |diagnostic: &Self| diagnostic.place().map(|span| (span.key(), span.length));
        self.code == other.code
            && self.help == other.help
            && place(self).is_some()
            && place(self) == place(other)
    }

    /// Shows where the file of the fault is included.
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

/// How many findings a place is looked for among: more than one place ever has.
const MERGE_DISTANCE: usize = 8;

/// Faults of one kind at one place with one cure become one: a recipe's, which every stage that uses it would tell again.
fn merge_repeated_faults(list: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let mut kept: Vec<(Diagnostic, usize)> = Vec::new();
    for diagnostic in list {
        // The list is sorted by place.
        let mut near = kept.iter_mut().rev().take(MERGE_DISTANCE);
        match near.find(|(other, _)| other.has_same_help(&diagnostic)) {
            Some((_, more)) => *more += 1,
            None => kept.push((diagnostic, 0)),
        }
    }
    let told = |(diagnostic, more): (Diagnostic, usize)| match more {
        0 => diagnostic,
        _ => {
            Diagnostic { message: format!("{} (and {more} more like it)", diagnostic.message), ..diagnostic }
        }
    };
    kept.into_iter().map(told).collect()
}

/// Most diagnostics that one run tells; nobody reads more, and each is drawn with a look through the whole text.
const MAX_DIAGNOSTICS: usize = 200;

/// Collects diagnostics; nothing stops at the first.
#[derive(Debug, Default)]
pub struct Sink {
    list: Vec<Diagnostic>,
    errors: usize,
}

impl Sink {
    /// Adds a diagnostic.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.errors += usize::from(diagnostic.severity == Severity::Error);
        self.list.push(diagnostic);
    }

    /// Adds what is there.
    pub fn extend(&mut self, diagnostics: impl IntoIterator<Item = Diagnostic>) {
        diagnostics.into_iter().for_each(|diagnostic| self.push(diagnostic));
    }

    /// How many errors there are so far.
    #[must_use]
    pub fn errors(&self) -> usize {
        self.errors
    }

    /// Everything, sorted by place, without duplicates.
    #[must_use]
    pub fn finish(mut self) -> Vec<Diagnostic> {
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
        self.list.push(Diagnostic { severity, ..rest.help("correct these, then check again") });
        self.list
    }
}

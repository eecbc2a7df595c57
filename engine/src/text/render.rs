//! Diagnostics as text: a drawing with the source, one line each, JSON, or annotations.

mod github;
mod shown;

use std::fmt::Write as _;
use std::sync::Arc;

use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, Report, Severity as Level,
};

pub use self::github::github;
use self::shown::Shown;
use crate::text::diagnostic::{Diagnostic, Label, Severity};
use crate::text::place::{File, Span};

/// How a drawing looks.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Whether colours are used.
    pub colour: bool,
    /// Whether lines are drawn with more than ASCII.
    pub unicode: bool,
    /// Columns.
    pub width: usize,
}

impl Style {
    /// Without colour, 100 columns: what snapshots and files take.
    pub const PLAIN: Self = Self { colour: false, unicode: true, width: 100 };

    fn theme(self) -> GraphicalTheme {
        match (self.colour, self.unicode) {
            (true, true) => GraphicalTheme::unicode(),
            (true, false) => {
                GraphicalTheme { styles: miette::ThemeStyles::ansi(), ..GraphicalTheme::ascii() }
            }
            (false, true) => GraphicalTheme::unicode_nocolor(),
            (false, false) => GraphicalTheme::none(),
        }
    }
}

/// All diagnostics as drawings, with a blank line between two.
#[must_use]
pub fn graphical(diagnostics: &[Diagnostic], style: Style) -> String {
    let handler = GraphicalReportHandler::new_themed(style.theme())
        .with_width(style.width)
        .with_links(false)
        .with_context_lines(1)
        .with_break_words(false);
    let mut text = String::new();
    for diagnostic in diagnostics {
        if diagnostic.labels.iter().any(|label| !drawable(&label.span)) {
            let _ = writeln!(text, "{}", concise(std::slice::from_ref(diagnostic)));
            continue;
        }
        let one = drawing(&handler, diagnostic).unwrap_or_else(|| concise(std::slice::from_ref(diagnostic)));
        let lines: Vec<_> = one.trim_matches('\n').lines().map(str::trim_end).collect();
        let _ = writeln!(text, "{}\n", lines.join("\n"));
    }
    text
}

/// Longest line that is drawn, in bytes.
const LONGEST: usize = 500;

/// Whether the lines around a place are short enough to be shown.
fn drawable(span: &Span) -> bool {
    let text = &span.file.text;
    let (before, rest) = text.split_at_checked(span.offset).unwrap_or((text, ""));
    let ends = before.rsplit('\n').take(2).chain(rest.split('\n').take(2));
    let own = before.rsplit('\n').next().map_or(0, str::len) + rest.split('\n').next().map_or(0, str::len);
    own <= LONGEST && ends.map(str::len).all(|length| length <= LONGEST)
}

/// Lines between two places of a file from which on they are drawn apart.
const APART: usize = 8;

/// A drawing: one for each neighbourhood that takes part, the head above the first, the help below the last.
fn drawing(handler: &GraphicalReportHandler, diagnostic: &Diagnostic) -> Option<String> {
    let neighbourhoods = neighbourhoods(diagnostic);
    let last = neighbourhoods.len().saturating_sub(1);
    let mut text = String::new();
    for at in 0..=last {
        let help = diagnostic.help.as_ref().filter(|_| at == last);
        let labels = neighbourhoods.get(at).map_or(&[][..], Vec::as_slice);
        let mut one = String::new();
        let report = report(diagnostic, labels, help, at == 0);
        handler.render_report(&mut one, report.as_ref()).ok()?;
        // Without its code and message, the head is one line.
        text.extend(one.trim_matches('\n').lines().skip(usize::from(at > 0)).map(|line| format!("{line}\n")));
    }
    Some(text)
}

/// Labels of one file that lie close to each other; the place of the diagnostic first, then file by file from top to bottom.
/// All of a file in one drawing would show every line between them.
fn neighbourhoods(diagnostic: &Diagnostic) -> Vec<Vec<&Label>> {
    let place = diagnostic.place();
    let mut files: Vec<&Arc<File>> = place.map(|place| &place.file).into_iter().collect();
    for label in &diagnostic.labels {
        if !files.iter().any(|file| Arc::ptr_eq(file, &label.span.file)) {
            files.push(&label.span.file);
        }
    }
    let mut all: Vec<Vec<&Label>> = Vec::new();
    for file in files {
        let own = diagnostic.labels.iter().filter(|label| Arc::ptr_eq(file, &label.span.file));
        let mut own: Vec<(usize, &Label)> = own.map(|label| (label.span.position().0, label)).collect();
        own.sort_by_key(|(line, label)| (*line, label.span.offset));
        let close = own.chunk_by(|(before, _), (after, _)| after - before <= APART);
        all.extend(close.map(|labels| labels.iter().map(|(_, label)| *label).collect()));
    }
    let holds = |labels: &[&Label]| {
        labels.iter().any(|label| place.is_some_and(|place| std::ptr::eq(place, &label.span)))
    };
    all.sort_by_key(|labels| !holds(labels));
    all
}

/// Labels of one file, with the code and the message or without.
fn report(diagnostic: &Diagnostic, labels: &[&Label], help: Option<&String>, head: bool) -> Report {
    let drawn = labels.iter().map(|label| {
        let span = (Shown::offset(&label.span.file, label.span.offset), label.span.length);
        match label.primary {
            true => LabeledSpan::new_primary_with_span(Some(label.text.clone()), span),
            false => LabeledSpan::new_with_span(Some(label.text.clone()), span),
        }
    });
    let level = match diagnostic.severity {
        Severity::Error => Level::Error,
        Severity::Warning => Level::Warning,
    };
    let message = if head { diagnostic.message.as_str() } else { "." };
    let mut one = MietteDiagnostic::new(message).with_severity(level).with_labels(drawn);
    one.code = head.then(|| diagnostic.code.name().to_owned());
    one.help = help.cloned();
    let report = Report::new(one);
    match labels.first().map(|label| &label.span.file) {
        Some(file) => report.with_source_code(Shown::of(file)),
        None => report,
    }
}

/// One line for each diagnostic: `file:line:column: error[code]: message (help)`.
#[must_use]
pub fn concise(diagnostics: &[Diagnostic]) -> String {
    let mut text = String::new();
    for diagnostic in diagnostics {
        if let Some(span) = diagnostic.place() {
            let (line, column) = span.position();
            let _ = write!(text, "{}:{line}:{column}: ", span.file.name);
        }
        let word = diagnostic.severity.word();
        let _ = write!(text, "{word}[{}]: {}", diagnostic.code.name(), diagnostic.message);
        match &diagnostic.help {
            Some(help) => _ = writeln!(text, " ({})", help.replace('\n', " ")),
            None => text.push('\n'),
        }
    }
    text
}

/// Diagnostics as a JSON array, for `"diagnostics"` of a larger answer.
#[must_use]
pub fn json(diagnostics: &[Diagnostic]) -> serde_json::Value {
    diagnostics.iter().map(json_of).collect()
}

fn json_of(diagnostic: &Diagnostic) -> serde_json::Value {
    let labels = diagnostic.labels.iter().map(|label| {
        let (line, column) = label.span.position();
        serde_json::json!({
            "file": label.span.file.name, "line": line, "column": column, "offset": label.span.offset,
            "length": label.span.length, "text": label.text, "primary": label.primary,
        })
    });
    serde_json::json!({
        "code": diagnostic.code.name(), "severity": diagnostic.severity.word(), "message": diagnostic.message,
        "labels": labels.collect::<Vec<_>>(), "help": diagnostic.help,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::diagnostic::Code;
    use crate::text::read::root_file;

    #[test]
    fn lines_between_distant_places_are_left_out() {
        let file = root_file("a.kdl", "node\n".repeat(100), "/".into());
        let place = |line: usize| Span { file: file.clone(), offset: 5 * (line - 1), length: 4 };
        let diagnostic = Diagnostic::new(Code::Unused, "far apart")
            .at(&place(80), "here")
            .also(&place(82), "near")
            .also(&place(3), "far");
        let drawn = graphical(&[diagnostic], Style::PLAIN);
        let lines: Vec<&str> = drawn.lines().filter(|line| line.contains("│ node")).collect();
        assert_eq!(lines.len(), 5 + 3, "{drawn}");
        assert!(
            drawn.find("here") < drawn.find("near") && drawn.find("near") < drawn.find("far\n"),
            "{drawn}"
        );
        assert!(drawn.contains("a.kdl:80:1"), "{drawn}");
    }

    #[test]
    fn columns_of_drawings_are_those_of_lines() {
        for (text, line) in [("\u{feff}one two", "│ one two\n"), ("añ¿ two", "│ añ¿ two\n")] {
            let file = root_file("a.kdl", text.into(), "/".into());
            let span = Span { offset: text.find("two").unwrap(), length: 3, file };
            let diagnostic = [Diagnostic::new(Code::Unused, "no").at(&span, "here")];
            let drawn = graphical(&diagnostic, Style::PLAIN);
            assert!(drawn.contains("[a.kdl:1:5]") && drawn.contains(line), "{drawn}");
            assert!(drawn.contains("·     ─┬─\n"), "{drawn}");
            assert!(concise(&diagnostic).starts_with("a.kdl:1:5: "), "{}", concise(&diagnostic));
        }
    }

    #[test]
    fn two_files_are_drawn_under_one_head() {
        let place =
            |name: &str| Span { file: root_file(name, "a b".into(), "/".into()), offset: 2, length: 1 };
        let diagnostic = Diagnostic::new(Code::Unused, "a message of many words ".repeat(8))
            .also(&place("b.kdl"), "the other half")
            .at(&place("a.kdl"), "one half")
            .help("a cure");
        for style in
            [Style::PLAIN, Style { colour: true, ..Style::PLAIN }, Style { unicode: false, ..Style::PLAIN }]
        {
            let drawn = graphical(std::slice::from_ref(&diagnostic), style);
            let at = |text: &str| drawn.find(text).unwrap_or_else(|| panic!("{text} in\n{drawn}"));
            assert_eq!(drawn.matches("many").count(), 8, "{drawn}");
            assert!(at("a.kdl") < at("one half") && at("one half") < at("b.kdl"), "{drawn}");
            assert!(at("b.kdl") < at("the other half") && at("the other half") < at("a cure"), "{drawn}");
        }
    }
}

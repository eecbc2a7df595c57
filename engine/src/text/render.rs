//! Renders diagnostics: drawings with the source text, one line each, JSON, or GitHub annotations.

mod drawn_file;
mod github;

use std::fmt::Write as _;
use std::sync::Arc;

use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, Report, Severity as Level,
};

use self::drawn_file::DrawnFile;
pub use self::github::render_github_annotations;
use crate::text::diagnostic::{Diagnostic, Label, Severity};
use crate::text::escape::{escape_line, escape_text};
use crate::text::place::{ConfigFile, Span};

/// How drawings look on a terminal.
#[derive(Clone, Copy, Debug)]
pub struct DrawingStyle {
    /// Whether to use ANSI colors.
    pub color: bool,
    /// Whether to draw lines with Unicode box characters; otherwise with ASCII.
    pub unicode: bool,
    /// Width in columns, at which messages wrap.
    pub width: usize,
}

impl DrawingStyle {
    /// No color, 100 columns: the style for snapshots and for output that is not a terminal.
    pub const PLAIN: Self = Self { color: false, unicode: true, width: 100 };

    fn theme(self) -> GraphicalTheme {
        match (self.color, self.unicode) {
            (true, true) => GraphicalTheme::unicode(),
            (true, false) => {
                GraphicalTheme { styles: miette::ThemeStyles::ansi(), ..GraphicalTheme::ascii() }
            }
            (false, true) => GraphicalTheme::unicode_nocolor(),
            (false, false) => GraphicalTheme::none(),
        }
    }
}

/// All diagnostics as drawings, separated by blank lines. Diagnostics that cannot be drawn become one line each.
#[must_use]
pub fn render_drawings(diagnostics: &[Diagnostic], style: DrawingStyle) -> String {
    let handler = GraphicalReportHandler::new_themed(style.theme())
        .with_width(style.width)
        .with_links(false)
        .with_context_lines(1)
        .with_break_words(false)
        // Lines break at spaces only: what is broken inside a number, a word or a flag cannot be pasted.
        .with_word_separator(textwrap::WordSeparator::AsciiSpace)
        .with_word_splitter(textwrap::WordSplitter::NoHyphenation);
    let mut text = String::new();
    for diagnostic in diagnostics {
        if diagnostic.labels.iter().any(|label| !is_drawable(&label.span)) {
            let _ = writeln!(text, "{}", render_concise_lines(std::slice::from_ref(diagnostic)));
            continue;
        }
        let one = draw_diagnostic(&handler, diagnostic)
            .unwrap_or_else(|| render_concise_lines(std::slice::from_ref(diagnostic)));
        let lines: Vec<_> = one.trim_matches('\n').lines().map(str::trim_end).collect();
        let _ = writeln!(text, "{}\n", lines.join("\n"));
    }
    text
}

/// Longest source line that is drawn, in bytes. A longer one would flood the terminal.
const MAX_DRAWN_LINE_BYTES: usize = 500;

/// Whether the lines around a place are short enough to draw.
fn is_drawable(span: &Span) -> bool {
    let text = &span.file.text;
    let (before, rest) = text.split_at_checked(span.offset).unwrap_or((text, ""));
    let ends = before.rsplit('\n').take(2).chain(rest.split('\n').take(2));
    let own = before.rsplit('\n').next().map_or(0, str::len) + rest.split('\n').next().map_or(0, str::len);
    own <= MAX_DRAWN_LINE_BYTES && ends.map(str::len).all(|length| length <= MAX_DRAWN_LINE_BYTES)
}

/// Largest distance in lines between two labels that share a drawing.
const MAX_LINE_GAP: usize = 8;

/// Draws a diagnostic: one excerpt per group of labels, with the head above the first and the help below the last.
fn draw_diagnostic(handler: &GraphicalReportHandler, diagnostic: &Diagnostic) -> Option<String> {
    let groups = group_close_labels(diagnostic);
    let last = groups.len().saturating_sub(1);
    let mut text = String::new();
    for at in 0..=last {
        let help = diagnostic.help.as_ref().filter(|_| at == last);
        let labels = groups.get(at).map_or(&[][..], Vec::as_slice);
        let mut one = String::new();
        let report = build_miette_report(diagnostic, labels, help, at == 0);
        handler.render_report(&mut one, report.as_ref()).ok()?;
        // miette always draws a head. Without code and message it is one line, which is dropped here.
        text.extend(one.trim_matches('\n').lines().skip(usize::from(at > 0)).map(|line| format!("{line}\n")));
    }
    Some(text)
}

/// Groups the labels that are in the same file and close to each other: first the group with the diagnostic's place, then
/// file by file from top to bottom. One group per file is not enough, because miette draws every line between two labels.
fn group_close_labels(diagnostic: &Diagnostic) -> Vec<Vec<&Label>> {
    let place = diagnostic.place();
    let mut files: Vec<&Arc<ConfigFile>> = place.map(|place| &place.file).into_iter().collect();
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
        let close = own.chunk_by(|(before, _), (after, _)| after - before <= MAX_LINE_GAP);
        all.extend(close.map(|labels| labels.iter().map(|(_, label)| *label).collect()));
    }
    let holds = |labels: &[&Label]| {
        labels.iter().any(|label| place.is_some_and(|place| std::ptr::eq(place, &label.span)))
    };
    all.sort_by_key(|labels| !holds(labels));
    all
}

/// A report about labels of one file. Only with `head` does it carry the code and the message.
fn build_miette_report(
    diagnostic: &Diagnostic,
    labels: &[&Label],
    help: Option<&String>,
    head: bool,
) -> Report {
    let drawn = labels.iter().map(|label| {
        let (file, start) = (&label.span.file, label.span.offset);
        let from = DrawnFile::offset(file, start);
        let span = (from, DrawnFile::offset(file, start + label.span.length) - from);
        let text = escape_line(&label.text).into_owned();
        match label.primary {
            true => LabeledSpan::new_primary_with_span(Some(text), span),
            false => LabeledSpan::new_with_span(Some(text), span),
        }
    });
    let level = match diagnostic.severity {
        Severity::Error => Level::Error,
        Severity::Warning => Level::Warning,
    };
    let message = if head { escape_line(&diagnostic.message) } else { ".".into() };
    let mut one = MietteDiagnostic::new(message).with_severity(level).with_labels(drawn);
    one.code = head.then(|| diagnostic.code.name().to_owned());
    one.help = help.map(|help| escape_text(help).into_owned());
    let report = Report::new(one);
    match labels.first().map(|label| &label.span.file) {
        Some(file) => report.with_source_code(DrawnFile::from_file(file)),
        None => report,
    }
}

/// One line per diagnostic: `file:line:column: error[code]: message (help)`.
#[must_use]
pub fn render_concise_lines(diagnostics: &[Diagnostic]) -> String {
    let mut text = String::new();
    for diagnostic in diagnostics {
        let place = diagnostic.place().map(|span| format!("{span}: ")).unwrap_or_default();
        let help = diagnostic.help.as_ref().map(|help| format!(" ({})", help.replace('\n', " ")));
        let (word, code) = (diagnostic.severity.word(), diagnostic.code.name());
        let line = format!("{place}{word}[{code}]: {}{}", diagnostic.message, help.unwrap_or_default());
        let _ = writeln!(text, "{}", escape_line(&line));
    }
    text
}

/// Diagnostics as a JSON array, for the `"diagnostics"` key of a larger answer.
#[must_use]
pub fn render_diagnostics_json(diagnostics: &[Diagnostic]) -> serde_json::Value {
    diagnostics.iter().map(render_diagnostic_json).collect()
}

fn render_diagnostic_json(diagnostic: &Diagnostic) -> serde_json::Value {
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
    use crate::text::read::build_root_file;

    #[test]
    fn lines_between_distant_places_are_left_out() {
        let file = build_root_file("a.kdl", "node\n".repeat(100), "/".into());
        let place = |line: usize| Span { file: file.clone(), offset: 5 * (line - 1), length: 4 };
        let diagnostic = Diagnostic::new(Code::Unused, "far apart")
            .at(&place(80), "here")
            .also(&place(82), "near")
            .also(&place(3), "far");
        let drawn = render_drawings(&[diagnostic], DrawingStyle::PLAIN);
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
            let file = build_root_file("a.kdl", text.into(), "/".into());
            let span = Span { offset: text.find("two").unwrap(), length: 3, file };
            let diagnostic = [Diagnostic::new(Code::Unused, "no").at(&span, "here")];
            let drawn = render_drawings(&diagnostic, DrawingStyle::PLAIN);
            assert!(drawn.contains("[a.kdl:1:5]") && drawn.contains(line), "{drawn}");
            assert!(drawn.contains("·     ─┬─\n"), "{drawn}");
            assert!(
                render_concise_lines(&diagnostic).starts_with("a.kdl:1:5: "),
                "{}",
                render_concise_lines(&diagnostic)
            );
        }
    }

    #[test]
    fn lines_break_at_spaces_only() {
        let words = "write `peak=1e-3 final=1e-4`, `from=\"Qwen/Qwen3-0.6B\"` or `--local-dir=a/b-c/d-e`";
        let span = Span { offset: 0, length: 1, file: build_root_file("a.kdl", "a".into(), "/".into()) };
        let found = Diagnostic::new(Code::OutOfRange, "x").at(&span, "here").help(words);
        for width in 20..90 {
            let drawn =
                render_drawings(std::slice::from_ref(&found), DrawingStyle { width, ..DrawingStyle::PLAIN });
            for word in words.split(' ') {
                assert!(drawn.contains(word), "{word} at {width}\n{drawn}");
            }
        }
    }

    #[test]
    fn two_files_are_drawn_under_one_head() {
        let place =
            |name: &str| Span { file: build_root_file(name, "a b".into(), "/".into()), offset: 2, length: 1 };
        let diagnostic = Diagnostic::new(Code::Unused, "a message of many words ".repeat(8))
            .also(&place("b.kdl"), "the other half")
            .at(&place("a.kdl"), "one half")
            .help("a fix");
        for style in [
            DrawingStyle::PLAIN,
            DrawingStyle { color: true, ..DrawingStyle::PLAIN },
            DrawingStyle { unicode: false, ..DrawingStyle::PLAIN },
        ] {
            let drawn = render_drawings(std::slice::from_ref(&diagnostic), style);
            let at = |text: &str| drawn.find(text).unwrap_or_else(|| panic!("{text} in\n{drawn}"));
            assert_eq!(drawn.matches("many").count(), 8, "{drawn}");
            assert!(at("a.kdl") < at("one half") && at("one half") < at("b.kdl"), "{drawn}");
            assert!(at("b.kdl") < at("the other half") && at("the other half") < at("a fix"), "{drawn}");
        }
    }
}

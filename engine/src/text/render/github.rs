//! Diagnostics as workflow commands of GitHub Actions, which show them as annotations on a pull request.

use std::fmt::Write as _;

use crate::text::diagnostic::Diagnostic;
use crate::text::place::Span;

/// One `::error file=...::message` line per diagnostic. Secondary labels and the help follow the message as escaped lines.
#[must_use]
pub fn render_github_annotations(diagnostics: &[Diagnostic]) -> String {
    let mut text = String::new();
    for diagnostic in diagnostics {
        let word = diagnostic.severity.word();
        let title = escape_annotation_property(diagnostic.code.name());
        let place =
            diagnostic.place().map_or(String::new(), |span| format!("{},", format_annotation_place(span)));
        let _ = writeln!(
            text,
            "::{word} {place}title={title}::{}",
            escape_annotation_message(&format_annotation_message(diagnostic))
        );
    }
    text
}

fn format_annotation_place(span: &Span) -> String {
    let (line, column) = span.position();
    let end = Span { offset: span.offset + span.length, length: 0, ..span.clone() };
    let (last, end) = end.position();
    let file = escape_annotation_property(&span.file.name);
    // GitHub allows columns only if an annotation starts and ends on the same line.
    if last == line {
        let end = end.saturating_sub(1).max(column);
        return format!("file={file},line={line},endLine={last},col={column},endColumn={end}");
    }
    format!("file={file},line={line},endLine={last}")
}

fn format_annotation_message(diagnostic: &Diagnostic) -> String {
    let mut text = diagnostic.message.clone();
    for label in diagnostic.labels.iter().filter(|label| !label.primary) {
        let _ = write!(text, "\n{}: {}", label.span, label.text);
    }
    if let Some(help) = &diagnostic.help {
        let _ = write!(text, "\nhelp: {help}");
    }
    text
}

/// Escapes a message as <https://github.com/actions/toolkit/blob/main/packages/core/src/command.ts> does.
fn escape_annotation_message(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// Escapes a property, where `:` and `,` are separators.
fn escape_annotation_property(text: &str) -> String {
    escape_annotation_message(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::text::diagnostic::Code;
    use crate::text::place::{ConfigFile, FileRole};

    #[test]
    fn what_commands_are_made_of_is_escaped() {
        let file = Arc::new(ConfigFile {
            name: "a,b:c%.kdl".into(),
            text: "one\ntwo three\n".into(),
            folder: "/".into(),
            number: 0,
            role: FileRole::Root,
        });
        let span = |offset, length| Span { file: file.clone(), offset, length };
        let diagnostic = |span: &Span| Diagnostic::new(Code::Syntax, "50% of\nit").at(span, "here");
        let found = render_github_annotations(&[
            diagnostic(&span(8, 5)).also(&span(0, 3), "there").help("write `x`"),
            diagnostic(&span(0, 7)),
            Diagnostic::new(Code::Internal, "nowhere"),
        ]);
        let expected = "::error file=a%2Cb%3Ac%25.kdl,line=2,endLine=2,col=5,endColumn=9,title=syntax::50%25 of%0Ait%0A\
                        a,b:c%25.kdl:1:1: there%0Ahelp: write `x`\n\
                        ::error file=a%2Cb%3Ac%25.kdl,line=1,endLine=2,title=syntax::50%25 of%0Ait\n\
                        ::error title=internal::nowhere\n";
        assert_eq!(found, expected);
    }
}

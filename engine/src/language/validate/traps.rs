//! Reports text that is valid KDL but never what its author meant: a URL that became a comment, quotation marks of a word
//! processor, a colon, two nodes on one line.

use kdl::{KdlEntry, KdlNode};

use super::Validator;
use super::foreign_forms::quote_value;
use crate::language::schema::{FieldSpec, NodeSpec, load_schema};
use crate::language::syntax::find_foreign_quotes;
use crate::text::diagnostic::{Code, Diagnostic};
use crate::text::place::Span;
use crate::text::suggest;

impl Validator<'_> {
    /// Reports the trap, if any, that the entry at `at` belongs to. Returns the number of entries that belong to the trap and
    /// the field that it was meant for.
    pub(super) fn report_trap(
        &mut self,
        raw: &KdlNode,
        at: usize,
        spec: &NodeSpec,
    ) -> Option<(usize, Option<String>)> {
        let entry = raw.entries().get(at)?;
        let text = entry.value().as_string()?;
        let span = self.sources.value(entry);
        if span.text().starts_with(['"', '#']) {
            return None;
        }
        let named = entry.name().map(|name| name.value().to_owned());
        if self.report_bare_address(text, &span) || self.report_quotation_marks(&span) {
            return Some((1, named.or_else(|| find_unset_field(raw, at, spec))));
        }
        if named.is_some() {
            return None;
        }
        self.report_colon(raw, at, spec, text, &span)
            .or_else(|| self.report_second_node(raw, at, spec, text, &span))
    }

    /// `from=https://x/y` without quotes is the string `https:` and a comment.
    fn report_bare_address(&mut self, text: &str, span: &Span) -> bool {
        let rest = span.file.text.get(span.offset + span.length..).unwrap_or_default();
        if !text.ends_with(':') || !rest.starts_with("//") {
            return false;
        }
        let tail = rest.split(['\n', '\r', ' ', '{', ';']).next().unwrap_or_default();
        let message = format!("everything after `{text}` is a comment here");
        let whole = Span { length: span.length + tail.len(), ..span.clone() };
        self.sink.push(
            Diagnostic::new(Code::UrlTrap, message)
                .at(&whole, "`//` starts a comment")
                .help(format!("put the URL in quotes: `\"{text}{tail}\"`")),
        );
        true
    }

    /// Foreign quotation marks, which KDL takes as letters of a bare word.
    fn report_quotation_marks(&mut self, span: &Span) -> bool {
        let Some((open, (end, _))) = find_foreign_quotes(span.text()) else { return false };
        let text = span.text();
        let inside = &text[open..end];
        let mark = &text[..open];
        self.sink.push(
            Diagnostic::new(Code::Syntax, format!("{mark} is not a quotation mark in KDL"))
                .at(span, "not a string")
                .help(format!("write `\"{inside}\"`")),
        );
        true
    }

    /// `seed: 1`, which KDL takes as two values.
    fn report_colon(
        &mut self,
        raw: &KdlNode,
        at: usize,
        spec: &NodeSpec,
        text: &str,
        span: &Span,
    ) -> Option<(usize, Option<String>)> {
        let (name, joined) = text.split_once(':')?;
        let name = suggest::normalize_name(name);
        let field = spec.property(&name)?;
        if !joined.is_empty() {
            let help = format!("KDL has no colons: write `{}={}`", field.name, quote_value(joined));
            let message = format!("`{text}` contains a colon");
            self.sink.push(
                Diagnostic::new(Code::TrailingColon, message)
                    .at(span, "a property is written with `=`")
                    .help(help),
            );
            return Some((1, Some(field.name.clone())));
        }
        let value = raw.entries().get(at + 1).filter(|entry| entry.name().is_none());
        let shown = value.map(|entry| self.sources.value(entry).text().to_owned());
        let help = format!("KDL has no colons: write `{}={}`", field.name, shown.as_deref().unwrap_or("..."));
        let message = format!("`{text}` ends with a colon");
        self.sink.push(
            Diagnostic::new(Code::TrailingColon, message)
                .at(span, "a property is written with `=`")
                .help(help),
        );
        Some((1 + usize::from(value.is_some()), Some(field.name.clone())))
    }

    /// A node, or a comment of another language, in the middle of another node's line.
    fn report_second_node(
        &mut self,
        raw: &KdlNode,
        at: usize,
        spec: &NodeSpec,
        text: &str,
        span: &Span,
    ) -> Option<(usize, Option<String>)> {
        let surplus = count_arguments_before(raw, at) >= spec.arguments.len()
            && !spec.arguments.last().is_some_and(|last| last.many);
        if surplus && matches!(text, "--" | "%" | ";") {
            self.sink.push(
                Diagnostic::new(Code::Syntax, format!("`{text}` does not start a comment"))
                    .at(span, "here")
                    .help("write `//`"),
            );
            return Some((raw.entries().len() - at, None));
        }
        load_schema().node(text).filter(|_| surplus)?;
        self.sink.push(
            Diagnostic::new(Code::UnknownField, format!("`{text}` starts a node on the line of another one"))
                .at(span, "a node needs a line of its own")
                .help(format!("break the line before `{text}`, or put a `;` there")),
        );
        Some((raw.entries().len() - at, None))
    }
}

/// Number of arguments before an entry.
fn count_arguments_before(raw: &KdlNode, at: usize) -> usize {
    let before = &raw.entries()[..at];
    before.iter().filter(|entry: &&KdlEntry| entry.name().is_none()).count()
}

fn is_entry_of(entry: &KdlEntry, field: &FieldSpec) -> bool {
    entry.name().is_some_and(|name| field.is_called(name.value()))
}

/// The field that a value was probably meant for: the argument at its position, or the first required property that is
/// missing.
fn find_unset_field(raw: &KdlNode, at: usize, spec: &NodeSpec) -> Option<String> {
    let argument = spec.arguments.get(count_arguments_before(raw, at)).map(|field| field.name.clone());
    argument.or_else(|| {
        let needed = spec.properties.iter().filter(|field| field.required);
        needed
            .into_iter()
            .find(|field| !raw.entries().iter().any(|entry| is_entry_of(entry, field)))
            .map(|field| field.name.clone())
    })
}

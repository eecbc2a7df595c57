//! From the text of a file to nodes of KDL.

use std::sync::Arc;

use kdl::KdlDocument;

use crate::text::diagnostic::{Code, Diagnostic, Sink};
use crate::text::place::{ConfigFile, Span};
use crate::text::read;
use crate::text::scan::{self, ScanError};

/// Stack of the thread that parses: `kdl` recurses once per level.
const PARSER_STACK_BYTES: usize = 32 << 20;

/// Parses a text. `None` after diagnostics.
pub fn parse_kdl_file(file: &Arc<ConfigFile>, sink: &mut Sink) -> Option<KdlDocument> {
    if file.text.len() as u64 > read::MAX_CONFIG_BYTES {
        sink.push(read::file_too_large(&file.name));
        return None;
    }
    // YAML may well parse as nodes whose names end with a colon.
    if let Some(diagnostic) = crate::language::syntax::detect_yaml(file) {
        sink.push(diagnostic);
        return None;
    }
    let cuts = match scan::find_cuts(&file.text) {
        Ok(cuts) => cuts,
        Err(refusal) => {
            sink.push(report_scan_error(file, refusal));
            return None;
        }
    };
    match parse_on_thread(&file.text, &cuts) {
        Ok(document) => Some(document),
        Err((start, error)) => {
            crate::language::syntax::report_syntax_errors(file, start, &error, sink);
            None
        }
    }
}

fn report_scan_error(file: &Arc<ConfigFile>, refusal: ScanError) -> Diagnostic {
    let place = |offset| Span { file: file.clone(), offset, length: 1 };
    match refusal {
        ScanError::TooDeep(at) => Diagnostic::new(
            Code::NestedTooDeep,
            format!("braces or comments nest deeper than {}", scan::MAX_NESTING_DEPTH),
        )
        .at(&place(at), "one level too many")
        .help("a pipeline needs four levels; is a closing `}` missing?"),
        ScanError::Unmatched(at) => Diagnostic::new(Code::Syntax, "this bracket closes nothing")
            .at(&place(at), "not opened")
            .help("remove it, or find the `{` or `(` that is missing before it"),
        ScanError::TooManyLines(at) => {
            Diagnostic::new(Code::FileTooLarge, "a configuration of more than 20 000 lines")
                .at(&place(at), "one line too many")
                .help("keep data in files and name them with `dataset`")
        }
        ScanError::TooLong(at) => {
            let message = format!("a top-level node is longer than {} KiB", scan::MAX_PIECE_BYTES >> 10);
            Diagnostic::new(Code::FileTooLarge, message)
                .at(&place(at), "starts here")
                .help("keep data in files and name them with `dataset`; is a closing quote or brace missing?")
        }
    }
}

/// `kdl` overflows a small stack on deep nesting; the scan bounds the depth, the thread gives the room.
pub(crate) fn parse_on_thread(text: &str, cuts: &[usize]) -> Result<KdlDocument, (usize, kdl::KdlError)> {
    let work = || {
        check_pieces(text, cuts)?;
        KdlDocument::parse_v2(text).map_err(|error| (0, error))
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(PARSER_STACK_BYTES).spawn_scoped(scope, work);
        match thread.map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(result)) => result,
            _ => Err((0, kdl::KdlError { input: Arc::new(String::new()), diagnostics: Vec::new() })),
        }
    })
}

/// Parses a large text piece by piece up to the first with faults: the parser's time grows with their number squared.
fn check_pieces(text: &str, cuts: &[usize]) -> Result<(), (usize, kdl::KdlError)> {
    if text.len() <= scan::MAX_PIECE_BYTES {
        return Ok(());
    }
    let mut start = 0;
    for (at, end) in cuts.iter().enumerate() {
        let next = cuts.get(at + 1).copied().unwrap_or(usize::MAX);
        if next - start > scan::MAX_PIECE_BYTES / 4 {
            KdlDocument::parse_v2(&text[start..*end]).map_err(|error| (start, error))?;
            start = *end;
        }
    }
    Ok(())
}

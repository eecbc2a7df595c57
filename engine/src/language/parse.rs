//! Parses the text of a file into KDL nodes, with limits that keep `kdl` from overflowing its stack or running too long.

use std::sync::Arc;

use kdl::KdlDocument;

use crate::error::catch_library_panic;
use crate::text::diagnostic::{Code, Diagnostic, Sink};
use crate::text::place::{ConfigFile, FileRole, Span};
use crate::text::read;
use crate::text::scan::{self, ScanError};

/// Stack of the parser thread. `kdl` recurses once per nesting level, and a debug build overflows the usual 8 MiB between
/// 200 and 300 levels.
const PARSER_STACK_BYTES: usize = 32 << 20;

/// Parses a file. `None` after diagnostics.
pub(crate) fn parse_kdl_file(file: &Arc<ConfigFile>, sink: &mut Sink) -> Option<KdlDocument> {
    if file.text.len() as u64 > read::MAX_CONFIG_BYTES {
        sink.push(read::file_too_large(&name_parsed_text(file), read::MAX_CONFIG_BYTES));
        return None;
    }
    // This comes before parsing, because some YAML parses as KDL: as nodes whose names end with a colon.
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
        Err(ParserFailure::Syntax(start, error)) => {
            crate::language::syntax::report_syntax_errors(file, start, &error, sink);
            None
        }
        Err(ParserFailure::Unread(cause)) => {
            sink.push(cause.explain(file));
            None
        }
    }
}

/// What is parsed of a file, for messages about its size.
fn name_parsed_text(file: &ConfigFile) -> String {
    match file.role {
        FileRole::Lock => format!("`{}`, without the lines of files of datasets,", file.name),
        _ => format!("`{}`", file.name),
    }
}

fn report_scan_error(file: &Arc<ConfigFile>, refusal: ScanError) -> Diagnostic {
    let place = |offset| Span { file: file.clone(), offset, length: 1 };
    match refusal {
        ScanError::TooDeep(at) => Diagnostic::new(
            Code::NestedTooDeep,
            format!("braces or comments are nested more than {} levels deep", scan::MAX_NESTING_DEPTH),
        )
        .at(&place(at), "one level too many")
        .help("no pipeline needs more than four levels; is a closing `}` missing?"),
        ScanError::Unmatched(at) => Diagnostic::new(Code::Syntax, "this bracket closes nothing")
            .at(&place(at), "never opened")
            .help("remove it, or add the `{` or `(` that is missing before it"),
        ScanError::TooManyLines(at) => {
            let what = match file.role {
                FileRole::Lock => name_parsed_text(file),
                _ => "the configuration".to_owned(),
            };
            Diagnostic::new(Code::FileTooLarge, format!("{what} has more than 20 000 lines"))
                .at(&place(at), "one line too many")
                .help("keep data in separate files and name them in a `dataset`")
        }
        ScanError::TooLong(at) => {
            let message = format!("a top-level node is longer than {} KiB", scan::MAX_PIECE_BYTES >> 10);
            Diagnostic::new(Code::FileTooLarge, message)
                .at(&place(at), "starts here")
                .help("is a closing quote or brace missing? Keep data in separate files and name them in a `dataset`")
        }
    }
}

/// Why a text was not parsed.
#[derive(Debug)]
pub(crate) enum ParserFailure {
    /// The text is not KDL: the errors in the piece that starts at this byte.
    Syntax(usize, kdl::KdlError),
    /// Nobody knows whether it is KDL.
    Unread(UnreadCause),
}

/// Why a text was not parsed although nothing may be wrong with it.
#[derive(Debug)]
pub(crate) enum UnreadCause {
    /// The thread of the parser could not start.
    Start(std::io::Error),
    /// `kdl` panicked; what it said.
    Panic(String),
}

impl UnreadCause {
    /// The diagnostic for the file that was not parsed.
    pub(crate) fn explain(&self, file: &Arc<ConfigFile>) -> Diagnostic {
        let (message, help) = match self {
            Self::Start(why) => {
                let message = format!("the parser could not start: {why}");
                (message, "let this process start threads and use more memory, then try again")
            }
            Self::Panic(why) => (
                format!("the parser panicked: {why}"),
                "this is a bug in fmflow: please report it with this file",
            ),
        };
        let span = Span { file: file.clone(), offset: 0, length: 0 };
        Diagnostic::new(Code::Internal, message).at(&span, "this was not read").help(help)
    }
}

/// Parses a text on a thread with a large stack: the scan bounds the depth, but even that depth overflows a small stack.
pub(crate) fn parse_on_thread(text: &str, cuts: &[usize]) -> Result<KdlDocument, ParserFailure> {
    run_on_thread(PARSER_STACK_BYTES, || {
        check_pieces(text, cuts)?;
        KdlDocument::parse_v2(text).map_err(|error| (0, error))
    })
    .map_err(ParserFailure::Unread)?
    .map_err(|(start, error)| ParserFailure::Syntax(start, error))
}

/// The result of `work` on a thread with a stack of this size.
fn run_on_thread<T: Send>(stack_bytes: usize, work: impl FnOnce() -> T + Send) -> Result<T, UnreadCause> {
    std::thread::scope(|scope| {
        let work = || catch_library_panic(work);
        let thread = std::thread::Builder::new().stack_size(stack_bytes).spawn_scoped(scope, work);
        let ended = thread.map_err(UnreadCause::Start)?.join();
        ended.expect("a panic is caught on the thread").map_err(UnreadCause::Panic)
    })
}

/// Parses a large text piece by piece, up to the first piece with errors. The parser's time grows with the square of the
/// number of errors, so a large file full of errors would take too long at once.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parser_that_does_not_run_is_no_syntax_error() {
        let started = run_on_thread(1 << 60, || 1);
        assert!(matches!(started, Err(UnreadCause::Start(_))), "{started:?}");
        let panicked = run_on_thread(PARSER_STACK_BYTES, || panic!("why"));
        let Err::<(), _>(UnreadCause::Panic(why)) = panicked else { panic!("{panicked:?}") };
        assert_eq!(why, "why");
    }
}

//! A file as miette draws it: without a byte order mark and characters that act on a terminal, and with columns counted in characters.
//!
//! miette counts columns in bytes, so a two-byte letter would shift the column of everything after it on its line.

use miette::{MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents};

use crate::text::escape::{escape_line, mask_source};
use crate::text::place::{BYTE_ORDER_MARK, ConfigFile};

#[derive(Debug)]
pub(super) struct DrawnFile {
    name: String,
    text: String,
}

impl DrawnFile {
    pub(super) fn from_file(file: &ConfigFile) -> Self {
        let text = file.text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&file.text);
        Self { name: escape_line(&file.name).into_owned(), text: mask_source(text) }
    }

    /// The offset in the drawn text of the byte at `offset` of the file.
    pub(super) fn offset(file: &ConfigFile, offset: usize) -> usize {
        let before = file.text.get(..offset).unwrap_or(&file.text);
        mask_source(before.strip_prefix(BYTE_ORDER_MARK).unwrap_or(before)).len()
    }
}

impl SourceCode for DrawnFile {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let found = self.text.read_span(span, before, after)?;
        let start = self.text.get(..found.span().offset()).unwrap_or_default();
        let column = start.rsplit('\n').next().unwrap_or_default().chars().count();
        let (name, line, lines) = (self.name.clone(), found.line(), found.line_count());
        let contents = MietteSpanContents::new_named(name, found.data(), *found.span(), line, column, lines);
        Ok(Box::new(contents))
    }
}

//! Decodes where the contents of a dataset are whose records only name them.

use super::dataset::find_plain_text;
use super::{Decoder, unknown_word};
use crate::language::record::{Leaf, Record};
use crate::pipeline::config::ContentsConfig;
use crate::text::diagnostic::{Code, Diagnostic};
use crate::text::environment::{STORAGE_ID_VARIABLE, STORAGE_KEY_VARIABLE};
use crate::text::escape::escape_line;
use crate::text::place::{Origin, Span};
use crate::text::unpack::Compression;

/// An address as it should be.
const EXAMPLE: &str = "s3://softwareheritage/content/{blob_id}";

impl Decoder<'_> {
    /// The node `contents` of a dataset, given with the word of its `format=`.
    pub(super) fn contents(
        &mut self,
        dataset: &Record,
        record: &Record,
        word: Option<&str>,
    ) -> Option<ContentsConfig> {
        let from = record.leaf("from")?;
        let refusals = [
            refuse_other_documents(dataset, record, word),
            refuse_secret(record),
            self.refuse_half_a_secret(record),
        ];
        let refused = refusals.iter().any(Option::is_some);
        self.sink.extend(refusals.into_iter().flatten());
        let address = ContentsConfig::parse_address(from.text()?);
        let (bucket, key) = match address {
            Ok(found) => found,
            Err(problem) => {
                self.sink.push(wrong_address(from, &problem));
                return None;
            }
        };
        if refused {
            return None;
        }
        let packing = match record.text("compression")? {
            "none" => Compression::Plain,
            "gzip" => Compression::Gzip,
            "zstd" => Compression::Zstandard,
            word => unknown_word(word),
        };
        let encoding = record.text("encoding").map(str::to_owned);
        Some(ContentsConfig { bucket, key, packing, encoding, signed: record.leaf("secret").is_some() })
    }

    /// Refuses a signature of which only one half is declared: undeclared variables are not read.
    fn refuse_half_a_secret(&self, record: &Record) -> Option<Diagnostic> {
        let leaf = record.leaf("secret")?;
        if self.world.named("secret", STORAGE_KEY_VARIABLE).is_some() {
            return None;
        }
        let message = format!("`{STORAGE_ID_VARIABLE}` alone signs nothing");
        let help = format!(
            "declare the key that belongs to it too, at the top level: `secret \"{STORAGE_KEY_VARIABLE}\"`"
        );
        Some(
            Diagnostic::new(Code::MissingNode, message).at(&leaf.span, "signs with two variables").help(help),
        )
    }
}

/// Refuses what says that documents are in the files themselves.
fn refuse_other_documents(dataset: &Record, record: &Record, word: Option<&str>) -> Option<Diagnostic> {
    let refuse = |message: &str, place: &Span, label: &str, help: &str| {
        let found = Diagnostic::new(Code::FieldDoesNotApply, message).at(place, label);
        found.also(&record.span, "documents are elsewhere").help(help)
    };
    if let Some(leaf) = find_plain_text(dataset, word) {
        let message = "`contents` names fields, but files of `format=\"text\"` have no fields";
        return Some(refuse(message, &leaf.span, "plain text", "write `format=\"jsonl\"`"));
    }
    if let Some(chat) = dataset.child("chat") {
        let message = "the contents of a dataset are documents, and no conversations";
        return Some(refuse(message, &chat.span, "no effect", "remove the `chat`"));
    }
    let text = dataset.leaf("text").filter(|leaf| leaf.origin != Origin::Default)?;
    let message = "`text` names the field with the document, but the documents are elsewhere";
    Some(refuse(message, &text.span, "no effect", "remove `text`"))
}

/// Refuses a secret that S3 does not take.
fn refuse_secret(record: &Record) -> Option<Diagnostic> {
    let leaf = record.leaf("secret").filter(|leaf| leaf.text() != Some(STORAGE_ID_VARIABLE))?;
    let message = format!("S3 does not take the secret `{}`", escape_line(leaf.text().unwrap_or_default()));
    let help = format!("write `secret=\"{STORAGE_ID_VARIABLE}\"`, or remove `secret` for a public bucket");
    Some(Diagnostic::new(Code::UnknownWord, message).at(&leaf.span, "not of S3").help(help))
}

fn wrong_address(from: &Leaf, problem: &str) -> Diagnostic {
    let written = escape_line(from.text().unwrap_or_default());
    Diagnostic::new(Code::WrongType, format!("`{written}` is no address of contents: {problem}"))
        .at(&from.span, "needs a bucket of S3, and a key with fields in braces")
        .help(format!("write it as in `from=\"{EXAMPLE}\"`"))
}

//! Documents that were seen before: in their dataset, or in another one.

use std::collections::HashSet;

use fmflow_engine::documents::Document;
use fmflow_engine::text::display::count_noun;
use fmflow_engine::text::escape::escape_line;
use serde_json::json;

use super::CorpusError;

/// Most different documents that are remembered: about 1 GiB.
const MAX_DOCUMENTS: usize = 1 << 25;

/// Most copies of documents of other datasets that are listed; all are counted.
const MOST_LISTED: u64 = 100_000;

/// Which documents of a dataset are left out because they are copies.
#[derive(Debug)]
pub(crate) enum Copies {
    /// Those that were seen before.
    Seen(SeenDocuments),
    /// Those with these numbers, counted from 0 through all files that are read. They were found before.
    Known {
        /// The numbers.
        numbers: HashSet<u64>,
        /// Documents that were read so far.
        read: u64,
    },
}

impl Copies {
    /// Whether a document is left out. `place` is told of copies of other datasets.
    pub(super) fn admits(
        &mut self,
        document: &Document,
        place: impl FnOnce() -> String,
    ) -> Result<bool, CorpusError> {
        match self {
            Self::Seen(seen) => seen.is_new(document, place),
            Self::Known { numbers, read } => {
                *read += 1;
                Ok(!numbers.contains(&(*read - 1)))
            }
        }
    }

    /// What was dropped; of copies that were known nothing is said again.
    pub(super) fn describe(&self) -> Option<String> {
        match self {
            Self::Seen(seen) => Some(seen.describe()),
            Self::Known { .. } => None,
        }
    }

    /// As [`SeenDocuments::listed`].
    pub(super) fn listed(&self) -> Option<&[u8]> {
        match self {
            Self::Seen(seen) => seen.listed(),
            Self::Known { .. } => None,
        }
    }
}

/// Half of the BLAKE3 digests of all documents so far. Among 2^25 documents two equal halves are as likely as 2^-79.
#[derive(Debug, Default)]
pub(crate) struct SeenDocuments {
    seen: HashSet<u128>,
    /// Documents of other datasets, each with its name.
    originals: Vec<(String, HashSet<u128>)>,
    /// Documents that were copies, and those of other datasets among them.
    dropped: u64,
    of_others: u64,
    all: u64,
    /// Copies of documents of other datasets, as lines of JSON.
    listed: Vec<u8>,
}

impl SeenDocuments {
    /// Says that the documents of another dataset come now.
    pub(crate) fn begin_original(&mut self, dataset: &str) {
        self.originals.push((dataset.to_owned(), HashSet::new()));
    }

    /// Adds a document of the dataset that was named last.
    ///
    /// # Errors
    /// If there are too many.
    pub(crate) fn add_original(&mut self, document: &Document) -> Result<(), CorpusError> {
        let (_, digests) = self.originals.last_mut().expect("a dataset was named");
        digests.insert(hash_document(document));
        self.refuse_too_many()
    }

    /// Whether a document is new. A copy is counted; one of another dataset is listed with its `place`.
    ///
    /// # Errors
    /// If there are too many.
    pub(crate) fn is_new(
        &mut self,
        document: &Document,
        place: impl FnOnce() -> String,
    ) -> Result<bool, CorpusError> {
        self.all += 1;
        let digest = hash_document(document);
        if let Some((dataset, _)) = self.originals.iter().find(|(_, digests)| digests.contains(&digest)) {
            if self.of_others < MOST_LISTED {
                let line = json!({ "place": place(), "dataset": dataset });
                self.listed.extend(line.to_string().into_bytes());
                self.listed.push(b'\n');
            }
            (self.dropped, self.of_others) = (self.dropped + 1, self.of_others + 1);
            return Ok(false);
        }
        let new = self.seen.insert(digest);
        self.dropped += u64::from(!new);
        self.refuse_too_many()?;
        Ok(new)
    }

    fn refuse_too_many(&self) -> Result<(), CorpusError> {
        let others: usize = self.originals.iter().map(|(_, digests)| digests.len()).sum();
        match self.seen.len() + others > MAX_DOCUMENTS {
            true => Err(CorpusError::TooManyDocuments { most: MAX_DOCUMENTS }),
            false => Ok(()),
        }
    }

    /// Lines that list copies of documents of other datasets; `None` without any other dataset.
    pub(crate) fn listed(&self) -> Option<&[u8]> {
        (!self.originals.is_empty()).then_some(&*self.listed)
    }

    /// What was dropped.
    pub(crate) fn describe(&self) -> String {
        let percent = 100.0 * self.dropped as f64 / self.all.max(1) as f64;
        let copies = if self.dropped == 1 { "copy" } else { "copies" };
        let all = count_noun(self.all, "document");
        let names: Vec<_> =
            self.originals.iter().map(|(name, _)| format!("`{}`", escape_line(name))).collect();
        let others = match names.is_empty() {
            true => String::new(),
            false => format!(", {} of them from {}", self.of_others, names.join(", ")),
        };
        format!("duplicates: {} {copies} of {all} ({percent:.1} %) dropped{others}", self.dropped)
    }
}

/// Every part of a document goes in after its length, so that two documents have equal digests only if they are equal.
fn hash_document(document: &Document) -> u128 {
    let mut hasher = blake3::Hasher::new();
    let mut add = |part: &[u8]| {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    };
    match document {
        Document::Text(text) => add(text.as_bytes()),
        Document::Chat(talk) => {
            for (turn, learned) in talk.messages().iter().zip(talk.learned()) {
                add(&[turn.role as u8, u8::from(*learned)]);
                add(turn.content.as_bytes());
            }
        }
    }
    let digest = hasher.finalize();
    u128::from_le_bytes(digest.as_bytes()[..16].try_into().expect("a digest has 32 bytes"))
}

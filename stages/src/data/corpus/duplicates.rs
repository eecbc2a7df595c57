//! Documents that were seen before: in their dataset, or in another one.

use std::collections::HashSet;

use fmflow_engine::documents::Document;
use fmflow_engine::text::display::count_noun;
use fmflow_engine::text::escape::escape_line;
use serde_json::json;

use super::CorpusError;
use super::digests::{DigestSets, ScratchFiles};

/// Most copies of documents of other datasets that are listed; all are counted.
const MOST_LISTED: u64 = 100_000;

/// Which documents of a dataset are left out because they are copies.
#[derive(Debug)]
pub(crate) enum Copies<'a> {
    /// Those that were seen before.
    Seen(SeenDocuments<'a>),
    /// Those with these numbers, counted from 0 through all files that are read. They were found before.
    Known {
        /// The numbers.
        numbers: HashSet<u64>,
        /// Documents that were read so far.
        read: u64,
    },
}

impl Copies<'_> {
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

/// Half of the BLAKE3 digests of all documents so far. Among 2^33 documents two equal halves are as likely as 2^-63.
#[derive(Debug)]
pub(crate) struct SeenDocuments<'a> {
    /// The first set has those of the dataset, the others those of other ones.
    digests: DigestSets<'a>,
    /// The names of other datasets.
    originals: Vec<String>,
    /// Documents that were copies, and those of other datasets among them.
    dropped: u64,
    of_others: u64,
    all: u64,
    /// Copies of documents of other datasets, as lines of JSON.
    listed: Vec<u8>,
}

impl<'a> SeenDocuments<'a> {
    /// No document was seen yet. `scratch` gives files for digests that do not fit into memory.
    pub(crate) fn new(scratch: &'a dyn ScratchFiles) -> Self {
        Self::with_digests(DigestSets::new(scratch))
    }

    fn with_digests(mut digests: DigestSets<'a>) -> Self {
        digests.add_set();
        Self { digests, originals: Vec::new(), dropped: 0, of_others: 0, all: 0, listed: Vec::new() }
    }

    /// Says that the documents of another dataset come now.
    pub(crate) fn begin_original(&mut self, dataset: &str) {
        self.originals.push(dataset.to_owned());
        self.digests.add_set();
    }

    /// Adds a document of the dataset that was named last.
    ///
    /// # Errors
    /// If its digest cannot be kept.
    pub(crate) fn add_original(&mut self, document: &Document) -> Result<(), CorpusError> {
        let added = self.digests.insert(self.originals.len(), hash_document(document));
        added.map(drop).map_err(|cause| CorpusError::Digests { cause })
    }

    /// Whether a document is new. A copy is counted; one of another dataset is listed with its `place`.
    ///
    /// # Errors
    /// If its digest cannot be kept or compared.
    pub(crate) fn is_new(
        &mut self,
        document: &Document,
        place: impl FnOnce() -> String,
    ) -> Result<bool, CorpusError> {
        self.all += 1;
        let digest = hash_document(document);
        let unkept = |cause| CorpusError::Digests { cause };
        if let Some(number) = self.find_original(digest).map_err(unkept)? {
            let dataset = &self.originals[number];
            if self.of_others < MOST_LISTED {
                let line = json!({ "place": place(), "dataset": dataset });
                self.listed.extend(line.to_string().into_bytes());
                self.listed.push(b'\n');
            }
            (self.dropped, self.of_others) = (self.dropped + 1, self.of_others + 1);
            return Ok(false);
        }
        let new = self.digests.insert(0, digest).map_err(unkept)?;
        self.dropped += u64::from(!new);
        Ok(new)
    }

    /// The number of the first other dataset that has a document.
    fn find_original(&self, digest: u128) -> std::io::Result<Option<usize>> {
        for number in 0..self.originals.len() {
            if self.digests.contains(number + 1, digest)? {
                return Ok(Some(number));
            }
        }
        Ok(None)
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
        let names: Vec<_> = self.originals.iter().map(|name| format!("`{}`", escape_line(name))).collect();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::corpus::AnonymousFiles;

    #[test]
    fn documents_in_files_are_copies_as_those_in_memory_are() {
        let document = |number: u64| Document::Text(format!("document {number}"));
        let run = |most: usize| {
            let mut seen =
                SeenDocuments::with_digests(DigestSets::with_bounds(&AnonymousFiles, most, 10_000));
            for (name, step) in [("web", 7), ("books", 5)] {
                seen.begin_original(name);
                (0..200).for_each(|i| seen.add_original(&document(i * step)).unwrap());
            }
            let new: Vec<bool> = (0..3000_u64)
                .map(|i| seen.is_new(&document(i * i % 1777), || format!("d:{i}")).unwrap())
                .collect();
            (new, seen.describe(), seen.listed().unwrap().to_vec())
        };
        let plain = run(1 << 20);
        assert!(
            plain.0.iter().any(|new| *new) && plain.1.contains("of them from `web`, `books`"),
            "{}",
            plain.1
        );
        for most in [1, 2, 37, 500] {
            assert_eq!(run(most), plain, "{most}");
        }
    }
}

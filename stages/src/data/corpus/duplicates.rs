//! Documents that were seen before in their dataset.

use std::collections::HashSet;

use fmflow_engine::documents::Document;
use fmflow_engine::text::display::count_noun;

use super::CorpusError;

/// Most different documents that are remembered: about 1 GiB.
const MAX_DOCUMENTS: usize = 1 << 25;

/// Half of the BLAKE3 digests of all documents so far. Among 2^25 documents two equal halves are as likely as 2^-79.
#[derive(Debug, Default)]
pub(super) struct SeenDocuments {
    seen: HashSet<u128>,
    /// Documents that were copies.
    pub(super) dropped: u64,
    all: u64,
}

impl SeenDocuments {
    /// Whether a document is new. A copy is counted.
    pub(super) fn is_new(&mut self, document: &Document) -> Result<bool, CorpusError> {
        self.all += 1;
        let new = self.seen.insert(hash_document(document));
        self.dropped += u64::from(!new);
        if self.seen.len() > MAX_DOCUMENTS {
            return Err(CorpusError::TooManyDocuments { most: MAX_DOCUMENTS });
        }
        Ok(new)
    }

    /// What was dropped.
    pub(super) fn describe(&self) -> String {
        let percent = 100.0 * self.dropped as f64 / self.all.max(1) as f64;
        let copies = if self.dropped == 1 { "copy" } else { "copies" };
        let all = count_noun(self.all, "document");
        format!("{} {copies} of {all} ({percent:.1} %) dropped", self.dropped)
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

//! Tests of the on-disk format.

use super::*;
use crate::data::packing::{PADDING, PositionRole};
use proptest::prelude::*;
use serde_json::json;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

/// Files in memory, each once it is finished.
#[derive(Default)]
pub(in crate::data) struct Memory(pub(in crate::data) BTreeMap<String, Vec<u8>>, Finished);

type Finished = Rc<RefCell<BTreeMap<String, Vec<u8>>>>;

struct MemoryFile(String, Vec<u8>, Finished);

impl FileSink for Memory {
    fn file(&mut self, name: &str) -> std::io::Result<Box<dyn RowsFile>> {
        Ok(Box::new(MemoryFile(name.to_owned(), Vec::new(), self.1.clone())))
    }
}

impl Write for MemoryFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.1.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl RowsFile for MemoryFile {
    fn finish(self: Box<Self>) -> std::io::Result<()> {
        assert!(self.2.borrow_mut().insert(self.0, self.1).is_none(), "a file is written once");
        Ok(())
    }
}

impl Memory {
    /// The finished files.
    pub(in crate::data) fn collect(self) -> Self {
        let files = self.1.take();
        Self(files, Finished::default())
    }

    /// A published folder with the files.
    pub(in crate::data) fn save(&self) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        self.0.iter().for_each(|(name, bytes)| std::fs::write(dir.path().join(name), bytes).unwrap());
        std::fs::write(dir.path().join("manifest.json"), self.manifest()).unwrap();
        dir
    }

    fn manifest(&self) -> String {
        let hash = |bytes: &[u8]| blake3::hash(bytes).to_hex().to_string();
        let entry = |(name, bytes): (&String, &Vec<u8>)| {
            let chunks: Vec<String> = bytes.chunks(16 << 20).map(hash).collect();
            json!({"name": name, "size": bytes.len(), "blake3": hash(bytes), "chunks": chunks})
        };
        let files: Vec<_> = self.0.iter().map(entry).collect();
        let text = serde_json::to_string_pretty(&json!({
            "schema": "fmflow.manifest/1", "stage": {"kind": "rows", "name": "r"}, "fingerprint": "f", "step": null,
            "ledger": [], "inputs": {}, "files": files, "facts": {}, "tool": "t", "threads": 1, "created": "now", "root": ""
        }));
        let body = text.unwrap().strip_suffix("\"\"\n}").unwrap().to_owned();
        format!("{body}\"{}\"\n}}\n", hash(body.as_bytes()))
    }
}

fn summary(length: usize, vocabulary: u32, train: u64, held_out: u64) -> RowsSummary {
    let split = |rows| SplitSummary { rows, ..SplitSummary::default() };
    RowsSummary {
        format: FORMAT,
        length,
        vocabulary,
        bytes_per_id: compute_bytes_per_id(vocabulary),
        packing: Packing::FirstFit,
        canvas: None,
        answer_block: None,
        specials: None,
        end_of_document: false,
        chats: false,
        chat_template: None,
        tokenizer: String::new(),
        pad: 0,
        end_of_document_id: None,
        end_of_turn_id: Some(1),
        shards: ShardsSummary {
            count: 1,
            per_group: 1,
            in_order: false,
            opening_rows: train,
            opening_tokens: 0,
            held_out_later: 0,
            rows: Some(vec![train]),
        },
        train: split(train),
        held_out: split(held_out),
    }
}

fn save(summary: &RowsSummary, records: &[u8], held_out: &[u8]) -> tempfile::TempDir {
    let mut files = Memory::default();
    files.0.insert(SUMMARY.into(), serde_json::to_vec(summary).unwrap());
    files.0.insert(RECORDS.into(), records.to_vec());
    files.0.insert(HELD_OUT_RECORDS.into(), held_out.to_vec());
    files.save()
}

fn to_record(row: &Row, width: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_record(row, width, &mut bytes);
    bytes
}

fn row(tokens: [u32; 3]) -> Row {
    let roles = vec![PositionRole::Prompt, PositionRole::Supervised, PositionRole::Padding];
    Row { tokens: tokens.to_vec(), segments: vec![0, 1, PADDING], roles }
}

#[test]
fn ids_take_the_fewest_bytes() {
    let found = [1, 256, 257, 1024, 65_536, 65_537, 151_936, 1 << 24, u32::MAX].map(compute_bytes_per_id);
    assert_eq!(found, [1, 1, 2, 2, 2, 3, 3, 3, 4]);
}

#[test]
fn a_record_is_what_the_format_says() {
    let bytes = to_record(&row([1, 0x203, 4]), 2);
    // Layout: prompt that starts (4 | 0), supervised that starts (4 | 1) in the upper half, padding that starts (4 | 2).
    assert_eq!(bytes, [1, 0, 3, 2, 4, 0, 0x54, 0x06]);
}

#[test]
fn splits_have_files_of_their_own() {
    let rows = [row([1, 2, 3]), row([4, 5, 6]), row([7, 8, 9])];
    let records: Vec<u8> = rows[..2].iter().flat_map(|row| to_record(row, 1)).collect();
    let dir = save(&summary(3, 10, 2, 1), &records, &to_record(&rows[2], 1));
    let found = Rows::open(dir.path()).unwrap();
    assert_eq!((found.len(Split::Train), found.len(Split::HeldOut)), (2, 1));
    assert_eq!(found.row(Split::Train, 1).unwrap(), rows[1]);
    assert_eq!(found.row(Split::HeldOut, 0).unwrap(), rows[2]);
    assert_eq!(found.row(Split::Train, 0).unwrap(), rows[0]);
    assert!(matches!(found.row(Split::Train, 2), Err(RowsError::NoRow { rows: 2, .. })));
}

#[test]
fn damage_is_noticed() {
    let good = to_record(&row([1, 2, 3]), 1);
    let open = |summary: RowsSummary, records: &[u8]| {
        let dir = save(&summary, records, &[]);
        Rows::open(dir.path()).and_then(|rows| rows.row(Split::Train, 0)).unwrap_err().to_string()
    };
    assert!(open(summary(3, 10, 1, 0), &good[1..]).contains("4 bytes instead of 5"));
    assert!(open(summary(3, 3, 1, 0), &good).contains("id 3 in a vocabulary of 3"));
    assert!(open(summary(3, 10, u64::MAX, 0), &good).contains("bytes instead of"));
    assert!(open(summary(3, 10, 1, 1), &good).contains("held-out.bin` is damaged: 0 bytes instead of 5"));
    let mut layout = good.clone();
    layout[3] |= 0b11;
    assert!(open(summary(3, 10, 1, 0), &layout).contains("role 3"));
    assert!(open(RowsSummary { format: 1, ..summary(3, 10, 1, 0) }, &good).contains("format 1 instead of 3"));
    assert!(open(RowsSummary { bytes_per_id: 7, ..summary(3, 10, 1, 0) }, &good).contains("impossible"));
    assert!(matches!(Rows::open(Path::new("absent")), Err(RowsError::Io { .. })));
    let dir = save(&summary(3, 10, 1, 0), &good, &[]);
    std::fs::write(dir.path().join(RECORDS), [1, 2, 4, 0x54, 0x06]).unwrap();
    let error = Rows::open(dir.path()).and_then(|rows| rows.row(Split::Train, 0)).unwrap_err();
    assert!(error.to_string().contains("not what was written"), "{error}");
    let failure = crate::failure::stage_failure(error);
    assert_eq!(failure.kind, fmflow_engine::error::FailureKind::Corrupt);
}

proptest! {
    #[test]
    fn any_row_comes_back(
        cells in proptest::collection::vec((0..1000u32, 0..2u8, any::<bool>()), 1..40), filler in 0..9usize,
    ) {
        let mut row = Row::default();
        for (at, &(token, role, start)) in cells.iter().enumerate() {
            let last = row.segments.last().copied().unwrap_or(0);
            row.tokens.push(token);
            row.segments.push(last + u32::from(start && at > 0));
            row.roles.push([PositionRole::Prompt, PositionRole::Supervised][usize::from(role)]);
        }
        let length = cells.len() + filler;
        row.tokens.resize(length, 7);
        row.segments.resize(length, PADDING);
        row.roles.resize(length, PositionRole::Padding);
        for (width, vocabulary) in [(2, 1000), (3, 70_000), (4, 1 << 30)] {
            let record = to_record(&row, width);
            prop_assert_eq!(record.len(), length * width + length.div_ceil(2));
            prop_assert_eq!(&from_record(&record, length, width, vocabulary).unwrap(), &row);
        }
    }
}

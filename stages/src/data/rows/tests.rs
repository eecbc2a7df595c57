//! Tests of the on-disk format.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Files in memory.
#[derive(Default)]
pub(in crate::data) struct Memory(pub(in crate::data) BTreeMap<String, Vec<u8>>);

impl FileSink for Memory {
    fn file(&mut self, name: &str) -> std::io::Result<Box<dyn Write + '_>> {
        Ok(Box::new(self.0.entry(name.to_owned()).or_default()))
    }
}

impl Memory {
    pub(in crate::data) fn save(&self) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        self.0.iter().for_each(|(name, bytes)| std::fs::write(dir.path().join(name), bytes).unwrap());
        dir
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
        train: split(train),
        held_out: split(held_out),
    }
}

fn save(summary: &RowsSummary, records: &[u8]) -> tempfile::TempDir {
    let mut files = Memory::default();
    files.0.insert(SUMMARY.into(), serde_json::to_vec(summary).unwrap());
    files.0.insert(RECORDS.into(), records.to_vec());
    files.save()
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
fn splits_lie_one_after_the_other() {
    let rows = [row([1, 2, 3]), row([4, 5, 6]), row([7, 8, 9])];
    let records: Vec<u8> = rows.iter().flat_map(|row| to_record(row, 1)).collect();
    let dir = save(&summary(3, 10, 2, 1), &records);
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
        let dir = save(&summary, records);
        Rows::open(dir.path()).and_then(|rows| rows.row(Split::Train, 0)).unwrap_err().to_string()
    };
    assert!(open(summary(3, 10, 1, 0), &good[1..]).contains("4 bytes instead of 5"));
    assert!(open(summary(3, 3, 1, 0), &good).contains("id 3 in a vocabulary of 3"));
    assert!(open(summary(3, 10, u64::MAX, 1), &good).contains("bytes instead of"));
    let mut layout = good.clone();
    layout[3] |= 0b11;
    assert!(open(summary(3, 10, 1, 0), &layout).contains("role 3"));
    assert!(open(RowsSummary { format: 2, ..summary(3, 10, 1, 0) }, &good).contains("format 2 instead of 1"));
    assert!(open(RowsSummary { bytes_per_id: 7, ..summary(3, 10, 1, 0) }, &good).contains("impossible"));
    assert!(matches!(Rows::open(Path::new("absent")), Err(RowsError::Io { .. })));
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
            row.segments.push(last + u16::from(start && at > 0));
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

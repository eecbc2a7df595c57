//! How the files of a dataset are divided into shards: units of rows that can each be made from their own files alone.
//!
//! A shard is as many parts in a row as have a given number of bytes together. A part is a file, or a range of the bytes of a large one
//! whose records are independent: it has the records that begin there. Rows never continue from one shard into the next. So the
//! division depends on the names and sizes of the files and on their format, which are known before anything is read, and so does the
//! order in which shards are read.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

use crate::pipeline::config::{DatasetConfig, DatasetFormat, FileLayout, TextDocuments};
use crate::pipeline::stage::SourceFiles;
use crate::text::unpack::is_compressed_name;

/// Shards of the declared size in a group, which is shuffled as a whole.
const GROUP_SHARDS: u64 = 16;

/// Most parts of one file, so that a shard of a few bytes takes no memory to speak of.
const MOST_PARTS: u64 = 1 << 20;

/// A part of a dataset: a file, or what begins in a range of its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePart {
    /// The number of the file.
    pub file: usize,
    /// The range; `None` for a whole file. That of the last part has no end, which is `u64::MAX`.
    pub bytes: Option<Range<u64>>,
    /// Its size in bytes.
    size: u64,
}

/// A file of a dataset, as far as its division depends on it.
#[derive(Clone, Copy, Debug)]
struct SizedFile {
    bytes: u64,
    divisible: bool,
}

/// The shards of a dataset. There is at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardPlan {
    parts: Vec<FilePart>,
    /// The numbers of the parts of each shard, ascending and without gaps.
    shards: Vec<Range<usize>>,
    /// Shards in a group.
    per_group: usize,
}

impl ShardPlan {
    /// Divides files of these sizes, in bytes, into shards of at least `shard_bytes`; the last one may be smaller. No file is divided.
    #[must_use]
    pub fn new(sizes: &[u64], shard_bytes: u64) -> Self {
        Self::of_files(sizes.iter().map(|bytes| SizedFile { bytes: *bytes, divisible: false }), shard_bytes)
    }

    /// The same for the files of a dataset, whose sizes are given in their order. A file of twice `shard_bytes` or more is divided into
    /// parts of at least so many if its records can be read from any of them on. Files of a hub are not: each part would download them.
    #[must_use]
    pub fn of_source(source: &SourceFiles, sizes: &[u64], dataset: &DatasetConfig, shard_bytes: u64) -> Self {
        let independent = source.remote.is_none() && has_independent_records(dataset);
        let may_divide = |file: &Path| independent && !is_compressed_name(file);
        let files = sizes.iter().enumerate().map(|(number, bytes)| SizedFile {
            bytes: *bytes,
            divisible: source.files.get(number).is_some_and(|file| may_divide(file)),
        });
        Self::of_files(files, shard_bytes)
    }

    fn of_files(files: impl Iterator<Item = SizedFile>, shard_bytes: u64) -> Self {
        let parts: Vec<FilePart> =
            files.enumerate().flat_map(|(number, file)| divide(number, file, shard_bytes)).collect();
        let (mut shards, mut start, mut bytes) = (Vec::new(), 0, 0_u64);
        for (number, part) in parts.iter().enumerate() {
            bytes = bytes.saturating_add(part.size);
            if bytes >= shard_bytes {
                shards.push(start..number + 1);
                (start, bytes) = (number + 1, 0);
            }
        }
        if start < parts.len() || shards.is_empty() {
            shards.push(start..parts.len());
        }
        let total = parts.iter().fold(1, |sum: u64, part| sum.saturating_add(part.size));
        // Larger files make groups of fewer shards, so that a group has about the same number of bytes everywhere.
        let wanted = u128::from(GROUP_SHARDS) * u128::from(shard_bytes) * shards.len() as u128;
        let per_group = (wanted / u128::from(total)).clamp(1, shards.len() as u128) as usize;
        Self { parts, shards, per_group }
    }

    /// Number of shards.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "there is at least one")]
    pub fn len(&self) -> usize {
        self.shards.len()
    }

    /// Shards in a group.
    #[must_use]
    pub fn per_group(&self) -> usize {
        self.per_group
    }

    /// Number of the first shards, which say what the dataset is like: those of one group. Only their held-out documents are kept.
    #[must_use]
    pub fn opening(&self) -> usize {
        self.per_group
    }

    /// The parts of the first shards.
    #[must_use]
    pub fn opening_parts(&self) -> &[FilePart] {
        &self.parts[..self.shards[self.opening() - 1].end]
    }

    /// Bytes of the first shards.
    #[must_use]
    pub fn opening_bytes(&self) -> u64 {
        count_bytes(self.opening_parts())
    }

    /// Bytes of the largest shard.
    #[must_use]
    pub fn largest_bytes(&self) -> u64 {
        let bytes = self.shards.iter().map(|shard| count_bytes(&self.parts[shard.clone()]));
        bytes.max().expect("there is at least one shard")
    }

    /// Groups of shards.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.len().div_ceil(self.per_group)
    }

    /// The parts of all shards.
    #[must_use]
    pub fn all_parts(&self) -> &[FilePart] {
        &self.parts
    }

    /// The parts of a shard.
    #[must_use]
    pub fn parts(&self, shard: usize) -> &[FilePart] {
        &self.parts[self.shards[shard].clone()]
    }

    /// The shard of a part, given by its number among all parts.
    #[must_use]
    pub fn shard_of(&self, part: usize) -> usize {
        self.shards.partition_point(|parts| parts.end <= part).min(self.shards.len() - 1)
    }

    /// Whether a file is divided.
    #[must_use]
    pub fn divides_files(&self) -> bool {
        self.parts.iter().any(|part| part.bytes.is_some())
    }
}

/// Whether records can be read without those before them: lines and row groups can.
#[must_use]
pub(crate) fn has_independent_records(dataset: &DatasetConfig) -> bool {
    let layout = matches!(
        dataset.layout,
        FileLayout::Text(TextDocuments::Lines) | FileLayout::Jsonl | FileLayout::Parquet
    );
    // What is kept of contents is kept file by file.
    layout && !matches!(dataset.format, DatasetFormat::Contents(_))
}

/// Parts that have all of several beginnings of one dataset, and how many of them each beginning has. Beginnings may cut a file in
/// different places.
#[must_use]
pub fn join_beginnings(beginnings: &[&[FilePart]]) -> (Vec<FilePart>, Vec<usize>) {
    let cuts: BTreeSet<(usize, u64)> =
        beginnings.iter().filter_map(|parts| parts.last()).map(find_end).collect();
    let (mut joined, mut start) = (Vec::new(), (0, 0));
    for cut in &cuts {
        while start < *cut {
            let (file, from) = start;
            let end = if file == cut.0 { cut.1 } else { u64::MAX };
            let whole = from == 0 && end == u64::MAX;
            joined.push(FilePart {
                file,
                bytes: (!whole).then_some(from..end),
                size: end.saturating_sub(from),
            });
            start = if end == u64::MAX { (file + 1, 0) } else { (file, end) };
        }
    }
    let count = |parts: &&[FilePart]| {
        let end = parts.last().map_or((0, 0), find_end);
        joined.iter().filter(|part| find_end(part) <= end).count()
    };
    let counts = beginnings.iter().map(count).collect();
    (joined, counts)
}

/// Where a part ends: a file and a byte of it.
fn find_end(part: &FilePart) -> (usize, u64) {
    match &part.bytes {
        Some(bytes) if bytes.end < u64::MAX => (part.file, bytes.end),
        _ => (part.file + 1, 0),
    }
}

/// The parts of a file: ranges of about the same size, or the file.
fn divide(number: usize, file: SizedFile, shard_bytes: u64) -> impl Iterator<Item = FilePart> {
    let count = file.bytes.checked_div(shard_bytes).unwrap_or(1).clamp(1, MOST_PARTS);
    let count = if file.divisible { count } else { 1 };
    let cut = move |part: u64| (u128::from(file.bytes) * u128::from(part) / u128::from(count)) as u64;
    (0..count).map(move |part| {
        let (start, end) = (cut(part), cut(part + 1));
        let open_end = if part + 1 == count { u64::MAX } else { end };
        FilePart { file: number, bytes: (count > 1).then_some(start..open_end), size: end - start }
    })
}

fn count_bytes(parts: &[FilePart]) -> u64 {
    parts.iter().fold(0, |sum: u64, part| sum.saturating_add(part.size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn files(plan: &ShardPlan) -> Vec<Vec<usize>> {
        (0..plan.len()).map(|shard| plan.parts(shard).iter().map(|part| part.file).collect()).collect()
    }

    fn divided(sizes: &[u64], shard_bytes: u64) -> ShardPlan {
        ShardPlan::of_files(
            sizes.iter().map(|bytes| SizedFile { bytes: *bytes, divisible: true }),
            shard_bytes,
        )
    }

    #[test]
    fn small_files_share_a_shard_and_a_large_one_has_its_own() {
        let plan = ShardPlan::new(&[3, 3, 4, 50, 1, 1], 10);
        assert_eq!(files(&plan), [vec![0, 1, 2], vec![3], vec![4, 5]]);
        assert_eq!(plan.per_group(), 3, "480 bytes are more than there are");
        assert_eq!((0..6).map(|file| plan.shard_of(file)).collect::<Vec<_>>(), [0, 0, 0, 1, 2, 2]);
        let large = ShardPlan::new(&[400; 9], 10);
        assert_eq!((large.len(), large.per_group()), (9, 1), "a group has at least one shard");
        assert_eq!(ShardPlan::new(&[80; 40], 10).per_group(), 1);
        assert_eq!(ShardPlan::new(&[20; 40], 10).per_group(), 7, "160 bytes, less the one that keeps 0 out");
        assert_eq!(ShardPlan::new(&[0, 0], 10).len(), 1);
    }

    #[test]
    fn a_file_of_two_shards_is_divided_if_it_can_be() {
        let sizes = [5, 19, 25, 4];
        let plan = divided(&sizes, 10);
        let ranges: Vec<_> = plan.all_parts().iter().map(|part| (part.file, part.bytes.clone())).collect();
        assert_eq!(ranges, [(0, None), (1, None), (2, Some(0..12)), (2, Some(12..u64::MAX)), (3, None)]);
        assert_eq!(files(&plan), [vec![0, 1], vec![2], vec![2], vec![3]]);
        assert!(plan.divides_files() && !ShardPlan::new(&sizes, 10).divides_files());
        assert_eq!(divided(&[5, 19, 4], 10), ShardPlan::new(&[5, 19, 4], 10), "smaller files are whole");
        assert_eq!(divided(&[320; 2], 10).per_group(), 15, "160 bytes, less the one that keeps 0 out");
    }

    #[test]
    fn only_plain_local_files_of_lines_and_row_groups_are_divided() {
        let dataset = |layout, format| DatasetConfig { layout, ..DatasetConfig::of_format("d", format) };
        let text = |documents| dataset(FileLayout::Text(documents), DatasetFormat::Text);
        let local = |name: &str| SourceFiles::local("d", vec![name.into()]);
        let parts = |source: &SourceFiles, dataset: &DatasetConfig| {
            ShardPlan::of_source(source, &[1000], dataset, 10).all_parts().len()
        };
        let (lines, field) = (text(TextDocuments::Lines), || DatasetFormat::Jsonl { text: "text".into() });
        assert_eq!(parts(&local("a.txt"), &lines), 100);
        assert_eq!(parts(&local("a.jsonl"), &dataset(FileLayout::Jsonl, field())), 100);
        assert_eq!(parts(&local("a.parquet"), &dataset(FileLayout::Parquet, field())), 100);
        for name in ["a.txt.gz", "a.ZST"] {
            assert_eq!(parts(&local(name), &lines), 1, "{name}");
        }
        for layout in [FileLayout::Json, FileLayout::Arrow] {
            assert_eq!(parts(&local("a"), &dataset(layout, field())), 1, "{layout:?}");
        }
        for documents in [TextDocuments::Groups, TextDocuments::File, TextDocuments::BlankLine] {
            assert_eq!(parts(&local("a"), &text(documents)), 1, "{documents:?}");
        }
    }

    #[test]
    fn beginnings_are_joined_with_every_cut() {
        let plans = [1, 3, 7].map(|shard| divided(&[5, 61, 40], shard));
        let parts: Vec<&[FilePart]> = plans.iter().map(ShardPlan::opening_parts).collect();
        let (joined, counts) = join_beginnings(&parts);
        let ranges: Vec<_> = joined.iter().map(|part| (part.file, part.bytes.clone())).collect();
        let ends: Vec<_> = parts.iter().map(|parts| find_end(parts.last().unwrap())).collect();
        assert_eq!(ends, [(1, 10), (1, 42), (3, 0)], "cuts of this test");
        let cut = |from, to| (1, Some(from..to));
        assert_eq!(ranges, [(0, None), cut(0, 10), cut(10, 42), cut(42, u64::MAX), (2, None)]);
        assert_eq!(counts, [2, 3, 5]);
    }

    proptest! {
        #[test]
        fn every_file_is_in_one_shard(sizes in proptest::collection::vec(0..100u64, 1..60), shard in 1..200u64) {
            let plan = ShardPlan::new(&sizes, shard);
            let all: Vec<usize> = files(&plan).concat();
            prop_assert_eq!(all, (0..sizes.len()).collect::<Vec<_>>());
            for number in 0..plan.len() {
                let files = &files(&plan)[number];
                prop_assert!(files.iter().all(|file| plan.shard_of(*file) == number));
                let bytes: u64 = files.iter().map(|file| sizes[*file]).sum();
                prop_assert!(bytes >= shard || number + 1 == plan.len());
                prop_assert!(bytes - files.last().map_or(0, |last| sizes[*last]) < shard);
            }
            prop_assert!((1..=plan.len()).contains(&plan.per_group()));
        }

        #[test]
        fn the_parts_of_a_file_have_every_byte_once(sizes in proptest::collection::vec(0..5000u64, 1..9), shard in 1..200u64) {
            let plan = divided(&sizes, shard);
            for (number, size) in sizes.iter().enumerate() {
                let parts: Vec<_> = plan.all_parts().iter().filter(|part| part.file == number).collect();
                let ranges: Vec<_> = parts.iter().filter_map(|part| part.bytes.clone()).collect();
                prop_assert_eq!(parts.iter().map(|part| part.size).sum::<u64>(), *size);
                match ranges.as_slice() {
                    [] => prop_assert!(parts.len() == 1 && *size < 2 * shard),
                    [first, .., last] => {
                        prop_assert!(first.start == 0 && last.end == u64::MAX && last.start < *size);
                        prop_assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start));
                        prop_assert!(parts.iter().all(|part| part.size >= shard));
                    }
                    one => prop_assert!(false, "a file is not divided into one part: {:?}", one),
                }
            }
        }
    }
}

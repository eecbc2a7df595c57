//! How the files of a dataset are divided into shards: units of rows that can each be made from their own files alone.
//!
//! A shard is as many files in a row as have a given number of bytes together, or one larger file; rows never continue from one
//! shard into the next. So the division depends on the sizes of the files alone, which are known before anything is read, and so
//! does the order in which shards are read.

use std::ops::Range;

/// Shards of the declared size in a group, which is shuffled as a whole.
const GROUP_SHARDS: u64 = 16;

/// The shards of a dataset. There is at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardPlan {
    /// The numbers of the files of each shard, ascending and without gaps.
    files: Vec<Range<usize>>,
    /// Shards in a group.
    per_group: usize,
}

impl ShardPlan {
    /// Divides files of these sizes, in bytes, into shards of at least `shard_bytes`; the last one may be smaller.
    #[must_use]
    pub fn new(sizes: &[u64], shard_bytes: u64) -> Self {
        let (mut files, mut start, mut bytes) = (Vec::new(), 0, 0_u64);
        for (number, size) in sizes.iter().enumerate() {
            bytes = bytes.saturating_add(*size);
            if bytes >= shard_bytes {
                files.push(start..number + 1);
                (start, bytes) = (number + 1, 0);
            }
        }
        if start < sizes.len() || files.is_empty() {
            files.push(start..sizes.len());
        }
        let total = sizes.iter().fold(1, |sum: u64, size| sum.saturating_add(*size));
        // Larger files make groups of fewer shards, so that a group has about the same number of bytes everywhere.
        let wanted = u128::from(GROUP_SHARDS) * u128::from(shard_bytes) * files.len() as u128;
        let per_group = (wanted / u128::from(total)).clamp(1, files.len() as u128) as usize;
        Self { files, per_group }
    }

    /// Number of shards.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "there is at least one")]
    pub fn len(&self) -> usize {
        self.files.len()
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

    /// The numbers of the files of the first shards.
    #[must_use]
    pub fn opening_files(&self) -> Range<usize> {
        0..self.files(self.opening() - 1).end
    }

    /// Groups of shards.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.len().div_ceil(self.per_group)
    }

    /// The numbers of the files of a shard.
    #[must_use]
    pub fn files(&self, shard: usize) -> Range<usize> {
        self.files[shard].clone()
    }

    /// The shard of a file.
    #[must_use]
    pub fn shard_of(&self, file: usize) -> usize {
        self.files.partition_point(|files| files.end <= file).min(self.files.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn small_files_share_a_shard_and_a_large_one_has_its_own() {
        let plan = ShardPlan::new(&[3, 3, 4, 50, 1, 1], 10);
        assert_eq!(plan.files, [0..3, 3..4, 4..6]);
        assert_eq!(plan.per_group(), 3, "480 bytes are more than there are");
        assert_eq!((0..6).map(|file| plan.shard_of(file)).collect::<Vec<_>>(), [0, 0, 0, 1, 2, 2]);
        let large = ShardPlan::new(&[400; 9], 10);
        assert_eq!((large.len(), large.per_group()), (9, 1), "a group has at least one shard");
        assert_eq!(ShardPlan::new(&[80; 40], 10).per_group(), 1);
        assert_eq!(ShardPlan::new(&[20; 40], 10).per_group(), 7, "160 bytes, less the one that keeps 0 out");
        assert_eq!(ShardPlan::new(&[0, 0], 10).len(), 1);
    }

    proptest! {
        #[test]
        fn every_file_is_in_one_shard(sizes in proptest::collection::vec(0..100u64, 1..60), shard in 1..200u64) {
            let plan = ShardPlan::new(&sizes, shard);
            let all: Vec<usize> = (0..plan.len()).flat_map(|shard| plan.files(shard)).collect();
            prop_assert_eq!(all, (0..sizes.len()).collect::<Vec<_>>());
            for number in 0..plan.len() {
                let files = plan.files(number);
                prop_assert!(files.clone().all(|file| plan.shard_of(file) == number));
                let bytes: u64 = sizes[files.clone()].iter().sum();
                prop_assert!(bytes >= shard || number + 1 == plan.len());
                prop_assert!(bytes - sizes.get(files.end - 1).unwrap_or(&0) < shard);
            }
            prop_assert!((1..=plan.len()).contains(&plan.per_group()));
        }
    }
}

//! Sets of digests of any number, in bounded memory: what does not fit lies sorted in files, which are merged as they become many.
//!
//! A log-structured merge tree (O'Neil et al., 1996) whose keys are digests. A Bloom filter (Bloom, 1970) says of most new digests that no
//! file has them; another one takes one read of a page.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

/// Most digests in memory: as many as a hash table of 2^25 places takes, which has 570 MiB, and 450 MiB more while they are sorted.
const MOST_IN_MEMORY: usize = (1 << 25) / 8 * 7;

/// Bits of the filter: 256 MiB. With 100 million digests in files a read is in vain for 1 of 120, with a billion for 4 of 10.
const FILTER_BITS: u64 = 1 << 31;

/// Bytes of a digest, and digests of a page, which is read at once.
const DIGEST_BYTES: usize = 16;
const PAGE: usize = 256;

/// Gives files for digests that do not fit into memory.
pub(crate) trait ScratchFiles {
    /// An empty file for reading and writing.
    ///
    /// # Errors
    /// Any error of the storage.
    fn create(&self) -> io::Result<File>;
}

/// Several sets that share their bound of memory.
pub(super) struct DigestSets<'a> {
    sets: Vec<DigestSet>,
    filter: Filter,
    most: usize,
    scratch: &'a dyn ScratchFiles,
}

impl std::fmt::Debug for DigestSets<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "DigestSets({} sets)", self.sets.len())
    }
}

/// One set: what is in memory, and files of others, each with those of the one before it or fewer.
#[derive(Default)]
struct DigestSet {
    recent: HashSet<u128>,
    files: Vec<SortedFile>,
}

/// Sorted digests in a file.
struct SortedFile {
    file: File,
    count: u64,
    /// The first digest of each page.
    pages: Vec<u128>,
}

/// A Bloom filter with two probes, which exists once there are files.
struct Filter {
    bits: u64,
    words: Vec<u64>,
}

impl<'a> DigestSets<'a> {
    pub(super) fn new(scratch: &'a dyn ScratchFiles) -> Self {
        Self::with_bounds(scratch, MOST_IN_MEMORY, FILTER_BITS)
    }

    /// Sets with at most so many digests in memory together, at least one, and a filter of so many bits.
    pub(super) fn with_bounds(scratch: &'a dyn ScratchFiles, most: usize, bits: u64) -> Self {
        Self { sets: Vec::new(), filter: Filter { bits, words: Vec::new() }, most, scratch }
    }

    /// Adds an empty set; its number.
    pub(super) fn add_set(&mut self) -> usize {
        self.sets.push(DigestSet::default());
        self.sets.len() - 1
    }

    /// Adds a digest to a set; whether it is new there.
    pub(super) fn insert(&mut self, set: usize, digest: u128) -> io::Result<bool> {
        if self.contains(set, digest)? {
            return Ok(false);
        }
        self.sets[set].recent.insert(digest);
        if self.sets.iter().map(|set| set.recent.len()).sum::<usize>() >= self.most {
            self.spill_largest()?;
        }
        Ok(true)
    }

    /// Whether a set has a digest.
    pub(super) fn contains(&self, set: usize, digest: u128) -> io::Result<bool> {
        let DigestSet { recent, files } = &self.sets[set];
        if recent.contains(&digest) {
            return Ok(true);
        }
        if files.is_empty() || !self.filter.may_have(digest) {
            return Ok(false);
        }
        for file in files {
            if file.contains(digest)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Moves what the largest set has in memory into a file.
    fn spill_largest(&mut self) -> io::Result<()> {
        let largest = self.sets.iter_mut().max_by_key(|set| set.recent.len()).expect("a set was added to");
        let mut digests: Vec<u128> = largest.recent.drain().collect();
        digests.sort_unstable();
        digests.iter().for_each(|digest| self.filter.add(*digest));
        let mut new = SortedFile::write(self.scratch.create()?, digests.into_iter().map(Ok))?;
        // Each file is more than twice as large as the one behind it, so that there are few.
        while let Some(before) = largest.files.pop_if(|before| before.count < 2 * new.count) {
            let (a, b) = (before.digests()?, new.digests()?);
            new = SortedFile::write(self.scratch.create()?, Merged { a: a.peekable(), b: b.peekable() })?;
        }
        largest.files.push(new);
        Ok(())
    }
}

impl SortedFile {
    /// Writes sorted digests.
    fn write(file: File, digests: impl Iterator<Item = io::Result<u128>>) -> io::Result<Self> {
        let mut out = BufWriter::with_capacity(1 << 20, file);
        let (mut count, mut pages) = (0, Vec::new());
        for digest in digests {
            let digest = digest?;
            if count % PAGE as u64 == 0 {
                pages.push(digest);
            }
            out.write_all(&digest.to_be_bytes())?;
            count += 1;
        }
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok(Self { file, count, pages })
    }

    /// All digests in their order.
    fn digests(&self) -> io::Result<impl Iterator<Item = io::Result<u128>> + use<>> {
        let mut file = self.file.try_clone()?;
        file.seek(SeekFrom::Start(0))?;
        let mut reader = BufReader::with_capacity(1 << 20, file);
        Ok((0..self.count).map(move |_| {
            let mut bytes = [0; DIGEST_BYTES];
            reader.read_exact(&mut bytes).map(|()| u128::from_be_bytes(bytes))
        }))
    }

    fn contains(&self, digest: u128) -> io::Result<bool> {
        let Some(page) = self.pages.partition_point(|first| *first <= digest).checked_sub(1) else {
            return Ok(false);
        };
        let first = (page * PAGE) as u64;
        let count = (self.count - first).min(PAGE as u64) as usize;
        let mut bytes = [0; PAGE * DIGEST_BYTES];
        let bytes = &mut bytes[..count * DIGEST_BYTES];
        self.file.read_exact_at(bytes, first * DIGEST_BYTES as u64)?;
        // As bytes they have the order of their numbers.
        let found = bytes.as_chunks::<DIGEST_BYTES>().0.binary_search(&digest.to_be_bytes());
        Ok(found.is_ok())
    }
}

/// Two sorted files as one. They have nothing in common.
struct Merged<A: Iterator, B: Iterator> {
    a: std::iter::Peekable<A>,
    b: std::iter::Peekable<B>,
}

impl<A, B> Iterator for Merged<A, B>
where
    A: Iterator<Item = io::Result<u128>>,
    B: Iterator<Item = io::Result<u128>>,
{
    type Item = io::Result<u128>;

    fn next(&mut self) -> Option<Self::Item> {
        match (self.a.peek(), self.b.peek()) {
            (Some(Ok(a)), Some(Ok(b))) if b < a => self.b.next(),
            (Some(_), _) => self.a.next(),
            (None, _) => self.b.next(),
        }
    }
}

impl Filter {
    fn add(&mut self, digest: u128) {
        if self.words.is_empty() {
            self.words = vec![0; self.bits.div_ceil(64) as usize];
        }
        for (word, bit) in self.probes(digest) {
            self.words[word] |= bit;
        }
    }

    fn may_have(&self, digest: u128) -> bool {
        self.probes(digest).iter().all(|(word, bit)| self.words[*word] & bit != 0)
    }

    /// The places of a digest, whose bits are as good as random.
    fn probes(&self, digest: u128) -> [(usize, u64); 2] {
        [digest as u64, (digest >> 64) as u64].map(|part| {
            let at = part % self.bits;
            ((at / 64) as usize, 1 << (at % 64))
        })
    }
}

/// Files without a name, for tests.
#[cfg(test)]
pub(crate) struct AnonymousFiles;

#[cfg(test)]
impl ScratchFiles for AnonymousFiles {
    fn create(&self) -> io::Result<File> {
        tempfile::tempfile()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]
        #[test]
        fn sets_in_files_say_what_sets_in_memory_say(
            added in proptest::collection::vec((0..3_usize, 0..200_u64), 0..500),
            most in 1..40_usize,
            bits in 1..5000_u64,
        ) {
            let mut sets = DigestSets::with_bounds(&AnonymousFiles, most, bits);
            let mut plain = vec![HashSet::new(); 3];
            (0..3).for_each(|number| assert_eq!(sets.add_set(), number));
            for (set, number) in added {
                // Some digests are neighbors, others lie anywhere.
                let digest = match number % 2 {
                    0 => u128::from(number),
                    _ => u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835),
                };
                prop_assert_eq!(sets.insert(set, digest).unwrap(), plain[set].insert(digest));
                let other = (set + 1) % 3;
                prop_assert_eq!(sets.contains(other, digest).unwrap(), plain[other].contains(&digest));
            }
            for set in &sets.sets {
                prop_assert!(set.recent.len() < most.max(1));
                prop_assert!(set.files.windows(2).all(|pair| pair[0].count >= 2 * pair[1].count));
            }
        }
    }

    #[test]
    fn pages_are_found_at_their_ends() {
        let digests: Vec<u128> = (0..1000).map(|i| i * 10 + 5).collect();
        let file =
            SortedFile::write(AnonymousFiles.create().unwrap(), digests.iter().map(|digest| Ok(*digest)))
                .unwrap();
        assert_eq!((file.count, file.pages.len()), (1000, 4));
        for digest in 0..10_020 {
            assert_eq!(file.contains(digest).unwrap(), digest % 10 == 5 && digest < 10_000, "{digest}");
        }
    }
}

//! An open weight file: its header is checked, and its tensors can be read in any order, in parts.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

use fmflow_engine::pipeline::checkpoint_folder::{TensorEntry, read_header};

use super::adapter::TensorChange;
use super::{Encoding, WeightsError, refused_file, to_file_name};

/// Most values of a part. Small enough that a stage which works part by part needs next to no memory.
pub(super) const PART: usize = 1 << 18;

/// Bytes that are hashed at a time: enough for several threads.
const HASHED_AT_ONCE: u64 = 16 << 20;

/// An open weight file whose header has been read and checked.
#[derive(Debug)]
pub(crate) struct WeightsFile {
    handle: File,
    /// Its tensors, in the order of their data.
    pub(crate) entries: Vec<TensorEntry>,
    /// Its name.
    pub(super) name: String,
    /// Bytes before the data of the first tensor.
    header: u64,
}

impl WeightsFile {
    /// Opens a file and checks its header.
    ///
    /// # Errors
    /// If it cannot be read, or its header is malformed.
    pub(crate) fn open(path: &Path) -> Result<Self, WeightsError> {
        let name = to_file_name(path);
        let opened = File::open(path).and_then(|f| f.metadata().map(|m| (f, m)));
        let (handle, metadata) = opened.map_err(|reason| WeightsError::Io { file: name.clone(), reason })?;
        if !metadata.is_file() {
            return Err(refused_file(name, "not a regular file"));
        }
        let length = metadata.len();
        let entries = read_header(&mut BufReader::new(&handle), length, &name)?;
        // A header was refused unless its tensors end with the file.
        let header = length - entries.last().map_or(0, |entry| entry.extent().1);
        Ok(Self { handle, entries, name, header })
    }

    /// The values of one of its tensors, in f32 and row-major.
    ///
    /// # Errors
    /// If they cannot be read, or one is not finite.
    pub(crate) fn read(&self, entry: &TensorEntry) -> Result<Vec<f32>, WeightsError> {
        self.parts(entry, None).read_all()
    }

    /// The values of one of its tensors, from the first, after `change`.
    pub(super) fn parts<'a>(
        &'a self,
        entry: &'a TensorEntry,
        change: Option<&'a TensorChange>,
    ) -> TensorParts<'a> {
        TensorParts { file: self, entry, change, done: 0, bytes: Vec::new(), values: Vec::new() }
    }

    /// BLAKE3 of the whole file, in hexadecimal.
    pub(super) fn hash(&self) -> Result<String, WeightsError> {
        let reader = self.reader_at(0)?;
        let (mut hasher, mut buffer) = (blake3::Hasher::new(), Vec::new());
        loop {
            buffer.clear();
            let read = reader.take(HASHED_AT_ONCE).read_to_end(&mut buffer);
            if read.map_err(|reason| self.io_error(reason))? == 0 {
                return Ok(hasher.finalize().to_hex().to_string());
            }
            hasher.update_rayon(&buffer);
        }
    }

    /// Copies the whole file into `out`, and refuses a value that is not finite on the way: what was checked is what was copied.
    pub(super) fn copy_checked<E>(&self, out: &mut impl Write) -> Result<(), E>
    where
        E: From<WeightsError> + From<std::io::Error>,
    {
        let mut header = Vec::new();
        let read = self.reader_at(0)?.take(self.header).read_to_end(&mut header);
        read.map_err(|reason| self.io_error(reason))?;
        out.write_all(&header)?;
        for entry in &self.entries {
            let mut parts = self.parts(entry, None);
            while !parts.next_part()?.is_empty() {
                out.write_all(&parts.bytes)?;
            }
        }
        Ok(())
    }

    fn reader_at(&self, start: u64) -> Result<&File, WeightsError> {
        let mut reader = &self.handle;
        reader.seek(SeekFrom::Start(start)).map_err(|reason| self.io_error(reason))?;
        Ok(reader)
    }

    fn io_error(&self, reason: std::io::Error) -> WeightsError {
        WeightsError::Io { file: self.name.clone(), reason }
    }
}

/// Reads a tensor part by part.
pub(crate) struct TensorParts<'a> {
    file: &'a WeightsFile,
    entry: &'a TensorEntry,
    /// What an adapter changes in it.
    change: Option<&'a TensorChange>,
    done: usize,
    bytes: Vec<u8>,
    values: Vec<f32>,
}

impl TensorParts<'_> {
    /// The next values, in f32 and row-major; as many as fit in a part unless the tensor ends, and none at its end.
    ///
    /// # Errors
    /// If they cannot be read, or one is not finite.
    pub(crate) fn next_part(&mut self) -> Result<&[f32], WeightsError> {
        let width = self.entry.dtype.bytes();
        let count = PART.min(self.entry.count() - self.done);
        let start = self.file.header + self.entry.extent().0 + (self.done * width) as u64;
        self.bytes.resize(count * width, 0);
        let read = self.file.reader_at(start)?.read_exact(&mut self.bytes);
        read.map_err(|reason| self.file.io_error(reason))?;
        self.values.clear();
        self.entry.dtype.decode(&self.bytes, &mut self.values);
        if let Some(change) = self.change {
            change.apply(&mut self.values, self.done);
        }
        self.refuse_not_finite()?;
        self.done += count;
        Ok(&self.values)
    }

    /// All values.
    pub(super) fn read_all(mut self) -> Result<Vec<f32>, WeightsError> {
        let mut values = Vec::with_capacity(self.entry.count());
        while values.len() < self.entry.count() {
            values.extend_from_slice(self.next_part()?);
        }
        Ok(values)
    }

    fn refuse_not_finite(&self) -> Result<(), WeightsError> {
        let Some(index) = self.values.iter().position(|x| !x.is_finite()) else { return Ok(()) };
        let (file, tensor) = (self.file.name.clone(), self.entry.name.clone());
        Err(WeightsError::NotFinite { file, tensor, index: self.done + index })
    }
}

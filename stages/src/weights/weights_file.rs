//! An open weight file: header, digest and values.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use fmflow_engine::pipeline::checkpoint_folder::{TensorEntry, read_header};

use super::{Encoding, WeightsError, refused_file, to_file_name};

/// An open weight file whose header has been read and checked.
pub(super) struct WeightsFile {
    pub(super) reader: HashingReader,
    pub(super) entries: Vec<TensorEntry>,
    pub(super) file: String,
}

impl WeightsFile {
    pub(super) fn open(path: &Path) -> Result<Self, WeightsError> {
        let file = to_file_name(path);
        let opened = File::open(path).and_then(|f| f.metadata().map(|m| (f, m)));
        let (handle, metadata) = opened.map_err(|reason| WeightsError::Io { file: file.clone(), reason })?;
        if !metadata.is_file() {
            return Err(refused_file(file, "not a regular file"));
        }
        let mut reader = HashingReader { inner: BufReader::new(handle), hasher: blake3::Hasher::new() };
        let entries = read_header(&mut reader, metadata.len(), &file)?;
        Ok(Self { reader, entries, file })
    }
}

/// A reader that hashes everything it reads, so that the digest needs no second pass over the file.
pub(super) struct HashingReader {
    inner: BufReader<File>,
    hasher: blake3::Hasher,
}

impl HashingReader {
    /// The digest of everything read so far.
    pub(super) fn digest(&self) -> String {
        self.hasher.finalize().to_hex().to_string()
    }
}

impl Read for HashingReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

/// Reads the values of `entry`. `reader` must be at the start of its data.
pub(super) fn read_tensor_values(
    reader: &mut impl Read,
    entry: &TensorEntry,
    file: &str,
) -> Result<Vec<f32>, WeightsError> {
    let (count, width) = (entry.count(), entry.dtype.bytes());
    let mut values = Vec::with_capacity(count);
    // Read in parts, so that raw bytes and decoded values of a large tensor are not in memory together. 1 MiB is a multiple
    // of every element width.
    let mut buffer = vec![0; (1 << 20).min(count * width)];
    while values.len() < count {
        let part = buffer.len().min((count - values.len()) * width);
        reader
            .read_exact(&mut buffer[..part])
            .map_err(|reason| WeightsError::Io { file: file.into(), reason })?;
        entry.dtype.decode(&buffer[..part], &mut values);
    }
    match values.iter().position(|x| !x.is_finite()) {
        None => Ok(values),
        Some(index) => Err(WeightsError::NotFinite { file: file.into(), tensor: entry.name.clone(), index }),
    }
}

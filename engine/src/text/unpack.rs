//! Data files and contents that are compressed with gzip or Zstandard, unpacked while they are read.
//!
//! The content decides whether a file is compressed; a name that says otherwise is an error. A stranger's file may be a bomb: what
//! it unpacks to is bounded by a ratio, by a number of bytes, and by the window that Zstandard may ask for.

use std::io::{self, BufRead as _, BufReader, Read};

/// A data file that is open for reading.
pub use std::fs::File as DataFile;

use flate2::bufread::MultiGzDecoder;
use zstd::stream::read::Decoder as ZstdDecoder;

use crate::text::display::format_bytes;

/// Most unpacked bytes for a byte of the file, after the first [`FREE_BYTES`]. Text is packed to a twentieth at best.
const MAX_RATIO: u64 = 200;

/// Unpacked bytes to which the ratio does not apply, so that short repetitive files are no bombs.
const FREE_BYTES: u64 = 16 << 20;

/// Most bytes that a file unpacks to.
const MAX_UNPACKED_BYTES: u64 = 1 << 40;

/// Largest window of Zstandard, as a power of two: 128 MiB, which is what its tools unpack without being asked.
const MAX_WINDOW_LOG: u32 = 27;

/// Magic numbers: gzip; a frame of Zstandard; a frame that is skipped, with which parallel writers begin (its first byte varies).
const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTANDARD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const SKIPPABLE: &[u8] = &[0x2a, 0x4d, 0x18];

/// Whether files with this name hold more text than they have bytes: compressed ones and tables.
#[must_use]
pub(crate) fn is_packed_name(path: &std::path::Path) -> bool {
    path.extension().is_some_and(|end| ["gz", "zst", "parquet", "arrow"].iter().any(|packed| end == *packed))
}

/// Whether the name of a file says that it is compressed.
#[must_use]
pub(crate) fn is_compressed_name(path: &std::path::Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy());
    name.is_some_and(|name| Compression::of_name(&name).is_some())
}

/// How bytes are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    Plain,
    /// With gzip.
    Gzip,
    /// With Zstandard.
    Zstandard,
}

impl Compression {
    /// What the first bytes of a file show.
    fn of_content(head: &[u8]) -> Self {
        let skippable = head.first().is_some_and(|first| first & 0xf0 == 0x50);
        match head {
            head if head.starts_with(GZIP) => Self::Gzip,
            head if head.starts_with(ZSTANDARD) => Self::Zstandard,
            head if skippable && head[1..].starts_with(SKIPPABLE) => Self::Zstandard,
            _ => Self::Plain,
        }
    }

    /// What the name of a file says; `None` if it says nothing.
    fn of_name(name: &str) -> Option<Self> {
        let (_, end) = name.rsplit_once('.')?;
        match end.to_ascii_lowercase().as_str() {
            "gz" => Some(Self::Gzip),
            "zst" => Some(Self::Zstandard),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Plain => "not compressed",
            Self::Gzip => "gzip",
            Self::Zstandard => "Zstandard",
        }
    }
}

/// Counts the bytes that were read of a file.
struct CountingReader {
    file: DataFile,
    count: u64,
}

impl Read for CountingReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(out)?;
        self.count += count as u64;
        Ok(count)
    }
}

type PackedBytes = BufReader<CountingReader>;

enum PackedStream {
    Plain(PackedBytes),
    Gzip(Box<MultiGzDecoder<PackedBytes>>),
    Zstandard(Box<ZstdDecoder<'static, PackedBytes>>),
}

impl PackedStream {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(bytes) => bytes.read(out),
            Self::Gzip(decoder) => decoder.read(out),
            Self::Zstandard(decoder) => decoder.read(out),
        }
    }

    /// Bytes of the file that have been used.
    fn position(&self) -> u64 {
        let bytes = match self {
            Self::Plain(bytes) => bytes,
            Self::Gzip(decoder) => decoder.get_ref(),
            Self::Zstandard(decoder) => decoder.get_ref(),
        };
        bytes.get_ref().count - bytes.buffer().len() as u64
    }
}

/// The bytes of a data file, unpacked if it is compressed.
///
/// An error says at which byte of the file it is: of a file that is cut off or damaged, or that unpacks to too much.
pub struct UnpackedFile {
    stream: PackedStream,
    packing: Compression,
    unpacked: u64,
}

impl std::fmt::Debug for UnpackedFile {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "UnpackedFile({:?}, {} bytes so far)", self.packing, self.unpacked)
    }
}

impl UnpackedFile {
    /// Begins to read `file`, which is called `name`.
    ///
    /// # Errors
    /// If it cannot be read, or if its name says that it is compressed in another way than it is.
    pub fn new(file: DataFile, name: &str) -> io::Result<Self> {
        let mut bytes = BufReader::with_capacity(64 << 10, CountingReader { file, count: 0 });
        let head = bytes.fill_buf()?;
        let packing = Compression::of_content(head);
        if let Some(said) = Compression::of_name(name).filter(|said| *said != packing && !head.is_empty()) {
            return Err(damage(format!(
                "its name says {}, but its content is {}; give it the name that fits",
                said.name(),
                packing.name()
            )));
        }
        let stream = match packing {
            Compression::Plain => PackedStream::Plain(bytes),
            Compression::Gzip => PackedStream::Gzip(Box::new(MultiGzDecoder::new(bytes))),
            Compression::Zstandard => {
                let mut decoder = ZstdDecoder::with_buffer(bytes)?;
                decoder.window_log_max(MAX_WINDOW_LOG)?;
                PackedStream::Zstandard(Box::new(decoder))
            }
        };
        Ok(Self { stream, packing, unpacked: 0 })
    }

    /// The bytes of a file that is known to be plain, from where it stands.
    #[must_use]
    pub(crate) fn plain(file: DataFile) -> Self {
        let bytes = BufReader::with_capacity(64 << 10, CountingReader { file, count: 0 });
        Self { stream: PackedStream::Plain(bytes), packing: Compression::Plain, unpacked: 0 }
    }

    /// Whether the file is compressed.
    #[must_use]
    pub fn is_packed(&self) -> bool {
        self.packing != Compression::Plain
    }

    /// Says where in the file the decoder failed. An error of the operating system stays as it is.
    fn place_error(&self, cause: io::Error) -> io::Error {
        if !self.is_packed() || cause.raw_os_error().is_some() || cause.kind() == io::ErrorKind::Interrupted {
            return cause;
        }
        let (name, at) = (self.packing.name(), self.stream.position());
        damage(match cause.kind() {
            io::ErrorKind::UnexpectedEof => {
                format!("it is cut off at byte {at}, within its {name} data; fetch or compress it again")
            }
            _ => format!("its {name} data are damaged near byte {at} ({cause}); fetch or compress it again"),
        })
    }

    fn check_size(&self) -> io::Result<()> {
        let at = self.stream.position();
        let most = at.saturating_mul(MAX_RATIO).clamp(FREE_BYTES, MAX_UNPACKED_BYTES);
        if !self.is_packed() || self.unpacked <= most {
            return Ok(());
        }
        let what = if most == MAX_UNPACKED_BYTES { "1 TiB" } else { "200 times its size" };
        Err(damage(format!(
            "it unpacks to more than {what} (at byte {at}), as no text does; if that is right, unpack it, and name the result"
        )))
    }
}

impl Read for UnpackedFile {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(out).map_err(|cause| self.place_error(cause))?;
        self.unpacked += count as u64;
        self.check_size()?;
        Ok(count)
    }
}

/// Unpacks bytes that are in memory, to at most `most` bytes. They have to be compressed as it is said.
///
/// # Errors
/// If they are compressed in another way, cut off or damaged, or unpack to more than `most` bytes or to more than text does.
pub fn unpack_bytes(bytes: &[u8], packing: Compression, most: u64) -> io::Result<Vec<u8>> {
    if packing != Compression::Plain && Compression::of_content(bytes) != packing {
        return Err(damage(format!("it is not compressed with {}", packing.name())));
    }
    let ratio = (bytes.len() as u64).saturating_mul(MAX_RATIO).max(FREE_BYTES);
    let (bound, mut unpacked) =
        (if packing == Compression::Plain { most } else { most.min(ratio) }, Vec::new());
    let read = match packing {
        Compression::Plain => bytes.take(bound + 1).read_to_end(&mut unpacked),
        Compression::Gzip => MultiGzDecoder::new(bytes).take(bound + 1).read_to_end(&mut unpacked),
        Compression::Zstandard => {
            let mut decoder = ZstdDecoder::with_buffer(bytes)?;
            decoder.window_log_max(MAX_WINDOW_LOG)?;
            decoder.take(bound + 1).read_to_end(&mut unpacked)
        }
    };
    let name = packing.name();
    read.map_err(|cause| match cause.kind() {
        io::ErrorKind::UnexpectedEof => damage(format!("its {name} data are cut off")),
        _ => damage(format!("its {name} data are damaged ({cause})")),
    })?;
    match unpacked.len() as u64 <= bound {
        true => Ok(unpacked),
        false if bound < most => Err(damage("it unpacks to more than 200 times its size".to_owned())),
        false => Err(damage(format!("it is longer than {}", format_bytes(most)))),
    }
}

fn damage(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write as _;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    }

    fn zstandard(bytes: &[u8]) -> Vec<u8> {
        let mut packer = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
        packer.include_checksum(true).unwrap();
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    }

    /// What is read of a file with these bytes, and the error that ends it.
    fn unpack(bytes: &[u8], name: &str) -> (Vec<u8>, Option<String>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, bytes).unwrap();
        let mut found = Vec::new();
        let read = UnpackedFile::new(DataFile::open(&path).unwrap(), name)
            .and_then(|mut file| file.read_to_end(&mut found));
        (found, read.err().map(|error| error.to_string()))
    }

    #[test]
    fn a_name_that_contradicts_the_content_is_an_error() {
        for (bytes, name, part) in [
            (b"plain".to_vec(), "a.gz", "its name says gzip, but its content is not compressed"),
            (b"plain".to_vec(), "a.ZST", "its name says Zstandard, but its content is not compressed"),
            (gzip(b"x"), "a.zst", "its name says Zstandard, but its content is gzip"),
            (zstandard(b"x"), "a.gz", "its name says gzip, but its content is Zstandard"),
        ] {
            let (_, error) = unpack(&bytes, name);
            assert!(error.as_ref().is_some_and(|error| error.contains(part)), "{error:?}");
        }
        for name in ["a.txt", "a", "a.jsonl.gz"] {
            assert_eq!(unpack(&gzip(b"x"), name), (b"x".to_vec(), None), "{name}");
        }
        assert_eq!(unpack(b"", "a.gz"), (vec![], None), "an empty file is told elsewhere");
    }

    #[test]
    fn members_that_follow_each_other_are_one_file() {
        for pack in [gzip, zstandard] {
            let bytes = [pack(b"one\n"), pack(b""), pack(b"two\n")].concat();
            assert_eq!(unpack(&bytes, "a"), (b"one\ntwo\n".to_vec(), None));
        }
        let skipped = [&[0x51, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 7, 7][..], &zstandard(b"x")].concat();
        assert_eq!(unpack(&skipped, "a.zst"), (b"x".to_vec(), None));
    }

    #[test]
    fn a_stream_that_is_cut_or_damaged_says_at_which_byte() {
        let text: Vec<u8> = (0..20_000_u32).flat_map(|i| format!("{} ", i * i % 9973).into_bytes()).collect();
        for pack in [gzip, zstandard] {
            let packed = pack(&text);
            for keep in [packed.len() - 1, packed.len() / 2, 12] {
                let (found, error) = unpack(&packed[..keep], "a");
                assert!(text.starts_with(&found));
                let cut = format!("cut off at byte {keep}");
                assert!(error.as_ref().is_some_and(|error| error.contains(&cut)), "{error:?}");
            }
            let mut damaged = packed.clone();
            damaged[packed.len() / 2] ^= 0x55;
            let error = unpack(&damaged, "a").1.expect("a checksum notices it");
            assert!(error.contains("damaged near byte") || error.contains("cut off at byte"), "{error}");
            let garbage = [packed, b"garbage".to_vec()].concat();
            assert!(unpack(&garbage, "a").1.is_some());
        }
    }

    #[test]
    fn bytes_in_memory_are_unpacked_within_bounds() {
        let text = b"hello ".repeat(1000);
        let unpacked = |bytes: &[u8], packing, most| {
            unpack_bytes(bytes, packing, most).map_err(|error| error.to_string())
        };
        for (packing, packed) in [
            (Compression::Plain, text.clone()),
            (Compression::Gzip, gzip(&text)),
            (Compression::Zstandard, zstandard(&text)),
        ] {
            assert_eq!(unpacked(&packed, packing, 6000).as_deref(), Ok(&text[..]));
            assert_eq!(unpacked(&packed, packing, 5999), Err("it is longer than 5.9 KiB".to_owned()));
        }
        assert_eq!(
            unpacked(&text, Compression::Gzip, 9999),
            Err("it is not compressed with gzip".to_owned())
        );
        let packed = gzip(&text);
        assert_eq!(
            unpacked(&packed[..20], Compression::Gzip, 9999),
            Err("its gzip data are cut off".to_owned())
        );
        let mut damaged = packed;
        let last = damaged.len() - 6;
        damaged[last] ^= 1;
        assert!(
            unpacked(&damaged, Compression::Gzip, 9999).unwrap_err().starts_with("its gzip data are damaged")
        );
        let bomb = gzip(&vec![0; 64 << 20]);
        assert_eq!(
            unpacked(&bomb, Compression::Gzip, 1 << 30),
            Err("it unpacks to more than 200 times its size".to_owned())
        );
    }

    #[test]
    fn a_bomb_is_stopped_early() {
        let zeros = vec![0; 64 << 20];
        for pack in [gzip, zstandard] {
            let (found, error) = unpack(&pack(&zeros), "a");
            assert!(error.is_some_and(|error| error.contains("200 times its size")));
            assert!(found.len() < 32 << 20, "{}", found.len());
        }
        assert_eq!(unpack(&zstandard(&zeros[..1 << 20]), "a").0.len(), 1 << 20, "short files may repeat");
    }

    proptest! {
        #[test]
        fn what_was_packed_is_read(bytes in proptest::collection::vec(any::<u8>(), 0..5000), cut in 0_usize..5000) {
            for pack in [gzip, zstandard] {
                let packed = pack(&bytes);
                prop_assert_eq!(unpack(&packed, "a"), (bytes.clone(), None));
                let _ = unpack(&packed[cut.min(packed.len())..], "a");
            }
        }
    }
}

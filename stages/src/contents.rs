//! Documents that lie in S3: fetched ahead of the rows that are made of them, kept until the stage is finished, unpacked and decoded.

mod decode;
mod explain;
mod kept;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fmflow_engine::documents::LINE_BYTES;
use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::{ContentsConfig, DatasetConfig, DatasetFormat};
use fmflow_engine::run::execute::Job;
use fmflow_engine::text::escape::escape_line;
use fmflow_engine::text::unpack::{Compression, unpack_bytes};

use crate::data::corpus::{Content, ContentStore};
use crate::failure::input_failure;
use crate::hub::storage::{Bucket, Fetched, ObjectStream};
use decode::decode_text;
use explain::explain_storage_error;
use kept::{ContentState, KeptContents};

/// The largest object that is fetched, in bytes, before it is unpacked.
const OBJECT_BYTES: u64 = 16 << 20;

/// How often it is told how many were fetched: nobody knows how many there will be.
const TELL: Duration = Duration::from_secs(60);

/// What to do about contents that are no documents.
const LEAVE_OUT: &str = "remove the record, or write `on-bad-record \"skip\"`";

/// The contents of a dataset, for a stage.
pub(crate) struct StoredContents<'a> {
    job: &'a Job<'a>,
    dataset: &'a DatasetConfig,
    config: &'a ContentsConfig,
    kept: KeptContents,
    stream: ObjectStream,
    /// What was asked for and not taken.
    pending: VecDeque<PendingContent>,
    speed: FetchSpeed,
}

/// How many objects were fetched, and when that was told last.
struct FetchSpeed {
    start: Instant,
    told: Instant,
    fetched: u64,
}

/// A content that was asked for.
struct PendingContent {
    key: String,
    /// Of a content that was kept, where it is; the others are on their way.
    found: ContentState,
}

/// Opens the contents of a dataset whose records only name them.
///
/// # Errors
/// If the environment names no server, or what was kept cannot be read.
pub(crate) fn open_contents<'a>(
    job: &'a Job<'a>,
    dataset: &'a DatasetConfig,
) -> Result<Option<Box<dyn ContentStore + 'a>>, Failure> {
    let DatasetFormat::Contents(config) = &dataset.format else { return Ok(None) };
    let keys = job.storage.filter(|_| config.signed);
    let bucket =
        Bucket::from_environment(&config.bucket, keys).map_err(|(what, fix)| input_failure(what, fix))?;
    let kept = KeptContents::open(job, &dataset.name)?;
    let stream = ObjectStream::new(bucket, OBJECT_BYTES);
    let (pending, now) = (VecDeque::new(), Instant::now());
    let speed = FetchSpeed { start: now, told: now, fetched: 0 };
    Ok(Some(Box::new(StoredContents { job, dataset, config, kept, stream, pending, speed })))
}

/// Removes what was kept of the contents that files name.
///
/// # Errors
/// If it cannot be removed.
pub(crate) fn remove_contents(
    job: &Job<'_>,
    dataset: &DatasetConfig,
    files: &[PathBuf],
) -> Result<(), Failure> {
    match dataset.format {
        DatasetFormat::Contents(_) => KeptContents::open(job, &dataset.name)?.remove(files),
        _ => Ok(()),
    }
}

impl ContentStore for StoredContents<'_> {
    fn begin(&mut self, file: &Path) -> Result<(), Failure> {
        self.kept.begin(file)
    }

    fn ask(&mut self, key: &str) -> Result<(), Failure> {
        let found = self.kept.find(key, self.job.report)?;
        if !matches!(found, ContentState::Kept(_)) {
            self.stream.ask(key);
        }
        self.pending.push_back(PendingContent { key: key.to_owned(), found });
        Ok(())
    }

    fn take(&mut self, encoding: Option<&str>) -> Result<Content, Failure> {
        let PendingContent { key, found } = self.pending.pop_front().expect("a content was asked for");
        let packing = self.config.packing;
        if let ContentState::Kept(place) = &found {
            let read = read_text(self.kept.take(place)?, packing, encoding);
            return Ok(read.map_or_else(|problem| self.unfit(&key, &problem), Content::Text));
        }
        let fetched = self.fetch(&key)?;
        let (content, usable) = match &fetched {
            Fetched::Missing => (Content::Missing(self.show(&key)), None),
            Fetched::TooLarge => {
                (Content::Unfit(format!("`{}` is larger than 16 MiB", self.show(&key)), LEAVE_OUT), None)
            }
            Fetched::Bytes(bytes) => match read_text(bytes, packing, encoding) {
                Ok(text) => (Content::Text(text), Some(&**bytes)),
                Err(problem) => (self.unfit(&key, &problem), None),
            },
        };
        if found == ContentState::New {
            self.kept.keep(&key, usable)?;
        }
        Ok(content)
    }

    fn end(&mut self) -> Result<(), Failure> {
        self.kept.flush()
    }
}

impl StoredContents<'_> {
    /// The object that was asked for first, from the network.
    fn fetch(&mut self, key: &str) -> Result<Fetched, Failure> {
        match self.stream.take(self.job.interrupt) {
            Ok(fetched) => {
                self.tell();
                Ok(fetched)
            }
            Err(error) => {
                self.kept.flush()?;
                let (bucket, offline) = (self.stream.bucket(), self.stream.is_offline());
                Err(explain_storage_error(&error, bucket, key, self.job, self.dataset, offline))
            }
        }
    }

    /// Counts an object, and tells now and then how many there are.
    fn tell(&mut self) {
        let FetchSpeed { start, told, fetched } = &mut self.speed;
        *fetched += 1;
        if told.elapsed() < TELL {
            return;
        }
        *told = Instant::now();
        let speed = *fetched as f64 / start.elapsed().as_secs_f64();
        let of = &self.dataset.name;
        self.job.report.event(&format!("{fetched} contents of `{of}` were fetched, {speed:.0} in a second"));
    }

    /// The address of an object, safe for a terminal.
    fn show(&self, key: &str) -> String {
        escape_line(&self.stream.bucket().address(key)).into_owned()
    }

    fn unfit(&self, key: &str, problem: &str) -> Content {
        Content::Unfit(format!("`{}`: {problem}", self.show(key)), LEAVE_OUT)
    }
}

/// The text of an object; the error says what is wrong with it.
fn read_text(bytes: &[u8], packing: Compression, encoding: Option<&str>) -> Result<String, String> {
    let unpacked = unpack_bytes(bytes, packing, LINE_BYTES).map_err(|error| error.to_string())?;
    decode_text(unpacked, encoding)
}

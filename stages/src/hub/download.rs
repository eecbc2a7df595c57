//! Brings the pinned files of a repository to this machine: from an earlier run, from the cache of Hugging Face's own tools, or
//! from the hub. Every file is hashed before it is used, wherever it comes from.

mod explain;

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Instant;

use fmflow_engine::error::{Error as StoreError, Failure};
use fmflow_engine::pipeline::repository::{PinnedFile, RepositoryFiles};
use fmflow_engine::run::execute::{Job, Progress};
use fmflow_engine::store::{Downloads, PartialFile};
use fmflow_engine::text::escape::{escape_line, show_path};

use super::RemoteHub;
use super::cache::{find_cache, open_cached};
use super::hash::ContentHash;
use super::transfer::{Transfer, Watch};

/// The unit of progress, in bytes.
const MEGABYTE: u64 = 1_000_000;

/// The files of a source of the stage, on this machine and verified, in the order of the lock file.
///
/// # Errors
/// A failure that names the file: of kind `Input` if the hub does not give it or gives something else, `Stage` if the hub cannot
/// be reached, `Space`, or `Interrupted`. What has arrived is kept for the next run.
pub(crate) fn download_files(
    job: &Job<'_>,
    source: &str,
    remote: &RepositoryFiles,
) -> Result<Vec<PathBuf>, Failure> {
    let downloads = job.slot.downloads(source)?;
    let downloader = Downloader {
        hub: RemoteHub::from_environment(),
        cache: find_cache(),
        job,
        remote,
        downloads: &downloads,
        before: Cell::new(0),
        file: Cell::new(""),
        start: Instant::now(),
        received: Cell::new((0, 0)),
    };
    let places: Vec<PathBuf> =
        remote.files.iter().map(|file| downloader.bring(file)).collect::<Result<_, _>>()?;
    for name in downloads.remove_others(&places)? {
        job.report.note(&format!("`{}` lay among the downloads and was removed", escape_line(&name)));
    }
    Ok(places)
}

struct Downloader<'a> {
    hub: RemoteHub,
    cache: Option<PathBuf>,
    job: &'a Job<'a>,
    remote: &'a RepositoryFiles,
    downloads: &'a Downloads,
    /// Bytes of the files before this one.
    before: Cell<u64>,
    /// Path of this file.
    file: Cell<&'a str>,
    start: Instant,
    /// Bytes that came through the network: of files before this one, and where this one began.
    received: Cell<(u64, u64)>,
}

impl<'a> Downloader<'a> {
    fn bring(&self, file: &'a PinnedFile) -> Result<PathBuf, Failure> {
        self.file.set(&file.path);
        let place = self.downloads.place(&file.path)?;
        let mut hash = ContentHash::of(file).ok_or_else(|| self.unhashed(file))?;
        if !self.is_complete(file, &place, &mut hash)? {
            self.bring_anew(file, &place, &mut hash)?;
        }
        self.before.set(self.before.get() + file.size);
        self.show(0);
        Ok(place)
    }

    /// Whether an earlier run has brought the file. A damaged one is removed and told.
    fn is_complete(&self, file: &PinnedFile, place: &Path, hash: &mut ContentHash) -> Result<bool, Failure> {
        let Some(size) = self.downloads.size(place)? else { return Ok(false) };
        if size == file.size {
            self.hash_all(self.downloads.open(place)?, hash)?;
            if hash.matches() {
                return Ok(true);
            }
            hash.restart();
        }
        self.job.report.note(&format!("{} was damaged, and is downloaded again", show_path(place)));
        self.downloads.remove(place)?;
        Ok(false)
    }

    fn bring_anew(&self, file: &PinnedFile, place: &Path, hash: &mut ContentHash) -> Result<(), Failure> {
        let mut part = self.downloads.partial(hash.expected())?;
        if part.length() > file.size {
            part.restart()?;
        }
        if part.length() == 0 {
            self.copy_cached(file, &mut part, hash)?;
        } else {
            self.hash_all(part.open()?, hash)?;
        }
        let resumed = part.length() > 0;
        self.transfer(file, &mut part, hash)?;
        if !hash.matches() && resumed {
            // What had arrived before may be of a run that lost power.
            self.job
                .report
                .note(&format!("`{}` had damaged parts, and is downloaded again", escape_line(&file.path)));
            part.restart()?;
            hash.restart();
            self.transfer(file, &mut part, hash)?;
        }
        if !hash.matches() {
            part.restart()?;
            return Err(self.other_content(file));
        }
        Ok(self.downloads.complete(part, place)?)
    }

    /// Copies the file from the cache of Hugging Face's tools, if it is there and is the right one.
    fn copy_cached(
        &self,
        file: &PinnedFile,
        part: &mut PartialFile,
        hash: &mut ContentHash,
    ) -> Result<(), Failure> {
        let cache = self.cache.as_deref();
        let found = cache.and_then(|cache| open_cached(cache, self.remote, file, hash.expected()));
        let Some((path, from)) = found else { return Ok(()) };
        let copied = hash.read::<CopyError>(from, |bytes| {
            if self.interrupted() {
                return Err(CopyError::Write(self.stopped()));
            }
            Ok(part.write(bytes)?)
        });
        let why = match copied {
            Err(CopyError::Write(failure)) => return Err(failure),
            Err(CopyError::Read(error)) => error.to_string(),
            Ok(()) if hash.matches() => return Ok(()),
            Ok(()) => "its content is another".to_owned(),
        };
        self.job.report.note(&format!("{} is not used: {why}", show_path(path)));
        part.restart()?;
        hash.restart();
        Ok(())
    }

    fn hash_all(&self, from: impl std::io::Read, hash: &mut ContentHash) -> Result<(), Failure> {
        let read = hash.read::<CopyError>(from, |_| match self.interrupted() {
            true => Err(CopyError::Write(self.stopped())),
            false => Ok(()),
        });
        read.map_err(|error| match error {
            CopyError::Write(failure) => failure,
            CopyError::Read(error) => error.into(),
        })
    }

    fn transfer(
        &self,
        file: &PinnedFile,
        part: &mut PartialFile,
        hash: &mut ContentHash,
    ) -> Result<(), Failure> {
        let RepositoryFiles { kind, name, commit, .. } = self.remote;
        let url = self.hub.file_url(*kind, name, commit, &file.path);
        let begin = part.length();
        self.received.set((self.received.get().0, begin));
        let (client, token) = (&self.hub.client, self.job.token);
        let ran = Transfer { client, url: &url, token, size: file.size, watch: self }.run(part, hash);
        let received = self.received.get().0 + part.length().saturating_sub(begin);
        self.received.set((received, 0));
        ran.map_err(|error| self.explain(file, error))
    }

    fn show(&self, here: u64) {
        let (received, begin) = self.received.get();
        let seconds = self.start.elapsed().as_secs_f64().max(1e-3);
        let speed = (received + here.saturating_sub(begin)) as f64 / seconds / MEGABYTE as f64;
        let text = format!("{speed:.1} MB/s · {}", escape_line(self.file.get()));
        let done = (self.before.get() + here) / MEGABYTE;
        let total = self.remote.bytes().div_ceil(MEGABYTE).max(1);
        self.job.report.progress(&Progress { done: done.min(total), total, unit: "MB", text: &text });
    }
}

impl Watch for Downloader<'_> {
    fn interrupted(&self) -> bool {
        self.job.interrupt.load(Ordering::SeqCst)
    }

    fn arrived(&self, bytes: u64) {
        self.show(bytes);
    }

    fn note(&self, text: &str) {
        self.job.report.note(text);
    }
}

/// Why a copy stopped: at its source, which may be replaced by another, or where it goes.
enum CopyError {
    Read(std::io::Error),
    Write(Failure),
}

impl From<std::io::Error> for CopyError {
    fn from(error: std::io::Error) -> Self {
        Self::Read(error)
    }
}

impl From<StoreError> for CopyError {
    fn from(error: StoreError) -> Self {
        Self::Write(error.into())
    }
}

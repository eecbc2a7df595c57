//! The metrics of a stage while it is unfinished, and the events of TensorBoard that are made from them.

use std::path::PathBuf;
use std::sync::PoisonError;

use super::{Slot, corrupt_manifest};
use crate::error::{Error, Result};
use crate::store::events::{EVENTS, EventEncoder};
use crate::store::metrics::{self, Metrics};
use crate::store::vfs::{VfsFile, is_absent};
use crate::store::{manifest, seal};

/// The files that grow with every line of metrics.
pub(super) struct OpenMetrics {
    file: Box<dyn VfsFile>,
    events: Box<dyn VfsFile>,
    events_path: PathBuf,
    encoder: EventEncoder,
}

impl Slot {
    /// Appends one line, a JSON object with `"step"`, to the metrics, and its numbers to the events. The next checkpoint
    /// syncs the metrics; the events can be made again.
    ///
    /// # Errors
    /// If the file cannot be written, or the object has a `null`: a number that is not finite.
    pub fn append_metrics(&self, line: &str) -> Result<()> {
        let sealed = metrics::seal_metrics(line)?;
        let mut open = self.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        let log = match &mut *open {
            Some(log) => log,
            closed => closed.insert(self.open_metrics()?),
        };
        log.file.write_all(sealed.as_bytes()).map_err(Error::io("write", &self.metrics_path()))?;
        let event = log.encoder.encode(line);
        log.events.write_all(&event).map_err(Error::io("write", &log.events_path))?;
        self.listener.iter().for_each(|listener| listener(line));
        Ok(())
    }

    /// The lines of the metrics so far, without their checksums.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn metric_lines(&self) -> Result<Vec<String>> {
        Ok(metrics::read_metrics(self.vfs(), &self.work())?.unwrap_or_default().lines)
    }

    /// Brings the metrics to stable storage, as far as they were written.
    pub(super) fn sync_metrics(&self) -> Result<()> {
        if let Some(log) = &mut *self.metrics.lock().unwrap_or_else(PoisonError::into_inner) {
            let (path, work) = (self.metrics_path(), self.work());
            log.file.sync().map_err(Error::io("sync", &path))?;
            self.vfs().sync_dir(&work).map_err(Error::io("sync", &work))?;
        }
        Ok(())
    }

    /// Removes the lines of updates from `step` on, which a resumed stage computes again.
    ///
    /// # Errors
    /// If the file cannot be read or replaced.
    pub fn truncate_metrics_from(&self, step: u64) -> Result<()> {
        *self.metrics.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.rewrite_metrics(step).map(drop)
    }

    /// Opens the metrics to append to, and a new file of events with all lines so far. The number in its name is higher than that of the
    /// last one, which a reader may have open: it goes on with the new file, whose beginning makes it forget the old one.
    fn open_metrics(&self) -> Result<OpenMetrics> {
        self.rewrite_metrics(u64::MAX)?;
        let path = self.metrics_path();
        let file = self.vfs().append(&path).map_err(Error::io("open", &path))?;
        let old = self.list_events()?;
        let number = old.last().map_or(1, |(number, _)| number + 1);
        let events_path = self.work().join(format!("{EVENTS}.{number:06}"));
        let mut encoder = EventEncoder::new(self.began);
        self.store.replace_file(&events_path, &encoder.encode_all(&self.metric_lines()?))?;
        for (_, path) in old {
            self.vfs().remove_all(&path).map_err(Error::io("remove", &path))?;
        }
        let events = self.vfs().append(&events_path).map_err(Error::io("open", &events_path))?;
        Ok(OpenMetrics { file, events, events_path, encoder })
    }

    /// The files of events by their number, ascending.
    fn list_events(&self) -> Result<Vec<(u64, PathBuf)>> {
        let work = self.work();
        let names = self.vfs().list(&work).map_err(Error::io("list", &work))?.into_iter();
        let number = |name: &str| name.strip_prefix(EVENTS)?.strip_prefix('.')?.parse().ok();
        let mut found: Vec<(u64, PathBuf)> =
            names.filter_map(|(name, _)| Some((number(&name)?, work.join(name)))).collect();
        found.sort();
        Ok(found)
    }

    /// When the stage began, in seconds since 1970: when its work folder was made.
    pub(super) fn read_began(&self) -> Result<f64> {
        let work = self.work();
        let found =
            manifest::read_manifest(self.vfs(), &work)?.unwrap_or_else(|| Err("it is missing".into()));
        let found = found.map_err(|what| corrupt_manifest(work.clone(), what))?;
        let began: std::result::Result<jiff::Timestamp, _> = found.created.parse();
        let began = began.map_err(|_| corrupt_manifest(work, "it does not say when it was made".into()))?;
        Ok(began.as_millisecond() as f64 / 1e3)
    }

    /// Takes over the lines of updates before `step` of another stage.
    pub(super) fn replace_metrics(&self, lines: &[String], step: u64) -> Result<()> {
        *self.metrics.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let kept = lines.iter().filter(|line| metrics::is_line_before(line, step));
        let kept: String = kept.map(|line| seal::seal_line(line) + "\n").collect();
        self.store.replace_file(&self.metrics_path(), kept.as_bytes())
    }

    /// Keeps the whole lines of updates before `step`. Returns a sentence about damaged lines; a torn last line is no damage.
    pub(super) fn rewrite_metrics(&self, step: u64) -> Result<Option<String>> {
        let path = self.metrics_path();
        let bytes = match self.vfs().read(&path) {
            Err(error) if is_absent(&error) => return Ok(None),
            read => read.map_err(Error::io("read", &path))?,
        };
        let found = Metrics::parse(&bytes);
        let kept = found.lines.iter().filter(|line| metrics::is_line_before(line, step));
        let kept: String = kept.map(|line| seal::seal_line(line) + "\n").collect();
        if kept.as_bytes() != bytes {
            self.store.replace_file(&path, kept.as_bytes())?;
        }
        Ok(found.describe_damage())
    }
}

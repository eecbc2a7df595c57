//! Rows that are made while training reads them.
//!
//! A thread makes the shards of a dataset in the order in which training visits them ([`crate::data::order`]), as far ahead as the
//! disk space of the window allows, and drops those that were read. Training waits for a shard that is not there. Which row comes
//! i-th is the same as without a window: it depends on how many rows each shard has, and that is found by making it.

mod files;
mod maker;
mod state;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fmflow_engine::error::{Failure, FailureKind};
use fmflow_engine::pipeline::role::InputRole;
use fmflow_engine::run::execute::Job;
use fmflow_engine::store::RowsWindow;
use fmflow_engine::text::display::{count_noun, format_bytes};

use crate::data::order::{OrderIndex, RowOrder};
use crate::data::packing::Row;
use crate::data::rows::{RowsSummary, from_record};
use crate::failure::{input_failure, stage_failure};
use crate::job::find_input_folder;
use maker::ShardMaker;
use state::{Found, WindowState};

/// How long training waits before it looks whether it was interrupted.
const GLANCE: Duration = Duration::from_millis(50);

/// The training rows of one dataset, which are made while they are read.
pub(crate) struct WindowRows<'a> {
    job: &'a Job<'a>,
    name: &'a str,
    maker: ShardMaker<'a>,
    store: RowsWindow,
    summary: RowsSummary,
    state: Mutex<WindowState>,
    /// Told when the state changes.
    changed: Condvar,
    /// Ends the work of the thread.
    stop: AtomicBool,
}

impl<'a> WindowRows<'a> {
    /// Opens the window of the rows in a role, whose plan says `summary`.
    ///
    /// # Errors
    /// If the window is too small for the groups of the dataset, its folder cannot be read, or the tokenizer cannot be opened.
    pub(crate) fn open(
        job: &'a Job<'a>,
        role: &InputRole,
        order: RowOrder,
        summary: &RowsSummary,
    ) -> Result<Self, Failure> {
        let source = job.windows.get(role).ok_or_else(|| Failure {
            kind: FailureKind::Defect,
            message: format!("the rows of `{role}` have no window"),
            help: None,
        })?;
        let name = source.stage.name.as_str();
        refuse_small_window(name, source.disk, order, summary)?;
        let store = job.slot.window(role, name)?;
        let (mut entries, mut notes) = store.entries()?;
        let record = summary.record_bytes() as u64;
        // What a stranger's store says of a shard is believed only as far as its size fits.
        entries.retain(|shard, entry| {
            let fits = entry.rows.saturating_mul(record) == entry.bytes;
            if !fits {
                notes.push(format!(
                    "what was noted of shard {shard} does not fit its rows, so it is made again"
                ));
            }
            fits
        });
        notes.iter().for_each(|note| job.report.note(&format!("{name}: {note}")));
        let present = store.find_present(&entries)?;
        let state = WindowState::new(OrderIndex::new(order), source.disk, entries, present);
        let state = Mutex::new(state.with_guess(guess_shard_bytes(summary)));
        let (maker, changed) =
            (ShardMaker::open(source, order, find_input_folder(job, role)?)?, Condvar::new());
        let stop = AtomicBool::new(false);
        Ok(Self { job, name, maker, store, summary: summary.clone(), state, changed, stop })
    }

    /// Row `ordinal` of the dataset, counted through all passes. Waits until its shard is there.
    ///
    /// # Errors
    /// If a shard cannot be made or read, or a signal requests a stop.
    pub(crate) fn row(&self, ordinal: u64) -> Result<Row, Failure> {
        let (file, row) = self.wait_for(ordinal)?;
        let RowsSummary { length, bytes_per_id, vocabulary, .. } = self.summary;
        let mut bytes = vec![0; self.summary.record_bytes()];
        let start = row * bytes.len() as u64;
        file.read_exact_at(&mut bytes, start).map_err(stage_failure)?;
        let damaged = |problem| stage_failure(format!("a shard of `{}` is damaged: {problem}", self.name));
        from_record(&bytes, length, bytes_per_id, vocabulary).map_err(damaged)
    }

    /// Says which rows training still needs: those from number `first` up to `end`.
    pub(crate) fn need(&self, first: u64, end: u64) {
        if self.lock().need(first, end) {
            self.changed.notify_all();
        }
    }

    /// The file of the shard of a row, and the number of the row in it.
    fn wait_for(&self, ordinal: u64) -> Result<(Arc<File>, u64), Failure> {
        let mut state = self.lock();
        let mut began = None;
        loop {
            match state.find(ordinal, &self.store)? {
                Found::Row(file, row) => {
                    state.waited += began.map_or(Duration::ZERO, |began: Instant| began.elapsed());
                    return Ok((file, row));
                }
                Found::NoRows => {
                    let what = format!("`{}` has no rows for training", self.name);
                    return Err(input_failure(what, "add documents, or leave the dataset out"));
                }
                Found::Absent(shard) => state.want(shard),
            }
            if let Some(failure) = state.take_failure() {
                return Err(failure);
            }
            if self.job.interrupt.load(Ordering::SeqCst) {
                let message = format!("stopped while it waited for rows of `{}`", self.name);
                return Err(Failure { kind: FailureKind::Interrupted, message, help: None });
            }
            began.get_or_insert_with(Instant::now);
            self.changed.notify_all();
            let woken = self.changed.wait_timeout(state, GLANCE);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Makes shards until [`Self::stop`], on this thread and up to `threads` more.
    pub(crate) fn make_shards(&self, threads: usize) {
        let _ended = Ended(self);
        if let Err(failure) = self.make_until_stopped(threads) {
            // Training may end well with the rows that are there.
            self.job.report.note(&format!("no more rows of `{}` are made: {}", self.name, failure.message));
            self.lock().fail(failure);
        }
    }

    fn make_until_stopped(&self, threads: usize) -> Result<(), Failure> {
        while let Some((shard, before)) = self.wait_for_work()? {
            let known = self.lock().entry(shard).cloned();
            let made =
                self.maker.make(self.job, &self.store, (shard, before), known.as_ref(), threads, &self.stop);
            match made {
                Ok(entry) => self.lock().add(entry, &self.store)?,
                // Making was stopped because training ends.
                Err(_) if self.stop.load(Ordering::SeqCst) => return Ok(()),
                Err(failure) => return Err(failure),
            }
            self.changed.notify_all();
        }
        Ok(())
    }

    /// The next shard to make, with the tokens before it; `None` once training ends.
    fn wait_for_work(&self) -> Result<Option<(u64, u64)>, Failure> {
        let mut state = self.lock();
        loop {
            if self.stop.load(Ordering::SeqCst) {
                return Ok(None);
            }
            if let Some(work) = state.choose(&self.store)? {
                return Ok(Some(work));
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Lets the thread end that makes shards.
    pub(crate) fn stop(&self) {
        // Under the lock, so that the thread cannot miss it between its look and its sleep.
        let _state = self.lock();
        self.stop.store(true, Ordering::SeqCst);
        self.changed.notify_all();
    }

    /// How long training waited for rows so far.
    pub(crate) fn waited(&self) -> Duration {
        self.lock().waited
    }

    /// What was made in this run, for people.
    #[must_use]
    pub(crate) fn describe(&self) -> String {
        let state = self.lock();
        let size = format_bytes(state.bytes());
        let again = match state.made_again {
            0 => String::new(),
            many => format!(" ({many} of them again)"),
        };
        format!(
            "{}: {} of {} made in this run{again}; {size} are there; training waited {:.1} s for its rows",
            self.name,
            count_noun(state.made, "shard"),
            self.summary.shards.count,
            state.waited.as_secs_f64()
        )
    }

    /// The name of the stage that planned the rows.
    #[must_use]
    pub(crate) fn name(&self) -> &str {
        self.name
    }

    fn lock(&self) -> MutexGuard<'_, WindowState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells training that the thread has ended, even if it panicked: otherwise training would wait for ever.
struct Ended<'a, 'b>(&'a WindowRows<'b>);

impl Drop for Ended<'_, '_> {
    fn drop(&mut self) {
        self.0.lock().end();
        self.0.changed.notify_all();
    }
}

/// Stops windows when it goes, however the function ends that has it.
pub(crate) struct StopWindows<'a, 'b>(pub(crate) Vec<&'a WindowRows<'b>>);

impl Drop for StopWindows<'_, '_> {
    fn drop(&mut self) {
        self.0.iter().for_each(|window| window.stop());
    }
}

/// Bytes that the rows of a shard probably take: the mean of the first ones.
fn guess_shard_bytes(summary: &RowsSummary) -> u64 {
    let record = summary.record_bytes() as u64;
    summary.shards.opening_rows.saturating_mul(record) / summary.shards.per_group.max(1)
}

/// Refuses a window that has no room for a group of shards that is read and one that is made.
fn refuse_small_window(name: &str, disk: u64, order: RowOrder, summary: &RowsSummary) -> Result<(), Failure> {
    let group = guess_shard_bytes(summary).saturating_mul(order.per_group);
    let needed = group.saturating_mul(order.groups().min(2));
    if needed <= disk {
        return Ok(());
    }
    let what = format!(
        "the window leaves {} for `{name}`, but {} that are shuffled together take about {}",
        format_bytes(disk),
        count_noun(order.per_group, "shard"),
        format_bytes(group)
    );
    let fix = format!(
        "raise `window disk=`, which all datasets of these rows share, so that each has {}; or lower `shard=`",
        format_bytes(needed)
    );
    Err(input_failure(what, fix))
}

//! What a window knows: which shards are counted, which are there, which training reads now, and so which one is made next.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use fmflow_engine::error::{Failure, FailureKind};
use fmflow_engine::store::ShardEntry;
use fmflow_engine::text::display::format_bytes;

use super::files::ShardFiles;
use crate::data::order::{OrderIndex, Visit};
use crate::failure::input_failure;

/// Where the rows of a dataset are. Making decisions here needs no thread, so that tests can.
pub(super) struct WindowState {
    index: OrderIndex,
    disk: u64,
    entries: BTreeMap<u64, ShardEntry>,
    /// The shards that are there; open once they were compared.
    present: BTreeMap<u64, Option<Arc<File>>>,
    /// Bytes that a shard probably takes of which nothing is known.
    guess: u64,
    /// The first row that training still reads, and its group, as far as that is known.
    first: u64,
    at: Visit,
    /// The number after that of the last row that training reads.
    end: u64,
    /// The shard that training waits for.
    wanted: Option<u64>,
    failure: Option<Failure>,
    ended: bool,
    /// How long training waited in this run.
    pub(super) waited: Duration,
    /// Shards that were made in this run, and how many of them had been made before.
    pub(super) made: u64,
    pub(super) made_again: u64,
}

/// Where a row is.
pub(super) enum Found {
    /// In this file, with this number.
    Row(Arc<File>, u64),
    /// In this shard, or behind it: it has to be made first.
    Absent(u64),
    /// Nowhere: the dataset has no rows.
    NoRows,
}

impl WindowState {
    pub(super) fn new(
        index: OrderIndex,
        disk: u64,
        entries: BTreeMap<u64, ShardEntry>,
        present: Vec<u64>,
    ) -> Self {
        Self {
            index,
            disk,
            entries,
            present: present.into_iter().map(|shard| (shard, None)).collect(),
            guess: 0,
            first: 0,
            at: Visit { pass: 0, group: 0 },
            // Nothing is ahead until training says where it reads.
            end: 0,
            wanted: None,
            failure: None,
            ended: false,
            waited: Duration::ZERO,
            made: 0,
            made_again: 0,
        }
    }

    /// With the bytes that a shard probably takes.
    pub(super) fn with_guess(self, guess: u64) -> Self {
        Self { guess, ..self }
    }

    /// Notes the rows that are still needed. Whether that may change what is made next.
    pub(super) fn need(&mut self, first: u64, end: u64) -> bool {
        let before = (self.at, self.end);
        (self.first, self.end) = (first, end);
        self.follow();
        (self.at, self.end) != before
    }

    /// Finds the group of the first row that is read. While nobody knows it, it is the first one that is not counted, or behind that:
    /// what comes before is not needed.
    fn follow(&mut self) {
        let Self { index, entries, .. } = self;
        let (order, found) = (index.order(), index.find(self.first, |shard| rows_of(entries, shard)));
        match found {
            Ok(Some(place)) => self.at = place.visit,
            Ok(None) => {}
            Err(_) => {
                let counted =
                    |visit| order.members(visit).iter().all(|shard| rows_of(entries, *shard).is_ok());
                let start = if self.at.pass == 0 { self.at.group } else { 0 };
                let mut groups = (start..order.groups()).map(|group| Visit { pass: 0, group });
                self.at = groups.find(|visit| !counted(*visit)).unwrap_or(self.at);
            }
        }
    }

    /// Where a row is.
    pub(super) fn find(&mut self, ordinal: u64, store: &impl ShardFiles) -> Result<Found, Failure> {
        let Self { index, entries, .. } = self;
        let place = match index.find(ordinal, |shard| rows_of(entries, shard)) {
            Err(uncounted) => return Ok(Found::Absent(uncounted)),
            Ok(None) => return Ok(Found::NoRows),
            Ok(Some(place)) => place,
        };
        let Some(open) = self.present.get_mut(&place.shard) else { return Ok(Found::Absent(place.shard)) };
        if open.is_none() {
            let entry = entries.get(&place.shard).expect("a shard that is there is counted");
            *open = store.open_shard(entry)?.map(Arc::new);
        }
        match open.clone() {
            Some(file) => {
                self.wanted = None;
                Ok(Found::Row(file, place.row))
            }
            // It was damaged or removed, and is made again.
            None => {
                self.present.remove(&place.shard);
                Ok(Found::Absent(place.shard))
            }
        }
    }

    /// Notes that training waits for a shard.
    pub(super) fn want(&mut self, shard: u64) {
        self.wanted = Some(shard);
    }

    /// The shard to make now and the tokens before it, after making room for it; `None` if there is nothing to do or no room.
    pub(super) fn choose(&mut self, store: &impl ShardFiles) -> Result<Option<(u64, u64)>, Failure> {
        self.follow();
        let ahead = self.list_ahead();
        if self.end > 0 {
            // An earlier run may have had more space.
            let kept = self.wanted.into_iter().collect();
            self.make_room(0, &kept, &ahead, store)?;
        }
        let absent =
            |shard: &u64| !self.present.contains_key(shard) && rows_of(&self.entries, *shard) != Ok(0);
        let wanted = self.wanted.filter(absent);
        let (shard, kept) = match (wanted, ahead.iter().position(absent)) {
            // Nothing is worth more than what training waits for.
            (Some(wanted), _) => (wanted, BTreeSet::new()),
            (None, Some(at)) => (ahead[at], ahead[..at].iter().copied().chain(self.wanted).collect()),
            (None, None) => return Ok(None),
        };
        let shard = self.find_uncounted_before(shard).unwrap_or(shard);
        let bytes = self.guess_bytes(shard);
        if wanted.is_none() && !self.has_room(bytes, &kept) {
            return Ok(None);
        }
        self.make_room(bytes, &kept, &ahead, store)?;
        let before = self.entries.range(..shard).map(|(_, entry)| entry.tokens).sum();
        Ok(Some((shard, before)))
    }

    /// Adds a shard that was made.
    pub(super) fn add(&mut self, entry: ShardEntry, store: &impl ShardFiles) -> Result<(), Failure> {
        let (shard, bytes) = (entry.shard, entry.bytes);
        if bytes > self.disk {
            // Otherwise the next run would find it and read it.
            store.drop_shard(shard)?;
            let what = format!(
                "shard {shard} takes {}, but the window leaves {}",
                format_bytes(bytes),
                format_bytes(self.disk)
            );
            return Err(input_failure(what, "raise `window disk=`, or divide the files of the dataset"));
        }
        self.made += 1;
        self.made_again += u64::from(self.entries.contains_key(&shard));
        match entry.rows {
            0 => store.drop_shard(shard)?,
            _ => drop(self.present.insert(shard, None)),
        }
        self.entries.insert(shard, entry);
        let kept = [shard].into_iter().chain(self.wanted).collect();
        let ahead = self.list_ahead();
        self.make_room(0, &kept, &ahead, store)
    }

    /// What is known of a shard.
    pub(super) fn entry(&self, shard: u64) -> Option<&ShardEntry> {
        self.entries.get(&shard)
    }

    /// Bytes of the shards that are there.
    pub(super) fn bytes(&self) -> u64 {
        self.present.keys().map(|shard| self.entries.get(shard).map_or(0, |entry| entry.bytes)).sum()
    }

    /// Notes why no more shards are made.
    pub(super) fn fail(&mut self, failure: Failure) {
        self.failure = Some(failure);
    }

    /// Notes that no more shards are made.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    /// Why no more shards are made, if that is so.
    pub(super) fn take_failure(&mut self) -> Option<Failure> {
        let message = "the thread that makes rows has ended".to_owned();
        let silent = || Failure { kind: FailureKind::Defect, message, help: None };
        self.failure.take().or_else(|| self.ended.then(silent))
    }

    /// The shards that training reads next, in that order, from the group that it reads now to the last that it needs, but no farther
    /// than they are counted, and at most one pass.
    fn list_ahead(&mut self) -> Vec<u64> {
        let order = self.index.order();
        let (mut visit, mut ahead) = (self.at, Vec::new());
        for _ in 0..=order.groups() {
            let Self { index, entries, .. } = self;
            let start = index.count_before(visit, |shard| rows_of(entries, shard));
            if start.is_ok_and(|start| start >= self.end) {
                break;
            }
            let members = order.members(visit);
            let counted = members.iter().all(|shard| rows_of(&self.entries, *shard).is_ok());
            ahead.extend(members);
            if !counted {
                break;
            }
            visit = order.after(visit);
        }
        ahead
    }

    /// With a cap, how much of a shard is let in depends on those before it: the first of them that is not counted.
    fn find_uncounted_before(&self, shard: u64) -> Option<u64> {
        let in_order = self.index.order().in_order;
        (0..shard).filter(|_| in_order).find(|before| !self.entries.contains_key(before))
    }

    fn guess_bytes(&self, shard: u64) -> u64 {
        self.entries.get(&shard).map_or(self.guess, |entry| entry.bytes)
    }

    /// Whether so many bytes fit beside the shards that are kept.
    fn has_room(&self, bytes: u64, kept: &BTreeSet<u64>) -> bool {
        let there = self.present.keys().filter(|shard| kept.contains(shard));
        there.map(|shard| self.guess_bytes(*shard)).sum::<u64>().saturating_add(bytes) <= self.disk
    }

    /// Drops shards until so many bytes fit, or only the kept ones are there: first those that are not read soon, then the farthest.
    fn make_room(
        &mut self,
        bytes: u64,
        kept: &BTreeSet<u64>,
        ahead: &[u64],
        store: &impl ShardFiles,
    ) -> Result<(), Failure> {
        let place = |shard: &u64| ahead.iter().position(|next| next == shard).unwrap_or(usize::MAX);
        let mut droppable: Vec<u64> = self.present.keys().filter(|s| !kept.contains(s)).copied().collect();
        droppable.sort_by_key(|shard| place(shard));
        while self.bytes().saturating_add(bytes) > self.disk {
            let Some(shard) = droppable.pop() else { break };
            self.present.remove(&shard);
            store.drop_shard(shard)?;
        }
        Ok(())
    }
}

/// Rows of a shard; the error is the shard, if nobody knows yet. Behind the end of a cap there are none.
fn rows_of(entries: &BTreeMap<u64, ShardEntry>, shard: u64) -> Result<u64, u64> {
    if let Some(entry) = entries.get(&shard) {
        return Ok(entry.rows);
    }
    match entries.range(..shard).next_back().is_some_and(|(_, before)| before.ends_the_dataset) {
        true => Ok(0),
        false => Err(shard),
    }
}

#[cfg(test)]
mod tests;

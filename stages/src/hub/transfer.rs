//! The transfer of one file: it goes on where it stopped, is asked for again while that helps, and takes no byte more than the
//! lock file lists.

use std::io::Read;
use std::time::{Duration, Instant};

use fmflow_engine::error::Error as StoreError;
use fmflow_engine::hub::online::{HubError, Secret};
use fmflow_engine::store::PartialFile;

use super::address::RequestError;
use super::answer::to_hub_error;
use super::client::{
    ATTEMPTS, HttpAnswer, HttpClient, Response, Wanted, build_authorization_header, read_header,
};
use super::hash::ContentHash;

/// Bytes that are read at once.
const CHUNK: usize = 256 << 10;

/// A transfer that brings at least this many bytes counts as one that moves.
const MOVES: u64 = 64 << 10;

/// The longest wait that a server can impose; for a longer one, the run ends and says so.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// How long a signal may go unnoticed in a pause.
pub(super) const GLANCE: Duration = Duration::from_millis(50);

/// Who watches a transfer.
pub(super) trait Watch {
    /// Whether to stop.
    fn interrupted(&self) -> bool;
    /// So many bytes of the file are here.
    fn arrived(&self, bytes: u64);
    /// Something that the user should see.
    fn note(&self, text: &str);
}

/// What has arrived of a file.
pub(super) trait Part {
    /// Bytes that have arrived.
    fn length(&self) -> u64;
    /// Appends bytes.
    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError>;
    /// Forgets what has arrived.
    fn restart(&mut self) -> Result<(), StoreError>;
    /// The version that the server named at the start.
    fn tag(&self) -> Option<String>;
    /// Notes the version that the server names.
    fn set_tag(&mut self, tag: &str) -> Result<(), StoreError>;
}

impl Part for PartialFile {
    fn length(&self) -> u64 {
        Self::length(self)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        Self::write(self, bytes)
    }

    fn restart(&mut self) -> Result<(), StoreError> {
        Self::restart(self)
    }

    fn tag(&self) -> Option<String> {
        Self::tag(self)
    }

    fn set_tag(&mut self, tag: &str) -> Result<(), StoreError> {
        Self::set_tag(self, tag)
    }
}

/// A file of known size at an address.
pub(super) struct Transfer<'a> {
    pub(super) client: &'a HttpClient,
    pub(super) url: &'a str,
    pub(super) token: Option<&'a Secret>,
    pub(super) size: u64,
    pub(super) watch: &'a dyn Watch,
}

/// Why a file is not here.
#[derive(Debug)]
pub(super) enum TransferError {
    /// A signal asked to stop. What has arrived is kept.
    Interrupted,
    /// The hub does not give it.
    Hub(HubError),
    /// The hub gives something else, in words.
    Other(String),
    /// It cannot be written.
    Store(StoreError),
}

/// Why one attempt did not end with the whole file.
enum AttemptError {
    /// A further attempt may help, after the wait that the server asks for.
    Again(String, Option<Duration>),
    Final(TransferError),
}

impl From<StoreError> for AttemptError {
    fn from(error: StoreError) -> Self {
        Self::Final(TransferError::Store(error))
    }
}

impl From<HubError> for AttemptError {
    fn from(error: HubError) -> Self {
        Self::Final(TransferError::Hub(error))
    }
}

/// Waits, and says whether to stop.
pub(super) fn pause_unless(time: Duration, stop: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < time && !stop() {
        std::thread::sleep(GLANCE.min(time - start.elapsed().min(time)));
    }
    stop()
}

impl Transfer<'_> {
    /// Brings what is missing of the file. `hash` has seen what has arrived before.
    pub(super) fn run(&self, part: &mut dyn Part, hash: &mut ContentHash) -> Result<(), TransferError> {
        let mut failures = 0;
        while part.length() < self.size {
            let before = part.length();
            let (why, asked) = match self.attempt(part, hash) {
                Ok(()) => continue,
                Err(AttemptError::Final(error)) => return Err(error),
                Err(AttemptError::Again(why, asked)) => (why, asked),
            };
            failures = if part.length() >= before + MOVES { 0 } else { failures + 1 };
            if failures >= ATTEMPTS {
                return Err(TransferError::Hub(HubError::Unreachable(why)));
            }
            let wait =
                asked.unwrap_or_else(|| self.client.timeouts.pause.saturating_mul(1 << (2 * failures)));
            if asked.is_some() {
                self.watch.note(&format!("the hub asks to wait {} s ({why})", wait.as_secs()));
            }
            self.pause(wait)?;
        }
        Ok(())
    }

    fn pause(&self, wait: Duration) -> Result<(), TransferError> {
        match pause_unless(wait, || self.watch.interrupted()) {
            true => Err(TransferError::Interrupted),
            false => Ok(()),
        }
    }

    fn refuse_interrupt(&self) -> Result<(), TransferError> {
        if self.watch.interrupted() { Err(TransferError::Interrupted) } else { Ok(()) }
    }

    /// Sends one request and takes what it brings.
    fn attempt(&self, part: &mut dyn Part, hash: &mut ContentHash) -> Result<(), AttemptError> {
        let response = self.ask(part)?;
        match response.status().as_u16() {
            200 if part.length() > 0 => {
                // The server has another version, or knows no ranges.
                part.restart()?;
                hash.restart();
            }
            200 => {}
            206 => self.check_range(&response, part.length())?,
            416 => {
                part.restart()?;
                hash.restart();
                return Err(AttemptError::Again("the hub does not have the rest of the file".into(), None));
            }
            _ => return Err(self.explain_refusal(response)),
        }
        self.check_length(&response, part.length())?;
        if part.length() == 0 {
            part.set_tag(&read_header(&response, "etag"))?;
        }
        self.take(response, part, hash)
    }

    fn ask(&self, part: &dyn Part) -> Result<Response, AttemptError> {
        let token = self.token.map(build_authorization_header).transpose()?;
        let mut headers = vec![("accept-encoding", "identity".to_owned())];
        if part.length() > 0 {
            headers.push(("range", format!("bytes={}-", part.length())));
            // A weak tag says nothing about bytes (RFC 9110, section 13.1.5).
            headers.extend(part.tag().filter(|tag| tag.starts_with('"')).map(|tag| ("if-range", tag)));
        }
        let asked = self.client.open(Wanted::File, self.url, token.as_deref(), &headers);
        asked.map_err(|RequestError { why, again }| match again {
            true => AttemptError::Again(why, None),
            false => HubError::Unreachable(why).into(),
        })
    }

    /// Checks `Content-Range: bytes FIRST-LAST/TOTAL`.
    fn check_range(&self, response: &Response, from: u64) -> Result<(), AttemptError> {
        let range = read_header(response, "content-range");
        let parts = range.strip_prefix("bytes ").and_then(|rest| rest.split_once('/'));
        let first = parts.and_then(|(span, _)| span.split_once('-')?.0.parse::<u64>().ok());
        let total = parts.and_then(|(_, total)| total.parse::<u64>().ok());
        match (first, total) {
            (Some(first), None) if first == from => Ok(()),
            (Some(first), Some(total)) if first == from && total == self.size => Ok(()),
            (_, Some(total)) if total != self.size => Err(self.other_size(total)),
            _ => Err(AttemptError::Final(TransferError::Other(format!(
                "asked for the bytes from {from}, the hub sends `{}`",
                range.escape_default()
            )))),
        }
    }

    fn check_length(&self, response: &Response, from: u64) -> Result<(), AttemptError> {
        let length = read_header(response, "content-length").parse::<u64>().ok();
        match length.map(|length| from.saturating_add(length)) {
            Some(total) if total > self.size || (total < self.size && response.status() == 200) => {
                Err(self.other_size(total))
            }
            _ => Ok(()),
        }
    }

    fn other_size(&self, found: u64) -> AttemptError {
        let words = format!("the lock file lists {} bytes, but the hub sends {found}", self.size);
        AttemptError::Final(TransferError::Other(words))
    }

    fn explain_refusal(&self, response: Response) -> AttemptError {
        let answer = match HttpAnswer::read(response) {
            Ok(answer) => answer,
            Err(RequestError { why, .. }) => return AttemptError::Again(why, None),
        };
        let wait = answer.retry_after.map(Duration::from_secs);
        match wait {
            _ if !answer.is_busy() => to_hub_error(&answer).into(),
            Some(wait) if wait > LONGEST_WAIT => {
                let why = format!("{}; the hub asks to wait {} s", answer.reason(), wait.as_secs());
                HubError::Unreachable(why).into()
            }
            wait => AttemptError::Again(answer.reason(), wait),
        }
    }

    /// Takes the body, up to the listed size.
    fn take(
        &self,
        response: Response,
        part: &mut dyn Part,
        hash: &mut ContentHash,
    ) -> Result<(), AttemptError> {
        let mut body = response.into_body().into_with_config().limit(u64::MAX).reader();
        let mut buffer = vec![0; CHUNK];
        loop {
            self.refuse_interrupt().map_err(AttemptError::Final)?;
            let read =
                body.read(&mut buffer).map_err(|error| AttemptError::Again(error.to_string(), None))?;
            if read == 0 {
                break;
            }
            if part.length() + read as u64 > self.size {
                let words = format!("the lock file lists {} bytes, but the hub sends more", self.size);
                return Err(AttemptError::Final(TransferError::Other(words)));
            }
            part.write(&buffer[..read])?;
            hash.update(&buffer[..read]);
            self.watch.arrived(part.length());
        }
        match part.length() < self.size {
            true => {
                let why = format!("the connection ended after {} of {} bytes", part.length(), self.size);
                Err(AttemptError::Again(why, None))
            }
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;

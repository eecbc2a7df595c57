//! The files that rows are written to, a part at a time.

use std::io::{BufWriter, Write};

use super::BuildError;
use crate::data::rows::{FileSink, HELD_OUT, HELD_OUT_RECORDS, RECORDS, RowsFile};

/// Bytes that are written and hashed together: enough for hashes of several blocks at once.
const BUFFER_BYTES: usize = 256 << 10;

/// A file that is written in small parts.
pub(super) struct BufferedFile {
    name: &'static str,
    file: BufWriter<Box<dyn RowsFile>>,
}

impl BufferedFile {
    pub(super) fn create(sink: &mut dyn FileSink, name: &'static str) -> Result<Self, BuildError> {
        let file = sink.file(name).map_err(write_error(name))?;
        Ok(Self { name, file: BufWriter::with_capacity(BUFFER_BYTES, file) })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), BuildError> {
        self.file.write_all(bytes).map_err(write_error(self.name))
    }

    /// Writes what is buffered, and notes that `step` shards are there.
    pub(super) fn note(&mut self, step: u64, state: &serde_json::Value) -> Result<(), BuildError> {
        let flushed = self.file.flush();
        flushed.and_then(|()| self.file.get_mut().note(step, state)).map_err(write_error(self.name))
    }

    pub(super) fn finish(self) -> Result<(), BuildError> {
        let file = self.file.into_inner().map_err(std::io::IntoInnerError::into_error);
        file.and_then(RowsFile::finish).map_err(write_error(self.name))
    }
}

pub(super) fn write_error(file: &'static str) -> impl Fn(std::io::Error) -> BuildError {
    move |cause| BuildError::Write { file, cause }
}

/// The records and the held-out conversations of rows that are made.
pub(super) struct RowsFiles<'a> {
    sink: &'a mut dyn FileSink,
    pub(super) train: BufferedFile,
    pub(super) held_out: BufferedFile,
    /// Created with the first conversation; absent in datasets of text.
    chats: Option<BufferedFile>,
}

impl<'a> RowsFiles<'a> {
    pub(super) fn create(sink: &'a mut dyn FileSink) -> Result<Self, BuildError> {
        let train = BufferedFile::create(sink, RECORDS)?;
        let held_out = BufferedFile::create(sink, HELD_OUT_RECORDS)?;
        Ok(Self { sink, train, held_out, chats: None })
    }

    /// The file of held-out conversations.
    pub(super) fn chats(&mut self) -> Result<&mut BufferedFile, BuildError> {
        let chats = match self.chats.take() {
            Some(open) => open,
            None => BufferedFile::create(self.sink, HELD_OUT)?,
        };
        Ok(self.chats.insert(chats))
    }

    /// Whether there was a conversation.
    pub(super) fn has_chats(&self) -> bool {
        self.chats.is_some()
    }

    /// Finishes the files, and writes whole ones, with their names, after them.
    pub(super) fn finish(self, whole: &[(&'static str, &[u8])]) -> Result<(), BuildError> {
        for file in [Some(self.train), Some(self.held_out), self.chats].into_iter().flatten() {
            file.finish()?;
        }
        for (name, bytes) in whole {
            let mut file = BufferedFile::create(self.sink, name)?;
            file.write(bytes)?;
            file.finish()?;
        }
        Ok(())
    }
}

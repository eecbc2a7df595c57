//! Arrow's interchange format, as a file or as a stream, one record batch after another.
//!
//! A file is a stream between two magic words, with an index of its batches behind it, which is not needed here. Messages are framed
//! by this module and decoded by the library, because the sizes in them are a stranger's.

use std::io::{BufReader, Read as _, Seek as _, SeekFrom};

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::reader::StreamDecoder;
use serde_json::{Map, Value};

use super::tables::{NeededColumns, call_library, list_fields, to_column_fault, unfit};
use super::values::to_value;
use super::{ColumnFault, DAMAGED, RowSource, TableColumn};
use crate::documents::parser::DocumentParser;
use crate::documents::place::RecordPlace;
use crate::text::unpack::DataFile;

/// The magic word of a file; at its beginning two more bytes follow.
const MAGIC: &[u8; 6] = b"ARROW1";
const HEAD_BYTES: u64 = 8;
/// Where the first message begins at the latest.
const MAX_HEAD_BYTES: u64 = 64;
/// The length of the index and the magic word.
const TAIL_BYTES: u64 = 10;

/// What precedes the length of every message since version 0.15.
const CONTINUATION: [u8; 4] = [0xff; 4];

/// Largest description of a message, and largest record batch, packed and unpacked.
const MAX_DESCRIPTION_BYTES: u64 = 64 << 20;
const MAX_BATCH_BYTES: u64 = 2 << 30;

/// The rows of a file or stream.
pub(super) struct ArrowRows {
    messages: ArrowMessages,
    /// The top-level columns that are needed.
    roots: Vec<usize>,
    batch: Option<RecordBatch>,
    /// Batches that were begun.
    batches: u64,
    /// Rows of the batch that were returned.
    row: usize,
}

impl std::fmt::Debug for ArrowRows {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "ArrowRows({:?})", self.place())
    }
}

/// The columns of a file or stream.
pub(super) fn list_arrow_columns(file: DataFile) -> Result<Vec<TableColumn>, ColumnFault> {
    let (_, _, columns) = ArrowMessages::open(file)?;
    Ok(columns)
}

impl ArrowRows {
    pub(super) fn open(file: DataFile, parser: &DocumentParser) -> Result<Self, ColumnFault> {
        let (messages, batch, columns) = ArrowMessages::open(file)?;
        let needed = NeededColumns::find(parser, &columns)?;
        let schema = messages.decoder.schema().expect("a stream is open once it has a schema");
        let names = schema.fields().iter().map(|field| field.name());
        let roots = names.enumerate().filter(|(_, name)| needed.has_root(name)).map(|(at, _)| at).collect();
        let batches = u64::from(batch.is_some());
        Ok(Self { messages, roots, batch, batches, row: 0 })
    }
}

impl RowSource for ArrowRows {
    fn next_row(&mut self) -> Result<Option<Map<String, Value>>, ColumnFault> {
        loop {
            if let Some(batch) = self.batch.as_ref().filter(|batch| self.row < batch.num_rows()) {
                let (schema, row) = (batch.schema(), self.row);
                let cell = |at: &usize| (schema.field(*at).name().clone(), to_value(batch.column(*at), row));
                self.row += 1;
                return Ok(Some(self.roots.iter().map(cell).collect()));
            }
            let next = self.messages.next_batch().map_err(|fault| match fault {
                ColumnFault::Unfit(fault) => ColumnFault::Damaged(self.place(), fault),
                other => other,
            })?;
            match next {
                Some(batch) => (self.batch, self.batches, self.row) = (Some(batch), self.batches + 1, 0),
                None => return Ok(None),
            }
        }
    }

    fn place(&self) -> RecordPlace {
        let row = self.row.saturating_sub(1) as u64;
        RecordPlace::BatchRow { batch: self.batches.saturating_sub(1), row }
    }
}

/// The messages of a stream.
struct ArrowMessages {
    reader: BufReader<DataFile>,
    /// Bytes of messages that are left.
    left: u64,
    /// Whether this is a stream: then only a mark says that it is complete.
    stream: bool,
    ended: bool,
    decoder: StreamDecoder,
    /// What of the last message the decoder has not taken yet.
    pending: Buffer,
}

impl ArrowMessages {
    /// Reads up to the schema. The first batch may come with it, because the decoder looks at a message without data when the next
    /// one arrives.
    fn open(mut file: DataFile) -> Result<(Self, Option<RecordBatch>, Vec<TableColumn>), ColumnFault> {
        let (left, stream) = find_messages(&mut file)?;
        let (reader, decoder) = (BufReader::new(file), StreamDecoder::new());
        let pending = Buffer::from_vec(Vec::<u8>::new());
        let mut messages = Self { reader, left, stream, ended: false, decoder, pending };
        let first = messages.next_batch()?;
        let Some(schema) = messages.decoder.schema() else {
            return Err(unfit("it has no schema", DAMAGED));
        };
        Ok((messages, first, list_fields(schema.fields())))
    }

    /// The next record batch; `None` at the end of the stream.
    fn next_batch(&mut self) -> Result<Option<RecordBatch>, ColumnFault> {
        loop {
            while !self.pending.is_empty() {
                let (decoder, pending) = (&mut self.decoder, &mut self.pending);
                let decoded = call_library(|| decoder.decode(pending));
                let wrong = |cause| unfit(format!("the file is damaged ({cause})"), DAMAGED);
                if let Some(batch) = decoded.map_err(wrong)? {
                    return Ok(Some(batch));
                }
            }
            match self.read_message()? {
                Some(message) => self.pending = Buffer::from_vec(message),
                None => return Ok(None),
            }
        }
    }

    /// The bytes of the next message, with its length before it; `None` after the end mark.
    fn read_message(&mut self) -> Result<Option<Vec<u8>>, ColumnFault> {
        if self.ended || self.left == 0 {
            return self.check_end();
        }
        let mut message = Vec::new();
        self.read_more(4, MAX_DESCRIPTION_BYTES, &mut message)?;
        if message == CONTINUATION {
            self.read_more(4, MAX_DESCRIPTION_BYTES, &mut message)?;
        }
        let begin = message.len();
        let length = u32::from_le_bytes(message[begin - 4..].try_into().expect("four bytes"));
        if length == 0 {
            // The decoder takes the end mark too: it may still hold a message without data.
            self.ended = true;
            return Ok(Some(message));
        }
        self.read_more(u64::from(length), MAX_DESCRIPTION_BYTES, &mut message)?;
        let body = measure_body(&message[begin..])?;
        let description = message.len();
        self.read_more(body, MAX_BATCH_BYTES, &mut message)?;
        check_unpacked_size(&message[begin..description], &message[description..])?;
        Ok(Some(message))
    }

    /// Refuses a stream that is cut between two messages, or goes on after its end. A file says in its tail that it is complete.
    fn check_end(&self) -> Result<Option<Vec<u8>>, ColumnFault> {
        match (self.stream, self.ended, self.left) {
            (true, false, _) => Err(unfit("the stream has no end mark: it is cut off", DAMAGED)),
            (true, true, 1..) => {
                let problem = format!("{} bytes follow the end of the stream", self.left);
                Err(unfit(problem, "remove them, or split the file"))
            }
            _ => Ok(None),
        }
    }

    /// Reads `count` more bytes, which must be there, and be at most `most`.
    fn read_more(&mut self, count: u64, most: u64, into: &mut Vec<u8>) -> Result<(), ColumnFault> {
        if count > self.left {
            return Err(unfit("the file is cut off, or damaged: its last message is not complete", DAMAGED));
        }
        if count > most {
            let problem = format!("a part of the file has {count} bytes, more than fmflow reads at once");
            return Err(unfit(problem, "write it with fewer rows in a batch"));
        }
        self.left -= count;
        let read = (&mut self.reader).take(count).read_to_end(into).map_err(to_column_fault)?;
        if (read as u64) < count {
            return Err(unfit("the file became shorter while it was read", "read it when it is complete"));
        }
        Ok(())
    }
}

/// Places `file` at its first message; returns how many bytes of messages there are, and whether it is a stream.
fn find_messages(file: &mut DataFile) -> Result<(u64, bool), ColumnFault> {
    let size = file.seek(SeekFrom::End(0)).map_err(to_column_fault)?;
    let read = |file: &mut DataFile, at: u64, bytes: &mut [u8]| {
        file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(bytes)).map_err(to_column_fault)
    };
    let mut head = [0; 8];
    read(file, 0, &mut head)?;
    match &head {
        [0xff, 0xff, 0xff, 0xff, ..] => {
            file.seek(SeekFrom::Start(0)).map_err(to_column_fault)?;
            return Ok((size, true));
        }
        head if head.starts_with(MAGIC) => {}
        _ => {
            return Err(unfit(
                "it is no Arrow file and no Arrow stream",
                "write the format that it has, or remove it",
            ));
        }
    }
    let mut tail = [0; TAIL_BYTES as usize];
    read(file, size.saturating_sub(TAIL_BYTES), &mut tail)?;
    let index = u64::from(u32::from_le_bytes(tail[..4].try_into().expect("four bytes")));
    if size < HEAD_BYTES + TAIL_BYTES || tail[4..] != MAGIC[..] || index > size - HEAD_BYTES - TAIL_BYTES {
        return Err(unfit("it is cut off: an Arrow file ends with `ARROW1`", DAMAGED));
    }
    let begin = find_first_message(file)?;
    Ok(((size - TAIL_BYTES - index).saturating_sub(begin), false))
}

/// Places a file behind the zeros that pad its magic word: to 8 bytes, or to 64.
fn find_first_message(file: &mut DataFile) -> Result<u64, ColumnFault> {
    let mut begin = HEAD_BYTES;
    file.seek(SeekFrom::Start(begin)).map_err(to_column_fault)?;
    let mut word = [0; 8];
    while begin < MAX_HEAD_BYTES {
        file.read_exact(&mut word).map_err(to_column_fault)?;
        if word != [0; 8] {
            break;
        }
        begin += 8;
    }
    file.seek(SeekFrom::Start(begin)).map_err(to_column_fault)?;
    Ok(begin)
}

/// Bytes of data that follow the description of a message.
fn measure_body(description: &[u8]) -> Result<u64, ColumnFault> {
    let wrong = |cause: String| unfit(format!("the file is damaged ({cause})"), DAMAGED);
    let message = call_library(|| arrow_ipc::root_as_message(description)).map_err(wrong)?;
    u64::try_from(message.bodyLength()).map_err(|_| wrong("a negative length".to_owned()))
}

/// Checks what the buffers of a record batch say that they unpack to, because the library asks for that much memory.
fn check_unpacked_size(description: &[u8], body: &[u8]) -> Result<(), ColumnFault> {
    let Ok(message) = arrow_ipc::root_as_message(description) else {
        unreachable!("the description was read before")
    };
    let dictionary = message.header_as_dictionary_batch().and_then(|batch| batch.data());
    let Some(batch) = message.header_as_record_batch().or(dictionary) else { return Ok(()) };
    let (Some(_), Some(buffers)) = (batch.compression(), batch.buffers()) else { return Ok(()) };
    let unpacked = buffers.iter().map(|buffer| {
        let begin = usize::try_from(buffer.offset()).ok()?;
        let said = body.get(begin..begin.checked_add(8)?)?;
        u64::try_from(i64::from_le_bytes(said.try_into().ok()?)).ok()
    });
    // A buffer that is empty or not packed says nothing, or -1.
    let total = unpacked.flatten().fold(0_u64, u64::saturating_add);
    if total > MAX_BATCH_BYTES {
        let problem = format!("a record batch unpacks to {total} bytes, more than fmflow reads at once");
        return Err(unfit(problem, "write it with fewer rows in a batch"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;

//! Parquet, one row group after another, a few rows at a time.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::ops::Range;

use arrow_array::RecordBatch;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};
use serde_json::{Map, Value};

use super::tables::{NeededColumns, call_library, list_fields, to_column_fault, unfit};
use super::values::to_value;
use super::{ColumnFault, DAMAGED, RowSource, TableColumn};
use crate::documents::line::LineFault;
use crate::documents::parser::DocumentParser;
use crate::documents::place::RecordPlace;
use crate::text::unpack::DataFile;

/// Largest footer, which is in memory as a whole: files with 10,000 columns and 1,000 row groups stay below it.
const MAX_FOOTER_BYTES: u64 = 1 << 30;

/// Bytes of the needed columns that are decoded at once, and most rows.
const BATCH_BYTES: u64 = 8 << 20;
const MAX_BATCH_ROWS: u64 = 1024;

/// The shortest file: the magic at both ends and the length of the footer.
const MIN_FILE_BYTES: u64 = 12;

/// The rows of a file.
pub(super) struct ParquetRows {
    file: DataFile,
    metadata: ArrowReaderMetadata,
    needed: ProjectionMask,
    /// Only row groups that begin in this range of the file's bytes are read.
    bytes: Range<u64>,
    /// The row group that is read.
    group: usize,
    /// Rows of it that were returned.
    row: u64,
    reader: Option<ParquetRecordBatchReader>,
    batch: Option<(RecordBatch, usize)>,
}

impl std::fmt::Debug for ParquetRows {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "ParquetRows({:?})", self.place())
    }
}

/// The columns of a file.
pub(super) fn list_parquet_columns(mut file: DataFile) -> Result<Vec<TableColumn>, ColumnFault> {
    Ok(list_fields(read_metadata(&mut file)?.schema().fields()))
}

/// Reads the footer. The schema that Arrow leaves in it is not used: what the columns hold is what Parquet says.
fn read_metadata(file: &mut DataFile) -> Result<ArrowReaderMetadata, ColumnFault> {
    check_ends(file)?;
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    call_library(|| ArrowReaderMetadata::load(file, options))
        .map_err(|cause| unfit(format!("its footer cannot be read ({cause})"), DAMAGED))
}

fn check_ends(file: &mut DataFile) -> Result<(), ColumnFault> {
    let size = file.seek(SeekFrom::End(0)).map_err(to_column_fault)?;
    let mut read = |at: u64| {
        let mut four = [0; 4];
        file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(&mut four)).map_err(to_column_fault)?;
        Ok(four)
    };
    if size < MIN_FILE_BYTES || &read(0)? != b"PAR1" {
        if size >= MIN_FILE_BYTES && &read(0)? == b"PARE" {
            return Err(encrypted());
        }
        return Err(unfit("it is no Parquet file", "write the format that it has, or remove it"));
    }
    match &read(size - 4)? {
        b"PAR1" => {}
        b"PARE" => return Err(encrypted()),
        _ => return Err(unfit("it is cut off: Parquet ends with `PAR1`", DAMAGED)),
    }
    let footer = u64::from(u32::from_le_bytes(read(size - 8)?));
    if footer > (size - MIN_FILE_BYTES).min(MAX_FOOTER_BYTES) {
        return Err(unfit(format!("its footer has {footer} bytes, more than there can be"), DAMAGED));
    }
    Ok(())
}

fn encrypted() -> ColumnFault {
    unfit("it is encrypted", "write it without encryption: fmflow takes no keys")
}

impl ParquetRows {
    /// The rows with the columns that `parser` needs.
    pub(super) fn open(file: DataFile, parser: &DocumentParser) -> Result<Self, ColumnFault> {
        Self::open_with(file, |columns| NeededColumns::find(parser, columns))
    }

    /// The rows with all columns.
    pub(super) fn open_all(file: DataFile) -> Result<Self, ColumnFault> {
        Self::open_with(file, |_| Ok(NeededColumns::all()))
    }

    fn open_with(
        mut file: DataFile,
        choose: impl FnOnce(&[TableColumn]) -> Result<NeededColumns, ColumnFault>,
    ) -> Result<Self, ColumnFault> {
        let metadata = read_metadata(&mut file)?;
        let needed = choose(&list_fields(metadata.schema().fields()))?;
        let schema = metadata.parquet_schema();
        let leaves = schema.columns().iter().enumerate().filter(|(_, leaf)| needed.has(leaf.path().parts()));
        let needed = ProjectionMask::leaves(schema, leaves.map(|(at, _)| at));
        let bytes = 0..u64::MAX;
        Ok(Self { file, metadata, needed, bytes, group: 0, row: 0, reader: None, batch: None })
    }

    /// Only the row groups that begin in a range of the file's bytes.
    pub(super) fn within(self, bytes: Range<u64>) -> Self {
        Self { bytes, ..self }
    }

    /// The first row group from that with this number on that is read; the number of all if there is none.
    fn find_group(&self, from: usize) -> usize {
        let groups = self.metadata.metadata().row_groups();
        // Of offsets that a damaged footer has, each is in one part, too; what it damages is found when the group is read.
        let begins = |group: &RowGroupMetaData| {
            let offset = |column: &ColumnChunkMetaData| {
                let first = column.dictionary_page_offset().into_iter().chain([column.data_page_offset()]);
                first.min().map_or(0, |offset| offset.max(0).unsigned_abs())
            };
            group.columns().iter().map(offset).min().unwrap_or(0)
        };
        let found = groups[from..].iter().position(|group| self.bytes.contains(&begins(group)));
        found.map_or(groups.len(), |found| from + found)
    }

    /// Rows that are decoded at once, so that they take about [`BATCH_BYTES`].
    fn choose_batch_rows(&self) -> usize {
        let group = self.metadata.metadata().row_group(self.group);
        let columns = group.columns().iter().enumerate().filter(|(at, _)| self.needed.leaf_included(*at));
        let bytes: u64 = columns.map(|(_, column)| column.uncompressed_size().unsigned_abs()).sum();
        let rows = group.num_rows().unsigned_abs().max(1);
        let fitting = BATCH_BYTES.checked_div(bytes / rows).unwrap_or(MAX_BATCH_ROWS);
        usize::try_from(fitting.clamp(1, MAX_BATCH_ROWS)).expect("it is at most a thousand")
    }

    fn open_group(&self) -> Result<ParquetRecordBatchReader, ColumnFault> {
        let file = self.file.try_clone().map_err(ColumnFault::Storage)?;
        let (metadata, rows) = (self.metadata.clone(), self.choose_batch_rows());
        call_library(|| {
            ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata)
                .with_row_groups(vec![self.group])
                .with_projection(self.needed.clone())
                .with_batch_size(rows)
                .build()
        })
        .map_err(|cause| self.damaged(&cause))
    }

    fn damaged(&self, cause: &str) -> ColumnFault {
        let problem = format!("the file is damaged after this row ({cause})");
        ColumnFault::Damaged(self.place(), LineFault::new(problem, DAMAGED))
    }

    /// Ends a row group, which must have as many rows as the footer says.
    fn end_group(&mut self) -> Result<(), ColumnFault> {
        let said = self.metadata.metadata().row_group(self.group).num_rows();
        if said != i64::try_from(self.row).expect("rows were counted one by one") {
            return Err(self.damaged(&format!("the row group has {} rows, the footer says {said}", self.row)));
        }
        (self.reader, self.batch, self.group, self.row) = (None, None, self.group + 1, 0);
        Ok(())
    }
}

impl RowSource for ParquetRows {
    fn next_row(&mut self) -> Result<Option<Map<String, Value>>, ColumnFault> {
        loop {
            if let Some((batch, at)) = self.batch.as_mut().filter(|(batch, at)| *at < batch.num_rows()) {
                let fields = batch.schema_ref().fields().iter().zip(batch.columns());
                let row = fields.map(|(field, cells)| (field.name().clone(), to_value(cells, *at))).collect();
                *at += 1;
                self.row += 1;
                return Ok(Some(row));
            }
            if self.reader.is_none() {
                self.group = self.find_group(self.group);
                if self.group >= self.metadata.metadata().num_row_groups() {
                    return Ok(None);
                }
                self.reader = Some(self.open_group()?);
            }
            let reader = self.reader.as_mut().expect("it was just opened");
            match call_library(|| reader.next().transpose()) {
                Ok(Some(batch)) => self.batch = Some((batch, 0)),
                Ok(None) => self.end_group()?,
                Err(cause) => return Err(self.damaged(&cause)),
            }
        }
    }

    fn place(&self) -> RecordPlace {
        RecordPlace::Row { group: self.group as u64, row: self.row.saturating_sub(1) }
    }
}

#[cfg(test)]
pub(super) mod tests;

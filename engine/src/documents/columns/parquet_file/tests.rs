//! Tests of Parquet: what is written is read; what is damaged is an error with its place.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, ListArray, RecordBatch, StringArray, StructArray,
};
use arrow_buffer::OffsetBuffer;
use arrow_schema::{DataType, Field, Fields};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use serde_json::json;

use super::*;
use crate::pipeline::config::{DatasetConfig, DatasetFormat, FileLayout, TurnFields};

pub(in super::super) fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, cells)| (name, cells, true)))
        .unwrap()
}

pub(in super::super) fn texts(texts: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(texts.to_vec()))
}

/// A column of turns: for every row a list of (role, content).
pub(in super::super) fn turns(rows: &[&[(&str, &str)]]) -> ArrayRef {
    let all: Vec<_> = rows.iter().flat_map(|row| row.iter()).collect();
    let role: StringArray = all.iter().map(|(role, _)| Some(*role)).collect();
    let content: StringArray = all.iter().map(|(_, content)| Some(*content)).collect();
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let fields = Fields::from(vec![text("role"), text("content")]);
    let columns: Vec<ArrayRef> = vec![Arc::new(role), Arc::new(content)];
    let turns = StructArray::new(fields.clone(), columns, None);
    let item = Arc::new(Field::new("item", DataType::Struct(fields), true));
    let offsets = OffsetBuffer::from_lengths(rows.iter().map(|row| row.len()));
    Arc::new(ListArray::new(item, offsets, Arc::new(turns), None))
}

/// A file of one row group for each of `groups`.
fn write(groups: &[RecordBatch], compression: Compression) -> Vec<u8> {
    let settings = WriterProperties::builder().set_compression(compression).set_created_by("a test".into());
    let settings = settings.set_dictionary_enabled(false).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), groups[0].schema(), Some(settings)).unwrap();
    for group in groups {
        writer.write(group).unwrap();
        writer.flush().unwrap();
    }
    writer.into_inner().unwrap()
}

fn parser(format: DatasetFormat) -> DocumentParser {
    let dataset = DatasetConfig { layout: FileLayout::Parquet, ..DatasetConfig::of_format("d", format) };
    DocumentParser::new(&dataset)
}

fn text_parser(column: &str) -> DocumentParser {
    parser(DatasetFormat::Jsonl { text: column.into() })
}

/// All rows, and the fault that ends them.
pub(in super::super) fn collect(opened: Result<impl RowSource, ColumnFault>) -> (Vec<Value>, Option<String>) {
    let mut found = Vec::new();
    let read = opened.and_then(|mut rows| {
        while let Some(row) = rows.next_row()? {
            found.push(Value::Object(row));
        }
        Ok(())
    });
    let said = read.err().map(|fault| match fault {
        ColumnFault::Storage(cause) => cause.to_string(),
        ColumnFault::Unfit(fault) => fault.problem,
        ColumnFault::Damaged(place, fault) => format!("{}: {}", place.briefly(), fault.problem),
    });
    (found, said)
}

fn read(bytes: &[u8], parser: &DocumentParser) -> (Vec<Value>, Option<String>) {
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, bytes).unwrap();
    collect(ParquetRows::open(file, parser))
}

#[test]
fn rows_of_all_groups_are_read_with_the_needed_columns_alone() {
    let numbers = |from: i64| Arc::new((from..from + 2).collect::<Int64Array>()) as ArrayRef;
    let group = |from: i64, words: &[&str]| batch(vec![("id", numbers(from)), ("text", texts(words))]);
    let groups = [group(0, &["a", "b"]), group(2, &["c", "d"])];
    let every = [Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::ZSTD(ZstdLevel::default())];
    for compression in every.into_iter().chain([Compression::LZ4_RAW, Compression::GZIP(Default::default())])
    {
        let bytes = write(&groups, compression);
        let (rows, fault) = read(&bytes, &text_parser("text"));
        assert_eq!(fault, None, "{compression:?}");
        assert_eq!(Value::from(rows), json!([{"text": "a"}, {"text": "b"}, {"text": "c"}, {"text": "d"}]));
    }
}

#[test]
fn nested_columns_lists_of_turns_and_other_types_become_values() {
    let talk: &[(&str, &str)] = &[("user", "q"), ("assistant", "a")];
    let mixed = StructArray::from(vec![
        (Arc::new(Field::new("content", DataType::Utf8, true)), texts(&["x", "y"])),
        (
            Arc::new(Field::new("size", DataType::Int64, true)),
            Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef,
        ),
    ]);
    let rows = batch(vec![
        ("message", Arc::new(mixed)),
        ("turns", turns(&[talk, &talk[..1]])),
        ("ok", Arc::new(BooleanArray::from(vec![Some(true), None]))),
        ("score", Arc::new(Float64Array::from(vec![0.5, f64::NAN]))),
    ]);
    let bytes = write(&[rows], Compression::SNAPPY);
    let (found, fault) = read(&bytes, &text_parser("message.content"));
    assert_eq!(
        (Value::from(found), fault),
        (json!([{"message": {"content": "x"}}, {"message": {"content": "y"}}]), None)
    );
    let (found, _) = read(&bytes, &parser(DatasetFormat::chat(TurnFields::list("turns"))));
    let turn = |role: &str, content: &str| json!({"role": role, "content": content});
    let (user, assistant) = (turn("user", "q"), turn("assistant", "a"));
    assert_eq!(Value::from(found), json!([{"turns": [user, assistant]}, {"turns": [user]}]));
    let mut strict = DatasetConfig::of_format("d", DatasetFormat::Jsonl { text: "message.content".into() });
    (strict.strict, strict.layout) = (true, FileLayout::Parquet);
    let (found, _) = read(&bytes, &DocumentParser::new(&strict));
    assert_eq!(found[0]["ok"], json!(true));
    assert_eq!(
        (&found[0]["score"], &found[1]["score"], &found[1]["ok"]),
        (&json!(0.5), &Value::Null, &Value::Null)
    );
    assert_eq!(
        found[1]["message"],
        json!({"content": "y", "size": 2}),
        "a strict dataset looks at all columns"
    );
}

#[test]
fn a_missing_column_or_another_type_is_told_with_the_columns_that_exist() {
    let rows = batch(vec![("id", Arc::new(Int64Array::from(vec![1])) as ArrayRef), ("body", texts(&["x"]))]);
    let bytes = write(&[rows], Compression::SNAPPY);
    let said = |column: &str| read(&bytes, &text_parser(column)).1.unwrap_or_default();
    assert_eq!(said("text"), "it has no column `text`; its columns are `id`, `body`");
    assert_eq!(said("id"), "its column `id` holds numbers, not text");
    let list = parser(DatasetFormat::chat(TurnFields::list("body")));
    assert_eq!(read(&bytes, &list).1.unwrap_or_default(), "its column `body` holds text, not lists of turns");
}

#[test]
fn a_group_without_rows_is_no_end() {
    let some = batch(vec![("text", texts(&["a"]))]);
    let bytes = write(&[some.slice(0, 0), some.clone(), some.slice(0, 0), some], Compression::SNAPPY);
    assert_eq!(read(&bytes, &text_parser("text")).0.len(), 2);
}

#[test]
fn damage_is_an_error_with_row_group_and_row() {
    let words: Vec<String> = (0..3000).map(|i| format!("document {}", i * 7919 % 3000)).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let rows = batch(vec![("text", texts(&words))]);
    let whole = write(&[rows.slice(0, 10), rows], Compression::ZSTD(ZstdLevel::default()));
    let mut damaged = whole.clone();
    let middle = whole.len() / 2;
    damaged[middle..middle + 64].fill(0xa5);
    let (found, fault) = read(&damaged, &text_parser("text"));
    let fault = fault.unwrap_or_default();
    assert!(found.len() >= 10 && fault.contains("row group 1, row ") && fault.contains("damaged"), "{fault}");
    for (bytes, said) in [
        (&whole[..whole.len() - 1], "it is cut off"),
        (&whole[..6], "it is no Parquet file"),
        (b"{\"text\": \"x\"}\n", "it is no Parquet file"),
    ] {
        assert!(read(bytes, &text_parser("text")).1.is_some_and(|fault| fault.contains(said)), "{said}");
    }
    let mut encrypted = whole.clone();
    let end = encrypted.len() - 4;
    encrypted[end..].copy_from_slice(b"PARE");
    assert_eq!(read(&encrypted, &text_parser("text")).1.as_deref(), Some("it is encrypted"));
    let mut lying = whole;
    lying[end - 4..end].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(
        read(&lying, &text_parser("text")).1.is_some_and(|fault| fault.contains("more than there can be"))
    );
}

#[test]
fn no_flipped_byte_is_a_panic() {
    let rows = batch(vec![
        ("id", Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef),
        ("text", texts(&["x", "yy"])),
    ]);
    let whole = write(&[rows], Compression::SNAPPY);
    for at in 0..whole.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut damaged = whole.clone();
            damaged[at] ^= flip;
            let _ = read(&damaged, &text_parser("text"));
        }
    }
}

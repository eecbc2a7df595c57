//! Tests of Arrow files and streams.

use std::slice::from_ref;
use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, DictionaryArray, Int64Array, LargeStringArray, StringViewArray};
use arrow_ipc::CompressionType;
use arrow_ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
use serde_json::json;

use super::super::parquet_file::tests::{batch, collect, texts, turns};
use super::*;
use crate::pipeline::config::{DatasetConfig, DatasetFormat, FileLayout, TurnFields};

fn options(compression: Option<CompressionType>) -> IpcWriteOptions {
    IpcWriteOptions::default().try_with_compression(compression).unwrap()
}

fn stream(batches: &[RecordBatch], compression: Option<CompressionType>) -> Vec<u8> {
    let schema = batches[0].schema();
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &schema, options(compression)).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.into_inner().unwrap()
}

fn file(batches: &[RecordBatch], compression: Option<CompressionType>) -> Vec<u8> {
    let schema = batches[0].schema();
    let mut writer = FileWriter::try_new_with_options(Vec::new(), &schema, options(compression)).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.into_inner().unwrap()
}

fn parser(format: DatasetFormat) -> DocumentParser {
    let dataset = DatasetConfig { layout: FileLayout::Arrow, ..DatasetConfig::of_format("d", format) };
    DocumentParser::new(&dataset)
}

fn read(bytes: &[u8]) -> (Vec<Value>, Option<String>) {
    read_with(bytes, &parser(DatasetFormat::Jsonl { text: "text".into() }))
}

fn read_with(bytes: &[u8], parser: &DocumentParser) -> (Vec<Value>, Option<String>) {
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, bytes).unwrap();
    collect(ArrowRows::open(file, parser))
}

fn two_batches() -> [RecordBatch; 2] {
    let numbers = |from: i64| Arc::new((from..from + 2).collect::<Int64Array>()) as ArrayRef;
    [(0, ["a", "b"]), (2, ["c", "d"])]
        .map(|(from, words)| batch(vec![("id", numbers(from)), ("text", texts(&words))]))
}

#[test]
fn files_and_streams_give_the_same_rows() {
    let batches = two_batches();
    for compression in [None, Some(CompressionType::LZ4_FRAME), Some(CompressionType::ZSTD)] {
        for bytes in [stream(&batches, compression), file(&batches, compression)] {
            let (rows, fault) = read(&bytes);
            assert_eq!(
                (Value::from(rows), fault),
                (json!([{"text": "a"}, {"text": "b"}, {"text": "c"}, {"text": "d"}]), None)
            );
        }
    }
    let none = batches[0].slice(0, 0);
    for bytes in [stream(from_ref(&none), None), file(from_ref(&none), None)] {
        assert_eq!(read(&bytes), (vec![], None), "no rows are no fault of the file");
    }
}

#[test]
fn every_way_to_hold_text_is_read() {
    let words = ["a", "b", "a"];
    let columns: [ArrayRef; 3] = [
        Arc::new(LargeStringArray::from(words.to_vec())),
        Arc::new(StringViewArray::from(words.to_vec())),
        Arc::new(words.into_iter().collect::<DictionaryArray<Int32Type>>()),
    ];
    for column in columns {
        let rows = batch(vec![("text", column)]);
        for bytes in [stream(from_ref(&rows), None), file(from_ref(&rows), None)] {
            let (rows, fault) = read(&bytes);
            let expected = json!([{"text": "a"}, {"text": "b"}, {"text": "a"}]);
            assert_eq!((Value::from(rows), fault), (expected, None));
        }
    }
    let rows = batch(vec![("turns", turns(&[&[("user", "q"), ("assistant", "a")]]))]);
    let (found, _) =
        read_with(&stream(&[rows], None), &parser(DatasetFormat::chat(TurnFields::list("turns"))));
    assert_eq!(found[0]["turns"][1], json!({"role": "assistant", "content": "a"}));
}

#[test]
fn what_is_cut_off_or_goes_on_is_an_error() {
    let whole = stream(&two_batches(), None);
    for (bytes, said) in [
        (whole[..whole.len() - 8].to_vec(), "batch 1, row 1: the stream has no end mark"),
        (whole[..whole.len() - 30].to_vec(), "batch 0, row 1: the file is cut off"),
        ([&whole[..], &whole].concat(), "bytes follow the end of the stream"),
        (file(&two_batches(), None)[..100].to_vec(), "it is cut off: an Arrow file ends"),
        (b"FEA1 and more".to_vec(), "no Arrow file and no Arrow stream"),
        (b"FE".to_vec(), "it is cut off"),
    ] {
        let fault = read(&bytes).1.unwrap_or_default();
        assert!(fault.contains(said), "{fault}; expected {said}");
    }
}

#[test]
fn no_flipped_byte_is_a_panic_or_asks_for_too_much_memory() {
    for whole in [stream(&two_batches(), Some(CompressionType::LZ4_FRAME)), file(&two_batches(), None)] {
        for at in 0..whole.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] ^= flip;
                let _ = read(&damaged);
            }
        }
    }
}

//! The data of the quickstart, as its pipeline reads it: facts that its recipe relies on.

use fmflow_engine::pipeline::config::{DatasetFormat, TurnFields};
use std::sync::atomic::AtomicBool;

use super::super::chat;
use super::super::corpus::{Chat, read_all};
use super::super::packing::Packing;
use super::super::rows::tests::Memory;
use super::super::rows::{Rows, Split};
use super::*;
use fmflow_engine::pipeline::shards::ShardPlan;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::LazyLock;

const HELD_OUT_TEXT: f64 = 0.05;
const HELD_OUT_TASKS: f64 = 0.05;

type Read = Vec<Document>;

fn read(folder: &str, format: DatasetFormat) -> Read {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/quickstart")).join(folder);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    read_all(files, format).unwrap()
}

fn chat_format() -> DatasetFormat {
    DatasetFormat::Chat {
        turns: TurnFields::pair("question", "answer"),
        system: None,
        group: Some("task".into()),
    }
}

/// Texts, tasks, and the tokenizer as the pipeline uses it: with all its files, including the template.
static DATA: LazyLock<(Read, Read, Tokenizer)> = LazyLock::new(|| {
    let (text, tasks) = (read("corpus", DatasetFormat::Text), read("tasks", chat_format()));
    let part = |read: &Read, share| (read.clone().into_iter().map(Ok), share);
    let files = train_tokenizer(
        vec![part(&text, HELD_OUT_TEXT), part(&tasks, HELD_OUT_TASKS)],
        1024,
        &AtomicBool::new(false),
    )
    .unwrap();
    let folder = tempfile::tempdir().unwrap();
    files.all().iter().for_each(|(name, bytes)| std::fs::write(folder.path().join(name), bytes).unwrap());
    (text, tasks, Tokenizer::open(folder.path()).unwrap())
});

fn chats(held_out: bool) -> Vec<Chat> {
    let wanted = |document: &&Document| document.is_held_out(HELD_OUT_TASKS) == held_out;
    let chat = |document: &'static Document| match document {
        Document::Chat(talk) => Some(talk.chats()),
        Document::Text(_) => None,
    };
    DATA.1.iter().filter(wanted).filter_map(chat).flatten().collect()
}

fn rows(read: &Read, options: &RowsOptions) -> (RowsSummary, tempfile::TempDir) {
    let mut files = Memory::default();
    let placed =
        read.clone().into_iter().map(|document| Ok(PlacedDocument { document, place: None, shard: 0 }));
    let plan = ShardPlan::new(&[1], 1);
    let shards = BuiltShards { plan: &plan, window: false, made: None };
    let never = AtomicBool::new(false);
    let summary = build_rows(placed, &DATA.2, options, &shards, &mut files, 2, &never).unwrap();
    (summary, files.collect().save())
}

fn text_options() -> RowsOptions {
    let (packing, held_out) = (Packing::Concat, HELD_OUT_TEXT);
    RowsOptions {
        length: 128,
        packing,
        end_of_document: true,
        canvas: None,
        answer_block: None,
        specials: None,
        held_out,
        cap: None,
    }
}

fn task_options() -> RowsOptions {
    let (packing, held_out) = (Packing::FirstFit, HELD_OUT_TASKS);
    RowsOptions {
        length: 128,
        packing,
        end_of_document: false,
        answer_block: None,
        specials: None,
        canvas: Some(6),
        held_out,
        cap: None,
    }
}

#[test]
fn at_least_2000_prompts_are_held_out_and_none_is_learned() {
    let prompts = |held_out| chats(held_out).into_iter().map(|chat| chat.prompt).collect::<BTreeSet<_>>();
    let (learned, held_out) = (prompts(false), prompts(true));
    assert!(held_out.len() >= 2000, "{}", held_out.len());
    assert_eq!(held_out.difference(&learned).count(), held_out.len());
    assert_eq!(learned.len() + held_out.len(), DATA.1.len(), "a question occurs twice");
}

#[test]
fn the_template_gives_every_task_the_ids_of_plain_chatml() {
    let plain = Tokenizer::from_bytes("tokenizer.json", DATA.2.json().to_vec()).unwrap();
    assert!(DATA.2.template().is_some() && plain.template().is_none());
    for chat in chats(true) {
        let found = chat::encode_example(&DATA.2, &chat, chat::AnswerRoom::Canvas(6)).unwrap();
        assert_eq!(
            found,
            chat::encode_example(&plain, &chat, chat::AnswerRoom::Canvas(6)).unwrap(),
            "{chat:?}"
        );
    }
}

#[test]
fn no_kind_of_task_is_more_than_a_quarter_of_the_score() {
    let mut kinds = BTreeMap::new();
    chats(true).into_iter().for_each(|chat| *kinds.entry(chat.group).or_insert(0) += 1);
    assert_eq!(kinds.len(), 6, "{kinds:?}");
    assert!(kinds.values().all(|count| count * 4 <= chats(true).len()), "{kinds:?}");
}

#[test]
fn every_item_is_one_token_in_every_position() {
    let tokenizer = &DATA.2;
    let letters = ('a'..='j').map(String::from);
    let forms: Vec<u32> = letters
        .flat_map(|c| [c.clone(), format!(" {c}")])
        .map(|text| {
            let ids = tokenizer.encode(&text).unwrap();
            assert_eq!(ids.len(), 1, "{text:?}");
            ids[0]
        })
        .collect();
    assert_eq!(forms.iter().collect::<BTreeSet<_>>().len(), 20);
    for chat in chats(true) {
        let ids = tokenizer.encode(&chat.answer).unwrap();
        assert_eq!(ids.len(), chat.answer.split(' ').count(), "{:?}", chat.answer);
    }
}

#[test]
fn all_rows_are_filled_and_nothing_is_left_out() {
    let (summary, dir) = rows(&DATA.1, &task_options());
    for counts in [summary.train, summary.held_out] {
        assert_eq!((counts.too_long, counts.beyond_canvas), (0, 0));
        assert_eq!(counts.supervised, 6 * counts.documents);
    }
    assert!(summary.efficiency(Split::Train) > 0.9, "{}", summary.efficiency(Split::Train));
    let answers = summary.train.documents as f64 / summary.train.rows as f64;
    assert!(answers > 4.5, "the recipe relies on about 20 answers in 4 rows, not {}", 4.0 * answers);
    let found = Rows::open(dir.path()).unwrap();
    assert_eq!(found.len(Split::HeldOut), summary.held_out.rows);
    assert!(found.row(Split::HeldOut, 0).unwrap().tokens.iter().all(|&id| id < DATA.2.used()));
}

#[test]
fn there_is_enough_text_and_some_of_it_is_held_out() {
    let (summary, _dir) = rows(&DATA.0, &text_options());
    let bytes: usize = DATA.0.iter().map(|d| if let Document::Text(text) = d { text.len() } else { 0 }).sum();
    let tokens = summary.train.tokens + summary.held_out.tokens;
    assert!(bytes > 300_000, "{bytes}");
    assert!(bytes as f64 / tokens as f64 > 2.5, "a token holds {} bytes", bytes as f64 / tokens as f64);
    assert!(summary.held_out.rows >= 24, "{}", summary.held_out.rows);
}

#[test]
fn the_infill_of_the_quickstart_looks_like_its_text() {
    let programs =
        DATA.0.iter().filter(|d| matches!(d, Document::Text(text) if text.contains("fn main() {\n")));
    assert!(programs.count() > 50);
}

//! Tests of the whole path from documents to rows.

use fmflow_engine::documents::{RecordPlace, is_held_out};
use fmflow_engine::pipeline::config::{DatasetFormat, TokenCap, TurnFields};
use std::sync::atomic::AtomicBool;

use super::super::corpus::Chat;
use super::super::corpus::read_all;
use super::super::packing::{Packing, PositionRole};
use super::super::rows::tests::Memory;
use super::super::rows::{HELD_OUT_RECORDS, Rows, RowsFile, Split};
use super::super::tokenizer::TokenizerError;
use super::super::tokenizer::tests::small;
use super::tokenizer_texts::select_training_texts;
use super::*;
use fmflow_engine::pipeline::shards::ShardPlan;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::Write;
use std::rc::Rc;

fn wanted(packing: Packing) -> RowsOptions {
    RowsOptions {
        length: 32,
        packing,
        end_of_document: true,
        canvas: Some(6),
        answer_block: None,
        specials: None,
        held_out: 0.2,
        cap: None,
    }
}

fn texts() -> Vec<Document> {
    (0..60).map(|i| Document::Text(format!("the assistant sorts {i} letters: a b c"))).collect()
}

fn chats() -> Vec<Document> {
    let chat = |i: usize| {
        let prompt = format!("sort: {i}");
        Document::Chat(Conversation::pair(prompt, ["a b", "c"][i % 2].into(), "sort".into()))
    };
    (0..100).map(chat).collect()
}

fn build(documents: Vec<Document>, options: &RowsOptions) -> Result<(RowsSummary, Memory), BuildError> {
    let mut files = Memory::default();
    let summary = build_from(documents.into_iter().map(Ok), options, &mut files, 2)?;
    Ok((summary, files.collect()))
}

fn build_from(
    documents: impl Iterator<Item = Result<Document, CorpusError>>,
    options: &RowsOptions,
    files: &mut Memory,
    threads: usize,
) -> Result<RowsSummary, BuildError> {
    let placed = documents.zip(1..).map(|(found, line)| {
        let place = Some(("d.txt".into(), RecordPlace::Line(line)));
        found.map(|document| PlacedDocument { document, place, shard: 0 })
    });
    build_all(placed, options, files, threads, &AtomicBool::new(false))
}

/// Builds documents of one shard.
fn build_all(
    placed: impl Iterator<Item = Result<PlacedDocument, CorpusError>>,
    options: &RowsOptions,
    files: &mut Memory,
    threads: usize,
    interrupt: &AtomicBool,
) -> Result<RowsSummary, BuildError> {
    let plan = ShardPlan::new(&[1], 1);
    let shards = BuiltShards { plan: &plan, window: false, made: None };
    build_rows(placed, &small(), options, &shards, files, threads, interrupt)
}

fn texts_of(rows: &Rows, split: Split) -> Vec<String> {
    let tokenizer = small();
    let row = |i| rows.row(split, i).unwrap();
    (0..rows.len(split)).map(|i| tokenizer.decode(&row(i).tokens, true).unwrap()).collect()
}

#[test]
fn text_comes_back_in_order_and_split() {
    let (summary, files) = build(texts(), &wanted(Packing::Concat)).unwrap();
    assert!(!files.0.contains_key(HELD_OUT));
    let dir = files.save();
    let rows = Rows::open(dir.path()).unwrap();
    assert_eq!(rows.summary(), &summary);
    for split in [Split::Train, Split::HeldOut] {
        let expected: String = texts()
            .iter()
            .filter(|d| d.is_held_out(0.2) == (split == Split::HeldOut))
            .map(
                |d| if let Document::Text(text) = d { format!("{text}<|endoftext|>") } else { String::new() },
            )
            .collect();
        let found = texts_of(&rows, split).concat();
        assert!(found.starts_with(&expected), "{found}");
        assert!(found[expected.len()..].replace("<|endoftext|>", "").is_empty(), "only padding may follow");
        assert!(summary.efficiency(split) > 0.9, "only the last row has padding");
    }
    assert_eq!(summary.train.documents + summary.held_out.documents, 60);
    assert_eq!(summary.train.supervised, summary.train.tokens);
}

#[test]
fn no_held_out_prompt_is_in_a_training_row() {
    let (summary, files) = build(chats(), &wanted(Packing::FirstFit)).unwrap();
    let held: Vec<Chat> = files.0[HELD_OUT]
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert_eq!(held.len() as u64, summary.held_out.documents);
    assert!(held.len() > 5 && held.iter().all(|chat| is_held_out(&chat.prompt, 0.2) && chat.group == "sort"));
    let dir = files.save();
    let rows = Rows::open(dir.path()).unwrap();
    let prompts = |split| -> BTreeSet<String> {
        let text = texts_of(&rows, split).concat();
        let turns = text.split("<|im_start|>user\n").skip(1);
        turns.map(|turn| turn.split("<|im_end|>").next().unwrap().to_owned()).collect()
    };
    let (train, held_out) = (prompts(Split::Train), prompts(Split::HeldOut));
    assert_eq!(train.len() + held_out.len(), 100);
    assert!(train.is_disjoint(&held_out));
    assert_eq!(held_out, held.into_iter().map(|chat| chat.prompt).collect());
}

#[test]
fn a_canvas_is_supervised_to_its_end() {
    let (summary, files) = build(chats(), &wanted(Packing::FirstFit)).unwrap();
    assert_eq!(summary.train.supervised, 6 * summary.train.documents);
    let dir = files.save();
    let rows = Rows::open(dir.path()).unwrap();
    let row = rows.row(Split::Train, 0).unwrap();
    let last = row.roles.iter().rposition(|&role| role == PositionRole::Supervised).unwrap();
    assert_eq!(row.tokens[last], summary.pad);
    assert_eq!(row.count(PositionRole::Padding), row.segments.iter().filter(|&&s| s == u32::MAX).count());
}

#[test]
fn what_does_not_fit_is_counted() {
    let chat = |prompt: &str, answer: &str| {
        Document::Chat(Conversation::pair(prompt.into(), answer.into(), String::new()))
    };
    let mut documents =
        vec![chat("a", "b"), chat("b", "c"), chat("a", "a b c d e f g"), chat(&"a b ".repeat(40), "c")];
    let options = RowsOptions { held_out: 0.0, ..wanted(Packing::FirstFit) };
    let (summary, _) = build(documents.clone(), &options).unwrap();
    let train = summary.train;
    assert_eq!((train.documents, train.beyond_canvas, train.too_long, train.rows), (4, 1, 1, 1));
    documents.remove(0);
    let error = build(documents, &options).err().unwrap().to_string();
    assert!(error.contains("of 3 answers for training, 2 (66.7 %) are left out"), "{error}");
}

#[test]
fn conversations_end_to_end_are_learned_whole() {
    let (summary, files) = build(chats(), &RowsOptions { canvas: None, ..wanted(Packing::Concat) }).unwrap();
    assert!(files.0.iter().any(|(name, _)| name == HELD_OUT), "held-out conversations are still listed");
    assert_eq!(summary.train.supervised, summary.train.tokens);
}

#[test]
fn a_pair_and_a_list_of_one_answer_give_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let turn = |role: &str, content: &str| serde_json::json!({ "role": role, "content": content });
    let (mut pairs, mut lists) = (String::new(), String::new());
    for i in 0..30 {
        let (question, answer) = (format!("sort: {i}"), ["a b", "c"][i % 2]);
        pairs += &format!("{}\n", serde_json::json!({ "q": question, "a": answer }));
        let messages = [turn("user", &question), turn("assistant", answer)];
        lists += &format!("{}\n", serde_json::json!({ "messages": messages }));
    }
    let built = |name: &str, text: String, format: DatasetFormat| {
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        let documents = read_all(vec![file], format).unwrap();
        build(documents, &wanted(Packing::FirstFit)).unwrap().1.0
    };
    let pair = DatasetFormat::chat(TurnFields::pair("q", "a"));
    let list = DatasetFormat::chat(TurnFields::list("messages"));
    assert_eq!(built("pairs", pairs, pair), built("lists", lists, list));
}

/// A conversation of two questions, read from a file in ShareGPT form.
fn two_answers() -> Vec<Document> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("talk.jsonl");
    let turn = |(from, value): (&str, &str)| serde_json::json!({ "from": from, "value": value });
    let turns = [("system", "sort"), ("human", "b a"), ("gpt", "a b"), ("human", "d c"), ("gpt", "c d")];
    std::fs::write(&file, serde_json::json!({ "messages": turns.map(turn) }).to_string()).unwrap();
    read_all(vec![file], DatasetFormat::chat(TurnFields::list("messages"))).unwrap()
}

#[test]
fn every_answer_of_a_conversation_is_learned_from_the_turns_before_it() {
    let options = RowsOptions { length: 128, held_out: 0.0, canvas: None, ..wanted(Packing::FirstFit) };
    let (summary, files) = build(two_answers(), &options).unwrap();
    assert_eq!((summary.train.documents, summary.train.too_long), (2, 0));
    let dir = files.save();
    let rows = Rows::open(dir.path()).unwrap();
    let mut found = Vec::new();
    for at in 0..summary.train.rows {
        let row = rows.row(Split::Train, at).unwrap();
        let learned =
            row.tokens.iter().zip(&row.roles).filter(|(_, role)| **role == PositionRole::Supervised);
        found.push(small().decode(&learned.map(|(id, _)| *id).collect::<Vec<_>>(), true).unwrap());
    }
    assert_eq!(found.concat(), "a b<|im_end|>c d<|im_end|>");
}

#[test]
fn a_conversation_end_to_end_is_laid_out_once() {
    let options = RowsOptions { length: 200, held_out: 0.0, canvas: None, ..wanted(Packing::Concat) };
    let (summary, files) = build(two_answers(), &options).unwrap();
    assert_eq!(summary.train.documents, 1);
    let dir = files.save();
    let row = Rows::open(dir.path()).unwrap().row(Split::Train, 0).unwrap();
    let text = small().decode(&row.tokens, true).unwrap();
    assert!(
        text.starts_with("<|im_start|>system\nsort<|im_end|>\n<|im_start|>user\nb a<|im_end|>\n"),
        "{text}"
    );
    assert_eq!(
        (text.matches("a b<|im_end|>").count(), text.matches("c d<|im_end|>").count()),
        (1, 1),
        "{text}"
    );
}

#[test]
fn an_answer_that_is_only_given_is_not_learned() {
    let line = r#"{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a b","weight":0},
        {"role":"user","content":"r"},{"role":"assistant","content":"c d"}]}"#;
    let read = || {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), line.replace('\n', "")).unwrap();
        read_all(vec![file.path().to_owned()], DatasetFormat::chat(TurnFields::list("messages"))).unwrap()
    };
    let options = RowsOptions { length: 128, held_out: 0.0, canvas: None, ..wanted(Packing::FirstFit) };
    let (summary, files) = build(read(), &options).unwrap();
    let row = Rows::open(files.save().path()).unwrap().row(Split::Train, 0).unwrap();
    let of = |wanted| row.tokens.iter().zip(&row.roles).filter(move |(_, role)| **role == wanted);
    let text = |role| small().decode(&of(role).map(|(id, _)| *id).collect::<Vec<_>>(), true).unwrap();
    assert_eq!((summary.train.documents, text(PositionRole::Supervised).as_str()), (1, "c d<|im_end|>"));
    assert!(text(PositionRole::Prompt).contains("assistant\na b<|im_end|>"), "it is given");
    let error =
        build(read(), &RowsOptions { packing: Packing::Concat, ..options }).err().unwrap().to_string();
    assert!(error.contains("not to be learned") && error.contains("first-fit"), "{error}");
}

#[test]
fn a_cap_stops_exactly_by_the_order_of_documents() {
    let cap = |tokens, may_end_before| Some(TokenCap { tokens, may_end_before });
    let error = || Err(CorpusError::Empty { file: "read too far".into() });
    let build = |options: &RowsOptions| {
        let documents = texts().into_iter().map(Ok).chain(std::iter::once_with(error));
        build_from(documents, options, &mut Memory::default(), 3)
    };
    for tokens in 1..=100 {
        let options = RowsOptions { cap: cap(tokens, false), held_out: 0.0, ..wanted(Packing::Concat) };
        assert_eq!(build(&options).unwrap().train.tokens, tokens);
    }
    let whole = RowsOptions { cap: cap(100, false), held_out: 0.0, length: 64, ..wanted(Packing::FirstFit) };
    let found = build(&whole).unwrap().train;
    assert!((50..=100).contains(&found.tokens), "documents stay whole: {}", found.tokens);
    let every = |cap| {
        let options = RowsOptions { cap, held_out: 0.0, ..wanted(Packing::Concat) };
        build_from(texts().into_iter().map(Ok), &options, &mut Memory::default(), 3)
    };
    let all = every(None).unwrap().train.tokens;
    assert_eq!(every(cap(all, false)).unwrap().train.tokens, all);
    assert_eq!(every(cap(all + 1, true)).unwrap().train.tokens, all);
    let said = every(cap(all + 1, false)).err().unwrap().to_string();
    assert!(said.contains(&format!("the documents have {all} tokens, fewer than")), "{said}");
}

#[test]
fn wrong_options_are_refused() {
    let refuse = |documents, options: RowsOptions| build(documents, &options).err().unwrap().to_string();
    let good = wanted(Packing::Concat);
    assert!(refuse(texts(), RowsOptions { length: 0, ..good.clone() }).contains("1 to 1048576"));
    assert!(refuse(texts(), RowsOptions { held_out: 1.0, ..good.clone() }).contains("below 1"));
    assert!(refuse(texts(), RowsOptions { canvas: Some(32), ..good.clone() }).contains("canvas"));
    assert!(refuse(vec![], good.clone()).contains("no document is left"));
    assert!(refuse(texts(), RowsOptions { held_out: 1e-9, ..good }).contains("no document is held out"));
}

#[test]
fn a_tokenizer_never_sees_what_is_held_out() {
    let texts: Vec<String> = select_training_texts(chats().into_iter().map(Ok::<_, CorpusError>), 0.2)
        .map(Result::unwrap)
        .collect();
    let seen = |chat: &Chat| texts.contains(&format!("user\n{}", chat.prompt));
    for document in chats() {
        let Document::Chat(talk) = document else { continue };
        talk.chats().for_each(|chat| assert_eq!(seen(&chat), !is_held_out(&chat.prompt, 0.2)));
    }
    let all =
        train_tokenizer(vec![(chats().into_iter().map(Ok), 0.2)], 300, &AtomicBool::new(false)).unwrap();
    let kept = chats().into_iter().filter(|d| !d.is_held_out(0.2)).map(Ok);
    assert_eq!(all, train_tokenizer(vec![(kept, 0.0)], 300, &AtomicBool::new(false)).unwrap());
}

#[test]
fn building_twice_gives_the_same_bytes() {
    let once = || build(chats(), &wanted(Packing::FirstFit)).unwrap().1.0;
    assert_eq!(once(), once());
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    let many =
        || (0..4000).map(|i| Document::Text(format!("the assistant sorts {i} letters\n").repeat(i % 40 + 1)));
    for packing in [Packing::Concat, Packing::FirstFit] {
        let options = RowsOptions { length: 512, ..wanted(packing) };
        let built = |threads| {
            let mut files = Memory::default();
            build_from(many().map(Ok), &options, &mut files, threads).unwrap();
            files.collect().0
        };
        let one = built(1);
        assert!(
            one[RECORDS].len() > 1 << 20 && one[HELD_OUT_RECORDS].len() > 1 << 17,
            "{}",
            one[RECORDS].len()
        );
        assert!([2, 3, 7].iter().all(|threads| built(*threads) == one));
    }
}

#[test]
fn the_first_fault_by_the_order_of_documents_is_the_one_that_is_told() {
    let long = "x".repeat((1 << 20) + 1);
    let documents = |fault_at: usize| {
        let text = |i| if i == 700 { long.clone() } else { format!("letters {i}") };
        (0..2000).map(move |i| match i == fault_at {
            true => Err(CorpusError::Empty { file: "bad".into() }),
            false => Ok(Document::Text(text(i))),
        })
    };
    for threads in [1, 4] {
        let told = |documents: &mut dyn Iterator<Item = Result<Document, CorpusError>>| {
            let options = wanted(Packing::Concat);
            build_from(documents, &options, &mut Memory::default(), threads).err().unwrap().to_string()
        };
        assert!(told(&mut documents(701)).starts_with("d.txt:701: a text has 1048577 bytes"));
        assert!(told(&mut documents(699)).contains("`bad`"));
    }
}

#[test]
fn rows_may_have_a_million_tokens() {
    let options = RowsOptions { length: 1 << 20, canvas: None, held_out: 0.0, ..wanted(Packing::Concat) };
    // A document of one letter and its end: more segments than 16 bits can number.
    let documents = (0..600_000).map(|_| Ok(Document::Text("a".into())));
    let mut files = Memory::default();
    let summary = build_from(documents, &options, &mut files, 2).unwrap();
    assert_eq!((summary.train.rows, summary.train.tokens), (2, 1_200_000));
    let dir = files.collect().save();
    let rows = Rows::open(dir.path()).unwrap();
    let row = rows.row(Split::Train, 0).unwrap();
    assert_eq!(row.segments.last(), Some(&((1 << 19) - 1)));
    assert!(row.segments.chunk_by(|a, b| a == b).all(|segment| segment.len() == 2));
    let last = rows.row(Split::Train, 1).unwrap();
    assert_eq!(last.count(PositionRole::Padding), (2 << 20) - 1_200_000);
}

#[test]
fn a_signal_stops_rows_and_tokenizers_between_documents() {
    let stop = AtomicBool::new(true);
    let documents = || [Ok(Document::Text("a b".into()))].into_iter();
    let error = train_tokenizer(vec![(documents(), 0.0)], 300, &stop).unwrap_err();
    assert!(matches!(error, BuildError::Tokenizer(TokenizerError::Interrupted)), "{error}");
    let placed =
        documents().map(|found| found.map(|document| PlacedDocument { document, place: None, shard: 0 }));
    let options = wanted(Packing::Concat);
    let error = build_all(placed, &options, &mut Memory::default(), 2, &stop).unwrap_err();
    assert!(matches!(error, BuildError::Tokenizer(TokenizerError::Interrupted)), "{error}");
}

/// Documents in 11 shards of different numbers of documents, of which shard 5 has none.
fn in_shards() -> Vec<PlacedDocument> {
    let shard_of = |number: usize| match number % 11 {
        5 => 4,
        other => other,
    };
    let text = |i: usize| Document::Text(format!("the assistant sorts {i} letters").repeat(i % 7 + 1));
    let placed = |i| PlacedDocument { document: text(i), place: None, shard: shard_of(i / 30) };
    (0..330).map(placed).collect()
}

/// The plan of 11 shards, 3 of them in a group.
fn plan_of_shards() -> ShardPlan {
    let plan = ShardPlan::new(&[50; 11], 10);
    assert_eq!((plan.len(), plan.per_group(), plan.opening()), (11, 3, 3));
    plan
}

#[test]
fn every_shard_can_be_made_again_alone() {
    let plan = plan_of_shards();
    let shards = BuiltShards { plan: &plan, window: false, made: None };
    let stop = AtomicBool::new(false);
    // Long enough for every document.
    let long = |packing| RowsOptions { length: 256, ..wanted(packing) };
    let capped = |packing| {
        let cap = Some(TokenCap { tokens: 4000, may_end_before: false });
        RowsOptions { cap, ..long(packing) }
    };
    for options in [Packing::Concat, Packing::FirstFit].into_iter().flat_map(|p| [long(p), capped(p)]) {
        let mut files = Memory::default();
        let placed = in_shards().into_iter().map(Ok);
        let whole = build_rows(placed, &small(), &options, &shards, &mut files, 3, &stop).unwrap();
        let files = files.collect().0;
        let (mut before, mut start, mut ended) = (0, 0, false);
        for (number, rows) in whole.shards.rows.as_ref().unwrap().iter().enumerate() {
            if ended {
                assert_eq!(*rows, 0, "nothing is behind the end of a cap");
                continue;
            }
            let own = in_shards().into_iter().filter(|placed| placed.shard == number).map(Ok);
            let mut alone = Memory::default();
            let built = build_shard(own, &small(), &options, before, &mut alone, 2, &stop).unwrap();
            let records = &alone.collect().0[RECORDS];
            assert_eq!(records[..], files[RECORDS][start..start + records.len()], "shard {number}");
            assert_eq!(built.train.rows, *rows, "shard {number}");
            ended = built.ends_the_dataset;
            before += built.train.tokens;
            start += records.len();
        }
        assert_eq!((start, before), (files[RECORDS].len(), whole.train.tokens));
        assert_eq!(whole.shards.rows.as_ref().unwrap()[5], 0);
        assert_eq!((options.cap.is_some(), ended), (whole.shards.in_order, whole.shards.in_order));
    }
}

#[test]
fn only_the_first_shards_are_held_out_with_and_without_a_window() {
    let (plan, stop, options) = (plan_of_shards(), AtomicBool::new(false), wanted(Packing::Concat));
    let built = |window: bool| {
        let mut files = Memory::default();
        let end = if window { plan.opening() } else { plan.len() };
        let placed = in_shards().into_iter().filter(|placed| placed.shard < end).map(Ok);
        let shards = BuiltShards { plan: &plan, window, made: None };
        let summary = build_rows(placed, &small(), &options, &shards, &mut files, 2, &stop).unwrap();
        (summary, files.collect().0)
    };
    let ((whole, files), (window, planned)) = (built(false), built(true));
    let held = |from: usize, to: usize| {
        let own = in_shards().into_iter().filter(|placed| (from..to).contains(&placed.shard));
        own.filter(|placed| placed.document.is_held_out(options.held_out)).count() as u64
    };
    assert_eq!((whole.held_out.documents, whole.shards.held_out_later), (held(0, 3), held(3, 11)));
    assert!(held(0, 3) > 3 && held(3, 11) > 20);
    assert_eq!(files[HELD_OUT_RECORDS], planned[HELD_OUT_RECORDS]);
    assert_eq!(whole.held_out, window.held_out);
    // The order of both, and the shares of a mixture, depend on these alone.
    let order = |summary: &RowsSummary| {
        let shards = &summary.shards;
        (shards.count, shards.per_group, shards.in_order, shards.opening_rows, shards.opening_tokens)
    };
    assert_eq!(order(&whole), order(&window));
    assert_eq!(window.train.rows, window.shards.opening_rows);
    assert!(window.shards.is_window() && !whole.shards.is_window());
    let rows = whole.shards.rows.unwrap();
    assert_eq!(rows[..3].iter().sum::<u64>(), whole.shards.opening_rows);
    assert_eq!(rows.iter().sum::<u64>(), whole.train.rows);
}

/// What was noted: what was made then, and the bytes of the training rows at that time.
type Notes = Rc<RefCell<Vec<(RowsProgress, usize)>>>;

/// A sink whose file of training rows begins with what an earlier run made, and notes what is made.
struct KeptRows<'a> {
    memory: &'a mut Memory,
    before: Vec<u8>,
    notes: Notes,
}

struct KeptFile(Box<dyn RowsFile>, usize, Notes);

impl FileSink for KeptRows<'_> {
    fn file(&mut self, name: &str) -> std::io::Result<Box<dyn RowsFile>> {
        let mut file = self.memory.file(name)?;
        if name != RECORDS {
            return Ok(file);
        }
        file.write_all(&self.before)?;
        Ok(Box::new(KeptFile(file, self.before.len(), self.notes.clone())))
    }
}

impl Write for KeptFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.1 += bytes.len();
        self.0.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

impl RowsFile for KeptFile {
    fn note(&mut self, step: u64, state: &serde_json::Value) -> std::io::Result<()> {
        let made: RowsProgress = serde_json::from_value(state.clone()).unwrap();
        assert_eq!(made.shards() as u64, step);
        self.2.borrow_mut().push((made, self.1));
        Ok(())
    }

    fn finish(self: Box<Self>) -> std::io::Result<()> {
        self.0.finish()
    }
}

#[test]
fn rows_go_on_behind_every_shard_with_the_same_bytes() {
    let (plan, stop) = (plan_of_shards(), AtomicBool::new(false));
    let long = |packing| RowsOptions { length: 256, ..wanted(packing) };
    let cap = Some(TokenCap { tokens: 4000, may_end_before: false });
    for options in [Packing::Concat, Packing::FirstFit]
        .into_iter()
        .flat_map(|packing| [long(packing), RowsOptions { cap, ..long(packing) }])
    {
        let build = |made: Option<&RowsProgress>, before: &[u8]| {
            let (mut memory, notes) = (Memory::default(), Notes::default());
            let shards = BuiltShards { plan: &plan, window: false, made };
            let placed = in_shards().into_iter().map(Ok);
            let mut sink = KeptRows { memory: &mut memory, before: before.to_vec(), notes: notes.clone() };
            let summary = build_rows(placed, &small(), &options, &shards, &mut sink, 2, &stop).unwrap();
            let notes = notes.take();
            (summary, memory.collect().0, notes)
        };
        let (summary, files, notes) = build(None, &[]);
        assert!(notes.len() >= if options.cap.is_some() { 2 } else { 10 }, "{}", notes.len());
        for (made, bytes) in &notes {
            assert!(made.is_possible(11) && !made.is_possible(made.shards()));
            let (again, others, later) = build(Some(made), &files[RECORDS][..*bytes]);
            assert_eq!((&again, &others), (&summary, &files), "behind shard {}", made.shards());
            assert_eq!(later[..], notes[made.shards()..]);
        }
    }
}

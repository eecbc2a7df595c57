//! The data part of `pipelines/full.kdl` in small: its own text, on local servers with repositories of the same layouts, from the
//! hub and S3 to weights, whole and killed.

#![cfg(all(feature = "cpu", feature = "hub"))]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use arrow_array::builder::{ListBuilder, StringBuilder, StructBuilder};
use arrow_array::{ArrayRef, RecordBatch, StringArray, StructArray};
use parquet::arrow::ArrowWriter;
use serde_json::json;

use crate::common::{Project, Ran, gzip};
use crate::contents::storage::{Account, Storage};
use crate::download::checkpoint;
use crate::online::server::{Published, Server, large, small};

const MODEL: &str = "70d244cc86ccca08cf5af4e1e306ecf908b1ad5e";
const DATA: &str = "b04c8d1ceb2f5cd4588862100d08de323dccfbaa";
const ACCOUNT: Account = Account { id: "AKIDEXAMPLE", key: "s3cr3t/key", session: None };

/// Training tokens for every billion of the original.
const TOKENS_PER_BILLION: f64 = 300.0;

/// What is trained on the data, and a dataset with conversations in a nested column, which the original does not have.
const STAGES: &str = r#"
dataset "talks" from="hf:own/talks" { chat messages="conversation.turns" }
mixture "talk" { mixture "chat"; dataset "talks" }
train "ar" from="qwen3" {
    data rows="8k" mixture="web-code"
    objective "autoregressive"
    attention "causal"
    batch rows=8
    steps 40
    checkpoint every=4 keep=2
    learning-rate peak=1e-3 final=1e-4 shape="cosine"
}
train "sft" from="ar" {
    data rows="chat" mixture="talk"
    objective "autoregressive"
    attention "causal"
    batch rows=8
    steps 20
    checkpoint every=4 keep=2
    learning-rate peak=1e-3 final=1e-4 shape="cosine"
}
"#;

/// The data part of the pipeline: everything but what is made of it, with Stack v2 beside v1, and smaller numbers.
fn pipeline() -> String {
    let full = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/full.kdl")).unwrap();
    let (head, rest) = full.split_once("// ---- sources").unwrap();
    let (sources, _) = rest.split_once("// ---- flow").unwrap();
    let secret = head.lines().find(|line| line.starts_with("secret")).unwrap();
    let mut text = format!("pipeline \"small\" seed=42\n{secret}\n//{sources}").replace("/-", "");
    while let Some((before, after)) = text.split_once("tokens=\"") {
        let (billions, rest) = after.split_once("B\"").unwrap();
        let tokens = (billions.parse::<f64>().unwrap() * TOKENS_PER_BILLION).round();
        text = format!("{before}tokens={tokens}{rest}");
    }
    for (from, to) in [
        (
            "    dataset \"stack-js\"    weight",
            "    dataset \"stack-v2-py\" weight=50.75\n    dataset \"stack-js\"    weight",
        ),
        ("length=8192", "length=64 shard=\"2KiB\""),
        ("held-out=\"0.1%\"", "held-out=\"25%\""),
        ("length=1024", "length=128"),
        ("held-out=\"1%\"", "held-out=\"10%\""),
        ("600GiB", "2MiB"),
        // Estimates know how large the published model is.
        ("Qwen/Qwen3-1.7B", "own/model"),
    ] {
        assert!(text.contains(from), "{from} in\n{text}");
        text = text.replace(from, to);
    }
    text + STAGES
}

/// Text with some words that no other document has.
fn words(name: &str, number: usize) -> String {
    let nouns = ["river", "model", "token", "noise", "flow", "mask", "row", "step"];
    let noun = |k: usize| nouns[(number * 7 + k * k + 3 * k) % nouns.len()];
    let sentence = |k: usize| format!("In {name} {number} the {} meets the {}.", noun(k), noun(k + 1));
    (0..4).map(sentence).collect::<Vec<_>>().join(" ")
}

fn parquet(batch: &RecordBatch) -> Vec<u8> {
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    writer.into_inner().unwrap()
}

/// A table with columns of text, given by a function of the column and the document.
fn table(columns: &[&str], numbers: std::ops::Range<usize>, cell: impl Fn(&str, usize) -> String) -> Vec<u8> {
    let column = |name: &&str| -> (String, ArrayRef) {
        let cells: Vec<String> = numbers.clone().map(|number| cell(name, number)).collect();
        ((*name).to_owned(), Arc::new(StringArray::from(cells)))
    };
    parquet(&RecordBatch::try_from_iter(columns.iter().map(column)).unwrap())
}

/// Conversations in a list of turns, inside another column.
fn talks(numbers: std::ops::Range<usize>) -> Vec<u8> {
    let text = || Box::new(StringBuilder::new()) as _;
    let cell = || Arc::new(StringArray::from(vec!["x"])) as ArrayRef;
    let like = RecordBatch::try_from_iter([("role", cell()), ("content", cell())]).unwrap();
    let fields = like.schema().fields().clone();
    let mut turns = ListBuilder::new(StructBuilder::new(fields, vec![text(), text()]));
    for number in numbers {
        for (role, content) in
            [("user", format!("what is {number}?")), ("assistant", format!("the token {number}"))]
        {
            let turn = turns.values();
            turn.field_builder::<StringBuilder>(0).unwrap().append_value(role);
            turn.field_builder::<StringBuilder>(1).unwrap().append_value(content);
            turn.append(true);
        }
        turns.append(true);
    }
    let turns: ArrayRef = Arc::new(turns.finish());
    let inner = StructArray::try_from(vec![("turns", turns)]).unwrap();
    parquet(&RecordBatch::try_from_iter([("conversation", Arc::new(inner) as ArrayRef)]).unwrap())
}

/// So many files with the numbers of their documents.
fn parts(many: usize, each: usize) -> impl Iterator<Item = (usize, std::ops::Range<usize>)> {
    (0..many).map(move |at| (at, at * each..(at + 1) * each))
}

/// Tables of 40 documents.
fn tables(many: usize, folder: &str, end: &str, columns: &[&str]) -> Vec<Published> {
    let one = |(at, numbers)| {
        let bytes = table(columns, numbers, |column, number| match column {
            "id" | "url" | "date" => format!("{column}{number}"),
            "instruction" => format!("what is {number}?"),
            "output" => format!("the river {number}"),
            _ => words(&format!("{folder}{column}"), number),
        });
        large(&format!("{folder}{at:05}{end}.parquet"), bytes)
    };
    parts(many, 40).map(one).collect()
}

/// Compressed lines, in folders of folders.
fn dclm() -> Vec<Published> {
    let one = |(at, numbers): (usize, std::ops::Range<usize>)| {
        let metadata = json!({"WARC-Type": "response", "Content-Length": at});
        let line =
            |number| json!({"text": words("dclm", number), "url": "x", "metadata": metadata}).to_string();
        let lines: String = numbers.map(|number| line(number) + "\n").collect();
        let folder = format!("global-shard_{:02}_of_10/local-shard_0_of_10", at % 3 + 1);
        let packed = zstd::stream::encode_all(lines.as_bytes(), 3).unwrap();
        large(&format!("{folder}/shard_{at:08}_processed.jsonl.zst"), packed)
    };
    parts(12, 60).map(one).collect()
}

/// A card that declares two subsets.
const CARD: &str = "---\nconfigs:\n- config_name: 20231101.de\n  data_files: 20231101.de/*\n- config_name: 20231101.en\n  data_files:\n  - split: train\n    path: 20231101.en/train-*\n---\n# Wikipedia\n";

struct Place {
    project: Project,
    hub: Server,
    storage: Storage,
}

impl Place {
    /// A project with the pipeline, and servers with what it reads.
    fn new() -> Self {
        let project = Project::empty();
        project.write("small.kdl", &pipeline());
        let place = Self { project, hub: Server::start(), storage: Storage::start(Some(ACCOUNT), |_| 1) };
        let files = checkpoint().into_iter().map(|(name, bytes)| match name.ends_with(".safetensors") {
            true => large(&name, bytes),
            false => small(&name, bytes),
        });
        place.hub.publish("models/own/model", "main", MODEL, &files.collect::<Vec<_>>());
        for (name, files) in place.repositories() {
            place.hub.publish(&format!("datasets/{name}"), "", DATA, &files);
        }
        let gated = format!(r#"{{"sha":"{DATA}","gated":"auto"}}"#);
        place.hub.answer("/api/datasets/bigcode/the-stack-dedup", 200, "", &gated);
        place
    }

    /// Names and files of the repositories with data, in the layouts of the real ones.
    fn repositories(&self) -> Vec<(&'static str, Vec<Published>)> {
        let chat: &[&str] = &["instruction", "output", "id"];
        let text: &[&str] = &["text", "url"];
        let other = |path: &str| large(path, table(&["text"], 0..3, |_, _| "never read".to_owned()));
        let opencoder = tables(3, "realuser_instruct/train-", "", chat);
        let talks = parts(2, 40).map(|(at, numbers)| large(&format!("train-{at}.parquet"), talks(numbers)));
        let stack = [("python", 10), ("javascript", 6), ("java", 5), ("cpp", 4)].into_iter();
        let stack = stack.flat_map(|(language, many)| {
            tables(many, &format!("data/{language}/data-"), "-of-00144", &["content", "id"])
        });
        let arxiv = tables(3, "document/train-", "-of-00015", &["article", "id"]).into_iter();
        let wikipedia = tables(2, "20231101.en/train-", "-of-00041", text).into_iter();
        vec![
            ("mlfoundations/dclm-baseline-1.0", dclm()),
            ("open-web-math/open-web-math", tables(4, "data/train-", "-of-00114", &["url", "text", "date"])),
            (
                "ccdv/arxiv-summarization",
                arxiv.chain(["document/test-0.parquet", "section/train-0.parquet"].map(other)).collect(),
            ),
            (
                "wikimedia/wikipedia",
                wikipedia.chain([other("20231101.de/train-0.parquet"), small("README.md", CARD)]).collect(),
            ),
            ("zwhe99/mathpile-text", tables(2, "data/train-", "-of-00002", text)),
            ("bigcode/the-stack-dedup", stack.chain([other("data/rust/data-0.parquet")]).collect()),
            ("bigcode/the-stack-v2", self.put_code().chain([other("data/C/train-0.parquet")]).collect()),
            (
                "OpenCoder-LLM/opc-sft-stage1",
                opencoder.into_iter().chain([other("largescale/train-0.parquet")]).collect(),
            ),
            ("own/talks", talks.collect()),
        ]
    }

    /// Tables of file ids, after putting the files into the bucket: compressed, every other one in Latin 1.
    fn put_code(&self) -> impl Iterator<Item = Published> {
        parts(40, 12).map(|(at, numbers)| {
            for number in numbers.clone() {
                let text = format!("# é {}\n", words("v2", number));
                let latin: Vec<u8> = text.chars().map(|letter| u8::try_from(letter).unwrap()).collect();
                let bytes = if number % 2 == 0 { text.into_bytes() } else { latin };
                self.storage.put(&format!("softwareheritage/content/{number:040x}"), gzip(&bytes));
            }
            let columns = ["blob_id", "repo_name", "path", "src_encoding"];
            let bytes = table(&columns, numbers, |column, number| match column {
                "blob_id" => format!("{number:040x}"),
                "src_encoding" => ["UTF-8", "ISO-8859-1"][number % 2].to_owned(),
                _ => format!("{column}/{number}"),
            });
            large(&format!("data/Python/train-{at:05}-of-00040.parquet"), bytes)
        })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.project.command(arguments);
        self.hub.be_the_hub_of(&mut command, &self.project.path().join("hf"), "hf_token");
        command
            .env("AWS_ENDPOINT_URL_S3", &self.storage.address)
            .env("AWS_ACCESS_KEY_ID", ACCOUNT.id)
            .env("AWS_SECRET_ACCESS_KEY", ACCOUNT.key);
        command
    }

    #[track_caller]
    fn fmflow(&self, arguments: &[&str]) -> Ran {
        Ran::from(self.command(arguments).output().unwrap())
    }

    /// Starts a run in the store `killed`, and kills it so long after so many stages were done. False if it ended before.
    fn kill_after(&self, stages: usize, pause: Duration) -> bool {
        let mut child = self
            .command(&["run", "small.kdl", "--store", "killed"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let done = lines.by_ref().filter(|line| line.contains("  done in ")).take(stages).count();
        std::thread::sleep(pause);
        child.kill().unwrap();
        child.wait().unwrap();
        done == stages
    }

    /// The weights of the stages that train, and everything of their rows, in a store.
    fn results(&self, store: &str) -> BTreeMap<String, Vec<u8>> {
        let mut found = BTreeMap::new();
        for stage in ["8k/dclm", "8k/stack-v2-py", "8k/arxiv", "chat/opencoder", "chat/talks", "ar", "sft"] {
            let ran = self.fmflow(&["show", "small.kdl", stage, "--path", "--store", store]).ok();
            for entry in fs::read_dir(PathBuf::from(ran.stdout.trim_end())).unwrap().map(Result::unwrap) {
                let name = entry.file_name().into_string().unwrap();
                if ["rows.json", "rows.bin", "held-out.bin", "held-out.jsonl", "model.safetensors"]
                    .contains(&name.as_str())
                {
                    found.insert(format!("{stage}/{name}"), fs::read(entry.path()).unwrap());
                }
            }
        }
        found
    }
}

#[test]
fn the_data_of_the_full_pipeline_are_fetched_windowed_mixed_and_trained_on() {
    let place = Place::new();
    place.fmflow(&["check", "small.kdl", "--lock"]).ok();
    let checked = place.fmflow(&["check", "small.kdl", "--runnable", "--format", "concise"]).ok();
    assert!(!checked.stdout.contains("not-supported-yet"), "{}", checked.stdout);
    place.hub.forget();
    let ran = place.fmflow(&["run", "small.kdl", "--store", "whole"]).ok();
    ran.says("window: ").says("for the first rows of 8k/stack-v2-py");
    let asked = place.hub.asked();
    assert!(asked.iter().all(|(_, token)| token.as_deref() == Some("Bearer hf_token")), "gated data need it");
    let other = |path: &str| {
        ["data/rust", "data/C/", "section/", "test-", ".de/", "largescale"]
            .iter()
            .any(|part| path.contains(part))
    };
    let unasked: Vec<_> = asked.iter().filter(|(path, _)| other(path)).collect();
    assert!(unasked.is_empty(), "{unasked:?}");
    let whole = place.results("whole");
    assert_eq!(whole.keys().filter(|name| name.ends_with("model.safetensors")).count(), 2);
    for name in [
        "8k/dclm/held-out.bin",
        "8k/stack-v2-py/held-out.bin",
        "chat/talks/rows.bin",
        "chat/talks/held-out.jsonl",
    ] {
        assert!(!whole[name].is_empty(), "{name}");
    }
    // Killed again and again: two stages further each time, and a moment into what comes next (a download, a shard, an update).
    let killed_at = [0, 20, 5, 60, 10, 40].map(Duration::from_millis);
    // A fast machine may finish more stages before a signal arrives.
    let kills = killed_at.into_iter().take_while(|pause| place.kill_after(2, *pause)).count();
    assert!(kills >= 3, "the run ended after {kills} kills");
    place.fmflow(&["run", "small.kdl", "--store", "killed"]).ok();
    let killed = place.results("killed");
    assert_eq!(whole.keys().collect::<Vec<_>>(), killed.keys().collect::<Vec<_>>());
    for (name, bytes) in &whole {
        assert!(killed[name] == *bytes, "{name} differs");
    }
    // Weights are those without a window, too.
    place.project.edit("small.kdl", "{ window disk=\"2MiB\" }", "");
    place.fmflow(&["run", "small.kdl", "--store", "plain"]).ok();
    let plain = place.results("plain");
    for stage in ["ar", "sft"] {
        let name = format!("{stage}/model.safetensors");
        assert!(plain[&name] == whole[&name], "{name} differs without a window");
    }
}

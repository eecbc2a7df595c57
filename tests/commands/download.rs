//! Stages that read repositories of a local hub: what they make, what they leave, how they go on after a cut, a kill, a full disk.

#![cfg(all(feature = "cpu", feature = "hub"))]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{Project, Ran};
use crate::online::server::{Odd, Published, Server, large, small};

const MODEL: &str = "70d244cc86ccca08cf5af4e1e306ecf908b1ad5e";
const DATA: &str = "b04c8d1ceb2f5cd4588862100d08de323dccfbaa";
const CANARY: &str = "hf_canary_that_nobody_may_see";

/// Stages of a pipeline that reads `base` and `words`.
const STAGES: &str = r#"
mixture "all" { dataset "words" }
rows "short" tokenizer="base" length=64 packing="concat"
train "on" from="base" {
    data rows="short" mixture="all"
    objective "autoregressive"
    attention "causal"
    batch rows=4
    steps 2
    learning-rate peak=1e-3 final=1e-4 shape="cosine"
}
"#;

/// A project, a local hub with a checkpoint and a dataset, and a checkpoint folder with the same files.
struct Place {
    project: Project,
    hub: Server,
}

/// The files of a small checkpoint.
pub(crate) fn checkpoint() -> BTreeMap<String, Vec<u8>> {
    let project = Project::tiny();
    project.fmflow(&["run", "tiny.kdl", "--until", "tiny"]).ok();
    let own = ["manifest.json", "summary.json"];
    let entries = fs::read_dir(project.artifact("tiny")).unwrap().map(|entry| entry.unwrap());
    let read =
        entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()));
    read.filter(|(name, _)| !own.contains(&name.as_str())).collect()
}

/// Lines of JSON with documents of some words.
fn lines(from: usize, count: usize) -> String {
    let line =
        |at| format!("{{\"body\":\"the river {at} meets the path {} at noon\",\"id\":{at}}}\n", at * 7);
    (from..from + count).map(line).collect()
}

impl Place {
    /// A project with this text before [`STAGES`]; the hub has the checkpoint as `o/m`, and `data` as `o/d`.
    fn new(text: &str, data: &[Published]) -> Self {
        let (project, hub) = (Project::empty(), Server::start());
        let mut files = Vec::new();
        for (name, bytes) in checkpoint() {
            fs::create_dir_all(project.path().join("local")).unwrap();
            fs::write(project.path().join("local").join(&name), &bytes).unwrap();
            files.push(if name.ends_with(".safetensors") {
                large(&name, bytes)
            } else {
                small(&name, bytes)
            });
        }
        files.push(small("README.md", "# A model"));
        files.push(large("pytorch_model.bin", "a pickle"));
        files.push(large("onnx/model.onnx", "another"));
        hub.publish("models/o/m", "", MODEL, &files);
        hub.publish("datasets/o/d", "", DATA, data);
        project.write("far.kdl", &format!("pipeline \"far\" seed=1\nsecret \"HF_TOKEN\"\n{text}{STAGES}"));
        Self { project, hub }
    }

    /// A hub dataset of one file, and the checkpoint from the hub.
    fn simple(lines: &str) -> Self {
        let text = "fetch \"base\" from=\"hf:o/m\"\ndataset \"words\" from=\"hf:o/d\" text=\"body\"\n";
        Self::new(text, &[large("words.jsonl", lines)])
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.project.command(arguments);
        self.hub.be_the_hub_of(&mut command, &self.project.path().join("hf"), CANARY);
        command
    }

    #[track_caller]
    fn run(&self, command: &mut Command) -> Ran {
        let mut ran = Ran::from(command.output().unwrap());
        assert!(!(ran.stdout.clone() + &ran.stderr).contains("canary"), "the token leaked: {}", ran.stderr);
        ran.stderr = ran.stderr.replace(&self.hub.address, "http://hub");
        ran
    }

    #[track_caller]
    fn fmflow(&self, arguments: &[&str]) -> Ran {
        self.run(&mut self.command(arguments))
    }

    #[track_caller]
    fn lock(&self) -> String {
        self.fmflow(&["check", "far.kdl", "--lock"]).ok();
        self.hub.forget();
        fs::read_to_string(self.project.path().join("far.lock")).unwrap()
    }

    /// The files of the artifact of a stage, without those in which a store describes it.
    fn artifact(&self, file: &str, stage: &str) -> BTreeMap<String, Vec<u8>> {
        let ran = self.fmflow(&["show", file, stage, "--path"]).ok();
        let folder = PathBuf::from(ran.stdout.trim_end());
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
        let read =
            entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()));
        read.filter(|(name, _)| !["manifest.json", "summary.json"].contains(&name.as_str())).collect()
    }

    /// The files below a folder of the project, with their bytes.
    fn walk(&self, folder: &str) -> Vec<(PathBuf, Vec<u8>)> {
        let files =
            walkdir::WalkDir::new(self.project.path().join(folder)).into_iter().map(|entry| entry.unwrap());
        let files = files.filter(|entry| entry.file_type().is_file());
        files.map(|entry| (entry.path().to_owned(), fs::read(entry.path()).unwrap())).collect()
    }
}

#[test]
fn what_comes_from_a_hub_is_what_lies_in_a_folder() {
    let card = "---\nconfigs:\n- config_name: de\n  data_files: de/*\n- config_name: en\n  data_files:\n  - split: train\n    path: en/part-*\n  - split: test\n    path: en/last.jsonl\n---\n# Words\n";
    let parts = [
        ("en/part-1.jsonl", lines(0, 200)),
        ("en/part-0.jsonl", lines(1000, 300)),
        ("en/last.jsonl", lines(5, 5)),
    ];
    let mut data: Vec<Published> = parts.iter().map(|(name, text)| large(name, text.clone())).collect();
    data.extend([small("README.md", card), small("de/a.jsonl", lines(9, 9))]);
    let far = "fetch \"base\" from=\"hf:o/m\"\ndataset \"words\" from=\"hf:o/d\" subset=\"en\" text=\"body\" held-out=\"20%\"\n";
    let place = Place::new(far, &data);
    for (name, text) in &parts {
        place.project.write(&format!("copy/{name}"), text);
    }
    let near = "fetch \"base\" from=\"./local\"\ndataset \"words\" from=\"copy/en/part-*.jsonl\" format=\"jsonl\" text=\"body\" held-out=\"20%\"\n";
    let text = fs::read_to_string(place.project.path().join("far.kdl")).unwrap();
    place.project.write("near.kdl", &text.replace(far, near));
    insta::assert_snapshot!("lock", hide_hashes(&place.lock()));

    let ran = place.fmflow(&["run", "far.kdl"]).ok();
    ran.says("not downloaded: 3 files of `hf:o/m` besides the checkpoint: `README.md`, `onnx/model.onnx`, `pytorch_model.bin`");
    let asked = place.hub.asked();
    assert!(!asked.iter().any(|(path, _)| path.contains(".bin") || path.contains("onnx")), "{asked:?}");
    assert!(!asked.iter().any(|(path, _)| path.contains("de/a") || path.contains("last")), "{asked:?}");
    assert!(asked.iter().all(|(path, token)| path.contains("/resolve/") && token.is_some()), "{asked:?}");
    place.fmflow(&["run", "near.kdl"]).ok();
    for stage in ["base", "short/words", "on"] {
        let (far, near) = (place.artifact("far.kdl", stage), place.artifact("near.kdl", stage));
        assert_eq!(far.keys().collect::<Vec<_>>(), near.keys().collect::<Vec<_>>(), "{stage}");
        // A contract, its origins and metrics say how a result was made, the other files what it is.
        let same = |name: &str| !["metrics.jsonl", "events.out.tfevents", "origins.json"].contains(&name);
        far.iter()
            .filter(|(name, _)| same(name))
            .for_each(|(name, bytes)| assert!(*bytes == near[name], "{stage}: {name}"));
    }
    place.hub.forget();
    place.fmflow(&["run", "far.kdl"]).ok().says("nothing to do");
    place.fmflow(&["plan", "far.kdl"]).ok();
    place.fmflow(&["status", "far.kdl"]).ok();
    assert!(place.hub.asked().is_empty(), "only downloads and `check --online` ask");
    let left = place.walk(".fmflow/work");
    assert!(left.is_empty(), "downloads go with the unfinished work: {left:?}");
    let secret = |bytes: &[u8]| bytes.windows(6).any(|part| part == b"canary");
    let leaks: Vec<_> = place.walk(".").into_iter().filter(|(_, bytes)| secret(bytes)).collect();
    assert!(leaks.is_empty(), "{leaks:?}");
}

#[test]
fn a_window_on_a_hub_dataset_downloads_shard_by_shard() {
    let far =
        "fetch \"base\" from=\"hf:o/m\"\ndataset \"words\" from=\"hf:o/d\" text=\"body\" held-out=\"20%\"\n";
    let name = |number: usize| format!("part-{number:02}.jsonl");
    let parts: Vec<(String, String)> =
        (0..40).map(|number| (name(number), lines(100 * number, 40))).collect();
    let data: Vec<Published> = parts.iter().map(|(name, text)| large(name, text.clone())).collect();
    let place = Place::new(far, &data);
    for (name, text) in &parts {
        place.project.write(&format!("copy/{name}"), text);
    }
    let packing = "packing=\"concat\"";
    let sharded = |window: &str| {
        let text = fs::read_to_string(place.project.path().join("far.kdl")).unwrap();
        text.replace(packing, &format!("{packing} shard=\"2000B\"{window}")).replace("steps 2", "steps 150")
    };
    let near = "fetch \"base\" from=\"./local\"\ndataset \"words\" from=\"copy/*.jsonl\" format=\"jsonl\" text=\"body\" held-out=\"20%\"\n";
    place.project.write("near.kdl", &sharded("").replace(far, near));
    let window = sharded(" { window disk=\"64KiB\" }");
    place.project.write("far.kdl", &window);
    place.lock();
    place.fmflow(&["run", "far.kdl", "--until", "short/words"]).ok();
    let parts_of = |asked: Vec<(String, Option<String>)>| {
        let paths = asked.into_iter().map(|(path, _)| path);
        paths.filter(|path| path.contains("part-")).collect::<Vec<_>>()
    };
    let first = parts_of(place.hub.asked());
    assert!((10..=16).contains(&first.len()), "only the first shards: {first:?}");
    place.hub.forget();
    place.fmflow(&["run", "far.kdl"]).ok().says("of them again)");
    let later = parts_of(place.hub.asked());
    assert!(later.len() > 40, "each at least once, and some again: {}", later.len());
    place.fmflow(&["run", "near.kdl"]).ok();
    let weights = |file: &str| place.artifact(file, "on")["model.safetensors"].clone();
    assert!(weights("far.kdl") == weights("near.kdl"));
    assert!(place.walk(".fmflow/work").is_empty(), "downloads go with the unfinished work");
}

/// Digests of files depend on what a checkpoint holds; where they are is what the snapshot shows.
fn hide_hashes(text: &str) -> String {
    let word = |word: &str| match word.split_once("=\"") {
        Some((name @ ("sha256" | "blob"), _)) => format!("{name}=..."),
        _ if word.starts_with("size=") => "size=...".to_owned(),
        _ => word.to_owned(),
    };
    text.split(' ')
        .map(|part| part.split('\n').map(word).collect::<Vec<_>>().join("\n"))
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn nothing_unpinned_is_downloaded() {
    let place = Place::simple(&lines(0, 50));
    let ran = place.fmflow(&["run", "far.kdl"]).exits(2);
    insta::assert_snapshot!("unpinned", ran.stderr);
    place.lock();
    place.project.edit("far.kdl", "text=\"body\"", "text=\"body\" files=\"*.jsonl\"");
    let ran = place.fmflow(&["run", "far.kdl"]).exits(2);
    insta::assert_snapshot!("unlisted", ran.stderr);
    place.fmflow(&["check", "far.kdl", "--runnable"]).exits(3);
    assert!(place.hub.asked().is_empty());
    place.fmflow(&["check", "far.kdl", "--lock"]).ok();
    place.fmflow(&["check", "far.kdl", "--runnable"]).ok();
}

#[test]
fn a_cut_download_goes_on_and_so_does_a_killed_one() {
    let place = Place::simple(&lines(0, 40_000));
    let whole = fs::metadata(place.project.path().join("far.kdl")).map(|_| lines(0, 40_000).len()).unwrap();
    place.lock();
    let file = "/datasets/o/d/resolve/b04c8d1ceb2f5cd4588862100d08de323dccfbaa/words.jsonl";
    place.hub.misbehave("datasets/o/d", DATA, "words.jsonl", &[Odd::Cut(500_000), Odd::Stall(300_000)]);
    let mut child =
        place.command(&["run", "far.kdl", "--until", "short/words"]).stderr(Stdio::null()).spawn().unwrap();
    // Files come and go meanwhile.
    let arrived = || {
        let work = walkdir::WalkDir::new(place.project.path().join(".fmflow/work")).into_iter();
        let parts =
            work.filter_map(Result::ok).filter(|entry| entry.path().parent().unwrap().ends_with("parts"));
        parts.filter_map(|entry| Some(entry.metadata().ok()?.len())).max()
    };
    let start = Instant::now();
    while arrived() != Some(800_000) {
        assert!(start.elapsed() < Duration::from_secs(60), "{:?} of {whole}", arrived());
        std::thread::sleep(Duration::from_millis(20));
    }
    // A second run in the same store does not touch the files of the first.
    place.fmflow(&["run", "far.kdl"]).exits(5);
    child.kill().unwrap();
    child.wait().unwrap();
    place.fmflow(&["run", "far.kdl", "--until", "short/words"]).ok();
    let data: Vec<_> = place.hub.ranges().into_iter().filter(|asked| asked.starts_with(file)).collect();
    assert_eq!(
        data,
        [format!("{file} 0 -"), format!("{file} 500000 \"v1\""), format!("{file} 800000 \"v1\"")]
    );
}

#[test]
fn two_runs_that_fetch_the_same_file_make_the_same() {
    let place = Place::simple(&lines(0, 5_000));
    place.lock();
    place.hub.misbehave(
        "datasets/o/d",
        DATA,
        "words.jsonl",
        &[Odd::Cut(1_000), Odd::Cut(70_000), Odd::Cut(90_000)],
    );
    let start = |store: &str| {
        place
            .command(&["run", "far.kdl", "--until", "short/words", "--store", store])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let (mut one, mut two) = (start("one"), start("two"));
    assert!(one.wait().unwrap().success() && two.wait().unwrap().success());
    let rows = |store: &str| {
        let files = place.walk(&format!("{store}/artifacts")).into_iter();
        files
            .filter(|(path, _)| !path.ends_with("manifest.json") && !path.ends_with("summary.json"))
            .map(|(_, bytes)| bytes)
            .collect::<Vec<_>>()
    };
    assert!(rows("one") == rows("two") && !rows("one").is_empty());
}

#[test]
fn a_full_disk_ends_with_6_and_the_next_run_goes_on() {
    let place = Place::simple(&lines(0, 40_000));
    place.lock();
    let mut limited = place.command(&["run", "far.kdl", "--until", "short/words"]);
    let program = limited.get_program().to_owned();
    let arguments: Vec<_> = limited.get_args().map(ToOwned::to_owned).collect();
    let mut shell = place.command(&[]);
    let mut command = Command::new("sh");
    command
        .current_dir(place.project.path())
        .envs(shell.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.arg("-c").arg("ulimit -f 1024 && exec \"$0\" \"$@\"").arg(program).args(arguments);
    shell.stdin(Stdio::null());
    limited.stdin(Stdio::null());
    place.run(&mut command).exits(6).says("words.jsonl");
    place.hub.forget();
    place.fmflow(&["run", "far.kdl", "--until", "short/words"]).ok();
    let asked = place.hub.ranges();
    assert!(asked.len() == 1 && asked[0].contains("words.jsonl ") && !asked[0].contains(" 0 "), "{asked:?}");
}

#[test]
fn what_a_hub_does_wrong_is_told_with_its_file_and_a_cure() {
    let cases: Vec<(&str, Odd)> = vec![
        ("other bytes of the same length", Odd::Other(b"X".repeat(lines(0, 50).len()))),
        ("fewer bytes", Odd::Other(b"short".to_vec())),
        ("more bytes", Odd::Other(b"X".repeat(1 << 20))),
        (
            "401, a wrong token",
            Odd::Status(401, "x-error-message: Invalid credentials in Authorization header\r\n"),
        ),
        ("403, gated", Odd::Status(403, "x-error-code: GatedRepo\r\n")),
        ("403", Odd::Status(403, "x-error-message: disabled by its owner\r\n")),
        ("404", Odd::Status(404, "x-error-code: EntryNotFound\r\n")),
        ("429, for a day", Odd::Status(429, "retry-after: 86400\r\n")),
        ("to a file", Odd::Elsewhere("file:///etc/passwd".to_owned())),
    ];
    let place = Place::simple(&lines(0, 50));
    place.lock();
    let mut told = String::new();
    for (name, odd) in cases {
        place.hub.misbehave("datasets/o/d", DATA, "words.jsonl", &[odd]);
        let ran = place.fmflow(&["run", "far.kdl", "--until", "short/words"]);
        let lines = ran.stderr.lines().skip_while(|line| !line.starts_with("error"));
        told += &format!("=== {name}: exit {}\n{}\n", ran.code, lines.collect::<Vec<_>>().join("\n"));
    }
    insta::assert_snapshot!(told);
    // Nothing of all this stays: a hub that behaves is enough.
    place.hub.misbehave(
        "datasets/o/d",
        DATA,
        "words.jsonl",
        &[Odd::Status(503, ""), Odd::Status(429, "retry-after: 1\r\n")],
    );
    place
        .fmflow(&["run", "far.kdl", "--until", "short/words"])
        .ok()
        .says("the hub asks to wait 1 s (HTTP 429)");
}

#[test]
fn a_redirect_takes_no_token_to_another_host() {
    let place = Place::simple(&lines(0, 50));
    place.lock();
    let other = Server::start();
    other.place("/blob", lines(0, 50).as_bytes());
    place.hub.misbehave(
        "datasets/o/d",
        DATA,
        "words.jsonl",
        &[Odd::Elsewhere(format!("{}/blob", other.address))],
    );
    place.fmflow(&["run", "far.kdl", "--until", "short/words"]).ok();
    assert_eq!(other.asked(), [("/blob".to_owned(), None)]);
    let here = place.hub.asked();
    assert!(here.iter().all(|(_, token)| token.as_deref() == Some(&*format!("Bearer {CANARY}"))), "{here:?}");
}

#[test]
fn a_token_comes_from_the_file_of_a_login_and_only_if_it_is_declared() {
    let place = Place::simple(&lines(0, 50));
    place.project.write("hf/token", &format!("{CANARY}\n"));
    place.run(place.command(&["check", "far.kdl", "--lock"]).env_remove("HF_TOKEN")).ok();
    place.run(place.command(&["run", "far.kdl", "--until", "base"]).env_remove("HF_TOKEN")).ok();
    let bearer = Some(format!("Bearer {CANARY}"));
    assert!(place.hub.asked().iter().all(|(_, token)| *token == bearer), "{:?}", place.hub.asked());
    place.project.edit("far.kdl", "secret \"HF_TOKEN\"\n", "");
    place.hub.forget();
    place.fmflow(&["run", "far.kdl", "--until", "short/words"]).ok();
    assert!(place.hub.asked().iter().all(|(_, token)| token.is_none()), "{:?}", place.hub.asked());
}

#[test]
fn the_cache_of_other_tools_is_used_after_it_was_verified() {
    let place = Place::simple(&lines(0, 50));
    let lock = place.lock();
    let hash = lock.lines().find(|line| line.contains("words.jsonl")).unwrap();
    let hash = hash.split("sha256=\"").nth(1).unwrap().trim_end_matches('"');
    let blob = format!("hf/hub/datasets--o--d/blobs/{hash}");
    let damaged = lines(0, 50).replacen("river", "ravine", 1).replacen("noon", "non", 1);
    assert_eq!(damaged.len(), lines(0, 50).len());
    place.project.write(&blob, &damaged);
    for name in fs::read_dir(place.project.path().join("local")).unwrap() {
        let from = name.unwrap().path();
        let to = place.project.path().join(format!("hf/hub/models--o--m/snapshots/{MODEL}"));
        fs::create_dir_all(&to).unwrap();
        fs::copy(&from, to.join(from.file_name().unwrap())).unwrap();
    }
    let arguments = ["run", "far.kdl", "--until", "short/words"];
    let ran = place.run(place.command(&arguments).env("HF_HUB_OFFLINE", "1")).exits(1);
    ran.says("is not used: its content is another")
        .says("`HF_HUB_OFFLINE` is set")
        .says("help: unset `HF_HUB_OFFLINE`");
    assert!(place.hub.asked().is_empty(), "the checkpoint came from the cache: {:?}", place.hub.asked());
    place.run(place.command(&["check", "far.kdl", "--lock"]).env("HF_HUB_OFFLINE", "1")).exits(2);
    place.project.write(&blob, &lines(0, 50));
    place.run(place.command(&arguments).env("HF_HUB_OFFLINE", "1")).ok();
    assert!(place.hub.asked().is_empty());
    assert_eq!(
        fs::read_to_string(place.project.path().join(&blob)).unwrap(),
        lines(0, 50),
        "it is only read"
    );
}

#[test]
fn the_converted_branch_is_used_where_nothing_else_can_be_read_and_said() {
    let place = Place::simple(&lines(0, 50));
    place.hub.publish("datasets/o/d", "", DATA, &[small("loader.py", "import os"), large("data.tar", "x")]);
    let converted = "c".repeat(40);
    place.hub.publish(
        "datasets/o/d",
        "refs/convert/parquet",
        &converted,
        &[large("default/train/0000.parquet", "PAR1")],
    );
    place.hub.publish("datasets/o/d", "", DATA, &[small("loader.py", "import os"), large("data.tar", "x")]);
    let lock = place.lock();
    insta::assert_snapshot!("converted", hide_hashes(&lock[lock.find("dataset").unwrap()..]));
}

/// Everything but downloads and `check --online` works where there is no network at all.
#[test]
fn a_pipeline_of_files_needs_no_network() {
    let able = Command::new("unshare").args(["-rn", "true"]).status().is_ok_and(|status| status.success());
    let project = Project::tiny();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(if able { "unshare" } else { "env" });
        let program = Path::new(env!("CARGO_BIN_EXE_fmflow"));
        // Where namespaces are not allowed, a proxy that refuses must do.
        command.args(if able { &["-rn"][..] } else { &["HTTPS_PROXY=http://127.0.0.1:1"][..] });
        command.arg(program).args(arguments).current_dir(project.path()).stdin(Stdio::null());
        Ran::from(command.output().unwrap())
    };
    for command in
        [&["check", "tiny.kdl"][..], &["plan", "tiny.kdl"], &["run", "tiny.kdl"], &["status", "tiny.kdl"]]
    {
        run(command).ok();
    }
}

//! A pretended hub: what is reported, what is pinned, what stays.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::*;
use crate::check::{self, CheckOptions, CheckResult};
use crate::pipeline::repository::RepositoryKind;
use crate::store::vfs::Disk;
use crate::text::render::{DrawingStyle, render_concise_lines, render_drawings};

/// A hub in memory: repositories by `model NAME REVISION` or `dataset NAME REVISION`.
#[derive(Default)]
struct Pretend {
    commits: BTreeMap<String, Result<String, HubError>>,
    files: Vec<PinnedFile>,
    columns: BTreeMap<String, Result<SubsetColumns, HubError>>,
    asked: RefCell<Vec<String>>,
}

impl Hub for Pretend {
    fn address(&self) -> &str {
        "https://hub.test"
    }

    fn commit(&self, asked: &RepositoryRequest, _: Option<&Secret>) -> Result<String, HubError> {
        self.asked.borrow_mut().push(format!("commit {asked}"));
        self.commits.get(&asked.to_string()).cloned().unwrap_or(Err(HubError::NoRepository))
    }

    fn files(
        &self,
        asked: &RepositoryRequest,
        commit: &str,
        _: Option<&Secret>,
    ) -> Result<Vec<PinnedFile>, HubError> {
        self.asked.borrow_mut().push(format!("files {asked} {}", &commit[..4]));
        let of_model = |path: &str| path.ends_with(".json") || path.ends_with(".safetensors");
        let data = asked.kind == RepositoryKind::Dataset;
        let files = self.files.iter().filter(|file| !(data && of_model(&file.path)));
        if commit.starts_with("dead") { Err(HubError::NoRevision) } else { Ok(files.cloned().collect()) }
    }

    fn card(
        &self,
        asked: &RepositoryRequest,
        _: &str,
        _: Option<&Secret>,
    ) -> Result<Vec<CardSubset>, HubError> {
        self.asked.borrow_mut().push(format!("card {asked}"));
        Ok(Vec::new())
    }

    fn columns(&self, dataset: &str, _: Option<&Secret>) -> Result<SubsetColumns, HubError> {
        self.asked.borrow_mut().push(format!("columns {dataset}"));
        self.columns.get(dataset).cloned().unwrap_or_else(|| Ok(columns(&[("default", &["text"])])))
    }
}

fn columns(subsets: &[(&str, &[&str])]) -> SubsetColumns {
    let of = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    subsets.iter().map(|(subset, names)| ((*subset).to_owned(), of(names))).collect()
}

fn file(path: &str) -> PinnedFile {
    PinnedFile { path: path.to_owned(), size: 10, sha256: None, blob: Some("0f".repeat(20)) }
}

fn commit(digit: char) -> String {
    digit.to_string().repeat(40)
}

impl Pretend {
    /// A hub on which everything that [`TEXT`] names is in order.
    fn sound() -> Self {
        let names = ["README.md", "config.json", "model.safetensors", "tokenizer.json", "data/a.parquet"];
        let mut hub = Self { files: names.map(file).to_vec(), ..Self::default() };
        hub.commits.insert("model o/m main".to_owned(), Ok(commit('a')));
        hub.commits.insert("dataset o/d".to_owned(), Ok(commit('b')));
        hub
    }

    fn with(mut self, asked: &str, answer: Result<String, HubError>) -> Self {
        self.commits.insert(asked.to_owned(), answer);
        self
    }

    fn with_columns(mut self, answer: Result<SubsetColumns, HubError>) -> Self {
        self.columns.insert("o/d".to_owned(), answer);
        self
    }
}

const TEXT: &str = r#"pipeline "far" seed=1
fetch "base" from="hf:o/m" revision="main"
dataset "words" from="hf:o/d"
dataset "again" from="hf:o/d" files="data/*.parquet"
mixture "all" { dataset "words"; dataset "again" }
rows "short" tokenizer="base" length=8 packing="concat"
train "on" from="base" {
    data rows="short" mixture="all"
    objective "autoregressive"
    attention "causal"
    batch rows=4
    steps 10
    learning-rate peak=1e-3 final=1e-4 shape="cosine"
}
"#;

/// A pipeline in a folder of its own.
struct Place(tempfile::TempDir);

impl Place {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("far.kdl"), text).unwrap();
        Self(folder)
    }

    fn path(&self) -> std::path::PathBuf {
        self.0.path().join("far.kdl")
    }

    fn ask(&self, hub: &Pretend, update: bool) -> (CheckResult, LockResolution) {
        check::check_online(&self.path(), &CheckOptions::default(), hub, update)
    }

    /// The diagnostics of an online check, without those that every offline check gives and without the folder's path.
    fn reports(&self, hub: &Pretend) -> String {
        let (checked, _) = self.ask(hub, false);
        let offline = ["not-supported-yet"];
        let found = checked.diagnostics.into_iter().filter(|found| !offline.contains(&found.code.name()));
        let drawn = render_drawings(&found.collect::<Vec<_>>(), DrawingStyle::PLAIN);
        drawn.replace(&format!("{}/", self.0.path().display()), "")
    }

    /// Asks, and writes the lock file if nothing is wrong.
    fn lock(&self, hub: &Pretend, update: bool) -> LockResolution {
        let (checked, resolution) = self.ask(hub, update);
        assert!(checked.pipeline.is_some(), "{}", render_concise_lines(&checked.diagnostics));
        resolution.lock.write(&Disk, &crate::hub::lockfile::to_lockfile_path(&self.path())).unwrap();
        resolution
    }

    fn text(&self) -> String {
        std::fs::read_to_string(crate::hub::lockfile::to_lockfile_path(&self.path())).unwrap()
    }

    fn offline(&self) -> CheckResult {
        check::check_path(&self.path(), &CheckOptions::default())
    }
}

#[test]
fn what_is_in_order_is_pinned_without_a_word() {
    let (place, hub) = (Place::new(TEXT), Pretend::sound());
    assert_eq!(place.reports(&hub), "");
    let resolution = place.lock(&hub, false);
    assert!(resolution.changed);
    insta::assert_snapshot!(place.text());
    let asked = ["commit model o/m main", "files model o/m main aaaa", "commit dataset o/d"];
    let asked = [&asked[..], &["files dataset o/d bbbb", "card dataset o/d", "columns o/d"]].concat();
    assert_eq!(hub.asked.borrow()[..6], asked, "each is asked once");
}

#[test]
fn a_pinned_pipeline_checks_offline_and_takes_the_commit_into_its_fingerprint() {
    let place = Place::new(TEXT);
    let unpinned = render_concise_lines(&place.offline().diagnostics);
    assert!(unpinned.contains("warning[unpinned-revision]"), "{unpinned}");
    place.lock(&Pretend::sound(), false);
    let checked = place.offline();
    let reported = render_concise_lines(&checked.diagnostics);
    assert!(!reported.contains("unpinned-revision"), "{reported}");
    let pipeline = checked.pipeline.unwrap();
    let revision = |stage: &str, path: &str| {
        let fields = &pipeline.stage_named(stage).unwrap().fields;
        let field = fields.iter().find(|field| field.path == path).unwrap();
        assert!(field.semantic && field.origin == crate::text::place::Origin::Lock);
        field.value.as_str().unwrap().to_owned()
    };
    assert_eq!(revision("base", "revision"), commit('a'));
    assert_eq!(revision("short/words", "dataset.revision"), commit('b'));
    let pinned: Vec<_> = pipeline.pins.iter().map(|pin| pin.asked.to_string()).collect();
    assert_eq!(pinned, ["model o/m main", "dataset o/d"]);
}

#[test]
fn pins_stay_until_they_are_updated() {
    let place = Place::new(TEXT);
    place.lock(&Pretend::sound(), false);
    let before = place.text();
    let moved = Pretend::sound().with("model o/m main", Ok(commit('c')));
    let kept = place.lock(&moved, false);
    assert!(!kept.changed && place.text() == before);
    assert_eq!(kept.changes[0].head.as_deref(), Some(commit('c').as_str()));
    let updated = place.lock(&moved, true);
    let change = &updated.changes[0];
    assert!(updated.changed && place.text() != before);
    assert_eq!((change.old.clone(), change.new.clone()), (Some(commit('a')), Some(commit('c'))));
    assert_eq!(place.lock(&moved, true).changes[0].head, None);
}

#[test]
fn another_revision_is_another_pin_and_the_old_one_goes() {
    let place = Place::new(TEXT);
    place.lock(&Pretend::sound(), false);
    std::fs::write(place.path(), TEXT.replace("revision=\"main\"", "revision=\"v2\"")).unwrap();
    let reported = render_concise_lines(&place.offline().diagnostics);
    assert!(
        reported.contains("warning[lock-stale]") && reported.contains("warning[unpinned-revision]"),
        "{reported}"
    );
    let hub = Pretend::sound().with("model o/m v2", Ok(commit('d')));
    let resolution = place.lock(&hub, false);
    let gone: Vec<_> = resolution.changes.iter().filter(|change| change.new.is_none()).collect();
    assert_eq!(gone.len(), 1);
    assert!(!place.text().contains("main"), "{}", place.text());
    assert!(!render_concise_lines(&place.offline().diagnostics).contains("lock-stale"));
}

#[test]
fn every_trouble_is_told_at_its_place_with_a_cure() {
    let model = |error| Pretend::sound().with("model o/m main", Err(error));
    let data = |answer| Pretend::sound().with_columns(answer);
    let mut bare = Pretend::sound();
    bare.files = vec![file("pytorch_model.bin"), file("data/train.parquet/0")];
    let cases = [
        ("no such repository", model(HubError::NoRepository)),
        ("a dataset is fetched", model(HubError::NoRepository).with("dataset o/m", Ok(commit('e')))),
        ("no such revision", model(HubError::NoRevision)),
        ("gated", model(HubError::Gated)),
        ("refused", model(HubError::Refused("disabled by\u{1b}[31m its\nowner".to_owned()))),
        ("silent", model(HubError::Unreachable("connection refused".to_owned()))),
        ("files", bare),
        ("no column", data(Ok(columns(&[("default", &["texts", "id"])])))),
        ("no subset", data(Ok(columns(&[("de", &["text"]), ("en", &["text"])])))),
        ("no columns", data(Err(HubError::Unreachable("timed out".to_owned())))),
    ];
    let mut reported = String::new();
    for (name, hub) in cases {
        reported += &format!("=== {name}\n\n{}", Place::new(TEXT).reports(&hub));
    }
    insta::assert_snapshot!(reported);
}

#[test]
fn a_commit_that_is_gone_is_told_and_replaced_on_request() {
    let place = Place::new(TEXT);
    place.lock(&Pretend::sound().with("model o/m main", Ok(commit('a'))), false);
    let text = place.text().replace(&commit('a'), &"dead".repeat(10));
    std::fs::write(crate::hub::lockfile::to_lockfile_path(&place.path()), text).unwrap();
    let reported = render_concise_lines(&place.ask(&Pretend::sound(), false).0.diagnostics);
    insta::assert_snapshot!(reported.replace(&format!("{}/", place.0.path().display()), ""));
    assert!(place.lock(&Pretend::sound(), true).changed);
}

#[test]
fn a_damaged_lock_file_is_not_overwritten() {
    let place = Place::new(TEXT);
    std::fs::write(crate::hub::lockfile::to_lockfile_path(&place.path()), "pipeline \"mine\"\n").unwrap();
    let (checked, _) = place.ask(&Pretend::sound(), false);
    assert!(checked.pipeline.is_none(), "nothing is written for a pipeline with errors");
}

#[test]
fn addresses_that_are_none_are_refused_offline() {
    let mut reported = String::new();
    for address in [
        "hf:",
        "hf:a/b/c",
        "hf:o/m@v2",
        "hf://datasets/o/m",
        "hf:o m/x",
        "hf:https://hub.test/datasets/o/m/tree/main",
        "hf:datasets/o/m",
    ] {
        let place = Place::new(&TEXT.replace("hf:o/m", address));
        let found = place.offline().diagnostics;
        let found: Vec<_> = found
            .into_iter()
            .filter(|found| found.code == crate::text::diagnostic::Code::WrongType)
            .collect();
        reported += &render_concise_lines(&found).replace(&format!("{}/", place.0.path().display()), "");
    }
    insta::assert_snapshot!(reported);
    let local = TEXT.replace("hf:o/m", "folder");
    let reported = render_concise_lines(&Place::new(&local).offline().diagnostics);
    assert!(
        reported.contains("error[field-does-not-apply]: `revision` belongs to a repository"),
        "{reported}"
    );
}

#[test]
fn a_secret_never_shows_its_value() {
    assert_eq!(format!("{:?}", Secret::new("hf_canary".to_owned())), "Secret(..)");
}

#[test]
fn kinds_have_their_words() {
    assert_eq!(RepositoryKind::ALL.map(RepositoryKind::word), ["model", "dataset"]);
}

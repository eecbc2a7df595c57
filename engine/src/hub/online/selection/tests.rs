//! Layouts of datasets: what a card, folders and names of files select.

use super::*;

fn files(paths: &[&str]) -> Vec<PinnedFile> {
    let file = |path: &&str| PinnedFile { path: (*path).to_owned(), size: 1, sha256: None, blob: None };
    paths.iter().map(file).collect()
}

fn asked(subset: Option<&str>, split: Option<&str>, files: Option<&str>) -> SelectionRequest {
    let own = |text: Option<&str>| text.map(str::to_owned);
    SelectionRequest { subset: own(subset), split: own(split), files: own(files) }
}

/// The chosen paths, or the message and the help.
fn choose(layout: &Layout, request: &SelectionRequest) -> Result<Vec<String>, String> {
    let found = choose_files("o/d", request, layout);
    let found = found.map_err(|fault| format!("{} ({})", fault.message, fault.help.unwrap_or_default()));
    Ok(found?.files.into_iter().map(|file| file.path).collect())
}

fn card(name: &str, default: bool, files: &[(&str, &[&str])]) -> CardSubset {
    let split = |(split, patterns): &(&str, &[&str])| {
        ((*split).to_owned(), patterns.iter().map(|pattern| (*pattern).to_owned()).collect())
    };
    CardSubset {
        name: name.to_owned(),
        default,
        folder: String::new(),
        files: files.iter().map(split).collect(),
    }
}

#[test]
fn splits_are_found_in_names_as_the_datasets_library_finds_them() {
    // Each with the files of `train`, as `load_dataset(...)["train"]` reads them.
    let cases: [(&[&str], &[&str]); 7] = [
        (&["a.jsonl", "b.jsonl"], &["a.jsonl", "b.jsonl"]),
        (&["train.jsonl", "test.jsonl"], &["train.jsonl"]),
        (&["train/a.jsonl", "dev/a.jsonl"], &["train/a.jsonl"]),
        (
            &["data/train-00000-of-00001.parquet", "data/all-00000-of-00001.parquet"],
            &["data/train-00000-of-00001.parquet"],
        ),
        (&["my_training_2.jsonl", "my_valid.jsonl"], &["my_training_2.jsonl"]),
        (&["trainer.jsonl"], &["trainer.jsonl"]),
        (&[".cache/a.jsonl", "__x/b.jsonl", "README.md", "dataset_infos.json", "c.jsonl"], &["c.jsonl"]),
    ];
    for (all, train) in cases {
        let layout = lay_out_folders(None, &files(all));
        assert_eq!(choose(&layout, &asked(None, None, None)).unwrap(), train, "{all:?}");
    }
}

#[test]
fn a_split_that_is_not_there_is_told_with_those_that_are() {
    let layout = lay_out_folders(None, &files(&["test.jsonl", "dev.jsonl"]));
    insta::assert_snapshot!(choose(&layout, &asked(None, None, None)).unwrap_err(), @"`o/d` has no split `train` (write `split=\"...\"`, one of `validation`, `test`)");
    assert_eq!(choose(&layout, &asked(None, Some("test"), None)).unwrap(), ["test.jsonl"]);
}

#[test]
fn a_subset_is_what_the_card_declares() {
    let all = files(&["README.md", "en/a-2.jsonl", "en/a-1.jsonl", "de/a.jsonl", "de/test.jsonl"]);
    let two = [
        card("en", true, &[("train", &["en/*"])]),
        card("de", false, &[("train", &["de/a.jsonl"]), ("test", &["de/test.jsonl"])]),
    ];
    let layout = lay_out_card(&two, &all).unwrap();
    assert_eq!(choose(&layout, &asked(None, None, None)).unwrap(), ["en/a-1.jsonl", "en/a-2.jsonl"]);
    assert_eq!(choose(&layout, &asked(Some("de"), Some("test"), None)).unwrap(), ["de/test.jsonl"]);
    assert_eq!(choose(&layout, &asked(Some("en"), None, Some("**/*-2.jsonl"))).unwrap(), ["en/a-2.jsonl"]);
    insta::assert_snapshot!(choose(&layout, &asked(Some("fr"), None, None)).unwrap_err(), @"`o/d` has no subset `fr` (allowed here: `en`, `de`)");
    let none = [card("en", false, &[("train", &["en/*"])]), card("de", false, &[])];
    insta::assert_snapshot!(choose(&lay_out_card(&none, &all).unwrap(), &asked(None, None, None)).unwrap_err(), @"`o/d` has 2 subsets, but none is chosen (add `subset=\"...\"`, one of `en`, `de`)");
    let broken = [card("en", true, &[("train", &["en/a-1.jsonl", "en/**.jsonl"])])];
    let Err(HubError::BadCard(why)) = lay_out_card(&broken, &all) else {
        panic!("a file would be left out unseen")
    };
    assert!(why.starts_with("subset `en`: `en/**.jsonl` is no pattern: "), "{why}");
}

#[test]
fn without_a_card_a_subset_is_a_folder() {
    let all = files(&[
        "data/python/1.parquet",
        "data/python/0.parquet",
        "data/c/0.parquet",
        "de/train.jsonl",
        "de/test.jsonl",
    ]);
    let of = |subset| choose(&lay_out_folders(Some(subset), &all), &asked(Some(subset), None, None));
    assert_eq!(of("python").unwrap(), ["data/python/0.parquet", "data/python/1.parquet"]);
    assert_eq!(of("de").unwrap(), ["de/train.jsonl"]);
    assert!(of("fr").unwrap_err().starts_with("`o/d` has no subset `fr`"));
}

#[test]
fn files_of_several_kinds_are_not_read_as_one() {
    let layout = lay_out_folders(None, &files(&["a.jsonl", "b.parquet", "c.jsonl.zst"]));
    insta::assert_snapshot!(choose(&layout, &asked(None, None, None)).unwrap_err(), @"the files of `o/d` are of several kinds: 2 of jsonl, 1 of parquet (choose those of one kind, such as `files=\"**/*.parquet\"`)");
}

#[test]
fn the_converted_branch_says_what_is_only_a_part() {
    let all = files(&[
        "default/train/0000.parquet",
        "default/train/0001.parquet",
        "big/partial-train/0000.parquet",
    ]);
    let layout = lay_out_converted("c".repeat(40), &all);
    let found =
        choose_files("o/d", &asked(None, None, None), &layout).map_err(|fault| fault.message).unwrap();
    assert_eq!(
        (found.by.as_str(), found.files.len(), found.commit),
        ("parquet-branch", 2, Some("c".repeat(40)))
    );
    insta::assert_snapshot!(choose(&layout, &asked(Some("big"), None, None)).unwrap_err(), @"the hub has converted only the first part of split `train` of `o/d` (write `split=\"partial-train\"` to read that part)");
    assert_eq!(choose(&layout, &asked(Some("big"), Some("partial-train"), None)).unwrap().len(), 1);
}

#[test]
fn a_list_that_no_lock_file_holds_is_refused() {
    let names: Vec<String> = (0..=MOST_SELECTED).map(|at| format!("{at}.jsonl")).collect();
    let all = files(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let why = choose(&lay_out_folders(None, &all), &asked(None, None, None)).unwrap_err();
    assert!(why.starts_with("200001 files of `o/d` are chosen, but a lock file holds 200000"), "{why}");
}

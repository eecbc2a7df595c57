//! `fmflow report`: one page about a pipeline or a run, in every state that a store can be in.

#![cfg(feature = "cpu")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::Project;
use crate::run::wait_for_checkpoint;

/// Words that would act on a page, in KDL.
const HOSTILE: &str = r"</title><script>alert('x')</script><img src=x>&amp;\u{202e}";

fn report(project: &Project, arguments: &[&str]) -> String {
    project.fmflow(&[&["report"], arguments].concat()).ok();
    fs::read_to_string(project.path().join("report.html")).unwrap()
}

/// The elements of a page, checked: each is closed in order, and attributes have quotes. Returns names and texts of attributes.
fn parse_page(page: &str) -> Vec<(String, String)> {
    let (mut open, mut found) = (Vec::new(), Vec::new());
    let body = page.strip_prefix("<!DOCTYPE html>").expect("a page says what it is");
    let mut rest = body;
    while let Some(start) = rest.find('<') {
        assert!(!rest[..start].contains('>'), "a stray > in {:?}", &rest[..start]);
        let end = start + rest[start..].find('>').expect("a tag ends");
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "elements are closed in order");
            continue;
        }
        let name = tag.split([' ', '/']).next().unwrap().to_owned();
        found.push((name.clone(), tag.to_owned()));
        assert!(tag.matches('"').count().is_multiple_of(2), "{tag}");
        if name == "style" {
            let end = rest.find("</style>").unwrap();
            rest = &rest[end..];
        }
        if !tag.ends_with('/') {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?}");
    found
}

/// Asserts that a page is well-formed, loads nothing and runs nothing.
#[track_caller]
fn assert_self_contained(page: &str) {
    for (name, tag) in parse_page(page) {
        let loads = ["script", "link", "img", "iframe", "object", "embed", "base", "form", "image", "use"];
        assert!(!loads.contains(&name.as_str()), "<{tag}>");
        for word in ["src=", "srcset=", "data=", "onload", "onclick", "onerror", "xlink"] {
            assert!(!tag.contains(word), "<{tag}>");
        }
        if let Some(target) = tag.split("href=\"").nth(1) {
            assert!(target.starts_with('#'), "<{tag}>");
            let id = format!("id=\"{}\"", target[1..].split('"').next().unwrap());
            assert!(page.contains(&id), "{id} is on the page");
        }
    }
    let style = page.split("<style>").nth(1).unwrap().split("</style>").next().unwrap();
    assert!(!style.contains("url(") && !style.contains("@import"));
    assert!(page.contains("default-src 'none'") && !page.contains('\u{202e}'));
}

/// The part of a page about a stage.
fn section<'a>(page: &'a str, stage: &str) -> &'a str {
    let head = format!("<div class=\"head\"><h3>{stage}</h3>");
    let at = page.find(&head).unwrap_or_else(|| panic!("{stage} is on the page"));
    page[at..].split("</section>").next().unwrap()
}

#[test]
fn a_finished_pipeline_has_its_page() {
    let project = Project::tiny();
    let probed = "    attention \"bidirectional\"\n    probe every=20 sampler=\"parallel\" { chat \"first: a b c\"; exact-match dataset=\"tasks\" }\n";
    project.edit("tiny.kdl", "    attention \"bidirectional\"\n", probed);
    let before = report(&project, &["tiny.kdl"]);
    assert_self_contained(&before);
    assert!(before.contains("Nothing was trained or measured yet"), "{before}");
    assert_eq!(
        before.matches("<span class=\"chip missing\">").count(),
        2 * 10,
        "in the list and in the parts"
    );

    project.fmflow(&["run", "tiny.kdl"]).ok();
    let ran = project.fmflow(&["report", "tiny.kdl"]).ok();
    assert!(ran.stdout.starts_with("report.html: 10 stages, "), "{}", ran.stdout);
    let page = report(&project, &["tiny.kdl"]);
    assert_self_contained(&page);
    assert_eq!(page.matches("<span class=\"chip finished\">").count(), 2 * 10);
    assert!(page.contains("<dd>10 of 10</dd>") && page.contains("ended well"), "{page}");

    let ar = section(&page, "ar");
    for title in [
        "Training loss",
        "Held-out loss",
        "Learning rate",
        "Gradient norm",
        "Tokens per second",
        "Data wait",
        "Peak memory",
    ] {
        assert!(ar.contains(&format!("<figcaption>{title}<span>")), "{title}");
    }
    assert!(!ar.contains("Loss by time"), "an autoregressive loss has no times");
    assert!(!ar.contains("MFU"), "nobody knows the peak of a processor");
    assert!(
        ar.contains(">planned</text>") && ar.contains(">real</text>") && ar.contains(">embedding</text>")
    );
    assert!(ar.contains("learning rate beside its schedule</td><td class=\"words\"><strong>equal</strong>"));
    assert!(ar.contains("<td class=\"number\">100.0 %</td>"), "the mixture: {ar}");
    let sft = section(&page, "sft");
    assert!(sft.contains("<figcaption>Loss by time<span>") && sft.contains("Exact match of probes"));
    assert!(sft.contains("<summary>after update 40</summary>") && sft.contains("<pre>first: a b c</pre>"));
    let answers = section(&page, "answers");
    assert!(answers.contains("<h4>exact match on tasks</h4>") && answers.contains("class=\"interval\""));
    assert!(section(&page, "likelihood").contains("held-out loss on text, nats per token"));
    let flow = section(&page, "flow");
    assert!(
        flow.contains("<h4>Certificate</h4>") && flow.contains("the same logits, no difference"),
        "{flow}"
    );
    assert!(section(&page, "samples").contains("<pre>first: a b c</pre>"));
    let settings = page.split("id=\"settings\"").nth(1).unwrap();
    let row = "<code>learning-rate.peak</code></td><td><code>0.002</code></td><td class=\"soft words\">tiny.kdl:30:24, recipe `common`";
    assert!(settings.contains(row), "{settings}");
    assert!(settings.contains("default, changes no result"));
    assert!(page.contains("<dt>device of the run</dt><dd>cpu</dd>"));

    let answer = project.fmflow(&["report", "tiny.kdl", "--json"]).ok().stdout;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((&answer["schema"], &answer["stages"]), (&"fmflow.report/1".into(), &10.into()));
    assert!(answer["checks"].as_u64().unwrap() > answer["worries"].as_u64().unwrap());
}

#[test]
fn a_page_is_a_stage_too() {
    let project = Project::tiny();
    project.append("tiny.kdl", "report \"some\" { of \"flow\" }\nreport \"all\"\n");
    let read = |stage: &str| fs::read_to_string(project.artifact(stage).join("report.html")).unwrap();
    let ran = project.fmflow(&["run", "tiny.kdl", "--until", "some"]).ok();
    ran.says("some").says("5 stages, ");
    let some = read("some");
    assert_self_contained(&some);
    // The conversion and what it depends on, through rows, which no report names.
    for stage in ["bpe", "tiny", "ar", "flow"] {
        assert!(some.contains(&format!("<h3>{stage}</h3>")), "{stage}");
    }
    assert!(some.contains("text&#x2f;text"));
    assert_eq!(some.matches("<span class=\"chip finished\">").count(), 2 * 5);
    assert!(!some.contains("<h3>sft</h3>") && !some.contains("<h3>some</h3>"));
    project.fmflow(&["run", "tiny.kdl"]).ok();
    let all = read("all");
    assert_self_contained(&all);
    assert!(section(&all, "answers").contains("<h4>exact match on tasks</h4>"));
    assert_eq!(all.matches("<span class=\"chip finished\">").count(), 2 * 10);
    assert_eq!(read("some"), some, "what it is about has not changed");
    project.fmflow(&["verify", project.artifact("all").to_str().unwrap()]).ok();
    // What changes behind a page makes it again, and nothing else does.
    project.fmflow(&["run", "tiny.kdl"]).ok().says("nothing to do");
    project.edit("tiny.kdl", "seed=3", "seed=4");
    project.fmflow(&["plan", "tiny.kdl", "--until", "some", "--check"]).exits(3);
    project.fmflow(&["run", "--smoke", "tiny.kdl", "--until", "all"]).ok().says("all");
    project.edit("tiny.kdl", "seed=4", "seed=3");
    // A page shows nothing that is damaged, also where a stage behind its inputs is.
    let summary = project.artifact("ar").join("summary.json");
    let text = fs::read_to_string(&summary).unwrap();
    fs::remove_file(&summary).unwrap();
    fs::write(&summary, text.replace("held-out", "held-our")).unwrap();
    project.fmflow(&["run", "tiny.kdl", "--from", "some", "--until", "some"]).exits(4).says("summary.json");
    project.fmflow(&["run", "tiny.kdl", "--from", "ar", "--until", "some"]).ok();
    project.edit("tiny.kdl", "of \"flow\"", "of \"nothing\"");
    project.fmflow(&["check", "tiny.kdl"]).exits(2).says("nothing");
    // A stage without a name is an error of its own, also beside a page about all.
    project.edit("tiny.kdl", "convert \"flow\"", "convert \"f l\"");
    project.fmflow(&["check", "tiny.kdl"]).exits(2).says("invalid-name");
}

#[test]
fn words_of_others_are_words_on_the_page() {
    let project = Project::tiny();
    project.edit("tiny.kdl", "chat \"first: a b c\"", &format!("chat \"{HOSTILE}\""));
    project.fmflow(&["run", "tiny.kdl"]).ok();
    let page = report(&project, &["tiny.kdl"]);
    assert_self_contained(&page);
    let safe = "&lt;script&gt;alert(&#x27;x&#x27;)&lt;&#x2f;script&gt;&lt;img src=x&gt;&amp;amp;\\u{202e}";
    assert!(page.matches(safe).count() >= 2, "the sample and the setting: {page}");
}

fn wait_until(what: &str, done: impl FnMut() -> bool) {
    let (start, mut done) = (Instant::now(), done);
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(120), "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_run_in_progress_and_a_failed_stage_are_told() {
    let project = Project::tiny();
    project.edit("tiny.kdl", "    steps 40\n}\n\nconvert", "    steps 4000\n}\n\nconvert");
    let mut child = project.spawn(&["run", "tiny.kdl"]);
    wait_for_checkpoint(&project, "ar");
    let page = report(&project, &["tiny.kdl"]);
    let status = project.fmflow(&["status", "tiny.kdl"]).ok().stdout;
    let mut follower = project.spawn(&["report", "tiny.kdl", "--follow", "-o", "live.html"]);
    let live = || fs::read_to_string(project.path().join("live.html")).unwrap_or_default();
    wait_until("the page is written", || live().contains("<meta http-equiv=\"refresh\" content=\"10\"/>"));
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until("the follower ends after the run", || follower.try_wait().unwrap().is_some());
    assert!(follower.wait().unwrap().success());
    assert!(live().contains("was killed") && !live().contains("http-equiv=\"refresh\""));
    assert_self_contained(&page);
    assert!(status.contains("running"), "{status}");
    let ar = section(&page, "ar");
    assert!(
        ar.contains("chip running") && ar.contains(" of 4000</p>") && ar.contains("Training loss"),
        "{ar}"
    );
    assert!(page.contains("is in progress"));
    let killed = report(&project, &["tiny.kdl"]);
    let ar = section(&killed, "ar");
    assert!(
        killed.contains("was killed")
            && ar.contains("chip unfinished")
            && ar.contains("continues after update"),
        "{ar}"
    );

    project.edit("tiny.kdl", "steps 4000", "steps 40");
    project.edit(
        "tiny.kdl",
        "sampler=\"parallel\" }\n\ngenerate",
        "sampler=\"parallel\"; require \"sft\" at-least=1.0 }\n\ngenerate",
    );
    project.fmflow(&["run", "tiny.kdl"]).exits(1);
    let page = report(&project, &["tiny.kdl"]);
    assert_self_contained(&page);
    let answers = section(&page, "answers");
    assert!(answers.contains("chip failed") && answers.contains("exact match on tasks"), "{answers}");
    let worries = page.split("id=\"worries\"").nth(1).unwrap().split("</section>").next().unwrap();
    assert!(worries.contains(">bad</span>") && worries.contains(">answers</a>"), "{worries}");
}

#[test]
fn a_run_is_reported_as_it_was() {
    let project = Project::tiny();
    project.fmflow(&["report"]).exits(2).says("nothing was ever run in the store");
    project.fmflow(&["run", "tiny.kdl", "--until", "ar", "--set", "train.ar.steps=20"]).ok();
    let last = report(&project, &[]);
    assert!(last.contains("run 1 of tiny.kdl --set train.ar.steps=20"), "{last}");
    project.edit("tiny.kdl", "peak=2e-3", "peak=3e-3");
    let page = report(&project, &["1"]);
    assert_self_contained(&page);
    assert!(page.contains("the file has changed since this run: settings of ar, "), "{page}");
    let ar = section(&page, "ar");
    assert!(
        ar.contains("chip finished") && ar.contains("Training loss") && !ar.contains(">planned<"),
        "{ar}"
    );
    let settings = page.split("id=\"settings\"").nth(1).unwrap();
    assert!(settings.contains("<code>0.002</code>") && settings.contains("tiny.kdl:30:24"), "{settings}");
    project.fmflow(&["report", "7"]).exits(2).says("there is no record of run 7").says("fmflow log");
    project.fmflow(&["report", "1", "--set", "train.ar.steps=20"]).exits(2).says("does not go with a run");

    let path = project.path().join(".fmflow/runs/1.json");
    let record: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let mut record = record.as_object().unwrap().clone();
    record.remove("check");
    record.insert("schema".into(), "fmflow.run-record/9".into());
    fs::write(&path, serde_json::to_string(&record).unwrap()).unwrap();
    project.fmflow(&["report", "1"]).exits(2).says("is of another version of fmflow: `fmflow.run-record/9`");
}

#[test]
fn nothing_but_a_report_is_replaced() {
    let project = Project::tiny();
    project.write("notes.html", "mine");
    let said = "notes.html exists and is no report of fmflow; nothing is overwritten";
    project.fmflow(&["report", "tiny.kdl", "-o", "notes.html"]).exits(2).says(said);
    assert_eq!(fs::read_to_string(project.path().join("notes.html")).unwrap(), "mine");
    project.fmflow(&["report", "tiny.kdl", "-o", "no/such/folder.html"]).exits(2).says("-o");
    project.fmflow(&["report", "tiny.kdl", "-o", "-", "--json"]).exits(2);
    let page = project.fmflow(&["report", "tiny.kdl", "-o", "-"]).ok().stdout;
    assert_self_contained(&page);
    let names: Vec<_> =
        fs::read_dir(project.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().contains("report")), "{names:?}");
}

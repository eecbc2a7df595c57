//! `generate` and `chat` ask checkpoints for text: the same bytes as stages with the same requests, in folders and in stages.

#![cfg(feature = "cpu")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::sync::LazyLock;

use crate::common::{Project, Ran, send_signal};
use serde_json::Value;

/// Requests of a stage, with samplers that draw.
const STAGE: &str = r#"
sampler "drawn" kind="threshold" threshold=0.3 temperature=1 block=4
sampler "simulated" kind="euler" passes=4
sampler "next" kind="autoregressive" temperature=1
generate "more" from="sft" sampler="drawn" {
    prompt "The river" new-tokens=9
    chat "first: a b c" system="Be brief." { assistant "a"; user "last: a b c" }
    infill prefix="The " suffix=" end" length="2..6"
    infill prefix="" suffix=" end" length=4
    prompt "The river" sampler="simulated" new-tokens=5
    infill prefix="The " suffix=" end" length="3..5" sampler="simulated"
    infill prefix="The " suffix=" end" length=3 { gap after=" meets the " length=4 }
}
generate "ordered" from="ar" sampler="next" { prompt "The river" new-tokens=9 }
"#;

/// A project that has run once for all tests of this module.
static RAN: LazyLock<Project> = LazyLock::new(|| {
    let project = Project::tiny();
    project.append("tiny.kdl", STAGE);
    project.fmflow(&["run", "tiny.kdl", "--until", "more"]).ok();
    project.fmflow(&["run", "tiny.kdl", "--until", "ordered"]).ok();
    project
});

/// Samples that a stage wrote.
fn samples(stage: &str) -> Vec<Value> {
    RAN.json_lines(stage, "samples.jsonl")
}

fn generate(arguments: &[&str]) -> Ran {
    RAN.fmflow(&[&["generate"], arguments].concat())
}

fn answers(arguments: &[&str]) -> Value {
    serde_json::from_str(&generate(&[arguments, &["--json"]].concat()).ok().stdout).unwrap()
}

/// Runs `chat` with what is typed.
fn chat(arguments: &[&str], typed: &str) -> Ran {
    let mut command = RAN.command(&[&["chat"], arguments].concat());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
    child.wait_with_output().unwrap().into()
}

#[test]
fn the_command_gives_the_bytes_of_the_stage() {
    let turns = r#"[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "first: a b c"},
        {"role": "assistant", "content": "a"}, {"role": "user", "content": "last: a b c"}]"#;
    RAN.write("turns.json", turns);
    RAN.write("object.json", &format!("{{\"messages\": {turns}}}"));
    RAN.write("prompt.txt", "The river");
    let folder = RAN.artifact("sft");
    let folder = folder.to_str().unwrap();
    let described = ["--sampler", "threshold", "threshold=0.3", "temp=1", "block=4"];
    let requests: [(usize, &[&str]); 6] = [
        (0, &["--prompt", "The river", "--new-tokens", "9"]),
        (1, &["--turns", "turns.json"]),
        (2, &["--prefix", "The ", "--suffix", " end", "--length", "2..6"]),
        (3, &["--suffix", " end", "--length", "4"]),
        (0, &["--file", "prompt.txt", "--new-tokens", "9", "-n", "3"]),
        (1, &["--turns", "object.json"]),
    ];
    let written = samples("more");
    for (number, request) in requests {
        let sample = &written[number];
        let named = answers(&[&["tiny.kdl", "sft"], request, &["--sampler", "drawn"]].concat());
        let own = answers(&[&[folder, "--seed", "3"], request, &described].concat());
        for found in [named, own] {
            let answer = &found["answers"][0];
            for key in ["text", "raw", "tokens", "passes", "log_likelihood"] {
                assert_eq!(answer[key], sample[key], "{request:?} {key}\n{found:#}");
            }
            assert!(found["autoregressive_tokens_per_second"].as_f64().unwrap() > 0.0);
            let all = found["answers"].as_array().unwrap();
            assert_eq!(found["batch"], all.len());
        }
    }
    let simulated = ["--sampler", "euler", "passes=4", "--no-twin"];
    let found = answers(
        &[&["tiny.kdl", "sft", "--prompt", "The river", "--new-tokens", "5"][..], &simulated].concat(),
    );
    assert_eq!(found["answers"][0]["raw"], written[4]["raw"]);
    assert_eq!(found["autoregressive_tokens_per_second"], Value::Null);
    let ordered = ["tiny.kdl", "ar", "--prompt", "The river", "--new-tokens", "9", "--sampler", "next"];
    assert_eq!(answers(&ordered)["answers"][0]["raw"], samples("ordered")[0]["raw"]);
}

/// Nobody hears them before the last is written, so nothing could stop between them.
#[test]
fn the_first_signal_ends_several_answers() {
    let asked = ["generate", "tiny.kdl", "sft", "--prompt", "The river", "--new-tokens", "100", "-n", "4096"];
    let mut child = RAN.spawn(&[&asked[..], &["--sampler", "euler", "passes=200", "--no-twin"]].concat());
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert!(child.try_wait().unwrap().is_none(), "4,096 answers take longer than the test waits");
    send_signal(child.id(), "INT");
    let ended = (0..100).find_map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        child.try_wait().unwrap()
    });
    let ended = ended.unwrap_or_else(|| {
        child.kill().unwrap();
        panic!("the signal was not heard within 10 s")
    });
    assert_eq!(ended.signal(), Some(2));
}

#[test]
fn json_answers_have_the_documented_keys() {
    let told = include_str!("../../docs/commands.md");
    RAN.write("one.jsonl", "{\"question\": \"first: a b c\", \"answer\": \"a\"}\n");
    let bench =
        RAN.fmflow(&["bench", "generate", "tiny.kdl", "sft", "--questions", "one.jsonl", "--json"]).ok();
    let bench: Value = serde_json::from_str(&bench.stdout).unwrap();
    for answer in [answers(&["tiny.kdl", "sft", "--prompt", "The", "--no-twin"]), bench] {
        let own = answer.as_object().unwrap();
        let keys: Vec<_> = own.keys().filter(|key| *key != "schema").map(|key| format!("`{key}`")).collect();
        let line = told.split(&format!("(`{}`) with ", own["schema"].as_str().unwrap())).nth(1).unwrap();
        let listed = line.split([',', '.']).next().unwrap().split_whitespace().collect::<Vec<_>>();
        assert_eq!(listed, keys);
    }
}

#[test]
fn a_length_that_the_model_chose_is_in_its_range_and_likely() {
    for (number, range) in [(2, 2..=6), (5, 3..=5)] {
        let sample = &samples("more")[number];
        assert!(range.contains(&sample["tokens"].as_u64().unwrap()), "{sample}");
        assert!(sample["log_likelihood"].as_f64().unwrap() < 0.0, "{sample}");
        let text = sample["text"].as_str().unwrap();
        assert!(text.starts_with("The ") && text.ends_with(" end"), "{text}");
    }
    assert!(samples("more")[0].get("log_likelihood").is_none());
}

#[test]
fn plain_text_is_the_text_and_the_rest_is_told() {
    let asked = ["tiny.kdl", "sft", "--prompt", "The river", "--new-tokens", "9", "--sampler", "drawn"];
    let ran = generate(&asked).ok();
    assert_eq!(ran.stdout, format!("{}\n", samples("more")[0]["text"].as_str().unwrap()));
    assert!(ran.stderr.contains("a pass") && ran.stderr.contains("(batch 1, cpu, f32)"), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("with a cache:") && ran.stderr.contains("sampler: drawn; seed 3"),
        "{}",
        ran.stderr
    );
    // Without a sampler the default is told; it is that of the kind of checkpoint.
    let sft = generate(&["tiny.kdl", "sft", "--prompt", "The", "--no-twin"]).ok();
    assert!(sft.stderr.contains("sampler: threshold threshold=0.9; seed 3"), "{}", sft.stderr);
    let flow = generate(&["tiny.kdl", "flow", "--prompt", "The", "--no-twin"]).ok();
    assert!(
        flow.stderr.contains("threshold=0.9") && !flow.stderr.contains("with a cache:"),
        "{}",
        flow.stderr
    );
    let ar = generate(&["tiny.kdl", "ar", "--prompt", "The", "--no-twin"]).ok();
    assert!(ar.stderr.contains("sampler: autoregressive;"), "{}", ar.stderr);
}

#[test]
fn samples_differ_and_the_first_does_not_depend_on_their_number() {
    let asked =
        ["tiny.kdl", "sft", "--prompt", "The river", "--new-tokens", "9", "--sampler", "drawn", "--no-twin"];
    let (one, four) = (answers(&asked), answers(&[&asked[..], &["-n", "4"]].concat()));
    let (one, four) = (one["answers"].as_array().unwrap(), four["answers"].as_array().unwrap());
    assert_eq!((one.len(), four.len()), (1, 4));
    assert_eq!(one[0], four[0]);
    assert!(four[1..].iter().any(|other| other["raw"] != four[0]["raw"]));
    let plain = generate(&[&asked[..], &["-n", "2"]].concat()).ok();
    let texts: Vec<_> = four[..2].iter().map(|a| a["text"].as_str().unwrap().to_owned() + "\n").collect();
    assert_eq!(plain.stdout, texts.concat());
}

#[test]
fn what_cannot_be_asked_is_told_with_a_fix() {
    RAN.write("bad.json", r#"[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]"#);
    RAN.write("twice.json", r#"[{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]"#);
    RAN.write("broken.json", "[{\"role\": \"usr\", \"content\": \"a\"}]");
    RAN.write("not-utf8.txt", "x");
    fs::write(RAN.path().join("not-utf8.txt"), b"a\xff").unwrap();
    let cases: &[(&[&str], i32, &str)] = &[
        (&["tiny.kdl", "sft"], 2, "required"),
        (&["nowhere", "--prompt", "a"], 2, "there is no folder or file nowhere"),
        (&["tiny.kdl", "--prompt", "a"], 2, "which of its stages?"),
        (&["tiny.kdl", "stf", "--prompt", "a"], 2, "`sft`"),
        (&[".", "sft", "--prompt", "a"], 2, "is a folder, which has no stage"),
        (&["tiny.kdl", "sft", "--prompt", ""], 2, "at least one letter"),
        (&["tiny.kdl", "sft", "--prompt", "a", "--sampler", "nobody"], 2, "nobody"),
        (&["tiny.kdl", "sft", "--prompt", "a", "--sampler", "confidence"], 2, "passes"),
        (&["tiny.kdl", "sft", "--prompt", "a", "--sampler", "threshold", "threshold=7"], 2, "must be"),
        (&["tiny.kdl", "sft", "--prompt", "a", "--sampler", "threshold", "so"], 2, "no setting of a sampler"),
        (&["tiny.kdl", "ar", "--prompt", "a", "--sampler", "confidence", "passes=2"], 2, "autoregressive"),
        (&["tiny.kdl", "sft", "--prompt", "a", "--new-tokens", "4096"], 2, "context"),
        (&["tiny.kdl", "sft", "--prompt", "a", "--length", "4"], 2, "`--length` is that of a gap"),
        (&["tiny.kdl", "sft", "--prefix", "a"], 2, "--length"),
        (&["tiny.kdl", "sft", "--prompt", "a", "--system", "b"], 2, "--chat"),
        (&["tiny.kdl", "text", "--prompt", "a"], 2, "text"),
        (&["tiny.kdl", "sft", "--turns", "bad.json"], 8, "the user does not speak last"),
        (&["tiny.kdl", "sft", "--turns", "twice.json"], 8, "turn 2 is out of order"),
        (&["tiny.kdl", "sft", "--turns", "broken.json"], 8, "line 1 column"),
        (&["tiny.kdl", "sft", "--file", "not-utf8.txt"], 8, "byte 1 is not UTF-8"),
        (&["tiny.kdl", "sft", "--file", "absent.txt"], 1, "absent.txt"),
        (&["tiny.kdl", "sft", "--prompt", "a", "--device", "cuda:0"], 2, "cuda"),
    ];
    for (arguments, code, expected) in cases {
        let ran = generate(arguments).exits(*code).says(expected);
        assert!(!ran.stderr.contains("bug") && ran.stdout.is_empty(), "{arguments:?}\n{}", ran.stderr);
    }
    let long = "river ".repeat(200);
    generate(&["tiny.kdl", "sft", "--prompt", &long]).exits(8).says("but the context has 128");
}

#[test]
fn an_export_is_asked_like_the_checkpoint() {
    let project = &*RAN;
    project.write(
        "export.kdl",
        &(fs::read_to_string(project.path().join("tiny.kdl")).unwrap()
            + "export \"release\" from=\"sft\" format=\"huggingface\"\n"),
    );
    project.fmflow(&["run", "export.kdl", "--until", "release"]).ok();
    let shown = project.fmflow(&["show", "export.kdl", "release", "--path"]).ok().stdout;
    let copy = project.path().join("copied");
    fs::create_dir(&copy).unwrap();
    for entry in fs::read_dir(shown.trim_end()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    let asked = [
        "--chat",
        "--prompt",
        "first: a b c",
        "--seed",
        "5",
        "--sampler",
        "confidence",
        "passes=2",
        "temp=1",
    ];
    let (own, copied) =
        (answers(&[&["tiny.kdl", "sft"], &asked[..]].concat()), answers(&[&["copied"], &asked[..]].concat()));
    assert_eq!(own["answers"], copied["answers"]);
}

#[test]
fn a_chat_is_a_conversation_with_the_bytes_of_generate() {
    let sampler = ["--sampler", "drawn", "--no-twin"];
    let typed = "/system Be brief.\nfirst: a b c\n/save talk.json\nlast: a b c\n";
    let ran = chat(&["tiny.kdl", "sft", "--sampler", "drawn"], typed).ok();
    let first = answers(
        &[&["tiny.kdl", "sft", "--chat", "--prompt", "first: a b c", "--system", "Be brief."], &sampler[..]]
            .concat(),
    );
    let first = first["answers"][0]["text"].as_str().unwrap().to_owned();
    let mut talk: Vec<Value> =
        serde_json::from_str(&fs::read_to_string(RAN.path().join("talk.json")).unwrap()).unwrap();
    let turn = |role: &str, text: &str| serde_json::json!({ "role": role, "content": text });
    assert_eq!(talk, [turn("system", "Be brief."), turn("user", "first: a b c"), turn("assistant", &first)]);
    talk.push(turn("user", "last: a b c"));
    RAN.write("talked.json", &serde_json::to_string(&talk).unwrap());
    let second = answers(&[&["tiny.kdl", "sft", "--turns", "talked.json"], &sampler[..]].concat());
    assert_eq!(ran.stdout, format!("{first}\n{}\n", second["answers"][0]["text"].as_str().unwrap()));
    assert!(ran.stderr.contains("tok/s") && ran.stderr.contains("at most 12 tokens"), "{}", ran.stderr);
}

#[test]
fn a_chat_changes_its_settings_and_forgets_what_is_undone() {
    let ask = |typed: &str| chat(&["tiny.kdl", "sft"], typed).ok();
    let plain = ask("first: a b c\n").stdout;
    assert_eq!(
        ask("last: c b a\n/undo\nfirst: a b c\n/quit\nlast: a\n").stdout.lines().last(),
        plain.lines().last()
    );
    let listed = ask(
        "/sampler\n/sampler confidence passes=3 temp=1\n/passes 2\n/temp 0.5\n/seed 9\n/sampler\n/help\n",
    );
    assert!(listed.stderr.contains("\nthreshold threshold=0.9\n"), "{}", listed.stderr);
    assert!(listed.stderr.contains("\nconfidence passes=2 temperature=0.5\n"), "{}", listed.stderr);
    assert!(listed.stderr.contains("/infill BEFORE") && listed.stdout.is_empty());
    let gap = ask("/sampler drawn\n/length 2..6\n/seed 3\n/infill The [...] end\n");
    assert_eq!(gap.stdout, format!("{}\n", samples("more")[2]["text"].as_str().unwrap()));
    let lines = [ask("first: a\\\nb c\n"), ask("\"\"\"\nfirst: a\nb c\n\"\"\"\n")];
    let found = answers(&["tiny.kdl", "sft", "--chat", "--prompt", "first: a\nb c", "--no-twin"]);
    for ran in lines {
        assert_eq!(ran.stdout, format!("{}\n", found["answers"][0]["text"].as_str().unwrap()));
    }
}

#[test]
fn a_traced_chat_tells_every_pass_and_prints_the_same_answer() {
    let arguments = ["tiny.kdl", "sft", "--sampler", "confidence passes=3", "--new-tokens", "12"];
    let typed = "first: a b c\n/length 2..4\n/infill The [...] end\n";
    let plain = chat(&arguments, typed).ok();
    let traced = chat(&[&arguments[..], &["--trace"]].concat(), typed).ok();
    assert_eq!(traced.stdout, plain.stdout);
    let passes: Vec<&str> = traced.stderr.lines().filter(|line| line.starts_with("pass ")).collect();
    assert_eq!(passes.len(), 3, "{}", traced.stderr);
    let noise = |line: &str| line.matches('·').count();
    assert!(noise(passes[0]) > noise(passes[1]) && noise(passes[2]) == 0, "{passes:#?}");
    assert!(!traced.stderr.contains('\u{1b}') && !plain.stderr.contains("pass 1"), "{}", traced.stderr);
}

#[test]
fn samplers_are_measured_on_questions() {
    let line = |question: &str, answer: &str| {
        format!("{}\n", serde_json::json!({ "question": question, "answer": answer }))
    };
    let asked = ["first: a b c", "last: a b c"];
    let own = asked.map(|question| {
        let found = answers(&["tiny.kdl", "sft", "--chat", "--prompt", question, "--no-twin"]);
        found["answers"][0].clone()
    });
    // The first question gets the answer that the model gives, the second another.
    let text = own[0]["text"].as_str().unwrap();
    RAN.write("questions.jsonl", &(line(asked[0], text) + "\n" + &line(asked[1], "no such answer")));
    let bench = |arguments: &[&str]| {
        RAN.fmflow(
            &[&["bench", "generate", "tiny.kdl", "sft", "--questions", "questions.jsonl"], arguments]
                .concat(),
        )
    };
    let found: Value = serde_json::from_str(&bench(&["--json"]).ok().stdout).unwrap();
    let tokens: u64 = own.iter().map(|answer| answer["tokens"].as_u64().unwrap()).sum();
    assert_eq!((&found["questions"], &found["samplers"][0]["exact"]), (&2.into(), &1.into()), "{found:#}");
    assert_eq!(found["samplers"][0]["tokens"], tokens, "{found:#}");
    let grid =
        bench(&["--sampler", "threshold threshold=0.5,0.9 block=2,4", "--sampler", "confidence passes=2"])
            .ok();
    assert_eq!(grid.stdout.matches("threshold=").count(), 4, "{}", grid.stdout);
    assert!(
        grid.stdout.contains("confidence passes=2") && grid.stdout.contains("exact match"),
        "{}",
        grid.stdout
    );
    assert!(grid.stderr.contains("2 questions, seed 3, cpu, f32"), "{}", grid.stderr);
    let svg = RAN.path().join("frontier.svg");
    let sampler = ["--sampler", "threshold threshold=0.5,0.9", "--svg", "frontier.svg"];
    for _ in 0..2 {
        bench(&sampler).ok();
        let drawn = fs::read_to_string(&svg).unwrap();
        assert_eq!(drawn.matches("<circle").count(), 4, "{drawn}");
        assert!(
            drawn.contains("1  threshold threshold=0.5: 50.0 %") && drawn.contains(">sft, 2 questions<"),
            "{drawn}"
        );
    }
    RAN.write("frontier.svg", "a drawing of mine");
    bench(&sampler).exits(2).says("frontier.svg exists and is no frontier of fmflow");
    // Nothing is measured for a drawing that cannot be written.
    let nowhere = ["--sampler", "threshold threshold=0.5", "--svg", "no/frontier.svg"];
    assert!(bench(&nowhere).exits(2).says("name a file that you may write with `--svg`").stdout.is_empty());
    RAN.write("bad-questions.jsonl", "\n{\"question\": \"a\"}\n");
    let bad = ["bench", "generate", "tiny.kdl", "sft", "--questions", "bad-questions.jsonl"];
    RAN.fmflow(&bad).exits(8).says("bad-questions.jsonl:2: missing field `answer`");
    bench(&["--sampler", "threshold threshold=7"]).exits(2).says("must be");
}

/// A chat template may write more behind a question that is the last turn than behind one that is answered.
#[test]
fn questions_are_asked_with_the_ids_of_training() {
    let turns = |last: &str| {
        let more = format!("{{% if loop.last and m.role == 'user' %}}{last}{{% endif %}}");
        let turn = format!("<|im_start|>{{{{ m.role }}}}\n{{{{ m.content }}}}{more}<|im_end|>\n");
        let begin = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
        format!("{{% for m in messages %}}{turn}{{% endfor %}}{begin}")
    };
    let copy = |name: &str, template: &str| {
        for file in fs::read_dir(RAN.artifact("sft")).unwrap() {
            let file = file.unwrap();
            if file.file_type().unwrap().is_file() {
                let to = RAN.path().join(name).join(file.file_name());
                fs::create_dir_all(to.parent().unwrap()).unwrap();
                fs::copy(file.path(), to).unwrap();
            }
        }
        let file = format!("{name}/tokenizer_config.json");
        let text = fs::read_to_string(RAN.path().join(&file)).unwrap();
        let mut config: Value = serde_json::from_str(&text).unwrap();
        config["chat_template"] = template.into();
        RAN.write(&file, &config.to_string());
        if RAN.path().join(name).join("chat_template.jinja").exists() {
            RAN.write(&format!("{name}/chat_template.jinja"), template);
        }
    };
    copy("plain", &turns(""));
    copy("talks", &turns(" river river river"));
    let asked = ["first: a b c", "last: a b c"];
    let mut lines = String::new();
    for question in asked {
        let found = answers(&["plain", "--chat", "--prompt", question, "--new-tokens", "12", "--no-twin"]);
        let answer = &found["answers"][0]["text"];
        lines += &format!("{}\n", serde_json::json!({ "question": question, "answer": answer }));
    }
    RAN.write("as-trained.jsonl", &lines);
    for folder in ["plain", "talks"] {
        let bench =
            ["bench", "generate", folder, "--questions", "as-trained.jsonl", "--new-tokens", "12", "--json"];
        let found: Value = serde_json::from_str(&RAN.fmflow(&bench).ok().stdout).unwrap();
        assert_eq!(found["samplers"][0]["exact"], 2, "{folder}: {found:#}");
    }
}

#[test]
fn a_frontier_measures_every_sampler_as_an_evaluation_does() {
    let project = Project::tiny();
    let text = fs::read_to_string(project.path().join("tiny.kdl")).unwrap();
    let stage = r#"
sampler "above" kind="threshold" threshold=0.9
frontier "speed" {
    checkpoint "sft"
    exact-match dataset="tasks" sampler="above" first=6
    exact-match dataset="tasks" sampler="parallel" first=6
    thresholds 0.3 0.9
    blocks 3 12
}
"#;
    project.write("tiny.kdl", &(text + stage));
    let ran = project.fmflow(&["run", "tiny.kdl", "--until", "speed"]).ok();
    let folder = project.artifact("speed");
    let read = |file: &str| fs::read_to_string(folder.join(file)).unwrap();
    let found: Value = serde_json::from_str(&read("frontier.json")).unwrap();
    let samplers = found["samplers"].as_array().unwrap();
    let names: Vec<&str> = samplers.iter().map(|one| one["sampler"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "above threshold=0.3 block=3",
            "above threshold=0.3 block=12",
            "above threshold=0.9 block=3",
            "above threshold=0.9 block=12",
            "parallel block=3",
            "parallel block=12"
        ]
    );
    assert!(
        samplers.iter().all(|one| one["questions"] == 6 && one["tokens_per_second"].as_f64().unwrap() > 0.0)
    );
    // Two passes for the one block of each of six answers.
    assert_eq!(samplers[5]["passes"], 12, "{found:#}");
    assert_eq!(read("frontier.svg").matches("<circle").count(), 12);
    let first: Value = serde_json::from_str(read("answers.jsonl").lines().next().unwrap()).unwrap();
    assert_eq!(first["sampler"], "above threshold=0.3 block=3", "{first:#}");
    assert_eq!(read("answers.jsonl").lines().count(), 36);
    assert!(
        ran.stdout.contains("6 samplers, best") || ran.stderr.contains("6 samplers, best"),
        "{}",
        ran.stdout
    );
    // The same questions, answers and passes as in `evaluate`.
    let evaluate = "evaluate \"check\" { checkpoint \"sft\"; exact-match dataset=\"tasks\" sampler=\"parallel\" first=6 }\n";
    let text = fs::read_to_string(project.path().join("tiny.kdl")).unwrap();
    project.write("tiny.kdl", &(text + evaluate));
    project.fmflow(&["run", "tiny.kdl", "--until", "check"]).ok();
    let report = fs::read_to_string(project.artifact("check").join("report.json")).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    let scores = &report["sft"]["exact_match"]["tasks"];
    for (own, other) in [("exact", "passed"), ("tokens", "tokens"), ("passes", "passes")] {
        assert_eq!(samplers[5][own], scores[other], "{own}");
    }
    for (before, after, code, expected) in [
        ("thresholds 0.3 0.9", "thresholds 0.3 1.5", 2, "must be"),
        ("blocks 3 12", "blocks 0", 2, "must be"),
        ("blocks 3 12", "blocks 3 3", 2, "`blocks` has a value twice"),
        (
            "sampler=\"parallel\" first=6\n    th",
            "sampler=\"above\" first=5\n    th",
            2,
            "on dataset `tasks` twice",
        ),
        ("attention \"bidirectional\"", "attention \"block\" { size 4 }", 2, "blocks of 3 tokens"),
        ("sampler=\"above\" first=6", "sampler=\"nobody\" first=6", 2, "nobody"),
        (
            "sampler \"above\" kind=\"threshold\"",
            "sampler \"above\" kind=\"threshold\" cache=\"exact\"",
            2,
            "cache-mismatch",
        ),
    ] {
        let text = fs::read_to_string(project.path().join("tiny.kdl")).unwrap();
        project.write("bad.kdl", &text.replace(before, after));
        project.fmflow(&["check", "bad.kdl"]).exits(code).says(expected);
    }
    project.fmflow(&["run", "--smoke", "tiny.kdl", "--until", "speed"]).ok();
}

/// Gaps are filled together: the texts between them are there from the first pass on, and stay.
#[test]
fn several_gaps_are_filled_at_once() {
    let gaps = [
        "--prefix",
        "The ",
        "--between",
        " meets\n the ",
        "--between",
        " at",
        "--suffix",
        " end",
        "--length",
        "3,4,2",
    ];
    for (stage, sampler) in [
        ("sft", "drawn"),
        ("sft", "simulated"),
        ("sft", "confidence passes=2"),
        ("flow", "entropy-bound bound=1 block=4"),
    ] {
        let command =
            [&["tiny.kdl", stage][..], &gaps, &["--sampler", sampler, "--seed", "7", "--no-twin"]].concat();
        let found = answers(&command)["answers"][0].clone();
        let filled: Vec<&str> =
            found["gaps"].as_array().unwrap().iter().map(|gap| gap.as_str().unwrap()).collect();
        let [first, second, third] = filled[..] else { panic!("{found:#}") };
        let text = format!("The {first} meets\n the {second} at{third} end");
        assert_eq!((&found["text"], &found["tokens"]), (&text.as_str().into(), &9.into()), "{sampler}");
        // One after the other is something else: the first gap does not see the others then.
        assert_eq!(
            generate(&[&command[..], &["--n", "1"]].concat()).ok().stdout,
            format!("{text}\n"),
            "{sampler}"
        );
    }
    let one =
        answers(&["tiny.kdl", "sft", "--prefix", "The ", "--suffix", " end", "--length", "4", "--no-twin"]);
    assert_eq!(one["answers"][0].get("gaps"), None);
    let typed = "/length 3\n/infill The [...] meets the [...] end\n";
    let talked = chat(&["tiny.kdl", "sft"], typed).ok().stdout;
    let same = [
        "tiny.kdl",
        "sft",
        "--prefix",
        "The ",
        "--between",
        " meets the ",
        "--suffix",
        " end",
        "--length",
        "3",
        "--no-twin",
    ];
    assert_eq!(talked, generate(&same).ok().stdout);
    for (arguments, code, expected) in [
        (&["--prefix", "a", "--between", "b", "--length", "2..4"][..], 2, "is not the length of 2 gaps"),
        (&["--prefix", "a", "--between", "b", "--length", "2,4,5"], 2, "is not the length of 2 gaps"),
        (&["--prefix", "a", "--between", "b", "--length", "0"], 2, "is not the length of 2 gaps"),
        (&["--prefix", "a", "--between", "", "--length", "2"], 2, "two gaps without a text between them"),
        (&["--prefix", "a", "--between", "b", "--length", "70,70"], 2, "context"),
        (
            &["--prefix", "a", "--between", "b", "--length", "2", "--sampler", "autoregressive"],
            2,
            "predicts each token in place",
        ),
    ] {
        generate(&[&["tiny.kdl", "sft"], arguments].concat()).exits(code).says(expected);
    }
}

#[test]
fn answers_are_verified_in_all_batches() {
    for (stage, samplers) in [("sft", "6 samplers"), ("flow", "6 samplers"), ("ar", "1 sampler")] {
        let folder = RAN.artifact(stage);
        let ran = RAN.fmflow(&["verify", folder.to_str().unwrap(), "--batches"]).ok();
        assert!(ran.stdout.contains(&format!("6 requests of {samplers}: the same tokens")), "{}", ran.stdout);
        assert_eq!(ran.stdout.contains("with and without a cache"), stage == "ar", "{}", ran.stdout);
    }
    RAN.fmflow(&["verify", RAN.artifact("text/text").to_str().unwrap(), "--batches"]).exits(8);
}

#[test]
fn what_a_chat_cannot_do_is_told() {
    for (typed, code, expected) in [
        ("/sistem x\n", 2, "`/system"),
        ("/sampler threshold threshold=2\n", 2, "must be"),
        ("/seed x\n", 2, "whole number"),
        ("/undo\n", 2, "nothing to undo"),
        ("/infill a b\n", 2, "needs a gap"),
        ("/save\n", 2, "needs a file"),
        ("/save tiny.kdl\n", 1, "tiny.kdl"),
        ("/length 4..8\nfirst: a\n", 2, "4..8"),
    ] {
        let ran = chat(&["tiny.kdl", "sft"], typed).exits(code).says(expected);
        assert!(!ran.stderr.contains("bug"), "{typed}\n{}", ran.stderr);
    }
}

#[test]
fn a_chat_that_is_asked_to_end_ends_as_stopped_work_does() {
    let mut command = RAN.command(&["chat", "tiny.kdl", "sft"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It has read the checkpoint once it has answered.
    child.stdin.as_mut().unwrap().write_all(b"first: a b c\n").unwrap();
    let mut line = String::new();
    let mut said = std::io::BufReader::new(child.stderr.take().unwrap());
    while !line.contains("tok/s") {
        line.clear();
        assert!(std::io::BufRead::read_line(&mut said, &mut line).unwrap() > 0);
    }
    send_signal(child.id(), "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(75));
}

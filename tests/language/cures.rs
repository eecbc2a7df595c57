//! Cures that are followed: every snippet of every help text is pasted into the text that provoked it, near the marked places, and
//! what then still fails is a defect of the help.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod help;
mod paste;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use fmflow_engine::check::{CheckOptions, check_text};
use fmflow_engine::text::diagnostic::{Code, Diagnostic, Severity};

use self::help::{Step, Verb, read_help, read_names};
use self::paste::{paste, without_entry, without_node};

/// A text that provokes findings.
struct Case {
    name: String,
    text: String,
    base: PathBuf,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

impl Case {
    fn in_root(name: String, text: String) -> Self {
        Self { name, text, base: root().to_owned() }
    }

    fn findings(&self, text: &str) -> Vec<Diagnostic> {
        check_text("case.kdl", text, &self.base, &CheckOptions::default()).diagnostics
    }
}

/// The `.kdl` files of a folder of cases.
fn folder(name: &str) -> Vec<Case> {
    let base = root().join("tests/cases").join(name);
    let mut files: Vec<_> = std::fs::read_dir(&base).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let kdl = files.into_iter().filter(|path| path.extension().is_some_and(|end| end == "kdl"));
    let read = |path: PathBuf| {
        let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
        Case { name: path.display().to_string(), text, base: base.clone() }
    };
    kdl.map(read).filter(|case| !case.name.ends_with("many-faults.kdl")).collect()
}

/// A piece of `tests/cases/data/pages.kdl`, and a mistake that replaces it: one for every help that no other case provokes.
const SLIPS: &[(&str, &str)] = &[
    (
        "mixture \"prose\" { dataset \"text\" }",
        "dataset \"few\" from=\"tests/cases/data/few/*.jsonl\" format=\"jsonl\" held-out=\"1%\"\n\
         mixture \"prose\" { dataset \"text\"; dataset \"few\" }",
    ),
    (
        "sampler \"parallel\" kind",
        "benchmark \"gsm8k\" from=\"tests/cases/data/capitals.jsonl\" kind=\"exact\"\nsampler \"parallel\" kind",
    ),
    (
        "sampler \"parallel\" kind",
        "frontier \"speed\" { checkpoint \"sft\"; exact-match dataset=\"tasks\" sampler=\"parallel\"; blocks 4 4 }\nsampler \"parallel\" kind",
    ),
    (
        "sampler \"parallel\" kind",
        "frontier \"speed\" { checkpoint \"sft\"; exact-match dataset=\"tasks\" sampler=\"parallel\"; exact-match dataset=\"tasks\" sampler=\"parallel\" first=2 }\nsampler \"parallel\" kind",
    ),
    (
        "evaluate \"answers\" { checkpoint \"sft\"; exact-match dataset=\"tasks\" sampler=\"parallel\" }",
        "benchmark \"capitals\" from=\"tests/cases/data/capitals.jsonl\" kind=\"exact\"\n\
         evaluate \"answers\" { checkpoint \"sft\"; benchmark \"capitals\" from=\"tests/cases/data/capitals.jsonl\" sampler=\"parallel\" new-tokens=16 }",
    ),
    (
        "evaluate \"answers\" { checkpoint \"sft\"; exact-match dataset=\"tasks\" sampler=\"parallel\" }",
        "benchmark \"capitals\" from=\"tests/cases/check/data/problems/unread.jsonl\" kind=\"exact\"\n\
         evaluate \"answers\" { checkpoint \"sft\"; benchmark \"capitals\" sampler=\"parallel\" new-tokens=16 }",
    ),
    (
        "exact-match dataset=\"tasks\" sampler=\"parallel\"",
        "benchmark \"humaneval-infilling\" from=\"tests/cases/data/gaps.jsonl\" sampler=\"parallel\"",
    ),
    (
        "evaluate \"answers\" { checkpoint \"sft\"; exact-match dataset=\"tasks\" sampler=\"parallel\" }",
        "sampler \"left\" kind=\"autoregressive\"\n\
         evaluate \"answers\" { checkpoint \"sft\"; benchmark \"humaneval-infilling\" from=\"tests/cases/data/gaps.jsonl\" sampler=\"left\" length=16 }",
    ),
    (
        "exact-match dataset=\"tasks\" sampler=\"parallel\"",
        "benchmark \"humaneval-infilling\" sampler=\"parallel\" length=16",
    ),
    (
        "exact-match dataset=\"tasks\" sampler=\"parallel\"",
        "benchmark \"humaneval-infilling\" from=\"tests/cases/data/gaps.jsonl\" sampler=\"parallel\" length=16 new-tokens=16 mode=\"base\"",
    ),
    (
        "exact-match dataset=\"tasks\" sampler=\"parallel\"",
        "benchmark \"gsm8k\" from=\"tests/cases/data/questions.jsonl\" sampler=\"parallel\" new-tokens=16 length=16",
    ),
    (
        "exact-match dataset=\"tasks\" sampler=\"parallel\"",
        "benchmark \"gsm8k\" from=\"tests/cases/data/questions.jsonl\" new-tokens=16",
    ),
    (
        "evaluate \"answers\" { checkpoint \"sft\"; exact-match dataset=\"tasks\" sampler=\"parallel\" }",
        "benchmark \"picks\" from=\"tests/cases/data/picks.jsonl\" kind=\"choice\"\n\
         evaluate \"answers\" { checkpoint \"sft\"; benchmark \"picks\" sampler=\"parallel\" samples=2 }",
    ),
    (
        "exact-match dataset=\"tasks\" sampler=\"parallel\"",
        "benchmark \"humaneval+\" sampler=\"parallel\" new-tokens=16",
    ),
    (
        "exact-match dataset=\"tasks\" sampler=\"parallel\"",
        "benchmark \"humaneval\" from=\"tests/cases/check/data/tasks.jsonl\" sampler=\"parallel\" new-tokens=16",
    ),
    (
        "exact-match dataset=\"tasks\" sampler=\"parallel\"",
        "exact-match dataset=\"tasks\" sampler=\"parallel\"; exact-match dataset=\"tasks\" sampler=\"parallel\" first=2",
    ),
    (
        "train \"sft\" from",
        "convert \"next\" from=\"ar\" { shift #true }\n\
         train \"drafts\" from=\"next\" use=\"unmasking\" { objective \"flow\" path=\"masked\" loss=\"cross-entropy\" { clean-loss weight=0.2 } }\n\
         train \"sft\" from",
    ),
    (
        "train \"sft\" from",
        "convert \"next\" from=\"ar\" { shift #true }\n\
         train \"drafts\" from=\"next\" use=\"unmasking\" { objective \"flow\" path=\"masked\" loss=\"elbo\" max-weight=20; attention \"causal\" { stride 2 } }\n\
         train \"sft\" from",
    ),
    (
        "train \"sft\" from",
        "convert \"next\" from=\"ar\" { shift #true }\n\
         train \"drafts\" from=\"next\" use=\"unmasking\" { objective \"flow\" path=\"masked\" loss=\"cross-entropy\"; attention \"causal\" { stride 2 }; time epsilon=0.1 }\n\
         train \"sft\" from",
    ),
    (
        "train \"sft\" from",
        "convert \"next\" from=\"ar\" { shift #true }\n\
         train \"drafts\" from=\"next\" use=\"unmasking\" { objective \"flow\" path=\"masked\" loss=\"cross-entropy\"; attention \"causal\" { stride 512 } }\n\
         train \"sft\" from",
    ),
    (
        "train \"sft\" from",
        "convert \"same\" from=\"ar\" { shift #false }\n\
         train \"drafts\" from=\"same\" use=\"unmasking\" { objective \"flow\" path=\"masked\" loss=\"cross-entropy\"; attention \"causal\" { stride 2 } }\n\
         train \"sft\" from",
    ),
    (
        "sampler \"parallel\" kind=\"confidence\" passes=2",
        "sampler \"parallel\" kind=\"speculative\" stride=3",
    ),
    (
        "sampler \"parallel\" kind=\"confidence\" passes=2",
        "sampler \"parallel\" kind=\"confidence\" passes=2 cache=\"prefix\"",
    ),
    (
        "sampler \"left-right\" kind=\"autoregressive\"",
        "sampler \"left-right\" kind=\"autoregressive\" cache=\"dual\"",
    ),
    (
        "train \"sft\" from",
        "convert \"same\" from=\"ar\" { shift #false }\n\
         train \"pulled\" from=\"same\" use=\"unmasking\" { teacher \"ar\" weight=0.5 }\n\
         train \"sft\" from",
    ),
    ("train \"pretrain\" from=\"flow\"", "train \"pretrain\" from=\"flow\" at=100"),
    (
        "convert \"flow\" from=\"ar\"",
        "train \"more\" from=\"ar\" at=100 use=\"left-to-right\"\nconvert \"flow\" from=\"ar\"",
    ),
    ("train \"sft\" from", "average \"soup\" of=\"pretrain\" last=9\ntrain \"sft\" from"),
    ("train \"sft\" from", "average \"soup\" of=\"ar\" last=2\ntrain \"sft\" from"),
    (
        "train \"pretrain\" from=\"flow\" use=\"unmasking\" {\n    checkpoint every=100 { permanent every=100 }\n}\n",
        "train \"pretrain\" from=\"flow\" use=\"unmasking\" {\n    checkpoint every=100 { permanent every=300 }\n}\naverage \"soup\" of=\"pretrain\" last=2\n",
    ),
    (
        "train \"pretrain\" from=\"flow\" use=\"unmasking\" {\n",
        "average \"soup\" of=\"pretrain\" last=2\ntrain \"pretrain\" from=\"flow\" use=\"unmasking\" {\n    adapter \"lora\" rank=2 alpha=4\n",
    ),
    ("train \"sft\" from=\"pretrain\"", "train \"sft\" from=\"pretrain\" at=100"),
    ("train \"sft\" from=\"pretrain\"", "train \"sft\" from=\"pretrain\" carry=\"optimizer\""),
    (
        "train \"ar\" from=\"tiny\" use=\"left-to-right\"",
        "train \"ar\" from=\"tiny\" use=\"left-to-right\" {\n    steps 4\n    \
         learning-rate peak=1e-3 shape=\"constant\"\n    guard { spike action=\"skip\" }\n}",
    ),
    (
        "train \"ar\" from=\"tiny\" use=\"left-to-right\"",
        "train \"ar\" from=\"tiny\" use=\"left-to-right\" {\n    steps 4\n    \
         learning-rate peak=1e-3 shape=\"constant\"\n    guard { non-finite action=\"rewind\" }\n}",
    ),
    (
        "train \"ar\" from=\"tiny\" use=\"left-to-right\"",
        "train \"ar\" from=\"tiny\" use=\"left-to-right\" {\n    probe every=100 sampler=\"left-right\"\n}",
    ),
    (
        "train \"ar\" from=\"tiny\" use=\"left-to-right\"",
        "train \"ar\" from=\"tiny\" use=\"left-to-right\" {\n    \
         probe every=100 sampler=\"left-right\" { prompt \"x\"; exact-match dataset=\"tasks\" }\n}",
    ),
    ("train \"ar\" from", "fetch \"q\" from=\"hf:a/b/c\"\ntrain \"ar\" from"),
    (
        "train \"sft\" from",
        "rows \"blocks\" tokenizer=\"bpe\" length=128 packing=\"first-fit\" { end-of-turn supervise=\"to-block-boundary\" block=12 }\n\
         train \"blocks\" from=\"flow\" use=\"unmasking\" { data rows=\"blocks\" mixture=\"answer\"; attention \"block\" size=8 }\n\
         train \"sft\" from",
    ),
    ("train \"ar\" from", "fetch \"q\" from=\"examples\" revision=\"main\"\ntrain \"ar\" from"),
    ("sampler \"exact\"", "lint { allow \"unused\"; deny \"unused\" }\nsampler \"exact\""),
    (
        "sampler \"exact\"",
        "lint { deny \"unused\" }\nsampler \"spare\" kind=\"autoregressive\"\nsampler \"exact\"",
    ),
    ("convert \"flow\" from=\"ar\"", "convert \"flow\" from=\"ar\" { tokenizer \"none\" }"),
    ("convert \"flow\" from=\"ar\"", "convert \"flow\" from=\"ar\" { mask-token 1000; tokenizer \"none\" }"),
    (
        "prompt \"once\" sampler=\"exact\"",
        "infill prefix=\"\" suffix=\"x\" length=4 sampler=\"left-right\"; prompt \"once\" sampler=\"exact\"",
    ),
    (
        "prompt \"once\" sampler=\"exact\"",
        "infill prefix=\"a\" suffix=\"x\" length=4 sampler=\"exact\" { gap after=\"\" length=2 }; prompt \"once\" sampler=\"exact\"",
    ),
    (
        "prompt \"once\" sampler=\"exact\"",
        "infill prefix=\"a\" suffix=\"x\" length=\"2..4\" sampler=\"exact\" { gap after=\"b\" length=2 }; prompt \"once\" sampler=\"exact\"",
    ),
    (
        "prompt \"once\" sampler=\"exact\"",
        "infill prefix=\"a\" suffix=\"x\" length=\"2..4\" grow=2 sampler=\"exact\"; prompt \"once\" sampler=\"exact\"",
    ),
    (
        "prompt \"once\" sampler=\"exact\"",
        "infill prefix=\"a\" suffix=\"x\" length=2 grow=2 sampler=\"exact\" { gap after=\"b\" length=2 }; prompt \"once\" sampler=\"exact\"",
    ),
    (
        "prompt \"once\" sampler=\"exact\"",
        "infill prefix=\"a\" suffix=\"x\" length=2 grow=2 sampler=\"parallel\" { constraint regex=\"a+\" }; prompt \"once\" sampler=\"exact\"",
    ),
    (
        "generate \"samples\" from=\"sft\" {",
        "generate \"more\" from=\"ar\" { infill prefix=\"a\" suffix=\"x\" length=4 sampler=\"left-right\" }\ngenerate \"samples\" from=\"sft\" {",
    ),
    (
        "convert \"flow\" from=\"ar\"",
        "convert \"flow\" from=\"ar\" { shift #true }\ngenerate \"begin\" from=\"pretrain\" sampler=\"exact\" { infill prefix=\"\" suffix=\"x\" length=4 }",
    ),
    ("chat \"sort: d a c\"", "chat \"sort: d a c\" \"sort: b a\""),
    (
        "chat \"sort: d a c\" sampler=\"parallel\"",
        "chat \"sort: d a c\" sampler=\"parallel\" { assistant \"a c d\"; user \"and\"; user \"backwards?\" }",
    ),
    (
        "chat \"sort: d a c\" sampler=\"parallel\"",
        "chat \"sort: d a c\" sampler=\"parallel\" { assistant \"a c d\" }",
    ),
    ("prompt \"once\"", "prompt \"\""),
    ("prompt \"once\" sampler=\"exact\"", "prompt \"once\""),
    (
        "    prompt \"once\" sampler=\"exact\" new-tokens=32",
        "    prompt \"once\" sampler=\"exact\" new-tokens=512",
    ),
    (
        "    prompt \"once\" sampler=\"exact\" new-tokens=32",
        "    infill prefix=\"once\" suffix=\"\" sampler=\"exact\" length=4096",
    ),
    (
        "    chat \"sort: d a c\" sampler=\"parallel\"\n    prompt \"once\" sampler=\"exact\" new-tokens=32\n",
        "",
    ),
    ("length=128 packing=\"first-fit\" canvas=6", "length=128 packing=\"first-fit\" canvas=128"),
    (
        "objective \"flow\" path=\"masked\" loss=\"cross-entropy\"\n",
        "objective \"flow\" path=\"masked\" loss=\"cross-entropy\"\n    time masked-per-block=1\n",
    ),
    (
        "objective \"flow\" path=\"masked\" loss=\"cross-entropy\"\n",
        "objective \"flow\" path=\"masked\" loss=\"cross-entropy\"\n    attention \"bidirectional\" { anneal until=900 }\n",
    ),
    (
        "objective \"flow\" path=\"masked\" loss=\"cross-entropy\"\n",
        "objective \"flow\" path=\"masked\" loss=\"cross-entropy\"\n    attention \"block\" { size 4; size 8 }\n",
    ),
    (
        "objective \"flow\" path=\"masked\" loss=\"cross-entropy\"\n",
        "objective \"flow\" path=\"masked\" loss=\"cross-entropy\"\n    attention \"block\" { size 4 until=30; size 8 until=60 }\n",
    ),
    (
        "objective \"flow\" path=\"masked\" loss=\"cross-entropy\"\n",
        "objective \"flow\" path=\"masked\" loss=\"cross-entropy\"\n    attention \"block\" { size 4 until=60; size 8 until=30; size 16 }\n",
    ),
    (
        "mixture \"prose\" { dataset \"text\" }",
        "mixture \"prose\" { dataset \"text\" { weight 1 until=100; weight 2 until=900; weight 3 } }",
    ),
    (
        "mixture \"prose\" { dataset \"text\" }",
        "mixture \"prose\" { dataset \"text\" { weight 1 until=300; weight 2 until=400; weight 3 } }",
    ),
    (
        "mixture \"prose\" { dataset \"text\" }",
        "mixture \"prose\" { dataset \"text\" { weight 1; weight 2 } }",
    ),
    (
        "mixture \"prose\" { dataset \"text\" }",
        "mixture \"prose\" { dataset \"text\" { weight 1 until=100; weight 2 until=200 } }",
    ),
    (
        "mixture \"prose\" { dataset \"text\" }",
        "mixture \"prose\" { dataset \"text\" { weight 1 until=100; weight 2 until=50; weight 3 } }",
    ),
    ("    steps 400\n", "    steps 400\n    batch { rows 16 }\n"),
    ("batch rows=16 per-device=4\n", "batch { rows 16 }\n"),
    ("format=\"jsonl\" held-out=\"2%\" {", "format=\"text\" held-out=\"2%\" {"),
    (
        "    chat user=\"question\" assistant=\"answer\"\n}",
        "    chat user=\"question\" assistant=\"answer\"\n    contamination held-out=\"plain\"\n}\n\
         dataset \"plain\" from=\"examples/quickstart/corpus/*.txt\" format=\"text\"",
    ),
    (
        "    chat user=\"question\" assistant=\"answer\"\n}",
        "    chat user=\"question\" assistant=\"answer\"\n    duplicates \"drop\" { dataset \"plain\" }\n}\n\
         dataset \"plain\" from=\"examples/quickstart/corpus/*.txt\" format=\"text\" tokens=1000",
    ),
    (
        "    chat user=\"question\" assistant=\"answer\"\n}",
        "    chat user=\"question\" assistant=\"answer\"\n    duplicates \"drop\" { dataset \"tasks\" }\n}",
    ),
    ("from=\"examples/quickstart/tasks/*.jsonl\"", "from=\"examples/quickstart/corpus/*.txt\""),
    ("from=\"examples/quickstart/tasks/*.jsonl\"", "from=\"examples/quickstart/tasks\""),
    ("from=\"examples/quickstart/tasks/*.jsonl\"", "from=\"examples/[\""),
    (
        "from=\"examples/quickstart/corpus/*.txt\" format=\"text\" held-out=\"2%\"",
        "from=\"examples/quickstart/tasks/*.jsonl\" format=\"jsonl\" held-out=\"2%\" { contents from=\"https://example.org/{question}\" }",
    ),
    (
        "from=\"examples/quickstart/corpus/*.txt\" format=\"text\" held-out=\"2%\"",
        "from=\"examples/quickstart/tasks/*.jsonl\" format=\"jsonl\" held-out=\"2%\" { contents from=\"s3://bucket/{question}\" secret=\"AWS_ACCESS_KEY_ID\" }\nsecret \"AWS_ACCESS_KEY_ID\"",
    ),
    (
        "from=\"examples/quickstart/corpus/*.txt\" format=\"text\" held-out=\"2%\"",
        "from=\"examples/quickstart/tasks/*.jsonl\" format=\"jsonl\" held-out=\"2%\" { contents from=\"s3://bucket/{question}\" secret=\"HF_TOKEN\" }\nsecret \"HF_TOKEN\"\nsecret \"AWS_ACCESS_KEY_ID\"\nsecret \"AWS_SECRET_ACCESS_KEY\"",
    ),
    (
        "from=\"examples/quickstart/corpus/*.txt\" format=\"text\" held-out=\"2%\"",
        "from=\"examples/quickstart/tasks/*.jsonl\" format=\"jsonl\" held-out=\"2%\" { contents from=\"s3://bucket/{question}\"; chat user=\"question\" assistant=\"answer\" }",
    ),
    (
        "from=\"examples/quickstart/corpus/*.txt\" format=\"text\" held-out=\"2%\"",
        "from=\"examples/quickstart/tasks/*.jsonl\" format=\"jsonl\" held-out=\"2%\" text=\"answer\" { contents from=\"s3://bucket/{question}\" }",
    ),
    (
        "from=\"examples/quickstart/corpus/*.txt\" format=\"text\" held-out=\"2%\"",
        "from=\"examples/quickstart/tasks/*.jsonl\" format=\"text\" held-out=\"2%\" { contents from=\"s3://bucket/{question}\" }",
    ),
    ("train \"ar\" from", "fetch \"q\" from=\"Cargo.toml\"\ntrain \"ar\" from"),
    ("convert \"flow\" from=\"ar\"", "convert \"flow\" from=\"ar\"\nconvert \"text\" from=\"./examples\""),
    ("pipeline \"example\" seed=1\n", "pipeline \"example\" seed=1 { machine gpu=\"2xH100-80GB\" }\n"),
];

/// Every text of this folder's tests that provokes findings.
fn cases() -> Vec<Case> {
    let pages = include_str!("../cases/data/pages.kdl");
    let mut all: Vec<Case> =
        ["check", "language/trap", "language/include", "disasters"].into_iter().flat_map(folder).collect();
    for slips in [super::fixes::VALUES, super::fixes::WORDS, super::fixes::FORMS] {
        all.extend(
            slips.iter().map(|(place, slip, ..)| {
                Case::in_root(format!("slip {slip}"), pages.replacen(place, slip, 1))
            }),
        );
    }
    for (name, value, _) in super::foreign_names::NAMES {
        let place = "    objective \"flow\" path=\"masked\" loss=\"cross-entropy\"\n";
        let node = pages.replacen(place, &format!("{place}    {name} {value}\n"), 1);
        all.push(Case::in_root(format!("name {name}"), node));
    }
    all.extend(SLIPS.iter().map(|(place, slip)| {
        assert!(pages.contains(place), "{place}");
        Case::in_root(format!("slip {slip}"), pages.replacen(place, slip, 1))
    }));
    for (_, info, text) in super::docs::blocks(&root().join(super::docs::PAGES)) {
        if info.contains("bad") {
            all.push(Case::in_root(
                format!("codes.md {}", text.lines().last().unwrap_or_default()),
                super::docs::example(&info, &text),
            ));
        }
    }
    all
}

/// Whether an error is about a file that only the reader of a help knows: examples name such files.
fn is_placeholder(found: &Diagnostic) -> bool {
    let files = ["checkpoints/Qwen3-0.6B", "corpus/*.txt", "data.kdl"];
    found.code == Code::NoFiles || files.iter().any(|file| found.message.contains(file))
}

/// Commands that help texts name. Those of fmflow are parsed by a test of their own.
const COMMANDS: &[&str] =
    &["fmflow ", "export ", "iconv ", "gunzip ", "ls ", "hf ", "python ", "unzstd", "zstd"];

/// Cures that are right and that this test cannot follow: the end of the case's name, the snippet, and why.
const NOT_FOLLOWED: &[(&str, &str, &str)] = &[
    (
        "reserved-bare.kdl",
        "recipe \"common\"",
        "the example recipe lacks most of what the stage needs, as the next check says",
    ),
    ("tied-head.kdl", "\"tie_word_embeddings", "the setting stands in config.json of the checkpoint"),
    (
        "slashdash.kdl",
        "data rows=",
        "the braces of the stage are commented out, where the test finds no place",
    ),
    (
        "train \"again\" from=\"pretrain\" use=\"left-to-right\"",
        "objective \"flow\"",
        "the objective stands in a recipe that another stage shares",
    ),
];

/// Beginnings of the helps that have nothing to paste, and why.
const PROSE: &[(&str, &[&str])] = &[
    (
        "what an answer has to match, and in which file, only the reader knows",
        &[
            "allow at least one text",
            "mend it; json-schema.org describes schemas",
            "name a file of at most 64 KiB; paths are relative to the file in which they are written",
        ],
    ),
    (
        "the answer is one of the names that are listed",
        &["declared: ", "name one of ", "allowed here: ", "its fields: ", "the fields are "],
    ),
    ("the place to copy from is shown", &["copy rank, alpha, "]),
    (
        "only the reader knows what belongs there",
        &[
            "paths are relative to the file",
            "remove the `chat`",
            "let dataset ",
            "remove it from one of them",
            "write a word",
            "lower `permanent every=` ",
            "name a field with ",
            "name the f",
            "fix the files",
            "rename ",
            "write the ",
            "write a shorter prompt",
            "write some text in ",
            "write an update above ",
            "give one of its parts ",
            "start one of them ",
            "start from ",
            "use the same source and scheduler",
            "name a dataset that has ",
            "give `rows` the checkpoint's own ",
            "move it to another `evaluate`",
            "name a tokenizer that has ",
            "use a sampler without ",
        ],
    ),
    (
        "the cure is a command, or outside the file",
        &[
            "run `fmflow check ",
            "set it before `run`",
            "unpack it",
            "convert it: `iconv",
            "move the files ",
            "restore the folder ",
            "see what is there",
            "declare one; ",
            "add an `exact-match`; ",
            "a pipeline is KDL",
            "extract it",
            "save it as ",
            "save the model's ",
            "environment variables are not expanded",
            "fill gaps with a checkpoint ",
            "write each ",
            "add it to the file",
            "add documents",
        ],
    ),
    (
        "the fault is in a line of data, not in this text",
        &[
            "add the field, or name another one ",
            "an answer has the role ",
            "complete the object",
            "take the field out of the file",
            "correct the role",
            "fill it or remove the line",
            "put it in quotes",
            "write one complete object per line",
            "write one object per line: what follows ",
            "write {\"field\"",
            "use the benchmark's own file",
        ],
    ),
    (
        "a fault of a whole region of text",
        &[
            "break the line ",
            "indent every line ",
            "close it with ",
            "no pipeline needs more ",
            "is a closing ",
            "the type of every field ",
            "KDL has no colons: leave them out",
            "`*` matches any ",
            "include this file ",
            "combine related ",
            "a string needs two quotes",
            "add the missing `}`",
            "put it at the end of the line",
        ],
    ),
    (
        "a description of what exists, or of what a value means",
        &[
            "`",
            "did you mean `every` of",
            "did you mean `epsilon` of",
            "did you mean `from` of",
            "path of the included file",
            "all weights are trained",
            "rows are made once",
            "`run` refuses stages that need it: ",
            "`held-out`",
            "fmflow ",
            "no code of a repository ",
            "there are no ",
            "weights are ",
            "every run has ",
        ],
    ),
];

/// How a finding is recognized after a change of the text.
fn key(found: &Diagnostic) -> (&'static str, String) {
    (found.code.name(), found.message.clone())
}

fn count(all: &[Diagnostic]) -> BTreeMap<(&'static str, String), usize> {
    let mut counted = BTreeMap::new();
    for found in all {
        *counted.entry(key(found)).or_default() += 1;
    }
    counted
}

/// Whether the finding is gone and no other error has come, except of phases that come after that of the finding: they could not
/// see the text before.
fn is_cured(found: &Diagnostic, before: &[Diagnostic], after: &[Diagnostic]) -> bool {
    let (old, new) = (count(before), count(after));
    let labels = |all: &[Diagnostic]| {
        all.iter().filter(|other| key(other) == key(found)).map(|other| other.labels.len()).sum::<usize>()
    };
    // A finding with several places is cured in one of them.
    let gone = new.get(&key(found)).copied().unwrap_or_default() < old[&key(found)]
        || labels(after) < labels(before);
    let worse = after.iter().any(|other| {
        let hidden = other.code > found.code || is_placeholder(other);
        let error = other.severity == Severity::Error && !hidden;
        let same = |all: &[Diagnostic]| all.iter().filter(|one| one.code == other.code).count();
        error
            && new[&key(other)] > old.get(&key(other)).copied().unwrap_or_default()
            && same(after) > same(before)
    });
    gone && !worse
}

/// Whether following the steps one after another, in some way, cures the finding.
fn cures(case: &Case, text: &str, steps: &[Step], found: &Diagnostic, before: &[Diagnostic]) -> bool {
    let Some((first, rest)) = steps.split_first() else {
        return is_cured(found, before, &case.findings(text));
    };
    let places: Vec<Range<usize>> = found
        .labels
        .iter()
        .filter(|label| label.span.file.number == 0)
        .map(|label| {
            let end = (label.span.offset + label.span.length).min(text.len());
            label.span.offset.min(end)..end
        })
        .collect();
    // Of the ways to follow a step that others come after, only the likely ones are tried.
    let most = [usize::MAX, 80, 6, 3].get(rest.len()).copied().unwrap_or(2);
    let names = read_names(found.help.as_deref().unwrap_or_default());
    let tried = |text: &str, places: &[Range<usize>]| {
        paste(text, places, &names, first).iter().take(most).any(|new| cures(case, new, rest, found, before))
    };
    // What is written in the wrong place is taken away when the right place is filled.
    // What is to be taken away may not be there.
    let nothing = first.verb == Verb::Remove && paste(text, &places, &names, first).is_empty();
    let moved = matches!(found.code, Code::UnknownNode | Code::UnknownField) && first.verb == Verb::Write;
    nothing && cures(case, text, rest, found, before)
        || tried(text, &places)
        || moved
            && places.first().is_some_and(|place| {
                let text = match found.code {
                    Code::UnknownNode => without_node(text, place),
                    _ => without_entry(text, place),
                };
                let place = place.start.min(text.len())..place.start.min(text.len());
                tried(&text, &[place])
            })
}

/// The places of the source that give help to a finding: file and line.
fn help_sites() -> BTreeSet<(String, u32)> {
    let files =
        walkdir::WalkDir::new(root().join("engine/src")).into_iter().map(|entry| entry.unwrap().into_path());
    let mut sites = BTreeSet::new();
    for path in files.filter(|path| path.extension().is_some_and(|end| end == "rs")) {
        let name = path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
        let other = [
            "/tests",
            "engine/src/cli",
            "text/diagnostic.rs",
            "engine/src/error",
            "text/render",
            "engine/src/store",
        ];
        if other.iter().any(|part| name.contains(part)) {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let own = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        for (at, line) in own.lines().enumerate() {
            if line.contains(".help(") && !line.contains(".help()") || line.contains(".maybe_help(") {
                sites.insert((name.clone(), u32::try_from(at + 1).unwrap()));
            }
        }
    }
    sites
}

/// Files whose helps this test does not provoke, how many of them, and why.
const UNPROVOKED: &[(&str, usize, &str)] = &[
    ("engine/src/check.rs", 1, "a bug of the program"),
    ("engine/src/check/levels.rs", 1, "a level of the command line, which has no text"),
    ("engine/src/check/lint/capacity.rs", 2, "provoked in `lengths.rs`"),
    (
        "engine/src/check/lint/chat_templates.rs",
        1,
        "provoked in `tests/commands/told.rs`: two checkpoint folders are needed",
    ),
    ("engine/src/check/lint/training.rs", 1, "found by `run`, in artifacts"),
    ("engine/src/check/lint/vocabulary.rs", 1, "another checkpoint is needed"),
    ("engine/src/hub/lockfile.rs", 1, "the cure is a command"),
    ("engine/src/hub/lockfile/read.rs", 1, "the cure is a command"),
    ("engine/src/hub/online/columns.rs", 4, "needs a hub"),
    ("engine/src/hub/online/files.rs", 3, "needs a hub"),
    ("engine/src/hub/online/report.rs", 8, "needs a hub"),
    ("engine/src/hub/online/selection.rs", 1, "needs a hub"),
    ("engine/src/hub/pins.rs", 1, "the cure is a command"),
    ("engine/src/language/decode.rs", 4, "unreadable files and links: the cure is outside the file"),
    ("engine/src/language/decode/command.rs", 2, "provoked in `tests/commands/programs.rs`"),
    ("engine/src/language/decode/dataset.rs", 3, "filters and commands, provoked in `tests/commands`"),
    ("engine/src/language/decode/heads.rs", 2, "another data file is needed"),
    ("engine/src/language/decode/tables.rs", 2, "another data file is needed"),
    ("engine/src/language/decode/unfit.rs", 2, "another data file is needed; `fixes.rs` has some"),
    ("engine/src/language/draft.rs", 1, "provoked in `check.rs`: a new name is the reader's choice"),
    ("engine/src/language/include.rs", 2, "limits of includes, in several files"),
    ("engine/src/language/mixture/nesting.rs", 1, "a limit"),
    (
        "engine/src/language/names/unknown.rs",
        1,
        "provoked in `checkpoint_folders.rs`: a checkpoint folder is needed",
    ),
    ("engine/src/language/parse.rs", 3, "limits and bugs of the parser"),
    ("engine/src/language/settings.rs", 1, "a setting of the command line"),
    ("engine/src/language/settings/flag.rs", 1, "a setting of the command line"),
    ("engine/src/language/settings/node.rs", 5, "settings, cured in the test below"),
    ("engine/src/language/settings/unknown.rs", 11, "settings, cured in the test below"),
    ("engine/src/language/syntax.rs", 2, "binary files"),
    ("engine/src/language/syntax/parser_errors.rs", 1, "words of the parser"),
    ("engine/src/language/validate.rs", 1, "no node without children takes other nodes as its example"),
    ("engine/src/text/read.rs", 6, "files that cannot be read"),
];

/// What following all cures has found.
#[derive(Default)]
struct Followed {
    tried: usize,
    faults: Vec<String>,
    prose: BTreeSet<String>,
    sites: BTreeSet<(String, u32)>,
}

impl Followed {
    fn follow(&mut self, case: &Case, found: &Diagnostic, before: &[Diagnostic]) {
        let Some(help) = &found.help else { return };
        let from = found.help_from.unwrap();
        self.sites.insert((from.file().replace('\\', "/"), from.line()));
        if found.place().is_some_and(|span| span.file.number != 0 || span.file.name.ends_with(".lock")) {
            return;
        }
        let command = |step: &Step| COMMANDS.iter().any(|name| step.snippet.starts_with(name));
        let steps =
            read_help(help).into_iter().filter(|steps| !steps.iter().any(command)).collect::<Vec<_>>();
        if steps.is_empty() && !read_help(help).iter().flatten().any(command) {
            self.prose.insert(help.clone());
        }
        for steps in steps {
            self.tried += 1;
            let known = |(name, snippet, _): &&(&str, &str, &str)| {
                case.name.ends_with(name) && steps.iter().any(|step| step.snippet.starts_with(snippet))
            };
            if !cures(case, &case.text, &steps, found, before) && !NOT_FOLLOWED.iter().any(|one| known(&one))
            {
                let (code, message) = key(found);
                self.faults.push(format!(
                    "{}\n  {code}: {message}\n  help: {help}\n  {steps:?} ({from})",
                    case.name
                ));
            }
        }
    }
}

fn follow_all() -> Followed {
    let mut followed = Followed::default();
    for case in cases() {
        let before = case.findings(&case.text);
        for found in &before {
            followed.follow(&case, found, &before);
        }
    }
    followed
}

#[test]
fn every_cure_cures() {
    let followed = follow_all();
    let faults = &followed.faults;
    assert!(faults.is_empty(), "{} of {}\n{}", faults.len(), followed.tried, faults.join("\n"));
    assert!(followed.tried >= 600, "only {} cures were followed", followed.tried);
    let listed =
        |help: &&String| PROSE.iter().any(|(_, starts)| starts.iter().any(|start| help.starts_with(start)));
    let unlisted: Vec<_> = followed.prose.iter().filter(|help| !listed(help)).collect();
    assert!(unlisted.is_empty(), "helps with nothing to paste that are not listed: {unlisted:#?}");
    let mut missing: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    let all = help_sites();
    for (file, line) in all.difference(&followed.sites) {
        missing.entry(file).or_default().push(*line);
    }
    let known = |file: &&str, lines: &[u32]| {
        UNPROVOKED.iter().any(|(name, count, _)| name == file && *count == lines.len())
    };
    let new: Vec<_> = missing.iter().filter(|(file, lines)| !known(file, lines)).collect();
    assert!(new.is_empty(), "helps that no case provokes: {new:#?}");
}

/// A `--set` is cured by the setting that its help names.
#[test]
fn every_cure_of_a_setting_cures() {
    let folder = root().join("tests/cases/language");
    let text = std::fs::read_to_string(folder.join("set.kdl")).unwrap();
    let check = |settings: &[String]| {
        let options = CheckOptions { settings: settings.to_vec(), ..CheckOptions::default() };
        check_text("set.kdl", &text, &folder, &options).diagnostics
    };
    let (mut tried, mut faults) = (0, Vec::new());
    for line in std::fs::read_to_string(folder.join("set.txt")).unwrap().lines() {
        let settings: Vec<String> = line.split(" --set ").map(str::to_owned).collect();
        let before = check(&settings);
        for found in before
            .iter()
            .filter(|found| found.place().is_some_and(|place| place.file.text.contains(&settings[0])))
        {
            for steps in found.help.as_deref().map(read_help).unwrap_or_default() {
                if COMMANDS.iter().any(|command| steps[0].snippet.starts_with(command)) {
                    continue;
                }
                let snippet = steps[0].snippet.trim_start_matches("--set ");
                let (path, value) = settings[0].split_once('=').unwrap_or((&settings[0], "20"));
                let new = match snippet.contains('.') {
                    true if snippet.contains('=') => snippet.to_owned(),
                    true => format!("{snippet}={value}"),
                    false => format!(
                        "{path}={}",
                        snippet.split_once(['=', ' ']).map_or(snippet, |(_, value)| value)
                    ),
                };
                tried += 1;
                if !is_cured(found, &before, &check(std::slice::from_ref(&new))) {
                    faults.push(format!("{line}\n  {:?}\n  {new}", found.help));
                }
            }
        }
    }
    assert!(faults.is_empty() && tried >= 15, "{} of {tried}\n{}", faults.len(), faults.join("\n"));
}

/// The text of all string literals and comments of the programs, with `{..}` of formats filled in.
fn source_texts() -> String {
    let folders = ["engine/src", "stages/src"].map(|name| root().join(name));
    let files = folders
        .iter()
        .flat_map(|folder| walkdir::WalkDir::new(folder).into_iter().map(|entry| entry.unwrap().into_path()));
    let sources = files.filter(|path| path.extension().is_some_and(|end| end == "rs"));
    let mut all: String = sources.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    for table in [
        "elsewhere.kdl",
        "words.md",
        "codes.md",
        "train.kdl",
        "data.kdl",
        "model.kdl",
        "sample.kdl",
        "pipeline.kdl",
    ] {
        all += &std::fs::read_to_string(root().join("schemas").join(table)).unwrap();
    }
    all
}

#[test]
fn every_command_that_is_named_is_a_command() {
    let text = source_texts().replace("\\\"", "\"");
    let mut commands: BTreeSet<String> = BTreeSet::new();
    for piece in text.split("`fmflow ").skip(1) {
        let command = piece.split(['`', '\n', '|']).next().unwrap().trim();
        let words = command.split_whitespace().map(|word| if word.contains(['{', '<']) { "x" } else { word });
        commands.insert(words.collect::<Vec<_>>().join(" "));
    }
    assert!(commands.len() >= 20, "{commands:?}");
    let mut faults = Vec::new();
    for command in commands {
        let words: Vec<&str> = command.split(' ').map(|word| word.trim_matches('\'')).collect();
        let ran = std::process::Command::new(env!("CARGO_BIN_EXE_fmflow"))
            .args(&words)
            .arg("--help")
            .output()
            .unwrap();
        if !ran.status.success() {
            faults.push(format!("fmflow {command}: {}", String::from_utf8_lossy(&ran.stderr)));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

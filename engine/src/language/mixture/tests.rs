//! Tests mixtures through `check`: their shares, what is refused, and what changes their fingerprint.

use std::path::Path;

use crate::check::{CheckOptions, CheckResult, check_text};
use crate::pipeline::config::{StageConfig, TrainConfig};
use crate::pipeline::fingerprint::{Fingerprint, Ledger};
use crate::pipeline::stage::Stage;
use crate::text::render::render_concise_lines;

/// A pipeline whose training stage reads the mixture `all`; it declares the datasets `a` to `d`.
fn checked(mixtures: &str) -> CheckResult {
    let datasets = ["a", "b", "c", "d"]
        .map(|name| format!("dataset \"{name}\" from=\"data/*.txt\" format=\"text\" held-out=\"10%\"\n"));
    let text = format!(
        r#"pipeline "case" seed=1
{}tokenizer "bpe" kind="byte-level-bpe" vocabulary=512 {{ dataset "a"; dataset "b"; dataset "c"; dataset "d" }}
rows "text" tokenizer="bpe" length=64 packing="concat"
random-init "tiny" tokenizer="bpe" {{ shape "qwen3" hidden=8 layers=1 heads=2 head-dim=4 feed-forward=16 }}
{mixtures}
train "ar" from="tiny" {{
    data rows="text" mixture="all"
    objective "autoregressive"
    attention "causal"
    batch rows=4
    steps 100
    learning-rate peak=1e-3 final=1e-4 shape="cosine"
}}
"#,
        datasets.concat()
    );
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases/check");
    check_text("case.kdl", &text, &base, &CheckOptions::default())
}

fn stage(mixtures: &str) -> Stage {
    let checked = checked(mixtures);
    let pipeline =
        checked.pipeline.unwrap_or_else(|| panic!("{}", render_concise_lines(&checked.diagnostics)));
    pipeline.stage_named("ar").unwrap().clone()
}

fn config(mixtures: &str) -> TrainConfig {
    match stage(mixtures).config {
        StageConfig::Train(config) => *config,
        other => panic!("{other:?}"),
    }
}

/// Phases, and (dataset, shares in every phase).
fn shares(mixtures: &str) -> (Vec<u64>, Vec<(String, Vec<f64>)>) {
    let config = config(mixtures);
    let all: Vec<Vec<f64>> = (0..config.phases.len()).map(|at| config.shares(at)).collect();
    let of = |at: usize| all.iter().map(|shares| (shares[at] * 1e6).round() / 1e6).collect();
    let parts = config.parts.iter().enumerate().map(|(at, part)| (part.dataset.clone(), of(at)));
    (config.phases.clone(), parts.collect())
}

fn named(parts: &[(&str, &[f64])]) -> Vec<(String, Vec<f64>)> {
    parts.iter().map(|(name, shares)| ((*name).to_owned(), shares.to_vec())).collect()
}

#[test]
fn a_mixture_inside_divides_its_share() {
    let nested = "mixture \"all\" { dataset \"a\"; mixture \"prose\" weight=3 }
        mixture \"prose\" { dataset \"b\" weight=10; mixture \"web\" weight=20 }
        mixture \"web\" { dataset \"c\" weight=0.1; dataset \"a\" weight=0.3 }";
    let flat =
        "mixture \"all\" { dataset \"a\" weight=2.5; dataset \"b\" weight=1; dataset \"c\" weight=0.5 }";
    assert_eq!(shares(nested), shares(flat));
    assert_eq!(shares(nested), (vec![0], named(&[("a", &[0.625]), ("b", &[0.25]), ("c", &[0.125])])));
    let roles: Vec<String> = stage(nested).inputs.iter().map(|input| input.role.to_string()).collect();
    assert_eq!(roles, ["from", "rows/a", "rows/b", "rows/c"]);
}

#[test]
fn weights_change_at_their_updates_at_every_depth() {
    let (phases, parts) = shares(
        "mixture \"all\" { dataset \"a\" { weight 1 until=10; weight 3 }; mixture \"late\" { weight 0 until=50; weight 1 } }
         mixture \"late\" { dataset \"b\" { weight 1 until=70; weight 3 }; dataset \"c\" }",
    );
    assert_eq!(phases, [0, 10, 50, 70]);
    let late = [0.0, 0.0, 0.125, 0.1875];
    assert_eq!(
        parts,
        named(&[("a", &[1.0, 1.0, 0.75, 0.75]), ("b", &late), ("c", &[0.0, 0.0, 0.125, 0.0625])])
    );
    let config = config(
        "mixture \"all\" { dataset \"a\" { weight 1 until=10; weight 0 }; dataset \"b\" { weight 0 until=10; weight 1 } }",
    );
    assert_eq!(config.mean_shares(), [0.1, 0.9]);
}

#[test]
fn contradictions_are_reported() {
    let cases = [
        (
            "mixture \"all\" { dataset \"a\" { weight 1 until=9; weight 2 until=9; weight 3 } }",
            "out-of-range]: a weight of `a` ends before it begins",
        ),
        (
            "mixture \"all\" { dataset \"a\" { weight 1; weight 2 } }",
            "missing-field]: a weight of `a` that another one follows needs `until`",
        ),
        (
            "mixture \"all\" { dataset \"a\" { weight 1 until=9 } }",
            "field-does-not-apply]: the last weight of `a` must not have an end",
        ),
        (
            "mixture \"all\" { dataset \"a\" weight=2 { weight 1 until=9; weight 2 } }",
            "conflicting-fields]: `dataset` has `weight` twice",
        ),
        (
            "mixture \"all\" { dataset \"a\" { weight 1 until=100; weight 2 } }",
            "warmup-over-steps]: the weights of the mixture change after the 100 steps of `ar`",
        ),
        ("mixture \"all\"", "empty-mixture]: mixture `all` has no dataset"),
        (
            "mixture \"all\" { mixture \"b\" }\nmixture \"b\" { mixture \"c\" }\nmixture \"c\" { mixture \"b\" }",
            "mixture-cycle]: mixtures contain each other: `b` -> `c` -> `b`",
        ),
        ("mixture \"all\" { mixture \"nowhere\" }", "unknown-name]: no `mixture` is called `nowhere`"),
        ("mixture \"all\" { dataset \"a\"; mixture \"a\" }", "unknown-name]: no `mixture` is called `a`"),
    ];
    for (mixtures, expected) in cases {
        let found = render_concise_lines(&checked(mixtures).diagnostics);
        let errors: Vec<_> = found.lines().filter(|line| line.contains("error[")).collect();
        assert!(errors.len() == 1 && errors[0].contains(expected), "{mixtures}\n{found}");
    }
}

#[test]
fn deep_and_wide_mixtures_are_refused_quickly() {
    let tower: String = (0..40).map(|i| format!("mixture \"m{i}\" {{ mixture \"m{}\" }}\n", i + 1)).collect();
    let found = render_concise_lines(
        &checked(&format!(
            "mixture \"all\" {{ mixture \"m0\" }}\n{tower}mixture \"m40\" {{ dataset \"a\" }}"
        ))
        .diagnostics,
    );
    assert!(found.contains("nested-too-deep]: mixture `all` is nested more than 8 levels deep"), "{found}");
    let layer = |i: usize| {
        let parts: String = (0..8).map(|j| format!("mixture \"m{}-{j}\"; ", i + 1)).collect();
        (0..8).map(|j| format!("mixture \"m{i}-{j}\" {{ {parts} }}\n")).collect::<String>()
    };
    let thicket: String = (0..7).map(layer).collect();
    let last: String = (0..8).map(|j| format!("mixture \"m7-{j}\" {{ dataset \"a\" }}\n")).collect();
    let found = render_concise_lines(
        &checked(&format!("mixture \"all\" {{ mixture \"m0-0\" }}\n{thicket}{last}")).diagnostics,
    );
    assert!(found.contains("nested-too-deep"), "{found}");
}

fn fingerprint(mixtures: &str) -> Fingerprint {
    let stage = stage(mixtures);
    // The role stands in for the contents of the rows, so that equal inputs have equal fingerprints.
    let upstream: Vec<_> = stage.inputs.iter().map(|input| Fingerprint(input.role.to_string())).collect();
    Ledger::for_stage(&stage, &[], &upstream).fingerprint()
}

#[test]
fn other_shares_are_another_fingerprint() {
    // The same fields and the same datasets in the same order; only the computed shares differ.
    let inside = |first: &str, second: &str| {
        format!(
            "mixture \"all\" {{ dataset \"a\"; mixture \"m\" }}\n\
             mixture \"m\" {{ dataset \"{first}\" weight=1; dataset \"{second}\" weight=3 }}"
        )
    };
    assert_ne!(fingerprint(&inside("a", "b")), fingerprint(&inside("b", "a")));
    let scheduled = |until: u64| {
        format!("mixture \"all\" {{ dataset \"a\" {{ weight 1 until={until}; weight 2 }}; dataset \"b\" }}")
    };
    assert_ne!(fingerprint(&scheduled(10)), fingerprint(&scheduled(11)));
    let named = |name: &str| {
        format!(
            "mixture \"all\" {{ dataset \"a\"; mixture \"{name}\" }}\nmixture \"{name}\" {{ dataset \"b\" }}"
        )
    };
    assert_eq!(fingerprint(&named("m")), fingerprint(&named("n")));
    let plain = stage("mixture \"all\" { dataset \"a\" weight=2; dataset \"b\" }");
    assert!(plain.fields.iter().all(|field| !field.path.ends_with(".shares")));
}

#[test]
fn a_training_stage_outside_of_a_cycle_of_mixtures_does_not_follow_it() {
    let text =
        "mixture \"all\" { mixture \"b\" }\nmixture \"b\" { mixture \"c\" }\nmixture \"c\" { mixture \"b\" }";
    let found = render_concise_lines(&checked(text).diagnostics);
    assert!(found.contains("mixture-cycle"), "{found}");
}

#[test]
fn a_part_without_a_name_is_called_by_its_kind() {
    let text = "mixture \"all\" { dataset { weight 1; weight 2 } }";
    let found = render_concise_lines(&checked(text).diagnostics);
    assert!(found.contains("a weight of `dataset` that another one follows needs `until`"), "{found}");
}

//! Commands that people know from other tools, and what to use here instead.

/// Words that are typed for a command, and what to use. Every command in backticks is parsed by a test.
const OTHER_COMMANDS: &[(&[&str], &str)] = &[
    (
        &["sample", "infer", "inference", "complete", "predict", "infill", "prompt"],
        "`fmflow generate CHECKPOINT --prompt Once` asks a checkpoint for text, `fmflow chat CHECKPOINT` talks with it, and a \
         `generate \"samples\" from=\"sft\" sampler=\"parallel\" { prompt \"Once\" new-tokens=32 }` in the file keeps \
         samples as a result; see `fmflow explain generate`",
    ),
    (
        &["eval", "evaluate", "evaluation", "benchmark", "score"],
        "scores come from an `evaluate` stage of the file: `fmflow run FILE --until STAGE`, then \
         `fmflow show FILE STAGE`; see `fmflow explain evaluate`",
    ),
    (
        &["train", "pretrain", "midtrain", "sft", "finetune", "fine-tune", "fit", "convert", "export"],
        "it is a stage of the file: `fmflow run FILE --until STAGE` runs it and what it needs, \
         `fmflow graph FILE` names the stages; see `fmflow explain train`",
    ),
    (
        &["dataset", "datasets", "tokenize", "preprocess", "prepare", "prepare-data", "download", "fetch"],
        "data is declared in the file and prepared by its `rows` stages: `fmflow check FILE` reads the first \
         records, `fmflow run FILE --until STAGE` makes the rows, `fmflow data show FILE STAGE` shows them; see \
         `fmflow explain dataset`",
    ),
    (
        &["submit", "launch", "sbatch", "queue", "schedule"],
        "fmflow submits nothing: write `fmflow run FILE` into the job script; on SIGTERM it saves, and \
         `fmflow resume` continues in the next job",
    ),
    (
        &["logs", "metrics", "history", "tail", "monitor", "watch", "runs"],
        "`fmflow log FILE STAGE` prints the metrics of a stage, `fmflow log` lists the runs, \
         `fmflow status FILE --follow` watches one",
    ),
    (
        &["clean", "cleanup", "rm", "remove", "delete", "prune", "purge", "cache"],
        "`fmflow gc` lists the results that no pipeline uses, `fmflow gc --yes` removes them",
    ),
    (&["validate", "lint", "test"], "`fmflow check FILE` reports the mistakes of a file"),
    (&["start", "exec", "execute", "build", "make"], "`fmflow run FILE` runs what is missing"),
    (&["continue", "restart"], "`fmflow resume` continues the last run; `fmflow run FILE` does so too"),
    (
        &["ls", "list", "ps", "info", "inspect"],
        "`fmflow status FILE` shows the stages, `fmflow show FILE` their results",
    ),
    (
        &["compare"],
        "`fmflow diff A B` compares two results or runs, `fmflow why FILE` shows what changed since a stage ran",
    ),
    (
        &["new", "create", "template", "quickstart"],
        "`fmflow init first` writes a small project into the folder `first`",
    ),
    (
        &["docs", "doc", "man", "reference"],
        "`fmflow explain train` explains a word, `fmflow schema` prints the whole language",
    ),
    (&["server"], "`fmflow serve CHECKPOINT` answers over HTTP"),
    (
        &["deploy", "push", "upload", "publish"],
        "fmflow uploads nothing: an `export` stage writes a folder for other programs, and \
         `fmflow show FILE STAGE --path` prints where it is; see `fmflow explain export`",
    ),
];

/// What to use instead of a command that other tools have; `None` for other words.
pub(super) fn find_own_command(typed: &str) -> Option<&'static str> {
    let typed = typed.to_lowercase().replace('_', "-");
    OTHER_COMMANDS.iter().find(|(words, _)| words.contains(&typed.as_str())).map(|(_, use_)| *use_)
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn every_advised_command_parses() {
        let mut seen = 0;
        for (_, advice) in OTHER_COMMANDS {
            for command in advice.split('`').skip(1).step_by(2).filter(|part| part.starts_with("fmflow ")) {
                let parsed = Cli::try_parse_from(command.split(' '));
                assert!(parsed.is_ok(), "{command}: {}", parsed.unwrap_err());
                seen += 1;
            }
        }
        assert!(seen >= OTHER_COMMANDS.len());
    }

    #[test]
    fn no_command_of_ours_is_called_foreign_and_no_word_stands_twice() {
        let mut words: Vec<_> = OTHER_COMMANDS.iter().flat_map(|(words, _)| *words).collect();
        let all = words.len();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), all);
        let command = Cli::command();
        let own: Vec<_> =
            command.get_subcommands().filter(|own| find_own_command(own.get_name()).is_some()).collect();
        assert!(own.is_empty(), "{own:?}");
    }
}

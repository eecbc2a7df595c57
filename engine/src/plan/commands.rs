//! Commands that a run of a pipeline executes: a list for `check`, `plan`, `run` and `approve`, so that they cannot disagree.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::pipeline::Pipeline;
use crate::pipeline::config::{CommandConfig, StageConfig};
use crate::pipeline::field_path::command;
use crate::pipeline::stage::Stage;
use crate::pipeline::watchers::CommandText;
use crate::text::escape::{escape_line, show_path};

/// A command that a run executes.
#[derive(Clone, Debug)]
pub(crate) struct AskedCommand {
    /// What it is for, such as `` `on "failed"` ``.
    pub what: String,
    /// The word that stands for this use of commands in approvals.
    pub kind: &'static str,
    /// The command, as `sh` gets it.
    pub text: String,
    /// `file:line:column` of it.
    pub place: String,
    /// Absolute path of the folder of its file.
    pub folder: PathBuf,
    /// Environment variables that it declares, as `NAME=value` or, if they are taken over, `NAME`: they can change what it does.
    pub environment: Vec<String>,
    /// Files that it declares as its program.
    pub files: Vec<PathBuf>,
    /// Files that it reads: path in the folder that it runs in, and where the file is.
    pub inputs: Vec<(PathBuf, PathBuf)>,
}

impl AskedCommand {
    fn new(what: String, kind: &'static str, command: &CommandText) -> Self {
        Self {
            what,
            kind,
            text: command.text.clone(),
            place: command.span.to_string(),
            folder: command.folder().to_owned(),
            environment: Vec::new(),
            files: Vec::new(),
            inputs: Vec::new(),
        }
    }

    /// The command for people: what it is for and where it is written, then every line of it. No line can pass for another.
    #[must_use]
    pub(crate) fn render(&self, remark: &str) -> String {
        let lines = self.text.split('\n').map(|line| format!("    | {}\n", escape_line(line)));
        let given = self.environment.iter().map(|given| format!("    with {}\n", escape_line(given)));
        let all: String = lines.chain(given).collect();
        format!("  {} ({}){remark}\n{all}", self.what, escape_line(&self.place))
    }

    /// The command for programs.
    #[must_use]
    pub(crate) fn to_json(&self, approved: bool) -> Value {
        json!({
            "for": self.what,
            "command": self.text,
            "environment": self.environment,
            "place": self.place,
            "approved": approved,
        })
    }
}

/// The commands that a run of these stages executes, in the order of the text.
#[must_use]
pub(crate) fn list_commands<'a>(
    pipeline: &Pipeline,
    stages: impl Iterator<Item = &'a Stage>,
) -> Vec<AskedCommand> {
    let hooks = pipeline.watchers.hooks.iter().map(|hook| {
        let events: Vec<String> = hook.events.iter().map(|event| format!("{:?}", event.word())).collect();
        AskedCommand::new(format!("on {}", events.join(" ")), "on", &hook.command)
    });
    let pipes = pipeline.watchers.pipe.iter();
    let pipes = pipes.map(|pipe| AskedCommand::new("metrics pipe".to_owned(), "metrics", pipe));
    hooks.chain(pipes).chain(stages.filter_map(describe_stage)).collect()
}

/// The command of a stage that is a program.
fn describe_stage(stage: &Stage) -> Option<AskedCommand> {
    let StageConfig::Command(config) = &stage.config else { return None };
    let span = stage.place(command::RUN).clone();
    let text = CommandText { text: config.command.clone(), span };
    let files = config.programs.iter().map(|file| file.path.clone()).collect();
    let given = config.environment.iter().map(|(name, value)| match value {
        Some(value) => format!("{name}={value}"),
        None => name.clone(),
    });
    let environment = given.collect();
    Some(AskedCommand {
        files,
        inputs: list_inputs(config),
        environment,
        ..AskedCommand::new(format!("stage `{}`", stage.name), "command", &text)
    })
}

/// The input files of a program, each with its path in the folder that it runs in.
fn list_inputs(config: &CommandConfig) -> Vec<(PathBuf, PathBuf)> {
    let inputs = config.inputs.iter().flat_map(|input| {
        let folder = Path::new("inputs").join(&input.name);
        let files = input.files.iter().flatten();
        files.map(move |file| (folder.join(&file.place), file.path.clone()))
    });
    inputs.collect()
}

/// The folders that commands of a list run in or come from, for people.
#[must_use]
pub(crate) fn render_folders(commands: &[AskedCommand]) -> String {
    let mut folders: Vec<&Path> = commands.iter().map(|command| command.folder.as_path()).collect();
    folders.sort_unstable();
    folders.dedup();
    folders.into_iter().map(show_path).collect::<Vec<_>>().join(", ")
}

//! Consent: a pipeline executes no program that its user has not approved. An approval is a file in the user's folder of states;
//! its name is the digest of the command, of where it comes from and of the files that it names.

mod digest;

use std::fs;
use std::io;
use std::path::PathBuf;

use digest::describe;

use crate::error::{Error, Result};
use crate::pipeline::Pipeline;
use crate::pipeline::stage::Stage;
use crate::plan::commands::{AskedCommand, list_commands, render_folders};
use crate::run::CommandGate;
use crate::text::display::count_noun;
use crate::text::environment::find_state_home;
use crate::text::place::Span;

/// The commands of a pipeline, and which of them are approved.
#[derive(Default)]
pub(super) struct Consent {
    /// Each with whether it is approved.
    pub(super) commands: Vec<(AskedCommand, bool)>,
}

impl Consent {
    /// Looks up the commands that a run of these stages executes.
    pub(super) fn find<'a>(pipeline: &Pipeline, stages: impl Iterator<Item = &'a Stage>) -> Result<Self> {
        let commands = list_commands(pipeline, stages);
        let known = |command: AskedCommand| is_approved(&command).map(|known| (command, known));
        Ok(Self { commands: commands.into_iter().map(known).collect::<Result<_>>()? })
    }

    /// What `run` says about commands that are not approved; nothing if there are none.
    pub(super) fn describe_refusal(&self, approve: &str) -> Option<String> {
        let count = self.commands.iter().filter(|(_, known)| !known).count();
        let these = if count == 1 { "that is" } else { "that are" };
        (count > 0).then(|| {
            format!("it executes {} {these} not approved: `{approve}`", count_noun(count, "command"))
        })
    }

    /// All commands for people, with the state of each; nothing if there are none.
    pub(super) fn render(&self) -> String {
        let state = |known: bool| if known { "approved" } else { "not approved" };
        let all =
            self.commands.iter().map(|(command, known)| command.render(&format!(", {}", state(*known))));
        let all: String = all.collect();
        if all.is_empty() { all } else { format!("`run` executes these commands:\n{all}") }
    }

    /// All commands for programs.
    pub(super) fn to_json(&self) -> serde_json::Value {
        self.commands.iter().map(|(command, known)| command.to_json(*known)).collect()
    }

    /// Refuses commands that are not approved, and shows them.
    ///
    /// # Errors
    /// [`Error::Usage`], with the command that approves them.
    pub(super) fn refuse_unapproved(&self, approve: &str) -> Result<()> {
        let open: Vec<_> =
            self.commands.iter().filter(|(_, known)| !known).map(|(asked, _)| asked.clone()).collect();
        if open.is_empty() {
            return Ok(());
        }
        let shown: String = open.iter().map(|command| command.render("")).collect();
        let message = format!(
            "this pipeline executes programs, and you have not approved them; its folder is {}:\n{}",
            render_folders(&open),
            shown.trim_end()
        );
        let help = format!(
            "read them; then approve them with `{approve}`, or allow them once with `--allow-commands`"
        );
        Err(Error::usage(message, help))
    }
}

impl CommandGate for Consent {
    fn refuse(&self, place: &Span) -> Option<String> {
        let place = place.to_string();
        let Some((asked, _)) = self.commands.iter().find(|(asked, _)| asked.place == place) else {
            return Some("is not among the commands that were approved".into());
        };
        match is_approved(asked) {
            Ok(true) => None,
            Ok(false) => Some("changed since it was approved, so it is not executed".into()),
            Err(error) => Some(format!("is not executed, because its approval cannot be checked: {error}")),
        }
    }
}

/// The gate of `--allow-commands`: the user has allowed what the commands are when they start.
pub(super) struct AllCommands;

impl CommandGate for AllCommands {
    fn refuse(&self, _: &Span) -> Option<String> {
        None
    }
}

/// The folder of approvals.
fn find_approvals() -> Result<PathBuf> {
    let folder = find_state_home().map(|folder| folder.join("fmflow/approved"));
    folder.ok_or_else(|| {
        let message =
            "there is no folder for approvals: neither `XDG_STATE_HOME` nor `HOME` is an absolute path";
        Error::usage(message, "set `HOME`, or allow the commands once with `--allow-commands`")
    })
}

/// Whether a command is approved.
///
/// # Errors
/// If a file that it names cannot be read.
fn is_approved(command: &AskedCommand) -> Result<bool> {
    // Without a folder nothing can have been approved; `approve` says why.
    let Ok(folder) = find_approvals() else { return Ok(false) };
    let (name, text) = describe(command)?;
    match fs::read(folder.join(name)) {
        Ok(found) => Ok(found == text.as_bytes()),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(false)
        }
        Err(error) => Err(Error::io("read the approvals in", &folder)(error)),
    }
}

/// Approves a command.
///
/// # Errors
/// If the approval cannot be written.
pub(super) fn approve(command: &AskedCommand) -> Result<()> {
    let folder = find_approvals()?;
    let (name, text) = describe(command)?;
    fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
    let (place, new) = (folder.join(&name), folder.join(format!(".{name}.{}", std::process::id())));
    fs::write(&new, text).map_err(Error::io("write", &new))?;
    fs::rename(&new, &place).map_err(Error::io("write", &place))
}

/// Takes an approval back. Whether there was one.
///
/// # Errors
/// If it cannot be removed.
pub(super) fn revoke(command: &AskedCommand) -> Result<bool> {
    let place = find_approvals()?.join(describe(command)?.0);
    match fs::remove_file(&place) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io("remove", &place)(error)),
    }
}

//! Which pipeline file a command is about.

use std::path::{Path, PathBuf};

use super::CliCommand;

impl CliCommand {
    /// The pipeline file that the command is about, whose store it uses; `None` for the store of the current folder.
    pub(super) fn find_file(&self) -> Option<&Path> {
        match self {
            Self::Check(arguments) => Some(&arguments.source.file),
            Self::Plan(arguments) => Some(&arguments.source.file),
            Self::Run(arguments) => Some(&arguments.source.file),
            Self::Resume(arguments) => arguments.file.as_deref(),
            Self::Approve(arguments) => Some(&arguments.source.file),
            Self::Status(arguments) => Some(&arguments.source.file),
            Self::Why(arguments) => Some(&arguments.source.file),
            Self::Show(arguments) => Some(&arguments.source.file),
            Self::Data(arguments) => Some(arguments.file()),
            Self::Log(arguments) => arguments.file.as_deref(),
            Self::Report(arguments) => arguments.file(),
            Self::Graph(arguments) => Some(&arguments.source.file),
            Self::Generate(arguments) => arguments.checkpoint.file(),
            Self::Chat(arguments) => arguments.checkpoint.file(),
            Self::Bench(arguments) => arguments.checkpoint.file(),
            Self::Serve(arguments) => arguments.file(),
            Self::Gc(arguments) => arguments.files.first().map(PathBuf::as_path),
            Self::Doctor(arguments) => arguments.file.as_deref(),
            Self::Init(_) | Self::Diff(_) | Self::Verify(_) | Self::Grade(_) => None,
            Self::Explain(_) | Self::Schema(_) | Self::Completions(_) => None,
        }
    }
}

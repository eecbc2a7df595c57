//! Commands that watch a run: hooks that run when a stage ends, and the pipe that gets its metrics. Results do not depend on them.

use std::path::Path;
use std::time::Duration;

use crate::text::place::Span;

/// A command for `sh`, and where it is written.
#[derive(Clone, Debug)]
pub struct CommandText {
    /// The command.
    pub text: String,
    /// Where it is written.
    pub span: Span,
}

impl CommandText {
    /// Absolute path of the folder of the file that contains it.
    #[must_use]
    pub(crate) fn folder(&self) -> &Path {
        &self.span.file.folder
    }
}

/// What a hook waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookEvent {
    /// A training diverged.
    Diverged,
    /// A stage failed; a training that diverged did, too.
    Failed,
    /// A stage made its result.
    Done,
}

impl HookEvent {
    /// The word in the language and in the command's environment.
    #[must_use]
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Diverged => "diverged",
            Self::Failed => "failed",
            Self::Done => "done",
        }
    }
}

/// A command that runs when a stage ends.
#[derive(Clone, Debug)]
pub struct Hook {
    /// What it waits for.
    pub events: Vec<HookEvent>,
    /// The command; `{stage}` and `{event}` stand for words of letters, digits, `-`, `_`, `.` and `/`, which a shell takes as they are.
    pub command: CommandText,
    /// How long it may run.
    pub timeout: Duration,
}

/// All commands that watch the runs of a pipeline.
#[derive(Clone, Debug, Default)]
pub struct Watchers {
    /// Those that run when a stage ends.
    pub hooks: Vec<Hook>,
    /// The one that gets the metrics.
    pub pipe: Option<CommandText>,
}

//! Commands that watch a run: `on` of `pipeline` and of profiles, and `metrics pipe=`.

use std::time::Duration;

use super::unknown_word;
use crate::language::names::Declarations;
use crate::language::record::{Leaf, Record};
use crate::pipeline::watchers::{CommandText, Hook, HookEvent, Watchers};

/// The commands that watch the runs of a pipeline.
#[must_use]
pub(crate) fn decode_watchers(world: &Declarations) -> Watchers {
    let nodes = world.of_kind("pipeline").chain(world.of_kind("profile"));
    let hooks = nodes.flat_map(|record| record.children("on")).filter_map(decode_hook).collect();
    let metrics = world.of_kind("pipeline").find_map(|record| record.child("metrics"));
    Watchers { hooks, pipe: metrics.and_then(|metrics| decode_command(metrics.leaf("pipe")?)) }
}

/// A command, unless its field is broken.
pub(super) fn decode_command(leaf: &Leaf) -> Option<CommandText> {
    Some(CommandText { text: leaf.text()?.to_owned(), span: leaf.span.clone() })
}

fn decode_hook(record: &Record) -> Option<Hook> {
    let event = |leaf: &Leaf| match leaf.expect_text() {
        "diverged" => HookEvent::Diverged,
        "failed" => HookEvent::Failed,
        "done" => HookEvent::Done,
        word => unknown_word(word),
    };
    Some(Hook {
        events: record.all("event").map(event).collect(),
        command: decode_command(record.leaf("run")?)?,
        // What is longer than a `Duration` can say never ends either.
        timeout: Duration::try_from_secs_f64(record.number("timeout")?).unwrap_or(Duration::MAX),
    })
}

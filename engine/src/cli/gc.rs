//! `fmflow gc`: lists results that no pipeline uses any more and, with `--yes`, removes them.

mod roots;

use std::path::{Path, PathBuf};

use clap::Args;
use indexmap::IndexSet;
use serde_json::json;

use self::roots::{RootPipeline, collect_roots, find_root_pipelines};
use super::{CommandContext, pipeline_arguments, run};
use crate::error::{Error, Result};
use crate::store::garbage::{self, ItemKind, StoreItem, to_entry_name};
use crate::store::{Store, lock};
use crate::text::display::{format_bytes, render_table};
use crate::text::escape::{escape_line, show_path};
use crate::text::read::display_path;
use crate::text::suggest;

#[derive(Debug, Args)]
pub(super) struct GcArguments {
    /// Pipelines whose results are kept [default: all that were ever run in the store]
    pub(super) files: Vec<PathBuf>,
    /// Remove the garbage; without this, it is only listed
    #[arg(long)]
    yes: bool,
    /// Keep this artifact from now on, even if no pipeline uses it
    #[arg(long, value_name = "ARTIFACT", conflicts_with_all = ["yes", "files"])]
    pin: Vec<String>,
    /// Undo `--pin`
    #[arg(long, value_name = "ARTIFACT", conflicts_with_all = ["yes", "files"])]
    unpin: Vec<String>,
    /// Answer with one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run_gc(arguments: &GcArguments, context: &CommandContext<'_>) -> Result<()> {
    let Some(store) = context.open_store()? else {
        let message = format!("there is no store at {}", show_path(&context.store));
        return Err(Error::usage(message, "name one with `--store`, or start with `fmflow run FILE`"));
    };
    if !arguments.pin.is_empty() || !arguments.unpin.is_empty() {
        update_pins(arguments, &store)?;
    }
    let found = match arguments.yes {
        true => collect_garbage(arguments, &store, context)?,
        false => preview_garbage(arguments, &store, context)?,
    };
    report_survey(&found, arguments, context)
}

/// Everything in the store, with its users.
struct Survey {
    items: Vec<StoreItem>,
    /// Pipelines whose file is gone and that are the only user of something.
    gone: Vec<String>,
    /// Who runs in the store now.
    running: Option<String>,
}

/// Looks without the lock. While a run is in progress, leftovers are left out: they cannot be distinguished from its unfinished work.
fn preview_garbage(arguments: &GcArguments, store: &Store, context: &CommandContext<'_>) -> Result<Survey> {
    let mut found = survey_results(arguments, store)?;
    found.running = lock::find_live_holders(store)?.into_iter().map(|holder| holder.words).next();
    if found.running.is_none() {
        found.items.extend(garbage::collect_leftovers(store)?);
    }
    found.note_gone_pipelines(arguments, store, context)?;
    Ok(found)
}

/// Takes the lock, surveys the store and removes the garbage. Leftovers are collected first, because taking the lock removes
/// what dead processes left.
fn collect_garbage(arguments: &GcArguments, store: &Store, context: &CommandContext<'_>) -> Result<Survey> {
    let leftovers = garbage::collect_leftovers(store)?;
    let lock = store.lock().map_err(run::unwritable_store)?;
    let mut found = survey_results(arguments, store)?;
    for item in found.items.iter().filter(|item| item.users.is_empty()) {
        store.discard(&lock, &item.path)?;
    }
    found.items.extend(leftovers);
    found.note_gone_pipelines(arguments, store, context)?;
    Ok(found)
}

impl Survey {
    /// Tells the user how to drop what pipelines keep whose file is gone.
    fn note_gone_pipelines(
        &self,
        arguments: &GcArguments,
        store: &Store,
        context: &CommandContext<'_>,
    ) -> Result<()> {
        let command = format_counting_command(arguments, store, context)?;
        for name in &self.gone {
            let note = format!(
                "note: {} is gone, but the results of its last run are kept; to drop them, name the pipelines \
                 that count: `{command}`\n",
                escape_line(name)
            );
            context.output.message(&note);
        }
        Ok(())
    }
}

/// The store's items with their users, including records of runs that nobody needs any more.
fn survey_results(arguments: &GcArguments, store: &Store) -> Result<Survey> {
    let sources = find_root_pipelines(&arguments.files, store)?;
    let roots = collect_roots(&sources, store)?;
    let mut items = garbage::collect_store_items(store, &roots)?;
    let needed: Vec<_> = sources.iter().filter_map(|source| source.gone).collect();
    items.extend(garbage::collect_old_records(store, &items, &needed)?);
    let gone: Vec<_> = sources.iter().filter(|source| source.gone.is_some()).collect();
    let by_gone = |user: &String| gone.iter().any(|source| source.user_name() == *user);
    // What another user keeps as well would not be freed.
    let alone = |item: &&StoreItem| item.users.iter().all(by_gone);
    let keeps = |source: &&&RootPipeline| {
        items.iter().filter(alone).any(|item| item.users.contains(&source.user_name()))
    };
    let gone = gone.iter().filter(keeps).map(|source| source.display_name()).collect();
    Ok(Survey { items, gone, running: None })
}

/// A `gc` command that names every pipeline whose file still exists.
fn format_counting_command(
    arguments: &GcArguments,
    store: &Store,
    context: &CommandContext<'_>,
) -> Result<String> {
    let here =
        find_root_pipelines(&arguments.files, store)?.into_iter().filter(|source| source.gone.is_none());
    let files: IndexSet<_> =
        here.map(|source| pipeline_arguments::quote_path(Path::new(&display_path(&source.file)))).collect();
    let joined = files.into_iter().collect::<Vec<_>>().join(" ");
    Ok(context.format_command("gc", if joined.is_empty() { "FILE" } else { &joined }))
}

fn update_pins(arguments: &GcArguments, store: &Store) -> Result<()> {
    // Runs go on meanwhile.
    let lock = store.lock_shared().map_err(run::unwritable_store)?;
    let items = garbage::collect_store_items(store, &[])?;
    let _turn = store.wait_for_turn()?;
    let mut pins = garbage::read_artifact_pins(store)?;
    let names = || {
        items
            .iter()
            .filter(|item| matches!(item.kind, ItemKind::Artifact | ItemKind::Permanent))
            .map(|item| to_entry_name(&item.path))
    };
    for wanted in arguments.pin.iter().map(|wanted| read_artifact_name(wanted)) {
        if !names().any(|known| known == wanted) {
            let message = format!("the store has no artifact `{wanted}`");
            return Err(Error::Usage { message, help: suggest::suggest_names(wanted, names()) });
        }
        if !pins.iter().any(|pin| pin == wanted) {
            pins.push(wanted.to_owned());
        }
    }
    for unwanted in arguments.unpin.iter().map(|unwanted| read_artifact_name(unwanted)) {
        let Some(at) = pins.iter().position(|pin| pin == unwanted) else {
            let message = format!("`{unwanted}` is not pinned");
            return Err(Error::Usage {
                message,
                help: suggest::suggest_names(unwanted, pins.iter().map(String::as_str)),
            });
        };
        pins.remove(at);
    }
    store.set_pins(&lock, &pins)
}

/// The name in an argument that may be the path of an artifact.
fn read_artifact_name(text: &str) -> &str {
    Path::new(text).file_name().and_then(|name| name.to_str()).unwrap_or(text)
}

fn report_survey(found: &Survey, arguments: &GcArguments, context: &CommandContext<'_>) -> Result<()> {
    let (kept, going): (Vec<_>, Vec<_>) = found.items.iter().partition(|item| !item.users.is_empty());
    let kept_bytes = garbage::sum_bytes(kept.iter().copied());
    let going_bytes = garbage::sum_freed_bytes(going.iter().copied(), kept.iter().copied());
    if arguments.json {
        return context.output.json(&json!({
            "schema": "fmflow.gc/1",
            "removed": arguments.yes,
            "bytes": going_bytes,
            "garbage": going.iter().map(|item| render_item_json(item)).collect::<Vec<_>>(),
            "kept": kept.iter().map(|item| render_item_json(item)).collect::<Vec<_>>(),
            "gone": found.gone,
            "running": found.running,
        }));
    }
    let mut text = String::new();
    if !kept.is_empty() {
        text +=
            &render_table(&["kept", "size", "by"], kept.iter().map(|item| format_kept_row(item)).collect());
        text += "\n";
    }
    let head = if arguments.yes { "removed" } else { "garbage" };
    if !going.is_empty() {
        text += &render_table(
            &[head, "size", "what", "made"],
            going.iter().map(|item| format_garbage_row(item)).collect(),
        );
        text += "\n";
    }
    let (count, freed) = (going.len(), format_bytes(going_bytes));
    text += &match (count, arguments.yes) {
        (0, _) => format!("nothing to remove; {} in use\n", format_bytes(kept_bytes)),
        (_, true) => format!("removed {count}, freed {freed}; {} in use\n", format_bytes(kept_bytes)),
        (_, false) => format!("{count} to remove, freeing {freed}; {} in use\n", format_bytes(kept_bytes)),
    };
    match (&found.running, count, arguments.yes) {
        (Some(holder), ..) => text += &format!("a run is in progress ({holder}): wait until it ends\n"),
        (None, 1.., false) => text += &format!("next: {}\n", format_removal_command(arguments, context)),
        _ => {}
    }
    context.output.result(&text)
}

/// The command that removes what was listed.
fn format_removal_command(arguments: &GcArguments, context: &CommandContext<'_>) -> String {
    let files: Vec<_> = arguments.files.iter().map(|file| pipeline_arguments::quote_path(file)).collect();
    let words = files.into_iter().chain(["--yes".to_owned()]).collect::<Vec<_>>();
    context.format_command("gc", &words.join(" "))
}

fn format_kept_row(item: &StoreItem) -> Vec<String> {
    vec![format_item_name(item), format_bytes(item.size.bytes), item.users.join(", ")]
}

fn format_garbage_row(item: &StoreItem) -> Vec<String> {
    let made = item.created.as_deref().and_then(|time| time.get(..16)).unwrap_or_default().replace('T', " ");
    vec![format_item_name(item), format_bytes(item.size.bytes), item.kind.word().to_owned(), made]
}

/// The name of an item's folder, with what tells it from that of an artifact.
fn format_item_name(item: &StoreItem) -> String {
    let name = to_entry_name(&item.path);
    match item.kind {
        ItemKind::Record => format!("runs/{name}"),
        ItemKind::Permanent => format!("permanent/{name}"),
        ItemKind::Window => format!("windows/{name}"),
        ItemKind::Artifact | ItemKind::Work | ItemKind::Leftover => name.to_owned(),
    }
}

fn render_item_json(item: &StoreItem) -> serde_json::Value {
    json!({
        "path": item.path, "kind": item.kind.word(), "stage": item.stage, "made": item.created,
        "bytes": item.size.bytes, "users": item.users,
    })
}

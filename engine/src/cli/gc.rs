//! `fmflow gc`: results that no pipeline refers to any more, and, with `--yes`, their end.

use std::path::{Path, PathBuf};

use clap::Args;
use indexmap::IndexSet;
use serde_json::json;

use super::{Context, plan, run, shown, source};
use crate::check::{self, Options};
use crate::error::{Error, Result};
use crate::store::collect::{self, Item, Kind, Root, name};
use crate::store::{Store, lock};
use crate::suggest;
use crate::table::{bytes, table};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Pipelines whose results stay; all that were ever run in the store if absent
    files: Vec<PathBuf>,
    /// Remove what is named; without, nothing is touched
    #[arg(long)]
    yes: bool,
    /// Keep this artifact whatever happens, from now on
    #[arg(long, value_name = "ARTIFACT", conflicts_with_all = ["yes", "files"])]
    pin: Vec<String>,
    /// Pin it no longer
    #[arg(long, value_name = "ARTIFACT", conflicts_with_all = ["yes", "files"])]
    unpin: Vec<String>,
    /// Answer with one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn gc(arguments: &Arguments, context: &Context<'_>) -> Result<()> {
    let Some(store) = context.open()? else {
        let message = format!("there is no store at {}", context.store.display());
        return Err(Error::usage(message, "name one with `--store`, or start with `fmflow run FILE`"));
    };
    if !arguments.pin.is_empty() || !arguments.unpin.is_empty() {
        pin(arguments, &store)?;
    }
    let found = match arguments.yes {
        true => collect(arguments, &store, context)?,
        false => look(arguments, &store, context)?,
    };
    tell(&found, arguments, context)
}

/// What is there: everything with its users.
struct Found {
    items: Vec<Item>,
    /// Words on whoever runs in the store now.
    running: Option<String>,
}

/// Looks without the lock. What a live run has on its way is not called a leftover.
fn look(arguments: &Arguments, store: &Store, context: &Context<'_>) -> Result<Found> {
    let mut items = survey(arguments, store, context)?;
    let running = lock::holder_of(store.root()).filter(|holder| holder.lives).map(|holder| holder.words);
    if running.is_none() {
        items.extend(collect::leftovers(store)?);
    }
    Ok(Found { items, running })
}

/// Takes the lock, looks again, and removes. Taking the lock sweeps what dead processes left.
fn collect(arguments: &Arguments, store: &Store, context: &Context<'_>) -> Result<Found> {
    let leftovers = collect::leftovers(store)?;
    let lock = store.lock().map_err(run::unwritable)?;
    let mut items = survey(arguments, store, context)?;
    for item in items.iter().filter(|item| item.users.is_empty()) {
        store.discard(&lock, &item.path)?;
    }
    items.extend(leftovers);
    Ok(Found { items, running: None })
}

/// Results with their users, and the records of runs that go with them.
fn survey(arguments: &Arguments, store: &Store, context: &Context<'_>) -> Result<Vec<Item>> {
    let mut items = collect::survey(store, &roots(arguments, store, context)?)?;
    items.extend(collect::records(store, &items)?);
    Ok(items)
}

/// Who refers to results: pipelines as they are written now, and the last run.
fn roots(arguments: &Arguments, store: &Store, context: &Context<'_>) -> Result<Vec<Root>> {
    let mut roots = Vec::new();
    for (file, settings) in sources(arguments, store, context)? {
        let name = called(&file, &settings);
        let pipeline = check::check(&file, &Options { settings, ..Options::from_environment() }).pipeline;
        let pipeline = pipeline.ok_or_else(|| unreadable(&name))?;
        let (_, plan) = plan::make(&pipeline, Some(store))?;
        let results = plan.stages.iter().map(|planned| &planned.key.fingerprint);
        roots.push(Root::new(name, results));
    }
    if let Some(last) = store.last_run()? {
        let results: Vec<_> = last.stages.values().map(crate::fingerprint::Ledger::fingerprint).collect();
        roots.push(Root::new("the last run", results.iter()));
    }
    Ok(roots)
}

/// A file and the settings given beside it.
type Given = (PathBuf, Vec<String>);

/// The files that were named, or what all runs were about; what is gone refers to nothing.
fn sources(arguments: &Arguments, store: &Store, context: &Context<'_>) -> Result<Vec<Given>> {
    if !arguments.files.is_empty() {
        return Ok(arguments.files.iter().map(|file| (file.clone(), vec![])).collect());
    }
    let runs = store.past_runs()?.into_iter().map(|run| (run.file, run.settings));
    let mut here = Vec::new();
    for (file, settings) in runs.collect::<IndexSet<Given>>() {
        // A file that cannot be looked for is not gone.
        if file.try_exists().map_err(Error::io("look for", &file))? {
            here.push((file, settings));
            continue;
        }
        let name = called(&file, &settings);
        context.output.message(&format!("note: {name} was run here and is gone: it keeps nothing\n"));
    }
    Ok(here)
}

/// A pipeline as it was typed.
fn called(file: &Path, settings: &[String]) -> String {
    let settings = settings.iter().map(|setting| format!(" --set {setting}"));
    shown(file) + &settings.collect::<String>()
}

fn unreadable(file: &str) -> Error {
    let message = format!("{file} has errors, so nobody knows what it refers to");
    Error::usage(message, format!("see `fmflow check {file}`, or name the pipelines whose results stay"))
}

fn pin(arguments: &Arguments, store: &Store) -> Result<()> {
    let lock = store.lock().map_err(run::unwritable)?;
    let items = collect::survey(store, &[])?;
    let mut pins = collect::pins(store)?;
    let names = || items.iter().filter(|item| item.kind == Kind::Artifact).map(|item| name(&item.path));
    for wanted in arguments.pin.iter().map(|wanted| name(Path::new(wanted))) {
        if !names().any(|known| known == wanted) {
            let message = format!("the store has no artifact `{wanted}`");
            return Err(Error::Usage { message, help: suggest::help(wanted, names()) });
        }
        if !pins.iter().any(|pin| pin == wanted) {
            pins.push(wanted.to_owned());
        }
    }
    for unwanted in arguments.unpin.iter().map(|unwanted| name(Path::new(unwanted))) {
        let Some(at) = pins.iter().position(|pin| pin == unwanted) else {
            let message = format!("`{unwanted}` is not pinned");
            return Err(Error::Usage {
                message,
                help: suggest::help(unwanted, pins.iter().map(String::as_str)),
            });
        };
        pins.remove(at);
    }
    store.set_pins(&lock, &pins)
}

fn tell(found: &Found, arguments: &Arguments, context: &Context<'_>) -> Result<()> {
    let (kept, going): (Vec<_>, Vec<_>) = found.items.iter().partition(|item| !item.users.is_empty());
    let sum = |items: &[&Item]| items.iter().map(|item| item.bytes).sum::<u64>();
    let (kept_bytes, going_bytes) = (sum(&kept), sum(&going));
    if arguments.json {
        return context.output.json(&json!({
            "schema": "fmflow.gc/1",
            "removed": arguments.yes,
            "bytes": going_bytes,
            "garbage": going.iter().map(|item| json_of(item)).collect::<Vec<_>>(),
            "kept": kept.iter().map(|item| json_of(item)).collect::<Vec<_>>(),
            "running": found.running,
        }));
    }
    let mut text = String::new();
    if !kept.is_empty() {
        text += &table(&["kept", "size", "by"], kept.iter().map(|item| kept_row(item)).collect());
        text += "\n";
    }
    let head = if arguments.yes { "removed" } else { "garbage" };
    if !going.is_empty() {
        text += &table(&[head, "size", "what", "made"], going.iter().map(|item| going_row(item)).collect());
        text += "\n";
    }
    let (count, freed) = (going.len(), bytes(going_bytes));
    text += &match (count, arguments.yes) {
        (0, _) => format!("nothing to remove; {} in use\n", bytes(kept_bytes)),
        (_, true) => format!("removed {count}, freed {freed}; {} in use\n", bytes(kept_bytes)),
        (_, false) => format!("{count} could go and free {freed}; {} in use\n", bytes(kept_bytes)),
    };
    match (&found.running, count, arguments.yes) {
        (Some(holder), ..) => text += &format!("a run goes on here ({holder}): wait for its end\n"),
        (None, 1.., false) => text += &format!("next: {}\n", again(arguments, context)),
        _ => {}
    }
    context.output.result(&text)
}

/// The command that removes what was shown.
fn again(arguments: &Arguments, context: &Context<'_>) -> String {
    let files: Vec<_> = arguments.files.iter().map(|file| source::typed(file)).collect();
    let words = files.into_iter().chain(["--yes".to_owned()]).collect::<Vec<_>>();
    context.command("gc", &words.join(" "))
}

fn kept_row(item: &Item) -> Vec<String> {
    vec![name(&item.path).to_owned(), bytes(item.bytes), item.users.join(", ")]
}

fn going_row(item: &Item) -> Vec<String> {
    let made = item.created.as_deref().and_then(|time| time.get(..16)).unwrap_or_default().replace('T', " ");
    let name = match item.kind {
        Kind::Record => format!("runs/{}", name(&item.path)),
        _ => name(&item.path).to_owned(),
    };
    vec![name, bytes(item.bytes), item.kind.word().to_owned(), made]
}

fn json_of(item: &Item) -> serde_json::Value {
    json!({
        "path": item.path, "kind": item.kind.word(), "stage": item.stage, "made": item.created,
        "bytes": item.bytes, "users": item.users,
    })
}

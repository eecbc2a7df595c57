//! `fmflow gc`: results that no pipeline refers to any more, and, with `--yes`, their end.

mod roots;

use std::path::{Path, PathBuf};

use clap::Args;
use indexmap::IndexSet;
use serde_json::json;

use self::roots::{Source, roots, sources};
use super::{Context, run, shown, source};
use crate::error::{Error, Result};
use crate::store::collect::{self, Item, Kind, name};
use crate::store::{Store, lock};
use crate::text::display::{format_bytes, render_table};
use crate::text::suggest;

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
    /// Pipelines that are gone and keep what nobody else does.
    gone: Vec<String>,
    /// Words on whoever runs in the store now.
    running: Option<String>,
}

/// Looks without the lock. What a live run has on its way is not called a leftover.
fn look(arguments: &Arguments, store: &Store, context: &Context<'_>) -> Result<Found> {
    let mut found = survey(arguments, store)?;
    found.running = lock::holder_of(store.root()).filter(|holder| holder.lives).map(|holder| holder.words);
    if found.running.is_none() {
        found.items.extend(collect::leftovers(store)?);
    }
    found.note(arguments, store, context)?;
    Ok(found)
}

/// Takes the lock, looks again, and removes. Taking the lock sweeps what dead processes left.
fn collect(arguments: &Arguments, store: &Store, context: &Context<'_>) -> Result<Found> {
    let leftovers = collect::leftovers(store)?;
    let lock = store.lock().map_err(run::unwritable)?;
    let mut found = survey(arguments, store)?;
    for item in found.items.iter().filter(|item| item.users.is_empty()) {
        store.discard(&lock, &item.path)?;
    }
    found.items.extend(leftovers);
    found.note(arguments, store, context)?;
    Ok(found)
}

impl Found {
    /// Says of pipelines that are gone how to let go what they keep.
    fn note(&self, arguments: &Arguments, store: &Store, context: &Context<'_>) -> Result<()> {
        let command = counting(arguments, store, context)?;
        for name in &self.gone {
            let note = format!(
                "note: {name} is gone, and what its last run was made of stays; to let it go, name the pipelines \
                 that count: `{command}`\n"
            );
            context.output.message(&note);
        }
        Ok(())
    }
}

/// Results with their users, and the records of runs that go with them.
fn survey(arguments: &Arguments, store: &Store) -> Result<Found> {
    let sources = sources(&arguments.files, store)?;
    let roots = roots(&sources, store)?;
    let mut items = collect::survey(store, &roots)?;
    let needed: Vec<_> = sources.iter().filter_map(|source| source.gone).collect();
    items.extend(collect::records(store, &items, &needed)?);
    let gone: Vec<_> = sources.iter().filter(|source| source.gone.is_some()).collect();
    let by_gone = |user: &String| gone.iter().any(|source| source.user() == *user);
    // What others keep too would not go with it.
    let alone = |item: &&Item| item.users.iter().all(by_gone);
    let keeps =
        |source: &&&Source| items.iter().filter(alone).any(|item| item.users.contains(&source.user()));
    let gone = gone.iter().filter(keeps).map(|source| source.called()).collect();
    Ok(Found { items, gone, running: None })
}

/// The command by which only the pipelines count that are there.
fn counting(arguments: &Arguments, store: &Store, context: &Context<'_>) -> Result<String> {
    let here = sources(&arguments.files, store)?.into_iter().filter(|source| source.gone.is_none());
    let files: IndexSet<_> = here.map(|source| source::typed(Path::new(&shown(&source.file)))).collect();
    let joined = files.into_iter().collect::<Vec<_>>().join(" ");
    Ok(context.command("gc", if joined.is_empty() { "FILE" } else { &joined }))
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
            "gone": found.gone,
            "running": found.running,
        }));
    }
    let mut text = String::new();
    if !kept.is_empty() {
        text += &render_table(&["kept", "size", "by"], kept.iter().map(|item| kept_row(item)).collect());
        text += "\n";
    }
    let head = if arguments.yes { "removed" } else { "garbage" };
    if !going.is_empty() {
        text += &render_table(
            &[head, "size", "what", "made"],
            going.iter().map(|item| going_row(item)).collect(),
        );
        text += "\n";
    }
    let (count, freed) = (going.len(), format_bytes(going_bytes));
    text += &match (count, arguments.yes) {
        (0, _) => format!("nothing to remove; {} in use\n", format_bytes(kept_bytes)),
        (_, true) => format!("removed {count}, freed {freed}; {} in use\n", format_bytes(kept_bytes)),
        (_, false) => format!("{count} could go and free {freed}; {} in use\n", format_bytes(kept_bytes)),
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
    vec![name(&item.path).to_owned(), format_bytes(item.bytes), item.users.join(", ")]
}

fn going_row(item: &Item) -> Vec<String> {
    let made = item.created.as_deref().and_then(|time| time.get(..16)).unwrap_or_default().replace('T', " ");
    let name = match item.kind {
        Kind::Record => format!("runs/{}", name(&item.path)),
        _ => name(&item.path).to_owned(),
    };
    vec![name, format_bytes(item.bytes), item.kind.word().to_owned(), made]
}

fn json_of(item: &Item) -> serde_json::Value {
    json!({
        "path": item.path, "kind": item.kind.word(), "stage": item.stage, "made": item.created,
        "bytes": item.bytes, "users": item.users,
    })
}

//! `fmflow serve`: checkpoints answer over HTTP.

mod counter;
mod refusals;

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;

use super::asking::{CheckpointArguments, OpenCheckpoint, SamplerWords};
use super::pipeline_arguments::SettingArguments;
use super::{CommandContext, run, signals};
use crate::error::{Error, Failure, FailureKind, Result};
use crate::service::{OrderQueue, ServerSettings};
use crate::text::display::count_noun;
use counter::Counter;

#[derive(Debug, Args)]
pub(super) struct ServeArguments {
    /// Checkpoint folders, and pipeline files each with one of its stages behind it
    #[arg(value_name = "CHECKPOINT", required = true)]
    checkpoints: Vec<PathBuf>,
    #[command(flatten)]
    settings: SettingArguments,
    /// The device to compute on: `cpu` or `cuda:<n>`
    #[arg(long, default_value = "cpu", value_parser = run::parse_device)]
    device: String,
    /// The address to listen at; others than this machine reach the server at `0.0.0.0`
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    host: String,
    /// The port; 0 takes a free one
    #[arg(long, value_name = "N", default_value = "8000")]
    port: u16,
    /// A file with the SHA-256 of the keys that clients must have, one in a line [default: no keys]
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// How text is sampled if a request does not say it, as in `generate`
    #[arg(long, value_name = "WORDS")]
    sampler: Option<String>,
    /// Most requests that wait for a checkpoint; further ones are refused for now
    #[arg(long, value_name = "N", default_value = "64")]
    queue: NonZero<u16>,
    /// Compute every request from its beginning: with keys and values of earlier ones it is answered sooner, which tells its client that somebody
    /// asked the like before
    #[arg(long)]
    no_sharing: bool,
    /// How many seconds answers may go on after Ctrl-C or SIGTERM; a second signal ends at once
    #[arg(long, value_name = "SECONDS", default_value = "10")]
    grace: u16,
}

impl ServeArguments {
    /// The first pipeline file among the checkpoints.
    pub(super) fn file(&self) -> Option<&Path> {
        self.checkpoints.iter().map(PathBuf::as_path).find(|path| path.is_file())
    }
}

pub(super) fn run_serve(arguments: &ServeArguments, context: &CommandContext<'_>) -> Result<()> {
    let server = context.server()?;
    let settings = ServerSettings {
        host: arguments.host.clone(),
        port: arguments.port,
        keys: arguments.keys.clone(),
        grace: Duration::from_secs(arguments.grace.into()),
    };
    let listed = CheckpointArguments::list(&arguments.checkpoints, &arguments.settings, &arguments.device)?;
    refuse_equal_names(&listed)?;
    let open = |listed: &CheckpointArguments| Ok((listed.name(), listed.open(context)?));
    let checkpoints: Vec<(String, OpenCheckpoint)> = listed.iter().map(open).collect::<Result<_>>()?;
    let sampler = arguments
        .sampler
        .as_ref()
        .map(|words| SamplerWords::parse(std::slice::from_ref(words)))
        .transpose()?;
    let counter =
        Arc::new(Counter::new(&checkpoints, sampler, (arguments.queue.get().into(), !arguments.no_sharing)));
    counter.check(&checkpoints, context)?;
    let stop = signals::install_interrupt_flag()?;
    let mut ready = |address: &str| tell(&counter, address, context);
    std::thread::scope(|scope| {
        let workers: Vec<_> = checkpoints
            .iter()
            .zip(counter.queues())
            .map(|((name, checkpoint), queue)| {
                let (model, stopper) = (&checkpoint.model, Stopper(stop.clone(), queue.clone()));
                scope.spawn(move || {
                    // Whatever ends this thread ends the server.
                    let _stopper = stopper;
                    let done = model.take_orders(&mut &**queue);
                    done.map_err(|failure| Error::Stage { stage: name.clone(), failure })
                })
            })
            .collect();
        let ended = server.serve(&settings, counter.clone(), &stop, &mut ready);
        counter.queues().iter().for_each(|queue| queue.close());
        for worker in workers {
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        refuse_cut(ended.map_err(explain)?.cut)
    })
}

/// Requests that were cut are told, as those of an interrupted run are.
fn refuse_cut(cut: usize) -> Result<()> {
    if cut == 0 {
        return Ok(());
    }
    Err(explain(Failure {
        kind: FailureKind::Interrupted,
        message: format!("stopped before {} answered", count_was(cut)),
        help: Some("give them longer with `--grace`".to_owned()),
    }))
}

/// Stops the server when it is dropped: nobody answers what is put into this queue any more.
struct Stopper(Arc<AtomicBool>, Arc<OrderQueue>);

impl Drop for Stopper {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
        self.1.close();
    }
}

fn count_was(requests: usize) -> String {
    format!("{} {}", count_noun(requests, "request"), if requests == 1 { "was" } else { "were" })
}

fn explain(failure: Failure) -> Error {
    match failure.kind {
        FailureKind::Input => Error::Input { message: failure.message, help: failure.help },
        _ => Error::Stage { stage: "serve".to_owned(), failure },
    }
}

fn refuse_equal_names(listed: &[CheckpointArguments]) -> Result<()> {
    let names: Vec<String> = listed.iter().map(CheckpointArguments::name).collect();
    match names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
        None => Ok(()),
        Some((_, name)) => Err(Error::usage(
            format!("two checkpoints are called `{name}`, so that clients cannot tell them apart"),
            "rename a folder, or serve them at two ports",
        )),
    }
}

/// Says what is served, and where.
fn tell(counter: &Counter, address: &str, context: &CommandContext<'_>) {
    for model in crate::service::TextService::models(counter) {
        let text = format!(
            "{}: {}, {}; sampler: {}; seed {}\n",
            model.id, model.facts.device, model.facts.dtype, model.sampler, model.seed
        );
        context.output.message(&text);
    }
    context.output.message(&format!("listening at {address} (OpenAI's API at {address}/v1); Ctrl-C stops\n"));
}

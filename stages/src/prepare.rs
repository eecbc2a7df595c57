//! The stages before a model: tokenizer and rows.

use fmflow_engine::config::{DatasetConfig, Format as FormatChoice, Packing as PackingChoice};
use fmflow_engine::config::{RowsConfig, TokenizerConfig, Turns};
use fmflow_engine::execute::{Failure, Job, Summary};
use indexmap::IndexMap;

use crate::data::build::{BuildError, RowsOptions, build_rows, train_tokenizer};
use crate::data::corpus::{CorpusError, Document, Documents, Format, documents};
use crate::data::left_out::Shape;
use crate::data::named::Named;
use crate::data::packing::Packing;
use crate::data::rows::{RowsSummary, Split};
use crate::data::tokenizer::{Tokenizer, TokenizerFiles};
use crate::failure::{self, input, stage};
use crate::job::{ArtifactSink, files, folder};

/// Trains or takes over a tokenizer.
///
/// # Errors
/// Data that cannot be read, a vocabulary that is too small, or a file that is no tokenizer.
pub fn tokenizer(job: &Job<'_>, config: &TokenizerConfig) -> Result<Summary, Failure> {
    let mut writer = job.slot.artifact().map_err(failure::store)?;
    let tokenizer = match config {
        TokenizerConfig::ByteLevelBpe { vocabulary, datasets, .. } => {
            let files = train(job, *vocabulary, datasets)?;
            for (name, bytes) in files.all() {
                writer.write(name, bytes).map_err(failure::store)?;
            }
            let made = Tokenizer::from_bytes("tokenizer.json", files.tokenizer).map_err(stage)?;
            made.with_rows(*vocabulary as u32).map_err(stage)?
        }
        TokenizerConfig::File(file) => {
            let name = file.display().to_string();
            let json = std::fs::read(file)
                .map_err(|e| input(format!("cannot read {name}: {e}"), "name an existing tokenizer.json"))?;
            let made = Tokenizer::from_bytes(&name, json)
                .map_err(|e| input(e, "name a tokenizer.json as the crate `tokenizers` writes it"))?;
            writer.write("tokenizer.json", made.json()).map_err(failure::store)?;
            made
        }
    };
    let summary = Summary {
        headline: format!("{} tokens of {} rows", tokenizer.used(), tokenizer.rows()),
        lines: vec![format!("digest {}", tokenizer.digest())],
        metrics: IndexMap::from([("used".to_owned(), f64::from(tokenizer.used()))]),
    };
    writer.publish(&summary, &IndexMap::new()).map_err(failure::store)?;
    Ok(summary)
}

fn train(job: &Job<'_>, vocabulary: usize, datasets: &[DatasetConfig]) -> Result<TokenizerFiles, Failure> {
    let open = |dataset: &DatasetConfig| Ok((read(job, dataset)?, dataset.held_out));
    let datasets: Vec<(Documents, f64)> = datasets.iter().map(open).collect::<Result<_, Failure>>()?;
    let vocabulary = u32::try_from(vocabulary).map_err(stage)?;
    train_tokenizer(datasets, vocabulary).map_err(|e| refused(e, "look at the dataset and at `vocabulary=`"))
}

/// A dataset that cannot be used. A fault of its text brings its own cure; of another, `help` is the cure.
fn refused(error: BuildError, help: &str) -> Failure {
    match error {
        BuildError::Corpus(_) => input(error, "mend the file, or leave it out of the dataset"),
        _ => input(error, help),
    }
}

/// The documents of a dataset.
fn read(job: &Job<'_>, dataset: &DatasetConfig) -> Result<Documents, Failure> {
    let format = match dataset.format.clone() {
        FormatChoice::Text => Format::Text,
        FormatChoice::Jsonl { text } => Format::Lines { text },
        FormatChoice::Chat { turns: Turns::Pair { user, assistant }, group } => {
            Format::Chat { user, assistant, group }
        }
        FormatChoice::Chat { turns: Turns::List { messages }, group } => Format::Turns { messages, group },
    };
    Ok(documents(files(job, &dataset.name)?, format))
}

/// Tokenizes and packs a dataset.
///
/// # Errors
/// Data that cannot be read, or settings that do not fit them.
pub fn rows(job: &Job<'_>, config: &RowsConfig) -> Result<Summary, Failure> {
    let tokenizer = Tokenizer::open(folder(job, "tokenizer")?)
        .map_err(|e| input(e, "name a tokenizer, or a checkpoint that carries one"))?;
    let options = RowsOptions {
        length: config.length,
        packing: match config.packing {
            PackingChoice::Concat => Packing::Concat,
            PackingChoice::FirstFit => Packing::FirstFit,
        },
        end_of_document: config.end_of_document,
        canvas: config.canvas,
        held_out: config.dataset.held_out,
        limit: None,
    };
    let mut writer = job.slot.artifact().map_err(failure::store)?;
    let mut sink = ArtifactSink::new(&mut writer);
    let mut named = Named::none_of(&tokenizer);
    let documents = watched(read(job, &config.dataset)?, &mut named);
    let found = build_rows(documents, &tokenizer, &options, &mut sink)
        .map_err(|e| refused(e, &format!("look at dataset `{}` and at its rows", config.dataset.name)))?;
    sink.finish()?;
    let shape =
        Shape { length: found.length, canvas: found.canvas, packing: found.packing, chats: found.chats };
    named.sentence().iter().for_each(|said| job.report.note(said));
    for split in [Split::Train, Split::HeldOut] {
        shape.sentence(split, found.split(split)).iter().for_each(|said| job.report.note(said));
    }
    let summary = describe(&found, shape);
    writer.publish(&summary, &IndexMap::new()).map_err(failure::store)?;
    Ok(summary)
}

/// The same documents, looked at on their way.
fn watched(
    mut documents: Documents,
    named: &mut Named,
) -> impl Iterator<Item = Result<Document, CorpusError>> {
    std::iter::from_fn(move || {
        let next = documents.next();
        if let Some(Ok(Document::Chat(talk))) = &next {
            named.look(talk, documents.place());
        }
        next
    })
}

fn describe(found: &RowsSummary, shape: Shape) -> Summary {
    let (train, held) = (found.split(Split::Train), found.split(Split::HeldOut));
    let line = |name: &str, split: Split| {
        let s = found.split(split);
        format!(
            "{name}: {} documents, {} rows, {} tokens, {} supervised, {:.1} % of positions used, {} too long, {} over the canvas",
            s.documents,
            s.rows,
            s.tokens,
            s.supervised,
            100.0 * found.efficiency(split),
            s.too_long,
            s.beyond_canvas
        )
    };
    let left_out = match train.left_out() + held.left_out() {
        0 => String::new(),
        many => format!(", {many} {} left out", shape.unit()),
    };
    Summary {
        headline: format!("{} rows of {}, {} held out{left_out}", train.rows, found.length, held.rows),
        lines: vec![line("train", Split::Train), line("held out", Split::HeldOut)],
        metrics: [("rows", train.rows), ("tokens", train.tokens), ("held_out_rows", held.rows)]
            .map(|(name, value)| (name.to_owned(), value as f64))
            .into(),
    }
}

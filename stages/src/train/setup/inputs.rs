//! Rows and mixture of a training stage, opened and compared with the checkpoint.

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::TrainConfig;
use fmflow_engine::pipeline::config::train::MixturePart;
use fmflow_engine::run::execute::Job;

use super::super::rows::TrainingRows;
use crate::data::mixture::{Mixture, MixtureRows};
use crate::data::packing::Row;
use crate::data::rows::{Rows, Split};
use crate::failure::{input_failure, stage_failure};
use crate::model::{Model, ModelTokenizer};

pub(super) fn open_rows<'a>(
    job: &'a Job<'a>,
    config: &'a TrainConfig,
) -> Result<Vec<(String, TrainingRows<'a>)>, Failure> {
    let open = |(number, part): (usize, &'a MixturePart)| {
        Ok((part.dataset.clone(), TrainingRows::open(job, &part.role, number as u64)?))
    };
    config.parts.iter().enumerate().map(open).collect()
}

/// Refuses rows that were made with another tokenizer or chat template, or are longer than the context. The ids would be
/// valid numbers, and training would run on nonsense.
pub(super) fn check_rows(dataset: &str, rows: &Rows, parent: &Model) -> Result<(), Failure> {
    let (summary, config) = (rows.summary(), parent.backbone.config());
    if summary.vocabulary as usize > config.vocab_size {
        let what = format!(
            "rows of `{dataset}` use {} token ids, but the model has {}",
            summary.vocabulary, config.vocab_size
        );
        return Err(input_failure(what, "use the tokenizer that the model was made for"));
    }
    if let Some(text) = &parent.text
        && text.tokenizer.digest() != summary.tokenizer
    {
        let what = format!("rows of `{dataset}` were made with a different tokenizer than the checkpoint's");
        return Err(input_failure(what, "give `rows` the tokenizer of the checkpoint"));
    }
    let template =
        |text: &ModelTokenizer| text.tokenizer.template().map(|template| template.digest().to_owned());
    if summary.chats && parent.text.as_ref().is_some_and(|text| template(text) != summary.chat_template) {
        let what = format!(
            "conversations of `{dataset}` were laid out with a different chat template than the checkpoint's"
        );
        return Err(input_failure(
            what,
            "give `rows` the tokenizer of the checkpoint, by the name of its stage",
        ));
    }
    if summary.length > config.max_position_embeddings {
        let what = format!(
            "rows of `{dataset}` have {} tokens, but the model's context is {}",
            summary.length, config.max_position_embeddings
        );
        return Err(input_failure(what, "lower `length=` of the rows or raise `context=` of the shape"));
    }
    Ok(())
}

/// The mixture. Its phases begin at the first rows of their updates; `first` updates came before this stage.
pub(super) fn build_mixture(
    config: &TrainConfig,
    rows: &[(String, TrainingRows<'_>)],
    seed: u64,
    first: u64,
) -> Result<Mixture, Failure> {
    let part = |(part, (_, rows)): (&MixturePart, &(String, TrainingRows<'_>))| MixtureRows {
        weights: part.weights.clone(),
        tokens_per_row: rows.artifact().summary().shards.tokens_per_row(),
    };
    let parts: Vec<MixtureRows> = config.parts.iter().zip(rows).map(part).collect();
    let start = |phase: &u64| if *phase == 0 { 0 } else { (first + phase) * config.batch.rows as u64 };
    let starts: Vec<u64> = config.phases.iter().map(start).collect();
    Mixture::new(&parts, &starts, seed)
        .map_err(|e| input_failure(e, "check the dataset's `held-out=` and the rows' `length=`"))
}

pub(super) fn read_held_out_rows(rows: &Rows, config: &TrainConfig) -> Result<Vec<Row>, Failure> {
    let count = rows.len(Split::HeldOut).min(config.validate.rows as u64);
    (0..count).map(|i| rows.row(Split::HeldOut, i).map_err(stage_failure)).collect()
}

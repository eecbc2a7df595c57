//! A checkpoint that commands ask for text.

use std::path::Path;

use fmflow_engine::documents::Chat;
use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::Prompt;
use fmflow_engine::pipeline::contract::ModelKind;
use fmflow_engine::run::text::TextOrders;
use fmflow_engine::run::text::{
    CacheDisagreement, TextAnswers, TextListener, TextModel, TextModelFacts, TextRequest, TextScores,
};

use super::answering::{Asker, answer_prompt, measure_prompt_twin, warm_up};
use super::disagreement::measure_disagreement;
use super::score::score;
use crate::failure::stage_failure;
use crate::model::Model;

/// An open checkpoint.
struct OpenText {
    model: Model,
    facts: TextModelFacts,
}

/// Opens the checkpoint in `folder` on a device.
///
/// # Errors
/// If it is no checkpoint with a tokenizer, or the device fails.
pub(crate) fn open_text_model(folder: &Path, device: &str) -> Result<Box<dyn TextModel>, Failure> {
    let opened = crate::device::open_device(device).map_err(stage_failure)?;
    let model = Model::open(folder, &opened)?.for_text();
    model.tokenizer()?;
    let facts = describe(&model, device)?;
    Ok(Box::new(OpenText { model, facts }))
}

fn describe(model: &Model, device: &str) -> Result<TextModelFacts, Failure> {
    let autoregressive = model.contract.kind == ModelKind::Autoregressive;
    Ok(TextModelFacts {
        device: device.to_owned(),
        dtype: "f32",
        autoregressive,
        mask_source: !autoregressive && model.path()?.mask_share >= 1.0,
        block: model.block(),
        exact_cache: model.allows_exact_cache(),
        canvas: model.contract.canvas,
        context: model.backbone.config().max_position_embeddings,
    })
}

impl TextModel for OpenText {
    fn facts(&self) -> &TextModelFacts {
        &self.facts
    }

    fn answer(
        &self,
        request: &TextRequest<'_>,
        listener: &mut dyn TextListener,
    ) -> Result<TextAnswers, Failure> {
        if request.warm_up {
            warm_up(&self.model, request.prompt, request.seed)?;
        }
        let (seed, samples, threads) = (request.seed, request.samples, 1);
        let asker = Asker { seed, samples, threads, listener: Some(listener) };
        answer_prompt(&self.model, request.prompt, asker)
    }

    fn measure_twin(&self, request: &TextRequest<'_>, answers: &TextAnswers) -> Result<f64, Failure> {
        measure_prompt_twin(&self.model, request.prompt, answers, request.seed)
    }

    fn check_constraint(&self, prompt: &Prompt) -> Result<(), Failure> {
        super::request::check_constraint(&self.model, prompt)
    }

    fn measure_disagreement(
        &self,
        request: &TextRequest<'_>,
        answers: &TextAnswers,
    ) -> Result<Option<CacheDisagreement>, Failure> {
        measure_disagreement(&self.model, request.prompt, answers, request.seed)
    }

    fn take_orders(&self, orders: &mut dyn TextOrders) -> Result<(), Failure> {
        super::orders::take_orders(&self.model, orders)
    }

    fn score(&self, request: &TextRequest<'_>, questions: &[Chat]) -> Result<TextScores, Failure> {
        score(&self.model, request, questions)
    }
}

//! Opens everything that a training stage needs before its first update: parent, rows, mixture, task.

mod fresh_adapter;
mod growing;
mod inputs;
mod parent;

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::TrainConfig;
use fmflow_engine::pipeline::config::train::{ComputeFormat, Objective};
use fmflow_engine::pipeline::contract::{Contract, find_trained_attention};
use fmflow_engine::pipeline::role::InputRole;
use fmflow_engine::run::execute::Job;
use fmflow_engine::store::ArtifactWriter;
use indexmap::IndexMap;

use super::gradient::ForwardOptions;
use super::rows::TrainingRows;
use super::state::TrainingState;
use super::update::{FlowObjective, StridedObjective, TrainingTask};
use super::{attention, retention};
use crate::backbone::{Attention, Backbone, Precision, TimeConditioning};
use crate::data::mixture::{BLOCK, Mixture};
use crate::data::packing::Row;
use crate::failure::{input_failure, stage_failure};
use crate::flow::path::{Corruptor, SourceTokens};
use crate::job::count_threads;
use crate::model::Model;
use crate::weights::AdapterFacts;
use crate::window::WindowRows;
use fmflow_engine::pipeline::origins::Origins;
use fresh_adapter::put_adapter;
use growing::{find_growth, find_growth_tokens};
use inputs::{build_mixture, check_rows, open_rows, read_held_out_rows};
use parent::Parent;

/// Everything that stays constant over the updates of a stage.
pub(crate) struct TrainingSetup<'a> {
    /// The settings of the stage.
    pub config: &'a TrainConfig,
    /// Seed of every random number.
    pub seed: u64,
    /// Updates that the parent and its ancestors have had. Rows and noise continue from there; otherwise each stage of a
    /// chain would begin with the same rows and the same noise.
    first: u64,
    /// The task of the first update; only its block size changes later.
    task: TrainingTask,
    /// Micro-batches that run in parallel.
    pub threads: usize,
    /// Held-out rows by dataset.
    pub held_out: IndexMap<String, Vec<Row>>,
    /// The checkpoint that training starts from.
    pub parent: Parent,
    /// The facts of the adapter that is trained, if one is.
    pub adapter: Option<AdapterFacts>,
    /// The autoregressive model from which the trained one is measured.
    pub teacher: Option<Backbone>,
    rows: Vec<(String, TrainingRows<'a>)>,
    mixture: Mixture,
    /// The origins of the facts that this stage sets.
    origins: Origins,
}

impl<'a> TrainingSetup<'a> {
    /// Opens the inputs and checks that they fit each other and the settings.
    pub(crate) fn open(job: &'a Job<'a>, config: &'a TrainConfig) -> Result<Self, Failure> {
        let device = crate::device::open_device(job.device)
            .map_err(|e| input_failure(e, "choose a device that this build has"))?;
        let folder = crate::job::find_input_folder(job, &InputRole::From)?;
        let parent = Model::open(folder, &device)?;
        let facts = |settings| AdapterFacts::of_base(settings, folder);
        let adapter = config.adapter.as_ref().map(facts).transpose()?;
        let rows = open_rows(job, config)?;
        for (dataset, rows) in &rows {
            check_rows(dataset, rows.artifact(), &parent)?;
        }
        let mixture = build_mixture(config, &rows, job.seed, parent.contract.trained_updates)?;
        let held_out =
            rows.iter().map(|(name, rows)| Ok((name.clone(), read_held_out_rows(rows.artifact(), config)?)));
        let held_out: IndexMap<String, Vec<Row>> = held_out.collect::<Result<_, Failure>>()?;
        let task = build_training_task(config, &parent)?;
        let teacher = retention::open_teacher(job, config, &parent)?;
        let micro_batches = config.batch.rows.div_ceil(config.batch.per_device);
        Ok(Self {
            config,
            seed: job.seed,
            first: parent.contract.trained_updates,
            task,
            threads: count_threads(job).min(micro_batches),
            held_out: held_out.into_iter().filter(|(_, rows)| !rows.is_empty()).collect(),
            teacher: teacher.map(|teacher| teacher.computing_in(find_precision(config))),
            parent: Parent::new(parent, folder),
            adapter,
            rows,
            mixture,
            origins: Origins::for_stage(job.stage),
        })
    }

    /// How the micro-batches of update `k`, which draws as number `draw`, pass through the backbone.
    pub(crate) fn forward_options(&self, k: u64, draw: u64) -> ForwardOptions {
        let step = self.coordinate(draw);
        let (attention, anneal) = attention::choose_attention(&self.config.attention, k, self.seed, step);
        ForwardOptions { attention, anneal, recompute: self.config.recompute }
    }

    /// The model that training starts from: the parent's, with a new adapter if one is trained.
    pub(crate) fn initial_model(&self) -> Result<Backbone, Failure> {
        let model = self.parent.take_backbone()?.computing_in(self.precision());
        match &self.adapter {
            Some(facts) => put_adapter(model, &facts.settings, (self.seed, self.first)),
            None => Ok(model),
        }
    }

    /// The teacher and its weight in the loss, if it has one.
    pub(crate) fn loss_teacher(&self) -> Option<(&Backbone, f64)> {
        self.teacher.as_ref().zip(self.config.teacher?.weight)
    }

    /// The format of the factors of products.
    pub(crate) fn precision(&self) -> Precision {
        find_precision(self.config)
    }

    /// The task of update `k`, with its block size.
    pub(crate) fn task(&self, k: u64) -> TrainingTask {
        let (mut task, attention) = (self.task.clone(), &self.config.attention);
        match &mut task {
            TrainingTask::Autoregressive => {}
            TrainingTask::Flow(flow) => flow.block = attention.block_at(k),
            TrainingTask::Strided(strided) => {
                strided.stride = attention.stride_at(k).expect("a strided task has a stride in every update");
            }
        }
        task
    }

    /// The attention pattern that the model has learned after `done` updates.
    pub(crate) fn learned_attention(&self, done: u64) -> Attention {
        find_trained_attention(&self.config.attention, done)
    }

    /// The number with which update `k` of this stage draws its rows and its noise.
    pub(crate) fn coordinate(&self, k: u64) -> u64 {
        self.first + k
    }

    /// The rows of update `k`, and the number of tokens from each dataset.
    pub(crate) fn rows_of(&self, k: u64) -> Result<(Vec<Row>, IndexMap<String, u64>), Failure> {
        let count = self.config.batch.rows as u64;
        let mut tokens: IndexMap<String, u64> = self.rows.iter().map(|(name, _)| (name.clone(), 0)).collect();
        let mut found = Vec::with_capacity(count as usize);
        let start = self.coordinate(k) * count;
        // After a rewind the last updates draw behind those of the plan.
        let end = self.coordinate(self.config.steps.max(k + 1)) * count;
        for (dataset, (_, rows)) in self.rows.iter().enumerate() {
            // Rows of a block are shuffled, so that of the last one any may come.
            let last = self.mixture.first_from(dataset, end) + BLOCK;
            rows.need(self.mixture.first_from(dataset, start), last);
        }
        for i in start..start + count {
            let (dataset, ordinal) = self.mixture.row(i);
            let (name, rows) = &self.rows[dataset];
            let row = rows.row(ordinal)?;
            tokens[name.as_str()] +=
                row.tokens.len() as u64 - row.count(crate::data::packing::PositionRole::Padding) as u64;
            found.push(row);
        }
        Ok((found, tokens))
    }

    /// How often the training rows of each dataset have been seen after so many tokens of it; nothing for a window, whose rows nobody
    /// has counted.
    pub(crate) fn count_epochs(&self, tokens: &IndexMap<String, u64>) -> IndexMap<String, f64> {
        let of = |(name, rows): &(String, TrainingRows<'_>)| {
            let all = rows.artifact().summary().train.tokens;
            let seen = *tokens.get(name)? as f64;
            (rows.window().is_none() && all > 0).then(|| (name.clone(), seen / all as f64))
        };
        self.rows.iter().filter_map(of).collect()
    }

    /// The rows that are made while training reads them.
    pub(crate) fn windows(&self) -> Vec<&WindowRows<'a>> {
        self.rows.iter().filter_map(|(_, rows)| rows.window()).collect()
    }

    /// The task for measuring held-out loss after `done` updates: the training loss without its weight cap and without a
    /// minimum of corrupted positions, both of which bias the ELBO.
    pub(crate) fn evaluation_task(&self, done: u64) -> TrainingTask {
        let mut task = self.task(done.saturating_sub(1));
        if let TrainingTask::Flow(flow) = &mut task {
            flow.max_weight = None;
            flow.corruptor.at_least = 0;
            flow.growth = None;
        }
        task
    }

    /// The model to publish: the weights of `state`, or their average, with its adapter merged into them, with the parent's tokenizer,
    /// certificate and updated contract. It computes in f32, as in every stage that opens it, so that a probe says what `generate` will.
    pub(crate) fn artifact(&self, state: &TrainingState) -> Result<Model, Failure> {
        let backbone = state.published_model()?.merged().map_err(stage_failure)?;
        Ok(self.wrap(backbone.computing_in(Precision::F32), state))
    }

    /// The model that has these weights, with everything that is published beside them.
    fn wrap(&self, backbone: Backbone, state: &TrainingState) -> Model {
        let Parent { text, generation, certificate, .. } = &self.parent;
        Model {
            backbone,
            contract: self.publish_contract(state),
            text: text.clone(),
            generation: generation.clone(),
            certificate: certificate.clone(),
            origins: self.origins.clone().after(&self.parent.origins),
        }
    }

    /// Writes the model to publish. If an adapter is trained, that is the adapter beside the weights of its base, which are stored
    /// once for both stages; on a base that has an adapter of its own, the merged weights.
    pub(crate) fn write_artifact(
        &self,
        state: &TrainingState,
        writer: &mut ArtifactWriter,
    ) -> Result<(), Failure> {
        let Some(facts) = &self.adapter else { return self.artifact(state)?.write(writer) };
        let adapted = self.wrap(state.published_model()?, state);
        match self.parent.share_weights(writer)? {
            true => adapted.write_companions(writer)?,
            false => self.artifact(state)?.write(writer)?,
        }
        facts.write(writer, &adapted.backbone)
    }

    /// The contract of what is published.
    fn publish_contract(&self, state: &TrainingState) -> Contract {
        let canvas = self.rows.iter().filter_map(|(_, rows)| rows.artifact().summary().canvas).max();
        self.parent.contract.after_training(self.config, state.step, (canvas, find_growth_tokens(&self.task)))
    }

    /// Lines for the summary of the stage: realized and declared share of every dataset, and what [`Self::initial_model`] proved.
    pub(crate) fn lines(&self, state: &TrainingState) -> Vec<String> {
        let total: u64 = state.counters.tokens_by_dataset.values().sum();
        let share = |(part, declared): (&fmflow_engine::pipeline::config::train::MixturePart, f64)| {
            let seen = state.counters.tokens_by_dataset.get(&part.dataset).copied().unwrap_or(0);
            format!(
                "dataset {}: {:.1} % of tokens, {:.1} % declared",
                part.dataset,
                100.0 * seen as f64 / total.max(1) as f64,
                100.0 * declared
            )
        };
        let adapter =
            self.adapter.as_ref().map(|_| "at zero, the adapter changed no logit of its base".to_owned());
        let shares = self.config.parts.iter().zip(self.config.mean_shares()).map(share);
        shares.chain(adapter).collect()
    }
}

/// The precision of the products of a training.
pub(crate) fn find_precision(config: &TrainConfig) -> Precision {
    match config.compute {
        ComputeFormat::F32 => Precision::F32,
        ComputeFormat::Bf16 => Precision::Bf16,
    }
}

/// Builds the task from the settings and the parent's contract.
fn build_training_task(config: &TrainConfig, parent: &Model) -> Result<TrainingTask, Failure> {
    let Objective::Flow { path, loss, over, normalise, max_weight, clean_weight, growth } = &config.objective
    else {
        return Ok(TrainingTask::Autoregressive);
    };
    let contract = parent.flow_contract()?;
    if let Some(stride) = config.attention.stride_at(0) {
        return Ok(TrainingTask::Strided(StridedObjective {
            mask: contract.mask,
            stride,
            clean_weight: *clean_weight,
            normalise: *normalise,
        }));
    }
    let tokens = SourceTokens { mask: contract.mask, used: contract.used };
    let at_least = config.time.at_least_masked as usize;
    Ok(TrainingTask::Flow(FlowObjective {
        corruptor: Corruptor { path: path.clone(), tokens, at_least },
        loss: *loss,
        over: *over,
        normalise: *normalise,
        max_weight: *max_weight,
        time: config.time,
        shift: contract.shift,
        time_per_row: parent.backbone.time_conditioning() != TimeConditioning::None,
        block: config.attention.block_at(0),
        growth: growth.as_ref().map(|growth| find_growth(growth, parent)).transpose()?,
    }))
}

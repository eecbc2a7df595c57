//! The training rows of a dataset, in the order in which they are learned: all in an artifact, or made while they are read.

use std::sync::{Mutex, PoisonError};

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::role::InputRole;
use fmflow_engine::run::execute::Job;

use crate::data::order::{OrderIndex, RowOrder};
use crate::data::packing::Row;
use crate::data::rows::Rows;
use crate::failure::stage_failure;
use crate::job::find_input_folder;
use crate::window::WindowRows;

/// The rows of one dataset of a mixture.
pub(super) struct TrainingRows<'a> {
    /// The artifact: all rows, or the plan of a window and its held-out rows.
    artifact: Rows,
    training: RowsPlace<'a>,
}

/// Where training rows are.
enum RowsPlace<'a> {
    /// In the artifact.
    Artifact(Mutex<OrderIndex>),
    /// In a window.
    Window(Box<WindowRows<'a>>),
}

impl<'a> TrainingRows<'a> {
    /// Opens the rows in a role, which are those of dataset `number` of the mixture.
    pub(super) fn open(job: &'a Job<'a>, role: &InputRole, number: u64) -> Result<Self, Failure> {
        let artifact = Rows::open(find_input_folder(job, role)?).map_err(stage_failure)?;
        let shards = &artifact.summary().shards;
        let order = RowOrder {
            seed: job.seed,
            dataset: number,
            shards: shards.count,
            per_group: shards.per_group,
            in_order: shards.in_order,
        };
        let training = match shards.is_window() {
            true => RowsPlace::Window(Box::new(WindowRows::open(job, role, order, artifact.summary())?)),
            false => RowsPlace::Artifact(Mutex::new(OrderIndex::new(order))),
        };
        Ok(Self { artifact, training })
    }

    /// The artifact of the rows.
    pub(super) fn artifact(&self) -> &Rows {
        &self.artifact
    }

    /// The window, if the rows are made while they are read.
    pub(super) fn window(&self) -> Option<&WindowRows<'a>> {
        match &self.training {
            RowsPlace::Artifact(_) => None,
            RowsPlace::Window(window) => Some(window),
        }
    }

    /// Says which rows training still needs: those from number `first` up to `end`.
    pub(super) fn need(&self, first: u64, end: u64) {
        if let Some(window) = self.window() {
            window.need(first, end);
        }
    }

    /// Row `ordinal`, counted through all passes.
    pub(super) fn row(&self, ordinal: u64) -> Result<Row, Failure> {
        let index = match &self.training {
            RowsPlace::Window(window) => return window.row(ordinal),
            RowsPlace::Artifact(index) => index,
        };
        let rows = &self.artifact.summary().shards.rows;
        let rows = rows.as_deref().expect("rows outside a window have a count for every shard");
        let rows_of = |shard: u64| Ok::<_, std::convert::Infallible>(rows[shard as usize]);
        let mut index = index.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(place) = index.find(ordinal, rows_of);
        let place = place.ok_or_else(|| stage_failure("the artifact has no training rows"))?;
        self.artifact.row_of(place.shard, place.row).map_err(stage_failure)
    }
}

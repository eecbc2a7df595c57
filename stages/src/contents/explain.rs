//! Says why a content is not here, and what to do.

use fmflow_engine::error::{Failure, FailureKind};
use fmflow_engine::pipeline::config::DatasetConfig;
use fmflow_engine::run::execute::Job;
use fmflow_engine::text::escape::escape_line;

use crate::hub::storage::{Bucket, StorageError};

/// What to declare so that requests are signed.
const DECLARE: &str = "declare `secret \"AWS_ACCESS_KEY_ID\"` and `secret \"AWS_SECRET_ACCESS_KEY\"` (and `AWS_SESSION_TOKEN` for keys that \
                       expire), set them, and write `secret=\"AWS_ACCESS_KEY_ID\"` in `contents`, if the bucket is not public";

/// The failure of a stage that an object of a dataset is not here.
pub(super) fn explain_storage_error(
    error: &StorageError,
    bucket: &Bucket,
    key: &str,
    job: &Job<'_>,
    dataset: &DatasetConfig,
    offline: bool,
) -> Failure {
    let server = bucket.server();
    let address = format!("`{}`", escape_line(&bucket.address(key)));
    let (kind, message, help) = match error {
        StorageError::Interrupted => {
            let message = format!(
                "stage `{}` was stopped; what it fetched for dataset `{}` is kept",
                job.stage.name, dataset.name
            );
            return Failure { kind: FailureKind::Interrupted, message, help: None };
        }
        StorageError::Unreachable(_) if offline => {
            let message = format!("{address} is not on this machine, and `HF_HUB_OFFLINE` is set");
            let help = format!(
                "unset `HF_HUB_OFFLINE` until all contents of dataset `{}` are here; what has arrived is kept",
                dataset.name
            );
            (FailureKind::Stage, message, help)
        }
        StorageError::Unreachable(why) => {
            let message = format!("{address} cannot be fetched from {server}: {why}");
            let help = format!(
                "dataset `{}` needs {server} until all of its contents are here; what has arrived is kept: run the same command again",
                dataset.name
            );
            (FailureKind::Stage, message, help)
        }
        StorageError::Refused { status, reason, region } => {
            let message = format!("{server} refuses {address}: {reason}");
            (FailureKind::Input, message, suggest_cure(*status, region.as_deref(), bucket.is_signed()))
        }
    };
    Failure { kind, message, help: Some(help) }
}

fn suggest_cure(status: u16, region: Option<&str>, signed: bool) -> String {
    match (status, region) {
        (_, Some(region)) => format!("the bucket is in another region: `export AWS_REGION={region}`"),
        (301 | 307 | 308, None) => "name the region of the bucket, as in `export AWS_REGION=us-west-2`".to_owned(),
        (401 | 403, None) if signed => {
            "compare the keys in the environment with those of the account, and what it may read; declare `AWS_SESSION_TOKEN` too if the \
             keys expire, and check this machine's clock. Servers also answer 403 for objects that do not exist if the account may not \
             list the bucket"
                .to_owned()
        }
        (401 | 403, None) => DECLARE.to_owned(),
        (404, None) => "correct the bucket in `contents from=`, or the server in `AWS_ENDPOINT_URL_S3`, which has to speak S3".to_owned(),
        _ => "compare `contents from=` with what the server has".to_owned(),
    }
}

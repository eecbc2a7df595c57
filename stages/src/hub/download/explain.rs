//! What to say of a file that cannot be downloaded: which it is, why, and what to do.

use fmflow_engine::error::{Failure, FailureKind};
use fmflow_engine::hub::online::{Hub as _, HubError};
use fmflow_engine::pipeline::repository::{PinnedFile, RepositoryFiles, RepositoryKind};
use fmflow_engine::text::escape::escape_line;

use super::Downloader;
use crate::hub::transfer::TransferError;

/// The longest explanation of a hub that is shown, in characters.
const MOST_WORDS: usize = 200;

impl Downloader<'_> {
    /// The file and its repository, for messages.
    fn describe(&self, file: &PinnedFile) -> String {
        let RepositoryFiles { name, commit, .. } = self.remote;
        format!("`{}` of `hf:{name}` at {}", escape_line(&file.path), &commit[..commit.len().min(12)])
    }

    pub(super) fn stopped(&self) -> Failure {
        let message =
            format!("stage `{}` was stopped; the next run goes on with its download", self.job.stage.name);
        Failure { kind: FailureKind::Interrupted, message, help: None }
    }

    pub(super) fn unhashed(&self, file: &PinnedFile) -> Failure {
        let message = format!("{}: the lock file has no hash of it", self.describe(file));
        let help = Some("pin it again with `fmflow check FILE --lock --update`".to_owned());
        Failure { kind: FailureKind::Input, message, help }
    }

    pub(super) fn other_content(&self, file: &PinnedFile) -> Failure {
        let message =
            format!("{}: its content is not what the lock file lists (another hash)", self.describe(file));
        let help =
            "run the same command again; if it stays so, the hub or a proxy changes files: do not use them";
        Failure { kind: FailureKind::Input, message, help: Some(help.to_owned()) }
    }

    pub(super) fn explain(&self, file: &PinnedFile, error: TransferError) -> Failure {
        let what = self.describe(file);
        let fail = |kind, message: String, help: String| Failure { kind, message, help: Some(help) };
        let page = self.page();
        let account = match self.job.token {
            Some(_) => "with the account of `HF_TOKEN`",
            None => "then declare `secret \"HF_TOKEN\"` in the pipeline and `export HF_TOKEN=...`",
        };
        match error {
            TransferError::Interrupted => self.stopped(),
            TransferError::Store(error) => {
                let failure = Failure::from(error);
                Failure { message: format!("{what}: {}", failure.message), ..failure }
            }
            TransferError::Hub(HubError::Unreachable(_)) if self.hub.client.offline => {
                let message = format!("{what} is not on this machine, and `HF_HUB_OFFLINE` is set");
                let help =
                    "unset `HF_HUB_OFFLINE`, or download it into the cache of Hugging Face's tools first";
                fail(FailureKind::Stage, message, help.to_owned())
            }
            TransferError::Other(words) => {
                let help = "run the same command again; if it stays so, pin anew with `fmflow check FILE --lock --update`";
                fail(FailureKind::Input, format!("{what}: {words}"), help.to_owned())
            }
            TransferError::Hub(HubError::Gated) => {
                let help = format!("accept its terms at {page}, {account}");
                fail(FailureKind::Input, format!("{what}: the repository is gated"), help)
            }
            TransferError::Hub(HubError::BadToken) => {
                let help = format!(
                    "create a token at {}/settings/tokens, then `export HF_TOKEN=...`",
                    self.hub.address()
                );
                fail(
                    FailureKind::Input,
                    format!("{what}: the hub does not accept the token in `HF_TOKEN`"),
                    help,
                )
            }
            TransferError::Hub(HubError::NoRepository | HubError::NoRevision) => {
                let help = format!(
                    "look at {page}; `fmflow check FILE --lock --update` pins what is there now; for a private repository, {account}"
                );
                fail(
                    FailureKind::Input,
                    format!("{what}: the hub does not have it, or does not show it"),
                    help,
                )
            }
            TransferError::Hub(HubError::Refused(why) | HubError::BadCard(why)) => {
                let message = format!("{what}: the hub refuses it: {}", shorten(&why));
                fail(FailureKind::Input, message, format!("see {page}"))
            }
            TransferError::Hub(HubError::Unreachable(why)) => {
                let message =
                    format!("{what}: {} gave no usable answer: {}", self.hub.address(), shorten(&why));
                let help = "check the network, `HF_ENDPOINT`, `HTTPS_PROXY` and `SSL_CERT_FILE`, then run the same command again: it goes on where it stopped";
                fail(FailureKind::Stage, message, help.to_owned())
            }
        }
    }

    /// URL of the repository's web page.
    fn page(&self) -> String {
        let folder = if self.remote.kind == RepositoryKind::Dataset { "datasets/" } else { "" };
        format!("{}/{folder}{}", self.hub.address(), self.remote.name)
    }
}

/// One short line of a hub's words.
fn shorten(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    escape_line(&line).chars().take(MOST_WORDS).collect()
}

//! The Hugging Face Hub: revisions, access, files and columns, asked over HTTP.
//!
//! The only room that opens a network connection, and only when a command is told to: `check --online`.
//! `HF_ENDPOINT` names another hub, as for the tools of Hugging Face; `HF_DATASETS_SERVER` the server that knows
//! columns, where it is not the hub's own `datasets-server.` host. Proxies are those of the environment, and so are
//! certificates where `SSL_CERT_FILE` names some.

mod answer;
mod certificates;
mod client;

use fmflow_engine::hub::lockfile::PinnedFile;
use fmflow_engine::hub::online::{Hub, HubError, Secret, SubsetColumns};
use fmflow_engine::pipeline::repository::{RepositoryKind, RepositoryRequest};

use client::{ClientTimeouts, HttpAnswer, HttpClient, encode_url_part};

/// The hub where nobody names another.
const ENDPOINT: &str = "https://huggingface.co";

/// Most pages of a list of files: a thousand files each.
const MOST_PAGES: usize = 1_000;

/// A hub at an address.
struct RemoteHub {
    client: HttpClient,
    endpoint: String,
    datasets: String,
}

/// The hub that the environment names. Nothing is asked yet.
#[must_use]
pub fn open_hub() -> impl Hub {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    let client = HttpClient::new(ClientTimeouts::default(), set("SSL_CERT_FILE").map(Into::into));
    RemoteHub::new(client, set("HF_ENDPOINT"), set("HF_DATASETS_SERVER"))
}

impl RemoteHub {
    fn new(client: HttpClient, endpoint: Option<String>, datasets: Option<String>) -> Self {
        let bare = |address: String| address.trim().trim_end_matches('/').to_owned();
        let endpoint = bare(endpoint.unwrap_or_else(|| ENDPOINT.to_owned()));
        // The rule of the `datasets` library.
        let datasets = datasets.unwrap_or_else(|| endpoint.replacen("://", "://datasets-server.", 1));
        Self { client, endpoint, datasets: bare(datasets) }
    }

    /// The address of a repository in the hub's interface.
    fn api(&self, asked: &RepositoryRequest) -> String {
        let folder = match asked.kind {
            RepositoryKind::Model => "models",
            RepositoryKind::Dataset => "datasets",
        };
        format!("{}/api/{folder}/{}", self.endpoint, asked.name)
    }

    fn get(&self, url: &str, token: Option<&Secret>) -> Result<HttpAnswer, HubError> {
        let answer = self.client.get(url, token)?;
        if answer.status == 200 { Ok(answer) } else { Err(answer::to_hub_error(&answer)) }
    }

    /// Whether the files may be read: what is shown of a gated repository does not tell.
    fn may_read(
        &self,
        asked: &RepositoryRequest,
        gated: bool,
        token: Option<&Secret>,
    ) -> Result<(), HubError> {
        let answer = self.client.get(&format!("{}/auth-check", self.api(asked)), token)?;
        match answer.status {
            200 => Ok(()),
            // A mirror may not have this question; then what the repository says of itself has to do.
            404 if answer.code.is_empty() && (!gated || token.is_some()) => Ok(()),
            404 if answer.code.is_empty() => Err(HubError::Gated),
            _ => Err(answer::to_hub_error(&answer)),
        }
    }
}

impl Hub for RemoteHub {
    fn address(&self) -> &str {
        &self.endpoint
    }

    fn commit(&self, asked: &RepositoryRequest, token: Option<&Secret>) -> Result<String, HubError> {
        let revision = asked.revision.as_deref().map(|text| format!("/revision/{}", encode_url_part(text)));
        let answer = self.get(&(self.api(asked) + &revision.unwrap_or_default()), token)?;
        let (commit, gated) = answer::read_commit(&answer)?;
        self.may_read(asked, gated, token)?;
        Ok(commit)
    }

    fn files(
        &self,
        asked: &RepositoryRequest,
        commit: &str,
        token: Option<&Secret>,
    ) -> Result<Vec<PinnedFile>, HubError> {
        let mut files = Vec::new();
        let mut next = Some(format!("{}/tree/{}?recursive=true", self.api(asked), encode_url_part(commit)));
        for _ in 0..MOST_PAGES {
            let Some(url) = next else { return Ok(files) };
            let answer = self.get(&url, token)?;
            files.extend(answer::read_file_page(&answer)?);
            next = answer.next(&url)?;
        }
        Err(HubError::Unreachable(format!("`{}` has too many files to list", asked.name)))
    }

    fn columns(&self, dataset: &str, token: Option<&Secret>) -> Result<SubsetColumns, HubError> {
        let answer = self
            .client
            .get(&format!("{}/info?dataset={}", self.datasets, encode_url_part(dataset)), token)?;
        match answer.status {
            200 => answer::read_columns(&answer),
            _ => Err(HubError::Refused(answer.reason())),
        }
    }
}

#[cfg(test)]
mod tests;

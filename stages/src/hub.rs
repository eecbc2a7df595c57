//! The Hugging Face Hub over HTTP: revisions, access, files, cards, columns, and downloads. And S3, with the same client.
//!
//! This is the only module that opens a network connection, and only for `check --online` and for stages that read a repository or
//! contents in S3.
//! `HF_ENDPOINT` names another hub, as for Hugging Face's own tools; `HF_DATASETS_SERVER` names the server that knows columns, if
//! it is not the hub's own `datasets-server.` host; with `HF_HUB_OFFLINE` nothing is sent. Proxies come from the environment, and
//! so do certificates if `SSL_CERT_FILE` is set.

mod address;
mod answer;
mod cache;
mod card;
mod certificates;
mod client;
mod download;
mod hash;
pub(crate) mod storage;
mod transfer;

pub(crate) use download::download_files;

use fmflow_engine::hub::online::{CardSubset, Hub, HubError, Secret, SubsetColumns};
use fmflow_engine::pipeline::repository::{PinnedFile, RepositoryKind, RepositoryRequest};
use fmflow_engine::text::environment::read_variable;
use indexmap::IndexSet;

use address::encode_url_part;
use client::{ClientTimeouts, HttpAnswer, HttpClient};

/// The default hub.
const ENDPOINT: &str = "https://huggingface.co";

/// The most pages that are read of a list of files; the hub puts a thousand files on each.
const MOST_PAGES: usize = 1_000;

/// The most files of a list: as many as are on that many pages.
const MOST_FILES: usize = 1_000_000;

/// A hub at a network address.
struct RemoteHub {
    client: HttpClient,
    endpoint: String,
    datasets: String,
}

/// The hub that the environment names. This sends no request yet.
#[must_use]
pub fn open_hub() -> impl Hub {
    RemoteHub::from_environment()
}

impl RemoteHub {
    fn from_environment() -> Self {
        Self::new(Self::build_client(), read_variable("HF_ENDPOINT"), read_variable("HF_DATASETS_SERVER"))
    }

    /// A client for any server, as the environment wants it.
    fn build_client() -> HttpClient {
        let certificates = read_variable("SSL_CERT_FILE").map(Into::into);
        let mut client = HttpClient::new(ClientTimeouts::default(), certificates);
        // The words that `huggingface_hub` takes for true.
        let yes = |word: &String| ["1", "on", "yes", "true"].contains(&word.to_lowercase().as_str());
        client.offline = read_variable("HF_HUB_OFFLINE").is_some_and(|word| yes(&word));
        client
    }

    fn new(client: HttpClient, endpoint: Option<String>, datasets: Option<String>) -> Self {
        let bare = |address: String| address.trim().trim_end_matches('/').to_owned();
        let endpoint = bare(endpoint.unwrap_or_else(|| ENDPOINT.to_owned()));
        // The same rule as in the `datasets` library.
        let datasets = datasets.unwrap_or_else(|| endpoint.replacen("://", "://datasets-server.", 1));
        Self { client, endpoint, datasets: bare(datasets) }
    }

    /// The URL of a repository in the hub's API.
    fn api(&self, asked: &RepositoryRequest) -> String {
        let folder = match asked.kind {
            RepositoryKind::Model => "models",
            RepositoryKind::Dataset => "datasets",
        };
        format!("{}/api/{folder}/{}", self.endpoint, asked.name)
    }

    /// The URL of a file of a repository at a commit.
    fn file_url(&self, kind: RepositoryKind, name: &str, commit: &str, path: &str) -> String {
        let folder = if kind == RepositoryKind::Dataset { "datasets/" } else { "" };
        let path: Vec<String> = path.split('/').map(encode_url_part).collect();
        format!("{}/{folder}{name}/resolve/{}/{}", self.endpoint, encode_url_part(commit), path.join("/"))
    }

    fn get(&self, url: &str, token: Option<&Secret>) -> Result<HttpAnswer, HubError> {
        let answer = self.client.get(url, token)?;
        if answer.status == 200 { Ok(answer) } else { Err(answer::to_hub_error(&answer)) }
    }

    /// Checks that the files may be read. A gated repository shows its metadata to everybody, so a readable page proves
    /// nothing.
    fn may_read(
        &self,
        asked: &RepositoryRequest,
        gated: bool,
        token: Option<&Secret>,
    ) -> Result<(), HubError> {
        let answer = self.client.get(&format!("{}/auth-check", self.api(asked)), token)?;
        match answer.status {
            200 => Ok(()),
            // A mirror may not implement this endpoint. Then the repository's own `gated` flag must do.
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
        let (mut files, mut read) = (Vec::new(), IndexSet::new());
        let mut next = Some(format!("{}/tree/{}?recursive=true", self.api(asked), encode_url_part(commit)));
        while let Some(url) = next {
            let answer = self.get(&url, token)?;
            files.extend(answer::read_file_page(&answer)?);
            next = answer.next(&url)?;
            read.insert(url);
            let again = next.as_ref().is_some_and(|next| read.contains(next));
            if let Some(why) = refuse_list(read.len(), files.len(), again) {
                return Err(HubError::Unreachable(format!("the file list of `{}` {why}", asked.name)));
            }
        }
        Ok(files)
    }

    fn card(
        &self,
        asked: &RepositoryRequest,
        commit: &str,
        token: Option<&Secret>,
    ) -> Result<Vec<CardSubset>, HubError> {
        let answer = self.get(&self.file_url(asked.kind, &asked.name, commit, "README.md"), token)?;
        card::read_card(answer.text()?).map_err(HubError::BadCard)
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

/// Why a list that is not at its end is not read on; `again` says whether its next page was read before.
fn refuse_list(pages: usize, files: usize, again: bool) -> Option<String> {
    match () {
        () if again => Some("leads back to a page that was read".to_owned()),
        () if files > MOST_FILES => Some(format!("has more than {MOST_FILES} files")),
        () if pages > MOST_PAGES => Some(format!("has more than {MOST_PAGES} pages")),
        () => None,
    }
}

#[cfg(test)]
mod tests;

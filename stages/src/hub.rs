//! The Hugging Face Hub over HTTP: revisions, access, files and columns.
//!
//! This is the only module that opens a network connection, and only for `check --online`. `HF_ENDPOINT` names another hub,
//! as for Hugging Face's own tools; `HF_DATASETS_SERVER` names the server that knows columns, if it is not the hub's own
//! `datasets-server.` host. Proxies come from the environment, and so do certificates if `SSL_CERT_FILE` is set.

mod answer;
mod certificates;
mod client;

use fmflow_engine::hub::lockfile::PinnedFile;
use fmflow_engine::hub::online::{Hub, HubError, Secret, SubsetColumns};
use fmflow_engine::pipeline::repository::{RepositoryKind, RepositoryRequest};
use indexmap::IndexSet;

use client::{ClientTimeouts, HttpAnswer, HttpClient, encode_url_part};

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
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    let client = HttpClient::new(ClientTimeouts::default(), set("SSL_CERT_FILE").map(Into::into));
    RemoteHub::new(client, set("HF_ENDPOINT"), set("HF_DATASETS_SERVER"))
}

impl RemoteHub {
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

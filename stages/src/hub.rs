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
use fmflow_engine::hub::online::{Columns, Hub, Secret, Trouble};
use fmflow_engine::pipeline::repository::{Asked, Kind};

use client::{Answer, Client, Patience, encoded};

/// The hub where nobody names another.
const ENDPOINT: &str = "https://huggingface.co";

/// Most pages of a list of files: a thousand files each.
const MOST_PAGES: usize = 1_000;

/// A hub at an address.
struct Remote {
    client: Client,
    endpoint: String,
    datasets: String,
}

/// The hub that the environment names. Nothing is asked yet.
#[must_use]
pub fn hub() -> impl Hub {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    let client = Client::new(Patience::default(), set("SSL_CERT_FILE").map(Into::into));
    Remote::new(client, set("HF_ENDPOINT"), set("HF_DATASETS_SERVER"))
}

impl Remote {
    fn new(client: Client, endpoint: Option<String>, datasets: Option<String>) -> Self {
        let bare = |address: String| address.trim().trim_end_matches('/').to_owned();
        let endpoint = bare(endpoint.unwrap_or_else(|| ENDPOINT.to_owned()));
        // The rule of the `datasets` library.
        let datasets = datasets.unwrap_or_else(|| endpoint.replacen("://", "://datasets-server.", 1));
        Self { client, endpoint, datasets: bare(datasets) }
    }

    /// The address of a repository in the hub's interface.
    fn api(&self, asked: &Asked) -> String {
        let folder = match asked.kind {
            Kind::Model => "models",
            Kind::Dataset => "datasets",
        };
        format!("{}/api/{folder}/{}", self.endpoint, asked.name)
    }

    fn get(&self, url: &str, token: Option<&Secret>) -> Result<Answer, Trouble> {
        let answer = self.client.get(url, token)?;
        if answer.status == 200 { Ok(answer) } else { Err(answer::trouble(&answer)) }
    }

    /// Whether the files may be read: what is shown of a gated repository does not tell.
    fn may_read(&self, asked: &Asked, gated: bool, token: Option<&Secret>) -> Result<(), Trouble> {
        let answer = self.client.get(&format!("{}/auth-check", self.api(asked)), token)?;
        match answer.status {
            200 => Ok(()),
            // A mirror may not have this question; then what the repository says of itself has to do.
            404 if answer.code.is_empty() && (!gated || token.is_some()) => Ok(()),
            404 if answer.code.is_empty() => Err(Trouble::Gated),
            _ => Err(answer::trouble(&answer)),
        }
    }
}

impl Hub for Remote {
    fn address(&self) -> &str {
        &self.endpoint
    }

    fn commit(&self, asked: &Asked, token: Option<&Secret>) -> Result<String, Trouble> {
        let revision = asked.revision.as_deref().map(|text| format!("/revision/{}", encoded(text)));
        let answer = self.get(&(self.api(asked) + &revision.unwrap_or_default()), token)?;
        let (commit, gated) = answer::commit(&answer)?;
        self.may_read(asked, gated, token)?;
        Ok(commit)
    }

    fn files(&self, asked: &Asked, commit: &str, token: Option<&Secret>) -> Result<Vec<PinnedFile>, Trouble> {
        let mut files = Vec::new();
        let mut next = Some(format!("{}/tree/{}?recursive=true", self.api(asked), encoded(commit)));
        for _ in 0..MOST_PAGES {
            let Some(url) = next else { return Ok(files) };
            let answer = self.get(&url, token)?;
            files.extend(answer::files(&answer)?);
            next = answer.next(&url)?;
        }
        Err(Trouble::Unreachable(format!("`{}` has too many files to list", asked.name)))
    }

    fn columns(&self, dataset: &str, token: Option<&Secret>) -> Result<Columns, Trouble> {
        let answer =
            self.client.get(&format!("{}/info?dataset={}", self.datasets, encoded(dataset)), token)?;
        match answer.status {
            200 => answer::columns(&answer),
            _ => Err(Trouble::Refused(answer.reason())),
        }
    }
}

#[cfg(test)]
mod tests;

//! Serves checkpoints over HTTP: OpenAI's API, a page, and what a program that watches servers asks for.
//!
//! Handlers see a [`TextService`](fmflow_engine::service::TextService) only, so that tests give them a stand-in.

mod answers;
mod api;
mod connections;
mod fault;
mod fields;
mod keys;
mod limits;
mod metrics;
mod page;
mod routes;
mod state;
mod stream;
#[cfg(test)]
mod tests;
mod watch;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use fmflow_engine::error::Failure;
use fmflow_engine::service::{Serve, ServerEnd, ServerSettings, TextService};

use connections::listen;

/// The server of this build.
#[must_use]
pub fn build_server() -> impl Serve {
    HttpServer
}

struct HttpServer;

impl Serve for HttpServer {
    fn serve(
        &self,
        settings: &ServerSettings,
        service: Arc<dyn TextService>,
        stop: &AtomicBool,
        ready: &mut dyn FnMut(&str),
    ) -> Result<ServerEnd, Failure> {
        listen(settings, service, stop, ready, limits::Limits::USUAL)
    }
}

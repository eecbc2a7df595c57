//! Listens, takes connections, and ends in bounded time.

use std::net::{SocketAddr, ToSocketAddrs};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use fmflow_engine::error::{Failure, FailureKind};
use fmflow_engine::service::{ServerEnd, ServerSettings, TextService};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::keys::Keys;
use crate::limits::Limits;
use crate::metrics::Counted;
use crate::routes::build_router;
use crate::state::ServerState;

/// How often the flag that stops the server is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// How long connections may take to tell their clients that they were cut.
const FAREWELL: Duration = Duration::from_secs(2);

/// Serves until `stop` is set.
pub(crate) fn listen(
    settings: &ServerSettings,
    service: Arc<dyn TextService>,
    stop: &AtomicBool,
    ready: &mut dyn FnMut(&str),
    limits: Limits,
) -> Result<ServerEnd, Failure> {
    let keys = settings.keys.as_deref().map(Keys::read).transpose()?;
    let addresses = find_addresses(settings)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(2)
        .build()
        .map_err(|error| refuse("start the server", &error))?;
    runtime.block_on(async {
        let listener = TcpListener::bind(&addresses[..])
            .await
            .map_err(|error| refuse(&format!("listen at {}:{}", settings.host, settings.port), &error))?;
        let own = listener.local_addr().map_err(|error| refuse("read the address", &error))?;
        let state = Arc::new(ServerState::new(service, keys, limits, own.ip().is_loopback()));
        ready(&format!("http://{own}"));
        Ok(serve(listener, state, settings.grace, stop).await)
    })
}

fn find_addresses(settings: &ServerSettings) -> Result<Vec<SocketAddr>, Failure> {
    let found = (settings.host.as_str(), settings.port).to_socket_addrs();
    found
        .map(Iterator::collect)
        .map_err(|error| refuse(&format!("find the address `{}`", settings.host), &error))
}

fn refuse(what: &str, error: &std::io::Error) -> Failure {
    let help = "choose another address with `--host`, or another port with `--port`; 0 takes a free one";
    Failure {
        kind: FailureKind::Input,
        message: format!("cannot {what}: {error}"),
        help: Some(help.to_owned()),
    }
}

async fn serve(
    listener: TcpListener,
    state: Arc<ServerState>,
    grace: Duration,
    stop: &AtomicBool,
) -> ServerEnd {
    let router = build_router(state.clone());
    let (closing, closed) = watch::channel(false);
    let places = Arc::new(Semaphore::new(state.limits.connections));
    let mut open = JoinSet::new();
    let mut stopped = pin!(wait_for(stop));
    loop {
        let accepted = async {
            let place = places.clone().acquire_owned().await.expect("nobody closes the semaphore");
            (listener.accept().await, place)
        };
        let accepted = tokio::select! {
            () = &mut stopped => break,
            accepted = accepted => accepted,
            Some(_) = open.join_next() => continue,
        };
        let (Ok((stream, _)), place) = accepted else {
            // No descriptor is free, or the client is gone already.
            sleep(LOOK).await;
            continue;
        };
        let (state, router, closed) = (state.clone(), router.clone(), closed.clone());
        open.spawn(async move {
            let _place = place;
            let _counted = Counted::new(&state.metrics, |metrics| &metrics.connections);
            hold(stream, router, &state.limits, closed).await;
        });
    }
    drop(listener);
    end(&state, open, &closing, grace).await
}

async fn wait_for(stop: &AtomicBool) {
    while !stop.load(Ordering::SeqCst) {
        sleep(LOOK).await;
    }
}

/// One connection, from its first request to its last.
async fn hold(stream: TcpStream, router: Router, limits: &Limits, mut closed: watch::Receiver<bool>) {
    // Pieces of answers are small and wanted at once. A connection that cannot do that still works.
    let _ = stream.set_nodelay(true);
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_wait)
        .max_headers(limits.head_fields)
        .max_buf_size(limits.head_bytes);
    let service = TowerToHyperService::new(router);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let late = Instant::now() + limits.connection_wait;
    // Errors are those of the client: it has left, or sent what is no HTTP and was told so.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = closed.wait_for(|closed| *closed) => {}
        () = tokio::time::sleep_until(late) => return,
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout_at(late, connection).await;
}

/// Lets what is at work end, cuts the rest, and counts what was cut.
async fn end(
    state: &ServerState,
    mut open: JoinSet<()>,
    closing: &watch::Sender<bool>,
    grace: Duration,
) -> ServerEnd {
    state.closing.store(true, Ordering::SeqCst);
    closing.send_replace(true);
    let at_work = || usize::try_from(state.metrics.requests.load(Ordering::Relaxed)).unwrap_or(0);
    let late = Instant::now() + grace;
    // Connections that ask for nothing are not waited for.
    while at_work() > 0 && Instant::now() < late {
        sleep(LOOK).await;
    }
    let cut = at_work();
    state.cut.store(true, Ordering::SeqCst);
    let _ = timeout(FAREWELL, async { while open.join_next().await.is_some() {} }).await;
    open.shutdown().await;
    ServerEnd { cut }
}

//! The HTTP server: what each path answers.

use std::io;
use std::net::SocketAddr;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use central_view::{AttachError, CentralView, Status, attach};
use conventions::log_line::{Outcome, info};
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::task::spawn_blocking;

use crate::{health, metrics, page};

/// Media type of the Prometheus text format.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Serves the central whose first port is `port` until the process ends. Fails if the address
/// cannot be used.
pub fn serve(listen: SocketAddr, port: u16) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        info("monitor", Outcome::Success).with("address", address).with("central", port).write();
        axum::serve(listener, router(port)).await
    })
}

fn router(port: u16) -> Router {
    Router::new()
        .route("/status.json", get(move || answer(port, status)))
        .route("/livez", get(move || answer(port, health::live)))
        .route("/readyz", get(move || answer(port, health::ready)))
        .route("/metrics", get(move || answer(port, exposition)))
        .merge(page::router(port))
}

/// Attaches to the central and answers from its memory. Each request attaches again, so the monitor
/// follows a central that restarts. It does so beside the event loop, because a segment that is
/// being created makes it wait.
async fn answer(port: u16, render: fn(Result<CentralView, AttachError>) -> Response) -> Response {
    let answered = spawn_blocking(move || render(attach(port))).await;
    answered.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

fn status(central: Result<CentralView, AttachError>) -> Response {
    match central {
        Ok(central) => {
            let json = [(header::CONTENT_TYPE, "application/json")];
            (json, Status::of(&central).json()).into_response()
        }
        Err(reason) => unavailable(&[reason.to_string()]),
    }
}

fn exposition(central: Result<CentralView, AttachError>) -> Response {
    ([(header::CONTENT_TYPE, METRICS)], metrics::text(central.ok().as_ref())).into_response()
}

/// Returns the answer that the central cannot be used, with one reason per line.
pub fn unavailable(reasons: &[String]) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n").into_response()
}

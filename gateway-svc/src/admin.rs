//! The admin port: `/livez`, `/readyz`, `/metrics`. Apart from the clients' ports, and plain HTTP.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router, extract::State, http::StatusCode, http::header::CONTENT_TYPE, response::IntoResponse,
    routing::get,
};

use crate::{metrics::Metrics, process::Process};

#[derive(Clone)]
struct Admin {
    process: Arc<Process>,
    metrics: Arc<Metrics>,
}

/// Serves until dropped.
pub(crate) async fn serve(
    listener: std::net::TcpListener,
    process: Arc<Process>,
    metrics: Arc<Metrics>,
) -> std::io::Result<()> {
    let app = Router::new()
        // alive is who answers; NATS has no say, or an outage of the bus would restart every gateway
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(text))
        .with_state(Admin { process, metrics });
    axum::serve(tokio::net::TcpListener::from_std(listener)?, app).await
}

async fn readyz(State(admin): State<Admin>) -> impl IntoResponse {
    match admin.process.unready() {
        None => (StatusCode::OK, "ready\n".to_owned()),
        Some(why) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("not ready: {why}\n"),
        ),
    }
}

async fn text(State(admin): State<Admin>) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, kind)], admin.metrics.text())
}

/// Binds the admin port.
pub(crate) fn bind(addr: SocketAddr) -> std::io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(addr)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

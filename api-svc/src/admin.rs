//! The admin port: `/livez`, `/readyz`, `/metrics`. Apart from the callers' port, and plain HTTP.

use std::sync::Arc;

use axum::{
    Router, extract::State, http::StatusCode, http::header::CONTENT_TYPE, response::IntoResponse,
    routing::get,
};

use crate::service::Service;

/// Serves until dropped.
pub(crate) async fn serve(
    listener: std::net::TcpListener,
    service: Arc<Service>,
) -> std::io::Result<()> {
    let app = Router::new()
        // alive is who answers; NATS has no say, or its outage would restart every replica
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(service);
    axum::serve(tokio::net::TcpListener::from_std(listener)?, app).await
}

async fn readyz(State(service): State<Arc<Service>>) -> impl IntoResponse {
    if service.is_ready() {
        (StatusCode::OK, "ready\n")
    } else {
        let says = "not ready: NATS is not connected, or the service stops\n";
        (StatusCode::SERVICE_UNAVAILABLE, says)
    }
}

async fn metrics(State(service): State<Arc<Service>>) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, kind)], service.metrics_text())
}

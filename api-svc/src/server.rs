//! The server: connections, from their start to the end of the last one.

mod pace;
mod seats;
mod watched;

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use axum::{Router, body::Body, http::Request, response::Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{rt::TokioIo, server::graceful::GracefulShutdown};
use tokio::{
    net::TcpListener,
    time::{Instant, sleep},
};
use tower_service::Service;

pub use self::pace::Patience;
pub(crate) use self::pace::Reason;
use self::{pace::Pace, seats::Seats, watched::Watched};
use crate::metrics::Metrics;

/// The pause after the system would not give us a connection, as when descriptors are used up.
const PAUSE: Duration = Duration::from_millis(100);

/// What connections may take.
#[derive(Debug, Clone)]
pub(crate) struct Bounds {
    /// Most at once. One more makes the one close that waits longest for its caller; while
    /// requests are at work on all of them it waits itself.
    pub(crate) connections: usize,
    pub(crate) patience: Patience,
}

/// Serves until `stop`, then until the last request is answered.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    bounds: Bounds,
    metrics: Arc<Metrics>,
    stop: impl Future<Output = ()>,
) {
    let seats = Seats::new(bounds.connections);
    let graceful = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    let mut http = http1::Builder::new();
    // the pace has that limit, and one for idle connections
    http.header_read_timeout(None);
    loop {
        let accept = async {
            let (stream, _) = listener.accept().await?;
            io::Result::Ok((stream, seats.take().await))
        };
        let accepted = tokio::select! {
            accepted = accept => accepted,
            () = &mut stop => break,
        };
        let (stream, seat) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "no connection");
                sleep(PAUSE).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let (router, pace) = (router.clone(), seat.pace.clone());
        let answer = service_fn(move |request: Request<Incoming>| {
            let (router, pace) = (router.clone(), pace.clone());
            async move { Ok::<_, Infallible>(answer(router, request, &pace).await) }
        });
        let stream = TokioIo::new(Watched::new(stream, seat.pace.clone()));
        let connection = graceful.watch(http.serve_connection(stream, answer));
        let (patience, metrics) = (bounds.patience, metrics.clone());
        tokio::spawn(async move {
            let _counted = metrics.connected();
            tokio::select! {
                ended = connection => if let Err(error) = ended {
                    tracing::debug!(%error, "a connection broke");
                },
                reason = seat.pace.is_over(&patience) => {
                    tracing::debug!(reason = reason.word(), "a connection is closed");
                    metrics.closed(reason);
                }
            }
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

async fn answer(mut router: Router, request: Request<Incoming>, pace: &Pace) -> Response {
    if !pace.begins() {
        // another has the place, and this connection ends in a moment
        return std::future::pending().await;
    }
    let answered = router.call(request.map(Body::new)).await;
    pace.answers(Instant::now());
    match answered {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

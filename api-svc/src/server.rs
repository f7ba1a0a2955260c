//! The server: connections, from their start to the end of the last one.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{Router, body::Body, http::Request};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{net::TcpListener, sync::Semaphore, time::sleep};

/// How long a head may take, and a connection wait for its next request.
const HEAD: Duration = Duration::from_secs(30);
/// The pause after the system would not give us a connection, as when descriptors are used up.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop`, then until the last request is answered.
///
/// At most `connections` at once; more wait to be taken.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    connections: usize,
    stop: impl Future<Output = ()>,
) {
    let room = Arc::new(Semaphore::new(connections));
    let graceful = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD);
    loop {
        let accept = async {
            let seat = room.clone().acquire_owned().await;
            let seat = seat.expect("nobody closes the room");
            (listener.accept().await, seat)
        };
        let (accepted, seat) = tokio::select! {
            accepted = accept => accepted,
            () = &mut stop => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "no connection");
                sleep(PAUSE).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let router = router.clone();
        let answer = service_fn(move |request: Request<Incoming>| {
            let mut router = router.clone();
            async move {
                let request = request.map(Body::new);
                let answered = tower_service::Service::call(&mut router, request).await;
                Ok::<_, Infallible>(match answered {
                    Ok(response) => response,
                    Err(never) => match never {},
                })
            }
        });
        let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), answer));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection broke");
            }
            drop(seat);
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

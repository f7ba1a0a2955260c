//! The admin port: `/livez`, `/readyz`, `/metrics`. Plain HTTP, and no more of it than probes and
//! Prometheus speak: one request with no body, one answer, and the connection is closed.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{Error, ErrorKind, health::Health, metrics};

/// So many visitors are served at the same time; the next one waits until one is gone.
const VISITORS: usize = 16;
/// How long a visitor may take.
const VISIT: Duration = Duration::from_secs(5);
/// The most bytes of a request.
const LONGEST: usize = 8 * 1024;
/// A pause after a connection that could not be accepted.
const AGAIN: Duration = Duration::from_millis(100);

/// Opens the port, and says which one it is.
pub(crate) async fn bind(addr: SocketAddr) -> Result<TcpListener, Error> {
    let cannot = |error| {
        let says = format!(
            "the admin port {addr} cannot be opened; \
             GATEBUS_ADMIN, or `admin` of the builder, says which one"
        );
        Error::new(ErrorKind::Config, says).with(error)
    };
    let listener = TcpListener::bind(addr).await.map_err(cannot)?;
    tracing::info!("admin on http://{}", listener.local_addr().map_err(cannot)?);
    Ok(listener)
}

/// Serves until dropped.
pub(crate) async fn serve(listener: TcpListener, health: Arc<Health>) {
    let room = Arc::new(Semaphore::new(VISITORS));
    let mut visits = JoinSet::new();
    loop {
        while visits.try_join_next().is_some() {}
        let Ok(seat) = room.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((visitor, _)) => {
                let health = health.clone();
                visits.spawn(async move {
                    // Who is gone, or too slow, needs no answer.
                    let _ = timeout(VISIT, visit(visitor, &health)).await;
                    drop(seat);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "the admin port cannot accept");
                sleep(AGAIN).await;
            }
        }
    }
}

async fn visit(mut visitor: TcpStream, health: &Health) -> std::io::Result<()> {
    let answer = match read_head(&mut visitor).await? {
        Some(head) => answer(&head, health),
        None => plain(
            "431 Request Header Fields Too Large",
            "the request is too long\n",
        )
        .whole(),
    };
    visitor.write_all(answer.as_bytes()).await?;
    visitor.shutdown().await?;
    // What is left unread would make the kernel take the answer back.
    let mut rest = [0; 1024];
    while visitor.read(&mut rest).await? > 0 {}
    Ok(())
}

/// The request up to the empty line; `None` if it is too long.
async fn read_head(visitor: &mut TcpStream) -> std::io::Result<Option<String>> {
    let mut head = Vec::with_capacity(1024);
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() >= LONGEST {
            return Ok(None);
        }
        if visitor.read_buf(&mut head).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(Some(String::from_utf8_lossy(&head).into_owned()))
}

struct Answer {
    status: &'static str,
    kind: &'static str,
    body: String,
}

impl Answer {
    fn head(&self) -> String {
        let Self { status, kind, body } = self;
        let length = body.len();
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n"
        )
    }

    fn whole(&self) -> String {
        self.head() + &self.body
    }
}

fn plain(status: &'static str, says: impl Into<String>) -> Answer {
    Answer {
        status,
        kind: "text/plain; charset=utf-8",
        body: says.into(),
    }
}

fn answer(head: &str, health: &Health) -> String {
    let mut words = head.lines().next().unwrap_or_default().split(' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return plain("400 Bad Request", "this is not HTTP\n").whole();
    };
    let path = target.split('?').next().unwrap_or_default();
    let answer = match path {
        "/livez" | "/readyz" | "/metrics" if !matches!(method, "GET" | "HEAD") => {
            plain("405 Method Not Allowed", "GET and HEAD only\n")
        }
        // Alive is who answers; NATS has no say, or an outage of the bus would restart every worker.
        "/livez" => plain("200 OK", "ok\n"),
        "/readyz" => match health.unready() {
            None => plain("200 OK", "ready\n"),
            Some(why) => plain("503 Service Unavailable", format!("not ready: {why}\n")),
        },
        "/metrics" => Answer {
            status: "200 OK",
            kind: metrics::CONTENT_TYPE,
            body: health.metrics(),
        },
        _ => plain("404 Not Found", "/livez, /readyz and /metrics are here\n"),
    };
    match method {
        "HEAD" => answer.head(),
        _ => answer.whole(),
    }
}

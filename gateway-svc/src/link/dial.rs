//! Dialing: a connection to one of the NATS servers, however long it takes.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rand::{RngExt, seq::SliceRandom};
use rustls::pki_types::ServerName;
use tokio::{
    io::AsyncReadExt,
    net::TcpStream,
    time::{Instant, sleep, timeout},
};
use tracing::{debug, error, warn};

use super::{proto::ServerOp, socket::Socket, wire::Wire};
use crate::{
    nats_auth::{Credentials, ServerUrl, Unproven},
    tls::ClientTls,
};

/// A server must answer all of the handshake within this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Pauses between rounds over all servers: from the first, doubling, to the last; each is
/// shortened by up to half at random. The last is short because clients wait.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(1);
/// While it goes on failing, it says so this often.
const SAY_AGAIN: Duration = Duration::from_secs(30);

/// What is needed to dial.
pub(crate) struct Dialer {
    pub(crate) servers: Vec<ServerUrl>,
    pub(crate) credentials: Credentials,
    /// `None`: plain, unless the server asks for TLS.
    pub(crate) tls: Option<ClientTls>,
    /// The connection's name, as the server's monitoring shows it.
    pub(crate) name: String,
    pub(crate) talk: Talk,
}

/// A connection on which CONNECT was accepted.
pub(crate) struct Established {
    pub(crate) wire: Wire,
    pub(crate) max_payload: usize,
    pub(crate) server: String,
    /// PONGs that were asked for; the first is the round trip behind the subscriptions.
    pub(crate) pongs_due: u32,
    /// The server refuses event messages: its permissions know only those of one batch.
    pub(crate) refuses_many: bool,
}

impl Established {
    /// Asks for a round trip.
    pub(crate) fn flush(&mut self) {
        self.pongs_due += 1;
        self.wire.writer.ping();
    }

    /// The server answers.
    pub(crate) fn pong(&mut self) {
        self.pongs_due = self.pongs_due.saturating_sub(1);
    }

    /// Whether everything has been written, and the server has heard it.
    pub(crate) fn is_flushed(&self) -> bool {
        self.wire.writer.bytes().is_empty() && self.pongs_due == 0
    }
}

/// Why one server would not have us.
#[derive(Debug, thiserror::Error)]
enum DialError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Refused(String),
    #[error("TLS: `{0}` is not a host name")]
    HostName(String),
    #[error("{0}")]
    Unproven(#[from] Unproven),
    #[error("TLS: {0}")]
    TlsFile(String),
    #[error("no answer within {CONNECT_TIMEOUT:?}")]
    Timeout,
    #[error("it does not speak NATS")]
    Protocol,
    #[error("it has headers turned off, which the gateway needs")]
    NoHeaders,
}

impl DialError {
    fn trouble(&self) -> Trouble {
        match self {
            Self::Unproven(_) | Self::TlsFile(_) | Self::Refused(_) | Self::HostName(_) => {
                Trouble::Refused
            }
            _ => Trouble::Away,
        }
    }
}

impl Dialer {
    /// Dials one server after another until one takes us, after a pause if the last connection did
    /// not live long. Cancel safe: nothing is kept.
    pub(crate) async fn dial(self: Arc<Self>, after: Duration) -> Established {
        let mut pause = FIRST_PAUSE;
        let mut order: Vec<&ServerUrl> = self.servers.iter().collect();
        sleep(shortened(after)).await;
        loop {
            order.shuffle(&mut rand::rng());
            let mut may_speak = [None; 2];
            for url in &order {
                let outcome = timeout(CONNECT_TIMEOUT, self.dial_one(url)).await;
                let e = match outcome.unwrap_or(Err(DialError::Timeout)) {
                    Ok(established) => return established,
                    Err(e) => e,
                };
                // of one trouble all servers are told of, or none
                let trouble = e.trouble();
                let loud =
                    may_speak[trouble as usize].get_or_insert_with(|| self.talk.may_speak(trouble));
                match (&e, *loud) {
                    (_, false) => debug!(server = %url, "{e}"),
                    (DialError::Unproven(_) | DialError::TlsFile(_), true) => {
                        error!(server = %url, "the gateway cannot prove itself to NATS: {e}");
                    }
                    (DialError::Refused(_) | DialError::HostName(_), true) => {
                        error!(server = %url, "NATS refuses the gateway: {e}");
                    }
                    (_, true) => warn!(server = %url, "cannot connect to NATS: {e}; trying on"),
                }
            }
            sleep(shortened(pause)).await;
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    async fn dial_one(&self, url: &ServerUrl) -> Result<Established, DialError> {
        let mut tcp = TcpStream::connect((url.host.as_str(), url.port)).await?;
        tcp.set_nodelay(true)?;
        let info = info(&mut tcp).await?;
        if !info.headers {
            return Err(DialError::NoHeaders);
        }
        let mut socket = Socket::Plain(tcp);
        let tls = info.tls_required || url.tls || self.tls.is_some();
        if tls {
            let files = self.tls.clone().unwrap_or_default();
            let config = Arc::new(files.config().map_err(DialError::TlsFile)?);
            let name = ServerName::try_from(url.host.clone())
                .map_err(|_| DialError::HostName(url.host.clone()))?;
            socket = socket.secure(config, name).await?;
        }
        let mut wire = Wire::new(socket);
        let connect = self
            .credentials
            .connect(url, info.nonce.as_deref(), tls, &self.name)?;
        wire.writer.connect(&connect);
        wire.writer.ping();
        wire.flush().await?;
        loop {
            match wire.next().await? {
                ServerOp::Pong => break,
                ServerOp::Ping => wire.writer.pong(),
                ServerOp::Error(error) => return Err(DialError::Refused(error)),
                ServerOp::Other | ServerOp::LameDuck => {}
                ServerOp::Message(_) => return Err(DialError::Protocol),
            }
        }
        Ok(Established {
            wire,
            max_payload: info.max_payload,
            server: url.to_string(),
            pongs_due: 0,
            refuses_many: false,
        })
    }
}

/// By up to half, at random, so that not everybody comes back at once.
fn shortened(pause: Duration) -> Duration {
    pause.mul_f64(rand::rng().random_range(0.5..=1.0))
}

/// The pause before dialing again, for a connection that was the n-th in a row to die young.
pub(crate) fn pause_after(young: u32) -> Duration {
    match young {
        0 => Duration::ZERO,
        n => FIRST_PAUSE
            .saturating_mul(1 << (n - 1).min(16))
            .min(LAST_PAUSE),
    }
}

/// What keeps us from a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It is not there, or not well. It may come back by itself.
    Away,
    /// It does not want us as we are: somebody must act.
    Refused,
}

/// Keeps a trouble that goes on from filling the log; another one is told all the same.
#[derive(Debug, Default)]
pub(crate) struct Talk {
    said: Mutex<[Option<Instant>; 2]>,
}

impl Talk {
    /// Whether it is time to say so again.
    pub(crate) fn may_speak(&self, of: Trouble) -> bool {
        let said = &mut self.said.lock().unwrap_or_else(PoisonError::into_inner)[of as usize];
        let may = said.is_none_or(|at| at.elapsed() >= SAY_AGAIN);
        if may {
            *said = Some(Instant::now());
        }
        may
    }

    /// It is over: the next trouble is a new one.
    pub(crate) fn reset(&self) {
        *self.said.lock().unwrap_or_else(PoisonError::into_inner) = [None; 2];
    }
}

/// What of the server's first line matters here.
#[derive(serde::Deserialize)]
struct Info {
    max_payload: usize,
    #[serde(default)]
    headers: bool,
    #[serde(default)]
    tls_required: bool,
    #[serde(default)]
    nonce: Option<String>,
}

/// Reads the line with which a server greets, and not a byte more: TLS may follow.
async fn info(tcp: &mut TcpStream) -> Result<Info, DialError> {
    const MOST: usize = 64 * 1024;
    let mut line = Vec::with_capacity(1024);
    while !line.ends_with(b"\n") {
        if line.len() == MOST {
            return Err(DialError::Protocol);
        }
        line.push(tcp.read_u8().await?);
    }
    let json = line.strip_prefix(b"INFO ").ok_or(DialError::Protocol)?;
    serde_json::from_slice(json).map_err(|_| DialError::Protocol)
}

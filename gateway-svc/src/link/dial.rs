//! Dialing: a connection to one of the NATS servers, however long it takes.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rand::{RngExt, seq::SliceRandom};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{
    io::AsyncReadExt,
    net::TcpStream,
    time::{Instant, sleep, timeout},
};
use tracing::{debug, error, warn};

use super::{proto::ServerOp, socket::Socket, wire::Wire};
use crate::nats_auth::{Credentials, ServerUrl};

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
    pub(crate) tls: Option<Arc<ClientConfig>>,
    /// The connection's name, as the server's monitoring shows it.
    pub(crate) name: String,
    pub(crate) talk: Talk,
}

/// A connection on which CONNECT was accepted.
pub(crate) struct Established {
    pub(crate) wire: Wire,
    pub(crate) max_payload: usize,
    pub(crate) server: String,
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
    #[error("cannot sign the server's nonce: {0}")]
    Sign(#[from] nkeys::error::Error),
    #[error("no answer within {CONNECT_TIMEOUT:?}")]
    Timeout,
    #[error("it does not speak NATS")]
    Protocol,
    #[error("it has headers turned off, which the gateway needs")]
    NoHeaders,
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
            let loud = self.talk.may_speak();
            for url in &order {
                let outcome = timeout(CONNECT_TIMEOUT, self.dial_one(url)).await;
                match outcome.unwrap_or(Err(DialError::Timeout)) {
                    Ok(established) => return established,
                    Err(e) if !loud => debug!(server = %url, "{e}"),
                    Err(
                        e @ (DialError::Refused(_) | DialError::Sign(_) | DialError::HostName(_)),
                    ) => error!(server = %url, "NATS refuses the gateway: {e}"),
                    Err(e) => warn!(server = %url, "cannot connect to NATS: {e}; trying on"),
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
            let config = match &self.tls {
                Some(config) => config.clone(),
                None => client_config(None)?,
            };
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
                ServerOp::Other => {}
                ServerOp::Message(_) => return Err(DialError::Protocol),
            }
        }
        Ok(Established {
            wire,
            max_payload: info.max_payload,
            server: url.to_string(),
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

/// Keeps a failure that goes on from filling the log.
#[derive(Debug, Default)]
pub(crate) struct Talk {
    said: Mutex<Option<Instant>>,
}

impl Talk {
    /// Whether it is time to say so again.
    pub(crate) fn may_speak(&self) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let may = said.is_none_or(|at| at.elapsed() >= SAY_AGAIN);
        if may {
            *said = Some(Instant::now());
        }
        may
    }

    /// It is over: the next failure is a new one.
    pub(crate) fn reset(&self) {
        *self.said.lock().unwrap_or_else(PoisonError::into_inner) = None;
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

/// TLS settings: the authorities of the PEM file, or those of the system.
pub(crate) fn client_config(ca: Option<&[u8]>) -> io::Result<Arc<ClientConfig>> {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    let mut roots = RootCertStore::empty();
    match ca {
        Some(pem) => {
            for cert in CertificateDer::pem_slice_iter(pem) {
                roots
                    .add(cert.map_err(io::Error::other)?)
                    .map_err(io::Error::other)?;
            }
            if roots.is_empty() {
                return Err(io::Error::other("no certificate in the file"));
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

//! Dialing: a connection to one of the NATS servers, however long it takes.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use rand::{RngExt, seq::SliceRandom};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tracing::{error, warn};
use watermelon_net::StreamingConnection;
use watermelon_proto::{
    Host, Protocol,
    error::ServerError,
    proto::{ClientOp, ServerOp},
};

use super::error_text;
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
}

/// A connection on which CONNECT was accepted.
pub(crate) struct Established {
    pub(crate) conn: StreamingConnection<Socket>,
    pub(crate) max_payload: usize,
    pub(crate) server: String,
}

/// Why one server would not have us.
#[derive(Debug, thiserror::Error)]
enum DialError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{}", error_text(.0))]
    Read(#[from] watermelon_net::error::StreamingReadError),
    #[error("{0}")]
    Refused(ServerError),
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
    /// Dials one server after another until one takes us. Cancel safe: nothing is kept.
    pub(crate) async fn dial(self: Arc<Self>) -> Established {
        let mut pause = FIRST_PAUSE;
        let mut said: Option<Instant> = None;
        let mut order: Vec<&ServerUrl> = self.servers.iter().collect();
        loop {
            order.shuffle(&mut rand::rng());
            for url in &order {
                let outcome = timeout(CONNECT_TIMEOUT, self.dial_one(url))
                    .await
                    .unwrap_or(Err(DialError::Timeout));
                match outcome {
                    Ok(established) => return established,
                    Err(e) if said.is_some_and(|at| at.elapsed() < SAY_AGAIN) => {
                        tracing::debug!(server = %url, "{e}");
                    }
                    Err(
                        e @ (DialError::Refused(_) | DialError::Sign(_) | DialError::HostName(_)),
                    ) => {
                        error!(server = %url, "NATS refuses the gateway: {e}");
                    }
                    Err(e) => warn!(server = %url, "cannot connect to NATS: {e}; trying on"),
                }
            }
            if said.is_none_or(|at| at.elapsed() >= SAY_AGAIN) {
                said = Some(Instant::now());
            }
            sleep(pause.mul_f64(rand::rng().random_range(0.5..1.0))).await;
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    async fn dial_one(&self, url: &ServerUrl) -> Result<Established, DialError> {
        let tcp = watermelon_net::connect_tcp(&url.0).await?;
        tcp.set_nodelay(true)?;
        let mut tcp = tcp;
        let info = info(&mut tcp).await?;
        if !info.headers {
            return Err(DialError::NoHeaders);
        }
        let mut socket = Socket::Plain(tcp);
        let tls = info.tls_required || url.0.protocol() == Protocol::TLS || self.tls.is_some();
        if tls {
            let config = match &self.tls {
                Some(config) => config.clone(),
                None => client_config(None)?,
            };
            socket = socket.secure(config, url).await?;
        }
        let mut conn = StreamingConnection::new(socket);
        let connect = self
            .credentials
            .connect(url, info.nonce.as_deref(), tls, &self.name)?;
        conn.enqueue_write_op(&ClientOp::Connect {
            connect: Box::new(connect),
        });
        conn.enqueue_write_op(&ClientOp::Ping);
        while conn.may_write() {
            conn.write_next().await?;
        }
        conn.flush().await?;
        loop {
            match conn.read_next().await? {
                ServerOp::Pong => break,
                ServerOp::Ping => conn.enqueue_write_op(&ClientOp::Pong),
                ServerOp::Error { error } => return Err(DialError::Refused(error)),
                ServerOp::Success => {}
                ServerOp::Info { .. } | ServerOp::Message { .. } => {
                    return Err(DialError::Protocol);
                }
            }
        }
        Ok(Established {
            conn,
            max_payload: info.max_payload,
            server: url.to_string(),
        })
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
///
/// Not left to watermelon-proto, whose reader takes the `connect_urls` of a clustered server for
/// URLs (they are `host:port`) and refuses the line. For the same reason CONNECT asks for protocol
/// 0, in which a server never sends a second one.
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

/// The bytes to a NATS server, plain or not.
#[derive(Debug)]
pub(crate) enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Socket {
    async fn secure(self, config: Arc<ClientConfig>, url: &ServerUrl) -> Result<Self, DialError> {
        let Self::Plain(tcp) = self else {
            return Ok(self);
        };
        let name = match url.0.host() {
            Host::Ip(ip) => ServerName::IpAddress((*ip).into()),
            Host::Dns(name) => ServerName::try_from(name.to_string())
                .map_err(|_| DialError::HostName(name.to_string()))?,
        };
        Ok(Self::Tls(Box::new(
            TlsConnector::from(config).connect(name, tcp).await?,
        )))
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_read(cx, buf),
            Self::Tls(s) => Pin::new(s).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_write(cx, buf),
            Self::Tls(s) => Pin::new(s).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_write_vectored(cx, bufs),
            Self::Tls(s) => Pin::new(s).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_flush(cx),
            Self::Tls(s) => Pin::new(s).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_shutdown(cx),
            Self::Tls(s) => Pin::new(s).poll_shutdown(cx),
        }
    }
}

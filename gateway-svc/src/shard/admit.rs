//! Admission: what a visitor goes through between the door and its first event.

use std::{future::poll_fn, io, net::SocketAddr};

use bytes::BytesMut;
use tokio::{net::TcpStream, task::spawn_local, time::timeout};
use tracing::debug;

use super::{
    client::Newcomer,
    serve::{Acceptor, Visit},
};
use crate::{
    handshake::{self, HandshakeError, Refusal},
    process::Seat,
    protocols::Opening,
    proxy_header::{self, Malformed, ProxyError},
    stream::Stream,
};

/// Why a visitor does not become a client.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error("too many connections")]
    Full,
    #[error("too slow a handshake")]
    Slow,
    #[error("gone: {0}")]
    Gone(#[from] io::Error),
    #[error("{0}")]
    ProxyHeader(#[from] Malformed),
    #[error("no TLS: {0}")]
    Tls(io::Error),
    #[error("{0}")]
    Handshake(#[from] Refusal),
}

impl Unfit {
    /// Its label in the metrics.
    const fn label(&self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Slow => "slow",
            Self::Gone(_) => "gone",
            Self::ProxyHeader(_) => "proxy_header",
            Self::Tls(_) => "tls",
            Self::Handshake(_) => "handshake",
        }
    }
}

impl From<ProxyError> for Unfit {
    fn from(error: ProxyError) -> Self {
        match error {
            ProxyError::Io(e) => Self::Gone(e),
            ProxyError::Malformed(e) => Self::ProxyHeader(e),
        }
    }
}

impl From<HandshakeError> for Unfit {
    fn from(error: HandshakeError) -> Self {
        match error {
            HandshakeError::Io(e) => Self::Gone(e),
            HandshakeError::Refused(e) => Self::Handshake(e),
        }
    }
}

impl Acceptor {
    /// Makes a client of a visitor, within the time for it.
    pub(super) async fn admit(self, mut socket: TcpStream, peer: SocketAddr, _visit: Visit) {
        let limits = &self.config.limits;
        let Some(seat) = Seat::take(&self.process) else {
            self.turn_away(peer, &Unfit::Full);
            if self.opening == Opening::WebSocket && self.certificate.is_none() {
                handshake::refuse(&mut socket, Refusal::Full).await;
            }
            return;
        };
        let opened = timeout(limits.handshake_timeout, self.open(socket, peer, seat)).await;
        match opened.unwrap_or(Err(Unfit::Slow)) {
            Ok(newcomer) => {
                let (slot, conn) = self.shard.borrow_mut().insert(newcomer);
                debug!(%conn, %peer, "a client is here");
                let shard = self.shard.clone();
                // a task of its own, so that the handshake's state does not live as long as the client
                spawn_local(poll_fn(move |cx| {
                    shard.borrow_mut().poll_connection(slot, conn, cx)
                }));
            }
            Err(why) => self.turn_away(peer, &why),
        }
    }

    fn turn_away(&self, peer: SocketAddr, why: &Unfit) {
        self.shard.borrow().metrics.refused(why.label());
        debug!(%peer, "not a client: {why}");
    }

    /// What comes before the first event, from the outside in: the proxy's word, TLS, and the
    /// protocol's own handshake.
    async fn open(
        &self,
        mut socket: TcpStream,
        peer: SocketAddr,
        seat: Seat,
    ) -> Result<Newcomer, Unfit> {
        let peer = if self.proxied {
            proxy_header::read(&mut socket).await?.unwrap_or(peer)
        } else {
            peer
        };
        let mut stream = match &self.certificate {
            None => Stream::plain(socket),
            Some(certificate) => {
                Stream::secure(socket, certificate.config())
                    .await
                    .map_err(|e| match e.kind() {
                        io::ErrorKind::InvalidData => Unfit::Tls(e),
                        _ => Unfit::Gone(e),
                    })?
            }
        };
        let (remote, beyond, handshake) = match self.opening {
            Opening::None => (handshake::unwrapped(peer), BytesMut::new(), None),
            Opening::WebSocket => {
                let trusted = &self.config.limits.trusted_proxies;
                let client = handshake::accept(&mut stream, peer, trusted).await?;
                (client.remote, client.beyond, Some(client.handshake))
            }
        };
        Ok(Newcomer {
            listener: self.number,
            codec: self.codec,
            stream,
            beyond,
            remote: remote.to_string(),
            handshake,
            seat,
        })
    }
}

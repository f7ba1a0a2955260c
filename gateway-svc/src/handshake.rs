//! The WebSocket handshake: read and answered by us, then the socket is a client's.
//!
//! It has its own task, its own time limit and its own buffer, all of which are gone when the
//! connection's long life begins.
//!
//! A subprotocol is nothing to the gateway: of those that a client offers, the first that is a token
//! (RFC 7230) is taken, so that browsers that offer one do not give up, and workers find the offer
//! among the headers. What is no token is passed over; where none is left, none is taken.

mod refusal;
mod remote;
mod request;
#[cfg(test)]
mod tests;

use std::{io, net::SocketAddr};

use bytes::BytesMut;
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use wire::Handshake;

pub(crate) use self::{refusal::Refusal, remote::unwrapped};

/// A client that shook hands.
pub(crate) struct Accepted {
    pub(crate) handshake: Handshake,
    /// Where it comes from; behind a trusted proxy what the proxy says.
    pub(crate) remote: SocketAddr,
    /// What it sent beyond the request.
    pub(crate) beyond: BytesMut,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Refused(#[from] Refusal),
}

/// Shakes hands. A visitor that is refused has been told so.
pub(crate) async fn accept(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    peer: SocketAddr,
    trusted: &[IpNet],
) -> Result<Accepted, HandshakeError> {
    match request::request(stream).await {
        Ok((request, beyond)) => {
            stream.write_all(request.response().as_bytes()).await?;
            stream.flush().await?;
            let remote = remote::remote(&request.forwarded, peer, trusted);
            Ok(Accepted {
                handshake: request.handshake,
                remote,
                beyond,
            })
        }
        Err(HandshakeError::Refused(refusal)) => {
            refuse(stream, refusal).await;
            Err(refusal.into())
        }
        Err(e) => Err(e),
    }
}

/// Tells a visitor why not, and lets it read that before the connection ends.
pub(crate) async fn refuse(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), refusal: Refusal) {
    let told = async {
        stream.write_all(refusal.response().as_bytes()).await?;
        stream.shutdown().await?;
        // what it still sends must be read, or the kernel resets the connection over our answer
        let mut rest = [0; 1024];
        let mut most = 64;
        while most > 0 && stream.read(&mut rest).await? > 0 {
            most -= 1;
        }
        io::Result::Ok(())
    };
    let _ = tokio::time::timeout(std::time::Duration::from_secs(2), told).await;
}

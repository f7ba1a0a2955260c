//! Serving: accepts clients until the drain, each with a task of its own.

use std::{future::poll_fn, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinSet, spawn_local},
    time::{sleep, timeout},
};
use tracing::{debug, warn};

use super::{Handle, Shard, ShardParts, drain};
use crate::{
    config::Config,
    handshake::{self, HandshakeError, Refusal},
    listen::Protocol,
    process::{Process, Seat},
};

/// When the process has no descriptor left, accepting again at once would only burn the core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub(super) async fn run(mut parts: ShardParts) -> anyhow::Result<()> {
    let mut listeners = Vec::new();
    let mut locals = Vec::new();
    for listener in std::mem::take(&mut parts.listeners) {
        locals.push(listener.socket.local_addr()?.to_string());
        listeners.push((
            listener.url.protocol,
            TcpListener::from_std(listener.socket.try_clone()?)?,
        ));
        parts.listeners.push(listener);
    }
    let (config, process, drain) = (
        parts.config.clone(),
        parts.process.clone(),
        parts.drain.clone(),
    );
    let shard: Handle = Rc::new(std::cell::RefCell::new(Shard::new(parts, locals)));

    let driver = spawn_local({
        let shard = shard.clone();
        async move { poll_fn(|cx| shard.borrow_mut().poll_drive(cx)).await }
    });
    let mut accepting = JoinSet::new();
    for (number, (protocol, listener)) in (0..).zip(listeners) {
        let acceptor = Acceptor {
            shard: shard.clone(),
            config: config.clone(),
            process: process.clone(),
            number,
        };
        accepting.spawn_local(acceptor.run(protocol, listener));
    }
    drain.notified().await;
    drain::drain(shard, &config.drain, accepting).await;
    driver.abort();
    Ok(())
}

#[derive(Clone)]
struct Acceptor {
    shard: Handle,
    config: Arc<Config>,
    process: Arc<Process>,
    number: u16,
}

impl Acceptor {
    async fn run(self, protocol: Protocol, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    spawn_local(self.clone().admit(protocol, stream, peer));
                }
                Err(e) => {
                    warn!("cannot accept a connection: {e}");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Makes a client of a visitor, within the time for it.
    async fn admit(self, protocol: Protocol, mut stream: TcpStream, peer: SocketAddr) {
        let Protocol::Websocket = protocol;
        let limits = &self.config.limits;
        let refused = || self.shard.borrow().metrics.refused.inc();
        let Some(seat) = Seat::take(&self.process, limits.max_connections) else {
            refused();
            handshake::refuse(&mut stream, Refusal::Full).await;
            return;
        };
        if let Err(e) = stream.set_nodelay(true) {
            debug!(%peer, "a visitor is gone: {e}");
            return;
        }
        let accepted = timeout(
            limits.handshake_timeout,
            handshake::accept(&mut stream, peer, &limits.trusted_proxies),
        );
        match accepted.await {
            Ok(Ok(client)) => {
                let remote = client.remote.to_string();
                let (slot, conn) = self.shard.borrow_mut().insert(
                    stream,
                    client.beyond,
                    self.number,
                    remote,
                    client.handshake,
                    seat,
                );
                debug!(%conn, %peer, "a client is here");
                let shard = self.shard.clone();
                // a task of its own, so that the handshake's state does not live as long as the client
                spawn_local(poll_fn(move |cx| {
                    shard.borrow_mut().poll_connection(slot, conn, cx)
                }));
            }
            Ok(Err(HandshakeError::Refused(why))) => {
                refused();
                debug!(%peer, "refused: {why}");
            }
            Ok(Err(HandshakeError::Io(e))) => {
                refused();
                debug!(%peer, "gone before the handshake: {e}");
            }
            Err(_) => {
                refused();
                debug!(%peer, "too slow a handshake");
            }
        }
    }
}

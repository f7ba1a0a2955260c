//! Serving: accepts clients until the drain, each with a task of its own.

use std::{
    cell::Cell, future::poll_fn, io, net::SocketAddr, rc::Rc, sync::Arc, task::Poll, time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::{JoinSet, spawn_local, unconstrained},
    time::sleep,
};
use tracing::{debug, warn};

use super::{Handle, Shard, ShardParts, drain};
use crate::{
    config::Config,
    process::Process,
    protocols::{CodecId, Opening},
    tls::Certificate,
};

/// When the process has no descriptor left, accepting again at once would only burn the core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// When the drain stops a listener: how many of those that wait in the kernel are still taken.
const MOST_LAST: usize = 4096;

pub(super) async fn run(mut parts: ShardParts) -> anyhow::Result<()> {
    let mut listeners = Vec::new();
    let mut locals = Vec::new();
    for listener in std::mem::take(&mut parts.listeners) {
        locals.push(listener.socket.local_addr()?.to_string());
        let socket = TcpListener::from_std(listener.socket.try_clone()?)?;
        listeners.push((socket, listener.listen.clone()));
        parts.listeners.push(listener);
    }
    let shard_number = parts.number;
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
    let door = Rc::new(Door::default());
    let mut accepting = JoinSet::new();
    for (number, (socket, listen)) in (0..).zip(listeners) {
        let acceptor = Acceptor {
            shard: shard.clone(),
            config: config.clone(),
            process: process.clone(),
            number,
            codec: listen.codec,
            opening: config.protocols.opening(listen.codec),
            proxied: listen.url.proxied,
            certificate: listen.certificate,
            door: door.clone(),
        };
        accepting.spawn_local(acceptor.run(socket));
    }
    drain.notified().await;
    drain::drain(shard, &config.drain, &door, accepting).await;
    driver.abort();
    // a link that came back during the last words has called itself ready again
    process.set_ready(shard_number, false);
    Ok(())
}

/// Where visitors come in, until it closes; and how many of them are not clients yet.
#[derive(Default)]
pub(super) struct Door {
    closed: Cell<bool>,
    closing: Notify,
    visitors: Cell<usize>,
    left: Notify,
}

impl Door {
    /// No visitor is let in any more; those who have knocked still are.
    pub(super) fn close(&self) {
        self.closed.set(true);
        self.closing.notify_waiters();
    }

    async fn closed(&self) {
        let closing = self.closing.notified();
        if !self.closed.get() {
            closing.await;
        }
    }

    /// Waits until every visitor is a client, or gone.
    pub(super) async fn quiet(&self) {
        while self.visitors.get() > 0 {
            self.left.notified().await;
        }
    }

    fn enter(self: &Rc<Self>) -> Visit {
        self.visitors.set(self.visitors.get() + 1);
        Visit(self.clone())
    }
}

/// A visitor, from the door to the first event.
pub(super) struct Visit(Rc<Door>);

impl Drop for Visit {
    fn drop(&mut self) {
        self.0.visitors.set(self.0.visitors.get() - 1);
        self.0.left.notify_one();
    }
}

/// One listener's, and what it needs to make clients of visitors.
#[derive(Clone)]
pub(super) struct Acceptor {
    pub(super) shard: Handle,
    pub(super) config: Arc<Config>,
    pub(super) process: Arc<Process>,
    /// Which of the shard's listeners.
    pub(super) number: u16,
    pub(super) codec: CodecId,
    pub(super) opening: Opening,
    /// A proxy's header comes first.
    pub(super) proxied: bool,
    /// Where it speaks TLS.
    pub(super) certificate: Option<Arc<Certificate>>,
    door: Rc<Door>,
}

impl Acceptor {
    async fn run(self, listener: TcpListener) {
        let door = &self.door;
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = door.closed() => break,
            };
            match accepted {
                Ok((stream, peer)) => self.welcome(stream, peer),
                Err(e) if is_visitors(&e) => debug!("a visitor is gone: {e}"),
                Err(e) => {
                    if self.process.may_say_short() {
                        warn!("cannot accept a connection: {e}");
                    }
                    tokio::select! {
                        () = sleep(ACCEPT_PAUSE) => {}
                        () = door.closed() => break,
                    }
                }
            }
        }
        for _ in 0..MOST_LAST {
            let waiting = poll_fn(|cx| match listener.poll_accept(cx) {
                Poll::Ready(accepted) => Poll::Ready(Some(accepted)),
                Poll::Pending => Poll::Ready(None),
            });
            match unconstrained(waiting).await {
                Some(Ok((stream, peer))) => self.welcome(stream, peer),
                Some(Err(e)) if is_visitors(&e) => {}
                Some(Err(_)) | None => return,
            }
        }
    }

    fn welcome(&self, stream: TcpStream, peer: SocketAddr) {
        let visit = self.door.enter();
        spawn_local(self.clone().admit(stream, peer, visit));
    }
}

/// Whether it is about the one visitor who is not there any more (accept(2) tells of network errors
/// that were his). All else is about us, above all that no descriptor is left.
fn is_visitors(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::ConnectionAborted
            | Kind::ConnectionReset
            | Kind::ConnectionRefused
            | Kind::HostUnreachable
            | Kind::NetworkUnreachable
            | Kind::NetworkDown
            | Kind::TimedOut
            | Kind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    #[test]
    fn only_what_is_not_the_visitors_makes_a_listener_pause() {
        let is = |errno| is_visitors(&io::Error::from_raw_os_error(errno));
        let (aborted, unreachable, process_full, system_full) = (103, 113, 24, 23);
        assert!(is(aborted) && is(unreachable));
        assert!(!is(process_full) && !is(system_full));
    }

    #[tokio::test]
    async fn a_door_is_quiet_when_the_last_visitor_has_come_in_or_gone() {
        let door = Rc::new(Door::default());
        door.quiet().await;
        let (one, two) = (door.enter(), door.enter());
        let is_quiet = async || timeout(Duration::ZERO, door.quiet()).await.is_ok();
        assert!(!is_quiet().await);
        drop(one);
        assert!(!is_quiet().await);
        tokio::join!(door.quiet(), async { drop(two) });
        assert!(is_quiet().await);
    }

    #[tokio::test]
    async fn a_door_that_has_closed_stays_closed() {
        let door = Door::default();
        tokio::join!(door.closed(), async { door.close() });
        door.closed().await;
    }
}

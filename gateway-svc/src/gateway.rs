//! The gateway process: binds every port, then runs its shards until they have drained.

use std::{future::Future, net::SocketAddr, sync::Arc, thread, time::Duration};

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    sync::{Notify, oneshot},
    task::JoinSet,
    time::interval,
};
use tracing::info;

use crate::{
    admin,
    config::Config,
    link::{Dialer, Talk},
    listen::{Listen, ListenUrl},
    metrics::{CertificateMetrics, Metrics},
    process::Process,
    shard::{self, Listener, ShardParts},
    tls::{self, Certificate},
};

/// Connections that the kernel holds for a listener before they are accepted.
const BACKLOG: i32 = 4096;
/// How often the log is told of readiness, at the most.
const READY_POLL: Duration = Duration::from_millis(20);

/// A gateway with its ports open, and nobody served yet.
pub struct Gateway {
    config: Arc<Config>,
    shards: Vec<Vec<Listener>>,
    admin: std::net::TcpListener,
}

impl Gateway {
    /// Opens every port, or says which could not be opened.
    pub fn bind(config: Config) -> Result<Self> {
        let admin = admin::bind(config.admin)
            .with_context(|| format!("cannot open --admin {}", config.admin))?;
        let mut shards: Vec<Vec<Listener>> = (0..config.shards).map(|_| Vec::new()).collect();
        for listen in &config.listen {
            // every shard has a socket of its own, and the kernel shares the clients out
            let mut listen = listen.clone();
            vacant(listen.url.addr)
                .with_context(|| format!("cannot open --listen {}", listen.url))?;
            for shard in &mut shards {
                let socket = open(listen.url.addr)
                    .with_context(|| format!("cannot open --listen {}", listen.url))?;
                listen.url.addr = socket.local_addr()?;
                shard.push(Listener {
                    listen: listen.clone(),
                    socket,
                });
            }
        }
        Ok(Self {
            config: Arc::new(config),
            shards,
            admin,
        })
    }

    /// The listeners, with the ports that were chosen for those that asked for port 0.
    #[must_use]
    pub fn listeners(&self) -> Vec<ListenUrl> {
        self.shards.first().map_or_else(Vec::new, |l| {
            l.iter().map(|l| l.listen.url.clone()).collect()
        })
    }

    /// The listeners' certificates, each with its listener's name for log and metrics.
    fn certificates(
        &self,
        metrics: &Metrics,
    ) -> Vec<(Arc<Certificate>, String, CertificateMetrics)> {
        let of = |Listen {
                      url, certificate, ..
                  }: &Listen| {
            let certificate = certificate.clone()?;
            let name = format!("{}://{}", url.protocol, url.addr);
            let metrics = metrics.certificate(&name);
            Some((certificate, name, metrics))
        };
        let listeners = self.shards.first().into_iter().flatten();
        listeners.filter_map(|l| of(&l.listen)).collect()
    }

    /// The admin port's address.
    pub fn admin(&self) -> Result<SocketAddr> {
        Ok(self.admin.local_addr()?)
    }

    /// Serves until `shutdown`, or until somebody orders it over NATS, then drains: unready at once, clients closed evenly, their last
    /// events acknowledged. Ends with an error only if a shard breaks, and then at once.
    ///
    /// A panic in a task of a shard leaves the shard standing still: the program must end at a
    /// panic, as the binary does.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<()> {
        let metrics = Arc::new(Metrics::new());
        let process = Arc::new(Process::new(
            self.config.shards,
            self.config.limits.max_connections,
            self.config.unready_after,
        ));
        let drain: Vec<Arc<Notify>> = self
            .shards
            .iter()
            .map(|_| Arc::new(Notify::new()))
            .collect();
        let watching = tokio::spawn(tls::watch(self.certificates(&metrics)));
        let mut ended = Vec::new();
        for ((number, listeners), drain) in (0..).zip(self.shards).zip(&drain) {
            let services = listeners.iter().map(|l| l.listen.url.service.clone());
            let services: Vec<_> = services.collect();
            let parts = ShardParts {
                number,
                listeners,
                config: self.config.clone(),
                process: process.clone(),
                metrics: metrics.shard(number, &services),
                dialer: Dialer {
                    servers: self.config.nats.clone(),
                    credentials: self.config.credentials.clone(),
                    tls: self.config.tls.clone(),
                    name: format!("gatebus gateway {}", process.shard(number).gateway),
                    talk: Talk::default(),
                },
                drain: drain.clone(),
            };
            ended.push(spawn(number, parts)?);
        }
        let admin = tokio::spawn(admin::serve(self.admin, process.clone(), metrics));
        let ready = tokio::spawn(announce(process.clone()));
        let all = all(ended);
        tokio::pin!(all);
        let told = async {
            tokio::select! {
                () = shutdown => "by the process's owner",
                () = process.drain_ordered() => "over NATS",
            }
        };
        let outcome = tokio::select! {
            broken = &mut all => broken,
            told = told => {
                info!(clients = process.clients(), told, "draining");
                process.drain();
                drain.iter().for_each(|d| d.notify_one());
                all.await
            }
        };
        ready.abort();
        watching.abort();
        admin.abort();
        info!("ended");
        outcome
    }
}

/// Says once that all links are ready.
async fn announce(process: Arc<Process>) {
    let mut poll = interval(READY_POLL);
    while !process.is_ready() {
        poll.tick().await;
    }
    info!("ready");
}

fn spawn(number: u16, parts: ShardParts) -> Result<oneshot::Receiver<Result<()>>> {
    let (done, ended) = oneshot::channel();
    thread::Builder::new()
        .name(format!("shard-{number}"))
        .spawn(move || {
            let _ = done.send(shard::run(parts));
        })
        .context("cannot start a shard's thread")?;
    Ok(ended)
}

/// Waits for the last shard, or for the first that breaks.
async fn all(shards: Vec<oneshot::Receiver<Result<()>>>) -> Result<()> {
    let mut ends: JoinSet<_> = shards.into_iter().collect();
    while let Some(end) = ends.join_next().await {
        end?.context("a shard's thread is gone")??;
    }
    Ok(())
}

/// A socket for this address; `[::]` is all of this host's, IPv4 too, whatever the system is set to.
fn socket(addr: SocketAddr) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    Ok(socket)
}

/// Whether nobody listens there: sockets that share a port would not notice another process.
fn vacant(addr: SocketAddr) -> std::io::Result<()> {
    let socket = socket(addr)?;
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())
}

fn open(addr: SocketAddr) -> std::io::Result<std::net::TcpListener> {
    let socket = socket(addr)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    // What it accepts inherits this, which saves a system call for each client.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn accepted_sockets_send_at_once() {
        let listener = open("127.0.0.1:0".parse().expect("an address")).expect("a free port");
        let addr = listener.local_addr().expect("it is bound");
        let _client = std::net::TcpStream::connect(addr).expect("it listens");
        listener.set_nonblocking(false).expect("a socket");
        let (accepted, _) = listener.accept().expect("somebody came");
        assert!(accepted.nodelay().expect("a socket"));
    }

    #[tokio::test]
    async fn whichever_shard_breaks_is_noticed_while_the_others_go_on() {
        for (n, broken) in [Some(Err(anyhow!("no memory"))), None]
            .into_iter()
            .enumerate()
        {
            let (_first, runs) = oneshot::channel();
            let (second, breaks) = oneshot::channel();
            match broken {
                Some(error) => second.send(error).expect("it is waited for"),
                None => drop(second),
            }
            let error = all(vec![runs, breaks]).await.expect_err("it broke");
            let expected = ["no memory", "a shard's thread is gone"][n];
            assert_eq!(error.to_string(), expected);
        }
    }

    #[tokio::test]
    async fn all_have_ended_when_the_last_has() {
        let (first, second) = (oneshot::channel(), oneshot::channel());
        second.0.send(Ok(())).expect("it is waited for");
        let ended = tokio::spawn(all(vec![first.1, second.1]));
        tokio::task::yield_now().await;
        assert!(!ended.is_finished());
        first.0.send(Ok(())).expect("it is waited for");
        ended.await.expect("no panic").expect("no error");
    }
}

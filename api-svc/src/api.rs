//! The process's life: bound, served, drained.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use tokio::{sync::oneshot, time::timeout};
use tracing::{info, warn};
use worker_sdk::GatewayBuilder;

use crate::{
    admin,
    config::Config,
    server::{self, Bounds},
    service::Service,
};

/// An API whose ports are open.
pub struct Api {
    listener: std::net::TcpListener,
    admin: std::net::TcpListener,
    service: Arc<Service>,
    builder: GatewayBuilder,
    bounds: Bounds,
    delay: Duration,
    deadline: Duration,
}

impl Api {
    /// Opens the ports.
    pub fn bind(config: Config) -> anyhow::Result<Self> {
        let open = |addr: SocketAddr| {
            let listener = std::net::TcpListener::bind(addr)?;
            listener.set_nonblocking(true)?;
            std::io::Result::Ok(listener)
        };
        let listener = open(config.listen).with_context(|| config.listen.to_string())?;
        let admin = open(config.admin).with_context(|| config.admin.to_string())?;
        Ok(Self {
            listener,
            admin,
            service: Arc::new(Service::new(config.tokens, config.limits)),
            builder: config.gateway,
            bounds: Bounds {
                connections: config.max_connections,
                patience: config.patience,
            },
            delay: config.drain_delay,
            deadline: config.drain_deadline,
        })
    }

    /// Where callers connect.
    pub fn listen_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Where operators look.
    pub fn admin_addr(&self) -> std::io::Result<SocketAddr> {
        self.admin.local_addr()
    }

    /// Serves until `stop`, then drains: unready and still accepting for `drain_delay`, then to the
    /// end of the last request, then until NATS has everything; at most `drain_deadline` in all.
    ///
    /// An error where NATS refuses the credentials, or a port fails.
    pub async fn run(self, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        let service = self.service;
        let (stopped, stopping) = oneshot::channel();
        let served = server::serve(
            tokio::net::TcpListener::from_std(self.listener)?,
            service.clone().router(),
            self.bounds,
            service.metrics.clone(),
            async {
                let _ = stopping.await;
            },
        );
        let mut served = std::pin::pin!(served);
        let connected = async {
            let outcome = service.bus.connect(self.builder).await;
            outcome.context("connecting to NATS")?;
            std::future::pending::<anyhow::Result<()>>().await
        };
        let mut connected = std::pin::pin!(connected);
        let admin = admin::serve(self.admin, service.clone());
        let mut admin = std::pin::pin!(admin);
        let mut follow = std::pin::pin!(service.tokens.follow());
        let mut stop = std::pin::pin!(stop);
        tokio::select! {
            () = &mut stop => {}
            outcome = &mut connected => return outcome,
            outcome = &mut admin => return outcome.context("the admin port"),
            () = &mut served => unreachable!("nobody has stopped it"),
            () = &mut follow => unreachable!("it follows for ever"),
        }

        info!("draining");
        service.stop();
        let drain = async {
            let delay = async {
                tokio::time::sleep(self.delay).await;
                let _ = stopped.send(());
            };
            tokio::join!(delay, &mut served);
            if let Err(error) = service.bus.flush().await {
                warn!(%error, "what was issued last may be lost");
            }
        };
        tokio::select! {
            ended = timeout(self.deadline, drain) => {
                if ended.is_err() {
                    warn!("the drain is cut short by its deadline");
                }
            }
            outcome = &mut connected => return outcome,
            outcome = &mut admin => return outcome.context("the admin port"),
            () = &mut follow => unreachable!("it follows for ever"),
        }
        info!("ended");
        Ok(())
    }
}

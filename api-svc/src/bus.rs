//! The way to the gateways: connected in the background, so that the service answers without it.

use std::sync::OnceLock;

use worker_sdk::{Error, Gateway, GatewayBuilder};

use crate::failure::{Code, Failure};

/// The SDK's handle, once there is one.
#[derive(Debug, Default)]
pub(crate) struct Bus(OnceLock<Gateway>);

impl Bus {
    /// Connects, for as long as it takes; refused credentials are an error.
    pub(crate) async fn connect(&self, builder: GatewayBuilder) -> Result<(), Error> {
        let gateway = builder.connect().await?;
        let _ = self.0.set(gateway);
        tracing::info!("ready");
        Ok(())
    }

    /// Whether NATS can be reached, as far as is known.
    pub(crate) fn is_up(&self) -> bool {
        self.0.get().is_some_and(Gateway::is_connected)
    }

    /// The handle, if a call has a chance at all.
    pub(crate) fn gateway(&self) -> Result<&Gateway, Failure> {
        let gateway = self.0.get().filter(|gateway| gateway.is_connected());
        gateway.ok_or_else(|| Code::NatsUnavailable.into())
    }

    /// Hands over what still waits for NATS.
    pub(crate) async fn flush(&self) -> Result<(), Error> {
        match self.0.get() {
            Some(gateway) => gateway.flush().await,
            None => Ok(()),
        }
    }
}

//! The way to NATS: connecting, and coming back.

use std::{sync::Arc, time::Duration};

use async_nats::{Client, ConnectErrorKind, ConnectOptions, ServerAddr};

use crate::{
    Error, ErrorKind,
    credentials::{ClientCertificate, Credentials, prover},
    error,
    settings::Settings,
    weather::Weather,
};

/// A dead server is noticed after about three of these.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Connects, trying again for as long as NATS is not there; says so once.
///
/// Credentials that are refused end it at once.
pub(crate) async fn connect(settings: &Settings, weather: &Arc<Weather>) -> Result<Client, Error> {
    let attempts = async {
        let mut failed = 0_usize;
        loop {
            match attempt(settings, weather.clone()).await {
                Ok(client) => {
                    if failed > 0 {
                        tracing::info!("NATS is there now");
                    }
                    return Ok(client);
                }
                Err(error) if error.kind() == ErrorKind::Unreachable => {
                    if failed == 0 {
                        tracing::warn!(servers = ?settings.servers, error = error::chain(&error), "NATS is not there yet, trying on");
                    }
                    failed += 1;
                    tokio::time::sleep(pause(failed)).await;
                }
                Err(error) => return Err(error),
            }
        }
    };
    let Some(limit) = settings.connect_timeout else {
        return attempts.await;
    };
    tokio::time::timeout(limit, attempts)
        .await
        .unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::Unreachable,
                format!("NATS was not there within {limit:?}"),
            ))
        })
}

async fn attempt(settings: &Settings, weather: Arc<Weather>) -> Result<Client, Error> {
    // What async-nats would take for a refusal.
    settings.credentials.check()?;
    let mut options = match &settings.credentials {
        Credentials::None => ConnectOptions::new(),
        credentials => ConnectOptions::with_auth_callback(prover(credentials.clone())),
    };
    options = options
        .name(&settings.name)
        .ping_interval(PING_INTERVAL)
        // What waits should wait in the outbox, which is bounded in bytes; this is in messages.
        .client_capacity(256)
        // Subjects are built in one place, from checked parts.
        .skip_subject_validation(true)
        .reconnect_delay_callback(|attempt| pause(attempt.saturating_sub(1)))
        .event_callback(move |event| {
            weather.observe(&event);
            std::future::ready(())
        });
    if let Some(ca) = &settings.ca_file {
        options = options.add_root_certificates(ca.clone());
    }
    if let Some(ClientCertificate { cert, key }) = &settings.certificate {
        options = options
            .add_client_certificate(cert.clone(), key.clone())
            .require_tls(true);
    }
    let servers: Vec<ServerAddr> = settings.servers.iter().map(|s| s.0.clone()).collect();
    // Boxed: it is many kilobytes, and needed once.
    match Box::pin(options.connect(servers)).await {
        Ok(client) => Ok(client),
        Err(error) => {
            let (kind, says) = match error.kind() {
                ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
                    (ErrorKind::Unauthorized, "NATS refused the credentials")
                }
                ConnectErrorKind::ServerParse => (ErrorKind::Config, "a NATS URL is not valid"),
                _ => (ErrorKind::Unreachable, "NATS cannot be reached"),
            };
            Err(Error::new(kind, says).with(error))
        }
    }
}

/// Never nothing, or a server that closes every connection would be asked a thousand times a second.
fn pause(failed: usize) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(1 << failed.min(10));
    doubled
        .min(LONGEST_PAUSE)
        .mul_f64(rand::random_range(0.5..1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_second_and_are_never_nothing() {
        for failed in [0, 1, 2, 5, 20, usize::MAX] {
            let pause = pause(failed);
            assert!(
                pause >= FIRST_PAUSE / 2 && pause <= LONGEST_PAUSE,
                "{pause:?}"
            );
        }
        assert!(pause(20) >= LONGEST_PAUSE / 2);
    }
}

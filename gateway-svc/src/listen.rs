//! Listener URLs, as GatewayWorker writes them: `websocket://0.0.0.0:7272?service=chat`.

use std::{fmt, net::SocketAddr, str::FromStr};

use url::Url;
use wire::ServiceName;

/// A listener: protocol, address, and the service that gets its clients' events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenUrl {
    /// How bytes become messages: a name among the gateway's [`Protocols`](crate::Protocols).
    pub protocol: String,
    /// Where it listens.
    pub addr: SocketAddr,
    /// Whose clients they are.
    pub service: ServiceName,
}

impl fmt::Display for ListenUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}://{}?service={}",
            self.protocol, self.addr, self.service
        )
    }
}

impl FromStr for ListenUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|e| {
            format!("{e}; a URL such as websocket://0.0.0.0:7272?service=chat is needed")
        })?;
        let host = url.host_str().unwrap_or_default();
        let port = url
            .port()
            .ok_or("a port is needed, as in websocket://0.0.0.0:7272")?;
        let addr = format!("{host}:{port}").parse().map_err(|_| {
            format!("`{host}` is not an IP address (0.0.0.0 and [::] are all of this host's)")
        })?;
        if !matches!(url.path(), "" | "/") {
            return Err(format!(
                "a listener has no path, but `{}` stands there",
                url.path()
            ));
        }
        let mut service = None;
        for (key, value) in url.query_pairs() {
            match &*key {
                "service" => {
                    service = Some(
                        ServiceName::new(value.as_ref()).map_err(|e| format!("service: {e}"))?,
                    );
                }
                other => {
                    return Err(format!(
                        "parameter `{other}` is not known; known is: service"
                    ));
                }
            }
        }
        let service = service.ok_or("`service` is missing, as in ?service=chat")?;
        Ok(Self {
            protocol: url.scheme().to_owned(),
            addr,
            service,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_written_as_it_is_read() {
        for text in [
            "websocket://0.0.0.0:7272?service=chat",
            "websocket://[::]:7272?service=chat",
        ] {
            assert_eq!(text.parse::<ListenUrl>().unwrap().to_string(), text);
        }
    }
}

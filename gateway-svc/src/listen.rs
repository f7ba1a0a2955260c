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
    /// Which of the service's workers gets a client's events.
    pub routing: Routing,
}

/// Which worker gets a client's next batch of events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Routing {
    /// Any worker of the service: whoever NATS picks from its queue group.
    #[default]
    Queue,
    /// The worker that handled the client's last batch, while it is there; otherwise any.
    Sticky,
}

impl Routing {
    const ALL: [Self; 2] = [Self::Queue, Self::Sticky];

    /// The name in a listener's URL.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Sticky => "sticky",
        }
    }
}

impl FromStr for Routing {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = Self::ALL.into_iter().find(|r| r.name() == text);
        named.ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            format!("`{text}` is not known; known are: {known}")
        })
    }
}

impl fmt::Display for ListenUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}://{}?service={}",
            self.protocol, self.addr, self.service
        )?;
        match self.routing {
            Routing::Queue => Ok(()),
            other => write!(f, "&routing={}", other.name()),
        }
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
        let (mut service, mut routing) = (None, Routing::default());
        for (key, value) in url.query_pairs() {
            match &*key {
                "service" => {
                    service = Some(
                        ServiceName::new(value.as_ref()).map_err(|e| format!("service: {e}"))?,
                    );
                }
                "routing" => routing = value.parse().map_err(|e| format!("routing: {e}"))?,
                other => {
                    return Err(format!(
                        "parameter `{other}` is not known; known are: service, routing"
                    ));
                }
            }
        }
        let service = service.ok_or("`service` is missing, as in ?service=chat")?;
        Ok(Self {
            protocol: url.scheme().to_owned(),
            addr,
            service,
            routing,
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
            "websocket://[::]:7272?service=chat&routing=sticky",
        ] {
            assert_eq!(text.parse::<ListenUrl>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn routing_is_queue_or_sticky() {
        let listen = |query| format!("websocket://0.0.0.0:7272?service=chat{query}").parse();
        let routing = |query| listen(query).map(|url: ListenUrl| url.routing);
        assert_eq!(routing(""), Ok(Routing::Queue));
        assert_eq!(routing("&routing=queue"), Ok(Routing::Queue));
        assert_eq!(routing("&routing=sticky"), Ok(Routing::Sticky));
        let complaint = routing("&routing=random").expect_err("no such routing");
        assert_eq!(
            complaint,
            "routing: `random` is not known; known are: queue, sticky"
        );
    }
}

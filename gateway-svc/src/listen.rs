//! Listener URLs, as GatewayWorker writes them: `websocket://0.0.0.0:7272?service=chat`.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use url::Url;
use wire::ServiceName;

pub use crate::tls::CertificateFiles;
use crate::{
    Protocols,
    protocols::{CodecId, Opening},
    tls::Certificate,
};

/// A listener: protocol, address, the service that gets its clients' events, and what stands between
/// the clients' bytes and the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenUrl {
    /// How bytes become messages: a name among the gateway's [`Protocols`].
    pub protocol: String,
    /// Where it listens.
    pub addr: SocketAddr,
    /// Whose clients they are.
    pub service: ServiceName,
    /// Which of the service's workers gets a client's events.
    pub routing: Routing,
    /// Where it speaks TLS: what it proves itself with.
    pub tls: Option<CertificateFiles>,
    /// Whether each connection begins with a header of the PROXY protocol.
    pub proxied: bool,
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

/// What a path needs in a query, so that it is read as it was.
const ESCAPED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'&')
    .add(b'\'')
    .add(b'+')
    .add(b',')
    .add(b'<')
    .add(b'>');

impl fmt::Display for ListenUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (protocol, addr, service) = (&self.protocol, self.addr, &self.service);
        write!(f, "{protocol}://{addr}?service={service}")?;
        match self.routing {
            Routing::Queue => {}
            other => write!(f, "&routing={}", other.name())?,
        }
        if let Some(CertificateFiles { cert, key }) = &self.tls {
            let escaped = |path: &Path| {
                let path = path.to_string_lossy();
                utf8_percent_encode(&path, ESCAPED).to_string()
            };
            write!(f, "&cert={}&key={}", escaped(cert), escaped(key))?;
        }
        if self.proxied {
            write!(f, "&proxy=required")?;
        }
        Ok(())
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
        let (mut cert, mut key, mut proxied) = (None, None, false);
        for (name, value) in url.query_pairs() {
            match &*name {
                "service" => {
                    service = Some(
                        ServiceName::new(value.as_ref()).map_err(|e| format!("service: {e}"))?,
                    );
                }
                "routing" => routing = value.parse().map_err(|e| format!("routing: {e}"))?,
                "cert" => cert = Some(file("cert", &value)?),
                "key" => key = Some(file("key", &value)?),
                "proxy" if value == "required" => proxied = true,
                "proxy" => {
                    return Err(format!("proxy: `required` is all it can be, not `{value}`"));
                }
                other => {
                    return Err(format!(
                        "parameter `{other}` is not known; known are: service, routing, cert, key, proxy"
                    ));
                }
            }
        }
        let tls = match (cert, key) {
            (Some(cert), Some(key)) => Some(CertificateFiles { cert, key }),
            (None, None) => None,
            (Some(_), None) => return Err("`cert` needs `key`, the file with its key".into()),
            (None, Some(_)) => {
                return Err("`key` needs `cert`, the file with its certificate".into());
            }
        };
        Ok(Self {
            protocol: url.scheme().to_owned(),
            addr,
            service: service.ok_or("`service` is missing, as in ?service=chat")?,
            routing,
            tls,
            proxied,
        })
    }
}

fn file(name: &str, value: &str) -> Result<PathBuf, String> {
    match value {
        "" => Err(format!("{name}: a file is needed")),
        path => Ok(path.into()),
    }
}

/// A listener whose protocol is known and whose certificate is there.
#[derive(Debug, Clone)]
pub(crate) struct Listen {
    pub(crate) url: ListenUrl,
    pub(crate) codec: CodecId,
    pub(crate) certificate: Option<Arc<Certificate>>,
}

impl Listen {
    /// Looks for the protocol, and reads the certificate.
    pub(crate) fn check(url: ListenUrl, protocols: &Protocols) -> Result<Self, String> {
        let Some(codec) = protocols.find(&url.protocol) else {
            return Err(format!(
                "protocol `{}` is not known; known: {}",
                url.protocol,
                protocols.names()
            ));
        };
        // what a client that negotiates wants to hear; others are not asked
        let alpn: &'static [&'static [u8]] = match protocols.opening(codec) {
            Opening::WebSocket => &[b"http/1.1"],
            Opening::None => &[],
        };
        let certificate = match &url.tls {
            Some(files) => Some(Arc::new(Certificate::load(files.clone(), alpn)?)),
            None => None,
        };
        Ok(Self {
            url,
            codec,
            certificate,
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
            "text://[::1]:7273?service=iot&proxy=required",
            "tcp://0.0.0.0:443?service=chat&cert=/etc/tls/tls.crt&key=/etc/tls/tls.key&proxy=required",
            "tcp://0.0.0.0:443?service=chat&cert=a%20b%2Bc%2C%26%25.pem&key=%C3%BC.pem",
        ] {
            assert_eq!(text.parse::<ListenUrl>().unwrap().to_string(), text);
        }
        let url = "tcp://0.0.0.0:443?service=chat&key=b&cert=a%20b%2Bc%2C%26.pem";
        let tls = url.parse::<ListenUrl>().unwrap().tls.expect("files");
        assert_eq!(tls.cert, Path::new("a b+c,&.pem"));
    }

    #[test]
    fn half_a_certificate_and_what_is_not_known_are_refused_by_name() {
        for (query, said) in [
            ("service=a&cert=x", "`cert` needs `key`"),
            ("service=a&key=x", "`key` needs `cert`"),
            ("service=a&cert=&key=x", "cert: a file is needed"),
            ("service=a&proxy=maybe", "not `maybe`"),
            (
                "service=a&tls=yes",
                "`tls` is not known; known are: service, routing, cert, key, proxy",
            ),
            ("proxy=required", "`service` is missing"),
        ] {
            let error = format!("tcp://0.0.0.0:1?{query}").parse::<ListenUrl>();
            let error = error.expect_err("it is wrong");
            assert!(error.contains(said), "{query}: {error}");
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

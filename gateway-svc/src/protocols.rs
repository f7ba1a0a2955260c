//! Protocols: what a gateway can speak, by the scheme of a listener's URL.

use std::{fmt, sync::Arc};

use crate::codec::{Codec, Frame, Tcp, Text, WebSocket};

/// The protocols that a gateway knows. [`Protocols::default`] has `websocket`, `text`,
/// `frame` and `tcp`.
#[derive(Clone)]
pub struct Protocols(Vec<Protocol>);

/// A protocol's place among those that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CodecId(pub(crate) u16);

#[derive(Clone)]
struct Protocol {
    scheme: String,
    opening: Opening,
    codec: Arc<dyn Codec>,
}

/// How a visitor becomes a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opening {
    /// By the handshake of WebSocket.
    WebSocket,
    /// By connecting.
    None,
}

impl Default for Protocols {
    fn default() -> Self {
        let websocket = Protocol {
            scheme: "websocket".into(),
            opening: Opening::WebSocket,
            codec: Arc::new(WebSocket),
        };
        Self(vec![websocket])
            .with("text", Text)
            .with("frame", Frame)
            .with("tcp", Tcp)
    }
}

impl Protocols {
    /// Adds a protocol, whose clients are there as soon as they have connected.
    ///
    /// # Panics
    /// When the name cannot be a URL's scheme, or is taken.
    #[must_use]
    pub fn with(mut self, scheme: &str, codec: impl Codec) -> Self {
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_lowercase())
            && scheme
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b));
        assert!(is_scheme, "`{scheme}` cannot be a URL's scheme");
        assert!(self.find(scheme).is_none(), "`{scheme}` is there already");
        self.0.push(Protocol {
            scheme: scheme.to_owned(),
            opening: Opening::None,
            codec: Arc::new(codec),
        });
        self
    }

    /// The protocol of this name.
    pub(crate) fn find(&self, scheme: &str) -> Option<CodecId> {
        let place = self.0.iter().position(|p| p.scheme == scheme)?;
        u16::try_from(place).ok().map(CodecId)
    }

    pub(crate) fn opening(&self, id: CodecId) -> Opening {
        self.0[usize::from(id.0)].opening
    }

    pub(crate) fn codec(&self, id: CodecId) -> &dyn Codec {
        &*self.0[usize::from(id.0)].codec
    }

    /// The names, for whoever has to choose one.
    pub(crate) fn names(&self) -> String {
        let names: Vec<_> = self.0.iter().map(|p| p.scheme.as_str()).collect();
        names.join(", ")
    }
}

impl fmt::Debug for Protocols {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Protocols({})", self.names())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protocol_is_found_by_its_name_and_opens_at_once() {
        let protocols = Protocols::default().with("my-own", WebSocket);
        let own = protocols.find("my-own").expect("it is there");
        assert_eq!(protocols.opening(own), Opening::None);
        assert_eq!(protocols.find("ftp"), None);
        assert!(protocols.names().ends_with(", my-own"));
    }

    #[test]
    #[should_panic(expected = "`websocket` is there already")]
    fn a_name_is_not_given_twice() {
        let _ = Protocols::default().with("websocket", WebSocket);
    }

    #[test]
    #[should_panic(expected = "cannot be a URL's scheme")]
    fn a_name_that_no_url_can_begin_with_is_refused() {
        let _ = Protocols::default().with("9P", WebSocket);
    }
}

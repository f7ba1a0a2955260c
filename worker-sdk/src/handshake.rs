//! The request with which a WebSocket client came.

/// What a WebSocket client asked for when it connected.
///
/// ```
/// use worker_sdk::Handshake;
/// let mut handshake = Handshake::default();
/// handshake.query.push(("room".into(), "lobby".into()));
/// assert_eq!(handshake.query("room"), Some("lobby"));
/// assert_eq!(handshake.cookie("session"), None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Handshake {
    /// The path, as the client wrote it.
    pub path: String,
    /// The query's pairs, percent-decoded, in the client's order.
    pub query: Vec<(String, String)>,
    /// The headers, names in lower case, cookies apart.
    pub headers: Vec<(String, String)>,
    /// The cookies' names and values.
    pub cookies: Vec<(String, String)>,
}

impl Handshake {
    /// The first value of this name in the query.
    #[must_use]
    pub fn query(&self, name: &str) -> Option<&str> {
        first(&self.query, |n| n == name)
    }

    /// The first header of this name; upper and lower case are the same.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        first(&self.headers, |n| n.eq_ignore_ascii_case(name))
    }

    /// The first cookie of this name.
    #[must_use]
    pub fn cookie(&self, name: &str) -> Option<&str> {
        first(&self.cookies, |n| n == name)
    }
}

fn first(pairs: &[(String, String)], is: impl Fn(&str) -> bool) -> Option<&str> {
    pairs.iter().find(|(n, _)| is(n)).map(|(_, v)| v.as_str())
}

/// The path `/` and nothing else.
impl Default for Handshake {
    fn default() -> Self {
        Self {
            path: "/".to_owned(),
            query: Vec::new(),
            headers: Vec::new(),
            cookies: Vec::new(),
        }
    }
}

impl From<wire::Handshake> for Handshake {
    fn from(from: wire::Handshake) -> Self {
        Self {
            path: from.path,
            query: from.query,
            headers: from.headers,
            cookies: from.cookies,
        }
    }
}

impl From<Handshake> for wire::Handshake {
    fn from(from: Handshake) -> Self {
        Self {
            path: from.path,
            query: from.query,
            headers: from.headers,
            cookies: from.cookies,
        }
    }
}

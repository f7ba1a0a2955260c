//! What the gateway keeps for a connection that nobody is bound to yet.

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

/// The session of a client.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Visit {
    /// Known to the gateway and to the page at the other end of this connection. Gone once it was used.
    pub(crate) secret: Option<String>,
}

/// Something that nobody guesses: 128 random bits, as text.
pub(crate) fn secret() -> String {
    HEXLOWER.encode(&rand::random::<[u8; 16]>())
}

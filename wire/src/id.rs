//! Ids: random, fixed-size, written as lower-case hex.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Why a text is not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be {digits} lower-case hex digits")]
pub struct IdError {
    what: &'static str,
    digits: usize,
}

fn parse<const N: usize>(text: &[u8], what: &'static str) -> Result<[u8; N], IdError> {
    let err = IdError {
        what,
        digits: N * 2,
    };
    if text.len() != N * 2 {
        return Err(err);
    }
    let (mut out, mut wrong) = ([0; N], 0);
    for (byte, digits) in out.iter_mut().zip(text.chunks_exact(2)) {
        let (high, low) = (digit(digits[0]), digit(digits[1]));
        wrong |= high | low;
        *byte = high << 4 | low;
    }
    if wrong > 15 { Err(err) } else { Ok(out) }
}

/// What a lower-case hex digit stands for; above 15 for anything else.
const fn digit(text: u8) -> u8 {
    match text {
        b'0'..=b'9' => text - b'0',
        b'a'..=b'f' => text - b'a' + 10,
        _ => 0xff,
    }
}

/// Writes bytes as lower-case hex digits, two for each.
fn write_hex(bytes: &[u8], text: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (digits, byte) in text.chunks_exact_mut(2).zip(bytes) {
        digits[0] = DIGITS[usize::from(byte >> 4)];
        digits[1] = DIGITS[usize::from(byte & 15)];
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; $bytes]);

        impl $name {
            /// How many hex digits the text form has.
            pub const DIGITS: usize = $bytes * 2;

            /// Takes the bytes as they are; they should come from a random source.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; $bytes]) -> Self {
                Self(bytes)
            }

            /// The bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }

            fn hex(&self) -> [u8; Self::DIGITS] {
                let mut text = [0; Self::DIGITS];
                write_hex(&self.0, &mut text);
                text
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(str::from_utf8(&self.hex()).expect("hex is ASCII"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                parse(text.as_bytes(), $what).map(Self)
            }
        }

        text_serde!($name);
    };
}

/// Serialises as `hex()`, deserialises through `FromStr`.
macro_rules! text_serde {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(str::from_utf8(&self.hex()).expect("hex is ASCII"))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                struct Text;
                impl de::Visitor<'_> for Text {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str(stringify!($name))
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                from.deserialize_str(Text)
            }
        }
    };
}

id! {
    /// One shard of a gateway process: the holder of some clients. Random at start.
    GatewayId, 6, "a gateway id"
}
id! {
    /// One worker process. Random at start.
    WorkerId, 6, "a worker id"
}
id! {
    /// One gateway process, with all its shards. Random at start.
    ProcessId, 6, "a process id"
}

/// A client within its gateway. Random, and never used twice in a gateway's life.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(pub u32);

impl ConnId {
    /// How many hex digits the text form has.
    pub const DIGITS: usize = 8;

    /// Writes the text form behind what is there.
    pub fn push_to(self, text: &mut String) {
        text.push_str(str::from_utf8(&self.hex()).expect("hex is ASCII"));
    }

    fn hex(self) -> [u8; Self::DIGITS] {
        let mut text = [0; Self::DIGITS];
        write_hex(&self.0.to_be_bytes(), &mut text);
        text
    }
}

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(str::from_utf8(&self.hex()).expect("hex is ASCII"))
    }
}

impl fmt::Debug for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ConnId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        parse(text.as_bytes(), "a connection id").map(|b| Self(u32::from_be_bytes(b)))
    }
}

text_serde!(ConnId);

/// One client, anywhere: 20 lower-case hex digits, gateway id first.
///
/// ```
/// let id: wire::ClientId = "0a1b2c3d4e5f00c0ffee".parse()?;
/// assert_eq!(id.gateway.to_string(), "0a1b2c3d4e5f");
/// assert_eq!(id.conn.0, 0x00c0_ffee);
/// # Ok::<(), wire::IdError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId {
    /// Who holds the connection.
    pub gateway: GatewayId,
    /// Which of its connections.
    pub conn: ConnId,
}

impl ClientId {
    /// How many hex digits the text form has.
    pub const DIGITS: usize = 20;

    fn hex(self) -> [u8; Self::DIGITS] {
        let mut text = [0; Self::DIGITS];
        text[..GatewayId::DIGITS].copy_from_slice(&self.gateway.hex());
        text[GatewayId::DIGITS..].copy_from_slice(&self.conn.hex());
        text
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(str::from_utf8(&self.hex()).expect("hex is ASCII"))
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ClientId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let bytes: [u8; 10] = parse(text.as_bytes(), "a client id")?;
        let (gateway, conn) = bytes.split_at(6);
        Ok(Self {
            gateway: GatewayId::from_bytes(gateway.try_into().expect("6 bytes")),
            conn: ConnId(u32::from_be_bytes(conn.try_into().expect("4 bytes"))),
        })
    }
}

text_serde!(ClientId);

//! Tokens: any uid or group name as one safe token of a subject.
//!
//! A raw name in a subject could be a wildcard (`*` subscribes to everybody's messages), several
//! tokens (`a.b`) or a line too long for the server. So three forms, which cannot collide because
//! `~` is not in the plain alphabet:
//!
//! - `[A-Za-z0-9_-]{1,48}` stands as it is;
//! - any other name is `~` + base64url without padding, where that has at most 96 bytes;
//! - a longer one is `~~` + base64url of the first 16 bytes of its SHA-256.
//!
//! The last cannot be turned back, and two names could share it. So the real name always travels
//! in the envelope and the gateway compares it: a clash costs a filtered message, nothing else.

use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};

/// Longest token, in bytes.
pub const MAX_TOKEN: usize = 96;
const MAX_PLAIN: usize = 48;

/// The token that stands for `name` in a subject.
#[must_use]
pub fn encode(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if (1..=MAX_PLAIN).contains(&name.len()) && name.bytes().all(plain) {
        return name.to_owned();
    }
    let mut token = String::with_capacity(MAX_TOKEN);
    token.push('~');
    if BASE64URL_NOPAD.encode_len(name.len()) < MAX_TOKEN {
        BASE64URL_NOPAD.encode_append(name.as_bytes(), &mut token);
    } else {
        token.push('~');
        BASE64URL_NOPAD.encode_append(&Sha256::digest(name.as_bytes())[..16], &mut token);
    }
    token
}

/// What a token says of the name it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded {
    /// The name itself.
    Name(String),
    /// Only the first 16 bytes of the name's SHA-256.
    Hash([u8; 16]),
}

/// Reads a token back; `None` where it is not one that [`encode`] makes.
#[must_use]
pub fn decode(token: &str) -> Option<Decoded> {
    let decoded = match token.strip_prefix('~') {
        None => Decoded::Name(token.to_owned()),
        Some(rest) => match rest.strip_prefix('~') {
            None => Decoded::Name(
                String::from_utf8(BASE64URL_NOPAD.decode(rest.as_bytes()).ok()?).ok()?,
            ),
            Some(hash) => {
                let hash = BASE64URL_NOPAD.decode(hash.as_bytes()).ok()?;
                return Some(Decoded::Hash(hash.try_into().ok()?));
            }
        },
    };
    match &decoded {
        Decoded::Name(name) if encode(name) == token => Some(decoded),
        _ => None,
    }
}

//! Names that people choose: prefix, service, uid, group.

use std::{fmt, ops::Deref, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Longest uid or group name, in bytes.
pub const MAX_NAME: usize = 1024;
/// Longest prefix, in bytes.
pub const MAX_PREFIX: usize = 64;
/// Longest service name, in bytes.
pub const MAX_SERVICE: usize = 48;

/// Why a text cannot be the name of something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("a {0} must not be empty")]
    Empty(&'static str),
    /// Over the limit.
    #[error("a {0} has at most {1} bytes")]
    TooLong(&'static str, usize),
    /// A character that would change the meaning of a subject.
    #[error("a {what} is made of {allowed}, not {found:?}")]
    Character {
        /// What was being named.
        what: &'static str,
        /// What may stand in it.
        allowed: &'static str,
        /// The first character that may not.
        found: char,
    },
}

fn plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks the text once, so that nobody after needs to.
            pub fn new(text: impl Into<Arc<str>>) -> Result<Self, NameError> {
                let text = text.into();
                let check: fn(&str) -> Result<(), NameError> = $check;
                check(&text)?;
                Ok(Self(text))
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<$name> for Arc<str> {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl Deref for $name {
            type Target = str;
            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = NameError;
            fn try_from(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(&self.0)
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
                        $name::new(text).map_err(E::custom)
                    }
                }
                from.deserialize_str(Text)
            }
        }
    };
}

fn any_text(what: &'static str, text: &str) -> Result<(), NameError> {
    match text.len() {
        0 => Err(NameError::Empty(what)),
        1..=MAX_NAME => Ok(()),
        _ => Err(NameError::TooLong(what, MAX_NAME)),
    }
}

name! {
    /// The application's id of a user: any text of 1 to 1024 bytes.
    Uid, |text| any_text("uid", text)
}

name! {
    /// The name of a set of clients: any text of 1 to 1024 bytes.
    Group, |text| any_text("group name", text)
}

name! {
    /// The name of an application, and of the queue group its workers form:
    /// 1 to 48 letters, digits, `-` or `_`.
    ServiceName, |text| match text {
        "" => Err(NameError::Empty("service name")),
        _ if text.len() > MAX_SERVICE => Err(NameError::TooLong("service name", MAX_SERVICE)),
        _ => text.chars().find(|c| !plain(*c)).map_or(Ok(()), |found| {
            Err(NameError::Character { what: "service name", allowed: "letters, digits, '-' and '_'", found })
        }),
    }
}

name! {
    /// The first tokens of every subject, one tenant each: 1 to 64 letters, digits, `-`, `_`,
    /// with single dots between tokens.
    Prefix, |text| {
        if text.is_empty() || text.split('.').any(str::is_empty) {
            return Err(NameError::Empty("prefix, or a token of it,"));
        }
        if text.len() > MAX_PREFIX {
            return Err(NameError::TooLong("prefix", MAX_PREFIX));
        }
        text.chars().find(|c| !plain(*c) && *c != '.').map_or(Ok(()), |found| {
            Err(NameError::Character { what: "prefix", allowed: "letters, digits, '-', '_' and single dots", found })
        })
    }
}

impl Default for Prefix {
    /// `gatebus`
    fn default() -> Self {
        Self("gatebus".into())
    }
}

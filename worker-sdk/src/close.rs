//! Closing: how an application ends a connection, and how a connection ended.

use wire::{CloseCode, CloseEvent, Command, request::MAX_REASON};

use crate::{Error, ErrorKind, Message};

pub use wire::ClosedBy;

/// How to close a client: code, reason and a last message.
///
/// ```
/// use worker_sdk::Close;
/// let close = Close::new(4001, "logged in elsewhere").message("bye");
/// assert_eq!(close.code, 4001);
/// assert_eq!(Close::default().code, 1000);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    /// 1000, or 3000 to 4999 (RFC 6455, section 7.4).
    pub code: u16,
    /// At most 123 bytes.
    pub reason: String,
    /// Sent after everything that is pending, before the close.
    pub message: Option<Message>,
}

impl Close {
    /// Closes with this code and reason.
    #[must_use]
    pub fn new(code: u16, reason: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.into(),
            message: None,
        }
    }

    /// The same, with a last message.
    #[must_use]
    pub fn message(mut self, message: impl Into<Message>) -> Self {
        self.message = Some(message.into());
        self
    }

    pub(crate) fn command(self) -> Result<Command, Error> {
        if !CloseCode::is_allowed(self.code) {
            return Err(Error::new(
                ErrorKind::InvalidClose,
                format!("close with code 1000 or 3000 to 4999, not {}", self.code),
            ));
        }
        if self.reason.len() > MAX_REASON {
            return Err(Error::new(
                ErrorKind::InvalidClose,
                format!(
                    "a close reason has at most {MAX_REASON} bytes, this one has {}",
                    self.reason.len()
                ),
            ));
        }
        Ok(Command::Close {
            code: self.code,
            reason: self.reason,
            message: self.message.map(|m| m.0),
        })
    }
}

/// Code 1000, no reason, no message.
impl Default for Close {
    fn default() -> Self {
        Self::new(CloseCode::Normal.code(), "")
    }
}

/// How a connection ended. The last session and the uid stand on the client.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Closed {
    /// Who ended it.
    pub by: ClosedBy,
    /// The close code; 1006 where the connection was cut without one.
    pub code: u16,
    /// The close reason, or a word on what went wrong.
    pub reason: String,
    /// The groups that the client was in. It is a member of none any more.
    pub groups: Vec<String>,
}

impl From<CloseEvent> for Closed {
    fn from(event: CloseEvent) -> Self {
        Self {
            by: event.by,
            code: event.code,
            reason: event.reason,
            groups: event.groups.iter().map(ToString::to_string).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_reasons_are_checked_before_they_are_sent() {
        let kind = |close: Close| close.command().map_err(|e| e.kind());
        assert!(kind(Close::default()).is_ok());
        assert!(kind(Close::new(4999, "r".repeat(123))).is_ok());
        for code in [0, 999, 1001, 1006, 1012, 2999, 5000] {
            assert_eq!(
                kind(Close::new(code, "")),
                Err(ErrorKind::InvalidClose),
                "{code}"
            );
        }
        assert_eq!(
            kind(Close::new(4000, "r".repeat(124))),
            Err(ErrorKind::InvalidClose)
        );
    }
}

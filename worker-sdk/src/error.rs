//! Errors: one opaque type, told apart by [`ErrorKind`].

use std::{error::Error as StdError, fmt};

/// What a handler may fail with: anything, so `?` works on every error, those of `anyhow` included.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// What every hook of [`Events`](crate::Events) returns.
///
/// `Err` marks the event as failed: it is logged with the client's id and counted, and the next
/// event comes. [`Retry`] is the exception.
pub type HandlerResult = Result<(), BoxError>;

/// Asks for the event again, later, perhaps at another worker: `return Err(Retry.into())`.
///
/// What the handler changed in the session, and what it sent and is not yet published, is thrown
/// away. After the gateway's `max_attempts` deliveries the event is given up.
///
/// It is recognised as it is, and as the `source()` of another error. An error that hides it
/// (`anyhow` does) is an ordinary failure, so leave the handler with it directly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, thiserror::Error)]
#[error("the handler asked for the event again")]
pub struct Retry;

impl Retry {
    pub(crate) fn is_behind(error: &BoxError) -> bool {
        let mut next: Option<&(dyn StdError + 'static)> = Some(&**error);
        while let Some(error) = next {
            if error.is::<Self>() {
                return true;
            }
            next = error.source();
        }
        false
    }
}

/// Everything that can go wrong between your code and the gateways.
///
/// Branch on [`kind`](Self::kind), never on the text.
pub struct Error {
    kind: ErrorKind,
    context: String,
    source: Option<BoxError>,
    session_version: Option<u64>,
}

/// What sort of thing went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A setting that makes no sense: a variable, a URL, a file that cannot be read.
    Config,
    /// NATS refused the credentials.
    Unauthorized,
    /// NATS could not be reached in the time that was allowed for it.
    Unreachable,
    /// A uid, group or service that cannot be the name of one.
    InvalidName,
    /// A close code or reason that may not stand in a close frame.
    InvalidClose,
    /// A message over the NATS server's `max_payload`.
    TooLarge,
    /// The outbox is full: NATS is away or too slow. What was issued before is not lost. Or too many
    /// binds are under way, see [`Target::bind_uid_with`](crate::Target::bind_uid_with).
    Full,
    /// Nobody answered in time.
    Timeout,
    /// A session that is not a map with text keys, is too large, or does not fit its type.
    Session,
    /// The session has another version than the one on which the change was conditioned; see
    /// [`Error::session_version`].
    Conflict,
    /// A target that this cannot be done to, such as several where one client is needed.
    InvalidTarget,
    /// JSON that is not what it should be.
    Json,
    /// A gateway says that it could not do it; or NATS that an exclusive timer may not be, because a
    /// permission or room for its bucket is missing.
    Refused,
    /// A hook that runs outside of events failed: `on_worker_start` or `on_worker_stop`.
    Hook,
    /// The connection to NATS is closed for good.
    Closed,
    /// The NATS server or account has no JetStream, and this needs it.
    NoJetStream,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, context: impl Into<String>) -> Self {
        Self {
            kind,
            context: context.into(),
            source: None,
            session_version: None,
        }
    }

    pub(crate) fn conflict(version: u64) -> Self {
        Self {
            session_version: Some(version),
            ..Self::new(
                ErrorKind::Conflict,
                format!("somebody changed it meanwhile: the session is at version {version}"),
            )
        }
    }

    pub(crate) fn with(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What sort of error this is.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Of [`ErrorKind::Conflict`]: the version that the session has.
    #[must_use]
    pub const fn session_version(&self) -> Option<u64> {
        self.session_version
    }
}

/// What went wrong; why stands in `source()`.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.context)
    }
}

/// The kind, and the whole chain.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, chain(self))
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|e| e as _)
    }
}

impl From<wire::NameError> for Error {
    fn from(error: wire::NameError) -> Self {
        Self::new(ErrorKind::InvalidName, error.to_string())
    }
}

/// An error with its sources, but for what its own text says already.
pub(crate) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let says = source.to_string();
        if !text.contains(&says) {
            text.push_str(": ");
            text.push_str(&says);
        }
        next = source.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_is_recognised_directly_and_as_a_source_but_nothing_else_is() {
        #[derive(Debug, thiserror::Error)]
        #[error("the database is away")]
        struct Away(#[source] Retry);

        assert!(Retry::is_behind(&Retry.into()));
        assert!(Retry::is_behind(&Away(Retry).into()));
        assert!(!Retry::is_behind(
            &"the handler asked for the event again".into()
        ));
    }

    #[test]
    fn an_error_says_what_stands_behind_it() {
        let error = Error::new(ErrorKind::Json, "not JSON").with("line 3");
        assert_eq!(error.to_string(), "not JSON");
        assert_eq!(format!("{error:?}"), "Json: not JSON: line 3");
        assert_eq!(
            error.source().map(ToString::to_string).as_deref(),
            Some("line 3")
        );
    }
}

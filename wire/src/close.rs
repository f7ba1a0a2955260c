//! Close codes: why a connection ended, and whether and when to come back.

use std::{fmt, str::FromStr};

/// The codes with which a gateway closes by itself. A `close` command may use any code that
/// RFC 6455 allows an application (1000, 3000 to 4999).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u16)]
pub enum CloseCode {
    /// The application closed the connection.
    Normal = 1000,
    /// The client broke the protocol.
    Protocol = 1002,
    /// A text frame that is not UTF-8.
    InvalidText = 1007,
    /// A message over `max_message`.
    TooBig = 1009,
    /// The gateway drains: come back, another takes you.
    Restart = 1012,
    /// No worker took the client's events within `worker_wait`.
    NoWorker = 1013,
    /// Nothing was heard of the client for `ping_misses` intervals.
    Heartbeat = 4007,
    /// The client reads slower than it is sent to, and its mailbox is full.
    SlowClient = 4008,
    /// Another client took the uid for itself.
    SignedInElsewhere = 4009,
}

impl CloseCode {
    /// Every code.
    pub const ALL: [Self; 9] = [
        Self::Normal,
        Self::Protocol,
        Self::InvalidText,
        Self::TooBig,
        Self::Restart,
        Self::NoWorker,
        Self::Heartbeat,
        Self::SlowClient,
        Self::SignedInElsewhere,
    ];

    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// The reason that is sent with it; at most 123 bytes.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Normal => "",
            Self::Protocol => "protocol error",
            Self::InvalidText => "text is not UTF-8",
            Self::TooBig => "message too big",
            // `Advice::default()`
            Self::Restart => "reconnect;min=500;max=8000",
            Self::NoWorker => "no worker, try again later",
            Self::Heartbeat => "heartbeat missed",
            Self::SlowClient => "client reads too slowly",
            Self::SignedInElsewhere => "signed in elsewhere",
        }
    }

    /// Its label in metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Protocol => "protocol",
            Self::InvalidText => "invalid_text",
            Self::TooBig => "too_big",
            Self::Restart => "restart",
            Self::NoWorker => "no_worker",
            Self::Heartbeat => "heartbeat",
            Self::SlowClient => "slow_client",
            Self::SignedInElsewhere => "signed_in_elsewhere",
        }
    }

    /// Whether a client should connect again by itself.
    #[must_use]
    pub const fn reconnect(self) -> bool {
        match self {
            Self::Restart | Self::NoWorker | Self::Heartbeat | Self::SlowClient => true,
            Self::Normal
            | Self::Protocol
            | Self::InvalidText
            | Self::TooBig
            | Self::SignedInElsewhere => false,
        }
    }

    /// Whether an application may close with this code: 1000, and 3000 to 4999.
    #[must_use]
    pub const fn is_allowed(code: u16) -> bool {
        matches!(code, 1000 | 3000..=4999)
    }
}

/// When a client that is let go should come back: the reason that goes with
/// [`CloseCode::Restart`]. Each client waits a random time within these bounds, so that they do
/// not all come at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advice {
    /// No sooner than after so many milliseconds.
    pub min: u64,
    /// No later than after so many milliseconds.
    pub max: u64,
}

impl Default for Advice {
    fn default() -> Self {
        Self {
            min: 500,
            max: 8_000,
        }
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "reconnect;min={};max={}", self.min, self.max)
    }
}

/// A close reason that is no advice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("advice is `reconnect;min=<ms>;max=<ms>`")]
pub struct NoAdvice;

impl FromStr for Advice {
    type Err = NoAdvice;

    /// Reads a close reason; parameters that are not known are passed over.
    fn from_str(reason: &str) -> Result<Self, NoAdvice> {
        let mut parts = reason.split(';');
        if parts.next() != Some("reconnect") {
            return Err(NoAdvice);
        }
        let (mut min, mut max) = (None, None);
        for part in parts {
            match part.split_once('=') {
                Some(("min", ms)) => min = Some(ms.parse().map_err(|_| NoAdvice)?),
                Some(("max", ms)) => max = Some(ms.parse().map_err(|_| NoAdvice)?),
                _ => {}
            }
        }
        match (min, max) {
            (Some(min), Some(max)) if min <= max => Ok(Self { min, max }),
            _ => Err(NoAdvice),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_reads_as_it_is_written() {
        let advice = Advice { min: 0, max: 9 };
        assert_eq!(advice.to_string().parse(), Ok(advice));
        assert_eq!("reconnect;max=9;x;y=1;min=0".parse(), Ok(advice));
        assert_eq!(CloseCode::Restart.reason().parse(), Ok(Advice::default()));
        assert_eq!(Advice::default().to_string(), CloseCode::Restart.reason());
        for other in [
            "",
            "reconnect",
            "reconnect;min=1",
            "reconnect;min=2;max=1",
            "reconnect;min=a;max=b",
            "service restart",
        ] {
            assert_eq!(other.parse::<Advice>(), Err(NoAdvice), "{other}");
        }
    }
}

//! Close codes: why a connection ended, and whether to come back.

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
            Self::Restart => "service restart, reconnect",
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

//! The rows: what is measured, and what it should come to.

/// How much is done for one sample.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    Full,
    Quick,
}

/// What figure of a sample counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Figure {
    /// CPU of all server processes together, µs.
    Cpu,
    /// Median round trip, µs.
    RoundTrip,
    /// Memory of the gateway (the limit: of its process), bytes.
    Memory,
}

/// What a row should come to.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Target {
    /// At most this many times the limit of the same run.
    TimesLimit(f64),
    /// At most this, in the figure's unit.
    AtMost(f64),
}

pub(crate) struct Row {
    pub(crate) key: &'static str,
    pub(crate) title: &'static str,
    pub(crate) detail: &'static str,
    pub(crate) figure: Figure,
    /// Whether the limit server is measured too.
    pub(crate) has_limit: bool,
    pub(crate) target: Target,
    /// GatewayWorker 4 (PHP 8.2, event extension, JIT), in the target's terms. It was measured once, beside the
    /// limit of that machine; a time without a limit beside it says nothing here and is left out.
    pub(crate) gateway_worker: Option<f64>,
    /// The load, as arguments of wsload: always, then for a full or a quick sample.
    load: &'static [&'static str],
    full: &'static [&'static str],
    quick: &'static [&'static str],
}

impl Row {
    /// Arguments of wsload.
    pub(crate) fn load(&self, size: Size) -> impl Iterator<Item = &'static str> {
        let sized = match size {
            Size::Full => self.full,
            Size::Quick => self.quick,
        };
        self.load.iter().chain(sized).copied()
    }

    /// Memory is only told apart from what was there before in a gateway that has just begun.
    pub(crate) fn needs_fresh_gateway(&self) -> bool {
        self.figure == Figure::Memory
    }
}

impl Figure {
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::Cpu | Self::RoundTrip => "µs",
            Self::Memory => "B",
        }
    }
}

const SECONDS: &[&str] = &["--secs", "4", "--warm-up", "1"];
const QUICK_SECONDS: &[&str] = &["--secs", "0.5", "--warm-up", "0.2"];
const CONNECTIONS: &[&str] = &["--conns", "18000", "--settle", "3"];
const QUICK_CONNECTIONS: &[&str] = &["--conns", "5000", "--settle", "2"];

pub(crate) const ROWS: [Row; 10] = [
    Row {
        key: "echo-100x1",
        title: "CPU per echo",
        detail: "100 clients, 1 in flight each",
        figure: Figure::Cpu,
        has_limit: true,
        target: Target::TimesLimit(2.2),
        gateway_worker: Some(5.9),
        load: &["echo", "--conns", "100", "--window", "1"],
        full: SECONDS,
        quick: QUICK_SECONDS,
    },
    Row {
        key: "echo-100x10",
        title: "CPU per echo",
        detail: "100 clients, 10 in flight each",
        figure: Figure::Cpu,
        has_limit: true,
        target: Target::TimesLimit(1.3),
        gateway_worker: Some(6.1),
        load: &["echo", "--conns", "100", "--window", "10"],
        full: SECONDS,
        quick: QUICK_SECONDS,
    },
    Row {
        key: "echo-1000x1",
        title: "CPU per echo",
        detail: "1,000 clients, 1 in flight each",
        figure: Figure::Cpu,
        has_limit: true,
        target: Target::TimesLimit(1.6),
        gateway_worker: Some(4.4),
        load: &["echo", "--conns", "1000", "--window", "1"],
        full: SECONDS,
        quick: QUICK_SECONDS,
    },
    Row {
        key: "fanout-1",
        title: "CPU per delivery",
        detail: "group of 1,000, 1 message outstanding",
        figure: Figure::Cpu,
        has_limit: true,
        target: Target::TimesLimit(1.0),
        gateway_worker: Some(1.2),
        load: &["fanout", "--conns", "1000", "--window", "1"],
        full: SECONDS,
        quick: QUICK_SECONDS,
    },
    Row {
        key: "fanout-8",
        title: "CPU per delivery",
        detail: "group of 1,000, 8 messages outstanding",
        figure: Figure::Cpu,
        has_limit: true,
        target: Target::TimesLimit(0.25),
        gateway_worker: Some(1.1),
        load: &["fanout", "--conns", "1000", "--window", "8"],
        full: SECONDS,
        quick: QUICK_SECONDS,
    },
    Row {
        key: "memory-idle",
        title: "gateway memory per connection",
        detail: "idle",
        figure: Figure::Memory,
        has_limit: false,
        target: Target::AtMost(2000.0),
        gateway_worker: Some(6300.0),
        load: &["hold"],
        full: CONNECTIONS,
        quick: QUICK_CONNECTIONS,
    },
    Row {
        key: "memory-uid",
        title: "gateway memory per bound uid",
        detail: "above the connection",
        figure: Figure::Memory,
        has_limit: false,
        target: Target::AtMost(300.0),
        gateway_worker: None,
        load: &["hold", "--then", "bind"],
        full: CONNECTIONS,
        quick: QUICK_CONNECTIONS,
    },
    Row {
        key: "memory-group",
        title: "gateway memory per joined group",
        detail: "above the connection",
        figure: Figure::Memory,
        has_limit: false,
        target: Target::AtMost(300.0),
        gateway_worker: None,
        load: &["hold", "--then", "join", "--groups", "8"],
        full: CONNECTIONS,
        quick: QUICK_CONNECTIONS,
    },
    Row {
        key: "round-trip",
        title: "echo round trip, p50",
        detail: "one client alone",
        figure: Figure::RoundTrip,
        has_limit: true,
        // Not as a ratio: the limit's own time is two wake-ups, which differ tenfold between machines.
        target: Target::AtMost(190.0),
        gateway_worker: None,
        load: &["echo", "--conns", "1", "--window", "1"],
        full: SECONDS,
        quick: QUICK_SECONDS,
    },
    Row {
        key: "connect",
        title: "CPU per connect and close",
        detail: "64 at once",
        figure: Figure::Cpu,
        has_limit: true,
        target: Target::AtMost(40.0),
        gateway_worker: None,
        load: &["churn"],
        full: &["--conns", "10000"],
        quick: &["--conns", "1000"],
    },
];

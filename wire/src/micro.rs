//! NATS micro services (ADR-32): gateways and workers answer `nats micro ls`.
//!
//! The answers are JSON, so these are only their shapes.

use std::collections::BTreeMap;

use serde::Serialize;

/// The name under which gateways answer.
pub const GATEWAY: &str = "gatebus-gateway";
/// The name under which workers answer.
pub const WORKER: &str = "gatebus-worker";

/// The three questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Who is there?
    Ping,
    /// What do you do?
    Info,
    /// How much have you done?
    Stats,
}

impl Verb {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Ping, Self::Info, Self::Stats];

    /// The token in the subject.
    #[must_use]
    pub const fn token(self) -> &'static str {
        match self {
            Self::Ping => "PING",
            Self::Info => "INFO",
            Self::Stats => "STATS",
        }
    }

    /// The `type` of the answer.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Ping => "io.nats.micro.v1.ping_response",
            Self::Info => "io.nats.micro.v1.info_response",
            Self::Stats => "io.nats.micro.v1.stats_response",
        }
    }
}

/// The three subjects on which a verb reaches one node: all services, its name, its id.
#[must_use]
pub fn subjects(verb: Verb, name: &str, id: &str) -> [String; 3] {
    let verb = verb.token();
    [
        format!("$SRV.{verb}"),
        format!("$SRV.{verb}.{name}"),
        format!("$SRV.{verb}.{name}.{id}"),
    ]
}

/// An answer; the fields of the other verbs are absent.
#[derive(Debug, Clone, Serialize)]
pub struct Reply<'a> {
    /// [`Verb::kind`].
    #[serde(rename = "type")]
    pub kind: &'a str,
    /// [`GATEWAY`] or [`WORKER`].
    pub name: &'a str,
    /// The gateway or worker id.
    pub id: &'a str,
    /// The version of the program.
    pub version: &'a str,
    /// What an operator may want to know: prefix, service, host.
    pub metadata: &'a BTreeMap<&'static str, String>,
    /// Of INFO.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<&'a str>,
    /// Of INFO and STATS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<Vec<Endpoint<'a>>>,
    /// Of STATS: when it started, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<&'a str>,
}

/// One thing that a node listens for.
#[derive(Debug, Clone, Serialize)]
pub struct Endpoint<'a> {
    /// A short name.
    pub name: &'a str,
    /// The subject.
    pub subject: &'a str,
    /// The queue group; empty where there is none.
    pub queue_group: &'a str,
    /// Of STATS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_requests: Option<u64>,
    /// Of STATS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_errors: Option<u64>,
    /// Of STATS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<&'a str>,
    /// Of STATS, in nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processing_time: Option<u64>,
    /// Of STATS, in nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub average_processing_time: Option<u64>,
}

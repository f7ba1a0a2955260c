//! The contract between gateways, workers and everybody else on the bus.
//!
//! This crate is the executable form of `subjects.md`: who is named how ([`id`], [`name`]),
//! on which subject a message goes ([`subject`]), and what stands in it ([`event`], [`ack`],
//! [`request`], [`answer`], [`order`], [`beat`], [`dead`]), and by which rule one of several claims
//! to a uid stands ([`claim`]). It knows CBOR ([`codec`]) and nothing of
//! sockets, tasks or NATS clients.
//!
//! Two rules hold everywhere. A *subject* names whom, the *payload* says what. Unknown fields are
//! ignored and new ones are optional, so that processes of different versions understand each other.

pub mod ack;
pub mod answer;
pub mod beat;
pub mod claim;
pub mod close;
pub mod codec;
pub mod dead;
pub mod event;
pub mod filter;
pub mod id;
pub mod micro;
pub mod name;
pub mod order;
pub mod payload;
mod reader;
pub mod request;
pub mod session;
pub mod subject;
pub mod token;

pub use self::{
    ack::{Ack, AckMessage, AckStatus, SessionChange},
    answer::{Answer, AnswerError, ClientInfo, NameCount},
    beat::{GatewayBeat, NodeState, ShardBeat, WorkerBeat},
    claim::{Claims, Policy, Rank},
    close::{Advice, CloseCode},
    codec::{DecodeError, decode, encode, encode_into},
    dead::{Dead, DeadReason},
    event::{
        CloseEvent, ClosedBy, EventBatch, EventBatchView, EventKind, EventMessage,
        EventMessageWriter, Handshake,
    },
    filter::{Filter, FilterError, Wanted},
    id::{ClientId, ConnId, GatewayId, IdError, ProcessId, WorkerId},
    name::{Group, NameError, Prefix, ServiceName, Uid},
    order::{Order, OrderKind},
    payload::Payload,
    request::{Command, Fields, Names, Query, Request, RequestError, RequestKind, TargetKind},
    session::{Session, SessionError},
    subject::Subjects,
};
